"""Normalisations in what ONNX's own suite lacks: other ranks, constants or not, opsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from tests.frontends.onnx.checking import check, converted, node_model

RANDOM = np.random.default_rng(6)
SHAPES = [(3, 6), (2, 6, 5), (2, 6, 5, 4), (2, 6, 3, 4, 2)]


def normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32) + 1


@pytest.mark.parametrize("constants", [4, 3, 0])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch(shape: tuple[int, ...], constants: int) -> None:
    inputs = [normal(*shape), normal(6), normal(6), normal(6), np.abs(normal(6))]
    check(*node_model("BatchNormalization", inputs, constants, 9, epsilon=0.1))
    check(
        *node_model("BatchNormalization", inputs, constants, 15, outputs=3, training_mode=1, momentum=0.7),
        evaluator="onnx",
    )


@pytest.mark.parametrize("constants", [2, 1, 0])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_instance_and_group(shape: tuple[int, ...], constants: int) -> None:
    check(*node_model("InstanceNormalization", [normal(*shape), normal(6), normal(6)], constants, 6, epsilon=0.1))
    given = {"num_groups": 3, "epsilon": 0.1}
    check(*node_model("GroupNormalization", [normal(*shape), normal(6), normal(6)], constants, 21, **given))


@pytest.mark.parametrize("constants", [2, 0])
@pytest.mark.parametrize("axis", [-1, 1, -2])
def test_layer(axis: int, constants: int) -> None:
    x = normal(2, 3, 4)
    scale = x.shape[axis % 3 :]
    check(*node_model("LayerNormalization", [x, normal(*scale), normal(*scale)], constants, 17, axis=axis))
    check(*node_model("LayerNormalization", [x, normal(*scale)], min(constants, 1), 17, axis=axis, outputs=3))
    check(*node_model("RMSNormalization", [x, normal(*scale)], min(constants, 1), 23, axis=axis))


def test_layer_with_a_scale_that_is_broadcast() -> None:
    check(*node_model("LayerNormalization", [normal(2, 3, 4), normal(1)], 1, 17, axis=1), evaluator="onnx")


@pytest.mark.parametrize("size", [3, 4, 1, 2])
def test_local_response(size: int) -> None:
    """ONNX Runtime has odd sizes only, ONNX's evaluator no more channels than images, and both rank 4 only."""
    given = {"size": size, "alpha": 0.5, "bias": 2.0}
    x = normal(6, 6, 5, 4)
    check(*node_model("LRN", [x], 0, 13, **given), evaluator="onnx")
    (expected,) = converted(*node_model("LRN", [x], 0, 13, **given))
    for shape in ((6, 6, 20), (6, 6, 5, 2, 2)):
        (found,) = converted(*node_model("LRN", [x.reshape(shape)], 0, 13, **given))
        np.testing.assert_allclose(found.reshape(x.shape), expected, rtol=1e-5)


@pytest.mark.parametrize("axes", [[0, 2, 3], [1], [-1, -2]])
def test_mean_variance(axes: list[int]) -> None:
    check(*node_model("MeanVarianceNormalization", [normal(2, 6, 5, 4)], 0, 13, axes=axes), evaluator="onnx")


@pytest.mark.parametrize("p", [1, 2])
def test_lp(p: int) -> None:
    x = normal(3, 4)
    x[1] = 0
    check(*node_model("LpNormalization", [x], 0, 11, p=p, axis=1))


def test_batch_refused() -> None:
    inputs = [normal(2, 6, 5), normal(6, 5), normal(6, 5), normal(6, 5), np.abs(normal(6, 5))]
    with pytest.raises(UnsupportedError, match="each activation"):
        converted(*node_model("BatchNormalization", inputs, 4, 7, spatial=0))
