"""The structure of a legal text: which work it is, its articles, recitals and annexes, and how each is cited.

The input is blocks (paragraphs in reading order, with their style), the output a `Document`: one running text and the
`Unit`s in it. Pure code; where the blocks come from is the business of ``finreg_cli.documents``.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from finreg_cli.domain.records import Chunk

RULES_VERSION = 2
"""Raised with every change of what is extracted from the same bytes, so that `ingest` reads the files again."""

Rung = Literal["article", "bookmark", "heading", "style", "page"]
"""The rungs of the fallback ladder: the grammar of articles, the file's own bookmarks, numbered headings, lines that
stand out by size or weight, or nothing but pages."""

Kind = Literal["text", "footnote", "table"]
"""What a block is in print: running text, a footnote, one row of a table."""

Role = Literal["head", "numbered", "text", "point", "footnote", "table"]
"""What a paragraph is to its unit: its head and title, the start of a numbered paragraph, plain text, a list point, a
footnote to what stands before it, a row of a table."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph as it is printed: wrapped lines are joined, hyphens resolved. Sizes are in points, pages from 1.

    A footnote is a block of its own behind the block that holds its mark, and begins with the mark: ``^3 See ...``, or
    ``(^1) OJ L 50``. A row of a table is one, too: ``| a | | c |``, empty cells kept. Raised characters stand behind a
    caret (``risk^3``, ``10^-6``).
    """

    text: str
    page_start: int
    page_end: int
    size: float = 10.0
    bold: bool = False
    italic: bool = False
    formula: bool = False
    kind: Kind = "text"


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An entry of the file's own outline: ``level`` from 0, ``page`` from 1 (None where it leads nowhere)."""

    level: int
    title: str
    page: int | None


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A span ``[start, end)`` of the document's text, in characters.

    ``number`` is the numbered paragraph of the article that it lies in, None before the first and where none is;
    ``points`` the lettered or numbered point that it lies in, outermost first: ``("a", "ii")``.
    """

    start: int
    end: int
    page_start: int
    page_end: int
    role: Role
    number: str | None
    formula: bool
    points: tuple[str, ...] = ()


@dataclass
class Unit:
    """A legal unit, which no chunk ever crosses: an article, a recital, an annex; or a run of pages.

    ``label`` is what a citation puts behind the short name; it is None for pages, which are cited by their numbers.
    """

    label: str | None
    heading_path: list[str]
    structure: Rung
    paragraphs: list[Paragraph] = field(default_factory=list)


@dataclass(frozen=True)
class Identity:
    """What a document says that it is. ``short_name`` begins its citations, ``version_date`` is ISO 8601."""

    work_id: str
    version_date: str | None
    title: str
    short_name: str
    is_act: bool


@dataclass(frozen=True)
class Document:
    """A text with its units, in reading order. Headings stand in ``text`` too, between the units that they head."""

    identity: Identity
    text: str
    units: list[Unit]


def split_unit(chunk: Chunk) -> str:
    """The unit by which rows are split into training and validation: ``Article 92``, ``Recital 12``, ``Annex I``.

    Where there are none: the top numbered heading, else ``document``.
    """
    if chunk.structure == "article":
        for heading in reversed(chunk.heading_path):
            found = _UNIT_LABEL.match(heading)
            if found:
                return found.group(0)
    if chunk.heading_path and re.match(r"\d", chunk.heading_path[0]):
        return chunk.heading_path[0]
    return "document"


_UNIT_LABEL = re.compile(r"Article \d+[a-z]*|Recital \d+[a-z]*|Annex(?: [IVXLC]+[a-z]?| \d+)?|Preamble|Signature")


# --- Which work is it? -----------------------------------------------------------------------------------------------

WELL_KNOWN_ACTS: Mapping[str, str] = {
    "32009L0065": "UCITS Directive",
    "32009L0138": "Solvency II",
    "32011L0061": "AIFMD",
    "32012R0648": "EMIR",
    "32013L0034": "Accounting Directive",
    "32013L0036": "CRD IV",
    "32013R0575": "CRR",
    "32014L0049": "DGSD",
    "32014L0059": "BRRD",
    "32014L0065": "MiFID II",
    "32014R0596": "MAR",
    "32014R0600": "MiFIR",
    "32014R0806": "SRMR",
    "32014R0909": "CSDR",
    "32015L2366": "PSD2",
    "32015R2365": "SFTR",
    "32016R0679": "GDPR",
    "32017R1129": "Prospectus Regulation",
    "32017R2402": "Securitisation Regulation",
    "32019R2033": "IFR",
    "32019L2034": "IFD",
    "32019R2088": "SFDR",
    "32020R0852": "Taxonomy Regulation",
    "32022R2554": "DORA",
    "32023R1114": "MiCA",
    "32024R1623": "CRR III",
    "32024R1689": "AI Act",
}
"""Short names of acts that every practitioner cites so; ``source.short_names`` goes before."""

_ACT_TITLE = re.compile(
    r"(?:(?:COMMISSION|COUNCIL) )?(?:(?:DELEGATED|IMPLEMENTING) )?(?P<kind>REGULATION|DIRECTIVE|DECISION) "
    r"(?:\((?:EU|EC|EEC|Euratom|EU, Euratom)\) )?"
    r"(?P<no>No )?(?P<first>\d{1,4})/(?P<second>\d{1,4})(?:/(?:EU|EC|EEC))?\b"
)
_CONSOLIDATED = re.compile(
    r"0(?P<base>(?:19|20)\d\d[RLD]\d{4})\s*[\u2014\u2013-]\s*EN\s*[\u2014\u2013-]\s*(?P<day>\d\d)\.(?P<month>\d\d)\.(?P<year>\d{4})"
)
_DATE = re.compile(r"\bof (\d{1,2}) (\w+) (\d{4})\b")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_TITLE_ENDS = re.compile(
    r"\(Text with EEA relevance\)|THE EUROPEAN (?:PARLIAMENT|COMMISSION|CENTRAL)|THE COUNCIL OF|Having regard"
    r"|Article 1$"
)
_TITLE_WITHIN = 12  # blocks: an act names itself at its very start, behind nothing but a banner


def identify(
    blocks: Sequence[Block],
    opening: Sequence[str],
    stem: str,
    short_names: Mapping[str, str],
    work_ids: Mapping[str, str],
) -> Identity:
    """Reads the identity off the document's own title; a number that the running text cites is never taken.

    Args:
        blocks: of the whole document.
        opening: the lines of its first page as they are printed, with the running heads.
        stem: the file's name without its ending.
        short_names: work_id -> short name (``source.short_names``).
        work_ids: stem -> work_id (``source.work_ids``), for documents that state no number.
    """
    act = _act_title(blocks)
    consolidated = next((found for line in opening if (found := _CONSOLIDATED.match(line.strip()))), None)
    if act is None and consolidated is None:
        title = _printed_title(blocks) or stem
        work_id = work_ids.get(stem, stem)
        return Identity(work_id, None, title, short_names.get(work_id) or _shortened(title), is_act=False)
    title = act[1] if act else _printed_title(blocks) or stem
    version: str | None
    if consolidated:
        work_id = "3" + consolidated["base"]
        version = f"{consolidated['year']}-{consolidated['month']}-{consolidated['day']}"
    else:
        assert act is not None  # one of the two was found
        work_id, version = act[0], _stated_date(title)
    short_name = short_names.get(work_id) or WELL_KNOWN_ACTS.get(work_id) or _act_number(title) or _shortened(title)
    return Identity(work_id, version, title, short_name, is_act=True)


def _act_title(blocks: Sequence[Block]) -> tuple[str, str] | None:
    """CELEX number and title, where one of the first blocks is the title of an act with its date."""
    for index, block in enumerate(blocks[:_TITLE_WITHIN]):
        found = _ACT_TITLE.match(block.text)
        if found is None:
            continue
        title = _title_from(blocks[index : index + 8])
        if _stated_date(title[:300]):
            return _celex(found), title
    return None


def _title_from(blocks: Sequence[Block]) -> str:
    words: list[str] = []
    for block in blocks:
        if _TITLE_ENDS.match(block.text):
            break
        words.append(block.text)
    return " ".join(words)


def _celex(found: re.Match[str]) -> str:
    first, second = int(found["first"]), int(found["second"])
    # "No 575/2013" puts the year last; without "No" (directives, and all acts from 2015 on) it comes first.
    year, number = (second, first) if found["no"] else (first, second)
    if year < 100:
        year += 1900
    letter = {"REGULATION": "R", "DIRECTIVE": "L", "DECISION": "D"}[found["kind"]]
    return f"3{year}{letter}{number:04d}"


def _stated_date(text: str) -> str | None:
    found = _DATE.search(text)
    if found is None or found.group(2) not in _MONTHS:
        return None
    return f"{found.group(3)}-{_MONTHS.index(found.group(2)) + 1:02d}-{int(found.group(1)):02d}"


def _act_number(title: str) -> str | None:
    found = _ACT_TITLE.match(title)
    return found.group(0).replace(found["kind"], found["kind"].capitalize()) if found else None


def _shortened(title: str) -> str:
    """A title as citations begin with it: a citation stands in every context, and in brackets behind every answer."""
    return textwrap.shorten(title.translate(_BRACKETS), _SHORT_NAME_LENGTH, placeholder="\u2026")


_BRACKETS = str.maketrans("[]", "()")
_SHORT_NAME_LENGTH = 80  # characters


def _printed_title(blocks: Sequence[Block]) -> str:
    """The largest print of the first page that has any letters, with the blocks of the same size that follow it."""
    first = [block for block in blocks[:40] if block.page_start == blocks[0].page_start and _has_words(block.text)]
    if not first:
        return ""
    largest = max(block.size for block in first)
    start = next(index for index, block in enumerate(first) if block.size == largest)
    title = [first[start].text]
    for block in first[start + 1 :]:
        # "Final report" in large print, what it is about in the next size.
        if not (block.size >= 0.6 * largest and block.size > 12 and len(" ".join([*title, block.text])) <= 250):
            break
        title.append(block.text)
    return " ".join(title)[:300]


def _has_words(text: str) -> bool:
    return len(re.findall(r"[^\W\d_]{3,}", text)) >= 1


# --- Where are its units? --------------------------------------------------------------------------------------------

ARTICLE_HEAD = re.compile(r"Article (?P<number>\d{1,4}) ?(?P<suffix>[a-z]{0,2})")
_ORDINALS = "ONE|TWO|THREE|FOUR|FIVE|SIX|SEVEN|EIGHT|NINE|TEN|ELEVEN|TWELVE|THIRTEEN|FOURTEEN|FIFTEEN|SIXTEEN"
GROUP_HEAD = re.compile(
    rf"(?P<level>PART|TITLE|CHAPTER|SECTION|SUB-SECTION|SUBSECTION)"
    rf" (?P<number>{_ORDINALS}|[IVXLC]+[a-z]?|\d+[a-z]?|[A-Z])",
    re.IGNORECASE,
)
ANNEX_HEAD = re.compile(r"ANNEX(?: (?P<number>[IVXLC]+[a-z]?|\d+))?")
_LEVELS = ("part", "title", "chapter", "section", "sub-section")
_RECITAL = re.compile(r"\((?P<number>\d{1,3}[a-z]?)\) ")
_NUMBERED = re.compile(r"(?P<number>\d{1,3})(?P<suffix>[a-z]{0,2})\. ?(?=\S)")
POINT = re.compile(r"(?:\((?:[a-z]{1,3}|[ivx]{1,6}|\d{1,3}[a-z]?|[A-Z])\)|[\u2014\u2013\u2022\u25aa-]) ")
_ENACTING = re.compile(r"(?:HAVE|HAS) ADOPTED THIS (?:REGULATION|DIRECTIVE|DECISION)", re.IGNORECASE)
_DONE_AT = re.compile(r"\[?Done at\b")
_FEWEST_ARTICLES = 3  # below, a list of references passes for an act
_LOOK_BACK = 200  # candidates: bounds the search for the chain in a file that is nothing but "Article 1"
_LARGEST_GAP = 20  # articles that an amendment may have removed in one place


def is_head(text: str) -> bool:
    """Whether a whole line reads as the head of an article, of a group of articles, or of an annex."""
    return any(pattern.fullmatch(text) for pattern in (ARTICLE_HEAD, GROUP_HEAD, ANNEX_HEAD))


def structure(blocks: Sequence[Block], identity: Identity, outline: Sequence[Bookmark] = ()) -> Document:
    """Finds the units of a document, by its articles where it has at least three in sequence, else by its pages."""
    heads = _article_chain(blocks)
    if len(heads) < _FEWEST_ARTICLES:
        return _Builder(identity).pages(blocks).document()
    builder = _Builder(identity)
    begin, end = (0, len(blocks)) if identity.is_act else _embedded_act(blocks, heads)
    builder.pages(blocks[:begin])
    builder.act(blocks, begin, end, heads)
    builder.pages(blocks[end:])
    return builder.document()


def _article_chain(blocks: Sequence[Block]) -> list[int]:
    """Positions of the article heads: of each style the longest run that counts up, of these the longest.

    Heads of one act share a style; a correlation table or a wrapped title also reads "Article 206", in another
    style or out of sequence.
    """
    styles: dict[tuple[bool, bool], list[int]] = {}
    for index, block in enumerate(blocks):
        if ARTICLE_HEAD.fullmatch(block.text):
            styles.setdefault((block.bold, block.italic), []).append(index)
    chains = [_longest_count(blocks, candidates) for candidates in styles.values()]
    return max(chains, key=len, default=[])


def _longest_count(blocks: Sequence[Block], candidates: Sequence[int]) -> list[int]:
    """The best chain of rising article numbers; a step of one scores most, a gap little."""
    numbers = [_article_number(blocks[index].text) for index in candidates]
    best: list[tuple[float, int]] = []  # score, and the position in `candidates` of the one before (-1: none)
    for here, number in enumerate(numbers):
        score, before = (1.0 if number == (1, "") else 0.5), -1
        for there in range(max(0, here - _LOOK_BACK), here):
            step = _step(numbers[there], number)
            if step and best[there][0] + step > score:
                score, before = best[there][0] + step, there
        best.append((score, before))
    chain: list[int] = []
    position = max(range(len(best)), key=lambda each: best[each][0], default=-1)
    while position >= 0:
        chain.append(candidates[position])
        position = best[position][1]
    return chain[::-1]


def _article_number(text: str) -> tuple[int, str]:
    found = ARTICLE_HEAD.fullmatch(text)
    assert found is not None  # only heads are asked
    return int(found["number"]), found["suffix"]


def _step(before: tuple[int, str], number: tuple[int, str]) -> float:
    """What going from one number to the next is worth: 1 for the successor, 0 where it does not rise."""
    if number[0] == before[0]:
        return 1.0 if number[1] and (len(number[1]), number[1]) > (len(before[1]), before[1]) else 0.0
    if number[0] == before[0] + 1:
        return 1.0
    return 0.2 if before[0] < number[0] <= before[0] + _LARGEST_GAP else 0.0


def _embedded_act(blocks: Sequence[Block], heads: Sequence[int]) -> tuple[int, int]:
    """Where a draft act within a report begins (its preamble) and ends (its signature, or the next large heading)."""
    begin = heads[0]
    for index in range(heads[0], max(-1, heads[0] - 400), -1):
        if re.match(r"Having regard to|THE EUROPEAN COMMISSION|Whereas:", blocks[index].text):
            begin = index
    if begin <= _TITLE_WITHIN:
        begin = 0  # nothing but its title stands before the preamble: the document is the act
    body = Counter(round(block.size, 1) for block in blocks[heads[0] : heads[-1] + 1]).most_common(1)[0][0]
    signed_on: int | None = None
    for index in range(heads[-1] + 1, len(blocks)):
        block = blocks[index]
        if signed_on is None and _DONE_AT.match(block.text):
            signed_on = block.page_start
        if block.size > 1.15 * body or (signed_on is not None and block.page_start > signed_on):
            return begin, index
    return begin, len(blocks)


class _Builder:
    """Gathers the text and the units while the blocks go by."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._texts: list[str] = []
        self._length = 0
        self._units: list[Unit] = []
        self._groups: dict[str, str] = {}
        self._number: str | None = None

    def document(self) -> Document:
        return Document(self._identity, "\n".join(self._texts), [unit for unit in self._units if unit.paragraphs])

    def pages(self, blocks: Sequence[Block]) -> _Builder:
        if blocks:
            self._begin(None, [], "page")
        for block in blocks:
            self._add(block, "point" if POINT.match(block.text) else "text")
        return self

    def act(self, blocks: Sequence[Block], begin: int, end: int, heads: Sequence[int]) -> None:
        articles = set(heads)
        groups = _group_heads(blocks, begin, end, articles)
        index = min([heads[0], *groups])
        self._preamble(blocks[begin:index])
        while index < end:
            if index in groups:
                index = self._group(blocks, index, groups[index])
            elif index in articles:
                index = self._article(blocks, index, end, articles | set(groups))
            elif index > heads[-1] and ANNEX_HEAD.fullmatch(blocks[index].text):
                index = self._annex(blocks, index, end)
            elif index > heads[-1] and _DONE_AT.match(blocks[index].text):
                self._begin("signature", ["Signature"], "article")
                self._add(blocks[index], "text")
                index += 1
            else:
                self._add(blocks[index], self._role(blocks[index].text))
                index += 1

    def _preamble(self, blocks: Sequence[Block]) -> None:
        self._begin("preamble", ["Preamble"], "article")
        expected, in_recitals = 1, False
        for block in blocks:
            found = _RECITAL.match(block.text)
            number = int(re.sub(r"\D", "", found["number"])) if found else 0
            if found and number in (expected, expected - 1) and (in_recitals or number == 1):
                in_recitals = True
                expected = number + 1
                self._begin(f"recital ({found['number']})", ["Preamble", f"Recital {found['number']}"], "article")
            elif _ENACTING.match(block.text):
                in_recitals = False
                self._begin("preamble", ["Preamble"], "article")
            self._add(block, "point" if POINT.match(block.text) and not found else "text")

    def _group(self, blocks: Sequence[Block], index: int, following: int) -> int:
        """A Part, Title, Chapter, Section or Sub-Section: it heads what follows, and closes its like and below."""
        found = GROUP_HEAD.fullmatch(blocks[index].text)
        assert found is not None  # `_group_heads` matched it
        level = _level(found["level"])
        for lower in _LEVELS[_LEVELS.index(level) :]:
            self._groups.pop(lower, None)
        self._groups[level] = " ".join(block.text for block in blocks[index:following])
        for block in blocks[index:following]:
            self._put(block.text)
        return following

    def _article(self, blocks: Sequence[Block], index: int, end: int, heads: set[int]) -> int:
        number, suffix = _article_number(blocks[index].text)
        label = f"Article {number}{suffix}"
        following = _after_title(blocks, index, end, heads)
        title = " ".join(block.text for block in blocks[index + 1 : following])
        path = [self._groups[level] for level in _LEVELS if level in self._groups]
        self._begin(label, [*path, f"{label} {title}".strip()], "article")
        for block in blocks[index:following]:
            self._add(block, "head")
        return following

    def _annex(self, blocks: Sequence[Block], index: int, end: int) -> int:
        label = blocks[index].text.replace("ANNEX", "Annex")
        following = _after_title(blocks, index, end, set())
        title = " ".join(block.text for block in blocks[index + 1 : following])
        self._begin(label, [f"{label} {title}".strip()], "article")
        for block in blocks[index:following]:
            self._add(block, "head")
        return following

    def _role(self, text: str) -> Role:
        found = _NUMBERED.match(text)
        if found and self._counts_up(found):
            self._number = found["number"] + found["suffix"]
            return "numbered"
        return "point" if POINT.match(text) else "text"

    def _counts_up(self, found: re.Match[str]) -> bool:
        """Paragraph numbers rise by one, or by a letter that an amendment put in between."""
        unit = self._units[-1].label or ""
        if not unit.startswith("Article"):
            return False
        before = int(re.sub(r"\D", "", self._number)) if self._number else 0
        number = int(found["number"])
        return before < number <= before + 3 or (number == before and bool(found["suffix"]))

    def _begin(self, label: str | None, heading_path: list[str], rung: Rung) -> None:
        self._units.append(Unit(label, heading_path, rung))
        self._number = None

    def _add(self, block: Block, role: Role) -> None:
        start = self._put(block.text)
        self._units[-1].paragraphs.append(
            Paragraph(
                start, start + len(block.text), block.page_start, block.page_end, role, self._number, block.formula
            )
        )

    def _put(self, text: str) -> int:
        """Appends a line to the document's text and gives its offset."""
        start = self._length
        self._texts.append(text)
        self._length += len(text) + 1
        return start


