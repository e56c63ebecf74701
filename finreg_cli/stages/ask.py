"""ask: a question at the terminal, answered by one model beside another from the passages that retrieval finds.

Each answer's citation is checked against the passages that it was given: what was not found there is said, and what
nobody could check is called unchecked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from finreg_cli.config import ModelRole
from finreg_cli.domain.chat_format import CITATION_SEPARATOR, context_of, prompt, split_citation
from finreg_cli.domain.metrics import abstains
from finreg_cli.domain.provisions import holds
from finreg_cli.domain.records import FINETUNE_RUNS, SPLITTED_DOCUMENTS, Chunk, FinetuneRun
from finreg_cli.errors import ConfigError, NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.retrieval.base import Retriever
from finreg_cli.stages.base import Run
from finreg_cli.stages.evaluate import MAX_NEW_TOKENS
from finreg_cli.stages.recorded_versions import chunks_in_force
from finreg_cli.stages.tuned_runs import OpenAnswerer, last_selected_run, selected_runs, task_runs

PASSAGES = 1
"""How many a question is answered from by default: a model is trained and evaluated on one chunk as its context.

More of them are more likely to hold the answer, but a small model was never shown what to do with several.
"""


class Cited(StrEnum):
    """What became of an answer's bracketed citation."""

    found = "among the passages"
    not_found = "not among the passages"
    missing = "no citation"
    unchecked = "not checked: no passages were given"
    abstained = "abstains"

    @property
    def style(self) -> str:
        """The colour of good news, of bad news, or of none."""
        return {Cited.found: "green", Cited.not_found: "red"}.get(self, "yellow")


@dataclass(frozen=True)
class Passage:
    """A chunk that was found; ``named`` where the question itself names its provision."""

    chunk: Chunk
    score: float
    named: bool

    @property
    def pages(self) -> str:
        first, last = self.chunk.page_start, self.chunk.page_end
        return f"page {first}" if first == last else f"pages {first}-{last}"

    @property
    def source(self) -> str:
        """Citation, file, pages and how it was found, on a line."""
        how = "named in the question" if self.named else f"score {self.score:.1f}"
        return f"{self.chunk.citation}, {self.chunk.path} {self.pages} ({how})"

    def as_json(self) -> dict[str, Any]:
        shown = ("chunk_id", "document_id", "citation", "path", "page_start", "page_end", "text")
        return {name: getattr(self.chunk, name) for name in shown} | {"score": self.score, "named": self.named}


@dataclass(frozen=True)
class Answer:
    """A model's answer as it came: ``text`` is what stands before its bracketed ``citation``."""

    model: str
    name: str
    answer: str
    text: str
    citation: str | None
    cited: Cited

    @property
    def verdict(self) -> str:
        """What became of its citation, in words."""
        return f"[{self.citation}]: {self.cited}" if self.citation else str(self.cited)

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "name": self.name,
            "answer": self.answer,
            "text": self.text,
            "citation": self.citation,
            "abstains": self.cited is Cited.abstained,
            "citation_check": self.cited.name,
        }


@dataclass(frozen=True)
class Asked:
    """A question with the passages that it was answered from, best first, and the answers in the order asked for."""

    question: str
    passages: Sequence[Passage]
    answers: Sequence[Answer]

    def as_json(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "passages": [each.as_json() for each in self.passages],
            "answers": [each.as_json() for each in self.answers],
        }


def ask(
    run: Run,
    lakehouse: Lakehouse,
    open_answerer: OpenAnswerer,
    retriever: Retriever,
    question: str,
    models: Sequence[ModelRole],
    top: int = PASSAGES,
) -> Asked:
    """Answers a question as the evaluation would: the same messages, greedily.

    Args:
        run: its configuration says which training run is tuned (``evaluate.run``, else the last selected one).
        lakehouse: holds the chunks.
        open_answerer: opens a model by its role.
        retriever: finds the passages.
        question: in words; whatever provisions it names are found first.
        models: who answers, in this order.
        top: how many passages the context is made of, best first; 0 for a question without context.

    Raises:
        NothingToDo: nothing was ingested; no passage has anything to do with the question; or ``tuned`` is asked, and
            no run was selected.
        ConfigError: there is no question; an endpoint is not configured; the task is not regulation_qa.
    """
    if not question.strip():
        raise ConfigError("there is no question to ask", "finreg ask 'What does Article 92 require?'")
    if run.config.task != "regulation_qa":
        raise ConfigError(
            f"questions are asked of task regulation_qa, and the task is {run.config.task}",
            "finreg extract FILE reads documents with the tuned model",
        )
    tuned = _tuned_run(run, lakehouse, models)
    passages = _passages(lakehouse, retriever, question, top) if top else []
    context = "\n\n".join(context_of(each.chunk) for each in passages)
    max_tokens = run.config.evaluate.max_new_tokens or MAX_NEW_TOKENS
    answers = []
    for role in dict.fromkeys(models):
        with run.progress.track(f"asking {role}", None), closing(open_answerer(role, tuned)) as answerer:
            (text,) = answerer.answers([prompt(context, question)], max_tokens)
        answers.append(_checked(role, _name(run, role, tuned), text, passages))
    return Asked(question, passages, answers)


