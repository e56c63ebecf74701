"""Mechanical filters for question-answer rows of both methods. Each has a name, which opens the reason it gives.

They prove that what a row states stands in its context; whether the answer fits the question is the reviewer's and the
judge's to say.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from finreg_cli.domain.chat_format import ABSTENTION, split_citation
from finreg_cli.domain.records import Chunk, QaRow

MOST_QUESTION_WORDS = 70
LEAST_QUESTION_WORDS = 4
MOST_ANSWER_WORDS = 150
QUOTED_WORDS = 4
"""A quotation is checked from this many words on: shorter ones are terms, which a writer may put into a case."""

NEAR_DUPLICATE = 0.9
"""Two questions are the same from this similarity of their sorted words on: 1 - edit distance / longer length."""

_SPACES = re.compile(r"\s+")
_WORDS = re.compile(r"\w+")
# Thousands in groups of three ("1 000 000"), decimals with a comma (the Official Journal) or a point.
_NUMBER = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:[ \u00a0]\d{3})+(?!\d)|\d+)(?:[.,]\d+)*")
_REFERENCE = re.compile(r"\b\d+[a-z]?(?:\(\w{1,6}\))+")
_DATE = re.compile(
    r"\b\d{1,2} (?:January|February|March|April|May|June|July|August|September|October|November|December) \d{4}\b"
)
_WRITTEN = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WRITTEN_NUMBER = re.compile(rf"\b(?:{'|'.join(_WRITTEN)})\b", re.IGNORECASE)
_QUOTED = re.compile('“([^“”]+)”|"([^"]+)"')
_POINTS_OUTSIDE = re.compile(
    r"\b(?:the (?:given |provided |above )?(?:text|context|passage|excerpt|extract|snippet|chunk)"
    r"|(?:mentioned|described|listed|stated|set out|as) above|the following|below:"
    r"|this (?:article|paragraph|point|section|chapter|title|part|annex|regulation|directive|document|subparagraph))\b"
    r"|^(?:what|when|where|how|why|who|which|whom)\b[\w ]{0,30}? (?:must|shall|does|do|is|are|should|may|can)"
    r" (?:it|they|this|these|those)\b",
    re.IGNORECASE,
)


def check(row: QaRow, chunk: Chunk) -> str | None:
    """The first filter that the row does not pass, as ``name: detail``; None where it passes all of them."""
    for name, find in _FILTERS.items():
        detail = find(row, chunk)
        if detail is not None:
            return f"{name}: {detail}"
    return None


def check_blank(row: QaRow, chunk: Chunk) -> str | None:
    """Why a row need not be written at all, before anything is paid for it: what its chunk could never pass."""
    suspect = _suspect_source(row, chunk)
    if suspect:
        return f"suspect_source: {suspect}"
    if chunk.has_formula and row.kind == "threshold":
        return "formula: a question on figures from a chunk whose formulas did not survive the PDF"
    return None


def _suspect_source(row: QaRow, chunk: Chunk) -> str | None:
    return "the chunk seems to hold an instruction to a language model" if chunk.suspect_instruction else None


def _question_empty(row: QaRow, chunk: Chunk) -> str | None:
    return None if (row.question or "").strip() else "there is no question"


def _answer_empty(row: QaRow, chunk: Chunk) -> str | None:
    return None if _answer_text(row) else "there is no answer"


def _question_form(row: QaRow, chunk: Chunk) -> str | None:
    question = row.question or ""
    if not question.endswith("?"):
        return f"does not end with a question mark: '{question[-30:]}'"
    return None if question[0].isupper() or not question[0].isalpha() else f"begins in lower case: '{question[:30]}'"


def _question_length(row: QaRow, chunk: Chunk) -> str | None:
    words = len((row.question or "").split())
    if LEAST_QUESTION_WORDS <= words <= MOST_QUESTION_WORDS:
        return None
    return f"{words} words, not {LEAST_QUESTION_WORDS} to {MOST_QUESTION_WORDS}"


def _stands_alone(row: QaRow, chunk: Chunk) -> str | None:
    found = _POINTS_OUTSIDE.search(row.question or "")
    return f"'{found.group()}' points at something that the question does not name" if found else None


def _abstention(row: QaRow, chunk: Chunk) -> str | None:
    abstains = row.answer == ABSTENTION
    if row.answerable:
        return "an answerable row abstains" if _letters(row.answer) == _letters(ABSTENTION) else None
    return None if abstains else f"an unanswerable row's answer is exactly '{ABSTENTION}'"


def _citation(row: QaRow, chunk: Chunk) -> str | None:
    if not row.answerable:
        return None
    _, citation = split_citation(row.answer or "")
    if citation is None:
        return "the answer ends in no bracketed citation"
    if citation != row.citation:
        return f"the answer cites '{citation}', the row '{row.citation}'"
    inside = re.match(rf"{re.escape(chunk.citation)}(?!\w)", citation)
    return None if inside else f"'{citation}' lies outside '{chunk.citation}'"


def _answer_length(row: QaRow, chunk: Chunk) -> str | None:
    words = len(_answer_text(row).split())
    return None if words <= MOST_ANSWER_WORDS else f"{words} words, more than {MOST_ANSWER_WORDS}"


def _echo(row: QaRow, chunk: Chunk) -> str | None:
    return "the answer is the question" if _letters(_answer_text(row)) == _letters(row.question) else None


def _numbers(row: QaRow, chunk: Chunk) -> str | None:
    if not row.answerable:
        return None
    missing = numbers_in(_answer_text(row)) - numbers_in(row.context)
    return f"{_listed(missing)} not in the context" if missing else None


def _dates(row: QaRow, chunk: Chunk) -> str | None:
    missing = set(_DATE.findall(_plain(_answer_text(row)))) - set(_DATE.findall(_plain(row.context)))
    return f"{_listed(missing)} not in the context" if missing else None


def _references(row: QaRow, chunk: Chunk) -> str | None:
    missing = set(_REFERENCE.findall(_answer_text(row))) - set(_REFERENCE.findall(row.context))
    return f"{_listed(missing)} not in the context" if missing else None


def _quotations(row: QaRow, chunk: Chunk) -> str | None:
    known = _letters(f"{row.context} {row.question}")
    for found in _QUOTED.finditer(f"{_answer_text(row)} {row.reasoning or ''}"):
        quotation = found.group(1) or found.group(2)
        if len(quotation.split()) >= QUOTED_WORDS and _letters(quotation) not in known:
            return f"'{quotation}' is quoted but not in the context"
    return None


def _formula(row: QaRow, chunk: Chunk) -> str | None:
    if chunk.has_formula and row.answerable and numbers_in(_answer_text(row)):
        return "a numeric answer from a chunk whose formulas did not survive the PDF"
    return None


_FILTERS: dict[str, Callable[[QaRow, Chunk], str | None]] = {
    "suspect_source": _suspect_source,
    "question_empty": _question_empty,
    "answer_empty": _answer_empty,
    "question_form": _question_form,
    "question_length": _question_length,
    "stands_alone": _stands_alone,
    "abstention": _abstention,
    "citation": _citation,
    "answer_length": _answer_length,
    "echo": _echo,
    "numbers": _numbers,
    "dates": _dates,
    "references": _references,
    "quotations": _quotations,
    "formula": _formula,
}
FILTERS = tuple(_FILTERS)
"""The names of the filters, in the order in which they are applied."""


def numbers_in(text: str) -> set[str]:
    """The numbers of a text in one spelling: ``4,5`` as ``4.5``, ``1 000 000`` as ``1000000``, ``three`` as ``3``."""
    digits = {re.sub(r"[ \u00a0]", "", number).replace(",", ".") for number in _NUMBER.findall(text)}
    written = {str(_WRITTEN.index(word.lower()) + 2) for word in _WRITTEN_NUMBER.findall(text)}
    return digits | written


def _answer_text(row: QaRow) -> str:
    return split_citation(row.answer or "")[0]


def _plain(text: str) -> str:
    return _SPACES.sub(" ", text)


def _letters(text: str | None) -> str:
    return " ".join(_WORDS.findall((text or "").lower()))


def _listed(values: set[str]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


# In single quotation marks, straight or curved (2018, 2019), an apostrophe stays within: 'institution's own funds'.
_TERM = re.compile("['\u2018]((?:[^'\u2018\u2019]|(?<=\\w)['\u2019](?=\\w))+)['\u2019](?!\\w)|“([^”]+)”|\"([^\"]+)\"")
_ARTICLE = re.compile(r"\b(?:articles?|recitals?|annex(?:es)?)\s+([\dIVX]+[a-z]?(?:\(\w{1,6}\))*)", re.IGNORECASE)


_SILENT_WORDS = frozenset({"a", "an", "the", "under", "according", "pursuant", "to"})
_SAME_WORD = {"shall": "must", "should": "must", "their": "its"}


@dataclass(frozen=True)
class _Fingerprint:
    """What tells questions apart whatever their words: the articles they name, and their terms and other numbers."""

    articles: frozenset[str]
    marks: frozenset[str]
    words: str


def _fingerprint(question: str) -> _Fingerprint:
    articles = frozenset(article.lower() for article in _ARTICLE.findall(question))
    rest = _ARTICLE.sub(" ", question)
    terms = {_letters("".join(found)) for found in _TERM.findall(rest)}
    rest = _TERM.sub(" ", rest)
    words = sorted(
        _SAME_WORD.get(word, word)
        for word in _WORDS.findall(rest.lower())
        if not word.isdigit() and word not in _SILENT_WORDS
    )
    return _Fingerprint(articles, frozenset(terms | numbers_in(rest)), " ".join(words))


class NearDuplicates:
    """The questions seen so far, to find the one that a new question nearly repeats.

    Two questions are near-duplicates where the normalised Levenshtein similarity of their sorted words reaches
    `NEAR_DUPLICATE`, unless they name different articles, quoted terms or numbers: "What does 'loss' mean?" and "What
    does 'loss rate' mean?" ask different things. A question without any article is compared with all.
    """

    def __init__(self) -> None:
        self._seen: dict[frozenset[str], dict[frozenset[str], dict[str, str]]] = defaultdict(lambda: defaultdict(dict))

    def add(self, row_id: str, question: str) -> None:
        seen = _fingerprint(question)
        self._seen[seen.marks][seen.articles][row_id] = seen.words

    def near(self, question: str) -> str | None:
        """The row_id of the most similar question, where one is similar enough."""
        asked = _fingerprint(question)
        groups = self._seen.get(asked.marks, {})
        best: tuple[float, str] | None = None
        for articles, questions in groups.items():
            if articles and asked.articles and articles != asked.articles:
                continue
            found = process.extractOne(
                asked.words, questions, scorer=Levenshtein.normalized_similarity, score_cutoff=NEAR_DUPLICATE
            )
            if found is not None and (best is None or found[1] > best[0]):
                best = (found[1], found[2])
        return best[1] if best else None
