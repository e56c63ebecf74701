"""Questions that a text does not answer, proved by the absence of everything that an answer would need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from finreg_cli.domain.chat_format import ABSTENTION
from finreg_cli.domain.records import Chunk
from finreg_cli.tasks.rules.proposal import Proposal, chosen
from finreg_cli.tasks.rules.provisions import Provision

VERSION = 1


@dataclass(frozen=True)
class Absence:
    """A question and what the whole chunk must not hold for it to be unanswerable there.

    Args:
        name: with the version it is the row's ``rule``.
        question: a template with ``article``, ``paragraph`` and ``title``.
        answered_by: a match anywhere in the chunk might answer the question, so the form is not used.
    """

    name: str
    question: str
    answered_by: re.Pattern[str]


def _absence(name: str, question: str, answered_by: str) -> Absence:
    return Absence(name, question, re.compile(answered_by, re.IGNORECASE))


_TIME = (
    r"\b(?:days?|weeks?|months?|years?|annual|quarter|daily|weekly|monthly|deadline|delay|immediate|promptly|until"
    r"|\d{4}\b)"
)

ABSENCES: tuple[Absence, ...] = (
    _absence(
        "fine",
        "How high is the fine for an institution that infringes {article} on '{title}'?",
        r"\b(?:fines?\b|penalt|sanction|pecuniary|turnover|infring)",
    ),
    _absence(
        "fee",
        "Which fee must an institution pay to its competent authority under {article} on '{title}'?",
        r"\b(?:fees?|charges?|costs?|price|EUR|pay(?:s|able|ment)?)\b|€",
    ),
    _absence(
        "language",
        "In which language must documents be drawn up under {article} on '{title}'?",
        r"\b(?:language|translat)",
    ),
    _absence(
        "court",
        "Which court decides on appeals against decisions taken under {article} on '{title}'?",
        r"\b(?:courts?|appeals?|tribunal|judicial)",
    ),
    _absence(
        "records",
        "For how many years must institutions keep records to prove compliance with {article} on '{title}'?",
        _TIME + r"|\b(?:records?|retain|keep|kept|stor(?:e|ed|age))\b",
    ),
    _absence(
        "template",
        "Which reporting template must institutions use under {article} on '{title}'?",
        r"\b(?:templates?|formats?|forms?\b|annex)",
    ),
    _absence(
        "auditor",
        "How often must an external auditor confirm compliance with {article} on '{title}'?",
        r"\b(?:audit|accountant|certif|external|verif)",
    ),
    _absence(
        "percentage",
        "Which percentage does {paragraph} on '{title}' lay down?",
        r"%|\bper ?cent",
    ),
    _absence(
        "amount",
        "Which amount in euro does {paragraph} on '{title}' lay down?",
        r"\b(?:EUR|euros?|million|billion)\b|€",
    ),
    _absence(
        "date",
        "By which date must institutions comply with {paragraph} on '{title}'?",
        _TIME,
    ),
    _absence(
        "frequency",
        "How often must institutions report to the competent authority under {paragraph} on '{title}'?",
        _TIME + r"|\b(?:regular|period|frequen|often|report)",
    ),
    _absence(
        "time-limit",
        "Within how many days must a notification under {paragraph} on '{title}' be made?",
        _TIME + r"|\b(?:time|period)",
    ),
    _absence(
        "exemption",
        "Which institutions does {paragraph} exempt from the rules on '{title}'?",
        r"\b(?:exempt|waive|derogat|except|not apply|unless|only|permi|exclu|without prejudice)",
    ),
    _absence(
        "whom",
        "Which authority must be notified under {paragraph} on '{title}'?",
        r"\b(?:notif|inform|report|submit|authorit|EBA|ESMA|Commission|supervis)",
    ),
)

# Whoever asks for the fine or the fee in these asks nonsense.
_NO_DUTIES = re.compile(
    r"\b(?:definitions?|subject matter|scope|entry into force|delegat|committee|review|amend|transitional|power"
    r"|repeal|date of application)",
    re.IGNORECASE,
)

_TERMS = (
    ("securitisation", r"securitis"),
    ("liquidity buffer", r"liquid"),
    ("operational risk", r"operational"),
    ("trading book", r"trading book"),
    ("central counterparty", r"central counterpart|CCP"),
    ("leverage ratio", r"leverage"),
    ("covered bond", r"covered bond"),
    ("credit valuation adjustment", r"valuation adjustment|CVA"),
    ("retail exposure", r"retail"),
    ("large exposure", r"large exposure"),
    ("netting set", r"netting"),
    ("prudent valuation", r"prudent valuation|valu"),
    ("conversion factor", r"conversion"),
    ("mortgage lending value", r"mortgage|lending value"),
    ("intraday liquidity", r"intraday|liquid"),
)

_DEFINITION_OF = "How does {article} on '{title}' define '{term}'?"


def absences(chunk: Chunk, provision: Provision) -> Iterator[Proposal]:
    """One question on the chunk's article whose answer is certainly not in the chunk."""
    if not provision.title or _NO_DUTIES.search(provision.title):
        return
    searched = f"{provision.title} {chunk.text}"
    possible = [each for each in _questions(provision, chunk) if not each.answered_by.search(searched)]
    if possible:
        absence = possible[chosen(len(possible), provision.article, chunk.text)]
        yield Proposal(
            "unanswerable",
            f"unanswerable/{absence.name}@{VERSION}",
            absence.question,
            ABSTENTION,
            chunk.citation,
            f"an answer would need a word that does not occur in the text: {absence.name}",
            answerable=False,
        )


def _questions(provision: Provision, chunk: Chunk) -> Iterator[Absence]:
    """The absences with their questions filled in. Only a paragraph that is whole is said to lack something."""
    paragraphs = [citation for citation, _ in provision.whole_paragraphs]
    paragraph = paragraphs[chosen(len(paragraphs), provision.article, chunk.text, "paragraph")] if paragraphs else None
    for absence in ABSENCES:
        if "{paragraph}" not in absence.question or paragraph is not None:
            question = absence.question.format(article=provision.article, paragraph=paragraph, title=provision.title)
            yield replace(absence, question=question)
    for number in range(2):
        term, known = _TERMS[chosen(len(_TERMS), provision.article, chunk.text, str(number))]
        question = _DEFINITION_OF.format(article=provision.article, title=provision.title, term=term)
        yield Absence("definition", question, re.compile(known, re.IGNORECASE))
