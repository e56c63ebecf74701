"""Near documents: copies with some values exchanged are found, documents of one form are not taken for copies."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from finreg_cli.domain.near_documents import NearDocuments

SAMPLES = Path(__file__).parents[2] / "data" / "leases" / "leases.jsonl"
FORM = (
    "This lease is made between {lessor} as Landlord and {lessee} as Tenant. The Landlord lets {space} from {start} to "
    "{end}, and the Tenant shall pay a rent of {rent} in advance on the first day of each month without any deduction. "
    "The Tenant shall keep the premises in good repair, shall not sublet without the consent of the Landlord, "
    "and shall yield up the premises at the end. The deposit of {deposit} is held by {agent}. Dated {dated}."
)
FIRST = {
    "lessor": "Harbour Point Trust",
    "lessee": "Tobias Wren",
    "space": "Unit 7, 12 Quarry Lane",
    "start": "1 March 2011",
    "end": "29 February 2016",
    "rent": "$1,250.00",
    "deposit": "$3,750.00",
    "agent": "Lumen Agency",
    "dated": "3 February 2011",
}
SECOND = {
    "lessor": "Stonebridge Estates, Inc.",
    "lessee": "Copperleaf Bakery LLC",
    "space": "the shop at 88 Vine Court",
    "start": "July 15, 2017",
    "end": "July 14, 2020",
    "rent": "EUR 900",
    "deposit": "EUR 2,700",
    "agent": "Orla Feldman",
    "dated": "June 30, 2017",
}
THIRD = {key: f"{key.upper()} number {nth} of another paper" for nth, key in enumerate(FIRST, start=300)}


def test_the_same_words_are_near_whatever_their_case_and_blanks():
    near = NearDocuments()
    near.add("first", FORM.format(**FIRST))
    assert near.near(FORM.format(**FIRST).upper().replace(" ", "\n")) == "first"
    assert near.near("Something else altogether, with no word of it.") is None


@pytest.mark.parametrize("exchanged", list(itertools.combinations(FIRST, 2)))
def test_a_copy_with_two_values_exchanged_is_near(exchanged):
    near = NearDocuments([FORM.format(**SECOND)])
    near.add("first", FORM.format(**FIRST))
    assert near.near(FORM.format(**FIRST | {key: THIRD[key] for key in exchanged})) == "first"


def test_a_form_that_training_knows_is_not_near_with_other_values():
    near = NearDocuments([FORM.format(**SECOND)])
    near.add("first", FORM.format(**FIRST))
    assert near.near(FORM.format(**THIRD)) is None
    # One value in common is a coincidence.
    assert near.near(FORM.format(**THIRD | {"start": FIRST["start"]})) is None


def test_a_form_that_training_does_not_know_is_near_although_names_and_numbers_differ():
    near = NearDocuments(["A text about something else."])
    near.add("first", FORM.format(**FIRST))
    assert near.near(FORM.format(**SECOND)) == "first"


def test_the_nearest_is_named():
    near = NearDocuments([FORM.format(**SECOND)])
    near.add("far", FORM.format(**FIRST | {key: THIRD[key] for key in ("lessor", "lessee", "space")}))
    near.add("first", FORM.format(**FIRST))
    near.add("first", FORM.format(**FIRST))
    assert near.near(FORM.format(**FIRST | {"rent": "$9,999.00"})) == "first"


def test_a_text_of_known_words_only_is_near_to_its_equal_alone():
    near = NearDocuments([FORM.format(**FIRST)])
    near.add("copy", FORM.format(**FIRST))
    near.add("", "")
    assert near.near(FORM.format(**FIRST)) == "copy"
    assert near.near(FORM.format(**SECOND)) is None
    assert near.near("One word") is None


def test_copies_are_found_among_thousands():
    chance = random.Random(4)
    words = [f"word{nth}" for nth in range(5_000)]
    texts = [" ".join(chance.choices(words, k=120)) for _ in range(2_000)]
    near = NearDocuments(texts[:100])
    for nth, text in enumerate(texts[100:], start=100):
        near.add(str(nth), text)
    for nth in chance.sample(range(100, 2_000), 50):
        assert near.near(texts[nth] + " and a tail of some further words") == str(nth)
    assert all(near.near(" ".join(chance.choices(words, k=120))) is None for _ in range(50))


# --- the sample leases -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples() -> dict[str, list[dict[str, Any]]]:
    rows = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    return {half: [row for row in rows if row["split"] == half] for half in ("train", "holdout")}


def test_a_sample_lease_with_two_values_exchanged_is_near(samples):
    near = NearDocuments(row["lease_doc"] for row in samples["train"])
    for row in samples["holdout"]:
        near.add(row["lease_id"], row["lease_doc"])
    chance = random.Random(1)
    for row, other in zip(samples["holdout"], samples["holdout"][16:] + samples["holdout"][:16], strict=True):
        both = [key for key in row["labels"] if row["labels"][key] and other["labels"][key]]
        text = row["lease_doc"]
        for key in chance.sample(both, 2):
            text = _exchanged(text, row["labels"][key], other["labels"][key])
        assert near.near(text) == row["lease_id"]


def test_sample_leases_of_one_form_are_not_near(samples):
    for row in samples["holdout"]:
        near = NearDocuments(each["lease_doc"] for each in samples["train"])
        for each in samples["holdout"]:
            if each is not row:
                near.add(each["lease_id"], each["lease_doc"])
        assert near.near(row["lease_doc"]) is None


def _exchanged(text: str, old: str, new: str) -> str:
    return re.sub(r"\s+".join(map(re.escape, old.split())), lambda found: new, text)
