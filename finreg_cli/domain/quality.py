"""Mechanical filters for question-answer rows of both methods. Each has a name, which opens the reason it gives.

They prove that what a row states stands in its context; whether the answer fits the question is the reviewer's and the
judge's to say.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from finreg_cli.domain.bounds import WRITTEN_NUMBERS, reversed_bound
from finreg_cli.domain.chat_format import ABSTENTION, parts_of, split_citation
from finreg_cli.domain.fit import fits
from finreg_cli.domain.language import foreign, require
from finreg_cli.domain.mentions import THAT, THIS, mentions
from finreg_cli.domain.notes import has_mark, without_notes
from finreg_cli.domain.records import Chunk, QaRow

MOST_QUESTION_WORDS = 70
LEAST_QUESTION_WORDS = 4
MOST_ANSWER_WORDS = 150
QUOTED_WORDS = 4
"""A quotation is checked from this many words on: shorter ones are terms, which a writer may put into a case."""

NEAR_DUPLICATE = 0.9
"""Two questions are the same from this similarity of their sorted words on: 1 - edit distance / longer length."""

_remembered = lru_cache(maxsize=2048)
"""For what is found in a text: rows of one chunk share their context, and a model's row is checked a second time."""

_SPACES = re.compile(r"\s+")
_WORDS = re.compile(r"\w+")
# Thousands in groups of three ("1 000 000"), decimals with a comma (the Official Journal) or a point.
_NUMBER = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:[ \u00a0]\d{3})+(?!\d)|\d+)(?:[.,]\d+)*")
_REFERENCE = re.compile(r"\b\d+[a-z]?(?:\(\w{1,6}\))+")
_MONTH = "(?P<month{}>January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = re.compile(
    rf"\b(?P<day1>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?{_MONTH.format(1)},? (?P<year1>\d{{4}})\b"
    rf"|\b{_MONTH.format(2)} (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year2>\d{{4}})\b"
)
_PERCENTAGE = re.compile(r"(?<![\w.,])(\d+(?:[.,]\d+)?)\s*(?:%|per\s?cent\b)")
_WRITTEN_WORDS = frozenset(WRITTEN_NUMBERS)
_QUOTED = re.compile('“([^“”]+)”|"([^"]+)"')
_POINTS_OUTSIDE = re.compile(
    r"\b(?:the (?:given |provided |above )?(?:text|context(?! of\b)|passage|excerpt|extract|snippet|chunk)"
    r"|(?:mentioned|described|listed|stated|set out|as) above|the following|below:"
    r"|this (?:article|paragraph|point|section|chapter|title|part|annex|regulation|directive|document|subparagraph))\b"
    r"|^(?:what|when|where|how|why|who|which|whom)\b[\w ]{0,30}? (?:must|shall|does|do|is|are|should|may|can)"
    r" (?:it|they|this|these|those)\b",
    re.IGNORECASE,
)


def check(row: QaRow, source: Chunk, language: str = "English") -> str | None:
    """The first filter that the row does not pass, as ``name: detail``; None where it passes all of them.

    Args:
        row: with its question and answer.
        source: what the row was made from: a chunk, or several as one (`regulation_qa.joined`).
        language: what the row should be written in, one of `language.LANGUAGES`.
    """
    return _first_refusal(FILTERS, row, source, language)


def check_question(row: QaRow, source: Chunk, language: str = "English") -> str | None:
    """As `check`, of a row without an answer yet: before one is paid for."""
    return _first_refusal(_OF_THE_QUESTION, row, source, language)


def _first_refusal(names: Iterable[str], row: QaRow, source: Chunk, language: str) -> str | None:
    for name in names:
        detail = _FILTERS[name](row, source, language)
        if detail is not None:
            return f"{name}: {detail}"
    return None


def check_blank(row: QaRow, source: Chunk) -> str | None:
    """Why a row need not be written at all, before anything is paid for it: what its chunk could never pass."""
    if source.suspect_instruction:
        return f"suspect_source: {_SUSPECT}"
    if source.has_formula and row.kind == "threshold":
        return "formula: a question on figures from a chunk whose formulas did not survive the PDF"
    return None


def _suspect_source(row: QaRow, source: Chunk, language: str) -> str | None:
    return _SUSPECT if source.suspect_instruction else None


