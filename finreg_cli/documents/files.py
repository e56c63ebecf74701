"""The files of a source: a file, a folder with all below it, a glob, or a URL; nothing leads out of the source."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from finreg_cli.documents.base import SourceFile

SUFFIXES = (".pdf", ".html", ".htm", ".xhtml", ".txt", ".md")
"""What is read as a regulation. A Markdown file has to be named, itself or by a glob: in a folder of documents it is
the README that says where they come from."""

_ONLY_WHEN_NAMED = frozenset((".md",))


@dataclass(frozen=True)
class Source:
    """The files in and below the folder ``root``, by path.

    ``refused`` are links that were not followed, for they lead out of the source or nowhere, and objects whose names
    would. ``downloaded`` counts the objects of a URL that were fetched now, all others being in the cache.
    ``unreadable`` are folders that could not be looked into, with the reason: what lies there is not known to be gone.
    """

    root: Path
    files: list[SourceFile]
    refused: list[str]
    downloaded: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def search(
    pattern: str,
    suffixes: Collection[str],
    cache: Path | None = None,
    *,
    download: bool = True,
    on_file: Callable[[int], None] = lambda count: None,
) -> Source | None:
    """The files of a folder, a glob or a URL with one of the suffixes (lower case), or the one file that was named.

    None where there is no such place; a folder without such files gives an empty source.

    Args:
        pattern: a file, a folder, a glob, or a URL of an object store (``s3://bucket/folder``, also with a glob).
        suffixes: of the files that are wanted.
        cache: the folder that holds the objects of URLs; only a URL needs it.
        download: False lists a URL only; what is not in the cache then has a path at which there is no file yet.
        on_file: told of each object that was downloaded.

    Raises:
        ConfigError: a URL that is not understood, or whose package is missing.
        StageFailed: a URL that cannot be reached or read.
    """
    if "://" in pattern:
        from finreg_cli.documents import remote  # a source on this machine needs none of it

        return remote.search(pattern, suffixes, cache, download=download, on_file=on_file)
    denied: list[OSError] = []
    candidates = _candidates(pattern, suffixes, denied)
    if candidates is None:
        return None
    root, found = candidates
    inside = root.resolve()
    files: list[SourceFile] = []
    refused: list[str] = []
    for path in sorted(set(found)):
        name = _storable(path.relative_to(root).as_posix())
        if _leads_within(path, inside):
            files.append(SourceFile(name, path.absolute()))
        else:
            refused.append(name)
    unreadable = {
        _storable(os.path.relpath(error.filename, root)): error.strerror or type(error).__name__ for error in denied
    }
    return Source(root, files, refused, unreadable=unreadable)


def _storable(name: str) -> str:
    """A name that is no UTF-8 with its bytes written out, as no table takes it otherwise."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def wanted_in_folders(suffixes: Collection[str]) -> frozenset[str]:
    """Of the suffixes of regulations those that a folder gives unasked; other lists are taken as they are."""
    return frozenset(suffixes) - (_ONLY_WHEN_NAMED if tuple(suffixes) == SUFFIXES else frozenset())


def _leads_within(path: Path, inside: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):  # a link to nothing, or in a circle
        return False


def _candidates(pattern: str, suffixes: Collection[str], denied: list[OSError]) -> tuple[Path, list[Path]] | None:
    """The source folder, and the files and links that the pattern names in it; ``denied`` takes the folders' errors."""
    path = Path(pattern)
    if path.is_file():
        # The one place where a link may lead anywhere: the user named this very file.
        return (path.resolve().parent, [path.resolve()]) if path.is_symlink() else (path.parent, [path])
    if path.is_dir():
        return path, list(_walk(path, wanted_in_folders(suffixes), denied))
    if glob.has_magic(pattern):
        fixed = _fixed_parts(path)
        rest = path.parts[len(fixed) :]
        root = Path(*fixed) if fixed else Path()
        return root, [each for each in _expand(root, rest) if each.suffix.lower() in suffixes and _is_candidate(each)]
    return None


def _walk(folder: Path, suffixes: Collection[str], denied: list[OSError]) -> Iterator[Path]:
    """Files with a suffix, and links that may have been meant as files or folders; links to folders are not entered."""
    inside = folder.resolve()
    for parent, folders, names in os.walk(folder, onerror=denied.append):
        for name in folders:
            link = Path(parent, name)
            if link.is_symlink() and not _leads_within(link, inside):
                yield link  # to be told of, and refused
        for name in names:
            path = Path(parent, name)
            if path.suffix.lower() in suffixes and _is_candidate(path):
                yield path


def _is_candidate(path: Path) -> bool:
    """A file, or a link that is to be judged; never a pipe or a device, which would be waited for without end."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _fixed_parts(path: Path) -> tuple[str, ...]:
    parts: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return tuple(parts)


def _expand(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """What a glob names below a folder. ``**`` enters no link, so that links in a circle end.

    As in a shell, a wildcard at the begin of a name does not stand for a dot.
    """
    if not patterns:
        return
    pattern, rest = patterns[0], patterns[1:]
    if pattern == "**":
        yield from _expand(folder, rest or ("*",))
        for child in _children(folder):
            if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
                yield from _expand(child, patterns)
        return
    if not glob.has_magic(pattern):
        chosen = [folder / pattern] if os.path.lexists(folder / pattern) else []
    else:
        chosen = [child for child in _children(folder) if _matches(child.name, pattern)]
    for child in chosen:
        if not rest:
            yield child
        elif child.is_dir():
            yield from _expand(child, rest)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # as the shell does, a glob passes by what may not be read
        return []
