"""The chain that writes question-answer rows: draft, judge, improve, first the question and then its answer.

    question_draft -> question_judgement -> question_improve -> answer_draft -> answer_judgement -> answer_improve
        -> mechanical filters -> groundedness

Every step is a LangChain runnable (prompt | structured model), every text is kept on the row. The judgements are of the
drafts, so a bad draft may become a good row. But *not checked is never passed*: a row stands only with a judge's
verdict on exactly its words. Where the drafts were found good and came back unchanged, they have it, after six
requests; otherwise ``groundedness`` is asked, the seventh, which sees the source, the question and the final answer.
Before it, and before an answer is drafted to a question, the mechanical filters spare what no judge could save, and a
question that nearly repeats another one is dropped: four of the seven requests are for its answer.

The final verdict is kept in ``answer_judgement``, under the key ``final`` beside the verdict on the draft.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig

from finreg_cli.config import Config
from finreg_cli.domain import quality
from finreg_cli.domain.chat_format import ABSTENTION, split_citation, with_citation
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.language import require
from finreg_cli.domain.questions import Questions
from finreg_cli.domain.records import Chunk, QaRow
from finreg_cli.llm import prompts as prompt_files
from finreg_cli.llm.asking import ConfiguredEndpoints, RowRejected, StructuredModel
from finreg_cli.llm.base import Assignment, Estimate, ReplyCache, Usage, Written
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.estimating import FILLER, Expectation
from finreg_cli.llm.estimating import estimate as estimated
from finreg_cli.llm.prompts import Prompts
from finreg_cli.llm.runner import Asker, Retry, run_all
from finreg_cli.llm.served import recorded_name
from finreg_cli.llm.structured import (
    Answer,
    AnswerVerdict,
    FinalVerdict,
    Output,
    Question,
    QuestionVerdict,
    ReasonedAnswer,
    form,
)

Role = Literal["generator", "judge"]
Asked = TypeVar("Asked", bound=Output, covariant=True)


@dataclass(frozen=True)
class Step(Generic[Asked]):
    """A prompt, who is asked, what is to come back, and the columns of the row that it fills."""

    name: str
    role: Role
    output: type[Asked]
    columns: Mapping[str, str]
    """Column -> key of the output; ``*`` is all of it as JSON."""

    def fill(self, row: QaRow, output: Output) -> QaRow:
        values: dict[str, Any] = {
            column: _as_json(output.model_dump()) if key == "*" else getattr(output, key)
            for column, key in self.columns.items()
        }
        return dataclasses.replace(row, **values)


STEPS: tuple[Step[Output], ...] = (
    Step("question_draft", "generator", Question, {"initial_question": "question"}),
    Step("question_judgement", "judge", QuestionVerdict, {"question_judgement": "*"}),
    Step("question_improve", "generator", Question, {"question": "question"}),
    Step("answer_draft", "generator", ReasonedAnswer, {"initial_answer": "answer", "reasoning": "reasoning"}),
    Step("answer_judgement", "judge", AnswerVerdict, {"answer_judgement": "*"}),
    Step("answer_improve", "generator", Answer, {"answer": "answer"}),
)
GROUNDEDNESS = Step("groundedness", "judge", FinalVerdict, {})

CHECK = "check"
DUPLICATE = "duplicate"
"""The stages of rows that a mechanical filter has dropped, or for a question that is there already; the other stages
are the names of the steps."""

_FINAL_REASONS = {
    "question_stands_alone": "question_not_alone",
    "grounded": "not_grounded",
    "answers_the_question": "question_not_answered",
}
"""Each verdict of `FinalVerdict` and the name of the reason where it is false, in the order of telling."""


class Chain:
    """The steps over one generator and one judge.

    Args:
        audience, language: parameters of the prompts; the filters hold the rows to the language.
        questions: those that stand; None to let questions repeat each other.
        is_planning: the askers only count (`estimating.Planner`), and give texts of which no filter can say anything.
    """

    def __init__(
        self,
        prompts: Prompts,
        askers: Mapping[Role, Asker],
        audience: str,
        language: str,
        questions: Questions | None = None,
        *,
        is_planning: bool = False,
    ) -> None:
        repair = prompts.template("repair")
        self._kinds = prompts.kinds
        self._audience = audience
        self._language = language
        self._claims = _Claims(questions) if questions is not None else None
        self._is_planning = is_planning
        self._runnables: dict[str, Runnable[Mapping[str, Any], Output]] = {
            step.name: prompts.template(step.name) | StructuredModel(askers[step.role], form(step.output), repair)
            for step in (*STEPS, GROUNDEDNESS)
        }

    async def write(self, assignment: Assignment) -> Written:
        """Takes a row through the steps; what goes wrong with it is told in what it returns.

        Raises:
            BudgetReached, EndpointError: see `runner.Asker`.
        """
        under_way = _UnderWay(assignment.blank, assignment.chunk)
        stands = False
        try:
            await self._write(under_way)
            stands = True
        except RowRejected as rejected:
            return Written(under_way.row, under_way.stage, str(rejected))
        finally:
            if self._claims:
                self._claims.settle(under_way.row, stands)
        return Written(under_way.row)

    async def _write(self, written: _UnderWay) -> None:
        for step in STEPS:
            written.row = step.fill(written.row, await self._ask(step, written))
            _stop_refused(step, written.row)
            _stop_unmended(step, written.row)
            if step.name == "question_improve" and not self._is_planned(written.row.question):
                await self._check_question(written)
        if not (self._is_planned(written.row.question) or self._is_planned(written.row.answer)):
            written.row = dataclasses.replace(written.row, answer=_final_answer(written.row))
            written.check(quality.check, self._language)
            if _has_been_judged(written.row):
                return
        verdict = await self._ask(GROUNDEDNESS, written)
        written.row = _with_final(written.row, verdict)
        _stop_unsound(verdict)

    async def _check_question(self, written: _UnderWay) -> None:
        """Raises RowRejected for a question that no answer need be paid for."""
        written.check(quality.check_question, self._language)
        if self._claims:
            written.stage = DUPLICATE
            await self._claims.claim(written.row)

    def _is_planned(self, text: str | None) -> bool:
        """Whether a text stands for one that an estimate counts."""
        return self._is_planning and set(text or "") == {FILLER}

    async def _ask(self, step: Step[Asked], written: _UnderWay) -> Asked:
        written.stage = step.name
        config: RunnableConfig = {"configurable": {"sample": written.row.sample}}
        parameters = self._parameters(written.row, written.chunk)
        output = await self._runnables[step.name].ainvoke(parameters, config)
        assert isinstance(output, step.output)  # the runnable of this name reads this form
        return output

    def _parameters(self, row: QaRow, chunk: Chunk) -> dict[str, Any]:
        written = {column: getattr(row, column) for step in STEPS for column in step.columns}
        return written | {
            "regulation": chunk.title,
            "act": _act(row.citation),
            "audience": self._audience,
            "language": self._language,
            "context": row.context,
            "citation": row.citation,
            "kind": row.kind,
            "kind_description": self._kinds[row.kind],
            "abstention": ABSTENTION,
        }


@dataclass
class _UnderWay:
    """A row as far as it got, and where it is."""

    row: QaRow
    chunk: Chunk
    stage: str = STEPS[0].name

    def check(self, find: Callable[[QaRow, Chunk, str], str | None], language: str) -> None:
        """Raises RowRejected with what a mechanical filter finds."""
        self.stage = CHECK
        if reason := find(self.row, self.chunk, language):
            raise RowRejected(reason)


class _Claims:
    """The questions that stand, and those of the rows under way, of which nobody knows yet whether they will.

    A row whose question nearly repeats that of a row under way waits for its outcome, and goes on if that is dropped.
    A row that has claimed its question waits for nobody, so there is always one that gets on.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._open: dict[str, asyncio.Event] = {}

    async def claim(self, row: QaRow) -> None:
        """Raises RowRejected where the question is there already."""
        question = row.question or ""
        while (other := self._questions.near(question)) is not None:
            if other not in self._open:
                raise RowRejected(self._questions.refusal(other, row.split))
            await self._open[other].wait()
        self._questions.add(row.row_id, question, row.split)
        self._open[row.row_id] = asyncio.Event()

    def settle(self, row: QaRow, stands: bool) -> None:
        """Lets go on what waits for the row; its question is free again if it does not stand."""
        settled = self._open.pop(row.row_id, None)
        if settled is None:
            return
        if not stands:
            self._questions.discard(row.row_id, row.question or "")
        settled.set()


