"""Generation under fire: a server that fails in every way, a budget, and judges that cannot be believed.

What the server counted is what is believed, never our own summary. ``pytest -s`` shows the measurements.
"""

from __future__ import annotations

import random
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fakes.openai_server import ALL_RANDOM_FAULTS, FakeOpenAI, OtherProcess, Served, read_log
from fakes.project import NewProject, Project, RunUndisturbed, table_of

FEW = 20
"""Rows in the fast tests: six or seven requests each."""

PRICE = {"input": 1.0, "output": 3.0}

ALTERING = {"huge", "null_content", "prose", "cut"}
"""Faults that come as a reply: what is in them is paid for and kept, and may change the row that asked for it."""


# --- a server that fails in every way --------------------------------------------------------------------------------


def test_every_row_is_kept_or_rejected_with_its_reason_and_no_fault_touches_another(
    new_project: NewProject, undisturbed: RunUndisturbed
) -> None:
    expected = undisturbed(FEW)
    with FakeOpenAI(repeatable=True, fault_share=0.3, random_faults=ALL_RANDOM_FAULTS, seed=5) as server:
        project = new_project("faults", server.url, limit=FEW, timeout=2)
        project.generate()
        check_each_row_for_itself(project, expected.result, server.requests)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6, 7])
def test_many_rows_under_fire(new_project: NewProject, undisturbed: RunUndisturbed, seed: int) -> None:
    expected = undisturbed(None)
    with FakeOpenAI(
        repeatable=True, fault_share=0.3, random_faults=ALL_RANDOM_FAULTS, seed=seed, latency=0.02
    ) as server:
        project = new_project("faults", server.url, limit=None, timeout=2)
        project.generate()
        check_each_row_for_itself(project, expected.result, server.requests)


def check_each_row_for_itself(project: Project, expected: dict[str, Any], requests: list[Served]) -> None:
    """Every row is there once, and one whose own requests all went well is what it is without faults.

    A chunk has one row, so that a request belongs to the row whose context it shows.
    """
    result = project.result()
    wanted = by_id(expected)
    found = by_id(result)
    assert found.keys() == wanted.keys()
    faults_by_context: dict[str, set[str]] = {}
    for each in requests:
        context = each.prompt.partition("<context>\n")[2].partition("\n</context>")[0]
        faults_by_context.setdefault(context, set()).add(str(each.fault).partition(":")[0])

    fates: Counter[str] = Counter()
    for row_id, row in found.items():
        faults = faults_by_context[row["context"]] - {"None"}
        reason = row.get("reason")
        if row == wanted[row_id]:
            fates["as without faults"] += 1
        elif not reason:
            fates["kept, and altered by a reply of its own"] += 1
            assert faults & ALTERING, (faults, row, wanted[row_id])
        else:
            fates[f"rejected: {reason.partition(':')[0]}"] += 1
            assert faults, row
    met = Counter(each.fault or "none" for each in requests)
    print(table_of(f"{len(requests)} requests", ("fault", "times"), met.most_common()))
    print(table_of(f"{len(found)} rows", ("fate", "rows"), fates.most_common()))
    assert len(met) > len(ALL_RANDOM_FAULTS) // 2
    assert fates["as without faults"]


