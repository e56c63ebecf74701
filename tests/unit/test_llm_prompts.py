"""The prompts: files to review, versioned by their text, replaceable from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from finreg_cli.config import Kind, Task
from finreg_cli.errors import ConfigError
from finreg_cli.llm.prompts import PROMPT_SETS, load

QUESTIONS = PROMPT_SETS["regulation_qa"]
DOCUMENTS = PROMPT_SETS["structured_extraction"]
FILES: list[tuple[Task, str]] = [(task, name) for task, prompts in PROMPT_SETS.items() for name in prompts.files]


@pytest.mark.parametrize(
    ("task", "shown"),
    [("regulation_qa", {"context", "regulation", "audience"}), ("structured_extraction", {"title"})],
)
def test_every_shipped_prompt_uses_known_parameters_only_and_shows_the_context(task: Task, shown: set[str]) -> None:
    prompts = load(task=task)
    for name in PROMPT_SETS[task].by_step:
        used = set(prompts.template(name).input_variables)
        assert shown <= used <= set(PROMPT_SETS[task].known_parameters(name))


def test_what_a_document_is_made_of_and_judged_by_is_shown() -> None:
    used = {name: set(load(task="structured_extraction").template(name).input_variables) for name in DOCUMENTS.by_step}
    assert {"keys", "example_labels", "initials", "year"} <= used["labels"]
    assert {"details", "absent", "example_document", "example_note"} <= used["document"]
    assert {"keys", "details", "absent"} <= used["labels_judgement"]
    assert {"keys", "labels", "document"} <= used["document_judgement"]


def test_every_kind_of_the_configuration_is_described() -> None:
    load().require_kinds(get_args(Kind))


def test_an_undescribed_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="'riddle' is not described"):
        load().require_kinds(["definition", "riddle"])


@pytest.mark.parametrize(("task", "name"), FILES)
def test_a_changed_text_changes_its_version_and_the_whole(tmp_path: Path, task: Task, name: str) -> None:
    shipped = load(task=task)
    (tmp_path / f"{name}.md").write_text(shipped.texts[name] + "\n", encoding="utf-8")
    replaced = load(tmp_path, task)
    assert replaced.version != shipped.version
    assert [each for each in PROMPT_SETS[task].files if replaced.versions[each] != shipped.versions[each]] == [name]


def test_the_same_texts_have_the_same_version() -> None:
    assert load().version == load().version


def test_a_context_with_braces_is_no_template() -> None:
    given = dict.fromkeys(QUESTIONS.known_parameters("question_draft"), "x") | {"context": "set {audience} of {0} {"}
    text = load().template("question_draft").invoke(given)[0].text
    assert "set {audience} of {0} {" in text


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("question_draft.md", "Ask about {contxt}.", r"unknown parameter \{contxt\}"),
        ("question_draft.md", "Judge {answer_judgement}.", r"unknown parameter \{answer_judgement\}"),
        ("question_draft.md", 'Write {"question": "..."}', "question_draft.md"),
        ("question_draft.md", "Ask about {context", "is no template"),
        ("question_draft.md", "Ask about {context.__class__}", "is no template"),
        ("question_draft.md", "Ask about {context!r:>9}", "is no template"),
        ("question_draft.md", "Ask about {}", "is no template"),
        ("question_draft.md", "Ask about {answer}.", r"unknown parameter \{answer\}"),
        ("question.md", "Ask about {context}.", "replaces no prompt"),
        ("labels.md", "Invent {title}.", "replaces no prompt of the task regulation_qa"),
    ],
)
def test_a_wrong_replacement_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        load(tmp_path / "nowhere")


def test_a_prompt_of_the_other_task_is_refused_with_the_list(tmp_path: Path) -> None:
    (tmp_path / "question_draft.md").write_text("Ask about {context}.")
    with pytest.raises(ConfigError, match="replaces no prompt of the task structured_extraction") as caught:
        load(tmp_path, "structured_extraction")
    assert "labels.md, document.md, labels_judgement.md, document_judgement.md, repair.md" in caught.value.remedy


def test_a_prompt_may_not_use_what_a_later_step_writes(tmp_path: Path) -> None:
    (tmp_path / "labels.md").write_text("Invent a {title} like {document}.")
    with pytest.raises(ConfigError, match=r"unknown parameter \{document\}"):
        load(tmp_path, "structured_extraction")
