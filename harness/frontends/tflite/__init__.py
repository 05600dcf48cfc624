"""TFLite models to MIL. ``translates`` adds a custom operator from a file of one's own (docs/tflite.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.frontends.dispatch import Array, Value, Var

__all__ = ["Array", "Value", "Var", "translates"]


def translates(*operators: str, since: int = 1) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function for custom operators by their names, from version ``since`` of them on.

    Its signature is the operator's schema, as ``harness.frontends.dispatch`` says; keyword-only parameters are the
    custom options by name. Raises ValueError for an operator that is translated already.
    """
    from harness.frontends.tflite import ops  # noqa: F401 (first, so that no operator of ours is taken)
    from harness.frontends.tflite.registry import TRANSLATIONS

    return TRANSLATIONS.translates(*operators, since=since)