_SUSPECT = "the chunk seems to hold an instruction to a language model"


def _question_empty(row: QaRow, source: Chunk, language: str) -> str | None:
    return None if (row.question or "").strip() else "there is no question"


def _answer_empty(row: QaRow, source: Chunk, language: str) -> str | None:
    return None if _answer_text(row) else "there is no answer"


def _question_form(row: QaRow, source: Chunk, language: str) -> str | None:
    question = row.question or ""
    if not question.endswith("?"):
        return f"does not end with a question mark: '{question[-30:]}'"
    return None if question[0].isupper() or not question[0].isalpha() else f"begins in lower case: '{question[:30]}'"


def _question_length(row: QaRow, source: Chunk, language: str) -> str | None:
    words = len((row.question or "").split())
    if LEAST_QUESTION_WORDS <= words <= MOST_QUESTION_WORDS:
        return None
    return f"{words} words, not {LEAST_QUESTION_WORDS} to {MOST_QUESTION_WORDS}"


def _question_figures(row: QaRow, source: Chunk, language: str) -> str | None:
    """Figures and provisions that the question takes for granted: of the context, or of what it is called."""
    known = numbers_in(row.context) | numbers_in(" ".join((source.title, row.citation, *source.heading_path)))
    missing = numbers_in(_NAMED.sub(" ", row.question or "")) - known
    return f"{_listed(missing)} not in the context" if missing else None


_NAMED = re.compile(r"\b(?!Article|Annex|Recital)[A-Z][a-z]+ \d\b")
"""Names like "Tier 1", which belong to the trade and not to the excerpt."""


def _language(row: QaRow, source: Chunk, language: str) -> str | None:
    for name, text in (("question", row.question or ""), ("answer", _answer_text(row))):
        if found := foreign(text, language):
            return f"the {name} is in {found}, not in {language}"
    return None


def _stands_alone(row: QaRow, source: Chunk, language: str) -> str | None:
    if found := _POINTS_OUTSIDE.search(row.question or ""):
        return f"'{found.group()}' points at something that the question does not name"
    found = _EXCERPT.search(_answer_text(row))
    return f"the answer speaks of '{found.group()}', which nobody sees who asks" if found else None


_EXCERPT = re.compile(
    r"\bthe (?:(?:given|provided|above) (?:text|context)|passage|excerpt|extract|snippet)\b", re.IGNORECASE
)


def _abstention(row: QaRow, source: Chunk, language: str) -> str | None:
    abstains = row.answer == ABSTENTION
    if row.answerable:
        return "an answerable row abstains" if _letters(row.answer) == _letters(ABSTENTION) else None
    return None if abstains else f"an unanswerable row's answer is exactly '{ABSTENTION}'"


def _citation(row: QaRow, source: Chunk, language: str) -> str | None:
    if not row.answerable:
        return None
    _, citation = split_citation(row.answer or "")
    if citation is None:
        return "the answer ends in no bracketed citation"
    if citation != row.citation:
        return f"the answer cites '{citation}', the row '{row.citation}'"
    inside = citation.startswith(source.citation) and not _WORDS.match(citation, len(source.citation))
    return None if inside else f"'{citation}' lies outside '{source.citation}'"


def _answer_length(row: QaRow, source: Chunk, language: str) -> str | None:
    words = len(_answer_text(row).split())
    return None if words <= MOST_ANSWER_WORDS else f"{words} words, more than {MOST_ANSWER_WORDS}"


def _echo(row: QaRow, source: Chunk, language: str) -> str | None:
    """Also where the answer only points into its own article: "according to the conditions in paragraph 2"."""
    if _YES_OR_NO.match(row.answer or ""):
        return None
    own = {_address(place)[0] for place in _ARTICLE.findall(row.citation)}
    answer = _ARTICLE.sub(lambda found: " " if _address(found[1])[0] in own else found[0], _answer_text(row))
    said = _words(_INNER_PLACE.sub(" ", answer))
    named = {word for word in _words(row.citation) if not word.isdigit()}
    new = said - _words(_ARTICLE.sub(" ", row.question or "")) - named - _POINTING
    return None if new else "the answer says nothing that the question does not"


def _address(place: str) -> list[str]:
    """``["92", "1"]`` of "92(1)"."""
    return _WORDS.findall(place)


def _words(text: str) -> set[str]:
    return set(_WORDS.findall(text.lower()))


