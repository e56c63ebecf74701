from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

from fakes import html_acts
from fakes.html_acts import Act
from finreg_cli.documents import html, layout, plain_text
from finreg_cli.documents.errors import ReadError
from finreg_cli.documents.pdfium import PdfiumEngine
from finreg_cli.domain.chunking import chunk_document
from finreg_cli.domain.legal_structure import Block, identify, structure

SAMPLES = ("sample-own-funds", "sample-large-exposures-and-liquidity", "sample-reporting-and-disclosure")


def texts(source: str | bytes) -> list[str]:
    return [block.text for block in html.blocks(source if isinstance(source, bytes) else source.encode())]


def page(body: str) -> str:
    return f"<html><body>{body}</body></html>"


# --- The makes of the Official Journal -------------------------------------------------------------------------------


def cited(blocks: Sequence[Block], opening: Sequence[str], stem: str) -> list[tuple[str, str]]:
    """Citation and text of each chunk. Carets are left out: the samples raise a mark with its brackets."""
    kept = [block for block in blocks if block.kind != "footnote"]
    document = structure(kept, identify(kept, opening, stem, {}, {}))
    chunks = chunk_document(document, f"{stem}.x", "0" * 64, lambda each: [len(text.split()) for text in each], 60, 0)
    return [(chunk.citation, chunk.text.replace("^", "")) for chunk in chunks]


@cache
def printed(stem: str) -> list[tuple[str, str]]:
    engine = PdfiumEngine((html_acts.SOURCES.parent / f"{stem}.pdf").read_bytes())
    pages = list(engine.lines())
    engine.close()
    return cited(layout.blocks(pages), [line.text for line in pages[0]], stem)


@pytest.mark.parametrize("stem", SAMPLES)
@pytest.mark.parametrize("make", [html_acts.present, html_acts.previous, html_acts.consolidated])
def test_the_same_citations_and_texts_as_from_the_pdf(stem: str, make: Callable[[Act], str]) -> None:
    blocks = html.blocks(make(html_acts.act(stem)).encode())
    assert cited(blocks, [block.text for block in blocks[:20]], stem) == printed(stem)
    assert len({citation for citation, _ in printed(stem)}) > 40


@pytest.mark.parametrize("stem", SAMPLES)
def test_bare_paragraphs_give_the_same_articles(stem: str) -> None:
    """The oldest make has no tables, so the annex differs."""
    blocks = html.blocks(html_acts.bare(html_acts.act(stem)).encode())
    found = cited(blocks, [block.text for block in blocks[:20]], stem)
    assert [each for each in found if "Annex" not in each[0]] == [
        each for each in printed(stem) if "Annex" not in each[0]
    ]


@pytest.mark.parametrize("make", [html_acts.present, html_acts.previous, html_acts.consolidated])
def test_footnotes_stand_behind_their_mark(make: Callable[[Act], str]) -> None:
    blocks = html.blocks(make(html_acts.act("sample-own-funds")).encode())
    first, second = (index for index, block in enumerate(blocks) if block.kind == "footnote")
    assert blocks[first - 1].text == "Having heard the Sample Supervisory Board (^1),"
    assert blocks[first].text.startswith("(^1) Sample opinion of 14 November 2098.")
    assert blocks[second - 1].text.startswith("(4) Capital that two institutions")
    assert blocks[second].text == "(^2) The limit for small positions is set out in Article 12."


def test_an_act_of_the_present_make() -> None:
    source = """<?xml version="1.0" encoding="UTF-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body>
        <p class="oj-doc-ti">REGULATION (EU) 2022/2554 OF THE EUROPEAN PARLIAMENT AND OF THE COUNCIL</p>
        <p class="oj-doc-ti">of 14 December 2022</p><p class="oj-doc-ti">on digital operational resilience</p>
        <p class="oj-normal">THE EUROPEAN PARLIAMENT,</p></body></html>"""
    blocks = html.blocks(source.encode())
    identity = identify(blocks, [block.text for block in blocks], "x", {}, {})
    assert (identity.work_id, identity.version_date, identity.short_name) == ("32022R2554", "2022-12-14", "DORA")


