"""Passages by BM25; those of a provision that the question names come before all others.

"What does Article 92(1) require?" shares hardly a word with Article 92, and dozens of other articles refer to it. So
what a question names is read with the grammar of cross-references, and looked up by what each chunk is cited as.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from finreg_cli.domain.mentions import THAT, THIS, Address, Mention, mentions
from finreg_cli.domain.provisions import provision, provisions
from finreg_cli.domain.records import Chunk
from finreg_cli.domain.references import same_act
from finreg_cli.errors import WarehouseError
from finreg_cli.retrieval.base import Hit
from finreg_cli.retrieval.words import terms

_FORMAT = 1
"""Of the files, and of what counts as a term: an index of another one is made anew."""

_CHUNKS, _NAMES, _WORDS = "chunks.npz", "names.json", "words"
"""What a kept index consists of: files, and the folder of bm25s."""

_LONG_RANGE = 20
"""Articles of "Articles 36 to 91" that are looked for at most."""

_REFERRING = re.compile(
    r"(?:in accordance with|pursuant to|by virtue of|subject to|within the meaning of|(?:referred to|set out|laid down"
    r"|specified|described|listed|provided for|mentioned|defined|established) (?:in|by|under))(?: [A-Z][\w/]*)? $"
)
"""How a text of law, and a question that quotes it, leads over to another provision."""

_TYPED_SMALL = re.compile(r"\b(?:art(?:icle)?s?|annex(?:es)?)(?=\.? ?(?:\d|[ivxlc]+\b))", re.IGNORECASE)


@dataclass(frozen=True)
class Act:
    """What some of the chunks are of: its name in their citations, and its ``work_id``."""

    name: str
    work_id: str


class Bm25Index:
    """Implements `retrieval.base.PassageIndex`.

    Args:
        keys: document_id and chunk_id of each chunk, (chunks, 2); everything else names chunks by their row in here.
        acts: what chunks are of.
        act_of: the act of each chunk.
        places: the chunks that hold a provision.
        words: their weights by word; None where no chunk has any.
    """

    def __init__(
        self,
        keys: NDArray[np.bytes_],
        acts: Sequence[Act],
        act_of: NDArray[np.int32],
        places: Mapping[str, Sequence[int]],
        words: bm25s.BM25 | None,
    ) -> None:
        self._keys = keys
        self._acts = acts
        self._act_of = act_of
        self._places = places
        self._words = words

    @staticmethod
    def of(chunks: Iterable[Chunk]) -> Bm25Index:
        """Reads the chunks as a stream: of each it holds the numbers of its words, not its text."""
        keys: list[tuple[str, str]] = []
        acts: dict[Act, int] = {}
        act_of: list[int] = []
        places: dict[str, list[int]] = {}
        vocabulary: dict[str, int] = {}
        words: list[NDArray[np.int32]] = []
        for number, chunk in enumerate(chunks):
            keys.append((chunk.document_id, chunk.chunk_id))
            cited = provision(chunk.citation)
            act_of.append(acts.setdefault(Act(cited.act if cited else chunk.citation, chunk.work_id), len(acts)))
            for place in _places_of(chunk):
                places.setdefault(place, []).append(number)
            of_chunk = [vocabulary.setdefault(word, len(vocabulary)) for word in _words_of(chunk)]
            words.append(np.array(of_chunk, dtype=np.int32))
        weights = None
        if vocabulary:
            weights = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
            weights.index((words, vocabulary), show_progress=False)
        key_array = np.array(keys, dtype="S32").reshape(-1, 2)
        return Bm25Index(key_array, list(acts), np.array(act_of, dtype=np.int32), places, weights)

    def search(self, question: str, top: int) -> list[Hit]:
        """The best first, at most ``top``; fewer where fewer chunks have anything to do with the question."""
        scores = self._scores(question)
        named = np.zeros(len(scores), dtype=np.float32)
        for mention in _mentions(question):
            self._mark(named, mention, question)
        best = np.lexsort((np.arange(len(scores)), -scores, -named))[:top]
        return [
            Hit(self._keys[nth, 0].decode(), self._keys[nth, 1].decode(), float(scores[nth]), bool(named[nth]))
            for nth in best
            if scores[nth] > 0 or named[nth]
        ]

    def _scores(self, question: str) -> NDArray[np.float32]:
        """BM25 of each chunk; a word that is asked for twice counts once."""
        known = self._words.get_tokens_ids(list(dict.fromkeys(terms(question)))) if self._words else []
        if self._words is None or not known:
            return np.zeros(len(self._keys), dtype=np.float32)
        scores: NDArray[np.float32] = self._words.get_scores_from_ids(known)
        return scores

    def _mark(self, shares: NDArray[np.float32], mention: Mention, question: str) -> None:
        """How far each chunk is what a mention names: of Article 92(1)(a), another paragraph of it is a third."""
        of_acts = np.isin(self._act_of, self._acts_of(mention, question))
        for address in _addresses(mention):
            for depth in range(1, len(address) + 1):
                chunks = np.array(self._places.get(_place(mention.kind, address[:depth]), []), dtype=np.int32)
                chunks = chunks[of_acts[chunks]]
                shares[chunks] = np.maximum(shares[chunks], depth / len(address))

    def _acts_of(self, mention: Mention, question: str) -> list[int]:
        """The acts that a mention may mean: its own, else those that the question names anywhere, else all."""
        if mention.act not in (None, THIS, THAT):
            return [nth for nth, act in enumerate(self._acts) if same_act(mention.act or "", act.name, act.work_id)]
        spoken = question.casefold()
        in_question = [nth for nth, act in enumerate(self._acts) if act.name.casefold() in spoken]
        return in_question or list(range(len(self._acts)))

    def save(self, folder: Path) -> None:
        """Writes the index as a whole: a folder that is there is one that was finished."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            made = Path(scratch) / folder.name
            made.mkdir()
            np.savez(made / _CHUNKS, keys=self._keys, act_of=self._act_of)
            names = {"acts": [asdict(act) for act in self._acts], "places": self._places}
            (made / _NAMES).write_text(json.dumps(names), encoding="utf-8")
            if self._words:
                self._words.save(made / _WORDS, show_progress=False)
            made.rename(folder)

    @staticmethod
    def load(folder: Path) -> Bm25Index:
        """Reads what `save` wrote; the weights stay on the disk until a question needs them.

        Raises:
            OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile: it is not there, or was damaged since.
        """
        with np.load(folder / _CHUNKS, allow_pickle=False) as chunks:
            keys, act_of = chunks["keys"], chunks["act_of"]
        names = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
        words = None
        if (folder / _WORDS).is_dir():
            words = bm25s.BM25.load(folder / _WORDS, mmap=True, show_progress=False)
        return Bm25Index(keys, [Act(**act) for act in names["acts"]], act_of, names["places"], words)


