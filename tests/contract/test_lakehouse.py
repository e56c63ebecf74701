"""What every lakehouse engine must do, whatever it is made of."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from finreg_cli.domain.records import (
    EVALUATION_METRICS,
    FINETUNE_RUNS,
    FT_TRAINING,
    INGEST_QUARANTINE,
    QA_DATASET,
    TABLES,
    FinetuneRun,
    Message,
    QaRow,
    QuarantinedFile,
    Table,
    TrainingRow,
)
from finreg_cli.errors import CommitConflict, WarehouseError
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.lakehouse.streams import until_committed

Opener = Callable[[Path], Lakehouse]

HOSTILE = "it's \"q\" `b` \\ back\\'slash ${HOME} $x % _ é 日本 \n\t -- ; /* */ ''"


def quarantined(path: str, error_class: str = "damaged", engine: str | None = "pdfium") -> QuarantinedFile:
    return QuarantinedFile(
        run_id="r1", path=path, file_sha256=None, error_class=error_class, message="no page", engine=engine
    )


def put(lakehouse: Lakehouse, *files: QuarantinedFile) -> int:
    return lakehouse.append(INGEST_QUARANTINE, INGEST_QUARANTINE.batches(files))


def stored(lakehouse: Lakehouse, **how: Any) -> list[QuarantinedFile]:
    return sorted(INGEST_QUARANTINE.records(lakehouse.read(INGEST_QUARANTINE, **how)), key=lambda each: each.path)


def filled(table: Table[Any], seed: int) -> pa.RecordBatch:
    """Two rows with a value in every column, however nested, and one row of nulls."""
    columns = [
        pa.array([_value(field.type, seed), _value(field.type, seed + 1), None], field.type) for field in table.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _value(kind: pa.DataType, seed: int) -> Any:
    if pa.types.is_list(kind):
        return [_value(kind.value_type, seed), None, _value(kind.value_type, seed + 7)] if seed % 2 else []
    if pa.types.is_map(kind):
        return [("token_f1", 0.1 + seed), ("été", None)]
    if pa.types.is_struct(kind):
        return {field.name: _value(field.type, seed) for field in kind}
    if pa.types.is_timestamp(kind):
        return datetime(2024, 3, 31, 1, 30, 0, 123456, tzinfo=UTC) + timedelta(days=seed)
    if pa.types.is_boolean(kind):
        return bool(seed % 2)
    if pa.types.is_integer(kind):
        return 2**53 + seed
    if pa.types.is_floating(kind):
        return 0.1 * seed
    return f"{seed} {HOSTILE}"


def as_rows(batches: Iterator[pa.RecordBatch]) -> list[str]:
    return sorted(repr(row) for batch in batches for row in batch.to_pylist(maps_as_pydicts="strict"))


def test_a_table_that_was_never_written(lakehouse: Lakehouse) -> None:
    assert not lakehouse.exists(INGEST_QUARANTINE)
    assert lakehouse.version(INGEST_QUARANTINE) is None
    assert lakehouse.count(INGEST_QUARANTINE) == 0
    assert lakehouse.count(INGEST_QUARANTINE, {"run_id": "r1"}) == 0
    assert list(lakehouse.read(INGEST_QUARANTINE)) == []
    assert lakehouse.history(INGEST_QUARANTINE) == []
    lakehouse.compact(INGEST_QUARANTINE)
    assert not lakehouse.exists(INGEST_QUARANTINE)
    with pytest.raises(WarehouseError, match=r"no version 3: it was never written"):
        lakehouse.read(INGEST_QUARANTINE, version=3)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_comes_back_with_its_schema_and_values(lakehouse: Lakehouse, table: Table[Any]) -> None:
    batch = filled(table, 1)
    assert lakehouse.append(table, [batch]) == 0

    back = list(lakehouse.read(table))

    assert all(each.schema.equals(table.schema) for each in back)
    assert as_rows(iter(back)) == as_rows(iter([batch]))


def test_records_come_back_equal(lakehouse: Lakehouse) -> None:
    rows = [
        TrainingRow(
            messages=[Message("What?", "user"), Message("I don't know.", "assistant")], row_id="a", group_key="g"
        ),
        TrainingRow(messages=[], row_id="b", group_key=HOSTILE),
    ]
    lakehouse.overwrite(FT_TRAINING, FT_TRAINING.batches(rows))
    assert sorted(FT_TRAINING.records(lakehouse.read(FT_TRAINING)), key=lambda row: row.row_id) == rows


def test_append_adds_rows_and_counts_versions(lakehouse: Lakehouse) -> None:
    assert put(lakehouse, quarantined("a")) == 0
    assert put(lakehouse, quarantined("b"), quarantined("c")) == 1
    assert lakehouse.count(INGEST_QUARANTINE) == 3
    assert [each.path for each in stored(lakehouse)] == ["a", "b", "c"]
    assert lakehouse.version(INGEST_QUARANTINE) == 1


def test_many_batches_are_one_commit(lakehouse: Lakehouse) -> None:
    batches = (next(INGEST_QUARANTINE.batches([quarantined(str(number))])) for number in range(40))
    assert lakehouse.append(INGEST_QUARANTINE, batches) == 0
    assert lakehouse.count(INGEST_QUARANTINE) == 40


@pytest.mark.parametrize("write", ["append", "overwrite", "merge"])
def test_an_empty_stream_makes_an_empty_table(lakehouse: Lakehouse, write: str) -> None:
    for batches in ([], [filled(INGEST_QUARANTINE, 1).slice(0, 0)]):
        getattr(lakehouse, write)(INGEST_QUARANTINE, batches)
        assert lakehouse.exists(INGEST_QUARANTINE)
        assert lakehouse.count(INGEST_QUARANTINE) == 0
        assert list(lakehouse.read(INGEST_QUARANTINE)) == []
    put(lakehouse, quarantined("a"))
    assert [each.path for each in stored(lakehouse)] == ["a"]


def test_overwrite_replaces_everything_and_may_leave_nothing(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined("a"), quarantined("b"))
    assert lakehouse.overwrite(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined("c")])) == 1
    assert [each.path for each in stored(lakehouse)] == ["c"]
    assert lakehouse.overwrite(INGEST_QUARANTINE, []) == 2
    assert stored(lakehouse) == []


def test_overwrite_where_leaves_the_other_rows_alone(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined("a", "old"), quarantined("b", "old"), quarantined("c", "kept"))
    new = INGEST_QUARANTINE.batches([quarantined("d", "old")])
    assert lakehouse.overwrite(INGEST_QUARANTINE, new, where={"error_class": "old"}) == 1
    assert [each.path for each in stored(lakehouse)] == ["c", "d"]


def test_overwrite_where_without_batches_deletes(lakehouse: Lakehouse) -> None:
    put(lakehouse, *(quarantined(path) for path in "abcd"))
    lakehouse.overwrite(INGEST_QUARANTINE, [], where={"path": ["a", "c"]})
    assert [each.path for each in stored(lakehouse)] == ["b", "d"]
    version = lakehouse.overwrite(INGEST_QUARANTINE, [], where={"path": "nowhere"})
    assert version == lakehouse.version(INGEST_QUARANTINE)
    lakehouse.overwrite(INGEST_QUARANTINE, [], where={"path": []})
    assert [each.path for each in stored(lakehouse)] == ["b", "d"]


def test_overwrite_where_on_a_new_and_on_an_empty_table(lakehouse: Lakehouse) -> None:
    lakehouse.overwrite(INGEST_QUARANTINE, [], where={"run_id": "r1"})
    assert lakehouse.exists(INGEST_QUARANTINE)
    lakehouse.overwrite(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined("a")]), where={"run_id": "r1"})
    assert [each.path for each in stored(lakehouse)] == ["a"]


def test_rows_that_do_not_match_the_overwritten_ones_are_refused(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined("a", "old"))
    rows = INGEST_QUARANTINE.batches([quarantined("b", "new")])
    with pytest.raises(WarehouseError, match="do not match"):
        lakehouse.overwrite(INGEST_QUARANTINE, rows, where={"error_class": "old"})
    assert [each.path for each in stored(lakehouse)] == ["a"]


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"row_id": "a"}, {"a"}),
    ({"row_id": ["a", "c"]}, {"a", "c"}),
    ({"row_id": []}, set()),
    ({"sample": 1}, {"b"}),
    ({"sample": {0, 1}}, {"a", "b"}),
    ({"answerable": True}, {"b"}),
    ({"answerable": False}, {"a", "c"}),
    ({"retired_at": None}, {"a", "c"}),
    ({"model": None}, {"a", "b", "c"}),
    ({"model": "any"}, set()),
    ({"kind": "even", "retired_at": None, "row_id": ["a", "b"]}, {"a"}),
    ({}, {"a", "b", "c"}),
]


def qa_row(name: str, sample: int) -> QaRow:
    return QaRow(
        row_id=name,
        chunk_id="c",
        chunk_ids=["c"],
        document_id="d",
        citation="CRR Article 1",
        kind="odd" if sample % 2 else "even",
        sample=sample,
        context="CRR Article 1",
        answerable=bool(sample % 2),
        method="rules",
        prompt_version="definition",
        outputs_may_train=True,
        round=1,
        split="train",
        split_unit="Article 1",
        retired_at=datetime(2026, 1, 1, tzinfo=UTC) if sample % 2 else None,
    )


def test_filters_select_the_same_rows_in_read_and_count(lakehouse: Lakehouse) -> None:
    lakehouse.append(QA_DATASET, QA_DATASET.batches(qa_row(name, sample) for sample, name in enumerate("abc")))
    for where, names in FILTERS:
        assert {row.row_id for row in QA_DATASET.records(lakehouse.read(QA_DATASET, where=where))} == names, where
        assert lakehouse.count(QA_DATASET, where) == len(names), where


@pytest.mark.parametrize(("where", "names"), [FILTERS[number] for number in (2, 4, 6, 7, 9, 10, 11)])
def test_filters_select_the_same_rows_in_overwrite(
    lakehouse: Lakehouse, where: dict[str, Any], names: set[str]
) -> None:
    lakehouse.append(QA_DATASET, QA_DATASET.batches(qa_row(name, sample) for sample, name in enumerate("abc")))
    lakehouse.overwrite(QA_DATASET, [], where=where)
    assert {row.row_id for row in QA_DATASET.records(lakehouse.read(QA_DATASET))} == set("abc") - names


def test_columns_are_projected_in_the_order_asked_for(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined("a"), quarantined("b", engine=None))
    (batch,) = lakehouse.read(INGEST_QUARANTINE, columns=["engine", "path"], where={"engine": None})
    assert batch.schema.names == ["engine", "path"]
    assert batch.to_pylist() == [{"engine": None, "path": "b"}]


def test_merge_updates_by_key_and_inserts_the_rest(lakehouse: Lakehouse) -> None:
    assert lakehouse.merge(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined("a"), quarantined("b")])) == 0
    rows = [quarantined("b", "encrypted"), quarantined("c", "empty")]
    assert lakehouse.merge(INGEST_QUARANTINE, INGEST_QUARANTINE.batches(rows, rows=1)) == 1
    assert [(each.path, each.error_class) for each in stored(lakehouse)] == [
        ("a", "damaged"),
        ("b", "encrypted"),
        ("c", "empty"),
    ]
    assert lakehouse.merge(INGEST_QUARANTINE, []) == lakehouse.version(INGEST_QUARANTINE)
    assert lakehouse.count(INGEST_QUARANTINE) == 3


def test_merge_with_a_key_of_two_columns_and_nested_values(lakehouse: Lakehouse) -> None:
    table = Table("two_keys", FinetuneRun, key=("run_id", "sweep_id"))

    def run(run_id: str, sweep_id: str, metrics: dict[str, float]) -> FinetuneRun:
        return FinetuneRun(
            run_id=run_id, sweep_id=sweep_id, task="t", round=1, trainer="local", base_model="m", method="lora",
            learning_rate=1e-3, epochs=1.0, state="running", metrics=metrics, selected=False, model_uri=None,
            model_version=None, training_table="t", training_version=0,
        )  # fmt: skip

    lakehouse.merge(table, table.batches([run("a", "1", {}), run("a", "2", {"loss": 2.0})]))
    lakehouse.merge(table, table.batches([run("a", "2", {"loss": 1.0, HOSTILE: 0.5}), run("b", "2", {})]))

    rows = {(row.run_id, row.sweep_id): row.metrics for row in table.records(lakehouse.read(table))}
    assert rows == {("a", "1"): {}, ("a", "2"): {"loss": 1.0, HOSTILE: 0.5}, ("b", "2"): {}}


def test_hostile_values_are_values(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined(HOSTILE), quarantined("it"), quarantined("' OR 1=1 --"))
    assert [each.path for each in stored(lakehouse, where={"path": HOSTILE})] == [HOSTILE]
    lakehouse.merge(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined(HOSTILE, "encrypted")]))
    assert lakehouse.count(INGEST_QUARANTINE, {"path": [HOSTILE], "error_class": "encrypted"}) == 1
    new = [quarantined(HOSTILE, "empty")]
    lakehouse.overwrite(INGEST_QUARANTINE, INGEST_QUARANTINE.batches(new), where={"path": HOSTILE})
    assert stored(lakehouse, where={"path": HOSTILE}) == new
    lakehouse.overwrite(INGEST_QUARANTINE, [], where={"path": [HOSTILE, "' OR 1=1 --"]})
    assert [each.path for each in stored(lakehouse)] == ["it"]


def test_earlier_versions_stay_readable(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined("a"))
    put(lakehouse, quarantined("b"))
    lakehouse.merge(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined("a", "encrypted")]))
    last = lakehouse.overwrite(INGEST_QUARANTINE, [])
    lakehouse.compact(INGEST_QUARANTINE)

    assert [each.path for each in stored(lakehouse, version=0)] == ["a"]
    assert [(each.path, each.error_class) for each in stored(lakehouse, version=1)] == [
        ("a", "damaged"),
        ("b", "damaged"),
    ]
    assert [each.error_class for each in stored(lakehouse, version=2, where={"path": "a"})] == ["encrypted"]
    assert stored(lakehouse, version=last) == []


@pytest.mark.parametrize("version", [1, 99, -1])
def test_a_version_that_is_not_there(lakehouse: Lakehouse, version: int) -> None:
    put(lakehouse, quarantined("a"))
    with pytest.raises(
        WarehouseError, match=rf"ingest_quarantine .* has no version {version}: its versions are 0 to 0"
    ):
        lakehouse.read(INGEST_QUARANTINE, version=version)


def test_a_stream_keeps_to_the_version_it_began_with(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined("a"))
    before = lakehouse.read(INGEST_QUARANTINE)
    lakehouse.overwrite(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined("b")]))
    assert [row.path for row in INGEST_QUARANTINE.records(before)] == ["a"]


def test_a_table_can_be_rewritten_from_itself(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined("a"), quarantined("b"))
    kept = (row for row in INGEST_QUARANTINE.records(lakehouse.read(INGEST_QUARANTINE)) if row.path == "b")
    lakehouse.overwrite(INGEST_QUARANTINE, INGEST_QUARANTINE.batches(kept))
    assert [each.path for each in stored(lakehouse)] == ["b"]


def test_history_is_newest_first(lakehouse: Lakehouse) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    put(lakehouse, quarantined("a"))
    lakehouse.merge(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined("a")]))
    history = lakehouse.history(INGEST_QUARANTINE)
    assert [commit.version for commit in history] == [1, 0]
    assert history[0].operation == "MERGE"
    assert began <= history[1].timestamp <= history[0].timestamp <= datetime.now(UTC)


def test_compact_keeps_the_rows(lakehouse: Lakehouse) -> None:
    for path in "abcdef":
        put(lakehouse, quarantined(path))
    lakehouse.compact(INGEST_QUARANTINE)
    assert [each.path for each in stored(lakehouse)] == list("abcdef")


def test_the_location_is_the_table_folder(lakehouse: Lakehouse, warehouse: Path) -> None:
    put(lakehouse, quarantined("a"))
    assert Path(lakehouse.location(INGEST_QUARANTINE)) == warehouse / "main" / "euroreg" / "ingest_quarantine"
    assert (Path(lakehouse.location(INGEST_QUARANTINE)) / "_delta_log").is_dir()


def test_an_error_inside_the_stream_comes_out_as_itself_and_nothing_is_written(lakehouse: Lakehouse) -> None:
    class Stopped(BaseException):
        """As KeyboardInterrupt, which a test must not raise."""

    def stream() -> Iterator[pa.RecordBatch]:
        yield from INGEST_QUARANTINE.batches([quarantined("b")])
        raise Stopped

    put(lakehouse, quarantined("a"))
    for write in (lakehouse.append, lakehouse.overwrite, lakehouse.merge):
        with pytest.raises(Stopped):
            write(INGEST_QUARANTINE, stream())
    assert [each.path for each in stored(lakehouse)] == ["a"]


def test_a_table_of_another_shape_is_named(lakehouse: Lakehouse) -> None:
    rows = list(INGEST_QUARANTINE.batches([quarantined("a")]))
    attempts: list[Callable[[], object]] = [
        lambda: lakehouse.read(INGEST_QUARANTINE),
        lambda: lakehouse.append(INGEST_QUARANTINE, rows),
        lambda: lakehouse.merge(INGEST_QUARANTINE, rows),
        lambda: lakehouse.overwrite(INGEST_QUARANTINE, rows, where={"path": "a"}),
    ]
    other = Table(INGEST_QUARANTINE.name, Message)
    lakehouse.append(other, other.batches([Message("hello", "user")]))
    for attempt in attempts:
        with pytest.raises(WarehouseError, match=r"ingest_quarantine .* has no column .*file_sha256"):
            attempt()
    lakehouse.overwrite(INGEST_QUARANTINE, rows)
    assert [each.path for each in stored(lakehouse)] == ["a"]


def test_batches_of_another_shape_are_refused(lakehouse: Lakehouse) -> None:
    with pytest.raises(WarehouseError, match="do not fit its schema"):
        lakehouse.append(INGEST_QUARANTINE, [pa.record_batch({"path": ["a"]})])
    assert not lakehouse.exists(INGEST_QUARANTINE)


def test_a_warehouse_that_cannot_be_written(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    lakehouse = opener(tmp_path / "file" / "lakehouse")
    assert not lakehouse.exists(INGEST_QUARANTINE)
    for write in (lakehouse.append, lakehouse.overwrite, lakehouse.merge):
        with pytest.raises(WarehouseError) as caught:
            write(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined("a")]))
        assert str(tmp_path / "file" / "lakehouse") in caught.value.message + caught.value.remedy
        assert "engine.warehouse" in caught.value.remedy


def test_a_path_that_the_engine_cannot_follow_is_refused_before_anything_is_written(
    opener: Opener, tmp_path: Path
) -> None:
    with pytest.raises(WarehouseError, match=r"'\[' in its path"):
        opener(tmp_path / "[2026]")


def test_damaged_data_are_a_warehouse_error(lakehouse: Lakehouse) -> None:
    put(lakehouse, quarantined("a"))
    for data in Path(lakehouse.location(INGEST_QUARANTINE)).glob("*.parquet"):
        data.write_bytes(b"no parquet")
    with pytest.raises(WarehouseError, match="cannot read the table ingest_quarantine"):
        stored(lakehouse)


def test_what_an_engine_writes_the_embedded_one_reads_and_the_other_way_round(
    opener: Opener, embedded_opener: Opener, warehouse: Path
) -> None:
    """Both ways, and onwards from each other's commits, with every column type."""
    for first, second in itertools.permutations((opener, embedded_opener)):
        for table in (FINETUNE_RUNS, FT_TRAINING, QA_DATASET, EVALUATION_METRICS):
            one, two = filled(table, 1), filled(table, 11)
            writer, reader = first(warehouse), second(warehouse)
            writer.overwrite(table, [one])
            version = reader.append(table, [two])
            for lakehouse in (writer, reader):
                assert as_rows(lakehouse.read(table)) == as_rows(iter([one, two]))
                assert as_rows(lakehouse.read(table, version=version - 1)) == as_rows(iter([one]))
                assert lakehouse.version(table) == version
        update = [quarantined("a", "encrypted"), quarantined("b")]
        first(warehouse).overwrite(INGEST_QUARANTINE, INGEST_QUARANTINE.batches([quarantined("a")]))
        second(warehouse).merge(INGEST_QUARANTINE, INGEST_QUARANTINE.batches(update))
        assert stored(first(warehouse)) == update
        first(warehouse).overwrite(INGEST_QUARANTINE, [], where={"path": "a"})
        assert stored(second(warehouse)) == update[1:]


