"""Makes the sample leases, `leases.jsonl` and `pdf/`: `python data/leases/make_leases.py [FOLDER]`.

All of them are invented. A lease is a template of its half (`train_templates.py`, `holdout_templates.py`) filled with
details, by dice of its own: the same script writes the same bytes.
"""

from __future__ import annotations

import json
import random
import re
import sys
from calendar import month_name
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from itertools import zip_longest
from pathlib import Path

from holdout_templates import HOLDOUT
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import simpleSplit
from reportlab.pdfgen.canvas import Canvas
from train_templates import TRAIN
from wording import KEYS, Half, Template, choose, fill, in_words, lay_out, ordinal, ordinal_in_words

HERE = Path(__file__).parent
SEED = 20260
EACH = 50
"""Leases in each half."""

Labels = dict[str, str | None]

ABSENT = {"end": 0.15, "use": 0.1, "sign": 0.18, "ext": 0.35, "pay": 0.08, "start": 0.06, "exp": 0.42}
"""The share of leases that do not give a detail; of those with an end, the share that does not call it expiration."""

FORMULAS = {"end": 0.22, "start": 0.1}
"""The share of ends and starts that are no date but the words for one."""


# --- details ---------------------------------------------------------------------------------------------------------


def spelled(day: date, style: str) -> str:
    """A date as contracts write it; raises ValueError for a style that is not known."""
    month = day.strftime("%B")
    match style:
        case "us":
            return f"{month} {day.day}, {day.year}"
        case "uk":
            return f"{day.day} {month} {day.year}"
        case "ordinal":
            return f"{ordinal(day.day)} day of {month}, {day.year}"
        case "short_ordinal":
            return f"{ordinal(day.day)} {month} {day.year}"
        case "dots":
            return f"{day.day}.{day.month}.{day.year}"
        case "slashes":
            return f"{day.month:02d}/{day.day:02d}/{day.year}"
        case "iso":
            return day.isoformat()
        case "words":
            return f"{ordinal_in_words(day.day)} day of {month}, two thousand and {in_words(day.year - 2000)}"
    raise ValueError(f"no spelling of dates is called {style!r}")


STYLES = ("us", "us", "us", "uk", "uk", "uk", "ordinal", "ordinal", "short_ordinal", "dots", "slashes", "iso", "words")
"""The spellings of dates; what comes more than once is more frequent."""

WITH_ARTICLE = ("ordinal", "words")

_BORROWED = ("sublease", "amendment")
"""Kinds that may be about an office, a shop or a warehouse."""

_PLURALS = {"term_s": "term", "period_s": "period", "plural_s": ""}
_MONTHS = tuple(month_name[1:])
_TITLES = ("President", "Director", "Manager", "Secretary", "Vice President", "Partner")


def _years_later(day: date, years: int) -> date:
    return day.replace(year=day.year + years)


def counted(number: int, unit: str) -> str:
    """``three (3) months``."""
    return f"{in_words(number)} ({number}) {unit}{'s' if number > 1 else ''}"