class Bm25Retriever:
    """Keeps the index of each table's newest version in a folder; implements `retrieval.base.Retriever`.

    Args:
        folder: receives a folder for each table; made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def index(self, table: str, version: int, chunks: Callable[[], Iterable[Chunk]]) -> Bm25Index:
        """The index of a table's version; see `retrieval.base.Retriever`.

        Raises:
            WarehouseError: the folder cannot be written.
        """
        of_table = hashlib.sha256(table.encode()).hexdigest()[:16]
        kept = self._folder / f"{of_table}-v{version}-f{_FORMAT}"
        if kept.is_dir():
            try:
                return Bm25Index.load(kept)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                pass  # damaged: it is only a copy of what the table says, and made anew
        made = Bm25Index.of(chunks())
        try:
            for older in self._folder.glob(f"{of_table}-*"):
                shutil.rmtree(older)
            made.save(kept)
        except OSError as error:
            if not kept.is_dir():  # else another process has just made the same
                raise WarehouseError(
                    f"the search index {kept} cannot be written: {error.strerror}",
                    "check the warehouse's rights and space",
                ) from None
        return made


def _mentions(question: str) -> list[Mention]:
    """The provisions that a question is about: what it names in passing counts only where it names nothing else.

    "What does Article 87 say of the amounts referred to in Article 81?" is about Article 87.
    """
    spelt = _TYPED_SMALL.sub(lambda word: word[0].capitalize(), question)
    found = list(mentions(spelt))
    about = [each for each in found if not _REFERRING.search(spelt[: each.start])]
    return about or found


def _words_of(chunk: Chunk) -> list[str]:
    """The words of the chunk and of its unit's heading, which the later chunks of a unit do not hold themselves."""
    heading = chunk.heading_path[-1] if chunk.heading_path else ""
    return terms(f"{heading}\n{chunk.text}")


def _places_of(chunk: Chunk) -> list[str]:
    """The provisions that the chunk is of and those that it holds, each with those around it, once."""
    addresses = (
        (each.kind, each.address[:depth]) for each in provisions(chunk) for depth in range(1, len(each.address) + 1)
    )
    return list(dict.fromkeys(_place(kind, address) for kind, address in addresses))


def _place(kind: str, address: Address) -> str:
    return f"{kind}:{address[0]}{''.join(f'({part})' for part in address[1:])}".casefold()


def _addresses(mention: Mention) -> Iterator[Address]:
    for first, last in mention.ranges:
        if first[0] in (THIS, THAT):
            continue
        yield first
        if last is None:
            continue
        if len(first) == len(last) == 1 and first[0].isdigit() and last[0].isdigit():
            yield from ((str(number),) for number in range(int(first[0]) + 1, int(last[0]) + 1)[:_LONG_RANGE])
        else:
            yield last
