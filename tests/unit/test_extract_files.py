"""extract: real files, a real reader, cache and table; the model is code that really answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from reportlab.pdfgen.canvas import Canvas

from fakes.progress import Silent
from finreg_cli.config import Config, ModelRole
from finreg_cli.documents.labelled import FileSource
from finreg_cli.domain.extraction import Schema
from finreg_cli.domain.records import FINETUNE_RUNS, FinetuneRun, Message
from finreg_cli.errors import ConfigError, NothingToDo, StageFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.llm.cache import RequestCache
from finreg_cli.stages.base import Run
from finreg_cli.stages.extract_files import ExtractedFile, extract_files
from finreg_cli.tasks.structured_extraction import Reading

SCHEMA = Schema.parse(
    {
        "type": "object",
        "title": "lease",
        "properties": {"lessee": {"format": "name"}, "rent": {"type": "integer"}, "use": {"type": "string"}},
    }
)
LEASE = "This lease is made with\nAcorn\n  Tools Ltd for a rent of 1200 a month.\nThe roof is the owner's."


class Answering:
    """Says what stands in its window; a document that asks for it gets prose in place of JSON."""

    def __init__(self, holds_to_schema: bool) -> None:
        self.holds_to_schema = holds_to_schema
        self.asked: list[str] = []
        self.schemas: list[Mapping[str, Any] | None] = []
        self.closed = False

    @property
    def identity(self) -> str:
        return "weights"

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        if schema is not None and not self.holds_to_schema:
            raise StageFailed("no schema here")
        for messages in prompts:
            text = messages[-1].content
            self.asked.append(text)
            self.schemas.append(schema)
            if "prose" in text:
                yield "I would rather not."
            else:
                lessee = "Acorn Tools Ltd" if "Acorn" in text else None
                rent = 1200 if "1200" in text else None
                yield json.dumps({"lessee": lessee, "rent": rent, "use": "a use of its own making"})

    def close(self) -> None:
        self.closed = True


def words(text: str) -> list[tuple[int, int]]:
    """A token for each word."""
    spans, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


def tuned_run(run_id: str, **changed: Any) -> FinetuneRun:
    run = FinetuneRun(
        run_id=run_id,
        sweep_id=run_id.split("-r")[0],
        task="structured_extraction",
        round=0,
        trainer="local",
        base_model="smollm2-135m-instruct",
        method="lora",
        learning_rate=1e-3,
        epochs=1.0,
        state="finished",
        metrics={},
        selected=True,
        model_uri="merged",
        model_version=None,
        training_table="ft_training",
        training_version=0,
    )
    return replace(run, **changed)


@dataclass
class Bench:
    """Everything that the stage takes, over one folder."""

    folder: Path
    lakehouse: EmbeddedLakehouse
    cache: RequestCache
    answerer: Answering = field(default_factory=lambda: Answering(True))
    opened: list[tuple[str, str | None]] = field(default_factory=list)
    progress: Silent = field(default_factory=Silent)
    window_tokens: int = 64

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def trained(self, *runs: FinetuneRun) -> None:
        self.lakehouse.merge(FINETUNE_RUNS, FINETUNE_RUNS.batches(runs))

    def extract(self, *files: Path, model: ModelRole = "base", **evaluate: Any) -> list[ExtractedFile]:
        endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "window_tokens": 1000}
        raw = {
            "task": "structured_extraction",
            "engine": {"warehouse": str(self.folder)},
            "generate": {"method": "rules"},
            "endpoints": {"generator": endpoint},
            "evaluate": evaluate,
        }

        def open_answerer(role: str, finetune: FinetuneRun | None) -> Answering:
            self.opened.append((role, finetune.run_id if finetune else None))
            return self.answerer

        return extract_files(
            Run("x1", Config.model_validate(raw), self.progress, dry_run=True),
            self.lakehouse,
            files,
            model,
            open_answerer,
            FileSource(SCHEMA, workers=1),
            Reading(SCHEMA, "Find these.", words, self.window_tokens, 8),
            self.cache,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    lakehouse = EmbeddedLakehouse(tmp_path / "lakehouse", "main", "leases")
    cache = RequestCache(tmp_path / "state" / "requests.sqlite")
    yield Bench(tmp_path, lakehouse, cache)
    cache.close()
    lakehouse.close()


def test_every_value_points_into_the_text(bench: Bench) -> None:
    (extracted,) = bench.extract(bench.write("lease.txt", LEASE))
    found = extracted.values
    assert LEASE[found["lessee"].start : found["lessee"].end] == "Acorn\n  Tools Ltd", "blanks and lines aside"
    assert LEASE[found["rent"].start : found["rent"].end] == "1200"
    assert found["lessee"].verbatim
    assert bench.answerer.closed
    assert bench.opened == [("base", None)]
    assert bench.progress.done == 1


def test_what_stands_nowhere_is_given_without_a_place_and_null_is_null(bench: Bench) -> None:
    (extracted,) = bench.extract(bench.write("lease.txt", "Nothing of the kind."))
    nowhere = {"start": None, "end": None, "verbatim": False}
    assert extracted.as_json() == {
        "file": str(bench.folder / "lease.txt"),
        "model": "base",
        "model_run": None,
        "decoding": "constrained",
        "characters": 20,
        "windows": 1,
        "invalid_replies": 0,
        "values": {
            "lessee": {"value": None, **nowhere},
            "rent": {"value": None, **nowhere},
            "use": {"value": "a use of its own making", **nowhere},
        },
        "error": None,
    }
    assert extracted.shown() == {
        "read by": "base",
        "lessee": "–",
        "rent": "–",
        "use": "a use of its own making (not in the text)",
    }


def test_a_long_document_is_read_in_windows_and_its_spans_count_in_the_whole(bench: Bench) -> None:
    text = "\n".join(f"This is line {nth} of a long preamble." for nth in range(40)) + "\n" + LEASE
    (extracted,) = bench.extract(bench.write("lease.txt", text))
    assert extracted.windows == len(bench.answerer.asked) > 1
    found = extracted.values["rent"]
    assert found.start == text.index("1200")
    assert text[found.start : found.end] == "1200"


def test_an_endpoint_reads_in_windows_of_its_own(bench: Bench) -> None:
    text = "\n".join(f"This is line {nth} of a long preamble." for nth in range(40))
    (extracted,) = bench.extract(bench.write("lease.txt", text), model="generator")
    assert extracted.windows == 1
    assert bench.opened == [("generator", None)]


def test_a_pdf_is_read_as_well(bench: Bench) -> None:
    path = bench.folder / "lease.pdf"
    page = Canvas(str(path))
    page.drawString(72, 700, "This lease is made with Acorn Tools Ltd for a rent of 1200 a month.")
    page.save()
    (extracted,) = bench.extract(path)
    assert extracted.values["lessee"].value == "Acorn Tools Ltd"
    assert extracted.values["lessee"].verbatim


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_being_read(bench: Bench) -> None:
    broken = bench.folder / "broken.pdf"
    broken.write_bytes(b"%PDF-1.4 and then nothing")
    missing = bench.folder / "missing.txt"
    lease = bench.write("lease.txt", LEASE)
    extracted = bench.extract(broken, lease, missing)
    assert [each.file for each in extracted] == [str(broken), str(lease), str(missing)]
    assert [bool(each.error) for each in extracted] == [True, False, True]
    assert extracted[1].values["rent"].value == 1200
    given = extracted[0].as_json()
    assert given["error"]["class"] == "StageFailed"
    assert "broken.pdf" in given["error"]["message"]
    assert given["values"] == {}
    assert extracted[2].shown()["error"].endswith("missing.txt: there is no such file")


def test_no_model_is_opened_for_nothing(bench: Bench) -> None:
    (extracted,) = bench.extract(bench.folder / "missing.txt")
    assert extracted.error
    assert bench.opened == []


def test_a_reply_that_cannot_be_read_is_counted(bench: Bench) -> None:
    (extracted,) = bench.extract(bench.write("lease.txt", f"prose\n{LEASE}"))
    assert (extracted.windows, extracted.invalid_replies) == (1, 1)
    assert all(each.value is None for each in extracted.values.values())
    assert extracted.shown()["read by"] == "base; 1 of 1 replies could not be read"


def test_a_second_run_asks_nothing(bench: Bench) -> None:
    lease = bench.write("lease.txt", LEASE)
    first = bench.extract(lease)
    assert bench.extract(lease) == first
    assert len(bench.answerer.asked) == 1


@pytest.mark.parametrize(("holds", "decoding"), [(True, "constrained"), (False, "free")])
def test_the_model_is_held_to_the_schema_where_it_can_be(bench: Bench, holds: bool, decoding: str) -> None:
    bench.answerer = Answering(holds)
    (extracted,) = bench.extract(bench.write("lease.txt", LEASE))
    assert extracted.decoding == decoding
    assert bench.answerer.schemas == [SCHEMA.json_schema() if holds else None]


def test_tuned_is_the_last_round_of_the_last_command(bench: Bench) -> None:
    bench.trained(
        tuned_run("20260101-r0-1", round=0),
        tuned_run("20260102-r0-1", round=0),
        tuned_run("20260102-r2-1", round=2),
        tuned_run("20260102-r2-2", round=2, selected=False),
        tuned_run("20260101-r3-1", round=3),
        tuned_run("20260103-r0-1", state="failed"),
        tuned_run("20260104-1", task="regulation_qa"),
    )
    (extracted,) = bench.extract(bench.write("lease.txt", LEASE), model="tuned")
    assert bench.opened == [("tuned", "20260102-r2-1")]
    assert extracted.model_run == "20260102-r2-1"
    assert extracted.shown()["read by"] == "tuned 20260102-r2-1"


def test_a_named_run_is_taken_and_an_unknown_one_refused(bench: Bench) -> None:
    bench.trained(tuned_run("20260101-r0-1"), tuned_run("20260102-r0-1"))
    lease = bench.write("lease.txt", LEASE)
    (extracted,) = bench.extract(lease, model="tuned", run="20260101-r0-1")
    assert extracted.model_run == "20260101-r0-1"
    with pytest.raises(ConfigError, match="'other' is not in finetune_runs"):
        bench.extract(lease, model="tuned", run="other")


def test_tuned_without_a_run_says_what_to_do(bench: Bench) -> None:
    with pytest.raises(NothingToDo) as raised:
        bench.extract(bench.write("lease.txt", LEASE), model="tuned")
    assert "--model base" in raised.value.remedy
