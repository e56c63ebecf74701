"""The engines that every contract test runs on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse

JARS = Path(__file__).parents[2] / "../shared/jars"
ENGINES = ("embedded", "sail", pytest.param("jvm", marks=pytest.mark.slow))

Opener = Callable[[Path], Lakehouse]

SERVER = """
import sys
from pysail.spark import SparkConnectServer

server = SparkConnectServer(ip="127.0.0.1", port=0)
server.start(background=True)
print(server.listening_address[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def sail() -> Iterator[str]:
    """The address of a Sail server in a process of its own; it ends when its standard input does."""
    pytest.importorskip("pysail", reason="pysail (extra dev) is not installed")
    pytest.importorskip("pyspark", reason="pyspark (extra spark) is not installed")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RUST_LOG": "off"},
    ) as server:
        assert server.stdout
        yield f"sc://127.0.0.1:{int(server.stdout.readline())}"
        assert server.stdin
        server.stdin.close()


@pytest.fixture(scope="session")
def sail_opener(sail: str) -> Iterator[Opener]:
    from finreg_cli.lakehouse.sessions import connect
    from finreg_cli.lakehouse.spark import SparkLakehouse

    session = connect(sail)
    yield lambda warehouse: SparkLakehouse(session, warehouse, "main", "euroreg")
    session.stop()


@pytest.fixture(scope="session")
def jvm_opener() -> Iterator[Opener]:
    jars = sorted(str(jar.resolve()) for jar in JARS.glob("delta-*.jar"))
    if not jars:
        pytest.skip(f"no Delta jars in {JARS}")
    if shutil.which("java") is None:
        pytest.skip("no Java on this machine")
    from finreg_cli.lakehouse.sessions import start
    from finreg_cli.lakehouse.spark import SparkLakehouse

    session = start("local[2]", jars)
    yield lambda warehouse: SparkLakehouse(session, warehouse, "main", "euroreg")
    session.stop()


@pytest.fixture(scope="session")
def embedded_opener() -> Opener:
    return lambda warehouse: EmbeddedLakehouse(warehouse, "main", "euroreg")


@pytest.fixture(params=ENGINES)
def opener(request: pytest.FixtureRequest) -> Opener:
    """Opens a lakehouse of each engine on a warehouse."""
    opener: Opener = request.getfixturevalue(f"{request.param}_opener")
    return opener


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "lakehouse"


@pytest.fixture
def lakehouse(opener: Opener, warehouse: Path) -> Lakehouse:
    return opener(warehouse)
