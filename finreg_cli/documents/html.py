"""HTML to blocks, in the manner of the print: the Official Journal's own makes, and any other page by its elements.

The Official Journal's HTML comes in several makes, told apart by the classes of their paragraphs: the present one
(``oj-ti-art``), the one before (``ti-art``), consolidated texts (``title-article-norm``), and the oldest, which has
nothing but paragraphs. Points and recitals are tables without borders or grids, whose first column holds the mark.

lxml does the parsing: BSD-licensed, maintained, its tree lives in C and is walked without recursion, and it bounds the
depth of elements and leaves entities alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html.entities import html5

from lxml import etree

from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.html_notes import RawBlock, with_footnotes
from finreg_cli.documents.html_tables import LONE_MARK, data_rows, name_of, whole
from finreg_cli.documents.plain_text import (
    BODY_SIZE,
    HEADING_SIZES,
    check_is_text,
    clean,
    decode,
    table_row,
    with_titles,
)
from finreg_cli.documents.plain_text import (
    blocks as text_blocks,
)
from finreg_cli.domain.legal_structure import POINT, Block, is_head


def blocks(data: bytes) -> list[Block]:
    """The paragraphs of an HTML page in reading order, without its navigation; pages are 1.

    Raises:
        ReadError: ``empty``, ``limit``, ``parse``, ``truncated``, ``bad_encoding`` or ``no_text``.
    """
    text = _decoded(data)
    check_is_text(text, data)
    if not _TAG.search(text):
        raise ReadError("parse", f"is no HTML: begins with {data[:12]!r} and holds no element")
    if text.count("<") > _MOST_TAGS:
        raise ReadError("limit", f"has {text.count('<')} tags, more than the {_MOST_TAGS} that are read of a page")
    root = _root(text)
    walk = _Walk()
    walk.over(_main_part(root))
    found = list(with_titles(with_footnotes(walk.finish())))
    _check_content(found, text)
    return found


# --- Bytes to a tree -------------------------------------------------------------------------------------------------

_MOST_TAGS = 600_000
"""Of the longest consolidated acts four times the number; walked in some seconds."""

_TAG = re.compile(r"<(?:!doctype|[a-z][a-z0-9_:]*)[\s/>]", re.IGNORECASE)
_DECLARED = re.compile(
    rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)|<meta[^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]+)",
    re.IGNORECASE,
)
_DECLARED_WITHIN = 4096  # bytes
_EMBEDDED = re.compile(rb"(?<=[\"'(])data:[\w/+.;=-]{0,100},[A-Za-z0-9+/=%\s]{100,}")
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{0,31});")
_OF_XML = frozenset(("amp", "lt", "gt", "quot", "apos"))
_WINDOWS = frozenset(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "us-ascii", "ascii"))
_CLOSED = ("html", "body", "div", "table", "span", "p", "ul", "ol", "section", "article")


def _decoded(data: bytes) -> str:
    # Consolidated acts carry their formulas as images within, many times as long as their text.
    data = _EMBEDDED.sub(b"data:,", data)
    found = _DECLARED.search(data[:_DECLARED_WITHIN])
    declared = (found.group(1) or found.group(2)).decode("ascii") if found else None
    if declared and declared.lower() in _WINDOWS:
        declared = "cp1252"  # as every browser does
    if declared and declared.lower().startswith("utf-16"):
        declared = None  # a declaration that can be read byte by byte is not in UTF-16
    return decode(data, declared)


def _root(text: str) -> etree._Element:
    """The root of the tree: by the rules of XML where the file says that it is XML, else by those of HTML."""
    if text.lstrip()[:5] == "<?xml" and "<!ENTITY" not in text:
        try:
            return _parsed(_ENTITY.sub(_character, text), etree.XMLParser(**_XML))
        except etree.XMLSyntaxError as error:
            _check_not_cut(text, str(error))
    else:
        _check_not_cut(text)
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = _parsed(text, parser)
    except etree.ParserError as error:  # nothing but comments
        raise ReadError("no_text", f"holds no element with text: {error}") from error
    except etree.XMLSyntaxError as error:
        raise ReadError("parse", f"is no HTML that can be parsed: {error}") from error
    deep = next((each for each in parser.error_log if "depth" in each.message.lower()), None)
    if deep is not None:
        raise ReadError("limit", f"line {deep.line}: elements stand deeper within each other than any page needs")
    return root


_XML = {
    "encoding": "utf-8",
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "remove_comments": True,
    "remove_pis": True,
    "huge_tree": False,
}


def _parsed(text: str, parser: etree.XMLParser | etree.HTMLParser) -> etree._Element:
    # The parser's encoding goes before what the file declares, which `decode` has followed already.
    root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    if root is None:
        raise etree.ParserError("the document is empty")
    return root


def _character(found: re.Match[str]) -> str:
    name = found.group(1)
    return found.group(0) if name in _OF_XML else html5.get(f"{name};", "")


def _check_not_cut(text: str, reason: str = "") -> None:
    """Refuses a page that was not received to its end: a law of which the end is missing is worse than none.

    HTML may leave out the end tags of ``html``, ``body`` and ``p``; so it takes one that must not be left out, too, or
    one that the same page sets elsewhere.
    """
    if re.search(r"</(?:html|body)\s*>", text[-65536:], re.IGNORECASE) or not re.search(
        r"<(?:html|body)\b", text, re.I
    ):
        return
    for name in _CLOSED:
        begun = len(re.findall(rf"<{name}(?=[\s>])(?![^<>]*/>)", text, re.IGNORECASE))
        ended = len(re.findall(rf"</{name}\s*>", text, re.IGNORECASE))
        if 0 < ended < begun or (begun > ended and name in ("div", "table", "span")):
            raise ReadError(
                "truncated",
                f"ends without </html> and with <{name}> open; the copy is probably incomplete {reason}".strip(),
            )
    if re.search(r"<[^<>]*\Z", text):
        raise ReadError("truncated", "ends within a tag; the copy is probably incomplete")


_MAIN = (
    lambda each: "eli-container" in _classes(each) or each.get("id") == "document1",
    lambda each: name_of(each) == "txt_te" or each.get("id") == "TexteOnly",
    lambda each: name_of(each) == "main" or each.get("role") == "main",
    lambda each: name_of(each) == "article",
)
_MAIN_SHARE = 0.5  # of the page's text


def _main_part(root: etree._Element) -> etree._Element:
    """The part of a page that is the document: where a known container holds most of the text, that."""
    whole = _length(root)
    for is_main in _MAIN:
        found = [each for each in root.iter(etree.Element) if is_main(each)]
        if found:
            # The common ancestor of the first and the last is that of all.
            around = set(found[0].iterancestors()) | {found[0]}
            common = next(each for each in (found[-1], *found[-1].iterancestors()) if each in around)
            if _length(common) >= _MAIN_SHARE * whole:
                return common
    return root


def _length(element: etree._Element) -> int:
    skipped = {"script", "style"}
    return sum(
        len(each.text or "") * (name_of(each) not in skipped) + len(each.tail or "") * (each is not element)
        for each in element.iter(etree.Element)
    )


def _classes(element: etree._Element) -> frozenset[str]:
    """The classes of an element, those of the present make of the Official Journal without their ``oj-``."""
    return frozenset(each.removeprefix("oj-") for each in (element.get("class") or "").split())


# --- The walk over the tree ------------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BLOCK = _words(
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure h1 h2"
    " h3 h4 h5 h6 header hgroup hr legend li main ol p pre section summary table tbody td tfoot th thead"
    " title tr txt_te ul"
)
_DROPPED = _words(
    "applet area audio base button canvas colgroup embed footer form frame frameset head iframe input link map"
    " menu meta nav noscript object option script select style svg template textarea video"
)
_DROPPED_CLASSES = _words(
    "disclaimer modref arrow noprint sr-only visually-hidden hidden navbar breadcrumb hd-date hd-lg hd-ti hd-oj"
)
_DROPPED_ROLES = frozenset(("navigation", "banner", "contentinfo", "search", "alert", "dialog", "menu"))
_NOT_SHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_BOLD = frozenset(("b", "strong"))
_ITALIC = frozenset(("i", "em", "cite", "dfn", "var"))
_BOLD_CLASSES = frozenset(("bold", "boldface"))
_ITALIC_CLASSES = frozenset(("italic", "italics"))
_RAISED_CLASSES = frozenset(("super", "superscript"))
_TITLES = _words(
    "sti-art stitle-article-norm ti-section-2 title-division-2 stitle-division-1 ti-grseq-1 title-annex-2 eli-title"
    " ti-tbl ti-annotation"
)
_DOCUMENT_TITLES = frozenset(("doc-ti", "title-doc-first", "title-doc-last"))
_DOCUMENT_TITLE_SIZES = (14.0, 12.0)
"""In points: what the document is called, then its date and subject."""
_NOTES = _words("note footnote footnotes endnotes fn notes-list")
_NOTE_ROLES = frozenset(("doc-footnote", "doc-endnote", "doc-endnotes"))
_AMENDMENT = re.compile(r"[\u25ba\u25bc]\s?(?:[ABCM]\d{0,3}\b)?[ \u00a0]?(?:\u2014{2,})?|[ \u00a0]?\u25c4")
_RULE = re.compile(r"[\u2014_ -]{3,}")
_NOTE_LINK = re.compile(r"\^?[(\[]\^?(?:\d{1,3}|[a-z]|\*{1,3})[)\]]|\^(?:\d{1,3}|[a-z]|\*{1,3})|[*\u2020\u2021]{1,3}")
_ORDINAL = re.compile(r"st|nd|rd|th")


@dataclass
class _Open:
    """What an element that is open changes, to be undone at its end."""

    bold: bool = False
    italic: bool = False
    raised: bool = False
    link: str | None = None
    at: int = 0
    note: bool = False
    title: bool = False
    counter: bool = False


class _Walk:
    """Gathers blocks while the elements go by; nothing here calls itself but for the cells of a table of data."""

    def __init__(self, in_cell: bool = False) -> None:
        self._in_cell = in_cell
        self._found: list[RawBlock] = []
        self._runs: list[tuple[str, bool, bool]] = []
        self._open: list[_Open] = []
        self._bold = self._italic = self._note = self._title = 0
        self._counters: list[tuple[str, int]] = []
        self._ids: list[str] = []
        self._links: list[tuple[str, str]] = []
        self._mark = ""
        self._size = BODY_SIZE
        self._formula = False
        self._at_begin = True

    def over(self, root: etree._Element) -> None:
        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            if not isinstance(element.tag, str):
                continue
            if event == "end":
                self._end(element, element is root)
            elif element is not root and _is_dropped(element):
                self._put_formula(element)
                self._open.append(_Open())
                walk.skip_subtree()
            elif self._start(element):
                walk.skip_subtree()

    def finish(self) -> list[RawBlock]:
        self._flush()
        if self._mark:
            self._add(self._mark, False, False)
        return self._found

    # --- Elements ---

    def _start(self, element: etree._Element) -> bool:
        """Opens an element; says whether what is in it has been read already."""
        name, classes = name_of(element), _classes(element)
        if name in _BLOCK:
            self._flush()
        for each in (element.get("id"), element.get("name") if name == "a" else None):
            if each:
                self._ids.append(each)
        opened = self._opened(element, name, classes)
        self._open.append(opened)
        self._bold += opened.bold
        self._italic += opened.italic
        self._note += opened.note
        self._title += opened.title
        if name == "table" and not self._in_cell and (rows := data_rows(element)) is not None:
            self._table(rows)
            return True
        if name == "pre":
            self._preformatted(element)
            return True
        if name == "math":
            self._formula = True
            self._put(element.get("alttext") or " ".join(element.itertext()))
            return True
        self._begin(element, name, classes)
        self._put(element.text)
        return False

    def _opened(self, element: etree._Element, name: str, classes: frozenset[str]) -> _Open:
        style = (element.get("style") or "").lower().replace(" ", "")
        link = element.get("href") if name == "a" else None
        return _Open(
            bold=name in _BOLD or bool(classes & _BOLD_CLASSES) or "font-weight:bold" in style,
            italic=name in _ITALIC or bool(classes & _ITALIC_CLASSES) or "font-style:italic" in style,
            raised=name == "sup" or bool(classes & _RAISED_CLASSES) or "vertical-align:super" in style,
            link=link.rpartition("#")[2] if link and "#" in link else None,
            at=len(self._runs),
            note=bool(classes & _NOTES) or element.get("role") in _NOTE_ROLES,
            title=bool(classes & _TITLES) or any(each.startswith("title-gr-seq") for each in classes),
            counter=name in ("ol", "ul"),
        )

    def _begin(self, element: etree._Element, name: str, classes: frozenset[str]) -> None:
        if re.fullmatch(r"h[1-6]", name):
            self._size = HEADING_SIZES[int(name[1]) - 1]
        elif classes & _DOCUMENT_TITLES:
            self._size = _DOCUMENT_TITLE_SIZES[len(self._found) > 0] if self._at_begin else BODY_SIZE
            self._open[-1].title = True
            self._title += 1
        elif name in ("ol", "ul"):
            kind = element.get("type") or "1" if name == "ol" else "\u2022"
            self._counters.append((kind, whole(element.get("start"), 1)))
        elif name == "li":
            self._item(element)
        elif name == "br":
            self._put(_BREAK)
        elif name == "img":
            self._put_formula(element)

    def _item(self, element: etree._Element) -> None:
        kind, number = self._counters[-1] if self._counters else ("\u2022", 1)
        number = whole(element.get("value"), number)
        if self._counters:
            self._counters[-1] = (kind, number + 1)
        own = clean("".join(element.itertext())[:200])
        if not (POINT.match(own) or LONE_MARK.match(own)):
            self._flush_mark()
            self._mark = _list_mark(kind, number)

    def _put_formula(self, element: etree._Element) -> None:
        if name_of(element) == "img":
            words = f"{element.get('alt') or ''} {element.get('class') or ''}".lower()
            self._formula |= "formula" in words or "equation" in words

    def _end(self, element: etree._Element, is_root: bool) -> None:
        name, opened = name_of(element), self._open.pop()
        if opened.raised:
            self._raise(opened.at)
        if opened.link:
            text = clean("".join(run[0] for run in self._runs[opened.at :]))
            if any(each.raised for each in self._open):
                text = f"^{text}"
            around = "".join(run[0] for run in self._runs[max(0, opened.at - 1) : opened.at]).rstrip()[-1:]
            if _NOTE_LINK.fullmatch(text):
                self._links.append((opened.link, f"({text})" if around == "(" and text[0] == "^" else text))
        if name in _BLOCK:
            self._flush()
        self._bold -= opened.bold
        self._italic -= opened.italic
        self._note -= opened.note
        self._title -= opened.title
        if opened.counter and self._counters:
            self._counters.pop()
        if name in ("h1", "h2", "h3", "h4", "h5", "h6") or _classes(element) & _DOCUMENT_TITLES:
            self._size = BODY_SIZE
        if not is_root:
            self._put(element.tail)

    # --- Text ---

    def _put(self, text: str | None) -> None:
        if text:
            self._runs.append((text, self._bold > 0, self._italic > 0))

    def _raise(self, at: int) -> None:
        """Puts the caret before what was raised: ``10^-6``."""
        whole = "".join(run[0] for run in self._runs[at:])
        text = clean(whole)
        _, bold, italic = self._runs[at] if at < len(self._runs) else ("", False, False)
        del self._runs[at:]
        if not text:
            self._put(whole[:1])  # a raised blank is a blank
            return
        before = self._runs[-1][0][-1:] if self._runs else ""
        is_ordinal = before.isdigit() and _ORDINAL.fullmatch(text) is not None  # 1st
        raised = text if is_ordinal else f"^{text.replace('^', '')}"
        self._runs.append((raised, bold, italic))

    def _flush(self) -> None:
        """Ends the block that is being gathered; a lone mark ("(a)") waits for the text that it marks."""
        runs, self._runs = self._runs, []
        raw = "".join(text for text, _, _ in runs)
        visible = [run for run in runs if run[0].strip()]
        bold, italic = (bool(visible) and all(run[place] for run in visible) for place in (1, 2))
        for part in _parts(raw) if not self._in_cell else [raw]:
            text = clean(_AMENDMENT.sub(" ", part))
            if text and not _RULE.fullmatch(text):
                self._text(text, bold, italic)
        if self._formula and not visible and self._found:
            self._found[-1].block = replace(self._found[-1].block, formula=True)
        self._formula = False

    def _text(self, text: str, bold: bool, italic: bool) -> None:
        if self._is_heading() or is_head(text):
            self._flush_mark()
        elif LONE_MARK.fullmatch(text) and not self._in_cell:
            self._mark = f"{self._mark} {text}".strip()
            return
        elif self._mark:
            text, self._mark = f"{self._mark} {text}", ""
        self._add(text, bold or self._is_heading(), italic and not self._is_heading())

    def _is_heading(self) -> bool:
        return self._title > 0 or self._size > BODY_SIZE

    def _flush_mark(self) -> None:
        if self._mark:
            mark, self._mark = self._mark, ""
            self._add(mark, False, False)

    def _add(self, text: str, bold: bool, italic: bool, kind: str = "text") -> None:
        block = Block(text, 1, 1, self._size, bold, italic, self._formula, "table" if kind == "table" else "text")
        self._found.append(RawBlock(block, self._ids, self._links, self._note > 0))
        self._ids, self._links = [], []
        # The great title stands at the begin; further on the same class heads an annex.
        self._at_begin = self._at_begin and self._size > BODY_SIZE

    def _preformatted(self, element: etree._Element) -> None:
        text = "".join(element.itertext())
        if text.strip():
            for block in text_blocks(text.encode()) if any(map(str.isalnum, text)) else []:
                self._add(block.text, block.bold, block.italic, block.kind)

    def _table(self, rows: Sequence[Sequence[etree._Element | None]]) -> None:
        self._flush_mark()
        for row in rows:
            cells = []
            for cell in row:
                inside = _Walk(in_cell=True)
                if cell is not None:
                    inside.over(cell)
                found = inside.finish()
                cells.append(" ".join(each.block.text for each in found))
                self._ids += [each for raw in found for each in raw.ids]
                self._links += [each for raw in found for each in raw.links]
            if any(cells):
                self._add(table_row(cells), False, False, "table")


_BREAK = "\u2028"
"""A line break (``br``), among the line ends of the source, which mean nothing."""


def _parts(text: str) -> list[str]:
    """Two line breaks part paragraphs, and one parts a head from its title."""
    first, _, rest = text.partition(_BREAK)
    if rest and is_head(clean(first)):
        return [first, rest]
    return re.split(rf"{_BREAK}\s*{_BREAK}", text)


def _is_dropped(element: etree._Element) -> bool:
    classes = _classes(element)
    return (
        name_of(element) in _DROPPED
        or bool(classes & _DROPPED_CLASSES)
        or element.get("hidden") is not None
        or element.get("role") in _DROPPED_ROLES
        or _NOT_SHOWN.search(element.get("style") or "") is not None
    )


def _list_mark(kind: str, number: int) -> str:
    if kind in ("a", "A") and number <= 26:
        return f"({chr(ord(kind) + number - 1)})"
    if kind == "i" and number <= len(_ROMAN):
        return f"({_ROMAN[number - 1]})"
    return "\u2022" if kind == "\u2022" else f"{number}."


_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")


# --- Is it the document? ---------------------------------------------------------------------------------------------

_SHORT_PAGE = 3000  # characters: above, a page is a document, whatever it says of robots
_GATE = re.compile(
    r"captcha|awswaf|challenge-container|verify (?:that )?you are (?:not a robot|(?:a )?human)|type=[\"']?password"
    r"|enable javascript|javascript is (?:disabled|required)|checking your browser|access denied",
    re.IGNORECASE,
)


def gate_of(source: str, length: int | None = None) -> str | None:
    """The words by which a page is known to stand before a document (a login, a robot check), or None.

    Args:
        source: the page as it was sent.
        length: of its text in characters; default that of the page.
    """
    gate = _GATE.search(source) if (len(source) if length is None else length) < _SHORT_PAGE else None
    return gate.group(0) if gate else None


def _check_content(found: Iterable[Block], source: str) -> None:
    text = " ".join(block.text for block in found)
    gate = gate_of(source, len(text))
    if gate:
        raise ReadError(
            "no_text",
            f"is a page that guards the document (it says {gate!r}), not the document: fetch it again, or as PDF",
        )
    if not any(map(str.isalnum, text)):
        raise ReadError("no_text", "its elements hold no text; a page that a script fills has to be saved by a browser")
