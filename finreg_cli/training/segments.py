"""Attention that never leaves a row, for rows that stand one after another in one sequence without padding.

On a CPU, and on a GPU without flash-attention, PyTorch's causal attention runs row by row; where flash-attention is
installed, its kernel for rows of different lengths does the same at once. **The latter needs a GPU and was not run
where this was written**; a test holds the configuration that is built for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import is_flash_attn_2_available

from finreg_cli.training.batches import concatenate
from finreg_cli.training.encoding import IGNORED, Encoded

ROW_BY_ROW = "finreg_row_by_row"
"""The name that transformers knows `attend_within_rows` by."""

FLASH = "flash_attention_2"

_DRIFT = 0.05
"""The most that a logit may differ from the model's own attention, as a share of the largest: 16-bit products do by a
hundredth."""


def attend_within_rows(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    row_lengths: list[int] | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each row, as transformers' attention functions are called.

    Args:
        query: (1, heads, tokens, width); key and value may have fewer heads.
        row_lengths: the tokens of each row, in their order; None where all tokens are one row.

    Returns:
        (1, tokens, heads, width), and no weights.

    Raises:
        ValueError: the model's attention has a part that PyTorch's function does not compute.
    """
    if softcap is not None or s_aux is not None or attention_mask is not None:
        raise ValueError("attention with soft-capped scores, sinks or a mask of the model's own")
    lengths = row_lengths or [query.shape[2]]
    rows = (each.split(lengths, dim=2) for each in (query, key, value))
    attended = []
    for of_query, of_key, of_value in zip(*rows, strict=True):
        window = _window_mask(of_query, sliding_window)
        attended.append(
            scaled_dot_product_attention(
                of_query,
                of_key,
                of_value,
                attn_mask=window,
                dropout_p=dropout,
                scale=scaling,
                is_causal=window is None,
                enable_gqa=key.shape[1] != query.shape[1],
            ).transpose(1, 2)
        )
    return torch.cat(attended, dim=1), None


def _window_mask(query: torch.Tensor, sliding_window: int | None) -> torch.Tensor | None:
    """Which tokens a token sees, where the row is longer than its window; None where it sees all before it."""
    length = query.shape[2]
    if sliding_window is None or length <= sliding_window:
        return None
    distance = torch.arange(length, device=query.device)[:, None] - torch.arange(length, device=query.device)
    return (distance >= 0) & (distance < sliding_window)


def attend_row_by_row(model: PreTrainedModel, on_gpu: bool) -> str | None:
    """Gives the model such an attention, and tries it out on two short rows, each alone and one after the other.

    Where it reads them differently, or where another first row changes anything at all in the second (a model with
    state besides attention, or an attention that cannot be replaced), the model is left as it was.

    Returns:
        None, or why its rows have to be padded.
    """
    ALL_ATTENTION_FUNCTIONS.register(ROW_BY_ROW, attend_within_rows)
    own = model.config._attn_implementation
    first, other_first, second = _ROWS
    try:
        alone = torch.cat([_logits(model, [first]), _logits(model, [second])])
        model.set_attn_implementation(FLASH if on_gpu and is_flash_attn_2_available() else ROW_BY_ROW)
        together = _logits(model, [first, second])
        after_another = _logits(model, [other_first, second])[len(first) :]
    # Whatever a model's own code raises: there is another way to train it.
    except Exception as error:
        _restore(model, own)
        reason = next(iter(str(error).splitlines()), "")
        return f"its attention cannot be replaced ({type(error).__name__}: {reason})"
    if not torch.equal(together[len(first) :], after_another):
        _restore(model, own)
        return "it carries something from one row into the next"
    drift = ((together - alone).abs().max() / alone.abs().max()).item()
    if drift > _DRIFT:
        _restore(model, own)
        return f"one row after another it reads them differently (by {drift:.0%})"
    return None


def _restore(model: PreTrainedModel, own: str) -> None:
    if model.config._attn_implementation != own:
        model.set_attn_implementation(own)


def _row(tokens: list[int]) -> Encoded:
    return Encoded("", tokens, [IGNORED] * len(tokens))


_ROWS = (_row([*range(3, 20)]), _row([*range(5, 22)]), _row([*range(30, 11, -1)]))


def _logits(model: PreTrainedModel, rows: list[Encoded]) -> torch.Tensor:
    """Of all tokens, in fp32, of the shape (tokens, vocabulary)."""
    inputs = {name: value for name, value in concatenate(rows).items() if name not in ("labels", "row_numbers")}
    if len(rows) == 1:
        inputs = {"input_ids": inputs["input_ids"]}
    device = model.device
    inputs = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    # flash-attention takes 16-bit floats only.
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        logits: torch.Tensor = model.eval()(**inputs, use_cache=False).logits[0].float()
    return logits