@dataclass
class Deal:
    """What is agreed in one lease, and its labels as far as they stand in the text already.

    A labelled detail is drawn when a slot first asks for it, a distractor every time. ``taken`` holds the parties and
    premises of the half, none of which comes twice.
    """

    half: Half
    kind: str
    dice: random.Random
    taken: set[str]
    labels: Labels = field(default_factory=lambda: dict.fromkeys(KEYS.values()))

    def __post_init__(self) -> None:
        dice = self.dice
        years = dice.choice((2, 3, 5, 5, 7, 10) if self.kind == "amendment" else (1, 2, 3, 3, 5, 5, 5, 7, 10, 15))
        start = date(dice.randint(2004, 2025), dice.randint(1, 12), dice.choice((1, 1, 1, 15, dice.randint(2, 28))))
        self.years = years
        end, first_end = (_years_later(start, number) - timedelta(days=1) for number in (years, max(1, years // 2)))
        signed = start - timedelta(days=dice.randint(4, 100))
        self.head_date = signed - timedelta(days=dice.randint(200, 1500))
        self.head_end = end + timedelta(days=dice.randint(1, 400))
        self.old_end = first_end
        self.earliest = -700
        if self.kind == "amendment":
            # The lease itself is older: what is signed here puts off its end.
            self.head_date, signed = signed, first_end - timedelta(days=dice.randint(30, 200))
            self.earliest = max(self.earliest, (self.head_date - signed).days + 1)
        self.days = {"sign": signed, "start": start, "end": end}
        self.style = dice.choice(STYLES)
        self.currency = dice.choice(("${:,}.00", "${:,}.00", "${:,}", "£{:,}", "EUR {:,}"))
        self.rent = dice.randint(8, 190) * 50
        self.place = dice.choice(("office", "retail", "warehouse")) if self.kind in _BORROWED else self.kind
        self.articles: set[str] = set()
        self.count = 1
        self.number = 0

    def slot(self, name: str, style: str | None) -> str:
        """What stands for a slot. Raises ValueError for one that is not known."""
        if name not in KEYS:
            return self._other(name)
        key = KEYS[name]
        if self.labels[key] is None:
            self.labels[key] = self._detail(name, style)
        return f"{'the ' if name in self.articles and style is None else ''}{self.labels[key]}"

    def _detail(self, name: str, style: str | None) -> str:
        half, dice = self.half, self.dice
        match name:
            case "lessor" | "lessee":
                return self._new(self._person if dice.random() < 0.15 else self._company)
            case "space":
                return self._new(lambda: self._phrase(half.spaces[self.place]))
            case "use":
                return self._phrase(half.uses[self.place])
            case "pay":
                return self._phrase(half.payments)
            case "ext":
                return self._phrase(half.extensions)
            case "start" | "end" if style is None and dice.random() < FORMULAS[name]:
                return self._phrase(half.starts if name == "start" else half.ends)
        style = style or (self.style if dice.random() < 0.8 else dice.choice(STYLES))
        if style in WITH_ARTICLE:
            self.articles.add(name)
        return spelled(self.days[name], style)

    def _new(self, draw: Callable[[], str]) -> str:
        while (drawn := draw()) in self.taken:
            continue
        self.taken.add(drawn)
        return drawn

    def _phrase(self, patterns: Sequence[str]) -> str:
        return fill(self.dice.choice(patterns), self.slot)

    def _person(self) -> str:
        return f"{self.dice.choice(self.half.first_names)} {self.dice.choice(self.half.last_names)}"

    def _company(self) -> str:
        half, dice = self.half, self.dice
        first = dice.choice(half.company_names if dice.random() < 0.7 else half.last_names)
        return f"{first} {dice.choice(half.company_trades)} {dice.choice(half.company_forms)}"

    def _other_company(self) -> str:
        while (drawn := self._company()) in self.taken:
            continue
        return drawn

    def _address(self) -> str:
        return f"{self.dice.randint(2, 980)} {self.dice.choice(self.half.streets)}, {self.dice.choice(self.half.towns)}"

    def _town(self) -> str:
        return self.dice.choice(self.half.towns).split(",")[0]

    def _day_near_signing(self, earliest: int, latest: int) -> str:
        """The day of something else, within so many days of the signing, and never a labelled one."""
        while (day := self.days["sign"] + timedelta(days=self.dice.randint(earliest, latest))) in self.days.values():
            continue
        return self._other_day(day)

    def _other_day(self, day: date) -> str:
        """In the spelling of this lease."""
        return f"{'the ' if self.style in WITH_ARTICLE else ''}{spelled(day, self.style)}"

    def _number(self, number: int) -> str:
        return self.dice.choice((f"{in_words(number)} ({number})", in_words(number)))

    def _counted_term(self) -> str:
        self.count = self.dice.choice((1, 1, 2, 2, 3, 4))
        return self._number(self.count)

    def _other(self, name: str) -> str:
        """A slot without a label: a distractor, or a part of a phrase."""
        if name in _PLURALS:
            return _PLURALS[name] + ("s" if self.count > 1 else "")
        dice = self.dice
        made: dict[str, Callable[[], str]] = {
            "company": self._other_company,
            "person": self._person,
            "title": lambda: dice.choice(_TITLES),
            "town": self._town,
            "town_caps": lambda: self._town().upper(),
            "address": self._address,
            "past": lambda: self._day_near_signing(self.earliest, -5),
            "coming": lambda: self._day_near_signing(5, 300),
            "later": lambda: self._day_near_signing(301, 500),
            "head_date": lambda: self._other_day(self.head_date),
            "head_end": lambda: self._other_day(self.head_end),
            "old_end": lambda: self._other_day(self.old_end),
            "money": lambda: self.currency.format(dice.randint(5, 400) * 250),
            "rent": lambda: self.currency.format(self.rent),
            "rent_year": lambda: self.currency.format(self.rent * 12),
            "pct": lambda: f"{dice.randint(2, 18)}{dice.choice(('%', '%', ' percent', '.5%'))}",
            "days": lambda: counted(dice.choice((5, 7, 10, 14, 20, 21, 30, 45, 60)), "day"),
            "months": lambda: counted(dice.choice((2, 3, 6, 9, 12)), "month"),
            "term": lambda: counted(self.years, "year"),
            "term_months": lambda: counted(self.years * 12, "month"),
            "years": lambda: self._number(dice.randint(2, 10)),
            "count": self._counted_term,
            "yearth": lambda: ordinal_in_words(self.years),
            "monthth": lambda: f"{ordinal_in_words(self.years * 12)} ({ordinal(self.years * 12)})",
            "nth": lambda: dice.choice((ordinal, ordinal_in_words))(dice.randint(2, 12)),
            "monthday": lambda: f"{dice.choice(_MONTHS)} {dice.choice((1, 15, 20, 25))}",
            "month": lambda: dice.choice(_MONTHS),
            "weekday": lambda: dice.choice(("Monday", "Tuesday", "Wednesday", "Friday")),
            "year": lambda: str(self.days["start"].year - dice.randint(1, 8)),
            "num": lambda: str(dice.randint(11, 940)),
            "small": lambda: str(dice.randint(2, 9)),
            "letter": lambda: dice.choice("ABCDEFGH"),
            "area": lambda: f"{dice.randint(12, 640) * 25:,}",
        }
        if name not in made:
            raise ValueError(f"no slot is called {name!r}")
        return made[name]()


# --- leases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lease:
    """One labelled lease, a line of `leases.jsonl`."""

    lease_id: str
    split: str
    template: str
    kind: str
    lease_doc: str
    labels: Labels


def make_lease(half: Half, position: int, taken: set[str]) -> Lease:
    """The lease at a position of its half; ``taken`` are the parties and premises of those before it."""
    dice = random.Random(f"{SEED} {half.name} {position}")
    template = half.templates[position % len(half.templates)]
    turn = position // len(half.templates)
    kind = template.kinds[turn % len(template.kinds)]
    present = _present(template, dice)
    deal = Deal(half, kind, dice, taken)
    fewest, most = half.other_clauses[(position + turn) % len(half.other_clauses)]
    text = _with_other_clauses(template, _clauses(half, kind), dice.randint(fewest, most), dice)
    text = fill(choose(text, present, dice), lambda name, style: _slot(name, style, deal, template))
    labels = deal.labels
    labels[KEYS["exp"]] = labels[KEYS["end"]] if "exp" in present else None
    if wrong := [name for name, key in KEYS.items() if (labels[key] is not None) != (name in present)]:
        raise ValueError(f"the template '{template.name}' gives too much or too little of {', '.join(wrong)}")
    if template.capitals:
        text = text.upper()
        labels = {key: value and value.upper() for key, value in labels.items()}
    text = lay_out(text, template.wrap)
    if template.scanned:
        text = misread(text, [value for value in labels.values() if value], dice)
    return Lease(f"{half.name}-{position + 1:02d}", half.name, template.name, kind, text, labels)


def _present(template: Template, dice: random.Random) -> set[str]:
    """The details that a lease gives, by their short names; without an end there is no expiration."""
    absent = {name for name in KEYS if dice.random() < template.absent.get(name, ABSENT.get(name, 0.0))}
    return set(KEYS) - absent - ({"exp"} if "end" in absent else set())


def _slot(name: str, style: str | None, deal: Deal, template: Template) -> str:
    called = {"L": template.landlord, "T": template.tenant, "P": template.premises}
    if name == "n":
        deal.number += 1
        return template.number(deal.number)
    return called[name] if name in called else deal.slot(name, style)


_INDOORS = re.compile(r"roof|heating|lifts|stairs|wall|rooms|Partitions|drill|Boilers|downstairs|key|pull down")


def _clauses(half: Half, kind: str) -> Sequence[str]:
    """What the leases of a kind may say besides: of bare land nothing about a building's inside."""
    return [clause for clause in half.clauses if kind != "land" or not _INDOORS.search(clause)]


def _with_other_clauses(template: Template, clauses: Sequence[str], count: int, dice: random.Random) -> str:
    drawn = [clause.split(" | ", 1) for clause in dice.sample(clauses, min(count, len(clauses)))]
    shaped = [template.clause.replace("{head}", head).replace("{text}", text) for head, text in drawn]
    return template.text.replace("{fill}", "\n\n".join(shaped))


_MISREADINGS = (("rn", "m"), ("l", "1"), ("O", "0"), ("I", "l"), ("S", "5"), ("E", "F"), ("H", "ll"), ("G", "C"))


def misread(text: str, protected: Iterable[str], dice: random.Random) -> str:
    """Light noise of a scan: a word in thirty has a letter misread or a blank inside, the protected values none."""
    kept = "|".join(r"\s+".join(map(re.escape, value.split())) for value in sorted(protected, key=len, reverse=True))
    pieces = re.split(f"({kept})", text)
    return "".join(
        piece if position % 2 else re.sub(r"[A-Za-z]{4,}", lambda word: _misread_word(word[0], dice), piece)
        for position, piece in enumerate(pieces)  # every other piece is a protected one
    )


def _misread_word(word: str, dice: random.Random) -> str:
    if dice.random() > 1 / 30:
        return word
    if possible := [(right, wrong) for right, wrong in _MISREADINGS if right in word]:
        return word.replace(*dice.choice(possible), 1)
    middle = len(word) // 2
    return f"{word[:middle]} {word[middle:]}"


def make_leases() -> list[Lease]:
    """All leases, the training half first."""
    made = []
    for half in (TRAIN, HOLDOUT):
        taken: set[str] = set()
        made += [make_lease(half, position, taken) for position in range(EACH)]
    return made


def write_leases(leases: Iterable[Lease], folder: Path) -> Path:
    """Writes `leases.jsonl`, a lease a line."""
    target = folder / "leases.jsonl"
    text = "".join(json.dumps(asdict(lease), ensure_ascii=False) + "\n" for lease in leases)
    target.write_text(text, encoding="utf-8")
    return target


# --- PDFs ------------------------------------------------------------------------------------------------------------

# Lengths are in points; y grows upwards.
PAGE_WIDTH, PAGE_HEIGHT = A4
MARGIN, BOTTOM = 64.0, 60.0
GUTTER = 22.0
VALUE_AT = 165.0
"""Where the value of a ``key: value`` line stands in a boxed form, from its left edge."""

_FULL_LINE = re.compile(r"(?<=[^\n]{70})\n")

FEW_WORDS = 48
"""The most characters of a heading, or of the key of a box."""


@dataclass(frozen=True)
class Page:
    """How a lease is typeset: ``columns`` side by side, or as a form with its values in boxes.

    Where the text is ``flowing``, what was wrapped for the screen is wrapped anew, for the column.
    """

    font: str
    bold: str
    size: float
    columns: int = 1
    boxes: bool = False
    flowing: bool = False

    @property
    def leading(self) -> float:
        return self.size * 1.3

    @property
    def width(self) -> float:
        return (float(PAGE_WIDTH) - 2 * MARGIN - (self.columns - 1) * GUTTER) / self.columns


BOOK = Page("Times-Roman", "Times-Bold", 11, flowing=True)
TYPEWRITER = Page("Courier", "Courier", 9.5)
FORM = Page("Helvetica", "Helvetica-Bold", 9, boxes=True)
COLUMNS = Page("Helvetica", "Helvetica-Bold", 8.5, columns=2, flowing=True)

PDFS = (
    ("train", "deed", BOOK, True),
    ("train", "form", FORM, False),
    ("train", "scan", TYPEWRITER, False),
    ("holdout", "particulars", FORM, False),
    ("holdout", "whereas", TYPEWRITER, False),
    ("holdout", "underlet", COLUMNS, False),
)
"""The half and template of each PDF, its pages, and whether it is the longest lease of that template or the first."""


class Typesetter:
    """Writes lines down the columns of as many pages as they need; the text of the file is in reading order."""

    def __init__(self, target: Path, page: Page, title: str) -> None:
        # Nothing in the file depends on the time or the machine.
        self._canvas = Canvas(str(target), pagesize=A4, invariant=1, pageCompression=0)
        self._canvas.setTitle(title)
        self._canvas.setAuthor("The finreg project")
        self._canvas.setSubject("A synthetic sample lease")
        self._page = page
        self._column, self._y = 0, PAGE_HEIGHT - MARGIN

    def paragraph(self, text: str) -> None:
        for line in text.split("\n"):
            key, colon, value = line.partition(": ")
            if self._page.boxes and colon and len(key) <= FEW_WORDS and not key[:1].isdigit():
                self._box(key + colon, value)
            else:
                heading = line.isupper() and len(line) <= FEW_WORDS
                font = self._page.bold if heading else self._page.font
                for row in simpleSplit(line, font, self._page.size, self._page.width):
                    self._write(((0.0, font, row),))
        self._y -= self._page.leading / 2

    def _box(self, key: str, value: str) -> None:
        page = self._page
        keys = simpleSplit(key, page.bold, page.size, VALUE_AT - 6)
        values = simpleSplit(value, page.font, page.size, page.width - VALUE_AT)
        for name, words in zip_longest(keys, values, fillvalue=""):
            self._write(((0.0, page.bold, name), (VALUE_AT, page.font, words)))
        self._canvas.setLineWidth(0.3)
        self._canvas.line(self._left, self._y + page.leading - 3, self._left + page.width, self._y + page.leading - 3)

    @property
    def _left(self) -> float:
        return MARGIN + self._column * (self._page.width + GUTTER)

    def _write(self, pieces: Iterable[tuple[float, str, str]]) -> None:
        """One line: (x from the left edge, font, text) of each piece."""
        if self._y < BOTTOM:
            self._next_column()
        for x, font, text in pieces:
            self._canvas.setFont(font, self._page.size)
            self._canvas.drawString(self._left + x, self._y, text)
        self._y -= self._page.leading

    def _next_column(self) -> None:
        self._column = (self._column + 1) % self._page.columns
        if self._column == 0:
            self._canvas.showPage()
        self._y = PAGE_HEIGHT - MARGIN

    def save(self) -> None:
        self._canvas.showPage()
        self._canvas.save()


def write_pdfs(leases: Sequence[Lease], folder: Path) -> list[Path]:
    """Writes the leases of `PDFS` and `labels.jsonl` into a folder, and returns the PDFs."""
    folder.mkdir(exist_ok=True)
    made, lines = [], []
    for split, template, page, longest in PDFS:
        candidates = [each for each in leases if (each.split, each.template) == (split, template)]
        lease = max(candidates, key=lambda each: len(each.lease_doc)) if longest else candidates[0]
        target = folder / f"{lease.lease_id}.pdf"
        typesetter = Typesetter(target, page, f"Sample lease {lease.lease_id}")
        for paragraph in lease.lease_doc.split("\n\n"):
            typesetter.paragraph(_FULL_LINE.sub(" ", paragraph) if page.flowing else paragraph)
        typesetter.save()
        made.append(target)
        lines.append({"file": target.name, "lease_id": lease.lease_id, "split": split, "labels": lease.labels})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "labels.jsonl").write_text(text, encoding="utf-8")
    return made


def main(folder: Path) -> None:
    leases = make_leases()
    print(write_leases(leases, folder))
    for pdf in write_pdfs(leases, folder / "pdf"):
        print(pdf)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
