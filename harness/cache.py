"""Conversions kept by content: the same graph or file, route with its code, options and versions are converted once.

    <cache folder>/
        3fa9.../          one entry, named by its key
            entry.json    the artifact: specs, names, provenance, content hash
            model.mlpackage
        .aside-...        what is being written or removed

An entry appears whole, by a rename, and is immutable. Who reads one holds a shared lock on its entry.json
for as long as the cache object is open; only unlocked entries are evicted, the least recently used first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.artifact import Artifact
from harness.errors import StoreError, UsageError

FORMAT_VERSION = 2
ENTRY_FILE = "entry.json"
DEFAULT_LIMIT = 2 * 1024**3
FOLDER_VARIABLE = "HARNESS_CACHE_DIR"
LIMIT_VARIABLE = "HARNESS_CACHE_BYTES"
_KEY = re.compile("[0-9a-f]{64}")
_ASIDE = ".aside-"
# What a killed process left aside is removed after this; no conversion takes so long.
_ABANDONED_SECONDS = 24 * 3600


def conversion_key(
    *,
    model_hash: str,
    route: str,
    precision: str,
    input_shapes: Mapping[str, tuple[int, ...]],
    versions: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    code: str = "",
) -> str:
    """SHA-256, in hexadecimal, of everything that decides a conversion's result.

    ``model_hash`` is of what is converted (the frozen graph with its weights, or the file's bytes), ``code`` of the
    route's own source.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "model_hash": model_hash,
        "route": route,
        "precision": precision,
        "input_shapes": {name: list(shape) for name, shape in input_shapes.items()},
        "versions": dict(versions),
        "options": dict(options or {}),
        "code": code,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def default_folder() -> Path:
    """``HARNESS_CACHE_DIR``, or ``coreml-harness`` in the platform's folder of caches."""
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "coreml-harness"
    # XDG Base Directory Specification: relative paths are to be ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "coreml-harness"


def default_limit() -> int:
    """``HARNESS_CACHE_BYTES``, or 2 GiB. Raises UsageError for what is no number of bytes."""
    given = os.environ.get(LIMIT_VARIABLE)
    if given is None:
        return DEFAULT_LIMIT
    if not given.isascii() or not given.isdigit():
        raise UsageError(f"{LIMIT_VARIABLE} is no number of bytes", received=repr(given), supported="0 or more")
    return int(given)


@dataclass(frozen=True)
class _Entry:
    """An entry as it lies on the disk."""

    folder: Path
    size: int
    used: float


class ConversionCache:
    """Artifacts by key; safe for concurrent processes. Raises StoreError where the disk fails.

    ``limit`` bounds the bytes of all entries; those in use are kept beyond it.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = default_folder() if folder is None else folder
        self.limit = default_limit() if limit is None else limit
        self._held: dict[str, int] = {}

    def get(self, key: str) -> Artifact | None:
        """The artifact, safe from eviction until ``close``. A damaged entry is removed, and is a miss."""
        folder = self.folder / key
        try:
            self._hold(key)
        except (FileNotFoundError, NotADirectoryError):
            # What has no entry.json can be nobody's; what has one now was made while we looked.
            if folder.exists() and not (folder / ENTRY_FILE).exists():
                self._remove(folder)
            return None
        except OSError as error:
            raise self._disk_error(error) from error
        try:
            artifact = _read_entry(folder)
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
            self._remove(folder)  # while it is held, so that nobody has made it anew
            self._release(key)
            return None
        except OSError as error:
            raise self._disk_error(error) from error
        with suppress(OSError):  # a cache that may only be read still serves; it merely forgets when
            os.utime(folder / ENTRY_FILE)
        return artifact

    def put(self, key: str, artifact: Artifact, *, convert_seconds: float | None = None) -> Artifact:
        """Keep a copy of the artifact's files (or the files themselves, out of ``workspace``), and return
        the artifact that was kept. Where another process was faster, its artifact is returned.

        ``convert_seconds`` is added to the provenance under that name.
        """
        if convert_seconds is not None:
            artifact = replace(artifact, provenance={**artifact.provenance, "convert_seconds": repr(convert_seconds)})
        try:
            with self.workspace() as aside:
                self._fill(aside, artifact)
                # Twice, as a damaged entry may be in the way, which get removes.
                kept = self._publish(aside, key) or self._publish(aside, key)
        except OSError as error:
            raise self._disk_error(error) from error
        if kept is None:
            raise StoreError(
                f"the conversion just kept in {self.folder / key} is gone or damaged",
                remedy=f"Check the disk, or set {FOLDER_VARIABLE} to another folder",
            )
        self._evict()
        return kept

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A new folder on the cache's own disk, to convert into; it goes with what is left in it."""
        aside = self.folder / f"{_ASIDE}{secrets.token_hex(8)}"
        try:
            aside.mkdir(parents=True)
        except OSError as error:
            raise self._disk_error(error) from error
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def clear(self) -> tuple[int, int]:
        """Remove every entry that no process uses; the count of those removed, and their bytes."""
        self.close()
        removed = [entry for entry in self._entries() if self._remove_unused(entry.folder)]
        self._remove_abandoned()
        return len(removed), sum(entry.size for entry in removed)

    def close(self) -> None:
        """Let entries in use be evicted."""
        for key in list(self._held):
            self._release(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self, aside: Path, artifact: Artifact) -> None:
        package = aside / f"model{artifact.path.suffix}"
        if artifact.path.parent.parent == self.folder and artifact.path.parent.name.startswith(_ASIDE):
            artifact.path.rename(package)
        elif artifact.path.is_dir():
            shutil.copytree(artifact.path, package)
        else:
            shutil.copyfile(artifact.path, package)
        entry = {
            "format_version": FORMAT_VERSION,
            "content_hash": replace(artifact, path=package).content_hash(),
            "artifact": replace(artifact, path=Path(package.name)).to_json(),
        }
        entry["entry_hash"] = _hash_of(entry)
        (aside / ENTRY_FILE).write_text(json.dumps(entry, indent=1, sort_keys=True), encoding="utf-8")

    def _publish(self, aside: Path, key: str) -> Artifact | None:
        """Make an entry appear, unless there is one already; the one that is there, or None if damaged."""
        folder = self.folder / key
        # Locked before it appears, so that nobody evicts it before it was of use.
        descriptor = os.open(aside / ENTRY_FILE, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            aside.rename(folder)
        except OSError:
            os.close(descriptor)
            if not folder.exists():
                raise
            return self.get(key)
        self._release(key)
        self._held[key] = descriptor
        return self.get(key)

    def _hold(self, key: str) -> None:
        """Take a shared lock on an entry. Raises FileNotFoundError where there is none, or none any more."""
        path = self.folder / key / ENTRY_FILE
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if not os.path.samestat(os.fstat(descriptor), path.stat()):
                raise FileNotFoundError(path)  # evicted, and replaced, while we waited
        except BaseException:
            os.close(descriptor)
            raise
        self._release(key)  # only now, so that it is held throughout
        self._held[key] = descriptor

    def _release(self, key: str) -> None:
        if key in self._held:
            os.close(self._held.pop(key))

    def _entries(self) -> list[_Entry]:
        """Those that are whole, the least recently used first."""
        found = []
        try:
            folders = [path for path in self.folder.iterdir() if _KEY.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._disk_error(error) from error
        for folder in folders:
            with suppress(OSError):  # another process may be removing it
                files = [path.stat() for path in folder.rglob("*") if path.is_file()]
                found.append(_Entry(folder, sum(file.st_size for file in files), (folder / ENTRY_FILE).stat().st_mtime))
        return sorted(found, key=lambda entry: entry.used)

    def _evict(self) -> None:
        """Remove the least recently used entries until the rest is within the limit."""
        entries = self._entries()
        size = sum(entry.size for entry in entries)
        for entry in entries:
            if size <= self.limit:
                break
            if self._remove_unused(entry.folder):
                size -= entry.size
        self._remove_abandoned()

    def _remove_unused(self, folder: Path) -> bool:
        """Remove an entry unless somebody, this process included, holds it."""
        path = folder / ENTRY_FILE
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The lock counts only on what still stands there: it may have been evicted and made anew.
            return os.path.samestat(os.fstat(descriptor), path.stat()) and self._remove(folder)
        except (BlockingIOError, FileNotFoundError):
            return False
        finally:
            os.close(descriptor)

    def _remove(self, folder: Path) -> bool:
        """Remove an entry at once, by a rename, and then its files. False where another process did."""
        aside = self.folder / f"{_ASIDE}{secrets.token_hex(8)}"
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._disk_error(error) from error
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()
        return True

    def _remove_abandoned(self) -> None:
        for path in self.folder.glob(f"{_ASIDE}*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(path)

    def _disk_error(self, error: OSError) -> StoreError:
        # copytree raises one error that lists (source, destination, reason) of each file.
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        return StoreError(
            f"the cache of conversions at {self.folder} could not be read or written: {reason or error}",
            remedy=f"Free space there, or set {FOLDER_VARIABLE} to a folder that you may write to",
        )


def _read_entry(folder: Path) -> Artifact:
    """An entry, verified. Raises FileNotFoundError, ValueError, KeyError or TypeError where it is damaged."""
    entry = json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8"))
    if entry["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format version {entry['format_version']}")
    if entry.pop("entry_hash") != _hash_of(entry):
        raise ValueError("the entry is not what was kept")
    artifact = Artifact.from_json(entry["artifact"])
    if artifact.path.name != str(artifact.path):
        raise ValueError(f"the package {artifact.path} is outside of its entry")
    artifact = replace(artifact, path=folder / artifact.path)
    if not artifact.path.exists() or artifact.content_hash() != entry["content_hash"]:
        raise ValueError(f"{artifact.path} is not what was kept")
    return artifact


def _hash_of(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
