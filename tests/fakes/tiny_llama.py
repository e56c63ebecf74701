"""A small llama of random weights as a GGUF file, with a tokenizer like SmolLM2's: real, and loaded at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CONTEXT = 1024
WIDTH, INNER, LAYERS, HEADS, KEY_HEADS = 64, 96, 2, 4, 2
TEXT = (
    "what shall an institution hold? own funds of 8 % of the amount under Article 92(1) of Regulation (EU) No 575/2013"
)
_ASCII = [*map(chr, range(33, 127)), "\u0120", "\u010a"]
"""Printable characters, blank and newline as byte-level BPE writes them: whatever the model says is readable text."""

TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_gguf(path: Path, seed: int = 0) -> Path:
    """Writes the model with fp32 weights; its output head is its embedding."""
    tokens, merges = _vocabulary()
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, values in _weights(len(tokens), seed).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary() -> tuple[list[str], list[str]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=_ASCII,
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    learned = _model(tokenizer)["merges"]
    return [token for token, _ in by_id], [merge if isinstance(merge, str) else " ".join(merge) for merge in learned]


def _model(tokenizer: Tokenizer) -> dict[str, list[str | list[str]]]:
    import json

    model: dict[str, list[str | list[str]]] = json.loads(tokenizer.to_str())["model"]
    return model


def _weights(vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * 0.3).astype(np.float32)

    weights = {"token_embd.weight": matrix(vocabulary, WIDTH), "output_norm.weight": np.ones(WIDTH, np.float32)}
    key_width = WIDTH // HEADS * KEY_HEADS
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (key_width, WIDTH),
            "attn_v": (key_width, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }
        for part, shape in shapes.items():
            weights[f"blk.{layer}.{part}.weight"] = matrix(*shape)
        for part in ("attn_norm", "ffn_norm"):
            weights[f"blk.{layer}.{part}.weight"] = np.ones(WIDTH, np.float32)
    return weights
