"""Space in blocks and in windows: exchanges with the batch, gaps, and reductions."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.padding import fixed_size, padded
from harness.frontends.program import as_var
from harness.frontends.selection import as_numbers
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.registry import translates
from harness.frontends.tflite.types import computed_type


@translates("SPACE_TO_BATCH_ND")
def space_to_batch(x: Var, blocks: Array, paddings: Array, *, node: Node) -> Var:
    """Each place within a block becomes a part of the batch, the first axis outermost, after zeros around."""
    pairs = [(0, 0), *((int(before), int(after)) for before, after in paddings.reshape(-1, 2))]
    pairs += [(0, 0)] * (len(x.shape) - len(pairs))
    zero = np.zeros(())
    tensor = node.inputs[0]
    x = padded(x, pairs, "constant", zero, computed_type(tensor))
    # The last axis first, so that the first is outermost.
    for axis in reversed(range(1, len(blocks) + 1)):
        x = _split_to_batch(x, axis, int(blocks[axis - 1]))
    return x


def _split_to_batch(x: Var, axis: int, block: int) -> Var:
    if block == 1:
        return x
    shape = list(x.shape)
    rank = len(shape)
    size = fixed_size(shape[axis])
    parted = _reshape(x, [*shape[:axis], size // block, block, *shape[axis + 1 :]])
    moved = mb.transpose(x=parted, perm=[axis + 1, *(other for other in range(rank + 1) if other != axis + 1)])
    batch = shape[0]
    whole = -1 if not isinstance(batch, int | np.integer) else int(batch) * block
    return _reshape(moved, [whole, *shape[1:axis], size // block, *shape[axis + 1 :]])


def _reshape(x: Var, shape: list[object]) -> Var:
    """To a shape of which one size may be flexible."""
    sizes = [int(size) if isinstance(size, int | np.integer) else -1 for size in shape]
    if sizes.count(-1) > 1:
        raise UnsupportedError("blocks of several flexible sizes", received=[str(size) for size in shape])
    return mb.reshape(x=x, shape=sizes)


@translates("BATCH_TO_SPACE_ND")
def batch_to_space(x: Var, blocks: Array, crops: Array) -> Var:
    """Parts of the batch become places within blocks, from which ``crops`` are cut."""
    for axis in range(1, len(blocks) + 1):
        x = _merge_from_batch(x, axis, int(blocks[axis - 1]))
    begin, end = [0] * len(x.shape), [0] * len(x.shape)
    for axis, (before, after) in enumerate(crops.reshape(-1, 2).tolist(), start=1):
        begin[axis], end[axis] = before, -after
    if not any(begin) and not any(end):
        return x
    return mb.slice_by_index(x=x, begin=begin, end=end, end_mask=[not item for item in end])


def _merge_from_batch(x: Var, axis: int, block: int) -> Var:
    if block == 1:
        return x
    shape = list(x.shape)
    rank = len(shape)
    batch = shape[0]
    rest = -1 if not isinstance(batch, int | np.integer) else int(batch) // block
    parted = _reshape(x, [block, rest, *shape[1:]])
    order = [*range(1, axis + 2), 0, *range(axis + 2, rank + 1)]
    moved = mb.transpose(x=parted, perm=order)
    return _reshape(moved, [rest, *shape[1:axis], fixed_size(shape[axis]) * block, *shape[axis + 1 :]])


@translates("DILATE")
def dilate(x: Var, dilations: Array, value: Value) -> Var:
    """Copies of a value between the elements of each axis, one less than its factor."""
    sizes = [fixed_size(size) for size in x.shape]
    for axis, factor in enumerate(int(item) for item in dilations.reshape(-1)):
        size = sizes[axis]
        if factor == 1 or size == 1:
            continue
        before, after = int(np.prod(sizes[:axis])), int(np.prod(sizes[axis + 1 :]))
        column = mb.reshape(x=x, shape=[before, size, 1, after])
        gap = mb.tile(x=mb.reshape(x=as_var(value), shape=[1, 1, 1, 1]), reps=[before, size, factor - 1, after])
        wide = mb.reshape(x=mb.concat(values=[column, gap], axis=2), shape=[before, size * factor, after])
        sizes[axis] = (size - 1) * factor + 1
        x = mb.reshape(x=mb.slice_by_size(x=wide, begin=[0, 0, 0], size=[before, sizes[axis], after]), shape=sizes)
    return x


_COMBINED = {"ADD": "add", "MUL": "mul", "MINIMUM": "minimum", "MAXIMUM": "maximum", "ALL": "mul", "ANY": "maximum"}


@translates("REDUCE_WINDOW")
def reduce_window(
    x: Var, initial: Value, window: Array, strides: Array, dilations: Array, *, reduce_function: str
) -> Var:
    """Elements of each window combined, and the initial value. All functions are associative: axis by axis."""
    if reduce_function not in _COMBINED:
        raise UnsupportedError("unknown function of windows", received=reduce_function, supported=list(_COMBINED))
    combine = getattr(mb, _COMBINED[reduce_function])

    def reduced(x: Var, first: Var) -> Var:
        for axis, (extent, stride, dilation) in enumerate(np.stack([window, strides, dilations], 1).tolist()):
            size = fixed_size(x.shape[axis])
            span = size - (extent - 1) * dilation
            parts = [
                _stepped(x, axis, offset, offset + span, stride) for offset in range(0, extent * dilation, dilation)
            ]
            x = parts[0]
            for part in parts[1:]:
                x = combine(x=x, y=part)
        return combine(x=x, y=first)

    return as_numbers(reduced, x, as_var(initial))


def _stepped(x: Var, axis: int, begin: int, end: int, step: int) -> Var:
    if (begin, end, step) == (0, x.shape[axis], 1):
        return x
    whole = [other != axis for other in range(len(x.shape))]
    begins, ends, steps = (
        [plain if other else value for other in whole] for value, plain in ((begin, 0), (end, 0), (step, 1))
    )
    return mb.slice_by_index(x=x, begin=begins, end=ends, stride=steps, begin_mask=whole, end_mask=whole)
