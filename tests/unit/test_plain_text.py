from __future__ import annotations

import pytest

from fakes import html_acts
from finreg_cli.documents import layout, plain_text
from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.domain.chunking import chunk_document
from finreg_cli.domain.legal_structure import Block, identify, structure

SAMPLES = ("sample-own-funds", "sample-large-exposures-and-liquidity", "sample-reporting-and-disclosure")


def read(text: str) -> list[tuple[str, str]]:
    """Text and style of each block: ``i`` italic, ``b`` bold, ``h`` a heading, else its kind."""
    return [(block.text, _style(block)) for block in plain_text.blocks(text.encode())]


def _style(block: Block) -> str:
    if block.size > plain_text.BODY_SIZE:
        return "h"
    return "b" if block.bold else "i" if block.italic else block.kind


def cited(blocks: list[Block], opening: list[str], stem: str) -> list[tuple[str, str]]:
    kept = [block for block in blocks if block.kind != "footnote"]
    document = structure(kept, identify(kept, opening, stem, {}, {}))
    chunks = chunk_document(document, f"{stem}.x", "0" * 64, lambda each: [len(text.split()) for text in each], 60, 0)
    return [(chunk.citation, chunk.text.replace("^", "")) for chunk in chunks]


@pytest.mark.parametrize("stem", SAMPLES)
@pytest.mark.parametrize("width", [60, 78, 100_000], ids=["narrow", "usual", "unwrapped"])
def test_the_same_articles_as_from_the_pdf(stem: str, width: int) -> None:
    engine = PdfiumEngine((html_acts.SOURCES.parent / f"{stem}.pdf").read_bytes())
    pages = list(engine.lines())
    engine.close()
    printed = cited(layout.blocks(pages), [line.text for line in pages[0]], stem)
    blocks = plain_text.blocks(html_acts.plain(html_acts.act(stem), width).encode())
    found = cited(blocks, [block.text for block in blocks[:20]], stem)
    # Marks stand in text without the brackets that they have in print.
    assert [each for each in found if "Article" in each[0] or "Annex" in each[0]] == [
        each for each in printed if "Article" in each[0] or "Annex" in each[0]
    ]
    assert {citation for citation, _ in found} == {citation for citation, _ in printed}


def test_lines_without_blank_lines_between() -> None:
    text = """Article 1
Scope
1. This Regulation applies to every institution that has its head office in
the area.
2. It does not apply to central banks:
(a) of the area;
(b) of other countries, as far as they hold their own reserves there and do
not lend.
Article 2
Entry into force
It enters into force at once.
"""
    assert read(text) == [
        ("Article 1", "i"),
        ("Scope", "b"),
        (
            "1. This Regulation applies to every institution that has its head office in the area.",
            "text",
        ),
        ("2. It does not apply to central banks:", "text"),
        ("(a) of the area;", "text"),
        ("(b) of other countries, as far as they hold their own reserves there and do not lend.", "text"),
        ("Article 2", "i"),
        ("Entry into force", "b"),
        ("It enters into force at once.", "text"),
    ]


def test_long_lines_are_paragraphs() -> None:
    long = "Institutions shall hold own funds that are enough for the risks that they run. " * 3
    assert [text for text, _ in read(f"{long}\n{long}\nShort one\n{long}")] == [
        long.strip(),
        long.strip(),
        "Short one",
        long.strip(),
    ]


def test_words_broken_at_the_end_of_a_line() -> None:
    text = (
        "An institution shall apply the risk-weighted amount. Each insti-\ntution shall use the risk-\nweighted one.\n"
    )
    assert [each for each, _ in read(text)] == [
        "An institution shall apply the risk-weighted amount. Each institution shall use the risk-weighted one."
    ]


def test_markdown() -> None:
    text = """# Guide
Setext
------

Some **bold** and *slanted* words[^a].
> quoted

**Article 3 – Own funds**

* one
* two

| Class | Weight |
|:------|-------:|
| A     |        |

[^a]: The note.

```
kept as it is
```
---
### CHAPTER I GENERAL ###
"""
    assert read(text) == [
        ("Guide", "h"),
        ("Setext", "h"),
        ("Some bold and slanted words^a. quoted", "text"),
        ("^a The note.", "footnote"),
        ("Article 3", "i"),
        ("Own funds", "b"),
        ("• one", "text"),
        ("• two", "text"),
        ("| Class | Weight |", "table"),
        ("| A | |", "table"),
        ("kept as it is", "text"),
        ("CHAPTER I", "text"),
        ("GENERAL", "b"),
    ]


@pytest.mark.parametrize(
    "sentence", ["Article 5 of Regulation X applies.", "Article 5 applies to banks", "Part Two of it"]
)
def test_a_sentence_is_no_head(sentence: str) -> None:
    assert read(sentence) == [(sentence, "text")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(encoding: str) -> None:
    text = "Die Größe – ‘so’ – beträgt 5 €, nicht mehr."
    assert [block.text for block in plain_text.blocks(text.encode(encoding))] == [text]


def test_one_broken_byte_is_one_broken_character() -> None:
    data = ("Größe " * 40).encode() + b"\xff" + ("Größe " * 40).encode()
    assert plain_text.blocks(data)[0].text.count("Größe") == 80


@pytest.mark.parametrize(
    ("data", "error_class"),
    [
        (b"", "empty"),
        (b"\n \r\n\t", "empty"),
        (b"%PDF-1.4\nxx", "parse"),
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00" * 10, "parse"),
        (b"*** --- ***\n...", "no_text"),
        (b"\x81\x8d\x8f\x90\x9d" * 50, "bad_encoding"),
    ],
    ids=range(6),
)
def test_what_is_no_text(data: bytes, error_class: str) -> None:
    with pytest.raises(ReadError) as caught:
        plain_text.blocks(data)
    assert caught.value.error_class == error_class


def test_too_long_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "MOST_BYTES", 100)
    with pytest.raises(ReadError, match="more than the 100 ") as caught:
        plain_text.blocks(b"word " * 21)
    assert caught.value.error_class == "limit"


@pytest.mark.parametrize(
    "line",
    [
        "(" * 50_000,
        "*" * 50_000 + "x",
        "| " * 25_000 + "|",
        "[^" * 25_000,
        "a-\n" * 20_000,
        "# " * 20_000,
        "_a" * 25_000,
        "**a " * 25_000,
    ],
)
def test_lines_made_to_be_slow(line: str) -> None:
    """Each would take minutes if a pattern tried all ways to read it."""
    assert plain_text.blocks((line + "\nend of it").encode())
