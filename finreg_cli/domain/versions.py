"""Versions of a work: which one is in force, and what changed between two of them, unit by unit and word by word.

A unit is an article, a recital, an annex, a section: what no chunk crosses. Its text is put together again from its
chunks, so that two versions can be compared from the table alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import LCSseq

from finreg_cli.domain.legal_structure import split_unit
from finreg_cli.domain.records import Chunk

Change = Literal["added", "changed", "removed", "renumbered"]
CHANGES: tuple[Change, ...] = ("added", "changed", "removed", "renumbered")


# --- which version is in force? --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """A document as the chunk table holds it: one version of a work. ``chunks`` counts its rows."""

    work_id: str
    version_date: str | None
    path: str
    document_id: str
    file_sha256: str
    chunks: int = 0

    @property
    def rank(self) -> tuple[str, str]:
        """Rises from the oldest version of a work to the newest: a date goes before none, then the path decides."""
        return self.version_date or "", self.path

    @property
    def dated(self) -> str:
        return self.version_date or "no date"


def in_force(versions: Iterable[Version]) -> dict[str, Version]:
    """work_id -> its newest version."""
    newest: dict[str, Version] = {}
    for version in sorted(versions, key=lambda each: each.rank):
        newest[version.work_id] = version
    return newest


def superseded(versions: Iterable[Version]) -> dict[Version, Version]:
    """Each version that is not in force -> the one that is, oldest first."""
    known = sorted(versions, key=lambda each: (each.work_id, each.rank))
    newest = in_force(known)
    return {each: newest[each.work_id] for each in known if each != newest[each.work_id]}


# --- units -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """A unit of one version: ``label`` is what tells it from the others (``Article 92``), ``text`` is normalised."""

    label: str
    title: str
    citation: str
    text: str
    chunk_ids: tuple[str, ...]

    @property
    def body(self) -> str:
        """The text without the number and title that head it."""
        unnumbered = _MARK.sub("", self.text.removeprefix(self.label).strip())
        return unnumbered.removeprefix(self.title).strip()

    @property
    def is_repealed(self) -> bool:
        """Whether nothing stands under its number but the note that it is gone."""
        return bool(_REPEALED.fullmatch(self.body or self.title))

    @property
    def key(self) -> str:
        """Equal for two prints of the same words."""
        return _key(self.text)

    @property
    def body_key(self) -> str:
        """Equal for the same words under another number."""
        return _key(f"{self.title} {self.body}")


_MARK = re.compile(r"^(?:\(\d+[a-z]?\)|\d+(?:\.\d+)*\.?)\s+")
_REPEALED = re.compile(r"[\[(]?\s*(?:deleted|repealed|omitted)\s*[\])]?\.?|[\u2014\u2013_.\s-]{3,}", re.IGNORECASE)
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00ad": None, "^": None})
# A hyphen at a line's end may have been resolved otherwise; one before a figure may be a sign.
_LAYOUT = re.compile(r"(?<=[^\W\d_])[-\u2010\u2011](?=[^\W\d_])|\s")


def normalised(text: str) -> str:
    """The words without their layout: blanks collapsed, quotes straight, no soft hyphens, no carets."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_QUOTES).split())


def _key(text: str) -> str:
    return _LAYOUT.sub("", text)


def units(chunks: Iterable[Chunk]) -> list[Unit]:
    """The units of one document, in reading order, each with its whole text.

    Args:
        chunks: of one document, in any order.
    """
    by_label: dict[str, list[Chunk]] = {}
    for chunk in sorted(chunks, key=lambda each: (each.char_start, each.char_end)):
        by_label.setdefault(_label(chunk), []).append(chunk)
    return [_unit(label, of_unit) for label, of_unit in by_label.items()]


def _label(chunk: Chunk) -> str:
    """As `split_unit` has it; under a table of contents each heading, not only the top one, is a unit."""
    if chunk.structure != "article" and chunk.heading_path:
        return " / ".join(chunk.heading_path)
    return split_unit(chunk)


def _unit(label: str, chunks: Sequence[Chunk]) -> Unit:
    heading = chunks[0].heading_path[-1] if chunks[0].heading_path else ""
    head, found, _ = chunks[0].citation.partition(label)
    return Unit(
        label=label,
        title=normalised(heading.removeprefix(label)),
        citation=head + found if found else chunks[0].citation,
        text=normalised(_joined(chunks)),
        chunk_ids=tuple(chunk.chunk_id for chunk in chunks),
    )


def _joined(chunks: Sequence[Chunk]) -> str:
    """The text that the chunks were cut from; what one repeats of the one before is left out by the offsets."""
    text, end = "", chunks[0].char_start
    for chunk in chunks:
        if chunk.char_end > end:
            gap = "\n" if text and chunk.char_start >= end else ""
            text += gap + chunk.text[max(0, end - chunk.char_start) :]
            end = chunk.char_end
    return text


