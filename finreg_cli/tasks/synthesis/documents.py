"""New documents: the parent's text with new values in the place of the old ones, and nothing else changed.

All places are found in the parent's text first and replaced in one pass, the longest first, so that an inserted value
is never replaced again, and a value inside another one changes with it.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from finreg_cli.domain.extraction import Field, Labels, Schema, text_of
from finreg_cli.domain.values import parse_date, spell_date_like
from finreg_cli.tasks.synthesis.dates import Shift, dates_in
from finreg_cli.tasks.synthesis.names import LEGAL_FORM, TAIL, is_company

_BRIEF = 60
"""Characters behind a name within which its short form is introduced: 'Acme Bakery LLC (the "Acme")'."""


@dataclass(frozen=True)
class _Edit:
    """Characters ``start`` to ``end`` of the parent are to become ``new``."""

    start: int
    end: int
    new: str


def substitute(document: str, old: Labels, new: Labels, parts: Mapping[str, str], shift: Shift, schema: Schema) -> str:
    """The document with every old value replaced, in any line breaks and letter case, and all its dates moved."""
    edits = _longest_first(_edits(document, old, new, parts, shift, schema))
    pieces, end = [], 0
    for edit in edits:
        pieces.append(_with_article(document[end : edit.start], document[edit.start : edit.end], edit.new))
        pieces.append(_broken_like(document[edit.start : edit.end], edit.new))
        end = edit.end
    return "".join([*pieces, document[end:]])


def remaining(document: str, old: Labels, new: Labels) -> list[str]:
    """The keys whose old value still stands in the new document, in whatever case, outside of new values."""
    values = [_found(text) for value in new.values() if (text := text_of(value))]
    for pattern in values:
        document = pattern.sub("\0", document)
    return [
        key
        for key, value in old.items()
        if value != new[key] and (text := text_of(value)) and _found(text).search(document)
    ]


def _edits(
    document: str, old: Labels, new: Labels, parts: Mapping[str, str], shift: Shift, schema: Schema
) -> Iterator[_Edit]:
    for each in schema.fields:
        before, after = text_of(old[each.name]), text_of(new[each.name])
        if before is None or after is None or before == after:
            continue
        yield from _of_value(document, each, before, after)
        if each.kind == "name" and not (parse_date(before)):
            yield from _of_short_names(document, before, after)
    for before, after in parts.items():
        yield from _of_part(document, before, after)
    for found in dates_in(document):
        moved = spell_date_like(found.text, shift(found.day))
        if moved is not None:
            yield _Edit(found.span.start, found.span.end, moved)


def _of_value(document: str, each: Field, before: str, after: str) -> Iterator[_Edit]:
    for found in _found(before, any_case=each.type == "string").finditer(document):
        yield _Edit(found.start(), found.end(), _cased_like(found.group(), before, after))


def _of_short_names(document: str, before: str, after: str) -> Iterator[_Edit]:
    """Where a name stands without its tail and its legal form, by its defined short form, or by title and surname."""
    old, new = _core(before), _core(after)
    if old == new:
        return
    pairs = {TAIL.sub("", before) or before: TAIL.sub("", after) or after}
    if len(old.split()) > 1 or (len(old) > 4 and not _stands_in_lower_case(old, document)):
        pairs[old] = new
    first_old, first_new = old.split()[0], new.split()[0]
    if is_company(before) and _is_defined(first_old, before, document):
        pairs[first_old] = first_new
    for short, other in pairs.items():
        for found in _found(short, any_case=True).finditer(document):
            # In lower case it is a word and no name, and behind a number the street of an address.
            if found.group()[0].isupper() and not re.search(r"\d\s+$", document[: found.start()][-8:]):
                yield _Edit(found.start(), found.end(), _cased_like(found.group(), short, other))
    if not is_company(before):
        last_old, last_new = old.split()[-1], new.split()[-1]
        title = re.compile(rf"\b(?P<title>(?:Mr|Mrs|Ms|Miss|Dr)\.?\s+){re.escape(last_old)}(?!\w)", re.IGNORECASE)
        for found in title.finditer(document):
            yield _Edit(
                found.end("title"), found.end(), _cased_like(found.group()[-len(last_old) :], last_old, last_new)
            )


def _core(name: str) -> str:
    """A name without its tail and its legal form."""
    head = TAIL.sub("", name)
    return LEGAL_FORM.sub("", head).strip(" ,") or name


def _is_defined(word: str, name: str, document: str) -> bool:
    introduced = re.compile(
        rf"{_words(name)}.{{0,{_BRIEF}}}?\(.{{0,24}}[\"“'‘]{re.escape(word)}[\"”'’]", re.IGNORECASE | re.DOTALL
    )
    return introduced.search(document) is not None


def _stands_in_lower_case(word: str, document: str) -> bool:
    return re.search(rf"\b{re.escape(word.lower())}\b", document) is not None


def _of_part(document: str, before: str, after: str) -> Iterator[_Edit]:
    if len(before) < 4 or (before[0].isalpha() and _stands_in_lower_case(before, document)):
        return
    for found in _found(before, any_case=True).finditer(document):
        yield _Edit(found.start(), found.end(), _cased_like(found.group(), before, after))


def _words(text: str) -> str:
    return r"\s+".join(map(re.escape, text.split()))


def _found(text: str, any_case: bool = True) -> re.Pattern[str]:
    """Finds a text as whole words and numbers, with any blanks between them: no "first" in "twenty-first"."""
    before = r"(?<!\w)(?<!\w-)" if text[:1].isalnum() else ""
    before += r"(?<!\d[.,/:])" if text[:1].isdigit() else ""
    after = r"(?!\w|-\w)" if text[-1:].isalnum() else ""
    after += r"(?![.,/:]\d)" if text[-1:].isdigit() else ""
    return re.compile(f"{before}{_words(text)}{after}", re.IGNORECASE if any_case else 0)


def _longest_first(edits: Iterator[_Edit]) -> list[_Edit]:
    """Those that do not overlap, in the order of the text; of two that do, the longer, else the one found first."""
    taken: list[_Edit] = []
    for edit in sorted(edits, key=lambda each: each.start - each.end):
        place = bisect.bisect(taken, edit.start, key=lambda each: each.start)
        is_free_before = place == 0 or taken[place - 1].end <= edit.start
        is_free_after = place == len(taken) or edit.end <= taken[place].start
        if is_free_before and is_free_after:
            taken.insert(place, edit)
    return taken


# --- how it reads ----------------------------------------------------------------------------------------------------


def _cased_like(found: str, before: str, after: str) -> str:
    """The new value in the letter case in which the old one was found: as labelled, in capitals, as a head."""
    if " ".join(found.split()) == " ".join(before.split()):
        return after
    if found.isupper() and not before.isupper():
        return after.upper()
    if before.isupper() and not found.isupper():
        return _titled(after) if found[:1].isupper() else after.lower()
    if found[:1].isupper() and before[:1].islower():
        return after[:1].upper() + after[1:]
    if found[:1].islower() and before[:1].isupper() and after[1:2].islower():
        return after[:1].lower() + after[1:]
    return after


def _titled(capitals: str) -> str:
    """Capitals as a name is written: ``ACME OF OHIO, LLC`` as ``Acme of Ohio, LLC``."""

    def word(found: re.Match[str]) -> str:
        if found.group().casefold() in _ABBREVIATED:
            return found.group()
        is_small = found.start() > 0 and found.group().casefold() in _SMALL_WORDS
        return found.group().lower() if is_small else found.group().capitalize()

    return re.sub(r"\w[\w’']*", word, capitals)


_ABBREVIATED = {"llc", "llp", "lp", "plc", "na", "sa", "bv", "ag", "usa", "ii", "iii", "iv"}
_SMALL_WORDS = {"of", "and", "the", "for", "in", "at", "on", "by", "to", "day", "a", "an", "th", "st", "nd", "rd"}


def _broken_like(old: str, new: str) -> str:
    """The new value with the line breaks and wide blanks of the old one at about the same places."""
    if re.search(r"\s\s|[^\S ]", new):
        return new  # a date is spelled with the line break already
    breaks = [(found.start() / len(old), found.group()) for found in re.finditer(r"\s+", old) if found.group() != " "]
    for share, blank in breaks:
        blanks = [found.start() for found in re.finditer(r"(?<=\S) (?=\S)", new)]
        if blanks:
            place = min(blanks, key=lambda each: abs(each - share * len(new)))
            new = new[:place] + blank + new[place + 1 :]
    return new


_AN = re.compile(r"(?i)(?:[aeio]|u(?!ni|se|sa|k\b|ti)|8|1[18](?!\d)|hour|honou?r|heir)(?!ne\b|nce\b|u[^gt])")
_ARTICLE = re.compile(r"\b(a|an)(\s+)$", re.IGNORECASE)


def _with_article(before: str, old: str, new: str) -> str:
    """The text before a value with "a" or "an" as the new value wants it, where it was right for the old one."""
    found = _ARTICLE.search(before)
    if not found:
        return before
    was, wanted = (_AN.match(old) is not None), (_AN.match(new) is not None)
    if was == wanted or (found[1].casefold() == "an") != was:
        return before
    article = "an" if wanted else "a"
    article = article.upper() if len(found[1]) > 1 and found[1].isupper() else article
    return before[: found.start()] + (article.capitalize() if found[1] in ("A", "An") else article) + found[2]
