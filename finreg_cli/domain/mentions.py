"""The grammar of cross-references: where a text of law names a provision or an act, and which.

Read are "Article 36(1)(a)", "Art. 36 (1)", "Articles 36 to 39", "point (b) of paragraph 2", "the first subparagraph of
Article 5(2)", "Annex I", "recital 12", "Chapter 2 of this Title", "Part Three, Title II", "section 3.2", and acts by
their numbers or short names, before or behind the provision. What a mention leads to is the business of `references`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from finreg_cli.domain.document import GROUP_LEVELS
from finreg_cli.domain.identification import WELL_KNOWN_ACTS

Address = tuple[str, ...]
"""A provision from the outermost inwards: ``("36", "1", "a")`` is Article 36(1)(a).

The first may be `THIS` (the provision in which the words stand) or `THAT` (the one named last), the second may be
`THIS` for the paragraph."""

THIS, THAT = "this", "that"

Kind = Literal["article", "annex", "recital", "group", "section", "act"]


@dataclass(frozen=True, slots=True)
class Mention:
    """A place that names one provision or several.

    ``start`` is its offset, ``ranges`` the addresses, the second of each pair being the end of "(a) to (i)" or None.
    ``act`` is the act that they belong to as it is cited, `THIS` where the text says "of this Regulation", `THAT` for
    "that Directive", None where it says nothing. ``levels`` are those of a group of articles as far as they are named:
    ``(("title", "II"), ("chapter", "2"))``; ``subparagraph`` counts from 1, -1 is the last, 0 where none is named.
    """

    start: int
    end: int
    kind: Kind
    ranges: tuple[tuple[Address, Address | None], ...] = ()
    act: str | None = None
    levels: tuple[tuple[str, str], ...] = ()
    subparagraph: int = 0


# --- the words -------------------------------------------------------------------------------------------------------

_B = "[ \u00a0]"
_BRACKETS = r"(?:\(\w{1,5}\))+"
_AND = rf"(?:,?{_B}(?:and|or|to){_B}|,{_B})"
_NUMBER = rf"\d{{1,4}}(?:[a-z]{{1,2}}\b)?(?:{_B}(?=\(\d))?(?:{_BRACKETS})?"
_ANOTHER = rf"{_B}(?:and|or|to){_B}{_NUMBER}(?=[,.;)]|{_B}(?:of|shall|may|is|are|and|or|as|in|where|respectively)\b)"
# What writes "Art." writes "Art. 430 (1) (a)" as well; behind "Article 5" a lone "(a)" may begin a point.
_SPACED = rf"\d{{1,4}}(?:[a-z]{{1,2}}\b)?(?:{_B}?\((?:\d{{1,3}}[a-z]?|[a-z]{{1,5}})\))*"
_NOT_A_FIGURE = rf"(?![\d.,]*\d|{_B}?%|{_B}(?:months?|years?|days?|per{_B}cent)\b)"
_ANCHOR = re.compile(
    rf"\b(?:[Pp](?:oints?|aragraphs?|arts?)|(?:first|second|third|fourth|fifth|last)(?: and (?:second|third))?"
    rf" subparagraphs?|Articles?|Arts?(?=\.{_B}?\d|{_B}(?!(?:19|20)\d\d\b)\d)|Annex(?:es)?|ANNEX|[Rr]ecitals?"
    rf"|Titles?|Chapters?|Sub-[Ss]ections?|[Ss]ections?|Regulations?|Directives?|Decisions?"
    rf"|th(?:is|at) (?:Article|paragraph)(?!{_B}\d))\b"
)
_ARTICLE = re.compile(
    rf"Article{_B}({_NUMBER}(?:{_AND}{_BRACKETS}|{_ANOTHER})*)"
    rf"|Articles{_B}({_NUMBER}(?:{_AND}(?:{_NUMBER}{_NOT_A_FIGURE}|{_BRACKETS}))*)"
)
_ABBREVIATED = re.compile(
    rf"Art\.?{_B}?({_SPACED}(?:{_AND}{_BRACKETS}|{_ANOTHER})*)"
    rf"|Arts\.?{_B}?({_SPACED}(?:{_AND}(?:{_SPACED}{_NOT_A_FIGURE}|{_BRACKETS}))*)"
)
_SPACE_IN_NUMBER = re.compile(rf"(?<=[\d)]){_B}(?=\()")
_PARAGRAPH = re.compile(
    rf"[Pp]aragraph{_B}({_NUMBER}(?:{_AND}{_BRACKETS})*)(?![\d.]*\d)"
    rf"|[Pp]aragraphs{_B}({_NUMBER}(?:{_AND}(?:{_NUMBER}{_NOT_A_FIGURE}|{_BRACKETS}))*)"
)
_POINT = re.compile(rf"[Pp]oints?{_B}({_BRACKETS}(?:{_AND}{_BRACKETS})*|\d{{1,3}}(?![\d.,%]*\d)(?:{_AND}\d{{1,3}}\b)*)")
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1}
_SUBPARAGRAPH = re.compile(rf"({'|'.join(_ORDINALS)})(?: and (?:second|third))? subparagraphs?")
_PART_BEHIND = re.compile(
    rf",{_B}(?:(?:points?|letters?){_B}(?P<points>{_BRACKETS}(?:{_AND}{_BRACKETS})*|\d{{1,3}}\b)"
    rf"|(?P<ordinal>{'|'.join(_ORDINALS)}){_B}subparagraph)(?!{_B}of{_B}(?:th|paragraph|Article))"
)
_ANNEX = re.compile(
    rf"(?:Annex|ANNEX){_B}([IVXLC]+\b|\d+)|Annexes{_B}((?:[IVXLC]+|\d+)\b(?:{_AND}(?:[IVXLC]+|\d+)\b)*)"
)
_RECITAL = re.compile(rf"[Rr]ecitals?{_B}(\(?\d{{1,3}}[a-z]?\)?(?:{_AND}\(?\d{{1,3}}[a-z]?\)?)*)")
_COUNTED = "One|Two|Three|Four|Five|Six|Seven|Eight|Nine|Ten|Eleven|Twelve"
_GROUP = re.compile(
    rf"(Part|Title|Chapter|Section|Sub-[Ss]ection)s?{_B}((?:{_COUNTED}|[IVXLC]+|\d{{1,2}}|[A-Z])(?:[a-z])?\b(?!\.\d)"
    rf"(?:{_AND}(?:{_COUNTED}|[IVXLC]+|\d{{1,2}})\b(?![.,]?\d|{_B}%))*)"
)
_SECTION = re.compile(rf"[Ss]ections?{_B}(\d{{1,2}}(?:\.\d{{1,2}})*(?:{_AND}\d{{1,2}}(?:\.\d{{1,2}})+)*)")
_OF = re.compile(rf"{_B}(?:of|in|under|to){_B}(?:the{_B})?")
_SOMETHING_ELSE = re.compile("[A-Z]|that |those ")
_OF_ANNEX = re.compile(rf"{_B}(?:of|to|in){_B}Annex\b")
_THIS_GROUP = re.compile(rf"{_B}of{_B}this{_B}(?:Part|Title|Chapter|Section)")
_ITEM = re.compile(r"(\w*)(?:[ \u00a0](?=\(\d))?((?:\(\w{1,5}\))*)")
_WORD = re.compile(r"\w+")
_JOINT = re.compile(_AND)
_ROMAN = frozenset("ivx")
_BETWEEN_LEVELS = re.compile(rf",?{_B}of{_B}|,{_B}(?:and{_B})?|{_B}")

# --- acts ------------------------------------------------------------------------------------------------------------

_FORMS = r"\((?:EU|EC|EEC|Euratom|EU, Euratom)\)"
_SERIAL = r"\d{1,4}/\d{1,4}(?:/(?:EU|EC|EEC|JHA|CFSP))?"
_ACT = re.compile(
    rf"(?:(?:Commission|Council|Framework){_B})?((?:(?:Delegated|Implementing|Framework){_B})?"
    rf"(?:Regulation|Directive|Decision)){_B}((?:{_FORMS}{_B})?(?:N[o\u00ba]\.?{_B})?{_SERIAL})\b"
)
_ACTS = re.compile(
    rf"(Regulation|Directive|Decision)s{_B}((?:{_FORMS}{_B})?(?:No{_B})?{_SERIAL}"
    rf"(?:{_AND}(?:{_FORMS}{_B})?(?:No{_B})?{_SERIAL})+)"
)
_QUALIFIED = re.compile(rf"(?:Delegated|Implementing|Framework){_B}$")
_ACT_NOUN = r"(?:Regulation|Directive|Decision|Treaty|Agreement|Convention|Protocol|Charter|Statute|Code|Act|Accord)"
_TREATIES = {
    "Treaty on the Functioning of the European Union": "TFEU",
    "Treaty on European Union": "TEU",
    "Treaty establishing the European Community": "EC Treaty",
}
_SHORT_NAMES = "|".join(
    sorted(
        map(re.escape, {*WELL_KNOWN_ACTS.values(), "TFEU", "TEU", "CRD", "CRR II", "CRR2", "CRD V", "CRD5", "MiFID"}),
        key=len,
        reverse=True,
    )
)
_ITS_ACT = re.compile(
    rf",?{_B}(?:(?:of|to|in|under){_B})?(?:(?:the|that|this|those|same|amended){_B}){{0,2}}(?:(?:Commission|Council){_B})?"
    rf"(?:(?P<treaty>{'|'.join(_TREATIES)})|(?P<short>{_SHORT_NAMES})\b)"
)
_OF_ACT = re.compile(
    rf",?{_B}(?:of|to|in|under){_B}(?:the{_B}(?:Annex{_B}to{_B}|amended{_B})?)?(?:(?:(?:[\w-]+{_B}){{1,3}}\()?(?P<number>{_ACT.pattern})|(?P<acts>{_ACTS.pattern})"
    rf"|(?P<this>(?:this|these|the|the{_B}proposed|the{_B}draft|present|draft){_B}(?:draft{_B})?(?:Regulation|Directive|Decision|RTS|ITS|Guidelines))\b"
    rf"(?!{_B}(?:\(|No\b|\d))"
    rf"|(?P<that>(?:that|those|the{_B}same|same|the{_B}said|the{_B}latter){_B}(?:\w+{_B})?{_ACT_NOUN}s?)\b"
    rf"|(?P<name>(?:[A-Z][\w-]*{_B}){{1,4}}{_ACT_NOUN}\b|Treaty\b|Charter\b|(?:IAS|IFRS){_B}\d+))"
)
_ACT_BEFORE = re.compile(rf"(?:{_ACT.pattern}|({_SHORT_NAMES}|EBA{_B}Regulation))(?:,?{_B}|{_B}\()$")
_ACT_ENDS = re.compile(rf"(?:[\dA-Z]|Act|Regulation|Directive)(?:,?{_B}|{_B}\()$")
_JOINS = re.compile(rf",{_B}|,?{_B}(?:and|or){_B}(?:(?:in|of|under|to|with){_B})?")


def mentions(text: str) -> Iterator[Mention]:
    """The cross-references of a text, in order, none within another."""
    waiting: list[Mention] = []  # "Article 28(1)(b) and" may belong to the act behind "Article 52(1)(c)"
    for found in _each(text):
        joined = bool(waiting) and _JOINS.fullmatch(text, waiting[-1].end, found.start) is not None
        if joined and found.kind == "article" and found.act is not None:
            waiting = [replace(each, act=found.act) for each in waiting]
        if not (joined and found.kind == "article" and found.act is None):
            yield from waiting
            waiting = []
        if found.kind == "article" and found.act is None and found.ranges[0][0][0] not in (THIS, THAT):
            waiting.append(found)
        else:
            yield from waiting
            waiting = []
            yield found
    yield from waiting


def _each(text: str) -> Iterator[Mention]:
    position = last = 0
    while (anchor := _ANCHOR.search(text, position)) is not None:
        found = _mention(text, anchor.start())
        if found is None:
            position = anchor.end()
            continue
        if found.act is None and found.kind != "act":
            found = replace(found, act=_act_before(text, last, found.start))
        yield found
        position = found.end
        last = found.start if found.kind == "act" else found.end


def _mention(text: str, start: int) -> Mention | None:
    """What begins at ``start``, with everything around it that "of" adds."""
    if text.startswith(("Art", "this Article", "that Article"), start):
        return _article(text, start)
    letter = text[start]
    if text.startswith(("this paragraph", "that paragraph"), start):
        pronoun = text[start : start + 4]
        address = (THIS, THIS) if pronoun == THIS else (THAT, THAT)
        return _with_act(text, Mention(start, start + len("this paragraph"), "article", ((address, None),)))
    if text.startswith(("point", "Point"), start):
        return _inner(text, start, _POINT.match(text, start), (THIS, THIS))
    if text.startswith(("paragraph", "Paragraph"), start):
        return _inner(text, start, _PARAGRAPH.match(text, start), (THIS,))
    if letter in "fstl" and (ordinal := _SUBPARAGRAPH.match(text, start)):
        around = _around(text, ordinal.end(), ordinal.group())
        whole = around or Mention(start, ordinal.end(), "article", (((THIS, THIS), None),))
        return replace(whole, start=start, subparagraph=_ORDINALS[ordinal.group(1)])
    if letter in "AR" or text.startswith("recital", start):
        for kind, pattern in _NUMBERED_KINDS:
            if found := pattern.match(text, start):
                listed = found.group(found.lastindex or 1).translate(_NO_BRACKETS)
                return _with_act(text, Mention(start, found.end(), kind, _ranges(listed)))
    if letter in "RD":
        return _act(text, start)
    return _group(text, start)


_NO_BRACKETS = str.maketrans("", "", "()")  # "recital (12)" is recital 12
_NUMBERED_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (("annex", _ANNEX), ("recital", _RECITAL))


def _article(text: str, start: int) -> Mention | None:
    if text.startswith((THIS, THAT), start):
        end = start + len("this Article")
        return _with_act(text, Mention(start, end, "article", (((text[start : start + 4],), None),)))
    found = _ARTICLE.match(text, start) or _ABBREVIATED.match(text, start)
    if found is None:
        return None
    listed = _SPACE_IN_NUMBER.sub("", found.group(1) or found.group(2))
    return _with_act(text, Mention(start, found.end(), "article", _ranges(listed)))


def _inner(text: str, start: int, found: re.Match[str] | None, own: Address) -> Mention | None:
    """Points or paragraphs, put behind the provision that "of" names; without one they are the present one's."""
    if found is None:
        return None
    inner = _ranges(next(filter(None, found.groups())))
    around = _around(text, found.end(), found.group())
    if around is None:
        of = _OF.match(text, found.end())
        if of and of.group().strip().startswith("of") and _SOMETHING_ELSE.match(text, of.end()):
            return None  # of something that this grammar does not know
        ranges = tuple((own + first, own + last if last else None) for first, last in inner)
        whole = Mention(start, found.end(), "article", ranges)
        return _with_parts(text, whole) if len(ranges) == 1 else whole
    ranges = tuple(
        (outer + first, outer + last if last else None) for outer, _ in around.ranges for first, last in inner
    )
    return replace(around, start=start, ranges=ranges)


