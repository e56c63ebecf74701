"""The engines that every contract test runs on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse

JARS = Path(__file__).parents[2] / "../shared/jars"
ENGINES = ("embedded", "sail", pytest.param("jvm", marks=pytest.mark.slow))

Opener = Callable[[Path], Lakehouse]


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
