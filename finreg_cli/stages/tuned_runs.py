"""The training runs that are evaluated, and what they have seen; shared by the evaluations of both tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from finreg_cli.config import Config
from finreg_cli.domain.records import FINETUNE_RUNS, FT_EVAL, FT_TRAINING, FinetuneRun
from finreg_cli.errors import ConfigError, NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.llm.base import Answerer

OpenAnswerer = Callable[[str, FinetuneRun | None], Answerer]
"""Opens a model by its role: ``tuned`` of a training run, ``base`` of one or (without a run) of the configuration, both
in one runtime; or an endpoint, ``generator`` or ``judge``."""


def last_selected_run(config: Config, lakehouse: Lakehouse) -> FinetuneRun:
    """``evaluate.run``, or of the last command that selected any the run of its highest round.

    Raises:
        NothingToDo: no run was selected yet.
        ConfigError: ``evaluate.run`` is not a finished run of this task.
    """
    run = chosen_run(config, lakehouse)
    if run is None:
        raise no_selected_run(lakehouse)
    return run


def chosen_run(config: Config, lakehouse: Lakehouse) -> FinetuneRun | None:
    """As `last_selected_run`, and None where no run was selected yet."""
    runs = task_runs(config, lakehouse)
    if config.evaluate.run is not None:
        return named_run(config.evaluate.run, runs)
    return next(reversed(selected_runs(runs)), None)


def task_runs(config: Config, lakehouse: Lakehouse) -> list[FinetuneRun]:
    return list(FINETUNE_RUNS.records(lakehouse.read(FINETUNE_RUNS, where={"task": config.task})))


def selected_runs(runs: Sequence[FinetuneRun]) -> list[FinetuneRun]:
    """The finished and selected ones: by their command, whose id begins with its time, and by round."""
    selected = (each for each in runs if each.state == "finished" and each.selected)
    return sorted(selected, key=lambda each: (each.sweep_id, each.round, each.run_id))


def selected_by_round(runs: Sequence[FinetuneRun]) -> list[FinetuneRun]:
    """The last selected run of each synthetic round, by round."""
    last = {each.round: each for each in selected_runs(runs)}
    return [last[round_] for round_ in sorted(last)]


def no_selected_run(lakehouse: Lakehouse) -> NothingToDo:
    return NothingToDo(
        f"there is no selected run in {lakehouse.location(FINETUNE_RUNS)}, so there is no tuned model to evaluate",
        "run 'finreg finetune' with the same configuration first, or --set 'evaluate.models=[base]'",
    )


def named_run(wanted: str, runs: Sequence[FinetuneRun]) -> FinetuneRun:
    found = next((each for each in runs if each.run_id == wanted), None)
    if found is not None and found.state == "finished":
        return found
    problem = "is not in finetune_runs" if found is None else f"is {found.state}, not finished"
    there = ", ".join(sorted(each.run_id for each in runs if each.state == "finished"))
    raise ConfigError(
        f"evaluate.run: {wanted!r} {problem}",
        f"finished runs: {there}" if there else "there is no finished run: run 'finreg finetune' first",
    )


def rows_seen(lakehouse: Lakehouse, finetune: FinetuneRun, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Columns of the rows that a model was trained and selected on; those of ``ft_eval`` as they are now."""
    for table, version in ((FT_TRAINING, finetune.training_version), (FT_EVAL, None)):
        for batch in lakehouse.read(table, columns, version=version):
            yield from batch.to_pylist()


def groups_seen(lakehouse: Lakehouse, finetune: FinetuneRun) -> set[str]:
    """The legal units or lease families that a model was trained and selected on."""
    return {row["group_key"] for row in rows_seen(lakehouse, finetune, ["group_key"])}
