"""The mix keeps shares, ceilings and the room of each chunk, and depends on nothing but the rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from finreg_cli.config import Generate
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.mix import LARGEST_SHARE, Candidate, select
from finreg_cli.domain.splits import sampling_key

DEFAULT = dict(Generate(method="rules").kinds)


def candidates(**counts: int) -> list[Candidate]:
    """So many rows of each kind, each from a chunk of its own."""
    return [
        Candidate(f"{number:04}-{kind}", kind, f"{kind}{number}") for kind, n in counts.items() for number in range(n)
    ]


def kinds_of(selected: set[str]) -> Counter[str]:
    return Counter(row_id.partition("-")[2] for row_id in selected)


def test_with_enough_of_each_the_shares_are_kept_exactly() -> None:
    rows = candidates(**dict.fromkeys(DEFAULT, 1000))
    assert kinds_of(select(rows, DEFAULT, 1, 100)) == {kind: round(100 * share) for kind, share in DEFAULT.items()}


def test_lowest_row_ids_are_taken_first() -> None:
    assert select(candidates(definition=50), {"definition": 1.0}, 1, 3) == {
        "0000-definition",
        "0001-definition",
        "0002-definition",
    }


def test_others_fill_up_where_a_kind_is_scarce_but_none_beyond_its_ceiling() -> None:
    rows = candidates(requirement=900, definition=200, threshold=10, deadline=40, procedure=30, unanswerable=900)
    selected = kinds_of(select(rows, DEFAULT, 1, None))
    total = sum(selected.values())
    assert max(selected.values()) <= LARGEST_SHARE * total
    assert selected["unanswerable"] <= 2 * DEFAULT["unanswerable"] * total
    assert selected["threshold"] == 10
    assert selected["requirement"] > DEFAULT["requirement"] * total


def test_kinds_that_are_absent_or_zero_are_not_kept() -> None:
    rows = candidates(definition=5, deadline=5, fact=5)
    assert set(kinds_of(select(rows, {"definition": 1.0, "deadline": 0.0}, 1, None))) == {"definition"}


def test_a_mix_of_one_kind_may_be_all_of_it() -> None:
    assert len(select(candidates(definition=70), {"definition": 1.0}, 1, None)) == 70


def test_missing_kinds_do_not_stop_the_others() -> None:
    assert kinds_of(select(candidates(requirement=30, definition=20), DEFAULT, 1, None)) == {
        "requirement": 30,
        "definition": 20,
    }


@pytest.mark.parametrize("room", [1, 2, 3])
def test_no_chunk_gives_more_rows_than_it_has_room_for(room: int) -> None:
    rows = [Candidate(f"{n:03}", kind, f"c{n % 7}") for n, kind in enumerate([*DEFAULT] * 20)]
    selected = select(rows, DEFAULT, room, None)
    per_chunk = Counter(f"c{int(row_id) % 7}" for row_id in selected)
    assert max(per_chunk.values()) == room


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = candidates(requirement=90, definition=20, threshold=9, unanswerable=50)
    shuffled = random.Random(3).sample(rows, len(rows))
    assert select(rows, DEFAULT, 1, 60) == select(shuffled, DEFAULT, 1, 60)


@pytest.mark.parametrize("limit", [1, 7, 25])
def test_never_more_than_the_limit(limit: int) -> None:
    selected = select(candidates(**dict.fromkeys(DEFAULT, 40)), DEFAULT, 1, limit)
    assert 1 <= len(selected) <= limit


def test_nothing_of_nothing() -> None:
    assert select([], DEFAULT, 2, None) == set()


def test_a_sample_of_the_kept_rows_favours_no_kind() -> None:
    """Taking the lowest row ids would: of the kind with rows to spare only low ones were kept."""
    many = [Candidate(content_hash("many", nth), "requirement", f"c{nth}") for nth in range(5_000)]
    few = [Candidate(content_hash("few", nth), "definition", f"d{nth}") for nth in range(200)]
    kinds = {each.row_id: each.kind for each in many + few}
    kept = select(many + few, {"requirement": 0.5, "definition": 0.5}, rows_per_chunk=1, limit=None)
    share = sum(kinds[row_id] == "requirement" for row_id in kept) / len(kept)
    sample = sorted(kept, key=sampling_key)[:100]
    assert abs(sum(kinds[row_id] == "requirement" for row_id in sample) / 100 - share) < 0.12
    lowest = sorted(kept)[:100]
    assert sum(kinds[row_id] == "requirement" for row_id in lowest) / 100 > share + 0.2


def test_a_scarce_kind_does_not_throw_the_others_away() -> None:
    """Seen on three EBA papers: of 64 rows that stood, one procedure row let only 5 through."""
    supply = {"requirement": 50, "unanswerable": 13, "procedure": 1}
    rows = [Candidate(f"{kind}{nth:03}", kind, f"{kind}{nth}") for kind, many in supply.items() for nth in range(many)]
    kept = select(rows, DEFAULT, rows_per_chunk=1, limit=None)
    assert len(kept) >= len(rows) / 4
