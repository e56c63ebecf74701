"""Llama models between GGUF and safetensors: dequantised once for training, exported to F16 for answering.

Base and tuned model take the same way (dequantised fp32 weights -> F16 GGUF), so that an evaluation compares like with
like. The fetched file itself, quantised to 4 bits, is never evaluated.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from finreg_cli.errors import ConfigError, MissingExtra, ModelMissing, StageFailed
from finreg_cli.training.fetched import TOKENIZER, FetchedModel, cache_folder, gguf_metadata, sha256_of

if TYPE_CHECKING:
    from gguf import GGUFWriter

METADATA = "metadata.gguf"
"""In a model's folder: a GGUF file without tensors, from which the export takes the vocabulary and its settings."""

_ARCHITECTURE = "llama"
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def dequantised(model: FetchedModel, while_made: Callable[[], AbstractContextManager[object]] = nullcontext) -> Path:
    """The model as a folder that transformers loads: fp32 safetensors, configuration, tokenizer, chat template.

    Made once, within ``while_made``, and kept in the cache folder.

    Raises:
        ConfigError: the model is no llama, or its tokenizer is not known.
        MissingExtra: safetensors is not installed.
        StageFailed: the cache folder cannot be written.
    """
    place = cache_folder() / "dequantised" / f"{model.name}-{sha256_of(model.gguf)[:12]}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / f".{place.name}.lock"):
            if not place.is_dir():
                for remains in place.parent.glob(f".{place.name}-*"):
                    shutil.rmtree(remains)
                with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
                    prepared = Path(scratch) / place.name
                    with while_made():
                        dequantise(model.gguf, prepared)
                    shutil.copyfile(model.tokenizer, prepared / TOKENIZER)
                    prepared.rename(place)
    except OSError as error:
        raise StageFailed(
            f"{place} cannot be written: {error}", "free some space, or export FINREG_CACHE=FOLDER"
        ) from error
    return place


def dequantise(gguf: Path, folder: Path) -> None:
    """Writes everything but ``tokenizer.json`` of a llama GGUF file to a new folder, with fp32 weights."""
    try:
        from safetensors.numpy import save_file
    except ImportError:
        raise MissingExtra("safetensors", "train", "a model for training") from None
    from gguf import GGUFReader, dequantize

    metadata = gguf_metadata(gguf)
    if metadata.get("general.architecture") != _ARCHITECTURE:
        raise ConfigError(
            f"{gguf} holds a model of the architecture {metadata.get('general.architecture')!r}, not {_ARCHITECTURE}",
            "set finetune.base_model to a folder that transformers can load",
        )
    heads = (metadata["llama.attention.head_count"], metadata["llama.attention.head_count_kv"])
    weights = {}
    for tensor in GGUFReader(gguf).tensors:
        values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        weights[_hf_name(tensor.name)] = np.ascontiguousarray(_unpermuted(tensor.name, values, heads))
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _hf_config(metadata, tied="lm_head.weight" not in weights))
    _write_json(folder / "generation_config.json", _special_ids(metadata))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(metadata))
    (folder / "chat_template.jinja").write_text(metadata["tokenizer.chat_template"], encoding="utf-8")
    _write_metadata(gguf, folder / METADATA)


def is_exportable(folder: Path) -> bool:
    """Whether `f16_gguf` knows how to convert the model in this folder."""
    if not (folder / METADATA).is_file() or not (folder / "config.json").is_file():
        return False
    config = json.loads((folder / "config.json").read_text())
    return bool(config.get("architectures") == ["LlamaForCausalLM"])


def f16_gguf(folder: Path) -> Path:
    """The model of a folder as an F16 GGUF file beside the folder; made where it is not there yet.

    Raises:
        ModelMissing: the folder holds no model that can be exported.
        StageFailed: the file cannot be written.
    """
    target = folder.with_name(f"{folder.name}-f16.gguf")
    if target.is_file():
        return target
    if not is_exportable(folder):
        raise ModelMissing(
            f"{folder} holds no llama model with its {METADATA}, so it cannot become a GGUF file",
            "finreg finetune (it makes the folder), or answer with transformers",
        )
    from safetensors import SafetensorError

    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            export(folder, Path(scratch) / target.name)
            os.replace(Path(scratch) / target.name, target)
    except OSError as error:
        raise StageFailed(f"{target} cannot be written: {error}", "free some space and run it again") from error
    except SafetensorError as error:
        raise ModelMissing(f"the weights in {folder} cannot be read: {error}", f"remove {folder.parent}") from error
    return target


