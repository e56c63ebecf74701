"""A source at a URL: objects are listed, and those that changed fetched into a cache, by fsspec.

An object is fetched again only when its version (entity tag, time or size) is another, so that a second run downloads
nothing. What the tables record is its name below the URL, never the URL, which may hold a password or a signature.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from finreg_cli.documents.base import SourceFile
from finreg_cli.documents.files import Source, wanted_in_folders
from finreg_cli.documents.files import search as search_here
from finreg_cli.errors import ConfigError, MissingExtra, StageFailed

_AT_A_TIME = 8  # downloads
_VERSION_KEYS = (
    "ETag",
    "etag",
    "e_tag",
    "Content-MD5",
    "md5Hash",
    "generation",
    "LastModified",
    "Last-Modified",
    "last_modified",
    "updated",
    "mtime",
    "created",
)


@dataclass(frozen=True)
class _Store:
    """What a kind of object store needs: the package that speaks to it, its extra, and where its credentials are."""

    package: str
    extra: str
    credentials: str


_S3 = _Store(
    "s3fs",
    "s3",
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role of this machine; "
    "FSSPEC_S3_ANON=true for a public bucket, AWS_ENDPOINT_URL for a store of another maker",
)
_GCS = _Store("gcsfs", "gcs", "GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login")
_AZURE = _Store(
    "adlfs",
    "azure",
    "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or a service principal, "
    "or AZURE_STORAGE_CONNECTION_STRING",
)
_STORES: Mapping[str, _Store] = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "az": _AZURE,
}
_SCHEMES = (*_STORES, "https", "http", "memory", "file")
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


def search(
    url: str,
    suffixes: Collection[str],
    cache: Path | None,
    *,
    download: bool = True,
    on_file: Callable[[int], None] = lambda count: None,
) -> Source | None:
    """See `finreg_cli.documents.files.search`."""
    scheme = _checked_scheme(url)
    if scheme == "file":
        return search_here(unquote(urlsplit(url).path), suffixes)
    if cache is None:
        raise ConfigError(f"{public(url)}: a URL cannot be read here", "name a file or folder of this machine")
    with _translated(url):
        store, path = _opened(url, scheme)
        listing = _listed(store, path, suffixes, scheme)
    if listing is None:
        return None
    kept = _Cache(cache, url)
    refused = sorted(name for name in listing if not _is_safe(name))
    objects = {name: info for name, info in sorted(listing.items()) if name not in refused}
    stale = {name: info for name, info in objects.items() if not kept.holds(name, info)}
    if download and stale:
        kept.prepare()
        with _translated(url):
            _download(store, stale, kept, on_file)
    files = [SourceFile(name, kept.path(name)) for name in objects]
    return Source(kept.folder, files, refused, len(stale) if download else 0)


def public(url: str) -> str:
    """A URL as it may be shown: without user, password and query, where secrets stand."""
    return _USER.sub("", url).partition("?")[0]


# What stands before an "@" is a user, with or without a password; but for Azure's, which is the container.
_USER = re.compile(r"(?<=http://)[^/@\s]*@|(?<=https://)[^/@\s]*@|(?<=://)[^/@\s]*:[^/@\s]*@")


# --- Listing ---------------------------------------------------------------------------------------------------------


def _checked_scheme(url: str) -> str:
    scheme = url.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"{public(url)}: sources at {scheme[:40]}:// are not read; known are {', '.join(_SCHEMES)}",
            "copy the documents to one of these, or to this machine",
        )
    if scheme == "http" and urlsplit(url).hostname not in _LOOPBACK:
        raise ConfigError(
            f"{public(url)}: what is sent over http:// may be read and changed on its way", "use https://"
        )
    return scheme


def _opened(url: str, scheme: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it that the URL names."""
    options: dict[str, Any] = {} if scheme == "memory" else {"use_listings_cache": False, "skip_instance_cache": True}
    try:
        store, path = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:  # ValueError: the package makes its scheme known only when it is there
        needed = _STORES.get(scheme)
        if needed is None or find_spec(needed.package) is not None:
            raise
        raise MissingExtra(needed.package, needed.extra, f"a source at {scheme}://") from error
    return store, path


def _listed(store: Any, path: str, suffixes: Collection[str], scheme: str) -> dict[str, dict[str, Any]] | None:
    """The objects that a path names, by their name below it, with what the store says of each."""
    if glob.has_magic(path.partition("?")[0] if scheme.startswith("http") else path):
        root = _fixed(path)
        found = store.glob(path, detail=True)
        wanted: Collection[str] = suffixes
    else:
        try:
            info = store.info(path)
        except FileNotFoundError:
            return None
        if info["type"] == "directory":
            root, wanted = path, wanted_in_folders(suffixes)
            found = store.find(path, detail=True)
        else:
            # A web server does not say what its folders hold; its URL names one document.
            root, wanted, found = path.partition("?")[0].rpartition("/")[0], suffixes, {path: info}
            if PurePosixPath(unquote(urlsplit(path).path)).suffix.lower() not in suffixes:
                raise ConfigError(
                    f"{public(path)}: its name does not say what it is",
                    f"name a file that ends in {', '.join(suffixes)}",
                )
    objects = {}
    for key, info in found.items():
        name = _below(key.partition("?")[0] if scheme.startswith("http") else key, root)
        if info.get("type") == "file" and name and PurePosixPath(name).suffix.lower() in wanted:
            objects[name] = {**info, "name": key}
    return objects


