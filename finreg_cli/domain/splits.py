"""The split that cannot leak: decided by a hash of the legal unit, so that no run ever moves a row."""

from __future__ import annotations

from typing import Literal

from finreg_cli.domain.identity import content_hash

Split = Literal["train", "validation"]


def unit_fraction(seed: int, work_id: str, unit: str) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the unit."""
    digest = content_hash(seed, work_id, unit)
    return int(digest, 16) / float(16 ** len(digest))


def sampling_key(row_id: str) -> str:
    """An order for taking some rows of many, stable from run to run.

    Not the row ids' own: of a kind with rows to spare the mix has kept the lowest, so the lowest ids of the whole are
    mostly of such kinds.
    """
    return content_hash("sample", row_id)


def split_of(seed: int, work_id: str, unit: str, validation_fraction: float) -> Split:
    """The side of a unit: validation where its fraction of 1 is below ``validation_fraction``.

    Args:
        seed: ``generate.seed``.
        work_id: the work that the unit belongs to.
        unit: the article (annex, recital); where there are none the top numbered heading, else the document's id.
        validation_fraction: the share of units, 0 to 1, that goes to validation.
    """
    return "validation" if unit_fraction(seed, work_id, unit) < validation_fraction else "train"
