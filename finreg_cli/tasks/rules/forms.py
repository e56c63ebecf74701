"""The table of forms: what kind of sentence can be asked for what, and in which words.

A pattern is matched against the whole clause from its modal verb on ("shall submit a plan within ten days"); of a list,
against its introduction. A form asks for what its pattern proves to stand in the sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from finreg_cli.config import Kind
from finreg_cli.tasks.rules.wording import any_of

VERSION = 1

FIGURE = r"(?:\d{1,3}(?: \d{3})+|\d+)(?:[.,]\d+)?"
AMOUNT = rf"(?:{FIGURE} ?(?:%|per cent|basis points)|(?:EUR|€) ?{FIGURE}(?: (?:million|billion|thousand))?)"
_MONTH = any_of(
    "January, February, March, April, May, June, July, August, September, October, November, December",
)
_DATE = rf"\d{{1,2}} {_MONTH}(?: \d{{4}}| of each year| each year| every year)"
_COUNT = any_of(r"one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, a, an, \d+")
_SPAN = rf"{_COUNT} (?:\w+ )?(?:days?|weeks?|months?|years?)"
_QUANTITY = rf"(?:{AMOUNT}|{_SPAN})"
_ADVERB = any_of("annually, semi-annually, quarterly, monthly, weekly, daily")
_ADJECTIVE = any_of("annual, semi-annual, half-yearly, quarterly, monthly, weekly, daily")
_OFTEN = any_of(
    rf"""(?:at least )?{_ADVERB}, (?:at least )?(?:once|twice) (?:a|per|every) (?:\w+ )?(?:day|week|month|quarter|year),
    (?:at least )?every (?:day|week|month|quarter|half-year|year), (?:at least )?every \w+ (?:days|weeks|months|years),
    on (?:at least )?an? (?:at least )?{_ADJECTIVE} basis"""
)
_STANDARDS = "draft (?:regulatory|implementing) technical standards"
SUBMITTED_STANDARDS = rf"submit (?:those|the|these) (?={_STANDARDS})"
_BODY = "(?:the )?" + any_of(
    """EBA, ESMA, ESRB, EIOPA, ECB, Commission, Council, European Parliament(?: and (?:to )?the Council)?,
    [Cc]ompetent [Aa]uthorit(?:y|ies), other competent authorities, consolidating supervisor, Member States?, Board,
    management body, senior management"""
)
_SHALL_OR_MAY = "(?:shall|may)"
# A figure after these is an exception, or stands in an aside.
_FIGURE_IN_THE_RULE = r"(?=(?:(?!\b(?:unless|including|except|excluding|provided)\b).)*?"

# Neither yes nor no where the sentence goes on to the contrary.
_NO_EXCEPTION = r"(?!.*\b(?:only|unless|except|but|without|other than|otherwise)\b)"

_MORE_THAN_A_WORD = re.compile(r"(?!.*\d ?%)\S+ .+")
_NO_FIGURE = re.compile(r"(?!.*\d ?%).+")


@dataclass(frozen=True)
class Form:
    """A form of question.

    Args:
        kind: of the row.
        name: with the number of the wording and the version it is the row's ``rule``.
        pattern: over the clause; a group ``act2`` goes on where ``act`` broke off.
        wordings: templates with the groups of both patterns, ``subject``, ``when``, ``citation`` and ``title``.
        subject: over the whole subject; without, every subject that holds no figure will do.
        actor: the subject must be someone who can act.
        things: the subject must be no one who can act, since the question would say little of it.
        lists: for lists only; else for sentences only.
        alone: the paragraph must hold nothing else, since the question says little.
        depends: the clause must depend on a condition or a purpose, which the question names.
        generic: used only where no other form matches.
        figures: this sign must stand nowhere else in what the chunk holds of the paragraph.
        answer: a template with ``text``, the whole statement.
    """

    kind: Kind
    name: str
    pattern: re.Pattern[str]
    wordings: tuple[str, ...]
    subject: re.Pattern[str] = _NO_FIGURE
    actor: bool = False
    things: bool = False
    lists: bool = False
    alone: bool = False
    depends: bool = False
    generic: bool = False
    figures: str = ""
    answer: str = "{text}"

    def rule(self, wording: int) -> str:
        return f"{self.kind}/{self.name}-{wording}@{VERSION}"


def _form(kind: Kind, name: str, pattern: str, *wordings: str, **settings: Any) -> Form:
    return Form(kind, name, re.compile(pattern), wordings, **settings)


_DEADLINES = (
    _form(
        "deadline",
        "submit-standards",
        rf"shall submit (?:those|the|these) (?P<standards>{_STANDARDS}) to the Commission by {_DATE}",
        "By when must {subject} submit the {standards} under {citation} to the Commission?",
        "What is the deadline for {subject} to submit to the Commission the {standards} under {citation}?",
        actor=True,
    ),
    _form(
        "deadline",
        "by-date",
        rf"shall,? (?P<act>(?!submit (?:those|these)).+?),? (?:by|no later than|before) {_DATE}",
        "Under {citation}, by when must {subject} {act}{when}?",
        "Under {citation}, what is the deadline for {subject} to {act}{when}?",
    ),
    _form(
        "deadline",
        "by-date-inserted",
        rf"shall(?P<act>(?: [^,;:]+?)?)(?<! and)(?<! or),? by {_DATE},? (?P<act2>(?!and\b|or\b|for the first).+)",
        "Under {citation}, by which date must {subject} {act}{when}?",
    ),
    _form(
        "deadline",
        "within",
        rf"shall (?P<act>.+?),? (?:within|no later than|at the latest within) (?:a (?:maximum )?period of )?{_SPAN}"
        r"(?: (?:of|after|from|following|before) [^,;]+)?",
        "Under {citation}, within what period must {subject} {act}{when}?",
        "What time limit does {citation} set for {subject} to {act}{when}?",
    ),
    _form(
        "deadline",
        "how-often",
        rf"shall (?P<act>[^,;:]+?),? (?:regularly and )?{_OFTEN}(?! (?:and|or)\b)"
        r"(?P<act2> (?:on|about|for|in order|in|to|the|that|their|its) .+|)",
        "Under {citation}, how often must {subject} {act}{when}?",
        "Under {citation}, with what frequency must {subject} {act}{when}?",
    ),
    _form(
        "deadline",
        "how-quickly",
        r"shall (?P<act>.+?) (?:without (?:undue )?delay|immediately|promptly|as soon as possible|at once)"
        r"|shall (?:immediately|promptly|without delay|without undue delay) (?P<act2>.+)",
        "Under {citation}, how quickly must {subject} {act}{when}?",
    ),
    _form(
        "deadline",
        "apply-from",
        rf"shall apply (?:from|as of|as from) {_DATE}(?: to {_DATE})?",
        "From which date does {citation} make {subject} apply?",
    ),
    _form(
        "deadline",
        "how-long",
        rf"shall (?P<act>.+?) for (?:a period of )?(?:at least |a minimum of )?{_SPAN}"
        r"(?: (?:after|from|following|before) [^,;]+)?",
        "Under {citation}, for how long must {subject} {act}{when}?",
    ),
)

_THRESHOLDS = (
    _form(
        "threshold",
        "assigned",
        rf"shall be assigned an? (?:{AMOUNT} risk weight|risk weight of {AMOUNT})(?: .*)?",
        "Under {citation}, what risk weight must be assigned to {subject}{when}?",
        "Which risk weight does {citation} assign to {subject}{when}?",
    ),
    _form(
        "threshold",
        "applied",
        r"shall (?P<verb>(?:at all times )?(?:assign|apply|use|maintain|hold|have|satisfy|meet|observe)) (?:an? )?"
        rf"(?:{AMOUNT} (?P<noun>[\w -]{{3,40}}?)|(?P<noun2>[a-z][\w -]{{3,40}}?) of (?:at least )?{AMOUNT})"
        r"(?P<to> (?:to|for) .+)?",
        "Under {citation}, what {noun} must {subject} {verb} {to}{when}?",
        actor=True,
    ),
    _form(
        "threshold",
        "floor",
        r"shall (?:(?:at all times )?be (?:at least|no less than|no lower than|not less than)"
        r"|(?:amount to|make up|represent|reach|comprise|hold|cover) at least"
        r"|(?:not )?(?:be less than|fall below|be lower than|be below))"
        rf" (?:[^,;.]{{0,60}} )?{_QUANTITY}(?!\w).*",
        "Under {citation}, what minimum applies to {subject}{when}?",
        "Below what level may {subject} not fall under {citation}{when}?",
    ),
    _form(
        "threshold",
        "cap",
        rf"{_SHALL_OR_MAY} (?:not (?:exceed|make up more than|be (?:greater|higher|more) than)"
        r"|be (?:limited to|no more than|no greater than|no higher than|capped at|at most))"
        rf" (?:[^,;.]{{0,60}} )?{_QUANTITY}(?!\w).*",
        "Under {citation}, what maximum applies to {subject}{when}?",
        "What limit does {citation} set for {subject}{when}?",
    ),
    _form(
        "threshold",
        "equals",
        rf"(?:shall be|is|are|amounts? to) (?:equal to |set at |fixed at )?{_QUANTITY}(?: (?:of|above|below|per) .+)?",
        "Under {citation}, what figure applies to {subject}{when}?",
        "At what level does {citation} set {subject}{when}?",
    ),
    _form(
        "threshold",
        "multiplied",
        rf"shall multiply (?P<what>.+?) by (?:a (?:multiplication )?factor of )?{FIGURE}(?: ?%)?",
        "Under {citation}, by what factor must {subject} multiply {what}{when}?",
        actor=True,
    ),
    _form(
        "threshold",
        "subject-to",
        r"shall (?:be subject to|receive|carry|attract|be given|be weighted with) "
        rf"an? (?P<noun>[a-z][\w -]{{3,50}}?) of (?:at least |at most )?{AMOUNT}(?: .*)?",
        "Under {citation}, what {noun} applies to {subject}{when}?",
    ),
    _form(
        "threshold",
        "applied-to",
        r"shall be (?P<done>assigned|applied) to (?P<what>.+)",
        "Under {citation}, what {noun} must be {done} to {what}{when}?",
        "Which {noun} does {citation} lay down for {what}{when}?",
        subject=re.compile(rf"an? (?:(?P<noun>[a-z][\w -]{{3,40}}?) of {AMOUNT}|{AMOUNT} (?P<noun2>[\w -]{{3,40}}))"),
    ),
    _form(
        "threshold",
        "figures",
        rf"{_SHALL_OR_MAY} {_FIGURE_IN_THE_RULE}\d ?%).+",
        "Which percentage does {citation} lay down for {subject}{when}?",
        things=True,
        generic=True,
        figures="%",
    ),
    _form(
        "threshold",
        "amounts",
        rf"{_SHALL_OR_MAY} {_FIGURE_IN_THE_RULE}(?:EUR|€) ?\d).+",
        "Which amount in euro does {citation} lay down for {subject}{when}?",
        things=True,
        generic=True,
        figures="EUR",
    ),
    _form(
        "threshold",
        "which-percentage",
        rf"{_SHALL_OR_MAY} {_FIGURE_IN_THE_RULE}\d ?%).+",
        "Which percentage does {citation} ('{title}') set, and what does it apply to?",
        "What does {citation} ('{title}') lay down, and which percentage applies?",
        alone=True,
        generic=True,
    ),
    _form(
        "threshold",
        "which-amount",
        rf"{_SHALL_OR_MAY} {_FIGURE_IN_THE_RULE}(?:EUR|€) ?\d).+",
        "Which amount in euro does {citation} ('{title}') set, and what does it apply to?",
        alone=True,
        generic=True,
    ),
)

_PROCEDURES = (
    _form(
        "procedure",
        "whom-to-notify",
        rf"shall (?:also )?(?P<verb>notify|inform|consult) {_BODY}"
        r",? (?P<rest>(?:of|about|on|that|whether|before|where) .+)",
        "Under {citation}, whom must {subject} {verb} {rest}{when}?",
        actor=True,
    ),
    _form(
        "procedure",
        "to-whom",
        r"shall (?:also )?"
        r"(?P<act>(?:report|submit|provide|communicate|transmit|notify|send|disclose|make available) (?!to )[^,;]+?) "
        rf"to {_BODY}",
        "Under {citation}, to whom must {subject} {act}{when}?",
        actor=True,
    ),
    _form(
        "procedure",
        "standards-content",
        rf"shall develop (?P<standards>{_STANDARDS}) to (?P<aim>specify|determine|set out|establish) .+",
        "What must the {standards} to be developed by {subject} under {citation} {aim}?",
        "Under {citation}, for what purpose must {subject} develop {standards}?",
        actor=True,
    ),
    _form(
        "procedure",
        "standards-author",
        rf"shall(?:, through the Joint Committee,)? develop {_STANDARDS} to (?P<aim>.+)",
        "Under {citation}, who must develop draft technical standards to {aim}?",
        actor=True,
    ),
    _form(
        "procedure",
        "to-whom-passive",
        r"shall be (?P<done>reported|submitted|notified|communicated|transmitted|provided|disclosed) "
        rf"to {_BODY}(?: .*)?",
        "Under {citation}, to whom must {subject} be {done}{when}?",
    ),
    _form(
        "procedure",
        "permission",
        r"shall (?P<verb>grant|permit|waive|withdraw|revoke|refuse) (?P<rest>(?:\S+ ){3,}?\S+?) "
        r"(?:only (?:if|where)|if|where|provided that) .+",
        "Under {citation}, in which case must {subject} {verb} {rest}{when}?",
        actor=True,
    ),
    _form(
        "procedure",
        "obtain-permission",
        r"shall (?P<verb>obtain|seek|apply for|request) .*?\b(?:permission|approval|authorisation|consent)\b.*",
        "Under {citation}, what must {subject} {verb}{when}?",
        actor=True,
    ),
    _form(
        "procedure",
        "empowered",
        r"is (?:delegated to|conferred on) the Commission "
        r"to adopt the (?P<standards>(?:regulatory|implementing) technical standards) referred to in .+",
        "To whom does {citation} give the power to adopt the {standards}?",
        generic=True,
    ),
    _form(
        "procedure",
        "guidelines",
        r"shall issue guidelines (?P<on>on|specifying|about|regarding|for) (?P<rest>.+)",
        "Under {citation}, what must the guidelines issued by {subject} deal with?",
        "Under {citation}, who must issue guidelines {on} {rest}?",
        actor=True,
    ),
    _form(
        "procedure",
        "who-may",
        r"may (?P<act>(?:waive|permit|grant|require|exempt|allow|authorise|prohibit|impose|set|decide|request|withdraw"
        r"|extend|approve|adopt|raise|lift) .+)",
        "Under {citation}, who may {act}{when}?",
        "Under {citation}, what may {subject} do{when}?",
        actor=True,
    ),
    _form(
        "procedure",
        "publish",
        r"shall (?P<verb>publish|make public) (?!.*\b(?:its|their)\b)(?P<rest>.+)",
        "Under {citation}, who must {verb} {rest}{when}?",
        actor=True,
    ),
)

_REQUIREMENTS = (
    _form(
        "requirement",
        "which-items",
        r"shall (?!be )(?P<verb>\w+) (?:at least )?(?:all )?(?:of )?the following"
        r"(?: (?P<noun>items|information|elements|data|conditions|criteria|requirements|factors|principles|standards"
        r"|methods|exposures|treatment|amounts|tasks|aspects|matters|documents))?"
        r"(?P<rest> (?:from|to|in|on|regarding|about|as|when|for|with|concerning) .+|)",
        "Under {citation}, which {noun} must {subject} {verb} {rest}{when}?",
        lists=True,
    ),
    _form(
        "requirement",
        "consist-of-list",
        r"shall (?:at least )?(?P<verb>consist of|include|comprise|contain|cover|meet|satisfy|be deducted from) "
        r".*?the following.*",
        "Under {citation}, what must {subject} {verb}{when}?",
        lists=True,
    ),
    _form(
        "requirement",
        "conditions-list",
        r"(?P<modal>shall|may) (?P<act>[^,;:]+?),? (?:only )?(?:where|if|provided that|when)"
        r"(?: all| any| either| both| one)?(?: of)? the following (?:conditions|criteria|requirements)?.*",
        "Under {citation}, on which conditions {modal} {subject} {act}{when}?",
        "What conditions does {citation} lay down under which {subject} {modal} {act}{when}?",
        lists=True,
    ),
    _form(
        "requirement",
        "do-list",
        r"shall (?:do|take|carry out|undertake|fulfil|meet|comply with|satisfy) "
        r"(?:all )?(?:of )?the following(?: \w+)?",
        "Under {citation}, what must {subject} do{when}?",
        actor=True,
        lists=True,
    ),
    _form(
        "requirement",
        "condition",
        r"may (?:only )?(?P<act>[^,;:]+?),? "
        r"(?:only where|only if|provided that|only after|only when|only with|subject to) .+",
        "Under {citation}, on what condition may {subject} {act}{when}?",
    ),
    _form(
        "requirement",
        "how-to",
        r"shall (?P<verb>calculate|determine|measure|value|treat|estimate|identify|compute|assess|establish|assign) "
        r"(?P<what>[^,;:]+?) (?:in accordance with|as follows|by \w+ing|using|on the basis of|separately"
        r"|as the (?:sum|product|difference|higher|lower)) .+",
        "Under {citation}, how must {subject} {verb} {what}{when}?",
        actor=True,
    ),
    _form(
        "requirement",
        "how-done",
        r"shall be (?P<done>calculated|determined|measured|valued|treated|estimated|computed|assessed|established"
        r"|weighted|risk-weighted|risk weighted|multiplied|reduced|increased|allocated|classified) "
        r"(?:in accordance with|as|by|using|on the basis of|on|to|at) .+",
        "Under {citation}, how must {subject} be {done}{when}?",
    ),
    _form(
        "requirement",
        "what-is",
        r"shall be .+",
        "What rule does {citation} set for {subject}{when}?",
        subject=_MORE_THAN_A_WORD,
        things=True,
        generic=True,
    ),
    _form(
        "requirement",
        "consist-of",
        r"shall (?:at least )?(?P<verb>consist of|include|comprise|contain|cover) (?!all of the following).+",
        "Under {citation}, what must {subject} {verb}{when}?",
    ),
    _form(
        "requirement",
        "ensure",
        r"shall (?P<verb>ensure|demonstrate|verify) that .+",
        "Under {citation}, what must {subject} {verb}{when}?",
        actor=True,
    ),
    _form(
        "requirement",
        "account-of",
        r"shall (?:also )?(?P<verb>take into account|take account of|consider|comply with|reflect|encompass|specify"
        r"|set out|assess|be based on|be accompanied by|be in line with|be consistent with|document|disclose|deduct"
        r"|monitor|justify|define) (?!the following|all)(?!.*\bonly\b)[^;:]+",
        "Under {citation}, what must {subject} {verb}{when}?",
    ),
    _form(
        "requirement",
        "can-not",
        rf"shall not {_NO_EXCEPTION}"
        r"(?P<act>(?:be|qualify|count|apply|include|prevent|give rise|exceed|affect|result) [^;:]+)",
        "Under {citation}, can {subject} {act}{when}?",
        things=True,
        answer="No. {text}",
    ),
    _form(
        "requirement",
        "in-place",
        r"shall have in place .+",
        "Under {citation}, what must {subject} have in place{when}?",
        actor=True,
    ),
    _form(
        "requirement",
        "in-case",
        r"shall (?P<not>not )?.+",
        "Under {citation}, what must {subject} {not} do{when}?",
        "What does {citation} require of {subject}{when}?",
        actor=True,
        depends=True,
    ),
    _form(
        "requirement",
        "may",
        rf"may (?!not |only |also |be required){_NO_EXCEPTION}(?P<act>(?:\S+ ){{3,}}.+)",
        "Under {citation}, may {subject} {act}{when}?",
        actor=True,
        answer="Yes. {text}",
    ),
    _form(
        "requirement",
        "may-not",
        rf"{_SHALL_OR_MAY} not {_NO_EXCEPTION}(?P<act>.+)",
        "Under {citation}, may {subject} {act}{when}?",
        actor=True,
        answer="No. {text}",
    ),
    _form(
        "requirement",
        "prohibited",
        rf"{_SHALL_OR_MAY} not .+",
        "What does {citation} prohibit {subject} from doing{when}?",
        actor=True,
        alone=True,
    ),
    _form(
        "requirement",
        "who-must",
        # "Who must report its losses?" would ask whose.
        r"shall (?!not )(?!.*\b(?:its|their)\b)(?P<act>(?:\w+ ){4,28}\w+.*)",
        "Under {citation}, who must {act}{when}?",
        "To whom does {citation} give the duty to {act}{when}?",
        actor=True,
        generic=True,
    ),
    _form(
        "requirement",
        "only-duty",
        r"shall (?!not ).+",
        "What does {citation} require {subject} to do{when}?",
        actor=True,
        alone=True,
        generic=True,
    ),
)

FORMS: tuple[Form, ...] = (*_DEADLINES, *_THRESHOLDS, *_PROCEDURES, *_REQUIREMENTS)
"""The most specific kind first: a sentence is asked for its date rather than for its duty."""
