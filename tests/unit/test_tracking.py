"""The MLflow tracker against real stores: a SQLite file and, over HTTP, a real server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finreg_cli.errors import ConfigError, Interrupted, StageFailed
from finreg_cli.tracking.mlflow_tracker import MlflowTracker


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the module: to make its tables takes MLflow seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'new folder' / 'mlflow.db'}"


@pytest.fixture
def tracker(uri: str, tmp_path: Path, request: pytest.FixtureRequest) -> MlflowTracker:
    return MlflowTracker(uri, request.node.name, tmp_path / "mlartifacts")


def stored(uri: str, run_id: str) -> Any:
    return client(uri).get_run(run_id)


def client(uri: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MLflow's dependencies deprecate of each other
        import mlflow

        return mlflow.MlflowClient(tracking_uri=uri)


def test_a_run_holds_everything_it_was_given(tracker: MlflowTracker, uri: str, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p>report</p>")
    with tracker.run("evaluate", {"finreg.run_id": "r1"}) as run:
        run.params({"limit": None, "models": ["base", "tuned"], "note": "x" * 7_000})
        run.metrics({"tuned/with/all/token_f1": 0.81})
        run.steps((step, "train_loss", 2 - step / 1_000) for step in range(1, 1_501))
        run.input_table("qa_dataset", "/somewhere/qa_dataset", 3, 32, "evaluation")
        run.artifact(report, "report")

    found = stored(uri, run.id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "evaluate"
    assert found.data.tags["finreg.run_id"] == "r1"
    assert found.data.params["models"] == '["base", "tuned"]'
    assert found.data.params["limit"] == "null"
    assert len(found.data.params["note"]) == 6_000
    assert found.data.metrics == {"tuned/with/all/token_f1": 0.81, "train_loss": 0.5}
    assert len(client(uri).get_metric_history(run.id, "train_loss")) == 1_500, "more than one request's worth"
    artifacts = list((tmp_path / "mlartifacts").rglob("report.html"))
    assert [path.read_text() for path in artifacts] == ["<p>report</p>"]
    assert artifacts[0].parent.name == "report"


def test_a_table_is_a_dataset_input_that_mlflow_itself_understands(tracker: MlflowTracker, uri: str) -> None:
    with tracker.run("train", {}) as run:
        run.input_table("ft_training", "/somewhere/ft_training", 4, 64, "training")
    (found,) = stored(uri, run.id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("ft_training", "v4")
    assert {tag.key: tag.value for tag in found.tags} == {"mlflow.data.context": "training"}
    assert json.loads(found.dataset.profile) == {"num_rows": 64}

    import mlflow.data

    source = mlflow.data.get_source(found)
    assert source.to_dict() == {"path": "/somewhere/ft_training", "delta_table_version": 4}


def test_runs_nest(tracker: MlflowTracker, uri: str) -> None:
    with tracker.run("sweep", {}) as parent, tracker.run("lr 0.001", {}, parent) as child:
        pass
    assert stored(uri, child.id).data.tags["mlflow.parentRunId"] == parent.id
    assert "mlflow.parentRunId" not in stored(uri, parent.id).data.tags


def test_a_killed_run_goes_on_under_its_own_id(tracker: MlflowTracker, uri: str) -> None:
    with pytest.raises(KeyboardInterrupt), tracker.run("lr 0.001", {"finreg.run_id": "r1"}) as killed:
        raise KeyboardInterrupt
    killed.steps([(1, "train_loss", 2.0)])
    with tracker.run("lr 0.001", {"finreg.run_id": "r1", "finreg.sweep_id": "s2"}, resume=killed.id) as again:
        assert stored(uri, again.id).info.status == "RUNNING"
        again.steps([(2, "train_loss", 1.0)])
    assert again.id == killed.id
    found = stored(uri, again.id)
    assert (found.info.status, found.data.tags["finreg.sweep_id"]) == ("FINISHED", "s2")
    assert [each.step for each in client(uri).get_metric_history(again.id, "train_loss")] == [1, 2]


def test_a_run_that_the_store_no_longer_has_is_made_anew(tracker: MlflowTracker, uri: str) -> None:
    with tracker.run("x", {}) as deleted:
        pass
    client(uri).delete_run(deleted.id)
    for gone in (deleted.id, "0" * 32, "no id at all"):
        with tracker.run("x", {}, resume=gone) as run:
            pass
        assert run.id != gone
        assert stored(uri, run.id).info.status == "FINISHED"


def test_a_run_that_a_killed_process_left_open_is_ended(tracker: MlflowTracker, uri: str) -> None:
    with tracker.run("x", {}) as run:
        tracker.end(run.id)
        assert stored(uri, run.id).info.status == "KILLED"
    assert stored(uri, run.id).info.status == "FINISHED"
    for settled in (run.id, "0" * 32, "no id at all"):
        tracker.end(settled)
    assert stored(uri, run.id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (Interrupted(), "KILLED")]
)
def test_a_run_ends_as_its_block_does(tracker: MlflowTracker, uri: str, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), tracker.run("fails", {}) as run:
        raise error
    assert stored(uri, run.id).info.status == status


def test_an_experiment_is_taken_again_and_a_deleted_one_is_named(uri: str, tmp_path: Path) -> None:
    def open_one() -> str:
        with MlflowTracker(uri, "shared", tmp_path).run("x", {}) as run:
            return str(stored(uri, run.id).info.experiment_id)

    experiment = open_one()
    assert open_one() == experiment
    client(uri).delete_experiment(experiment)
    with pytest.raises(ConfigError, match="'shared' was deleted") as caught:
        open_one()
    assert experiment in caught.value.remedy


@pytest.mark.parametrize("uri", ["nonsense://store", "sqlite:////proc/none/mlflow.db"])
def test_a_store_that_cannot_be_opened_is_a_configuration_error(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.uri: .*(nonsense|/proc/none)") as caught:
        MlflowTracker(uri, "x", tmp_path).run("x", {}).__enter__()
    assert "tracking.uri" in caught.value.remedy


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database, and long enough to be looked at as one" * 20)
    with pytest.raises(ConfigError, match=r"mlflow\.db: file is not a database"):
        MlflowTracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "x", tmp_path).run("x", {}).__enter__()


def test_a_server_that_does_not_answer_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"no MLflow server answers at http://127\.0\.0\.1:\d+: .*refused") as caught:
        MlflowTracker(f"http://127.0.0.1:{free_port()}", "x", tmp_path).run("x", {}).__enter__()
    assert "mlflow server" in caught.value.remedy


def test_a_refusal_of_the_store_is_translated(tracker: MlflowTracker) -> None:
    with tracker.run("x", {}) as run, pytest.raises(StageFailed, match=r"MLflow at sqlite:.* refused"):
        run.metrics({"no/such\ncharacter": 1.0})


QUIET = """
    import sys
    from pathlib import Path
    asked = []
    network = ("socket.connect", "socket.getaddrinfo")
    sys.addaudithook(lambda event, arguments: asked.append(arguments) if event in network else None)
    from finreg_cli.tracking.mlflow_tracker import MlflowTracker
    assert "mlflow" not in sys.modules, "imported before a run opens"
    folder = Path(sys.argv[1])
    with MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}", "quiet", folder / "mlartifacts").run("x", {}) as run:
        run.metrics({"a": 1.0})
        run.artifact(Path(__file__))
    assert not asked, f"the network was asked for {asked}"
