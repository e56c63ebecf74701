"""The joints that outlive a release: ids, schemas, messages, the split."""

from __future__ import annotations

import unicodedata

from finreg_cli.domain import identity
from finreg_cli.domain.chat_format import messages
from finreg_cli.domain.records import TABLES
from finreg_cli.domain.splits import split_of, unit_fraction


def test_ids(golden):
    work, text = "32013R0575", "Own funds requirements. Tier 1 — “capital”."
    chunk = identity.chunk_id(work, "CRR Article 92(1)", text, 0)
    golden(
        "ids",
        {
            "content_hash": identity.content_hash("a", 1, None, ["é"], {"b": 2, "a": True}),
            "document_id, dated": identity.document_id(work, "2013-06-26", "0" * 64),
            "document_id, undated": identity.document_id("sample", None, "0" * 64),
            "chunk_id": chunk,
            "chunk_id, second identical one": identity.chunk_id(work, "CRR Article 92(1)", text, 1),
            "row_id, rules": identity.row_id([chunk], "rules", "definition/what-means@1", None, 1, "definition", 0),
            "row_id, llm": identity.row_id([chunk, "x"], "llm", "3f2a", "some-model", 1, "cross_article", 1),
            "unit_fraction": unit_fraction(7, work, "Article 92"),
        },
    )


def test_ids_do_not_depend_on_unicode_form():
    composed, decomposed = "é", unicodedata.normalize("NFD", "é")
    assert composed != decomposed
    assert identity.content_hash(composed) == identity.content_hash(decomposed)


def test_schemas(golden):
    golden(
        "schemas",
        {
            table.name: {"key": list(table.key), "columns": {each.name: str(each.type) for each in table.schema}}
            for table in TABLES
        },
    )


def test_messages(golden):
    rows = messages(
        "CRR Article 1\nThis Regulation lays down rules.", "What does it lay down?", "Rules. [CRR Article 1]"
    )
    golden("messages", [{"role": each.role, "content": each.content} for each in rows])


def test_the_split_follows_the_unit_and_nothing_else():
    sides = {unit: split_of(7, "32013R0575", unit, 0.3) for unit in (f"Article {n}" for n in range(1, 522))}
    share = sum(side == "validation" for side in sides.values()) / len(sides)
    assert 0.25 < share < 0.35
    # A larger fraction only ever moves units from training to validation.
    wider = {unit: split_of(7, "32013R0575", unit, 0.5) for unit in sides}
    assert all(wider[unit] == "validation" for unit, side in sides.items() if side == "validation")
