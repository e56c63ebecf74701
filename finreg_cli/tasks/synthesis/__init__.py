"""Synthesis by rules, without a model: typed sampling of new labels, exact substitution in the parent's document."""

from __future__ import annotations

import dataclasses
import random

from finreg_cli.domain.extraction import Labels, Schema
from finreg_cli.domain.records import GeneratedLease, LabelledLease
from finreg_cli.domain.values import parse_date
from finreg_cli.tasks.synthesis.dates import choose_shift, dates_in
from finreg_cli.tasks.synthesis.documents import remaining, substitute
from finreg_cli.tasks.synthesis.labels import new_labels
from finreg_cli.tasks.synthesis.pool import ValuePool, pool_of

__all__ = ["RULES_VERSION", "ValuePool", "pool_of", "synthesise"]

RULES_VERSION = "substitution-1"
"""Recorded as ``prompt_version``; another one makes other rows."""


def synthesise(
    parent: LabelledLease, blank: GeneratedLease, pool: ValuePool, schema: Schema, seed: int
) -> tuple[GeneratedLease, str | None]:
    """The blank with labels and a document, and why it cannot be used; None where it can.

    The same blank, parent, pool and seed always give the same. A document whose old values could not all be replaced is
    returned with the reason; whether it holds every new value is for `tasks.structured_extraction.document_problem`.
    """
    chance = random.Random(f"{seed} {blank.lease_id}")
    old, document = schema.loads(parent.labels), parent.lease_doc
    labelled = [day for value in old.values() if isinstance(value, str) and (day := parse_date(value))]
    shift = choose_shift(labelled, [found.day for found in dates_in(document)], document, chance)
    new = new_labels(old, document, pool, schema, shift, chance)
    lease = dataclasses.replace(blank, generated_labels=schema.dumps(new.labels))
    if new.problem:
        return lease, new.problem
    if new.labels == old:
        return lease, "labels: no value could be changed"
    text = substitute(document, old, new.labels, new.parts, shift, schema)
    return dataclasses.replace(lease, generated_lease_doc=text), _left(text, old, new.labels)


def _left(document: str, old: Labels, new: Labels) -> str | None:
    left = remaining(document, old, new)
    return f"document: the parent's value of {', '.join(left)} is still there" if left else None