"""
CI_VARIABLES = {"CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "JENKINS_URL", "BUILDKITE", "TF_BUILD"}


def test_no_telemetry_no_noise_and_nothing_in_the_current_folder(tmp_path: Path) -> None:
    """In a process of its own: in a test or in CI, MLflow's telemetry would be off by itself."""
    script, here, there = tmp_path / "quiet.py", tmp_path / "here", tmp_path / "there"
    script.write_text(textwrap.dedent(QUIET))
    here.mkdir()
    there.mkdir()
    telemetry = {"MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"}
    environment = {name: value for name, value in os.environ.items() if name not in CI_VARIABLES | telemetry}
    done = subprocess.run(
        [sys.executable, str(script), str(there)],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(here.iterdir()) == []
    assert sorted(path.name for path in there.iterdir()) == ["mlartifacts", "mlflow.db"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/health", process)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"nothing answers at {url}")


@pytest.mark.slow
def test_a_real_server_over_http(server: str, tmp_path: Path) -> None:
    artifact = tmp_path / "result.json"
    artifact.write_text("{}")
    with MlflowTracker(server, "remote", tmp_path / "mlartifacts").run("evaluate", {"finreg.run_id": "r1"}) as run:
        run.metrics({"tuned/with/all/token_f1": 0.81})
        run.input_table("qa_dataset", "/somewhere", 3, 32, "evaluation")
        run.artifact(artifact)
    found = stored(server, run.id)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"tuned/with/all/token_f1": 0.81})
    assert [each.path for each in client(server).list_artifacts(run.id)] == ["result.json"]
    assert not (tmp_path / "mlartifacts" / "0").exists(), "a server keeps artifacts in its own place"
