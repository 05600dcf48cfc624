"""coremltools' MIL builder as ``mb``, imported when it is first used: importing it costs seconds."""

from __future__ import annotations

from typing import Any


class _Builder:
    def __getattr__(self, operation: str) -> Any:
        from coremltools.converters.mil.mil import Builder

        return getattr(Builder, operation)


mb: Any = _Builder()


def dtype_of(x: Any) -> str:
    """MIL's name of a value's type: ``fp32``, ``fp16``, ``int32``, ``bool`` ..."""
    from coremltools.converters.mil.mil import types

    return str(types.builtin_to_string(x.dtype))
