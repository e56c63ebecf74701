"""The files of a source: a file, a folder with all below it, or a glob; links that lead out of it are not followed."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from finreg_cli.documents.base import SourceFile


@dataclass(frozen=True)
class Source:
    """The files in and below the folder ``root``, by path, and links that were not followed as they lead out of it."""

    root: Path
    files: list[SourceFile]
    refused: list[str]


def search(pattern: str, suffixes: Collection[str]) -> Source | None:
    """The files of a folder or glob with one of the suffixes (lower case), or the one file that was named.

    None where there is no such file or folder; a folder without such files gives an empty source.
    """
    candidates = _candidates(pattern, suffixes)
    if candidates is None:
        return None
    root, found = candidates
    inside = root.resolve()
    files: list[SourceFile] = []
    refused: list[str] = []
    for path in sorted(found):
        name = path.relative_to(root).as_posix()
        if path.resolve().is_relative_to(inside):
            files.append(SourceFile(name, path.absolute()))
        else:
            refused.append(name)
    return Source(root, files, refused)


def _candidates(pattern: str, suffixes: Collection[str]) -> tuple[Path, list[Path]] | None:
    """The source folder, and the files that the pattern names in it."""
    path = Path(pattern)
    if path.is_file():
        # The one place where a link may lead anywhere: the user named this very file.
        return (path.resolve().parent, [path.resolve()]) if path.is_symlink() else (path.parent, [path])
    if path.is_dir():
        return path, [each for each in _walk(path) if each.suffix.lower() in suffixes]
    if glob.has_magic(pattern):
        fixed = Path(*_fixed_parts(path))
        hits = [Path(each) for each in glob.glob(pattern, recursive=True)]
        return fixed, [each for each in hits if each.suffix.lower() in suffixes and each.is_file()]
    return None


def _walk(folder: Path) -> Iterable[Path]:
    for parent, _, names in os.walk(folder):  # does not follow links to folders
        yield from (path for name in names if (path := Path(parent, name)).is_file())


def _fixed_parts(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts or ["."]
