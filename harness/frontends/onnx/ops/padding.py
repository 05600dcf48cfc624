"""Padding and cropping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.frontends.dispatch import Value, Var
from harness.frontends.expect import of_each_axis
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates
from harness.frontends.padding import fixed_size, pad_constant, padded


def _pairs(amounts: Sequence[int], axes: Sequence[int] | None, rank: int) -> list[tuple[int, int]]:
    chosen = [axis % rank for axis in axes] if axes is not None else list(range(rank))
    pairs = [(0, 0)] * rank
    for index, axis in enumerate(chosen):
        pairs[axis] = (int(amounts[index]), int(amounts[index + len(chosen)]))
    return pairs


@translates("Pad", since=11)
def pad(
    x: Var, pads: tuple[int, ...], value: Value | None = None, axes: tuple[int, ...] | None = None, *,
    mode: str = "constant", node: Node,
) -> Var:  # fmt: skip
    """Around the named axes; negative amounts cut."""
    fill = np.zeros(()) if value is None else value
    return padded(x, _pairs(pads, axes, len(x.shape)), mode, fill, node.input_dtype())


@translates("Pad", since=2)
def pad_by_attribute(x: Var, *, pads: tuple[int, ...], mode: str = "constant", value: float = 0.0, node: Node) -> Var:
    """Around every axis."""
    return padded(x, _pairs(pads, None, len(x.shape)), mode, np.array(value), node.input_dtype())


@translates("CenterCropPad", since=18)
def center_crop_pad(x: Var, shape: tuple[int, ...], *, axes: tuple[int, ...] | None = None, node: Node) -> Var:
    """The middle, or x in the middle of zeros; what is odd is at the end."""
    rank = len(x.shape)
    chosen = [axis % rank for axis in axes] if axes is not None else list(range(rank))
    of_each_axis("shape", shape, len(chosen), 1, 1)
    pairs = [(0, 0)] * rank
    for axis, wanted in zip(chosen, shape, strict=True):
        missing = wanted - fixed_size(x.shape[axis])
        small = abs(missing) // 2
        pairs[axis] = (small, missing - small) if missing > 0 else (-small, missing + small)
    return pad_constant(x, pairs, np.zeros(()), node.input_dtype())
