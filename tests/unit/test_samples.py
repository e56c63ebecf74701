"""The sample regulations: the committed files are what the script makes, and the reader finds what stands in them."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pypdfium2
import pytest

from finreg_cli.documents.reader import EngineName, Settings, read_bytes
from finreg_cli.domain.records import Chunk
from finreg_cli.domain.versions import compare, units

SAMPLES = Path(__file__).parents[2] / "data" / "regulations"
AMENDED = SAMPLES.parent / "regulations-amended"
STEMS = ("sample-large-exposures-and-liquidity", "sample-own-funds", "sample-reporting-and-disclosure")
MADE_WITH_REPORTLAB = "5.1.0"  # as the README beside the samples says

each_sample = pytest.mark.parametrize("stem", STEMS)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("reportlab", reason="the samples are made with reportlab, of the extra dev")
    spec = importlib.util.spec_from_file_location("make_samples", SAMPLES / "make_samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def source_of(stem: str) -> str:
    return (SAMPLES / "source" / f"{stem}.md").read_text(encoding="utf-8")


def plain(text: str) -> str:
    """The words of a piece of source, without its marks for exponents and footnotes."""
    return re.sub(r"\^([^^\]]+)\^", r"\1", re.sub(r"\[\^(\d+)\](?!:)", r"(\1)", text))


def uncaret(text: str) -> str:
    """What the reader made of raised characters, as `plain` has them."""
    return text.replace("^", "")


def articles_of(stem: str) -> dict[str, str]:
    """The text of each article as the source has it, by its head."""
    body = source_of(stem).split("\n+ ")[0]
    articles = {}
    for part in re.split(r"^@ ", body, flags=re.MULTILINE)[1:]:
        lines = [line for line in part.splitlines() if line and not line.startswith("#")]
        number, title = lines[0].split(" | ")
        articles[f"{number} {title}"] = plain("\n".join([number, title, *lines[1:]]))
    return articles


def chunks_of(stem: str, engine: EngineName = "pdfium", folder: Path = SAMPLES) -> list[Chunk]:
    """The chunks of a sample, long enough that no unit is split; a token is a word here."""

    def count_tokens(texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    data = (folder / f"{stem}.pdf").read_bytes()
    settings = Settings(chunk_tokens=5_000, chunk_overlap=0, short_names={}, work_ids={})
    return read_bytes(data, f"{stem}.pdf", engine, settings, count_tokens).chunks


def page_texts(file: Path) -> list[str]:
    with pypdfium2.PdfDocument(file) as document:
        return [page.get_textpage().get_text_range() for page in document]


def test_the_script_makes_the_committed_files(script, tmp_path):
    import reportlab

    made = {file: SAMPLES / file.name for file in script.make_samples(tmp_path)}
    assert [file.name for file in made] == sorted(file.name for file in SAMPLES.glob("*.pdf"))
    assert [file.stem for file in made] == list(STEMS)
    amended = tmp_path / "amended"
    amended.mkdir()
    (of_amended,) = script.make_samples(amended, AMENDED / "source")
    for file, committed in {**made, of_amended: AMENDED / of_amended.name}.items():
        assert page_texts(file) == page_texts(committed)
        if reportlab.__version__ == MADE_WITH_REPORTLAB:
            assert file.read_bytes() == committed.read_bytes()


@each_sample
def test_every_page_says_that_it_is_no_law(stem):
    pages = page_texts(SAMPLES / f"{stem}.pdf")
    assert 4 <= len(pages) <= 7
    assert all("SAMPLE, NOT LAW" in page for page in pages)
    assert pages[0].count("SAMPLE, NOT LAW") == 2  # running head and title
    # Nothing in it may be taken for the number of a real act.
    assert not re.search(r"\((EU|EC|EEC|Euratom)\)|Directive|Official Journal", "".join(pages))


def articles_read(stem: str, engine: EngineName) -> dict[str, str]:
    chunks = [chunk for chunk in chunks_of(stem, engine) if chunk.heading_path[-1:]]
    return {
        chunk.heading_path[-1]: uncaret(chunk.text) for chunk in chunks if chunk.heading_path[-1].startswith("Article")
    }


@each_sample
def test_the_reader_finds_every_article_word_for_word(stem):
    expected = articles_of(stem)
    assert len(expected) >= 26
    assert articles_read(stem, "pdfium") == expected


@each_sample
def test_the_fallback_engine_finds_every_article(stem):
    assert articles_read(stem, "pypdf").keys() == articles_of(stem).keys()


@each_sample
def test_the_reader_finds_recitals_headings_and_the_annex(stem):
    chunks = chunks_of(stem)
    source = source_of(stem)
    recitals = re.findall(r"^(\(\d+\) .+)$", source.split("\n# ")[0], re.MULTILINE)
    # A footnote stands on the lines behind the recital that refers to it.
    read = [chunk.text for chunk in chunks if chunk.heading_path[:1] == ["Preamble"] and chunk.text[0] == "("]
    assert [uncaret(text.splitlines()[0]) for text in read] == [plain(recital) for recital in recitals]
    found = {heading for chunk in chunks for heading in chunk.heading_path}
    headings = re.findall(r"^#{1,3} (\S+ \w+) \| (.+)$", source, re.MULTILINE)
    assert headings
    assert {f"{label} {words}" for label, words in headings} <= found
    assert chunks[-1].heading_path[0].startswith("Annex I ")
    cells = re.findall(r"[^|\n]+", source[source.index("\n| ") :])
    assert [cell.strip() for cell in cells if cell.strip() and cell.strip() not in chunks[-1].text] == []


@each_sample
def test_work_and_title(stem):
    (identity,) = {(chunk.work_id, chunk.title) for chunk in chunks_of(stem)}
    number = source_of(stem).split("number: ")[1].split("\n")[0]
    assert identity[0] == stem
    assert identity[1].startswith(number)


@each_sample
def test_every_article_referred_to_exists(stem):
    articles = articles_of(stem)
    last = len(articles)
    assert [head.split()[1] for head in articles] == [str(number) for number in range(1, last + 1)]
    referred = [int(number) for number in re.findall(r"\bArticle (\d+)\b(?! \|)", source_of(stem))]
    assert referred
    assert max(referred) <= last


@each_sample
def test_lines_are_hyphenated_and_justified(script, stem):
    source = script.parse(source_of(stem))
    columns = script.fill_columns(source, script.TITLE_BOTTOM - script.BOTTOM)
    ends = [line.runs[-1][1][-1].pieces[-1].text for column in columns for line in column.lines]
    assert sum(end.endswith("-") for end in ends) >= 15
    # No line is so loose that a reader of PDFs would take a gap for a column's end.
    assert max(stretch for column in columns for line in column.lines for _, _, stretch in line.runs) < 12


def test_a_block_that_the_script_does_not_know_is_refused(script):
    with pytest.raises(ValueError, match=r"known mark: '\* a bullet'"):
        script.parse("number: 1\n\n> Preamble\n\n@ Article 1 | One\n\n* a bullet\n\n+ ANNEX I | Two\n\n| a | b |")


def test_the_amended_sample_is_the_first_one_with_four_articles_amended():
    old, new = chunks_of("sample-own-funds"), chunks_of("sample-own-funds", folder=AMENDED)
    assert {(chunk.work_id, chunk.version_date) for chunk in new} == {("32099R0001", "2101-07-01")}
    found = {change.unit.label: change.change for change in compare(units(old), units(new)).changes}
    amendments = {"Article 12a": "added", "Article 13": "removed", "Article 20": "changed", "Article 25": "changed"}
    assert {label: change for label, change in found.items() if label.startswith("Article")} == amendments
    # Beside the articles only the date of the version may differ.
    assert found.keys() - amendments.keys() <= {"document", "Preamble"}
    assert all("SAMPLE, NOT LAW" in page for page in page_texts(AMENDED / "sample-own-funds.pdf"))
