"""One made-up request of each task: what a served or registered model shows as its input.

Made up, because a model goes to more people than the documents that it was trained on.
"""

from __future__ import annotations

from finreg_cli.config import Config
from finreg_cli.domain import chat_format, extraction
from finreg_cli.domain.records import Message
from finreg_cli.stages.evaluate import MAX_NEW_TOKENS
from finreg_cli.tasks.structured_extraction import most_tokens, schema_of

CONTEXT = "Example Regulation Article 1\nAn institution shall report its own funds by the tenth working day of a month."
QUESTION = "By when shall an institution report its own funds?"
DOCUMENT = "The lease between Example Estates as lessor and Example Goods as lessee begins on 1 March 2026."


def example(config: Config) -> tuple[list[Message], int]:
    """The messages, as the task's rows have them, and the most tokens of an answer, as it is evaluated."""
    if config.task == "regulation_qa":
        return chat_format.prompt(CONTEXT, QUESTION), config.evaluate.max_new_tokens or MAX_NEW_TOKENS
    instruction = config.extraction.instruction or extraction.instruction(schema_of(config))
    return [Message(extraction.prompt_text(instruction, DOCUMENT), "user")], most_tokens(config)
