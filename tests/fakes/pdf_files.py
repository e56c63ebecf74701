"""PDF files for tests: real ones, made on the spot, and broken ones."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import pypdf
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

Style = str
BODY, BOLD, ITALIC = "Times-Roman", "Times-Bold", "Times-Italic"


def act(articles: int = 4, word: str = "capital", title: str = "REGULATION (EU) No 9/2099") -> bytes:
    """A small act with a recital, running heads, and ``word`` in every article; six articles a page."""
    lines: list[tuple[Style, str]] = [
        (BOLD, f"{title} OF THE COUNCIL"),
        (BOLD, "of 3 March 2099"),
        (BODY, "Whereas:"),
        (BODY, "(1) Banks lend out money that others have entrusted to them, and so they need funds of their own."),
        (BODY, "HAVE ADOPTED THIS REGULATION:"),
    ]
    for number in range(1, articles + 1):
        lines += [
            (ITALIC, f"Article {number}"),
            (BOLD, f"Rule {number}"),
            (BODY, f"1. Institutions shall at all times hold {word} of {number} % of what they have lent."),
            (BODY, f"2. They shall report it by {number} March."),
        ]
    return pages([lines[start : start + 24] for start in range(0, len(lines), 24)])


def without_heads(content: list[list[tuple[Style, str]]]) -> bytes:
    """One page for each list of lines, and nothing else on it."""
    return pages(content, heads=False)


def pages(content: list[list[tuple[Style, str]]], password: str | None = None, heads: bool = True) -> bytes:
    """One page for each list of lines, with a running head and a page number."""
    target = io.BytesIO()
    drawing = canvas.Canvas(target, encrypt=StandardEncryption(password) if password else None, invariant=True)
    for number, lines in enumerate(content, 1):
        drawing.setFont(BODY, 9)
        if heads:
            drawing.drawString(60, 800, f"3.3.2099 Official Sample L 9/{number}")
        y = 740
        for font, text in lines:
            drawing.setFont(font, 10)
            for line in textwrap.wrap(text, 50):
                drawing.drawString(60, y, line)
                y -= 12
            y -= 8
        drawing.showPage()
    drawing.save()
    return target.getvalue()


def locked(user: str, owner: str | None = None) -> bytes:
    """An act that opens with the password ``user`` (none where empty) and may be changed with ``owner``."""
    target = io.BytesIO()
    reader = pypdf.PdfReader(io.BytesIO(act()))
    writer = pypdf.PdfWriter(reader)
    writer.encrypt(user, owner)
    writer.write(target)
    return target.getvalue()


def scanned() -> bytes:
    """A page that is nothing but an image."""
    pixel = io.BytesIO(b"P6 2 2 255\n" + bytes(12))
    target = io.BytesIO()
    drawing = canvas.Canvas(target)
    drawing.drawImage(ImageReader(pixel), 50, 50, 400, 600)
    drawing.showPage()
    drawing.save()
    return target.getvalue()


def endless_form() -> bytes:
    """A form XObject that draws itself: pdfium follows it until its memory is used up, and aborts."""
    dictionary = b"/Type/XObject/Subtype/Form/BBox[0 0 300 300]/Resources<</XObject<</F 5 0 R>>>>"
    resources = b"/MediaBox[0 0 300 300]/Resources<</XObject<</F 5 0 R>>>>"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R" + resources + b"/Contents 4 0 R>>",
        b"<</Length 5>>stream\n/F Do\nendstream",
        b"<<" + dictionary + b"/Length 11>>stream\n/F Do /F Do\nendstream",
    ]
    data, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    return data + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


def write(folder: Path, **files: bytes) -> dict[str, Path]:
    """Writes ``NAME.pdf`` for each keyword, and gives the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.pdf" for name in files}
    for name, data in files.items():
        paths[name].write_bytes(data)
    return paths
