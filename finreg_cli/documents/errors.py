"""The one exception within document reading; it leaves the package as an `UnreadableFile`."""

from __future__ import annotations

from finreg_cli.documents.base import ErrorClass


class ReadError(Exception):
    """A file that cannot be read, with its class; ``str()`` is the message for a person."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class
