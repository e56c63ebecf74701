"""The reviews of question-answer rows, as they stand in the table ``qa_reviews``.

Any Delta writer may add to it; rows are only ever added, and a row's latest review is in force. Its columns:

===============  =========  ==========================================================================================
row_id           string     of ``qa_dataset``; a review of a row that is not there waits for it
reviewer         string     who says so; among reviews of one time the last name is in force
verdict          string     ``accepted``, ``edited`` or ``rejected``
edited_question  string     with ``edited`` only: the question that replaces the row's; null or blank: as it is
edited_answer    string     the same of the answer; a citation that is left out is taken from the row
comment          string     for people, never read
reviewed_at      timestamp  UTC
===============  =========  ==========================================================================================
"""

from __future__ import annotations

from finreg_cli.domain.records import QA_REVIEWS, Review
from finreg_cli.domain.reviews import latest
from finreg_cli.lakehouse.base import Lakehouse

_READ = ("row_id", "reviewer", "verdict", "edited_question", "edited_answer", "reviewed_at")


def reviews_in_force(lakehouse: Lakehouse, version: int | None = None) -> dict[str, Review]:
    """row_id -> its review in force; empty where nobody has reviewed anything.

    Args:
        version: of the table; None for the latest.

    Raises:
        StageFailed: a review cannot be understood; the message names its row and reviewer.
    """
    batches = lakehouse.read(QA_REVIEWS, _READ, version=version)
    return latest(Review(comment=None, **row) for batch in batches for row in batch.to_pylist())