MEMORY = """
import resource, sys
from pathlib import Path

import pyarrow as pa

from finreg_cli.domain.records import INGEST_QUARANTINE as TABLE

ROWS = 1_000


def stream(batches):
    for number in range(batches):
        names = pa.array([f"{number * ROWS + row:048d}" for row in range(ROWS)])
        text = pa.array([name * 32 for name in names.to_pylist()])
        empty = pa.nulls(ROWS, pa.string())
        yield pa.RecordBatch.from_arrays([names, names, empty, names, text, empty], schema=TABLE.schema)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def lakehouse(warehouse, remote):
    if remote:
        from finreg_cli.lakehouse.sessions import connect
        from finreg_cli.lakehouse.spark import SparkLakehouse

        return SparkLakehouse(connect(remote), warehouse, "main", "euroreg")
    from finreg_cli.lakehouse.embedded import EmbeddedLakehouse

    return EmbeddedLakehouse(warehouse, "main", "euroreg")


opened = lakehouse(Path(sys.argv[1]), sys.argv[2])
for _ in opened.read(TABLE, version=opened.append(TABLE, stream(1))):
    pass
before = peak()
opened.overwrite(TABLE, stream(300))
wrote = peak() - before
rows = sum(batch.num_rows for batch in opened.read(TABLE))
print(rows, wrote, peak() - before)
"""