def _level(word: str) -> str:
    level = word.lower()
    return "sub-section" if level == "subsection" else level


def _group_heads(blocks: Sequence[Block], begin: int, end: int, articles: set[int]) -> dict[int, int]:
    """Position of each group head -> where its title ends.

    A head counts where, behind a title of at most three blocks, another head or an article follows.
    """
    found: dict[int, int] = {}
    for index in range(end - 1, begin - 1, -1):
        if not GROUP_HEAD.fullmatch(blocks[index].text):
            continue
        for following in range(index + 1, min(index + 5, end)):
            if following in articles or following in found:
                found[index] = following
                break
    return found


def _after_title(blocks: Sequence[Block], index: int, end: int, heads: set[int]) -> int:
    """Where the title behind the head at ``index`` ends: a bold or italic run, or one short line in plain print."""
    position = index + 1
    if position >= end or position in heads or not _reads_as_title(blocks[position]):
        return position
    style = (blocks[position].bold, blocks[position].italic)
    position += 1
    while (
        any(style)
        and position < min(index + 4, end)
        and position not in heads
        and (blocks[position].bold, blocks[position].italic) == style
        and _reads_as_title(blocks[position])
    ):
        position += 1
    return position


def _reads_as_title(block: Block) -> bool:
    if _NUMBERED.match(block.text) or POINT.match(block.text) or len(block.text) > 400:
        return False
    return block.bold or block.italic or (len(block.text) <= 160 and block.text[-1:] not in ".;:,")
