"""Rows from Python: the chain over chunks and any LangChain model, without a configuration or a lakehouse."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langsmith.run_helpers import tracing_context

from finreg_cli.config import Generate, Kind
from finreg_cli.domain.fit import fits
from finreg_cli.domain.identity import chunk_id, content_hash, document_id
from finreg_cli.domain.language import require
from finreg_cli.domain.quality import check_blank
from finreg_cli.domain.questions import Questions
from finreg_cli.domain.records import Chunk
from finreg_cli.errors import EndpointError
from finreg_cli.llm import prompts as prompt_files
from finreg_cli.llm.base import Assignment, Reply, Written
from finreg_cli.llm.chains import CHECK, Chain, Role, version_of
from finreg_cli.llm.prompts import Prompts
from finreg_cli.llm.runner import Asker, run_all
from finreg_cli.llm.structured import NamedSchema
from finreg_cli.llm.transport import RequestFailed
from finreg_cli.tasks.regulation_qa import CROSS_ARTICLE, Proposed, across, propose_blank

AUDIENCE = str(Generate.model_fields["audience"].default)
LANGUAGE = str(Generate.model_fields["language"].default)


def build_instruction_eval_dataset(
    chunks: Iterable[Chunk | Document | str],
    llm: BaseChatModel,
    *,
    judge: BaseChatModel | None = None,
    kinds: Sequence[Kind] = ("requirement", "definition", "threshold", "deadline", "procedure", "unanswerable"),
    rows_per_chunk: int = 2,
    regulation: str = "the regulation",
    audience: str = AUDIENCE,
    language: str = LANGUAGE,
    prompts: Path | None = None,
    outputs_may_train: bool = True,
    seed: int = 7,
    validation_fraction: float = 0.1,
    max_concurrency: int = 16,
) -> list[dict[str, Any]]:
    """Writes questions and answers with any LangChain chat model: the same chain and filters as `finreg generate`.

    Args:
        chunks: chunks of finreg, LangChain documents (``metadata["citation"]`` is used where it is there), or texts.
        llm: writes, and judges where there is no ``judge``. Its own retries and limits apply.
        kinds: taken in turn, those before others that a chunk holds something of: no threshold where no figure stands
            (`domain.fit`). ``cross_article`` is left out where a chunk refers to none of the others.
        rows_per_chunk: rows from each chunk.
        regulation: the name for chunks that bring no title.
        audience, language: parameters of the prompts; the rows are held to the language.
        prompts: a folder whose files replace the prompts of the same name.
        outputs_may_train: what the terms of the model's provider allow, for the column of that name.
        seed, validation_fraction: decide the split, as in the configuration.
        max_concurrency: rows under way at a time.

    Returns:
        A dictionary per row, in the order of ``chunks``: the columns of `records.QaRow`, ``stage`` and ``reason``
        (None for a row that stands; otherwise the step that dropped it, and why).

    Raises:
        ConfigError: a prompt is wrong, a kind is not described, or rows cannot be checked for the language.
        EndpointError: not one request succeeded.
    """
    loaded = prompt_files.load(prompts)
    loaded.require_kinds(kinds)
    require(language)
    settings = Generate(method="llm", seed=seed, validation_fraction=validation_fraction)
    model, version = _name_of(llm), version_of(loaded, audience, language)
    sources = [each if isinstance(each, Chunk) else _as_chunk(each, regulation) for each in chunks]
    proposed = [
        propose_blank(joined, kind, sample, settings, model, version, outputs_may_train)
        for joined, kind, sample in _turns(sources, kinds, rows_per_chunk)
    ]
    with tracing_context(enabled=False):  # a variable of the environment would send every request to a service
        written = _write(proposed, loaded, llm, judge or llm, audience, language, max_concurrency)
    return [{**dataclasses.asdict(each.row), "stage": each.stage, "reason": each.reason} for each in written]


def _turns(
    sources: Sequence[Chunk], kinds: Sequence[Kind], rows_per_chunk: int
) -> Iterator[tuple[list[Chunk], Kind, int]]:
    """What each row is made from, its kind, and its number among those that are alike in both."""
    known = {(each.document_id, each.chunk_id): each for each in sources}
    turn = cycle(kinds)
    for chunk in sources:
        referenced = (known.get((chunk.document_id, each)) for each in chunk.references)
        crossing = across(chunk, [each for each in referenced if each is not None])
        possible = [kind for kind in kinds if crossing or kind != CROSS_ARTICLE]
        fitting = [kind for kind in possible if fits(kind, chunk.text)] or possible
        samples: dict[Kind, int] = {}
        for _ in range(rows_per_chunk if fitting else 0):
            kind = next(each for each in turn if each in fitting)
            samples[kind] = samples.get(kind, -1) + 1
            yield crossing if kind == CROSS_ARTICLE else [chunk], kind, samples[kind]


def _write(
    proposed: Sequence[Proposed],
    prompts: Prompts,
    llm: BaseChatModel,
    judge: BaseChatModel,
    audience: str,
    language: str,
    max_concurrency: int,
) -> list[Written]:
    """What became of each row, in their order.

    Raises:
        EndpointError: not one request succeeded.
    """
    done: dict[int, Written] = {}
    for number, each in enumerate(proposed):
        if reason := each.refusal or check_blank(each.row, each.source):
            done[number] = Written(each.row, CHECK, reason)
    work = [(number, Assignment(each.row, each.source)) for number, each in enumerate(proposed) if number not in done]
    work.sort(key=lambda numbered: numbered[1].blank.split != "validation")  # of two alike a training row should go
    asked: list[_AnyModel] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Callable[[tuple[int, Assignment]], Any]]:
        with ThreadPoolExecutor(max_concurrency) as threads:
            asked.extend((_AnyModel(llm, threads), _AnyModel(judge, threads)))
            askers: dict[Role, Asker] = {"generator": asked[0], "judge": asked[1]}
            chain = Chain(prompts, askers, audience, language, Questions())

            async def write(numbered: tuple[int, Assignment]) -> tuple[int, Written]:
                number, assignment = numbered
                return number, await chain.write(assignment)

            yield write

    done.update(run_all(opening, work, max_concurrency))
    failed = next((each.failure for each in asked if each.failure), None)
    if failed and not any(each.succeeded for each in asked):
        raise EndpointError(f"the model answered no request: {failed}", "check its name, key and address")
    return [done[number] for number in range(len(proposed))]


class _AnyModel:
    """Any LangChain chat model as an `Asker`, without cache, budget or retries of ours.

    It is called in threads, as the caller's model: its asynchronous connections would belong to our event loop, and be
    of no use to the caller after it.
    """

    def __init__(self, llm: BaseChatModel, threads: Executor) -> None:
        self.succeeded = False
        self.failure: str | None = None
        self._llm = llm
        self._threads = threads

    async def ask(self, messages: Sequence[BaseMessage], schema: NamedSchema | None, sample: int) -> Reply:
        call = partial(copy_context().run, self._llm.invoke, list(messages))
        try:
            message = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except Exception as error:
            # The one edge to the caller's model, whose client raises what it likes: it costs this row, not the others.
            self.failure = f"{type(error).__name__}: {error}"
            raise RequestFailed(self.failure, transient=False) from error
        self.succeeded = True
        return Reply(str(message.text), finish_reason=message.response_metadata.get("finish_reason"))


def _name_of(llm: BaseChatModel) -> str:
    name = getattr(llm, "model_name", None) or getattr(llm, "model", None)
    return name if isinstance(name, str) else type(llm).__name__


def _as_chunk(source: Document | str, regulation: str) -> Chunk:
    """A chunk of finreg for a text from elsewhere; what only a parsed PDF knows is left empty."""
    text = source if isinstance(source, str) else source.page_content
    metadata = {} if isinstance(source, str) else source.metadata
    work = str(metadata.get("source", regulation))
    text_hash = content_hash(text)
    citation = str(metadata.get("citation", regulation))
    return Chunk(
        chunk_id=chunk_id(work, citation, text, 0),
        document_id=document_id(work, None, text_hash),
        work_id=work,
        version_date=None,
        path=work,
        file_sha256=text_hash,
        title=str(metadata.get("title", regulation)),
        citation=citation,
        heading_path=[],
        structure="none",
        references=[],
        page_start=1,
        page_end=1,
        char_start=0,
        char_end=len(text),
        has_formula=False,
        suspect_instruction=False,
        text=text,
        token_count=0,
    )
