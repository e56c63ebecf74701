"""How statements of law are taken apart, and how their words come into questions that stand on their own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from finreg_cli.domain.notes import has_mark
from finreg_cli.tasks.rules.provisions import Statement

MOST_SENTENCE_WORDS = 60
MOST_LIST_WORDS = 80


def any_of(phrases: str) -> str:
    """A pattern for any of the phrases, which are separated by commas and may be patterns themselves."""
    return f"(?:{'|'.join(' '.join(phrase.split()) for phrase in phrases.split(','))})"


# --- who can act ---

_KINDS_OF_INSTITUTION = any_of(
    "EU, small, large, parent, credit, originator, sponsor, lending, clearing, reporting, financial"
)
_ACTOR_NOUNS = any_of(
    rf"""(?:{_KINDS_OF_INSTITUTION} )*institutions?, competent authorit(?:y|ies), designated authorit(?:y|ies),
    resolution authorit(?:y|ies), authorit(?:y|ies), consolidating supervisors?, investment firms?, clearing members?,
    (?:parent )?undertakings?, firms?, banks?, originators?, sponsors?, providers?, issuers?, lenders?, auditors?,
    internal audit, management body, senior management, Board, Commission, Council, Member States?, EBA, ESMA, EIOPA,
    ECB, ESRB, ECAIs?, Q?CCPs?"""
)
_DETERMINER = r"(?:the |an? |each |every |all |any )"
_ACTOR = re.compile(rf"{_DETERMINER}?{_ACTOR_NOUNS}(?: (?!and |or )[^,;:]+)?", re.IGNORECASE)
_ACTOR_AT_START = re.compile(rf"{_DETERMINER}?{_ACTOR_NOUNS}\b", re.IGNORECASE)
_ACTORS = re.compile(r"EBA, (?:EIOPA|ESMA) and (?:EIOPA|ESMA)|EBA and (?:ESMA|EIOPA)")

# --- what needs a sentence before it ---

_NEEDS_ANTECEDENT = re.compile(
    r"\b(?:those|these|such|this|it|they|there|other|latter|former|same|resulting|corresponding|concerned)\b"
    r"|(?<!no )\blonger\b"
    r"|\bin question\b"
    r"|\bthat (?:institution|authority|undertaking|firm)\b"
    # A possessive may stand for the subject itself: "an institution that has lost its licence".
    r"|^(?!.*\b(?:that|which|whose|who)\b).*\b(?:its|their)\b",
    re.IGNORECASE,
)
# "The plan", "the annual report": which one, the sentence before says, but everyone knows the competent authority.
_SHORT_DEFINITE = re.compile(r"the (?:[\w-]+ )?[\w-]+|no\b.*", re.IGNORECASE)
_KNOWN_TO_ALL = re.compile(
    "the "
    + any_of(
        """competent authorit(?:y|ies), designated authorit(?:y|ies), consolidating supervisors?, Commission, Council,
        Board, EBA, ESRB, ECB, ESMA, EIOPA, Joint Committee, management body, leverage ratio, total capital,
        liquidity coverage"""
    ),
    re.IGNORECASE,
)
_THE_INSTITUTION = re.compile(r"the (?:institution|originator|sponsor|issuer|clearing member)s?")
_NAMED_BEFORE = any_of(
    """permission, list, plan, cap, buffer, threshold, factor, excess,
    report, rate, limit, minimum, maximum, sum, amount, value, approach, method, treatment,
    decision, application, period, date, ratio, requirement, information, assessment, risk, exposure, institution,
    undertaking, firm, person, client, entity, group, authority, competent authority, Member State, notification,
    opinion, proposal, measure, position, instrument, item, option, agreement, fund, CIU, case, part, table, effect,
    end, calculation, percentage, policy, condition, model, system, data, collateral, protection, provider,
    third country"""
)
_PROVISION_NOUN = any_of(
    "Article, Regulation, paragraph, point, Chapter, Title, Part, Section, Sub-Section, Directive, Annex"
)
_BACK = re.compile(
    r"\b(?:(?:such|those|these) (?!(?:draft|as|of|which|that|where|with|who|whose|in|referred|to|for|under)\b)"
    rf"|this (?!{_PROVISION_NOUN}\b)"
    rf"|that (?={_NAMED_BEFORE}\b)"
    r"|the same (?!(?:time|manner|way|meaning)\b))(?P<noun>[\w-]+(?: [\w-]+)?)"
)
# "not more than 15 % of it": too often the thing is in the sentence before.
_OBJECT_PRONOUN = re.compile(r"\b(?:of|from|than|to) (?:it|them)\b(?! (?:is|are|has|have|shall|may)\b)")
_STEM_LETTERS = 5  # see "instrument" in "instruments"

_BARE_PRONOUNS = any_of("this, that, these, those, it, they, such")
_ANAPHORIC_START = re.compile(
    any_of(
        rf"""That, Those, These, Such, It, They, This, He, Its, Their, Both, Either, Neither, Otherwise, Other, Except,
        However, Therefore, Furthermore, Moreover, Nevertheless, Otherwise, Accordingly, Thereafter, Conversely,
        Likewise, Similarly, Only, And, Or, But, Also, Thus, Hence, Consequently, Then,
        Each of, Any such, All (?:of )?(?:these|those), As a result,
        As a consequence, The (?:latter|former|same|first|second|third|above|said),
        In (?:that|this|such|those|these|addition|particular|doing|both|either), Until (?:that|then),
        (?:For|To|By|Under|On|At|After) {_BARE_PRONOUNS}, (?:Where|If|When) (?:so|doing|{_BARE_PRONOUNS})"""
    )
    + r"\b(?! Regulation shall)"
)

# --- what did not survive the PDF, or is no rule ---

# The note itself, and its mark: "of 25 July 1978 on the annual accounts (1), or".
FOOTNOTE = r"\bOJ [LC] \d|\b(?!points?\b|paragraphs?\b|and\b|or\b|to\b)(?:\d{4}|[a-z]+) \(\d{1,2}\)(?=[,;. ]|$)"
_UNSOUND = re.compile(
    r"[¼ðÞ\ufffd\ufffe\u0002…=≤≥*\u00d7]|\d:\d|\.\.\.| {2}|\b\w+- \w|\bc\) |\)No \d"
    rf"|{FOOTNOTE}"
    r"|\b(?:formula|table below|Table \d|following (?:table|formula|Article|paragraph|point|subparagraph|text))\b"
    r"|\b(?:the following(?: \w+)?|as follows)\.$"
    r"|\b(?:is|are) (?:replaced|inserted|amended|deleted|added)\b"
)

# --- what a question may not hold ---

_BARE_POINT = r"points? \(\w+\)(?!(?:(?:,| and| or| to) \(?\w+\)?)* of (?:this |that )?(?:paragraph|Article))"
_POINTS_AWAY = re.compile(
    r"\b(?:subparagraphs?|those|these|such|aforementioned|thereof|thereto|the (?:above|former|latter|following))\b"
    r"|\bthis (?!(?:Article|Regulation|paragraph)\b)\w+"
    r"|\b(?:to|for|of|by|in|from|with|on|under|at|as) that\b"
    rf"|\bthat {_NAMED_BEFORE}\b"
    rf"|{_BARE_POINT}"
)
_LEADS_ON = any_of(
    "and, or, on, of, at, in, to, the, an?, by, with, for, from, where, if, than, as, least, most, not, only, also"
)
_CUT_OFF = re.compile(rf"\b{_LEADS_ON}$|,$")
_PARAGRAPH_NUMBERS = re.compile(
    r"\b(paragraphs? \d+[a-z]?(?:\(\w\))?(?:(?:,| and| or| to) \d+[a-z]?(?:\(\w\))?)*)(?! of)\b"
)

# --- the parts of a sentence ---

_LEADS = {
    r"(?:Where|If)": "where",
    r"When": "when",
    r"For the purposes? of": "for the purposes of",
    r"In order to": "in order to",
    r"By way of derogation from": "by way of derogation from",
    r"In the case of": "in the case of",
    r"In the event of": "in the event of",
    r"For(?! the purposes?\b)": "for",
    r"Under": "under",
    r"From(?= \d)": "from",
    r"During the period from": "during the period from",
    r"Before": "before",
    r"After": "after",
    r"Until": "until",
    r"Upon": "upon",
}
_LEAD = re.compile("|".join(rf"(?:{lead})\b " for lead in _LEADS))
# What these say limits the rule, so it stays in the answer, but the question is clear without it.
_ASIDE = re.compile(
    any_of("Subject to, Without prejudice to, Notwithstanding, In accordance with, Pursuant to, In addition to")
    + r"\b "
)
# "By 31 December 2015, EBA shall ..." is turned round, so that a date is found where sentences end.
_TIME_LEAD = re.compile(
    r"(?P<time>By \d{1,2} [A-Z]\w+ \d{4}|Within [^,]{3,80}|No later than [^,]{3,60}),? "
    r"(?P<main>(?:an? |the |each )?\w[^,;:]{0,80} shall .+)"
)
_MODAL = re.compile(r" (?:shall|may) ")
_STATES = re.compile(r" (?:is|are|amounts? to) (?=(?:equal to )?\d)|(?<=^Power) (?=is )")
_PRONOUN = re.compile(r"(?:it|they)", re.IGNORECASE)
# "Where competent authorities responsible for X waive Y, they shall": "they responsible for X" is no clause.
_NO_VERB = re.compile(
    r"(?:\w+ing|responsible|which|that|who|whose|of|in|for|from|under|with|to|on|referred|located|established|and|or)\b|,"
)
_PREPOSITION = re.compile(
    rf"{any_of('in, for, of, on, by, with, under, where, if, when, after, before, as, to, from, at, until, during')}\b",
    re.IGNORECASE,
)
_PROPER = re.compile(r"(?:Member States?|Articles?|Annex|Part|Title|Chapter|Regulation|Directive|Tier)\b")
_BEFORE_NAMES = frozenset({"the", "a", "an", "each", "every", "all", "any", "no", "for", "where", "when", "if"})
_LEAST_CONDITION_WORDS = 3


@dataclass(frozen=True)
class Clause:
    """A statement taken apart.

    ``subject`` is ready for the middle of a sentence; ``verbal`` begins with the modal verb and has no final stop;
    ``when`` is empty or begins with a blank, as in " where the conditions are met"; ``actor`` says that the subject
    can act.
    """

    statement: Statement
    subject: str
    verbal: str
    when: str
    actor: bool


def is_sound(statement: Statement) -> bool:
    """True for a statement that reads well alone and lost nothing on its way out of the PDF."""
    text = statement.text
    most = MOST_LIST_WORDS if statement.items else MOST_SENTENCE_WORDS
    return (
        5 <= len(text.split()) <= most
        and text[0].isupper()
        and text.endswith(".")
        and text.count("(") == text.count(")")
        and not _ANAPHORIC_START.match(text)
        and not _UNSOUND.search(text)
        and not has_mark(text)
        and not _points_back(text)
    )


def _points_back(text: str) -> bool:
    """True where "such instruments" stands for instruments that the sentence itself does not name before."""
    if _OBJECT_PRONOUN.search(text) or (re.search(_BARE_POINT, text) and not re.search(r": \(\w\) ", text)):
        return True
    for found in _BACK.finditer(text):
        before = text[: found.start()].lower()
        if not any(word.lower()[:_STEM_LETTERS] in before for word in found["noun"].split()):
            return True
    return False


def take_apart(statement: Statement) -> Clause | None:
    """The main clause "X shall/may ..." and what it depends on; None where that is not certain."""
    text = (statement.intro or statement.text).rstrip(".: ")
    timed = _TIME_LEAD.fullmatch(text)
    if timed:
        text = f"{timed['main']} {lower_first(timed['time'])}"
    modal = _MODAL.search(text) or _STATES.search(text)
    if modal is None:
        return None
    parted = _part(text[: modal.start()])
    verbal = text[modal.start() + 1 :]
    if parted is None or verbal.split()[1].endswith(","):
        return None
    subject, when = parted
    if not _names_itself(subject, when):
        return None
    several = bool(_ACTORS.fullmatch(subject))
    if not several and ("," in subject or " and " in subject[:12]):
        return None
    return Clause(statement, subject, verbal, when, actor=several or bool(_ACTOR.fullmatch(subject)))


def _part(before: str) -> tuple[str, str] | None:
    """The subject and its condition, out of everything that stands before the modal verb."""
    lead = _LEAD.match(before) or _ASIDE.match(before)
    if lead is None:
        return lower_first(before.strip()), ""
    condition, comma, subject = before.rpartition(", ")
    if not comma or "unless" in condition or len(condition.rpartition(",")[2].split()) < _LEAST_CONDITION_WORDS:
        return None
    if not _PRONOUN.fullmatch(subject):
        return lower_first(subject.strip()), _when(condition)
    # "Where an institution ..., it shall": the two change places.
    actor = _ACTOR_AT_START.match(condition[lead.end() :])
    if actor is None or _NEEDS_ANTECEDENT.search(actor.group()) or not lead.group().startswith(("Where", "If", "When")):
        return None
    rest = condition[lead.end() + actor.end() :].strip()
    if _NO_VERB.match(rest):
        return None
    conjunction = "when" if lead.group().startswith("When") else "where"
    return lower_first(actor.group()), f" {conjunction} {subject.lower()} {rest}"


def _when(condition: str) -> str:
    for lead, put in _LEADS.items():
        found = re.match(rf"{lead}\b ", condition)
        if found:
            return f" {put} {condition[found.end() :]}"
    return ""


def _names_itself(subject: str, when: str) -> bool:
    """True where the subject is clear without the sentences before."""
    if not subject or subject[0].isdigit() or _PREPOSITION.match(subject) or _NEEDS_ANTECEDENT.search(subject):
        return False
    if not _SHORT_DEFINITE.fullmatch(subject) or _KNOWN_TO_ALL.match(subject):
        return True
    return bool(when and _THE_INSTITUTION.fullmatch(subject))


def lower_first(text: str) -> str:
    """The text for the middle of a sentence: abbreviations and proper names keep their capital."""
    first, _, rest = text.partition(" ")
    symbol = len(first) == 1 and first != "A"
    if symbol or _PROPER.match(text) or any(letter.isupper() for letter in first[1:]):
        return text
    named = rest[:1].isupper() and first.lower() not in _BEFORE_NAMES
    return text if named else text[:1].lower() + text[1:]


def standing_alone(text: str, act: str) -> str | None:
    """The words of a provision for a question that names it; None where they point to something that it does not name.

    Args:
        act: the short name of the act, which "this Regulation" becomes.
    """
    text = re.sub(r"\b(and|or) shall (?!not\b)", r"\1 ", text)
    if _POINTS_AWAY.search(text) or _CUT_OFF.search(text) or " shall " in text:
        return None
    text = re.sub(r"\bthis Regulation\b", act, text)
    text = re.sub(r"\bthis (Article|paragraph)\b", r"that \1", text)
    return _PARAGRAPH_NUMBERS.sub(r"\1 of that Article", text)
