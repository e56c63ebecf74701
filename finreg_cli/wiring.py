"""Configuration -> services, each made when it is first used. The one place that names implementations."""

from __future__ import annotations

import logging
import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from finreg_cli.config import Config, ModelRole
from finreg_cli.console import Console
from finreg_cli.errors import ConfigError, WarehouseError
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.lakehouse.lock import hold
from finreg_cli.stages.base import Run, StageResult

if TYPE_CHECKING:
    from finreg_cli.documents.base import DocumentReader, LabelledSource, ReadFile, SourceFile, UnreadableFile
    from finreg_cli.documents.fetch import Fetched, Format
    from finreg_cli.domain.records import FinetuneRun, TrainingRow
    from finreg_cli.llm.base import Answerer, DocumentWriter, RowWriter
    from finreg_cli.llm.budget import Budget
    from finreg_cli.llm.cache import RequestCache
    from finreg_cli.llm.estimating import Expectation
    from finreg_cli.reports.html import HtmlReports
    from finreg_cli.stages.ask import Asked
    from finreg_cli.stages.extract_files import ExtractedFile
    from finreg_cli.stages.serving import ServedRole
    from finreg_cli.tasks.structured_extraction import Reading
    from finreg_cli.tracking.base import Tracker
    from finreg_cli.training.base import Trainer
    from finreg_cli.training.base_models import ModelRegistry
    from finreg_cli.training.fetched import FetchedModel
    from finreg_cli.training.preview import SeenRow
    from finreg_cli.training.serving import Served

