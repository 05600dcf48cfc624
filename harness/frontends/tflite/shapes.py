"""Axes that operators' inputs have, as TFLite's kernels demand; a damaged file may say anything."""

from __future__ import annotations

from collections.abc import Sequence

from harness.frontends.dispatch import Value
from harness.frontends.expect import check_rank
from harness.frontends.tflite.node import Node

# By operator: axes by input. Inputs that stand for anything (sizes, biases) are checked where they are read.
_AXES: dict[str, dict[int, int]] = {
    "CONV_2D": {0: 4, 1: 4},
    "DEPTHWISE_CONV_2D": {0: 4, 1: 4},
    "TRANSPOSE_CONV": {1: 4, 2: 4},
    "CONV_3D": {0: 5, 1: 5},
    "CONV_3D_TRANSPOSE": {1: 5, 2: 5},
    "AVERAGE_POOL_2D": {0: 4},
    "MAX_POOL_2D": {0: 4},
    "L2_POOL_2D": {0: 4},
    "RESIZE_BILINEAR": {0: 4, 1: 1},
    "RESIZE_NEAREST_NEIGHBOR": {0: 4, 1: 1},
    "SPACE_TO_DEPTH": {0: 4},
    "DEPTH_TO_SPACE": {0: 4},
    "LOCAL_RESPONSE_NORMALIZATION": {0: 4},
    "FULLY_CONNECTED": {1: 2},
}


def check_axes(node: Node, inputs: Sequence[Value | None]) -> None:
    """Raise ConversionError where an input has another count of axes than the operator's kernels take."""
    for index, rank in _AXES.get(node.operator.name, {}).items():
        value = inputs[index] if index < len(inputs) else None
        if value is not None:
            check_rank(f"input {index} of {node}", value, rank)
