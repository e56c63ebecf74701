"""The selected model into the registry, with everything that an auditor follows from there back to its rows."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from finreg_cli import __version__
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.records import FINETUNE_RUNS, FT_TRAINING, FinetuneRun
from finreg_cli.errors import NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.base import Run
from finreg_cli.stages.examples import example
from finreg_cli.tracking.base import Registration, Tracker
from finreg_cli.training.base import hash_of_weights


def register(run: Run, lakehouse: Lakehouse, tracker: Tracker, best: FinetuneRun) -> FinetuneRun:
    """Registers a finished run's model under ``finetune.register_to`` and records its version in ``finetune_runs``.

    Registering the same model again changes nothing, but for the alias, which points at it afterwards.

    Args:
        run: the command, with the configuration that says where to.
        lakehouse: where ``finetune_runs`` and the training rows are.
        tracker: where the run was tracked.
        best: the run; its ``model_uri`` is the folder of its merged model.

    Returns:
        the run with its ``model_version``, ``models:/NAME/VERSION``.

    Raises:
        NothingToDo: its merged model is not on this disk.
        ConfigError: the registry's store cannot be opened.
        StageFailed: the registry cannot be reached, or refuses; the same command registers later.
    """
    section = run.config.finetune
    name = section.register_to
    if name is None:
        return best
    merged = Path(best.model_uri or "")
    if not best.model_uri or not (merged / "config.json").is_file():
        raise NothingToDo(
            f"run {best.run_id} cannot be registered: its merged model is not in {best.model_uri}",
            "finreg finetune trains it again where the folder of the run is removed",
        )
    begun = time.monotonic()
    adapter = merged.with_name("adapter")
    messages, max_new_tokens = example(run.config)
    with run.progress.track(f"registering {name}", None):
        version = tracker.register(
            Registration(
                name=name,
                alias=section.register_alias,
                run_id=best.run_id,
                merged=merged,
                adapter=adapter if adapter.is_dir() else None,
                example=[asdict(each) for each in messages],
                max_new_tokens=max_new_tokens,
                facts=_facts(lakehouse, best, merged),
                description=_description(best),
            )
        )
    registered = replace(best, model_version=f"models:/{name}/{version}")
    lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches([registered]))
    run.progress.note(
        f"registered as {registered.model_version}, alias {section.register_alias} ({time.monotonic() - begun:.0f} s)"
    )
    return registered


def _facts(lakehouse: Lakehouse, best: FinetuneRun, merged: Path) -> dict[str, str]:
    facts = {
        "task": best.task,
        "base_model": best.base_model,
        "base_licence": str(_result(merged).get("base_licence") or "unknown"),
        "method": best.method,
        "learning_rate": f"{best.learning_rate:g}",
        "sweep_id": best.sweep_id,
        "training_table": lakehouse.location(FT_TRAINING),
        "training_version": str(best.training_version),
        "training_data_sha256": _hash_of_rows(lakehouse, best.training_version),
        "weights_sha256": hash_of_weights(merged),
        "finreg_version": __version__,
    }
    if best.round:
        facts["round"] = str(best.round)
    return facts


def _description(best: FinetuneRun) -> str:
    measured = {name: best.metrics.get(name) for name in ("eval_loss", "token_accuracy")}
    figures = "".join(f", {name} {value:.3f}" for name, value in measured.items() if value is not None)
    return (
        f"{best.base_model} tuned by finreg {__version__} for {best.task} ({best.method}, learning rate "
        f"{best.learning_rate:g}) on {best.training_table} version {best.training_version}; run {best.run_id}, "
        f"selected on ft_eval{figures}."
    )


def _result(merged: Path) -> dict[str, Any]:
    """What the training script wrote beside the model."""
    path = merged.with_name("result.json")
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StageFailed(f"{path} cannot be read: {error}", f"remove {path.parent} and train it again") from error
    return result


def _hash_of_rows(lakehouse: Lakehouse, version: int) -> str:
    """Of the training rows with their ids, in whatever order the table gives them."""
    rows = FT_TRAINING.records(lakehouse.read(FT_TRAINING, version=version))
    digest = hashlib.sha256()
    for row in sorted(content_hash(asdict(each)) for each in rows):
        digest.update(row.encode())
    return digest.hexdigest()
