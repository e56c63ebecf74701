"""The configuration: the only reader of YAML and of the environment. Unknown keys are refused.

Every field is documented beside itself; `finreg init` and the error messages take their words from here.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from finreg_cli.domain.extraction import Schema
from finreg_cli.errors import ConfigError

Kind = Literal[
    "requirement",
    "definition",
    "threshold",
    "deadline",
    "procedure",
    "unanswerable",
    "fact",
    "comparison",
    "cross_article",
]
ContextMode = Literal["with", "without"]
Task = Literal["regulation_qa", "structured_extraction"]
ModelRole = Literal["base", "tuned", "generator", "judge"]
Decoding = Literal["constrained", "free"]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")]

FETCHED_MODEL = "smollm2-135m-instruct"

QUESTIONS: JsonDict = {"task": "regulation_qa"}
EXTRACTION: JsonDict = {"task": "structured_extraction"}
"""Marks a key that one task reads: the other refuses it, and `finreg init` leaves it out there."""


class Section(BaseModel):
    """A section of the YAML: unknown keys are errors, values are never changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Engine(Section):
    """Where the tables live."""

    kind: Literal["embedded", "spark"] = Field(
        "embedded", description="embedded: delta-rs, no JVM. spark: the PySpark DataFrame API"
    )
    warehouse: Path = Field(Path("lakehouse"), description="folder of all tables and of the state (_finreg)")
    remote: str | None = Field(None, description="Spark Connect URL, sc://HOST:PORT (engine spark)")
    master: str | None = Field(None, description="Spark master of a JVM session, local[2] (engine spark)")
    jars: list[str] = Field([], description="Delta's jars for a JVM session; empty: fetched from Maven")
    conf: dict[str, str] = Field({}, description="further Spark settings")

    @model_validator(mode="after")
    def _spark_needs_an_address(self) -> Engine:
        if self.kind == "spark" and bool(self.remote) == bool(self.master):
            raise ValueError("the spark engine needs one of remote (sc://HOST:PORT) and master (local[2])")
        return self


class Source(Section):
    """The documents."""

    path: str = Field(
        "data/regulations",
        description="a file, a folder, a glob or a URL (s3://...); of labelled documents also table:NAME",
    )
    fetch_from: str = Field(
        "https://publications.europa.eu",
        description="the repository of finreg fetch, or a mirror of it",
        json_schema_extra=QUESTIONS,
    )
    labels: str | None = Field(
        None, description="JSONL or CSV with the labels of a folder's documents", json_schema_extra=EXTRACTION
    )
    short_names: dict[str, str] = Field(
        {}, description="work_id -> the short name that citations begin with", json_schema_extra=QUESTIONS
    )
    work_ids: dict[str, str] = Field(
        {}, description="file stem -> work_id, where the document states no CELEX number", json_schema_extra=QUESTIONS
    )


class Ingest(Section):
    tokenizer: str = Field(FETCHED_MODEL, description="a fetched model's name, or a path to a tokenizer.json")
    chunk_tokens: int = Field(500, ge=32, description="the most tokens a chunk may hold", json_schema_extra=QUESTIONS)
    chunk_overlap: int = Field(
        50, ge=0, description="tokens repeated between two chunks of one article", json_schema_extra=QUESTIONS
    )
    pdf_engine: Literal["auto", "pdfium", "pypdf"] = Field(
        "auto", description="auto: pdfium, and pypdf for files it fails on"
    )
    on_bad_file: Literal["quarantine", "fail"] = Field(
        "quarantine", description="what an unreadable file does to the stage"
    )
    prune: bool = Field(
        False, description="drop the chunks of files that are gone from the source", json_schema_extra=QUESTIONS
    )
    holdout_fraction: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="the share of labelled documents that only evaluate sees",
        json_schema_extra=EXTRACTION,
    )
    limit: int | None = Field(
        None,
        ge=2,
        description="the most labelled documents on each side, chosen by a hash",
        json_schema_extra=EXTRACTION,
    )
    max_document_tokens: int | None = Field(
        None, ge=32, description="longer labelled documents are left out, and counted", json_schema_extra=EXTRACTION
    )

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> Ingest:
        if self.chunk_overlap * 2 > self.chunk_tokens:
            raise ValueError(f"chunk_overlap ({self.chunk_overlap}) must be at most half of chunk_tokens")
        return self


