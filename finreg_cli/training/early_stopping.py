"""Ends a training whose evaluation loss falls no longer, and keeps the weights with which it was lowest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finreg_cli.training.output import MetricsLog


class EarlyStopping(TrainerCallback):
    """Ends after ``patience`` evaluations in a row without a lower loss.

    Which was the lowest, and how long ago, is read from the metrics log, so a resumed run knows it. The weights of the
    best evaluation lie in ``folder`` until a checkpoint was written past a better one.

    Args:
        log: of the run; the evaluation before the first step takes no part.
        folder: receives the trained weights.
        patience: in evaluations.
    """

    def __init__(self, log: MetricsLog, folder: Path, patience: int) -> None:
        self.log, self.folder, self.patience = log, folder, patience

    @property
    def best_step(self) -> int | None:
        """The step of the lowest evaluation loss; the earlier one of equals."""
        losses = {step: found["eval_loss"] for step, found in self.log.evaluations.items() if step > 0}
        return min(losses, key=lambda step: (losses[step], step)) if losses else None

    @property
    def is_over(self) -> bool:
        best = self.best_step
        return best is not None and sum(step > best for step in self.log.evaluations) >= self.patience

    def restore(self, model: torch.nn.Module) -> int | None:
        """Gives the model its best weights; returns their step, or None where nothing was evaluated."""
        step = self.best_step
        if step is not None:
            model.load_state_dict(load_file(self._weights(step)), strict=False)
        return step

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.best_step == state.global_step and state.is_world_process_zero:
            self._keep(state.global_step, kwargs["model"])
        if self.is_over:
            control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # Only now: a run that resumes from an older checkpoint may need what was best until then.
        if state.is_world_process_zero:
            for other in self.folder.glob("step-*"):
                if self.best_step is not None and other != self._weights(self.best_step):
                    other.unlink()

    def _keep(self, step: int, model: torch.nn.Module) -> None:
        self.folder.mkdir(exist_ok=True)
        part = self.folder / "part"
        save_file({name: weight.data for name, weight in model.named_parameters() if weight.requires_grad}, part)
        os.replace(part, self._weights(step))

    def _weights(self, step: int) -> Path:
        return self.folder / f"step-{step}.safetensors"
