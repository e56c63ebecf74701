"""Dates, amounts and names in many spellings are one value; other values stay others."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from finreg_cli.domain.extraction import LEASE, Scalar, ValueKind
from finreg_cli.domain.values import normalised, parse_date, spell_date_like

SPELLINGS = {
    "January 1, 2008": date(2008, 1, 1),
    "January 1 , 2008.": date(2008, 1, 1),
    "January 01 2008": date(2008, 1, 1),
    "on January 1st, 2008": date(2008, 1, 1),
    "1 January 2008": date(2008, 1, 1),
    "1st of January 2008": date(2008, 1, 1),
    "28th day of January, 2014": date(2014, 1, 28),
    "28 th day of\nJanuary, 2014": date(2014, 1, 28),
    "the 21st day of July, 2020": date(2020, 7, 21),
    "as of the 22ND DAY OF JULY, 2020": date(2020, 7, 22),
    "JULY 23, 2020": date(2020, 7, 23),
    "this 16th day of January 2003": date(2003, 1, 16),
    "2020-07-23": date(2020, 7, 23),
    "2020/7/3": date(2020, 7, 3),
    "07/23/2020": date(2020, 7, 23),
    "7/4/20": date(2020, 7, 4),
    "07-04-1999": date(1999, 7, 4),
    "23.07.2020": date(2020, 7, 23),
    "3. 7. 2020": date(2020, 7, 3),
    "1-Jan-2008": date(2008, 1, 1),
    "Sept. 5, 2019": date(2019, 9, 5),
    "MAR 9 2021": date(2021, 3, 9),
    "May 9, 2021": date(2021, 5, 9),
    "first day of March two thousand and twenty": date(2020, 3, 1),
    "the Twenty-First (21st) day of May, Two Thousand Twenty-One (2021)": date(2021, 5, 21),
    "THIRTY FIRST DAY OF MARCH, NINETEEN HUNDRED AND NINETY NINE": date(1999, 3, 31),
    "twelfth day of June in the year of our Lord twenty nineteen": date(2019, 6, 12),
    "thirtieth day of June, nineteen ninety-five": date(1995, 6, 30),
    "first day of May, two thousand": date(2000, 5, 1),
    "Monday, March 2, 2020": date(2020, 3, 2),
    "\u201cMarch 2, 2020\u201d": date(2020, 3, 2),
}
ENGLISH_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def days(seed: int, n: int) -> Iterator[date]:
    """Days that a year of two digits can say, the ends of months among them."""
    chance = random.Random(seed)
    yield from (date(2000, 2, 29), date(2019, 12, 31), date(2020, 1, 1), date(2009, 11, 11), date(2013, 6, 13))
    for _ in range(n):
        yield date(1969, 1, 1) + timedelta(days=chance.randrange(100 * 365))


@pytest.mark.parametrize(("text", "day"), SPELLINGS.items())
def test_a_date_is_read_in_any_spelling(text: str, day: date) -> None:
    assert parse_date(text) == day
    assert normalised("date", text) == day.isoformat()


@pytest.mark.parametrize(
    "spelling",
    [
        "{m} {d}, {y}",
        "{d} {m} {y}",
        "{d:02}.{n:02}.{y}",
        "{n}/{d}/{y}",
        "{y}-{n:02}-{d:02}",
        "the {d} day of {m:.3}, {y}",
    ],
)
def test_every_day_of_four_years_is_read(spelling: str) -> None:
    for nth in range(4 * 365 + 1):
        day = date(2018, 1, 1) + timedelta(days=nth)
        text = spelling.format(d=day.day, n=day.month, m=ENGLISH_MONTHS[day.month - 1], y=day.year)
        assert parse_date(text) == day


@pytest.mark.parametrize(
    "text",
    [
        "The last day of the thirty-seventh (37th) full calendar month of the Lease Term",
        "thirty days after January 1, 2008",
        "January 1, 2008 or the Commencement Date",
        "January 1, 2008 to December 31, 2008",
        "the first day of each month",
        "January 1",
        "____ day of January, 2014",
        "23/07/2020",  # the month comes first
        "February 30, 2020",
        "31.06.2020",
        "third (4th) day of May, 2020",
        "first day of May, two thousand twenty (2021)",
        "March 2020",
        "2020",
        "12",
        "",
        "\u0661/\u0662/2020",  # Arabic-Indic digits
        "F\u0130RST day of March, 2020",  # a dotted capital I is no I, whatever regular expressions say
        "Fr\u0131day, March 6, 2020",
        "th\u0130rty-first day of March 2020",
    ],
)
def test_what_is_no_date_stays_a_text(text: str) -> None:
    assert parse_date(text) is None


def test_a_month_and_a_formula_compare_too() -> None:
    assert normalised("date", "March 2020") == normalised("date", "MARCH, 2020") == "2020-03"
    assert normalised("date", "March 2020") != normalised("date", "March 1, 2020")
    formula = "The last day of the 37th full month"
    assert normalised("date", formula) == normalised("date", f"  {formula.upper()}.")
    assert normalised("date", formula) != normalised("date", formula.replace("37", "38"))


def test_a_defined_term_is_no_part_of_a_date() -> None:
    assert normalised("date", "January 1, 2008 (the \u201cCommencement Date\u201d)") == "2008-01-01"


@pytest.mark.parametrize("example", SPELLINGS)
def test_a_date_is_spelt_like_another_and_read_again(example: str) -> None:
    assert spell_date_like(example, SPELLINGS[example]) == example
    for new in days(seed=len(example), n=150):
        spelt = spell_date_like(example, new)
        assert spelt is not None
        assert parse_date(spelt) == new, spelt
        # The shape is the example's: the same marks, and letters in the same cases.
        assert [mark for mark in spelt if mark in ",./()\n\u201c"] == [
            mark for mark in example if mark in ",./()\n\u201c"
        ] or ("Sept." in example)
        assert spelt.isupper() == example.isupper()


@pytest.mark.parametrize(
    ("example", "new", "spelt"),
    [
        ("28th day of January, 2014", date(2019, 6, 3), "3rd day of June, 2019"),
        ("22ND DAY OF JULY, 2020", date(2021, 8, 11), "11TH DAY OF AUGUST, 2021"),
        ("1-Jan-2008", date(2019, 6, 13), "13-Jun-2019"),
        ("Sept. 5, 2019", date(2020, 5, 6), "May 6, 2020"),
        ("Sept. 5, 2019", date(2020, 12, 6), "Dec. 6, 2020"),
        ("07/23/2020", date(2019, 6, 3), "06/03/2019"),
        ("7/4/20", date(2019, 12, 31), "12/31/19"),
        ("January 05, 2020", date(2020, 2, 7), "February 07, 2020"),
        ("January 15, 2020", date(2020, 2, 7), "February 7, 2020"),
        ("Monday, March 2, 2020", date(2020, 3, 3), "Tuesday, March 3, 2020"),
        ("March 2020", date(2019, 6, 3), "June 2019"),
        ("the TWENTY SECOND day of MARCH, 2020", date(2019, 6, 21), "the TWENTY FIRST day of JUNE, 2019"),
        (
            "Twenty-First (21st) day of May, Two Thousand and Twenty (2020)",
            date(2021, 6, 3),
            "Third (3rd) day of June, Two Thousand and Twenty-One (2021)",
        ),
        (
            "first day of March two thousand twenty",
            date(1999, 4, 22),
            "twenty-second day of April nineteen hundred ninety-nine",
        ),
    ],
)
def test_spellings_worked_out_by_hand(example: str, new: date, spelt: str) -> None:
    assert spell_date_like(example, new) == spelt


def test_ordinals() -> None:
    spelt = [
        spell_date_like("1st of May 2020", date(2020, 5, day)) for day in (1, 2, 3, 4, 11, 12, 13, 20, 21, 22, 23, 31)
    ]
    assert [str(each).split()[0] for each in spelt] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "20th", "21st", "22nd", "23rd", "31st"]
    )


@pytest.mark.parametrize(
    ("example", "new"),
    [
        ("the last day of the Lease Term", date(2020, 1, 1)),
        ("23/07/2020", date(2020, 1, 1)),
        ("February 30, 2020", date(2020, 1, 1)),
        ("7/4/20", date(1968, 1, 1)),  # two digits would say 2068
        ("first day of March two thousand", date(1899, 1, 1)),
        ("", date(2020, 1, 1)),
    ],
)
def test_what_cannot_be_spelt_alike_is_none(example: str, new: date) -> None:
    assert spell_date_like(example, new) is None


def test_the_dates_of_the_real_leases() -> None:
    path = Path(__file__).parents[2] / "../shared/data/leases/real_leases.jsonl"
    if not path.exists():
        pytest.skip("the real leases are not beside the project")
    dates = [field.name for field in LEASE.fields if field.kind == "date"]
    labels = [json.loads(line)["labels"] for line in path.read_text(encoding="utf-8").splitlines()]
    values = [each[key] for each in labels for key in dates if each[key]]
    read = [parse_date(value) for value in values]
    # What is not read are the formulas, and nothing else.
    assert all(
        (day is None) == ("day of the" in value or "date of" in value) for day, value in zip(read, values, strict=True)
    )
    assert sum(day is not None for day in read) > len(read) / 2


# --- the same and another --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "same"),
    [
        ("text", "The premises at \u201cX\u201d.", 'premises  at\n"x"'),
        ("text", "General office use;", "general office use"),
        ("text", "\u2018any\u2019 use \u2013 lawful", "'any' use - lawful"),
        ("text", "***", "***"),
        ("text", True, True),
        ("name", "Post Tension of Nevada, Inc.", "POST TENSION OF NEVADA INCORPORATED"),
        ("name", "Purple Innovation, LLC", "Purple Innovation, L.L.C."),
        ("name", "Purple Innovation, LLC", "Purple Innovation Limited Liability Company"),
        ("name", "Purple Innovation, LLC", "PURPLE INNOVATION, L. L. C., a Delaware limited liability company"),
        ("name", "The Bank of South Carolina", "Bank of South Carolina"),
        ("name", "Smith & Sons Ltd.", "Smith and Sons Limited"),
        ("name", "Weber Corp.", "WEBER CORPORATION (hereinafter \u201cLandlord\u201d)"),
        ("name", "Weber Corp.", "Weber Corporation, a South Carolina corporation (the \u201cLandlord\u201d)"),
        ("name", "Weber & Co.", "Weber and Company, as Landlord"),
        ("name", "Edward Hohman", "Edward Hohman, an individual"),
        ("name", "Macy\u2019s", "Macy's"),
        ("name", "J.P. Weber", "J. P. Weber"),
        ("name", "First Bank, N.A.", "First Bank, National Association"),
        ("name", "Oak Partners, L.P.", "Oak Partners Limited Partnership"),
        ("amount", "$8,000.00", "$8000"),
        ("amount", "$8,000", "8,000 dollars"),
        ("amount", "$8,000", "USD8,000.0"),
        ("amount", "$8,000", "US$ 8,000"),
        ("amount", "EUR 8 000", "\u20ac8,000"),
        ("amount", "EUR 8 000", "8.000,00 euros"),
        ("amount", "eight thousand dollars ($8,000)", "$8,000.00"),
        ("amount", "Eight Thousand and 00/100 Dollars ($8,000.00) per month", "$8,000 per month"),
        ("amount", "eight thousand ($8,000) dollars", "$8,000"),
        ("amount", "$1.5 million", "$1,500,000"),
        ("amount", "one hundred twenty-five thousand dollars", "$125,000"),
        ("amount", "five percent (5%)", "5 %"),
        ("amount", "five (5) per cent", "5.00%"),
        ("amount", 8000, 8000.0),
        ("amount", 8000, "8,000"),
        ("amount", 1e20, 10**20),
    ],
)
def test_the_same_in_another_spelling(kind: ValueKind, value: Scalar, same: Scalar) -> None:
    assert normalised(kind, value) == normalised(kind, same)


@pytest.mark.parametrize(
    ("kind", "value", "other"),
    [
        ("text", "any lawful use", "any lawful uses"),
        ("text", "office (first floor)", "office first floor"),
        ("text", "January 1, 2008", "2008-01-01"),
        ("text", "eight", "8"),
        ("text", "***", "..."),
        ("name", "Weber Inc.", "Weber LLC"),
        ("name", "Weber Inc.", "Weber"),
        ("name", "Weber USA", "Weber"),
        ("name", "Rent-A-Car Corp.", "Rent"),
        ("name", "Smith and Sons", "Smith, Sons"),
        ("amount", "$8,000", "8,000"),
        ("amount", "$8,000", "\u20ac8,000"),
        ("amount", "$8,000", "$8,000 per month"),
        ("amount", "$8.000,00", "$8.00"),
        ("amount", "nine thousand dollars ($8,000)", "$9,000"),
        ("amount", "five and six", "11"),
        ("amount", "twenty and six", "26"),
        ("amount", "1" * 40, "1" * 39 + "2"),
        ("date", "2020-01-02", "2020-02-01"),
    ],
)
def test_others_stay_others(kind: ValueKind, value: Scalar, other: Scalar) -> None:
    assert normalised(kind, value) != normalised(kind, other)


@pytest.mark.parametrize("kind", ["date", "amount", "name", "text"])
def test_any_text_has_one_spelling_and_keeps_it(kind: ValueKind) -> None:
    """Whatever a model writes: no exception, nothing empty, and no endless search."""
    chance = random.Random(5)
    pieces = [
        *SPELLINGS,
        *"(),.;:\"'-%$/ \n\u20ac\u00bd\u0661\x00",
        "the ",
        "a ",
        "Inc.",
        "LLC",
        "twenty",
        "hundred",
        "and",
        "8,000",
        "0",
    ]
    for _ in range(600):
        text = "".join(chance.choices(pieces, k=chance.randrange(1, 8))).strip() or "x"
        assert normalised(kind, text)
        assert normalised(kind, text) == normalised(kind, f" {text} ")
    for piece in ("(", ", a ", "twenty ", "1,000", "the ", "January ", "two thousand and ", '("', "1 ", "."):
        assert normalised(kind, piece * 5_000)
