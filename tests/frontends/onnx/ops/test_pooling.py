"""Pools in what ONNX's own suite lacks: odd sizes with every attribute."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(5)
SHAPES = {1: (2, 3, 11), 2: (2, 3, 9, 10), 3: (1, 2, 6, 7, 5)}
ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"strides": 2},
    {"strides": 2, "pads": (1, 0)},
    {"strides": 2, "pads": (1, 1), "ceil_mode": 1},
    {"strides": 3, "ceil_mode": 1},
    {"strides": 2, "auto_pad": "SAME_LOWER"},
    {"strides": 2, "auto_pad": "SAME_UPPER"},
    {"dilations": 2, "strides": 2, "pads": (0, 1)},
    {"dilations": 2, "strides": 2, "pads": (1, 1), "ceil_mode": 1},
]


def spread(attributes: dict[str, Any], rank: int) -> dict[str, Any]:
    result = dict(attributes)
    for name in ("strides", "dilations"):
        if name in result:
            result[name] = [result[name]] * rank
    if "pads" in result:
        result["pads"] = [side for side in result["pads"] for _ in range(rank)]
    return {"kernel_shape": [3, 2, 3][:rank], **result}


def image(rank: int) -> Any:
    return RANDOM.normal(size=SHAPES[rank]).astype(np.float32) + 3


@pytest.mark.parametrize(("rank", "attributes"), list(product(SHAPES, ATTRIBUTES)))
def test_pools(rank: int, attributes: dict[str, Any]) -> None:
    given = spread(attributes, rank)
    check(*node_model("MaxPool", [-image(rank)], 0, 12, **given))
    for counted in (0, 1):
        check(*node_model("AveragePool", [image(rank)], 0, 19, count_include_pad=counted, **given))
    for p in (1, 2, 3):
        if "ceil_mode" not in given and "dilations" not in given:
            check(*node_model("LpPool", [image(rank)], 0, 11, p=p, **given))


@pytest.mark.parametrize(("rank", "order"), list(product(SHAPES, (0, 1))))
def test_indices(rank: int, order: int) -> None:
    for attributes in ATTRIBUTES:
        given = spread(attributes, rank) | {"storage_order": order}
        check(*node_model("MaxPool", [-image(rank)], 0, 12, outputs=2, **given))
    ties = RANDOM.integers(0, 2, SHAPES[rank]).astype(np.float32)
    check(*node_model("MaxPool", [ties], 0, 12, outputs=2, **spread({"pads": (1, 1)}, rank)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integers(dtype: Any) -> None:
    x = RANDOM.integers(-100 if dtype is np.int8 else 0, 100, (1, 2, 6, 7)).astype(dtype)
    check(*node_model("MaxPool", [x], 0, 12, kernel_shape=[2, 3], pads=[1, 1, 1, 1]))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global(p: int) -> None:
    check(*node_model("GlobalLpPool", [image(2)], 0, 11, p=p))


def test_flexible_sizes() -> None:
    for operator in ("MaxPool", "AveragePool", "LpPool"):
        check(
            *node_model(operator, [image(2)], 0, 12, flexible=True, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
        )
