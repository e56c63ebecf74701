"""The chain that writes question-answer rows: draft, judge, improve, first the question and then its answer.

    question_draft -> question_judgement -> question_improve -> answer_draft -> answer_judgement -> answer_improve

Every step is a LangChain runnable (prompt | structured model), every text is kept on the row. The judgements are of the
drafts, and what counts is the improved text, so a bad draft may become a good row. Two things a judgement does decide:
one that can't be read ends its row, and a draft that was found bad and came back unchanged ends it too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langsmith.run_helpers import tracing_context

from finreg_cli.config import Config, Kind
from finreg_cli.domain.chat_format import ABSTENTION, split_citation, with_citation
from finreg_cli.domain.identity import chunk_id, content_hash, document_id
from finreg_cli.domain.records import Chunk, QaRow
from finreg_cli.llm import prompts as prompt_files
from finreg_cli.llm.asking import ConfiguredEndpoints, RowRejected, StructuredModel
from finreg_cli.llm.base import Assignment, Estimate, Reply, ReplyCache, Usage, Written
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.prompts import Prompts
from finreg_cli.llm.runner import Asker, Retry, run_all
from finreg_cli.llm.structured import (
    Answer,
    AnswerVerdict,
    NamedSchema,
    Output,
    Question,
    QuestionVerdict,
    ReasonedAnswer,
    form,
)

AUDIENCE = "people who prepare supervisory reports at banks"
LANGUAGE = "English"

Role = Literal["generator", "judge"]


@dataclass(frozen=True)
class Step:
    """A prompt, who is asked, what is to come back, and the columns of the row that it fills."""

    name: str
    role: Role
    output: type[Output]
    columns: Mapping[str, str]
    """Column -> key of the output; ``*`` is all of it as JSON."""

    def fill(self, row: QaRow, output: Output) -> QaRow:
        whole = json.dumps(output.model_dump(), ensure_ascii=False)
        values: dict[str, Any] = {
            column: whole if key == "*" else getattr(output, key) for column, key in self.columns.items()
        }
        return dataclasses.replace(row, **values)


STEPS = (
    Step("question_draft", "generator", Question, {"initial_question": "question"}),
    Step("question_judgement", "judge", QuestionVerdict, {"question_judgement": "*"}),
    Step("question_improve", "generator", Question, {"question": "question"}),
    Step("answer_draft", "generator", ReasonedAnswer, {"initial_answer": "answer", "reasoning": "reasoning"}),
    Step("answer_judgement", "judge", AnswerVerdict, {"answer_judgement": "*"}),
    Step("answer_improve", "generator", Answer, {"answer": "answer"}),
)


class Chain:
    """The six steps over one generator and one judge."""

    def __init__(self, prompts: Prompts, askers: Mapping[Role, Asker], audience: str, language: str) -> None:
        repair = prompts.template("repair")
        self._kinds = prompts.kinds
        self._audience = audience
        self._language = language
        self._steps: list[tuple[Step, Runnable[dict[str, Any], Output]]] = [
            (step, prompts.template(step.name) | StructuredModel(askers[step.role], form(step.output), repair))
            for step in STEPS
        ]

    async def write(self, assignment: Assignment) -> Written:
        """Takes a row through the steps; what goes wrong with it is told in what it returns.

        Raises:
            BudgetReached, EndpointError: see `runner.Asker`.
        """
        row = assignment.blank
        step_name = STEPS[0].name
        config: RunnableConfig = {"configurable": {"sample": row.sample}}
        try:
            # LangChain would send every step to a tracing service if a variable of the environment says so.
            with tracing_context(enabled=False):
                for step, runnable in self._steps:
                    step_name = step.name
                    row = step.fill(row, await runnable.ainvoke(self._parameters(row, assignment.chunk), config))
                    _stop_unmended(step, row)
            row = dataclasses.replace(row, answer=_final_answer(row))
        except RowRejected as rejected:
            return Written(row, step_name, str(rejected))
        return Written(row)

    def _parameters(self, row: QaRow, chunk: Chunk) -> dict[str, Any]:
        written = {column: getattr(row, column) for step in STEPS for column in step.columns}
        return written | {
            "regulation": chunk.title,
            "audience": self._audience,
            "language": self._language,
            "context": row.context,
            "citation": row.citation,
            "kind": row.kind,
            "kind_description": self._kinds[row.kind],
            "abstention": ABSTENTION,
        }


def _stop_unmended(step: Step, row: QaRow) -> None:
    """Ends a row whose draft was judged bad and came back as it was."""
    if step.name == "question_improve":
        verdict, key, draft, final = row.question_judgement, "acceptable", row.initial_question, row.question
    elif step.name == "answer_improve":
        verdict, key, draft, final = row.answer_judgement, "grounded", row.initial_answer, row.answer
    else:
        return
    judged = json.loads(verdict or "{}")
    if judged[key] is not True and _normalised(draft) == _normalised(final):
        raise RowRejected(f"not_{key}: the draft was judged bad and came back unchanged: {judged['reasons']}")


def _normalised(text: str | None) -> str:
    return " ".join((text or "").split()).casefold()


_ABSTAINS = re.compile(r"[\"'\s]*i (?:do not|don['\u2019]t) know\b", re.IGNORECASE)


def _final_answer(row: QaRow) -> str:
    """The answer as it is stored: with its citation, or exactly the abstention where there is nothing to answer.

    Raises:
        RowRejected: an answerable question was not answered, or an unanswerable one was.
    """
    answer = row.answer or ""
    abstains = _ABSTAINS.match(answer) is not None
    if not row.answerable:
        if not abstains:
            raise RowRejected("answered: the question of an unanswerable row was answered from the context")
        return ABSTENTION
    if abstains:
        raise RowRejected("abstained: the question was not answered from the context")
    text, _ = split_citation(answer)
    if not text:
        raise RowRejected("unreadable_reply: the answer is nothing but a citation")
    return with_citation(text, row.citation)


class ChainWriter:
    """Writes rows through the configured endpoints: implements `llm.base.RowWriter`.

    Args:
        config: with ``endpoints.generator``.
        cache: keeps every single reply, so that a killed run pays for none of them twice.
        budget: of the whole command.
        environment: where the endpoints' keys are looked up, by the names in the configuration.
        retry: how patiently transient failures are tried again.

    Raises:
        ConfigError: a key's variable is not set, a prompt is wrong, or a kind has no description.
    """

    def __init__(
        self,
        config: Config,
        cache: ReplyCache,
        budget: Budget,
        environment: Mapping[str, str] = os.environ,
        *,
        audience: str = AUDIENCE,
        language: str = LANGUAGE,
        retry: Retry = Retry(),  # noqa: B008 - immutable
    ) -> None:
        self._endpoints = ConfiguredEndpoints(config, cache, budget, environment, retry)
        self._prompts = prompt_files.load(config.generate.prompts)
        self._prompts.require_kinds(kind for kind, share in config.generate.kinds.items() if share)
        self._audience = audience
        self._language = language

    @property
    def model(self) -> str:
        return self._endpoints.generator.model

    @property
    def prompt_version(self) -> str:
        return _version(self._prompts, self._audience, self._language)

    @property
    def outputs_may_train(self) -> bool:
        return self._endpoints.generator.outputs_may_train

    @property
    def usage(self) -> dict[str, Usage]:
        """By ``generator`` and ``judge``; a request that was tried again counts each time."""
        return self._endpoints.usage

    def write(self, work: Iterable[Assignment]) -> Generator[Written, None, None]:
        return run_all(self._opened, work, self._endpoints.in_flight)

    def estimate(self, work: Iterable[Assignment]) -> Estimate:
        """The requests that are not in the cache, from the real prompts, with every reply as long as it may be.

        Repairs and retries come on top, and rows that are dropped on the way take less.
        """
        planners = self._endpoints.planners()
        chain = self._chain(planners)
        asyncio.run(_write_all(chain, work))
        return Estimate({name: planner.usage for name, planner in planners.items()})

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Callable[[Assignment], Any]]:
        async with self._endpoints.opened() as askers:
            yield self._chain(askers).write

    def _chain(self, askers: Mapping[str, Asker]) -> Chain:
        judge = askers.get("judge", askers["generator"])
        by_role: dict[Role, Asker] = {"generator": askers["generator"], "judge": judge}
        return Chain(self._prompts, by_role, self._audience, self._language)


async def _write_all(chain: Chain, assignments: Iterable[Assignment]) -> None:
    for assignment in assignments:
        await chain.write(assignment)


class _AnyModel:
    """Any LangChain chat model as an `Asker`, without cache, budget or retries of ours.

    It is called in threads, as the caller's model: its asynchronous connections would belong to our event loop, and be
    of no use to the caller after it.
    """

    def __init__(self, llm: BaseChatModel, threads: Executor) -> None:
        self._llm = llm
        self._threads = threads

    async def ask(self, messages: Sequence[BaseMessage], schema: NamedSchema | None, sample: int) -> Reply:
        call = partial(copy_context().run, self._llm.invoke, list(messages))
        message = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        return Reply(str(message.text), finish_reason=message.response_metadata.get("finish_reason"))


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
    """Writes questions and answers with any LangChain chat model, without a configuration or a lakehouse.

    Args:
        chunks: chunks of finreg, LangChain documents (``metadata["citation"]`` is used where it is there), or texts.
        llm: writes, and judges where there is no ``judge``. Its own retries and limits apply.
        kinds: taken in turn.
        rows_per_chunk: rows from each chunk.
        regulation: the name for chunks that bring no title.
        audience, language: parameters of the prompts.
        prompts: a folder whose files replace the prompts of the same name.
        outputs_may_train: what the terms of the model's provider allow, for the column of that name.
        seed, validation_fraction: decide the split, as in the configuration.
        max_concurrency: rows under way at a time.

    Returns:
        A dictionary per row, in the order of ``chunks``: the columns of `records.QaRow`, ``stage`` and ``reason``
        (None for a row that stands; otherwise the step that dropped it, and why).
    """
    from finreg_cli.tasks.regulation_qa import blank_row

    loaded = prompt_files.load(prompts)
    loaded.require_kinds(kinds)
    version = _version(loaded, audience, language)

    def assignments() -> Iterator[Assignment]:
        number = 0
        for chunk in chunks:
            whole = chunk if isinstance(chunk, Chunk) else _as_chunk(chunk, regulation)
            for sample in range(rows_per_chunk):
                blank = blank_row(
                    whole,
                    kinds[number % len(kinds)],
                    sample,
                    method="llm",
                    model=_name_of(llm),
                    prompt_version=version,
                    outputs_may_train=outputs_may_train,
                    seed=seed,
                    validation_fraction=validation_fraction,
                )
                yield Assignment(blank, whole)
                number += 1

    @asynccontextmanager
    async def opening() -> AsyncIterator[Callable[[tuple[int, Assignment]], Any]]:
        with ThreadPoolExecutor(max_concurrency) as threads:
            askers: dict[Role, Asker] = {
                "generator": _AnyModel(llm, threads),
                "judge": _AnyModel(judge or llm, threads),
            }
            chain = Chain(loaded, askers, audience, language)

            async def write(numbered: tuple[int, Assignment]) -> tuple[int, Written]:
                number, assignment = numbered
                return number, await chain.write(assignment)

            yield write

    results = sorted(run_all(opening, enumerate(assignments()), max_concurrency), key=lambda result: result[0])
    return [
        {**dataclasses.asdict(written.row), "stage": written.stage, "reason": written.reason} for _, written in results
    ]


def _version(prompts: Prompts, audience: str, language: str) -> str:
    return content_hash(prompts.version, audience, language)


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
