"""NonMaxSuppression as ONNX Runtime has it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(11)


def _boxes(batch: int, count: int, is_centered: bool) -> Any:
    if is_centered:
        return np.concatenate([RANDOM.random((batch, count, 2)), RANDOM.random((batch, count, 2)) * 0.6], 2)
    # Corners in either order.
    return RANDOM.random((batch, count, 4))


@pytest.mark.parametrize(("is_centered", "constants"), list(product((0, 1), (0, 3))))
def test_random_boxes(is_centered: int, constants: int) -> None:
    for batch, classes, count, most, overlap, least in (
        (1, 1, 30, 30, 0.5, 0.1), (2, 3, 20, 4, 0.3, 0.5), (1, 2, 25, 100, 0.0, 0.2), (2, 1, 12, 12, 1.0, 0.3),
    ):  # fmt: skip
        inputs = [
            _boxes(batch, count, bool(is_centered)).astype(np.float32),
            # Some scores are alike: the first box of those is picked first.
            np.round(RANDOM.random((batch, classes, count)), 1).astype(np.float32),
            np.array([most]), np.array([overlap], np.float32), np.array([least - 0.05], np.float32),
        ]  # fmt: skip
        check(*node_model("NonMaxSuppression", inputs, constants, 11, center_point_box=is_centered), tolerance=0)


def test_without_thresholds() -> None:
    inputs = [_boxes(1, 9, False).astype(np.float32), RANDOM.normal(size=(1, 2, 9)).astype(np.float32), np.array([5])]
    check(*node_model("NonMaxSuppression", inputs, 1, 11), tolerance=0)
    check(*node_model("NonMaxSuppression", [*inputs, np.array([0.4], np.float32)], 2, 11), tolerance=0)


def test_equal_boxes_and_boxes_without_area() -> None:
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 0, 0]]], np.float32)
    scores = np.array([[[0.5, 0.5, 0.9, 0.9, 0.7]]], np.float32)
    inputs = [boxes, scores, np.array([5]), np.array([0.5], np.float32), np.array([0.0], np.float32)]
    check(*node_model("NonMaxSuppression", inputs, 3, 11), tolerance=0)
