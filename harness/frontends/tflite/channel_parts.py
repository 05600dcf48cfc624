"""Channels that a reshape splits into axes, as into heads of attention or groups that are shuffled, and puts together
again, on channels-first twins."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.frontends.tflite.layout import channels_last, is_known, reordered, twin


def split_channels(x: Var, sizes: Sequence[int | None]) -> Var | None:
    """(N, *D, C) as (N, *D, *parts), or with the places D as one axis, by way of the twin's (N, *parts, *D): what is
    read next is often a transpose of that. None where it is something else."""
    first = twin(x)
    if first is None or not all(map(is_known, x.shape[1:])) or None in sizes[1:]:
        return None
    *places, channels = (int(size) for size in x.shape[1:])
    wanted = [int(size) for size in sizes[1:] if size is not None]
    for kept in (places, [math.prod(places)]):
        count, parts = len(kept), wanted[len(kept) :]
        if wanted[:count] == kept and len(parts) > 1 and math.prod(parts) == channels:
            split = mb.reshape(x=first, shape=[_number(x), *parts, *kept])
            return reordered(split, [0, *range(len(parts) + 1, len(wanted) + 1), *range(1, len(parts) + 1)])
    return None


def joined_channels(x: Var, sizes: Sequence[int | None]) -> Var | None:
    """(N, *D, *parts) as (N, *D, C), channels first where the parts already lie before the places in what ``x`` is a
    transpose of. None where it is something else."""
    if len(sizes) < 3 or x.op is None or x.op.op_type != "transpose" or not all(map(is_known, x.shape[1:])):
        return None
    rank = len(x.shape)
    joined = [int(size) for size in sizes[1:] if size is not None]
    for count in range(1, rank - 2):  # of places
        places, parts = x.shape[1 : 1 + count], x.shape[1 + count :]
        if (
            len(joined) == len(sizes) - 1
            and math.prod(parts) == joined[-1]
            and math.prod(places) == math.prod(joined[:-1])
        ):
            whole = _parts_first(x, count)
            if whole is not None:
                shape = [_number(x), joined[-1], *joined[:-1]]
                return channels_last(mb.reshape(x=whole, shape=shape))
    return None


def _parts_first(x: Var, count: int) -> Var | None:
    """(N, *parts, *places) of a transpose (N, *places, *parts), where that leaves the places as they lie."""
    rank, source = len(x.shape), x.op.x
    order = [0, *range(1 + count, rank), *range(1, 1 + count)]
    from_source = [int(x.op.perm.val[axis]) % rank for axis in order]
    if from_source[0] == 0 and from_source[rank - count :] == list(range(rank - count, rank)):
        return reordered(x, order)
    # Attention's product of matrices (N, heads, places, size), whose values are (N, heads, size, places) transposed, is
    # the transpose of values times weights.
    product = source.op
    if from_source != [0, 1, 3, 2] or product is None or product.op_type != "matmul":
        return None
    values = product.y.op
    if product.transpose_x.val or product.transpose_y.val or values is None or values.op_type != "transpose":
        return None
    if [int(axis) % 4 for axis in values.perm.val] != [0, 1, 3, 2]:
        return None
    flipped: Var = mb.matmul(x=values.x, y=product.x, transpose_y=True)
    return flipped


def _number(x: Var) -> int:
    return int(x.shape[0]) if is_known(x.shape[0]) else -1
