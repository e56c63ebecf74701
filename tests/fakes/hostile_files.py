"""Files that are made to break a reader, each with what must become of it. All are made on the spot and small on disk.

`FILES` names them; `Hostile.outcomes` holds the error classes that are right for a file, or ``read``. Where there is
more than one, it depends on the versions of the engines which of their limits is met first.
"""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from fakes import pdf_files

Outcomes = tuple[str, ...]
READ: Outcomes = ("read",)


@dataclass(frozen=True)
class Hostile:
    """A file: its name, its bytes (made when asked for), and what may become of it."""

    name: str
    make: Callable[[], bytes]
    outcomes: Outcomes


# --- PDF files, object by object -------------------------------------------------------------------------------------

_CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
_PAGES = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
_SENTENCES = (
    "Institutions shall hold own funds that cover the risks of what they have lent.",
    "They shall report to the competent authority by the end of each quarter.",
    "The authority may set a shorter term where the state of the institution calls for it.",
)


def build(objects: dict[int, bytes], trailer: bytes = b"", start: int | None = None) -> bytes:
    """A PDF of these objects with a right cross-reference table; ``start`` is what it says of the table's place."""
    data, offsets = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), {}
    for number, body in objects.items():
        offsets[number] = len(data)
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"xref\n0 1\n0000000000 65535 f \n"
    table += b"".join(b"%d 1\n%010d 00000 n \n" % each for each in offsets.items())
    size = max(objects) + 1
    place = len(data) if start is None else start
    return bytes(data) + table + b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, place)


def stream(body: bytes, entries: bytes = b"", length: int | None = None) -> bytes:
    said = len(body) if length is None else length
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, said, body)


def packed(body: bytes, entries: bytes = b"") -> bytes:
    return stream(zlib.compress(body, 9), entries + b"/Filter/FlateDecode")


def text_of(sentences: Iterable[str] = _SENTENCES) -> bytes:
    """A content stream that prints sentences."""
    lines = b"".join(b"(%s) Tj T*\n" % each.encode("latin-1") for each in sentences)
    return b"BT /F1 11 Tf 14 TL 60 740 Td\n" + lines + b"ET\n"


def one_page(contents: bytes = b"", objects: dict[int, bytes] | None = None, **parts: bytes) -> dict[int, bytes]:
    """The objects of a file of one page: 1 catalog, 2 page tree, 3 page, 4 content, 5 font.

    ``parts`` replaces the catalog, the page tree (``pages``), or adds to the page (``page``) or its ``resources``.
    """
    page = (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>"
        + parts.get("resources", b"")
        + b">>"
        + parts.get("page", b"")
        + b">>"
    )
    return {
        1: parts.get("catalog", _CATALOG),
        2: parts.get("pages", _PAGES),
        3: page,
        4: contents or stream(text_of()),
        5: _FONT,
        **(objects or {}),
    }


# --- Bombs -----------------------------------------------------------------------------------------------------------


