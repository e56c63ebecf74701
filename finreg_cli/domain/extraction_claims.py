"""What an evaluation of structured extraction may say: as in `claims`, only what a paired interval allows.

Its figures are rows of ``evaluation_metrics`` for the key ``all``. A paired difference is a row whose ``model`` is
``A-B``, where B is another model, or an earlier round of A: ``previous_round`` or ``round_0``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from finreg_cli.domain.claims import Comparison, Verdict, figure
from finreg_cli.domain.extraction_metrics import ALL, DEFINITIONS
from finreg_cli.domain.records import LEASE_DOCS_HOLDOUT, Metric

HEADLINE = "f1"
"""Micro, over all keys."""

TUNED, TUNED_CONSTRAINED = "tuned", "tuned_constrained"
BASE, BASE_CONSTRAINED = "base", "base_constrained"
ENDPOINTS = ("generator", "judge")
PREVIOUS_ROUND, ROUND_0 = "previous_round", "round_0"

MODEL_PAIRS = (
    (TUNED_CONSTRAINED, BASE_CONSTRAINED),
    (TUNED, BASE),
    (TUNED, BASE_CONSTRAINED),
    *((tuned, endpoint) for tuned in (TUNED_CONSTRAINED, TUNED) for endpoint in ENDPOINTS),
)
"""Which models are compared, the headline first."""

VERDICTS: dict[Verdict, str] = {
    "better": "{later} does better",
    "worse": "{later} does WORSE",
    "unclear": "no difference can be claimed",
    "too_few": "too few documents to claim a difference",
}


def label(model: str, round_: int) -> str:
    """``tuned_constrained/r1``, ``tuned-base/r1``; a model that belongs to no round goes by its name alone."""
    return f"{model}/r{round_}" if model.partition("-")[0] in (TUNED, TUNED_CONSTRAINED) else model


def findings(metrics: Iterable[Metric]) -> Iterator[str]:
    """Lines for a person, by test set: figures, tuned against the others, the rounds against each other."""
    by_set: dict[str, list[Metric]] = {}
    for each in metrics:
        if (each.key, each.metric) == (ALL, HEADLINE):
            by_set.setdefault(each.dataset, []).append(each)
    for dataset, of_set in by_set.items():
        name = "hold-out" if dataset == LEASE_DOCS_HOLDOUT.name else dataset
        for definition in DEFINITIONS:
            said = _Said(each for each in of_set if each.definition == definition)
            yield from (f"{name}, {definition} F1: {line}" for line in said.lines())


@dataclass(frozen=True)
class _Compared:
    """Two figures of one test set by one definition, and their paired difference."""

    later: Metric
    other: Metric
    difference: Metric

    def sentence(self) -> str:
        """``tuned round 1 0.61 [0.55, 0.66] against base 0.12 [...]: +0.49 [...], n=50: tuned does better``."""
        verdict = Comparison("with", ALL, HEADLINE, self.other, self.later, self.difference).verdict
        later = f"round {self.later.round}" if self.later.model == self.other.model else "tuned"
        return (
            f"{_name(self.later)} {figure(self.later)} against {_name(self.other)} {figure(self.other)}: "
            f"{figure(self.difference, signed=True)}, n={self.difference.n}: {VERDICTS[verdict].format(later=later)}"
        )


class _Said:
    """What is said of one test set by one definition."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._by_place = {(each.model, each.round): each for each in metrics}
        self._figures = [each for (model, _), each in self._by_place.items() if "-" not in model]

    def lines(self) -> Iterator[str]:
        compared = [*self._with_others(), *self._with_earlier_rounds()]
        shown = [figure_ for each in compared for figure_ in (each.later, each.other)]
        alone = [each for each in self._figures if each not in shown]
        if alone:
            yield f"{', '.join(f'{_name(each)} {figure(each)}' for each in alone)}, n={alone[0].n}"
        yield from (each.sentence() for each in compared)

    def _with_others(self) -> Iterator[_Compared]:
        """The tuned model of the last round with its base, held to the schema where it can be, and each endpoint."""
        last = max((each.round for each in self._figures), default=0)
        met: set[str] = set()
        for tuned, other in MODEL_PAIRS:
            rival = BASE if other == BASE_CONSTRAINED else other  # one rival, in two ways of writing
            if rival not in met and (found := self._compared(tuned, last, other, 0, other)):
                met.add(rival)
                yield found

    def _with_earlier_rounds(self) -> Iterator[_Compared]:
        """Each round with the one before, and the last with round 0."""
        for model in (TUNED_CONSTRAINED, TUNED):
            rounds = sorted(each.round for each in self._figures if each.model == model)
            if not rounds:
                continue
            pairs = [(later, earlier, PREVIOUS_ROUND) for earlier, later in pairwise(rounds)]
            if len(rounds) > 2:
                pairs.append((rounds[-1], 0, ROUND_0))
            found = (self._compared(model, later, model, earlier, name) for later, earlier, name in pairs)
            yield from (each for each in found if each)
            return

    def _compared(self, model: str, round_: int, other: str, other_round: int, named: str) -> _Compared | None:
        places = ((model, round_), (other, other_round), (f"{model}-{named}", round_))
        later, earlier, difference = (self._by_place.get(place) for place in places)
        return _Compared(later, earlier, difference) if later and earlier and difference else None


def _name(metric: Metric) -> str:
    return f"{metric.model} round {metric.round}" if metric.model in (TUNED, TUNED_CONSTRAINED) else metric.model
