"""finreg: from regulation PDFs to a cited, leak-free, honestly evaluated domain model.

From Python, `build_instruction_eval_dataset(chunks, llm, ...)` writes rows with any LangChain model; see `llm.dataset`.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The entry point for Python, imported when it is first asked for: the command line never waits for LangChain."""
    if name == "build_instruction_eval_dataset":
        from importlib import import_module

        return import_module("finreg_cli.llm.dataset").build_instruction_eval_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