NO_QUESTION = "none"
"""What ``question_draft`` gives where a chunk holds nothing of the kind that is asked for."""


def _stop_refused(step: Step[Output], row: QaRow) -> None:
    """Ends a row to which there is no question, before more is paid for an invented one."""
    if step.name == "question_draft" and (row.initial_question or "").strip(" .\"'").casefold() == NO_QUESTION:
        raise RowRejected(f"no_such_question: the excerpt holds nothing for a question of the kind '{row.kind}'")


def _stop_unmended(step: Step[Output], row: QaRow) -> None:
    """Ends a row whose draft was judged bad and came back as it was, touched up at most (`quality.unchanged`)."""
    if step.name == "question_improve":
        verdict, key, draft, final = row.question_judgement, "acceptable", row.initial_question, row.question
    elif step.name == "answer_improve":
        verdict, key, draft, final = row.answer_judgement, "grounded", row.initial_answer, row.answer
    else:
        return
    judged = json.loads(verdict or "{}")
    if judged[key] is not True and quality.unchanged(draft or "", final or ""):
        raise RowRejected(f"not_{key}: the draft was judged bad and came back unchanged: {judged['reasons']}")


def _stop_unsound(verdict: FinalVerdict) -> None:
    """Ends a row of which the final verdict is not true in every respect."""
    for key, name in _FINAL_REASONS.items():
        if getattr(verdict, key) is not True:
            raise RowRejected(f"{name}: {verdict.reasons}")


