"""Functions of 16-bit activations are those of the interpreter for every integer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.frontends.tflite.building import Tensor, constant, one_operator
from tests.frontends.tflite.test_convert import interpreted, predicted

EVERY = np.arange(-32768, 32768).reshape(1, 256, 256).astype(np.int16)
UNIT = 1 / 32768

# Operator, its version, options, scale of the input and of the output.
FUNCTIONS: list[tuple[str, int, dict[str, Any], float, float]] = [
    ("TANH", 1, {}, 1 / 4096, UNIT),
    ("TANH", 1, {}, 1 / 2048, UNIT),
    ("TANH", 1, {}, 0.00041, UNIT),
    ("TANH", 1, {}, 0.0000113, UNIT),
    ("TANH", 1, {}, 0.3, UNIT),
    ("LOGISTIC", 1, {}, 1 / 4096, UNIT),
    ("LOGISTIC", 1, {}, 0.0021, UNIT),
    ("LOGISTIC", 1, {}, 0.0000113, UNIT),
    ("LOGISTIC", 1, {}, 0.7, UNIT),
    ("EXP", 2, {}, 0.0001, 0.0007),
    ("LOG", 2, {}, 0.0007, 0.0003),
    ("LOG", 2, {}, 0.0001, 0.00001),
    ("RSQRT", 2, {}, 0.0001, 0.0002),
    ("GELU", 2, {"approximate": False}, 0.0002, 0.0002),
    ("GELU", 2, {"approximate": True}, 0.0001, 0.0003),
]


def names(case: tuple[Any, ...]) -> str:
    return "-".join(str(part) for part in (case[0], *case[2].values(), f"{case[3]:.2g}"))


@pytest.mark.parametrize("case", FUNCTIONS, ids=names)
def test_function(case: tuple[str, int, dict[str, Any], float, float], tmp_path: Path) -> None:
    operator, version, options, given, made = case
    x = np.abs(EVERY.clip(-32767)) if operator == "RSQRT" else EVERY  # the kernel refuses what is below zero
    content = one_operator(
        operator,
        [Tensor(x.shape, "int16", scales=(given,))],
        [Tensor(x.shape, "int16", scales=(made,))],
        options,
        version,
    )
    expected = interpreted(content, x)
    assert len(np.unique(expected)) > 20  # one number for all would fail
    np.testing.assert_array_equal(predicted(content, x.astype(np.int32), tmp_path), expected)


@pytest.mark.parametrize(
    ("shape", "scale", "beta"),
    [((40, 10), 6 * UNIT, 1.0), ((40, 2), 20 * UNIT, 2.5), ((3, 5, 100), 0.3 * UNIT, 1.0), ((2, 3, 4, 1), UNIT, 1.0),
     ((4, 500), 9 * UNIT, 0.5)],
)  # fmt: skip
def test_softmax(shape: tuple[int, ...], scale: float, beta: float, tmp_path: Path) -> None:
    x = np.random.default_rng(3).integers(-32768, 32768, shape).astype(np.int16)
    content = one_operator(
        "SOFTMAX",
        [Tensor(shape, "int16", scales=(scale,))],
        [Tensor(shape, "int16", scales=(UNIT,))],
        {"beta": beta},
    )
    expected = interpreted(content, x)
    assert expected.any()
    np.testing.assert_array_equal(predicted(content, x.astype(np.int32), tmp_path), expected)


@pytest.mark.parametrize(("axes", "made"), [((2,), 0.00002), ((1,), 0.0000002), ((0, 2), 0.0000001)])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_product(dtype: str, axes: tuple[int, ...], made: float, tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    x = np.random.default_rng(3).integers(limits.min, limits.max + 1, (3, 9, 4)).astype(dtype)
    result = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    coarser = 256 if dtype == "int8" else 1
    content = one_operator(
        "REDUCE_PROD",
        [Tensor(x.shape, dtype, scales=(UNIT * coarser,)), constant(axes, "int32")],
        [Tensor(result, dtype, scales=(made * coarser,))],
        {"keep_dims": True},
        version=2,
    )
    expected = interpreted(content, x)
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(predicted(content, x.astype(np.int32), tmp_path), expected)
