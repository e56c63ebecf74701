"""A person's word on a question-answer row: which review is in force, and what it makes of the row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from finreg_cli.domain.chat_format import ABSTENTION, split_citation, with_citation
from finreg_cli.domain.metrics import abstains
from finreg_cli.domain.provisions import provision
from finreg_cli.domain.records import QaRow, Review
from finreg_cli.errors import StageFailed

ACCEPTED, EDITED, REJECTED = "accepted", "edited", "rejected"
VERDICTS = (ACCEPTED, EDITED, REJECTED)

REJECTED_IN_REVIEW = "rejected_in_review"
NOT_REVIEWED = "not_reviewed"
"""Why a row stays away, as the summaries count it."""


def latest(reviews: Iterable[Review]) -> dict[str, Review]:
    """row_id -> its review in force: the latest by ``reviewed_at``; of several at that time the last reviewer's.

    Only a review in force must be sound, so that a mistake is mended by adding another one.

    Raises:
        StageFailed: a review in force has an unknown verdict, or says ``edited`` and edits nothing; or a review has
            no row or no time. The message names row and reviewer.
    """
    found: dict[str, Review] = {}
    for each in reviews:
        if each.row_id is None or each.reviewed_at is None:  # columns are nullable, whatever the record says
            raise _unusable(each, "has no row_id or no reviewed_at", "delete it: it is not known when it is in force")
        there = found.get(each.row_id)
        if there is None or _order(each) > _order(there):
            found[each.row_id] = each
    for each in found.values():
        _demand_sound(each)
    return found


def _order(review: Review) -> tuple[object, ...]:
    """Total, so that no order of the table decides; of one reviewer at one time ``rejected`` sorts last."""
    edits = (review.edited_question or "", review.edited_answer or "")
    return review.reviewed_at, review.reviewer or "", review.verdict or "", *edits


def _demand_sound(review: Review) -> None:
    remedy = "add a right review of the row, with a later reviewed_at, or delete this one"
    if review.verdict not in VERDICTS:
        raise _unusable(review, f"has the verdict {review.verdict!r}; known: {', '.join(VERDICTS)}", remedy)
    if review.verdict == EDITED and not (_text(review.edited_question) or _text(review.edited_answer)):
        raise _unusable(review, "says edited, and has neither edited_question nor edited_answer", remedy)


def _unusable(review: Review, problem: str, remedy: str) -> StageFailed:
    by = review.reviewer or "(nobody)"
    return StageFailed(
        f"qa_reviews: the review of row {review.row_id} by {by} at {review.reviewed_at} {problem}", remedy
    )


def refusal(review: Review | None, required: bool) -> str | None:
    """Why a row with this review must not be used: `REJECTED_IN_REVIEW` or `NOT_REVIEWED`; None where it may.

    Args:
        review: the one in force; None where nobody has reviewed the row.
        required: whether a row needs a review that keeps it (``finetune.require_review``).
    """
    if review is None:
        return NOT_REVIEWED if required else None
    return REJECTED_IN_REVIEW if review.verdict == REJECTED else None


def as_reviewed(row: QaRow, review: Review | None) -> QaRow:
    """The row with the edits of its review; the same where there is none, or one that edits nothing.

    What was not edited stays. An edited answer keeps the form that answers have: it ends with a citation in brackets,
    the row's own where the edit names none of the same act. "I don't know." in any spelling becomes the abstention;
    any other answer makes a row that abstained answerable. The ``kind`` stays what it was generated as.
    """
    if review is None or review.verdict != EDITED:
        return row
    edited = replace(row, question=edited_question(review) or row.question)
    answer = _text(review.edited_answer)
    return _answered(edited, answer) if answer else edited


def edited_question(review: Review | None) -> str | None:
    """The question that the review puts in the place of the row's; None where it leaves it."""
    return (_text(review.edited_question) or None) if review and review.verdict == EDITED else None


def _answered(row: QaRow, answer: str) -> QaRow:
    text, citation = split_citation(answer)
    if citation is None or not _is_of_same_act(citation, row.citation):
        text, citation = answer, row.citation  # any other bracket, "[sic]", is a part of the answer
    if abstains(text):
        return replace(row, answer=ABSTENTION, answerable=False)
    return replace(row, answer=with_citation(text, citation), citation=citation, answerable=True)


def _is_of_same_act(one: str, other: str) -> bool:
    """``CRR Article 92(1)`` and ``CRR Article 26``; of what is no article or the like (pages), by the first words."""
    provisions = provision(one), provision(other)
    if provisions[0] and provisions[1]:
        return provisions[0].act == provisions[1].act
    return one.split()[:1] == other.split()[:1]


def _text(edit: str | None) -> str:
    """Without blanks around it; empty where nothing was edited, as a form leaves a field."""
    return (edit or "").strip()
