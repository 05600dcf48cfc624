"""Operations that make a tensor from sizes, ranges or positions, and those that sum along them
(coremltools ``tensor_operation.py`` of ``iOS15`` and ``iOS16``)."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from harness.runtimes.portable.onnx_graph import Tensor, cast_to, op, shape_of
from harness.runtimes.portable.program import TensorType
from harness.runtimes.portable.registry import lowers
from harness.tensors import Array


@lowers("shape", moves=True)
def shape(x: Tensor) -> Tensor:
    """The sizes of x."""
    return shape_of(x)


@lowers("fill", moves=True)
def fill(shape: Tensor, value: Array | None = None, *, outputs: tuple[TensorType, ...]) -> Tensor:
    """A tensor of a shape, full of one value (0 unless given)."""
    return _filled(cast_to(shape, "int64"), value, outputs[0])


@lowers("fill_like", moves=True)
def fill_like(ref_tensor: Tensor, value: Array | None = None, *, outputs: tuple[TensorType, ...]) -> Tensor:
    """A tensor of another one's shape, full of one value (0 unless given)."""
    return _filled(shape_of(ref_tensor), value, outputs[0])


def _filled(shape: Tensor, value: Array | None, type_: TensorType) -> Tensor:
    element = np.zeros(1, type_.storage) if value is None else value.reshape(1).astype(type_.storage)
    return op.ConstantOfShape(shape, value=numpy_helper.from_array(element))


@lowers("range_1d")
def range_1d(end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """start, start + step, ... before end."""
    return op.Range(_scalar(start), _scalar(end), _scalar(step))


@lowers("one_hot", moves=True)
def one_hot(
    indices: Tensor,
    one_hot_vector_size: Tensor,
    axis: int = -1,
    on_value: Array | None = None,
    off_value: Array | None = None,
    *,
    outputs: tuple[TensorType, ...],
) -> Tensor:
    """A new axis with ``on_value`` (1) at each index, ``off_value`` (0) elsewhere.

    An index that is out of bounds or negative is at no place, as in TensorFlow.
    """
    axis %= indices.rank + 1
    size = _scalar(cast_to(one_hot_vector_size, "int32"))
    places = op.Range(np.array(0, np.int32), size, np.array(1, np.int32))
    places = op.Reshape(places, [-1] + [1] * (indices.rank - axis))
    # ONNX Runtime has no Where of bool: int32 then, which the compiler converts.
    dtype = np.int32 if outputs[0].dtype == "bool" else outputs[0].storage
    on, off = (
        np.array(default if value is None else value.reshape(()), dtype)
        for value, default in ((on_value, 1), (off_value, 0))
    )
    return op.Where(op.Equal(op.Unsqueeze(indices, [axis]), places), on, off)


@lowers("band_part", moves=True)
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """The matrices of the last two axes with zeros beyond ``lower`` diagonals below and ``upper``
    above the main one; a negative number keeps all."""
    if lower >= 0:
        x = op.Trilu(x, np.array(-lower, np.int64), upper=1)
    if upper >= 0:
        x = op.Trilu(x, np.array(upper, np.int64), upper=0)
    return op.Identity(x)


@lowers("cumsum")
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sums along an axis; ``exclusive`` leaves the element itself out, ``reverse`` starts at
    the end."""
    return op.CumSum(x, np.array(axis, np.int64), exclusive=int(exclusive), reverse=int(reverse))


def _scalar(x: Tensor) -> Tensor:
    return x if x.rank == 0 else op.Reshape(x, [])
