"""Unique and TopK in what ONNX's own suite lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize(("axis", "is_sorted"), [(None, 1), (None, 0), (0, 1), (1, 1), (-1, 1)])
def test_unique(dtype: Any, axis: int | None, is_sorted: int) -> None:
    x = RANDOM.integers(0, 2, (4, 7, 2)).astype(dtype)
    if dtype in (np.float32, np.int64):
        x = x * 3 - 2
    if not is_sorted and dtype in (np.uint8, np.bool_):
        return  # no evaluator has them
    attributes = {} if axis is None else {"axis": axis}
    proto, inputs = node_model("Unique", [x], 0, 11, outputs=4, sorted=is_sorted, **attributes)
    # ONNX Runtime knows few types here.
    check(proto, inputs, 0, "onnxruntime" if dtype in (np.float32, np.int64) else "onnx")


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(dtype: Any, largest: int) -> None:
    x = RANDOM.permutation(60).reshape(3, 4, 5).astype(dtype) * 2**20 - 7
    for axis, count in ((0, 2), (1, 4), (-1, 1), (2, 3)):
        check(*node_model("TopK", [x, np.array([count])], 1, 11, 2, axis=axis, largest=largest), tolerance=0)


def test_older_top_k() -> None:
    x = RANDOM.permutation(60).reshape(3, 4, 5).astype(np.float32)
    check(*node_model("TopK", [x, np.array([3])], 1, 10, 2, axis=1), tolerance=0)
    check(*node_model("TopK", [x], 0, 9, 2, axis=1, k=3), tolerance=0)
