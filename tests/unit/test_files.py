from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from finreg_cli.documents import remote
from finreg_cli.documents.files import SUFFIXES, Source, search
from finreg_cli.errors import ConfigError, MissingExtra, StageFailed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "deep" / "er").mkdir(parents=True)
    for name in (
        "a.pdf",
        "B.PDF",
        "c.html",
        "d.HTM",
        "e.xhtml",
        "f.txt",
        "README.md",
        "sources.json",
        "g.docx",
        ".a.pdf.part",
        "deep/h.pdf",
        "deep/er/i.pdf",
    ):
        (root / name).write_text(name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.pdf").write_text("secret")
    return root


def found(pattern: object, suffixes: Any = SUFFIXES) -> list[str]:
    source = search(str(pattern), suffixes)
    assert source is not None
    return [file.path for file in source.files]


def test_a_folder_gives_documents_but_not_its_readme(folder: Path) -> None:
    assert found(folder) == ["B.PDF", "a.pdf", "c.html", "d.HTM", "deep/er/i.pdf", "deep/h.pdf", "e.xhtml", "f.txt"]


def test_markdown_has_to_be_named(folder: Path) -> None:
    assert found(folder / "*.md") == ["README.md"]
    assert found(folder / "README.md") == ["README.md"]
    assert found(folder, (".txt", ".md")) == ["README.md", "f.txt"]  # a list of its own is taken as it is


def test_globs(folder: Path) -> None:
    assert found(folder / "*.pdf") == ["a.pdf"]
    assert found(folder / "*.[pP]*") == ["B.PDF", "a.pdf"]
    assert found(folder / "**" / "*.pdf") == ["a.pdf", "deep/er/i.pdf", "deep/h.pdf"]
    assert found(folder / "**") == found(folder / "**" / "*")
    assert found(folder / "de*" / "er" / "*") == ["deep/er/i.pdf"]
    assert found(folder / "*.docx") == []


def test_globs_are_relative_to_here_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert found("*.pdf") == ["a.pdf"]
    assert found("deep/**/*.pdf") == ["er/i.pdf", "h.pdf"]


def test_no_such_place(folder: Path) -> None:
    assert search(str(folder / "nothing"), SUFFIXES) is None


@pytest.mark.parametrize("pattern", ["", "*", "**/*.pdf", "*/*.pdf", "*/secret.pdf"])
def test_no_link_leads_out(folder: Path, pattern: str) -> None:
    (folder / "file.pdf").symlink_to(folder.parent / "outside" / "secret.pdf")
    (folder / "folder").symlink_to(folder.parent / "outside")
    (folder / "gone.pdf").symlink_to(folder.parent / "outside" / "gone.pdf")
    source = search(str(folder / pattern), SUFFIXES)
    assert source is not None
    assert not [file for file in source.files if "secret" in file.absolute.read_text()]
    if pattern == "":
        assert source.refused == ["file.pdf", "folder", "gone.pdf"]
    elif pattern in ("*/*.pdf", "*/secret.pdf"):
        assert source.refused == ["folder/secret.pdf"]
    else:
        assert source.refused == ["file.pdf", "gone.pdf"]


def test_dots_in_a_glob_lead_nowhere(folder: Path) -> None:
    source = search(str(folder / "*" / ".." / ".." / "outside" / "*.pdf"), SUFFIXES)
    assert source is not None
    assert source.files == []
    assert source.refused


def test_links_within_and_in_circles(folder: Path) -> None:
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "deep" / "up2").symlink_to(folder)
    (folder / "circle.pdf").symlink_to(folder / "circle.pdf")
    (folder / "again.pdf").symlink_to(folder / "a.pdf")
    source = search(str(folder / "**" / "*.pdf"), SUFFIXES)
    assert source is not None
    assert [file.path for file in source.files] == ["a.pdf", "again.pdf", "deep/er/i.pdf", "deep/h.pdf"]
    assert source.refused == ["circle.pdf"]


