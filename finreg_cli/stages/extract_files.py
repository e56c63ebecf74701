"""extract: a model reads new documents, and every value says where in its document it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finreg_cli.config import Config, Decoding, ModelRole
from finreg_cli.documents.base import LabelledSource
from finreg_cli.domain.extraction import Value, find, text_of
from finreg_cli.domain.records import FINETUNE_RUNS, FinetuneRun
from finreg_cli.errors import NothingToDo, StageFailed
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.llm.base import Answerer, ReplyCache
from finreg_cli.stages.base import Run
from finreg_cli.stages.extraction import Extraction, extract
from finreg_cli.stages.tuned_runs import OpenAnswerer, chosen_run
from finreg_cli.tasks.structured_extraction import Reading, most_tokens


@dataclass(frozen=True)
class FoundValue:
    """A value and the characters ``start`` to ``end`` (exclusive) of the document's text where it first stands.

    A value that stands nowhere has no span and is not ``verbatim``; so is null.
    """

    value: Value
    start: int | None
    end: int | None
    verbatim: bool


@dataclass(frozen=True)
class Failure:
    """Why a file was not read, with its remedy."""

    message: str
    remedy: str
    kind: str

    def as_json(self) -> dict[str, str]:
        return {"class": self.kind, "message": self.message, "remedy": self.remedy}


@dataclass(frozen=True, kw_only=True)
class ExtractedFile:
    """What a model found in a file, or the ``error`` that kept it from being read.

    Args:
        file: as it was named.
        model: ``tuned``, ``base``, ``generator`` or ``judge``.
        model_run: the training run of the tuned model.
        decoding: ``constrained`` where the model was held to the schema.
        characters: of the text that the spans count in.
        windows: how many pieces it was read in, one reply each.
        invalid_replies: replies that could not be read; where that is all of them, every value is null.
        values: by key, in the schema's order; empty with an error.
    """

    file: str
    model: str
    model_run: str | None
    decoding: Decoding | None = None
    characters: int = 0
    windows: int = 0
    invalid_replies: int = 0
    values: dict[str, FoundValue] = field(default_factory=dict)
    error: Failure | None = None

    def as_json(self) -> dict[str, Any]:
        """The same keys for every file; ``error`` is null, or an object with class, message and remedy."""
        return asdict(self) | {"error": self.error.as_json() if self.error else None}

    def shown(self) -> dict[str, str]:
        """For a person: every key with its value and its place, or what went wrong and what to do."""
        if self.error:
            return {"error": self.error.message, "next": self.error.remedy}
        by = " ".join(filter(None, (self.model, self.model_run)))
        if self.invalid_replies:
            by += f"; {self.invalid_replies} of {self.windows} replies could not be read"
        return {"read by": by} | {key: _readable(found) for key, found in self.values.items()}


def extract_files(
    run: Run,
    lakehouse: Lakehouse,
    files: Sequence[Path],
    model: ModelRole,
    open_answerer: OpenAnswerer,
    source: LabelledSource,
    reading: Reading,
    cache: ReplyCache,
) -> list[ExtractedFile]:
    """One entry per file, in order; a file that can't be read is one with an error, and the others are still done.

    The model is held to the schema where it can be. A reply that is in the cache is not asked for again.

    Raises:
        NothingToDo: ``tuned`` is asked for, and no training run was selected.
        ConfigError: ``evaluate.run`` is not a finished run of this task.
    """
    finetune = _tuned_run(run.config, lakehouse) if model == "tuned" else None
    run_id = finetune.run_id if finetune else None
    texts = [_text_or_failure(source, file) for file in files]
    readable = [text for text in texts if isinstance(text, str)]
    decoding: Decoding | None = None
    extractions: Iterator[Extraction] = iter(())
    if readable:  # else no model is opened
        with closing(open_answerer(model, finetune)) as answerer:
            decoding = "constrained" if answerer.holds_to_schema else "free"
            extractions = iter(_extract(run, answerer, readable, reading, decoding, cache, model))
    return [
        ExtractedFile(file=str(file), model=model, model_run=run_id, error=text)
        if isinstance(text, Failure)
        else _extracted(str(file), model, run_id, decoding, text, next(extractions))
        for file, text in zip(files, texts, strict=True)
    ]


def _extract(
    run: Run,
    answerer: Answerer,
    documents: Sequence[str],
    reading: Reading,
    decoding: Decoding,
    cache: ReplyCache,
    model: ModelRole,
) -> list[Extraction]:
    config = run.config
    endpoint = getattr(config.endpoints, model) if model in ("generator", "judge") else None
    window_tokens = endpoint.window_tokens if endpoint else None
    max_tokens = most_tokens(config)
    with run.progress.track("extract", len(documents), "documents") as advance:
        extractions, _ = extract(answerer, documents, reading, decoding, max_tokens, cache, advance, window_tokens)
    return extractions


def _text_or_failure(source: LabelledSource, file: Path) -> str | Failure:
    try:
        return source.text(file)
    except StageFailed as error:
        return Failure(error.message, error.remedy, type(error).__name__)


def _extracted(
    file: str, model: str, run_id: str | None, decoding: Decoding | None, text: str, extraction: Extraction
) -> ExtractedFile:
    return ExtractedFile(
        file=file,
        model=model,
        model_run=run_id,
        decoding=decoding,
        characters=len(text),
        windows=len(extraction.replies),
        invalid_replies=extraction.invalid,
        values={key: _found(value, text) for key, value in extraction.labels.items()},
    )


def _found(value: Value, text: str) -> FoundValue:
    span = find(value, text)
    if span is None:
        return FoundValue(value, None, None, False)
    return FoundValue(value, span.start, span.end, True)


def _readable(found: FoundValue) -> str:
    text = text_of(found.value)
    if text is None:
        return "–"
    place = f"characters {found.start} to {found.end}" if found.verbatim else "not in the text"
    return f"{' '.join(text.split())} ({place})"


def _tuned_run(config: Config, lakehouse: Lakehouse) -> FinetuneRun:
    run = chosen_run(config, lakehouse)
    if run is None:
        raise NothingToDo(
            f"there is no selected run in {lakehouse.location(FINETUNE_RUNS)}, so there is no tuned model",
            "run 'finreg finetune' with the same configuration first, or take --model base",
        )
    return run
