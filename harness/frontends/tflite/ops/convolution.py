"""Convolutions and fully connected layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.expect import check_rank
from harness.frontends.program import as_var
from harness.frontends.tflite.compression import is_compressed
from harness.frontends.tflite.layout import (
    channels_first,
    channels_last,
    is_known,
    known,
    listed_rows,
    sizes,
    transposed_weight,
    twin,
    unfolded_weight,
    whole_of,
)
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.ops.activations import fused
from harness.frontends.tflite.quantization import (
    Rounding,
    is_half_byte_by_channel,
    requantized,
    steps,
    steps_of_constant,
)
from harness.frontends.tflite.registry import translates


def same_padding(
    extents: Sequence[object], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int] | None:
    """Begin and end of each axis for SAME (TFLite ``kernels/padding.h``), None where a size is not known."""
    pads: list[int] = []
    for size, extent, stride, dilation in zip(extents, kernel, strides, dilations, strict=True):
        if not isinstance(size, int | np.integer):
            return None
        covered = (extent - 1) * dilation + 1
        total = max(0, (-(-int(size) // stride) - 1) * stride + covered - int(size))
        pads += [total // 2, total - total // 2]
    return pads


@dataclass(frozen=True)
class _Operands:
    """Of a sum of products: reals, or where TFLite's kernel computes with integers, those. x is channels first.

    ``finished`` makes the operator's result of the sum.
    """

    x: Var
    weight: Value
    bias: Array | None
    finished: Callable[[Var], Var]


def _operands(
    x: Var, weight: Value, bias: Value | None, node: Node, activation: str, *, x_index: int = 0, axis: int | None = None
) -> _Operands:
    """``axis`` is that of the result's channels, where it is not an image, channels first."""
    first = channels_first(x) if axis is None else x
    given = len(node.inputs) > 2 + (x_index == 2) and bias is not None
    offset = node.tensor(2 + (x_index == 2)) if given else None
    source = node.tensor(x_index)
    if not node.has_integer_kernel(x_index) or (offset is not None and not offset.is_constant):
        if is_half_byte_by_channel(node.tensor(1)):
            return _scaled_afterwards(first, weight, bias, node, activation, axis)
        return _Operands(first, weight, _bias(bias), lambda result: fused(_last(result, axis), activation))
    scale, scales, output = (
        array.astype(np.float64) for array in (node.scales(x_index), node.scales(1), node.scales(-1))
    )
    multipliers = scale * scales / output
    if source.dtype == "uint8" or node.operator.name == "FULLY_CONNECTED":  # GetQuantizedConvolutionMultipler
        multipliers = (node.scales(x_index) * node.scales(1)).astype(np.float64) / output
    # Sums are of 64 bits, unless the bias says otherwise (``quantized_bias_type``).
    rounding = Rounding.ONCE if node.operator.name == "FULLY_CONNECTED" else Rounding.TWICE
    if source.dtype == "int16" and (offset is None or offset.dtype != "int32"):
        rounding = Rounding.REDUCED

    def finished(result: Var) -> Var:
        channels = 1 if axis is None else axis
        whole = requantized(result, multipliers, node.outputs[0], activation, axis=channels, rounding=rounding)
        return _last(whole, axis)

    integers = None if offset is None or not offset.array().any() else offset.array().astype(np.float32)
    if integers is not None and (np.abs(integers * multipliers) >= 2.0**31).any():
        raise ConversionError(
            f"{node} adds more than its kernel's 32 bits hold", received=f"a bias of {np.abs(integers).max():g}",
            supported="less than 2**31 steps of the output", remedy="Check the file: its bias or a scale is damaged",
        )  # fmt: skip
    return _Operands(steps(first, source), steps_of_constant(weight, node.tensor(1)), integers, finished)


def _scaled_afterwards(
    x: Var, weight: Value, bias: Value | None, node: Node, activation: str, axis: int | None
) -> _Operands:
    """With weights of four bits: one table stands for all channels, and their scales multiply the sums."""
    channels = 1 if axis is None else axis
    offset = _bias(bias)

    def finished(result: Var) -> Var:
        def along(numbers: Array) -> Array:
            return numbers.reshape([-1 if place == channels else 1 for place in range(len(result.shape))])

        scaled = mb.mul(x=result, y=along(node.scales(1)))
        return fused(_last(scaled if offset is None else mb.add(x=scaled, y=along(offset)), axis), activation)

    return _Operands(x, steps_of_constant(weight, node.tensor(1)), None, finished)


def _last(result: Var, axis: int | None) -> Var:
    return channels_last(result) if axis is None else result


