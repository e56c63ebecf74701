"""Question-answer rows as a training task: which take part, and how a model is measured on those of ``ft_eval``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from finreg_cli.config import Config
from finreg_cli.domain.records import QA_DATASET, FinetuneRun, TrainingRow
from finreg_cli.errors import NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.training_tasks import TrainingSet, hold_back, only_counted, sample
from finreg_cli.tasks import regulation_qa


@dataclass(frozen=True)
class QuestionTraining:
    """Question-answer rows of the training split; ``ft_eval`` takes whole articles."""

    config: Config
    lakehouse: Lakehouse

    has_rounds = False
    rounds = (0,)

    def training_set(self, round_: int) -> TrainingSet:
        row_ids, left_out = self._choose_rows()
        units = self._units(row_ids)
        if len(units) < 2:
            raise NothingToDo(
                f"all training rows come from one unit ({next(iter(units))}), so none can be held back for ft_eval",
                "add documents, raise finetune.max_rows or lower generate.validation_fraction",
            )
        return TrainingSet(lambda: self._rows(row_ids), len(row_ids), left_out, hold_back(self.config, units))

    def measured(self, model: FinetuneRun) -> dict[str, float]:
        return {}

    def measure(self, model: FinetuneRun) -> dict[str, float]:
        return {}

    def gain(self, later: FinetuneRun, earlier: FinetuneRun) -> None:
        return None

    def _choose_rows(self) -> tuple[set[str], dict[str, int]]:
        """The ids to train on (a sample of ``max_rows``), and why others stay away."""
        reasons: Counter[str] = Counter()
        ids: list[str] = []
        columns = ["row_id", "retired_at", "outputs_may_train"]
        for batch in self.lakehouse.read(QA_DATASET, columns, where={"split": "train"}):
            for row in batch.to_pylist():
                if row["retired_at"] is not None:
                    reasons["retired"] += 1
                elif not row["outputs_may_train"]:
                    reasons["outputs_may_not_train"] += 1
                else:
                    ids.append(row["row_id"])
        chosen = sample(self.config, ids)
        reasons["beyond_max_rows"] = len(ids) - len(chosen)
        left_out = only_counted(reasons)
        if not chosen:
            raise NothingToDo(
                f"there are no rows to train on in {self.lakehouse.location(QA_DATASET)} (split train; left out: "
                f"{left_out or 'none'})",
                "run 'finreg generate' with the same configuration first; 'finreg status' shows what is there",
            )
        return chosen, left_out

    def _units(self, row_ids: set[str]) -> set[str]:
        units: set[str] = set()
        where = {"split": "train", "retired_at": None}
        for batch in self.lakehouse.read(QA_DATASET, ["row_id", "split_unit"], where=where):
            units |= {row["split_unit"] for row in batch.to_pylist() if row["row_id"] in row_ids}
        return units

    def _rows(self, row_ids: set[str]) -> Iterator[TrainingRow]:
        for row in QA_DATASET.records(self.lakehouse.read(QA_DATASET, where={"split": "train", "retired_at": None})):
            if row.row_id in row_ids:
                messages = regulation_qa.training_messages(row)
                yield TrainingRow(messages=messages, row_id=row.row_id, group_key=row.split_unit)
