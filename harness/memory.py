"""Memory that the C library keeps after it was freed."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library is one that can be asked to (glibc).

    Loading a model frees as much as the model weighs, which glibc would keep for later.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
