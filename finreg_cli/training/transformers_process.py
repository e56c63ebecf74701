"""The process that serves a model through transformers: ``python -m finreg_cli.training.transformers_process``.

Its settings are those of `serve`; how it is started and how it ends, `llm.server_process` says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from finreg_cli.errors import FinregError
from finreg_cli.llm.chat_server import ChatRequest, Piece, RefusedError, serve_chat
from finreg_cli.llm.server_process import run_program
from finreg_cli.training.answerer import PromptTooLongError, TransformersAnswerer


def serve(model: str, key: str, name: str, port: int) -> str:
    """Loads the model and gives the server's address.

    Args:
        model: a folder that transformers saved.
        key: what every request must bring as its bearer token.
        name: the model's.
        port: on loopback; 0 for a free one.

    Raises:
        RuntimeError: the model cannot be loaded, or the port cannot be had.
    """
    try:
        writer = _Writer(TransformersAnswerer(model))
    except FinregError as error:
        raise RuntimeError(error.message) from error
    return serve_chat(name, key, port, writer.write)


class _Writer:
    """Writes answers with the model of a `TransformersAnswerer`; greedily, as it does, unless a request samples."""

    def __init__(self, model: TransformersAnswerer) -> None:
        self._model = model

    def write(self, asked: ChatRequest, stopped: threading.Event) -> Iterator[Piece]:
        """The answer in pieces, each as soon as the tokens that it is made of are decided.

        Raises:
            RefusedError: the prompt is longer than the context.
        """
        try:
            inputs = self._model.inputs([{"role": each.role, "content": each.text} for each in asked.messages])
        except PromptTooLongError as error:
            raise RefusedError(f"the prompt {error}") from None
        length = inputs["input_ids"].shape[1]
        tokens = _Tokens(stopped)
        thread = threading.Thread(target=tokens.collect, args=(lambda: self._generate(inputs, asked, tokens),))
        thread.start()
        written: list[int] = []
        text = ""
        for token in tokens:
            written.append(token)
            grown = self._model.decode(written)
            # The first bytes of a character that several tokens make up are no text yet.
            if not grown.endswith("\N{REPLACEMENT CHARACTER}"):
                yield Piece(grown[len(text) :], length, len(written))
                text = grown
        thread.join()
        ended = asked.most_tokens is None or len(written) < asked.most_tokens
        rest = self._model.decode(written)[len(text) :]
        yield Piece(rest, length, len(written), "stop" if ended else "length")

    def _generate(self, inputs: Any, asked: ChatRequest, tokens: _Tokens) -> None:
        settings: dict[str, Any] = {"do_sample": bool(asked.temperature)}
        if asked.temperature:
            import torch

            settings |= {"temperature": asked.temperature, "top_p": asked.top_p or 1.0, "top_k": 0}
            if asked.seed is None:
                torch.seed()
            else:
                torch.manual_seed(asked.seed)
        self._model.generate(
            inputs, asked.most_tokens, streamer=tokens, stopping_criteria=[tokens.are_enough], **settings
        )


class _Tokens:
    """The ids that transformers decides on, one after another: a streamer of its own kind, which it calls."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._decided: SimpleQueue[int | Exception | None] = SimpleQueue()
        self._is_prompt = True

    def collect(self, generate: Callable[[], None]) -> None:
        """Runs the generation; whatever it raises ends the iteration."""
        try:
            generate()
        except Exception as error:
            self._decided.put(error)
        self._decided.put(None)

    def put(self, ids: Any) -> None:
        """Called by transformers: with the prompt first, then with each token."""
        if self._is_prompt:
            self._is_prompt = False
            return
        for token in ids.flatten().tolist():
            self._decided.put(token)

    def end(self) -> None:
        """Called by transformers; `collect` says the end, also of a generation that failed."""

    def are_enough(self, ids: Any, scores: Any, **_: Any) -> Any:
        """Called by transformers after each token: True for each sequence where nobody waits for more."""
        import torch

        return torch.full((ids.shape[0],), self._stopped.is_set(), dtype=torch.bool, device=ids.device)

    def __iter__(self) -> Iterator[int]:
        while (decided := self._decided.get()) is not None:
            if isinstance(decided, Exception):
                raise decided
            yield decided


if __name__ == "__main__":
    run_program(serve)
