"""A GGUF model inside this process, through xllamacpp: nothing to install beside it, nothing to start."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from finreg_cli.domain.records import Message
from finreg_cli.errors import ModelMissing, StageFailed

_MOST_WORKERS = 4
"""Each has its own working memory, some 300 MB for a model of 135M parameters."""


class XllamacppAnswerer:
    """Answers greedily; the model is loaded at the first prompt.

    Loading late spares a run whose answers are all cached, and keeps xllamacpp from its one trap: a server that is
    dropped before it has answered anything never ends (seen in 2026.10).

    Each prompt is computed alone and from its first token: a batch of several, or a reused prefix, would sum in another
    order, and an answer could depend on its neighbours. What uses the cores is one such computation on each. For a
    small model that writes 1.7 times as fast as one computation on all of them, whose threads wait for each other at
    every layer (and do little else where another process wants a core too).

    Args:
        gguf: the model.
        context_length: tokens of prompt and answer together; None for all that the model was made for.
        workers: prompts computed at a time; None for one per core, up to four.
    """

    def __init__(self, gguf: Path, context_length: int | None = None, workers: int | None = None) -> None:
        if not gguf.is_file():
            raise ModelMissing(f"there is no GGUF file {gguf}", "finreg models pull")
        self._gguf = gguf
        self._context_length = context_length
        self._workers = workers or usual_workers()
        self._identity: str | None = None
        self._idle: SimpleQueue[Any] = SimpleQueue()

    @property
    def identity(self) -> str:
        if self._identity is None:
            with self._gguf.open("rb") as file:
                self._identity = f"{hashlib.file_digest(file, 'sha256').hexdigest()}/xllamacpp-{version('xllamacpp')}"
        return self._identity

    @property
    def holds_to_schema(self) -> bool:
        return True

    def answers(
        self, prompts: Sequence[Sequence[Message]], max_tokens: int, schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        """One answer per prompt, in order; an answer that reaches ``max_tokens`` ends there, within a schema too.

        Raises:
            ModelMissing: the file cannot be loaded.
            StageFailed: a prompt is longer than the context; the answers before it were yielded.
        """
        with ThreadPoolExecutor(self._workers) as pool:
            replies = [pool.submit(self._reply, prompt, max_tokens, schema) for prompt in prompts]
            try:
                for number, reply in enumerate(replies, start=1):
                    yield self._text(reply.result(), f"prompt {number} of {len(prompts)}")
            finally:
                pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Frees the model's memory."""
        self._idle = SimpleQueue()

    def _reply(self, prompt: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            server = self._idle.get_nowait()
        except Empty:
            server = _open(self._gguf, self._context_length, max(1, cores() // self._workers))
        request: dict[str, Any] = {
            "messages": [asdict(message) for message in prompt],
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": 0,
            "cache_prompt": False,
        }
        if schema is not None:
            definition = {"name": "answer", "schema": dict(schema), "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": definition}
        reply: dict[str, Any] = server.handle_chat_completions(request)
        self._idle.put(server)
        return reply

    def _text(self, reply: dict[str, Any], which: str) -> str:
        if "error" in reply:
            raise StageFailed(
                f"{self._gguf} did not answer {which}: {reply['error'].get('message')}",
                "ask with fewer passages, or lower ingest.chunk_tokens (extraction.window_tokens), so that a prompt "
                "fits into the model's context",
            )
        return reply["choices"][0]["message"]["content"] or ""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_workers() -> int:
    """How many prompts are computed at a time, each on its share of the cores."""
    return min(cores(), _MOST_WORKERS)


def _open(gguf: Path, context_length: int | None, threads: int) -> Any:
    import xllamacpp

    params = parameters(gguf, threads)
    params.n_ctx = context_length or 0
    params.n_parallel = 1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelMissing(f"{gguf} cannot be loaded: {error}", "remove the file and run the same command") from error


def parameters(gguf: Path, threads: int) -> Any:
    """xllamacpp's parameters as all uses of a model share them; a prompt that is too long is refused, not shifted."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.ctx_shift = False
    params.warmup = False
    params.verbosity = -1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    return params
