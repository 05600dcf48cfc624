from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops import convolution

with quiet_imports():
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def convolved(
    x: np.ndarray,
    weight: np.ndarray,
    pads: list[tuple[int, int]],
    strides: list[int],
    dilations: list[int],
    groups: int = 1,
) -> np.ndarray:
    """Correlation in float64, one window at a time."""
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    kernel = weight.shape[2:]
    sizes = [
        (size - (length - 1) * rate - 1) // step + 1
        for size, length, rate, step in zip(padded.shape[2:], kernel, dilations, strides, strict=True)
    ]
    result = np.zeros((x.shape[0], weight.shape[0], *sizes))
    per_group, filters = weight.shape[1], weight.shape[0] // groups
    for position in np.ndindex(*sizes):
        taps = [
            slice(at * step, at * step + (length - 1) * rate + 1, rate)
            for at, step, length, rate in zip(position, strides, kernel, dilations, strict=True)
        ]
        window = padded[(slice(None), slice(None), *taps)]
        for channel in range(weight.shape[0]):
            group = channel // filters
            part = window[:, group * per_group : (group + 1) * per_group]
            result[(slice(None), channel, *position)] = (part * weight[channel]).reshape(len(x), -1).sum(axis=1)
    return result


def transposed(
    x: np.ndarray, weight: np.ndarray, strides: list[int], dilations: list[int], groups: int = 1
) -> np.ndarray:
    """The full result, nothing cropped: every element scatters its kernel."""
    kernel, inputs, outputs = weight.shape[2:], x.shape[1] // groups, weight.shape[1]
    sizes = [
        (size - 1) * step + (length - 1) * rate + 1
        for size, step, length, rate in zip(x.shape[2:], strides, kernel, dilations, strict=True)
    ]
    result = np.zeros((x.shape[0], outputs * groups, *sizes))
    for position in np.ndindex(*x.shape[2:]):
        for tap in np.ndindex(*kernel):
            target = tuple(p * s + t * d for p, s, t, d in zip(position, strides, tap, dilations, strict=True))
            for group in range(groups):
                values = x[(slice(None), slice(group * inputs, (group + 1) * inputs), *position)]
                matrix = weight[(slice(group * inputs, (group + 1) * inputs), slice(None), *tap)]
                channels = slice(group * outputs, (group + 1) * outputs)
                result[(slice(None), channels, *target)] += values.astype(np.float64) @ matrix
    return result