def _has_been_judged(row: QaRow) -> bool:
    """Whether the drafts are, word for word, what the row says now, and the judge has found both of them good."""
    if json.loads(row.question_judgement or "{}").get("acceptable") is not True:
        return False
    if json.loads(row.answer_judgement or "{}").get("grounded") is not True:
        return False
    try:
        drafted = _final_answer(dataclasses.replace(row, answer=row.initial_answer))
    except RowRejected:
        return False
    return _words(row.initial_question) == _words(row.question) and _words(drafted) == _words(row.answer)


def _with_final(row: QaRow, verdict: FinalVerdict) -> QaRow:
    judged = json.loads(row.answer_judgement or "{}") | {"final": verdict.model_dump()}
    return dataclasses.replace(row, answer_judgement=_as_json(judged))


def _act(citation: str) -> str:
    """What opens a citation: ``CRR`` of "CRR Article 92(1)"; all of it where no provision follows."""
    return _PROVISION.split(citation, maxsplit=1)[0]


_PROVISION = re.compile(r" (?:Article|Annex|[Rr]ecital|Part|Title|Chapter|[Ss]ection|[Pp]aragraph|[Pp]oint)s?\b")


def _as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


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
        expectation: what an estimate takes to be likely.

    Raises:
        ConfigError: see `endpoints.check`; a prompt is wrong, a kind has no description, or the language is unknown.
    """

    def __init__(
        self,
        config: Config,
        cache: ReplyCache,
        budget: Budget,
        environment: Mapping[str, str] = os.environ,
        *,
        retry: Retry = Retry(),  # noqa: B008 - immutable
        expectation: Expectation = Expectation(),  # noqa: B008 - immutable
    ) -> None:
        self._endpoints = ConfiguredEndpoints(config, cache, budget, environment, retry, expectation)
        self._expectation = expectation
        self._prompts = prompt_files.load(config.generate.prompts)
        self._prompts.require_kinds(kind for kind, share in config.generate.kinds.items() if share)
        self._audience, self._language = config.generate.audience, config.generate.language
        require(self._language)

    @property
    def model(self) -> str:
        return recorded_name(self._endpoints.generator)

    @property
    def prompt_version(self) -> str:
        return version_of(self._prompts, self._audience, self._language)

    @property
    def outputs_may_train(self) -> bool:
        return self._endpoints.generator.outputs_may_train

    @property
    def usage(self) -> dict[str, Usage]:
        """By ``generator`` and ``judge``; a request that was tried again counts each time."""
        return self._endpoints.usage

    def write(self, work: Iterable[Assignment], questions: Questions | None = None) -> Generator[Written, None, None]:
        return run_all(partial(self._opened, questions), work, self._endpoints.in_flight)

    def estimate(self, work: Iterable[Assignment]) -> Estimate:
        """The requests that are not in the cache, from the real prompts, with every reply as long as it may be.

        Repairs and retries come on top, and rows that are dropped on the way take less.
        """
        planners = self._endpoints.planners()
        chain = self._chain(planners, None, is_planning=True)
        asyncio.run(_write_all(chain, work))
        return estimated(planners, self._expectation)

    @asynccontextmanager
    async def _opened(self, questions: Questions | None) -> AsyncIterator[Callable[[Assignment], Any]]:
        async with self._endpoints.opened() as askers:
            yield self._chain(askers, questions).write

    def _chain(self, askers: Mapping[str, Asker], questions: Questions | None, *, is_planning: bool = False) -> Chain:
        judge = askers.get("judge", askers["generator"])
        by_role: dict[Role, Asker] = {"generator": askers["generator"], "judge": judge}
        return Chain(self._prompts, by_role, self._audience, self._language, questions, is_planning=is_planning)


async def _write_all(chain: Chain, assignments: Iterable[Assignment]) -> None:
    for assignment in assignments:
        await chain.write(assignment)


def version_of(prompts: Prompts, audience: str, language: str) -> str:
    """The version of the prompts as they are sent; it is part of the rows' ids."""
    return content_hash(prompts.version, audience, language)
