"""MediaPipe's custom operators, against models of its kernels: the interpreter in TensorFlow lacks them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import ConversionError
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.runtimes import portable
from tests.frontends.tflite.building import Tensor, constant, one_operator

RANDOM = np.random.default_rng(17)
PADDINGS = {"SAME": 1, "VALID": 2}
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU6": 3}


def pool_parameters(padding: str, strides: tuple[int, int], kernel: tuple[int, int], activation: str = "NONE") -> bytes:
    """TfLitePoolParams, with what a kernel would compute left at zero."""
    return struct.pack("<10i", PADDINGS[padding], *strides[::-1], *kernel[::-1], ACTIVATIONS[activation], 0, 0, 0, 0)


def run(content: bytes, folder: Path, *inputs: Any) -> list[Any]:
    artifact = convert_tflite(parse_graph(content, "model"), "float32", folder / "a.mlpackage")
    given = {f"input_{index}": value for index, value in enumerate(inputs)}
    outputs = portable.load(artifact.path).predict(given)
    return [outputs[name] for name in artifact.output_names.values()]


def pooled(x: Any, padding: str, strides: tuple[int, int], kernel: tuple[int, int], activation: str) -> Any:
    sizes, begins = [], []
    for size, stride, extent in zip(x.shape[1:3], strides, kernel, strict=True):
        out = -(-size // stride) if padding == "SAME" else (size - extent + stride) // stride
        sizes.append(out)
        begins.append(max(0, (out - 1) * stride + extent - size) // 2)
    values = np.empty((x.shape[0], *sizes, x.shape[3]), np.float32)
    indices = np.empty_like(values)
    for batch, row, column, channel in np.ndindex(*values.shape):
        best, place = -np.inf, (0, 0)
        for fy, fx in np.ndindex(*kernel):
            y, x_ = row * strides[0] - begins[0] + fy, column * strides[1] - begins[1] + fx
            if 0 <= y < x.shape[1] and 0 <= x_ < x.shape[2] and x[batch, y, x_, channel] > best:
                best, place = x[batch, y, x_, channel], (fy, fx)
        low, high = {"NONE": (-np.inf, np.inf), "RELU": (0, np.inf), "RELU6": (0, 6)}[activation]
        values[batch, row, column, channel] = np.clip(best, low, high)
        indices[batch, row, column, channel] = np.float32(place[0] * kernel[1] + place[1]) + np.float32(0.1)
    return values, indices


def unpooled(x: Any, indices: Any, strides: tuple[int, int], kernel: tuple[int, int]) -> Any:
    sizes = [size * extent for size, extent in zip(x.shape[1:3], kernel, strict=True)]
    begins = [
        max(0, (size - 1) * stride + extent - out) // 2
        for size, stride, extent, out in zip(x.shape[1:3], strides, kernel, sizes, strict=True)
    ]
    result = np.zeros((x.shape[0], *sizes, x.shape[3]), np.float32)
    for batch, row, column, channel in np.ndindex(*x.shape):
        fy, fx = divmod(int(indices[batch, row, column, channel]), kernel[1])
        y, x_ = row * strides[0] - begins[0] + fy, column * strides[1] - begins[1] + fx
        if 0 <= y < sizes[0] and 0 <= x_ < sizes[1]:
            result[batch, y, x_, channel] = x[batch, row, column, channel]
    return result


@pytest.mark.parametrize(
    ("padding", "strides", "kernel", "activation"),
    [
        ("VALID", (2, 2), (2, 2), "NONE"),
        ("SAME", (2, 2), (2, 2), "RELU"),
        ("SAME", (2, 3), (3, 2), "NONE"),
        ("VALID", (1, 2), (3, 2), "RELU6"),
        ("SAME", (3, 3), (2, 2), "NONE"),
    ],
)
def test_pooling_with_places(
    padding: str, strides: tuple[int, int], kernel: tuple[int, int], activation: str, tmp_path: Path
) -> None:
    # Whole numbers, so that windows have several greatest: the first counts.
    x = RANDOM.integers(-4, 9, (2, 7, 6, 3)).astype(np.float32)
    values, indices = pooled(x, padding, strides, kernel, activation)
    content = one_operator(
        "MaxPoolingWithArgmax2D", [Tensor(x.shape)], [Tensor(values.shape), Tensor(values.shape)],
        custom_options=pool_parameters(padding, strides, kernel, activation),
    )  # fmt: skip
    found = run(content, tmp_path, x)
    np.testing.assert_array_equal(found[0], values)
    np.testing.assert_allclose(found[1], indices, atol=1e-6)
    assert len(np.unique(indices)) > 2


@pytest.mark.parametrize(
    ("strides", "kernel"), [((2, 2), (2, 2)), ((3, 2), (3, 2)), ((1, 1), (2, 2)), ((2, 1), (3, 2)), ((3, 3), (2, 2))]
)
def test_unpooling(strides: tuple[int, int], kernel: tuple[int, int], tmp_path: Path) -> None:
    x = RANDOM.normal(size=(2, 4, 3, 5)).astype(np.float32)
    indices = RANDOM.integers(0, kernel[0] * kernel[1], x.shape).astype(np.float32) + np.float32(0.1)
    expected = unpooled(x, indices, strides, kernel)
    content = one_operator(
        "MaxUnpooling2D", [Tensor(x.shape), Tensor(x.shape)], [Tensor(expected.shape)],
        custom_options=pool_parameters("SAME", strides, kernel),
    )  # fmt: skip
    np.testing.assert_array_equal(run(content, tmp_path, x, indices)[0], expected)
    assert 0 < (expected != 0).mean() < 1


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("size", "strides", "extent"), [((5, 4), (2, 2), (3, 3)), ((4, 7), (2, 3), (2, 5)), ((4, 4), (3, 3), (2, 2))]
)
def test_transposed_convolution_with_bias(
    padding: str, size: tuple[int, int], strides: tuple[int, int], extent: tuple[int, int], tmp_path: Path
) -> None:
    x = RANDOM.normal(size=(2, *size, 3)).astype(np.float32)
    weight = RANDOM.normal(size=(4, *extent, 3)).astype(np.float32)
    bias = RANDOM.normal(size=4).astype(np.float32)
    cuts = [
        max(0, reach - (given - 1) % stride - 1) if padding == "SAME" else 0
        for given, reach, stride in zip(size, extent, strides, strict=True)
    ]
    sizes = [
        stride * (given - 1) + reach - cut
        for given, reach, stride, cut in zip(size, extent, strides, cuts, strict=True)
    ]
    whole = np.zeros((2, 64, 64, 4))
    for row, column in np.ndindex(*size):
        y, x_ = 32 + row * strides[0] - cuts[0] // 2, 32 + column * strides[1] - cuts[1] // 2
        part = np.einsum("nc,ohwc->nhwo", x[:, row, column], weight)
        whole[:, y : y + extent[0], x_ : x_ + extent[1]] += part
    expected = whole[:, 32 : 32 + sizes[0], 32 : 32 + sizes[1]] + bias
    content = one_operator(
        "Convolution2DTransposeBias", [Tensor(x.shape), constant(weight), constant(bias)], [Tensor(expected.shape)],
        custom_options=struct.pack("<3i", PADDINGS[padding], *strides[::-1]),
    )  # fmt: skip
    np.testing.assert_allclose(run(content, tmp_path, x)[0], expected, atol=1e-4)


@pytest.mark.parametrize("operator", ["MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Convolution2DTransposeBias"])
@pytest.mark.parametrize("options", [b"", b"\1\0\0", bytes(40), struct.pack("<10i", 7, 1, 1, 2, 2, 9, 0, 0, 0, 0)])
def test_options_that_make_no_sense_are_refused(operator: str, options: bytes, tmp_path: Path) -> None:
    shape = (1, 4, 4, 2)
    second = {"MaxUnpooling2D": [Tensor(shape)], "Convolution2DTransposeBias": [constant(np.ones((2, 2, 2, 2)))]}
    inputs = [Tensor(shape), *second.get(operator, [])]
    outputs = [Tensor(shape)] * (2 if operator == "MaxPoolingWithArgmax2D" else 1)
    content = one_operator(operator, inputs, outputs, custom_options=options)
    with pytest.raises(ConversionError, match=operator):
        convert_tflite(parse_graph(content, "model"), "float32", tmp_path / "a.mlpackage")
