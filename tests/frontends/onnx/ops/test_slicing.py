"""Slices, gathers and scatters of every type, with indices from the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(13)
X = RANDOM.normal(size=(3, 4, 5)).astype(np.float32)
TYPES = (np.float32, np.bool_, np.uint8, np.int32, np.int64)
END = 2**63 - 1


def _as(dtype: Any) -> Any:
    return X > 0 if dtype is np.bool_ else (np.abs(X) * 60).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_slice(dtype: Any) -> None:
    for starts, ends, axes, steps in (
        ([-1], [-END], [-2], [-2]), ([0, -3], [END, END], [0, 2], [2, 1]), ([-100, 3], [100, 0], [1, 2], [3, -1]),
        ([4], [-6], [2], [-3]),
    ):  # fmt: skip
        bounds = [np.array(item) for item in (starts, ends, axes, steps)]
        check(*node_model("Slice", [_as(dtype), *bounds], 4, 13))
    check(*node_model("Slice", [_as(dtype)], 0, 9, starts=[0, -3], ends=[2, 2**31 - 1], axes=[0, 2]))


def test_computed_bounds_of_declared_shape() -> None:
    proto, inputs = node_model(
        "Slice", [X, np.array([-1, 1]), np.array([-END, 3]), np.array([-2, 2]), np.array([-2, 1])], 0, 13
    )
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    for size in (3, 2, 2):
        proto.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    inputs = {name: value.clip(-(2**31), 2**31 - 1) if name != "x0" else value for name, value in inputs.items()}
    check(proto, inputs)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("flexible", [False, True])
def test_computed_bounds(dtype: Any, flexible: bool) -> None:
    """Which no declared shape tells."""
    bounds = [np.array(item) for item in ([3, -100], [-(2**31) + 1, 100], [1, -1], [-2, 2])]
    check(*node_model("Slice", [_as(dtype), *bounds], 2, 13, flexible=flexible))
    bounds = [np.array(item) for item in ([0, -3], [-1, 2**31 - 1], [0, 2])]
    check(*node_model("Slice", [_as(dtype), *bounds], 1, 13, flexible=flexible))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("constants", [0, 1])
def test_gathers(dtype: Any, constants: int) -> None:
    x = _as(dtype)
    for operator, indices, attributes in (
        ("Gather", [[0, -1], [2, 1]], {"axis": 1}),
        ("Gather", -1, {"axis": -1}),
        ("GatherElements", RANDOM.integers(-4, 4, (3, 2, 5)), {"axis": 1}),
        ("GatherElements", RANDOM.integers(-4, 4, (2, 6, 3)), {"axis": 1}),
        ("GatherND", [[0, -1], [2, 1]], {}),
        ("GatherND", [[[-1]], [[2]], [[1]]], {"batch_dims": 1}),
    ):
        check(*node_model(operator, [x, np.array(indices)], constants, 13, **attributes))


@pytest.mark.parametrize("constants", [0, 1])
def test_gather_of_flexible_axis(constants: int) -> None:
    check(*node_model("Gather", [X, np.array([0, -1, 1])], constants, 13, flexible=True, axis=1))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("constants", [0, 2])
def test_scatters(dtype: Any, constants: int) -> None:
    x = _as(dtype)
    different = np.stack([RANDOM.permutation(4)[:2] for _ in range(15)]).reshape(3, 5, 2).transpose(0, 2, 1) - 4
    few = np.array([[[0, -1, 2]], [[1, 1, 1]]])
    check(*node_model("ScatterElements", [x, different, x[:, :2]], constants, 13, axis=1))
    check(*node_model("ScatterElements", [x, few, x[:2, :1, :3]], constants, 13, axis=1))
    check(*node_model("Scatter", [x, few, x[:2, :1, :3]], constants, 10, axis=1))
    check(*node_model("ScatterND", [x, np.array([[0, -1], [2, 1]]), x[1, :2]], constants, 13))
    if dtype is np.bool_:
        return
    for reduction in ("add", "mul", "max", "min"):
        # Several for one element; narrow integers wrap.
        many = RANDOM.integers(-4, 4, x.shape)
        check(*node_model("ScatterElements", [x, many, x], constants, 18, axis=1, reduction=reduction))
        twice = np.array([[0, -1], [0, 3]])
        check(*node_model("ScatterND", [x, twice, x[1, :2]], constants, 18, reduction=reduction))


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str) -> None:
    cache = RANDOM.normal(size=(2, 3, 6, 4)).astype(np.float32)
    update = RANDOM.normal(size=(2, 3, 3, 4)).astype(np.float32)
    begins = np.array([0, 5 if mode == "circular" else 3])
    for constants in (0, 1):
        proto, inputs = node_model("TensorScatter", [cache, update, begins], constants, 24, mode=mode)
        check(proto, inputs, evaluator="onnx")
    check(*node_model("TensorScatter", [cache, update], 0, 24, axis=2), evaluator="onnx")
