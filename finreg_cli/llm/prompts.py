"""The prompts: the files of ``tasks/prompts``, or of the folder ``generate.prompts`` where it has one of that name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from finreg_cli.config import Task
from finreg_cli.domain.identity import content_hash
from finreg_cli.errors import ConfigError
from finreg_cli.llm.asking import Prompt


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a task.

    Args:
        always: the parameters that every step may use.
        by_step: each step in its order -> the parameters that the steps after it may use too.
        others: files that are no steps.
    """

    always: tuple[str, ...]
    by_step: Mapping[str, tuple[str, ...]]
    others: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.by_step, *self.others)

    @property
    def templates(self) -> tuple[str, ...]:
        return (*self.by_step, "repair")

    def known_parameters(self, name: str) -> tuple[str, ...]:
        """The ``{parameters}`` that a prompt may use: a step's also hold what the steps before it wrote."""
        if name == "repair":
            return _REPAIR
        steps = list(self.by_step)
        earlier = steps[: steps.index(name)]
        return (*self.always, *(parameter for step in earlier for parameter in self.by_step[step]))


_REPAIR = ("problem", "keys")

PROMPT_SETS: Mapping[Task, PromptSet] = {
    "regulation_qa": PromptSet(
        always=(
            *("regulation", "act", "audience", "language"),
            *("context", "citation", "kind", "kind_description", "abstention"),
        ),
        by_step={
            "question_draft": ("initial_question",),
            "question_judgement": ("question_judgement",),
            "question_improve": ("question",),
            "answer_draft": ("initial_answer", "reasoning"),
            "answer_judgement": ("answer_judgement",),
            "answer_improve": ("answer",),
            "groundedness": (),
        },
        others=("repair", "kinds"),
    ),
    "structured_extraction": PromptSet(
        always=("title", "keys", "key_names", "example_document", "example_note", "example_labels", "initials", "year"),
        by_step={
            "labels": ("labels", "details", "absent"),
            "document": ("document",),
            "labels_judgement": (),
            "document_judgement": (),
        },
        others=("repair",),
    ),
}

_HEAD = re.compile(r"^# +(\S+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Prompts:
    """The text of each file of a task, by its name without the suffix."""

    texts: Mapping[str, str]

    @cached_property
    def version(self) -> str:
        """A hash over the text of all of them; it is part of the rows' ids."""
        return content_hash(dict(self.texts))

    @cached_property
    def versions(self) -> dict[str, str]:
        """A hash over the text of each."""
        return {name: content_hash(self.texts[name]) for name in self.texts}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """What each kind of question is, from the sections of ``kinds.md``."""
        _, *parts = _HEAD.split(self.texts["kinds"])
        return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}

    def require_kinds(self, kinds: Iterable[str]) -> None:
        """Raises ConfigError where ``kinds.md`` does not describe one of the kinds."""
        for kind in kinds:
            if not self.kinds.get(kind):
                raise ConfigError(
                    f"the kind '{kind}' is not described in kinds.md, which has {', '.join(self.kinds)}",
                    f"add a section '# {kind}' to it, or leave the kind out",
                )

    def template(self, name: str) -> Prompt:
        """The prompt of a step, one message from the user."""
        return Prompt(self.texts[name])


def load(folder: Path | None = None, task: Task = "regulation_qa") -> Prompts:
    """The shipped prompts of a task, each replaced by the file of its name in the folder.

    Raises:
        ConfigError: the folder is none, holds a file of another name, or a prompt uses an unknown parameter.
    """
    known = PROMPT_SETS[task]
    shipped = resources.files("finreg_cli.tasks") / "prompts"
    texts = {name: (shipped / f"{name}.md").read_text(encoding="utf-8") for name in known.files}
    if folder is not None:
        texts |= _replacements(folder, known.files, task)
    prompts = Prompts(texts)
    for name in known.templates:
        _check(name, known.known_parameters(name), prompts, folder)
    return prompts


def _replacements(folder: Path, files: Collection[str], task: Task) -> dict[str, str]:
    known = ", ".join(f"{name}.md" for name in files)
    if not folder.is_dir():
        raise ConfigError(f"generate.prompts: {folder} is not a folder", f"make it, and put some of these in: {known}")
    replacements = {}
    for path in sorted(folder.glob("*.md")):
        if path.stem not in files:
            raise ConfigError(
                f"generate.prompts: {path} replaces no prompt of the task {task}", f"the prompts are {known}"
            )
        try:
            replacements[path.stem] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"generate.prompts: {path} cannot be read: {error}", "save it as UTF-8 text") from error
    return replacements


def _check(name: str, known: Collection[str], prompts: Prompts, folder: Path | None) -> None:
    try:
        used = set(prompts.template(name).input_variables)
    except ValueError as error:
        raise ConfigError(
            f"generate.prompts: {folder}/{name}.md is no template: {error}", "write a brace of the text as {{ or }}"
        ) from error
    if unknown := sorted(used - set(known)):
        raise ConfigError(
            f"generate.prompts: {folder}/{name}.md uses the unknown parameter {{{unknown[0]}}}",
            f"it may use {', '.join(known)}; write a brace of the text as {{{{ or }}}}",
        )
