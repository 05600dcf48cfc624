"""coremltools' MIL builder as ``mb``, imported when it is first used: importing it costs seconds."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from harness.quiet import quiet_imports


@functools.cache
def _builder() -> Any:
    with quiet_imports():
        from coremltools.converters.mil.mil import Builder
    return Builder


class _Builder:
    def __getattr__(self, operation: str) -> Any:
        if operation.startswith("_"):  # no operation's name: something that looks at any object
            raise AttributeError(operation)
        return getattr(_builder(), operation)


mb: Any = _Builder()


def dtype_of(x: Any) -> str:
    """MIL's name of a value's type: ``fp32``, ``fp16``, ``int32``, ``bool`` ..."""
    from coremltools.converters.mil.mil import types

    return str(types.builtin_to_string(x.dtype))


def like(x: Any, value: Any) -> Any:
    """Numbers as a constant of x's own type: MIL's operations on two values want one type."""
    return np.asarray(value).astype({"fp16": np.float16, "fp32": np.float32}.get(dtype_of(x), np.int32))
