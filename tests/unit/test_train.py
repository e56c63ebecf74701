"""The training script on a tiny llama: what carries loss, what is resumed, what is written."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
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
from finreg_cli.training.base import TrainingJob, TrainingResult
from finreg_cli.training.batches import pad
from finreg_cli.training.encoding import IGNORED, encode
from finreg_cli.training.gguf_export import dequantise
from finreg_cli.training.local import LocalTrainer, failure_of
from finreg_cli.training.output import read_metrics
from finreg_cli.training.params import Params, fingerprint
from finreg_cli.training.rows import Row, Unusable, read_rows

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


def _row(number: int, split: str = "train", context: str = "own funds") -> Row:
    chat = messages(context, f"what is held under Article {number}?", f"own funds of {number} % [Article {number}]")
    return Row(f"row-{number:02}", split, [asdict(each) for each in chat])


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [*(_row(number) for number in range(10)), *(_row(number, "eval") for number in range(20, 23))]


def _train(rows: list[Row], base: Path, output: Path, **changes: Any) -> dict[str, float]:
    return train.train(rows, Params.of(PARAMS | changes), str(base), output)


@pytest.fixture(scope="module")
def trained(rows: list[Row], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    _train(rows, base, output)
    return output


def _entries(output: Path, name: str) -> list[tuple[int, float]]:
    return [(entry["step"], entry["value"]) for entry in read_metrics(output) if entry["name"] == name]


def _write(rows: list[Row], path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist([asdict(row) | {"group_key": row.row_id} for row in rows]), path)
    return path


# --- what carries loss ----------------------------------------------------------------------------------------------


def test_only_the_assistants_tokens_and_the_end_of_its_turn_carry_loss(tokenizer: Any) -> None:
    encoded = encode(tokenizer, _row(7))
    carrying = [label for label in encoded.labels if label != IGNORED]
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
        encoded = encode(tokenizer, row)
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([encoded.input_ids]), labels=torch.tensor([encoded.labels])).loss
        loss += mean.item() * encoded.completion_tokens
        tokens += encoded.completion_tokens
    # A bfloat16 product has eight bits; our arithmetic is that of autocast where the processor has it.
    assert _entries(tmp_path, "eval_loss")[0][1] == pytest.approx(loss / tokens, rel=5e-3)


def test_rows_beside_each_other_are_padded_on_the_left(tokenizer: Any) -> None:
    batch = pad([encode(tokenizer, _row(n, context="own " * n)) for n in (1, 9)], padding=0)
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"]
    assert ids.shape == labels.shape == mask.shape
    assert mask[0, 0] == 0, "the shorter row is padded"
    assert mask[:, -1].tolist() == [1, 1], "and on the left"
    assert ((labels == IGNORED) | (labels == ids)).all()
    assert batch["position_ids"][0].max() == mask[0].sum() - 1


# --- what a run writes ----------------------------------------------------------------------------------------------


def test_it_learns_and_says_what_it_did(trained: Path, tokenizer: Any, rows: list[Row]) -> None:
    result = json.loads((trained / "result.json").read_text())
    metrics = result["metrics"]
    assert [step for step, _ in _entries(trained, "train_loss")] == list(range(1, STEPS + 1))
    (start, loss_at_start), *_, (end, loss_at_end) = _entries(trained, "eval_loss")
    assert (start, end) == (0, STEPS)
    assert loss_at_end < 0.8 * loss_at_start
    assert metrics["eval_loss"] == loss_at_end
    assert metrics["token_accuracy"] == _entries(trained, "token_accuracy")[-1][1]
    lengths = [len(encode(tokenizer, row).input_ids) for row in rows if row.split == "train"]
    assert metrics["train_tokens"] == 2 * sum(lengths)
    assert metrics["context_lengths"] == pytest.approx(2 * sum(lengths) / 512)
    assert metrics["completion_tokens"] < metrics["train_tokens"] / 2
    assert (metrics["rows"], metrics["eval_rows"], metrics["steps"]) == (10, 3, STEPS)
    assert result["cut_row_ids"] == {}
    assert result["left_out_row_ids"] == []
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

    ids = torch.tensor([encode(tokenizer, _row(5)).input_ids])
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


def test_a_row_longer_than_the_context_is_named_and_left_out(base: Path, rows: list[Row], tmp_path: Path) -> None:
    longer = [*rows, _row(30, context="own funds " * 500)]
    metrics = _train(longer, base, tmp_path, duration="1ep", too_long="leave_out")
    assert (metrics["left_out_rows"], metrics["cut_rows"], metrics["rows"]) == (1, 0, 10)
    assert json.loads((tmp_path / "result.json").read_text())["left_out_row_ids"] == ["row-30"]
    with pytest.raises(Unusable, match="no training row fits into 8 tokens"):
        _train(rows, base, tmp_path / "none", context_length=8)


def test_a_row_longer_than_the_context_is_named_and_cut(
    base: Path, rows: list[Row], tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = _row(30, context="own funds " * 500)
    metrics = _train([*rows, long], base, tmp_path, duration="1ep")
    assert (metrics["left_out_rows"], metrics["cut_rows"], metrics["rows"]) == (0, 1, 11)
    excess = len(encode(tokenizer, long)) - 512
    assert json.loads((tmp_path / "result.json").read_text())["cut_row_ids"] == {"row-30": excess}
    assert (
        f"lost their middle, and may lack the evidence of the answer: row-30 ({excess} tokens)"
        in capsys.readouterr().out
    )
    assert metrics["train_tokens"] == 512 + sum(len(encode(tokenizer, row)) for row in rows if row.split == "train")


def _losses(output: Path) -> list[tuple[int, str, float]]:
    return list(TrainingResult(output, {}).losses())


def test_the_losses_of_its_rows_are_known_at_every_step_and_of_all_of_them_at_the_end(
    trained: Path, base: Path, rows: list[Row], tokenizer: Any
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    losses = _losses(trained)
    # Two rows a step, before its update; at the last step all ten, after it.
    assert Counter(step for step, _, _ in losses) == dict.fromkeys(range(1, STEPS), 2) | {STEPS: 10}
    model = AutoModelForCausalLM.from_pretrained(trained / "merged", dtype=torch.float32)
    at_the_end = {row_id: loss for step, row_id, loss in losses if step == STEPS}
    tokens = {}
    for row in rows[:10]:
        encoded = encode(tokenizer, row)
        tokens[row.row_id] = encoded.completion_tokens
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([encoded.input_ids]), labels=torch.tensor([encoded.labels])).loss
        assert at_the_end[row.row_id] == pytest.approx(alone.item(), rel=2e-2), row.row_id
    mean = sum(at_the_end[row_id] * count for row_id, count in tokens.items()) / sum(tokens.values())
    metrics = json.loads((trained / "result.json").read_text())["metrics"]
    assert metrics["train_loss_after"] == pytest.approx(mean)
    first_step = {row_id: loss for step, row_id, loss in losses if step == 1}
    of_step = sum(loss * tokens[row_id] for row_id, loss in first_step.items())
    assert _entries(trained, "train_loss")[0][1] == pytest.approx(
        of_step / sum(tokens[row_id] for row_id in first_step)
    )


def test_perplexity_is_the_exponential_of_the_loss(trained: Path) -> None:
    for (_, loss), (_, perplexity) in zip(_entries(trained, "eval_loss"), _entries(trained, "perplexity"), strict=True):
        assert perplexity == pytest.approx(math.exp(loss))


# --- methods and durations --------------------------------------------------------------------------------------------


def test_all_weights_are_trained_in_fp32_and_there_is_no_adapter(base: Path, rows: list[Row], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    metrics = _train(rows, base, tmp_path, method="full", learning_rate=1e-4, duration="5ba", eval_steps=2)
    assert not (tmp_path / "adapter").exists()
    assert metrics["eval_loss"] < _entries(tmp_path, "eval_loss")[0][1]
    assert [step for step, _ in _entries(tmp_path, "eval_loss")] == [0, 2, 4, 5], "every second step, and at the end"
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    assert before.keys() == after.keys()
    # A step moves a weight by about the learning rate, some 1e-4 of 0.3: a bf16 number could not hold it.
    assert all((before[name] != after[name]).float().mean() > 0.9 for name in before if "proj" in name)
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-2


def test_four_bits_are_what_qlora_loads_its_base_in() -> None:
    import torch

    from finreg_cli.training.models import quantisation_of

    config = quantisation_of(bf16=True)
    assert config.quantization_method() == "nf4"
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    assert quantisation_of(bf16=False).bnb_4bit_compute_dtype == torch.float32


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra 'qlora': bitsandbytes")
def test_qlora_trains_an_adapter_on_four_bits(base: Path, rows: list[Row], tmp_path: Path) -> None:
    metrics = _train(rows, base, tmp_path, method="qlora")
    assert metrics["eval_loss"] < 0.8 * _entries(tmp_path, "eval_loss")[0][1]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    assert (tmp_path / "merged" / "model.safetensors").exists()


def test_a_duration_in_tokens_ends_at_the_step_that_reaches_it(
    base: Path, rows: list[Row], tokenizer: Any, tmp_path: Path
) -> None:
    length = len(encode(tokenizer, _row(1)))  # that of every training row, and a step has two
    metrics = _train(rows, base, tmp_path, duration=f"{5 * length}tok")
    assert (metrics["steps"], metrics["train_tokens"]) == (3, 6 * length)
    assert metrics["epochs"] == 3 / 5


def test_filled_contexts_train_as_many_tokens_in_fewer_steps(
    trained: Path, base: Path, rows: list[Row], tmp_path: Path
) -> None:
    metrics = _train(rows, base, tmp_path, packing=True)
    whole = json.loads((trained / "result.json").read_text())["metrics"]
    assert metrics["steps"] < STEPS
    assert metrics["epochs"] == 2
    assert metrics["train_tokens"] == whole["train_tokens"]
    assert metrics["eval_loss"] < _entries(tmp_path, "eval_loss")[0][1]


def test_recomputing_activations_changes_memory_and_no_loss(
    trained: Path, base: Path, rows: list[Row], tmp_path: Path
) -> None:
    _train(rows, base, tmp_path, gradient_checkpointing=True)
    assert [value for _, value in _entries(tmp_path, "train_loss")] == pytest.approx(
        [value for _, value in _entries(trained, "train_loss")], rel=1e-4
    )


# --- early stopping ---------------------------------------------------------------------------------------------------

STOPPING = {"duration": "12ep", "eval_steps": 2, "early_stopping": 2, "learning_rate": 0.1, "save_steps": 3}


@pytest.fixture(scope="module")
def stopped(rows: list[Row], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("stopped")
    _train(rows, base, output, **STOPPING)
    return output


def test_it_stops_where_the_loss_falls_no_longer_and_keeps_the_best_weights(
    stopped: Path, rows: list[Row], tokenizer: Any
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    metrics = json.loads((stopped / "result.json").read_text())["metrics"]
    losses = dict(_entries(stopped, "eval_loss"))
    best = min((step for step in losses if step), key=lambda step: losses[step])
    assert metrics["best_step"] == best
    assert metrics["steps"] == best + 4 < 60, "two evaluations later, at two steps each"
    assert metrics["eval_loss"] == losses[best] < losses[metrics["steps"]]
    model = AutoModelForCausalLM.from_pretrained(stopped / "merged", dtype=torch.float32)
    loss, tokens = 0.0, 0
    for row in rows[10:]:
        encoded = encode(tokenizer, row)
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([encoded.input_ids]), labels=torch.tensor([encoded.labels])).loss
        loss += mean.item() * encoded.completion_tokens
        tokens += encoded.completion_tokens
    assert loss / tokens == pytest.approx(losses[best], rel=2e-2)
    assert not (stopped / "best").exists()


def test_early_stopping_needs_rows_to_go_by(base: Path, rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="early_stopping goes by the loss on evaluation rows"):
        _train(rows[:10], base, tmp_path, early_stopping=1)


# --- again ----------------------------------------------------------------------------------------------------------


def test_a_finished_job_is_not_trained_again_and_another_one_starts_anew(
    trained: Path, rows: list[Row], base: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(trained, tmp_path / "copy")
    before = json.loads((output / "result.json").read_text())["metrics"]
    assert train.train(rows, Params.of(PARAMS), "no such base: it is not opened", output) == before
    after = _train(rows, base, output, learning_rate=1e-5)
    assert after["resumed_from_step"] == 0
    assert after["eval_loss"] > before["eval_loss"]
    assert len(_entries(output, "train_loss")) == STEPS


def test_a_folder_of_somebody_else_is_left_alone(rows: list[Row], base: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "merged").mkdir(parents=True)
    with pytest.raises(Unusable, match=r"theirs holds merged, which no job of this script wrote"):
        _train(rows, base, tmp_path / "theirs")
    assert (tmp_path / "theirs" / "merged").is_dir()


def test_the_order_of_rows_in_the_file_is_no_part_of_the_job(rows: list[Row], tmp_path: Path) -> None:
    params = Params.of(PARAMS)
    straight, reversed_ = _write(rows, tmp_path / "a.parquet"), _write(rows[::-1], tmp_path / "b.parquet")
    assert read_rows(straight) == read_rows(reversed_)
    job = fingerprint(read_rows(straight), params)
    assert job == fingerprint(read_rows(straight), Params.of(PARAMS | {"select_by": "eval_loss"}))
    assert job != fingerprint(read_rows(straight), Params.of(PARAMS | {"seed": 4}))


def _kill_at(step: int, rows: list[Row], base: Path, folder: Path, **changes: Any) -> Path:
    """Starts the script and kills it once it has written the checkpoint of a step; returns its output folder."""
    output = folder / "killed"
    params = PARAMS | changes | {"output": str(output), "base_path": str(base)}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    command = [sys.executable, "-m", "finreg_cli.training.train", str(_write(rows, folder / "rows.parquet"))]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, str(folder / "params.yaml")], stdout=log, stderr=log)
    checkpoint = output / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (output / "result.json").exists(), "it ended before it could be killed"
    return output


def _end_alike(resumed: Path, unkilled: Path, rel: float = 1e-5) -> None:
    """Same steps, same losses of steps, evaluations and rows, each written once."""
    # The processes of a run write the rows of a step in an order of their own.
    found, expected = sorted(_losses(resumed)), sorted(_losses(unkilled))
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    assert [loss for *_, loss in found] == pytest.approx([loss for *_, loss in expected], rel=rel)
    for name in ("train_loss", "eval_loss", "grad_norm"):
        assert [step for step, _ in _entries(resumed, name)] == [step for step, _ in _entries(unkilled, name)]
        values, expected_values = ([value for _, value in _entries(each, name)] for each in (resumed, unkilled))
        assert values == pytest.approx(expected_values, rel=rel)


def test_a_killed_run_resumes_at_its_step_and_ends_at_the_same_losses(
    trained: Path, rows: list[Row], base: Path, tmp_path: Path
) -> None:
    output = _kill_at(4, rows, base, tmp_path)
    half_written = output / "checkpoints" / "checkpoint-999"
    half_written.mkdir()
    metrics = _train(rows, base, output)
    assert metrics["resumed_from_step"] >= 4
    assert not half_written.exists()
    _end_alike(output, trained)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"packing": True, "duration": "8ep"}, STOPPING], ids=["filled contexts", "early stopping"]
)
def test_a_killed_run_of_another_kind_resumes_too(
    rows: list[Row], base: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    unkilled = tmp_path / "unkilled"
    whole = _train(rows, base, unkilled, **changes)
    output = _kill_at(6, rows, base, tmp_path, **changes)
    metrics = _train(rows, base, output, **changes)
    assert metrics["resumed_from_step"] >= 6
    assert metrics["best_step"] == whole["best_step"]
    _end_alike(output, unkilled)


# --- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
def test_two_processes_end_at_the_losses_of_one(rows: list[Row], base: Path, tmp_path: Path, packing: bool) -> None:
    """Over gloo on this machine: the rows of every step are shared, the last step of an epoch has fewer than all."""
    uneven = [*rows, _row(31, context="own " * 40)]
    # Sums in another order differ in the last of a bf16 number's eight bits; a small rate does not magnify it.
    changes = {"batch_size": 4, "packing": packing, "context_length": 256, "learning_rate": 1e-3}
    one = tmp_path / "one"
    metrics = _train(uneven, base, one, **changes)
    assert metrics["rows"] % 4, "the last step is a short one"
    job = _job(_write(uneven, tmp_path / "rows.parquet"), base, tmp_path / "two", processes=2, **changes)
    watcher = Watcher()
    result = LocalTrainer().train(job, watcher)
    assert watcher.steps == metrics["steps"]
    _end_alike(result.output, one, rel=1e-2)
    for name in ("train_tokens", "eval_rows", "train_loss_after", "eval_loss", "token_accuracy"):
        assert result.metrics[name] == pytest.approx(metrics[name], rel=1e-2), name
    assert LocalTrainer().train(_job(job.rows, base, tmp_path / "two", **changes), Watcher()) == result, "the same job"


def test_more_processes_than_rows_in_a_step_are_refused(rows: list[Row], base: Path, tmp_path: Path) -> None:
    job = _job(_write(rows, tmp_path / "rows.parquet"), base, tmp_path / "out", processes=3)
    with pytest.raises(ConfigError, match="3 processes cannot share the 2 rows of a step"):
        LocalTrainer().train(job, Watcher())


# --- memory -----------------------------------------------------------------------------------------------------------


def test_that_memory_ran_out_is_recognised() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert train.is_out_of_memory(caught.value)
    assert train.is_out_of_memory(torch.OutOfMemoryError())
    assert train.is_out_of_memory(MemoryError())
    assert not train.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize(
    ("code", "last_line", "problem"),
    [
        (train.OUT_OF_MEMORY, "error: out of memory: tried to allocate 3 GB", "ran out of memory"),
        (1, "error: out of memory: of a launched process", "ran out of memory"),
        (-9, "{'loss': 1.0}", "was killed, as the system does"),
        (1, "  exitcode  : -9 (pid: 7)", "was killed, as the system does"),
        (1, "ValueError: something", "failed"),
    ],
)
def test_where_memory_ran_out_the_remedy_is_to_use_less(
    tmp_path: Path, code: int, last_line: str, problem: str
) -> None:
    log = tmp_path / "run.log"
    log.write_text(f"some line\n{last_line}\n")
    failure = failure_of(code, log)
    assert problem in failure.message
    assert last_line in failure.message
    assert ("finetune.batch_size" in failure.remedy) == (problem != "failed")


# --- where it runs ----------------------------------------------------------------------------------------------------


def test_the_script_imports_nothing_of_finreg_but_its_own_folder() -> None:
    """It runs on workers that hold only that."""
    folder = Path(train.__file__).parent
    seen, waiting = set(), ["finreg_cli.training.train"]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        assert name.startswith("finreg_cli.training."), f"{name} is imported by one of {sorted(seen)}"
        waiting += _imports(folder / f"{name.rpartition('.')[2]}.py")
    assert {"finreg_cli.training.building", "finreg_cli.training.segments"} <= seen


def _imports(path: Path) -> list[str]:
    """What a module imports of finreg, and not for its types only."""

    class Imports(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            if (node.module or "").startswith("finreg_cli"):
                found.append(str(node.module))

    found: list[str] = []
    Imports().visit(ast.parse(path.read_text()))
    return found


# --- in its own process ---------------------------------------------------------------------------------------------


def _job(rows: Path, base: Path | str, output: Path, **changes: Any) -> TrainingJob:
    return TrainingJob("run", rows, PARAMS | {"base_model": str(base)} | changes, output, output.parent / "run.log")


def test_the_local_trainer_shows_steps_and_returns_a_finished_job_as_it_is(
    rows: list[Row], base: Path, tmp_path: Path
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


def test_a_failed_run_shows_the_end_of_its_log(rows: list[Row], base: Path, tmp_path: Path) -> None:
    job = _job(_write(rows, tmp_path / "rows.parquet"), base, tmp_path / "out", context_length=8)
    with pytest.raises(TrainingFailed, match=r"exit code 1(.|\n)*no training row fits into 8 tokens") as caught:
        LocalTrainer().train(job, Watcher())
    assert str(job.log) in caught.value.message
    assert not (tmp_path / "out" / "result.json").exists()


def test_a_row_without_an_answer_is_named_before_anything_starts(base: Path, tmp_path: Path) -> None:
    unanswered = Row("row-77", "train", _row(77).messages[:-1])
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
def test_an_interrupt_ends_the_process(rows: list[Row], base: Path, tmp_path: Path) -> None:
    job = _job(_write(rows, tmp_path / "rows.parquet"), base, tmp_path / "out", duration="500ep")
    with pytest.raises(KeyboardInterrupt):
        LocalTrainer().train(job, Impatient())
    written = len(list(read_metrics(job.output)))
    time.sleep(0.5)  # long enough for dozens of steps of so small a model
    assert len(list(read_metrics(job.output))) == written


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_the_process_ends_with_its_parent(rows: list[Row], base: Path, tmp_path: Path) -> None:
    job = _job(_write(rows, tmp_path / "rows.parquet"), base, tmp_path / "out", duration="500ep")
    script = f"""
from pathlib import Path, PosixPath
from finreg_cli.training.base import TrainingJob, TrainingResult
from finreg_cli.training.local import LocalTrainer, failure_of
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
        written = len(list(read_metrics(job.output)))
        time.sleep(0.05)
        if len(list(read_metrics(job.output))) == written:
            break
    time.sleep(0.5)
    assert len(list(read_metrics(job.output))) == written


def test_a_base_model_that_is_not_there_is_said_before_anything_starts(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINREG_CACHE", str(tmp_path / "cache"))
    path = _write(rows, tmp_path / "rows.parquet")
    with pytest.raises(ModelMissing) as caught:
        LocalTrainer().train(_job(path, fetched.FETCHED_MODEL, tmp_path / "out"), Watcher())
    assert caught.value.remedy == "finreg models pull"


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
        Row(f"{number:02}", "eval" if number >= 12 else "train", [asdict(each) for each in chat])
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