def test_the_version_of_a_consolidated_act() -> None:
    source = page(
        '<p class="reference">02013R0575 — EN — 09.07.2024 — 018.001</p><p class="title-doc-first">REGULATION (EU) '
        'No 575/2013 OF THE EUROPEAN PARLIAMENT</p><p class="title-doc-last">of 26 June 2013</p>'
        '<p class="norm">►M8 Text, ◄ ▼M3 —————</p>'
    )
    blocks = html.blocks(source.encode())
    identity = identify(blocks, [block.text for block in blocks[:20]], "x", {}, {})
    assert (identity.work_id, identity.version_date) == ("32013R0575", "2024-07-09")
    assert blocks[-1].text == "Text,"


def test_points_within_points_and_further_paragraphs() -> None:
    source = page(
        '<p class="oj-normal">1.   The following:</p><table width="100%" border="0"><tr><td><p>(a)</p></td><td><p>'
        "assets:</p><table><tr><td>(i)</td><td>cash;</td></tr><tr><td>(ii)</td><td>gold.</td></tr></table><p>"
        "All of them.</p></td></tr><tr><td>—</td><td>debts.</td></tr></table>"
    )
    assert texts(source) == ["1. The following:", "(a) assets:", "(i) cash;", "(ii) gold.", "All of them.", "— debts."]


def test_formulas_in_images_flag_their_paragraph() -> None:
    blocks = html.blocks(
        page('<p>The amount is:</p><p><img alt="Formula" src="x.gif"/></p><p>where<img alt="logo"/> E</p>').encode()
    )
    assert [(block.text, block.formula) for block in blocks] == [("The amount is:", True), ("where E", False)]


# --- Any page --------------------------------------------------------------------------------------------------------


def test_headings_lists_and_what_is_not_text() -> None:
    source = """<!doctype html><html><head><title>T</title><style>p{}</style><meta charset=utf-8></head><body>
      <nav>Menu</nav><header role="banner">Bank</header><main><h1>Guide to <em>risk</em></h1><script>var x;</script>
      <h2>1. Scope</h2><p>One<br>line<!-- not this --> &amp; more.</p><p hidden>no</p><p style="display: none">no</p>
      <ul><li>first</li><li>(b) second</li></ul><ol start=3><li>third</li></ol><ol type=a><li><p>fourth</p></ol>
      <pre>Kept
together

apart</pre></main><footer>About</footer>"""
    blocks = html.blocks(source.encode())
    assert [block.text for block in blocks] == [
        "Guide to risk",
        "1. Scope",
        "One line & more.",
        "• first",
        "(b) second",
        "3. third",
        "(a) fourth",
        "Kept together",
        "apart",
    ]
    assert [block.bold for block in blocks[:3]] == [True, True, False]
    assert blocks[0].size > blocks[1].size > blocks[2].size
    assert {(block.page_start, block.page_end) for block in blocks} == {(1, 1)}


def test_heads_with_their_titles_in_one_heading() -> None:
    source = page(
        "<h2>CHAPTER I<br/>GENERAL</h2><h3>Article 1 – Scope</h3><p>Text.</p><h3>Article 2</h3><h4>Terms</h4>"
    )
    assert [(block.text, block.bold, block.italic) for block in html.blocks(source.encode())] == [
        ("CHAPTER I", False, False),
        ("GENERAL", True, False),
        ("Article 1", False, True),
        ("Scope", True, False),
        ("Text.", False, False),
        ("Article 2", False, True),
        ("Terms", True, False),
    ]


def test_raised_and_lowered_characters() -> None:
    source = page("<p>risk<sup>3</sup>, 10<sup>-6</sup>, CO<sub>2</sub>, the 1<sup>st</sup>, x<sup> </sup>y</p>")
    assert texts(source) == ["risk^3, 10^-6, CO2, the 1st, x y"]