_YES_OR_NO = re.compile(r"\s*(?:yes|no)\b", re.IGNORECASE)
_INNER_PLACE = re.compile(
    r"\b(?:paragraphs?|points?|subparagraphs?)\s+[\d(][\w()]*(?:,?(?: and| or| to)?(?:,[\w ]{1,20},)?\s+[\d(][\w()]*)*",
    re.IGNORECASE,
)
_POINTING = frozenset(
    {"according", "accordance", "pursuant", "under", "set", "out", "laid", "down", "mentioned", "referred", "described"}
    | {"specified", "defined", "listed", "stated", "reference", "references", "conditions", "requirements", "rules"}
    | {"provisions", "article", "regulation", "act", "the", "a", "an", "in", "of", "to", "by", "as", "for", "with"}
    | {"on", "and", "or", "is", "are", "be", "shall", "must", "this", "that", "these", "those", "which", "it", "its"}
    | {"terms", "where", "relevant", "applicable", "apply", "applies", "met", "fulfilled", "satisfied", "following"}
)
"""Words of an answer that only says where the answer stands."""


def _numbers(row: QaRow, source: Chunk, language: str) -> str | None:
    if not row.answerable:
        return None
    own = _ACT_NUMBER.sub(lambda found: " " if found[0] in source.title else found[0], _answer_text(row))
    stated = numbers_in(own)
    missing = stated - numbers_in(row.context) if stated else stated
    return f"{_listed(missing)} not in the context" if missing else None


_ACT_NUMBER = re.compile(r"\b\d{1,4}/\d{1,4}\b")
"""``575/2013``: who names the act that the excerpt is of invents no number."""


def _bounds(row: QaRow, source: Chunk, language: str) -> str | None:
    found = reversed_bound(row.question or "", _answer_text(row), row.context) if row.answerable else None
    return f"'{found[0]}' is no {found[1]} in the context, but the other way round" if found else None


def _percentages(row: QaRow, source: Chunk, language: str) -> str | None:
    return _not_in_context(_percentages_in, row)


def _periods(row: QaRow, source: Chunk, language: str) -> str | None:
    """A percentage of another period: where clauses hold all dates of the question, it must stand in one of them."""
    asked, stated = _dates_in(row.question or ""), _percentages_in(_answer_text(row))
    if not row.answerable or not asked or not stated:
        return None
    clauses = [clause for clause in _CLAUSE_ENDS.split(row.context) if asked <= _dates_in(clause)]
    known = frozenset[str]().union(*map(_percentages_in, clauses))
    missing = stated - known if known else known
    return f"{_listed(missing)} stands for another period than {_listed(asked)}" if missing else None


_CLAUSE_ENDS = re.compile(r"\n|;\s")


def _dates(row: QaRow, source: Chunk, language: str) -> str | None:
    return _not_in_context(_dates_in, row)


def _references(row: QaRow, source: Chunk, language: str) -> str | None:
    return _not_in_context(_references_in, row)


@_remembered
def _references_in(text: str) -> frozenset[str]:
    """``92(1)`` as it is written, and ``article 92`` for what is named: a percentage or a year makes no article."""
    return frozenset(_REFERENCE.findall(text)) | {f"{kind} {number}" for kind, number in _provisions_in(text)}


def _provisions_in(text: str) -> set[tuple[str, str]]:
    """``("article", "92")`` for each article, annex and recital that is named, also within "Articles 92 to 95"."""
    found: set[tuple[str, str]] = set()
    for mention in mentions(_plain(text)):
        if mention.kind not in ("article", "annex", "recital"):
            continue
        for first, last in mention.ranges:
            found.add((mention.kind, first[0]))
            if last is not None and len(last) == 1:
                found |= {(mention.kind, number) for number in _between(first[0], last[0])}
    return {(kind, number) for kind, number in found if number not in (THIS, THAT)}


def _between(first: str, last: str) -> Iterator[str]:
    yield last
    if first.isdecimal() and last.isdecimal():
        yield from map(str, range(int(first), int(last)))


def _quotations(row: QaRow, source: Chunk, language: str) -> str | None:
    for found in _QUOTED.finditer(f"{_answer_text(row)} {row.reasoning or ''}"):
        quotation = found.group(1) or found.group(2)
        if len(quotation.split()) >= QUOTED_WORDS and _letters(quotation) not in _quotable(row):
            return f"'{quotation}' is quoted but not in the context"
    return None