def _convolved(
    operands: _Operands, perm: Sequence[int], padding: str, strides: list[int], dilations: list[int], groups: int
) -> Var:
    """``perm`` makes the weight (C_out, C_in, *D)."""
    x, weight = operands.x, transposed_weight(operands.weight, perm)
    shape = weight.shape
    pads = same_padding(x.shape[2:], shape[2:], strides, dilations) if padding == "SAME" else [0] * (2 * len(strides))
    mode = {"pad_type": "same"} if pads is None else {"pad_type": "custom", "pad": pads}
    if pads is not None and not any(pads):
        mode = {"pad_type": "valid"}
    given = {} if operands.bias is None else {"bias": operands.bias}
    return operands.finished(
        mb.conv(x=x, weight=weight, strides=strides, dilations=dilations, groups=groups, **mode, **given)
    )


def _bias(bias: Value | None) -> Array | None:
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
    node: Node,
) -> Var:
    """x (N, H, W, C_in), weight (C_out, H, W, C_in / groups)."""
    groups = int(x.shape[3]) // int(weight.shape[3])
    operands = _operands(x, weight, bias, node, fused_activation_function)
    dilations = [dilation_h_factor, dilation_w_factor]
    return _convolved(operands, (0, 3, 1, 2), padding, [stride_h, stride_w], dilations, groups)


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
    node: Node,
) -> Var:
    """x (N, H, W, C), weight (1, H, W, C * multiplier)."""
    operands = _operands(x, weight, bias, node, fused_activation_function)
    dilations = [dilation_h_factor, dilation_w_factor]
    return _convolved(operands, (3, 0, 1, 2), padding, [stride_h, stride_w], dilations, int(x.shape[3]))


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
    node: Node,
) -> Var:
    """x (N, D, H, W, C_in), weight (D, H, W, C_in, C_out)."""
    operands = _operands(x, weight, bias, node, fused_activation_function)
    dilations = [dilation_d_factor, dilation_h_factor, dilation_w_factor]
    groups = int(x.shape[4]) // int(weight.shape[3])
    return _convolved(operands, (4, 3, 0, 1, 2), padding, [stride_d, stride_h, stride_w], dilations, groups)


@translates("TRANSPOSE_CONV")
def transpose_conv(
    output_shape: Value,
    weight: Value,
    x: Var,
    bias: Value | None = None,
    *,
    padding: str,
    stride_w: int,
    stride_h: int,
    fused_activation_function: str,
    quantized_bias_type: str = "",
    node: Node,
) -> Var:
    """x (N, H, W, C_in), weight (C_out, H, W, C_in); the gradient of a convolution of ``output_shape``."""
    operands = _operands(x, weight, bias, node, fused_activation_function, x_index=2)
    return _transposed_to(operands, output_shape, padding, [stride_h, stride_w], (3, 0, 1, 2))


@translates("CONV_3D_TRANSPOSE")
def conv_3d_transpose(
    output_shape: Value,
    weight: Value,
    x: Var,
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
    node: Node,
) -> Var:
    """x (N, D, H, W, C_in), weight (D, H, W, C_out, C_in); the gradient of a convolution of ``output_shape``."""
    if (dilation_d_factor, dilation_h_factor, dilation_w_factor) != (1, 1, 1):
        raise UnsupportedError("its kernel wants no dilation", received=node)
    operands = _operands(x, weight, bias, node, fused_activation_function, x_index=2)
    return _transposed_to(operands, output_shape, padding, [stride_d, stride_h, stride_w], (4, 3, 0, 1, 2))


def _transposed_to(operands: _Operands, shape: Value, padding: str, strides: list[int], perm: tuple[int, ...]) -> Var:
    """Of an output shape that does not follow from the input's, the window is cut from the full result."""
    first = operands.x
    check_rank("the output's shape", shape, 1)
    if shape.shape[0] != len(first.shape):
        raise ConversionError(
            "the output's shape does not hold a size for each axis", received=shape.shape[0], supported=len(first.shape)
        )
    if known(shape) is not None or shape.sym_val is not None:  # type: ignore[union-attr]
        return _transposed(operands, sizes(shape)[1:-1], padding, strides, perm)
    kernel = transposed_weight(operands.weight, perm)
    axes, rank = len(strides), len(first.shape)
    keywords = {} if operands.bias is None else {"bias": operands.bias}
    result = mb.conv_transpose(x=first, weight=kernel, strides=strides, pad_type="valid", **keywords)
    # SAME gives up to stride * size, where a small kernel does not reach.
    beyond = [max(stride - int(extent), 0) for stride, extent in zip(strides, kernel.shape[2:], strict=True)]
    if any(beyond):
        if operands.bias is not None:
            result = mb.sub(x=result, y=operands.bias.reshape([1, -1, *([1] * axes)]))
        tail = [amount for extra in beyond for amount in (0, extra)]
        result = mb.pad(x=result, pad=[0, 0, 0, 0, *tail], mode="constant", constant_val=np.float32(0))
        if operands.bias is not None:
            result = mb.add(x=result, y=operands.bias.reshape([1, -1, *([1] * axes)]))
    wanted = mb.slice_by_index(x=as_var(shape), begin=[1], end=[1 + axes])
    begin: Value = np.zeros(axes, np.int32)
    if padding == "SAME":
        full = mb.sub(x=mb.slice_by_index(x=mb.shape(x=result), begin=[2], end=[rank]), y=np.array(beyond, np.int32))
        begin = mb.floor_div(x=mb.maximum(x=mb.sub(x=full, y=wanted), y=np.int32(0)), y=np.int32(2))
    none = np.zeros(2, np.int32)
    starts = mb.concat(values=[none, as_var(begin)], axis=0)
    ends = mb.concat(values=[none, mb.add(x=as_var(begin), y=wanted)], axis=0)
    whole = [True, True, *([False] * axes)]
    return operands.finished(mb.slice_by_index(x=result, begin=starts, end=ends, begin_mask=whole, end_mask=whole))


