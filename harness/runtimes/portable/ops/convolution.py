"""Convolutions (coremltools ``iOS15/conv.py``, ``iOS17/conv.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import PackageError, UnsupportedError
from harness.runtimes.portable.onnx_graph import Tensor, cast_to, constant, op
from harness.runtimes.portable.registry import lowers
from harness.tensors import Array

PAD_TYPES = ("valid", "custom", "same", "same_lower")


def window_padding(
    x: Tensor,
    pad_type: str,
    pad: tuple[int, ...] | None,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[Tensor, dict[str, Any]]:
    """``x`` and the ONNX attributes that together give MIL's padding of a sliding window.

    ``same`` makes ceil(size / stride) windows and puts an odd rest at the end, ``same_lower`` at
    the begin (coremltools ``defs/_utils.py``, ``aggregated_pad``; its ``test_conv.py`` settles the
    side against the docstring). ``pad`` counts for ``custom`` only: begin and end of each axis.
    """
    spatial = len(kernel)
    mode = pad_type.lower()
    if mode not in PAD_TYPES:
        raise PackageError("unknown pad_type", received=repr(pad_type), supported=PAD_TYPES)
    if mode == "valid" or (mode == "custom" and pad is None):
        return x, {"pads": [0] * (2 * spatial)}
    if mode == "custom":
        pads = list(pad or ())
        if len(pads) != 2 * spatial:
            raise PackageError("pad has the wrong length", received=pads, supported=f"{2 * spatial} integers")
        return x, {"pads": [*pads[0::2], *pads[1::2]]}
    extents = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    sizes = x.shape[2:] if x.shape is not None else [None] * spatial
    totals: list[int] = []
    for size, extent, stride in zip(sizes, extents, strides, strict=True):
        if size is not None:
            totals.append(max(0, (-(-size // stride) - 1) * stride + extent - size))
        elif stride == 1:
            totals.append(extent - 1)
    if len(totals) == spatial:
        smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
        return x, {"pads": [*smaller, *larger] if mode == "same" else [*larger, *smaller]}
    if set(dilations) == {1}:
        return x, {"auto_pad": "SAME_UPPER" if mode == "same" else "SAME_LOWER"}
    # ONNX Runtime has no automatic padding with dilations: pad when the size is known.
    spatial_shape = op.Shape(x, start=2)
    windows = op.Div(op.Add(spatial_shape, [stride - 1 for stride in strides]), list(strides))
    covered = op.Add(op.Mul(op.Sub(windows, 1), list(strides)), extents)
    total = op.Max(op.Sub(covered, spatial_shape), 0)
    begin = op.Div(total, 2) if mode == "same" else op.Sub(total, op.Div(total, 2))
    amounts = op.Concat([0, 0], begin, [0, 0], op.Sub(total, begin), axis=0)
    return op.Pad(x, amounts), {"pads": [0] * (2 * spatial)}


def _ones(values: tuple[int, ...] | None, spatial: int) -> list[int]:
    return list(values) if values else [1] * spatial


@lowers("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Tensor:
    """1-D to 3-D convolution of ``x`` (N, C_in, *D) with ``weight`` (C_out, C_in / groups, *K)."""
    spatial = x.rank - 2
    steps, rates = _ones(strides, spatial), _ones(dilations, spatial)
    kernel = [weight.size(axis) for axis in range(2, weight.rank)]
    x, padding = window_padding(x, pad_type, pad, kernel, steps, rates)
    result: Tensor = op.Conv(x, weight, bias, strides=steps, dilations=rates, group=groups, **padding)
    return result


@lowers("conv_quantized")
def conv_quantized(
    x: Tensor,
    weight: Array,
    quantization_type: str,
    quant_scale: Array,
    quant_bias: Array,
    bias: Tensor | None = None,
    nbits: int = 8,
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Tensor:
    """conv whose weight is ``weight * quant_scale + quant_bias``, for all or for each output channel."""
    if quantization_type != "linear":
        raise UnsupportedError(
            "conv_quantized has no input for a look-up table",
            received=repr(quantization_type),
            supported="linear",
            remedy="Palettize the weight with constexpr_lut_to_dense",
        )
    if not 1 <= nbits <= 8 or int(weight.max(initial=0)) >= 1 << nbits:
        raise PackageError(f"a weight of conv_quantized does not fit in {nbits} bits", supported="1 to 8")
    along_channels = (-1,) + (1,) * (weight.ndim - 1)
    scale, offset = (values.astype(np.float32).reshape(along_channels) for values in (quant_scale, quant_bias))
    plain = constant(weight.astype(np.float32) * scale + offset)
    full_bias = None if bias is None else cast_to(bias, "fp32")
    result: Tensor = conv(x, plain, full_bias, strides, pad_type, pad, dilations, groups)
    return result


@lowers("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    strides: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Tensor:
    """Transposed convolution of ``x`` (N, C_in, *D) with ``weight`` (C_in, C_out / groups, *K).

    What the full result has more than the output is cropped: for ``same`` half of it, rounded
    down, at the begin (as TensorFlow's gradient of a SAME convolution), for ``custom`` pad[2i],
    for ``valid`` nothing; the rest at the end. What it has less is appended and holds the bias.
    Without ``output_shape``, ``same`` gives D * stride.
    """
    spatial = x.rank - 2
    mode = pad_type.lower()
    if mode not in ("valid", "custom", "same"):
        raise PackageError("unknown pad_type of conv_transpose", received=repr(pad_type))
    steps, rates = _ones(strides, spatial), _ones(dilations, spatial)
    begins, ends = [0] * spatial, [0] * spatial
    for axis in range(spatial):
        extent = (weight.size(axis + 2) - 1) * rates[axis] + 1
        if mode == "custom" and pad is not None:
            begins[axis], ends[axis] = pad[2 * axis], pad[2 * axis + 1]
        surplus = extent - steps[axis]
        if output_shape is not None:
            surplus = (x.size(axis + 2) - 1) * steps[axis] + extent - output_shape[axis + 2]
        if mode == "same":
            begins[axis] = max(surplus, 0) // 2
        if mode == "same" or output_shape is not None:
            ends[axis] = surplus - begins[axis]
    missing = [max(-end, 0) for end in ends]
    pads = [*begins, *(max(end, 0) for end in ends)]
    # ONNX Runtime appends less than a stride or dilation; a longer tail is appended afterwards.
    if all(tail < max(step, rate) for tail, step, rate in zip(missing, steps, rates, strict=True)):
        return op.ConvTranspose(
            x, weight, bias, strides=steps, dilations=rates, group=groups, pads=pads, output_padding=missing
        )
    result = op.ConvTranspose(x, weight, strides=steps, dilations=rates, group=groups, pads=pads)
    result = op.Pad(result, [0] * (spatial + 2) + [0, 0] + missing)
    if bias is None:
        return result
    return op.Add(result, op.Unsqueeze(bias, list(range(1, spatial + 1))))