def _quotable(row: QaRow) -> str:
    # Without footnotes, too: no mark may stand within a quotation.
    return " ".join(_letters(text) for text in (row.context, row.question, without_notes(row.context)))


def _one_sided(row: QaRow, source: Chunk, language: str) -> str | None:
    """Of a row across articles: whether a part gives a word to the answer that neither the other nor the question has.

    The first part must, and one of the others, or the row cites what it does not use.
    """
    if row.kind != "cross_article" or not row.answerable:
        return None
    first, *others = (_telling_words(part) for part in parts_of(row.context, row.citation))
    said = _telling_words(_answer_text(row)) - _telling_words(_ARTICLE.sub(" ", row.question or ""))
    if not said & (first - set().union(*others)):
        return "the answer takes nothing from the first part of the context"
    return None if said & (set().union(*others) - first) else "the answer takes nothing but from the first part"


_TELLING_LETTERS = 4


@_remembered
def _telling_words(text: str) -> frozenset[str]:
    return frozenset(word for word in _WORDS.findall(text.lower()) if len(word) >= _TELLING_LETTERS or word.isdigit())


def _formula(row: QaRow, source: Chunk, language: str) -> str | None:
    if source.has_formula and row.answerable and numbers_in(_answer_text(row)):
        return "a numeric answer from a chunk whose formulas did not survive the PDF"
    return None


def _kind(row: QaRow, source: Chunk, language: str) -> str | None:
    """Whether the answer to a question on a figure or a time holds one, as far as English words tell."""
    if row.kind not in ("threshold", "deadline") or not row.answerable or require(language) != "en":
        return None
    asked = "figure" if row.kind == "threshold" else "time"
    return None if fits(row.kind, _answer_text(row)) else f"the answer of a {row.kind} row holds no {asked}"


def _footnote_mark(row: QaRow, source: Chunk, language: str) -> str | None:
    for name, text in (("question", row.question), ("answer", row.answer)):
        if has_mark(text or ""):
            return f"the {name} shows the mark of a footnote"
    return None


_FILTERS: dict[str, Callable[[QaRow, Chunk, str], str | None]] = {
    "suspect_source": _suspect_source,
    "question_empty": _question_empty,
    "answer_empty": _answer_empty,
    "question_form": _question_form,
    "question_length": _question_length,
    "stands_alone": _stands_alone,
    "question_figures": _question_figures,
    "abstention": _abstention,
    "citation": _citation,
    "answer_length": _answer_length,
    "echo": _echo,
    "numbers": _numbers,
    "percentages": _percentages,
    "bounds": _bounds,
    "dates": _dates,
    "periods": _periods,
    "references": _references,
    "quotations": _quotations,
    "one_sided": _one_sided,
    "kind": _kind,
    "formula": _formula,
    "footnote_mark": _footnote_mark,
    "language": _language,
}
FILTERS = tuple(_FILTERS)
"""The names of the filters, in the order in which they are applied."""

_OF_THE_QUESTION = (
    *("question_empty", "question_form", "question_length", "stands_alone", "question_figures"),
    *("footnote_mark", "language"),
)
"""Those that need no answer."""


def _not_in_context(find: Callable[[str], frozenset[str]], row: QaRow) -> str | None:
    stated = find(_answer_text(row))
    missing = stated - find(row.context) if stated else stated
    return f"{_listed(missing)} not in the context" if missing else None


@_remembered
def numbers_in(text: str) -> frozenset[str]:
    """The numbers of a text in one spelling: ``4,5`` as ``4.5``, ``1 000 000`` as ``1000000``, ``three`` as ``3``."""
    digits = {re.sub(r"[ \u00a0]", "", number).replace(",", ".") for number in _NUMBER.findall(text)}
    written = {
        str(WRITTEN_NUMBERS.index(word) + 2) for word in _WRITTEN_WORDS.intersection(_WORDS.findall(text.lower()))
    }
    return frozenset(digits | written)


@_remembered
def _percentages_in(text: str) -> frozenset[str]:
    return frozenset(f"{number.replace(',', '.')} %" for number in _PERCENTAGE.findall(text))


