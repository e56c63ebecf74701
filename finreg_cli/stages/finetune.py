"""finetune: training rows become chat rows, a sweep trains on them, the best on ``ft_eval`` is selected.

Only training rows take part: nothing is trained or selected on what evaluate measures on. Structured extraction has a
sweep, and a selected model, for every synthetic round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finreg_cli.domain.metrics import MIN_UNITS, TASK_TITLES
from finreg_cli.domain.records import FINETUNE_LOSSES, FINETUNE_RUNS, FT_EVAL, FT_TRAINING, FinetuneRun
from finreg_cli.errors import NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.reports.base import WriteSweepReport
from finreg_cli.stages.base import Run, StageResult
from finreg_cli.stages.open_runs import OpenRuns
from finreg_cli.stages.registering import register
from finreg_cli.stages.sweep import Member, Sweep, Trained, figure, members_of, select, swept_params, trained
from finreg_cli.stages.sweep_report import sweep_report
from finreg_cli.stages.training_tasks import TrainingSet, TrainingTask
from finreg_cli.stages.tuned_runs import selected_runs, task_runs
from finreg_cli.tracking.base import Tracker
from finreg_cli.training.base import Trainer


def finetune(
    run: Run,
    lakehouse: Lakehouse,
    trainer: Trainer,
    tracker: Tracker,
    task: TrainingTask,
    rounds: Sequence[int] | None = None,
    *,
    write_report: WriteSweepReport,
) -> StageResult:
    """Trains one model per learning rate, duration and rank, in each round; the best by ``finetune.select_by`` is
    selected, and registered where ``finetune.register_to`` says so.

    A member whose rows and parameters were trained before is taken as it is; a killed one resumes at its checkpoint.

    Args:
        rounds: which to train, ascending; None for all that the task asks for.
        write_report: of a sweep with more than one member.

    Raises:
        NothingToDo: there are no training rows, or too few groups to hold some back for ``ft_eval``.
        TrainingFailed: every member of a sweep failed.
        StageFailed: the selected model could not be registered; it stays selected.
    """
    result = StageResult("finetune")
    counts: dict[int, dict[str, Any]] = {}
    pages: dict[str, str] = {}
    open_runs = OpenRuns(run.config.state / "training" / "open_runs.json", tracker)
    with nullcontext() if run.dry_run else open_runs.ended():
        for round_ in task.rounds if rounds is None else rounds:
            sweep = Sweep(run, lakehouse, trainer, tracker, open_runs, task, round_)
            try:
                chosen = task.training_set(sweep.round)
            except NothingToDo as nothing:
                if not counts and not run.dry_run:
                    raise
                # A later round, and in `all --dry-run` even the first, may be one that is still to be generated.
                result.warnings.append(f"{nothing.message}: {nothing.remedy}")
                break
            counts[sweep.round] = {
                "rows": chosen.count,
                "left_out": chosen.left_out,
                "runs": len(swept_params(sweep)),
                "eval_units": len(chosen.held_back),
            }
            if run.dry_run:
                continue
            best, figures, page = _run_sweep(sweep, chosen, write_report, result)
            counts[sweep.round] |= figures
            if page:
                pages["report"] = str(page)
            if sweep.round and run.config.generate.early_stop and _is_no_better(sweep, best, result):
                result.ends_rounds = True
                break
    by_round = {str(each): of for each, of in counts.items()}
    result.counts = ({"rounds": by_round} if task.has_rounds else counts.get(0, {})) | pages
    if not run.dry_run:
        result.saw(lakehouse, FT_TRAINING, FT_EVAL, FINETUNE_RUNS, FINETUNE_LOSSES)
    return result


# --- rows ------------------------------------------------------------------------------------------------------------


def _write_rows(sweep: Sweep, chosen: TrainingSet) -> Path:
    """Writes ``ft_training`` and ``ft_eval``, and both as the one file that the training script takes."""
    for table, of_eval in ((FT_TRAINING, False), (FT_EVAL, True)):
        rows = (row for row in chosen.rows() if (row.group_key in chosen.held_back) == of_eval)
        sweep.lakehouse.overwrite(table, table.batches(rows))
    return _export_rows(sweep.config.state / "training", sweep.lakehouse)


def _export_rows(folder: Path, lakehouse: Lakehouse) -> Path:
    """Both tables as one Parquet file, for a script that runs here or on a worker without Delta."""
    folder.mkdir(parents=True, exist_ok=True)
    target, unfinished = folder / "rows.parquet", folder / "rows.parquet.part"
    schema = FT_TRAINING.schema.append(pa.field("split", pa.string()))
    with pq.ParquetWriter(unfinished, schema) as file:
        for table, split in ((FT_TRAINING, "train"), (FT_EVAL, "eval")):
            for batch in lakehouse.read(table):
                file.write_batch(batch.append_column("split", pa.array([split] * batch.num_rows, pa.string())))
    unfinished.replace(target)
    return target


# --- a sweep ---------------------------------------------------------------------------------------------------------


def _run_sweep(
    sweep: Sweep, chosen: TrainingSet, write_report: WriteSweepReport, result: StageResult
) -> tuple[FinetuneRun, dict[str, Any], Path | None]:
    """The selected model, what the summary says of the round, and the page, where there was more than one member."""
    members = members_of(sweep, swept_params(sweep), _write_rows(sweep, chosen))
    with trained(sweep, members) as done:
        best = select(sweep, done.finished)
        figures = _figures(sweep, best, chosen, done)
        _tell(sweep, members, done, best, result)
        page = _report(sweep, done, write_report) if len(members) > 1 else None
        if sweep.config.finetune.register_to:
            best = register(sweep.run, sweep.lakehouse, sweep.tracker, best)
            figures["model_version"] = best.model_version
    return best, figures, page


def _report(sweep: Sweep, done: Trained, write_report: WriteSweepReport) -> Path:
    files = write_report(sweep_report(sweep.config, sweep.lakehouse, sweep.run.run_id))
    if done.parent:
        done.parent.artifact(files.page)
        done.parent.artifact(files.plot)
    return files.page


# --- what is said of it ----------------------------------------------------------------------------------------------


def _figures(sweep: Sweep, best: FinetuneRun, chosen: TrainingSet, done: Trained) -> dict[str, Any]:
    metrics = best.metrics
    tokens = metrics.get("train_tokens", 0.0)
    figures = {
        "left_out": _left_out(chosen.left_out, best),
        "cut_rows": int(metrics.get("cut_rows", 0)),
        "failed_runs": len(done.failed),
        "selected": best.run_id,
        "learning_rate": best.learning_rate,
        "epochs": best.epochs,
        "lora_rank": int(metrics["lora_rank"]) if "lora_rank" in metrics else None,
        "eval_loss": metrics.get("eval_loss"),
        "perplexity": metrics.get("perplexity"),
        "token_accuracy": metrics.get("token_accuracy"),
        "train_tokens": int(tokens),
        "context_lengths": round(tokens / sweep.config.finetune.context_length, 1),
        "eval_rows": sweep.lakehouse.count(FT_EVAL),
    }
    return figures | {name: value for name, value in metrics.items() if name.startswith("task_")}


def _left_out(before: Mapping[str, int], best: FinetuneRun) -> dict[str, int]:
    """What stayed away from the tables, and what the script left out of them."""
    too_long = int(best.metrics.get("left_out_rows", 0))
    return {**before, **({"too_long": too_long} if too_long else {})}


def _tell(sweep: Sweep, members: Sequence[Member], done: Trained, best: FinetuneRun, result: StageResult) -> None:
    for member in members:
        if member.job.run_id in done.failed:
            result.warnings.append(f"{member.name} failed: {done.failed[member.job.run_id]}")
    selected = next(each.name for each in members if each.job.run_id == best.run_id)
    loss = figure(best, "eval_loss")
    if loss is None:
        result.warnings.append(
            f"{selected} was selected without an eval loss that is a number: its training diverged, so lower "
            "finetune.learning_rates"
        )
    said = [*_task_figure(sweep, best), *([f"eval loss {loss:.3f}"] if loss is not None else [])]
    if len(members) > 1 or sweep.task_metric in best.metrics:
        result.findings.append(f"{selected}: {', '.join(said)}")
    _tell_of_long_rows(sweep, best, result)


def _task_figure(sweep: Sweep, best: FinetuneRun) -> list[str]:
    value = figure(best, sweep.task_metric)
    if value is None:
        return []
    things = "documents" if "task_documents" in best.metrics else "rows"
    measured = best.metrics[f"task_{things}"]
    return [f"{TASK_TITLES[sweep.task_metric]} {value:.3f} on the {measured:.0f} {things} of ft_eval"]


def _tell_of_long_rows(sweep: Sweep, best: FinetuneRun, result: StageResult) -> None:
    named_in = Path(best.model_uri or "").parent / "result.json"
    for metric, fate in (
        ("cut_rows", "their prompts lost their middle, so the evidence may be gone"),
        ("left_out_rows", "they were left out of training"),
    ):
        rows = int(best.metrics.get(metric, 0))
        if rows:
            too_long = sweep.named(f"{rows} rows are longer than finetune.context_length")
            result.warnings.append(
                f"{too_long} ({sweep.config.finetune.context_length} tokens), and {fate}: {named_in} names them"
            )


def _is_no_better(sweep: Sweep, best: FinetuneRun, result: StageResult) -> bool:
    """Whether the round's gain on ``ft_eval`` may be none: ``generate.early_stop`` trains no further round then."""
    earlier = _last_selected(sweep)
    gain = sweep.task.gain(best, earlier) if earlier else None
    if gain is None or gain.value is None or gain.ci_low is None or gain.ci_high is None:
        result.warnings.append(
            f"generate.early_stop cannot judge round {sweep.round}, and ends nothing: there are "
            f"{gain.n if gain else 0} documents in ft_eval to compare it with the round before, and an interval needs "
            f"{MIN_UNITS} (raise finetune.eval_fraction, or add labelled documents)"
        )
        return False
    is_better = gain.ci_low > 0
    result.findings.append(
        f"round {sweep.round} is {'surely' if is_better else 'not surely'} better than round {sweep.round - 1} on "
        f"ft_eval: {gain.value:+.3f} [{gain.ci_low:.3f}, {gain.ci_high:.3f}], n={gain.n}"
        f"{'' if is_better else '; early stop'}"
    )
    return not is_better


def _last_selected(sweep: Sweep) -> FinetuneRun | None:
    """Of the round before."""
    selected = selected_runs(task_runs(sweep.config, sweep.lakehouse))
    return next((each for each in reversed(selected) if each.round == sweep.round - 1), None)
