"""The header of a GGUF file, read in milliseconds: what a model is, without its vocabulary and its weights.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. The `gguf` package reads it
too, but builds an object of each token first, which takes seconds.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finreg_cli.errors import ConfigError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_FIXED = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST_KEPT = 1024
"""Elements of an array that is kept: one a layer, say. A vocabulary is longer, and only counted."""

_BYTES_OF_A_CACHED_NUMBER = 2


@dataclass(frozen=True)
class GgufHeader:
    """The metadata by key; of a long array only its length."""

    metadata: dict[str, Any]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @property
    def trained_context(self) -> int:
        """Tokens of prompt and answer together that the model was made for."""
        return int(self._of_the_model("context_length", 0))

    @property
    def vocabulary(self) -> int:
        tokens = self.metadata.get("tokenizer.ggml.tokens", 0)
        return tokens if isinstance(tokens, int) else len(tokens)

    @property
    def cache_bytes_per_token(self) -> int:
        """What a token takes in the cache of keys and values, in 16 bits; a model with sliding windows needs less."""
        heads = self._of_the_model("attention.head_count", 1)
        key_heads = self._of_the_model("attention.head_count_kv", heads)
        layers = int(self._of_the_model("block_count", 0))
        most_heads = max(heads) if isinstance(heads, list) else heads
        width = int(self._of_the_model("embedding_length", 0)) // max(1, int(most_heads))
        key = int(self._of_the_model("attention.key_length", width))
        value = int(self._of_the_model("attention.value_length", width))
        all_key_heads = sum(key_heads) if isinstance(key_heads, list) else layers * int(key_heads)
        return all_key_heads * (key + value) * _BYTES_OF_A_CACHED_NUMBER

    @property
    def shape(self) -> tuple[str, int, int, int]:
        """Architecture, layers, width and vocabulary: the same for every copy, quantisation and tuning of a model."""
        layers, width = (int(self._of_the_model(key, 0)) for key in ("block_count", "embedding_length"))
        return self.architecture, layers, width, self.vocabulary

    def _of_the_model(self, key: str, default: Any) -> Any:
        return self.metadata.get(f"{self.architecture}.{key}", default)


def read_header(path: Path) -> GgufHeader:
    """The header of a GGUF file.

    Raises:
        ConfigError: there is no such file, it is no GGUF, or it ends within its header.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return GgufHeader(_Cursor(data).header())
    except (OSError, ValueError, struct.error, UnicodeDecodeError) as error:
        # An empty file cannot be mapped, which is a ValueError as well.
        raise ConfigError(f"{path} is no GGUF file that can be read: {error}", "give a model's .gguf") from None


class _Cursor:
    """A place in the file that moves as values are read."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def header(self) -> dict[str, Any]:
        magic, version = self._take(4), self._number("<I")
        if magic != _MAGIC or version not in _VERSIONS:
            raise ValueError(f"it begins with {magic!r} and version {version}, not with {_MAGIC!r} and 2 or 3")
        _tensors, keys = self._number("<Q"), self._number("<Q")
        # Read pair by pair: a key stands before its value.
        return dict(self._pair() for _ in range(keys))

    def _pair(self) -> tuple[str, Any]:
        key = self._string()
        return key, self._value(self._number("<I"))

    def _value(self, type_: int) -> Any:
        if type_ == _STRING:
            return self._string()
        if type_ == _ARRAY:
            return self._array()
        return self._number(_format(type_))

    def _array(self) -> Any:
        type_, length = self._number("<I"), self._number("<Q")
        if length <= _LONGEST_KEPT:
            return [self._value(type_) for _ in range(length)]
        if type_ == _STRING:
            for _ in range(length):
                self._take(self._number("<Q"))
        else:
            self._take(length * struct.calcsize(_format(type_)))
        return length

    def _string(self) -> str:
        return self._take(self._number("<Q")).decode("utf-8")

    def _number(self, format_: str) -> Any:
        return struct.unpack(format_, self._take(struct.calcsize(format_)))[0]

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data):,}, within its header")
        taken, self._at = self._data[self._at : end], end
        return taken


def _format(type_: int) -> str:
    if type_ not in _FIXED:
        raise ValueError(f"its header holds a value of the unknown type {type_}")
    return _FIXED[type_]
