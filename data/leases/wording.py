"""How the sample leases are written down: the small language of their templates, and what each half brings along.

In a template:

* ``{lessor}`` is a slot; ``{^L}`` has a capital first letter, ``{sign:ordinal}`` a spelling of its date.
* ``[a|b|c]`` is one of its alternatives, picked at random; brackets nest.
* ``[?end:text]`` stands only where the lease has an end date, ``[!end:text]`` only where it has none.
* A blank line ends a paragraph, ``//`` a line; a line break of the source is a blank.
* ``{n}`` is the next number of a clause, and a paragraph ``{fill}`` takes in clauses about something else.
"""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

KEYS = {
    "end": "end_date",
    "space": "leased_space",
    "lessee": "lessee",
    "lessor": "lessor",
    "sign": "signing_date",
    "start": "start_date",
    "pay": "term_of_payment",
    "use": "designated_use",
    "ext": "extension_period",
    "exp": "expiration_date_of_lease",
}
"""The short names of the labelled details in templates, and their keys in the labels, in the schema's order."""

Resolve = Callable[[str, str | None], str]
"""What stands for a slot: its name and, for a date, the spelling that the template asks for (or None)."""


@dataclass(frozen=True)
class Template:
    """One form of lease: its text and how it looks on paper.

    ``landlord``, ``tenant`` and ``premises`` are what the text calls them (slots L, T and P); ``clause`` shapes the
    clauses about something else; ``absent`` gives the share of leases without a detail where it is not the usual one.
    """

    name: str
    kinds: tuple[str, ...]
    text: str
    landlord: str = "the Landlord"
    tenant: str = "the Tenant"
    premises: str = "the Premises"
    clause: str = "{n}. {head}. {text}"
    number: Callable[[int], str] = str
    wrap: int | None = None
    capitals: bool = False
    scanned: bool = False
    absent: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Half:
    """All that one half of the leases is made of; the two halves share nothing of it.

    ``clauses`` are about something else (``head | text``), ``other_clauses`` the fewest and the most of them that a
    lease takes in: the pairs come in turn, so that the lengths differ.
    """

    name: str
    templates: tuple[Template, ...]
    clauses: Sequence[str]
    other_clauses: Sequence[tuple[int, int]]
    first_names: Sequence[str]
    last_names: Sequence[str]
    company_names: Sequence[str]
    company_trades: Sequence[str]
    company_forms: Sequence[str]
    streets: Sequence[str]
    towns: Sequence[str]
    spaces: Mapping[str, Sequence[str]]
    uses: Mapping[str, Sequence[str]]
    payments: Sequence[str]
    extensions: Sequence[str]
    ends: Sequence[str]
    starts: Sequence[str]


_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_CONDITION = re.compile(r"([?!])(\w+):(.*)", re.DOTALL)
_SLOT = re.compile(r"\{(\^?)(\w+)(?::(\w+))?\}")


def choose(text: str, present: Collection[str], dice: random.Random) -> str:
    """Settles every bracket, from the inside; ``present`` are the short names of the details that the lease has."""

    def settled(bracket: re.Match[str]) -> str:
        body = bracket[1]
        if condition := _CONDITION.fullmatch(body):
            wanted, name, body = condition[1] == "?", condition[2], condition[3]
            if name not in KEYS:
                raise ValueError(f"the template asks for {name!r}; known: {', '.join(KEYS)}")
            if wanted is not (name in present):
                return ""
        alternatives: list[str] = body.split("|")
        return dice.choice(alternatives)

    count = 1
    while count:
        text, count = _BRACKET.subn(settled, text)
    return text


def fill(text: str, resolve: Resolve) -> str:
    """Replaces the slots, in the order in which they stand."""

    def resolved(slot: re.Match[str]) -> str:
        value = resolve(slot[2], slot[3])
        return value[:1].upper() + value[1:] if slot[1] else value

    return _SLOT.sub(resolved, text)


def lay_out(text: str, width: int | None) -> str:
    """Joins the source's lines, breaks lines at ``//`` and, where there is a width, wraps them at it."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]
    return "\n\n".join("\n".join(_lines(_tidied(each), width)) for each in paragraphs if each)


def _tidied(paragraph: str) -> str:
    """Without the blanks and the second full stop that a bracket or a value ("Co.") leaves behind."""
    return re.sub(r"(?<=\w)\.\.(?!\.)", ".", re.sub(r" +(?=[,.;:](?: |$))", "", paragraph))


def _lines(paragraph: str, width: int | None) -> list[str]:
    lines = [line.strip() for line in paragraph.split("//")]
    if width is None:
        return lines
    # A word that is broken at its hyphen would no longer be the word of the label.
    wrapper = textwrap.TextWrapper(width, break_on_hyphens=False, break_long_words=False)
    return [row for line in lines for row in wrapper.wrap(line) or [""]]


def listed(text: str) -> tuple[str, ...]:
    """What stands between the bars of a text."""
    return tuple(text.split(" | "))


def roman(number: int) -> str:
    """A number up to 39 in Roman numerals."""
    tens, ones = divmod(number, 10)
    return "X" * tens + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[ones]


_ONES = listed(
    "zero | one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve | thirteen | "
    "fourteen | fifteen | sixteen | seventeen | eighteen | nineteen"
)
_TENS = listed("zero | ten | twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety")


def in_words(number: int) -> str:
    """A number below 1,000 in words: ``one hundred eighty``."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{_ONES[hundreds]} hundred" + (f" {in_words(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """``1st``, ``22nd``, ``13th``."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


_IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_IRREGULAR |= {"twelve": "twelfth"}


def ordinal_in_words(number: int) -> str:
    """``first``, ``twenty-second``, ``one hundred eightieth``."""
    *before, last = re.split(r"(?<=[ -])", in_words(number))
    return "".join(before) + _IRREGULAR.get(last, re.sub("y$", "ie", last) + "th")
