"""A floor is no ceiling: found where the context says the reverse, and nowhere else."""

from __future__ import annotations

import pytest

from finreg_cli.domain.bounds import reversed_bound

CEILING = "The time until the liquidation is no more than four business days."
FLOOR = "The average LGD shall not be lower than 10 %, and 15 % at least for shops."


@pytest.mark.parametrize(
    ("question", "answer", "context", "found"),
    [
        ("What is the minimum period?", "The period is four days.", CEILING, ("4", "minimum")),
        ("How long is the period?", "At least 4 business days.", CEILING, ("4", "minimum")),
        ("How long is the period?", "Four days or more.", CEILING, ("4", "minimum")),
        ("What is the highest LGD?", "It is 10 %.", FLOOR, ("10", "maximum")),
        ("Which LGD applies to shops?", "Up to 15 %.", "A floor of 15 % or more applies.", ("15", "maximum")),
        ("What must be reported?", "Exposures below EUR 1 000 000.", "Above EUR 1000000.", ("1000000", "maximum")),
    ],
)
def test_the_reverse_is_found(question: str, answer: str, context: str, found: tuple[str, str]) -> None:
    assert reversed_bound(question, answer, context) == found


@pytest.mark.parametrize(
    ("question", "answer", "context"),
    [
        ("What is the maximum period?", "It is four business days.", CEILING),
        ("How long is the period?", "Within four business days.", CEILING),
        ("How long is the period?", "It is four business days.", CEILING),
        ("What is the minimum LGD?", "Not less than 10 %.", FLOOR),
        ("What is the minimum ratio?", "It is 8 %.", "Institutions shall hold a ratio of 8 %."),
        ("What is the minimum ratio?", "At least 8 %.", "No more than 8 % for some. At least 8 % for others."),
        ("What are the minimum and the maximum?", "They are 10 % and 20 %.", "No less than 10 %, no more than 20 %."),
        ("What is the minimum?", "10 %, to be reported within 30 days.", "At least 10 %. It is told within 30 days."),
        ("Wie hoch ist die Mindestquote?", "Mindestens 8 %.", "Die Quote ist nie kleiner als 8 %."),
    ],
)
def test_nothing_else_is(question: str, answer: str, context: str) -> None:
    assert reversed_bound(question, answer, context) is None
