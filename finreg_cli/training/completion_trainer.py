"""TRL's SFT trainer with the loss, and the logits, on completions only. Imported by `train` when it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import SFTTrainer

from finreg_cli.training.train import IGNORED, MetricsLog


@dataclass
class Totals:
    """Sums over tokens that carry loss."""

    loss: float = 0.0
    correct: float = 0.0
    tokens: float = 0.0


class CompletionTrainer(SFTTrainer):
    """Takes batches of `train.collate`, padded on the left.

    For a vocabulary of 49,152 the logits of a prompt cost more than a third of a step's arithmetic and memory and carry
    no loss; they are not computed. Losses and accuracies are means over tokens, not over batches.
    """

    def __init__(self, *args: Any, log: MetricsLog, warm_up: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.metrics_log = log
        self.warm_up = warm_up
        self.totals = {"train": Totals(), "eval": Totals()}
        self.tokens_seen = 0
        if self.args.bf16:
            _store_frozen_linears(cast(PreTrainedModel, self.model), torch.bfloat16)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LambdaLR:
        """Linear up and down. Unlike transformers' own, no step has the rate zero: a short run cannot spare one."""
        rising = max(1, round(self.warm_up * num_training_steps))

        def share(step: int) -> float:
            return min((step + 1) / rising, (num_training_steps - step) / num_training_steps)

        self.lr_scheduler = LambdaLR(cast(torch.optim.Optimizer, optimizer or self.optimizer), share)
        return self.lr_scheduler

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels = inputs.pop("labels")
        first = int((labels != IGNORED).any(dim=0).nonzero()[0])
        targets = labels[:, first:]
        # Position i predicts token i + 1, so the logits begin one before the first target.
        outputs = model(**inputs, logits_to_keep=targets.shape[1] + 1, use_cache=False)
        carries = targets != IGNORED
        logits = outputs.logits[:, :-1][carries].float()
        loss = cross_entropy(logits, targets[carries], reduction="sum")
        self._count(logits, targets[carries], loss, inputs["attention_mask"])
        if num_items_in_batch is None:
            loss = loss / carries.sum()
        else:
            # The trainer averages gradients over processes, and num_items_in_batch counts the tokens of all of them.
            loss = loss * self.accelerator.num_processes / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *_: Any, **__: Any
    ) -> tuple[torch.Tensor, None, None]:
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what was counted since the last call and writes it to ``metrics.jsonl``."""
        mode = "eval" if "eval_loss" in logs else "train"
        totals, self.totals[mode] = self._over_processes(self.totals[mode]), Totals()
        values: dict[str, float] = {}
        if mode == "eval":
            logs["eval_loss"] = totals.loss / totals.tokens
            values = {"eval_loss": logs["eval_loss"], "token_accuracy": totals.correct / totals.tokens}
        elif "loss" in logs:
            values = {"train_loss": totals.loss / totals.tokens, "train_token_accuracy": totals.correct / totals.tokens}
            values |= {name: float(logs[name]) for name in ("learning_rate", "grad_norm") if name in logs}
        if self.is_world_process_zero():
            self.metrics_log.write(self.state.global_step, values)
        super().log(logs, start_time)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: a checkpoint is not published."""

    def _count(self, logits: torch.Tensor, targets: torch.Tensor, loss: torch.Tensor, mask: torch.Tensor) -> None:
        is_training = cast(PreTrainedModel, self.model).training
        totals = self.totals["train" if is_training else "eval"]
        totals.loss += loss.item()
        totals.correct += (logits.argmax(-1) == targets).sum().item()
        totals.tokens += targets.numel()
        if is_training:
            self.tokens_seen += int(mask.sum())

    def _over_processes(self, totals: Totals) -> Totals:
        mine = torch.tensor([totals.loss, totals.correct, totals.tokens], device=self.accelerator.device)
        return Totals(*self.accelerator.reduce(mine, reduction="sum").tolist())


def _store_frozen_linears(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Stores frozen weights in the type that autocast would cast them to at every use: the same products, sooner.

    The output head stays as it is: it may be the embedding too, whose sums autocast keeps in fp32.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it so
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head and not module.weight.requires_grad:
            module.weight.data = module.weight.data.to(dtype)
