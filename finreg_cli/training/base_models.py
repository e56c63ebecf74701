"""Where ``finetune.base_model`` is: on this disk, on the Hugging Face hub, or in a registry of MLflow's.

`resolve` gives the folder that transformers loads and a name that always means the same weights: a branch of the hub
becomes its commit, an alias of a registry its version. Runs are recorded by that name, so a branch or an alias that
moved is another base model, and is trained anew.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from filelock import FileLock

from finreg_cli.config import FETCHED_MODEL
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.progress import Progress
from finreg_cli.errors import ConfigError, ModelMissing, StageFailed
from finreg_cli.training import fetched
from finreg_cli.training.gguf_export import METADATA, dequantised

REGISTERED = "models:/"
"""The scheme of a registered model: ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``."""

UNKNOWN_LICENCE = "unknown"

_WHAT_TO_GIVE = f"give a folder that transformers saved, a Hugging Face id, models:/NAME/VERSION or {FETCHED_MODEL}"
_VOLUMES = "/Volumes/"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")

_PARTS = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "README.md", "LICENSE*", "NOTICE*"]
"""What a model on the hub is loaded from, beside its weights."""
_OTHER_COPIES = ["original/*", "metal/*", "onnx/*", "openvino/*", "consolidated*"]
"""Where publishers put the same weights again, for other runtimes."""


class ModelRegistry(Protocol):
    """What `resolve` needs of a registry; `finreg_cli.tracking` has it."""

    def location(self, model: str) -> str:
        """The registry of a model: the same name and version in another registry are other weights."""

    def pinned(self, model: str) -> str:
        """``models:/NAME@ALIAS`` as the ``models:/NAME/VERSION`` that it means now; a version as it is.

        Raises:
            ModelMissing: there is no such model, version or alias.
            ConfigError: it is no such URI.
            StageFailed: the registry cannot be reached, or refuses.
        """

    def download(self, model: str, folder: Path) -> None:
        """The files of a version into ``folder``, which exists; those that are there whole are not fetched again.

        Raises:
            ModelMissing: there is no such version.
            StageFailed: the registry cannot be reached, or refuses.
        """


@dataclass(frozen=True)
class Base:
    """A base model on this disk.

    Args:
        name: what it is recorded by: ``ID@COMMIT``, ``models:/NAME/VERSION``, a folder, or a fetched model's name.
        folder: what transformers loads.
        licence: as its card or metadata declares it; `UNKNOWN_LICENCE` where nothing does.
    """

    name: str
    folder: Path
    licence: str


@dataclass(frozen=True)
class Outlook:
    """What is known of a base model before it is fetched; ``weight_bytes`` is None where nobody says."""

    text: str
    weight_bytes: int | None
    missing_bytes: int = 0
    missing_in: Path | None = None


def resolve(base_model: str, progress: Progress | None = None, registry: ModelRegistry | None = None) -> Base:
    """The base model on this disk; downloaded (and, where it was fetched as a GGUF file, dequantised) if need be.

    A name that `resolve` gave before leads to the same weights, from the caches, without any network.

    Args:
        base_model: as in the configuration, or the name of a `Base`.
        progress: who watches.
        registry: where ``models:/...`` comes from.

    Raises:
        ConfigError: it is no model, or no name of one.
        ModelMissing: it was not pulled, does not exist, is gated, or cannot be had without the network.
        StageFailed: a cache folder cannot be written, or the registry refuses.
    """
    with _translated_disk_errors():
        if base_model in fetched.KNOWN:
            model = fetched.require(base_model)
            prepared = dequantised(model, lambda: _tracked(progress, f"preparing {base_model}"))
            return Base(base_model, prepared, fetched.KNOWN[base_model].licence)
        if base_model.startswith(REGISTERED):
            return _from_registry(base_model, progress, _required(registry, base_model))
        folder = _local_folder(base_model)
        if folder is not None:
            return Base(base_model, folder, licence_of(folder))
        return _from_hub(base_model, progress)


def base_folder(base_model: str, progress: Progress | None = None, registry: ModelRegistry | None = None) -> str:
    """The folder of `resolve`."""
    return str(resolve(base_model, progress, registry).folder)


def look_up(base_model: str, registry: ModelRegistry | None = None) -> Outlook:
    """What `finreg doctor` says of a base model: downloads and computes nothing, and raises as `resolve` does."""
    if base_model in fetched.KNOWN:
        source, model = fetched.KNOWN[base_model], fetched.require(base_model)
        # 4 bits and a share of a scale become 32 bits.
        return Outlook(f"{base_model} in {model.folder} ({source.licence})", source.size * 32 // 5)
    if base_model.startswith(REGISTERED):
        pinned = _required(registry, base_model).pinned(base_model)
        found = _kept(pinned, _required(registry, base_model))
        if (found / _COMPLETE).is_file():
            folder = _transformers_folder(found, pinned)
            return Outlook(f"{pinned} in {folder} ({licence_of(folder)})", _weight_bytes(folder))
        return Outlook(f"{pinned}, downloaded when it is first used", None)
    folder_given = _local_folder(base_model)
    if folder_given is not None:
        return Outlook(f"folder {folder_given} (licence: {licence_of(folder_given)})", _weight_bytes(folder_given))
    return _look_up_on_hub(base_model)


def licence_of(folder: Path) -> str:
    """The licence that a model's folder declares: in its card, in our own registration of it, or in GGUF metadata."""
    return _licence_of_card(folder) or _licence_of_registration(folder) or _licence_of_gguf(folder) or UNKNOWN_LICENCE