def test_what_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe.pdf")
    (folder / "folder.pdf").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        place = Path(os.path.relpath(folder / "socket.pdf"))  # its path must be short
        listening.bind(str(place))
    assert "pipe.pdf" not in found(folder)
    assert found(folder / "*.pdf") == ["a.pdf"]


def test_a_name_that_is_no_utf_8(folder: Path) -> None:
    (folder / os.fsdecode(b"x-\xff.pdf")).write_text("x")
    source = search(str(folder / "x*"), SUFFIXES)
    assert source is not None
    assert [(file.path, file.absolute.read_text()) for file in source.files] == [("x-\\xff.pdf", "x")]


def test_a_named_link_may_lead_anywhere(folder: Path) -> None:
    (folder / "file.pdf").symlink_to(folder.parent / "outside" / "secret.pdf")
    assert found(folder / "file.pdf") == ["secret.pdf"]


# --- URLs ------------------------------------------------------------------------------------------------------------


def fetched(url: str, cache: Path, **options: Any) -> Source:
    source = search(url, SUFFIXES, cache, **options)
    assert source is not None
    return source


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A real HTTP server that speaks S3."""
    server_module = pytest.importorskip("moto.server", reason="moto[s3] (extra dev) is not installed")
    pytest.importorskip("s3fs", reason="s3fs (extra s3) is not installed")
    boto3 = pytest.importorskip("boto3", reason="moto[s3] (extra dev) is not installed")
    with pytest.MonkeyPatch.context() as environment:
        server = server_module.ThreadedMotoServer(port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "top-secret-value",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            environment.setenv(name, value)
        client = boto3.client("s3")
        yield client
        client.close()
        server.stop()


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"acts-{uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    for key in ("reg/a.pdf", "reg/deep/b.HTML", "reg/README.md", "reg/c.docx", "other/d.pdf"):
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
    return name


def test_an_object_store(s3: Any, bucket: str, tmp_path: Path) -> None:
    told: list[int] = []
    first = fetched(f"s3://{bucket}/reg", tmp_path, on_file=told.append)
    assert [file.path for file in first.files] == ["a.pdf", "deep/b.HTML"]
    assert [file.absolute.read_text() for file in first.files] == ["reg/a.pdf", "reg/deep/b.HTML"]
    assert (first.downloaded, told) == (2, [1, 1])
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pdf")}
    assert fetched(f"s3://{bucket}/reg", tmp_path).downloaded == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pdf")} == written
    s3.put_object(Bucket=bucket, Key="reg/a.pdf", Body=b"REG/A.PDF")  # of the same size
    s3.delete_object(Bucket=bucket, Key="reg/deep/b.HTML")
    third = fetched(f"s3://{bucket}/reg", tmp_path)
    assert [(file.path, file.absolute.read_text()) for file in third.files] == [("a.pdf", "REG/A.PDF")]
    assert third.downloaded == 1


def test_globs_and_single_objects_of_a_store(bucket: str, tmp_path: Path) -> None:
    assert [file.path for file in fetched(f"s3://{bucket}/*/*.pdf", tmp_path).files] == ["other/d.pdf", "reg/a.pdf"]
    assert [file.path for file in fetched(f"s3://{bucket}/reg/*.md", tmp_path).files] == ["README.md"]
    assert [file.path for file in fetched(f"s3://{bucket}/reg/a.pdf", tmp_path).files] == ["a.pdf"]
    with pytest.raises(ConfigError, match="does not say what it is"):
        search(f"s3://{bucket}/reg/c.docx", SUFFIXES, tmp_path)
    assert search(f"s3://{bucket}/nothing", SUFFIXES, tmp_path) is None


def test_a_list_only(bucket: str, tmp_path: Path) -> None:
    source = fetched(f"s3://{bucket}/reg", tmp_path / "cache", download=False)
    assert [file.path for file in source.files] == ["a.pdf", "deep/b.HTML"]
    assert not (tmp_path / "cache").exists()


def test_names_of_objects_choose_no_path(s3: Any, bucket: str, tmp_path: Path) -> None:
    for key in ("reg/../up.pdf", "reg//empty.pdf", "reg/back\\slash.pdf", f"reg/{'n' * 300}.pdf"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"hostile")
    source = fetched(f"s3://{bucket}/reg", tmp_path / "cache")
    assert [file.path for file in source.files] == ["a.pdf", "deep/b.HTML", f"{'n' * 300}.pdf"]
    assert source.refused == ["../up.pdf", "/empty.pdf", "back\\slash.pdf"]
    inside = (tmp_path / "cache").resolve()
    assert all(path.resolve().is_relative_to(inside) for path in tmp_path.rglob("*.pdf"))


def test_a_missing_bucket_and_missing_credentials(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert search("s3://no-such-bucket-here/reg", SUFFIXES, tmp_path) is None
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(StageFailed, match="no credentials were found") as caught:
        search(f"s3://{bucket}/reg", SUFFIXES, tmp_path)
    assert "AWS_ACCESS_KEY_ID" in caught.value.remedy


def test_nobody_at_the_endpoint(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StageFailed, match="cannot be read") as caught:
        search("s3://bucket/reg", SUFFIXES, tmp_path)
    assert "top-secret-value" not in caught.value.message


def test_a_store_in_memory(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    place = f"/{uuid4().hex}"
    memory.pipe({f"{place}/a.pdf": b"one", f"{place}/sub/b.txt": b"two"})
    url = f"memory:/{place}"
    assert [file.path for file in fetched(url, tmp_path).files] == ["a.pdf", "sub/b.txt"]
    assert fetched(url, tmp_path).downloaded == 0
    memory.pipe(f"{place}/a.pdf", b"new")
    again = fetched(url, tmp_path)
    assert again.downloaded == 1
    assert again.files[0].absolute.read_bytes() == b"new"


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_address(web: str, tmp_path: Path) -> None:
    source = fetched(f"{web}/deep/h.pdf?signature=SECRET", tmp_path / "cache")
    assert [file.path for file in source.files] == ["h.pdf"]
    assert source.files[0].absolute.read_text() == "deep/h.pdf"
    assert fetched(f"{web}/deep/h.pdf?signature=SECRET", tmp_path / "cache").downloaded == 0
    kept = "".join(path.read_text() for path in (tmp_path / "cache").rglob("*.json"))
    assert "SECRET" not in kept
    assert search(f"{web}/nothing.pdf", SUFFIXES, tmp_path) is None


def test_addresses_that_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="over http://") as caught:
        search("http://user:secret@example.org/a.pdf?token=secret", SUFFIXES, tmp_path)
    assert "secret" not in caught.value.message
    with pytest.raises(ConfigError, match="gopher:// are not read"):
        search("gopher://example.org/a.pdf", SUFFIXES, tmp_path)
    with pytest.raises(ConfigError, match="simplecache::s3:// are not read"):
        search("simplecache::s3://bucket/a.pdf", SUFFIXES, tmp_path)
    with pytest.raises(ConfigError, match="cannot be read here"):
        search("s3://bucket", SUFFIXES)


def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])  # whether or not it is installed here
    for name in [each for each in sys.modules if each.partition(".")[0] == "adlfs"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtra, match=r"abfss:// needs the package 'adlfs'") as caught:
        search("abfss://container@account.dfs.core.windows.net/acts", SUFFIXES, tmp_path)
    assert caught.value.remedy == "pip install 'finreg[azure]'"


def test_file_urls_are_files_here(folder: Path) -> None:
    assert found(f"file://{folder}/deep") == ["er/i.pdf", "h.pdf"]


def test_words_without_secrets() -> None:
    error = remote._refused(
        "https://u:pw1@host/x?sig=pw2", RuntimeError("GET https://u:pw1@host/x?sig=pw2 failed\nAuthorization: pw3")
    )
    assert not any(secret in error.message + error.remedy for secret in ("pw1", "pw2", "pw3"))
    assert "RuntimeError" in error.message
