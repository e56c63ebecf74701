"""Rows to be written, for the tests of language models; as a program it writes them in a process that may be killed.

python tests/fakes/assignments.py URL CACHE COUNT CONCURRENCY     # a line with the row's id for each finished row
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finreg_cli.config import Config
from finreg_cli.domain.records import Chunk, QaRow
from finreg_cli.llm.base import Assignment


def chunk(number: int) -> Chunk:
    text = (
        f"Institutions shall at all times hold own funds of {number} % of the total risk exposure amount. "
        f"They shall report the ratio to the competent authority within {number} working days of the quarter's end."
    )
    return Chunk(
        chunk_id=f"chunk-{number}",
        document_id="document",
        work_id="sample",
        version_date=None,
        path="sample.pdf",
        file_sha256="0" * 64,
        title="Sample Regulation No 1/2099",
        citation=f"Sample Article {number}",
        heading_path=[f"Article {number} Own funds"],
        structure="article",
        references=[],
        page_start=1,
        page_end=1,
        char_start=0,
        char_end=len(text),
        has_formula=False,
        suspect_instruction=False,
        text=text,
        token_count=50,
    )


def assignment(number: int, kind: str = "requirement", sample: int = 0) -> Assignment:
    source = chunk(number)
    blank = QaRow(
        row_id=f"{source.chunk_id}-{kind}-{sample}",
        chunk_id=source.chunk_id,
        chunk_ids=[source.chunk_id],
        document_id=source.document_id,
        citation=source.citation,
        kind=kind,
        sample=sample,
        context=f"{source.citation}\n{source.text}",
        answerable=kind != "unanswerable",
        method="llm",
        model="fake",
        prompt_version="v",
        outputs_may_train=True,
        round=1,
        split="train",
        split_unit=f"Article {number}",
    )
    return Assignment(blank, source)


def assignments(count: int) -> Iterator[Assignment]:
    return (assignment(number) for number in range(1, count + 1))


def configuration(
    url: str, budget: dict[str, Any] | None = None, judge: dict[str, Any] | None = None, **generator: Any
) -> Config:
    """A configuration with a generator at ``url`` and, where it is given, a judge."""
    endpoints = {"generator": {"model": "fake", "base_url": url, **generator}} | ({"judge": judge} if judge else {})
    return Config.model_validate({"generate": {"method": "llm"}, "endpoints": endpoints, "budget": budget or {}})


def main() -> None:
    from finreg_cli.llm.budget import Budget
    from finreg_cli.llm.cache import RequestCache
    from finreg_cli.llm.chains import ChainWriter

    url, cache, count, concurrency = sys.argv[1:]
    config = configuration(url, max_concurrency=int(concurrency))
    writer = ChainWriter(config, RequestCache(Path(cache)), Budget(config.budget))
    for written in writer.write(assignments(int(count))):
        print(written.row.row_id, written.reason, flush=True)


if __name__ == "__main__":
    main()