# --- folders ---------------------------------------------------------------------------------------------------------


def _local_folder(base_model: str) -> Path | None:
    """The folder that is named; None where the name is no path.

    Raises:
        ConfigError: there is no such folder, or no model in it.
    """
    folder = Path(base_model).expanduser()
    if folder.is_dir():
        _require_model(folder)
        return folder
    if base_model.startswith(_VOLUMES):
        raise ConfigError(
            f"finetune.base_model: there is no folder {base_model}: either the volume holds none, or this machine does "
            "not mount volumes, as Databricks' own do",
            f"databricks fs cp -r dbfs:{base_model} ./base-model, then --set finetune.base_model=./base-model",
        )
    if folder.is_absolute() or base_model.startswith(("./", "../", "~")):
        raise ConfigError(f"finetune.base_model: there is no folder {folder}", _WHAT_TO_GIVE)
    return None


def _require_model(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"finetune.base_model: the folder {folder} holds no config.json, so no model that transformers loads",
            _WHAT_TO_GIVE,
        )
    if not _weight_files(folder):
        raise ConfigError(
            f"finetune.base_model: the folder {folder} holds no weights (*.safetensors or *.bin)", _WHAT_TO_GIVE
        )
    missing = _missing_shards(folder)
    if missing:
        raise ConfigError(
            f"finetune.base_model: the folder {folder} lacks {', '.join(missing)}, which its index names",
            "copy the folder again, whole",
        )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def _missing_shards(folder: Path) -> list[str]:
    """The files of weights that the folder's own index names and that are not there: a copy was cut short."""
    missing: set[str] = set()
    for index in (*folder.glob("*.safetensors.index.json"), *folder.glob("*.bin.index.json")):
        named = set(json.loads(index.read_text())["weight_map"].values())
        present = {name for name in named if (folder / name).is_file()}
        if present:  # else it is the index of the other format
            missing |= named - present
    return sorted(missing)


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in _weight_files(folder))


# --- a registry ------------------------------------------------------------------------------------------------------

_COMPLETE = "complete.json"
"""In the folder of a downloaded version: written last, so its existence means that everything is there."""


def _required(registry: ModelRegistry | None, base_model: str) -> ModelRegistry:
    if registry is None:
        raise ConfigError(f"finetune.base_model: {base_model} comes from a registry, and none is at hand", "")
    return registry


def _from_registry(base_model: str, progress: Progress | None, registry: ModelRegistry) -> Base:
    # A version is immutable: one that is here needs no registry.
    kept = _kept(base_model, registry)
    pinned = base_model
    if not (kept / _COMPLETE).is_file():
        pinned = registry.pinned(base_model)
        kept = _kept(pinned, registry)
        kept.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.parent / f".{kept.name}.lock"), _tracked(progress, f"downloading {pinned}"):
            if not (kept / _COMPLETE).is_file():
                registry.download(pinned, kept)
                _transformers_folder(kept, pinned)
                (kept / _COMPLETE).write_text(json.dumps({"model": pinned, "registry": registry.location(pinned)}))
    folder = _transformers_folder(kept, pinned)
    return Base(pinned, folder, licence_of(folder))


def _kept(model: str, registry: ModelRegistry) -> Path:
    """The folder of the cache for a version; the hash tells the same name in two registries apart."""
    readable = re.sub(r"[^\w.-]+", "-", model.removeprefix(REGISTERED))
    return fetched.cache_folder() / "registered" / f"{readable}-{content_hash(registry.location(model), model)[:12]}"


