"""Operations that move values (coremltools ``iOS15/tensor_transformation.py`` and ``tensor_operation.py``)."""

from __future__ import annotations

from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.registry import lowers


@lowers("transpose", moves=True)
def transpose(x: Tensor, perm: tuple[int, ...]) -> Tensor:
    """Permute the axes; negative entries count from the end."""
    return op.Transpose(x, perm=[axis % x.rank for axis in perm])


@lowers("concat", moves=True)
def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    """Join along one axis; ``interleave`` takes one slice of each in turn (all of one size there)."""
    if not interleave:
        return op.Concat(*values, axis=axis)
    axis %= values[0].rank
    stacked = op.Concat(*(op.Unsqueeze(value, [axis + 1]) for value in values), axis=axis + 1)
    sizes = [0] * axis + [-1] + [values[0].size(after) for after in range(axis + 1, values[0].rank)]
    return op.Reshape(stacked, sizes)
