"""Sliding windows over (N, C, *sizes), said by strided slices where MIL's pools do not say enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.frontends.program import as_var


def taps(extent: int, stride: int, rate: int, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the strided slice that holds each tap of every window along one axis."""
    count = (size - (extent - 1) * rate - 1) // stride + 1
    for start in range(0, extent * rate, rate):
        yield start, start + (count - 1) * stride + 1


def first_greatest(
    x: Var,
    kernel: Sequence[int],
    strides: Sequence[int],
    rates: Sequence[int],
    mark: Callable[[tuple[int, ...]], np.generic],
) -> tuple[Var, Var]:
    """The greatest value of each window of an x that is padded already, and the ``mark`` of the tap that it is at, the
    first in order where several are equal. ``mark`` is given the tap's place in the window."""
    batch, channels = (int(size) for size in x.shape[:2])
    spans = [
        list(taps(extent, stride, rate, int(size)))
        for extent, stride, rate, size in zip(kernel, strides, rates, x.shape[2:], strict=True)
    ]
    best: Var | None = None
    marks: Any = None
    for place in np.ndindex(*kernel):
        chosen = [spans[axis][at] for axis, at in enumerate(place)]
        part = mb.slice_by_index(
            x=x, begin=[0, 0, *(begin for begin, _ in chosen)], end=[batch, channels, *(end for _, end in chosen)],
            stride=[1, 1, *strides],
        )  # fmt: skip
        if best is None:
            best, marks = part, np.full([int(size) for size in part.shape], mark(place))
            continue
        marks = mb.select(cond=mb.greater(x=part, y=best), a=mark(place), b=marks)
        best = mb.maximum(x=best, y=part)
    assert best is not None
    return best, as_var(marks)
