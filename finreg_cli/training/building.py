"""Puts a trainer together: model, attention, arguments, logs. Imported by `train` when it trains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig

from finreg_cli.training.batches import concatenate, pad
from finreg_cli.training.completion_trainer import CompletionTrainer
from finreg_cli.training.early_stopping import EarlyStopping
from finreg_cli.training.encoding import Encoded
from finreg_cli.training.models import has_bf16, load_base, trainable
from finreg_cli.training.output import LossLog, MetricsLog
from finreg_cli.training.params import Params
from finreg_cli.training.schedule import Schedule
from finreg_cli.training.segments import attend_row_by_row


def processes() -> PartialState:
    """The processes that train together, usually one."""
    return PartialState(cpu=not torch.cuda.is_available())


def build_trainer(
    params: Params,
    base: str,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Encoded],
    eval_rows: Sequence[Encoded],
    schedule: Schedule,
    output: Path,
    resumed_from: int | None,
) -> CompletionTrainer:
    """The trainer of a job, at its first step.

    Args:
        rows: what ``schedule`` counts.
        resumed_from: the step of the checkpoint that it will go on from, if any.

    Raises:
        Unusable: the base model cannot be loaded, or not in this way.
    """
    arguments = arguments_of(params, schedule, bool(eval_rows), output, resuming=resumed_from is not None)
    is_first = processes().is_main_process
    metrics_log = MetricsLog(output, resumed_from, writes=is_first)
    loss_log = LossLog(output, resumed_from, writes=is_first)
    if resumed_from is None:
        metrics_log.write(0, {"total_steps": len(schedule.steps)})
    bf16 = bool(arguments.bf16)
    model = load_base(base, params.method, bf16, arguments.device)
    on_gpu = arguments.device.type == "cuda"
    why_padded = attend_row_by_row(model, on_gpu)
    if why_padded and is_first:
        print(f"rows are padded to the longest of their batch, because of {params.base_model}: {why_padded}")
    collate = partial(pad, padding=tokenizer.pad_token_id or tokenizer.eos_token_id) if why_padded else concatenate
    stopping = EarlyStopping(metrics_log, output / "best", params.early_stopping) if params.early_stopping else None
    return CompletionTrainer(
        model=trainable(model, params.method, params.lora, bf16, params.seed),
        args=arguments,
        # What transformers and TRL look at; the steps and evaluations take theirs from `rows` and `eval_rows`.
        train_dataset=_sample(rows),
        eval_dataset=_sample(eval_rows),
        data_collator=collate,
        processing_class=tokenizer,
        callbacks=[stopping] if stopping else [],
        rows=rows,
        eval_rows=eval_rows,
        schedule=schedule,
        collate=collate,
        eval_contexts=(params.batch_size, params.context_length if params.packing else None),
        metrics_log=metrics_log,
        loss_log=loss_log,
        stopping=stopping,
    )


def _sample(rows: Sequence[Encoded]) -> Dataset | None:
    return Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows[:1]]) if rows else None


def arguments_of(params: Params, schedule: Schedule, has_eval: bool, output: Path, resuming: bool) -> SFTConfig:
    """The job in transformers' and TRL's words. Each step is one batch of the trainer: `Steps` makes it."""
    on_gpu = torch.cuda.is_available()
    checkpointing = on_gpu if params.gradient_checkpointing is None else params.gradient_checkpointing
    arguments = SFTConfig(
        output_dir=str(output / "checkpoints"),
        max_steps=len(schedule.steps),
        per_device_train_batch_size=1,
        learning_rate=params.learning_rate,
        max_grad_norm=1.0,
        seed=params.seed,
        logging_steps=1,
        eval_strategy="steps" if has_eval else "no",
        eval_steps=params.eval_steps or schedule.steps_per_epoch,
        eval_on_start=has_eval and not resuming,
        save_strategy="steps",
        save_steps=params.save_steps,
        save_total_limit=2,
        bf16=has_bf16(on_gpu),
        use_cpu=not on_gpu,
        gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        average_tokens_across_devices=False,
        dataloader_pin_memory=on_gpu,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )
    if arguments.n_gpu > 1:
        # This process trains on one: transformers would spread the one context of a batch over all that it sees.
        arguments._n_gpu = 1
    return arguments
