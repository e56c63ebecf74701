"""Invented names of companies, people and places, in the form of the names that they replace."""

from __future__ import annotations

import random
import re
from collections.abc import Collection


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_STEMS = _words(
    """
    Aldwick Averton Barrowmere Belcastle Brackwell Caldmoor Carsington Cawthorne Claymont Coldwater Cresswick Dalhurst
    Dunbrook Elmhollow Everstone Fairweather Farnholt Glenmarsh Goldfinch Grantham Halvergate Hawksmoor Hazelden
    Kestrelfield Kingsnorth Lambscroft Lockridge Longmead Mossgate Netherby Oldcastle Osprey Pembrook Ravenscar
    Rockhaven Rushmere Saltmarsh Sandleigh Seabright Shefford Stanwick Summerlin Swanmoor Tallowfield Tidewater
    Underhill Vexley Wadebridge Westerleigh Whitcombe Windermoor Wolverley Yarrow Zephyr
    """
)
_COMPANY_WORDS = _words(
    """
    Advisors Associates Brands Builders Ceramics Construction Consulting Dairy Designs Developments Dynamics
    Electronics Energy Engineering Enterprises Equipment Fabrics Financial Gardens Glass Group Hardware Health
    Hospitality Imports Industries Laboratories Lumber Management Manufacturing Marine Materials Medical Metals Motors
    Networks Packaging Paper Pharmacy Plastics Products Provisions Realty Resources Robotics Services Shipping
    Solutions Sports Stores Studios Supply Technologies Therapeutics Toys Transport Ventures Wholesale Works
    """
)
_FIRST_NAMES = _words(
    """
    Adele Aldo Amos Anita Barnaby Beatrix Camille Cecil Dahlia Dexter Dora Edmund Elias Elspeth Ezra Fiona Florian
    Gideon Gwen Harriet Hollis Ingrid Isaac Ivy Kasper Lavinia Lionel Lorna Marcus Maude Miriam Nadine Nestor Odette
    Orson Paloma Percy Quentin Ramona Roland Rosalind Rufus Sabine Selma Silas Stella Thaddeus Trudy Ursula Vernon
    Viola Wendell Winifred Xavier Yvette Zelda
    """
)
_LAST_NAMES = _words(
    """
    Abercrane Ashdowne Bellweather Birdsall Bottomley Bramwell Burntwood Cobbold Crowhurst Dalrymple Darkwater Drummond
    Eastlake Fairclough Fotheringay Gainsford Garroway Hathersage Heptonstall Holloway Inchbald Jellicoe Kettlewell
    Kirkbride Lathbury Loxley Mandeville Merriweather Mountjoy Nightingale Ormerod Oxenham Padgett Pomeroy Quillfeather
    Ramsbottom Rookwood Satterthwaite Silverlock Skelmersdale Stannard Swinburne Tattershall Thistlewood Trelawney
    Umberleigh Vandermeer Wainwright Wetherby Winterbourne Yelverton Zellweger
    """
)
_STREETS = _words(
    """
    Acorn Almond Balsam Bayberry Bluebell Briar Brickyard Cedarwood Cherry Clover Cooper Cormorant Daisy Dogwood Fern
    Gable Gallows Ginger Heather Heron Holly Ivy Jasmine Kiln Laurel Lilac Linden Lupine Magnolia Mallard Maple Meadow
    Mulberry Myrtle Nutmeg Olive Pepper Plover Poplar Primrose Rosemary Rowan Saffron Sage Sorrel Spruce Sycamore
    Tanner Thistle Tulip Walnut Weaver Willow Wisteria
    """
)
_TOWNS = _words(
    """
    Appleton Barrington Bexhill Brookhaven Cedarburg Clearwater Crosswell Dunmore Edgerton Fairmont Glendale Grafton
    Hampstead Harwich Kenwood Lexden Lynnfield Marlow Middleham Milford Newbridge Northfield Oakham Pinehurst Redmond
    Ridgefield Rosedale Sherborne Southwell Stafford Thornton Upton Wakefield Walden Westport Whitby Winslow Wyndham
    """
)

