"""Broken and run-together words, put right by the document's own vocabulary."""

from __future__ import annotations

import pytest

from finreg_cli.documents.hyphens import Vocabulary, unwrapped
from finreg_cli.documents.lines import LINE_HYPHEN, LOST_BLANK

HYPHENATING = [
    "risk-weighted exposures, the requirement, own funds and funds, jump to default, off-balance sheet items, balance",
    "vis-\u00e0-vis the party",
    f"require{LINE_HYPHEN}ment",
    f"expo{LINE_HYPHEN}sures",
    "sided risk risk risk linear linear linear credit credit credit",
]


@pytest.mark.parametrize(
    ("left", "right", "resolved"),
    [
        ("risk", "weighted", "risk-weighted"),
        ("require", "ment", "requirement"),
        ("trans", "parency", "transparency"),
        ("non", "objection", "non-objection"),
        ("one", "sided", "one-sided"),
        ("pre", "empt", "pre-empt"),
        ("side", "effects", "side-effects"),
        ("risk", "based", "risk-based"),
        ("credit", "linear", "credit-linear"),
        ("EBA", "RTS", "EBA-RTS"),
        ("2010", "12", "2010-12"),
        ("on", "or off-balance sheet", "on- or off-balance sheet"),
        ("jump", "to-default", "jump-to-default"),
        ("vis-\u00e0", "vis", "vis-\u00e0-vis"),
        ("off-bal", "ance sheet", "off-balance sheet"),
        ("the end", "", "the end-"),
    ],
)
def test_hyphens_at_line_ends_go_by_the_documents_own_words(left: str, right: str, resolved: str) -> None:
    assert Vocabulary(HYPHENATING).resolve(f"{left}{LINE_HYPHEN}{right}") == resolved


def test_a_hyphen_that_ends_a_printed_line_stays_next_to_what_it_continues() -> None:
    words = Vocabulary(HYPHENATING)
    for lines, whole in {
        ("a 12-", "month report"): "a 12-month report",
        ("{module code}-", "find.xml"): "{module code}-find.xml",
        ("2009-", "2011"): "2009-2011",
        ("the balance-", "sheet"): "the balance-sheet",
        ("6-", "or 12-month"): "6- or 12-month",
        ("a dash -", "and more"): "a dash - and more",
    }.items():
        assert words.resolve(unwrapped(lines)) == whole


def test_plural_and_singular_vouch_for_each_other() -> None:
    assert Vocabulary([*HYPHENATING, "sub-groups"]).resolve(f"a sub{LINE_HYPHEN}group") == "a sub-group"
    assert Vocabulary([*HYPHENATING, "the institution"]).resolve(f"insti{LINE_HYPHEN}tutions") == "institutions"


def test_a_document_that_breaks_no_syllables_keeps_every_hyphen() -> None:
    texts = [f"fair{LINE_HYPHEN}valued", f"cross{LINE_HYPHEN}border", "fair-valued cross-border"]
    assert Vocabulary(texts).resolve(f"beta{LINE_HYPHEN}political") == "beta-political"
    assert Vocabulary([*HYPHENATING]).resolve(f"beta{LINE_HYPHEN}political") == "betapolitical"


def test_several_breaks_in_one_text_are_each_resolved() -> None:
    text = f"risk{LINE_HYPHEN}weighted re{LINE_HYPHEN}quire{LINE_HYPHEN}ment"
    assert Vocabulary(HYPHENATING).resolve(text) == "risk-weighted requirement"


def test_a_lost_blank_is_put_back_where_the_words_are_known() -> None:
    words = Vocabulary(["in order to " * 3, "institutions " * 3, "a report"])
    assert words.resolve(f"in order{LOST_BLANK}to") == "in order to"
    assert words.resolve(f"in{LOST_BLANK}order{LOST_BLANK}to") == "in order to"
    assert words.resolve(f"insti{LOST_BLANK}tutions") == "institutions"
    assert words.resolve(f"ob{LOST_BLANK}solete") == "obsolete"


def test_a_word_of_the_document_is_not_split() -> None:
    words = Vocabulary(["in in in to to to into into into"])
    assert words.resolve(f"in{LOST_BLANK}to") == "into"


def test_a_document_that_loses_many_blanks_may_lose_one_before_a_new_word_and_behind_a_comma() -> None:
    lossy = [f"of{LOST_BLANK}the" for _ in range(5)]
    known = ["guidelines rather risk " * 3]
    assert Vocabulary([*lossy, *known]).resolve(f"guidelines{LOST_BLANK}focus") == "guidelines focus"
    assert Vocabulary([*lossy, *known]).resolve("risk,rather") == "risk, rather"
    assert Vocabulary(known).resolve(f"guidelines{LOST_BLANK}focus") == "guidelinesfocus"
    assert Vocabulary(known).resolve("risk,rather") == "risk,rather"
