"""doctor: everything that can be checked before money is spent, each finding with its remedy."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finreg_cli import wiring
from finreg_cli.config import Config
from finreg_cli.domain.records import GENERATED_LEASES, QA_DATASET
from finreg_cli.errors import FinregError
from finreg_cli.lakehouse.base import Where

NEEDED_BYTES = 3 * 1024**3
"""What a warehouse needs whose base model nobody knows the size of: tables, and a demo's 1.5 GB of models."""

TABLES_BYTES = 1024**3
"""What is left free for tables, logs and reports."""


@dataclass(frozen=True)
class Finding:
    """``fatal`` findings make ``finreg doctor`` exit with 1."""

    level: Literal["ok", "warning", "fatal"]
    subject: str
    message: str
    remedy: str | None = None


def examine(config: Config) -> list[Finding]:
    """Every check in turn; a check that fails never keeps the next one from running."""
    checks: list[tuple[str, Callable[[Config], Iterator[Finding]]]] = [
        ("source", _source),
        ("warehouse", _warehouse),
        ("engine", _engine),
        ("tokenizer", _tokenizer),
        ("base model", _base_model),
        ("training", _training),
        ("endpoints", _endpoints),
        ("permission to train", _permission_to_train),
        ("tracking", _tracking),
        ("registry", _registry),
    ]
    findings = [Finding("ok", "configuration", f"task {config.task}, method {config.generate.method}")]
    for subject, check in checks:
        try:
            findings.extend(check(config))
        except FinregError as error:
            findings.append(Finding("fatal", subject, error.message, error.remedy))
    return findings


def _source(config: Config) -> Iterator[Finding]:
    if config.task == "structured_extraction":
        yield from _labelled_source(config)
        return
    from finreg_cli.stages.ingest_plan import find_files, sources_folder

    files = find_files(config.source.path, sources_folder(config), download=False).files
    yield Finding("ok", "source", f"{len(files)} files in {config.source.path}")


def _labelled_source(config: Config) -> Iterator[Finding]:
    from finreg_cli.documents.base import LabelledDocument
    from finreg_cli.stages.ingest_labelled import TABLE_PREFIX

    sets = [("source", config.source.path, config.source.labels)]
    sets += [(f"extra set {each.name}", each.path, each.labels) for each in config.evaluate.extra_sets]
    for subject, path, labels in sets:
        if path.startswith(TABLE_PREFIX):
            yield Finding("ok", subject, f"{path}, read by ingest")
            continue
        read = list(wiring.labelled_source(config).read(path, labels))
        unusable = [each for each in read if not isinstance(each, LabelledDocument)]
        message = f"{len(read) - len(unusable)} labelled documents in {path}"
        if unusable:
            message += f", {len(unusable)} unusable: {unusable[0].path}: {unusable[0].message}"
        yield Finding("warning" if unusable else "ok", subject, message, "mend or remove them" if unusable else None)


def _warehouse(config: Config) -> Iterator[Finding]:
    place = _nearest_existing(config.engine.warehouse)
    try:
        tempfile.TemporaryFile(dir=place).close()  # rights alone say little of a read-only or full disk
    except OSError as error:
        message = f"{place} is not a folder that can be written: {error.strerror}"
        yield Finding("fatal", "warehouse", message, "check its rights, or set engine.warehouse")
        return
    free = shutil.disk_usage(place).free
    yield Finding("ok", "warehouse", f"{config.engine.warehouse}: {free / 1024**3:.1f} GiB free")


def _engine(config: Config) -> Iterator[Finding]:
    if config.engine.kind == "embedded":
        yield Finding("ok", "engine", "embedded (delta-rs)")
        return
    with wiring.open_lakehouse(config) as lakehouse:
        yield Finding(
            "ok", "engine", f"spark answers; tables in {getattr(lakehouse, 'warehouse', config.engine.warehouse)}"
        )


def _tokenizer(config: Config) -> Iterator[Finding]:
    from finreg_cli.training.fetched import tokenizer_path

    yield Finding("ok", "tokenizer", str(tokenizer_path(config.ingest.tokenizer)))