class Extraction(Section):
    """What the task structured_extraction finds in a document, and how it reads a long one."""

    schema_: dict[str, Any] | None = Field(
        None, alias="schema", description="a flat JSON schema of the values to find; null: the ten keys of a lease"
    )
    instruction: str | None = Field(None, description="what stands before the document; null: made from the schema")
    window_tokens: int = Field(1024, ge=64, description="a longer document is read in overlapping windows of so many")
    window_overlap: int = Field(128, ge=0, description="tokens that two windows share")

    @field_validator("schema_")
    @classmethod
    def _a_flat_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            Schema.parse(schema)
        return schema

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> Extraction:
        if self.window_overlap * 2 > self.window_tokens:
            raise ValueError(f"window_overlap ({self.window_overlap}) must be at most half of window_tokens")
        return self


class Generate(Section):
    method: Literal["llm", "rules"] = Field(
        description="llm: critique and improve through endpoints.generator; rules: from structure, no model. No default"
    )
    runner: Literal["client"] = Field("client", description="who sends the requests")
    rows_per_chunk: int = Field(2, ge=1, description="the most rows from one chunk", json_schema_extra=QUESTIONS)
    kinds: dict[Kind, Annotated[float, Field(ge=0)]] = Field(
        {
            "requirement": 0.3,
            "definition": 0.2,
            "threshold": 0.2,
            "deadline": 0.1,
            "procedure": 0.1,
            "unanswerable": 0.1,
        },
        description="the mix of kinds, as shares of 1",
        json_schema_extra=QUESTIONS,
    )
    limit: int | None = Field(
        None, ge=1, description="the most rows, lowest row_id first; null: all", json_schema_extra=QUESTIONS
    )
    seed: int = Field(7, description="of the sampling and of the split")
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="the share of articles that only evaluate sees", json_schema_extra=QUESTIONS
    )
    prompts: Path | None = Field(None, description="a folder whose *.md replace the prompts of the same name")
    audience: str = Field(
        "people who prepare supervisory reports at banks",
        description="whom the questions are for; a parameter of the prompts",
        json_schema_extra=QUESTIONS,
    )
    language: str = Field(
        "English", description="what the rows are written in; a parameter of the prompts", json_schema_extra=QUESTIONS
    )
    rounds: int = Field(1, ge=0, description="synthetic rounds, one more model each", json_schema_extra=EXTRACTION)
    documents_per_seed: int = Field(
        1, ge=1, description="synthetic documents from one labelled document and round", json_schema_extra=EXTRACTION
    )
    early_stop: bool = Field(
        False,
        description="end at a round whose F1 on ft_eval is not surely above the one before",
        json_schema_extra=EXTRACTION,
    )

    @model_validator(mode="after")
    def _rules_write_english_from_one_article(self) -> Generate:
        if self.method == "rules" and self.kinds.get("cross_article"):
            raise ValueError("kinds.cross_article is for method llm: no rule joins articles")
        if self.method == "rules" and self.language != "English":
            raise ValueError(f"language {self.language} is for method llm: the rules read and write English only")
        return self

    @field_validator("kinds")
    @classmethod
    def _shares_add_up(cls, kinds: dict[str, float]) -> dict[str, float]:
        if abs(sum(kinds.values()) - 1) > 0.01:
            raise ValueError(f"the shares add up to {sum(kinds.values()):g}, not 1")
        return kinds


