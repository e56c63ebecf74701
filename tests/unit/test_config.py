"""The YAML: what is refused, with what words, and how files and overrides come together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from finreg_cli import config
from finreg_cli.errors import ConfigError
from finreg_cli.template import commented_yaml

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "finreg.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("configs/*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path):
    assert config.load(path, environment={}).task


@pytest.mark.parametrize("template", ["local", "spark", "leases"])
def test_the_template_holds_every_key_of_its_task_and_loads(write, template):
    text = commented_yaml(template)
    loaded = config.load(write(text), environment={})
    assert loaded.generate.method == "rules"
    assert (loaded.engine.kind == "spark") == (template == "spark")
    of_extraction = {"extraction"} if template == "leases" else set()
    keys = yaml.safe_load(text)
    assert set(keys) == set(config.known_keys(())) - {"extraction"} | of_extraction
    assert ("rounds" in keys["generate"], "kinds" in keys["generate"]) == (bool(of_extraction), not of_extraction)


def test_the_commented_endpoint_is_one(write):
    lines = commented_yaml("local").splitlines()
    start = lines.index(next(line for line in lines if line.startswith("  # generator:")))
    block = ["endpoints:"]
    for line in lines[start:]:
        if not line.startswith("  # "):
            break
        block.append("  " + line.removeprefix("  # "))
    text = "generate: {method: llm}\n" + "\n".join(block)
    loaded = config.load(write(text), environment={"GENERATOR_URL": "http://localhost/v1"})
    assert loaded.endpoints.generator.base_url == "http://localhost/v1"


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        (
            "generate: {method: rules, sede: 3}",
            "unknown key 'generate.sede'; did you mean 'seed'?",
            "known there: method",
        ),
        ("generat: {method: rules}", "did you mean 'generate'?", "generate.method: rules"),
        ("generate: {limit: 3}", "missing key 'generate.method'", "generate.method: llm"),
        ("{}", "missing key 'generate'", "generate.method"),
        ("generate: {method: magic}", "generate.method: Input should be 'llm' or 'rules' (given: 'magic')", "rules"),
        ("generate: {method: llm}", "endpoints.generator is not configured", ""),
        ("generate: {method: rules, kinds: {definition: 0.5}}", "generate.kinds: the shares add up to 0.5, not 1", ""),
        ("generate: {method: rules, gates: []}", "unknown key 'generate.gates'", "known there"),
        ("generate: [", "is not valid YAML", "indentation"),
        ("- a", "holds a list, not a mapping", "finreg init"),
        ("generate: {method: rules}\nengine: {kind: spark}", "needs one of remote", ""),
        ("generate: {method: rules}\nsource: {path: '${NOWHERE}'}", "variable NOWHERE is not set", "export NOWHERE"),
        (
            "generate: {method: llm}\nendpoints: {generator: {model: m, api_key_env: sk-123}}",
            "endpoints.generator.api_key_env: is the NAME of an environment variable",
            "",
        ),
        (
            "generate: {method: llm}\nendpoints: {generator: {model: m, base_url: u}}\nbudget: {money: 1}",
            "budget.money is set, but endpoints.generator.price is not",
            "",
        ),
        (
            "generate: {method: llm}\nendpoints: {generator: {model: m}}",
            "endpoints.generator: base_url is missing",
            "",
        ),
        (
            "generate: {method: llm}\nendpoints: {generator: {provider: embedded, model: m.gguf, proxy: 'http://p:1'}}",
            "proxy means nothing to provider embedded",
            "",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(write, text, message, remedy):
    with pytest.raises(ConfigError) as caught:
        config.load(write(text), environment={})
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.remedy


def test_a_key_in_the_place_of_a_name_is_not_repeated(write):
    secret = "sk-live-4242"
    text = f"generate: {{method: llm}}\nendpoints: {{generator: {{model: m, api_key_env: {secret}}}}}"
    with pytest.raises(ConfigError) as caught:
        config.load(write(text), environment={})
    assert secret not in caught.value.message


def test_a_missing_file_names_those_that_are_there(write, tmp_path):
    write("generate: {method: rules}", "other.yaml")
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "missing.yaml")
    assert "missing.yaml" in caught.value.message
    assert "other.yaml" in caught.value.remedy


def test_extends_is_relative_to_its_own_file_and_merges_deeply(write, tmp_path):
    (tmp_path / "base").mkdir()
    write("generate: {method: rules, seed: 1}\ncatalog: a", "base/base.yaml")
    loaded = config.load(write("extends: base/base.yaml\ngenerate: {limit: 5}\ncatalog: b"), environment={})
    assert (loaded.generate.seed, loaded.generate.limit, loaded.catalog) == (1, 5, "b")


def test_a_mix_of_kinds_is_replaced_and_not_merged(write):
    write("generate: {method: rules, kinds: {definition: 1.0}}", "base.yaml")
    loaded = config.load(write("extends: base.yaml\ngenerate: {kinds: {threshold: 1.0}}"), environment={})
    assert loaded.generate.kinds == {"threshold": 1.0}


def test_extends_in_a_circle_is_refused(write):
    write("extends: finreg.yaml", "other.yaml")
    with pytest.raises(ConfigError, match="circle"):
        config.load(write("extends: other.yaml"))


def test_overrides_are_yaml_and_win(write):
    path = write("generate: {method: rules}")
    overrides = ["generate.limit=12", "finetune.learning_rates=[1e-3, 2.0e-4]", "evaluate.run=null", "schema=x"]
    loaded = config.load(path, overrides, environment={})
    assert loaded.generate.limit == 12
    assert loaded.finetune.learning_rates == [1e-3, 2e-4]
    assert loaded.schema_ == "x"


@pytest.mark.parametrize("override", ["generate.limit", "=3", "generate..limit=1", "catalog.x=1", "generate.limit=["])
def test_a_wrong_override_is_refused(write, override):
    with pytest.raises(ConfigError):
        config.load(write("generate: {method: rules}\ncatalog: main"), [override], environment={})


def test_the_environment_is_read_with_defaults(write):
    path = write("generate: {method: rules}\nsource: {path: '${DOCS:-here}/${SUB}'}")
    assert config.load(path, environment={"SUB": "pdf"}).source.path == "here/pdf"


@pytest.mark.parametrize("measure", ["holdout", "validation_loss", "token_f1"])
def test_a_model_is_never_selected_by_what_evaluate_measures_on(write, measure):
    path = write("generate: {method: rules}")
    with pytest.raises(ConfigError, match=r"finetune\.select_by: one of eval_loss, .* on ft_eval: a model"):
        config.load(path, [f"finetune.select_by={measure}"])


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("finetune.register_to=a/b", "has no / : @ %"),
        ("finetune.register_alias=v3", "neither latest nor v"),
        ("finetune.base_model=''", "at least 1 character"),
    ],
)
def test_a_name_that_no_registry_takes_is_refused(write, override, problem):
    with pytest.raises(ConfigError, match=problem):
        config.load(write("generate: {method: rules}"), [override])


def test_unity_catalog_takes_a_name_of_three_levels(write):
    path = write("generate: {method: rules}\ntracking: {uri: databricks}")
    with pytest.raises(ConfigError, match=r"'assistant' is not catalog\.schema\.name"):
        config.load(path, ["finetune.register_to=assistant"])
    assert config.load(path, ["finetune.register_to=main.euroreg.assistant"]).finetune.register_to


@pytest.mark.parametrize("duration", ["3ep", "500ba", "2_000_000tok"])
def test_a_duration_counts_epochs_batches_or_tokens(write, duration):
    loaded = config.load(write("generate: {method: rules}"), [f"finetune.duration={duration}"])
    assert loaded.finetune.durations == [duration]


@pytest.mark.parametrize(
    ("task", "override", "key"),
    [
        ("regulation_qa", "generate.rounds=2", "generate.rounds"),
        ("regulation_qa", "extraction.window_tokens=500", "extraction"),
        ("structured_extraction", "generate.limit=10", "generate.limit"),
        ("structured_extraction", "finetune.require_review=true", "finetune.require_review"),
        ("structured_extraction", "evaluate.context=[with]", "evaluate.context"),
        ("structured_extraction", "ingest.chunk_tokens=300", "ingest.chunk_tokens"),
    ],
)
def test_a_key_that_the_task_does_not_read_is_refused(tmp_path, task, override, key):
    path = tmp_path / "finreg.yaml"
    path.write_text(f"task: {task}\ngenerate: {{method: rules}}\n")
    config.load(path)
    with pytest.raises(ConfigError, match=f"{re.escape(key)}.*read by the task"):
        config.load(path, [override])