@_remembered
def _dates_in(text: str) -> frozenset[str]:
    """The whole dates of a text in one spelling, ``31 December 2014``, however they are written in English."""
    found = (each.groupdict() for each in _DATE.finditer(_plain(text)))
    return frozenset(
        " ".join(each[f"{part}1"] or each[f"{part}2"] for part in ("day", "month", "year")) for each in found
    )


def _answer_text(row: QaRow) -> str:
    return split_citation(row.answer or "")[0]


def _plain(text: str) -> str:
    return _SPACES.sub(" ", text)


@_remembered
def _letters(text: str | None) -> str:
    return " ".join(_WORDS.findall((text or "").lower()))


def _listed(values: Iterable[str]) -> str:
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


COSMETIC_LETTERS = 4
"""Two texts say the same as long as no more letters of their words differ: an ending, a plural."""

_TURNING = frozenset(
    {"no", "not", "never", "none", "neither", "nor", "without", "unless", "except", "only", "if", "and", "or", "all"}
    | {"any", "each", "both", "may", "must", "can", "cannot", "before", "after", "above", "below", "over", "under"}
    | {"more", "less", "least", "most", "fewer", "minimum", "maximum", "higher", "lower", "greater"}
)
"""Short words that turn the sense of a sentence."""


def unchanged(draft: str, final: str) -> bool:
    """Whether a text came back with its words touched up at most: nothing in it is mended.

    The very same articles, numbers, quoted terms and `_TURNING` words, and of the other words, in any order, no more
    than `COSMETIC_LETTERS` that differ. Articles and prepositions do not count ("the minimum", "minimum").
    """
    before, after = _fingerprint(draft), _fingerprint(final)
    if (before.articles, before.marks) != (after.articles, after.marks):
        return False
    if _turns(draft) != _turns(final):
        return False
    return Levenshtein.distance(before.words, after.words, score_cutoff=COSMETIC_LETTERS) <= COSMETIC_LETTERS


def _turns(text: str) -> Counter[str]:
    words = (_SAME_WORD.get(word, word) for word in _WORDS.findall(text.lower()))
    return Counter(word for word in words if word in _TURNING)


class NearDuplicates:
    """The questions seen so far, to find the one that a new question nearly repeats.

    Two questions are near-duplicates where the normalised Levenshtein similarity of their sorted words reaches
    `NEAR_DUPLICATE`, unless they name different articles, quoted terms or numbers: "What does 'loss' mean?" and "What
    does 'loss rate' mean?" ask different things. A question without any article is compared with all.
    """

    def __init__(self) -> None:
        self._seen: dict[frozenset[str], dict[frozenset[str], dict[int, dict[str, str]]]] = {}
        """Marks, articles, length of the words -> row_id -> words: similar texts are about as long."""

    def add(self, row_id: str, question: str) -> None:
        seen = _fingerprint(question)
        of_articles = self._seen.setdefault(seen.marks, {}).setdefault(seen.articles, {})
        of_articles.setdefault(len(seen.words), {})[row_id] = seen.words

    def discard(self, row_id: str, question: str) -> None:
        """Forgets a question that was added and stands no more."""
        seen = _fingerprint(question)
        del self._seen[seen.marks][seen.articles][len(seen.words)][row_id]

    def near(self, question: str) -> str | None:
        """The row_id of the most similar question, where one is similar enough."""
        asked = _fingerprint(question)
        best: tuple[float, str] | None = None
        for questions in self._about_as_long(asked):
            found = process.extractOne(
                asked.words, questions, scorer=Levenshtein.normalized_similarity, score_cutoff=NEAR_DUPLICATE
            )
            if found is not None and (best is None or found[1] > best[0]):
                best = (found[1], found[2])
        return best[1] if best else None

    def _about_as_long(self, asked: _Fingerprint) -> Iterator[dict[str, str]]:
        """Row_id -> words of the questions that may be near."""
        length = len(asked.words)
        shortest, longest = math.floor(length * NEAR_DUPLICATE), math.ceil(length / NEAR_DUPLICATE)
        groups = self._seen.get(asked.marks, {})
        comparable = (asked.articles, frozenset[str]()) if asked.articles else tuple(groups)
        for by_length in (groups[articles] for articles in comparable if articles in groups):
            for each in range(shortest, longest + 1):
                if each in by_length:
                    yield by_length[each]
