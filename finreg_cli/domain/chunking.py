"""Chunks: pieces of one unit that hold at most so many tokens, counted exactly.

The text of a chunk is the document's own, from ``char_start`` to ``char_end``, line breaks and all. An article's first
chunk begins with the article's head and title, so that a search for either finds it; headings above the article
(Part, Title, Chapter) stand in ``heading_path`` only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from finreg_cli.domain.document import Document, Paragraph, Unit
from finreg_cli.domain.identity import chunk_id, document_id
from finreg_cli.domain.instructions import suspect
from finreg_cli.domain.records import Chunk

CountTokens = Callable[[Sequence[str]], list[int]]
"""The number of tokens of each text, without special ones."""

# How good it is to end a chunk before a piece, best last.
_NEVER, _WORD, _FOOTNOTE, _SENTENCE, _SUBPOINT, _POINT, _TEXT, _NUMBERED, _HEAD = range(9)
_FULL_ENOUGH = 0.5  # of the limit: a chunk may end this early for the sake of a better break

_SENTENCE_END = re.compile(
    r"(?<=[.;:?!])(?<!\bNo\.)(?<!\bArt\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bp\.)\s+(?=[\"'\u2018\u201c(A-Z\u2014])"
)
_WORDS = re.compile(r"\s*\S+")
_MARK_LENGTH = 6  # characters: "12a. " begins a sentence and is none


class _Piece(NamedTuple):
    """A sentence or a part of one: the smallest thing that is packed. ``tokens`` is what it adds, by estimate."""

    start: int
    end: int
    break_before: int
    paragraph: Paragraph
    tokens: int


class _Chunk(NamedTuple):
    """Pieces ``[first, last)``, of which those before ``fresh`` are repeated; ``tokens`` is the exact count."""

    first: int
    fresh: int
    last: int
    tokens: int


def chunk_document(
    document: Document, path: str, file_sha256: str, count_tokens: CountTokens, limit: int, overlap: int
) -> Iterator[Chunk]:
    """Packs each unit into chunks of at most ``limit`` tokens, never across two units.

    A chunk ends before a heading or a numbered paragraph if one begins in its second half, else before a subparagraph,
    a point, a sentence; a footnote stays with its sentence where it can, a row of a table is cut only where it alone
    exceeds the limit, as a sentence is; no chunk ends with a heading. Where a unit is cut inside a numbered paragraph,
    whole sentences of at most ``overlap`` tokens are repeated in the next chunk; a cut between two repeats nothing.

    Args:
        document: the text with its units.
        path: what the tables record as its path.
        file_sha256: of its bytes.
        count_tokens: the tokenizer.
        limit: tokens of a chunk.
        overlap: tokens that two chunks of one unit may have in common.

    Raises:
        ValueError: a single character has more tokens than ``limit``.
    """
    identity = document.identity
    document_key = document_id(identity.work_id, identity.version_date, file_sha256)
    packer = _Packer(document.text, _Tokens(count_tokens), limit, overlap)
    seen: Counter[tuple[str, str]] = Counter()
    for unit in document.units:
        for span, fresh, tokens in packer.pack(unit):
            text = document.text[span[0].start : span[-1].end]
            citation = _citation(identity.short_name, unit, fresh)
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
                page_end=max(piece.paragraph.page_end for piece in span),
                char_start=span[0].start,
                char_end=span[-1].end,
                has_formula=any(piece.paragraph.formula for piece in span),
                suspect_instruction=suspect(text),
                text=text,
                token_count=tokens,
            )


# --- Citation --------------------------------------------------------------------------------------------------------


def _citation(short_name: str, unit: Unit, span: Sequence[_Piece]) -> str:
    """The deepest address that all of a chunk's new text has in common."""
    said = [piece.paragraph for piece in span if piece.paragraph.role != "head"] or [span[0].paragraph]
    if unit.label is None:
        first, last = min(each.page_start for each in said), max(each.page_end for each in said)
        label = f"page {first}" if first == last else f"pages {first}-{last}"
    else:
        label = unit.label
    if unit.cited == "points":
        return f"{short_name} {label}{''.join(f'({part})' for part in _common_address(said))}"
    numbers = {each.number for each in said}
    if unit.cited == "paragraph" and len(numbers) == 1 and (number := numbers.pop()):
        # The number says which paragraph of the section: the heading of a part of it need not be cited as well.
        section = _SECTION.match(label)
        return f"{short_name} {section[0] if section else label} paragraph {number}"
    return f"{short_name} {label}"


_SECTION = re.compile(r"section [\d.]+")


