"""MLflow behind the tracking port: a SQLite file by default, any tracking URI, never telemetry."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finreg_cli.errors import ConfigError, Interrupted, StageFailed
from finreg_cli.tracking.base import Registration, TrackedRun
from finreg_cli.tracking.store import SQLITE, open_client, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS_A_REQUEST = 1_000
PARAMS_A_REQUEST = 100
PARAM_CHARACTERS = 6_000

_OPEN = ("RUNNING", "SCHEDULED")


class MlflowTracker:
    """Runs in one experiment of one tracking server or store.

    Args:
        uri: MLflow's tracking URI, ``sqlite:///mlflow.db`` or ``https://...``.
        experiment: created where it is new.
        artifact_root: the folder of the artifacts of an experiment that is created in a local store; a server has its
            own place.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: Path) -> None:
        self._uri = uri
        self._experiment = experiment
        self._artifact_root = artifact_root

    @contextmanager
    def run(
        self, name: str, tags: Mapping[str, str], parent: TrackedRun | None = None, resume: str | None = None
    ) -> Iterator[TrackedRun]:
        """An open run; nested under ``parent`` where one is given.

        Args:
            resume: the tracker's id of a run to go on under; where the store no longer knows it, a new run is made.

        Raises:
            ConfigError: the tracking URI means nothing to MLflow, its store cannot be written, or the experiment is
                deleted.
            StageFailed: the server cannot be reached, or refuses.
        """
        all_tags = {**tags, "mlflow.source.name": "finreg"}
        if parent is not None:
            all_tags["mlflow.parentRunId"] = parent.id
        with translated(self._uri):
            run = MlflowRun(self, self._resumed(resume, all_tags) or self._created(name, all_tags))
        try:
            yield run
        except (KeyboardInterrupt, Interrupted, GeneratorExit):
            self._end(run.id, "KILLED")
            raise
        except BaseException:
            self._end(run.id, "FAILED")
            raise
        with translated(self._uri):
            self._client.set_terminated(run.id, "FINISHED")

    def end(self, run_id: str) -> None:
        """Ends a run that a killed process left open; one that has ended or is unknown stays as it is."""
        with translated(self._uri):
            found = self._known(run_id)
            if found is not None and found.info.status in _OPEN:
                self._client.set_terminated(run_id, "KILLED")

    def register(self, model: Registration) -> str:
        """Logs the model in its member's run, registers it and points the alias at it; gives the version.

        Raises:
            ConfigError: the registry's store cannot be opened.
            StageFailed: the registry cannot be reached, or refuses.
        """
        from finreg_cli.tracking.registry import MlflowRegistry

        with translated(self._uri):
            run_id = self._run_of(model.run_id)
        if run_id is None:  # its store was exchanged since: the model gets a run of its own
            with self.run(
                f"register {model.run_id}", {"finreg.run_id": model.run_id, "finreg.stage": "finetune"}
            ) as run:
                return MlflowRegistry(self._uri).register(model, run.id)
        return MlflowRegistry(self._uri).register(model, run_id)

    def _run_of(self, run_id: str) -> str | None:
        """The newest tracked run of a member of a sweep, by our id of it."""
        where = f"tags.`finreg.run_id` = '{run_id}' and tags.`finreg.stage` = 'finetune'"
        newest = ["attributes.start_time DESC"]
        found = self._client.search_runs([self._experiment_id], where, order_by=newest, max_results=1)
        return found[0].info.run_id if found else None

    def _created(self, name: str, tags: Mapping[str, str]) -> str:
        return str(self._client.create_run(self._experiment_id, run_name=name, tags=dict(tags)).info.run_id)

    def _resumed(self, run_id: str | None, tags: Mapping[str, str]) -> str | None:
        if run_id is None or self._known(run_id) is None:
            return None
        self._client.update_run(run_id, status="RUNNING")
        for name, value in tags.items():
            self._client.set_tag(run_id, name, value)
        return run_id

    def _known(self, run_id: str) -> Any:
        """The run; None where the store does not know it, or it is deleted."""
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # unknown; no id at all
                return None
            raise
        return found if found.info.lifecycle_stage == "active" else None

    def _end(self, run_id: str, status: str) -> None:
        """Ends a run while another error is on its way, which a tracker's own must not replace."""
        try:
            with translated(self._uri):
                self._client.set_terminated(run_id, status)
        except (ConfigError, StageFailed) as error:
            logging.getLogger(__name__).warning("the tracked run stays open: %s", error.message)

    @cached_property
    def _client(self) -> MlflowClient:
        return open_client(self._uri)

    @cached_property
    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            return self._create_experiment()
        if found.lifecycle_stage == "deleted":
            raise ConfigError(
                f"tracking.experiment: {self._experiment!r} was deleted in {self._uri}",
                f"mlflow experiments restore --experiment-id {found.experiment_id}, or choose another name",
            )
        return str(found.experiment_id)

    def _create_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        local = self._uri.startswith(SQLITE)
        location = self._artifact_root.resolve().as_uri() if local else None
        try:
            return str(self._client.create_experiment(self._experiment, artifact_location=location))
        except MlflowException as error:
            made_by_another = self._client.get_experiment_by_name(self._experiment)
            if error.error_code == "RESOURCE_ALREADY_EXISTS" and made_by_another is not None:
                return str(made_by_another.experiment_id)
            raise


class MlflowRun:
    """An open run (`tracking.base.TrackedRun`)."""

    def __init__(self, tracker: MlflowTracker, run_id: str) -> None:
        self._tracker = tracker
        self._id = run_id

    @property
    def id(self) -> str:
        return self._id

    def params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        params = [Param(name, text[:PARAM_CHARACTERS]) for name, text in texts.items()]
        with translated(self._tracker._uri):
            for batch in _batches(params, PARAMS_A_REQUEST):
                self._tracker._client.log_batch(self._id, params=batch)

    def metrics(self, values: Mapping[str, float]) -> None:
        self.steps((0, name, value) for name, value in values.items())

    def steps(self, values: Iterable[tuple[int, str, float]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = (Metric(name, value, now, step) for step, name, value in values)
        with translated(self._tracker._uri):
            for batch in _batches(metrics, METRICS_A_REQUEST):
                self._tracker._client.log_batch(self._id, metrics=batch)

    def input_table(self, name: str, location: str, version: int, rows: int, context: str) -> None:
        """The table as MLflow's own Delta source, without reading a row of it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = {"path": location, "delta_table_version": version}
        dataset = Dataset(
            name=name,
            digest=f"v{version}",
            source_type="delta_table",
            source=json.dumps(source),
            profile=json.dumps({"num_rows": rows}),
        )
        with translated(self._tracker._uri):
            self._tracker._client.log_inputs(
                self._id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
            )

    def artifact(self, path: Path, folder: str = "") -> None:
        with translated(self._tracker._uri):
            self._tracker._client.log_artifact(self._id, str(path), folder or None)


def _batches(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(values)
    while batch := list(itertools.islice(remaining, size)):
        yield batch
