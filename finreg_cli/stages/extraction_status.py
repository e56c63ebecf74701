"""status, for structured extraction: what is stale, and the way from a labelled document to a model's F1."""

from __future__ import annotations

from collections import Counter

from finreg_cli.config import Config
from finreg_cli.domain.records import (
    EVALUATED_LEASES,
    EVALUATION_METRICS,
    LEASE_DOCS_HOLDOUT,
    LEASE_DOCS_TRAIN,
    LEASE_DOCS_TRAIN_SYNTH,
    FinetuneRun,
)
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.base import distinct
from finreg_cli.stages.tuned_runs import selected_by_round, task_runs


def stale(config: Config, lakehouse: Lakehouse) -> list[str]:
    """Lines for a person; each ends with the command that mends it."""
    found = []
    parents = distinct(lakehouse, LEASE_DOCS_TRAIN, "lease_id")
    if not parents:
        return ["there are no labelled documents for training: finreg ingest"]
    children: Counter[int] = Counter()
    orphans = 0
    for batch in lakehouse.read(LEASE_DOCS_TRAIN_SYNTH, ["parent_lease_id", "round"]):
        for row in batch.to_pylist():
            children[row["round"]] += 1
            orphans += row["parent_lease_id"] not in parents
    if orphans:
        found.append(f"{orphans} synthetic documents have lost their parent: finreg ingest")
    missing = [str(each) for each in range(1, config.generate.rounds + 1) if not children[each]]
    if missing:
        found.append(f"there are no synthetic documents of round {', '.join(missing)} yet: finreg generate")
    runs = selected_by_round(task_runs(config, lakehouse))
    untrained = sorted(set(range(config.generate.rounds + 1)) - {each.round for each in runs})
    if untrained:
        found.append(f"there is no tuned model of round {', '.join(map(str, untrained))} yet: finreg finetune")
    evaluated = distinct(lakehouse, EVALUATION_METRICS, "finetune_run_id")
    for run in runs:
        if run.run_id not in evaluated:
            found.append(f"model {run.run_id} (round {run.round}) is selected and not evaluated yet: finreg evaluate")
    return found


def lineage(config: Config, lakehouse: Lakehouse) -> list[str]:
    """From the source to each round's F1, with the versions and ids that an auditor follows."""
    lines = [f"{config.source.path}"]
    for table in (LEASE_DOCS_TRAIN, LEASE_DOCS_HOLDOUT):
        lines.append(f"  -> {table.name} version {lakehouse.version(table)}: {lakehouse.count(table)} documents")
    rounds: Counter[tuple[int, str]] = Counter()
    for batch in lakehouse.read(EVALUATED_LEASES, ["round", "reason"]):
        for row in batch.to_pylist():
            rounds[row["round"], "rejected" if row["reason"] else "kept"] += 1
    for round_ in sorted({each for each, _ in rounds}):
        lines.append(f"  -> round {round_}: {rounds[round_, 'kept']} kept, {rounds[round_, 'rejected']} rejected")
    scores = _scores(lakehouse)
    for run in selected_by_round(task_runs(config, lakehouse)):
        lines.append(
            f"round {run.round}: {run.training_table} version {run.training_version} -> run {run.run_id} "
            f"({run.base_model}, {run.method}, lr {run.learning_rate:g}, {run.epochs:g} epochs) -> {run.model_uri}"
        )
        lines += registered_line(run)
        lines += scores.get(run.run_id, [])
    return lines


def registered_line(run: FinetuneRun) -> list[str]:
    """Where the model of a run was registered; nothing where it was not."""
    return [f"  -> registered as {run.model_version}"] if run.model_version else []


def _scores(lakehouse: Lakehouse) -> dict[str, list[str]]:
    """finetune_run_id -> one line for each evaluation of it."""
    found: dict[str, list[str]] = {}
    where = {"metric": "f1", "key": "all", "definition": "strict", "dataset": LEASE_DOCS_HOLDOUT.name}
    for each in EVALUATION_METRICS.records(lakehouse.read(EVALUATION_METRICS, where=where)):
        if each.finetune_run_id and each.model in ("tuned", "tuned_constrained") and each.value is not None:
            line = f"  -> evaluation {each.run_id}: {each.model} strict F1 {each.value:.3f} on {each.n} documents"
            found.setdefault(each.finetune_run_id, []).append(line)
    return found