def _a_name_and_not_a_secret(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is the NAME of an environment variable, never the key itself")
    return name


class Price(Section):
    """Per million tokens, in the currency of ``budget.money``."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


VariableName = Annotated[str, AfterValidator(_a_name_and_not_a_secret)]


class Tls(Section):
    """How an HTTPS endpoint is trusted, and how we show who we are."""

    ca_file: Path | None = Field(None, description="PEM file of the authorities to trust; null: the system's")
    client_cert: Path | None = Field(None, description="PEM file of our certificate, where the endpoint asks for one")
    client_key: Path | None = Field(None, description="PEM file of its key; null: it stands in client_cert")
    verify: bool = Field(True, description="false trusts whoever answers: for a test on your own network only")


_UNREAD = {
    "openai": {"profile"},
    "databricks": {"base_url", "api_key_env"},
    "embedded": {"base_url", "api_key_env", "profile", "headers", "headers_env", "proxy", "tls"},
}
"""Keys that a provider does not read."""


class Endpoint(Section):
    """A language model: behind an OpenAI-compatible URL, in a Databricks workspace, or in a file."""

    provider: Literal["openai", "databricks", "embedded"] = Field(
        "openai",
        description="openai: any compatible URL (vLLM, Ollama, a gateway); databricks: a workspace; embedded: a GGUF",
    )
    model: str = Field(description="the name that the endpoint knows the model by; embedded: the path of a GGUF file")
    base_url: str | None = Field(None, description="up to and with /v1 (provider openai)")
    api_key_env: VariableName | None = Field(
        None, description="the NAME of the environment variable that holds the key"
    )
    profile: str | None = Field(None, description="of ~/.databrickscfg (provider databricks); null: the environment's")
    headers: dict[str, str] = Field({}, description="sent with each request; nothing secret")
    headers_env: dict[str, VariableName] = Field({}, description="header -> the NAME of the variable with its value")
    proxy: str | None = Field(None, description="http://HOST:PORT; null: HTTPS_PROXY and NO_PROXY of the environment")
    tls: Tls = Tls()
    temperature: float | None = Field(0.9, ge=0, description="null: not sent")
    max_tokens: int = Field(1024, ge=16, description="the most tokens of one reply; the budget reserves them")
    max_concurrency: int = Field(16, ge=1, description="the most requests in flight; fewer while it says 429 or 503")
    requests_per_minute: int | None = Field(None, ge=1, description="null: no limit of ours")
    tokens_per_minute: int | None = Field(None, ge=1, description="input and output together; null: no limit of ours")
    window_tokens: int | None = Field(
        None,
        ge=64,
        description="of a document that it extracts from at a time; null: extraction.window_tokens",
        json_schema_extra=EXTRACTION,
    )
    timeout: float = Field(120, gt=0, description="seconds for one request")
    price: Price | None = None
    outputs_may_train: bool = Field(True, description="whether the endpoint's terms allow training on its outputs")

    @model_validator(mode="after")
    def _says_where_it_is(self) -> Endpoint:
        # No default: a forgotten address must not send the source's text to somebody else.
        if self.provider == "openai" and not self.base_url:
            raise ValueError("base_url is missing: the address of the endpoint up to and with /v1")
        for name in sorted(_UNREAD[self.provider] & self.model_fields_set):
            if getattr(self, name) != type(self).model_fields[name].get_default():
                raise ValueError(f"{name} means nothing to provider {self.provider}")
        return self


class Endpoints(Section):
    generator: Endpoint | None = Field(None, description="writes what generate.method: llm makes")
    judge: Endpoint | None = Field(
        None, description="judges what was written; without it the generator judges its questions, nobody its documents"
    )


class Lora(Section):
    rank: Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = Field(
        16, description="a list is swept as the learning rates are"
    )
    alpha: int | None = Field(None, ge=1, description="null: twice the rank")
    dropout: float = Field(0.0, ge=0, lt=1)

    @property
    def ranks(self) -> list[int]:
        return [self.rank] if isinstance(self.rank, int) else self.rank


Duration = Annotated[str, Field(pattern=r"^[1-9][0-9_]*(ep|ba|tok)$")]

MEASURES = ("eval_loss", "token_accuracy", "task_metric")


class Finetune(Section):
    trainer: Literal["local"] = Field("local", description="local: a subprocess on this machine")
    base_model: str = Field(
        FETCHED_MODEL,
        min_length=1,
        description="a fetched model's name, a Hugging Face id, a folder or volume path, or models:/NAME/VERSION",
    )
    method: Literal["lora", "qlora", "full"] = Field(
        "lora", description="qlora: on a base in 4 bits (extra qlora); full: every weight"
    )
    duration: Duration | Annotated[list[Duration], Field(min_length=1)] = Field(
        "1ep", description="epochs 3ep, batches 500ba or tokens 2000000tok; a list is swept as the learning rates are"
    )
    learning_rates: list[Annotated[float, Field(gt=0)]] = Field(
        [1e-3], min_length=1, description="one run each; the best on ft_eval is selected"
    )
    select_by: str = Field(
        "eval_loss",
        description="eval_loss, token_accuracy or task_metric (token F1 of answers, or strict F1), on ft_eval",
    )
    task_metric: Literal["when_selecting", "all"] = Field(
        "when_selecting",
        description="all: every member of a sweep answers ft_eval, and the report correlates",
        json_schema_extra=QUESTIONS,
    )
    eval_fraction: float = Field(
        0.1, gt=0, lt=1, description="share of the training units (articles, lease families) that becomes ft_eval"
    )
    max_rows: int | None = Field(None, ge=2, description="the most training rows, chosen by a hash; null: all")
    require_review: bool = Field(
        False,
        description="train on rows only that a person accepted or edited (qa_reviews)",
        json_schema_extra=QUESTIONS,
    )
    context_length: int = Field(2048, ge=64, description="tokens; see too_long")
    too_long: Literal["cut", "leave_out"] = Field(
        "cut", description="what becomes of a longer row: its prompt loses its middle, or the row is left out"
    )
    batch_size: int = Field(4, ge=1, description="rows an optimiser step; with packing: filled contexts")
    packing: bool = Field(False, description="fill each context with whole rows that do not see each other")
    gradient_checkpointing: bool | None = Field(None, description="null: on a GPU only")
    eval_steps: int | None = Field(None, ge=1, description="optimiser steps between two evaluations; null: an epoch")
    early_stopping: int | None = Field(
        None, ge=1, description="end after so many evaluations without a lower eval_loss; null: never"
    )
    processes: int = Field(1, ge=1, description="training processes, one a GPU (accelerate)")
    save_steps: int = Field(10, ge=1, description="optimiser steps between two checkpoints")
    lora: Lora = Lora()
    register_to: str | None = Field(
        None, description="the name that the selected model is registered under; catalog.schema.name in Unity Catalog"
    )
    register_alias: str = Field("candidate", description="the alias that points to the registered version")

    @field_validator("register_to")
    @classmethod
    def _a_name_that_registries_take(cls, name: str | None) -> str | None:
        if name is not None and (not name or name != name.strip() or re.search("[/:@%]", name)):
            raise ValueError("a registered model's name has no / : @ %, and no blank at its ends")
        return name

    @field_validator("register_alias")
    @classmethod
    def _an_alias_that_registries_take(cls, alias: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", alias) or re.fullmatch(r"latest|v\d+", alias):
            raise ValueError("an alias has letters, digits, _ and -, and is neither latest nor v and a number")
        return alias

    @field_validator("select_by")
    @classmethod
    def _never_by_what_evaluate_measures_on(cls, measure: str) -> str:
        if measure not in MEASURES:
            raise ValueError(
                f"one of {', '.join(MEASURES)}, all measured on ft_eval: a model that was chosen by the hold-out or "
                "the validation rows would be measured on what it was chosen by"
            )
        return measure

    @property
    def durations(self) -> list[str]:
        return [self.duration] if isinstance(self.duration, str) else self.duration


class ExtraSet(Section):
    """A further test set: labelled documents, read as `source` is; never trained on."""

    name: Identifier
    path: str = Field(description="a file, a folder or a glob")
    labels: str | None = Field(None, description="JSONL or CSV with the labels of a folder's documents")


class Evaluate(Section):
    run: str | None = Field(None, description="run_id in finetune_runs; null: the last selected one (of each round)")
    models: list[ModelRole] = Field(["base", "tuned"], min_length=1, description="generator and judge: those endpoints")
    context: list[ContextMode] = Field(
        ["with", "without"],
        min_length=1,
        description="whether the question comes with its source",
        json_schema_extra=QUESTIONS,
    )
    decoding: list[Decoding] = Field(
        ["constrained", "free"],
        min_length=1,
        description="how local models write: held to the JSON schema, or as they like",
        json_schema_extra=EXTRACTION,
    )
    extra_sets: list[ExtraSet] = Field([], description="further labelled documents", json_schema_extra=EXTRACTION)
    limit: int | None = Field(None, ge=1, description="the most validation rows, chosen by a hash; null: all")
    max_new_tokens: int | None = Field(
        None, ge=8, description="the most tokens of an answer; null: 160, and 512 for structured_extraction"
    )


class Budget(Section):
    """Over all stages of one command; reserved before a request is sent, so never overshot."""

    requests: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    money: float | None = Field(None, ge=0)


class Tracking(Section):
    uri: str = Field("sqlite:///mlflow.db", description="MLflow's tracking URI")
    experiment: str = "finreg"


class Config(Section):
    task: Task = "regulation_qa"
    catalog: Identifier = "main"
    schema_: Identifier = Field("euroreg", alias="schema")
    engine: Engine = Engine()
    source: Source = Source()
    ingest: Ingest = Ingest()
    extraction: Extraction = Field(Extraction(), json_schema_extra=EXTRACTION)
    generate: Generate
    endpoints: Endpoints = Endpoints()
    finetune: Finetune = Finetune()
    evaluate: Evaluate = Evaluate()
    budget: Budget = Budget()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _llm_needs_a_generator(self) -> Config:
        if self.generate.method == "llm" and self.endpoints.generator is None:
            raise ValueError(
                "generate.method is llm, but endpoints.generator is not configured, such as "
                "endpoints: {generator: {model: NAME, base_url: 'http://localhost:8000/v1'}}"
            )
        return self

    @model_validator(mode="after")
    def _money_needs_prices(self) -> Config:
        if self.budget.money is not None:
            for name in ("generator", "judge"):
                endpoint = getattr(self.endpoints, name)
                if endpoint and endpoint.price is None:
                    raise ValueError(f"budget.money is set, but endpoints.{name}.price is not")
        return self

    @model_validator(mode="after")
    def _unity_catalog_has_three_levels(self) -> Config:
        name = self.finetune.register_to
        if name and self.tracking.uri.startswith("databricks") and not re.fullmatch(r"[^.\s]+(\.[^.\s]+){2}", name):
            raise ValueError(f"finetune.register_to: {name!r} is not catalog.schema.name, as Unity Catalog has it")
        return self

    @model_validator(mode="after")
    def _endpoints_that_are_evaluated(self) -> Config:
        for role in self.evaluate.models:
            if role in ("generator", "judge") and getattr(self.endpoints, role) is None:
                raise ValueError(f"evaluate.models names {role}, but endpoints.{role} is not configured")
        return self

    @model_validator(mode="after")
    def _keys_of_the_other_task(self) -> Config:
        """A key that the task does not read is refused, as an unknown one is."""
        idle = list(_idle_keys(self, self.task))
        if self.task == "regulation_qa" and {"generator", "judge"} & set(self.evaluate.models):
            idle.append("evaluate.models: generator, judge")
        if idle:
            other = next(each for each in get_args(Task) if each != self.task)
            raise ValueError(f"{', '.join(idle)}: read by the task {other} only, and task is {self.task}")
        return self

    @property
    def state(self) -> Path:
        """The folder of caches, checkpoints, models, reports and logs."""
        return self.engine.warehouse / "_finreg"


def of_another_task(field: FieldInfo, task: str) -> bool:
    """Whether a key is marked as one that only another task reads."""
    mark = field.json_schema_extra
    return isinstance(mark, dict) and mark.get("task", task) != task


def _idle_keys(section: Section, task: str, path: str = "") -> Iterator[str]:
    """The keys that are set, to something else than their default, and that the task does not read."""
    for name, field in type(section).model_fields.items():
        key, value = f"{path}{field.alias or name}", getattr(section, name)
        if of_another_task(field, task):
            if value != field.get_default(call_default_factory=True):
                yield key
        elif isinstance(value, Section):
            yield from _idle_keys(value, task, f"{key}.")


def load(path: Path, overrides: Sequence[str] = (), environment: Mapping[str, str] = os.environ) -> Config:
    """Reads a YAML file with what it extends, the overrides (``key.path=value``) and the environment.

    Raises:
        ConfigError: the file, a key, a value or a variable is wrong; all that is wrong is named at once.
    """
    raw = _read_with_bases(path, ())
    for override in overrides:
        _override(raw, override)
    raw = _substitute(raw, environment, str(path))
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}", _remedy(error, path)) from None


def _read_with_bases(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    resolved = path.resolve()
    if resolved in chain:
        raise ConfigError(f"{path}: 'extends' runs in a circle", "remove one of the 'extends' lines")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no such configuration file: {path}", _where_configs_are(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}", "check the path and its rights") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}", "check indentation and quotes there") from None
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path} holds a {type(raw).__name__}, not a mapping of keys", "finreg init FILE writes one with every key"
        )
    base = raw.pop("extends", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise ConfigError(f"{path}: extends: {base!r} is not a path", "give one file's path, relative to this file")
    return _merge(_read_with_bases(path.parent / base, (*chain, resolved)), raw)


def _where_configs_are(path: Path) -> str:
    near = sorted(path.parent.glob("*.y*ml")) or sorted(Path("configs").glob("*.y*ml"))
    there = f"there is {', '.join(map(str, near[:5]))}: name it with -c; or " if near else ""
    return f"{there}finreg init {path}"


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        # A mix of kinds is one value (merged key by key, its shares would no longer add up), and so is a JSON schema.
        if isinstance(value, dict) and isinstance(merged.get(key), dict) and key not in ("kinds", "schema"):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _override(raw: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"--set {override!r} is not key.path=value", "for example --set generate.limit=50")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {path}: {text!r} is not a YAML value", "quote it, or check its brackets") from None
    node = raw
    for key in keys[:-1]:
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            raise ConfigError(f"--set {path}: '{key}' is not a section", "give the path of a key, section.key")
    node[keys[-1]] = value


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def _substitute(value: Any, environment: Mapping[str, str], where: str) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, environment, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, environment, where) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        found = environment.get(name, default)
        if found is None:
            raise ConfigError(
                f"{where} reads ${{{name}}}, and the environment variable {name} is not set",
                f"export {name}=..., or give a default: ${{{name}:-value}}",
            )
        return found

    return _VARIABLE.sub(replace, value)


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        location = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        if problem["type"] == "extra_forbidden":
            key = str(problem["loc"][-1])
            near = difflib.get_close_matches(key, known_keys(problem["loc"][:-1]), n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            lines.append(f"unknown key '{location}'{hint}")
        elif problem["type"] == "missing":
            lines.append(f"missing key '{location}'")
        else:
            given = problem.get("input")
            # A value of api_key_env that is no name is probably a key, and must not reach a log.
            plain = isinstance(given, (str, int, float, bool, type(None))) and problem["loc"][-1:] != ("api_key_env",)
            shown = f" (given: {given!r})" if plain else ""
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{location}: {message}{shown}" if location else f"{message}")
    return "; ".join(lines)


def _remedy(error: ValidationError, path: Path) -> str:
    locations = [problem["loc"] for problem in error.errors()]
    if ("generate", "method") in locations or ("generate",) in locations:
        return (
            "set generate.method: llm (needs endpoints.generator) or generate.method: rules (from structure, no model)"
        )
    for problem in error.errors():
        if problem["type"] == "extra_forbidden":
            known = ", ".join(known_keys(problem["loc"][:-1]))
            return f"known there: {known}"
    return f"correct it in {path} or with --set; 'finreg init -' prints every key with its meaning"


def known_keys(location: Sequence[str | int]) -> list[str]:
    """The keys that a section knows, by its path from the top; empty where the path is no section."""
    model: type[BaseModel] = Config
    for part in location:
        found = next((each for name, each in model.model_fields.items() if part in (name, each.alias)), None)
        section = _section_in(found.annotation) if found else None
        if section is None:
            return []
        model = section
    return [each.alias or name for name, each in model.model_fields.items()]


def _section_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