def _transposed(
    operands: _Operands,
    size: Sequence[Any],
    padding: str,
    strides: list[int],
    perm: tuple[int, ...] = (3, 0, 1, 2),
) -> Var:
    """``perm`` makes the weight (C_in, C_out, *D); ``size``: places of the result, which may depend on x's own."""
    first, kernel, bias = operands.x, transposed_weight(operands.weight, perm), operands.bias
    pads: list[int] = []
    for given, extent, stride, wanted in zip(first.shape[2:], kernel.shape[2:], strides, size, strict=True):
        surplus = (given - 1) * stride + int(extent) - wanted
        if not is_known(surplus) and not surplus.is_Integer:
            raise UnsupportedError(
                "the result's size must follow from the image's", received=f"{wanted} from {given}, stride {stride}"
            )
        surplus = int(surplus)
        begin = max(surplus, 0) // 2 if padding == "SAME" else 0
        pads += [begin, surplus - begin]
    # What lies beyond the full result holds the bias alone.
    beyond = [max(-pad, 0) for pad in pads[1::2]]
    keywords: dict[str, Any] = {} if bias is None or any(beyond) else {"bias": bias}
    inner = [wanted - more for wanted, more in zip(size, beyond, strict=True)]
    if all(is_known(item) for item in (first.shape[0], *inner)):
        keywords["output_shape"] = [int(first.shape[0]), int(kernel.shape[1]), *(int(item) for item in inner)]
    pads = [max(pad, 0) for pad in pads]
    result = mb.conv_transpose(x=first, weight=kernel, strides=strides, pad_type="custom", pad=pads, **keywords)
    if any(beyond):
        tail = [value for more in beyond for value in (0, more)]
        result = mb.pad(x=result, pad=[0, 0, 0, 0, *tail], mode="constant", constant_val=np.float32(0))
        if bias is not None:
            result = mb.add(x=result, y=bias.reshape([1, -1, *([1] * len(size))]))
    return operands.finished(result)


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
    return _transposed(_operands(x, weight, bias, node, "NONE"), size, padding, strides)


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
    whole = whole_of(x)
    if whole is not None and x.shape[-1] == size:
        return listed_rows(
            fully_connected(
                whole, weight, bias, fused_activation_function=fused_activation_function, keep_num_dims=True, node=node
            )
        )
    is_flattened = not keep_num_dims and (len(x.shape) != 2 or x.shape[-1] != size)
    if bias is not None and known(bias) is None:
        result = mb.matmul(x=mb.reshape(x=x, shape=[-1, size]) if is_flattened else x, y=weight, transpose_y=True)
        return fused(mb.add(x=result, y=bias), fused_activation_function)
    is_image = twin(x) is not None and not is_flattened and len(x.shape) in (3, 4, 5)
    axis = None if is_image else 1 if is_flattened else len(x.shape) - 1
    operands = _operands(x, weight, bias, node, fused_activation_function, axis=axis)
    x, weight = operands.x, operands.weight
    if is_flattened:
        x = mb.reshape(x=x, shape=[-1, size])
    keywords = {} if operands.bias is None else {"bias": operands.bias}
    if known(weight) is None and not is_compressed(weight):
        x = channels_last(x) if is_image else x
        result = mb.matmul(x=x, y=weight, transpose_y=True)
        if operands.bias is not None:
            result = mb.add(x=result, y=operands.bias)
        if is_image:
            result = channels_first(result)
    elif is_image:
        result = mb.conv(x=x, weight=unfolded_weight(weight, len(x.shape) - 2), pad_type="valid", **keywords)
    else:
        result = mb.linear(x=x, weight=weight, **keywords)
    return operands.finished(result)
