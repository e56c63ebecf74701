"""Training on this machine: the script in a process of its own, which ends with this one."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from finreg_cli.domain.progress import Advance, Progress
from finreg_cli.errors import ConfigError, MissingExtra, TrainingFailed
from finreg_cli.training.base import TrainingJob, TrainingResult
from finreg_cli.training.base_models import ModelRegistry, resolve
from finreg_cli.training.output import finished, read_metrics
from finreg_cli.training.params import Params, fingerprint
from finreg_cli.training.rows import Unusable, read_rows
from finreg_cli.training.train import OUT_OF_MEMORY

_SCRIPT = "finreg_cli.training.train"
_POLL_SECONDS = 0.3
_LAST_LINES = 12
_LAUNCHERS_LINES = 40
"""PyTorch's launcher ends its log with a table of this size, of how its processes ended."""
_KILLED = 9
_LESS_MEMORY = (
    "halve finetune.batch_size (or context_length), set finetune.gradient_checkpointing: true, or method: lora instead "
    "of full; the same command goes on from the last checkpoint"
)


class LocalTrainer:
    """Runs ``finreg_cli.training.train`` as a subprocess, or as several that train together, and shows its progress.

    Args:
        registry: where a base model ``models:/NAME/VERSION`` comes from.
    """

    def __init__(self, registry: ModelRegistry | None = None) -> None:
        self._registry = registry

    def train(self, job: TrainingJob, progress: Progress) -> TrainingResult:
        """Trains, resuming from the newest checkpoint of ``job.output``; a finished job is returned as it is.

        Raises:
            ModelMissing: the base model was not pulled, or cannot be had.
            ConfigError: ``base_model`` is a folder without a model, or a step has fewer rows than processes.
            MissingExtra: the extra ``train`` is not installed.
            TrainingFailed: with the last lines of the log.
        """
        params = {**job.params, "output": str(job.output)}
        try:
            identity = fingerprint(read_rows(job.rows), Params.of(params))
        except Unusable as error:
            raise TrainingFailed(str(error), "finreg generate writes such rows anew") from None
        done = finished(job.output, identity)
        if done is not None:
            return TrainingResult(job.output, done)
        _require_extra(job.params)
        processes = _processes(job.params)
        base = resolve(job.params["base_model"], progress, self._registry)
        params |= {"base_path": str(base.folder), "base_licence": base.licence}
        job.output.mkdir(parents=True, exist_ok=True)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        params_file = job.output / "params.yaml"
        params_file.write_text(yaml.safe_dump(params, sort_keys=True))
        command = [*_launcher(processes), "-m", _SCRIPT, str(job.rows), str(params_file), "--end-with-stdin"]
        said_before = job.log.stat().st_size if job.log.exists() else 0
        code = _run(command, processes, job, progress)
        metrics = finished(job.output, identity)
        if code != 0 or metrics is None:
            raise failure_of(code, job.log, said_before)
        return TrainingResult(job.output, metrics)


def _require_extra(params: dict[str, Any]) -> None:
    for package in ("torch", "transformers", "peft", "trl"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "train", "training on this machine")
    if params.get("method") == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("bitsandbytes", "qlora", "training with method qlora")


def _processes(params: dict[str, Any]) -> int:
    processes: int = params.get("processes", 1)
    rows = params.get("batch_size", processes)
    if rows < processes:
        raise ConfigError(
            f"finetune.processes: {processes} processes cannot share the {rows} rows of a step (finetune.batch_size "
            "counts those of all processes)",
            f"--set finetune.batch_size={processes}, or fewer processes",
        )
    return processes


def _launcher(processes: int) -> list[str]:
    """What the script is started by: Python, or PyTorch's launcher of processes that accelerate finds by itself."""
    if processes == 1:
        return [sys.executable]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]


def _environment(processes: int) -> dict[str, str]:
    # Threads that sleep while they wait: on two free cores 15 % slower than threads that spin, but twice as fast or
    # more as soon as another process wants one of the cores.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    if processes > 1:
        # Else the launcher gives each of them one thread only.
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    return environment


def _run(command: list[str], processes: int, job: TrainingJob, progress: Progress) -> int:
    """The exit code. The process ends when this one does: its standard input is a pipe that nobody writes to."""
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(processes),
        )
        try:
            with progress.track(f"training {job.run_id}", None, "steps"):
                steps = _wait_for_steps(process, job.output)
            if steps:
                with progress.track(f"training {job.run_id}", steps, "steps") as advance:
                    _follow(process, job.output, advance)
            return process.wait()
        finally:
            _end(process)


def _wait_for_steps(process: subprocess.Popen[bytes], output: Path) -> int:
    """The number of steps once the training loop begins; 0 where the process ended before."""
    while process.poll() is None:
        for entry in read_metrics(output):
            if entry["name"] == "total_steps":
                return int(entry["value"])
        time.sleep(_POLL_SECONDS)
    return 0


def _follow(process: subprocess.Popen[bytes], output: Path, advance: Advance) -> None:
    shown = 0
    while True:
        ended = process.poll() is not None
        step = max((entry["step"] for entry in read_metrics(output)), default=0)
        if step > shown:
            advance(step - shown)
            shown = step
        if ended:
            return
        time.sleep(_POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all that it started, if it still runs: an interrupt must not leave it behind."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin:
        process.stdin.close()


def failure_of(code: int, log: Path, since: int = 0) -> TrainingFailed:
    """What the end of a training process means, with the last lines of its log, from a byte on, and a remedy."""
    text = log.read_bytes()[since:].decode(errors="replace") if log.is_file() else ""
    last = text.splitlines()[-_LAST_LINES:]
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    shown = "\n".join(last) or "(it printed nothing)"
    if code == OUT_OF_MEMORY or any("error: out of memory" in line for line in last):
        problem, remedy = "ran out of memory", _LESS_MEMORY
    elif code == -_KILLED or any(f"exitcode  : -{_KILLED}" in line for line in text.splitlines()[-_LAUNCHERS_LINES:]):
        problem, remedy = "was killed, as the system does with a process when memory runs out", _LESS_MEMORY
    else:
        problem, remedy = "failed", "the same command goes on from the last checkpoint"
    return TrainingFailed(f"training {problem} ({how}); the last lines of {log}:\n{shown}", remedy)
