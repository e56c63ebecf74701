"""Spark sessions: on a Spark Connect server, or with a JVM of their own."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from finreg_cli.errors import ConfigError, MissingExtra, WarehouseError
from finreg_cli.lakehouse.failures import first_line

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DEFAULT_PORT = 15002
"""Where a Spark Connect server listens unless told otherwise."""

_PATIENCE = 5.0
_COMMON = {"spark.sql.session.timeZone": "UTC"}
_JVM = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Spark's defaults (200, 50 and 32 tasks) are for clusters: on one machine a merge takes twice, a vacuum 15 times as
    # long with them.
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
}


def connect(remote: str, conf: Mapping[str, str] | None = None) -> SparkSession:
    """A session of its own on a Spark Connect server that has Delta Lake: Spark 4, or Sail.

    Args:
        remote: ``sc://HOST:PORT``, with parameters as Spark defines them (``/;token=...``).
        conf: further settings.

    Raises:
        MissingExtra: pyspark, or a package that its client needs, is not installed.
        ConfigError: ``remote`` is no such address.
        WarehouseError: nothing answers there, or it refuses.
    """
    with _pyspark_at_hand():
        from pyspark.sql.connect.session import SparkSession as ConnectSession
    address = _demand_answer(remote)
    builder = ConnectSession.builder.remote(remote)
    with _translated(f"cannot open a session on the Spark Connect server at {address}", "check the server and its log"):
        # Not getOrCreate: it would hand out another server's session.
        session: SparkSession = _configured(builder, {**_COMMON, **(conf or {})}).create()
        return session


def start(master: str, jars: Sequence[str] = (), conf: Mapping[str, str] | None = None) -> SparkSession:
    """The session of a JVM with Delta Lake in it, which this process starts (or has started before).

    Args:
        master: Spark's master URL, ``local[2]``.
        jars: delta-spark's and delta-storage's jar; without them Spark fetches them from Maven.
        conf: further settings; they win over the ones set here.

    Raises:
        MissingExtra: pyspark or delta-spark is not installed.
        ConfigError: a jar is named that is not there.
        WarehouseError: there is no Java, or no jar.
    """
    with _pyspark_at_hand():
        from delta import configure_spark_with_delta_pip
        from pyspark.sql import SparkSession
    # Spark itself only logs it, and fails at the first table.
    missing = [jar for jar in jars if "://" not in jar and not Path(jar).is_file()]
    if missing:
        raise ConfigError(f"engine.jars: no such file: {', '.join(missing)}", "correct the paths, or leave jars out")
    builder = _configured(SparkSession.builder.master(master), {**_COMMON, **_JVM})
    builder = builder.config("spark.jars", ",".join(jars)) if jars else configure_spark_with_delta_pip(builder)
    source = f"with the jars {', '.join(jars)}" if jars else "with Delta Lake's jars from Maven"
    with _translated(
        f"cannot start Spark on {master} {source}",
        "install Java 17 and set JAVA_HOME; without access to Maven, name delta-spark's and delta-storage's jar in "
        "engine.jars",
    ):
        session: SparkSession = _configured(builder, conf or {}).getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        return session


def _configured(builder: Any, conf: Mapping[str, str]) -> Any:
    for key, value in conf.items():
        builder = builder.config(key, value)
    return builder


def _demand_answer(remote: str) -> str:
    """The server's HOST:PORT; asked for here, as Spark's client retries for ten minutes before it gives up."""
    try:
        url = urlsplit(remote)
        host, port = url.hostname, url.port or DEFAULT_PORT
    except ValueError:
        host = None
    # The address may end in a token, so no message repeats the whole of it.
    if not host or not remote.startswith("sc://"):
        raise ConfigError("engine.remote is not the address of a Spark Connect server", "write it as sc://HOST:PORT")
    try:
        socket.create_connection((host, port), _PATIENCE).close()
    except OSError as error:
        raise WarehouseError(
            f"no Spark Connect server answers at {host}:{port}: {error}",
            f"start one there (sail spark server --port {port}, or Spark's start-connect-server.sh), "
            "or set engine.remote",
        ) from error
    return f"{host}:{port}"


@contextmanager
def _pyspark_at_hand() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingExtra(error.name or "pyspark", "spark", "engine.kind: spark") from error


@contextmanager
def _translated(problem: str, remedy: str) -> Iterator[None]:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no type information
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise WarehouseError(f"{problem}: {first_line(error)}", remedy) from error
