"""Which number counts on, and which point a line lies in."""

from __future__ import annotations

import pytest

from finreg_cli.domain.document import Role
from finreg_cli.domain.enumeration import POINT, paragraph_numbers, point_paths, quoted


def paths(*lines: str) -> list[str]:
    """The address of each line, ``1`` a numbered paragraph, ``(a)`` a point, ``^`` a footnote, else plain text."""
    entries: list[tuple[Role, str]] = []
    for line in lines:
        role: Role = "text"
        if line[0].isdigit():
            role = "numbered"
        elif line[0] == "^":
            role = "footnote"
        elif POINT.match(line):
            role = "point"
        entries.append((role, line))
    return [".".join(path) for path in point_paths(entries)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["(a) x;", "(b) y:", "(i) z;", "(ii) z;", "(c) x."], ["a", "b", "b.i", "b.ii", "c"]),
        # (i) behind (h) is a letter, unless (ii) follows
        (["(a) x;", *(f"({letter}) x;" for letter in "bcdefgh"), "(i) x;", "(j) x."], [*"abcdefghij"]),
        (["(a) x;", *(f"({letter}) x;" for letter in "bcdefgh"), "(i) x;", "(ii) x."], [*"abcdefgh", "h.i", "h.ii"]),
        (
            ["(a) x:", "(i) x;", "(ii) x;", "(iii) x;", "(iv) x;", "(v) x."],
            ["a", *(f"a.{n}" for n in ["i", "ii", "iii", "iv", "v"])],
        ),
        # definitions, and what an amendment put in
        (["(1) 'a' means:", "(a) x;", "(1a) 'b' means x;", "(2) 'c' means x;"], ["1", "1.a", "1a", "2"]),
        (["(a) x;", "(b) x;", "(c) x;", "(d) x;", "(da) x;", "(e) x."], ["a", "b", "c", "d", "da", "e"]),
        # a gap, where one was repealed
        (["(a) x;", "(c) x;", "(d) x."], ["a", "c", "d"]),
        # lines without a mark
        (["(a) x;", "continued", "(b) y;", "behind the list"], ["a", "a", "b", ""]),
        (["(a) x:", "\u2014 one;", "\u2014 two;", "(b) y."], ["a", "a", "a", "b"]),
        (["(a) x;", "(b) x.", "In the case of x:", "(a) y;", "(b) y."], ["a", "b", "", "a", "b"]),
        (["1. x:", "(a) x;", "2. (a) y;", "(b) y."], ["", "a", "a", "b"]),
        (["a) x;", "b) y:", "i. z;", "ii. z;"], ["a", "b", "b.i", "b.ii"]),
        (["(a) x (^1);", "^1 See there.", "(b) y."], ["a", "a", "b"]),
        (["(3) of Article 18, wrapped", "(d) and (e) of it"], ["", ""]),
    ],
)
def test_points(lines: list[str], expected: list[str]) -> None:
    assert paths(*lines) == expected


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1. x", "2. x", "y", "3. x"], {0: "1", 1: "2", 3: "3"}),
        (["1. x", "1a. x", "1b. x", "2. x"], {0: "1", 1: "1a", 2: "1b", 3: "2"}),
        # the rows of a table between the second and the third
        (["1. x", "2. x", "1. row", "2. row", "3. row", "3. x", "4. x"], {0: "1", 1: "2", 4: "3", 6: "4"}),
        (["1. x", "4. behind two that were repealed"], {0: "1", 1: "4"}),
        (["8 % of it", "2013. was a year"], {}),
        (["55.The", "56.The", "57.The"], {0: "55", 1: "56", 2: "57"}),
    ],
)
def test_paragraph_numbers(texts: list[str], numbers: dict[int, str]) -> None:
    assert paragraph_numbers(texts) == numbers


def test_what_an_amending_article_quotes_is_not_its_own() -> None:
    texts = [
        "(1) the following Article is inserted:",
        '"Article 50a',
        "1. A CCP shall x:",
        '(a) y.";',
        "(2) Article 3 is replaced by:",
        "\u2018Article 3",
        "2. x.\u2019;",
        "'credit institution' means x;",
        "\u2018Fair value\u2019 shall mean x.",
        "\u201c5a. one paragraph.\u201d",
    ]
    assert quoted(texts) == {1, 2, 3, 5, 6, 9}