def same(sizes: tuple[int, ...], extents: list[int], strides: list[int], lower: bool) -> list[tuple[int, int]]:
    pads = []
    for size, extent, step in zip(sizes, extents, strides, strict=True):
        total = max(0, (-(-size // step) - 1) * step + extent - size)
        pads.append((total - total // 2, total // 2) if lower else (total // 2, total - total // 2))
    return pads


# x, weight, strides, dilations, groups
SHAPES: list[tuple[tuple[int, ...], tuple[int, ...], list[int], list[int], int]] = [
    ((2, 3, 9), (4, 3, 4), [2], [1], 1),
    ((1, 4, 11), (6, 2, 3), [1], [3], 2),
    ((2, 3, 8, 7), (5, 3, 2, 4), [1, 1], [1, 1], 1),
    ((1, 2, 9, 10), (3, 2, 3, 2), [3, 2], [1, 1], 1),
    ((1, 4, 9, 12), (4, 1, 3, 2), [1, 1], [2, 3], 4),
    ((1, 2, 9, 12), (2, 2, 3, 2), [2, 3], [2, 3], 1),
    ((1, 2, 5, 6, 4), (3, 2, 2, 3, 2), [2, 1, 1], [1, 2, 1], 1),
]


@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower", "custom"])
@pytest.mark.parametrize(("shape", "kernel", "strides", "dilations", "groups"), SHAPES)
def test_conv(run, shape, kernel, strides, dilations, groups, pad_type) -> None:  # type: ignore[no-untyped-def]
    x, weight, bias = noise(*shape), noise(*kernel, seed=1), noise(kernel[0], seed=2)
    spatial = len(strides)
    extents = [(size - 1) * rate + 1 for size, rate in zip(kernel[2:], dilations, strict=True)]
    pads = [(2 * axis + 1, axis) for axis in range(spatial)] if pad_type == "custom" else [(0, 0)] * spatial
    if pad_type.startswith("same"):
        pads = same(shape[2:], extents, strides, pad_type == "same_lower")
    expected = convolved(x, weight, pads, strides, dilations, groups) + bias.reshape(-1, *[1] * spatial)
    [result] = run(
        lambda x: mb.conv(
            x=x, weight=weight, bias=bias, strides=strides, dilations=dilations, groups=groups, pad_type=pad_type,
            pad=[amount for pair in pads for amount in pair],
        ),
        {"x": x},
    )  # fmt: skip
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad_type", ["same", "same_lower"])
@pytest.mark.parametrize(("shape", "kernel", "strides", "dilations", "groups"), SHAPES)
def test_conv_of_unknown_size(lower, shape, kernel, strides, dilations, groups, pad_type) -> None:  # type: ignore[no-untyped-def]
    x, weight = noise(*shape), noise(*kernel, seed=1)
    extents = [(size - 1) * rate + 1 for size, rate in zip(kernel[2:], dilations, strict=True)]
    pads = same(shape[2:], extents, strides, pad_type == "same_lower")

    def build(x: Any) -> Any:
        from harness.runtimes.portable.onnx_graph import constant

        return convolution.conv(
            x, constant(weight), strides=tuple(strides), dilations=tuple(dilations), groups=groups, pad_type=pad_type
        )

    expected = convolved(x, weight, pads, strides, dilations, groups)
    np.testing.assert_allclose(lower(build, {"x": x}), expected, rtol=1e-4, atol=1e-5)


def test_conv_with_defaults_and_a_weight_and_bias_that_are_inputs(run: Function) -> None:
    inputs = {"x": noise(1, 2, 6, 5), "w": noise(3, 2, 3, 3, seed=1), "b": noise(3, seed=2)}
    expected = convolved(inputs["x"], inputs["w"], [(0, 0)] * 2, [1, 1], [1, 1]) + inputs["b"].reshape(3, 1, 1)
    [result] = run(lambda x, w, b: mb.conv(x=x, weight=w, bias=b), inputs, target=ct.target.iOS17)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_conv_on_ios15_matches_tensorflow_same_padding(run: Function) -> None:
    x, weight = noise(1, 2, 7, 8), noise(3, 2, 2, 3, seed=1)
    expected = tf.nn.conv2d(x.transpose(0, 2, 3, 1), weight.transpose(2, 3, 1, 0), strides=2, padding="SAME")
    [result] = run(
        lambda x: mb.conv(x=x, weight=weight, strides=[2, 2], pad_type="same"), {"x": x}, target=ct.target.iOS15
    )
    np.testing.assert_allclose(result, np.transpose(expected, (0, 3, 1, 2)), rtol=1e-4, atol=1e-5)


def test_conv_rounds_to_float16(run: Function) -> None:
    x, weight = noise(1, 8, 6, 6), noise(4, 8, 3, 3, seed=1)
    half = [a.astype(np.float16).astype(np.float64) for a in (x, weight)]
    exact = convolved(*half, [(0, 0)] * 2, [1, 1], [1, 1])
    [result] = run(lambda x: mb.conv(x=x, weight=weight), {"x": x}, numerics="float16", precision="float16")
    assert np.array_equal(result, result.astype(np.float16))
    np.testing.assert_allclose(result, exact, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_conv_quantized(channels: int) -> None:
    from harness.runtimes.portable.onnx_graph import OnnxGraph, building
    from harness.runtimes.portable.program import TensorType
    from harness.runtimes.portable.sessions import GraphSession

    random = np.random.default_rng(0)
    x, weight = noise(1, 2, 5, 5), random.integers(0, 16, (3, 2, 3, 3)).astype(np.int32)
    scale, offset = np.full(channels, 0.25, np.float32), np.linspace(-1, 1, channels).astype(np.float32)
    graph = OnnxGraph()
    with building(graph):
        handle = graph.declare("x", TensorType("fp32", x.shape))
        result = convolution.conv_quantized(
            handle, weight, "linear", scale, offset, nbits=4, bias=graph.constant(np.array([1, 2, 3], np.int32))
        )
    [output] = GraphSession(graph, [handle], [result]).run([x])
    plain = weight * scale.reshape(-1, 1, 1, 1) + offset.reshape(-1, 1, 1, 1)
    expected = convolved(x, plain, [(0, 0)] * 2, [1, 1], [1, 1]) + np.array([1, 2, 3]).reshape(3, 1, 1)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
    with building(graph), pytest.raises(HarnessError, match="look-up table"):
        convolution.conv_quantized(handle, weight, "lut", scale, offset)
    with building(graph), pytest.raises(HarnessError, match="3 bits"):
        convolution.conv_quantized(handle, weight, "linear", scale, offset, nbits=3)


def test_conv_quantized_in_a_program(run: Function) -> None:
    x, weight = noise(1, 2, 5, 5), np.random.default_rng(0).integers(0, 255, (3, 2, 3, 3)).astype(np.uint8)
    [result] = run(
        lambda x: mb.conv_quantized(
            x=x, weight=weight, quantization_type="linear", quant_scale=np.float32(0.01), quant_bias=np.float32(-1),
            strides=[2, 1], pad_type="same",
        ),
        {"x": x},
    )  # fmt: skip
    expected = convolved(x, weight * 0.01 - 1, same((5, 5), [3, 3], [2, 1], False), [2, 1], [1, 1])
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


# x, weight, strides, dilations, groups, arguments, crop of each axis (negative: appended)
TRANSPOSED: list[tuple[Any, ...]] = [
    ((1, 2, 5), (2, 3, 4), [2], [1], 1, {}, [(0, 0)]),
    ((1, 4, 5), (4, 2, 3), [3], [2], 2, {"pad_type": "custom", "pad": [1, 2]}, [(1, 2)]),
    ((2, 2, 4, 5), (2, 3, 3, 2), [1, 2], [1, 1], 1, {"pad_type": "same"}, [(1, 1), (0, 0)]),
    ((1, 2, 4, 5), (2, 3, 4, 5), [2, 2], [1, 2], 1, {"pad_type": "same"}, [(1, 1), (3, 4)]),
    ((1, 2, 4, 5), (2, 3, 1, 2), [3, 4], [1, 1], 1, {"pad_type": "same"}, [(0, -2), (0, -2)]),
    (
        (1, 2, 4, 5), (2, 3, 3, 3), [2, 2], [1, 1], 1,
        {"pad_type": "same", "output_shape": [1, 3, 7, 10]}, [(1, 1), (0, 1)],
    ),
    (
        (1, 2, 4, 5), (2, 3, 3, 3), [2, 2], [1, 1], 1,
        {"pad_type": "valid", "output_shape": [1, 3, 10, 11]}, [(0, -1), (0, 0)],
    ),
    (
        (1, 2, 4, 5), (2, 3, 3, 3), [2, 2], [1, 1], 1,
        {"pad_type": "valid", "output_shape": [1, 3, 13, 11]}, [(0, -4), (0, 0)],
    ),
    (
        (1, 2, 4, 5), (2, 3, 3, 3), [2, 2], [1, 1], 1,
        {"pad_type": "custom", "pad": [1, 1, 1, 1], "output_shape": [1, 3, 8, 9]}, [(1, 0), (1, 1)],
    ),
    (
        (1, 2, 3, 4, 2), (2, 2, 2, 3, 2), [2, 1, 2], [1, 1, 1], 1,
        {"pad_type": "custom", "pad": [0, 1, 1, 1, 0, 0]}, [(0, 1), (1, 1), (0, 0)],
    ),
]  # fmt: skip


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("shape", "kernel", "strides", "dilations", "groups", "arguments", "crops"), TRANSPOSED)
def test_conv_transpose(  # type: ignore[no-untyped-def]
    run, shape, kernel, strides, dilations, groups, arguments, crops, with_bias, target
) -> None:
    x, weight = noise(*shape), noise(*kernel, seed=1)
    full = transposed(x, weight, strides, dilations, groups)
    for axis, (begin, end) in enumerate(crops, 2):
        full = np.pad(full, [(0, max(-end, 0) if i == axis else 0) for i in range(full.ndim)])
        full = full.take(range(begin, full.shape[axis] - max(end, 0)), axis=axis)
    more = dict(arguments)
    if with_bias:
        bias = noise(kernel[1] * groups, seed=2)
        full = full + bias.reshape(-1, *[1] * len(strides))
        more["bias"] = bias
    [result] = run(
        lambda x: mb.conv_transpose(x=x, weight=weight, strides=strides, dilations=dilations, groups=groups, **more),
        {"x": x},
        target=target,
    )
    np.testing.assert_allclose(result, full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(4, 3, 2), (5, 2, 2), (3, 4, 3), (6, 3, 1)])
def test_conv_transpose_matches_tensorflow(run: Function, size: int, kernel: int, stride: int) -> None:
    x, weight = noise(1, size, size + 1, 2), noise(kernel, kernel, 3, 2, seed=1)
    shape = [1, size * stride, (size + 1) * stride, 3]
    expected = tf.nn.conv2d_transpose(x, weight, shape, strides=stride, padding="SAME")
    for output_shape in (None, [1, 3, shape[1], shape[2]]):
        [result] = run(
            lambda x, output_shape=output_shape: mb.conv_transpose(
                x=x, weight=weight.transpose(3, 2, 0, 1), strides=[stride] * 2, pad_type="same",
                output_shape=output_shape,
            ),
            {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))},
        )  # fmt: skip
        np.testing.assert_allclose(result, np.transpose(expected, (0, 3, 1, 2)), rtol=1e-4, atol=1e-5)
