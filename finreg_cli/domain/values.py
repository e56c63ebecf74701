"""Typed values: dates, amounts and names in one spelling, so that what means the same compares equal.

Dates are those of English contracts: ``January 1, 2008``, ``the 28th day of January, 2014``, ``1 January 2008``,
``2020-07-23``, ``23.07.2020``, ``first day of March two thousand and twenty``. With slashes or hyphens the month comes
first, as in the United States: ``07/04/2020`` is the fourth of July, and ``23/07/2020`` is no date. A year of two
digits is one of 1969 to 2068, as POSIX has it. A formula ("the last day of the 37th full month ...") is no date: it
stays the text that it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import pairwise

from finreg_cli.domain.extraction import Scalar, ValueKind


def normalised(kind: ValueKind, value: Scalar) -> str:
    """The one spelling of a value: two values are strictly the same where these are equal.

    *text*: letter case, blanks, the typographic form of quotes and dashes, punctuation around the whole and a leading
    article (the, a, an) aside, every character counts.

    *date*: ISO where it is one (``2014-01-28``, ``2014-01`` for a month), else as a text. A defined term behind it
    (``(the "Commencement Date")``) is left out.

    *amount*: as a text, with its numbers in plain digits and its currencies as codes before them (``usd 8000``); an
    amount in words that figures repeat counts once. With a currency and without are not the same.

    *name*: as a text without any punctuation, with ``and`` for ``&`` and with legal forms in short (inc, llc, corp,
    ltd); what follows the name (``, a Delaware corporation``, ``(the "Landlord")``) is left out. Another legal form, or
    none, is another name.
    """
    if isinstance(value, bool):
        return str(value).casefold()
    if isinstance(value, int | float):
        return _plain(Decimal(str(value)))
    return _NORMALISERS[kind](value)


# --- texts -----------------------------------------------------------------------------------------------------------

_TYPOGRAPHY: dict[int, str | None] = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4`"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-"),
    0x00AD: None,  # the soft hyphen is no character of its word
}
_ARTICLE = re.compile(r"\A(?:the|an?)\s+(?=\S)")
_AROUND = " .,;:!?'\"()[]-*_"


def _typed(text: str) -> str:
    """One character for each quote and dash, single blanks, compatible letters."""
    return " ".join(unicodedata.normalize("NFKC", text.translate(_TYPOGRAPHY)).split())


def _text(text: str) -> str:
    plain = _typed(text).casefold()
    # A value of nothing but punctuation is what it is.
    return _ARTICLE.sub("", plain.strip(_AROUND)).strip(_AROUND) or plain


# --- names -----------------------------------------------------------------------------------------------------------

_DEFINED_TERM = re.compile(
    r"[ ,]*\((?:[^()\"]*\"[^()]*|'[^()]*'|(?:the|herein\w*|hereafter|together|collectively|each|jointly)\b[^()]*)\)"
    r"[ .,;]*\Z",
    re.IGNORECASE,
)
_BEHIND_A_NAME = re.compile(
    r",\s*(?:as\s+(?:the\s+)?(?:landlord|tenant|sub(?:landlord|tenant)|(?:sub)?less(?:or|ee)|owner)\b"
    r"|an?\s(?:[^,;]*\s)?(?:corporation|company|partnership|association|trust|bank|cooperative|municipality|individual"
    r"|person|proprietorship|resident|citizen|agency|llc|l\.l\.c\.|inc\.?)(?!\w)).*\Z",
    re.IGNORECASE,
)
_LEGAL_FORMS: Mapping[str, str] = {
    "limited liability limited partnership": "lllp",
    "limited liability partnership": "llp",
    "limited liability company": "llc",
    "limited liability co": "llc",
    "public limited company": "plc",
    "professional corporation": "pc",
    "national association": "na",
    "limited partnership": "lp",
    "limited company": "ltd",
    "aktiengesellschaft": "ag",
    "incorporated": "inc",
    "corporation": "corp",
    "company": "co",
    "limited": "ltd",
}
_LEGAL_FORM = re.compile(rf"\b(?:{'|'.join(_LEGAL_FORMS)})\b")  # the longest first: they are listed so
_SPACED_INITIALS = re.compile(r"\b([^\W\d_]) (?=[^\W\d_]\b)")  # L. L. C. is LLC


def _without_defined_term(typed: str) -> str:
    return _DEFINED_TERM.sub("", typed) or typed


def _name(text: str) -> str:
    named = _BEHIND_A_NAME.sub("", _without_defined_term(_typed(text))).casefold()
    words = " ".join(re.findall(r"\w+", re.sub(r"[.']", "", named.replace("&", " and "))))
    plain = _SPACED_INITIALS.sub(r"\1", _ARTICLE.sub("", words))
    return _LEGAL_FORM.sub(lambda form: _LEGAL_FORMS[form[0]], plain) or _text(text)


# --- number words ----------------------------------------------------------------------------------------------------


def _listed(words: str) -> list[str]:
    return words.split()


_BELOW_20 = _listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _listed("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = _listed(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth"
)
_BELOW_100 = {
    **{word: nth for nth, word in enumerate(_BELOW_20)},
    **{word: 10 * nth for nth, word in enumerate(_TENS, start=2)},
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}


def _any_of(words: Sequence[str]) -> str:
    # Of ASCII letters: else a dotted capital I would pass for an i, and then be no letter of the word.
    return f"(?a:{'|'.join(sorted(words, key=len, reverse=True))})"


def _cardinal(words: Sequence[str]) -> int | None:
    """``["two", "hundred", "and", "six"]`` is 206; None where the words are no one number."""
    total, group, scale = 0, 0, 10**12
    for before, word in pairwise(["", *words]):
        if word == "and":
            if before != "hundred" and before not in _SCALES:
                return None
        elif word == "hundred":
            if not 0 < group < 20:
                return None
            group *= 100
        elif word in _SCALES:
            if not group or _SCALES[word] >= scale:
                return None
            scale = _SCALES[word]
            total, group = total + group * scale, 0
        else:
            below = _BELOW_100[word]
            room = group % 100 == 0 or (group % 100 >= 20 and group % 10 == 0 and 0 < below < 10)
            if not room or (not below and len(words) > 1):
                return None
            group += below
    return total + group


def _in_words(number: int, hyphen: str) -> str:
    """A number of 1 to 99."""
    if number < 20:
        return _BELOW_20[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"{hyphen}{_BELOW_20[ones]}" if ones else "")


# --- dates -----------------------------------------------------------------------------------------------------------

_MONTHS = _listed("january february march april may june july august september october november december")
_WEEKDAYS = _listed("monday tuesday wednesday thursday friday saturday sunday")

_SMALL = rf"(?:{_any_of(_TENS)}(?:[\s-]+{_any_of(_BELOW_20[1:10])})?|{_any_of(_BELOW_20[1:])})"
_YEAR_WORDS = (
    rf"(?:two\s+thousand|nineteen\s+hundred)(?:,?\s+(?:and\s+)?{_SMALL})?\b|(?:nineteen|twenty)[\s-]+{_SMALL}\b"
)
_DAY_WORDS = (
    rf"(?:{_any_of(_TENS[:2])}[\s-]+{_any_of(_ORDINALS[:9])}|{_any_of([*_ORDINALS, 'twentieth', 'thirtieth'])})\b"
)
_FIGURE = r"[0-9]{1,2}(?:\s?(?:st|nd|rd|th)\b)?"

_DAY = rf"(?P<day>{_FIGURE}|{_DAY_WORDS})(?:\s*\((?P<day_again>{_FIGURE})\))?"
_MONTH = rf"(?P<month>{_any_of([*_MONTHS, 'sept', *(name[:3] for name in _MONTHS)])}\b\.?)"
_YEAR = rf"(?P<year>[0-9]{{4}}|{_YEAR_WORDS})(?:\s*\((?P<year_again>[0-9]{{4}})\))?"
_BEFORE_YEAR = r"(?:\s*,\s*|[\s-]+)(?:(?:in\s+)?the\s+year\s+(?:of\s+our\s+lord\s+)?|a\.?d\.?\s+)?"

_OPENING = (
    r"[\s\"'\u201c\u2018(]*(?:(?:on|as\s+of|dated|effective|this|the)\s+)*"
    rf"(?:(?P<weekday>{_any_of(_WEEKDAYS)}),?\s+(?:the\s+)?)?"
)
_CLOSING = r"[\s\"'\u201d\u2019).,;:]*"


def _layout(date_: str) -> re.Pattern[str]:
    return re.compile(f"{_OPENING}{date_}{_CLOSING}", re.IGNORECASE)


_LAYOUTS = (
    _layout(rf"{_MONTH}\s*(?:the\s+)?{_DAY}{_BEFORE_YEAR}{_YEAR}"),
    _layout(rf"{_DAY}(?:\s+day)?(?:\s+of)?[\s-]+{_MONTH}{_BEFORE_YEAR}{_YEAR}"),
    _layout(r"(?P<year>[0-9]{4})(?P<mark>[-/.])(?P<month>[0-9]{1,2})(?P=mark)(?P<day>[0-9]{1,2})"),
    _layout(r"(?P<month>[0-9]{1,2})(?P<mark>[-/])(?P<day>[0-9]{1,2})(?P=mark)(?P<year>[0-9]{4}|[0-9]{2})"),
    _layout(r"(?P<day>[0-9]{1,2})\.\s?(?P<month>[0-9]{1,2})\.\s?(?P<year>[0-9]{4}|[0-9]{2})"),
)
_MONTH_OF_A_YEAR = _layout(rf"{_MONTH}(?:\s+of)?{_BEFORE_YEAR}{_YEAR}")


def parse_date(text: str) -> date | None:
    """The day that a text names, and names nothing else; None for a month, a formula or a day that does not exist.

    Words and figures that contradict each other, ``third (4th) day``, are no date; a wrong weekday is not looked at.
    """
    for layout in _LAYOUTS:
        match = layout.fullmatch(text)
        if match:
            return _day_of(match)
    return None


def spell_date_like(example: str, new: date) -> str | None:
    """A date in the very spelling of another: its words, order, ordinals, letter case, padding and punctuation.

    ``28th day of January, 2014`` for 3 June 2019 is ``3rd day of June, 2019``, and ``March 2020`` is ``June 2019``.
    None where the example is no date, or where its spelling cannot say the new one (a year that two digits or words
    do not reach).
    """
    for layout in (*_LAYOUTS, _MONTH_OF_A_YEAR):
        match = layout.fullmatch(example)
        if match is None:
            continue
        if layout is not _MONTH_OF_A_YEAR and _day_of(match) is None:
            return None
        return _respelt(match, new)
    return None


def _day_of(match: re.Match[str]) -> date | None:
    found = {name: _READERS[name](text) for name, text in match.groupdict().items() if text and name in _READERS}
    year, month, day = found["year"], found["month"], found["day"]
    if found.get("day_again", day) != day or found.get("year_again", year) != year:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _respelt(match: re.Match[str], new: date) -> str | None:
    parts = {"weekday": new.weekday(), "day": new.day, "month": new.month, "year": new.year}
    parts |= {"day_again": new.day, "year_again": new.year}
    padded = _is_padded(match)
    text, end = "", 0
    for start, name in sorted((match.start(name), name) for name in match.re.groupindex.keys() & parts if match[name]):
        piece = _piece_like(match[name], name, parts[name], padded)
        if piece is None:
            return None
        text += match.string[end:start] + piece
        end = match.end(name)
    return text + match.string[end:]


def _is_padded(match: re.Match[str]) -> bool:
    """A zero stands before days and months of one digit; ``12/11/2020`` is taken for such a spelling."""
    figures = [text for name, text in match.groupdict().items() if name in ("day", "month") and text.isdigit()]
    return all(len(each) == 2 for each in figures) and (
        len(figures) == 2 or any(each.startswith("0") for each in figures)
    )


def _piece_like(example: str, name: str, number: int, padded: bool) -> str | None:
    """A part of a date, spelt as the example is."""
    if _READERS[name](example) == number:
        return example
    if example.isdigit() and name.startswith("year"):
        return _year_in_figures(number, len(example))
    if example.isdigit():
        return f"{number:02}" if padded else str(number)
    if figure := re.fullmatch(r"[0-9]+(\s?)([a-z]+)", example, re.IGNORECASE):
        return f"{number}{figure[1]}{_cased_like(figure[2], _suffix(number))}"
    spelt = _SPELLERS[name](number, example.casefold())
    return spelt and _cased_like(example, spelt)


def _year_in_figures(year: int, digits: int) -> str | None:
    if digits == 4:
        return f"{year:04}"
    return f"{year % 100:02}" if 1969 <= year <= 2068 else None


def _suffix(number: int) -> str:
    return "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _cased_like(example: str, lower: str) -> str:
    words = re.findall(r"[^\W\d_]+", example)
    if example.islower():
        return lower
    if example.isupper():
        return lower.upper()
    if len(words) > 1 and words[-1].istitle():
        return re.sub(r"[^\W\d_]+", lambda word: word[0] if word[0] == "and" else word[0].capitalize(), lower)
    return lower.capitalize()


_TENS_AND_ONES = re.compile(rf"{_any_of(_TENS)}\s+{_any_of(_BELOW_20[1:10] + _ORDINALS[:9])}\b")


def _hyphen_like(example: str) -> str:
    """What stands between tens and ones; a hyphen where the example has no such number."""
    return " " if _TENS_AND_ONES.search(example) else "-"


def _read_weekday(text: str) -> int:
    return _WEEKDAYS.index(text.casefold())


def _spell_weekday(weekday: int, _: str) -> str:
    return _WEEKDAYS[weekday]


def _read_day(text: str) -> int:
    if text[0].isdigit():
        return int(re.sub(r"\D", "", text))
    *tens, last = re.split(r"[\s-]+", text.casefold())
    if last in ("twentieth", "thirtieth"):
        return 20 if last == "twentieth" else 30
    return sum(_BELOW_100[word] for word in tens) + _ORDINALS.index(last) + 1


def _spell_day(day: int, example: str) -> str:
    if day < 20:
        return _ORDINALS[day - 1]
    if day % 10 == 0:
        return {20: "twentieth", 30: "thirtieth"}[day]
    return f"{_TENS[day // 10 - 2]}{_hyphen_like(example)}{_ORDINALS[day % 10 - 1]}"


def _read_month(text: str) -> int:
    if text.isdigit():
        return int(text)
    return next(nth for nth, name in enumerate(_MONTHS, start=1) if name[:3] == text.casefold()[:3])


def _spell_month(month: int, example: str) -> str:
    name = _MONTHS[month - 1]
    if example in _MONTHS:
        return name
    return f"{name[:3]}." if example.endswith(".") and name != "may" else name[:3]


def _read_year(text: str) -> int:
    if text.isdigit():
        year = int(text)
        return year if len(text) == 4 else year + (1900 if year >= 69 else 2000)
    first, second, *others = [word for word in re.split(r"[\s,-]+", text.casefold()) if word != "and"]
    century = 2000 if first in ("two", "twenty") else 1900
    rest = others if second in ("thousand", "hundred") else [second, *others]
    return century + sum(_BELOW_100[word] for word in rest)


def _spell_year(year: int, example: str) -> str | None:
    """Of 1900 to 2099."""
    if not 1900 <= year < 2100:
        return None
    century, rest = divmod(year, 100)
    below = _in_words(rest, _hyphen_like(example)) if rest else ""
    if rest >= 10 and "hundred" not in example and "thousand" not in example:
        return f"{'nineteen' if century == 19 else 'twenty'} {below}"
    joint = " and " if " and " in " ".join(example.split()) else " "
    return ("nineteen hundred" if century == 19 else "two thousand") + (joint + below if rest else "")


_READERS: Mapping[str, Callable[[str], int]] = {
    "weekday": _read_weekday,
    "day": _read_day,
    "day_again": _read_day,
    "month": _read_month,
    "year": _read_year,
    "year_again": _read_year,
}
_SPELLERS: Mapping[str, Callable[[int, str], str | None]] = {
    "weekday": _spell_weekday,
    "day": _spell_day,
    "month": _spell_month,
    "year": _spell_year,
}


def _date(text: str) -> str:
    named = _without_defined_term(_typed(text))
    day = parse_date(named)
    if day is not None:
        return day.isoformat()
    month = _MONTH_OF_A_YEAR.fullmatch(named)
    return f"{_read_year(month['year'])}-{_read_month(month['month']):02}" if month else _text(text)


# --- amounts ---------------------------------------------------------------------------------------------------------

_NUMBER_WORD = _any_of([*_BELOW_100, *_SCALES, "hundred"])
_NUMBER_WORDS = re.compile(rf"\b{_NUMBER_WORD}(?:[\s-]+(?:and\s+)?{_NUMBER_WORD})*\b")
_FIGURES = re.compile(
    r"(?<![\w.,])(?:(?P<european>\d{1,3}(?:\.\d{3})+,\d{1,2})"  # 8.000,00
    r"|(?P<grouped>\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?)"  # 8,000.00 and 8 000
    r"|(?P<comma>\d+,\d{1,2})"  # 8,5
    r"|\d+(?:\.\d+)?)(?!\d)"
)
_CURRENCIES: Mapping[str, str] = {
    code: rf"(?<![a-z])(?:{words})(?![a-z])|{signs}"
    for code, words, signs in (
        ("cad", r"canadian dollars?|cad", r"(?<![a-z])ca?\$"),
        ("usd", r"(?:us|u\.s\.|united states) ?dollars?|usd|dollars?", r"(?:(?<![a-z])us ?)?\$"),
        ("eur", r"euros?|eur", "€"),
        ("gbp", r"pounds?(?: sterling)?|gbp", "£"),
        ("chf", r"swiss francs?|chf|sfr", "₣"),
        ("jpy", r"yen|jpy", "¥"),
    )
}
_CODE = _any_of(list(_CURRENCIES))
_N = r"\d+(?:\.\d+)?"


def _plain(number: Decimal) -> str:
    digits = f"{number:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _amount(text: str) -> str:
    plain = _NUMBER_WORDS.sub(_words_in_figures, _typed(text).casefold())
    plain = re.sub(r"(?<=\d)(?: and)? (\d\d)/100\b", r".\1", plain)
    for code, spellings in _CURRENCIES.items():
        plain = re.sub(spellings, f" {code} ", plain)
    plain = _FIGURES.sub(_figures_plain, plain)
    plain = re.sub(rf"\b({_N}) ({_any_of(list(_SCALES))})\b", lambda m: _plain(Decimal(m[1]) * _SCALES[m[2]]), plain)
    plain = re.sub(r"\s?(?:%|\bper ?cent\b)", "% ", plain)
    plain = re.sub(r"\( ", "(", re.sub(r" (?=[),.;])", "", " ".join(plain.split())))
    for pattern, wanted in _ONE_AMOUNT:
        plain = pattern.sub(wanted, plain)
    return " ".join(plain.split()).strip(" .,;:!?'\"[]*_") or _text(text)


# In words and again in figures, the currency at either or at both; then the currency before the number, once.
_ONE_AMOUNT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"\b({_N}) \(\1\)"), r"\1"),
    (re.compile(rf"\b({_N}) \(({_CODE}) \1\)(?: \2\b)?"), r"\2 \1"),
    (re.compile(rf"\b({_N}) ({_CODE}) \((?:\2 )?\1(?: \2)?\)"), r"\2 \1"),
    (re.compile(rf"\b({_CODE}) ({_N}) \1\b"), r"\1 \2"),
    (re.compile(rf"(?<!{_CODE} )\b({_N}) ({_CODE})\b(?! \d)"), r"\2 \1"),
    (re.compile(rf"\b({_CODE} {_N}) \(\1\)"), r"\1"),
    (re.compile(rf"\b({_N})%? \(\1%\)"), r"\1%"),
)


def _words_in_figures(words: re.Match[str]) -> str:
    number = _cardinal(re.split(r"[\s-]+", words[0]))
    return words[0] if number is None else str(number)


def _figures_plain(figures: re.Match[str]) -> str:
    digits = figures[0]
    if figures["european"]:
        digits = digits.replace(".", "").replace(",", ".")
    elif figures["comma"]:
        digits = digits.replace(",", ".")
    return _plain(Decimal(re.sub(r"[,' ]", "", digits)))


_NORMALISERS: Mapping[ValueKind, Callable[[str], str]] = {
    "date": _date,
    "amount": _amount,
    "name": _name,
    "text": _text,
}
