"""How much of an endpoint's speed is used: `python benchmarks/generate.py [--quick] [--peers NAME...] [--json FILE]`.

Against a server of its own process with a fixed latency of 200 ms (`serve_openai.py`): 1,000 chains of six requests at
64 in flight and 2,000 at 256, on the same two cores. Beside the whole `finreg generate` (chain, cache, budget, filters,
commits) run a bare HTTP client that sends the same prompts, and other tools as far as they can be pointed at a server.

A share is the requests per second of the ideal, which is in flight / latency; both are taken from the server's own log,
from the first request's arrival to the last reply, so that starting up does not count. The whole command is timed
beside it. All take turns, three rounds. A peer is ended after a minute: what it was served until then tells its speed.
Without names, ``--peers`` leaves only the bare clients beside ours: seven minutes; with the four peers 35.

Where the time goes (profiled by processor time, two cores). The server takes 0.12 to 0.2 ms a request of its own core
and is never the limit; bare aiohttp takes 0.3 ms of ours and reaches 0.95 at 256, which is what this machine can do. A
request of `finreg generate` takes 0.55 to 0.7 ms once it has begun, so one event loop is busy from about 1,500
requests/s on. A fifth of that is aiohttp; the rest are the request's key, its body, prompts and schemas, the filters
(a seventh) and the cache. What had cost most before: filters that analysed the whole context anew for every row (a
third), cyclic garbage that was looked for among the objects of all modules (a fifth), the cache's log, which waited for
the disk in the event loop (a tenth), and a line that ran dry while rows were committed. Outside of the requests lie
about 4.5 s of processor time before the first (3 of them for MLflow's import and its first database) and 1 s after the
last.

It ends with exit code 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import yaml
from peers import Peer, Unavailable, installed
from serve_openai import LATENCY, MODEL

from finreg_cli.domain.identity import chunk_id, content_hash, document_id
from finreg_cli.domain.records import SPLITTED_DOCUMENTS, Chunk
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.llm import prompts as prompt_files
from finreg_cli.training.fetched import cache_folder

HERE = Path(__file__).parent
OURS, BARE = "finreg generate", "bare aiohttp"
CHAINS = {64: 1_000, 256: 2_000}
STEPS = (
    "question_draft",
    "question_judgement",
    "question_improve",
    "answer_draft",
    "answer_judgement",
    "answer_improve",
)
GOALS, AIMS = {64: 0.80, 256: 0.40}, {64: 0.9, 256: 0.6}
OF_BARE_GOAL = 0.85
ROWS_PER_CHUNK = 2
KINDS = ("requirement", "fact")
CATALOG, SCHEMA = "main", "bench"
CLIENT_SECONDS = 900
CEILING_IN_FLIGHT, CEILING_CHAINS = 64, 500
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Measured:
    """One run of one client, as the server saw it, with what the run cost on this machine."""

    requests: int
    seconds: float
    share: float
    finished: bool
    """False: ended at its time limit."""
    most_in_flight: int
    connections: int
    repeated: int
    whole_seconds: float
    client_processor_seconds: float
    server_processor_seconds: float
    load: float
    per_second: list[int]
    """Replies in each second since the first request, where filling the line and every stop can be seen."""
    rows: int | None = None
    """Rows that finreg has kept."""


@dataclass
class Figures:
    """All that was measured: by requests in flight, then by client, one entry a round."""

    latency: float
    cores: int
    load_at_start: float
    chains: dict[int, int]
    ceiling: float = 0.0
    """Requests/s of the bare client at a server without latency: what the two can do on this machine."""
    runs: dict[int, dict[str, list[Measured]]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """Something that drives the server: its command, and how many seconds of requests it gets."""

    name: str
    command: Sequence[str]
    seconds: float = CLIENT_SECONDS


PEER_NAMES = ("curator", "data-designer", "distilabel", "synthetic-data-kit")
NO_TELEMETRY = {
    "TELEMETRY_ENABLED": "false",  # curator
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "NEMO_TELEMETRY_ENABLED": "false",  # data-designer
    "DISTILABEL_TELEMETRY": "0",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "ANONYMIZED_TELEMETRY": "false",
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text file in a script
    chains = {each: _chains(each, options.quick) for each in options.in_flight}
    figures = Figures(LATENCY, os.cpu_count() or 1, round(os.getloadavg()[0], 1), chains)
    print(f"latency {1000 * LATENCY:.0f} ms, {figures.cores} cores, load {figures.load_at_start} at the start")
    with tempfile.TemporaryDirectory() as folder, _server() as url:
        figures.ceiling = _ceiling(Path(folder))
        print(f"without latency, {BARE} gets {figures.ceiling:,.0f} requests/s out of the server\n")
        peers = _peers(options.peers, figures)
        for in_flight, count in chains.items():
            work = _work(Path(folder) / f"work-{in_flight}.json", url, in_flight, count)
            clients = _bare(work, options.peer_seconds)
            clients += [_peer_client(name, place, work, options.peer_seconds) for name, place in peers]
            warehouse = _warehouse(Path(folder) / f"template-{in_flight}", -(-count // ROWS_PER_CHUNK))
            runs = figures.runs[in_flight] = {}
            for _ in range(options.rounds):
                runs.setdefault(OURS, []).append(_ours(Path(folder), warehouse, url, in_flight))
                for client in clients:
                    if client.name not in figures.unavailable:
                        _run_into(runs, figures.unavailable, client, url, in_flight)
            _print(figures, in_flight)
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")


def _chains(in_flight: int, quick: bool) -> int:
    """A tenth with ``quick``, but enough that filling and emptying the line does not decide the share."""
    count = CHAINS.get(in_flight, 8 * in_flight)
    return max(count // 10, 2 * in_flight) if quick else count


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--in-flight", type=int, nargs="+", default=list(CHAINS), help="64 and 256 by default")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, 3 by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of the chains")
    parser.add_argument("--peers", nargs="*", choices=PEER_NAMES, default=PEER_NAMES, help="all by default")
    parser.add_argument("--peer-seconds", type=float, default=60, help="of requests for a peer, 60 by default")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    if options.json:
        options.json = options.json.resolve()
    return options


# --- the server and what is sent to it -------------------------------------------------------------------------------


@contextmanager
def _server(latency: float = LATENCY) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, str(HERE / "serve_openai.py"), "--latency", str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait()


def _log(url: str, method: str = "GET") -> dict[str, Any]:
    request = urllib.request.Request(f"{url.removesuffix('/v1')}/log", method=method)
    with urllib.request.urlopen(request) as response:
        log: dict[str, Any] = json.load(response)
        return log


def _ceiling(folder: Path) -> float:
    with _server(latency=0) as url:
        client, _ = _bare(_work(folder / "work-ceiling.json", url, CEILING_IN_FLIGHT, CEILING_CHAINS), CLIENT_SECONDS)
        measured = _measure(client, url, CEILING_IN_FLIGHT)
    return measured.requests / measured.seconds


def _work(file: Path, url: str, in_flight: int, count: int) -> Path:
    """What every client but ours is given: the prompts of our six steps, and a context for each chain.

    A prompt has ``{context}`` and, where it shows an earlier reply, ``{reply_N}``, N counting the steps from 0.
    """
    fixed = {
        "regulation": "the Sample Regulation",
        "audience": "people who prepare supervisory reports at banks",
        "language": "English",
        "kind": KINDS[0],
        "kind_description": prompt_files.load().kinds[KINDS[0]],
        "abstention": "I don't know.",
    }
    shown = {column: f"{{reply_{STEPS.index(step)}}}" for column, step in _WRITTEN_BY.items()}
    steps = [_filled(prompt_files.load().texts[step], {**fixed, **shown}) for step in STEPS]
    contexts = [f"{citation}\n{text}" for citation, text in _articles(count)]
    work = {"url": url, "model": MODEL, "in_flight": in_flight, "steps": steps, "contexts": contexts}
    file.write_text(json.dumps(work), encoding="utf-8")
    return file


_WRITTEN_BY = {
    "initial_question": "question_draft",
    "question_judgement": "question_judgement",
    "question": "question_improve",
    "initial_answer": "answer_draft",
    "reasoning": "answer_draft",
    "answer_judgement": "answer_judgement",
}


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


_SUBJECTS = ("An institution", "The competent authority", "The consolidating supervisor", "A parent institution")
_DUTIES = (
    "shall report its own funds requirements in the format that is laid down for that purpose",
    "shall keep a record of every exposure to which the derogation applies and of the grounds for it",
    "shall notify the members of the college without undue delay where the conditions are no longer met",
    "shall assess at least once a year whether the models remain appropriate for the risks that they cover",
    "shall ensure that the policies and the procedures are approved by the management body",
)
_CONDITIONS = (
    "where the amount exceeds {number} % of the eligible capital",
    "unless the exposure is fully secured by collateral that is valued at least every {number} months",
    "within {number} working days after the reference date",
    "provided that the total of such items does not exceed EUR {number} million",
)


def _articles(count: int) -> Iterator[tuple[str, str]]:
    """Citation and text of made-up articles, about as long as a chunk of 500 tokens."""
    chance = random.Random(6)
    for article in range(1, count + 1):
        paragraphs = []
        for paragraph in range(1, 11):
            condition = chance.choice(_CONDITIONS).format(number=chance.randint(2, 90))
            paragraphs.append(
                f"{paragraph}. {chance.choice(_SUBJECTS)} {chance.choice(_DUTIES)}, {condition}. This applies on an "
                "individual and on a consolidated basis."
            )
        yield f"Sample Regulation Article {article}", "\n".join(paragraphs)


# --- ours ------------------------------------------------------------------------------------------------------------


def _warehouse(folder: Path, articles: int) -> Path:
    """A lakehouse with a chunk for each article, to be copied for each run."""
    work, sha256 = "sample", content_hash("benchmark")
    document = document_id(work, None, sha256)
    chunks = [
        Chunk(
            chunk_id=chunk_id(work, citation, text, 0),
            document_id=document,
            work_id=work,
            version_date=None,
            path="sample.pdf",
            file_sha256=sha256,
            title="the Sample Regulation",
            citation=citation,
            heading_path=[citation.removeprefix("Sample Regulation ")],
            structure="article",
            references=[],
            page_start=1,
            page_end=1,
            char_start=0,
            char_end=len(text),
            has_formula=False,
            suspect_instruction=False,
            text=text,
            token_count=500,
        )
        for citation, text in _articles(articles)
    ]
    lakehouse = EmbeddedLakehouse(folder, CATALOG, SCHEMA)
    lakehouse.overwrite(SPLITTED_DOCUMENTS, SPLITTED_DOCUMENTS.batches(chunks))
    lakehouse.close()
    return folder


def _ours(folder: Path, template: Path, url: str, in_flight: int) -> Measured:
    """The whole command on a fresh copy of the warehouse, with everything on.

    Raises:
        SystemExit: it failed; there is nothing to compare then.
    """
    warehouse, config, report = folder / "lakehouse", folder / "finreg.yaml", folder / "report.json"
    shutil.rmtree(warehouse, ignore_errors=True)
    shutil.copytree(template, warehouse)
    settings = {
        "catalog": CATALOG,
        "schema": SCHEMA,
        "engine": {"kind": "embedded", "warehouse": str(warehouse)},
        "generate": {
            "method": "llm",
            "rows_per_chunk": ROWS_PER_CHUNK,
            "kinds": {kind: 1 / len(KINDS) for kind in KINDS},
        },
        "endpoints": {"generator": {"model": MODEL, "base_url": url, "max_concurrency": in_flight}},
    }
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "finreg_cli", "generate", "--config", str(config), "-o", "json"]
    try:
        with report.open("w", encoding="utf-8") as stdout:
            measured = _measure(Client(OURS, command), url, in_flight, stdout)
    except Unavailable as reason:
        raise SystemExit(f"{OURS} failed, there is nothing to compare: {reason}") from None
    kept = json.loads(report.read_text(encoding="utf-8"))["counts"]["kept"]
    return replace(measured, rows=kept)


# --- the others ------------------------------------------------------------------------------------------------------


def _bare(work: Path, httpx_seconds: float) -> list[Client]:
    """aiohttp, which ours is compared to and runs on, and httpx, which most others run on."""
    command = [sys.executable, str(HERE / "clients" / "bare.py")]
    return [
        Client(BARE, [*command, "aiohttp", str(work)]),
        Client("bare httpx", [*command, "httpx", str(work)], httpx_seconds),
    ]


def _peers(names: Sequence[str], figures: Figures) -> list[tuple[str, Path]]:
    """Those that can be installed here, with their environments."""
    found = []
    for name in names:
        try:
            found.append((name, installed(Peer(name, "python", ()), cache_folder() / "benchmarks")))
        except Unavailable as reason:
            figures.unavailable[name] = f"not installed: {reason}"
    return found


def _peer_client(name: str, environment: Path, work: Path, seconds: float) -> Client:
    script = HERE / "clients" / f"{name.replace('-', '_')}_chains.py"
    return Client(name, [str(environment / "bin/python"), str(script), str(work)], seconds)


def _run_into(
    runs: dict[str, list[Measured]], unavailable: dict[str, str], client: Client, url: str, in_flight: int
) -> None:
    try:
        measured = _measure(client, url, in_flight)
    except Unavailable as reason:
        unavailable[client.name] = f"at {in_flight} in flight: {reason}"
    else:
        runs.setdefault(client.name, []).append(measured)


def _measure(client: Client, url: str, in_flight: int, stdout: IO[str] | None = None) -> Measured:
    """Runs a client to its end, or to its limit counted from its first request.

    Raises:
        Unavailable: it failed, or sent no request in time.
    """
    _log(url, "DELETE")
    load = os.getloadavg()[0]
    start, used = time.monotonic(), _children_processor_seconds()
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            client.command,
            stdin=subprocess.DEVNULL,
            stdout=stdout or output,
            stderr=output,
            cwd=place,  # some leave caches and logs where they stand
            env={**os.environ, **NO_TELEMETRY, "HOME": place, "OPENAI_API_KEY": "none", "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
        try:
            finished = _wait(process, client.seconds, url)
        finally:
            with suppress(ProcessLookupError):  # it has ended, with all that it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        whole = time.monotonic() - start
        log = _log(url)
        if (finished and process.returncode) or not log["requests"]:
            output.seek(0)
            raise Unavailable(_last_lines(output.read()) or f"exit code {process.returncode}")
    return Measured(
        requests=log["requests"],
        seconds=log["seconds"],
        share=log["requests"] / log["seconds"] / (in_flight / LATENCY),
        finished=finished,
        most_in_flight=log["most_in_flight"],
        connections=log["connections"],
        repeated=log["repeated"],
        whole_seconds=whole,
        client_processor_seconds=_children_processor_seconds() - used,
        server_processor_seconds=log["processor_seconds"],
        load=load,
        per_second=log["per_second"],
    )


def _wait(process: subprocess.Popen[bytes], seconds: float, url: str) -> bool:
    """Whether the process ended by itself, within ``seconds`` of its first request."""
    start = time.monotonic()
    while time.monotonic() - start < CLIENT_SECONDS:
        try:
            process.wait(POLL_SECONDS)
            return True
        except subprocess.TimeoutExpired:
            if _log(url)["seconds_since_first"] > seconds:
                return False
    return False


def _children_processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _last_lines(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return textwrap.shorten(" ".join(lines[-2:]), 300)


# --- the table -------------------------------------------------------------------------------------------------------


def _print(figures: Figures, in_flight: int) -> None:
    runs = figures.runs[in_flight]
    count = figures.chains[in_flight]
    ideal = in_flight / LATENCY
    print(f"{count:,} chains of six at {in_flight} in flight; ideal {ideal:,.0f} requests/s; rounds in turns")
    print(
        f"  {'':20} {'requests/s':>10} {'share':>6}  {'of bare':>7} {'CPU ms':>7} {'whole s':>8}  shares of the rounds"
    )
    bare = statistics.median(each.share for each in runs[BARE])
    for name, measured in sorted(runs.items(), key=lambda each: -statistics.median(run.share for run in each[1])):
        share = statistics.median(each.share for each in measured)
        whole = statistics.median(each.whole_seconds for each in measured)
        milliseconds = statistics.median(1000 * each.client_processor_seconds / each.requests for each in measured)
        rounds = " ".join(f"{each.share:.3f}" for each in measured)
        served = min(each.requests for each in measured)
        ended = f"  ended after {served:,} requests" if served < count * len(STEPS) else ""
        print(
            f"  {name:20} {share * ideal:10.0f} {share:6.2f}  {share / bare:7.2f} {milliseconds:7.2f} {whole:8.1f}  "
            f"{rounds}{ended}"
        )
    for name, reason in figures.unavailable.items():
        print(f"  {name:20} {reason}")
    _print_goals(runs, in_flight, bare, count)


def _print_goals(runs: Mapping[str, Sequence[Measured]], in_flight: int, bare: float, count: int) -> None:
    ours = statistics.median(each.share for each in runs[OURS])
    if in_flight in GOALS:
        goal, aim = GOALS[in_flight], AIMS[in_flight]
        print(f"  goal: a share of at least {goal:.2f} (aim {aim:.1f}): {ours:.3f}, {_met(ours >= goal)}")
    print(f"  goal: at least {OF_BARE_GOAL} of {BARE}: {ours / bare:.3f}, {_met(ours / bare >= OF_BARE_GOAL)}")
    peers = {name: statistics.median(each.share for each in runs[name]) for name in PEER_NAMES if name in runs}
    if peers:
        best = max(peers, key=lambda name: peers[name])
        print(f"  goal: ahead of each peer: the best is {best} with {peers[best]:.3f}, {_met(ours > peers[best])}")
    server = statistics.median(1000 * each.server_processor_seconds / each.requests for each in runs[OURS])
    loads = [each.load for measured in runs.values() for each in measured]
    print(
        f"  the server used {server:.2f} ms of processor time a request, so it could have answered "
        f"{1000 / server:,.0f} requests/s; load of the machine before the runs {min(loads):.1f} to {max(loads):.1f}"
    )
    for each in runs[OURS]:
        if each.rows != count or each.repeated:
            print(f"  note: {each.rows} rows kept of {count}, {each.repeated} requests sent twice")
    print()


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"


if __name__ == "__main__":
    main()