def _base_model(config: Config) -> Iterator[Finding]:
    """Whether it can be had, before anything is downloaded, and whether the disks hold what becomes of it."""
    from finreg_cli.tracking.registry import MlflowRegistry
    from finreg_cli.training.base_models import look_up

    found = look_up(config.finetune.base_model, MlflowRegistry(config.tracking.uri))
    yield Finding("ok", "base model", found.text)
    needed = {config.engine.warehouse: _bytes_of_training(config, found.weight_bytes)}
    if found.missing_bytes and found.missing_in:
        needed[found.missing_in] = found.missing_bytes
    for folder, wanted in needed.items():
        free = shutil.disk_usage(_nearest_existing(folder)).free
        if free < wanted:
            message = f"{folder}: {free / 1024**3:.1f} GiB free, and training takes about {wanted / 1024**3:.1f} GiB"
            remedy = (
                "make room, shorten the sweep, or set engine.warehouse (HF_HOME for the hub's cache) to another disk"
            )
            yield Finding("warning", "disk space", message, remedy)


def _bytes_of_training(config: Config, weights: int | None) -> int:
    """What a sweep leaves: of each member its merged weights, and of one that is evaluated or registered copies."""
    if weights is None:
        return NEEDED_BYTES
    section = config.finetune
    full = section.method == "full"
    members = len(section.learning_rates) * len(section.durations) * (1 if full else len(section.lora.ranks))
    copies = members
    copies += 1  # base and tuned as F16 GGUF for the evaluation, half the size of fp32 weights each
    copies += 2 if section.register_to else 0  # what is logged, while it is uploaded and where it is kept
    copies += 6 if full else 0  # two checkpoints, each of the weights and AdamW's two moments
    return TABLES_BYTES + copies * weights


def _training(_: Config) -> Iterator[Finding]:
    missing = [name for name in ("torch", "transformers", "peft", "trl") if importlib.util.find_spec(name) is None]
    if missing:
        message = f"finetune needs {', '.join(missing)}, which this environment has not"
        yield Finding("fatal", "training", message, "pip install 'finreg[train]'")
    else:
        yield Finding("ok", "training", "torch, transformers, peft and trl are installed")


def _endpoints(config: Config) -> Iterator[Finding]:
    from finreg_cli.llm.endpoints import probe

    for name in ("generator", "judge"):
        endpoint = getattr(config.endpoints, name)
        if endpoint is None:
            continue
        try:
            yield Finding("ok", f"endpoint {name}", probe(name, endpoint))
        except FinregError as error:
            yield Finding("fatal", f"endpoint {name}", error.message, error.remedy)
        if not endpoint.tls.verify:
            message = f"endpoints.{name}.tls.verify is false: whoever answers is trusted with the key and the texts"
            yield Finding("warning", f"endpoint {name}", message, f"set endpoints.{name}.tls.ca_file instead")


def _permission_to_train(config: Config) -> Iterator[Finding]:
    """What finetune would make of rows that an endpoint wrote whose terms forbid to train on them."""
    generator = config.endpoints.generator
    if generator is None or generator.outputs_may_train:
        return
    from finreg_cli.llm.served import recorded_name

    subject, key = "permission to train", "endpoints.generator.outputs_may_train is false"
    if config.generate.method == "llm":
        message = f"{key}: finetune leaves out what {recorded_name(generator)} writes"
        yield Finding("warning", subject, message, "take another endpoint for rows to train on, or only evaluate them")
    table = QA_DATASET if config.task == "regulation_qa" else GENERATED_LEASES
    where: Where = {"model": recorded_name(generator), "outputs_may_train": True}
    with wiring.open_lakehouse(config) as lakehouse:
        rows = lakehouse.count(table, where) if lakehouse.exists(table) else 0
    if rows:
        message = f"{key}, but {rows} of its rows in {table.name} were recorded as allowed: finetune uses them"
        yield Finding("warning", subject, message, "set schema to a new name, and run 'finreg all' into that")


def _tracking(config: Config) -> Iterator[Finding]:
    uri = config.tracking.uri
    if uri.startswith("sqlite:///"):
        folder = _nearest_existing(Path(uri.removeprefix("sqlite:///")).parent)
        if not os.access(folder, os.W_OK):
            yield Finding("fatal", "tracking", f"{folder} is not writable", "set tracking.uri to another place")
            return
    yield Finding("ok", "tracking", uri)


def _registry(config: Config) -> Iterator[Finding]:
    """Whether ``finetune.register_to`` could be registered; asked only where it is set."""
    name = config.finetune.register_to
    if name is not None:
        from finreg_cli.tracking.registry import MlflowRegistry

        yield Finding("ok", "registry", MlflowRegistry(config.tracking.uri).check(name, config.finetune.register_alias))


def _nearest_existing(path: Path) -> Path:
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return place
