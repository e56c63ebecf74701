"""Projects whose sample regulations are ingested already, for the tests that put `generate` under fire."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.openai_server import OtherProcess, read_log
from fakes.project import CONCURRENCY, NewProject, Project, RunUndisturbed, Undisturbed

SAMPLES = Path(__file__).parents[2] / "data/regulations"


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("ingested")
    project = Project(folder)
    project.write(
        source={"path": str(SAMPLES)},
        ingest={"tokenizer": str(tokenizer_file), "chunk_tokens": 400},
        generate={"method": "llm", "validation_fraction": 0.3, "rows_per_chunk": 1},
        endpoints={"generator": {"model": "of none yet", "base_url": "http://localhost/v1"}},
    )
    command = [sys.executable, "-m", "finreg_cli", "ingest", "-q"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def new_project(ingested: Path, tmp_path: Path) -> NewProject:
    """Makes projects that share nothing but what was ingested: each with its endpoints and so many rows wanted."""

    def make(name: str, url: str, **settings: Any) -> Project:
        return copy_of(ingested, tmp_path / name, url, **settings)

    return make


def copy_of(
    ingested: Path, folder: Path, url: str, *, limit: int | None, judge: str | None = None, **endpoint: Any
) -> Project:
    shutil.copytree(ingested, folder)
    project = Project(folder, yaml.safe_load((folder / "finreg.yaml").read_text()))
    settings = {"max_concurrency": CONCURRENCY, **endpoint}
    endpoints = {"generator": {"model": "writer", "base_url": url, **settings}}
    if judge:
        endpoints["judge"] = {"model": "judge", "base_url": judge, **settings}
    project.write(endpoints=endpoints, generate={**project.config["generate"], "limit": limit})
    return project


@pytest.fixture(scope="session")
def undisturbed(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> RunUndisturbed:
    """Runs for so many rows, on a server of their own; once each."""

    @cache
    def run(limit: int | None) -> Undisturbed:
        folder = tmp_path_factory.mktemp("undisturbed")
        with OtherProcess(folder / "server.jsonl", "--repeatable") as server:
            project = copy_of(ingested, folder / "project", server.url, limit=limit)
            with project.generating() as process:
                while not project.first_commit.exists():
                    assert process.poll() is None, process.communicate()
                    time.sleep(0.01)
                committed = time.monotonic()
                printed, errors = process.communicate()
                seconds = time.monotonic() - committed
            assert process.returncode == 0, f"{printed}\n{errors}"
            log = read_log(server.log)
        keys = {each.key for each in log}
        assert len(keys) == len(log)  # an undisturbed run asks nothing twice
        return Undisturbed(keys, project.result(), project.folder, seconds)

    return run
