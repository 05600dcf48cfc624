"""Parameters that a model computes, found out from the shapes that it declares, where only one value fits them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.dispatch import Value
from harness.frontends.onnx.graph import Node


def static_shape(node: Node, index: int = 0) -> tuple[int, ...] | None:
    """The declared shape of an output, None unless all of it is known."""
    shape = node.output_shape(index)
    if shape is None or None in shape:
        return None
    return tuple(size for size in shape if size is not None)


def declared_shape(node: Node, what: str, index: int = 0) -> tuple[int, ...]:
    """As static_shape. Raises UnsupportedError: ``what`` is computed, and the output's shape does not tell it."""
    shape = static_shape(node, index)
    if shape is None:
        raise UnsupportedError(
            f"{what} is computed, and the shape of output {index} does not tell it", supported="a constant"
        )
    return shape


def known_or_none(value: Value | None) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    """Integers that are known when the model is converted, as a vector."""
    array = value if isinstance(value, np.ndarray) else None if value is None else value.val
    return None if array is None else np.asarray(array).reshape(-1).astype(np.int64)


def reduced_axes(given: Sequence[int], node: Node, count: int, keepdims: bool) -> list[list[int]]:
    """Which ``count`` axes may be reduced, by the declared shape. Raises UnsupportedError where none may, or where
    several of more than one axis may."""
    declared = declared_shape(node, "axes")
    rank = len(given)
    fitting = []
    for axes in combinations(range(rank), count):
        kept = [1 if axis in axes else size for axis, size in enumerate(given)]
        if not keepdims:
            kept = [size for axis, size in enumerate(kept) if axis not in axes]
        if tuple(kept) == tuple(declared):
            fitting.append(list(axes))
    if not fitting or (len(fitting) > 1 and count > 1):
        raise UnsupportedError(
            "axes are computed, and the declared shape does not tell which", received=f"{list(given)} to {declared}"
        )
    return fitting
