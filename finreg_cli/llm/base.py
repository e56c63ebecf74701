"""What the stages see of language models."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from finreg_cli.domain.records import Chunk, Message, QaRow


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
    """What writing the assignments would cost at most, per endpoint of the configuration."""

    usage: dict[str, Usage] = field(default_factory=dict)


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


class RowWriter(Protocol):
    """Writes rows with a language model (`llm.chains`)."""

    @property
    def model(self) -> str:
        """The generating model, as it is recorded on the rows."""

    @property
    def prompt_version(self) -> str:
        """A hash over the text of all prompts."""

    @property
    def outputs_may_train(self) -> bool:
        """What the endpoint's terms allow, as configured."""

    def estimate(self, assignments: Iterable[Assignment]) -> Estimate: ...

    def write(self, assignments: Iterable[Assignment]) -> Generator[Written, None, None]:
        """Yields each as it is finished, in any order; closing it cancels what is in flight.

        Raises:
            BudgetReached: the next request would overshoot; everything finished was yielded before.
            EndpointError: nothing succeeds, with the endpoint's own message.
        """

    @property
    def usage(self) -> dict[str, Usage]: ...


class Answerer(Protocol):
    """A model that answers chat prompts greedily, for the evaluation."""

    @property
    def identity(self) -> str:
        """Weights and runtime, as the cache keys it: another model never answers from this one's cache."""

    def answers(self, prompts: Sequence[Sequence[Message]], max_tokens: int) -> Iterator[str]:
        """One answer per prompt, in order."""

    def close(self) -> None: ...
