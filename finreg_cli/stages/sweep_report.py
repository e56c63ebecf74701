"""What a report shows of a sweep: its members as the table has them, with the curves that are on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from finreg_cli.config import Config
from finreg_cli.domain.records import FT_EVAL, FT_TRAINING, FinetuneRun
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.reports.base import Step, SweepMember, SweepReport, TableRead
from finreg_cli.stages.sweep import FAILURE
from finreg_cli.stages.tuned_runs import task_runs
from finreg_cli.training.base import TrainingResult


def sweep_report(config: Config, lakehouse: Lakehouse, sweep_id: str) -> SweepReport:
    """The page of one sweep, with all its rounds, at the present state of the tables."""
    members = [each for each in task_runs(config, lakehouse) if each.sweep_id == sweep_id]
    section = config.finetune
    return SweepReport(
        sweep_id=sweep_id,
        made_at=datetime.now(UTC),
        base_model=section.base_model,
        select_by=section.select_by,
        members=with_curves(config, members),
        tables=[
            TableRead(table.name, lakehouse.version(table) or 0, lakehouse.count(table), purpose)
            for table, purpose in ((FT_TRAINING, "rows that were trained on"), (FT_EVAL, "rows that were selected by"))
        ],
        settings={
            "finetune.method": section.method,
            "finetune.batch_size": str(section.batch_size),
            "finetune.context_length": str(section.context_length),
            "finetune.packing": "yes" if section.packing else "no",
            "finetune.eval_fraction": f"{section.eval_fraction:g}",
            "finetune.max_rows": "all rows" if section.max_rows is None else str(section.max_rows),
            "generate.seed": str(config.generate.seed),
        },
    )


def sweeps_of(config: Config, lakehouse: Lakehouse, selected: Iterable[FinetuneRun]) -> list[SweepMember]:
    """All members of the sweeps that these runs were selected in, failed ones too."""
    sweeps = {(each.sweep_id, each.round) for each in selected}
    runs = task_runs(config, lakehouse) if sweeps else []
    return with_curves(config, (each for each in runs if (each.sweep_id, each.round) in sweeps))


def with_curves(config: Config, runs: Iterable[FinetuneRun]) -> list[SweepMember]:
    """By round and run id."""
    ordered = sorted(runs, key=lambda each: (each.round, each.run_id))
    return [SweepMember(each, training_curve(config, each), _failure(config, each)) for each in ordered]


def training_curve(config: Config, run: FinetuneRun) -> list[Step]:
    """What was logged while it trained; empty where the model came back from elsewhere, and its log did not."""
    result = TrainingResult(config.state / "models" / run.run_id, run.metrics)
    return list(result.steps()) if (result.output / "metrics.jsonl").exists() else []


def _failure(config: Config, run: FinetuneRun) -> str | None:
    if run.state != "failed":
        return None
    try:
        return (config.state / "models" / run.run_id / FAILURE).read_text(encoding="utf-8")
    except OSError:
        return "it failed on another machine, or before reasons were kept"
