"""Chunks: pieces of one legal unit that hold at most so many tokens, counted exactly.

The text of a chunk is the document's own, from ``char_start`` to ``char_end``, line breaks and all. An article's first
chunk begins with the article's head and title, so that a search for either finds it; headings above the article
(Part, Title, Chapter) stand in ``heading_path`` only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from finreg_cli.domain.identity import chunk_id, document_id
from finreg_cli.domain.legal_structure import Document, Paragraph, Unit
from finreg_cli.domain.records import Chunk

CountTokens = Callable[[Sequence[str]], list[int]]
"""The number of tokens of each text, without special ones."""

# How good it is to end a chunk before a piece, best last.
_NEVER, _WORD, _SENTENCE, _SUBPOINT, _POINT, _TEXT, _NUMBERED = range(7)
_BREAK_BEFORE = {
    "head": _NEVER,
    "footnote": _SENTENCE,
    "table": _SENTENCE,
    "point": _SUBPOINT,
    "text": _TEXT,
    "numbered": _NUMBERED,
}
_OUTER_POINT = re.compile(r"\(\d+[a-z]?\) ")  # definitions and recitals; (a) and (i) stand within them
_FULL_ENOUGH = 0.5  # of the limit: a chunk may end this early for the sake of a better break

_SENTENCE_END = re.compile(
    r"(?<=[.;:?!])(?<!\bNo\.)(?<!\bArt\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bp\.)\s+(?=[\"'\u2018\u201c(A-Z\u2014])"
)
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+)?(?:the\s+|your\s+)?(?:previous|prior|above|earlier)\s+"
    r"(?:instructions?|prompts?|rules)|\byou are (?:now )?(?:a|an) (?:AI|assistant|language model)|\bsystem prompt\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sentence or a part of one: the smallest thing that is packed. ``tokens`` is its count alone."""

    start: int
    end: int
    break_before: int
    paragraph: Paragraph
    tokens: int


def chunk_document(
    document: Document, path: str, file_sha256: str, count_tokens: CountTokens, limit: int, overlap: int
) -> Iterator[Chunk]:
    """Packs each unit into chunks of at most ``limit`` tokens, never across two units.

    A chunk ends before a numbered paragraph if one begins in its second half, else before a subparagraph, a point, a
    sentence; within a sentence only where one alone exceeds the limit; never behind a heading. Where a unit is cut
    inside a numbered paragraph, whole sentences of at most ``overlap`` tokens are repeated in the next chunk; a cut
    between two numbered paragraphs repeats nothing, so that each chunk can be cited down to the paragraph.
    """
    identity = document.identity
    document_key = document_id(identity.work_id, identity.version_date, file_sha256)
    seen: Counter[tuple[str, str]] = Counter()
    for unit in document.units:
        pieces = list(_pieces(document.text, unit, count_tokens, limit))
        for first, last in _pack(document.text, pieces, count_tokens, limit, overlap):
            span = pieces[first:last]
            text = document.text[span[0].start : span[-1].end]
            citation = _citation(identity.short_name, identity.title, unit, span)
            nth = seen[citation, text]
            seen[citation, text] += 1
            yield Chunk(
                chunk_id=chunk_id(identity.work_id, citation, text, nth),
                document_id=document_key,
                work_id=identity.work_id,
                version_date=identity.version_date,
                path=path,
                file_sha256=file_sha256,
                title=identity.title,
                citation=citation,
                heading_path=list(unit.heading_path),
                structure=unit.structure,
                references=[],
                page_start=span[0].paragraph.page_start,
                page_end=span[-1].paragraph.page_end,
                char_start=span[0].start,
                char_end=span[-1].end,
                has_formula=any(piece.paragraph.formula for piece in span),
                suspect_instruction=bool(_INSTRUCTION.search(text)),
                text=text,
                token_count=count_tokens([text])[0],
            )


def _citation(short_name: str, title: str, unit: Unit, span: Sequence[_Piece]) -> str:
    if unit.label is None:
        first, last = span[0].paragraph.page_start, span[-1].paragraph.page_end
        return f"{short_name} page {first}" if first == last else f"{short_name} pages {first}-{last}"
    numbers = {piece.paragraph.number for piece in span if piece.paragraph.role != "head"}
    if unit.label.startswith("Article") and len(numbers) == 1 and (number := numbers.pop()):
        return f"{short_name} {unit.label}({number})"
    return f"{short_name} {unit.label}"


