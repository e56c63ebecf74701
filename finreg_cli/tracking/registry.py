"""MLflow's model registry: tuned models go in, base models come out.

The registry is the one that belongs to the tracking URI: Unity Catalog where that is ``databricks``, else the same
server or store. A model is logged as MLflow's flavor ``transformers`` for chat, from its folder: the weights are
copied, and never loaded.
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from finreg_cli.errors import ConfigError, MissingExtra, ModelMissing, StageFailed
from finreg_cli.tracking.base import Registration
from finreg_cli.tracking.store import first_line, import_mlflow, open_client, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

UNITY_CATALOG = "databricks-uc"
CHAT = "llm/v1/chat"
MODEL = "model"
"""What the logged model is called within its run."""

_URI = re.compile(r"models:/(?P<name>[^/@:]+)(/(?P<version>[1-9][0-9]*)|@(?P<alias>[\w-]+))")
_PINNED = ("mlflow", "torch", "transformers", "accelerate")
"""The packages that the registered model runs with, in the versions that it was made with."""

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_TAG_CHARACTERS = 256
"""What Unity Catalog takes as the value of a tag."""


def registry_of(tracking_uri: str) -> str:
    """The URI of the registry beside a tracking URI: ``databricks://PROFILE`` -> ``databricks-uc://PROFILE``."""
    scheme, separator, profile = tracking_uri.partition("://")
    return f"{UNITY_CATALOG}{separator}{profile}" if scheme == "databricks" else tracking_uri


class MlflowRegistry:
    """The registry that belongs to a tracking URI; it is reached when it is first asked."""

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri

    # --- base models ---

    def location(self, model: str) -> str:
        """The URI of the registry that a model comes from: the catalog ``system`` is always Unity Catalog's."""
        own = registry_of(self._tracking_uri)
        in_system = model.startswith("models:/system.") and not own.startswith(UNITY_CATALOG)
        return UNITY_CATALOG if in_system else own

    def pinned(self, model: str) -> str:
        """``models:/NAME@ALIAS`` as the ``models:/NAME/VERSION`` that it means now; a version as it is.

        Raises:
            ModelMissing: there is no such model, version or alias.
            ConfigError: it is no such URI, or the store cannot be opened.
            StageFailed: the registry cannot be reached, or refuses.
        """
        name, number, alias = _parts(model)
        with self._at(self.location(model)) as client, _explained(client, model):
            found = (
                client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, str(number))
            )
        return f"models:/{name}/{found.version}"

    def download(self, model: str, folder: Path) -> None:
        """The files of a version into ``folder``, which exists.

        Raises:
            ModelMissing: there is no such version.
            StageFailed: the registry cannot be reached, or refuses.
        """
        registry = self.location(model)
        with self._at(registry) as client, _explained(client, model):
            from mlflow.artifacts import download_artifacts

            download_artifacts(artifact_uri=model, dst_path=str(folder), registry_uri=registry)

    # --- tuned models ---

    def check(self, name: str, alias: str) -> str:
        """What stands under a name now, in words: reaches the registry, and changes nothing.

        Raises:
            ConfigError: its store cannot be opened.
            StageFailed: the registry cannot be reached, or refuses.
        """
        from mlflow.exceptions import MlflowException

        with self._at(self._uri) as client:
            try:
                found = client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                return f"{self._uri} answers; {name} is new and will be made"
            versions = len(_versions(client, name))
        points_to = (found.aliases or {}).get(alias)
        now = f"'{alias}' points to version {points_to}" if points_to else f"'{alias}' is new"
        return f"{self._uri} answers; {name} has {versions} versions, and the alias {now}"

    def register(self, model: Registration, tracked_run: str) -> str:
        """Logs the model in a tracked run, registers it and points the alias at it; gives the version.

        Each step finds what an earlier call has done, however that ended: the logged model by its tags (one whose
        upload was cut short is uploaded again, into its place), the version by the same tags, the alias by its name.

        Raises:
            ConfigError: its store cannot be opened.
            MissingExtra: a package of the extra ``train`` is not installed.
            StageFailed: the registry cannot be reached, or refuses.
        """
        with self._at(self._uri) as client:
            _make_registered_model(client, model)
            known = _registered_before(client, model)
            if known is None:
                logged = self._log(client, model, tracked_run)
                known = _create_version(client, model, logged, tracked_run)
            if known.aliases is None or model.alias not in known.aliases:
                client.set_registered_model_alias(model.name, model.alias, str(known.version))
        return str(known.version)

    def _log(self, client: MlflowClient, model: Registration, tracked_run: str) -> LoggedModel:
        """The model as an MLflow model of the run, uploaded whole; taken as it is where it was uploaded before."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        experiment = client.get_run(tracked_run).info.experiment_id
        logged = _logged_before(client, model, experiment, tracked_run)
        if logged is None:
            logged = client.create_logged_model(experiment, MODEL, tracked_run, tags=_tags(model))
            client.log_outputs(tracked_run, models=[LoggedModelOutput(logged.model_id, step=0)])
        if logged.status == LoggedModelStatus.READY:
            return logged
        prepared = model.merged.with_name("registration.part")
        try:
            _save(model, logged, tracked_run, prepared)
            client.log_model_artifacts(logged.model_id, str(prepared))
        finally:
            shutil.rmtree(prepared, ignore_errors=True)
        if model.adapter is not None:
            client.log_artifacts(tracked_run, str(model.adapter), "adapter")
        return client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)

    @cached_property
    def _uri(self) -> str:
        return registry_of(self._tracking_uri)

    @contextmanager
    def _at(self, registry: str) -> Iterator[MlflowClient]:
        """A client of the registry, which is also what MLflow's own look-ups use meanwhile: they take no client."""
        mlflow = import_mlflow()
        with translated(registry):
            client = open_client(self._tracking_uri, registry)
            before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
            mlflow.set_tracking_uri(self._tracking_uri)
            mlflow.set_registry_uri(registry)
            try:
                yield client
            finally:
                mlflow.set_tracking_uri(before[0])
                mlflow.set_registry_uri(before[1])


