"""What the training script reads: three forms of rows, and errors that name the row and the column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from finreg_cli.training.rows import Row, Unusable, read_rows


def _chat(number: int, answer_by: str = "assistant") -> list[dict[str, str]]:
    return [{"role": "user", "content": f"question {number}"}, {"role": answer_by, "content": f"answer {number}"}]


def _lines(path: Path, *entries: Any) -> Path:
    path.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n\n")
    return path


def test_a_parquet_file_json_lines_and_a_delta_table_are_the_same_rows(tmp_path: Path) -> None:
    entries = [
        {"row_id": "b", "split": "eval", "messages": _chat(2), "group_key": "x"},
        {"row_id": "a", "split": "train", "messages": _chat(1), "group_key": "x"},
    ]
    table = pa.Table.from_pylist(entries)
    pq.write_table(table, tmp_path / "rows.parquet")
    write_deltalake(tmp_path / "table", table)
    expected = [Row("a", "train", _chat(1)), Row("b", "eval", _chat(2))]
    assert read_rows(tmp_path / "rows.parquet") == expected
    assert read_rows(_lines(tmp_path / "rows.jsonl", *entries)) == expected
    assert read_rows(tmp_path / "table") == expected
    assert read_rows((tmp_path / "table").as_uri()) == expected


def test_a_version_of_a_delta_table_is_what_it_was_then(tmp_path: Path) -> None:
    for number in (1, 2):
        write_deltalake(tmp_path / "t", pa.Table.from_pylist([{"messages": _chat(number)}]), mode="overwrite")
    assert [row.messages for row in read_rows(tmp_path / "t", version=0)] == [_chat(1)]
    assert [row.messages for row in read_rows(tmp_path / "t")] == [_chat(2)]
    with pytest.raises(Unusable, match="at version 7"):
        read_rows(tmp_path / "t", version=7)
    with pytest.raises(Unusable, match="no Delta table, so it has no versions"):
        read_rows(_lines(tmp_path / "rows.jsonl", {"messages": _chat(1)}), version=0)


def test_messages_alone_are_enough_and_equal_chats_stay_two_rows(tmp_path: Path) -> None:
    first = read_rows(_lines(tmp_path / "a.jsonl", *({"messages": _chat(n)} for n in (1, 2, 1))))
    again = read_rows(_lines(tmp_path / "b.jsonl", *({"messages": _chat(n)} for n in (2, 1, 1))))
    assert first == again
    assert len({row.row_id for row in first}) == 3
    assert {row.split for row in first} == {"train"}


def test_all_rows_of_a_second_source_are_for_evaluation(tmp_path: Path) -> None:
    train = _lines(tmp_path / "train.jsonl", {"row_id": "a", "messages": _chat(1)})
    held_back = _lines(tmp_path / "eval.jsonl", {"row_id": "b", "split": "train", "messages": _chat(2)})
    assert [(row.row_id, row.split) for row in read_rows(train, None, held_back)] == [("a", "train"), ("b", "eval")]
    with pytest.raises(Unusable, match=r"row_id of .*train\.jsonl and .*train\.jsonl: a is there 2 times"):
        read_rows(train, None, train)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"row_id": "r7", "messages": _chat(1, "user")}, r"row r7 of .*: column messages: .* the role 'user'"),
        ({"row_id": "r7", "messages": []}, r"row r7 of .*: column messages: a list of messages is needed"),
        ({"row_id": "r7", "messages": "hello"}, r"row r7 .*: column messages: .*'hello'"),
        ({"row_id": "r7", "messages": [{"role": "user", "content": None}]}, r"row r7 .*role and content are needed"),
        ({"messages": None}, r"row 1 of .*: column messages: .*None"),
        (
            {"row_id": "r7", "split": "val", "messages": _chat(1)},
            r"row r7 .*: column split: 'val' is none of train, eval",
        ),
        ([1], r"line 1 of .*: an object with the key messages is needed: \[1\]"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_column(tmp_path: Path, entry: Any, named: str) -> None:
    with pytest.raises(Unusable, match=named):
        read_rows(_lines(tmp_path / "rows.jsonl", entry))


def test_a_source_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="there is no such file, and no Delta table"):
        read_rows(tmp_path / "absent.parquet")
    (tmp_path / "rows.parquet").write_text("no Parquet")
    with pytest.raises(Unusable, match="cannot be read as Parquet"):
        read_rows(tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("{")
    with pytest.raises(Unusable, match=r"line 1 of .*rows\.jsonl: it is no JSON"):
        read_rows(tmp_path / "rows.jsonl")
    pq.write_table(pa.Table.from_pylist([{"text": "t"}]), tmp_path / "other.parquet")
    with pytest.raises(Unusable, match="there is no column messages, only text"):
        read_rows(tmp_path / "other.parquet")
