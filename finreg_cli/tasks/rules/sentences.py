"""Sentences and lists that oblige, permit, limit or set a date: how a form becomes a row.

The answer is the sentence itself, whole. A statement gives one row at most: of the forms that match, those of the most
specific kind compete, and a hash of the text chooses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from finreg_cli.tasks.rules.forms import FORMS, SUBMITTED_STANDARDS, Form
from finreg_cli.tasks.rules.proposal import Proposal, chosen, quote
from finreg_cli.tasks.rules.provisions import Provision, Statement
from finreg_cli.tasks.rules.wording import Clause, is_sound, standing_alone, take_apart

MOST_QUESTION_WORDS = 50

_INTRODUCES_RULES = re.compile(
    r"^(?:[Tt]he|[Aa]ll(?: of)? the) following(?: \w+)? (?:shall|apply)|^The following:"
    r"|following (?:provisions|rules|requirements|principles|standards) shall apply:$"
)


def sentence_rows(provision: Provision, numeric: bool) -> Iterator[tuple[Form, Proposal]]:
    """At most one row from each sound statement, with the form that made it.

    Args:
        numeric: whether figures may be trusted; without, no statement that holds a digit is used.
    """
    for statement in (*provision.statements, *_own_rules(provision)):
        if is_sound(statement) and (numeric or not re.search(r"\d", statement.text)):
            clause = take_apart(statement)
            if clause is not None:
                yield from _row(provision, clause)


def _own_rules(provision: Provision) -> Iterator[Statement]:
    """The points that are rules of their own: "The following shall apply: (a) exposures to X shall be assigned ..."."""
    for point in provision.list_points:
        if _INTRODUCES_RULES.search(point.intro) and " shall " in point.text:
            yield Statement(f"{point.text[:1].upper()}{point.text[1:]}.", point.citation)


def _row(provision: Provision, clause: Clause) -> Iterator[tuple[Form, Proposal]]:
    matching = [(form, row) for form in FORMS for row in _filled(form, provision, clause)]
    if not matching:
        return
    best = [(form, row) for form, row in matching if not form.generic] or matching
    rivals = [(form, row) for form, row in best if form.kind == best[0][0].kind]
    yield rivals[chosen(len(rivals), provision.article, clause.statement.text)]


def _filled(form: Form, provision: Provision, clause: Clause) -> Iterator[Proposal]:
    """The form's wordings for the clause, where it fits and the question stands on its own."""
    if not _suits(form, provision, clause):
        return
    subject, found = form.subject.fullmatch(clause.subject), form.pattern.fullmatch(clause.verbal)
    parts = _parts([subject, found], clause, provision.act) if subject and found else None
    if parts is None:
        return
    statement = clause.statement
    for number, wording in enumerate(form.wordings, start=1):
        if "{title}" in wording and not provision.title:
            continue
        question = _tidy(wording.format(citation=statement.citation, title=provision.title, **parts))
        if len(question.split()) <= MOST_QUESTION_WORDS:
            yield Proposal(
                form.kind,
                form.rule(number),
                question,
                form.answer.format(text=_answer(statement)),
                statement.citation,
                f"the {'list' if statement.items else 'sentence'} says so: {quote(statement.text)}",
            )


def _suits(form: Form, provision: Provision, clause: Clause) -> bool:
    statement = clause.statement
    return (
        form.lists == bool(statement.items)
        and (clause.actor or not form.actor)
        and not (clause.actor and form.things)
        and (statement.alone or not form.alone)
        and (bool(clause.when) or not form.depends)
        and not (form.figures and _elsewhere(form.figures, provision, statement))
    )


def _elsewhere(sign: str, provision: Provision, statement: Statement) -> bool:
    others = (each for each in provision.statements if each.citation == statement.citation)
    return any(sign in other.text for other in others if other != statement)


def _parts(found: Sequence[re.Match[str]], clause: Clause, act: str) -> dict[str, str] | None:
    """What the wordings are filled with; None where a part points to something that the question does not name."""
    groups = {"noun": "", "to": "", "rest": "", "not": "", "act": "", "subject": clause.subject, "when": clause.when}
    for name, value in (item for each in found for item in each.groupdict().items()):
        first_name = name.rstrip("2")
        groups[first_name] = f"{groups.get(first_name, '')} {value or ''}".strip()
    groups["noun"] = groups["noun"] or "items"
    parts = {name: standing_alone(value, act) for name, value in groups.items()}
    if any(value is None for value in parts.values()):
        return None
    return {name: value or "" for name, value in parts.items()}


def _tidy(question: str) -> str:
    """One blank between words and none before a comma or the question mark, where a part was empty."""
    return re.sub(r" ([,?])", r"\1", re.sub(r"\s+", " ", question))


def _answer(statement: Statement) -> str:
    """The statement; "those draft standards" have no sentence before them here."""
    return re.sub(SUBMITTED_STANDARDS, "submit the ", statement.text)