def _with_parts(text: str, found: Mention) -> Mention:
    """The mention with the points and the subparagraph that newer drafting sets behind it, between commas."""
    while behind := _PART_BEHIND.match(text, found.end):
        if behind["ordinal"]:
            found = replace(found, end=behind.end(), subparagraph=_ORDINALS[behind["ordinal"]])
            continue
        ((outer, _),) = found.ranges[:1]
        inner = _ranges(behind["points"])
        ranges = tuple((outer + first, outer + last if last else None) for first, last in inner)
        found = replace(found, end=behind.end(), ranges=ranges)
        if len(ranges) > 1:
            break
    return found


def _height(word: str) -> int:
    """How far up a part of a provision stands: a point below a subparagraph below a paragraph below an article."""
    lowered = word.lower()
    return next((height for height, part in enumerate(_PARTS) if part in lowered), len(_PARTS))


_PARTS = ("point", "subparagraph", "paragraph")


def _around(text: str, end: int, part: str) -> Mention | None:
    """The article, annex, paragraph or subparagraph that " of ..." behind a part of it names."""
    of = _OF.match(text, end)
    anchor = _ANCHOR.match(text, of.end()) if of else None
    # Upwards only: no point lies in a point, and a text of nothing but "point (a) of" would have no bottom.
    if anchor is None or _height(anchor.group()) <= _height(part):
        return None
    found = _mention(text, anchor.start())
    return found if found is not None and found.kind in ("article", "annex", "recital") else None


