"""Convolutions and fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.tflite.layout import channels_first, channels_last, known, transposed_weight
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.ops.activations import fused
from harness.frontends.tflite.registry import translates


def same_padding(
    sizes: Sequence[object], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int] | None:
    """Begin and end of each axis for SAME (TFLite ``kernels/padding.h``), None where a size is not known."""
    pads: list[int] = []
    for size, extent, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if not isinstance(size, int | np.integer):
            return None
        covered = (extent - 1) * dilation + 1
        total = max(0, (-(-int(size) // stride) - 1) * stride + covered - int(size))
        pads += [total // 2, total - total // 2]
    return pads


def _convolved(
    x: Var, weight: Value, bias: Value | None, padding: str, strides: list[int], dilations: list[int], groups: int
) -> Var:

    x = channels_first(x)
    shape = weight.shape
    pads = same_padding(x.shape[2:], shape[2:], strides, dilations) if padding == "SAME" else [0] * (2 * len(strides))
    mode = {"pad_type": "same"} if pads is None else {"pad_type": "custom", "pad": pads}
    if pads is not None and not any(pads):
        mode = {"pad_type": "valid"}
    given = {} if bias is None else {"bias": bias}
    result: Var = channels_last(
        mb.conv(x=x, weight=weight, strides=strides, dilations=dilations, groups=groups, **mode, **given)
    )
    return result


def _bias(bias: Value | None) -> Value | None:
    """MIL wants biases constant and float."""
    if bias is None:
        return None
    value = known(bias)
    if value is None:
        raise UnsupportedError("the bias must be a constant", received="a value that is computed")
    return value.astype(np.float32)


@translates("CONV_2D")
def conv_2d(
    x: Var,
    weight: Value,
    bias: Value | None = None,
    *,
    padding: str,
    stride_w: int,
    stride_h: int,
    fused_activation_function: str,
    dilation_w_factor: int,
    dilation_h_factor: int,
    quantized_bias_type: str = "",
) -> Var:
    """x (N, H, W, C_in), weight (C_out, H, W, C_in / groups)."""
    groups = int(x.shape[3]) // int(weight.shape[3])
    kernel = transposed_weight(weight, (0, 3, 1, 2))
    result = _convolved(
        x, kernel, _bias(bias), padding, [stride_h, stride_w], [dilation_h_factor, dilation_w_factor], groups
    )
    return fused(result, fused_activation_function)


@translates("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(
    x: Var,
    weight: Value,
    bias: Value | None = None,
    *,
    padding: str,
    stride_w: int,
    stride_h: int,
    depth_multiplier: int,
    fused_activation_function: str,
    dilation_w_factor: int,
    dilation_h_factor: int,
) -> Var:
    """x (N, H, W, C), weight (1, H, W, C * multiplier)."""
    kernel = transposed_weight(weight, (3, 0, 1, 2))
    result = _convolved(
        x, kernel, _bias(bias), padding, [stride_h, stride_w], [dilation_h_factor, dilation_w_factor], int(x.shape[3])
    )
    return fused(result, fused_activation_function)


@translates("CONV_3D")
def conv_3d(
    x: Var,
    weight: Value,
    bias: Value | None = None,
    *,
    padding: str,
    stride_d: int,
    stride_w: int,
    stride_h: int,
    fused_activation_function: str,
    dilation_d_factor: int,
    dilation_w_factor: int,
    dilation_h_factor: int,
) -> Var:
    """x (N, D, H, W, C_in), weight (D, H, W, C_in, C_out)."""
    kernel = transposed_weight(weight, (4, 3, 0, 1, 2))
    dilations = [dilation_d_factor, dilation_h_factor, dilation_w_factor]
    groups = int(x.shape[4]) // int(weight.shape[3])
    result = _convolved(x, kernel, _bias(bias), padding, [stride_d, stride_h, stride_w], dilations, groups)
    return fused(result, fused_activation_function)


@translates("TRANSPOSE_CONV")
def transpose_conv(
    output_shape: Array,
    weight: Value,
    x: Var,
    bias: Value | None = None,
    *,
    padding: str,
    stride_w: int,
    stride_h: int,
    fused_activation_function: str,
    quantized_bias_type: str = "",
) -> Var:
    """x (N, H, W, C_in), weight (C_out, H, W, C_in); the gradient of a convolution of ``output_shape``."""
    size = [int(item) for item in output_shape]
    return _transposed(
        x, transposed_weight(weight, (3, 0, 1, 2)), bias, size[1:3], padding, [stride_h, stride_w],
        fused_activation_function,
    )  # fmt: skip


def _transposed(
    x: Var, kernel: Value, bias: Value | None, size: Sequence[int], padding: str, strides: list[int], function: str
) -> Var:

    first = channels_first(x)
    pads: list[int] = []
    for given, extent, stride, wanted in zip(first.shape[2:], kernel.shape[2:], strides, size, strict=True):
        surplus = (int(given) - 1) * stride + int(extent) - wanted
        begin = max(surplus, 0) // 2 if padding == "SAME" else 0
        pads += [begin, surplus - begin]
    extra = [max(-pad, 0) for pad in pads[1::2]]
    keywords = {} if bias is None else {"bias": _bias(bias)}
    shape = [int(first.shape[0]), int(kernel.shape[1]), *size]
    if any(extra):
        # What lies beyond the full result holds the bias alone.
        full = [(int(given) - 1) * stride + int(extent) - pad for given, extent, stride, pad in zip(
            first.shape[2:], kernel.shape[2:], strides, pads[0::2], strict=True)]  # fmt: skip
        inner = [min(a, b) for a, b in zip(full, size, strict=True)]
        pads = [value for pad, (whole, part) in zip(pads[0::2], zip(full, inner, strict=True), strict=True)
                for value in (pad, whole - part)]  # fmt: skip
        result = mb.conv_transpose(
            x=first, weight=kernel, strides=strides, pad_type="custom", pad=pads,
            output_shape=[*shape[:2], *inner],
        )  # fmt: skip
        tail = [value for part, whole in zip(inner, size, strict=True) for value in (0, whole - part)]
        result = mb.pad(x=result, pad=[0, 0, 0, 0, *tail], mode="constant", constant_val=np.float32(0))
        if bias is not None:
            result = mb.add(x=result, y=np.asarray(keywords["bias"]).reshape(1, -1, 1, 1))
    else:
        result = mb.conv_transpose(
            x=first, weight=kernel, strides=strides, pad_type="custom", pad=pads, output_shape=shape, **keywords
        )
    return fused(channels_last(result), function)


@translates("Convolution2DTransposeBias")
def convolution_2d_transpose_bias(x: Var, weight: Value, bias: Value | None = None, *, node: Node) -> Var:
    """MediaPipe's custom operator: ``TfLiteTransposeConvParams`` as bytes (padding, stride width, stride height)."""
    content = node.operator.custom_options
    if len(content) < 12:
        raise UnsupportedError("the custom options hold no padding and strides", received=f"{len(content)} bytes")
    options = np.frombuffer(content[:12], "<i4")
    padding = {1: "SAME", 2: "VALID"}.get(int(options[0]))
    if padding is None:
        raise UnsupportedError("unknown padding of a custom operator", received=int(options[0]), supported="1, 2")
    strides = [int(options[2]), int(options[1])]
    if min(strides) < 1 or not all(isinstance(size, int | np.integer) for size in x.shape):
        raise UnsupportedError(
            "strides must be positive and the image of a known size", received=f"{strides}, {tuple(x.shape)}"
        )
    size = []
    for given, extent, stride in zip(x.shape[1:3], weight.shape[1:3], strides, strict=True):
        # The kernel's own rule, which gives less than stride * size where SAME has more to cut.
        cut = max(0, int(extent) - (int(given) - 1) % stride - 1) if padding == "SAME" else 0
        size.append(stride * (int(given) - 1) + int(extent) - cut)
    kernel = transposed_weight(weight, (3, 0, 1, 2))
    return _transposed(x, kernel, bias, size, padding, strides, "NONE")


@translates("FULLY_CONNECTED")
def fully_connected(
    x: Var,
    weight: Value,
    bias: Value | None = None,
    *,
    fused_activation_function: str,
    weights_format: str = "DEFAULT",
    keep_num_dims: bool = False,
    asymmetric_quantize_inputs: bool = False,
    quantized_bias_type: str = "",
    node: Node,
) -> Var:
    """x (..., I) flattened to (B, I) unless ``keep_num_dims``; weight (O, I)."""

    if weights_format != "DEFAULT":
        raise UnsupportedError("shuffled weights are for one kind of processor", received=weights_format)
    size = int(weight.shape[1])
    if not keep_num_dims and (len(x.shape) != 2 or x.shape[-1] != size):
        x = mb.reshape(x=x, shape=[-1, size])
    value = known(weight)
    operation = None if isinstance(weight, np.ndarray) else weight.op
    if value is None and (operation is None or not operation.op_type.startswith("constexpr")):
        result = mb.matmul(x=x, y=weight, transpose_y=True)
        if bias is not None:
            result = mb.add(x=result, y=bias)
    else:
        keywords = {} if bias is None else {"bias": _bias(bias)}
        result = mb.linear(x=x, weight=weight, **keywords)
    return fused(result, fused_activation_function)
