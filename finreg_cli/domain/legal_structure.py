"""The structure of a legal text: its articles, recitals and annexes, and how each is cited.

The input is blocks (paragraphs in reading order, with their style), the output a `Document`: one running text and the
`Unit`s in it. What is no act, or stands around one, is a report, see ``report_structure``. Pure code; where the blocks
come from is the business of ``finreg_cli.documents``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from finreg_cli.domain.building import DocumentBuilder, heading
from finreg_cli.domain.document import (
    GROUP_LEVELS,
    Block,
    Bookmark,
    Document,
    Identity,
    Kind,
    Paragraph,
    Role,
    Rung,
    Unit,
)
from finreg_cli.domain.enumeration import NUMBERED, POINT, paragraph_numbers, quoted
from finreg_cli.domain.identification import WELL_KNOWN_ACTS, identify, without_amendment_marks
from finreg_cli.domain.records import Chunk
from finreg_cli.domain.report_structure import ReportStructure
from finreg_cli.domain.sequences import longest_chain

__all__ = [
    "ANNEX_HEAD",
    "ARTICLE_HEAD",
    "GROUP_HEAD",
    "POINT",
    "RULES_VERSION",
    "WELL_KNOWN_ACTS",
    "Block",
    "Bookmark",
    "Document",
    "Identity",
    "Kind",
    "Paragraph",
    "Role",
    "Rung",
    "Unit",
    "identify",
    "is_head",
    "split_unit",
    "structure",
]

RULES_VERSION = 2
"""Raised with every change of what is extracted from the same bytes, so that `ingest` reads the files again."""

ARTICLE_HEAD = re.compile(r"Article (?P<number>\d{1,4}) ?(?P<suffix>[a-z]{0,2})")
_ORDINALS = "ONE|TWO|THREE|FOUR|FIVE|SIX|SEVEN|EIGHT|NINE|TEN|ELEVEN|TWELVE|THIRTEEN|FOURTEEN|FIFTEEN|SIXTEEN"
GROUP_HEAD = re.compile(
    rf"(?P<level>PART|TITLE|CHAPTER|SECTION|SUB-SECTION|SUBSECTION)"
    rf" (?P<number>{_ORDINALS}|[IVXLC]+[a-z]?|\d+[a-z]?|[A-Z])",
    re.IGNORECASE,
)
ANNEX_HEAD = re.compile(r"ANNEX(?: (?P<number>[IVXLC]+[a-z]?|\d+))?")
_RECITAL = re.compile(r"\((?P<number>\d{1,3}[a-z]?)\) ")
_ENACTING = re.compile(r"(?:HAVE|HAS) ADOPTED THIS (?:REGULATION|DIRECTIVE|DECISION|GUIDELINE)", re.IGNORECASE)
_PREAMBLE = re.compile(r"Having regard to|THE EUROPEAN COMMISSION|Whereas:")
_DRAFT_TITLE = re.compile(
    r"(?:COMMISSION |COUNCIL )?(?:DELEGATED |IMPLEMENTING )(?:REGULATION|DIRECTIVE|DECISION)\b|EUROPEAN COMMISSION$"
    r"|Brussels, "
)
_DONE_AT = re.compile(r"\[?Done at\b")
_FEWEST_ARTICLES = 3  # below, a list of references passes for an act, unless it is enacted in so many words
_ENACTED_WITHIN = 8  # blocks before the first article: between them stand heads of Titles and Chapters
_TITLE_WITHIN = 12  # blocks: before the preamble of a document that is an act stands nothing but its title
_LARGEST_GAP = 20  # articles that an amendment may have removed in one place
_LONGEST_TITLE = 400  # characters

_UNIT_LABEL = re.compile(r"Article \d+[a-z]*|Recital \d+[a-z]*|Annex(?: [IVXLC]+[a-z]?| \d+)?|Preamble|Signature")
_NUMBERED_PART = re.compile(r"\d{1,2}(?:\.\d{1,3})*\.?\s")


def split_unit(chunk: Chunk) -> str:
    """The unit by which rows are split into training and validation: ``Article 92``, ``Recital 12``, ``Annex I``.

    Where there are none: the top numbered heading, else ``document``.
    """
    if chunk.structure == "article":
        for part in reversed(chunk.heading_path):
            found = _UNIT_LABEL.match(part)
            if found:
                return found.group(0)
    return next((part for part in chunk.heading_path if _NUMBERED_PART.match(part)), "document")


def is_head(text: str) -> bool:
    """Whether a whole line reads as the head of an article, of a group of articles, or of an annex."""
    return any(pattern.fullmatch(text) for pattern in (ARTICLE_HEAD, GROUP_HEAD, ANNEX_HEAD))


def structure(blocks: Sequence[Block], identity: Identity, outline: Sequence[Bookmark] = ()) -> Document:
    """Finds the units of a document: the articles of each act in it, and what is around them as a report.

    Args:
        blocks: of the whole document.
        identity: what it says that it is.
        outline: the file's own bookmarks, in order.
    """
    blocks = without_amendment_marks(blocks)
    acts = [_Act(0, len(blocks), chain)] if identity.is_act and (chain := _enacted(blocks, 0, len(blocks), 1)) else []
    if not acts:
        acts = _acts(blocks, 0, len(blocks), _FEWEST_ARTICLES)
    builder = DocumentBuilder(identity)
    report = ReportStructure(blocks, [(act.begin, act.end) for act in acts], outline, identity.title)
    position = 0
    for nth, act in enumerate(acts, 1):
        report.write(builder, position, act.begin)
        # A paper may hold two drafts, each with an Article 1.
        _ActWriter(builder, blocks, act, report.path_of_act, f"draft {nth} " if nth > 1 else "").write()
        position = act.end
    report.write(builder, position, len(blocks))
    return builder.document()


# --- Where are the acts? ---------------------------------------------------------------------------------------------


class _Act(NamedTuple):
    """Blocks ``[begin, end)``, of which ``heads`` are the heads of the articles."""

    begin: int
    end: int
    heads: list[int]


def _acts(blocks: Sequence[Block], begin: int, end: int, fewest: int) -> list[_Act]:
    """The act with the most articles, and those before and behind it, which must be enacted in so many words."""
    heads = _enacted(blocks, begin, end, fewest)
    if not heads:
        return []
    act = _bounds(blocks, begin, end, heads)
    return [
        *_acts(blocks, begin, act.begin, len(blocks)),
        act,
        *_acts(blocks, act.end, end, len(blocks)),
    ]


def _enacted(blocks: Sequence[Block], begin: int, end: int, fewest: int) -> list[int]:
    """The heads of the articles, where there are enough in sequence, or the words of enactment before them."""
    heads = _article_chain(blocks, begin, end)
    return heads if len(heads) >= fewest or (heads and _is_enacted(blocks, heads[0])) else []


def _is_enacted(blocks: Sequence[Block], index: int) -> bool:
    return any(_ENACTING.match(block.text) for block in blocks[max(0, index - _ENACTED_WITHIN) : index])


def _article_chain(blocks: Sequence[Block], begin: int, end: int) -> list[int]:
    """Positions of the article heads: of each style the longest run that counts up, of these the longest.

    Heads of one act share a style; a correlation table or a wrapped title also reads "Article 206", in another
    style or out of sequence.
    """
    styles: dict[tuple[bool, bool], list[_Head]] = {}
    for index in range(begin, end):
        block = blocks[index]
        if block.kind != "text" or not block.text.startswith("Article "):
            continue
        found = ARTICLE_HEAD.fullmatch(block.text)
        if found:
            enacted = _is_enacted(blocks, index)
            head = _Head(int(found["number"]), found["suffix"], index, enacted)
            styles.setdefault((block.bold, block.italic), []).append(head)
    chains = [[heads[each] for each in longest_chain(heads, _step, _start)] for heads in styles.values()]
    best = max(chains, key=lambda chain: (chain[0].enacted, len(chain)), default=[])
    strays = _in_the_gaps(best, [head for heads in styles.values() for head in heads])
    return sorted(head.at for head in [*best, *strays])


def _in_the_gaps(chain: Sequence[_Head], heads: Sequence[_Head]) -> Iterator[_Head]:
    """Heads in another style that are the one number missing between two of the chain, and stand between them."""
    for before, after in pairwise(chain):
        if after.number != before.number + 2:
            continue
        between = [head for head in heads if before.at < head.at < after.at and head.number == before.number + 1]
        if len(between) == 1:
            yield between[0]


class _Head(NamedTuple):
    number: int
    suffix: str
    at: int
    enacted: bool


def _start(head: _Head) -> float:
    """What beginning with an article is worth; one that an amendment inserts elsewhere begins no act."""
    if head.enacted:
        return 3.0
    return 0.0 if head.suffix else 1.0 if head.number == 1 else 0.5


def _step(before: _Head, head: _Head) -> float:
    """What going from one to the next is worth: 1 for the successor, 0 where it does not rise."""
    if head.number == before.number:
        rises = (len(head.suffix), head.suffix) > (len(before.suffix), before.suffix)
        return 0.6 if head.suffix and rises else 0.0
    if head.number == before.number + 1:
        return 1.0
    return 0.2 if not head.suffix and before.number < head.number <= before.number + _LARGEST_GAP else 0.0


def _bounds(blocks: Sequence[Block], begin: int, end: int, heads: list[int]) -> _Act:
    """Where a draft act within a report begins (its preamble) and ends (its signature, or the next large heading)."""
    first = heads[0]
    for index in range(heads[0], max(begin - 1, heads[0] - 400), -1):
        if _PREAMBLE.match(blocks[index].text):
            first = index
    for index in range(first, max(begin - 1, first - _TITLE_WITHIN), -1):
        if _DRAFT_TITLE.match(blocks[index].text):
            first = index
    if first <= begin + _TITLE_WITHIN and begin == 0:
        first = 0  # nothing but its title stands before the preamble: the document is the act
    body = Counter(round(block.size, 1) for block in blocks[heads[0] : heads[-1] + 1]).most_common(1)[0][0]
    signed_on: int | None = None
    for index in range(heads[-1] + 1, end):
        block = blocks[index]
        if signed_on is None and _DONE_AT.match(block.text):
            signed_on = block.page_start
        if ANNEX_HEAD.fullmatch(block.text):
            signed_on = None  # the act goes on behind its signature
        elif block.size > 1.15 * body or (signed_on is not None and block.page_start > signed_on):
            return _Act(first, index, heads)
    return _Act(first, end, heads)


# --- What is in an act? ----------------------------------------------------------------------------------------------


class _ActWriter:
    """Writes one act into the document: its preamble, its articles by Part, Title and Chapter, its annexes.

    ``around`` is the path of the report that the act stands in, ``prefix`` goes before each label.
    """

    def __init__(
        self, builder: DocumentBuilder, blocks: Sequence[Block], act: _Act, around: Sequence[str], prefix: str
    ) -> None:
        self._builder = builder
        self._blocks = blocks
        self._begin, self._end, self._heads = act
        self._around = around
        self._prefix = prefix
        self._groups: dict[str, str] = {}
        self._group_heads = _group_heads(blocks, act.begin, act.end, set(act.heads))
        self._annexes = {
            index
            for index in range(act.heads[-1] + 1, act.end)
            if blocks[index].kind == "text" and ANNEX_HEAD.fullmatch(blocks[index].text)
        }

    def write(self) -> None:
        stops = sorted({*self._heads, *self._group_heads, *self._annexes, *self._signature(), self._end})
        self._preamble(self._begin, stops[0])
        articles, closed = set(self._heads), -1
        for index, following in pairwise(stops):
            if index < closed:
                continue
            if index in self._group_heads:
                self._group(index, self._group_heads[index])
            elif index in articles:
                self._article(index, following)
            elif index in self._annexes:
                closed = next((each for each in stops if each > index and each in self._annexes), self._end)
                self._annex(index, closed)
            else:
                self._start("signature", ["Signature"])
                self._body(index, following)

    def _signature(self) -> list[int]:
        first_annex = min(self._annexes, default=self._end)
        for index in range(self._heads[-1] + 1, first_annex):
            if _DONE_AT.match(self._blocks[index].text):
                return [index]
        return []

    def _start(self, label: str, path: Sequence[str], *, numbered: bool = False) -> None:
        self._builder.begin(
            self._prefix + label, [*self._around, *path], "article", cited="points" if numbered else "whole"
        )

    def _preamble(self, begin: int, end: int) -> None:
        self._start("preamble", ["Preamble"])
        expected, in_recitals = 1, False
        for block in self._blocks[begin:end]:
            found = _RECITAL.match(block.text) if block.kind == "text" else None
            number = int(re.sub(r"\D", "", found["number"])) if found else 0
            if found and number in (expected, expected - 1) and (in_recitals or number == 1):
                in_recitals = True
                expected = number + 1
                self._start(f"recital ({found['number']})", ["Preamble", f"Recital {found['number']}"])
                self._builder.add(block, "text")
                continue
            if _ENACTING.match(block.text):
                in_recitals = False
                self._start("preamble", ["Preamble"])
            self._builder.add(block)

    def _group(self, index: int, following: int) -> None:
        """A Part, Title, Chapter, Section or Sub-Section: it heads what follows, and closes its like and below."""
        _enter_group(self._groups, self._blocks[index:following])
        self._builder.between_units(self._blocks[index:following])

    def _article(self, index: int, end: int) -> None:
        found = ARTICLE_HEAD.fullmatch(self._blocks[index].text)
        assert found is not None  # only heads come here
        label = f"Article {found['number']}{found['suffix']}"
        following = _after_title(self._blocks, index, end)
        title = heading(self._blocks[index + 1 : following])
        path = [self._groups[level] for level in GROUP_LEVELS if level in self._groups]
        self._start(label, [*path, f"{label} {title}".strip()], numbered=True)
        self._builder.head(self._blocks[index:following])
        self._body(following, end)

    def _annex(self, index: int, end: int) -> None:
        """An annex, or each Part and Section of it where it has any."""
        label = self._blocks[index].text.replace("ANNEX", "Annex")
        following = _after_title(self._blocks, index, end)
        top = f"{label} {heading(self._blocks[index + 1 : following])}".strip()
        groups: dict[str, str] = {}
        sections = [each for each in range(following, end) if self._begins_section(each, end)]
        if not sections or sections[0] > following:
            self._start(label, [top], numbered=True)
            self._builder.head(self._blocks[index:following])
            self._body(following, sections[0] if sections else end)
        else:
            self._builder.between_units(self._blocks[index:following])
        for section, section_end in pairwise([*sections, end]):
            following = _after_title(self._blocks, section, section_end)
            _enter_group(groups, self._blocks[section:following])
            if following == section_end:
                self._builder.between_units(self._blocks[section:following])
                continue
            path = [groups[level] for level in GROUP_LEVELS if level in groups]
            numbers = [GROUP_HEAD.match(part) for part in path]
            self._start(
                " ".join([label, *(found.group(0).capitalize() for found in numbers if found)]),
                [top, *path],
                numbered=True,
            )
            self._builder.head(self._blocks[section:following])
            self._body(following, section_end)

    def _begins_section(self, index: int, end: int) -> bool:
        block = self._blocks[index]
        return block.kind == "text" and index + 1 < end and GROUP_HEAD.fullmatch(block.text) is not None

    def _body(self, begin: int, end: int) -> None:
        blocks = self._blocks[begin:end]
        foreign = quoted([block.text for block in blocks])
        own = [block.text if block.kind == "text" and at not in foreign else "" for at, block in enumerate(blocks)]
        numbers = paragraph_numbers(own)
        points = (at for at, text in enumerate(own) if text[:1] == "(" and POINT.match(text))
        if numbers and next(points, len(own)) < min(numbers):
            numbers = {}  # points before the first paragraph: an amending article, which quotes the paragraphs
        for position, block in enumerate(blocks):
            self._builder.add(block, "text" if position in foreign else None, numbers.get(position))


def _enter_group(groups: dict[str, str], head_and_title: Sequence[Block]) -> None:
    found = GROUP_HEAD.fullmatch(head_and_title[0].text)
    assert found is not None  # only heads of groups come here
    level = _level(found["level"])
    for lower in GROUP_LEVELS[GROUP_LEVELS.index(level) :]:
        groups.pop(lower, None)
    groups[level] = heading(head_and_title)


def _level(word: str) -> str:
    level = word.lower()
    return "sub-section" if level == "subsection" else level


def _group_heads(blocks: Sequence[Block], begin: int, end: int, articles: set[int]) -> dict[int, int]:
    """Position of each group head -> where its title ends.

    A head counts where, behind a title of at most three blocks, another head or an article follows.
    """
    found: dict[int, int] = {}
    for index in range(end - 1, begin - 1, -1):
        if blocks[index].kind != "text" or not GROUP_HEAD.fullmatch(blocks[index].text):
            continue
        for following in range(index + 1, min(index + 5, end)):
            if following in articles or following in found:
                found[index] = following
                break
            if blocks[following].text.endswith((".", ";")):
                break  # a sentence is no title: "Title 5" was one itself
    return found


def _after_title(blocks: Sequence[Block], index: int, end: int) -> int:
    """Where the title behind the head at ``index`` ends: a bold or italic run, or one short line in plain print."""
    position = index + 1
    if position >= end or not _reads_as_title(blocks[position]):
        return position
    style = (blocks[position].bold, blocks[position].italic)
    position += 1
    while position < min(index + 4, end) and any(style) and _goes_on(blocks[position], style):
        position += 1
    return position


def _goes_on(block: Block, style: tuple[bool, bool]) -> bool:
    # A title may wrap before "(4) of Regulation (EU) No 575/2013": what is bold is no point of the article yet.
    if block.kind != "text" or (block.bold, block.italic) != style or len(block.text) > _LONGEST_TITLE:
        return False
    return not NUMBERED.match(block.text)


def _reads_as_title(block: Block) -> bool:
    if block.kind != "text" or len(block.text) > _LONGEST_TITLE:
        return False
    if NUMBERED.match(block.text) or POINT.match(block.text):
        return False
    return block.bold or block.italic or (len(block.text) <= 160 and block.text[-1:] not in ".;:,")
