"""The request cache: what is stored is found again, by another process too, and holds no secret."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finreg_cli.errors import WarehouseError
from finreg_cli.llm.base import Reply
from finreg_cli.llm.cache import FILE_NAME, RequestCache


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / FILE_NAME


def test_a_stored_reply_is_found_by_its_key_only(path: Path) -> None:
    whole, bare = Reply("text\nwith €", 12, 3, "stop"), Reply("")
    with RequestCache(path) as cache:
        cache.put("a", whole)
        cache.put("b", bare)
        assert cache.get("a") == whole
        assert cache.get("b") == bare
        assert cache.get("c") is None


def test_looking_leaves_nothing_behind(path: Path) -> None:
    with RequestCache(path) as cache:
        assert cache.get("a") is None
    assert not path.parent.exists()


def test_it_is_still_there_for_the_next_process(path: Path) -> None:
    with RequestCache(path) as cache:
        cache.put("a", Reply("first"))
        cache.put("a", Reply("second"))
    with RequestCache(path) as cache:
        assert cache.get("a") == Reply("second")


def test_a_reply_survives_kill_9(path: Path) -> None:
    child = (
        "import sys, time; from pathlib import Path\n"
        "from finreg_cli.llm.base import Reply; from finreg_cli.llm.cache import RequestCache\n"
        "cache = RequestCache(Path(sys.argv[1]))\n"
        "for number in range(50): cache.put(str(number), Reply('x' * 5000))\n"
        "print('stored', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", child, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "stored\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with RequestCache(path) as cache:
        assert all(cache.get(str(number)) == Reply("x" * 5000) for number in range(50))


def test_two_caches_on_one_file_and_many_threads(path: Path) -> None:
    with RequestCache(path) as one, RequestCache(path) as other:

        def store(cache: RequestCache, name: str) -> None:
            for number in range(50):
                cache.put(f"{name}{number}", Reply(name))

        threads = [
            threading.Thread(target=store, args=(cache, name)) for cache, name in [(one, "a"), (one, "b"), (other, "c")]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(one.get(f"{name}{number}") == Reply(name) for name in "abc" for number in range(50))


def test_the_log_is_moved_into_the_file_while_replies_are_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finreg_cli.llm.cache._PAGES_PER_CHECKPOINT", 300)
    log = path.with_name(f"{path.name}-wal")
    with RequestCache(path) as cache:
        for number in range(2_000):
            cache.put(str(number), Reply("x" * 1000))
        assert path.stat().st_size > 1000 * 1000  # nobody has closed it yet
        assert log.stat().st_size < 10 * 300 * 4096  # it began anew, again and again
        assert all(cache.get(str(number)) == Reply("x" * 1000) for number in range(2_000))
    assert not log.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "finreg-checkpoint"]


def test_a_damaged_file_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(WarehouseError, match=r"requests\.sqlite cannot be used") as caught:
        RequestCache(path).get("a")
    assert "moved away" in caught.value.remedy


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    with pytest.raises(WarehouseError, match=str(tmp_path / "state")):
        RequestCache(tmp_path / "state" / FILE_NAME).put("a", Reply(""))


def test_the_mean_length_of_the_replies_is_known(path: Path) -> None:
    with RequestCache(path) as cache:
        assert cache.mean_output_tokens() is None
        assert not path.parent.exists()
        for key, tokens in [("a", 10), ("b", 30), ("c", None)]:
            cache.put(key, Reply("text", 1, tokens))
        assert cache.mean_output_tokens() == 20


def test_it_holds_keys_and_replies_and_nothing_else(path: Path) -> None:
    with RequestCache(path) as cache:
        cache.put("a", Reply("text", 1, 2, "stop"))
    connection = sqlite3.connect(path)
    columns = [column[1] for column in connection.execute("PRAGMA table_info(replies)")]
    connection.close()
    assert columns == ["key", "text", "input_tokens", "output_tokens", "finish_reason", "created_at"]
