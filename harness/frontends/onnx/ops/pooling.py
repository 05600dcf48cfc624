"""Pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import like, mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.expect import check_rank, of_each_axis
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.ops.convolution import explicit_pads, padding
from harness.frontends.onnx.registry import translates
from harness.frontends.windows import first_greatest, taps

_NARROW = ("int8", "uint8", "int16", "uint16")


@dataclass(frozen=True)
class _Windows:
    """``pads`` is (begin, end) of each axis; ``tail`` what the last windows reach beyond them (``ceil_mode``)."""

    kernel: list[int]
    strides: list[int]
    rates: list[int]
    pads: list[int]
    tail: list[int]

    @property
    def is_dilated(self) -> bool:
        return any(rate != 1 for rate in self.rates)

    @property
    def reach(self) -> list[int]:
        """Pads and tail together, as MIL's pools take them."""
        return [pad + (self.tail[at // 2] if at % 2 else 0) for at, pad in enumerate(self.pads)]


def _windows(
    x: Var, kernel: Sequence[int], auto_pad: str, ceil: int, dilations: Sequence[int] | None,
    pads: Sequence[int] | None, strides: Sequence[int] | None,
) -> _Windows:  # fmt: skip
    spatial = len(kernel)
    check_rank("the input", x, spatial + 2)
    of_each_axis("kernel_shape", kernel, spatial, 1, 1)
    steps, rates = of_each_axis("strides", strides, spatial, 1, 1), of_each_axis("dilations", dilations, spatial, 1, 1)
    amounts = explicit_pads(auto_pad, pads, x.shape[2:], kernel, steps, rates)
    tail = [0] * spatial
    if ceil and auto_pad in ("NOTSET", ""):
        for axis, (extent, stride, rate) in enumerate(zip(kernel, steps, rates, strict=True)):
            if not isinstance(x.shape[axis + 2], int | np.integer):
                raise UnsupportedError("ceil_mode of a flexible size")
            inside = int(x.shape[axis + 2]) + amounts[2 * axis]
            size = inside + amounts[2 * axis + 1]
            covered = (extent - 1) * rate + 1
            windows = -(-(size - covered) // stride) + 1
            # A window that would begin in the padding at the end is left out.
            if (windows - 1) * stride >= inside:
                windows -= 1
            tail[axis] = max(0, (windows - 1) * stride + covered - size)
    return _Windows(list(kernel), steps, rates, amounts, tail)


def _padded(x: Var, windows: _Windows, value: float) -> Var:
    if not any(windows.reach):
        return x
    return mb.pad(x=x, pad=[0, 0, 0, 0, *windows.reach], mode="constant", constant_val=like(x, value))


def _dilated(x: Var, windows: _Windows, reduce: str) -> Var:
    """Windows with holes, as shifted slices combined along one axis after the other."""
    rank = len(x.shape)
    for axis, (extent, stride, rate) in enumerate(
        zip(windows.kernel, windows.strides, windows.rates, strict=True), start=2
    ):
        whole = [other != axis for other in range(rank)]
        result: Var | None = None
        for start, stop in taps(extent, stride, rate, int(x.shape[axis])):
            part = mb.slice_by_index(
                x=x, begin=[0 if other else start for other in whole], end=[0 if other else stop for other in whole],
                stride=[1 if other else stride for other in whole], begin_mask=whole, end_mask=whole,
            )  # fmt: skip
            result = part if result is None else getattr(mb, reduce)(x=result, y=part)
        assert result is not None
        x = result
    return x


def _indexed(x: Var, windows: _Windows, columns_first: int) -> tuple[Var, Var]:
    """Greatest values and where they are in the whole, unpadded tensor; the first of equals, as ONNX Runtime."""
    batch, channels, *sizes = (int(size) for size in x.shape)
    spatial = len(sizes)
    steps = [1] * spatial
    for axis in range(1, spatial) if columns_first else range(spatial - 2, -1, -1):
        neighbour = axis - 1 if columns_first else axis + 1
        steps[axis] = steps[neighbour] * sizes[neighbour]
    wide = _padded(x, windows, -np.inf)

    def distance(place: tuple[int, ...]) -> np.int32:
        return np.int32(sum(at * rate * step for at, rate, step in zip(place, windows.rates, steps, strict=True)))

    best, place = first_greatest(wide, windows.kernel, windows.strides, windows.rates, distance)
    origin = np.arange(batch * channels, dtype=np.int64).reshape(batch, channels, *([1] * spatial)) * np.prod(sizes)
    for axis in range(spatial):
        begins = np.arange(int(best.shape[axis + 2])) * windows.strides[axis] - windows.pads[2 * axis]
        shape = [-1 if other == axis + 2 else 1 for other in range(spatial + 2)]
        origin = origin + (begins * steps[axis]).reshape(shape)
    return best, mb.add(x=place, y=origin.astype(np.int32))


@translates("MaxPool")
def max_pool(
    x: Var,
    *,
    kernel_shape: tuple[int, ...],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    storage_order: int = 0,
    strides: tuple[int, ...] | None = None,
    node: Node,
) -> tuple[Var, ...]:
    """Greatest value of each window, and on demand its index."""
    windows = _windows(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    is_integer = node.input_dtype() not in ("float32", "float16", "")
    if is_integer and node.input_dtype() not in _NARROW:
        raise UnsupportedError("MIL pools floats", received=node.input_dtype())
    if is_integer:
        x = mb.cast(x=x, dtype="fp32")
    if node.wants(1):
        result, places = _indexed(x, windows, storage_order)
        return (mb.cast(x=result, dtype="int32") if is_integer else result), places
    if windows.is_dilated:
        result = _dilated(_padded(x, windows, -np.inf), windows, "maximum")
    else:
        result = mb.max_pool(x=x, kernel_sizes=windows.kernel, strides=windows.strides, **padding(windows.reach))
    return (mb.cast(x=result, dtype="int32") if is_integer else result,)


def _counts(x: Var, windows: _Windows, with_pads: int) -> Array:
    """How many elements of each window count, (1, 1, *windows)."""
    counts = np.ones((1, 1), np.float32)
    for axis, (extent, stride, rate) in enumerate(zip(windows.kernel, windows.strides, windows.rates, strict=True)):
        begin, end = windows.pads[2 * axis : 2 * axis + 2]
        counted = np.pad(np.ones(int(x.shape[axis + 2])), (begin, end), constant_values=float(bool(with_pads)))
        counted = np.pad(counted, (0, windows.tail[axis]))
        along = sum(counted[start:stop:stride] for start, stop in taps(extent, stride, rate, len(counted)))
        counts = counts[..., None] * np.asarray(along)
    return counts


@translates("AveragePool")
def average_pool(
    x: Var,
    *,
    kernel_shape: tuple[int, ...],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """Mean of each window, with or without what was padded."""
    windows = _windows(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    if windows.is_dilated:
        total = _dilated(_padded(x, windows, 0), windows, "add")
        return mb.mul(x=total, y=like(x, 1 / _counts(x, windows, count_include_pad)))
    result = mb.avg_pool(
        x=x, kernel_sizes=windows.kernel, strides=windows.strides,
        exclude_padding_from_average=not count_include_pad, **padding(windows.reach),
    )  # fmt: skip
    if count_include_pad and any(windows.tail):
        # What ceil_mode adds beyond the padding is not counted.
        result = mb.mul(x=result, y=like(x, np.prod(windows.kernel) / _counts(x, windows, 1)))
    return result


@translates("LpPool", since=2)
def lp_pool(
    x: Var,
    *,
    kernel_shape: tuple[int, ...],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: tuple[int, ...] | None = None,
    p: int = 2,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """(Sum of abs(x)**p of each window)**(1 / p)."""
    windows = _windows(x, kernel_shape, auto_pad, ceil_mode, dilations, pads, strides)
    if p == 2 and len(kernel_shape) < 3 and not windows.is_dilated:
        return mb.l2_pool(x=x, kernel_sizes=windows.kernel, strides=windows.strides, **padding(windows.reach))
    powers = _power(mb.abs(x=x), p)
    if windows.is_dilated:
        total = _dilated(_padded(powers, windows, 0), windows, "add")
    else:
        mean = mb.avg_pool(
            x=powers, kernel_sizes=windows.kernel, strides=windows.strides, exclude_padding_from_average=False,
            **padding(windows.reach),
        )  # fmt: skip
        total = mb.mul(x=mean, y=like(x, np.prod(windows.kernel)))
    return _power(total, 1 / p)


def _power(x: Var, exponent: float) -> Var:
    return x if exponent == 1 else mb.pow(x=x, y=like(x, exponent))


@translates("GlobalAveragePool")
def global_average_pool(x: Var) -> Var:
    """Mean over all but batch and channels."""
    return mb.reduce_mean(x=x, axes=list(range(2, len(x.shape))), keep_dims=True)


@translates("GlobalMaxPool")
def global_max_pool(x: Var) -> Var:
    """Greatest over all but batch and channels."""
    return mb.reduce_max(x=x, axes=list(range(2, len(x.shape))), keep_dims=True)


@translates("GlobalLpPool", since=2)
def global_lp_pool(x: Var, *, p: int = 2) -> Var:
    """(Sum of abs(x)**p)**(1 / p) over all but batch and channels."""
    axes = list(range(2, len(x.shape)))
    if p == 2:
        return mb.reduce_l2_norm(x=x, axes=axes, keep_dims=True)
    return _power(mb.reduce_sum(x=_power(mb.abs(x=x), p), axes=axes, keep_dims=True), 1 / p)


@translates("MaxUnpool", since=9)
def max_unpool(
    x: Var,
    indices: Var,
    output_shape: tuple[int, ...] | None = None,
    *,
    kernel_shape: tuple[int, ...],
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """x at its indices in a tensor of zeros of the pooled size; a greater ``output_shape`` is filled with zeros."""
    spatial = len(kernel_shape)
    check_rank("the input", x, spatial + 2)
    steps, amounts = of_each_axis("strides", strides, spatial, 1, 1), of_each_axis("pads", pads, 2 * spatial, 0, 0)
    shape = [int(size) for size in x.shape]
    for axis in range(spatial):
        lost = amounts[axis] + amounts[axis + spatial]
        shape[axis + 2] = (shape[axis + 2] - 1) * steps[axis] + kernel_shape[axis] - lost
    flat = mb.scatter(
        data=like(x, np.zeros(int(np.prod(shape)))), indices=mb.reshape(x=indices, shape=[-1]),
        updates=mb.reshape(x=x, shape=[-1]), axis=0, mode="update",
    )  # fmt: skip
    result = mb.reshape(x=flat, shape=shape)
    if output_shape is None or list(output_shape) == shape:
        return result
    if any(new < old for new, old in zip(output_shape, shape, strict=True)):
        raise UnsupportedError("output_shape is less than what was pooled", received=output_shape, supported=shape)
    tail = [value for new, old in zip(output_shape, shape, strict=True) for value in (0, new - old)]
    return mb.pad(x=result, pad=tail, mode="constant", constant_val=like(x, 0))
