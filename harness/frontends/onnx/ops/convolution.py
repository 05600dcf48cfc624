"""Convolutions, and what is one: Col2Im."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.expect import check_rank, of_each_axis
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var


def explicit_pads(
    auto_pad: str, pads: Sequence[int] | None, sizes: Sequence[object], kernel: Sequence[int],
    strides: Sequence[int], dilations: Sequence[int],
) -> list[int]:  # fmt: skip
    """Begin and end of each axis, as MIL has them. Raises UnsupportedError where SAME needs a size that is open."""
    spatial = len(kernel)
    if auto_pad in ("NOTSET", ""):
        given = of_each_axis("pads", pads, 2 * spatial, 0, 0)
        return [given[axis + side * spatial] for axis in range(spatial) for side in (0, 1)]
    if auto_pad == "VALID":
        return [0] * (2 * spatial)
    result: list[int] = []
    for size, extent, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        covered = (extent - 1) * dilation + 1
        if isinstance(size, int | np.integer):
            total = max(0, (-(-int(size) // stride) - 1) * stride + covered - int(size))
        elif stride == 1:
            total = covered - 1
        else:
            raise UnsupportedError("auto_pad of a flexible size", received=auto_pad, supported="explicit pads")
        small, large = total // 2, total - total // 2
        result += [small, large] if auto_pad == "SAME_UPPER" else [large, small]
    return result


def padding(amounts: Sequence[int]) -> dict[str, Any]:
    """MIL's parameters of a padding."""
    return {"pad_type": "custom", "pad": list(amounts)} if any(amounts) else {"pad_type": "valid"}


def _spread(x: Var, steps: Sequence[int]) -> Var:
    """``x`` (A, B, *D) with steps - 1 zeros between the elements of each of D."""
    for axis, step in enumerate(steps, start=2):
        if step == 1 or int(x.shape[axis]) == 1:
            continue
        shape = [int(size) for size in x.shape]
        parted = mb.reshape(x=x, shape=[int(np.prod(shape[:axis])), shape[axis], 1, int(np.prod(shape[axis + 1 :]))])
        wide = mb.pad(x=parted, pad=[0, 0, 0, 0, 0, step - 1, 0, 0], mode="constant", constant_val=like(x, 0))
        shape[axis] *= step
        end = [size - (step - 1 if other == axis else 0) for other, size in enumerate(shape)]
        x = mb.slice_by_index(x=mb.reshape(x=wide, shape=shape), begin=[0] * len(shape), end=end)
    return x


def _is_computed(value: Value) -> bool:
    return not isinstance(value, np.ndarray) and value.val is None


def _with_bias(x: Var, bias: Value | None) -> Var:
    if bias is None:
        return x
    shape = [1, -1, *([1] * (len(x.shape) - 2))]
    return mb.add(x=x, y=bias.reshape(shape) if isinstance(bias, np.ndarray) else mb.reshape(x=bias, shape=shape))