def _pieces(text: str, unit: Unit, count_tokens: CountTokens, limit: int) -> Iterator[_Piece]:
    spans: list[tuple[int, int, int, Paragraph]] = []
    head_before = False
    after_colon = False
    for paragraph in unit.paragraphs:
        level = _NEVER if head_before else _BREAK_BEFORE[paragraph.role]
        if level == _SUBPOINT and _OUTER_POINT.match(text, paragraph.start):
            level = _POINT
        if after_colon and level in (_SUBPOINT, _POINT, _TEXT):
            level = _SENTENCE  # a list stays with the words that open it, where it can
        for start, end in _sentences(text, paragraph):
            spans.append((start, end, level, paragraph))
            level = _SENTENCE
        head_before = paragraph.role == "head"
        after_colon = text[paragraph.start : paragraph.end].endswith(":")
    counts = count_tokens([text[start:end] for start, end, _, _ in spans])
    for (start, end, level, paragraph), tokens in zip(spans, counts, strict=True):
        if tokens <= limit:
            yield _Piece(start, end, level, paragraph, tokens)
        else:
            yield from _split_by_words(text, start, end, level, paragraph, count_tokens, limit)


def _sentences(text: str, paragraph: Paragraph) -> Iterator[tuple[int, int]]:
    start = paragraph.start
    for gap in _SENTENCE_END.finditer(text, paragraph.start, paragraph.end):
        # "1. Institutions shall": the number is no sentence.
        if gap.start() - start > 6:
            yield start, gap.start()
            start = gap.end()
    yield start, paragraph.end


def _split_by_words(
    text: str, start: int, end: int, level: int, paragraph: Paragraph, count_tokens: CountTokens, limit: int
) -> Iterator[_Piece]:
    """Cuts a sentence that alone exceeds the limit at blanks; a word that does is cut between characters."""
    while start < end:
        ends = [match.start() for match in re.finditer(r"\s", text[start:end])] + [end - start]
        cut = _longest_within(text, start, ends, count_tokens, limit)
        if cut == 0:
            cut = max(1, _longest_within(text, start, range(1, ends[0] + 1), count_tokens, limit))
        yield _Piece(start, start + cut, level, paragraph, count_tokens([text[start : start + cut]])[0])
        level = _WORD
        start += cut
        while start < end and text[start].isspace():
            start += 1


def _longest_within(text: str, start: int, ends: Sequence[int], count_tokens: CountTokens, limit: int) -> int:
    """The largest of the rising ``ends`` with which ``text[start:]`` stays within the limit; 0 where none does."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        if count_tokens([text[start : start + ends[middle]]])[0] <= limit:
            low = middle + 1
        else:
            high = middle
    return ends[low - 1] if low else 0


def _pack(
    text: str, pieces: Sequence[_Piece], count_tokens: CountTokens, limit: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Ranges ``[first, last)`` of pieces, each within the limit by an exact count of its very text."""
    first = fresh = 0  # pieces before `fresh` are repeated from the chunk before
    while fresh < len(pieces):
        last = _furthest(text, pieces, first, fresh, count_tokens, limit)
        if last <= fresh:
            first, last = fresh, max(_furthest(text, pieces, fresh, fresh, count_tokens, limit), fresh + 1)
        if last < len(pieces):
            last = _best_break(pieces, first, fresh, last, limit)
        yield first, last
        if last == len(pieces):
            return
        first, fresh = _overlap_start(pieces, fresh, last, overlap), last


def _furthest(
    text: str, pieces: Sequence[_Piece], first: int, fresh: int, count_tokens: CountTokens, limit: int
) -> int:
    """How far a chunk from ``first`` can reach. Sums choose the end; the exact count has the last word."""
    total, last = 0, first
    while last < len(pieces) and total + pieces[last].tokens <= limit:
        total += pieces[last].tokens
        last += 1
    while last > fresh and count_tokens([text[pieces[first].start : pieces[last - 1].end]])[0] > limit:
        last -= 1
    return last


def _best_break(pieces: Sequence[_Piece], first: int, fresh: int, last: int, limit: int) -> int:
    best, best_level = last, _NEVER
    total = sum(piece.tokens for piece in pieces[first:last])
    for cut in range(last, fresh, -1):
        if cut < last:
            total -= pieces[cut].tokens
        if total < _FULL_ENOUGH * limit and best_level > _NEVER:
            break
        if pieces[cut].break_before > best_level:
            best, best_level = cut, pieces[cut].break_before
    return best


def _overlap_start(pieces: Sequence[_Piece], first: int, last: int, overlap: int) -> int:
    if pieces[last].break_before == _NUMBERED:
        return last
    start, total = last, 0
    while start - 1 > first and total + pieces[start - 1].tokens <= overlap:
        start -= 1
        total += pieces[start].tokens
    return start
