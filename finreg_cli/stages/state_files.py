"""The small files of the state folder, in which a stage keeps what spares it work the next time."""

from __future__ import annotations

from pathlib import Path

from finreg_cli.errors import WarehouseError


def write_whole(path: Path, text: str) -> None:
    """Writes a file, and its folder where that is missing, so that no reader ever finds half of it.

    Raises:
        WarehouseError: it cannot be written.
    """
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise WarehouseError(
            f"cannot write {path}: {error.strerror}", "check the rights and the free space there"
        ) from error