def _parts(model: str) -> tuple[str, str | None, str | None]:
    match = _URI.fullmatch(model)
    if match is None:
        raise ConfigError(
            f"finetune.base_model: {model!r} is neither models:/NAME/VERSION nor models:/NAME@ALIAS",
            "for example models:/system.ai.NAME/1; a version is a number",
        )
    return match["name"], match["version"], match["alias"]


@contextmanager
def _explained(client: MlflowClient, model: str) -> Iterator[None]:
    """A model, version or alias that is not there, with what is."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        # The SQL store calls an unknown alias an invalid parameter.
        if error.error_code not in _ABSENT and "not found" not in str(error):
            raise
        raise ModelMissing(
            f"finetune.base_model: {model} is not in the registry {client._registry_uri}: {first_line(error)}",
            _what_is_there(client, model),
        ) from error


def _what_is_there(client: MlflowClient, model: str) -> str:
    from mlflow.exceptions import MlflowException

    name = _parts(model)[0]
    try:
        aliases = client.get_registered_model(name).aliases or {}
        versions = sorted(int(each.version) for each in _versions(client, name))
    except MlflowException:
        try:
            names = [each.name for each in client.search_registered_models(max_results=100)]
        except MlflowException:
            names = []
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        return f"there is {', '.join(near)}" if near else "check the name, and tracking.uri, whose registry it is"
    named = "".join(f", @{alias} is {number}" for alias, number in aliases.items())
    return f"{name} has the versions {', '.join(map(str, versions)) or 'none'}{named}"


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name='{name}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _make_registered_model(client: MlflowClient, model: Registration) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model.name, tags={"finreg.task": model.facts.get("task", "")})
    except MlflowException as error:
        if error.error_code in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            return
        raise


def _registered_before(client: MlflowClient, model: Registration) -> ModelVersion | None:
    """The version that holds this very model; one that was left unfinished is removed, as nothing can finish it."""
    for each in _versions(client, model.name):
        found = client.get_model_version(model.name, str(each.version))  # a search may leave tags and aliases out
        if not _is_of(found.tags, model):
            continue
        if found.status == "READY":
            return found
        client.delete_model_version(model.name, str(found.version))
    return None


def _logged_before(client: MlflowClient, model: Registration, experiment: str, tracked_run: str) -> LoggedModel | None:
    found = client.search_logged_models([experiment], f"source_run_id = '{tracked_run}'")
    return next((each for each in found if _is_of(each.tags, model)), None)


def _is_of(tags: Mapping[str, str], model: Registration) -> bool:
    ours = _tags(model)
    return all(tags.get(name) == ours[name] for name in ("finreg.run_id", "finreg.weights_sha256"))


def _tags(model: Registration) -> dict[str, str]:
    facts = {"run_id": model.run_id, **model.facts}
    return {f"finreg.{name}": value[:_TAG_CHARACTERS] for name, value in facts.items()}


def _create_version(client: MlflowClient, model: Registration, logged: LoggedModel, tracked_run: str) -> ModelVersion:
    created = client.create_model_version(
        model.name,
        source=f"models:/{logged.model_id}",
        run_id=tracked_run,
        tags=_tags(model),
        description=model.description,
        model_id=logged.model_id,
    )
    if created.status != "READY":
        raise StageFailed(
            f"the registry left version {created.version} of {model.name} {created.status}: {created.status_message}",
            "run the same command again: it registers the model anew",
        )
    # What MLflow's own pages follow from the logged model to its version.
    link = json.dumps([{"name": model.name, "version": str(created.version)}])
    client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})
    return created


def _save(model: Registration, logged: LoggedModel, tracked_run: str, folder: Path) -> None:
    """Writes the MLflow model into ``folder``: weights and tokenizer as they are, signature, example, requirements."""
    try:
        import mlflow.transformers
        from huggingface_hub import ModelCard
        from mlflow.models import Model
        from mlflow.models.model import MLMODEL_FILE_NAME
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "train", "finetune.register_to") from None

    _resolve_pipeline()
    shutil.rmtree(folder, ignore_errors=True)
    described = Model(run_id=tracked_run, model_id=logged.model_id, metadata=_tags(model))
    card = _card(model)
    mlflow.transformers.save_model(
        transformers_model=str(model.merged),
        path=str(folder),
        task=CHAT,
        mlflow_model=described,
        input_example={"messages": [dict(each) for each in model.example]},
        metadata=_tags(model),
        pip_requirements=_requirements(),
        # As it was evaluated: the pipeline's own default is to sample, with another answer each time.
        model_config={"do_sample": False, "max_new_tokens": model.max_new_tokens},
        model_card=ModelCard(card),  # else MLflow would look for one on the hub
    )
    # MLflow takes the folder's path as the name of the model's source, which says nothing on another machine.
    described.flavors["transformers"]["source_model_name"] = model.facts.get("base_model", model.name)
    described.save(str(folder / MLMODEL_FILE_NAME))
    # MLflow's own text sends the reader to a page of the hub that it makes up of the folder's name.
    licence = model.facts.get("base_licence", "unknown")
    (folder / "LICENSE.txt").write_text(
        f"This model was tuned from {model.facts.get('base_model')}, whose licence is: {licence}\n"
    )
    (folder / MODEL / "README.md").write_text(card)


def _resolve_pipeline() -> None:
    """MLflow 3.17 logs a folder by the class of its pipeline, where transformers has the class's path since 5.0.

    Transformers takes either, so the path is replaced by what it names; with a version that has the class, nothing is.
    """
    from transformers import pipelines

    entry = pipelines.check_task("text-generation")[1]
    if isinstance(entry["impl"], str):
        module, _, name = entry["impl"].rpartition(".")
        entry["impl"] = getattr(import_module(module), name)


def _card(model: Registration) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in model.facts.items())
    licence = json.dumps(model.facts.get("base_licence", "unknown"))
    return f"---\nlicense: {licence}\n---\n# {model.name}\n\n{model.description}\n\n{facts}\n"


def _requirements() -> list[str]:
    """Without the part of a version that names a build (``+cpu``): the package index has none such."""
    return [f"{package}=={version(package).partition('+')[0]}" for package in _PINNED]
