"""Footnotes and exponents look alike in running text; only what is certainly a footnote is taken away."""

from __future__ import annotations

import pytest

from finreg_cli.domain.notes import has_mark, without_notes


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("No footnotes, 5 %.", "No footnotes, 5 %."),
        ("The CRD^4.\n^4 Directive 2006/48/EC.\nNext line.", "The CRD.\nNext line."),
        ("accounts (^1), or\n(^1) OJ L 50, p. 1.", "accounts, or"),
        ("accounts (^1), whose note is in another chunk", "accounts, whose note is in another chunk"),
        ("risk^3 without its note", "risk^3 without its note"),
        ("10^3 coins and risk^3\n^3 See Annex I.", "10^3 coins and risk"),
        ("10^-6 and x^2 m^2", "10^-6 and x^2 m^2"),
        ("a^12 and b^1\n^1 A note.", "a^12 and b"),
        ("(1) A point.\n3 See Annex I.\n^-6 is a power", "(1) A point.\n3 See Annex I.\n^-6 is a power"),
        ("starred^* word\n^* A note.", "starred word"),
    ],
)
def test_footnotes_and_their_marks_are_taken_away(text: str, left: str) -> None:
    assert without_notes(text) == left


@pytest.mark.parametrize("text", ["banks^3", "own funds.^12", "banks (^1)", "law)^2", "star^*"])
def test_marks(text: str) -> None:
    assert has_mark(text)


@pytest.mark.parametrize("text", ["10^-6", "x^2", "5 m^2", "10^3 coins", "Article 5(1)", "e^-x"])
def test_exponents_are_no_marks(text: str) -> None:
    assert not has_mark(text)
