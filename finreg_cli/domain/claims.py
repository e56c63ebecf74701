"""What an evaluation may say: a difference is claimed only where its paired interval excludes zero."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from finreg_cli.domain.metrics import DEFINITIONS, LOWER_IS_BETTER
from finreg_cli.domain.records import Metric

BASE, TUNED, DIFFERENCE = "base", "tuned", "tuned-base"
WHOLE = "all"
HEADLINE = "token_f1"

Verdict = Literal["better", "worse", "unclear", "too_few", "not_compared"]

ECHOED = ("citation_right",)
"""No part of the headline: a citation can be copied from the context's first line, or from a question that names it."""

TITLES = {
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L",
    "exact_match": "exact match",
    "numbers_right": "right numbers",
    "citation_right": "right citations",
    "false_abstention": "wrong abstentions",
    "abstention_right": "right abstentions",
}


@dataclass(frozen=True)
class Comparison:
    """One metric of one slice in one context mode: each model's figure and their paired difference."""

    context: str
    slice: str
    metric: str
    base: Metric | None
    tuned: Metric | None
    difference: Metric | None

    @property
    def n(self) -> int:
        return next(each.n for each in (self.difference, self.tuned, self.base) if each)

    @property
    def title(self) -> str:
        return TITLES[self.metric]

    @property
    def verdict(self) -> Verdict:
        """Whether the tuned model does better; the sign is turned where lower is better."""
        if self.difference is None:
            return "not_compared"
        low, high = self.difference.ci_low, self.difference.ci_high
        if low is None or high is None:
            return "too_few"
        if self.metric in LOWER_IS_BETTER:
            low, high = -high, -low
        if low > 0:
            return "better"
        return "worse" if high < 0 else "unclear"

    def sentence(self) -> str:
        """For a person: ``token F1 0.81 against 0.44, +0.37 [0.28, 0.46], n=32``."""
        if self.difference is None or self.base is None or self.tuned is None:
            models = [f"{each.model} {figure(each)}" for each in (self.base, self.tuned) if each]
            return f"{self.title} {', '.join(models)}, n={self.n}"
        change = f"{figure(self.difference, signed=True)}, n={self.n}"
        return f"{self.title} {_plain(self.tuned.value)} against {_plain(self.base.value)}, {change}"


def comparisons(metrics: Iterable[Metric]) -> list[Comparison]:
    """The metrics of one evaluation side by side: contexts and slices as they come, metrics as in `DEFINITIONS`."""
    found: dict[tuple[str, str, str], dict[str, Metric]] = {}
    for each in metrics:
        found.setdefault((each.context, each.slice, each.metric), {})[each.model] = each
    order = list(DEFINITIONS)
    places: dict[tuple[str, str], int] = {}
    for context, slice_, _ in found:
        places.setdefault((context, slice_), len(places))
    keys = sorted(found, key=lambda key: (places[key[:2]], order.index(key[2])))
    return [Comparison(*key, found[key].get(BASE), found[key].get(TUNED), found[key].get(DIFFERENCE)) for key in keys]


_HEADLINES: dict[Verdict, str] = {
    "better": "the tuned model answers better than its base",
    "worse": "the tuned model answers worse than its base",
    "unclear": "no difference between the tuned model and its base can be claimed",
    "too_few": "too few articles to claim a difference between the tuned model and its base",
    "not_compared": "measured, not compared, because one model answered,",
}


def headline(compared: Sequence[Comparison]) -> str:
    """One sentence on the headline metric, in each context mode; every other claim is said in the same breath."""
    whole = [each for each in compared if each.slice == WHOLE]
    contexts: dict[Verdict, list[str]] = {}
    for each in whole:
        if each.metric == HEADLINE:
            contexts.setdefault(each.verdict, []).append(f"{each.context} context")
    said = "; ".join(f"{_HEADLINES[verdict]} {' and '.join(modes)}" for verdict, modes in contexts.items())
    if not said:
        return "No answerable row was evaluated"
    others = [each for each in whole if each.metric not in (HEADLINE, *ECHOED)]
    return f"By {TITLES[HEADLINE]}, {said}" + _also("better", others) + _also("worse", others)


def _also(verdict: Verdict, others: Sequence[Comparison]) -> str:
    """``; it does better on exact match, right citations (with context)``; nothing where there is no such claim."""
    titles: dict[str, list[str]] = {}
    for each in others:
        if each.verdict == verdict:
            titles.setdefault(each.context, []).append(each.title)
    claimed = ", ".join(f"{', '.join(names)} ({context} context)" for context, names in titles.items())
    return f"; it does {verdict} on {claimed}" if claimed else ""


_OPENINGS: dict[Verdict, str] = {
    "better": "tuned does better: ",
    "worse": "tuned does WORSE: ",
    "not_compared": "",
}


def findings(compared: Sequence[Comparison]) -> Iterator[str]:
    """Lines for a person, by context: each claim on the whole, what nothing can be claimed on, the kinds."""
    for context in dict.fromkeys(each.context for each in compared):
        here = [each for each in compared if each.context == context]
        whole = [each for each in here if each.slice == WHOLE]
        for each in whole:
            if each.verdict in _OPENINGS:
                yield f"{context} context: {_OPENINGS[each.verdict]}{each.sentence()}"
        undecided = [f"{each.title} (n={each.n})" for each in whole if each.verdict not in _OPENINGS]
        if undecided:
            yield f"{context} context: nothing can be claimed on {', '.join(undecided)}"
        kinds = [each for each in here if each.metric == HEADLINE and each.slice != WHOLE]
        if any(each.difference for each in kinds):
            yield f"{context} context, {TITLES[HEADLINE]} by kind: {by_verdict(kinds)}"


def by_verdict(compared: Sequence[Comparison]) -> str:
    """``better in definition (n=9); nothing can be claimed in deadline (n=3)``; the kinds of each verdict."""
    groups: dict[str, list[str]] = {"better in": [], "worse in": [], "nothing can be claimed in": []}
    for each in compared:
        group = {"better": "better in", "worse": "worse in"}.get(each.verdict, "nothing can be claimed in")
        groups[group].append(f"{each.slice} (n={each.n})")
    return "; ".join(f"{group} {', '.join(names)}" for group, names in groups.items() if names)


def figure(metric: Metric, signed: bool = False) -> str:
    """``0.44 [0.35, 0.52]``; the interval is left out where there is none."""
    if metric.ci_low is None or metric.ci_high is None:
        return _plain(metric.value, signed)
    return f"{_plain(metric.value, signed)} [{_plain(metric.ci_low, signed)}, {_plain(metric.ci_high, signed)}]"


def _plain(value: float | None, signed: bool = False) -> str:
    if value is None:
        return "none"
    return f"{value:+.2f}" if signed else f"{value:.2f}"
