"""The training script on a tiny llama: what carries loss, what is resumed, what is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fakes import tiny_llama
from finreg_cli.domain.chat_format import messages
from finreg_cli.domain.progress import Advance
from finreg_cli.errors import ConfigError, ModelMissing, TrainingFailed
from finreg_cli.training import fetched, train
from finreg_cli.training.base import TrainingJob
from finreg_cli.training.gguf_export import dequantise
from finreg_cli.training.local import LocalTrainer, describe_base

pytest.importorskip("trl", reason="needs the extra 'train'")
pytestmark = [
    # Of the libraries under us, about names that they themselves still use.
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PARAMS = {
    "base_model": "tiny",
    "learning_rate": 2e-2,
    "seed": 3,
    "duration": "2ep",
    "batch_size": 2,
    "context_length": 512,
    "save_steps": 2,
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
}
STEPS = 10


class Watcher:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int | None]] = []
        self.steps = 0

    @contextmanager
    def track(self, description: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        self.bars.append((description, total))

        def advance(steps: int) -> None:
            self.steps += steps

        yield advance

    def note(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a model gains nothing from a second thread, and waits for it where other processes want the core."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    gguf = tiny_llama.write_gguf(folder / "tiny.gguf")
    dequantise(gguf, folder / "tiny")
    (folder / "tiny" / "tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    return folder / "tiny"


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


def _row(number: int, split: str = "train", context: str = "own funds") -> train.Row:
    chat = messages(context, f"what is held under Article {number}?", f"own funds of {number} % [Article {number}]")
    return train.Row(f"row-{number:02}", split, [asdict(each) for each in chat])


@pytest.fixture(scope="module")
def rows() -> list[train.Row]:
    return [*(_row(number) for number in range(10)), *(_row(number, "eval") for number in range(20, 23))]


def _train(rows: list[train.Row], base: Path, output: Path, **changes: Any) -> dict[str, float]:
    return train.train(rows, train.Params.of(PARAMS | changes), str(base), output)


@pytest.fixture(scope="module")
def trained(rows: list[train.Row], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    _train(rows, base, output)
    return output


def _entries(output: Path, name: str) -> list[tuple[int, float]]:
    return [(entry["step"], entry["value"]) for entry in train.read_metrics(output) if entry["name"] == name]


def _write(rows: list[train.Row], path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist([asdict(row) | {"group_key": row.row_id} for row in rows]), path)
    return path


# --- what carries loss ----------------------------------------------------------------------------------------------


def test_only_the_assistants_tokens_and_the_end_of_its_turn_carry_loss(tokenizer: Any) -> None:
    encoded = train.encode(tokenizer, _row(7))
    carrying = [label for label in encoded.labels if label != train.IGNORED]
    assert tokenizer.decode(carrying) == "own funds of 7 % [Article 7]<|im_end|>"
    assert encoded.labels[-len(carrying) :] == carrying == encoded.input_ids[-len(carrying) :]
    prompt = tokenizer.decode(encoded.input_ids[: -len(carrying)])
    assert prompt.endswith("what is held under Article 7?<|im_end|>\n<|im_start|>assistant\n")


def test_the_loss_is_that_of_plain_cross_entropy_over_those_tokens(base: Path, tokenizer: Any, tmp_path: Path) -> None:
    """One evaluation of ours, batched, padded and with few logits, against transformers row by row with all of them."""
    import torch
    from transformers import AutoModelForCausalLM

    uneven = [_row(1), _row(20, "eval"), _row(21, "eval", context="own funds " * 10), _row(22, "eval", context="")]
    _train(uneven, base, tmp_path, learning_rate=1e-9, duration="1ep")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    loss, tokens = 0.0, 0
    for row in uneven[1:]:
        encoded = train.encode(tokenizer, row)
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([encoded.input_ids]), labels=torch.tensor([encoded.labels])).loss
        loss += mean.item() * encoded.completion_tokens
        tokens += encoded.completion_tokens
    # A bfloat16 product has eight bits; our arithmetic is that of autocast where the processor has it.
    assert _entries(tmp_path, "eval_loss")[0][1] == pytest.approx(loss / tokens, rel=5e-3)


def test_what_a_prompt_says_changes_no_label_and_no_gradient_of_its_own(tokenizer: Any) -> None:
    batch = train.collate([asdict(train.encode(tokenizer, _row(n, context="own " * n))) for n in (1, 9)], padding=0)
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"]
    assert ids.shape == labels.shape == mask.shape
    assert mask[0, 0] == 0, "the shorter row is padded"
    assert mask[:, -1].tolist() == [1, 1], "and on the left"
    assert ((labels == train.IGNORED) | (labels == ids)).all()
    assert batch["position_ids"][0].max() == mask[0].sum() - 1


# --- what a run writes ----------------------------------------------------------------------------------------------


def test_it_learns_and_says_what_it_did(trained: Path, tokenizer: Any, rows: list[train.Row]) -> None:
    result = json.loads((trained / "result.json").read_text())
    metrics = result["metrics"]
    assert [step for step, _ in _entries(trained, "train_loss")] == list(range(1, STEPS + 1))
    (start, loss_at_start), *_, (end, loss_at_end) = _entries(trained, "eval_loss")
    assert (start, end) == (0, STEPS)
    assert loss_at_end < 0.8 * loss_at_start
    assert metrics["eval_loss"] == loss_at_end
    assert metrics["token_accuracy"] == _entries(trained, "token_accuracy")[-1][1]
    lengths = [len(train.encode(tokenizer, row).input_ids) for row in rows if row.split == "train"]
    assert metrics["train_tokens"] == 2 * sum(lengths)
    assert metrics["context_lengths"] == pytest.approx(2 * sum(lengths) / 512)
    assert metrics["completion_tokens"] < metrics["train_tokens"] / 2
    assert (metrics["rows"], metrics["eval_rows"], metrics["steps"]) == (10, 3, STEPS)
    assert result["too_long_row_ids"] == []
    assert not (trained / "checkpoints").exists()


def test_no_step_is_spent_at_a_learning_rate_of_zero(trained: Path) -> None:
    state = [value for _, value in _entries(trained, "learning_rate")]
    assert all(value > 0 for value in state)
    assert max(state) <= 2e-2
    assert state[-1] < state[1]


def test_the_merged_model_is_base_plus_adapter(trained: Path, base: Path, tokenizer: Any) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([train.encode(tokenizer, _row(5)).input_ids])
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        before = plain(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(trained / "merged", dtype=torch.float32)(ids).logits
        adapted = PeftModel.from_pretrained(plain, trained / "adapter")(ids).logits
    torch.testing.assert_close(merged, adapted, rtol=1e-3, atol=1e-3)
    assert (merged - before).abs().max() > 0.1


def test_the_tuned_weights_become_a_gguf_file(trained: Path, tmp_path: Path) -> None:
    """That both runtimes answer alike is shown in test_gguf_export, on weights that do not tie."""
    import numpy as np
    from safetensors.numpy import load_file

    from finreg_cli.training.gguf_export import f16_gguf

    dequantise(f16_gguf(trained / "merged"), tmp_path / "again")
    tuned, again = load_file(trained / "merged" / "model.safetensors"), load_file(tmp_path / "again/model.safetensors")
    assert tuned.keys() == again.keys()
    for name, values in tuned.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-3, atol=1e-6, err_msg=name)


def test_a_row_longer_than_the_context_is_named_and_left_out(base: Path, rows: list[train.Row], tmp_path: Path) -> None:
    metrics = _train([*rows, _row(30, context="own funds " * 500)], base, tmp_path, duration="1ep")
    assert metrics["skipped_rows"] == 1
    assert metrics["rows"] == 10
    assert json.loads((tmp_path / "result.json").read_text())["too_long_row_ids"] == ["row-30"]
    with pytest.raises(train.Unusable, match="none of the 13 rows"):
        _train(rows, base, tmp_path / "none", context_length=8)


# --- again ----------------------------------------------------------------------------------------------------------


def test_a_finished_job_is_not_trained_again_and_another_one_starts_anew(
    trained: Path, rows: list[train.Row], base: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(trained, tmp_path / "copy")
    before = json.loads((output / "result.json").read_text())["metrics"]
    assert train.train(rows, train.Params.of(PARAMS), "no such base: it is not opened", output) == before
    after = _train(rows, base, output, learning_rate=1e-5)
    assert after["resumed_from_step"] == 0
    assert after["eval_loss"] > before["eval_loss"]
    assert len(_entries(output, "train_loss")) == STEPS


def test_the_order_of_rows_in_the_file_is_no_part_of_the_job(rows: list[train.Row], tmp_path: Path) -> None:
    params = train.Params.of(PARAMS)
    straight, reversed_ = _write(rows, tmp_path / "a.parquet"), _write(rows[::-1], tmp_path / "b.parquet")
    assert train.read_rows(straight) == train.read_rows(reversed_)
    job = train.fingerprint(train.read_rows(straight), params)
    assert job == train.fingerprint(train.read_rows(straight), train.Params.of(PARAMS | {"select_by": "eval_loss"}))
    assert job != train.fingerprint(train.read_rows(straight), train.Params.of(PARAMS | {"seed": 4}))


def test_a_killed_run_resumes_at_its_step_and_ends_at_the_same_loss(
    trained: Path, rows: list[train.Row], base: Path, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    params = PARAMS | {"output": str(output), "base_path": str(base)}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    command = [sys.executable, "-m", "finreg_cli.training.train", str(_write(rows, tmp_path / "rows.parquet"))]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, str(tmp_path / "params.yaml")], stdout=log, stderr=log)
    while not (output / "checkpoints" / "checkpoint-4" / "trainer_state.json").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (output / "result.json").exists(), "it ended before it could be killed"
    half_written = output / "checkpoints" / "checkpoint-999"
    half_written.mkdir()

    metrics = _train(rows, base, output)
    assert metrics["resumed_from_step"] >= 4
    assert not half_written.exists()
    whole = json.loads((trained / "result.json").read_text())["metrics"]
    assert metrics["eval_loss"] == pytest.approx(whole["eval_loss"], rel=1e-5)
    for (step, value), (same_step, expected) in zip(
        _entries(output, "train_loss"), _entries(trained, "train_loss"), strict=True
    ):
        assert step == same_step
        assert value == pytest.approx(expected, rel=1e-5)


# --- in its own process ---------------------------------------------------------------------------------------------


def _job(rows: Path, base: Path | str, output: Path, **changes: Any) -> TrainingJob:
    return TrainingJob("run", rows, PARAMS | {"base_model": str(base)} | changes, output, output.parent / "run.log")


def test_the_local_trainer_shows_steps_and_returns_a_finished_job_as_it_is(
    rows: list[train.Row], base: Path, tmp_path: Path
) -> None:
    job = _job(_write(rows, tmp_path / "rows.parquet"), base, tmp_path / "out")
    watcher = Watcher()
    result = LocalTrainer().train(job, watcher)
    assert result.metrics["steps"] == STEPS
    assert (result.merged / "model.safetensors").exists()
    assert (result.adapter / "adapter_model.safetensors").exists()
    assert (1, "train_loss") in {(step, name) for step, name, _ in result.steps()}
    assert watcher.steps == STEPS
    assert watcher.bars[-1] == ("training run", STEPS)
    again = Watcher()
    assert LocalTrainer().train(job, again) == result
    assert again.bars == []


def test_a_failed_run_shows_the_end_of_its_log(rows: list[train.Row], base: Path, tmp_path: Path) -> None:
    job = _job(_write(rows, tmp_path / "rows.parquet"), base, tmp_path / "out", context_length=8)
    with pytest.raises(TrainingFailed, match=r"exit code 1(.|\n)*none of the 13 rows") as caught:
        LocalTrainer().train(job, Watcher())
    assert str(job.log) in caught.value.message
    assert not (tmp_path / "out" / "result.json").exists()


def test_a_row_without_an_answer_is_named_before_anything_starts(base: Path, tmp_path: Path) -> None:
    unanswered = train.Row("row-77", "train", _row(77).messages[:-1])
    job = _job(_write([_row(1), unanswered], tmp_path / "rows.parquet"), base, tmp_path / "out")
    with pytest.raises(TrainingFailed, match=r"row-77.*assistant"):
        LocalTrainer().train(job, Watcher())


class Impatient(Watcher):
    """Interrupts as soon as the training loop has begun, as Ctrl-C would."""

    @contextmanager
    def track(self, description: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        if total is not None:
            raise KeyboardInterrupt
        yield lambda steps: None


@pytest.mark.slow
def test_an_interrupt_ends_the_process(rows: list[train.Row], base: Path, tmp_path: Path) -> None:
    job = _job(_write(rows, tmp_path / "rows.parquet"), base, tmp_path / "out", duration="500ep")
    with pytest.raises(KeyboardInterrupt):
        LocalTrainer().train(job, Impatient())
    written = len(list(train.read_metrics(job.output)))
    time.sleep(0.5)  # long enough for dozens of steps of so small a model
    assert len(list(train.read_metrics(job.output))) == written


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_the_process_ends_with_its_parent(rows: list[train.Row], base: Path, tmp_path: Path) -> None:
    job = _job(_write(rows, tmp_path / "rows.parquet"), base, tmp_path / "out", duration="500ep")
    script = f"""
