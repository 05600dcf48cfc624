"""Sizes of axes, which are integers where they are known and tensors where execution has to tell."""

from __future__ import annotations

from collections.abc import Sequence

from harness.runtimes.portable.onnx_graph import Tensor, op

# Known, or a one-element int64 tensor.
Size = int | Tensor


def size_of(x: Tensor, axis: int) -> Size:
    """The size of an axis."""
    size = x.shape[axis] if x.shape is not None else None
    return op.Shape(x, start=axis % x.rank, end=axis % x.rank + 1) if size is None else size


def times(size: Size, factor: int) -> Size:
    """size * factor."""
    return size * factor if isinstance(size, int) else op.Mul(size, factor)


def over(size: Size, divisor: int) -> Size:
    """size // divisor."""
    return size // divisor if isinstance(size, int) else op.Div(size, divisor)


def minus(size: Size, amount: int) -> Size:
    """size - amount."""
    return size - amount if isinstance(size, int) else op.Sub(size, amount)


def shape_vector(sizes: Sequence[Size]) -> list[int] | Tensor:
    """A shape, for Reshape and its like."""
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        return known
    return op.Concat(*([size] if isinstance(size, int) else size for size in sizes), axis=0)