def is_repealed(chunk: Chunk) -> bool:
    """Whether a chunk is a whole unit that says no more than that it is gone."""
    return _unit(_label(chunk), [chunk]).is_repealed


# --- what changed ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """A run of words: ``old`` and ``new`` are the same where ``op`` is equal, one is empty where it is not replace."""

    op: Literal["equal", "insert", "delete", "replace"]
    old: str
    new: str


@dataclass(frozen=True)
class UnitChange:
    """One unit that is not as it was: ``old`` is None where it was added, ``new`` where it was removed.

    A unit of which the new version prints only that it was deleted counts as removed, and has both.
    """

    change: Change
    old: Unit | None
    new: Unit | None

    @property
    def unit(self) -> Unit:
        """The one that stands now, or stood last."""
        found = self.old if self.change == "removed" else self.new
        assert found is not None  # a change has at least one side
        return found

    def words(self) -> list[Edit]:
        """The new text against the old one; empty but for a changed unit."""
        if self.change != "changed" or self.old is None or self.new is None:
            return []
        return word_edits(self.old.text, self.new.text)


@dataclass(frozen=True)
class Comparison:
    """What lies between two versions, in reading order, and how many units are as they were."""

    changes: list[UnitChange]
    unchanged: int

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {change: sum(each.change == change for each in self.changes) for change in CHANGES}
        return found | {"unchanged": self.unchanged}


def compare(old: Sequence[Unit], new: Sequence[Unit]) -> Comparison:
    """Pairs the units of two versions: first by number and words, then by words alone, then by number alone.

    So an article that moved up by one when another was put before it is renumbered, and not changed.
    """
    before = {unit.label: unit for unit in old if not unit.is_repealed}
    after = {unit.label: unit for unit in new if not unit.is_repealed}
    same = {label for label, unit in after.items() if label in before and before[label].key == unit.key}
    moved = _moved(before, after, same)
    changes: list[tuple[float, UnitChange]] = []
    places = {unit.label: place for place, unit in enumerate(new)}
    for label, unit in after.items():
        if label in moved:
            changes.append((places[label], UnitChange("renumbered", before[moved[label]], unit)))
        elif label not in same:
            changed = label in before and label not in moved.values()
            kind: Change = "changed" if changed else "added"
            changes.append((places[label], UnitChange(kind, before[label] if changed else None, unit)))
    accounted = same | set(moved.values()) | {each.old.label for _, each in changes if each.old}
    notes = {unit.label: unit for unit in new if unit.is_repealed}
    place = -1  # of the last unit before it that still has its number
    for unit in old:
        place = places.get(unit.label, place)
        if unit.label in before and unit.label not in accounted:
            changes.append((place + 0.5, UnitChange("removed", unit, notes.get(unit.label))))
    changes.sort(key=lambda each: each[0])
    return Comparison([change for _, change in changes], len(same))


def _moved(before: dict[str, Unit], after: dict[str, Unit], same: set[str]) -> dict[str, str]:
    """New label -> old label, of units with the same words under another number."""
    free: dict[str, list[str]] = {}
    for label, unit in before.items():
        if label not in same:
            free.setdefault(unit.body_key, []).append(label)
    moved = {}
    for label, unit in after.items():
        candidates = free.get(unit.body_key) if label not in same else None
        if candidates and label not in candidates:
            moved[label] = candidates.pop(0)
    return moved


def word_edits(old: str, new: str) -> list[Edit]:
    """The runs of words that lead from one normalised text to the other.

    A single word that two edits have between them is taken into them: ``shall [-not-] be`` reads better than the
    fewest edits do.
    """
    before, after = old.split(), new.split()
    edits: list[Edit] = []
    codes = list(LCSseq.opcodes(before, after))
    pending: tuple[int, int, int, int] | None = None
    for position, code in enumerate(codes):
        span = code.src_start, code.src_end, code.dest_start, code.dest_end
        lonely = 0 < position < len(codes) - 1 and code.src_end - code.src_start <= _LONELY
        if code.tag != "equal" or lonely:
            pending = (pending[0], span[1], pending[2], span[3]) if pending else span
            continue
        if pending:
            edits.append(_edit(before, after, pending))
        pending = None
        edits.append(Edit("equal", " ".join(before[span[0] : span[1]]), " ".join(after[span[2] : span[3]])))
    if pending:
        edits.append(_edit(before, after, pending))
    return edits


_LONELY = 1  # words


def _edit(before: list[str], after: list[str], span: tuple[int, int, int, int]) -> Edit:
    old, new = " ".join(before[span[0] : span[1]]), " ".join(after[span[2] : span[3]])
    return Edit("replace" if old and new else "delete" if old else "insert", old, new)
