"""How MLflow is reached: imported when it is needed and never phoning home, its errors translated into ours.

MLflow is imported when the first run opens (about two seconds), not before.
"""

from __future__ import annotations

import os
import sqlite3
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finreg_cli.errors import ConfigError, StageFailed

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
REMEDY = "check the URI and that its folder can be written, for example --set tracking.uri=sqlite:///mlflow.db"
REACH_SECONDS = 10

_SILENCE = {
    # Never phone home: read at import, and again with each event.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Else the first contact with a store prints a page of alembic's migrations.
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # They would be drawn through ours.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_SIGN_IN = (
    "databricks auth login (or export DATABRICKS_HOST with DATABRICKS_TOKEN, or with DATABRICKS_CLIENT_ID and "
    "DATABRICKS_CLIENT_SECRET), then finreg doctor"
)


def open_client(uri: str, registry_uri: str | None = None) -> MlflowClient:
    """A client of a tracking server or store, and of a registry, which is the same one where none is named.

    Raises:
        ConfigError: the URI means nothing to MLflow, or its store cannot be written.
        StageFailed: no server answers there.
    """
    mlflow = import_mlflow()
    for each in {uri, registry_uri or uri}:
        if each.startswith(("http://", "https://")):
            _reach_server(each)
        elif each.startswith(SQLITE):
            _open_sqlite(each)
    try:
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=registry_uri)  # type: ignore[no-any-return]  # imported lazily
    except mlflow.exceptions.MlflowException as error:
        raise ConfigError(f"tracking.uri: MLflow cannot open {uri!r}: {first_line(error)}", REMEDY) from error


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Vendor errors as ours; what MLflow's dependencies deprecate of each other is not the user's to read.

    An OSError is an artifact on a full or read-only disk, or comes from `requests`; a ValueError is what the
    Databricks SDK raises where it finds nothing to sign in with.

    Raises:
        StageFailed: MLflow refuses, or cannot be reached.
    """
    mlflow = import_mlflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (mlflow.exceptions.MlflowException, OSError) as error:
            remedy = "check tracking.uri and tracking.experiment, then run the same command again"
            raise StageFailed(
                f"MLflow at {uri} refused: {first_line(error)}", _SIGN_IN if uri.startswith("databricks") else remedy
            ) from error
        except ValueError as error:
            if not uri.startswith("databricks"):
                raise
            raise StageFailed(f"MLflow cannot sign in at {uri}: {first_line(error)}", _SIGN_IN) from error


def import_mlflow() -> Any:
    os.environ.update(_SILENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies deprecate each other; nothing of it is ours to change
        import mlflow
        import mlflow.exceptions
    return mlflow


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