SILENCED = {  # no telemetry, ever; and no advice of libraries between our lines
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def new_run_id() -> str:
    """Begins with its time, so that ids sort as the runs did."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@contextmanager
def open_lakehouse(config: Config) -> Iterator[Lakehouse]:
    """The lakehouse of the configured engine, for reading beside a run that may be going on."""
    lakehouse = _lakehouse(config)
    try:
        yield lakehouse
    finally:
        lakehouse.close()


@contextmanager
def open_services(
    config: Config, command: str, console: Console, *, dry_run: bool = False, writes_tables: bool = True
) -> Iterator[Services]:
    """The services of one command. Holds the warehouse and keeps a log, unless it writes no table."""
    os.environ.update(SILENCED)
    run = Run(new_run_id(), config, console, dry_run)
    with ExitStack() as stack:
        if writes_tables and not dry_run:
            stack.enter_context(hold(config.state, command, run.run_id))
            stack.enter_context(_log_file(config.state / "logs" / f"{run.run_id}.log", console.verbose))
        yield stack.enter_context(Services(run))


class Services:
    """What the stages of one command work with."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._config = run.config
        self._closing = ExitStack()

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def run_id(self) -> str:
        return self._run.run_id

    def start(self, stage: str, resplit: bool, rounds: Sequence[int] | None = None) -> StageResult:
        """Runs a stage of the configured task by its name, for all synthetic rounds or only some of them."""
        questions: dict[str, Callable[[], StageResult]] = {
            "ingest": self._ingest,
            "generate": lambda: self._generate(resplit),
            "finetune": self._finetune,
            "evaluate": self._evaluate,
        }
        extraction: dict[str, Callable[[], StageResult]] = {
            "ingest": self._ingest_labelled,
            "generate": lambda: self._synthesise(resplit, rounds),
            "finetune": lambda: self._finetune_rounds(rounds),
            "evaluate": self._evaluate_extraction,
        }
        return (questions if self._config.task == "regulation_qa" else extraction)[stage]()

    # --- regulation_qa ---

    def _ingest(self) -> StageResult:
        from finreg_cli.stages.ingest import ingest

        return ingest(self._run, self.lakehouse, _LateReader(lambda: self.reader))

    def _generate(self, resplit: bool) -> StageResult:
        from finreg_cli.stages.generate import generate

        return generate(self._run, self.lakehouse, self.writer, resplit, self.tracker if self.writer else None)

    def _finetune(self) -> StageResult:
        from finreg_cli.stages.finetune import finetune
        from finreg_cli.stages.training_questions import QuestionTraining

        run = self._with_its_base_pinned()
        task = QuestionTraining(run.config, self.lakehouse, self._answerer, self.cache, run.progress)
        return finetune(run, self.lakehouse, self.trainer, self.tracker, task, write_report=self.reports.write_sweep)

    def _evaluate(self) -> StageResult:
        from finreg_cli.stages.evaluate import evaluate

        return evaluate(self._run, self.lakehouse, self._answerer, self.cache, self.tracker, self.reports.write)

    # --- structured_extraction ---

    def _ingest_labelled(self) -> StageResult:
        from finreg_cli.stages.ingest_labelled import ingest_labelled

        reading = self.reading
        return ingest_labelled(self._run, self.lakehouse, self.labelled_source, reading.schema, reading.offsets)

    def _synthesise(self, resplit: bool, rounds: Sequence[int] | None) -> StageResult:
        from finreg_cli.stages.synthesise import synthesise

        if resplit:
            raise ConfigError(
                "--resplit moves question-answer rows, and the task is structured_extraction",
                "leave it out: 'finreg ingest' splits labelled documents by the present settings",
            )
        return synthesise(self._run, self.lakehouse, self.document_writer, rounds)

    def _finetune_rounds(self, rounds: Sequence[int] | None) -> StageResult:
        from finreg_cli.stages.finetune import finetune
        from finreg_cli.stages.training_tasks import ExtractionTraining

        run = self._with_its_base_pinned()
        task = ExtractionTraining(run.config, self.lakehouse, self.reading, self._answerer, self.cache, run.progress)
        return finetune(
            run, self.lakehouse, self.trainer, self.tracker, task, rounds, write_report=self.reports.write_sweep
        )

    def _evaluate_extraction(self) -> StageResult:
        from finreg_cli.stages.evaluate_extraction import evaluate_extraction

        return evaluate_extraction(
            self._run,
            self.lakehouse,
            self._answerer,
            self.cache,
            self.tracker,
            self.reports.write_extraction,
            self.reading,
            self.labelled_source,
        )

    def extract(self, files: Sequence[Path], model: ModelRole) -> list[ExtractedFile]:
        """Structured extraction on new documents."""
        from finreg_cli.stages.extract_files import extract_files

        return extract_files(
            self._run, self.lakehouse, files, model, self._answerer, self.labelled_source, self.reading, self.cache
        )

    @cached_property
    def reading(self) -> Reading:
        from finreg_cli.documents.tokens import TokenCounter
        from finreg_cli.tasks.structured_extraction import reading
        from finreg_cli.training.fetched import tokenizer_path

        return reading(self._config, TokenCounter(tokenizer_path(self._config.ingest.tokenizer)).offsets)

    @cached_property
    def labelled_source(self) -> LabelledSource:
        return labelled_source(self._config)

    @cached_property
    def document_writer(self) -> DocumentWriter | None:
        if self._config.generate.method == "rules":
            return None
        from finreg_cli.llm.synthesis import SynthesisWriter

        return SynthesisWriter(self._config, self.cache, self.budget, expectation=self._expectation)

    # --- both ---

    def ask(self, question: str, models: Sequence[ModelRole], top: int) -> Asked:
        """Answers from the ``top`` passages that are found; from none where it is 0."""
        from finreg_cli.retrieval.bm25 import Bm25Retriever
        from finreg_cli.stages.ask import ask

        retriever = Bm25Retriever(self._config.state / "retrieval")
        return ask(self._run, self.lakehouse, self._answerer, retriever, question, models, top)

    @contextmanager
    def serve(
        self, role: ServedRole, port: int | None, token: str, token_env: str | None
    ) -> Iterator[tuple[Served, str, str]]:
        """The server while the block lasts, with the lines that show how to call it."""
        from finreg_cli.stages.serving import calls, served_model
        from finreg_cli.training.base_models import base_folder
        from finreg_cli.training.serving import serve

        model = served_model(self._config, self.lakehouse, role)
        folder = Path(base_folder(model.model, self._run.progress, self.registry))
        with serve(folder, model.name, port, token) as served:
            yield served, *calls(served.url, token, token_env, model)

    def seen_rows(self, rows: Sequence[TrainingRow]) -> list[SeenRow]:
        """The rows as the trainer sees them with the configured base model."""
        from finreg_cli.training.preview import preview

        section, progress = self._config.finetune, self._run.progress
        seen = preview(section.base_model, rows, section.context_length, section.too_long, progress, self.registry)
        return list(seen)

    @cached_property
    def reports(self) -> HtmlReports:
        from finreg_cli.reports.html import HtmlReports

        return HtmlReports(self._config.state / "reports")

    @cached_property
    def lakehouse(self) -> Lakehouse:
        lakehouse = _lakehouse(self._config)
        self._closing.callback(lakehouse.close)
        return lakehouse

    @cached_property
    def reader(self) -> DocumentReader:
        from finreg_cli.documents.pool import SupervisedReader
        from finreg_cli.training.fetched import tokenizer_path

        ingest, source = self._config.ingest, self._config.source
        return SupervisedReader(
            tokenizer=tokenizer_path(ingest.tokenizer),
            chunk_tokens=ingest.chunk_tokens,
            chunk_overlap=ingest.chunk_overlap,
            pdf_engine=ingest.pdf_engine,
            short_names=source.short_names,
            work_ids=source.work_ids,
        )

    @cached_property
    def writer(self) -> RowWriter | None:
        if self._config.generate.method == "rules":
            return None
        from finreg_cli.llm.chains import ChainWriter

        return ChainWriter(self._config, self.cache, self.budget, expectation=self._expectation)

    @cached_property
    def _expectation(self) -> Expectation:
        """What a dry run expects: counts of the configured tokenizer, replies as long as those in the cache."""
        from finreg_cli.documents.tokens import TokenCounter
        from finreg_cli.llm.estimating import Expectation
        from finreg_cli.training.fetched import tokenizer_path

        @cache  # loaded once, and by a dry run only: writing rows needs no tokenizer
        def counter() -> TokenCounter:
            return TokenCounter(tokenizer_path(self._config.ingest.tokenizer))

        return Expectation(lambda texts: counter()(texts), self.cache.mean_output_tokens)

    @cached_property
    def cache(self) -> RequestCache:
        from finreg_cli.llm.cache import FILE_NAME, RequestCache

        cache = RequestCache(self._config.state / FILE_NAME)
        self._closing.callback(cache.close)
        return cache

    @cached_property
    def budget(self) -> Budget:
        from finreg_cli.llm.budget import Budget

        return Budget(self._config.budget)

    def _with_its_base_pinned(self) -> Run:
        """The run with its base model by a name that does not move: a hub's id with its commit, a version's number.

        A branch or an alias that moved later is another model, so another job.
        """
        if self._run.dry_run:
            return self._run
        from finreg_cli.training.base_models import resolve

        finetune = self._config.finetune
        pinned = resolve(finetune.base_model, self._run.progress, self.registry).name
        config = self._config.model_copy(update={"finetune": finetune.model_copy(update={"base_model": pinned})})
        return replace(self._run, config=config)

    @cached_property
    def registry(self) -> ModelRegistry:
        from finreg_cli.tracking.registry import MlflowRegistry

        return MlflowRegistry(self._config.tracking.uri)

    @cached_property
    def trainer(self) -> Trainer:
        from finreg_cli.training.local import LocalTrainer

        return LocalTrainer(self.registry)

    @cached_property
    def tracker(self) -> Tracker:
        from finreg_cli.tracking.mlflow_tracker import MlflowTracker

        tracking = self._config.tracking
        return MlflowTracker(tracking.uri, tracking.experiment, self._config.state / "mlartifacts")

    def _answerer(self, model: str, run: FinetuneRun | None) -> Answerer:
        """Opens ``base`` or ``tuned``, which go the same way from weights to runtime, or a configured endpoint."""
        if model in ("generator", "judge"):
            return self._endpoint(model)
        from finreg_cli.training.answerer import answerer_for

        if run is None:
            return answerer_for(self._config.finetune.base_model, self.registry)
        return answerer_for(run.base_model if model == "base" else run.model_uri or "", self.registry)

    def _endpoint(self, role: str) -> Answerer:
        from finreg_cli.llm.extractor import EndpointAnswerer

        endpoint = getattr(self._config.endpoints, role)
        return EndpointAnswerer(role, endpoint, self.cache, self.budget)


class _LateReader:
    """A `DocumentReader` that is imported and made when there is something to read, for most runs read nothing."""

    def __init__(self, make: Callable[[], DocumentReader]) -> None:
        self._make = make

    def read(self, files: Sequence[SourceFile]) -> Iterator[ReadFile | UnreadableFile]:
        return self._make().read(files)


def fetch_documents(
    config: Config,
    numbers: Sequence[str],
    folder: Path | None,
    language: str,
    formats: Sequence[Format],
    console: Console,
) -> list[Fetched]:
    """Official documents into a folder, or into the source folder."""
    from finreg_cli.documents.fetch import fetch, parse_celex

    place = folder or Path(config.source.path)
    if folder is None and not place.is_dir():
        raise ConfigError(f"source.path {place} is no folder, so nothing can be put there", "name one: --to FOLDER")
    for number in numbers:
        parse_celex(number)  # all, before the first is downloaded
    fetched: list[Fetched] = []
    for number in numbers:
        console.note(f"fetching {number} ({', '.join(formats)}, {language})")
        fetched += fetch(number, place, language=language, formats=formats, base_url=config.source.fetch_from)
    return fetched


def labelled_source(config: Config) -> LabelledSource:
    """Labelled documents from files, as the configuration reads them."""
    from finreg_cli.documents.labelled import FileSource
    from finreg_cli.tasks.structured_extraction import schema_of

    return FileSource(schema_of(config), config.ingest.pdf_engine)


def _lakehouse(config: Config) -> Lakehouse:
    engine = config.engine
    if engine.kind == "embedded":
        from finreg_cli.lakehouse.embedded import EmbeddedLakehouse

        return EmbeddedLakehouse(engine.warehouse, config.catalog, config.schema_)
    from finreg_cli.lakehouse import sessions
    from finreg_cli.lakehouse.spark import SparkLakehouse

    session = (
        sessions.connect(engine.remote, engine.conf)
        if engine.remote
        else sessions.start(engine.master or "", engine.jars, engine.conf)
    )
    return SparkLakehouse(session, engine.warehouse, config.catalog, config.schema_)


def pull_model(name: str, console: Console) -> FetchedModel:
    from finreg_cli.training.fetched import pull

    return pull(name, console)


@contextmanager
def _log_file(path: Path, verbose: bool) -> Iterator[None]:
    """What libraries log and warn goes to the run's log; to the terminal only with ``-v``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    except OSError as error:
        raise WarehouseError(f"cannot write the log {path}: {error.strerror}", "check the warehouse's rights") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    if not verbose:
        warnings.simplefilter("ignore")
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
