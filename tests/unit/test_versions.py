"""Versions of a work: which is in force, units put together from chunks, and what changed between two of them."""

from __future__ import annotations

from dataclasses import replace

from finreg_cli.domain.records import Chunk
from finreg_cli.domain.versions import (
    Edit,
    Unit,
    Version,
    compare,
    in_force,
    is_repealed,
    normalised,
    superseded,
    units,
    word_edits,
)


def chunk(text: str, start: int = 0, article: str = "1", title: str = "Rule", **other: object) -> Chunk:
    values: dict[str, object] = {
        "chunk_id": f"{article}:{start}:{text}",
        "document_id": "d",
        "work_id": "32099R0009",
        "version_date": None,
        "path": "act.pdf",
        "file_sha256": "f",
        "title": "Regulation",
        "citation": f"Reg Article {article}",
        "heading_path": ["Title I General", f"Article {article} {title}"],
        "structure": "article",
        "references": [],
        "page_start": 1,
        "page_end": 1,
        "char_start": start,
        "char_end": start + len(text),
        "has_formula": False,
        "suspect_instruction": False,
        "text": text,
        "token_count": 9,
    }
    return Chunk(**{**values, **other})  # type: ignore[arg-type]  # the defaults above have the record's own types


def article(number: str, body: str, title: str = "Rule") -> Unit:
    (unit,) = units([chunk(f"Article {number}\n{title}\n{body}", article=number, title=title)])
    return unit


def changes(old: list[Unit], new: list[Unit]) -> list[tuple[str, str | None, str | None]]:
    found = compare(old, new).changes
    return [(each.change, each.old and each.old.label, each.new and each.new.label) for each in found]


def version(date: str | None, path: str, work: str = "w") -> Version:
    return Version(work, date, path, f"{work}{date}{path}", "f")


def test_the_newest_version_of_each_work_is_in_force() -> None:
    old, new = version("2098-12-31", "z.pdf"), version("2099-01-01", "a.pdf")
    other = version(None, "x.pdf", "v")
    assert in_force([new, old, other]) == {"w": new, "v": other}
    assert superseded([new, old, other]) == {old: new}


def test_a_dated_version_is_newer_than_an_undated_one_and_among_those_the_path_decides() -> None:
    undated, later_path = version(None, "2099/a.pdf"), version(None, "2100/a.pdf")
    assert in_force([later_path, undated])["w"] == later_path
    dated = version("1999-01-01", "0.pdf")
    assert in_force([later_path, dated, undated])["w"] == dated
    assert list(superseded([dated, later_path, undated])) == [undated, later_path]


def test_a_unit_is_its_chunks_without_what_they_repeat() -> None:
    text = "Article 1\nRule\n1. Banks hold capital. They report it. They publish it."
    pieces = [chunk(text[:53], 0), chunk(text[38:], 38)]
    assert text[38:53] == "They report it."
    (unit,) = units(reversed(pieces))
    assert unit.text == normalised(text)
    assert (unit.label, unit.title, unit.citation) == ("Article 1", "Rule", "Reg Article 1")
    assert unit.body == "1. Banks hold capital. They report it. They publish it."
    assert unit.chunk_ids == tuple(piece.chunk_id for piece in pieces)


def test_units_of_a_report_are_its_headings() -> None:
    path = ["2 Capital", "2.1 Ratios"]
    texts = [
        chunk("2 Capital\nIntro", 0, structure="heading", heading_path=path[:1]),
        chunk("2.1 Ratios\nFive", 20, structure="heading", heading_path=path),
    ]
    assert [unit.label for unit in units(texts)] == ["2 Capital", "2 Capital / 2.1 Ratios"]


def test_another_layout_of_the_same_words_is_no_change() -> None:
    one = article("1", "The risk-weighted amount\nis 10^-6 of the\u00ad institution\u2019s  \u201cassets\u201d.")
    two = article("1", 'The riskweighted amount is 10-6 of the institution\'s "assets".')
    assert compare([one], [two]).counts() == {
        "added": 0,
        "changed": 0,
        "removed": 0,
        "renumbered": 0,
        "unchanged": 1,
    }
    assert changes([article("1", "a change of - 5 %")], [article("1", "a change of 5 %")]) != []