def _tuned_run(run: Run, lakehouse: Lakehouse, models: Sequence[ModelRole]) -> FinetuneRun | None:
    """The run that ``tuned`` and ``base`` are of; None where ``tuned`` is not asked."""
    for role in models:
        if role in ("generator", "judge") and getattr(run.config.endpoints, role) is None:
            raise ConfigError(f"endpoints.{role} is not configured, so there is nobody to ask", "--model base or tuned")
    if "tuned" in models and run.config.evaluate.run is None and not selected_runs(task_runs(run.config, lakehouse)):
        raise NothingToDo(
            f"there is no selected run in {lakehouse.location(FINETUNE_RUNS)}, so there is no tuned model to ask",
            "run 'finreg finetune' with the same configuration first, or ask the untuned model: --model base",
        )
    return last_selected_run(run.config, lakehouse) if "tuned" in models else None


def _name(run: Run, role: str, tuned: FinetuneRun | None) -> str:
    if role == "tuned" and tuned:
        return tuned.run_id
    if role == "base":
        return tuned.base_model if tuned else run.config.finetune.base_model
    endpoint = getattr(run.config.endpoints, role)
    # Of a file its name only, as rows record it.
    return str(endpoint.model).rpartition("/")[2] if endpoint.provider == "embedded" else str(endpoint.model)


def _passages(lakehouse: Lakehouse, retriever: Retriever, question: str, top: int) -> list[Passage]:
    version = lakehouse.version(SPLITTED_DOCUMENTS)
    where = lakehouse.location(SPLITTED_DOCUMENTS)
    if version is None or not lakehouse.count(SPLITTED_DOCUMENTS):
        raise NothingToDo(
            f"there are no chunks in {where}, so there is nothing to answer from",
            "run 'finreg ingest' with the same configuration first, or ask without context: --no-context",
        )
    hits = retriever.index(where, version, lambda: chunks_in_force(lakehouse)).search(question, top)
    if not hits:
        raise NothingToDo(
            f"no chunk in {where} shares a word with the question {question!r}",
            "use the regulation's words or name an article, or ask without context: --no-context",
        )
    found = _chunks(lakehouse, version, {(each.document_id, each.chunk_id) for each in hits})
    return [Passage(found[each.document_id, each.chunk_id], each.score, each.named) for each in hits]


def _chunks(lakehouse: Lakehouse, version: int, keys: set[tuple[str, str]]) -> Mapping[tuple[str, str], Chunk]:
    where = {
        "document_id": sorted({document for document, _ in keys}),
        "chunk_id": sorted({chunk for _, chunk in keys}),
    }
    chunks = SPLITTED_DOCUMENTS.records(lakehouse.read(SPLITTED_DOCUMENTS, where=where, version=version))
    return {(each.document_id, each.chunk_id): each for each in chunks}


def _checked(role: str, name: str, answer: str, passages: Sequence[Passage]) -> Answer:
    text, citation = split_citation(answer)
    if abstains(answer):
        cited = Cited.abstained
    elif citation is None:
        cited = Cited.missing
    elif not passages:
        cited = Cited.unchecked
    else:
        chunks = [each.chunk for each in passages]
        every = all(any(holds(chunk, part) for chunk in chunks) for part in citation.split(CITATION_SEPARATOR))
        cited = Cited.found if every else Cited.not_found
    return Answer(role, name, answer.strip(), text, citation, cited)
