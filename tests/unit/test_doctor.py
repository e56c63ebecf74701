"""doctor's findings about endpoints: each provider proved with a request, and what the terms of one forbid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes.databricks_workspace import PERSONAL_TOKEN, FakeWorkspace
from fakes.hub import FakeHub, Repository
from fakes.openai_server import FakeOpenAI
from fakes.tiny_llama import write_gguf
from finreg_cli import wiring
from finreg_cli.config import Config, Endpoints, Finetune, Tracking
from finreg_cli.doctor import Finding, examine
from finreg_cli.domain.records import QA_DATASET, QaRow


def config_with(tmp_path: Path, generator: dict[str, Any], method: str = "llm") -> Config:
    given = {
        "source": {"path": str(tmp_path)},
        "engine": {"warehouse": str(tmp_path / "lakehouse")},
        "generate": {"method": method},
        "endpoints": {"generator": generator},
    }
    return Config.model_validate(given)


def findings(config: Config, subject: str) -> list[Finding]:
    return [each for each in examine(config) if each.subject == subject]


def test_each_provider_is_proved_with_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = write_gguf(tmp_path / "tiny.gguf")
    with FakeOpenAI() as server, FakeWorkspace() as workspace:
        monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", PERSONAL_TOKEN)
        for generator in (
            {"model": "m", "base_url": server.url},
            {"provider": "databricks", "model": "databricks-gpt-oss-120b"},
            {"provider": "embedded", "model": str(gguf), "max_concurrency": 1},
        ):
            (found,) = findings(config_with(tmp_path, generator), "endpoint generator")
            assert found.level == "ok"
            assert f"answers as {generator['model']} (" in found.message
        assert (len(server.requests), len(workspace.asked)) == (1, 1)


def test_a_wrong_name_is_fatal_and_lists_what_exists(tmp_path: Path) -> None:
    with FakeOpenAI(models=["llama", "qwen"]) as server:
        generator = {"model": "lama", "base_url": server.url}
        (found,) = findings(config_with(tmp_path, generator), "endpoint generator")
    assert (found.level, found.remedy) == ("fatal", "set endpoints.generator.model: it has llama, qwen")


def test_a_plain_server_at_an_https_address_is_fatal_with_a_remedy(tmp_path: Path) -> None:
    with FakeOpenAI() as server:
        generator = {"model": "m", "base_url": server.url.replace("http:", "https:"), "tls": {"verify": False}}
        refused, trusting = findings(config_with(tmp_path, generator), "endpoint generator")
    assert refused.level == "fatal"
    assert "no TLS connection" in refused.message
    assert trusting.level == "warning"
    assert "tls.verify is false" in trusting.message


def test_outputs_that_may_not_train_are_warned_of(tmp_path: Path) -> None:
    generator = {"model": "m", "base_url": "http://127.0.0.1:1/v1", "outputs_may_train": False}
    (found,) = findings(config_with(tmp_path, generator), "permission to train")
    assert found.level == "warning"
    assert "finetune leaves out what m writes" in found.message
    assert not findings(config_with(tmp_path, {**generator, "outputs_may_train": True}), "permission to train")


def test_rows_that_were_recorded_as_allowed_are_counted(tmp_path: Path) -> None:
    generator = {"model": "m", "base_url": "http://127.0.0.1:1/v1", "outputs_may_train": False}
    config = config_with(tmp_path, generator, method="rules")
    recorded = [("a", "m", True), ("b", "m", True), ("c", "m", False), ("d", "other", True)]
    rows = [_row(*each) for each in recorded]
    with wiring.open_lakehouse(config) as lakehouse:
        lakehouse.append(QA_DATASET, QA_DATASET.batches(rows))
    (found,) = findings(config, "permission to train")
    assert found.level == "warning"
    assert "but 2 of its rows in qa_dataset were recorded as allowed: finetune uses them" in found.message


def test_a_base_model_that_cannot_be_had_is_fatal_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        hub.repositories["example-org/gated"] = Repository(gated=True)
        hub.repositories["example-org/gated"].commit({"model.safetensors": b"weights"})
        (gated,) = findings(config_to_train(tmp_path, base_model="example-org/gated"), "base model")
        (missing,) = findings(config_to_train(tmp_path, base_model="example-org/none"), "base model")
    assert (gated.level, missing.level) == ("fatal", "fatal")
    assert "is gated" in gated.message
    assert "accept the terms" in str(gated.remedy)
    assert "is not on" in missing.message


def test_a_disk_that_is_too_small_for_the_sweep_is_warned_of(tmp_path: Path) -> None:
    """A file of holes: as large as no disk of ours, and empty."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(2**43)  # 8 TiB
    config = config_to_train(tmp_path, base_model=str(folder), learning_rates=[1e-3, 1e-4])
    assert [each.level for each in findings(config, "base model")] == ["ok"]
    (found,) = findings(config, "disk space")
    assert found.level == "warning"
    assert "GiB free, and training takes about" in found.message


def test_the_registry_is_reached_where_a_model_is_to_be_registered(tmp_path: Path) -> None:
    config = config_to_train(tmp_path, register_to="main.euroreg.assistant")
    (found,) = findings(config, "registry")
    assert found.level == "ok"
    assert "main.euroreg.assistant is new" in found.message
    assert not findings(config_to_train(tmp_path), "registry")
    nobody = config.model_copy(update={"tracking": Tracking(uri="http://127.0.0.1:9")})
    (found,) = findings(nobody, "registry")
    assert found.level == "fatal"
    assert "no MLflow server answers" in found.message


def config_to_train(tmp_path: Path, **finetune: Any) -> Config:
    config = config_with(tmp_path, {"model": "m", "base_url": "http://127.0.0.1:1/v1"}, method="rules")
    return config.model_copy(
        update={
            "endpoints": Endpoints(),
            "finetune": Finetune(**finetune),
            "tracking": Tracking(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"),
        }
    )


def _row(name: str, model: str, allowed: bool) -> QaRow:
    return QaRow(
        row_id=name,
        chunk_id=name,
        chunk_ids=[name],
        document_id="d",
        citation="[CRR Article 92]",
        kind="fact",
        sample=0,
        context="c",
        question="q",
        answer="a",
        answerable=True,
        method="llm",
        model=model,
        prompt_version="p",
        outputs_may_train=allowed,
        round=0,
        split="train",
        split_unit="u",
    )
