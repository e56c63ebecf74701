"""Definitions: "'X' means Y", in a list of definitions or in a sentence of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from finreg_cli.domain.notes import has_mark
from finreg_cli.tasks.rules.proposal import Proposal, chosen, quote
from finreg_cli.tasks.rules.provisions import Provision
from finreg_cli.tasks.rules.wording import FOOTNOTE, MOST_SENTENCE_WORDS

VERSION = 1
# Straight, single (2018, 2019) and double (201C, 201D) quotation marks.
_OPEN, _CLOSE = "['\"\u2018\u201c]", "['\"\u2019\u201d]"
_TERM = (
    rf"{_OPEN}(?P<term>[^\u2018\u201c\u201d\"]{{2,80}}?){_CLOSE}"
    rf"(?: or {_OPEN}(?P<other>[^\u2018\u201c\u201d\"]{{2,60}}?){_CLOSE})?"
)
_POINT = re.compile(
    rf"{_TERM},?(?: in relation to [^,]+,)? (?P<verb>means?|has the same meaning as)\b:? ?(?P<meaning>.+)", re.DOTALL
)
_SENTENCE = re.compile(
    rf"For the purposes? of this \w+(?:-\w+)?,? {_TERM} (?P<verb>means?|shall mean) (?P<meaning>.+)\.", re.DOTALL
)
_BROKEN = re.compile(rf"[¼ðÞ\ufffd\ufffe\u0002]|\d:\d|\b\w+- \w| {{2}}|{FOOTNOTE}")
_LEAST_WORDS = 2
_MOST_REVERSED_WORDS = 30

_QUESTIONS = {
    "what-means": "What does {term} mean in {article}?",
    "how-defines": "How does {citation} define {term}?",
    "definition-of": "What is the definition of {term} in {article}?",
    "meant-by": "What is meant by {term} under {article}?",
    "which-meaning": "Which meaning does {citation} give to the term {term}?",
}
_REVERSED = "which-term", "Which term does {article} define as “{meaning}”?"


def definitions(provision: Provision) -> Iterator[Proposal]:
    for point in provision.points:
        found = _POINT.fullmatch(_without_end(point.text))
        if found:
            yield from _proposal(provision, found, point.citation, point.text)
    for statement in provision.statements:
        found = None if statement.items else _SENTENCE.fullmatch(statement.text)
        if found:
            yield from _proposal(provision, found, statement.citation, statement.text)


def _without_end(text: str) -> str:
    return re.sub(r"(?:[;.,]| and;?| or;?)+$", "", text.strip())


def _proposal(provision: Provision, found: re.Match[str], citation: str, source: str) -> Iterator[Proposal]:
    term, other, meaning = found["term"].strip(" ,"), found["other"], _without_end(found["meaning"])
    if not _is_sound(term, meaning):
        return
    terms = f"'{term}' or '{other}'" if other else f"'{term}'"
    verb = "means" if found["verb"] == "shall mean" else found["verb"]
    colon = ":" if re.match(r"\([a-z]\) ", meaning) else ""
    answer = f"{terms} {verb}{colon} {meaning}."
    if not 5 <= len(answer.split()) <= MOST_SENTENCE_WORDS:
        return
    forms = dict(_QUESTIONS)
    reversible = found["verb"] != "has the same meaning as" and not colon and "“" not in meaning
    if reversible and 6 <= len(meaning.split()) <= _MOST_REVERSED_WORDS and term.lower() not in meaning.lower():
        forms[_REVERSED[0]] = _REVERSED[1]
    name, wording = list(forms.items())[chosen(len(forms), citation, term)]
    yield Proposal(
        "definition",
        f"definition/{name}@{VERSION}",
        wording.format(term=f"'{term}'", citation=citation, article=_scope(provision, citation), meaning=meaning),
        answer,
        citation,
        f"the provision defines the term in so many words: {quote(source)}",
    )


def _scope(provision: Provision, citation: str) -> str:
    """The provision without the number of the point: "CRR Article 4(1)" of "CRR Article 4(1)(26)"."""
    return re.sub(r"(\(\d+[a-z]?\))\(\d+[a-z]?\)$", r"\1", citation)


def _is_sound(term: str, meaning: str) -> bool:
    return (
        len(meaning.split()) >= _LEAST_WORDS
        and not has_mark(f"{term} {meaning}")
        and not _BROKEN.search(f"{term} {meaning}")
        and meaning.count("(") == meaning.count(")")
        # A second sentence may belong to another point.
        and not re.search(r"[.] [A-Z]", re.sub(r"\bNo\. ", "No ", meaning))
        and not meaning.endswith(":")
    )
