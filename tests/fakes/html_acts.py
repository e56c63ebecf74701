"""The sample regulations as HTML and plain text, in the makes of the Official Journal, from their PDFs' source."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "data" / "regulations" / "source"


@dataclass(frozen=True)
class Act:
    """A source file of `data/regulations/make_samples.py`: its header, its blocks, and its footnotes by number."""

    number: str
    date: str
    subject: str
    blocks: list[str]
    notes: dict[str, str]


def act(name: str) -> Act:
    head, _, body = (SOURCES / f"{name}.md").read_text(encoding="utf-8").partition("\n\n")
    header = dict(line.split(": ", 1) for line in head.splitlines())
    blocks = re.split(r"\n{2,}", body.strip())
    notes = dict(match.groups() for each in blocks if (match := re.fullmatch(r"\[\^(\d+)\]: (.+)", each)))
    return Act(
        header["number"],
        header["date"],
        f"{header['subject']} (SAMPLE, NOT LAW)",
        [each for each in blocks if not each.startswith("[^")],
        notes,
    )


def present(source: Act) -> str:
    """The present make of the Official Journal: XHTML with the classes ``oj-``."""
    return _journal(source, "oj-")


def previous(source: Act) -> str:
    """The make before: the same classes without ``oj-``."""
    return _journal(source, "").replace("oj-note-tag", "note-tag")


def _journal(source: Act, oj: str) -> str:
    def inline(text: str) -> str:
        text = re.sub(r"\^([^^\[\]]+)\^", rf'<span class="{oj}super">\1</span>', html.escape(text, quote=False))
        return re.sub(
            r"\[\^(\d+)\]",
            rf'<a id="ntc\1-S" href="#ntr\1-S">(<span class="{oj}super oj-note-tag">\1</span>)</a>',
            text,
        )

    def point(mark: str, text: str) -> str:
        cells = "".join(f'<td valign="top"><p class="{oj}normal">{each}</p></td>' for each in (mark, inline(text)))
        return (
            '<table width="100%" border="0" cellspacing="0" cellpadding="0"><col width="4%"/><col width="96%"/>'
            f"<tbody><tr>{cells}</tr></tbody></table>"
        )

    def row(cells: list[str], first: bool) -> str:
        kind = "hdr" if first else "txt"
        return "<tr>" + "".join(f'<td><p class="{oj}tbl-{kind}">{inline(each)}</p></td>' for each in cells) + "</tr>"

    make = _Make(
        title=lambda text: f'<p class="{oj}doc-ti">{inline(text)}</p>',
        group=lambda head, title: (
            f'<p class="{oj}ti-section-1"><span class="{oj}italic">{head}</span></p>'
            f'<div class="eli-title"><p class="{oj}ti-section-2"><span class="{oj}bold">{inline(title)}</span></p>'
            "</div>"
        ),
        article=lambda head, title: (
            f'<p class="{oj}ti-art">{head}</p><div class="eli-title"><p class="{oj}sti-art">{inline(title)}</p></div>'
        ),
        annex=lambda head, title: (
            f'<p class="{oj}doc-ti">{head}</p>'
            f'<p class="{oj}ti-grseq-1"><span class="{oj}bold">{inline(title)}</span></p>'
        ),
        numbered=lambda mark, text: f'<p class="{oj}normal">{mark}&#160;&#160;&#160;{inline(text)}</p>',
        point=point,
        text=lambda text: f'<p class="{oj}normal">{inline(text)}</p>',
        rows=lambda rows: (
            f'<table class="{oj}table" border="1"><tbody>'
            + "".join(row(cells, index == 0) for index, cells in enumerate(rows))
            + "</tbody></table>"
        ),
        note=lambda number, text: (
            f'<p class="{oj}note"><a id="ntr{number}-S" href="#ntc{number}-S">'
            f'(<span class="{oj}super oj-note-tag">{number}</span>)</a>&#160;&#160;{inline(text)}</p>'
        ),
    )
    banner = (
        f'<table width="100%" border="0"><tr><td><p class="{oj}hd-date">12.3.2099</p></td><td><p class="{oj}hd-ti">'
        f'Sample Journal</p></td><td><p class="{oj}hd-oj">S 1/1</p></td></tr></table><hr class="{oj}separator"/>'
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x.dtd">'
        '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>S_1</title><script src="x.js"/></head><body>'
        f'<div class="eli-container">{banner}' + "".join(make.lines(source)) + "</div></body></html>"
    )


def consolidated(source: Act) -> str:
    """The make of consolidated texts, with the marks of amendments and a navigation around."""

    def inline(text: str) -> str:
        text = re.sub(r"\^([^^\[\]]+)\^", r'<span class="superscript">\1</span>', html.escape(text, quote=False))
        return re.sub(
            r"\[\^(\d+)\]", r'(<a href="#E000\1" id="src.E000\1"><span class="superscript">\1</span></a>)', text
        )

    make = _Make(
        title=lambda text: f'<p class="title-doc-first">{inline(text)}</p>',
        group=lambda head, title: (
            f'<p class="title-division-1">{head}</p><div class="eli-title"><p class="title-division-2">{inline(title)}'
            "</p></div>"
        ),
        article=lambda head, title: (
            f'<p class="modref">▼M8</p><p class="title-article-norm">{head}</p><div class="eli-title">'
            f'<p class="stitle-article-norm">{inline(title)}</p></div>'
        ),
        annex=lambda head, title: f'<p class="title-annex-1">{head}</p><p class="title-annex-2">{inline(title)}</p>',
        numbered=lambda mark, text: (
            f'<div class="norm"><span class="no-parag">{mark}&#160;&#160;</span>'
            f'<div class="norm inline-element">►M8 {inline(text)} ◄</div></div>'
        ),
        point=lambda mark, text: (
            f'<div class="grid-container grid-list"><div class="list grid-list-column-1"><span>{mark}&#160;</span>'
            "</div>"
            f'<div class="grid-list-column-2"><p class="norm">{inline(text)}</p></div></div>'
        ),
        text=lambda text: f'<p class="norm">{inline(text)}</p>',
        rows=lambda rows: (
            '<table class="borderOj">'
            + "".join("<tr>" + "".join(f"<td><p>{inline(each)}</p></td>" for each in cells) + "</tr>" for cells in rows)
            + "</table>"
        ),
        note=lambda number, text: (
            f'<p class="note"><a href="#src.E000{number}" id="E000{number}">(<span class="superscript">{number}</span>)'
            f"</a> {inline(text)}</p>"
        ),
    )
    return (
        '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body><nav><ul><li>Menu</li></ul></nav>'
        '<div id="document1"><p class="disclaimer">This text is meant purely as a documentation tool.</p>'
        f"{''.join(make.lines(source))}</div><footer>About</footer></body></html>"
    )


def bare(source: Act) -> str:
    """The oldest make: nothing but paragraphs."""

    def paragraph(text: str) -> str:
        text = re.sub(r"\^([^^\[\]]+)\^", r"^\1", re.sub(r"\[\^(\d+)\]", r"(\1)", text))
        return f"<p>{html.escape(text, quote=False)}</p>\n"

    make = _Make(
        title=paragraph,
        group=lambda head, title: paragraph(head) + paragraph(title),
        article=lambda head, title: paragraph(head) + paragraph(title),
        annex=lambda head, title: paragraph(head) + paragraph(title),
        numbered=lambda mark, text: paragraph(f"{mark} {text}"),
        point=lambda mark, text: paragraph(f"{mark} {text}"),
        text=paragraph,
        rows=lambda rows: "".join(paragraph(" ".join(cells)) for cells in rows),
        note=lambda number, text: "",
    )
    text = "".join(make.lines(source))
    return f'<html><body><div id="TexteOnly"><TXT_TE>{text}</TXT_TE></div></body></html>'


def plain(source: Act, width: int = 78) -> str:
    """Plain text, wrapped, with blank lines between the paragraphs."""
    import textwrap

    def paragraph(text: str) -> str:
        text = re.sub(r"\^([^^\[\]]+)\^", r"^\1", text)
        return textwrap.fill(text, width, break_on_hyphens=False) + "\n\n"

    make = _Make(
        title=paragraph,
        group=lambda head, title: paragraph(head) + paragraph(title),
        article=lambda head, title: paragraph(head) + paragraph(title),
        annex=lambda head, title: paragraph(head) + paragraph(title),
        numbered=lambda mark, text: paragraph(f"{mark} {text}"),
        point=lambda mark, text: paragraph(f"{mark} {text}"),
        text=paragraph,
        rows=lambda rows: "".join("| " + " | ".join(cells) + " |\n" for cells in rows),
        note=lambda number, text: f"[^{number}]: {text}\n\n",
    )
    return "".join(make.lines(source))


@dataclass(frozen=True)
class _Make:
    """How each kind of block is written."""

    title: Callable[[str], str]
    group: Callable[[str, str], str]
    article: Callable[[str, str], str]
    annex: Callable[[str, str], str]
    numbered: Callable[[str, str], str]
    point: Callable[[str, str], str]
    text: Callable[[str], str]
    rows: Callable[[list[list[str]]], str]
    note: Callable[[str, str], str]

    def lines(self, source: Act) -> Iterator[str]:
        for title in (source.number, source.date, source.subject):
            yield self.title(title)
        for block in source.blocks:
            yield self._block(block)
        for number, text in source.notes.items():
            yield self.note(number, text)

    def _block(self, block: str) -> str:
        mark, _, rest = block.partition(" ")
        head, _, title = rest.partition(" | ")
        if mark == "@":
            return self.article(head, title)
        if mark == "+":
            return self.annex(head, title)
        if set(mark) == {"#"}:
            return self.group(head, title)
        if mark == ">":
            return self.text(rest)
        if mark == "|":
            return self.rows([[cell.strip() for cell in row.strip("|").split("|")] for row in block.splitlines()])
        if re.fullmatch(r"\d+\.", mark):
            return self.numbered(mark, rest)
        if re.fullmatch(r"\(\w+\)", mark):
            return self.point(mark, rest)
        return self.text(block)
