"""What code computes something, as a hash: a conversion of older code is not taken for one of today's."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from pathlib import Path

_OWN = Path(__file__).parent


@cache
def code_hash(kind: type) -> str:
    """SHA-256 of the source files behind a class: all of harness, and where it is not ours the package it is from."""
    digest = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}".encode())
    for root in dict.fromkeys((_OWN, _root_of(kind))):
        files = [root] if root.is_file() else sorted(root.rglob("*.py"))
        for path in files:
            digest.update(path.relative_to(root.parent).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _root_of(kind: type) -> Path:
    """The outermost package that a class is from, or its file; our own where it has none."""
    try:
        file = Path(inspect.getfile(kind)).resolve()
    except (TypeError, OSError):
        return _OWN
    depth = kind.__module__.count(".")
    is_package = file.name == "__init__.py"
    if not is_package and depth == 0:
        return file
    return file.parents[depth - 1 if not is_package else depth]