def _common_address(paragraphs: Sequence[Paragraph]) -> list[str]:
    """Number of the paragraph, then the points, as far down as all agree."""
    addresses = [([each.number] if each.number else []) + list(each.points) for each in paragraphs]
    common: list[str] = []
    for parts in zip(*addresses, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return common


# --- Tokens ----------------------------------------------------------------------------------------------------------


class _Tokens:
    """Counts tokens: exactly by the tokenizer, or by the sum over the words, each of which is counted once.

    The sum is right for tokenizers that never join two words, and a good guess for others; it chooses where a chunk
    may end, and an exact count decides. It saves counting every sentence, half of the time that splitting takes.
    """

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count = count_tokens
        self._words: dict[str, int] = {}

    def exact(self, text: str) -> int:
        return self._count([text])[0]

    def estimate(self, texts: Sequence[str]) -> list[int]:
        words = [_WORDS.findall(text) for text in texts]
        new = {word for each in words for word in each if word not in self._words}
        if new:
            ordered = sorted(new)
            self._words.update(zip(ordered, self._count(ordered), strict=True))
        known = self._words.__getitem__
        return [sum(map(known, each)) for each in words]


# --- Packing ---------------------------------------------------------------------------------------------------------


class _Packer:
    def __init__(self, text: str, tokens: _Tokens, limit: int, overlap: int) -> None:
        self._text = text
        self._tokens = tokens
        self._limit = limit
        self._overlap = overlap

    def pack(self, unit: Unit) -> Iterator[tuple[list[_Piece], list[_Piece], int]]:
        """The pieces of each chunk, those of them that no chunk before has, and the exact count of its tokens."""
        pieces = self._pieces(unit)
        first = fresh = 0  # pieces before `fresh` are repeated from the chunk before
        while fresh < len(pieces):
            chunk = self._next(pieces, first, fresh)
            yield pieces[chunk.first : chunk.last], pieces[chunk.fresh : chunk.last], chunk.tokens
            first, fresh = self._overlap_start(pieces, chunk), chunk.last

    def _next(self, pieces: list[_Piece], first: int, fresh: int) -> _Chunk:
        """The next chunk; a piece that alone exceeds the limit is replaced by its parts in ``pieces``."""
        while True:
            reach = self._reach(pieces, first)
            while reach > fresh:
                last = reach if reach == len(pieces) else self._best_break(pieces, first, fresh, reach)
                tokens = self._exact(pieces, first, last)
                if tokens <= self._limit and not self._ends_with_head(pieces, last):
                    return _Chunk(first, fresh, last, tokens)
                reach = last - 1
            if first < fresh:
                first = fresh  # rather no overlap than no progress
            else:
                self._cut(pieces, fresh)

    def _ends_with_head(self, pieces: Sequence[_Piece], last: int) -> bool:
        """Whether a chunk that ends before ``last`` would end with a heading, and the next begin with its text."""
        return last < len(pieces) and pieces[last].break_before == _NEVER

    def _exact(self, pieces: Sequence[_Piece], first: int, last: int) -> int:
        return self._tokens.exact(self._text[pieces[first].start : pieces[last - 1].end])

    def _reach(self, pieces: Sequence[_Piece], first: int) -> int:
        """How far a chunk from ``first`` can reach by the estimates."""
        total, last = 0, first
        while last < len(pieces) and total + pieces[last].tokens <= self._limit:
            total += pieces[last].tokens
            last += 1
        return last

    def _best_break(self, pieces: Sequence[_Piece], first: int, fresh: int, reach: int) -> int:
        best, best_level = reach, _NEVER
        total = sum(piece.tokens for piece in pieces[first:reach])
        for cut in range(reach, fresh, -1):
            if cut < reach:
                total -= pieces[cut].tokens
            if total < _FULL_ENOUGH * self._limit and best_level > _NEVER:
                break
            if pieces[cut].break_before > best_level:
                best, best_level = cut, pieces[cut].break_before
        return best

    def _overlap_start(self, pieces: Sequence[_Piece], chunk: _Chunk) -> int:
        last = chunk.last
        if last == len(pieces) or pieces[last].break_before >= _NUMBERED:
            return last
        start, total = last, 0
        # What is repeated begins with new text of the chunk before, and with no heading.
        while start - 1 > chunk.fresh and total + pieces[start - 1].tokens <= self._overlap:
            start -= 1
            total += pieces[start].tokens
            if pieces[start].paragraph.role == "head":
                return start + 1
        return start

    # --- Pieces ---

    def _pieces(self, unit: Unit) -> list[_Piece]:
        spans: list[tuple[int, int, int, Paragraph]] = []
        levels = self._levels(unit.paragraphs)
        for paragraph, level in zip(unit.paragraphs, levels, strict=True):
            inner = _FOOTNOTE if paragraph.role == "footnote" else _SENTENCE
            for start, end in self._sentences(paragraph):
                spans.append((start, end, level, paragraph))
                level = inner
        # The blank or line break before a piece counts to it, so that the sum is what the chunk will have.
        begins = [max(unit.paragraphs[0].start, start - 1) for start, _, _, _ in spans]
        counts = self._tokens.estimate(
            [self._text[begin:end] for begin, (_, end, _, _) in zip(begins, spans, strict=True)]
        )
        return [_Piece(*span, tokens) for span, tokens in zip(spans, counts, strict=True)]

    def _levels(self, paragraphs: Sequence[Paragraph]) -> Iterator[int]:
        """How good it is to end a chunk before each paragraph."""
        heads, rows = True, 0  # whether nothing but heads and their footnotes stands before, and how many table rows
        for index, paragraph in enumerate(paragraphs):
            role = paragraph.role
            if heads and index:
                yield _HEAD if index and role == "head" and paragraphs[index - 1].role != "head" else _NEVER
            elif role == "table" and rows <= 1:
                # Before a table stands its caption; its first row names the columns of those below.
                yield _WORD if rows else _FOOTNOTE
            elif index:
                yield self._level(paragraphs[index - 1], paragraph)
            else:
                yield _NEVER
            heads = role == "head" or (heads and role == "footnote")
            rows = rows + 1 if role == "table" else 0

    def _level(self, before: Paragraph, paragraph: Paragraph) -> int:
        role, depth = paragraph.role, len(paragraph.points)
        by_role = {"head": _HEAD, "numbered": _NUMBERED, "footnote": _FOOTNOTE, "table": _SENTENCE}.get(role)
        if by_role is not None:
            return by_role
        if self._text[before.end - 1] == ":":
            return _SENTENCE  # a list stays with the words that open it, where it can
        if role == "point" and depth:
            return _POINT if depth == 1 else _SUBPOINT
        if role == "point":
            return _SUBPOINT
        return _SENTENCE if depth else _TEXT

    def _sentences(self, paragraph: Paragraph) -> Iterator[tuple[int, int]]:
        start = paragraph.start
        if paragraph.role not in ("table", "head"):
            for gap in _SENTENCE_END.finditer(self._text, paragraph.start, paragraph.end):
                # "1. Institutions shall": the number is no sentence.
                if gap.start() - start > _MARK_LENGTH:
                    yield start, gap.start()
                    start = gap.end()
        yield start, paragraph.end

    def _cut(self, pieces: list[_Piece], first: int) -> None:
        """Replaces a piece at the start of a chunk that cannot be filled otherwise by two.

        That is a sentence (a row, a word) which alone exceeds the limit, or one which does with the heading before it.
        """
        at = first
        while self._ends_with_head(pieces, at + 1) and self._fits(pieces, first, at + 1):
            at += 1
        piece = pieces[at]
        if self._fits(pieces, first, at + 1):
            # The estimate was too high: by itself it keeps the piece out of the chunk.
            room = self._limit - sum(each.tokens for each in pieces[first:at])
            pieces[at] = piece._replace(tokens=min(piece.tokens, room))
            return
        end = self._longest(pieces[first].start, piece)
        if end == piece.start and at > first:
            # A heading that fills a chunk is cut itself, so that the rest of it stays with the text.
            at, piece = at - 1, pieces[at - 1]
            end = self._middle(piece)
        following = end
        while following < piece.end and self._text[following].isspace():
            following += 1
        if not piece.start < end < piece.end:
            raise ValueError(f"a chunk of {self._limit} tokens cannot hold {self._text[piece.start : piece.end]!r}")
        parts = [piece._replace(end=end), piece._replace(start=following, break_before=_WORD)]
        parts = [part for part in parts if part.start < part.end]  # nothing but blanks may be left
        counts = self._tokens.estimate([self._text[part.start : part.end] for part in parts])
        pieces[at : at + 1] = [part._replace(tokens=count) for part, count in zip(parts, counts, strict=True)]

    def _fits(self, pieces: Sequence[_Piece], first: int, last: int) -> bool:
        return self._exact(pieces, first, last) <= self._limit

    def _middle(self, piece: _Piece) -> int:
        middle = (piece.start + piece.end) // 2
        blank = self._text.find(" ", middle, piece.end)
        return middle if blank < 0 else blank

    def _longest(self, begin: int, piece: _Piece) -> int:
        """Where to cut a piece so that the text from ``begin`` stays within the limit; its start where nothing does.

        At a blank, or between two characters of a word that alone has more than half of the tokens.
        """
        blanks = [piece.start + found.start() for found in re.finditer(r"\s", self._text[piece.start : piece.end])]
        cut = self._longest_within(begin, blanks)
        word_end = blanks[0] if blanks else piece.end
        if cut is None and self._tokens.exact(self._text[piece.start : word_end]) > self._limit // 2:
            cut = self._longest_within(begin, range(piece.start + 1, word_end))
        return piece.start if cut is None else cut

    def _longest_within(self, begin: int, ends: Sequence[int]) -> int | None:
        """The largest of the rising ``ends`` up to which the text from ``begin`` is within the limit."""
        low, high = 0, len(ends)
        while low < high:
            middle = (low + high) // 2
            if self._tokens.exact(self._text[begin : ends[middle]]) <= self._limit:
                low = middle + 1
            else:
                high = middle
        return ends[low - 1] if low else None