@translates("Conv")
def conv(
    x: Var,
    weight: Value,
    bias: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """x (N, C_in, *D), weight (C_out, C_in / group, *K)."""
    spatial = len(x.shape) - 2
    check_rank("the weight", weight, len(x.shape))
    steps, rates = of_each_axis("strides", strides, spatial, 1, 1), of_each_axis("dilations", dilations, spatial, 1, 1)
    kernel = [int(size) for size in weight.shape[2:]]
    mode = padding(explicit_pads(auto_pad, pads, x.shape[2:], kernel, steps, rates))
    if _is_computed(weight):
        # MIL dilates constant weights only.
        weight, rates = _spread(as_var(weight), rates), [1] * spatial
    if bias is not None and _is_computed(bias):
        return _with_bias(mb.conv(x=x, weight=weight, strides=steps, dilations=rates, groups=group, **mode), bias)
    given = {} if bias is None else {"bias": bias}
    return mb.conv(x=x, weight=weight, strides=steps, dilations=rates, groups=group, **mode, **given)


def _transposed(
    x: Var, weight: Value, bias: Value | None, group: int, steps: list[int], rates: list[int], begins: list[int],
    sizes: list[int],
) -> Var:  # fmt: skip
    """The transposed convolution's elements ``begins`` to ``begins + sizes``; those that it does not reach are 0."""
    whole = [
        (int(size) - 1) * step + (int(extent) - 1) * rate + 1
        for size, extent, step, rate in zip(x.shape[2:], weight.shape[2:], steps, rates, strict=True)
    ]
    inner = [min(size, full - begin) for size, full, begin in zip(sizes, whole, begins, strict=True)]
    ends = [full - begin - size for full, begin, size in zip(whole, begins, inner, strict=True)]
    fused = None
    if _is_computed(weight):
        result = _as_convolution(x, as_var(weight), group, steps, rates, begins, ends)
    else:
        fused = bias if inner == sizes and bias is not None and not _is_computed(bias) else None
        result = mb.conv_transpose(
            x=x, weight=weight, strides=steps, dilations=rates, groups=group, pad_type="custom",
            pad=[value for pair in zip(begins, ends, strict=True) for value in pair],
            output_shape=[int(x.shape[0]), int(weight.shape[1]) * group, *inner],
            **({} if fused is None else {"bias": fused}),
        )  # fmt: skip
    if inner != sizes:
        tail = [value for size, part in zip(sizes, inner, strict=True) for value in (0, size - part)]
        result = _with_zeros(result, tail)
    return result if fused is not None else _with_bias(result, bias)


def _with_zeros(x: Var, amounts: list[int]) -> Var:
    return mb.pad(x=x, pad=[0, 0, 0, 0, *amounts], mode="constant", constant_val=like(x, 0))


def _as_convolution(
    x: Var, weight: Var, group: int, steps: list[int], rates: list[int], begins: list[int], ends: list[int]
) -> Var:
    """With a computed weight, which MIL's conv_transpose does not take: zeros between elements, weights mirrored."""
    spatial = len(steps)
    inputs, outputs, *kernel = (int(size) for size in weight.shape)
    mirrored = mb.reverse(x=weight, axes=list(range(2, 2 + spatial)))
    parted = mb.reshape(x=mirrored, shape=[group, inputs // group, outputs, int(np.prod(kernel))])
    swapped = mb.transpose(x=parted, perm=[0, 2, 1, 3])
    swapped = mb.reshape(x=swapped, shape=[group * outputs, inputs // group, *kernel])
    extents = [(extent - 1) * rate for extent, rate in zip(kernel, rates, strict=True)]
    amounts = [value for extent, begin, end in zip(extents, begins, ends, strict=True)
               for value in (extent - begin, extent - end)]  # fmt: skip
    wide, cut = [max(0, amount) for amount in amounts], [max(0, -amount) for amount in amounts]
    x = _spread(x, steps)
    if any(cut):
        sizes = [int(size) for size in x.shape]
        begin = [0, 0, *cut[::2]]
        end = [*sizes[:2], *(size - amount for size, amount in zip(sizes[2:], cut[1::2], strict=True))]
        x = mb.slice_by_index(x=x, begin=begin, end=end)
    return mb.conv(x=x, weight=_spread(swapped, rates), groups=group, strides=[1] * spatial, **padding(wide))


@translates("ConvTranspose")
def conv_transpose(
    x: Var,
    weight: Value,
    bias: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    output_padding: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """x (N, C_in, *D), weight (C_in, C_out / group, *K); sizes as in the operator's description."""
    spatial = len(x.shape) - 2
    check_rank("the weight", weight, len(x.shape))
    if not all(isinstance(size, int | np.integer) for size in x.shape):
        if output_shape or any(output_padding or ()):
            raise UnsupportedError("output_shape or output_padding of flexible sizes", supported="explicit pads")
        return _flexible_transposed(x, weight, bias, auto_pad, dilations, group, pads, strides)
    steps, rates = of_each_axis("strides", strides, spatial, 1, 1), of_each_axis("dilations", dilations, spatial, 1, 1)
    extra = of_each_axis("output_padding", output_padding, spatial, 0, 0)
    given = of_each_axis("pads", pads if auto_pad in ("NOTSET", "") else None, 2 * spatial, 0, 0)
    wanted = list(output_shape)[-spatial:] if output_shape is not None else None
    begins, sizes = [], []
    for axis in range(spatial):
        extent = (int(weight.shape[axis + 2]) - 1) * rates[axis] + 1
        whole = (int(x.shape[axis + 2]) - 1) * steps[axis] + extent + extra[axis]
        if wanted is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            size = wanted[axis] if wanted is not None else int(x.shape[axis + 2]) * steps[axis]
            if size > whole and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
                raise UnsupportedError(
                    "a size that no window reaches, on which runtimes do not agree",
                    received=f"size {size}, auto_pad {auto_pad}",
                    supported=f"at most {whole}",
                )
            total = max(0, whole - size)
            # The specification puts the odd rest at the begin unless SAME_UPPER is asked for.
            begin = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        else:
            begin = given[axis]
            size = whole - begin - given[axis + spatial]
        begins.append(begin)
        sizes.append(size)
    return _transposed(x, weight, bias, group, steps, rates, begins, sizes)


def _flexible_transposed(
    x: Var, weight: Value, bias: Value | None, auto_pad: str, dilations: tuple[int, ...] | None, group: int,
    pads: tuple[int, ...] | None, strides: tuple[int, ...] | None,
) -> Var:  # fmt: skip
    spatial = len(x.shape) - 2
    if auto_pad not in ("NOTSET", "", "VALID") or _is_computed(weight):
        raise UnsupportedError(
            "this transposed convolution of flexible sizes", supported="explicit pads, a constant weight"
        )
    amounts = explicit_pads(auto_pad, pads, x.shape[2:], [1] * spatial, [1] * spatial, [1] * spatial)
    result = mb.conv_transpose(
        x=x, weight=weight, strides=list(strides or [1] * spatial), dilations=list(dilations or [1] * spatial),
        groups=group, **padding(amounts),
    )  # fmt: skip
    return _with_bias(result, bias)


@translates("Col2Im", since=18)
def col2im(
    x: Var,
    image_shape: tuple[int, ...],
    block_shape: tuple[int, ...],
    *,
    dilations: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """x (N, C * prod(block), L) summed into (N, C, *image): a transposed convolution with weights of 0 and 1."""
    spatial = len(block_shape)
    if spatial > 3:
        raise UnsupportedError("MIL convolves up to three axes", received=block_shape)
    check_rank("the columns", x, 3)
    of_each_axis("image_shape", image_shape, spatial, 1, 1)
    of_each_axis("block_shape", block_shape, spatial, 1, 1)
    steps, rates = of_each_axis("strides", strides, spatial, 1, 1), of_each_axis("dilations", dilations, spatial, 1, 1)
    given = of_each_axis("pads", pads, 2 * spatial, 0, 0)
    grid = [
        (image_shape[axis] + given[axis] + given[axis + spatial] - (block_shape[axis] - 1) * rates[axis] - 1)
        // steps[axis] + 1
        for axis in range(spatial)
    ]  # fmt: skip
    count = int(np.prod(block_shape))
    channels = int(x.shape[1]) // count
    weight = np.tile(np.eye(count, dtype=np.float32).reshape(count, 1, *block_shape), [channels, 1, *([1] * spatial)])
    blocks = mb.reshape(x=x, shape=[int(x.shape[0]), int(x.shape[1]), *grid])
    return _transposed(blocks, weight, None, channels, steps, rates, given[:spatial], list(image_shape))


@translates("CausalConvWithState", since=27)
def causal_conv_with_state(
    x: Var, weight: Value, bias: Value | None = None, past: Var | None = None, *, activation: str = "none", node: Node
) -> tuple[Var, ...]:
    """x (N, C, L) after the state (N, C, K - 1), each channel convolved by itself; and the state to come."""
    check_rank("the input", x, 3)
    check_rank("the weight", weight, 3)
    channels, memory = int(x.shape[1]), int(weight.shape[2]) - 1
    if memory == 0 and node.wants(1):
        raise UnsupportedError("Core ML has no tensors without elements", received="the state of a kernel of size 1")
    if past is not None:
        x = mb.concat(values=[past, x], axis=2)
    elif memory:
        x = mb.pad(x=x, pad=[0, 0, 0, 0, memory, 0], mode="constant", constant_val=like(x, 0))
    result = conv(x, weight, bias, group=channels)
    if activation in ("silu", "swish"):
        result = mb.silu(x=result)
    elif activation != "none":
        raise UnsupportedError("unknown activation", received=activation, supported=["none", "silu", "swish"])
    if not node.wants(1):
        return (result,)
    state = mb.slice_by_index(
        x=x, begin=[0, 0, -memory], end=[0, 0, 0], begin_mask=[True, True, False], end_mask=[True] * 3
    )
    return result, state