def test_tables_of_data_keep_their_empty_cells() -> None:
    source = page(
        "<table><tr><th>Class</th><th colspan=2>Weight</th></tr><tr><td rowspan=2>A</td><td></td><td>10 %</td></tr>"
        "<tr><td>x|y</td><td>20<sup>2</sup></td></tr></table>"
    )
    blocks = html.blocks(source.encode())
    assert [block.text for block in blocks] == ["| Class | Weight | |", "| A | | 10 % |", "| | x\\|y | 20^2 |"]
    assert {block.kind for block in blocks} == {"table"}


def test_footnotes_of_any_page() -> None:
    source = page(
        '<p>One<sup><a href="#fn1" id="r1">1</a></sup> and two <a href="#fn2" id="r2">[2]</a>.</p><p>See '
        '<a href="#s">(3)</a>.</p><h2 id="s">Rest</h2><p>End.</p><ol><li id="fn1">Note one. <a href="#r1">↩</a></li>'
        '<li id="fn2"><p>Note two.</p></li></ol>'
    )
    blocks = html.blocks(source.encode())
    assert [(block.text, block.kind) for block in blocks] == [
        ("One^1 and two [2].", "text"),
        ("^1 Note one.", "footnote"),
        ("[2] Note two.", "footnote"),
        ("See (3).", "text"),
        ("Rest", "text"),
        ("End.", "text"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        "<p>Größe – ‘x’</p>".encode("utf-8-sig"),
        "<p>Größe – ‘x’</p>".encode("utf-16"),
        "<p>Größe – ‘x’</p>".encode(),
        "<p>Größe – ‘x’</p>".encode("cp1252"),
        b"<meta charset=iso-8859-1>" + "<p>Größe – ‘x’</p>".encode("cp1252"),
        b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1252">'
        + "<p>Größe – ‘x’</p>".encode("cp1252"),
        b"<?xml version='1.0' encoding='iso-8859-1'?><p>" + "Größe – ‘x’</p>".encode("cp1252"),
        b"<meta charset=utf-16>" + "<p>Größe – ‘x’</p>".encode(),
        b"<meta charset=zlib>" + "<p>Größe – ‘x’</p>".encode(),
        b"<p>Gr&ouml;&szlig;e&nbsp;&#8211; &lsquo;x&rsquo;</p>",
        b'<?xml version="1.0"?><p>Gr&ouml;&szlig;e&nbsp;&#8211; &lsquo;x&rsquo;</p>',
    ],
    ids=range(11),
)
def test_charsets_and_entities(data: bytes) -> None:
    assert texts(data) == ["Größe – ‘x’"]


def test_no_character_that_cannot_be_stored() -> None:
    found = texts(page("<p>a&#xD800;b\x01c&#0;d\u00ade\ufffef</p>"))[0]
    assert found.encode().decode() == found
    assert not any(each in found for each in ("\x01", "\x00", "\u00ad", "\ufffe"))


# --- Hostile pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error_class", "message"),
    [
        (b"", "empty", "holds nothing"),
        (b" \n\x00", "empty", "holds nothing"),
        (b"%PDF-1.7\n<html>", "parse", "is a PDF by its content"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "parse", "is no text"),
        (b"just words", "parse", "holds no element"),
        (page("<p> </p><script>x</script>").encode(), "no_text", "hold no text"),
        (b"<!-- only -->\n<!-- comments --><html></html>", "no_text", "hold"),
        (page("<form><input type='password'></form>Sign in").encode(), "no_text", "guards the document"),
        (page("<script src='//x.awswaf.com/challenge.js'></script><p>Wait</p>").encode(), "no_text", "guards"),
        (b"<html><body>" + b"<div><p>text</p>" * 5, "truncated", "<div> open"),
        (b"<html><body><p>one</p><p>two</p><p>thr", "truncated", "<p> open"),
        (b"<?xml version='1.0'?><html><body><div><p>x</p>", "truncated", "<div> open"),
        (b"<html><body><p>text <b", "truncated", "within a tag"),
        (b"<html><body>" + b"<div>" * 100_000 + b"deep" + b"</div>" * 100_000 + b"</body></html>", "limit", "deeper"),
        (b"<p>" + b"\x81\x8d\x8f\xff" * 100 + b"</p>", "bad_encoding", "in no encoding"),
    ],
    ids=range(15),
)
def test_what_is_no_document(data: bytes, error_class: str, message: str) -> None:
    with pytest.raises(ReadError, match=message) as caught:
        html.blocks(data)
    assert caught.value.error_class == error_class


