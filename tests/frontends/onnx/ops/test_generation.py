"""Values that are made, and what is chosen by a condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(17)
X = RANDOM.normal(size=(3, 4, 5)).astype(np.float32)
TYPES = (np.float32, np.bool_, np.uint8, np.int32, np.int64)


def _as(dtype: Any) -> Any:
    return X > 0 if dtype is np.bool_ else (np.abs(X) * 60).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_of_every_type(dtype: Any) -> None:
    x = _as(dtype)
    for constants in (0, 1):
        check(*node_model("Compress", [x, np.array([True, False, True])], constants, 11, axis=1))
        check(*node_model("Compress", [x, np.array([True, False, True, True])], constants, 11))
        lengths = np.array([1, 3, 4])
        attributes = {"batch_axis": 0, "time_axis": 1}
        check(*node_model("ReverseSequence", [x, lengths], constants, 10, **attributes), evaluator="onnx")
    check(*node_model("NonZero", [x], 0, 13), evaluator="onnx")
    check(*node_model("EyeLike", [x[0]], 0, 9, k=1), evaluator="onnx")
    for upper, diagonal in ((0, -1), (1, 2), (1, -9), (0, 9)):
        for constants in (0, 1):
            inputs = [x, np.array(diagonal)]
            check(*node_model("Trilu", inputs, constants, 14, upper=upper), evaluator="onnx")


@pytest.mark.parametrize(("start", "limit", "step"), [(1, 9, 3), (10, -4, -5), (0.5, 2.6, 0.5)])
def test_range(start: float, limit: float, step: float) -> None:
    dtype = np.float32 if isinstance(step, float) else np.int64
    check(*node_model("Range", [np.array(item, dtype) for item in (start, limit, step)], 0, 11))


@pytest.mark.parametrize("value", [np.array([3], np.float32), np.array([7], np.int64), np.array([True])])
def test_constant_of_computed_shape(value: Any) -> None:
    check(*node_model("ConstantOfShape", [np.array([2, 3])], 0, 13, value=numpy_helper.from_array(value)))


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    indices = np.array([[0, -1, 7], [2, -7, 9]])
    for values in (np.array([2, 5], np.float32), np.array([2, 5], np.int32)):
        check(*node_model("OneHot", [indices, np.array(7), values], 2, 11, axis=axis), evaluator="onnx")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_determinant(size: int) -> None:
    check(*node_model("Det", [RANDOM.normal(size=(2, 3, size, size)).astype(np.float32)], 0, 11))
