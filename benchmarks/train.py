"""How fast the training script is: `python benchmarks/train.py [--rows N] [--steps N] [--rounds N] [--json FILE]`.

Beside it runs TRL's plain `SFTTrainer`, as its documentation has it: the same model (SmolLM2-135M-Instruct), the same
rows (the demo's, by rules, in tokens already), the same batches in the same order, LoRA of rank 16 on all linear
layers from the same start, AdamW with the same learning rates, loss on completions only, bf16 autocast. It runs three
times: with the base in fp32 as ours loads it, with ``dtype=bfloat16`` (faster, and less exact), and with
``padding_free=True``.

A token counts where it is a row's own, padding does not. Seconds are those of the training loop alone; peak memory is
that of the whole process. Every round runs each once, in a process of its own; the ratio is of medians, and the loss
curves of the first round are held against ours. It ends with exit code 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from finreg_cli.config import FETCHED_MODEL

HERE = Path(__file__).parent
OURS = "finreg"
PEERS = {"TRL": {}, "TRL, base in bf16": {"dtype": "bfloat16"}, "TRL, padding_free": {"padding_free": True}}
GOAL, AIM = 1.15, 1.3
BATCH_SIZE, LEARNING_RATE, SEED = 4, 1e-3, 7
LORA = {"rank": 16, "alpha": 32, "dropout": 0.0}
WARM_UP = 0.05


@dataclass(frozen=True)
class Measured:
    """One run of one trainer; ``losses`` are those of its steps."""

    tokens_per_second: float
    peak_memory_gb: float
    losses: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=64, help="rows of the demo's training split, repeated if need be")
    parser.add_argument("--steps", type=int, default=16, help=f"optimiser steps of {BATCH_SIZE} rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="writes all figures to this file")
    parser.add_argument("--peer", choices=[*PEERS], help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        print(json.dumps(asdict(train_with_trl(json.loads(given.job.read_text()), **PEERS[given.peer]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), given.rows, given.steps, given.rounds, given.json)


def compare(folder: Path, rows: int, steps: int, rounds: int, json_file: Path | None) -> None:
    prepare(folder, rows, steps)
    print(f"{steps} steps of {BATCH_SIZE} rows, {rounds} rounds, {os.cpu_count()} cores", flush=True)
    found: dict[str, list[Measured]] = {name: [] for name in (OURS, *PEERS)}
    for number in range(rounds):
        # Each is once the first and once the last.
        for name in list(found) if number % 2 == 0 else reversed(list(found)):
            measured = measure_ours(folder, number) if name == OURS else measure_peer(folder, name)
            found[name].append(measured)
            print(f"round {number + 1}: {name}: {measured.tokens_per_second:.1f} tokens/s", flush=True)
    report(found)
    if json_file:
        json_file.write_text(
            json.dumps({name: [asdict(run) for run in runs] for name, runs in found.items()}, indent=1)
        )


def report(found: dict[str, list[Measured]]) -> None:
    medians = {name: statistics.median(run.tokens_per_second for run in runs) for name, runs in found.items()}
    print("\n| trainer | tokens/s, median (each) | peak GB | finreg is faster by | loss curve beside finreg's |")
    print("|---|---|---|---|---|")
    ours = found[OURS][0].losses
    for name, runs in found.items():
        each = ", ".join(f"{run.tokens_per_second:.0f}" for run in runs)
        peak = statistics.median(run.peak_memory_gb for run in runs)
        apart = [abs(a - b) for a, b in zip(ours, runs[0].losses, strict=True)]
        curve = f"at most {max(apart):.4f} apart, {statistics.mean(apart):.4f} on average" if name != OURS else ""
        ratio = f"{medians[OURS] / medians[name]:.2f}" if name != OURS else ""
        print(f"| {name} | {medians[name]:.1f} ({each}) | {peak:.2f} | {ratio} | {curve} |")
    print(f"\nlosses of {OURS}: {', '.join(f'{loss:.4f}' for loss in ours)}")
    print(f"losses of TRL: {', '.join(f'{loss:.4f}' for loss in found['TRL'][0].losses)}")
    print(f"goal: {GOAL} times TRL, aim: {AIM}; measured: {medians[OURS] / medians['TRL']:.2f}")


# --- what they train on ----------------------------------------------------------------------------------------------


def prepare(folder: Path, rows: int, steps: int) -> None:
    """Writes what ours reads, ``rows.jsonl`` and ``params.yaml``, and for TRL ``job.json``, the batches in tokens."""
    from transformers import AutoTokenizer

    from finreg_cli.training.base_models import base_folder
    from finreg_cli.training.encoding import encode
    from finreg_cli.training.params import Duration
    from finreg_cli.training.rows import read_rows
    from finreg_cli.training.schedule import schedule

    chats = demo_chats(folder)[:rows]
    lines = [json.dumps({"row_id": f"{n:05}", "messages": chat}) for n, chat in enumerate(chats)]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    base = base_folder(FETCHED_MODEL)
    duration = f"{steps}ba"
    params = {"base_model": FETCHED_MODEL, "base_path": base, "learning_rate": LEARNING_RATE, "seed": SEED}
    params |= {"duration": duration, "batch_size": BATCH_SIZE, "save_steps": 10**6, "lora": LORA}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [encode(tokenizer, row) for row in read_rows(folder / "rows.jsonl")]
    plan = schedule([len(row) for row in encoded], Duration.of(duration), BATCH_SIZE, None, SEED)
    batches = [[encoded[number] for number in plan.rows_of(step)] for step in range(steps)]
    job = {"base": base, "batches": [[(row.input_ids, row.labels) for row in batch] for batch in batches]}
    (folder / "job.json").write_text(json.dumps(job))


def demo_chats(folder: Path) -> list[Any]:
    """The training rows that the demo makes by rules from its sample regulations."""
    config = HERE.parent / "configs" / "local.yaml"
    for stage in ("ingest", "generate"):
        command = [sys.executable, "-m", "finreg_cli", stage, "-c", str(config), "-q"]
        command += [
            "--set",
            f"engine.warehouse={folder / 'warehouse'}",
            "--set",
            f"tracking.uri=sqlite:///{folder}/m.db",
        ]
        subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
    from deltalake import DeltaTable

    table = DeltaTable(str(folder / "warehouse" / "main" / "euroreg" / "qa_dataset_train"))
    return [row["messages"] for row in table.to_pyarrow_table().to_pylist()]


# --- the trainers ----------------------------------------------------------------------------------------------------


def measure_ours(folder: Path, number: int) -> Measured:
    output = folder / f"ours-{number}"
    params = folder / f"params-{number}.yaml"
    params.write_text((folder / "params.yaml").read_text() + f"output: {output}\n")
    run_alone([sys.executable, "-m", "finreg_cli.training.train", str(folder / "rows.jsonl"), str(params)])
    metrics = json.loads((output / "result.json").read_text())["metrics"]
    entries = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["value"] for entry in entries if entry["name"] == "train_loss"]
    return Measured(metrics["tokens_per_second"], metrics["peak_memory_gb"], losses)


def measure_peer(folder: Path, name: str) -> Measured:
    printed = run_alone([sys.executable, __file__, "--peer", name, "--job", str(folder / "job.json")])
    return Measured(**json.loads(printed.splitlines()[-1]))


def run_alone(command: Sequence[str]) -> str:
    """What a process printed; ends this one with its log where it fails."""
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def train_with_trl(job: dict[str, Any], dtype: str = "float32", padding_free: bool = False) -> Measured:
    """TRL's SFT trainer on batches in tokens, in their order."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from finreg_cli.training.models import has_bf16

    batches, steps = job["batches"], len(job["batches"])
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=getattr(torch, dtype))
    torch.manual_seed(SEED)
    lora = LoraConfig(
        r=LORA["rank"],
        lora_alpha=LORA["alpha"],
        lora_dropout=LORA["dropout"],
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, lora)
    optimiser = torch.optim.AdamW(
        [weight for weight in adapted.parameters() if weight.requires_grad], lr=LEARNING_RATE, weight_decay=0.0
    )
    rising = max(1, round(WARM_UP * steps))
    rates = LambdaLR(optimiser, lambda step: min((step + 1) / rising, (steps - step) / steps))
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH_SIZE,
            train_sampling_strategy="sequential",
            max_grad_norm=1.0,
            seed=SEED,
            bf16=has_bf16(torch.cuda.is_available()),  # both as ours has it
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,
            padding_free=padding_free,
            max_length=None,
            logging_steps=1,
            save_strategy="no",
            dataloader_pin_memory=False,
            disable_tqdm=True,
            report_to=[],
        )
        trainer = SFTTrainer(
            model=adapted,
            args=arguments,
            train_dataset=Dataset.from_list(
                [{"input_ids": ids, "labels": labels} for batch in batches for ids, labels in batch]
            ),
            processing_class=AutoTokenizer.from_pretrained(job["base"]),
            optimizers=(optimiser, rates),
        )
        begun = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begun
    tokens = sum(len(ids) for batch in batches for ids, _ in batch)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return Measured(tokens / seconds, peak, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


if __name__ == "__main__":
    main()