@pytest.mark.parametrize("engine", ["embedded", pytest.param("sail", marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_batches(
    engine: str, warehouse: Path, request: pytest.FixtureRequest
) -> None:
    """300,000 rows are 540 MB of Arrow data; a list of them, on either way, would take at least that."""
    pytest.importorskip("resource", reason="no peak memory without the module resource")
    remote = request.getfixturevalue("sail") if engine == "sail" else ""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(warehouse), remote], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows, wrote, both = map(float, done.stdout.split())
    assert rows == 300_000
    assert wrote < 400
    assert both < 400


WRITER = """
import sys
from pathlib import Path

from finreg_cli.domain.records import INGEST_QUARANTINE as TABLE
from finreg_cli.domain.records import QuarantinedFile
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse

lakehouse = EmbeddedLakehouse(Path(sys.argv[1]), "main", "euroreg")
sys.stdin.readline()
for turn in range(5):
    paths = [f"{sys.argv[2]} {turn}", f"shared {turn}"]
    rows = [QuarantinedFile(run_id=sys.argv[2], path=path, file_sha256=None, error_class="e", message="m", engine=None)
            for path in paths]
    getattr(lakehouse, sys.argv[3])(TABLE, TABLE.batches(rows))
"""


@pytest.mark.parametrize("write", ["merge", "append"])
def test_processes_that_write_one_table_at_once_lose_nothing(
    embedded_opener: Opener, warehouse: Path, write: str
) -> None:
    """The table is new, so they also race to create it; merged, each key is there once."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(warehouse), str(number), write], stdin=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]

    lakehouse = embedded_opener(warehouse)
    own = {f"{number} {turn}" for number in range(4) for turn in range(5)}
    shared = [f"shared {turn}" for turn in range(5)]
    expected = sorted([*own, *shared] if write == "merge" else [*own, *shared * 4])
    assert [each.path for each in stored(lakehouse)] == expected
    assert len(lakehouse.history(INGEST_QUARANTINE)) == 20


def test_a_merge_that_is_always_overtaken_says_so() -> None:
    pauses: list[float] = []

    def overtaken() -> None:
        raise CommitConflict("another writer was first")

    with pytest.raises(CommitConflict, match="overtook this one 15 times on the table qa_dataset"):
        until_committed(overtaken, "qa_dataset", pauses.append)
    assert len(pauses) == 14
    assert all(0 <= pause <= 2 for pause in pauses)