def _transformers_folder(kept: Path, model: str) -> Path:
    """The transformers folder within the files of a version, with the tokenizer that MLflow keeps beside the weights.

    Raises:
        ConfigError: it was not logged by MLflow's transformers flavor, or without its weights.
    """
    try:
        flavor = yaml.safe_load((kept / "MLmodel").read_text())["flavors"]["transformers"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise ConfigError(
            f"finetune.base_model: {model} was not logged by MLflow's flavor 'transformers', so it cannot be trained",
            "give a version that mlflow.transformers.log_model wrote, or a folder that transformers saved",
        ) from None
    folder = kept / str(flavor.get("model_binary", "model"))
    if not (folder / "config.json").is_file() or not _weight_files(folder):
        source = flavor.get("source_model_name", "the model it refers to")
        raise ConfigError(
            f"finetune.base_model: {model} holds no weights: it was logged as a reference to {source}",
            f"--set finetune.base_model={source}, or log it with save_pretrained=True",
        )
    for file in (kept / "components" / "tokenizer").glob("*"):
        if not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
    return folder


# --- the hub ---------------------------------------------------------------------------------------------------------


def _from_hub(base_model: str, progress: Progress | None) -> Base:
    """The snapshot in the Hugging Face cache, which other programs share; only what transformers loads is fetched."""
    repository, revision = _hub_name(base_model)
    folder = _snapshot(repository, revision, ["*.safetensors"], None)
    if folder is None:
        with _tracked(progress, f"fetching {base_model} from {_hub()}"), _translated_hub_errors(base_model):
            folder = _snapshot(repository, revision, ["*.safetensors"], _hub())
            if folder is not None and not list(folder.glob("*.safetensors")):
                folder = _snapshot(repository, revision, ["*.bin"], _hub())
    if folder is None or not (folder / "config.json").is_file() or not _weight_files(folder):
        raise ConfigError(
            f"finetune.base_model: {base_model} on {_hub()} holds no config.json with *.safetensors or *.bin, so "
            "transformers cannot load it",
            "give the id of the model's original weights, not of a GGUF, ONNX or MLX conversion or of an adapter",
        )
    return Base(f"{repository}@{folder.name}", folder, licence_of(folder))


def _snapshot(repository: str, revision: str | None, weights: list[str], endpoint: str | None) -> Path | None:
    """The folder of a snapshot, named by its commit; without an endpoint only a commit, and only from the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if endpoint is None and not _COMMIT.fullmatch(revision or ""):
        return None
    disable_progress_bars()  # they would be drawn through ours
    try:
        found = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[*_PARTS, *weights],
            ignore_patterns=_OTHER_COPIES,
            endpoint=endpoint,
            local_files_only=endpoint is None,
            library_name="finreg",
        )
    except LocalEntryNotFoundError:
        if endpoint is not None:
            raise
        return None
    folder = Path(found)
    if endpoint is None and (not _weight_files(folder) or _missing_shards(folder)):  # a download was cut short
        return None
    return folder


def _look_up_on_hub(base_model: str) -> Outlook:
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE

    repository, revision = _hub_name(base_model)
    kept = _snapshot(repository, revision, ["*.safetensors"], None)
    if kept is not None:
        return Outlook(f"{base_model} in {kept} ({licence_of(kept)})", _weight_bytes(kept))
    with _translated_hub_errors(base_model):
        api = HfApi(endpoint=_hub(), library_name="finreg")
        info = api.model_info(repository, revision=revision, files_metadata=True, timeout=_SECONDS_TO_ANSWER)
        api.auth_check(repository)  # a gated model tells everybody about itself, and gives its weights to some
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or [] if "/" not in each.rfilename}
    kinds = [sum(size for name, size in sizes.items() if name.endswith(end)) for end in (".safetensors", ".bin")]
    weights = kinds[0] or kinds[1]
    card: Any = info.card_data
    licence = (card.get("license") if card else None) or UNKNOWN_LICENCE
    here = (Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots" / str(info.sha)).is_dir()
    where = "in the Hugging Face cache" if here else "fetched when it is first used"
    return Outlook(
        f"{repository} at {info.sha} on {_hub()} (licence: {licence}), {weights / 1e9:.1f} GB, {where}",
        weights or None,
        missing_bytes=0 if here else weights,
        missing_in=Path(HF_HUB_CACHE),
    )


_SECONDS_TO_ANSWER = 20


def _hub() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _hub_name(base_model: str) -> tuple[str, str | None]:
    """The repository and the revision of ``id`` or ``id@revision``."""
    repository, _, revision = base_model.partition("@")
    if not _HUB_ID.fullmatch(repository):
        raise ConfigError(
            f"finetune.base_model: {base_model!r} is neither a folder nor a name that a model can have", _WHAT_TO_GIVE
        )
    return repository, revision or None


@contextmanager
def _translated_hub_errors(base_model: str) -> Iterator[None]:
    """The hub's errors as ours, each with what a person can do about it."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    subject = f"finetune.base_model: {base_model}"
    repository, revision = _hub_name(base_model)
    try:
        yield
    except GatedRepoError as error:
        raise ModelMissing(
            f"{subject} is gated: {_hub()} gives it only to those who accepted its terms ({_first_line(error)})",
            f"accept the terms at {_hub()}/{repository}, then 'hf auth login' or export HF_TOKEN=...; {_WHAT_TO_GIVE}",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelMissing(
            f"{subject} is not on {_hub()}, or is private and your token may not read it ({_first_line(error)})",
            _near_name(repository) + f"check the id at {_hub()}/{repository}; private: export HF_TOKEN=...",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelMissing(
            f"{subject}: {repository} has no revision {revision!r}", f"see {_hub()}/{repository}/commits/main"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _unreachable(subject, repository, error) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise ModelMissing(
                f"{subject}: {_hub()} refuses it with status {status} ({_first_line(error)})",
                f"'hf auth login' or export HF_TOKEN=... with a token that may read {repository}",
            ) from error
        raise ModelMissing(
            f"{subject}: {_hub()} answers with status {status} ({_first_line(error)})", "try again in a while"
        ) from error
    except EntryNotFoundError as error:
        raise ModelMissing(f"{subject}: {_first_line(error)}", _WHAT_TO_GIVE) from error
    except OSError as error:
        raise _unreachable(subject, repository, error) from error
    except Exception as error:
        # The hub's client changes its HTTP library from one version to the next, whose errors have no common base.
        if not _is_of_http_client(error):
            raise
        raise _unreachable(subject, repository, error) from error


def _unreachable(subject: str, repository: str, error: BaseException) -> ModelMissing:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        reason = "HF_HUB_OFFLINE is set"
    else:
        reason = f"{_hub()} cannot be reached ({_first_line(error.__cause__ or error)})"
    return ModelMissing(
        f"{subject} is not in the Hugging Face cache, and {reason}",
        _near_name(repository) + "export HF_ENDPOINT=URL of a mirror that you reach, or copy the model's folder to "
        "this machine and set finetune.base_model to its path",
    )


def _is_of_http_client(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests", "urllib3")


def _near_name(repository: str) -> str:
    near = difflib.get_close_matches(repository.lower(), fetched.KNOWN, n=1, cutoff=0.7)
    return f"did you mean {near[0]}? Else " if near else ""


def _first_line(error: BaseException) -> str:
    """What the hub says of a refusal; else the first line of the error, which for a refusal only names its status."""
    said = getattr(error, "server_message", None) or str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


# --- licences --------------------------------------------------------------------------------------------------------


def _licence_of_card(folder: Path) -> str | None:
    """What the YAML at the head of ``README.md`` says."""
    try:
        _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
        card = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(card, dict):
        return None
    # 'other' is the hub's word for: see license_name.
    licence = card.get("license_name") if card.get("license") == "other" else card.get("license")
    return str(licence or card.get("license") or "") or None


def _licence_of_registration(folder: Path) -> str | None:
    try:
        metadata = yaml.safe_load((folder.parent / "MLmodel").read_text())["metadata"]
        licence = metadata["finreg.base_licence"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    return str(licence) if licence != UNKNOWN_LICENCE else None


def _licence_of_gguf(folder: Path) -> str | None:
    path = folder / METADATA
    licence = fetched.gguf_metadata(path).get("general.license") if path.is_file() else None
    return str(licence) if licence else None


@contextmanager
def _tracked(progress: Progress | None, description: str) -> Iterator[None]:
    if progress is None:
        yield
        return
    with progress.track(description, None):
        yield


@contextmanager
def _translated_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StageFailed(
            f"finetune.base_model: it cannot be kept on this disk: {error}",
            "make room, or export FINREG_CACHE=FOLDER (HF_HOME=FOLDER for models of the hub) on another disk",
        ) from error