@cache
def deflated_blanks(size: int, piece: int = 1 << 24) -> bytes:
    """``size`` blanks, deflated: a thousandth of that on disk, and never whole in memory."""
    packer = zlib.compressobj(9)
    opening = packer.compress(b" " * piece) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(b" " * piece) + packer.flush(zlib.Z_FULL_FLUSH)  # no longer looks back: can be repeated
    whole = size // piece * piece
    low, high = (1 + 32 * whole) % 65521, (whole + 32 * whole * (whole + 1) // 2) % 65521  # Adler-32
    return opening + again * (size // piece - 1) + b"\x03\x00" + (high << 16 | low).to_bytes(4, "big")


def flate_bomb(size: int = 2 << 30) -> bytes:
    return build(one_page(stream(deflated_blanks(size), b"/Filter/FlateDecode")))


def nested_flate_bomb(levels: int = 2, size: int = 2 << 30) -> bytes:
    body = deflated_blanks(size)
    for _ in range(levels - 1):
        body = zlib.compress(body, 9)
    return build(one_page(stream(body, b"/Filter[%s]" % (b"/FlateDecode" * levels))))


def run_length_bomb() -> bytes:
    """Run lengths of run lengths: 64 times with each filter."""
    body = b"\x81 " * 4_000
    body = zlib.compress(zlib.compress(body * 500, 9), 9)
    return build(one_page(stream(body, b"/Filter[/FlateDecode/FlateDecode/RunLengthDecode/RunLengthDecode]")))


def many_bombs() -> bytes:
    """Many streams of 60 MB, none of which is much by itself, all of them content of one page."""
    bomb = stream(deflated_blanks(64 << 20), b"/Filter/FlateDecode")
    objects = one_page(page=b"/Contents[" + b"4 0 R " * 60 + b"]")
    return build({**objects, 3: objects[3].replace(b"/Contents 4 0 R", b""), 4: bomb})


def repeated_contents() -> bytes:
    """One stream of 1 MB named two thousand times as the content of a page."""
    objects = one_page(packed(b"q Q " * 250_000))
    return build({**objects, 3: objects[3].replace(b"/Contents 4 0 R", b"/Contents[" + b"4 0 R " * 2_000 + b"]")})


def object_stream_bomb() -> bytes:
    """The objects themselves lie in a stream that unpacks to a gigabyte."""
    body = stream(deflated_blanks(1 << 30), b"/Type/ObjStm/N 100/First 1000/Filter/FlateDecode")
    return _with_xref_stream({4: body}, compressed={1: (4, 0), 2: (4, 1), 3: (4, 2)})


def xref_stream_bomb() -> bytes:
    """A cross-reference stream that claims two thousand million objects."""
    data = b"%PDF-1.7\n"
    entries = b"/Type/XRef/Size 2000000000/W[1 4 2]/Index[0 2000000000]/Root 1 0 R/Filter/FlateDecode"
    place = len(data)
    data += b"9 0 obj\n" + stream(deflated_blanks(1 << 28), entries) + b"\nendobj\n"
    return data + b"startxref\n%d\n%%%%EOF\n" % place


def _with_xref_stream(objects: dict[int, bytes], compressed: dict[int, tuple[int, int]]) -> bytes:
    data, rows = b"%PDF-1.7\n", {0: (0, 0, 65535)}
    for number, body in objects.items():
        rows[number] = (1, len(data), 0)
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    rows |= {number: (2, *where) for number, where in compressed.items()}
    size = max(rows) + 2
    rows[size - 1] = (1, len(data), 0)
    table = b"".join(
        kind.to_bytes(1, "big") + place.to_bytes(4, "big") + index.to_bytes(2, "big")
        for kind, place, index in (rows.get(number, (0, 0, 0)) for number in range(size))
    )
    place = len(data)
    data += b"%d 0 obj\n" % (size - 1)
    data += packed(table, b"/Type/XRef/Size %d/W[1 4 2]/Root 1 0 R" % size) + b"\nendobj\n"
    return data + b"startxref\n%d\n%%%%EOF\n" % place


def many_operators(count: int = 700_000) -> bytes:
    return build(one_page(packed(text_of() + b"1 0 0 1 0 0 cm\n" * count)))


def many_letters(count: int = 400_000) -> bytes:
    """One page on which every letter is set by itself, on top of each other."""
    return build(one_page(packed(b"BT /F1 9 Tf 60 700 Td\n" + b"(a) Tj\n" * count + b"ET")))


# --- Circles and depths ----------------------------------------------------------------------------------------------


def exponential_forms(levels: int = 30) -> bytes:
    """Each form draws the next one twice."""
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 300 300]"
    objects = one_page(stream(b"/X0 Do"), resources=b"/XObject<</X0 10 0 R>>")
    for level in range(levels):
        entries = form + b"/Resources<</XObject<</X%d %d 0 R>>>>" % (level + 1, level + 11)
        objects[10 + level] = stream(b"/X%d Do /X%d Do" % (level + 1, level + 1), entries)
    objects[10 + levels] = stream(text_of(), form + b"/Resources<</Font<</F1 5 0 R>>>>")
    return build(objects)


def page_tree_loop() -> bytes:
    return build(one_page(pages=b"<</Type/Pages/Kids[6 0 R 3 0 R]/Count 2>>", objects={6: _KIDS_OF_THEIR_OWN}))


_KIDS_OF_THEIR_OWN = b"<</Type/Pages/Parent 2 0 R/Kids[2 0 R 6 0 R]/Count 2>>"


def deep_page_tree(levels: int = 20_000) -> bytes:
    nodes = {
        10 + level: b"<</Type/Pages/Parent %d 0 R/Kids[%d 0 R]/Count 1>>" % (level + 9, level + 11)
        for level in range(levels)
    }
    nodes[10 + levels] = b"<</Type/Page/MediaBox[0 0 100 100]/Parent %d 0 R>>" % (levels + 9)
    return build(one_page(pages=b"<</Type/Pages/Kids[10 0 R]/Count 1>>", objects=nodes))


def deep_array(levels: int = 200_000) -> bytes:
    return build(one_page(page=b"/Deep " + b"[" * levels + b"]" * levels))


def deep_dictionary(levels: int = 100_000) -> bytes:
    return build(
        one_page(catalog=b"<</Type/Catalog/Pages 2 0 R/Deep " + b"<</A" * levels + b" 1" + b">>" * levels + b">>")
    )


def deep_content(levels: int = 100_000) -> bytes:
    return build(one_page(packed(b"q " * levels + text_of() + b"[" * levels + b" TJ")))


def circle_of_references() -> bytes:
    return build(one_page(objects={4: b"6 0 R", 6: b"7 0 R", 7: b"6 0 R"}))


def length_of_itself() -> bytes:
    return build(one_page(b"<</Length 4 0 R>>stream\n" + text_of() + b"endstream"))


def circular_outline() -> bytes:
    item = b"<</Title(Chapter)/Parent 6 0 R/Next 8 0 R/Prev 8 0 R/First 7 0 R/Last 7 0 R/Dest[3 0 R/Fit]>>"
    other = b"<</Title(Other)/Parent 6 0 R/Next 7 0 R/Prev 7 0 R/First 6 0 R/Last 6 0 R/Dest[3 0 R/Fit]>>"
    catalog = b"<</Type/Catalog/Pages 2 0 R/Outlines 6 0 R>>"
    outline = {6: b"<</Type/Outlines/First 7 0 R/Last 8 0 R/Count 2>>", 7: item, 8: other}
    return build(one_page(catalog=catalog, objects=outline))


def deep_outline(levels: int = 50_000) -> bytes:
    items = {
        10 + level: b"<</Title(L%d)/Parent %d 0 R/First %d 0 R/Dest[3 0 R/Fit]>>" % (level, level + 9, level + 11)
        for level in range(levels)
    }
    items[10 + levels] = b"<</Title(Last)/Dest[3 0 R/Fit]>>"
    catalog = b"<</Type/Catalog/Pages 2 0 R/Outlines 6 0 R>>"
    return build(one_page(catalog=catalog, objects={6: b"<</Type/Outlines/First 10 0 R/Last 10 0 R>>", **items}))


def prev_loop() -> bytes:
    data = build(one_page())
    place = data.rfind(b"xref\n0 1")
    return data.replace(b"/Root 1 0 R", b"/Root 1 0 R/Prev %d" % place)


# --- Claims that are not true ----------------------------------------------------------------------------------------


def claimed_pages(count: int = 100_000) -> bytes:
    return build(one_page(pages=b"<</Type/Pages/Kids[3 0 R]/Count %d>>" % count))


def repeated_page(count: int = 100_000) -> bytes:
    return build(one_page(pages=b"<</Type/Pages/Kids[" + b"3 0 R " * count + b"]/Count %d>>" % count))


def too_few_pages_claimed() -> bytes:
    objects = one_page(pages=b"<</Type/Pages/Kids[3 0 R 6 0 R]/Count 1>>")
    return build({**objects, 6: objects[3].replace(b"4 0 R", b"7 0 R"), 7: stream(text_of(("A second page it is.",)))})


def huge_image() -> bytes:
    image = b"/Type/XObject/Subtype/Image/Width 60000/Height 60000/BitsPerComponent 8/ColorSpace/DeviceRGB"
    picture = packed(bytes(1000), image)
    return build(one_page(stream(text_of() + b"/I Do"), resources=b"/XObject<</I 6 0 R>>", objects={6: picture}))


def wrong_length(length: int) -> bytes:
    return build(one_page(stream(text_of(), length=length)))


def wrong_offsets() -> bytes:
    return build(one_page(), start=999_999_999)


def without_startxref() -> bytes:
    return build(one_page()).replace(b"startxref", b"startnone")


def without_catalog() -> bytes:
    return build({3: b"<</Type/Page>>", 4: stream(text_of())})


def huge_media_box() -> bytes:
    objects = one_page()
    return build({**objects, 3: objects[3].replace(b"595 842", b"-1e38 1e38")})


def wild_numbers() -> bytes:
    wild = b"BT /F1 1e300 Tf 9999999999999999999999 -1e308 Td 1e38 0 0 1e38 0 0 Tm (one two three) Tj ET\n"
    return build(one_page(stream(text_of() + wild)))


# --- Text that says nothing, or something else -----------------------------------------------------------------------


def without_unicode_map() -> bytes:
    """Glyphs by number from a font that says nothing of their characters: the numbers are the letters, moved by 29."""
    moved = [_hex(bytes(b for letter in each for b in (0, (ord(letter) - 29) % 256))) for each in _SENTENCES]
    shown = b"BT /F1 11 Tf 14 TL 60 740 Td\n" + b"".join(b"%s Tj T*\n" % each for each in moved * 12) + b"ET\n"
    fonts = {
        5: b"<</Type/Font/Subtype/Type0/BaseFont/ABCDEF+Some/Encoding/Identity-H/DescendantFonts[6 0 R]>>",
        6: b"<</Type/Font/Subtype/CIDFontType2/BaseFont/ABCDEF+Some/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)"
        b"/Supplement 0>>/FontDescriptor 7 0 R/DW 500>>",
        7: b"<</Type/FontDescriptor/FontName/ABCDEF+Some/Flags 4/FontBBox[0 0 1000 1000]/ItalicAngle 0/Ascent 800"
        b"/Descent -200/CapHeight 700/StemV 80>>",
    }
    return build({**one_page(stream(shown)), **fonts})


def _hex(data: bytes) -> bytes:
    return b"<" + data.hex().encode() + b">"


def mapped_to(unicode: Callable[[int], str]) -> bytes:
    """A font whose own map sends each code to ``unicode(code)``, in UTF-16 as hexadecimal digits."""
    rows = b"".join(b"<%02x> <%s>\n" % (code, unicode(code).encode()) for code in range(32, 127))
    cmap = b"/CIDInit/ProcSet findresource begin begincmap 1 begincodespacerange <00> <ff> endcodespacerange\n"
    cmap += b"95 beginbfchar\n" + rows + b"endbfchar endcmap end"
    font = b"<</Type/Font/Subtype/TrueType/BaseFont/Some/ToUnicode 6 0 R/FirstChar 32/LastChar 126/Widths[%s]>>" % (
        b"500 " * 95
    )
    return build({**one_page(stream(text_of(_SENTENCES * 12))), 5: font, 6: packed(cmap)})


def mixed_up_letters() -> bytes:
    """A font that maps its letters to other letters: words that are none, from characters that are."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    other = random.Random(5).sample(letters, 26)
    moved = str.maketrans(letters, "".join(other))
    return mapped_to(lambda code: f"{ord(chr(code).translate(moved)):04x}")


def endless_cmap() -> bytes:
    """A map with one range that holds every code there could be."""
    cmap = b"begincmap 1 begincodespacerange <00000000> <ffffffff> endcodespacerange\n"
    cmap += b"1 beginbfrange <00000000> <ffffffff> <00000020> endbfrange\n" * 50 + b"endcmap"
    font = b"<</Type/Font/Subtype/Type0/BaseFont/Some/Encoding/Identity-H/ToUnicode 6 0 R/DescendantFonts[7 0 R]>>"
    descendant = (
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont/Some/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)"
        b"/Supplement 0>>/W[0 4294967295 500]>>"
    )
    return build({**one_page(), 5: font, 6: packed(cmap), 7: descendant})


def broken_font_program() -> bytes:
    program = b"\x00\x01\x00\x00" + random.Random(3).randbytes(4_000)
    descriptor = b"<</Type/FontDescriptor/FontName/Some/Flags 32/FontFile2 7 0 R>>"
    font = b"<</Type/Font/Subtype/TrueType/BaseFont/Some/Encoding/WinAnsiEncoding/FontDescriptor 6 0 R>>"
    return build({**one_page(), 5: font, 6: descriptor, 7: packed(program)})


def font_of_itself() -> bytes:
    font = b"<</Type/Font/Subtype/Type0/BaseFont/Some/Encoding 6 0 R/ToUnicode 6 0 R/DescendantFonts[5 0 R]>>"
    cmap = stream(b"/Self usecmap begincmap endcmap", b"/Type/CMap/CMapName/Self/UseCMap 6 0 R")
    return build({**one_page(), 5: font, 6: cmap})


def endless_type3_font() -> bytes:
    """A font whose glyph is drawn with the font itself."""
    font = (
        b"<</Type/Font/Subtype/Type3/FontBBox[0 0 1000 1000]/FontMatrix[.001 0 0 .001 0 0]/FirstChar 97/LastChar 97"
        b"/Widths[500]/Encoding<</Differences[97/a]>>/CharProcs<</a 6 0 R>>/Resources<</Font<</F1 5 0 R>>>>>>"
    )
    glyph = stream(b"500 0 d0 BT /F1 1 Tf (aaaa) Tj ET")
    return build({**one_page(stream(b"BT /F1 11 Tf 60 700 Td (aaaa) Tj ET")), 5: font, 6: glyph})


# --- Things that want to run -----------------------------------------------------------------------------------------


def actions() -> bytes:
    """Opens with a script, launches a program, reaches out to the network: none of which a reader does."""
    script = b"<</S/JavaScript/JS(app.launchURL\\('http://127.0.0.1:9/'\\);while\\(1\\){})>>"
    launch = b"<</S/Launch/F(/bin/sh)/Win<</F(cmd.exe)/P(/c calc)>>>>"
    catalog = b"<</Type/Catalog/Pages 2 0 R/OpenAction 6 0 R/AA<</WC 7 0 R>>/Names<</JavaScript<</Names[(a)6 0 R]>>>>>>"
    return build(one_page(catalog=catalog, page=b"/AA<</O 6 0 R/C 7 0 R>>", objects={6: script, 7: launch}))


def embedded_file() -> bytes:
    names = b"/Names<</EmbeddedFiles<</Names[(evil.pdf)6 0 R]>>>>"
    holder = b"<</Type/Filespec/F(../../evil.pdf)/EF<</F 7 0 R>>>>"
    inner = stream(deflated_blanks(1 << 28), b"/Type/EmbeddedFile/Filter/FlateDecode")
    return build(one_page(catalog=b"<</Type/Catalog/Pages 2 0 R" + names + b">>", objects={6: holder, 7: inner}))


def external_stream() -> bytes:
    """A content stream that is said to lie in another file."""
    return build(one_page(stream(text_of(), b"/F(/etc/passwd)/FFilter/FlateDecode")))


# --- Not a PDF, or not all of it -------------------------------------------------------------------------------------


def a_zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("act.txt", "Article 1")
    return target.getvalue()


def cut(share: float) -> bytes:
    whole = pdf_files.act(12)
    return whole[: int(share * len(whole))]


def hollow() -> bytes:
    """Right at both ends and overwritten between, as a broken disk leaves a file."""
    whole = pdf_files.act(12)
    return whole[:300] + bytes(len(whole) - 700) + whole[-400:]


# --- Other formats ---------------------------------------------------------------------------------------------------


def deep_html(levels: int = 300_000) -> bytes:
    return b"<html><body>" + b"<div>" * levels + b"<p>Deep down there is a sentence.</p>" + b"</div>" * levels


def much_html(size: int = 100 << 20) -> bytes:
    return b"<html><body>" + b"<b></b>" * (size // 7) + b"</body></html>"


def html_entities() -> bytes:
    """An entity of entities of entities, ten thousand million of them, as XML would unfold it."""
    rows = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 11))
    opening = b'<?xml version="1.0"?><!DOCTYPE html [<!ENTITY l0 "lol">' + rows
    return (
        opening
        + b'<!ENTITY file SYSTEM "file:///etc/hostname">]>'
        + b"<html><body><p>Own funds &l10; &file; shall be held.</p></body></html>"
    )


def html_attributes(count: int = 20_000) -> bytes:
    return (
        b"<html><body><p "
        + b"".join(b"a%d='x' " % n for n in range(count))
        + b">A sentence of the law.</p></body></html>"
    )


def one_long_line(size: int = 200 << 20) -> bytes:
    return b"own funds " * (size // 10)


def garbled_text() -> bytes:
    """UTF-16 that was cut into by a byte, and so holds halves of characters."""
    return b"\xff\xfe" + b"\x00\xd8\x01\x02" * 2_000 + b"\xd8"


FILES: tuple[Hostile, ...] = (
    # The files of the measured table, and near to it.
    Hostile("zero-bytes.pdf", lambda: b"", ("empty",)),
    Hostile("blanks-only.pdf", lambda: b"\x00 \r\n" * 500, ("empty",)),
    Hostile("web-page.pdf", lambda: b"<!DOCTYPE html><html><title>404</title></html>", ("not_pdf",)),
    Hostile("picture.pdf", lambda: b"\x89PNG\r\n\x1a\n" + bytes(2_000), ("not_pdf",)),
    Hostile("archive.pdf", a_zip, ("not_pdf",)),
    Hostile("random.pdf", lambda: random.Random(1).randbytes(40_000), ("not_pdf",)),
    Hostile("header-only.pdf", lambda: b"%PDF-1.7\n%%EOF\n", ("parse",)),
    Hostile("header-and-noise.pdf", lambda: b"%PDF-1.7\n" + bytes(range(256)) * 90 + b"\n%%EOF\n", ("parse",)),
    Hostile("cut-at-a-tenth.pdf", lambda: cut(0.1), ("truncated",)),
    Hostile("cut-in-half.pdf", lambda: cut(0.5), ("truncated",)),
    Hostile("cut-near-the-end.pdf", lambda: cut(0.97), ("truncated",)),
    Hostile("hollow.pdf", hollow, ("parse",)),
    Hostile(
        "junk-before.pdf",
        lambda: b"X-Gateway: mail\r\n" * 120 + pdf_files.act(5, title="REGULATION (EU) No 10/2099"),
        READ,
    ),
    Hostile("user-password.pdf", lambda: pdf_files.locked(user="let me in"), ("encrypted",)),
    Hostile("owner-password.pdf", lambda: pdf_files.locked(user="", owner="let me edit"), READ),
    Hostile("scanned.pdf", pdf_files.scanned, ("no_text",)),
    Hostile("flate-bomb.pdf", flate_bomb, ("limit",)),
    Hostile("nested-flate-bomb.pdf", nested_flate_bomb, ("limit",)),
    Hostile("three-flate-bombs.pdf", lambda: nested_flate_bomb(3), ("limit",)),
    Hostile("run-length-bomb.pdf", run_length_bomb, ("limit", "no_text")),
    Hostile("many-bombs.pdf", many_bombs, ("limit",)),
    Hostile("repeated-contents.pdf", repeated_contents, ("limit", "no_text")),
    Hostile("object-stream-bomb.pdf", object_stream_bomb, ("limit", "parse")),
    Hostile("xref-stream-bomb.pdf", xref_stream_bomb, ("limit", "parse")),
    Hostile("endless-form.pdf", pdf_files.endless_form, ("crash", "limit", "no_text")),
    Hostile("exponential-forms.pdf", exponential_forms, ("crash", "limit", "timeout")),
    Hostile("many-operators.pdf", many_operators, ("limit", "read")),
    Hostile("many-letters.pdf", many_letters, ("limit", "read")),
    Hostile("page-tree-loop.pdf", page_tree_loop, ("parse", "limit", "read")),
    Hostile("deep-page-tree.pdf", deep_page_tree, ("parse", "limit", "crash", "no_text")),
    Hostile("deep-array.pdf", deep_array, ("parse", "limit", "read")),
    Hostile("deep-dictionary.pdf", deep_dictionary, ("parse", "limit", "read")),
    Hostile("deep-content.pdf", deep_content, READ),
    Hostile("circle-of-references.pdf", circle_of_references, ("no_text", "parse")),
    Hostile("length-of-itself.pdf", length_of_itself, ("read", "parse", "no_text")),
    Hostile("circular-outline.pdf", circular_outline, READ),
    Hostile("deep-outline.pdf", deep_outline, READ),
    Hostile("prev-loop.pdf", prev_loop, ("read", "parse", "limit")),
    Hostile("claimed-pages.pdf", claimed_pages, ("read", "parse")),
    Hostile("repeated-page.pdf", repeated_page, ("read", "limit", "timeout")),
    Hostile("too-few-pages-claimed.pdf", too_few_pages_claimed, READ),
    Hostile("huge-image.pdf", huge_image, READ),
    Hostile("negative-length.pdf", lambda: wrong_length(-5), ("read", "no_text", "parse")),
    Hostile("length-too-long.pdf", lambda: wrong_length(2**31), ("read", "no_text", "parse")),
    Hostile("wrong-offsets.pdf", wrong_offsets, READ),
    Hostile("without-startxref.pdf", without_startxref, READ),
    Hostile("without-catalog.pdf", without_catalog, ("parse",)),
    Hostile("huge-media-box.pdf", huge_media_box, READ),
    Hostile("wild-numbers.pdf", wild_numbers, READ),
    Hostile("without-unicode-map.pdf", without_unicode_map, ("bad_encoding",)),
    Hostile("private-characters.pdf", lambda: mapped_to(lambda code: f"{0xE000 + code:04x}"), ("bad_encoding",)),
    Hostile("lone-surrogates.pdf", lambda: mapped_to(lambda code: f"{0xD800 + code:04x}"), ("bad_encoding", "no_text")),
    Hostile("mapped-to-nothing.pdf", lambda: mapped_to(lambda code: "0000"), ("bad_encoding", "no_text")),
    Hostile("mixed-up-letters.pdf", mixed_up_letters, ("bad_encoding",)),
    Hostile("endless-cmap.pdf", endless_cmap, ("bad_encoding", "no_text", "read", "limit", "parse")),
    Hostile("broken-font-program.pdf", broken_font_program, READ),
    Hostile("font-of-itself.pdf", font_of_itself, ("read", "no_text", "parse", "bad_encoding")),
    Hostile("endless-type3-font.pdf", endless_type3_font, READ),
    Hostile("actions.pdf", actions, READ),
    Hostile("embedded-file.pdf", embedded_file, READ),
    Hostile("external-stream.pdf", external_stream, ("read", "no_text", "parse")),
    # Other formats.
    Hostile("blank.html", lambda: b" \n", ("empty",)),
    Hostile("deep.html", deep_html, ("read", "limit", "parse")),
    Hostile("much.html", much_html, ("limit",)),
    Hostile("entities.html", html_entities, ("read", "limit", "parse")),
    Hostile("attributes.html", html_attributes, ("read", "limit", "parse")),
    Hostile("many-attributes.html", lambda: html_attributes(300_000), ("read", "limit", "parse", "timeout")),
    Hostile("no-words.html", lambda: b"<html><body><script>var a = 1</script></body></html>", ("no_text",)),
    Hostile("blank.txt", lambda: b"\r\n\t", ("empty",)),
    Hostile("nulls.txt", lambda: b"Own funds\x00 shall be held.\x00\n" * 40, ("read", "parse")),
    Hostile("one-long-line.txt", one_long_line, ("limit",)),
    Hostile("random.txt", lambda: random.Random(2).randbytes(60_000), ("bad_encoding", "parse", "not_pdf")),
    Hostile("garbled.txt", garbled_text, ("bad_encoding", "no_text")),
)
