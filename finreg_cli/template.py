"""The commented configuration that `finreg init` writes, made from the models in `finreg_cli.config`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from finreg_cli.config import Config, Endpoint, of_another_task

_GENERATOR = {"model": "NAME", "base_url": "${GENERATOR_URL}", "api_key_env": "GENERATOR_KEY"}

_TEMPLATES: dict[str, dict[str, Any]] = {
    "local": {"generate": {"method": "rules"}},
    "spark": {
        "engine": {"kind": "spark", "remote": "${SPARK_REMOTE:-sc://localhost:15002}"},
        "generate": {"method": "rules"},
    },
    "leases": {
        "task": "structured_extraction",
        "schema": "leases",
        "source": {"path": "data/leases/leases.jsonl"},
        "generate": {"method": "rules", "rounds": 2},
        "finetune": {"duration": "3ep", "eval_fraction": 0.2},
    },
}

_HEAD = """\
# finreg: one file for four stages. Try it: finreg doctor, then finreg all.
# init chose generate.method: rules, which needs no model; for rows written by a language model say llm and
# configure endpoints.generator. Any other key may be left out. First set source.path.
# ${NAME} and ${NAME:-default} read the environment.
"""


def commented_yaml(template: str) -> str:
    """Every key of the template's task with its meaning and its default, or what the template sets in its place.

    Args:
        template: ``local``, ``spark`` or ``leases``.
    """
    values = _TEMPLATES[template]
    task = values.get("task", Config.model_fields["task"].default)
    return _HEAD + "\n".join(_section(Config, values, task, 0)) + "\n"


def _section(model: type[BaseModel], values: Mapping[str, Any], task: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, field in model.model_fields.items():
        if of_another_task(field, task):
            continue
        key = field.alias or name
        nested = _nested(field)
        if nested is not None:
            yield f"{indent}{key}:" + _comment(nested.__doc__ if nested.__doc__ != BaseModel.__doc__ else None)
            yield from _section(nested, values.get(key, {}), task, depth + 1)
        elif field.annotation == Endpoint | None:
            yield from _endpoint(key, field, task, indent)
        else:
            value = values.get(key, field.get_default(call_default_factory=True))
            yield f"{indent}{key}: {_flow(value)}{_comment(field.description)}"


def _endpoint(key: str, field: FieldInfo, task: str, indent: str) -> Iterator[str]:
    """An endpoint costs money, so it comes commented out."""
    if key != "generator":
        yield f"{indent}{key}: null{_comment(field.description)}"
    else:
        yield f"{indent}# {key}:{_comment(field.description)}"
        for name, each in Endpoint.model_fields.items():
            if of_another_task(each, task):
                continue
            value = _GENERATOR.get(name, each.get_default())
            yield f"{indent}#   {name}: {_flow(value)}{_comment(each.description)}"


def _nested(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _flow(value: Any) -> str:
    if isinstance(value, Path):
        value = str(value)
    elif isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = yaml.safe_dump(value, default_flow_style=True, width=1_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _comment(text: str | None) -> str:
    return f"  # {text.splitlines()[0]}" if text else ""
