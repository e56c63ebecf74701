"""Which work a document is: its CELEX number and date where it states them, its title, and the name it is cited by."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence

from finreg_cli.domain.document import Block, Identity

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

_KINDS = {"REGULATION": "R", "DIRECTIVE": "L", "DECISION": "D", "GUIDELINE": "O", "RECOMMENDATION": "H"}
"""The kinds of acts, with the letter that stands for each in a CELEX number."""

_ACT_TITLE = re.compile(
    rf"(?:(?:COMMISSION|COUNCIL) )?(?P<manner>(?:DELEGATED|IMPLEMENTING) )?(?P<kind>{'|'.join(_KINDS)}) "
    r"(?P<body>\((?:EU|EC|EEC|Euratom|EURATOM|EU, Euratom|EU, EURATOM)\) )?"
    r"(?P<no>No )?(?P<first>\d{1,4})/(?P<second>\d{1,4})(?P<suffix>/(?:EU|EC|EEC|Euratom|JHA|CFSP))?\b"
)
_CORRIGENDUM = re.compile(r"(?:CORRIGENDUM|CORRIGENDA|Corrigendum|Corrigenda)\b")
_CORRECTED = re.compile(_ACT_TITLE.pattern, re.IGNORECASE)
_CONSOLIDATED = re.compile(
    r"(?:Consolidated text:\s*)?0?(?P<base>(?:19|20)\d\d[RLDOH]\d{4})\s*[\u2014\u2013-]\s*EN\s*[\u2014\u2013-]\s*"
    r"(?P<day>\d\d)\.(?P<month>\d\d)\.(?P<year>\d{4})\b"
)
_DATE = re.compile(r"\bof (\d{1,2}) (\w+) (\d{4})\b", re.IGNORECASE)
_COVER_DATE = re.compile(r"(?:Date:? )?(\d{1,2}) (\w+) (\d{4})")
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
_REFERENCE_NUMBER = re.compile(
    r"(?:EBA|ESMA|EIOPA|ECB|JC|SRB|ESRB|AMLA)[/ -](?:[A-Za-z]{2,6}[/ -])?(?:19|20)\d\d[/ -]\d{1,3}(?:[/ ]rev\.? ?\d+)?"
    r"|ESMA\d{2}-\d{2,}-\d+|EIOPA-(?:BoS|BOS)-\d\d[/-]\d{2,4}"
)
_TITLE_ENDS = re.compile(
    r"(?:THE EUROPEAN (?:PARLIAMENT|COMMISSION|CENTRAL)|THE COUNCIL OF|Having regard|Amended by|Corrected by|Article 1$"
    r"|(?:PART ONE|TITLE I|CHAPTER I)$)"
)
_TITLE_ENDS_WITHIN = re.compile(r"\(Text with EEA relevance\)|\(OJ [LC]\b|\(Official Journal")
_TITLE_WITHIN = 12  # blocks: an act names itself at its very start, behind nothing but a banner
_COVER_WITHIN = 40  # blocks of the first page, in which a paper's title, number and date stand
_SHORT_NAME_LENGTH = 80  # characters
_IN_PARENTHESES = re.compile(r" \([^()]*\)")
_LEAST_SHORT_NAME = 25  # characters: the first line of a title, "Final report", need not say which
_BRACKETS = str.maketrans("[]", "()")
_AMENDMENT_MARK = re.compile(r"[\u25bc\u25bd\u25ba\u25b6] ?(?:B|[MCA]\d{1,3})(?!\w) ?| ?[\u25c4\u25c0]")


def without_amendment_marks(blocks: Sequence[Block]) -> list[Block]:
    """Consolidated acts say in margin and line which amendment wrote the words (``\u25bcM8``): no part of the law."""
    return [cleaned for block in blocks if (cleaned := _unmarked(block)) is not None]


def _unmarked(block: Block) -> Block | None:
    if block.text.isascii() or not _AMENDMENT_MARK.search(block.text):
        return block
    text = _AMENDMENT_MARK.sub("", block.text).strip()
    # Spelt out: `dataclasses.replace` of a slotted class is a notable cost on files with a mark in every other block.
    return (
        Block(text, block.page_start, block.page_end, block.size, block.bold, block.italic, block.formula, block.kind)
        if text
        else None
    )


def identify(
    blocks: Sequence[Block],
    opening: Sequence[str],
    stem: str,
    short_names: Mapping[str, str],
    work_ids: Mapping[str, str],
) -> Identity:
    """Reads the identity off the document's own title; a number that the running text cites is never taken.

    A corrigendum has a number of its own, which it does not state; it is not the act that it corrects.

    Args:
        blocks: of the whole document.
        opening: the lines of its first page as they are printed, with the running heads.
        stem: the file's name without its ending.
        short_names: work_id -> short name (``source.short_names``).
        work_ids: stem -> work_id (``source.work_ids``), for documents that state no number.
    """
    first = without_amendment_marks(blocks[: 2 * _COVER_WITHIN])
    act = _act_title(first)
    consolidated = next((found for line in opening if (found := _CONSOLIDATED.match(line.strip()))), None)
    if act is None and consolidated is None:
        return _paper(first, opening, work_ids.get(stem, stem), stem, short_names)
    title = act[1] if act else " ".join(_printed_title(first))[:300] or stem
    version: str | None
    if consolidated:
        work_id = "3" + consolidated["base"]
        version = f"{consolidated['year']}-{consolidated['month']}-{consolidated['day']}"
    else:
        assert act is not None  # one of the two was found
        work_id, version = act[0], _stated_date(title)
    return Identity(work_id, version, title, _act_name(work_id, title, short_names), is_act=True)


def _act_name(work_id: str, title: str, short_names: Mapping[str, str]) -> str:
    return short_names.get(work_id) or WELL_KNOWN_ACTS.get(work_id) or _act_number(title) or _shortened(title)


# --- Acts ------------------------------------------------------------------------------------------------------------


def _act_title(blocks: Sequence[Block]) -> tuple[str, str] | None:
    """CELEX number and title, where one of the first blocks is the title of an act with its date."""
    for index, block in enumerate(blocks[:_TITLE_WITHIN]):
        if _CORRIGENDUM.match(block.text):
            return None
        found = _ACT_TITLE.match(block.text)
        if found is None:
            continue
        title = _title_from(blocks[index : index + 8])
        if _stated_date(title[:300]):
            return celex_number(found), title
    return None


def _title_from(blocks: Sequence[Block]) -> str:
    words: list[str] = []
    for block in blocks:
        ending = _TITLE_ENDS.match(block.text) or _TITLE_ENDS_WITHIN.search(block.text)
        if block.kind == "text":
            words.append(block.text[: ending.start()] if ending else block.text)
        if ending:
            break
    return " ".join(" ".join(words).split())


def celex_number(found: re.Match[str]) -> str:
    """The CELEX number of an act cited as "Regulation (EU) No 575/2013", by the groups kind, no, first and second."""
    first, second = int(found["first"]), int(found["second"])
    # "No 575/2013" puts the year last; without "No" (directives, and all acts from 2015 on) it comes first.
    year, number = (second, first) if found["no"] else (first, second)
    if year < 100:
        year += 1900
    return f"3{year}{_KINDS[found['kind'].upper()]}{number:04d}"


def _stated_date(text: str) -> str | None:
    found = _DATE.search(text)
    return _iso_date(*found.groups()) if found else None


def _iso_date(day: str, month: str, year: str) -> str | None:
    if month.capitalize() not in _MONTHS or not 1 <= int(day) <= 31:
        return None
    return f"{year}-{_MONTHS.index(month.capitalize()) + 1:02d}-{int(day):02d}"


def _act_number(title: str) -> str | None:
    """``Delegated Regulation (EU) No 241/2014``, as other acts cite it."""
    found = _ACT_TITLE.match(title)
    if found is None:
        return None
    manner = (found["manner"] or "").capitalize()
    body, no, suffix = (found[group] or "" for group in ("body", "no", "suffix"))
    return f"{manner}{found['kind'].capitalize()} {body}{no}{found['first']}/{found['second']}{suffix}"


# --- Papers ----------------------------------------------------------------------------------------------------------


def _paper(
    blocks: Sequence[Block], opening: Sequence[str], work_id: str, stem: str, short_names: Mapping[str, str]
) -> Identity:
    """A document that is no act: a paper of an authority, with its own reference number where its cover states one."""
    cover = [block for block in blocks[:_COVER_WITHIN] if block.page_start == blocks[0].page_start]
    lines = [*(block.text.strip() for block in cover), *(line.strip() for line in opening)]
    corrected = _corrected_act(cover, short_names)
    if corrected is not None:
        title, short_name = corrected
    else:
        printed = _printed_title(blocks) or [stem]
        title = " ".join(printed)[:300]
        number = next((found.group(0) for line in lines if (found := _REFERENCE_NUMBER.fullmatch(line))), None)
        short_name = number or _shortened(*printed)
    dates = (_COVER_DATE.fullmatch(line) for line in lines)
    version = next((date for found in dates if found and (date := _iso_date(*found.groups()))), None)
    return Identity(work_id, version, title, short_names.get(work_id) or short_name, is_act=False)


def _corrected_act(cover: Sequence[Block], short_names: Mapping[str, str]) -> tuple[str, str] | None:
    """Title and short name of a corrigendum."""
    for index, block in enumerate(cover[:_TITLE_WITHIN]):
        if not _CORRIGENDUM.match(block.text):
            continue
        title = _title_from(cover[index : index + 4])[:300]
        act = _CORRECTED.search(title)
        if act is None:
            return title, _shortened(title)
        number = _act_number(act.group(0).upper().replace("NO ", "No ")) or act.group(0)
        celex = celex_number(act)
        return title, f"Corrigendum to {short_names.get(celex) or WELL_KNOWN_ACTS.get(celex) or number}"
    return None


def _shortened(*lines: str) -> str:
    """A title as citations begin with it: a citation stands in every context, and in brackets behind every answer.

    As many of its lines as fit, if they say enough; else as many of its words.
    """
    whole = _IN_PARENTHESES.sub("", " ".join(lines)).translate(_BRACKETS)
    for count in range(len(lines), 0, -1):
        some = " ".join(lines[:count]).translate(_BRACKETS)
        if _LEAST_SHORT_NAME <= len(some) <= _SHORT_NAME_LENGTH:
            return some
    return textwrap.shorten(whole, _SHORT_NAME_LENGTH, placeholder="\u2026")


def _printed_title(blocks: Sequence[Block]) -> list[str]:
    """The largest print of the first page that has any letters, with the blocks of the same size that follow it."""
    first = [
        block
        for block in blocks[:_COVER_WITHIN]
        if block.page_start == blocks[0].page_start and block.kind == "text" and _has_words(block.text)
    ]
    if not first:
        return []
    largest = max(block.size for block in first)
    start = next(index for index, block in enumerate(first) if block.size == largest)
    title = [first[start].text]
    for block in first[start + 1 :]:
        # "Final report" in large print, what it is about in the next size.
        if not (block.size >= 0.6 * largest and block.size > 12 and len(" ".join([*title, block.text])) <= 250):
            break
        title.append(block.text)
    return title


def _has_words(text: str) -> bool:
    return len(re.findall(r"[^\W\d_]{3,}", text)) >= 1