LEGAL_FORM = re.compile(
    r"(?P<join>,?\s+)(?P<form>Inc\.?|Incorporated|L\.?L\.?C\.?|L\.?L\.?P\.?|L\.?P\.?|Ltd\.?|Limited|Corp\.?|Corporation|"
    r"Company|Co\.|P\.?L\.?C\.?|GmbH|AG|S\.?A\.?|B\.?V\.?|N\.?A\.?|P\.?C\.?|Trust|Bank|Association|Foundation|"
    r"(?:Limited\s+)?Partnership|University|Church|Council|Authority|Agency|Department)$",
    re.IGNORECASE,
)
TAIL = re.compile(
    r"(?:,\s+(?:an?|as|not|by|acting|its|the|doing|d/b/a|trading|both|husband|jointly|of)\b|\s+(?:as|d/b/a|t/a)\s|\s*\().*$",
    re.IGNORECASE | re.DOTALL,
)
_JOINED = re.compile(r"(\s+(?:and|&)\s+|\s*;\s*)", re.IGNORECASE)
_PLACE = re.compile(
    r"(?P<body>(?:the\s+)?(?:city|town|county|district|state|village|borough|port)\s+of\s+).+", re.IGNORECASE
)
_COMPANY_HINT = re.compile(
    r"&|\d|\b(?:the|of|sons|brothers|bros|group|holdings|properties|realty|estates?|partners|"
    + "|".join(_COMPANY_WORDS)
    + r"|trading|logistics|foods|instruments|textiles|systems|furniture|investments|media|school|clinic)\b",
    re.IGNORECASE,
)
_TITLE = re.compile(r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Dame|Messrs)\.?$", re.IGNORECASE)
_GENERATION = re.compile(r"(?:Jr|Sr|II|III|IV|Esq)\.?$", re.IGNORECASE)


def _plain_words(name: str) -> list[str]:
    """The words of a person's name without titles and the like."""
    return [word for word in name.split() if not (_TITLE.match(word) or _GENERATION.match(word))]


class Inventor:
    """Invents names; the same word of a person's name gets the same replacement, so that a family keeps one surname.

    Args:
        chance: what decides.
        taken: words, in lower case, that no invented name may use.
    """

    def __init__(self, chance: random.Random, taken: Collection[str] = ()) -> None:
        self._chance = chance
        self._taken = set(taken)
        self._people: dict[str, str] = {}

    def name_like(self, name: str) -> str:
        """Another party's name in the form of ``name``: legal form, tail (", a Delaware corporation"), letter case."""
        tail = TAIL.search(name)
        head, rest = (name[: tail.start()], tail.group()) if tail else (name, "")
        new = self._party(head)
        return (new.upper() if head.isupper() else new) + rest

    def _party(self, name: str) -> str:
        form = LEGAL_FORM.search(name)
        if form:
            return self._company(name[: form.start()]) + form.group()
        place = _PLACE.fullmatch(name)
        if place:
            return place["body"] + self.town()
        parts = _JOINED.split(name)
        if len(parts) > 1 and all(len(part.split()) > 1 and not _COMPANY_HINT.search(part) for part in parts[::2]):
            return "".join(part if nth % 2 else self._person(part) for nth, part in enumerate(parts))
        if _COMPANY_HINT.search(name) or not 1 < len(_plain_words(name)) <= 4:
            return self._company(name)
        return self._person(name)

    def _company(self, core: str) -> str:
        article = "The " if core.casefold().startswith("the ") else ""
        if "&" in core:
            return f"{article}{self._pick(_STEMS)} & {self._pick(_LAST_NAMES)}"
        if len(core.removeprefix("The ").split()) == 1:
            return article + self._pick(_STEMS)
        return f"{article}{self._pick(_STEMS)} {self._chance.choice(_COMPANY_WORDS)}"

    def _person(self, name: str) -> str:
        words = name.split()
        plain = _plain_words(name)
        return " ".join(self._person_word(word, word == plain[-1]) if word in plain else word for word in words)

    def _person_word(self, word: str, is_last: bool) -> str:
        bare = word.strip(",.")
        if not bare:
            return word
        known = self._people.get(bare.casefold())
        if known is None:
            if len(bare) == 1:
                known = self._chance.choice([letter for letter in "ABCDEFGHJKLMNPRSTW" if letter != bare.upper()])
            else:
                known = self._pick(_LAST_NAMES if is_last else _FIRST_NAMES)
            self._people[bare.casefold()] = known
        return word.replace(bare, known)

    def street(self) -> str:
        return self._pick(_STREETS)

    def town(self) -> str:
        return self._pick(_TOWNS)

    def estate(self) -> str:
        """The proper part of a building's or a park's name."""
        return self._pick(_STEMS)

    def _pick(self, words: tuple[str, ...]) -> str:
        """A word that was not taken yet, as far as there is one."""
        free = [word for word in words if word.casefold() not in self._taken] or list(words)
        word = self._chance.choice(free)
        self._taken.add(word.casefold())
        return word


def is_company(name: str) -> bool:
    """Whether a name has a legal form or a word that people's names do not have."""
    head = TAIL.sub("", name)
    return bool(LEGAL_FORM.search(head) or _COMPANY_HINT.search(head))