def _fixed(path: str) -> str:
    parts = path.split("/")
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first])


def _below(key: str, root: str) -> str | None:
    base = f"{root.rstrip('/')}/"
    return key[len(base) :] if key.startswith(base) else None


def _is_safe(name: str) -> bool:
    """Whether an object's name is a path below its source; stores take any string for a name."""
    return "\\" not in name and name.isprintable() and not any(part in ("", ".", "..") for part in name.split("/"))


# --- The cache -------------------------------------------------------------------------------------------------------


class _Cache:
    """The objects of one URL: files named by a hash, for no object's name may choose a path, and ``objects.json``.

    The version of an object is written down only after its file is whole.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._index = self.folder / "objects.json"
        self._versions: dict[str, dict[str, str]] = {}
        with suppress(OSError, ValueError):
            self._versions = dict(json.loads(self._index.read_text(encoding="utf-8")))

    def path(self, name: str) -> Path:
        suffix = PurePosixPath(name).suffix.lower()
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}{suffix}"

    def holds(self, name: str, info: Mapping[str, Any]) -> bool:
        version = _version(info)
        return len(version) > 1 and self._versions.get(name) == version and self.path(name).is_file()

    def prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StageFailed(f"cannot write {self.folder}: {error.strerror}", "check the rights there") from error

    def fetch(self, store: Any, name: str, info: Mapping[str, Any]) -> None:
        target = self.path(name)
        partial = target.with_suffix(".part")
        store.get_file(info["name"], str(partial))
        size, expected = partial.stat().st_size, info.get("size")
        if expected is not None and size != expected:
            partial.unlink()
            raise EOFError(f"{name}: {size} of {expected} bytes were received")
        partial.replace(target)
        self._versions[name] = _version(info)

    def save(self) -> None:
        partial = self._index.with_suffix(".part")
        partial.write_text(json.dumps(self._versions, indent=1, sort_keys=True), encoding="utf-8")
        partial.replace(self._index)


def _version(info: Mapping[str, Any]) -> dict[str, str]:
    """What tells two versions of an object apart; a size alone does not."""
    return {key: str(info[key]) for key in ("size", *_VERSION_KEYS) if info.get(key) is not None}


def _download(store: Any, objects: Mapping[str, Any], cache: _Cache, on_file: Callable[[int], None]) -> None:
    pool = ThreadPoolExecutor(_AT_A_TIME)
    try:
        for future in [pool.submit(cache.fetch, store, name, info) for name, info in objects.items()]:
            future.result()
            on_file(1)
    finally:
        pool.shutdown(cancel_futures=True)
        cache.save()


# --- Errors ----------------------------------------------------------------------------------------------------------

_CREDENTIALS = re.compile(
    r"credential|unauthorized|unauthenticated|forbidden|access.?denied|permission|\b40[13]\b", re.I
)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Whatever a store's package raises, as an error of ours; its words are shown without what may be secret."""
    try:
        yield
    except (ConfigError, StageFailed, KeyboardInterrupt):
        raise
    except FileNotFoundError as error:
        raise StageFailed(f"{public(url)}: there is no such object", "check the address in source.path") from error
    except Exception as error:  # each store's package has its own tree of errors
        raise _refused(url, error) from None  # what it was raised from may print a signed address


def _refused(url: str, error: Exception) -> StageFailed:
    scheme = url.partition("://")[0].lower()
    words = f"{type(error).__name__}: {_harmless(str(error))}"
    if isinstance(error, OSError) and error.errno == 28:
        return StageFailed(f"{public(url)}: the disk is full", "free some space and run the same command again")
    if isinstance(error, PermissionError) or _CREDENTIALS.search(words):
        needed = _STORES.get(scheme)
        where = f"set {needed.credentials}" if needed else "check that the address can be read without signing in"
        return StageFailed(f"{public(url)}: reading it is refused, or no credentials were found ({words})", where)
    return StageFailed(
        f"{public(url)}: cannot be read ({words})", "check the address and the connection; what was fetched is kept"
    )


def _harmless(words: str) -> str:
    """The first line of a message, without the queries and users of its addresses."""
    first = words.strip().partition("\n")[0][:300]
    return re.sub(r"\?\S*", "", _USER.sub("", first))
