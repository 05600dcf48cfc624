"""Padding, by amounts that may be computed."""

from __future__ import annotations

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.builder import like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.padding import padded
from harness.frontends.program import as_var
from harness.frontends.selection import as_numbers
from harness.frontends.tflite.layout import known
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.registry import translates
from harness.frontends.tflite.types import computed_type

_MODES = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}


@translates("PAD")
def pad(x: Var, paddings: Value, *, node: Node) -> Var:
    """Zeros around it."""
    return _padded(x, paddings, "constant", np.zeros(()), node)


@translates("PADV2")
def pad_v2(x: Var, paddings: Value, value: Value, *, node: Node) -> Var:
    """A constant around it."""
    constant = known(value)
    return _padded(x, paddings, "constant", value if constant is None else constant.reshape(()), node)


@translates("MIRROR_PAD")
def mirror_pad(x: Var, paddings: Value, *, mode: str, node: Node) -> Var:
    """Reflected at the edge (REFLECT) or with the edge itself (SYMMETRIC)."""
    if mode not in _MODES:
        raise UnsupportedError("unknown mode of padding", received=mode, supported=list(_MODES))
    return _padded(x, paddings, _MODES[mode], np.zeros(()), node)


def _padded(x: Var, paddings: Value, mode: str, value: Value, node: Node) -> Var:
    if tuple(paddings.shape) != (len(x.shape), 2):
        raise ConversionError(
            "paddings are no pair for each axis",
            received=f"shape {tuple(paddings.shape)}",
            supported=f"({len(x.shape)}, 2)",
        )
    amounts = known(paddings)
    dtype = computed_type(node.inputs[0])
    if amounts is not None:
        pairs = [(int(before), int(after)) for before, after in amounts.reshape(-1, 2)]
        sizes = [size for size, pair in zip(x.shape, pairs, strict=True) if any(pair)]
        if all(isinstance(size, int | np.integer) for size in sizes) or (mode == "constant" and dtype == "float32"):
            return padded(x, pairs, mode, value, dtype)
        rows = np.array(pairs, np.int32)
        changed = [axis for axis, pair in enumerate(pairs) if any(pair)]
        return as_numbers(lambda x, fill: _rows(x, as_var(rows), changed, mode, fill), x, _fill(x, value))
    return as_numbers(
        lambda x, fill: _rows(x, as_var(paddings), list(range(len(x.shape))), mode, fill), x, _fill(x, value)
    )


def _fill(x: Var, value: Value) -> Var:
    return as_var(like(x, value)) if isinstance(value, np.ndarray) else value


def _rows(x: Var, paddings: Var, axes: list[int], mode: str, value: Var) -> Var:
    """By rows of each axis that are picked when the model runs."""
    for axis in axes:
        size = mb.slice_by_index(x=mb.shape(x=x), begin=[axis], end=[axis + 1], squeeze_mask=[True])
        before, after = (
            mb.slice_by_index(x=paddings, begin=[axis, side], end=[axis + 1, side + 1], squeeze_mask=[True, True])
            for side in (0, 1)
        )
        places = mb.range_1d(start=mb.mul(x=before, y=np.int32(-1)), end=mb.add(x=size, y=after), step=np.int32(1))
        last = mb.sub(x=size, y=np.int32(1))
        if mode == "reflect":
            beyond = mb.abs(x=mb.sub(x=last, y=mb.abs(x=places)))
            inside = mb.sub(x=last, y=beyond)
        elif mode == "symmetric":
            first = mb.maximum(x=places, y=mb.sub(x=np.int32(-1), y=places))
            inside = mb.minimum(x=first, y=mb.sub(x=mb.add(x=last, y=size), y=first))
        else:
            inside = mb.minimum(x=mb.maximum(x=places, y=np.int32(0)), y=last)
        shape = [-1 if other == axis else 1 for other in range(len(x.shape))]
        x = mb.gather(x=x, indices=inside, axis=axis)
        if mode == "constant":
            is_inside = mb.reshape(x=mb.equal(x=places, y=inside), shape=shape)
            filled = mb.add(x=mb.mul(x=x, y=like(x, 0)), y=mb.reshape(x=value, shape=[1] * len(x.shape)))
            x = mb.select(cond=is_inside, a=x, b=filled)
    return x
