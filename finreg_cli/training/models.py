"""The model that is trained: LoRA on its linear layers, the same on a base in 4 bits (QLoRA), or all of its weights.

QLoRA needs the package bitsandbytes (the extra ``qlora``). It was run on a CPU, version 0.50.2 on a tiny model; **on a
GPU it was not run where this was written**.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from finreg_cli.training.rows import Unusable


def has_bf16(on_gpu: bool) -> bool:
    """Whether bf16 pays on this hardware: without its own instructions it is slower than fp32."""
    if on_gpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Not in every version that we support; without it the slower, exact way is taken.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def load_base(base: str, method: str, bf16: bool, device: torch.device) -> PreTrainedModel:
    """The base model before anything is added to it.

    All weights are in fp32, the master copies of those that are trained: fully tuned in pure bf16 the model diverges.
    For QLoRA the linear layers are in 4 bits.

    Raises:
        Unusable: bitsandbytes is not installed.
    """
    quantisation = quantisation_of(bf16) if method == "qlora" else None
    try:
        # In the type that the weights are stored in, so that loading takes no more memory than they do.
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            base,
            dtype="auto" if quantisation is None else torch.float32,
            quantization_config=quantisation,
            device_map={"": device} if quantisation is not None else None,
        )
    except ImportError as error:
        raise Unusable(f"method {method}: {str(error).splitlines()[0]}; pip install bitsandbytes") from error
    for module in model.modules():
        # On a CPU bitsandbytes packs its weights at the first evaluation into a form that has no gradient.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  # of no type that is known here
    return model


def quantisation_of(bf16: bool) -> BitsAndBytesConfig:
    """QLoRA's own: normal floats of 4 bits whose scales are quantised too, multiplied in 16 bits where it pays."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float32,
    )


def trainable(model: PreTrainedModel, method: str, lora: dict[str, Any], bf16: bool, seed: int) -> Any:
    """The model with what is trained of it: all of it, or an adapter on its linear layers."""
    if method == "full":
        return model.float()
    torch.manual_seed(seed)
    if method == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            lora_dropout=lora["dropout"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    if method == "lora":
        _store_frozen(model, torch.bfloat16 if bf16 else torch.float32)
    return adapted


def _store_frozen(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Stores frozen linear layers in the type that autocast would cast them to at every use: the same products, sooner.

    The rest is in fp32, the output head too: it may be the embedding, whose sums autocast keeps in fp32.
    """
    head = model.get_output_embeddings()
    for module in model.modules():
        of_linear = isinstance(module, torch.nn.Linear) and module is not head
        for weight in module.parameters(recurse=False):
            if not weight.requires_grad:
                weight.data = weight.data.to(dtype if of_linear else torch.float32)


def write_merged(base: str, trained: Any, output: Path, tokenizer: PreTrainedTokenizerBase, is_full: bool) -> None:
    """Writes ``merged/``, the whole model, stored in the type of the base's own weights.

    An adapter (``adapter/``, written before) is added in fp32 to the base as it is published: QLoRA's too, whose base
    was in 4 bits only while it was trained.
    """
    if is_full:
        whole = trained
    else:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        whole = PeftModel.from_pretrained(model, output / "adapter").merge_and_unload()
    unfinished = output / "merged.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    whole.to(getattr(AutoConfig.from_pretrained(base), "dtype", None) or torch.float32).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    # What the export to GGUF takes the vocabulary from.
    for extra in Path(base).glob("metadata.gguf"):
        shutil.copyfile(extra, unfinished / extra.name)
    shutil.rmtree(output / "merged", ignore_errors=True)
    unfinished.rename(output / "merged")