def test_too_long_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "MOST_BYTES", 1000)
    with pytest.raises(ReadError, match="more than the 1000") as caught:
        html.blocks(page("<p>text</p>" * 100).encode())
    assert caught.value.error_class == "limit"
    image = f'<p>text<img src="data:image/png;base64,{"A" * 5000}"/></p>'
    assert texts(page(image)) == ["text"]  # images within do not count


def test_too_many_elements() -> None:
    with pytest.raises(ReadError, match="has 600004 tags") as caught:
        html.blocks(page("<p>" * 600_000).encode())
    assert caught.value.error_class == "limit"


def test_entity_bombs_and_files_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    bomb = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {x} "&{y};&{y};&{y};&{y};">' for x, y in zip("bcdefghijklm", "abcdefghijkl", strict=True)
    )
    source = (
        f'<?xml version="1.0"?><!DOCTYPE html [{bomb}<!ENTITY file SYSTEM "{secret.as_uri()}">]>'
        "<html><body><p>text &m; &file;</p></body></html>"
    )
    found = " ".join(texts(source))
    assert "text" in found
    assert "secret" not in found
    assert len(found) < 2000


@pytest.mark.parametrize(
    "source",
    [
        "<table>" * 200 + "<tr><td>x",
        "<table><tr><td colspan=1000000 rowspan=1000000>x</td><td>y</td></tr></table>",
        "<ol start=99999999999999999999><li value=x>x</ol>",
        "<p>" + "<b>" * 100 + "x",
        "<li>x</li></ol></ul></ol><p>y",
        "<a href='#a' id='a'><sup>1</sup></a> x <p id=a>1 x</p>",
        "<h1><table><tr><td>x</h1></table>",
        "<math alttext='x=y'><mi>x</mi></math>",
        "<svg><p>x</svg> x",
    ],
)
def test_broken_markup_is_read_as_far_as_it_goes(source: str) -> None:
    assert any("x" in text for text in texts(page(source) if "</" in source[-9:] else source))


def test_no_mutation_of_a_page_gets_through_unclassified() -> None:
    """Bytes are changed, taken out and doubled by a seeded generator; whatever comes is blocks or a `ReadError`."""
    data = html_acts.present(html_acts.act("sample-own-funds")).encode()
    data = data[:12_000] + data[-200:]
    chance = random.Random(7)
    outcomes = set()
    for _ in range(150):
        mutated = bytearray(data)
        for _ in range(chance.randint(1, 30)):
            place = chance.randrange(len(mutated) - 50)
            change = chance.randrange(4)
            if change == 0:
                mutated[place] = chance.randrange(256)
            elif change == 1:
                del mutated[place : place + chance.randrange(50)]
            elif change == 2:
                mutated[place:place] = mutated[place : place + 50]
            else:
                mutated[place:place] = chance.choice([b"<table>", b"</div>", b"<!--", b"&#x", b"]]>", b"<p", b"\x00"])
        try:
            outcomes.add(all(isinstance(block, Block) and block.text for block in html.blocks(bytes(mutated))))
        except ReadError as error:
            outcomes.add(error.error_class)
    assert True in outcomes
    assert False not in outcomes
