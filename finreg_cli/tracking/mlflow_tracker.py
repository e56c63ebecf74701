"""MLflow behind the tracking port: a SQLite file by default, any tracking URI, never telemetry.

MLflow is imported when the first run opens (about two seconds), not before.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sqlite3
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finreg_cli.errors import ConfigError, Interrupted, StageFailed
from finreg_cli.tracking.base import TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
REMEDY = "check the URI and that its folder can be written, for example --set tracking.uri=sqlite:///mlflow.db"
REACH_SECONDS = 10
METRICS_A_REQUEST = 1_000
PARAMS_A_REQUEST = 100
PARAM_CHARACTERS = 6_000

_SILENCE = {
    # Never phone home: read at import, and again with each event.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Else the first contact with a store prints a page of alembic's migrations.
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


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
    def run(self, name: str, tags: Mapping[str, str], parent: TrackedRun | None = None) -> Iterator[TrackedRun]:
        """An open run; nested under ``parent`` where one is given.

        Raises:
            ConfigError: the tracking URI means nothing to MLflow, its store cannot be written, or the experiment is
                deleted.
            StageFailed: the server cannot be reached, or refuses.
        """
        all_tags = {**tags, "mlflow.source.name": "finreg"}
        if parent is not None:
            all_tags["mlflow.parentRunId"] = parent.id
        with self._translated():
            opened = self._client.create_run(self._experiment_id, run_name=name, tags=all_tags)
        run = MlflowRun(self, opened.info.run_id)
        try:
            yield run
        except (KeyboardInterrupt, Interrupted, GeneratorExit):
            self._end(run.id, "KILLED")
            raise
        except BaseException:
            self._end(run.id, "FAILED")
            raise
        with self._translated():
            self._client.set_terminated(run.id, "FINISHED")

    def _end(self, run_id: str, status: str) -> None:
        """Ends a run while another error is on its way, which a tracker's own must not replace."""
        try:
            with self._translated():
                self._client.set_terminated(run_id, status)
        except (ConfigError, StageFailed) as error:
            logging.getLogger(__name__).warning("the tracked run stays open: %s", error.message)

    @cached_property
    def _client(self) -> MlflowClient:
        mlflow = _import_mlflow()
        if self._uri.startswith(("http://", "https://")):
            _reach_server(self._uri)
        elif self._uri.startswith(SQLITE):
            _open_sqlite(self._uri)
        try:
            return mlflow.MlflowClient(tracking_uri=self._uri)  # type: ignore[no-any-return]  # imported lazily
        except mlflow.exceptions.MlflowException as error:
            raise ConfigError(
                f"tracking.uri: MLflow cannot open {self._uri!r}: {_first_line(error)}", REMEDY
            ) from error

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

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Vendor errors as ours; what MLflow's dependencies deprecate of each other is not the user's to read.

        An OSError is an artifact on a full or read-only disk, or comes from `requests`.
        """
        mlflow = _import_mlflow()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield
            except (mlflow.exceptions.MlflowException, OSError) as error:
                raise StageFailed(
                    f"MLflow at {self._uri} refused: {_first_line(error)}",
                    "check tracking.uri and tracking.experiment, then run the same command again",
                ) from error


def _reach_server(uri: str) -> None:
    """Fails at once where no server is; MLflow itself would try for four minutes."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=REACH_SECONDS):
            pass
    except urllib.error.HTTPError as refusal:
        refusal.close()  # an answer is an answer: a gateway need not know /health
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise StageFailed(
            f"tracking.uri: no MLflow server answers at {uri}: {reason}",
            "start it ('mlflow server'), or --set tracking.uri=sqlite:///mlflow.db",
        ) from None


def _open_sqlite(uri: str) -> None:
    """Fails at once where the file cannot be written or is no database; MLflow itself would try for two minutes."""
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=REACH_SECONDS)) as database:
            database.execute("PRAGMA schema_version")
            database.execute("BEGIN IMMEDIATE")
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"tracking.uri: cannot write the database {path}: {error}", REMEDY) from None


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
        with self._tracker._translated():
            for batch in _batches(params, PARAMS_A_REQUEST):
                self._tracker._client.log_batch(self._id, params=batch)

    def metrics(self, values: Mapping[str, float]) -> None:
        self.steps((0, name, value) for name, value in values.items())

    def steps(self, values: Iterable[tuple[int, str, float]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = (Metric(name, value, now, step) for step, name, value in values)
        with self._tracker._translated():
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
        with self._tracker._translated():
            self._tracker._client.log_inputs(
                self._id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
            )

    def artifact(self, path: Path, folder: str = "") -> None:
        with self._tracker._translated():
            self._tracker._client.log_artifact(self._id, str(path), folder or None)


def _import_mlflow() -> Any:
    os.environ.update(_SILENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies deprecate each other; nothing of it is ours to change
        import mlflow
        import mlflow.exceptions
    return mlflow


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _batches(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(values)
    while batch := list(itertools.islice(remaining, size)):
        yield batch
