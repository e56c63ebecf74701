"""Where base models come from: folders, a fake hub on loopback, and a real registry of MLflow's."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import tiny_llama
from fakes.hub import TOKEN, FakeHub, Repository
from finreg_cli.errors import ConfigError, ModelMissing
from finreg_cli.training import fetched
from finreg_cli.training.base_models import licence_of, look_up, resolve
from finreg_cli.training.gguf_export import dequantise

ID = "example-org/tiny"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    gguf = tiny_llama.write_gguf(folder / "tiny.gguf")
    dequantise(gguf, folder / "tiny")
    (folder / "tiny" / "tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    return folder / "tiny"


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with one model, and an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setenv("FINREG_CACHE", str(tmp_path / "finreg-cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))  # it reads the environment once
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with FakeHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        repository = Repository(licence="apache-2.0")
        repository.commit(files_of(tiny))
        running.repositories[ID] = repository
        yield running


def files_of(folder: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    card = b"---\nlicense: apache-2.0\n---\n# Tiny\n"
    other = {"model.gguf": b"GGUF", "original/consolidated.safetensors": b"again", "onnx/model.onnx": b"again"}
    return {**files, **other, "README.md": card}


# --- the hub ---------------------------------------------------------------------------------------------------------


def test_a_model_of_the_hub_is_fetched_once_and_named_by_its_commit(hub: FakeHub, tiny: Path) -> None:
    commit = hub.repositories[ID].main
    base = resolve(ID)
    assert base.name == f"{ID}@{commit}"
    assert base.licence == "apache-2.0"
    assert (base.folder / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    assert not {"model.gguf", "original/consolidated.safetensors", "onnx/model.onnx"} & set(hub.fetched)
    fetched_before = list(hub.fetched)
    assert resolve(ID) == base
    assert hub.fetched == fetched_before


def test_the_pinned_name_needs_no_network_and_survives_a_branch_that_moves(
    hub: FakeHub, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve(ID)
    hub.repositories[ID].commit({**files_of(tiny), "generation_config.json": b"{}"})
    moved = resolve(ID)
    assert moved.name != first.name
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve(first.name) == first
    assert (first.folder / "generation_config.json").read_bytes() != b"{}"
    assert resolve(ID) == moved, "without the network: what the branch was when it was last seen"


def test_weights_of_the_older_format_are_taken_where_there_are_no_others(hub: FakeHub, tiny: Path) -> None:
    files = files_of(tiny)
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    hub.repositories[ID].commit(files)
    base = resolve(ID)
    assert (base.folder / "pytorch_model.bin").is_file()
    assert resolve(base.name) == base


def test_a_repository_without_weights_is_refused(hub: FakeHub) -> None:
    hub.repositories[ID].commit({"model.gguf": b"GGUF", "config.json": b"{}"})
    with pytest.raises(ConfigError, match="transformers cannot load it"):
        resolve(ID)


@pytest.mark.parametrize("use", [resolve, look_up])
def test_a_gated_model_says_where_to_accept_its_terms(hub: FakeHub, use: object) -> None:
    hub.repositories[ID].gated = True
    with pytest.raises(ModelMissing, match=f"{ID} is gated: .*restricted") as caught:
        use(ID)  # type: ignore[operator]  # one of two functions
    assert f"{hub.url}/{ID}" in caught.value.remedy
    assert "HF_TOKEN" in caught.value.remedy


def test_a_gated_model_is_had_with_a_token(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[ID].gated = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert look_up(ID).weight_bytes
    assert resolve(ID).licence == "apache-2.0"


@pytest.mark.parametrize("use", [resolve, look_up])
def test_a_model_that_does_not_exist_is_named(hub: FakeHub, use: object) -> None:
    with pytest.raises(ModelMissing, match=r"is not on http://127\S+ or is private") as caught:
        use("example-org/none")  # type: ignore[operator]  # one of two functions
    assert "check the id" in caught.value.remedy


def test_a_misspelt_fetched_model_is_recognised(hub: FakeHub) -> None:
    with pytest.raises(ModelMissing) as caught:
        resolve("smollm2-135m-instrct")
    assert caught.value.remedy.startswith("did you mean smollm2-135m-instruct?")


@pytest.mark.parametrize("use", [resolve, look_up])
def test_a_revision_that_does_not_exist_is_named(hub: FakeHub, use: object) -> None:
    with pytest.raises(ModelMissing, match="has no revision 'v9'"):
        use(f"{ID}@v9")  # type: ignore[operator]  # one of two functions


@pytest.mark.parametrize("use", [resolve, look_up])
def test_without_a_network_the_mirror_and_the_folder_are_the_remedy(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, use: object
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelMissing, match=r"not in the Hugging Face cache, and \S+:9 cannot be reached") as caught:
        use(ID)  # type: ignore[operator]  # one of two functions
    assert "HF_ENDPOINT" in caught.value.remedy


def test_a_hub_that_is_down_is_named_with_its_status(hub: FakeHub) -> None:
    hub.down = True
    with pytest.raises(ModelMissing, match="503"):
        look_up(ID)


def test_what_is_known_before_it_is_fetched(hub: FakeHub, tiny: Path, tmp_path: Path) -> None:
    found = look_up(ID)
    size = (tiny / "model.safetensors").stat().st_size
    assert (found.weight_bytes, found.missing_bytes) == (size, size)
    assert f"{ID} at {hub.repositories[ID].main}" in found.text
    assert "licence: apache-2.0" in found.text
    assert not hub.fetched
    resolve(ID)
    assert look_up(ID).missing_bytes == 0


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_taken_as_it_is_with_the_licence_of_its_card(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    assert resolve(str(folder)).licence == "unknown"
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: our-own\n---\n# Model\n")
    base = resolve(str(folder))
    assert (base.name, base.folder, base.licence) == (str(folder), folder, "our-own")
    assert look_up(str(folder)).weight_bytes == (folder / "model.safetensors").stat().st_size


def test_gguf_metadata_knows_a_licence_too(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "metadata.gguf", "llama")
    writer.add_license("MIT")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert licence_of(tmp_path) == "MIT"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("/nowhere/at/all", "there is no folder /nowhere/at/all"),
        ("./nowhere", "there is no folder"),
        ("/Volumes/main/euroreg/models/base", "does not mount volumes"),
        ("what is this?", "is neither a folder nor a name"),
        ("models:/main.ai.tiny/1", "comes from a registry"),
    ],
)
def test_what_is_no_model_is_a_configuration_error(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        resolve(given)
    if given.startswith("/Volumes/"):
        assert f"databricks fs cp -r dbfs:{given}" in caught.value.remedy


def test_a_folder_without_configuration_or_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no weights"):
        resolve(str(tmp_path))


def test_a_copy_that_was_cut_short_names_what_is_missing(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ConfigError, match=r"lacks model-00002-of-00002\.safetensors"):
        resolve(str(folder))


# --- a registry ------------------------------------------------------------------------------------------------------


class FolderRegistry:
    """Versions that lie in folders; it counts what was asked of it."""

    def __init__(self, versions: dict[str, Path], aliases: dict[str, str], place: str = "here") -> None:
        self.downloads: list[str] = []
        self._versions, self._aliases, self._place = versions, aliases, place

    def location(self, model: str) -> str:
        return self._place

    def pinned(self, model: str) -> str:
        return self._aliases.get(model, model)

    def download(self, model: str, folder: Path) -> None:
        self.downloads.append(model)
        shutil.copytree(self._versions[model], folder, dirs_exist_ok=True)


@pytest.fixture
def logged(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An MLflow model whose tokenizer lies beside its weights, as the flavor writes objects."""
    monkeypatch.setenv("FINREG_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "logged"
    shutil.copytree(tiny, folder / "model")
    (folder / "components" / "tokenizer").mkdir(parents=True)
    (folder / "model" / "tokenizer.json").rename(folder / "components" / "tokenizer" / "tokenizer.json")
    flavor = {"model_binary": "model", "source_model_name": "example-org/tiny"}
    described = {"flavors": {"transformers": flavor}, "metadata": {"finreg.base_licence": "Apache-2.0"}}
    (folder / "MLmodel").write_text(json.dumps(described))
    return folder


def test_a_registered_version_is_downloaded_once_and_an_alias_is_pinned(logged: Path) -> None:
    one = "models:/main.ai.tiny/1"
    registry = FolderRegistry({one: logged}, {"models:/main.ai.tiny@champion": one})
    base = resolve("models:/main.ai.tiny@champion", registry=registry)
    assert (base.name, base.licence) == (one, "Apache-2.0")
    assert (base.folder / "tokenizer.json").is_file()
    assert resolve(one, registry=registry) == base
    assert registry.downloads == [one]
    assert str(base.folder) in look_up(one, registry).text


def test_the_same_name_in_another_registry_is_another_model(logged: Path) -> None:
    one = "models:/tiny/1"
    here, there = (FolderRegistry({one: logged}, {}, place) for place in ("here", "there"))
    assert resolve(one, registry=here).folder != resolve(one, registry=there).folder


def test_a_download_that_was_cut_short_is_made_again(logged: Path) -> None:
    one = "models:/tiny/1"
    registry = FolderRegistry({one: logged}, {})
    base = resolve(one, registry=registry)
    (base.folder.parent / "complete.json").unlink()
    assert resolve(one, registry=registry) == base
    assert len(registry.downloads) == 2


def test_a_version_of_another_flavor_or_without_weights_is_refused(logged: Path) -> None:
    registry = FolderRegistry({"models:/tiny/1": logged}, {})
    (logged / "model" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="a reference to example-org/tiny"):
        resolve("models:/tiny/1", registry=registry)
    (logged / "MLmodel").write_text("flavors: {sklearn: {}}")
    with pytest.raises(ConfigError, match="was not logged by MLflow's flavor 'transformers'"):
        resolve("models:/tiny/2", registry=FolderRegistry({"models:/tiny/2": logged}, {}))
