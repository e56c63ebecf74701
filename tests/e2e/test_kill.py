"""Killed at random moments and started again: nothing is paid for twice but what was in flight, and nothing is lost.

The server runs in a process of its own, and only its log is believed. ``pytest -s`` shows the moments and the counts.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.openai_server import OtherProcess, Served, read_log
from fakes.project import CONCURRENCY, NewProject, Project, RunUndisturbed, Undisturbed, table_of

LATENCY = 0.05
FEW = 20
"""Rows in the fast tests: six or seven requests each."""


@dataclass(frozen=True)
class Stop:
    """When a run was told to stop, and when its process was gone; by the clock that the server's log uses, too."""

    moment: str
    at: float
    gone: float


@dataclass(frozen=True)
class Kill:
    """A kill as the server saw it.

    ``open`` are the requests that it had not answered; ``on_their_way`` those that it had answered but that were asked
    for again, since their replies had not been stored.
    """

    stop: Stop
    received: int
    open: set[int]
    on_their_way: set[int]

    @property
    def in_flight(self) -> set[int]:
        return self.open | self.on_their_way


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OtherProcess]:
    with OtherProcess(tmp_path / "server.jsonl", "--repeatable", "--latency", str(LATENCY)) as running:
        yield running


def wait_for_request(server: OtherProcess, number: int, process: Any) -> bool:
    """Until the server has received so many requests in all; False where the process ended before."""
    while len(read_log(server.log)) < number:
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    return True


def wait_until_quiet(server: OtherProcess) -> list[Served]:
    """The log, once the server has noticed who is gone."""
    while True:
        log = read_log(server.log)
        if all(each.ended_at is not None for each in log):
            return log
        time.sleep(0.01)


def stop(
    project: Project, server: OtherProcess, moments: Sequence[int], chance: random.Random, number: int
) -> list[Stop]:
    """Starts the command and ends it by a signal, once per moment: so many requests received, and a little later."""
    stops = []
    for moment in moments:
        delay = chance.uniform(0, LATENCY)
        if number != signal.SIGKILL:  # anybody may be killed while Python still starts, but nobody can answer then
            moment = max(moment, len(read_log(server.log)) + 1)
        with project.generating() as process:
            if not wait_for_request(server, moment, process):
                assert process.returncode == 0, process.communicate()
                break
            time.sleep(delay)
            at = time.time()
            process.send_signal(number)
            printed, errors = process.communicate()
            stops.append(Stop(f"request {moment} + {delay * 1000:.0f} ms", at, time.time()))
        if number != signal.SIGKILL:
            assert process.returncode == 130, f"{printed}\n{errors}"
            assert re.search(r"go on with: \S*finreg\S* generate -o json", printed), printed
            assert '"interrupted"' in printed
        wait_until_quiet(server)
    return stops


def kills_in(log: Sequence[Served], stops: Sequence[Stop]) -> list[Kill]:
    """What was in flight at each stop, by the server's log alone."""
    kills, since = [], 0.0
    for stop in stops:
        run = [each for each in log if since < each.at <= stop.gone]
        unanswered = {each.number for each in run if each.status is None or (each.ended_at or stop.at) > stop.at}
        asked_later = {each.key for each in log if each.at > stop.gone}
        again = {each.number for each in run if each.key in asked_later}
        kills.append(Kill(stop, sum(each.at <= stop.at for each in log), unanswered, again - unanswered))
        since = stop.gone
    return kills


def check_nothing_was_paid_twice(
    log: Sequence[Served], kills: Sequence[Kill], expected: Undisturbed, project: Project, title: str
) -> None:
    needed, served = len(expected.requests), len(log)
    last_of_key = {each.key: each.number for each in log}
    columns = ("stop", "moment", "received", "unanswered", "answered, not stored", "which were ms old")
    lines = [
        (number, kill.stop.moment, kill.received, len(kill.open), len(kill.on_their_way), _ages(log, kill))
        for number, kill in enumerate(kills, 1)
    ]
    print(table_of(title, columns, lines))
    in_flight = sum(len(kill.in_flight) for kill in kills)
    not_again = sum(number == last_of_key[log[number - 1].key] for kill in kills for number in kill.open)
    print(f"served {served} = needed {needed} + in flight at the stops {in_flight} - not asked again {not_again}")

    assert last_of_key.keys() == expected.requests
    assert served == needed + in_flight - not_again
    # A row has one request under way, and twice as many rows as requests.
    assert all(len(kill.in_flight) <= 2 * CONCURRENCY for kill in kills)
    assert project.result() == expected.result