def _ranges(listed: str) -> tuple[tuple[Address, Address | None], ...]:
    """The addresses of "36(1)(a) to (c), (2) and 39"."""
    ranges: list[tuple[Address, Address | None]] = []
    position, numbered = 0, listed[0] != "("
    while position < len(listed):
        joint = _JOINT.match(listed, position)
        position = joint.end() if joint else position
        item = _ITEM.match(listed, position)
        assert item is not None  # all of it may be empty
        number, parts = item.group(1), tuple(_WORD.findall(item.group(2)))
        if not number and not parts:
            break
        address = (number, *parts) if number else _continued(ranges[-1][0] if ranges else (), parts, numbered)
        if joint and "to" in joint.group() and ranges:
            ranges[-1] = (ranges[-1][0], address)
        else:
            ranges.append((address, None))
        position = item.end()
    return tuple(ranges)


def _continued(before: Address, parts: Address, numbered: bool) -> Address:
    """``(2)`` behind ``36(1)(a)`` is ``36(2)``, ``(b)`` is ``36(1)(b)``.

    Args:
        numbered: the list begins with a number that stands in no brackets, which no ``(2)`` takes the place of.
    """
    if not before:
        return parts
    for depth in range(len(before) - 1, -1, -1):
        alike = before[depth].isdigit() == parts[0].isdigit()
        # "(k)(ii) and (l)" leaves the points of (k); right behind a number stand letters, even an (i).
        below_letter = depth > 0 and not before[depth - 1][0].isdigit()
        deeper = below_letter and set(before[depth]) <= _ROMAN and not set(parts[0]) <= _ROMAN
        if alike and not deeper and (depth > 0 or not numbered):
            return before[:depth] + parts
    return before + parts if numbered else parts


