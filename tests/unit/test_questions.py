"""The questions of a data set: none stands twice, and none on both sides of the split."""

from __future__ import annotations

import pytest

from finreg_cli.domain.questions import Questions

ONE, OTHER = "Which reports must banks submit to their authority?", "Which report must banks submit to its authority?"


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("train", "train", "near_duplicate"),
        ("validation", "validation", "near_duplicate"),
        ("validation", "train", "near_validation"),
        ("train", "validation", "near_duplicate"),
    ],
)
def test_the_second_of_two_that_are_alike_is_refused_by_its_name(first: str, second: str, name: str) -> None:
    questions = Questions()
    assert questions.take("one", ONE, first) is None
    assert questions.take("other", OTHER, second) == f"{name}: one"
    assert questions.near(OTHER) == "one"  # what is refused does not stand


def test_one_that_is_given_back_leaves_its_place() -> None:
    questions = Questions()
    questions.add("one", ONE, "train")
    questions.discard("one", ONE)
    assert questions.take("other", OTHER, "train") is None
