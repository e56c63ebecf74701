"""Windows hold all of a document, and what they say is merged by the stated rule."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from finreg_cli.domain.extraction import LEASE, Field, Schema
from finreg_cli.domain.windows import TokenOffsets, Window, labels_of, merge, windows

SCHEMA = Schema((Field("lessee", kind="name"), Field("area", type="integer", kind="amount")))
PIECES = [
    *"abcdefghij",
    "lease ",
    "tenant",
    " ",
    "  ",
    "\n",
    "\n\n\n",
    "\t",
    "\u00e9",
    "\u6f22\u5b57",
    "\U0001f600",
    "2,500",
]


@pytest.fixture(scope="module")
def offsets(tokenizer_file: Path) -> TokenOffsets:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).offsets


def words(text: str) -> list[tuple[int, int]]:
    """A word is a token, and blanks are none."""
    return [found.span() for found in re.finditer(r"\S+", text)]


def assert_covers(found: Sequence[Window], document: str) -> None:
    assert found[0].start == 0
    assert found[-1].end == len(document)
    assert all(window.text == document[window.start : window.end] for window in found)
    assert all(before.start < after.start <= before.end < after.end for before, after in pairwise(found))


def test_a_short_document_is_one_window_and_an_empty_one_too(offsets: TokenOffsets) -> None:
    assert windows("", offsets, 8, 2) == [Window(0, 0, "")]
    assert windows(" a lease ", words, 2, 1) == [Window(0, 9, " a lease ")]
    assert windows("   ", words, 8, 2) == [Window(0, 3, "   ")]


def test_windows_begin_and_end_between_lines_else_between_words(offsets: TokenOffsets) -> None:
    lines = "".join(f"line {nth} of the lease\n" for nth in range(40))
    for window in windows(lines, words, 48, 10):
        assert window.text.startswith("line ")
        assert window.text.endswith("\n")
    plain = " ".join(f"word{nth}" for nth in range(200))
    assert all(window.text.startswith("word") for window in windows(plain, offsets, 96, 20))
    assert all(window.text.endswith(" ") for window in windows(plain, offsets, 96, 20)[:-1])


@pytest.mark.parametrize("seed", range(40))
def test_random_documents(offsets: TokenOffsets, seed: int) -> None:
    chance = random.Random(seed)
    document = "".join(chance.choices(PIECES, k=chance.randrange(1, 600)))
    # Of the tokenizer's, a character can have four: windows of so few are another test.
    measure, fewest = chance.choice([(offsets, 16), (words, 2)])
    tokens = chance.choice([chance.randrange(fewest, 20), chance.randrange(20, 120)])
    overlap = chance.randrange(0, tokens // 2 + 1)

    found = windows(document, measure, tokens, overlap)

    assert_covers(found, document)
    assert all(len(measure(window.text)) <= tokens for window in found)
    assert len(found) <= 1 + 8 * len(measure(document)) / tokens, "every window moves on by a good part of itself"
    # Whatever is no longer than the overlap stands whole in a window.
    spans = measure(document)
    for first in range(len(spans)):
        last = min(first + overlap, len(spans)) - 1
        if last >= first:
            start, end = spans[first][0], spans[last][1]
            assert any(window.start <= start and end <= window.end for window in found)


@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
def test_tiny_windows_and_characters_of_several_tokens(offsets: TokenOffsets, tokens: int) -> None:
    document = "\U0001f600\u6f22a b\n\n\U0001f600\U0001f600 "
    found = windows(document, offsets, tokens, tokens)
    assert (found[0].start, found[-1].end) == (0, len(document))
    assert all(before.start < after.start <= before.end for before, after in pairwise(found)), "no gap, and no end"
    assert all(len(offsets(window.text)) <= tokens or len(window.text) == 1 for window in found)


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_last_character_of_several_tokens_with_blanks_behind_it(tokens: int) -> None:
    def twice(text: str) -> list[tuple[int, int]]:
        return [span for span in ((nth, nth + 1) for nth, letter in enumerate(text) if letter != " ") for _ in "12"]

    found = windows("ab cd ", twice, tokens, 0)
    assert_covers(found, "ab cd ")
    assert [window.text.strip() for window in found] == ["a", "b", "c", "d"]


def test_an_overlap_of_more_than_half_is_taken_for_the_half() -> None:
    document = " ".join("word" for _ in range(1000))
    assert windows(document, words, 100, 100) == windows(document, words, 100, 50)


def test_one_giant_line_without_blanks(offsets: TokenOffsets) -> None:
    document = "ab" * 10_000
    found = windows(document, offsets, 500, 50)
    assert_covers(found, document)
    assert all(len(offsets(window.text)) <= 500 for window in found)


def test_a_hundred_pages_are_measured_about_twice() -> None:
    """Linear, without a clock: all windows together measure little more than the document once more."""
    document = "\n".join(" ".join(f"word{nth}" for nth in range(12)) for _ in range(12_500))
    measured = 0

    def offsets(text: str) -> list[tuple[int, int]]:
        nonlocal measured
        measured += len(text)
        return words(text)

    found = windows(document, offsets, 1024, 128)
    assert_covers(found, document)
    assert 150_000 / 1024 < len(found) < 150_000 / 700
    assert measured < 2.6 * len(document)


# --- labels ----------------------------------------------------------------------------------------------------------


def test_a_window_says_what_stands_in_it() -> None:
    document = "The tenant is ACME Inc.\nThe area is 2500 square feet."
    first, second = Window(0, 24, document[:24]), Window(24, len(document), document[24:])
    labels = {"lessee": "ACME  Inc.", "area": 2500}
    assert labels_of(first, document, labels, SCHEMA) == {"lessee": "ACME  Inc.", "area": None}
    assert labels_of(second, document, labels, SCHEMA) == {"lessee": None, "area": 2500}


def test_the_only_window_says_everything_even_what_is_not_verbatim() -> None:
    document = "The tenant is ACME."
    labels = {"lessee": "Acme Corporation", "area": None}
    assert labels_of(Window(0, len(document), document), document, labels, SCHEMA) == labels


def lessee(*said: tuple[str, str | None]) -> object:
    """What windows of the given texts agree on."""
    findings = [(Window(0, len(text), text), {"lessee": value, "area": None}) for text, value in said]
    return merge(findings, SCHEMA)["lessee"]


def test_a_value_that_stands_in_its_window_beats_more_that_do_not() -> None:
    assert lessee(("no name", "BETA"), ("still none", "BETA"), ("let to ACME", "ACME")) == "ACME"


def test_then_most_windows_whatever_the_case_and_blanks_then_the_earliest() -> None:
    assert lessee(("ACME", "ACME"), ("BETA  Inc", "BETA Inc"), ("beta inc", "beta\ninc")) == "BETA Inc"
    assert lessee(("ACME", "ACME"), ("BETA", "BETA")) == "ACME"


def test_among_values_that_stand_nowhere_the_same_rule_holds() -> None:
    assert lessee(("x", "ACME"), ("y", "BETA"), ("z", "BETA")) == "BETA"


def test_null_is_what_no_window_contradicts() -> None:
    assert lessee(("x", None), ("y", None)) is None
    assert lessee(("x", None), ("let to ACME", "ACME"), ("y", None)) == "ACME"
    assert merge([], SCHEMA) == {"lessee": None, "area": None}


def test_what_the_windows_of_a_real_lease_say_is_what_the_lease_says() -> None:
    path = Path(__file__).parents[2] / "../shared/data/leases/real_leases.jsonl"
    if not path.exists():
        pytest.skip("the real leases are not beside the project")
    for line in path.read_text(encoding="utf-8").splitlines():
        lease = json.loads(line)
        document, labels = lease["lease_doc"], lease["labels"]
        cut = windows(document, words, 400, 60)
        assert len(cut) > 2
        assert merge([(window, labels_of(window, document, labels, LEASE)) for window in cut], LEASE) == labels
