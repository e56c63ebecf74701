"""Tuned models into a real registry: a tiny llama, a SQLite store, and what MLflow itself makes of it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import tiny_llama
from finreg_cli.config import Config
from finreg_cli.domain.chat_format import messages
from finreg_cli.domain.records import FINETUNE_RUNS, FT_TRAINING, FinetuneRun, TrainingRow
from finreg_cli.errors import NothingToDo, StageFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.stages.base import Run
from finreg_cli.stages.examples import QUESTION
from finreg_cli.stages.registering import register
from finreg_cli.tracking.mlflow_tracker import MlflowTracker
from finreg_cli.tracking.registry import MlflowRegistry, registry_of
from finreg_cli.training import fetched
from finreg_cli.training.gguf_export import dequantise

pytest.importorskip("transformers", reason="needs the extra 'train'")
pytestmark = [
    # Of the libraries under us, about names that they themselves still use.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NAME = "main.euroreg.assistant"


class Notes:
    """A progress that remembers its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, description: str, total: int | None, unit: str = "") -> Any:
        from contextlib import nullcontext

        return nullcontext(lambda steps: None)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None: ...


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as the training script leaves it: merged/, adapter/ and result.json."""
    folder = tmp_path_factory.mktemp("tuned")
    gguf = tiny_llama.write_gguf(folder / "tiny.gguf")
    dequantise(gguf, folder / "merged")
    (folder / "merged" / "tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "result.json").write_text(json.dumps({"metrics": {}, "base_licence": "Apache-2.0"}))
    return folder


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: to make its tables takes MLflow seconds, so each test has a copy of it."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with MlflowTracker(f"sqlite:///{path}", "x", path.parent).run("x", {}):
        pass
    return path


class Place:
    """A warehouse, a store and a run to register, in a folder of a test's own."""

    def __init__(self, folder: Path, tiny: Path, database: Path) -> None:
        shutil.copyfile(database, folder / "mlflow.db")
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.config = Config.model_validate(
            {
                "engine": {"warehouse": str(folder / "lakehouse")},
                "generate": {"method": "rules"},
                "finetune": {"register_to": NAME},
            }
        )
        self.progress = Notes()
        self.run = Run("20261123-010000-abcd", self.config, self.progress)
        self.output = folder / "models" / "20261123-010000-abcd-1"
        shutil.copytree(tiny, self.output)
        self.lakehouse = EmbeddedLakehouse(folder / "lakehouse", "main", "euroreg")
        row = TrainingRow(messages=messages("c", "q", "a"), row_id="r1", group_key="g")
        self.lakehouse.overwrite(FT_TRAINING, FT_TRAINING.batches([row]))
        self.tracker = MlflowTracker(self.uri, "finreg", folder / "mlartifacts")
        with self.tracker.run("lr 0.001", {"finreg.run_id": self.output.name, "finreg.stage": "finetune"}) as tracked:
            self.tracked = tracked.id
        self.best = FinetuneRun(
            run_id=self.output.name,
            sweep_id=self.run.run_id,
            task="regulation_qa",
            round=0,
            trainer="local",
            base_model="smollm2-135m-instruct",
            method="lora",
            learning_rate=1e-3,
            epochs=1.0,
            state="finished",
            metrics={"eval_loss": 0.25, "token_accuracy": 0.9},
            selected=True,
            model_uri=str(self.output / "merged"),
            model_version=None,
            training_table="ft_training",
            training_version=0,
        )

    def register(self, best: FinetuneRun | None = None) -> FinetuneRun:
        return register(self.run, self.lakehouse, self.tracker, best or self.best)

    @property
    def client(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what MLflow's dependencies deprecate of each other
            import mlflow

            return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def versions(self) -> list[Any]:
        return list(self.client.search_model_versions(f"name='{NAME}'"))


@pytest.fixture
def place(tmp_path: Path, tiny: Path, database: Path) -> Place:
    return Place(tmp_path, tiny, database)


@pytest.fixture
def mlflow_at(place: Place) -> Iterator[Any]:
    """MLflow itself, as somebody uses it who knows nothing of finreg."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(place.uri)
    mlflow.set_registry_uri(place.uri)
    yield mlflow
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(before)


def test_the_registered_model_answers_as_the_merged_one_does(place: Place, mlflow_at: Any) -> None:
    """Loaded by its alias through MLflow's pyfunc, with what the version itself shows as an example."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    registered = place.register()
    assert registered.model_version == f"models:/{NAME}/1"

    loaded = mlflow_at.pyfunc.load_model(f"models:/{NAME}@candidate")
    question = loaded.input_example
    assert question["messages"][1]["content"].endswith(QUESTION)
    (answer,) = loaded.predict({**question, "max_tokens": 24})

    tokenizer = AutoTokenizer.from_pretrained(place.output / "merged")
    model = AutoModelForCausalLM.from_pretrained(place.output / "merged", dtype=torch.float32)
    prompt = tokenizer.apply_chat_template(question["messages"], add_generation_prompt=True, return_tensors="pt")
    ids = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    said = tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer["choices"][0]["message"]["content"] == said
    assert len(said) > 5


def test_the_version_says_where_it_comes_from(place: Place) -> None:
    registered = place.register()
    (recorded,) = FINETUNE_RUNS.records(place.lakehouse.read(FINETUNE_RUNS))
    assert recorded == registered
    assert place.progress.notes[0].startswith(f"registered as models:/{NAME}/1, alias candidate")

    version = place.client.get_model_version(NAME, "1")
    assert (version.run_id, version.aliases) == (place.tracked, ["candidate"])
    tags = version.tags
    assert tags["finreg.run_id"] == place.best.run_id
    assert tags["finreg.base_licence"] == "Apache-2.0"
    assert tags["finreg.training_version"] == "0"
    assert tags["finreg.training_table"].endswith("ft_training")
    assert len(tags["finreg.weights_sha256"]) == len(tags["finreg.training_data_sha256"]) == 64
    assert "eval_loss 0.250, token_accuracy 0.900" in version.description

    tracked = place.client.get_run(place.tracked)
    (output,) = tracked.outputs.model_outputs
    assert version.source == f"models:/{output.model_id}"
    assert tracked.info.status == "FINISHED"
    assert [each.path for each in place.client.list_artifacts(place.tracked, "adapter")] == [
        "adapter/adapter_config.json"
    ]


def test_the_logged_model_carries_signature_requirements_and_licence(place: Place, mlflow_at: Any) -> None:
    place.register()
    info = mlflow_at.models.get_model_info(f"models:/{NAME}/1")
    assert info.signature.inputs.inputs[0].name == "messages"
    assert info.metadata["finreg.base_licence"] == "Apache-2.0"
    assert info.metadata["task"] == "llm/v1/chat"
    assert info.flavors["transformers"]["source_model_name"] == "smollm2-135m-instruct"
    folder = Path(mlflow_at.artifacts.download_artifacts(f"models:/{NAME}/1"))
    requirements = (folder / "requirements.txt").read_text().split()
    assert {each.partition("==")[0] for each in requirements} >= {"mlflow", "torch", "transformers"}
    assert "+cpu" not in " ".join(requirements)
    assert (folder / "LICENSE.txt").read_text().endswith("whose licence is: Apache-2.0\n")
    assert "huggingface.co" not in (folder / "LICENSE.txt").read_text()


def test_registering_again_changes_nothing(place: Place) -> None:
    first = place.register()
    assert place.register() == first == place.register(first)
    assert len(place.versions()) == 1
    experiment = place.client.get_run(place.tracked).info.experiment_id
    assert len(place.client.search_logged_models([experiment])) == 1


def test_other_weights_are_another_version_and_the_alias_follows(place: Place) -> None:
    place.register()
    gguf = tiny_llama.write_gguf(place.output / "other.gguf", seed=1)
    shutil.rmtree(place.output / "merged")
    dequantise(gguf, place.output / "merged")
    (place.output / "merged" / "tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    assert place.register().model_version == f"models:/{NAME}/2"
    assert place.client.get_model_version_by_alias(NAME, "candidate").version == 2
    assert len(place.versions()) == 2


@pytest.mark.parametrize("step", ["log_model_artifacts", "create_model_version", "set_registered_model_alias"])
def test_a_registration_that_was_killed_is_completed_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The step itself never happened, as when the process is killed before it."""
    from mlflow import MlflowClient

    with monkeypatch.context() as killed:

        def dies(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        killed.setattr(MlflowClient, step, dies)
        with pytest.raises(KeyboardInterrupt):
            place.register()
    assert not (place.output / "registration.part").exists()
    assert place.register().model_version == f"models:/{NAME}/1"
    assert [each.version for each in place.versions()] == [1]
    assert place.client.get_model_version_by_alias(NAME, "candidate").version == 1
    experiment = place.client.get_run(place.tracked).info.experiment_id
    (logged,) = place.client.search_logged_models([experiment])
    assert str(logged.status) == "READY"


def test_another_process_settings_of_mlflow_are_left_as_they_were(place: Place, mlflow_at: Any, tmp_path: Path) -> None:
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    mlflow_at.set_tracking_uri(elsewhere)
    mlflow_at.set_registry_uri(elsewhere)
    place.register()
    assert (mlflow_at.get_tracking_uri(), mlflow_at.get_registry_uri()) == (elsewhere, elsewhere)


def test_a_model_whose_tracked_run_is_gone_gets_one_of_its_own(place: Place) -> None:
    place.client.delete_run(place.tracked)
    place.register()
    run = place.client.get_run(place.client.get_model_version(NAME, "1").run_id)
    assert run.info.run_id != place.tracked
    assert run.data.tags["finreg.run_id"] == place.best.run_id


def test_a_model_that_was_removed_is_named_with_the_remedy(place: Place) -> None:
    shutil.rmtree(place.output)
    with pytest.raises(NothingToDo, match="merged model is not in"):
        place.register()


def test_a_registry_that_does_not_answer_is_named_at_once(place: Place, tmp_path: Path) -> None:
    place.tracker = MlflowTracker("http://127.0.0.1:9", "x", tmp_path)
    with pytest.raises(StageFailed, match="no MLflow server answers"):
        place.register()


def test_databricks_means_unity_catalog() -> None:
    assert registry_of("databricks") == "databricks-uc"
    assert registry_of("databricks://work") == "databricks-uc://work"
    assert registry_of("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
    assert MlflowRegistry("sqlite:///mlflow.db").location("models:/system.ai.llama/1") == "databricks-uc"
    assert MlflowRegistry("sqlite:///mlflow.db").location("models:/main.ai.llama/1") == "sqlite:///mlflow.db"


def test_the_registry_says_what_stands_under_a_name(place: Place) -> None:
    registry = MlflowRegistry(place.uri)
    assert f"{NAME} is new and will be made" in registry.check(NAME, "candidate")
    place.register()
    assert "has 1 versions, and the alias 'candidate' points to version 1" in registry.check(NAME, "candidate")
    assert "'champion' is new" in registry.check(NAME, "champion")
