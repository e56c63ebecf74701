"""Synthetic labelled documents: new labels like a real set, then a document that says exactly them, then the judge.

    labels -> (mechanical check) -> document -> (mechanical check) -> labels_judgement -> document_judgement

Every step is a LangChain runnable (prompt | model). A check that fails ends the row before the next step is paid for;
the judge is asked only where ``endpoints.judge`` is configured, and what it did not clearly pass has not passed.
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
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langsmith.run_helpers import tracing_context

from finreg_cli.config import Config
from finreg_cli.domain.extraction import Labels, Schema, Value, text_of
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.windows import windows
from finreg_cli.llm import prompts as prompt_files
from finreg_cli.llm.asking import ConfiguredEndpoints, RowRejected, StructuredModel, TextModel
from finreg_cli.llm.base import Commission, Estimate, ReplyCache, Synthesised, Usage
from finreg_cli.llm.budget import Budget
from finreg_cli.llm.estimating import FILLER, Expectation
from finreg_cli.llm.estimating import estimate as estimated
from finreg_cli.llm.prompts import Prompts
from finreg_cli.llm.runner import Asker, Retry, run_all
from finreg_cli.llm.served import recorded_name
from finreg_cli.llm.structured import Verdict, form, labels_form
from finreg_cli.tasks.structured_extraction import document_problem, labels_problem, leftover_problem, schema_of

_INITIALS = "ABCDEFGHJKLMNOPRSTVW"
_FIRST_YEAR, _LAST_YEAR = 1995, 2026
_SAMPLES = 2**31

_BEGINNING_ONLY = "\nOnly its beginning is shown; your {title} is a whole one, about as long as what is shown.\n"


@dataclass(frozen=True)
class _Judgement:
    step: str
    reason: str
    """What the reason of a row begins with that the judge did not pass."""


_VERDICTS = {
    "labels_judge": _Judgement("labels_judgement", "judge_labels"),
    "lease_judge": _Judgement("document_judgement", "judge_document"),
}
"""The column of each verdict in `Synthesised`, in the order of asking."""


class Synthesis:
    """The four steps over one generator and, where there is one, a judge.

    Args:
        askers: by ``generator`` and ``judge``; without a judge nobody is asked for a verdict.
        example_tokens: the most of an example document that the generator is shown; None for all of it.
    """

    def __init__(
        self, prompts: Prompts, askers: Mapping[str, Asker], schema: Schema, example_tokens: int | None
    ) -> None:
        repair = prompts.template("repair")
        generator, judge = askers["generator"], askers.get("judge")
        self._schema = schema
        self._example_tokens = example_tokens
        self._labels_prompt, self._repair, self._generator = prompts.template("labels"), repair, generator
        self._document: Runnable[dict[str, Any], str] = prompts.template("document") | TextModel(generator)
        self._verdicts: dict[str, Runnable[dict[str, Any], Verdict]] = (
            {
                column: prompts.template(each.step) | StructuredModel(judge, form(Verdict), repair)
                for column, each in _VERDICTS.items()
            }
            if judge
            else {}
        )

    async def write(self, commission: Commission) -> Synthesised:
        """Takes a commission through the steps; what goes wrong with it is told in what it returns.

        Raises:
            BudgetReached, EndpointError: see `runner.Asker`.
        """
        made = Synthesised(commission.blank)
        example = self._schema.loads(commission.parent.labels)
        parameters = self._parameters(commission, example)
        # A second child of the same parent asks the same, and is told apart in the cache of requests.
        config: RunnableConfig = {"configurable": {"sample": _number(commission.blank.lease_id) % _SAMPLES}}
        try:
            # LangChain would send every step to a tracing service if a variable of the environment says so.
            with tracing_context(enabled=False):
                found = await self._labels_of(example).ainvoke(parameters, config)
                made = _with_labels(made, found)
                labels = self._checked(found, example)
                made = _with_labels(made, labels)
                parameters |= _label_parameters(labels, example)
                document = await self._document.ainvoke(parameters, config)
                made = _with_document(made, document)
                self._check_document(labels, example, document)
                parameters["document"] = document
                for column, verdict in self._verdicts.items():
                    judged = await verdict.ainvoke(parameters, config)
                    made = _with_verdict(made, column, judged)
                    _check_verdict(column, judged)
        except RowRejected as rejected:
            return dataclasses.replace(made, reason=str(rejected))
        return made

    def _labels_of(self, example: Labels) -> Runnable[dict[str, Any], dict[str, Any]]:
        absent = [key for key, value in example.items() if value is None]
        wanted = labels_form(self._schema, absent)
        return self._labels_prompt | StructuredModel(self._generator, wanted, self._repair)

    def _checked(self, found: dict[str, Any], example: Labels) -> Labels:
        """The labels in the schema's order.

        Raises:
            RowRejected: they lack a key, have one too many, hold a value of another type, or are the parent's.
        """
        written = json.dumps(found, ensure_ascii=False)
        if problem := labels_problem(written, self._schema):
            raise RowRejected(problem)
        labels = self._schema.loads(written)
        if all(_normalised(labels[key]) == _normalised(value) for key, value in example.items() if value is not None):
            raise RowRejected("labels: they repeat those of the parent")
        return labels

    def _check_document(self, labels: Labels, example: Labels, document: str) -> None:
        # The planned text of an estimate says nothing; it stands for a document that is right.
        if set(document) == {FILLER}:
            return
        problem = document_problem(labels, document) or leftover_problem(self._schema, labels, example, document)
        if problem:
            raise RowRejected(problem)

    def _parameters(self, commission: Commission, example: Labels) -> dict[str, Any]:
        schema, number = self._schema, _number(commission.blank.lease_id)
        document, shown = commission.parent.lease_doc, self._shown(commission.parent.lease_doc)
        return {
            "title": schema.title,
            "keys": "\n".join(f"- {each.name}: {each.description or 'as its name says'}" for each in schema.fields),
            "key_names": ", ".join(f'"{key}"' for key in schema.keys),
            "example_document": shown,
            "example_note": "" if shown == document else _BEGINNING_ONLY.format(title=schema.title),
            "example_labels": _as_json(example),
            "initials": _initials(number),
            "year": _FIRST_YEAR + number % (_LAST_YEAR - _FIRST_YEAR + 1),
        }

    def _shown(self, document: str) -> str:
        """The document, or its first window where the generator can't read it at once."""
        if self._example_tokens is None:
            return document
        return windows(document, _at_least_tokens, self._example_tokens, 0)[0].text


