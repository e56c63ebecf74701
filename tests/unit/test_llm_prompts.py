"""The prompts: files to review, versioned by their text, replaceable from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from finreg_cli.config import Kind
from finreg_cli.errors import ConfigError
from finreg_cli.llm.prompts import FILES, STEPS, known_parameters, load


def test_every_shipped_prompt_uses_known_parameters_only_and_shows_the_context() -> None:
    prompts = load()
    for name in STEPS:
        used = set(prompts.template(name).input_variables)
        assert {"context", "regulation", "audience"} <= used <= set(known_parameters(name))


def test_every_kind_of_the_configuration_is_described() -> None:
    load().require_kinds(get_args(Kind))


def test_an_undescribed_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="'cross_article' is not described"):
        load().require_kinds(["definition", "cross_article"])


@pytest.mark.parametrize("name", FILES)
def test_a_changed_text_changes_its_version_and_the_whole(tmp_path: Path, name: str) -> None:
    shipped = load()
    (tmp_path / f"{name}.md").write_text(shipped.texts[name] + "\n", encoding="utf-8")
    replaced = load(tmp_path)
    assert replaced.version != shipped.version
    assert [each for each in FILES if replaced.versions[each] != shipped.versions[each]] == [name]


def test_the_same_texts_have_the_same_version() -> None:
    assert load().version == load().version


def test_a_context_with_braces_is_no_template() -> None:
    given = dict.fromkeys(known_parameters("question_draft"), "x") | {"context": "set {audience} of {0} {"}
    text = load().template("question_draft").format_messages(**given)[0].text
    assert "set {audience} of {0} {" in text


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("question_draft.md", "Ask about {contxt}.", r"unknown parameter \{contxt\}"),
        ("question_draft.md", "Judge {answer_judgement}.", r"unknown parameter \{answer_judgement\}"),
        ("question_draft.md", 'Write {"question": "..."}', "question_draft.md"),
        ("question_draft.md", "Ask about {context", "is no template"),
        ("question.md", "Ask about {context}.", "replaces no prompt"),
    ],
)
def test_a_wrong_replacement_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        load(tmp_path / "nowhere")
