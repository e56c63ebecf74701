"""Every error that finreg shows to a user. Each says what is wrong and where, and carries the next thing to do.

The tree::

    FinregError
    ├── ConfigError            a file, a key or an option is wrong                     exit 2
    │   └── MissingExtra       a package of an optional extra is not installed         exit 2
    ├── StageFailed            the stage could not do its work                         exit 1
    │   ├── NothingToDo        no files, no chunks, no rows: nothing to do it on       exit 1
    │   ├── WarehouseError     the warehouse cannot be read or written                 exit 1
    │   │   ├── WarehouseBusy  another finreg process holds it                         exit 1
    │   │   └── CommitConflict writers kept overtaking this one                        exit 1
    │   ├── ModelMissing       a model is not on this machine                          exit 1
    │   ├── EndpointError      a language-model endpoint cannot be used                exit 1
    │   └── TrainingFailed     the training process ended badly                        exit 1
    ├── BudgetReached          the next request would overshoot the budget             exit 4
    └── Interrupted            Ctrl-C or SIGTERM                                       exit 130

The exit codes themselves live in ``finreg_cli.cli.ending``, the only place that ends the process.
"""

from __future__ import annotations

from typing import Any


class FinregError(Exception):
    """An error with its remedy.

    Args:
        message: what is wrong and where, with the offending value.
        remedy: what to do next, a command where there is one.

    Attributes:
        counts: what the stage had finished and used when it ended, where it says so.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.counts: dict[str, Any] = {}


class ConfigError(FinregError):
    """A configuration file, a key, an environment variable or an option is wrong."""


class MissingExtra(ConfigError):
    """A package that an optional extra brings is not installed."""

    def __init__(self, package: str, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the package '{package}', which is not installed",
            f"pip install 'finreg[{extra}]'",
        )


class StageFailed(FinregError):
    """The stage could not do its work; what it had finished is kept."""


class NothingToDo(StageFailed):
    """There was nothing to do the stage on: no files, no chunks, no rows."""


class WarehouseError(StageFailed):
    """The warehouse cannot be read or written."""


class WarehouseBusy(WarehouseError):
    """Another finreg process holds the warehouse."""


class CommitConflict(WarehouseError):
    """Other writers kept committing to the same table until the retries were used up."""


class ModelMissing(StageFailed):
    """A model or a tokenizer is not on this machine."""


class EndpointError(StageFailed):
    """A language-model endpoint refuses, or cannot be reached."""


class TrainingFailed(StageFailed):
    """The training process ended without a result."""


class BudgetReached(FinregError):
    """The next request would overshoot the budget; what was paid for is kept."""


class Interrupted(FinregError):
    """The user or the system asked the process to stop."""

    def __init__(self, message: str = "interrupted", remedy: str = "the same command goes on where this one stopped"):
        super().__init__(message, remedy)