def by_id(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {**result["qa_rejected"], **result["qa_dataset"]}


@pytest.mark.slow
def test_the_pace_is_the_same_again_after_the_faults(
    new_project: NewProject, undisturbed: RunUndisturbed, tmp_path: Path
) -> None:
    """After the last fault as many requests are in flight as before the first one."""
    first, last = 250, 500
    options = ["--repeatable", "--latency", "0.05", "--fault-share", "0.3", "--seed", "8"]
    options += ["--fault-span", str(first), str(last), "--fault", *ALL_RANDOM_FAULTS]
    with OtherProcess(tmp_path / "server.jsonl", *options) as server:
        project = new_project("recovers", server.url, limit=None, max_concurrency=16, timeout=2)
        project.generate()
        log = read_log(server.log)
    assert by_id(project.result()).keys() == by_id(undisturbed(None).result).keys()
    before = [each for each in log if each.number < first]
    after = [each for each in log if each.number > last]
    most = max(each.in_flight for each in before)
    back = next(each for each in after if each.in_flight >= most)
    ended = next(each for each in log if each.number == last).at
    print(f"\nfaults among the requests {first} to {last}; {most} in flight before")
    print(f"{most} in flight again {back.at - ended:.2f} s and {back.number - last} requests after the last fault")
    print(table_of("by second", ("second", "replies", "faults", "most in flight"), by_second(log)))


def by_second(log: list[Served]) -> list[tuple[object, ...]]:
    start = log[0].at
    seconds = range(int(log[-1].at - start) + 1)
    at = {second: [each for each in log if int(each.at - start) == second] for second in seconds}
    return [
        (
            second,
            sum(each.status == 200 and not each.fault for each in at[second]),
            sum(each.fault is not None for each in at[second]),
            max((each.in_flight for each in at[second]), default=0),
        )
        for second in seconds
    ]


@pytest.mark.slow
def test_a_minute_of_silence_holds_nobody_else_up(new_project: NewProject, undisturbed: RunUndisturbed) -> None:
    """Three requests are not answered for 60 s: the others go on, and those three are answered in the end."""
    with FakeOpenAI(repeatable=True) as server:
        server.fail("silence:60", when=lambda prompt: '"reasoning"' in prompt, times=3)
        project = new_project("silence", server.url, limit=FEW, max_concurrency=4)
        project.generate()
        silent = [each for each in server.requests if each.fault]
        meanwhile = [each for each in server.requests if silent[-1].at < each.at < silent[0].at + 60]
        assert [each.status for each in silent] == [200] * 3
        assert len(meanwhile) > len(server.requests) / 2
        assert project.result() == undisturbed(FEW).result


# --- the budget ------------------------------------------------------------------------------------------------------

CHARGED_FAULTS = tuple(each for each in ALL_RANDOM_FAULTS if not each.startswith("huge"))
"""No budget can hold against a server that computes more than ``max_tokens``, and charges for it."""


def spent(requests: list[Served]) -> dict[str, float]:
    """By the server's count; a request whose reply was lost counts, too, where it was computed."""
    tokens = sum(each.tokens for each in requests)
    money = sum(PRICE["input"] * each.prompt_tokens + PRICE["output"] * each.completion_tokens for each in requests)
    return {"requests": len(requests), "tokens": tokens, "money": money / 1e6}


def check_nothing_is_paid_twice(requests: list[Served]) -> None:
    """What came back as a reply is stored, and not asked for again."""
    replied: set[str] = set()
    for each in requests:
        assert each.key not in replied, f"request {each.number} had its reply already"
        if each.status == 200 and (each.fault or "none").partition(":")[0] in {"none", *ALTERING}:
            replied.add(each.key)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [("money", 0.07), ("requests", 60), ("tokens", 60_000)])
def test_the_budget_holds_under_fire_and_with_more_of_it_the_run_goes_on(
    new_project: NewProject, name: str, limit: float
) -> None:
    with FakeOpenAI(repeatable=True, fault_share=0.3, random_faults=CHARGED_FAULTS, seed=9) as server:
        project = new_project("budget", server.url, limit=FEW, timeout=2, price=PRICE, max_tokens=300)
        stopped = project.generate("--set", f"budget.{name}={limit}", status=4)
        assert f"budget.{name}" in stopped["error"]["message"]
        used = spent(server.requests)
        print(f"\nbudget.{name} {limit}: the server counted {used}")
        assert 0 < used[name] <= limit
        project.generate()
        check_nothing_is_paid_twice(server.requests)
        assert len(by_id(project.result())) == FEW


