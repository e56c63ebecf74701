"""What the stages see of language models."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from finreg_cli.domain.questions import Questions
from finreg_cli.domain.records import Chunk, GeneratedLease, LabelledLease, Message, QaRow

Work = TypeVar("Work", contravariant=True)
Made = TypeVar("Made", covariant=True)


@dataclass(frozen=True)
class Assignment:
    """A row to be written: ``blank`` has its id, kind, chunk, context and split, but no question and no answer."""

    blank: QaRow
    chunk: Chunk


@dataclass(frozen=True)
class Written:
    """What became of an assignment: the row as far as it got and, if it was dropped, the step and the reason."""

    row: QaRow
    stage: str | None = None
    reason: str | None = None


@dataclass
class Usage:
    """What an endpoint was used for in this command. ``money`` is None where no price is configured."""

    requests: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    money: float | None = None


@dataclass(frozen=True)
class Estimate:
    """What writing the assignments would cost, per endpoint: ``usage`` at most, ``expected`` likely.

    ``basis`` says in words what both rest on.
    """

    usage: dict[str, Usage] = field(default_factory=dict)
    expected: dict[str, Usage] = field(default_factory=dict)
    basis: str = ""


@dataclass(frozen=True)
class Reply:
    """A model's reply, as the cache keeps it; the token counts are None where the endpoint reported none."""

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None


class ReplyCache(Protocol):
    """Replies by the hash of everything that decides them (`llm.cache`); a stored reply survives ``kill -9``."""

    def get(self, key: str) -> Reply | None: ...

    def put(self, key: str, reply: Reply) -> None: ...


@dataclass(frozen=True)
class Commission:
    """A synthetic document to be made of ``parent``: ``blank`` has its id, round and origin, but no labels and text."""

    blank: GeneratedLease
    parent: LabelledLease


@dataclass(frozen=True)
class Synthesised:
    """What became of a commission: as far as it got, the judge's verdicts, and the reason if it ended on the way.

    A verdict is None where nobody was asked: there is no judge, or the row ended before it. The mechanical checks are
    not in here; they are the same for every method and the stage's own.
    """

    lease: GeneratedLease
    labels_judge: bool | None = None
    lease_judge: bool | None = None
    judge_reasons: str | None = None
    reason: str | None = None


class Writer(Protocol[Work, Made]):
    """Does the work that it is given with a language model, each piece through all of its steps."""

    @property
    def model(self) -> str:
        """The generating model, as it is recorded on the rows."""

    @property
    def prompt_version(self) -> str:
        """A hash over the text of all prompts."""

    @property
    def outputs_may_train(self) -> bool:
        """What the endpoint's terms allow, as configured."""

    def estimate(self, work: Iterable[Work]) -> Estimate: ...

    def write(self, work: Iterable[Work]) -> Generator[Made, None, None]:
        """Yields each as it is finished, in any order; closing it cancels what is in flight.

        Raises:
            BudgetReached: the next request would overshoot; everything finished was yielded before.
            EndpointError: nothing succeeds, with the endpoint's own message.
        """

    @property
    def usage(self) -> dict[str, Usage]: ...


class RowWriter(Writer[Assignment, Written], Protocol):
    """Writes question-answer rows (`llm.chains`)."""

    def write(self, work: Iterable[Assignment], questions: Questions | None = None) -> Generator[Written, None, None]:
        """As `Writer.write`.

        Args:
            questions: those that stand. A row whose question nearly repeats one of them, or one of a row under way that
                is kept, is rejected before its answer is paid for; the questions of the rows that are kept join them.
                Nobody else may use it until the generator has ended.
        """


DocumentWriter = Writer[Commission, Synthesised]
"""Writes synthetic labels and documents (`llm.synthesis`)."""


class Answerer(Protocol):
    """A model that answers chat prompts, for the evaluation: a local one greedily, an endpoint as it is configured."""

    @property
    def identity(self) -> str:
        """Weights and runtime, as the cache keys it: another model never answers from this one's cache."""

    @property
    def holds_to_schema(self) -> bool:
        """Whether it can be made to answer in a JSON schema."""

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        """One answer per prompt, in order; with a JSON schema each is held to it (it may still be cut off).

        Raises:
            StageFailed: a schema was given, and `holds_to_schema` is False.
        """

    def close(self) -> None: ...
