"""What a comparison in a test is worth: who else would have passed it, and at which tolerance.

A test compares what a model predicts with what is expected, at a tolerance of its own that is often
wide. Each comparison is therefore repeated at tolerances of ours, and for two runtimes that are
wrong on purpose: one that answers zeros, one that answers the right values with the wrong sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.tensors import Array

Level = Literal["own", "loose", "tight"]
Answer = Literal["portable", "zeros", "flipped"]
LEVELS: tuple[Level, ...] = ("own", "loose", "tight")
ANSWERS: tuple[Answer, ...] = ("portable", "zeros", "flipped")

LOOSE = 1e-2
TIGHT_FLOAT16 = 2e-3
TIGHT_FLOAT32 = 1e-4

# Numbers from here on are infinite in float16 (65504 is the largest one; 65520 lies halfway to the next).
_FLOAT16_INFINITE = 65520.0

Passed = Mapping[Answer, Mapping[Level, bool]]


@dataclass(frozen=True)
class Comparison:
    """One comparison with a prediction. ``nonzero``: whether anything but zeros was expected."""

    passed: Passed
    nonzero: bool
    worst: float


def compare(
    actual: Array, expected: Array, own: Callable[[Array], bool], precision: Literal["float16", "float32"]
) -> Comparison:
    """Judge ``actual`` and its two controls; ``own`` is the test's own check of an array in its place."""
    answers: dict[Answer, Array] = {"portable": actual, "zeros": np.zeros_like(actual), "flipped": _flipped(actual)}
    tight = TIGHT_FLOAT16 if precision == "float16" else TIGHT_FLOAT32
    passed: dict[Answer, dict[Level, bool]] = {}
    for name, answer in answers.items():
        wanted = _as_float16_answers(expected, answer) if precision == "float16" else expected
        passed[name] = {
            "own": own(answer),
            "loose": is_within(answer, wanted, LOOSE),
            "tight": is_within(answer, wanted, tight),
        }
    return Comparison(passed, bool(np.any(expected)), _worst(actual, expected))


def is_within(actual: Array, expected: Array, tolerance: float) -> bool:
    """``abs(actual - expected) <= tolerance + tolerance * abs(expected)`` everywhere.

    Shapes must be equal, except that one expected number stands for all and that Core ML answers a scalar
    as shape (1,). NaN equals NaN.
    """
    if actual.size == 1 and expected.size == 1:
        actual = actual.reshape(expected.shape)
    if expected.ndim and actual.shape != expected.shape:
        return False
    close = np.isclose(_numeric(actual), _numeric(expected), rtol=tolerance, atol=tolerance, equal_nan=True)
    return bool(np.all(close))


def _as_float16_answers(expected: Array, answer: Array) -> Array:
    """``expected`` with infinity where ``answer`` has it and the expected number is infinite in float16.

    The tests compute in float32 what a program in float16 cannot hold. The test's own check stays what it is.
    """
    if expected.size != answer.size or answer.dtype.kind != "f":
        return expected
    given, wanted = _numeric(answer).reshape(expected.shape), _numeric(expected)
    too_large = (np.abs(wanted) >= _FLOAT16_INFINITE) & np.isinf(given)
    return np.where(too_large & (np.sign(given) == np.sign(wanted)), given, wanted) if too_large.any() else expected


def _flipped(array: Array) -> Array:
    if array.dtype.kind == "b":
        return np.logical_not(array)
    return np.negative(array)


def _worst(actual: Array, expected: Array) -> float:
    """Largest absolute difference; NaN where the shapes differ or a value is not finite."""
    if expected.ndim and actual.size != expected.size:
        return float("nan")
    with np.errstate(all="ignore"):
        difference = np.abs(_numeric(actual).reshape(-1) - _numeric(expected).reshape(-1))
    return float(np.max(difference, initial=0.0))


def _numeric(array: Array) -> Any:
    return array.astype(np.float64) if array.dtype.kind in "biuf" else array
