"""Question-answer rows as a training task, and how a model is measured on those of ``ft_eval``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from finreg_cli.config import Config
from finreg_cli.domain.claims import HEADLINE
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.metrics import DEFINITIONS, abstains, mean, scores
from finreg_cli.domain.progress import Progress
from finreg_cli.domain.records import FT_EVAL, FinetuneRun, TrainingRow
from finreg_cli.errors import NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.llm.base import ReplyCache
from finreg_cli.stages import question_rows
from finreg_cli.stages.answers import cached_answers
from finreg_cli.stages.evaluate import MAX_NEW_TOKENS
from finreg_cli.stages.state_files import write_whole
from finreg_cli.stages.training_tasks import KEPT_IN, TrainingSet, hold_back
from finreg_cli.stages.tuned_runs import OpenAnswerer


@dataclass(frozen=True)
class QuestionTraining:
    """Question-answer rows of the training split; ``ft_eval`` takes whole articles.

    The task metric is the token F1 of greedy answers to the rows of ``ft_eval``, with context. It takes minutes a
    model, so it is measured where ``finetune.select_by`` or ``finetune.task_metric`` asks for it.

    Args:
        open_answerer: opens the model of a training run, as ``open_answerer("tuned", run)``.
        cache: of replies: a measurement that was killed goes on where it stopped.
    """

    config: Config
    lakehouse: Lakehouse
    open_answerer: OpenAnswerer
    cache: ReplyCache
    progress: Progress

    has_rounds = False
    rounds = (0,)

    def training_set(self, round_: int) -> TrainingSet:
        choice = question_rows.choose(self.config, self.lakehouse)
        units = set(choice.units.values())
        if len(units) < 2:
            raise NothingToDo(
                f"all training rows come from one unit ({next(iter(units))}), so none can be held back for ft_eval",
                "add documents, raise finetune.max_rows or lower generate.validation_fraction",
            )
        held_back = hold_back(self.config, units)
        kept = question_rows.without_crossing(self.lakehouse, choice, held_back)
        if len({unit in held_back for unit in kept.units.values()}) < 2:
            raise NothingToDo(
                f"of the rows of {len(units)} units none is left for ft_training or for ft_eval (left out: "
                f"{kept.left_out}): their contexts reach across both",
                "add documents, or raise finetune.max_rows",
            )
        return TrainingSet(lambda: question_rows.rows(self.lakehouse, kept), len(kept.units), kept.left_out, held_back)

    def measured(self, model: FinetuneRun) -> dict[str, float] | None:
        rows = self._eval_rows()
        kept = self._kept(model, rows)
        if kept is not None:
            return self._metrics(rows, kept)
        return None if self._is_asked_for else {}

    def measure(self, model: FinetuneRun) -> dict[str, float]:
        """The means over the rows of ``ft_eval`` of every score that is defined on some, as ``task_token_f1``.

        ``task_token_f1_ci_low`` and ``_ci_high`` where there are articles enough for an interval.
        """
        known = self.measured(model)
        if known is not None:
            return known
        rows = self._eval_rows()
        return self._metrics(rows, self._answers(model, rows))

    def gain(self, later: FinetuneRun, earlier: FinetuneRun) -> None:
        """None: it is asked between rounds, and questions have none."""
        return

    # --- measurement ---

    @property
    def _is_asked_for(self) -> bool:
        section = self.config.finetune
        return section.select_by == "task_metric" or section.task_metric == "all"

    def _eval_rows(self) -> list[TrainingRow]:
        return sorted(FT_EVAL.records(self.lakehouse.read(FT_EVAL)), key=lambda row: row.row_id)

    def _answers(self, model: FinetuneRun, rows: Sequence[TrainingRow]) -> list[str]:
        """The model's greedy answer to each row, which is kept."""
        with (
            self.progress.track(f"answering with {model.run_id}", len(rows), "answers") as advance,
            closing(self.open_answerer("tuned", model)) as answerer,
        ):
            prompts = [row.messages[:-1] for row in rows]
            answers, _ = cached_answers(answerer, prompts, self._most_tokens, self.cache, advance)
        by_row = {row.row_id: answer for row, answer in zip(rows, answers, strict=True)}
        kept = {"identity": self._identity(rows), "answers": by_row}
        write_whole(self._file(model), json.dumps(kept, indent=1, ensure_ascii=False))
        return answers

    def _metrics(self, rows: Sequence[TrainingRow], answers: Sequence[str]) -> dict[str, float]:
        scored = [_scored(row, answer) for row, answer in zip(rows, answers, strict=True)]
        found = {"task_rows": float(len(rows))}
        for metric in DEFINITIONS:
            values = [(row.group_key, each[metric]) for row, each in zip(rows, scored, strict=True) if metric in each]
            figure = mean(values, self.config.generate.seed)
            figures = {f"task_{metric}": figure.value}
            if metric == HEADLINE:
                figures |= {f"task_{metric}_ci_low": figure.ci_low, f"task_{metric}_ci_high": figure.ci_high}
            found |= {name: value for name, value in figures.items() if value is not None}
        return found

    # --- what was measured before ---

    def _kept(self, model: FinetuneRun, rows: Sequence[TrainingRow]) -> list[str] | None:
        """What an earlier run answered to the same rows; None where there is no such file."""
        try:
            kept = json.loads(self._file(model).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return list(kept["answers"].values()) if kept["identity"] == self._identity(rows) else None

    def _file(self, model: FinetuneRun) -> Path:
        return self.config.state / "models" / model.run_id / KEPT_IN

    def _identity(self, rows: Sequence[TrainingRow]) -> str:
        """Of everything but the model that decides what is answered, and of the references."""
        asked = [[row.row_id, row.group_key, [[each.role, each.content] for each in row.messages]] for row in rows]
        return content_hash(asked, self._most_tokens)

    @property
    def _most_tokens(self) -> int:
        return self.config.evaluate.max_new_tokens or MAX_NEW_TOKENS


def _scored(row: TrainingRow, answer: str) -> dict[str, float]:
    reference = row.messages[-1].content
    return scores(answer, reference, answerable=not abstains(reference))
