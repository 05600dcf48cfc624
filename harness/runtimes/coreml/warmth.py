"""Whether a load was cold: found out from the compiled path, the system's build and Core ML's cache, not assumed.

Core ML specialises a compiled model for the devices when it is loaded, and keeps the result in a cache of the
process's own bundle, by the system's build. Neither cache nor key is documented by Apple: the label comes with the
evidence, and is ``unclear`` where the evidence disagrees.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["cold", "warm", "unclear"]

# Where specialised models were seen: <caches>/<bundle>/com.apple.e5rt.e5bundlecache/<build>/<key>/...
_CACHE_NAME = "com.apple.e5rt.e5bundlecache"
_DEPTH = 3


@dataclass(frozen=True)
class Warmth:
    """How a load began."""

    state: State
    evidence: str


def cache_entries(caches: Path | None = None) -> frozenset[str] | None:
    """Every folder and file of Core ML's caches down to the entries, or None where there is no cache to be read."""
    caches = Path.home() / "Library" / "Caches" if caches is None else caches
    roots = [folder / _CACHE_NAME for folder in _children(caches) if (folder / _CACHE_NAME).is_dir()]
    if not roots:
        return None
    return frozenset(str(path) for root in roots for path in _below(root, _DEPTH))


def _children(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _below(folder: Path, depth: int) -> Iterator[Path]:
    for path in _children(folder):
        yield path
        if depth > 1:
            yield from _below(path, depth - 1)


def warmth(
    *, loaded_before: bool, build: str | None, before: frozenset[str] | None, after: frozenset[str] | None
) -> Warmth:
    """Of a load of a compiled path, new or ``loaded_before`` on the same system; ``before`` and ``after`` it are what
    the cache held (``cache_entries``)."""
    path = "a compiled path loaded before" if loaded_before else "a new compiled path"
    system = f"build {build}" if build else "a system of unknown build"
    if before is None and after is None:
        cache, grew = "no cache to be read", None
    else:
        added = len((after or frozenset()) - (before or frozenset()))
        cache, grew = (f"{added} new entries in the cache" if added else "nothing new in the cache"), added > 0
    state: State = "warm" if loaded_before else "cold"
    if grew is not None and grew == loaded_before:
        state = "unclear"
    return Warmth(state, f"{path}, {system}, {cache}")
