"""Question-answer rows from the structure of legal text: no model, the same rows every time.

Rules see one chunk only, and drop whatever they are not sure of: a wrong row teaches a wrong rule.
"""

from __future__ import annotations

import re
from collections import Counter

from finreg_cli.domain.records import Chunk
from finreg_cli.tasks.rules.absences import ABSENCES, absences
from finreg_cli.tasks.rules.definitions import definitions
from finreg_cli.tasks.rules.forms import FORMS
from finreg_cli.tasks.rules.points import point_rows
from finreg_cli.tasks.rules.proposal import Proposal
from finreg_cli.tasks.rules.provisions import Provision, read
from finreg_cli.tasks.rules.sentences import sentence_rows

__all__ = ["ABSENCES", "FORMS", "Proposal", "propose"]

ENOUGH_SPECIFIC_ROWS = 2
"""Where a chunk gives so many specific rows, its generic ones ("who must ...?") are not used."""

_AMENDS = re.compile(
    r"\b(?:is|are) (?:hereby )?(?:replaced|inserted|amended|deleted|added|repealed)\b"
    r"|\bthe following (?:Article|paragraph|point|subparagraph)s? ",
    re.IGNORECASE,
)


def propose(chunk: Chunk) -> list[Proposal]:
    """The rows that the chunk's own text proves, in the order of the text; none from what is no article.

    Chunks that seem to instruct a language model, and provisions that amend another act, give none; chunks with
    formulas give none with figures, because formulas do not survive the PDF.
    """
    provision = read(chunk)
    if provision is None or chunk.suspect_instruction or _amends(provision, chunk):
        return []
    found = list(sentence_rows(provision, numeric=not chunk.has_formula))
    specific = sum(not form.generic for form, _ in found)
    proposals = [
        *definitions(provision),
        *([] if chunk.has_formula else point_rows(provision)),
        *(row for form, row in found if not form.generic or specific < ENOUGH_SPECIFIC_ROWS),
        *absences(chunk, provision),
    ]
    # One question with two answers is no question.
    asked = Counter(proposal.question for proposal in proposals)
    return [proposal for proposal in proposals if asked[proposal.question] == 1]


def _amends(provision: Provision, chunk: Chunk) -> bool:
    """True for text that is to stand in another act: its articles, paragraphs and "this Regulation" are that one's."""
    return provision.title.startswith("Amend") or bool(_AMENDS.search(chunk.text))
