"""How the rows of a step become tensors: one after another without padding, or beside each other with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finreg_cli.training.encoding import IGNORED, Encoded

if TYPE_CHECKING:
    import torch

Batch = dict[str, Any]
"""What `CompletionTrainer` takes: the model's inputs, and ``labels`` and ``row_numbers`` of the same shape.

``row_numbers`` says of each token which row of the batch it belongs to.
"""


def concatenate(rows: Sequence[Encoded]) -> Batch:
    """The rows as one sequence, int64 tensors of the shape (1, all tokens); positions restart with every row.

    ``row_lengths`` is for `segments.attend_within_rows`, and the ``cu_seq_lens`` (int32, one more than rows) with their
    longest are for flash-attention's kernel: both keep a row from seeing another.
    """
    import torch

    lengths = [len(row) for row in rows]
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.input_ids]]),
        "labels": torch.tensor([[label for row in rows for label in row.labels]]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "row_numbers": torch.repeat_interleave(torch.tensor(lengths))[None],
        "row_lengths": lengths,
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }


def pad(rows: Sequence[Encoded], padding: int) -> Batch:
    """The rows beside each other, int64 tensors of the shape (rows, longest row), padded on the **left**.

    So all completions stand at the end, and logits are needed for the last positions only.
    """
    import torch

    longest = max(len(row) for row in rows)

    def padded(values: list[int], filler: int) -> list[int]:
        return [filler] * (longest - len(values)) + values

    mask = torch.tensor([padded([1] * len(row), 0) for row in rows])
    return {
        "input_ids": torch.tensor([padded(row.input_ids, padding) for row in rows]),
        "labels": torch.tensor([padded(row.labels, IGNORED) for row in rows]),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
        "row_numbers": torch.arange(len(rows))[:, None].expand(-1, longest),
    }


def targets(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where logits are needed, and what they shall predict.

    Position i predicts token i + 1. The first token of a row is the prompt's and carries no loss, so the last position
    of the row before it is not asked for it.

    Args:
        labels: int64 of the shape (rows, tokens).

    Returns:
        the columns whose logits are needed, and their labels, of the shape (rows, columns).
    """
    following = labels[:, 1:]
    columns = (following != IGNORED).any(dim=0).nonzero()[:, 0]
    return columns, following[:, columns]
