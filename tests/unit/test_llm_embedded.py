"""The embedded model held to a JSON schema: whatever its weights say, it answers with all keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import tiny_llama
from fakes.leases import labelled
from finreg_cli.domain.extraction import LEASE, Schema, instruction, parse_object, prompt_text
from finreg_cli.domain.records import Message
from finreg_cli.llm.embedded import XllamacppAnswerer
from finreg_cli.training import fetched

ANSWERS = Schema.parse(
    {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in ("is_signed", "is_sublease", "has_option", "is_amended")},
    }
)
"""No value that a model of random weights could write without end."""


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def two_workers(gguf: Path) -> Iterator[XllamacppAnswerer]:
    answerer = XllamacppAnswerer(gguf, workers=2)
    yield answerer
    answerer.close()


def _prompts(schema: Schema, count: int) -> list[list[Message]]:
    """Short ones: the tiny model reads 1024 of its tokens, which are about as many letters."""
    return [
        [Message(prompt_text(f"Find {', '.join(schema.keys)}.", lease.lease_doc[:200]), "user")]
        for lease in labelled(count)
    ]


def test_random_weights_answer_with_all_keys(two_workers: XllamacppAnswerer) -> None:
    answers = list(two_workers.answers(_prompts(ANSWERS, 6), 200, ANSWERS.json_schema()))
    assert len(answers) == 6
    for answer in answers:
        labels = json.loads(answer)
        assert list(labels) == list(ANSWERS.keys)
        assert ANSWERS.problems(labels) == []
    free = list(two_workers.answers(_prompts(ANSWERS, 6), 200))
    assert all(parse_object(answer) is None for answer in free), "without a schema these weights write no JSON"


def test_prompts_side_by_side_are_answered_as_one_by_one(two_workers: XllamacppAnswerer) -> None:
    prompts, schema = _prompts(ANSWERS, 6), ANSWERS.json_schema()
    one_by_one = [answer for prompt in prompts for answer in two_workers.answers([prompt], 200, schema)]
    assert list(two_workers.answers(prompts, 200, schema)) == one_by_one


def test_an_answer_that_reaches_the_limit_ends_there(two_workers: XllamacppAnswerer) -> None:
    """And the next one is not hurt by it."""
    cut, whole = LEASE.json_schema(), ANSWERS.json_schema()
    (answer,) = two_workers.answers(_prompts(LEASE, 1), 24, cut)
    assert answer.lstrip().startswith("{")
    assert '"end_d' in answer
    assert parse_object(answer) is None
    (answer,) = two_workers.answers(_prompts(ANSWERS, 1), 200, whole)
    assert parse_object(answer) is not None


@pytest.mark.skipif(fetched.locate() is None, reason="needs the fetched model: finreg models pull")
@pytest.mark.slow
def test_the_fetched_model_writes_labels_of_the_lease_schema() -> None:
    answerer = XllamacppAnswerer(fetched.require().gguf, context_length=2048, workers=2)
    prompts = [[Message(prompt_text(instruction(LEASE), lease.lease_doc), "user")] for lease in labelled(3)]
    for answer in answerer.answers(prompts, 512, LEASE.json_schema()):
        labels = json.loads(answer)
        assert list(labels) == list(LEASE.keys)
        assert all(value is None or isinstance(value, str) for value in labels.values())
    answerer.close()
