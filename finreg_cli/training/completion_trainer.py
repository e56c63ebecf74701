"""TRL's SFT trainer with the loss, and the logits, on completions only, by row and without padding.

Imported by `train` when it trains.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from trl.trainer.sft_trainer import SFTTrainer

from finreg_cli.training.batches import Batch, targets
from finreg_cli.training.early_stopping import EarlyStopping
from finreg_cli.training.encoding import IGNORED, Encoded
from finreg_cli.training.output import LossLog, MetricsLog
from finreg_cli.training.schedule import Schedule, in_order

WARM_UP = 0.05
"""The share of all steps over which the learning rate rises; then it falls to zero in a straight line."""

Collate = Callable[[Sequence[Encoded]], Batch]


@dataclass
class Totals:
    """Sums over tokens that carry loss, and by row the mean of its own."""

    loss: float = 0.0
    correct: float = 0.0
    tokens: float = 0.0
    by_row: dict[str, float] = field(default_factory=dict)

    @property
    def mean_loss(self) -> float:
        return self.loss / self.tokens

    @property
    def accuracy(self) -> float:
        return self.correct / self.tokens

    def add(self, other: Totals) -> None:
        self.loss += other.loss
        self.correct += other.correct
        self.tokens += other.tokens
        self.by_row |= other.by_row


@dataclass(frozen=True)
class Steps(Dataset[tuple[list[Encoded], int]]):
    """The rows of each step that one process trains on."""

    rows: Sequence[Encoded]
    schedule: Schedule
    process: int
    processes: int

    def __len__(self) -> int:
        return len(self.schedule.steps)

    def __getitem__(self, step: int) -> tuple[list[Encoded], int]:
        """The rows, and how many tokens of the whole step, over all processes, carry loss."""
        share = [self.rows[number] for number in self.schedule.share(step, self.process, self.processes)]
        carrying = sum(self.rows[number].completion_tokens for number in self.schedule.rows_of(step))
        # A process for which no row is left takes part in the step without one that carries loss.
        return share or [_without_loss(self.rows[self.schedule.rows_of(step)[0]])], carrying


def _without_loss(row: Encoded) -> Encoded:
    return Encoded(row.row_id, row.input_ids, [IGNORED] * len(row))


class CompletionTrainer(SFTTrainer):
    """Trains by a `Schedule`, evaluates, and writes losses by step and by row.

    For a vocabulary of 49,152 the logits of a prompt cost more than a third of a step's arithmetic and memory and carry
    no loss; they are not computed. Losses and accuracies are means over tokens, not over batches.

    Args:
        rows: what ``schedule`` counts; ``eval_rows`` may be none.
        collate: makes a batch of rows, as `batches` does.
        eval_contexts: how many contexts an evaluation reads at a time, and how full they are (None: one row each).
        stopping: ends it early; one of its callbacks.
    """

    def __init__(
        self,
        *args: Any,
        rows: Sequence[Encoded],
        eval_rows: Sequence[Encoded],
        schedule: Schedule,
        collate: Collate,
        eval_contexts: tuple[int, int | None],
        metrics_log: MetricsLog,
        loss_log: LossLog,
        stopping: EarlyStopping | None,
        **kwargs: Any,
    ) -> None:
        self.rows, self.eval_rows, self.schedule = rows, eval_rows, schedule
        self.collate, self.eval_contexts = collate, eval_contexts
        self.metrics_log, self.loss_log = metrics_log, loss_log
        self.stopping = stopping
        self.of_step = Totals()
        self.evaluating_seconds = 0.0
        super().__init__(*args, **kwargs)

    # --- what it reads ---

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The steps in their order. Each process builds its share, so nothing is sent between them."""
        steps = Steps(self.rows, self.schedule, self.accelerator.process_index, self.accelerator.num_processes)

        def batch(entries: list[tuple[list[Encoded], int]]) -> Batch:
            [(rows, carrying)] = entries
            return {**self.collate(rows), "row_ids": [row.row_id for row in rows], "carrying": carrying}

        return DataLoader(steps, batch_size=1, shuffle=False, collate_fn=batch)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LambdaLR:
        """Linear up and down. Unlike transformers' own, no step has the rate zero: a short run cannot spare one."""
        rising = max(1, round(WARM_UP * num_training_steps))

        def share(step: int) -> float:
            return min((step + 1) / rising, (num_training_steps - step) / num_training_steps)

        self.lr_scheduler = LambdaLR(cast(torch.optim.Optimizer, optimizer or self.optimizer), share)
        return self.lr_scheduler

    # --- what it computes ---

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The sum over this process's tokens that carry loss, divided by their number in the whole step."""
        carrying = inputs.pop("carrying")
        losses, self.of_step = self._losses(model, inputs)
        # The trainer averages gradients over processes.
        loss: torch.Tensor = losses.sum() * (self.accelerator.num_processes / carrying)
        return loss

    def _losses(self, model: torch.nn.Module, inputs: Batch) -> tuple[torch.Tensor, Totals]:
        """The loss of each token that carries one, in fp32, and what they add up to."""
        row_ids, row_numbers = inputs.pop("row_ids"), inputs.pop("row_numbers")
        columns, labels = targets(inputs.pop("labels"))
        carries = labels != IGNORED
        logits = model(**inputs, logits_to_keep=columns, use_cache=False).logits[carries].float()
        losses = cross_entropy(logits, labels[carries], reduction="none")
        with torch.no_grad():
            numbers = row_numbers[:, 1:][:, columns][carries]
            sums = torch.zeros(len(row_ids), device=losses.device).index_add(0, numbers, losses).tolist()
            counts = torch.bincount(numbers, minlength=len(row_ids)).tolist()
            totals = Totals(
                losses.sum().item(),
                (logits.argmax(-1) == labels[carries]).sum().item(),
                labels[carries].numel(),
                {row_id: loss / n for row_id, loss, n in zip(row_ids, sums, counts, strict=True) if n},
            )
        return losses, totals

    def measure(self, rows: Sequence[Encoded]) -> Totals:
        """What the model now makes of the rows, over all processes; forward only."""
        model = cast(torch.nn.Module, self.model)
        model.eval()
        found = Totals()
        for batch in self._shares(rows):
            inputs = self._prepare_inputs(batch)
            # Its own: the model has the trainer's only once `train` has run, and a run that is over does not train.
            device = self.args.device.type
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=bool(self.args.bf16)):
                found.add(self._losses(model, inputs)[1])
        return self._over_processes(found)

    def _shares(self, rows: Sequence[Encoded]) -> Iterator[Batch]:
        contexts, packed_into = self.eval_contexts
        steps = in_order([len(row) for row in rows], contexts, packed_into)
        for step in steps[self.accelerator.process_index :: self.accelerator.num_processes]:
            chosen = [rows[number] for context in step for number in context]
            yield {**self.collate(chosen), "row_ids": [row.row_id for row in chosen]}

    def _over_processes(self, totals: Totals) -> Totals:
        together = Totals()
        for each in gather_object([totals]):
            together.add(each)
        return together

    def most_of_all(self, value: float) -> float:
        """The largest of a figure that each process has its own of."""
        return float(max(gather_object([value])))

    # --- what it says ---

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Loss, perplexity and token accuracy on the evaluation rows, logged and returned."""
        begun = time.monotonic()
        found = self.measure(self.eval_rows)
        metrics = {
            "eval_loss": found.mean_loss,
            "perplexity": math.exp(min(found.mean_loss, 700.0)),  # a float holds no more
            "token_accuracy": found.accuracy,
        }
        self.metrics_log.write(self.state.global_step, metrics)
        self.evaluating_seconds += time.monotonic() - begun
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Of a training step, adds what was counted and writes it; the rest is transformers' own."""
        if "loss" in logs:
            totals = self._over_processes(self.of_step)
            values = {"train_loss": totals.mean_loss, "train_token_accuracy": totals.accuracy}
            values |= {name: float(logs[name]) for name in ("learning_rate", "grad_norm") if name in logs}
            self.metrics_log.write(self.state.global_step, values)
            self.loss_log.write(self.state.global_step, totals.by_row)
        super().log(logs, start_time)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: a checkpoint is not published."""
