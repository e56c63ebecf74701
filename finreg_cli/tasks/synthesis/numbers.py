"""Numbers in texts, in digits and in words, and other ones in their place: "five (5) years" -> "seven (7) years"."""

from __future__ import annotations

import random
import re
from decimal import Decimal


def _words(text: str) -> list[str]:
    return text.split()


_ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _words("zero ten twenty thirty forty fifty sixty seventy eighty ninety")
_SCALES = ((1_000_000, "million"), (1_000, "thousand"), (100, "hundred"))
_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def cardinal(number: int) -> str:
    """A number below a thousand million in words: ``one hundred twenty-eight``."""
    for scale, name in _SCALES:
        if number >= scale:
            count, rest = divmod(number, scale)
            return f"{cardinal(count)} {name}" + (f" {cardinal(rest)}" if rest else "")
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def ordinal(number: int) -> str:
    """``twenty-first``, ``twentieth``."""
    words = cardinal(number)
    head, last = words[: -len(_last_word(words))], _last_word(words)
    if last in _IRREGULAR_ORDINALS:
        return head + _IRREGULAR_ORDINALS[last]
    return head + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def _last_word(words: str) -> str:
    return re.split(r"[ -]", words)[-1]


def ordinal_suffix(number: int) -> str:
    """``st`` of 1st, ``th`` of 13th."""
    return "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


_CARDINALS = {cardinal(number): number for number in range(1_000)}
_ORDINALS = {ordinal(number): number for number in range(1, 1_000)}
_NUMBER_WORDS = sorted(
    {*_ONES, *_TENS, "hundred", "thousand", "million", "hundredth"}
    | {ordinal(number) for number in (*range(1, 20), *range(20, 100, 10))},
    key=len,
    reverse=True,
)
_WORD = rf"(?:{'|'.join(_NUMBER_WORDS)})"
_SPELLED = rf"\b{_WORD}(?:[\s-]+(?:and\s+)?{_WORD})*\b"


def _read(words: str) -> tuple[int, bool] | None:
    """The number that words stand for, and whether it is an ordinal."""
    plain = " ".join(word for word in words.casefold().split() if word != "and")
    tens_joined = re.sub(
        r"(ty) (?=(?:one|two|three|four|five|six|seven|eight|nine|first|second|third)\b)", r"\1-", plain
    )
    if tens_joined in _CARDINALS:
        return _CARDINALS[tens_joined], False
    if tens_joined in _ORDINALS:
        return _ORDINALS[tens_joined], True
    total = 0
    rest = tens_joined
    for scale, name in _SCALES[:2]:
        head, found, tail = rest.partition(f" {name}")
        if found:
            if head not in _CARDINALS:
                return None
            total, rest = total + _CARDINALS[head] * scale, tail.strip()
    if rest and rest not in _CARDINALS:
        return None
    return total + _CARDINALS.get(rest, 0), False


_UNIT = (
    r"(?:years?|months?|weeks?|days?|terms?|periods?|options?|renewals?|extensions?|"
    r"quarters?|floors?|stor(?:e?y|ies|eys)|anniversar(?:y|ies)|acres?|rooms?|bays?|units?|spaces?|docks?|"
    r"dollars?|euros?|pounds?|per\s?cent|times)"
)
_BEFORE_UNIT = (
    r"(?:(?:\s+(?:more|further|additional|successive|consecutive|full|calendar|business|working|loading|parking|"
    r"lease|separate|optional|renewal|extension))*[\s-]+" + _UNIT + r"\b)"
)
_NUMBER = re.compile(
    rf"(?P<pair>{_SPELLED})(?P<gap>\s*\(\s*)(?P<figure>\d{{1,9}}|\d{{1,3}}(?:,\d{{3}})+)(?P<ordinal>st|nd|rd|th)?(?=\s*\))"
    rf"|(?P<words>{_SPELLED})(?={_BEFORE_UNIT})"
    r"|(?<![\w.,/:\-–])(?P<sign>[$€£#]\s?)?(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?P<suffix>st|nd|rd|th)?"
    r"(?P<letter>[A-Z]?)(?![\w]|[.,/:\-–]\d)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(
    r"(?:sections?|articles?|exhibits?|schedules?|clauses?|paragraphs?|annex|appendix|§+|items?|entry|box)\s*$",
    re.IGNORECASE,
)
_MONTH = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec)[a-z]*\.?"
_MONTH_BEFORE, _MONTH_AFTER = (
    re.compile(rf"\b{_MONTH}\s*$", re.IGNORECASE),
    re.compile(rf"\s*(?:day\s+)?(?:of\s+)?{_MONTH}\b", re.IGNORECASE),
)
_DAY = re.compile(r"\s*\)?\s*(?:day|business|working|of\s+(?:the|each|every)\s+month)\b", re.IGNORECASE)
_MONTHS = re.compile(r"\s*\)?\s*(?:full\s+|calendar\s+)*months?\b", re.IGNORECASE)
_COUNTED_FIRST = re.compile(
    r"\s+(?:(?:business|working)\s+)?(?:day\s+of\s+(?:each|every)|floor|anniversary|(?:\w+\s+)?(?:month|year))\b",
    re.IGNORECASE,
)
"""Behind "first": it is one of several. "From the first day" means the beginning, and has no second."""

