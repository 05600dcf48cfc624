from __future__ import annotations

import numpy as np
import pytest

from harness.suites.comparisons import compare, is_within

VALUES = np.array([1.0, -2.0, 100.0])


@pytest.mark.parametrize(
    ("actual", "expected", "within"),
    [
        (VALUES, VALUES, True),
        (VALUES + np.array([0, 0, 1.0]), VALUES, True),
        (VALUES + np.array([0, 0, 1.1]), VALUES, False),
        (VALUES + np.array([0.0201, 0, 0]), VALUES, False),
        (np.array([np.nan, np.inf, 1]), np.array([np.nan, np.inf, 1]), True),
        (np.array([np.nan, 1]), np.array([1.0, 1]), False),
        (VALUES[None], VALUES, False),
        (np.ones((1,)), np.float32(1), True),
        (np.full((2, 3), 3.0), np.float32(3), True),
        (np.full((2, 3), 3.0), np.float32(4), False),
        (np.zeros((0, 3)), np.zeros((0, 3)), True),
        (np.zeros((0, 3)), np.zeros((0, 2)), False),
        (np.array([True, False]), np.array([True, False]), True),
        (np.array([1, 0], np.int32), np.array([True, True]), False),
        (np.array([250], np.uint8), np.array([3], np.uint8), False),
    ],
)
def test_is_within(actual: np.ndarray, expected: np.ndarray, within: bool) -> None:
    assert is_within(actual, np.asarray(expected), 1e-2) is within


def passed(actual: np.ndarray, expected: np.ndarray, precision: str, tolerance: float) -> dict[str, list[bool]]:
    comparison = compare(
        actual,
        expected,
        lambda answer: is_within(answer, expected, tolerance),
        precision,  # type: ignore[arg-type]
    )
    return {answer: list(levels.values()) for answer, levels in comparison.passed.items()}


def test_controls_of_a_wide_tolerance() -> None:
    small = np.array([0.4, -0.3])
    assert passed(small + 1e-3, small, "float16", 0.5) == {
        "portable": [True, True, True],
        "zeros": [True, False, False],
        "flipped": [False, False, False],
    }


def test_tolerance_depends_on_precision() -> None:
    assert passed(VALUES + 1e-3, VALUES, "float32", 1e-5)["portable"] == [False, True, False]
    assert passed(VALUES + 1e-3, VALUES, "float16", 1e-5)["portable"] == [False, True, True]


@pytest.mark.parametrize(
    ("actual", "expected", "precision", "agrees"),
    [
        ([np.inf, 2], [1.9e6, 2], "float16", True),
        ([np.inf, -np.inf], [65520, -1e9], "float16", True),
        ([1.9e6, 2], [1.9e6, 2], "float16", True),  # kept in float32 behind the program
        ([-np.inf, 2], [1.9e6, 2], "float16", False),
        ([np.inf, 2], [65504, 2], "float16", False),
        ([np.inf, 3], [1.9e6, 2], "float16", False),
        ([np.nan, 2], [1.9e6, 2], "float16", False),
        ([0, 2], [1.9e6, 2], "float16", False),
        ([np.inf, 2], [1.9e6, 2], "float32", False),
        ([np.inf, 2, 2], [1.9e6, 2], "float16", False),
        ([1, 0], [True, False], "float16", True),
        ([1.0, 0.0], [True, False], "float16", True),
        ([np.inf, 2], [1900000, 2], "float16", True),
        ([True, False], [1.0, 0.0], "float16", True),
    ],
)
def test_beyond_float16_is_infinite_and_the_rest_as_before(
    actual: list[float], expected: list[float], precision: str, agrees: bool
) -> None:
    own, loose, tight = passed(np.array(actual), np.array(expected), precision, 0.05)["portable"]
    assert (loose, tight) == (agrees, agrees)
    assert own == (agrees and np.isfinite(actual).all())  # a test's own check stays what it is


def test_of_booleans_the_wrong_sign_is_the_opposite() -> None:
    values = np.array([True, False])
    assert passed(values, values, "float32", 0.0) == {
        "portable": [True] * 3,
        "zeros": [False] * 3,
        "flipped": [False] * 3,
    }


@pytest.mark.parametrize(("expected", "nonzero"), [(np.zeros(3), False), (np.zeros((0, 2)), False), (VALUES, True)])
def test_expected_zeros_are_told(expected: np.ndarray, nonzero: bool) -> None:
    assert compare(expected, expected, lambda _: True, "float32").nonzero is nonzero


def test_largest_difference() -> None:
    assert compare(VALUES + np.array([0, 0.25, 0]), VALUES, lambda _: True, "float32").worst == 0.25
    assert np.isnan(compare(VALUES[:2], VALUES, lambda _: False, "float32").worst)
