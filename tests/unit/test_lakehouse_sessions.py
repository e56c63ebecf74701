"""What a user is told when Spark cannot be had."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from finreg_cli.errors import ConfigError, MissingExtra, WarehouseError


def test_a_server_that_does_not_answer_is_named_with_the_command_that_starts_one() -> None:
    pytest.importorskip("pyspark", reason="pyspark (extra spark) is not installed")
    from finreg_cli.lakehouse.sessions import connect

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(WarehouseError) as caught:
            connect(f"sc://127.0.0.1:{port}/;token=s3cret")
    assert f"127.0.0.1:{port}" in caught.value.message
    assert f"--port {port}" in caught.value.remedy
    assert "s3cret" not in caught.value.message + caught.value.remedy


@pytest.mark.parametrize("remote", ["localhost:15002", "http://localhost", "sc://", "sc://host:port/;token=s3cret"])
def test_an_address_that_is_none_is_a_configuration_error(remote: str) -> None:
    pytest.importorskip("pyspark", reason="pyspark (extra spark) is not installed")
    from finreg_cli.lakehouse.sessions import connect

    with pytest.raises(ConfigError, match=r"engine\.remote") as caught:
        connect(remote)
    assert "sc://HOST:PORT" in caught.value.remedy
    assert "s3cret" not in caught.value.message


def test_a_jar_that_is_not_there_is_named_before_a_jvm_starts() -> None:
    pytest.importorskip("delta", reason="delta-spark (extra spark) is not installed")
    from finreg_cli.lakehouse.sessions import start

    with pytest.raises(ConfigError, match=r"engine\.jars: .* nowhere/delta\.jar"):
        start("local[2]", [__file__, "nowhere/delta.jar"])


def test_without_pyspark_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from finreg_cli.lakehouse import sessions

    for module in [name for name in sys.modules if name.split(".")[0] in ("pyspark", "delta")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    for attempt in (lambda: sessions.connect("sc://localhost"), lambda: sessions.start("local[2]")):
        with pytest.raises(MissingExtra) as caught:
            attempt()
        assert caught.value.remedy == "pip install 'finreg[spark]'"


def test_the_modules_of_the_spark_engine_load_without_pyspark() -> None:
    code = (
        "import sys, finreg_cli.lakehouse.spark, finreg_cli.lakehouse.sessions, finreg_cli.lakehouse.embedded;"
        "sys.exit(', '.join({'pyspark', 'pandas', 'py4j', 'grpc'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
