"""MatMul and Gemm: vectors, broadcasting, integers, every form of C."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from tests.frontends.onnx.checking import check, converted, node_model

RANDOM = np.random.default_rng(9)
SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
    ((3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((1, 2, 3, 4), (4, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "constants"), list(product((np.float32, np.int32, np.int64), (0, 1))))
def test_matmul(dtype: Any, constants: int) -> None:
    for left, right in SHAPES:
        operands: list[Any] = [RANDOM.integers(-9, 9, shape).astype(dtype) for shape in (left, right)]
        check(*node_model("MatMul", operands, constants, 13))


@pytest.mark.parametrize(("first", "second"), list(product((0, 1), (0, 1))))
def test_gemm(first: int, second: int) -> None:
    addends: list[Any] = [None, (), (1,), (5,), (3, 1), (3, 5), (1, 5), (1, 1)]
    for shape, constants in product(addends, (0, 1, 2)):
        inputs: list[Any] = [
            RANDOM.normal(size=(4, 3) if first else (3, 4)).astype(np.float32),
            RANDOM.normal(size=(5, 4) if second else (4, 5)).astype(np.float32),
        ]
        if shape is not None:
            inputs.append(np.asarray(RANDOM.normal(size=shape)).astype(np.float32))
        check(*node_model(
            "Gemm", inputs, min(constants, len(inputs) - 1), 13, transA=first, transB=second, alpha=0.5, beta=2.0
        ))  # fmt: skip


@pytest.mark.parametrize("constants", [0, 1, 2])
def test_gemm_of_integers(constants: int) -> None:
    # Products beyond what float32 holds.
    inputs: list[Any] = [RANDOM.integers(-9999, 9999, shape).astype(np.int32) for shape in ((3, 4), (4, 5), (5,))]
    check(*node_model("Gemm", inputs, constants, 13, alpha=2.0, beta=3.0), tolerance=0, evaluator="onnx")
    with pytest.raises(UnsupportedError, match="fraction"):
        converted(*node_model("Gemm", inputs, constants, 13, alpha=0.5))
