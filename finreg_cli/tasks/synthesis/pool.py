"""The values of the training documents, key by key: what the texts of synthetic labels are recombined from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from finreg_cli.domain.extraction import Labels, Schema
from finreg_cli.domain.records import LabelledLease
from finreg_cli.domain.values import parse_date
from finreg_cli.tasks.synthesis.dates import dates_in

_POINTS_ELSEWHERE = re.compile(
    r"\b(?:sections?|articles?|exhibits?|schedules?|clauses?|paragraphs?|annex|appendix|attached|hereto|hereof|hereby|"
    r"herein\w*|aforesaid|said|such|above|below)\b|[\"“”]",
    re.IGNORECASE,
)
"""A value with one of these means something only in the document that it comes from."""


@dataclass(frozen=True)
class ValuePool:
    """What may be taken into another document.

    Args:
        values: the texts of each key, without those that only their own document explains.
        words: the words of all names, in lower case: an invented name uses none of them.
    """

    values: Mapping[str, tuple[str, ...]]
    words: frozenset[str]


def pool_of(leases: Iterable[LabelledLease], schema: Schema) -> ValuePool:
    """The pool of the training documents; the order of the documents does not matter."""
    values: dict[str, set[str]] = {key: set() for key in schema.keys}
    words: set[str] = set()
    for lease in leases:
        labels = schema.loads(lease.labels)
        names = _names(labels, schema)
        words.update(word.casefold() for name in names for word in re.findall(r"\w{3,}", name))
        for field in schema.fields:
            value = labels[field.name]
            if isinstance(value, str) and field.kind != "name" and _travels(value, names):
                values[field.name].add(" ".join(value.split()))
    return ValuePool({key: tuple(sorted(found)) for key, found in values.items()}, frozenset(words))


def _names(labels: Labels, schema: Schema) -> list[str]:
    found = [labels[field.name] for field in schema.fields if field.kind == "name"]
    return [name for name in found if isinstance(name, str)]


def _travels(value: str, names: Iterable[str]) -> bool:
    """Whether a value makes sense in another document: it names no date, party or place of its own document's text."""
    if parse_date(value) or any(True for _ in dates_in(value)) or _POINTS_ELSEWHERE.search(value):
        return False
    return not any(name.casefold() in value.casefold() for name in names)
