"""What the tables hold of each document: its versions, and which chunks are in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from finreg_cli.domain.records import SPLITTED_DOCUMENTS, Chunk
from finreg_cli.domain.versions import Version, in_force
from finreg_cli.lakehouse.base import Lakehouse, Where

_COLUMNS = ["work_id", "version_date", "path", "document_id", "file_sha256"]


def recorded_versions(lakehouse: Lakehouse) -> list[Version]:
    """The documents of ``splitted_documents``, each once, by work and from the oldest version to the newest."""
    chunks: Counter[Version] = Counter()
    for batch in lakehouse.read(SPLITTED_DOCUMENTS, _COLUMNS):
        columns = (batch.column(name).to_pylist() for name in _COLUMNS)
        for row in zip(*columns, strict=True):
            chunks[Version(*row)] += 1
    versions = (replace(version, chunks=count) for version, count in chunks.items())
    return sorted(versions, key=lambda each: (each.work_id, each.rank))


def where_in_force(lakehouse: Lakehouse) -> Where | None:
    """The filter of the chunks that are in force; None where all are."""
    versions = recorded_versions(lakehouse)
    newest = in_force(versions).values()
    return {"document_id": sorted(each.document_id for each in newest)} if len(newest) < len(versions) else None


def chunks_in_force(lakehouse: Lakehouse) -> Iterator[Chunk]:
    """The chunks of the newest version of each work, as a stream."""
    return SPLITTED_DOCUMENTS.records(lakehouse.read(SPLITTED_DOCUMENTS, where=where_in_force(lakehouse)))


def chunk_ids_in_force(lakehouse: Lakehouse) -> set[str]:
    batches = lakehouse.read(SPLITTED_DOCUMENTS, ["chunk_id"], where=where_in_force(lakehouse))
    return {chunk_id for batch in batches for chunk_id in batch.column("chunk_id").to_pylist()}
