"""Training on this machine: the script in a process of its own, which ends with this one."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from finreg_cli.config import FETCHED_MODEL
from finreg_cli.domain.progress import Advance, Progress
from finreg_cli.errors import ConfigError, MissingExtra, TrainingFailed
from finreg_cli.training import fetched
from finreg_cli.training.base import TrainingJob, TrainingResult
from finreg_cli.training.gguf_export import dequantised
from finreg_cli.training.train import Params, Unusable, fingerprint, finished, read_metrics, read_rows

_POLL_SECONDS = 0.3
_LAST_LINES = 12


class LocalTrainer:
    """Runs ``finreg_cli.training.train`` as a subprocess and shows its progress."""

    def train(self, job: TrainingJob, progress: Progress) -> TrainingResult:
        """Trains, resuming from the newest checkpoint of ``job.output``; a finished job is returned as it is.

        Raises:
            ModelMissing: the base model was not pulled.
            ConfigError: ``base_model`` is a folder without a model.
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
        _require_extra()
        params["base_path"] = str(base_folder(job.params["base_model"], progress))
        job.output.mkdir(parents=True, exist_ok=True)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        params_file = job.output / "params.yaml"
        params_file.write_text(yaml.safe_dump(params, sort_keys=True))
        command = [sys.executable, "-m", "finreg_cli.training.train", str(job.rows), str(params_file)]
        code = _run([*command, "--end-with-stdin"], job, progress)
        metrics = finished(job.output, identity)
        if code != 0 or metrics is None:
            raise _failure(code, job.log)
        return TrainingResult(job.output, metrics)


def base_folder(base_model: str, progress: Progress | None = None) -> str:
    """What transformers loads the base model from: a folder, or a Hugging Face id as it is.

    A fetched model is dequantised once, which takes some seconds.

    Raises:
        ModelMissing: a fetched model that was not pulled.
        ConfigError: a folder without a model.
    """
    if base_model in fetched.KNOWN:
        model = fetched.require(base_model)
        if progress is None:
            return str(dequantised(model))
        with progress.track(f"preparing {base_model}", None):
            return str(dequantised(model))
    folder = Path(base_model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"finetune.base_model: the folder {folder} holds no config.json, so no model",
                "give a folder that transformers saved, a Hugging Face id, or " + FETCHED_MODEL,
            )
        return str(folder)
    if folder.is_absolute() or base_model.startswith(("./", "../", "~")):
        raise ConfigError(
            f"finetune.base_model: there is no folder {folder}",
            "give a folder that transformers saved, a Hugging Face id, or " + FETCHED_MODEL,
        )
    return base_model


def describe_base(base_model: str) -> str:
    """The base model in words, for `finreg doctor`; raises as `base_folder` does, and computes nothing."""
    if base_model in fetched.KNOWN:
        return f"{base_model} in {fetched.require(base_model).folder} ({fetched.KNOWN[base_model].licence})"
    where = base_folder(base_model)
    return f"folder {where}" if Path(where).is_dir() else f"{where}, from the Hugging Face hub when it is first used"


def _require_extra() -> None:
    for package in ("torch", "transformers", "peft", "trl"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "train", "training on this machine")


def _run(command: list[str], job: TrainingJob, progress: Progress) -> int:
    """The exit code. The process ends when this one does: its standard input is a pipe that nobody writes to."""
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Threads that sleep while they wait: on two free cores 15 % slower than threads that spin, but twice as
            # fast or more as soon as another process wants one of the cores.
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
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


def _failure(code: int, log: Path) -> TrainingFailed:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    last = "\n".join(lines[-_LAST_LINES:]) or "(it printed nothing)"
    return TrainingFailed(
        f"the training process ended with {how}; the last lines of {log}:\n{last}",
        "the same command goes on from the last checkpoint; out of memory: lower finetune.batch_size or context_length",
    )
