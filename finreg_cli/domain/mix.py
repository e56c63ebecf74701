"""Which of the rows that stand are kept, so that no kind of question outgrows the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LARGEST_SHARE = 0.4
CEILING_STEP = 1.1
LEAST_KEPT = 0.25


@dataclass(frozen=True, order=True)
class Candidate:
    """A row that passed every filter."""

    row_id: str
    kind: str
    chunk_id: str


def select(
    candidates: Iterable[Candidate], kinds: Mapping[str, float], rows_per_chunk: int, limit: int | None
) -> set[str]:
    """The row ids to keep.

    Rows are taken one by one: from the kind that lags furthest behind its share, the lowest row_id whose chunk has
    room. A kind that runs out of rows leaves its place to the others, but none of them may grow beyond twice its own
    share, nor beyond `LARGEST_SHARE`, unless its own share is larger. (Shares are counted anew over the kinds that
    have rows at all, so that a missing kind does not stop the others.) What stands above that ceiling in the end is
    taken off again, highest row_id first; so with the default mix no kind exceeds 40 %. Where that would leave less
    than `LEAST_KEPT` of the rows, because the documents hold next to nothing of some kinds, the ceilings are raised
    step by step, up to `LARGEST_SHARE`: a mix that can't be had is no reason to throw sound rows away.

    Args:
        candidates: in any order; the result does not depend on it.
        kinds: the target share of each kind; a kind that is absent or 0 is not kept.
        rows_per_chunk: the most rows from one chunk.
        limit: the most rows in all.
    """
    waiting: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, reverse=True):
        if kinds.get(candidate.kind, 0) > 0:
            waiting[candidate.kind].append(candidate)
    present = sum(kinds[kind] for kind in waiting)
    ceilings = {kind: max(kinds[kind] / present, min(LARGEST_SHARE, 2 * kinds[kind])) for kind in waiting}
    taken = _take(waiting, kinds, rows_per_chunk, limit)
    kept = _below_ceilings(taken, ceilings)
    highest = {kind: max(ceiling, LARGEST_SHARE) for kind, ceiling in ceilings.items()}
    while len(kept) < LEAST_KEPT * len(taken) and ceilings != highest:
        ceilings = {kind: min(ceiling * CEILING_STEP, highest[kind]) for kind, ceiling in ceilings.items()}
        kept = _below_ceilings(taken, ceilings)
    return {candidate.row_id for candidate in kept}


def _take(
    waiting: dict[str, list[Candidate]], kinds: Mapping[str, float], rows_per_chunk: int, limit: int | None
) -> list[Candidate]:
    """Empties ``waiting`` (each kind's rows, highest row_id first) as far as the chunks and the limit have room."""
    taken: list[Candidate] = []
    per_kind: Counter[str] = Counter()
    per_chunk: Counter[str] = Counter()
    while waiting and (limit is None or len(taken) < limit):
        kind = max(sorted(waiting), key=lambda each: kinds[each] * (len(taken) + 1) - per_kind[each])
        candidate = waiting[kind].pop()
        if not waiting[kind]:
            del waiting[kind]
        if per_chunk[candidate.chunk_id] < rows_per_chunk:
            taken.append(candidate)
            per_kind[kind] += 1
            per_chunk[candidate.chunk_id] += 1
    return taken


def _below_ceilings(taken: list[Candidate], ceilings: Mapping[str, float]) -> list[Candidate]:
    """Takes rows off the kinds above their ceiling until none is; a kind keeps at least one row."""
    kept = {kind: sorted(each for each in taken if each.kind == kind) for kind in ceilings}
    total = len(taken)
    while True:
        # A rounding error must not take off a row at exactly 40 %.
        over = [k for k, rows in kept.items() if len(rows) > 1 and len(rows) > ceilings[k] * total + 1e-9]
        if not over:
            return [candidate for rows in kept.values() for candidate in rows]
        largest = max(over, key=lambda kind: (len(kept[kind]) / ceilings[kind], kind))
        kept[largest].pop()
        total -= 1