def _ages(log: Sequence[Served], kill: Kill) -> str:
    """How long before the signal the replies were sent that the process did not store."""
    ages = sorted(kill.stop.at - (log[number - 1].ended_at or 0) for number in kill.on_their_way)
    return ", ".join(f"{1000 * age:.1f}" for age in ages)


def kill_and_finish(
    project: Project, server: OtherProcess, expected: Undisturbed, seed: int, times: int, number: int = signal.SIGKILL
) -> None:
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(1, len(expected.requests)), times))
    stops = stop(project, server, moments, chance, number)
    project.generate()
    log = wait_until_quiet(server)
    title = f"{signal.Signals(number).name}, seed {seed}, {project.config['generate']['limit'] or 'all'} rows wanted"
    check_nothing_was_paid_twice(log, kills_in(log, stops), expected, project, title)


@pytest.mark.slow  # the one that is interrupted is a fast one
def test_killed_twice_and_finished(new_project: NewProject, undisturbed: RunUndisturbed, server: OtherProcess) -> None:
    project = new_project("killed", server.url, limit=FEW)
    kill_and_finish(project, server, undisturbed(FEW), seed=1, times=2)


def test_interrupted_and_finished(new_project: NewProject, undisturbed: RunUndisturbed, server: OtherProcess) -> None:
    project = new_project("interrupted", server.url, limit=FEW)
    kill_and_finish(project, server, undisturbed(FEW), seed=2, times=1, number=signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_killed_five_times_and_finished(
    new_project: NewProject, undisturbed: RunUndisturbed, server: OtherProcess, seed: int
) -> None:
    project = new_project("killed", server.url, limit=None)
    kill_and_finish(project, server, undisturbed(None), seed, times=5)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "number"), [(21, signal.SIGINT), (22, signal.SIGTERM)])
def test_stopped_by_a_signal_three_times_and_finished(
    new_project: NewProject,
    undisturbed: RunUndisturbed,
    server: OtherProcess,
    seed: int,
    number: signal.Signals,
) -> None:
    project = new_project("stopped", server.url, limit=80)
    kill_and_finish(project, server, undisturbed(80), seed, times=3, number=number)


@pytest.mark.slow
def test_killed_while_the_tables_are_written(new_project: NewProject, undisturbed: RunUndisturbed) -> None:
    """Every reply is cached and the server is gone: what is killed are commits, exports and compactions."""
    expected = undisturbed(None)
    chance = random.Random(31)
    columns = ("kill", "ms after the first commit", "had ended", "tables that the kill left")
    lines, differing = [], []
    for number in range(1, 9):
        project = new_project(f"tail{number}", "unused", limit=None)
        shutil.copy(expected.folder / "finreg.yaml", project.folder)
        for path in (expected.folder / "lakehouse/_finreg").glob("requests.sqlite*"):
            (project.folder / "lakehouse/_finreg").mkdir(exist_ok=True)
            shutil.copy(path, project.folder / "lakehouse/_finreg")
        delay = chance.uniform(0, expected.seconds_after_the_first_commit)
        with project.generating() as process:
            while not project.first_commit.exists():
                assert process.poll() is None, process.communicate()
                time.sleep(0.002)
            time.sleep(delay)
            ended = process.poll() is not None
            process.kill()
        left = ", ".join(sorted(path.name for path in project.table(".").iterdir() if path.name.startswith("qa_")))
        lines.append((number, f"{delay * 1000:.0f}", ended, left))
        project.generate()
        if project.result() != expected.result:
            parts = [name for name, rows in project.result().items() if rows != expected.result[name]]
            differing.append(f"kill {number}: {', '.join(parts)}")
    print(table_of("SIGKILL while the tables are written, seed 31", columns, lines))
    assert not differing
