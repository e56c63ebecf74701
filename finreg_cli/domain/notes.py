"""Footnotes and tables in the text of a chunk: which lines they are, and where a mark stands in the running text.

A footnote is a line of its own that begins with its mark, ``^3 See ...`` or ``(^1) OJ L 50``; a row of a table is one
that begins with a bar. In the text a mark looks like an exponent: ``risk^3``. It is one for certain where it stands in
brackets, or where a footnote of the same chunk has it.
"""

from __future__ import annotations

import re

_NOTE_LINE = re.compile(r"(?:\^(?P<bare>\d{1,3}|\*{1,3})|\(\^(?P<bracketed>[\w*]{1,3})\))(?:\s|$)")
_BRACKETED_MARK = re.compile(r" ?\(\^[\w*]{1,3}\)")
_PROBABLE_MARK = re.compile(r"\(\^|(?:[^\W\d_]{2}|[.,;:)'\u2019\u201d%])\^[\d*]")
TABLE_ROW = "|"
"""What a row of a table begins with."""


def without_notes(text: str) -> str:
    """The text without its footnotes and their marks; exponents stay."""
    if "^" not in text:
        return text
    lines, marks = [], set()
    for line in text.split("\n"):
        note = _NOTE_LINE.match(line)
        if note is None:
            lines.append(line)
        elif note["bare"]:
            marks.add(note["bare"])
    running = _BRACKETED_MARK.sub("", "\n".join(lines))
    for mark in marks:
        # Behind a figure it may be a power: "10^3".
        running = re.sub(rf"(?<=[^\d\s^])\^{re.escape(mark)}(?![\w^])", "", running)
    return running


def has_mark(text: str) -> bool:
    """Whether a text holds what is probably the mark of a footnote; "10^-6", "m^2" and "x^2" are none."""
    return "^" in text and _PROBABLE_MARK.search(text) is not None