def _group(text: str, start: int) -> Mention | None:
    """A Part, Title, Chapter, Section or Sub-Section with the levels above it; or the section of a report."""
    levels: dict[str, str] = {}
    end, names = start, ""
    while (found := _GROUP.match(text, end if end == start else end + _joint(text, end))) is not None:
        level = found.group(1).lower()
        if level in levels:
            break
        levels[level] = re.split(_AND, found.group(2))[0]
        if not names or GROUP_LEVELS.index(level) > GROUP_LEVELS.index(names):
            names, ranges = level, _group_ranges(found.group(2))
        end = found.end()
    if not levels:
        found = _SECTION.match(text, start)
        if found is None:
            return None
        numbers = tuple(((each,), None) for each in re.findall(r"\d+(?:\.\d+)*", found.group(1)))
        return _with_act(text, Mention(start, found.end(), "section", numbers))
    if _OF_ANNEX.match(text, end):
        return None  # the annex is what is named
    own = _THIS_GROUP.match(text, end)
    ordered = tuple((level, levels[level]) for level in GROUP_LEVELS if level in levels)
    return _with_act(text, Mention(start, own.end() if own else end, "group", ranges, levels=ordered))


def _joint(text: str, end: int) -> int:
    """The length of what may stand between two levels: "Section 2 of Chapter 3", "Part Three, Title II"."""
    found = _BETWEEN_LEVELS.match(text, end)
    return len(found.group()) if found else 0


