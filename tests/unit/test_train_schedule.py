"""Which rows stand in which step: durations, packing, shares of several processes; and what is cut to fit."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from finreg_cli.training.encoding import IGNORED, LEAST_PROMPT_TOKENS, Encoded, fit
from finreg_cli.training.params import Duration
from finreg_cli.training.rows import Unusable
from finreg_cli.training.schedule import Schedule, in_order, schedule

LENGTHS = random.Random(1).choices(range(20, 300), k=50)


def _plan(duration: str, batch_size: int = 4, packed_into: int | None = None, seed: int = 1) -> Schedule:
    return schedule(LENGTHS, Duration.of(duration), batch_size, packed_into, seed)


def _tokens(plan: Schedule) -> list[int]:
    return [sum(LENGTHS[number] for number in plan.rows_of(step)) for step in range(len(plan.steps))]


@pytest.mark.parametrize("packed_into", [None, 512])
def test_an_epoch_is_every_row_once_in_an_order_of_its_own(packed_into: int | None) -> None:
    plan = _plan("3ep", packed_into=packed_into)
    assert len(plan.steps) == 3 * plan.steps_per_epoch
    epochs = [
        [
            number
            for step in range(n * plan.steps_per_epoch, (n + 1) * plan.steps_per_epoch)
            for number in plan.rows_of(step)
        ]
        for n in range(3)
    ]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert plan == _plan("3ep", packed_into=packed_into)
    assert plan != _plan("3ep", packed_into=packed_into, seed=2)


def test_a_duration_in_batches_and_in_tokens_ends_where_it_says() -> None:
    assert len(_plan("7ba").steps) == 7
    assert len(_plan("1_00ba").steps) == 100
    tokens = _tokens(_plan("9_000tok"))
    assert sum(tokens) >= 9_000 > sum(tokens[:-1])
    assert _plan("7ba").steps == _plan("2ep").steps[:7], "the same steps, however their number is given"


@pytest.mark.parametrize("wrong", ["", "ep", "0ep", "3 ep", "3epochs", "-1ba", "1.5ep"])
def test_another_form_of_duration_is_refused(wrong: str) -> None:
    with pytest.raises(Unusable, match="none of 3ep"):
        Duration.of(wrong)


def test_packing_fills_contexts_with_whole_rows() -> None:
    contexts = [context for step in _plan("1ep", 1, packed_into=512).steps for context in step]
    used = [sum(LENGTHS[number] for number in context) for context in contexts]
    assert max(used) <= 512
    assert len(contexts) <= 1.1 * sum(LENGTHS) / 512
    # Full contexts first would be an order by length.
    assert used != sorted(used, reverse=True)


def test_the_processes_share_every_step_and_none_of_its_rows_twice() -> None:
    plan = _plan("2ep")
    for step in range(len(plan.steps)):
        shares = [plan.share(step, process, 3) for process in range(3)]
        assert Counter(number for share in shares for number in share) == Counter(plan.rows_of(step))
    assert plan.share(plan.steps_per_epoch - 1, 2, 3) == [], "the last step of an epoch has two rows"


def test_an_evaluation_reads_every_row_once_in_order() -> None:
    assert [number for step in in_order(LENGTHS, 4, None) for [number] in step] == list(range(50))
    packed = in_order(LENGTHS, 4, 512)
    assert sorted(number for step in packed for context in step for number in context) == list(range(50))


# --- what is cut -----------------------------------------------------------------------------------------------------


def _encoded(prompt: int, completion: int) -> Encoded:
    ids = list(range(prompt + completion))
    return Encoded("r", ids, [IGNORED] * prompt + ids[prompt:])


def test_a_row_that_fits_is_as_it_was() -> None:
    assert fit(_encoded(190, 10), 200, "cut") == _encoded(190, 10)


def test_what_is_too_long_loses_the_middle_of_its_prompt_and_nothing_else() -> None:
    row = fit(_encoded(500, 40), 200, "cut")
    assert row is not None
    assert len(row) == len(row.labels) == 200
    assert row.input_ids == [*range(80), *range(420, 540)]
    assert row.labels == [IGNORED] * 160 + list(range(500, 540))
    assert (row.tokens_cut, row.cut_at) == (340, 80)


def test_a_row_is_left_out_where_its_answer_leaves_no_prompt_to_speak_of() -> None:
    room = 200 - LEAST_PROMPT_TOKENS
    assert fit(_encoded(500, room), 200, "cut") is not None
    assert fit(_encoded(500, room + 1), 200, "cut") is None
    assert fit(_encoded(500, 10), 200, "leave_out") is None
    assert fit(_encoded(20, room + 1), 200, "cut") is not None, "a short prompt that fits is no reason"
