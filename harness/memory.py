"""Memory that the C library keeps after it was freed."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library is one that can be asked to (glibc).

    Loading a model frees as much as the model weighs, which glibc would keep for later.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Python's cyclic collector waits. It looks at every living object again and again, so that building something of
    many objects takes more than its share of time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
