"""What a training job depends on, and how long it takes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from finreg_cli.training.base import NEUTRAL_PARAMS
from finreg_cli.training.rows import Row, Unusable

Unit = Literal["ep", "ba", "tok"]


@dataclass(frozen=True)
class Duration:
    """How long to train: ``3ep`` epochs, ``500ba`` optimiser steps, ``2000000tok`` tokens (underscores allowed).

    Tokens are all that the model reads, prompts too; it ends at the first step that reaches the number.
    """

    amount: int
    unit: Unit

    @classmethod
    def of(cls, text: str) -> Duration:
        """Raises `Unusable` for another form."""
        found = re.fullmatch(r"([1-9][0-9_]*)(ep|ba|tok)", text)
        if found is None:
            raise Unusable(f"duration: {text!r} is none of 3ep (epochs), 500ba (optimiser steps), 2000000tok (tokens)")
        return cls(int(found[1].replace("_", "")), cast(Unit, found[2]))


@dataclass(frozen=True)
class Params:
    """What the script reads; the file's other keys belong to the sweep around it."""

    base_model: str
    learning_rate: float
    seed: int
    method: str = "lora"
    duration: str = "1ep"
    batch_size: int = 4
    packing: bool = False
    context_length: int = 2048
    too_long: str = "cut"
    gradient_checkpointing: bool | None = None
    eval_steps: int | None = None
    early_stopping: int | None = None
    save_steps: int = 10
    lora: dict[str, Any] = field(default_factory=lambda: {"rank": 16, "alpha": 32, "dropout": 0.0})

    @classmethod
    def of(cls, params: dict[str, Any]) -> Params:
        return cls(**{name: params[name] for name in cls.__dataclass_fields__ if name in params})


def fingerprint(rows: Iterable[Row], params: Params) -> str:
    """What the result depends on, as a hash: another value means another job."""
    decisive = {name: value for name, value in asdict(params).items() if name not in NEUTRAL_PARAMS}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for row in rows:
        digest.update(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