_MOST_DAY = 28

Known = dict[str, str]
"""The numbers that were replaced already, as they were written: an equal one gets the same replacement."""


def vary(text: str, chance: random.Random, known: Known) -> str:
    """The text with other numbers in the same form; those of references ("Section 4"), years and 1 stay."""

    def another(found: re.Match[str]) -> str:
        before, after = text[: found.start()], text[found.end() :]
        if _REFERENCE.search(before) or _MONTH_BEFORE.search(before) or _MONTH_AFTER.match(after):
            return found.group()
        written = found.group()
        if written not in known:
            known[written] = _replaced(found, after, chance)
        return known[written]

    return _NUMBER.sub(another, text)


def _replaced(found: re.Match[str], after: str, chance: random.Random) -> str:
    if found["digits"]:
        return _other_digits(found, after, chance)
    words = found["pair"] or found["words"]
    read = _read(words)
    if read is None:
        return found.group()
    number, is_ordinal = read
    if number == 1 and not (is_ordinal and _COUNTED_FIRST.match(after)):
        return found.group()
    if found["pair"] and number != int(found["figure"].replace(",", "")):
        return found.group()
    other = another_number(number, chance, _most(after, is_ordinal), ordinal=is_ordinal, step=_step(number, after))
    spelled = _cased(ordinal(other) if is_ordinal else cardinal(other), words)
    if found["words"]:
        return spelled
    suffix = ordinal_suffix(other) if found["ordinal"] else ""
    return f"{spelled}{found['gap']}{_grouped(other, ',' in found['figure'])}{suffix}"


def _other_digits(found: re.Match[str], after: str, chance: random.Random) -> str:
    digits, suffix = found["digits"], found["suffix"] or ""
    if _is_year(digits) and not (found["sign"] or suffix):
        return found.group()
    if digits.isdigit() and (digits.startswith("0") or len(digits) == 5):
        least = 0 if digits.startswith("0") else 10 ** (len(digits) - 1)
        other = f"{chance.randrange(least, 10 ** len(digits)):0{len(digits)}d}"  # a postcode or a code
    elif "." in digits:
        other = another_decimal(digits, chance)
    else:
        number = int(digits.replace(",", ""))
        changed = another_number(
            number, chance, _most(after, bool(suffix)), ordinal=bool(suffix), step=_step(number, after)
        )
        suffix = _cased(ordinal_suffix(changed), suffix) if suffix else ""
        other = _grouped(changed, "," in digits)
    letter = chance.choice("ABCDEFGH") if found["letter"] else ""
    return f"{found['sign'] or ''}{other}{suffix}{letter.lower() if found['letter'].islower() else letter}"


def _is_year(digits: str) -> bool:
    return len(digits) == 4 and digits.isdigit() and 1900 <= int(digits) < 2100


def _most(after: str, is_ordinal: bool) -> int | None:
    return _MOST_DAY if _DAY.match(after) and is_ordinal else None


def _step(number: int, after: str) -> int:
    """Terms of whole years, half years and quarters stay such."""
    if not _MONTHS.match(after):
        return 1
    return next((step for step in (12, 6, 3) if number % step == 0), 1)


def another_number(
    number: int, chance: random.Random, most: int | None = None, *, ordinal: bool = False, step: int = 1
) -> int:
    """Another number of about the same size and roundness; 1 stays (its noun is singular) unless it is an ordinal."""
    if number < (1 if ordinal else 2):
        return number
    zeros = len(str(number)) - len(str(number).rstrip("0")) if number >= 100 else 0
    step = max(step, 10**zeros)
    least = max(2, number // 2)
    highest = most or max(number * 2, 9)
    choices = range(-(-least // step) * step, highest + 1, step)
    others = [choices[chance.randrange(len(choices))] for _ in range(8)] if choices else []
    return next((other for other in others if other != number and other >= 2), number + step if not most else 2)


def another_decimal(digits: str, chance: random.Random) -> str:
    """``1,234.50`` -> another amount with as many decimals and the same separators."""
    number = Decimal(digits.replace(",", ""))
    places = len(digits.partition(".")[2])
    scale = 10**places
    units = max(int(number * scale), 2)
    other = Decimal(another_number(units, chance)) / scale
    return f"{other:,.{places}f}" if "," in digits else f"{other:.{places}f}"


def _grouped(number: int, with_commas: bool) -> str:
    return f"{number:,}" if with_commas else str(number)


def _cased(new: str, old: str) -> str:
    if old.isupper():
        return new.upper()
    return new.capitalize() if old[:1].isupper() else new
