"""The characters of a printed line as they are meant: ligatures apart, odd blanks and hyphens plain, no controls."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from finreg_cli.documents.lines import LINE_HYPHEN, LOST_BLANK, Line

LEADER = "\u2026"
"""Stands for the dots that lead to a page number in a table of contents."""

_CHARACTERS = {
    "\u00a0": " ",
    "\u2002": " ",
    "\u2003": " ",
    "\u2007": " ",
    "\u2009": " ",
    "\u202f": " ",
    "\u200b": "",
    "\ufeff": "",
    "\u2010": "-",
    "\u2011": "-",
    "\u0002": LINE_HYPHEN,
    "\ufb00": "ff",
    "\ufb01": "fi",
    "\ufb02": "fl",
    "\ufb03": "ffi",
    "\ufb04": "ffl",
    # Bullets of Symbol and Wingdings, which have no code point of their own.
    "\uf0b7": "\u2022",
    "\uf0a7": "\u25aa",
    "\uf0d8": "\u25aa",
    "\uf02d": "\u2013",
}
_TRANSLATION = str.maketrans(_CHARACTERS)
_SOFT_HYPHEN = "\u00ad"
_UNCLEAN = re.compile(rf"[\x00-\x1f\x7f{_SOFT_HYPHEN}{''.join(_CHARACTERS)}]|  |\.{{4}}|\. \. \.|\u2026\u2026")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LEADERS = re.compile(r"\s*(?:\.{4,}|(?:\. ){3,}\.?|\u2026{2,}\.*)\s*(?=(\d*))")


def clean(line: Line) -> Line:
    """The line with clean text and cells; the line itself where nothing is to be done, as is usual."""
    text = line.text
    if line.gaps:
        text = _with_lost_blanks_marked(text, line.gaps)
    text = clean_text(text)
    if line.cells:
        cells = tuple(replace(cell, text=clean_text(cell.text)) for cell in line.cells)
        return line.with_text(text, cells)
    return line if text == line.text else line.with_text(text)


def clean_text(text: str) -> str:
    text = text.strip(" ")
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    if not _UNCLEAN.search(text):
        return text
    text = text.translate(_TRANSLATION)
    # A soft hyphen is one only at a line's end; within a line it is a possible break that was not taken.
    text = re.sub(rf"{_SOFT_HYPHEN}(?=\s*$)", LINE_HYPHEN, text).replace(_SOFT_HYPHEN, "")
    # Only those that lead to a page number; others are blanks to be filled in, or nothing at all.
    text = _LEADERS.sub(lambda found: f" {LEADER} " if found.group(1) else " ", text)
    return " ".join(_CONTROL.sub("", text).split())


def _with_lost_blanks_marked(text: str, gaps: Iterable[int]) -> str:
    for offset in sorted(gaps, reverse=True):
        text = text[:offset] + LOST_BLANK + text[offset:]
    return text