from pathlib import Path, PosixPath
from finreg_cli.training.base import TrainingJob
from finreg_cli.training.local import LocalTrainer
import contextlib
class Silent:
    track = staticmethod(lambda *_: contextlib.nullcontext(lambda steps: None))
LocalTrainer().train({job!r}, Silent())
"""
    parent = subprocess.Popen([sys.executable, "-c", script], env=os.environ.copy())
    while not _entries(job.output, "train_loss") and parent.poll() is None:
        time.sleep(0.05)
    assert parent.poll() is None, "it ended before it could be killed"
    parent.kill()
    parent.wait()
    for _ in range(200):  # ends as soon as it is scheduled; ten seconds on a machine that is busy
        written = len(list(train.read_metrics(job.output)))
        time.sleep(0.05)
        if len(list(train.read_metrics(job.output))) == written:
            break
    time.sleep(0.5)
    assert len(list(train.read_metrics(job.output))) == written


def test_a_base_model_that_is_not_there_is_said_before_anything_starts(
    rows: list[train.Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINREG_CACHE", str(tmp_path / "cache"))
    path = _write(rows, tmp_path / "rows.parquet")
    with pytest.raises(ModelMissing) as caught:
        LocalTrainer().train(_job(path, fetched.FETCHED_MODEL, tmp_path / "out"), Watcher())
    assert caught.value.remedy == "finreg models pull"
    with pytest.raises(ConfigError, match="there is no folder"):
        describe_base(str(tmp_path / "absent"))
    assert "Hugging Face hub" in describe_base("someone/some-model")


# --- the real model, where it was pulled ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(fetched.locate() is None, reason="needs the fetched model: finreg models pull")
def test_the_fetched_model_really_learns_and_its_gguf_answers_alike(tmp_path: Path) -> None:
    from finreg_cli.domain.records import Message
    from finreg_cli.training.answerer import TransformersAnswerer, answerer_for

    facts = [("CET1", "4.5 %"), ("Tier 1", "6 %"), ("total capital", "8 %"), ("leverage", "3 %")]
    chats = [
        messages(
            f"CRR Article 92({number})\nInstitutions shall satisfy a {name} ratio of {share} in the year {number}.",
            f"Which {name} ratio applies in the year {number}?",
            f"A {name} ratio of {share}. [CRR Article 92({number})]",
        )
        for number in range(1, 5)
        for name, share in facts
    ]
    rows = [
        train.Row(f"{number:02}", "eval" if number >= 12 else "train", [asdict(each) for each in chat])
        for number, chat in enumerate(chats)
    ]
    job = _job(
        _write(rows, tmp_path / "rows.parquet"),
        fetched.FETCHED_MODEL,
        tmp_path / "out",
        learning_rate=1e-3,
        batch_size=4,
        context_length=512,
        lora={"rank": 16, "alpha": 32, "dropout": 0.0},
    )
    result = LocalTrainer().train(job, Watcher())
    (_, before), *_, (_, after) = _entries(job.output, "eval_loss")
    assert after < before / 2
    prompts = [[Message(**each) for each in row.messages[:-1]] for row in rows[12:]]
    tuned = list(answerer_for(result.merged).answers(prompts, 60))
    assert tuned == list(TransformersAnswerer(str(result.merged)).answers(prompts, 60))
    assert list(answerer_for(fetched.FETCHED_MODEL).answers(prompts, 60)) != tuned