def export(folder: Path, target: Path) -> None:
    """Writes the safetensors of ``folder`` as an F16 GGUF file, one tensor in memory at a time.

    Matrices become F16 and the norms stay F32, as llama.cpp's own conversion does.
    """
    from gguf import GGUFWriter, LlamaFileType

    metadata = gguf_metadata(folder / METADATA)
    heads = (metadata["llama.attention.head_count"], metadata["llama.attention.head_count_kv"])
    names = {_gguf_name(name): (path, name) for path in _weight_files(folder) for name in _names_in(path)}
    if json.loads((folder / "config.json").read_text()).get("tie_word_embeddings"):
        names.pop("output.weight", None)
    writer = GGUFWriter(target, _ARCHITECTURE)
    _copy_fields(folder / METADATA, writer)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    ordered = sorted(names)
    for name in ordered:
        path, hf_name = names[name]
        shape = _shape_of(path, hf_name)
        type_ = np.dtype(np.float16 if len(shape) > 1 else np.float32)
        writer.add_tensor_info(name, shape, type_, int(np.prod(shape)) * type_.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name in ordered:
        values = _permuted(name, _read(*names[name]), heads)
        writer.write_tensor_data(np.ascontiguousarray(values, np.float16 if values.ndim > 1 else np.float32))
    writer.close()


def _hf_name(gguf_name: str) -> str:
    if gguf_name in _TOP:
        return _TOP[gguf_name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", gguf_name)
    if not match or match.group(2) not in _LAYER:
        raise ConfigError(f"the GGUF tensor {gguf_name!r} is not part of a plain llama model", "use another model")
    return f"model.layers.{match.group(1)}.{_LAYER[match.group(2)]}.weight"


def _gguf_name(hf_name: str) -> str:
    for ours, theirs in _TOP.items():
        if hf_name == theirs:
            return ours
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", hf_name)
    part = next((ours for ours, theirs in _LAYER.items() if match and theirs == match.group(2)), None)
    if not match or part is None:
        raise ConfigError(f"the tensor {hf_name!r} is not part of a plain llama model", "answer with transformers")
    return f"blk.{match.group(1)}.{part}.weight"


def _heads_of(name: str, heads: tuple[int, int]) -> int | None:
    """The attention heads of a tensor whose rows GGUF orders differently, else None."""
    if name.endswith(".attn_q.weight"):
        return heads[0]
    return heads[1] if name.endswith(".attn_k.weight") else None


def _permuted(name: str, values: np.ndarray[Any, Any], heads: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Rows from transformers' order (rotary halves one after the other) to GGUF's (pairs side by side)."""
    count = _heads_of(name, heads)
    if count is None:
        return values
    rows, columns = values.shape
    return values.reshape(count, 2, rows // count // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _unpermuted(name: str, values: np.ndarray[Any, Any], heads: tuple[int, int]) -> np.ndarray[Any, Any]:
    """The inverse of `_permuted`."""
    count = _heads_of(name, heads)
    if count is None:
        return values
    rows, columns = values.shape
    return values.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _hf_config(metadata: dict[str, Any], tied: bool) -> dict[str, Any]:
    heads = metadata["llama.attention.head_count"]
    width = metadata["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "head_dim": metadata.get("llama.rope.dimension_count", width // heads),
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": metadata["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": metadata.get("llama.rope.freq_base", 10_000.0),
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
        **_special_ids(metadata),
    }


def _special_ids(metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{ours}_token_id": metadata[f"tokenizer.ggml.{theirs}_token_id"]
        for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
        if f"tokenizer.ggml.{theirs}_token_id" in metadata
    }


def _tokenizer_config(metadata: dict[str, Any]) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    special = {key.removesuffix("_id"): tokens[number] for key, number in _special_ids(metadata).items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": metadata["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        **special,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_metadata(gguf: Path, target: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(target, _ARCHITECTURE)
    _copy_fields(gguf, writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def _copy_fields(source: Path, writer: GGUFWriter) -> None:
    """Copies the metadata, without what the writer sets itself and what is true of the source's weights only."""
    from gguf import GGUFReader, GGUFValueType

    for key, field in GGUFReader(source).fields.items():
        if key.startswith("GGUF.") or key in _OF_THE_WEIGHTS:
            continue
        is_array = field.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(key, field.contents(), field.types[0], field.types[-1] if is_array else None)


_OF_THE_WEIGHTS = ("general.architecture", "general.file_type", "general.quantization_version")


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelMissing(f"{folder} holds no *.safetensors", "finreg finetune")
    return files


def _names_in(path: Path) -> Iterator[str]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        yield from file.keys()


def _shape_of(path: Path, name: str) -> list[int]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return list(file.get_slice(name).get_shape())


def _read(path: Path, name: str) -> np.ndarray[Any, Any]:
    """A tensor as a NumPy array; bfloat16, which NumPy does not have, comes through torch as float32."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        if file.get_slice(name).get_dtype() != "BF16":
            return np.asarray(file.get_tensor(name))
    with safe_open(path, framework="pt") as file:
        return np.asarray(file.get_tensor(name).float().numpy())
