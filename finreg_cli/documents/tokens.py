"""Exact token counts by a ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finreg_cli.errors import ModelMissing


class TokenCounter:
    """Counts the tokens of texts, without special ones.

    Raises:
        ModelMissing: there is no readable tokenizer at ``path``.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # 40 ms, which a run that reads nothing need not wait for

        if not path.is_file():
            raise ModelMissing(
                f"no tokenizer at {path}", "finreg models pull, or set ingest.tokenizer to a tokenizer.json"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises bare Exception on anything that is not a tokenizer
            raise ModelMissing(
                f"{path} is not a tokenizer.json: {error}", "finreg models pull, or give another ingest.tokenizer"
            ) from error
        # A tokenizer.json may carry the model's truncation, and a count must not stop there.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return [len(each) for each in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The characters (start, end) of each token of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)