def _label_parameters(labels: Labels, example: Labels) -> dict[str, Any]:
    said = [key for key, value in labels.items() if value is not None]
    details = "\n".join(f"- {key}\n  example: {_line(example[key])}\n  yours: {_line(labels[key])}" for key in said)
    absent = ", ".join(key for key in labels if key not in said)
    return {"labels": _as_json(labels), "details": details, "absent": absent or "(nothing)"}


def _line(value: Value) -> str:
    return "(not said)" if value is None else " ".join(text_of(value).split())


def _with_labels(made: Synthesised, labels: Mapping[str, Any]) -> Synthesised:
    lease = dataclasses.replace(made.lease, generated_labels=json.dumps(labels, ensure_ascii=False))
    return dataclasses.replace(made, lease=lease)


def _with_document(made: Synthesised, document: str) -> Synthesised:
    return dataclasses.replace(made, lease=dataclasses.replace(made.lease, generated_lease_doc=document))


def _with_verdict(made: Synthesised, column: str, verdict: Verdict) -> Synthesised:
    reasons = json.loads(made.judge_reasons or "{}") | {column: verdict.reasons}
    told: dict[str, Any] = {column: verdict.passed, "judge_reasons": json.dumps(reasons, ensure_ascii=False)}
    return dataclasses.replace(made, **told)


def _check_verdict(column: str, verdict: Verdict) -> None:
    if not verdict.passed:
        raise RowRejected(f"{_VERDICTS[column].reason}: {verdict.reasons}")


def _normalised(value: Value) -> str:
    return " ".join((text_of(value) or "").split()).casefold()


def _as_json(labels: Labels) -> str:
    return json.dumps(labels, ensure_ascii=False, indent=2)


def _number(lease_id: str) -> int:
    return int(content_hash(lease_id), 16)


def _initials(number: int) -> str:
    """Three letters that differ from one document to the next: left to themselves, models write the same few names."""
    letters = list(_INITIALS)
    picked = []
    for _ in range(3):
        number, place = divmod(number, len(letters))
        picked.append(letters.pop(place))
    return f"{picked[0]}, {picked[1]} or {picked[2]}"


def _at_least_tokens(text: str) -> list[tuple[int, int]]:
    """A stand-in for the endpoint's tokenizer, which is not known here: as a rule it makes fewer tokens of English."""
    return [found.span() for found in re.finditer(r"\w{1,4}|[^\w\s]", text)]


class SynthesisWriter:
    """Writes labelled documents through the configured endpoints: implements `llm.base.DocumentWriter`.

    The parent's document is shown whole, as the example; of an endpoint with ``window_tokens`` only its first window,
    and the prompt says so.

    Args:
        config: with ``endpoints.generator``; without ``endpoints.judge`` the verdicts stay None.
        cache, budget, environment, retry, expectation: see `asking.ConfiguredEndpoints`.

    Raises:
        ConfigError: a key's variable is not set, or a prompt is wrong.
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
        self._prompts = prompt_files.load(config.generate.prompts, "structured_extraction")
        self._schema = schema_of(config)

    @property
    def model(self) -> str:
        return recorded_name(self._endpoints.generator)

    @property
    def prompt_version(self) -> str:
        """A hash over the prompts and the schema that they show."""
        return content_hash(self._prompts.version, dataclasses.asdict(self._schema))

    @property
    def outputs_may_train(self) -> bool:
        return self._endpoints.generator.outputs_may_train

    @property
    def usage(self) -> dict[str, Usage]:
        """By ``generator`` and ``judge``; a request that was tried again counts each time."""
        return self._endpoints.usage

    def write(self, work: Iterable[Commission]) -> Generator[Synthesised, None, None]:
        return run_all(self._opened, work, self._endpoints.in_flight)

    def estimate(self, work: Iterable[Commission]) -> Estimate:
        """The requests that are not in the cache, from the real prompts, with every reply as long as it may be.

        Repairs and retries come on top, and rows that end on the way take less.
        """
        planners = self._endpoints.planners()
        asyncio.run(_write_all(self._synthesis(planners), work))
        return estimated(planners, self._expectation)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Callable[[Commission], Any]]:
        async with self._endpoints.opened() as askers:
            yield self._synthesis(askers).write

    def _synthesis(self, askers: Mapping[str, Asker]) -> Synthesis:
        return Synthesis(self._prompts, askers, self._schema, self._endpoints.generator.window_tokens)


async def _write_all(synthesis: Synthesis, commissions: Iterable[Commission]) -> None:
    for commission in commissions:
        await synthesis.write(commission)