def test_added_changed_removed_in_the_order_of_the_text() -> None:
    old = [article("1", "Banks hold 8 %."), article("2", "Nothing else."), article("3", "It is in force.")]
    new = [article("1", "Banks hold 9 %."), article("1a", "Funds hold 1 %."), article("3", "It is in force.")]
    found = compare(old, new)
    assert changes(old, new) == [
        ("changed", "Article 1", "Article 1"),
        ("removed", "Article 2", None),
        ("added", None, "Article 1a"),
    ]
    assert found.counts() == {"added": 1, "changed": 1, "removed": 1, "renumbered": 0, "unchanged": 1}
    edits = found.changes[0].words()
    assert [(edit.old, edit.new) for edit in edits if edit.op != "equal"] == [("8", "9")]


def test_articles_that_moved_up_by_one_are_renumbered_and_not_changed() -> None:
    old = [article("1", "Banks hold capital."), article("2", "Banks report it."), article("3", "It is in force.")]
    new = [article("1", "Wholly new words."), *(article(str(n + 2), old[n].body) for n in range(3))]
    assert changes(old, new) == [
        ("added", None, "Article 1"),
        ("renumbered", "Article 1", "Article 2"),
        ("renumbered", "Article 2", "Article 3"),
        ("renumbered", "Article 3", "Article 4"),
    ]


def test_an_article_of_which_only_the_note_stands_is_removed() -> None:
    for note in ("(deleted)", "[repealed]", "Deleted.", "__________", "\u2014\u2014\u2014\u2014"):
        gone = article("2", note)
        assert gone.is_repealed, note
        assert changes([article("2", "Banks report it.")], [gone]) == [("removed", "Article 2", "Article 2")]
        assert changes([gone], [gone]) == []
        assert changes([gone], [article("2", "Banks report it again.")]) == [("added", None, "Article 2")]
    assert not article("2", "The deleted items are listed.").is_repealed
    assert is_repealed(chunk("Article 2\nRule\n(deleted)", article="2"))
    assert is_repealed(chunk("Article 2\n(deleted)", article="2", title="(deleted)"))
    assert not is_repealed(chunk("Article 2\nRule\nBanks report it.", article="2"))


def test_a_recital_under_another_number_is_the_same() -> None:
    def recital(number: int, text: str) -> Unit:
        heading = ["Preamble", f"Recital {number}"]
        (unit,) = units([chunk(f"({number}) {text}", citation=f"Reg Recital {number}", heading_path=heading)])
        return unit

    assert changes([recital(1, "Banks lend.")], [recital(2, "Banks lend.")]) == [
        ("renumbered", "Recital 1", "Recital 2")
    ]


def test_word_edits_lead_from_one_text_to_the_other() -> None:
    old, new = "a ratio of 4.5 % ; a second of 8 %", "a ratio of 5 % ; a second of 8 % at all times"
    edits = word_edits(old, new)
    assert " ".join(edit.old for edit in edits if edit.old) == old
    assert " ".join(edit.new for edit in edits if edit.new) == new
    assert next(edit for edit in edits if edit.op != "equal") == Edit("replace", "4.5", "5")
    assert edits[-1] == Edit("insert", "", "at all times")
    assert word_edits("one two three", "1 two 3") == [Edit("replace", "one two three", "1 two 3")]
    assert word_edits("", "a") == [Edit("insert", "", "a")]
    assert word_edits("a b", "a b") == [Edit("equal", "a b", "a b")]


def test_a_version_date_does_not_make_another_unit() -> None:
    old = chunk("Article 1\nRule\nBanks lend.")
    new = replace(old, version_date="2101-07-01", document_id="e", page_start=7, char_start=900, char_end=926)
    assert compare(units([old]), units([new])).counts()["unchanged"] == 1