@pytest.mark.slow
@pytest.mark.parametrize("seed", [41, 42])
def test_the_budget_of_each_command_holds_where_it_is_killed(
    new_project: NewProject, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    limits = {"requests": 60, "tokens": 90_000, "money": 0.2}
    budget = [text for name, limit in limits.items() for text in ("--set", f"budget.{name}={limit}")]
    faults = ["--fault-share", "0.3", "--fault", *CHARGED_FAULTS, "--seed", str(seed)]
    with OtherProcess(tmp_path / "server.jsonl", "--repeatable", "--latency", "0.03", *faults) as server:
        project = new_project("budget", server.url, limit=FEW, timeout=2, price=PRICE, max_tokens=300)
        before, lines = 0, []
        for number in range(1, 5):
            moment = before + chance.randrange(5, 70)
            with project.generating(*budget) as process:
                while len(read_log(server.log)) < moment and process.poll() is None:
                    time.sleep(0.005)
                process.kill()
                process.communicate()
            log = read_log(server.log)
            used = spent(log[before:])
            ended = "killed" if process.returncode == -signal.SIGKILL else f"exit {process.returncode}"
            lines.append((number, ended, *(f"{used[name]:g}" for name in limits)))
            assert process.returncode in (0, 4, -signal.SIGKILL)
            assert all(used[name] <= limit for name, limit in limits.items())
            before = len(log)
        project.generate()
    print(table_of(f"seed {seed}, budget {limits}, by the server's count", ("run", "ended", *limits), lines))
    assert len(by_id(project.result())) == FEW


# --- a judge that cannot be believed ---------------------------------------------------------------------------------

NO_VERDICTS = (
    "I would give this answer 8 out of 10: it is grounded.",
    "true",
    "1",
    '"false"',
    '{"reasons": "all is well", "grounded": "true", "acceptable": "true"}',
    '{"reasons": "all is well", "grounded": "false", "acceptable": "false"}',
    '{"reasons": "all is well", "grounded": 1, "acceptable": 1}',
    '{"reasons": "all is well", "grounded": null, "acceptable": null}',
    '{"reasons": "all is well"}',
    '{"grounded": true, "grounded": false, "acceptable": true, "acceptable": false, "reasons": "both"}',
    '[{"reasons": "all is well", "grounded": [true], "acceptable": [true]}]',
    "",
)


@pytest.mark.parametrize("judged", ["question", "answer"])
def test_what_is_no_verdict_passes_nothing(new_project: NewProject, undisturbed: RunUndisturbed, judged: str) -> None:
    """The judge answers the other verdicts as it should, and some rows never get as far as to a verdict."""
    key = {"question": '"acceptable"', "answer": '"grounded"'}[judged]
    asked: list[str] = []

    def is_judged(prompt: str) -> bool:
        # A repair asks again in the same conversation, and must not get a right answer either.
        if key not in prompt:
            return False
        asked.append(prompt)
        return True

    with FakeOpenAI(repeatable=True) as generator, FakeOpenAI(repeatable=True, seed=1) as judge:
        for _ in range(10):
            for text in NO_VERDICTS:
                judge.fail(f"say:{text}", when=is_judged, times=2)
        project = new_project("judged", generator.url, judge=judge.url, limit=FEW)
        report = project.generate(status=1)
        assert report["error"]["class"] == "NothingToDo"
        assert asked
        assert len(judge.requests) >= FEW
    assert not project.rows("qa_dataset")
    reasons = {row["row_id"]: row["reason"] for row in project.rows("qa_rejected")}
    anyway = {row_id: row["reason"] for row_id, row in undisturbed(FEW).result["qa_rejected"].items()}
    assert len(reasons) == FEW
    assert all(reason.startswith("unreadable_verdict: ") or reason == anyway[row] for row, reason in reasons.items())
    assert len(anyway) < FEW / 2  # so that most were refused for their verdict alone


@pytest.mark.slow  # each request to the judge is tried for a quarter of a minute
def test_a_dead_judge_passes_nothing(new_project: NewProject) -> None:
    with socket.socket() as unused, FakeOpenAI(repeatable=True) as generator:
        unused.bind(("127.0.0.1", 0))  # bound, and never listening: connections are refused
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        project = new_project("dead", generator.url, judge=dead, limit=FEW)
        report = project.generate(status=1)
    assert report["error"]["class"] == "EndpointError"
    assert "endpoints.judge" in report["error"]["message"]
    assert not project.rows("qa_dataset")


@pytest.mark.slow
def test_a_judge_that_dies_in_the_middle_passes_nothing_more(new_project: NewProject) -> None:
    """What it has judged is kept; after its death nothing is, and the same command goes on when it is back."""
    with FakeOpenAI(repeatable=True) as generator, FakeOpenAI(repeatable=True) as judge:
        project = new_project("dies", generator.url, judge=judge.url, limit=None)
        judge.fail("reset", when=lambda _: len(judge.requests) > 100)
        report = project.generate(status=1)
        assert report["error"]["class"] == "EndpointError"
        assert "endpoints.judge" in report["error"]["message"]
        kept = project.rows("qa_dataset")
        judged = [each for each in judge.requests if each.status == 200]
        assert 0 < len(kept) <= len(judged) / 2
        judge.faults.clear()
        project.generate()
        check_nothing_is_paid_twice(generator.requests)
    assert len(project.rows("qa_dataset")) > len(kept)