def _group_ranges(listed: str) -> tuple[tuple[Address, Address | None], ...]:
    return tuple(((each,), None) for each in re.split(_AND, listed))


# --- the act ---------------------------------------------------------------------------------------------------------


def _act(text: str, start: int) -> Mention | None:
    """An act by its number; several after "Directives" are the addresses of one mention."""
    found = _ACT.match(text, start)
    if found:
        qualified = _QUALIFIED.search(text, max(0, start - 14), start)
        begin = qualified.start() if qualified else start
        return Mention(start, found.end(), "act", (((_one_form(text[begin : found.end()]),), None),))
    several = _ACTS.match(text, start)
    if several is None:
        return None
    names = [f"{several.group(1)} {_one_form(each)}" for each in re.split(_AND, several.group(2))]
    return Mention(start, several.end(), "act", tuple(((name,), None) for name in names))


def _one_form(name: str) -> str:
    name = " ".join(name.split()).replace("N\u00ba", "No").replace("No. ", "No ")
    return re.sub(r"^(?:Commission|Council) ", "", name)


def _with_act(text: str, found: Mention) -> Mention:
    """The mention with what stands behind it: "Article 338(1), second subparagraph, of Regulation (EU) No 575/2013"."""
    if found.kind in ("article", "annex") and len(found.ranges) == 1:
        found = _with_parts(text, found)
    its = _ITS_ACT.match(text, found.end)
    if its:
        return replace(found, end=its.end(), act=_TREATIES.get(its["treaty"] or "", its["short"]))
    of = _OF_ACT.match(text, found.end)
    if of is None:
        return found
    if of["this"]:
        act = THIS
    elif of["that"]:
        act = THAT
    elif of["name"]:
        act = of["name"]
    else:
        act = _one_form(
            of["number"] or f"{of['acts'].split('s ', 1)[0]} {re.split(_AND, of['acts'].split('s ', 1)[1])[0]}"
        )
    return replace(found, end=of.end(), act=act)


def _act_before(text: str, begin: int, start: int) -> str | None:
    """The act in "Directive 2013/36/EU, Article 4" and "CRR Article 92", where it belongs to nothing before."""
    if not _ACT_ENDS.search(text, max(begin, start - 4), start):
        return None
    found = _ACT_BEFORE.search(text, max(begin, start - 70), start)
    return _one_form(found.group().strip(" ,(\u00a0")) if found else None
