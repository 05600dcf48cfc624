"""Programs in few bytes: the same results, and coremltools reads them back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.frontends.builder import mb
from harness.frontends.program import ProgramBuilder, write_program
from harness.runtimes import portable
from harness.tensors import TensorSpec

X = np.random.default_rng(0).normal(size=(1, 16, 4, 4)).astype(np.float32)
WEIGHT = np.random.default_rng(1).normal(size=(16, 16, 3, 3)).astype(np.float32)
SLOPES = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 16, 1, 1)


def build(path: Path) -> Any:
    builder = ProgramBuilder([TensorSpec("x", X.shape)])
    with builder.building() as given:
        bias = np.arange(16, dtype=np.float32)
        y = mb.conv(x=given["x"], weight=WEIGHT, bias=bias, pad_type="same", strides=[1, 1])
        y = mb.mul(x=y, y=SLOPES)
        y = mb.dequantize(
            input=mb.quantize(
                input=y, scale=np.full(16, 0.5, np.float32), zero_point=np.full(16, 3, np.int8), axis=1,
                output_dtype="int8",
            ),
            scale=np.float32(0.5), zero_point=np.int8(3),
        )  # fmt: skip
        above = mb.greater(x=mb.reduce_sum(x=y, keep_dims=False), y=np.float32(0))
        y = mb.cond(
            pred=above,
            _true_fn=lambda: mb.add(x=y, y=np.float32(7)),
            _false_fn=lambda: mb.mul(
                x=mb.concat(
                    values=[
                        mb.slice_by_size(x=y, begin=[0] * 4, size=[1, 16, 2, 4]),
                        np.zeros((1, 16, 2, 4), np.float32),
                    ],
                    axis=2,
                ),
                y=np.float32(2),
            ),
        )
        same = mb.const(val=SLOPES)
        builder.finish({"y": y, "slopes": same})
    return write_program(builder, "float32", path, {}, "a model")


def operations_of(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from operations_of(inner)


def test_constants_are_written_where_they_are_read(tmp_path: Path) -> None:
    from coremltools.models.utils import load_spec

    path = build(tmp_path / "a.mlpackage").path
    block = load_spec(str(path)).mlProgram.functions["main"].block_specializations["CoreML7"]
    operations = list(operations_of(block))
    constants = [operation for operation in operations if operation.type == "const"]
    # The convolution's weight, what a list holds beside values, and what the program returns.
    assert [[size.constant.size for size in each.outputs[0].type.tensorType.dimensions] for each in constants] == [
        [16, 16, 3, 3], [1, 16, 2, 4], [1, 16, 1, 1]
    ]  # fmt: skip
    assert all("name" in operation.attributes for operation in constants)
    assert not any("name" in each.attributes for each in operations if each.type in ("quantize", "mul", "dequantize"))
    quantize = next(operation for operation in operations if operation.type == "quantize")
    assert list(quantize.inputs["scale"].arguments[0].value.immediateValue.tensor.floats.values) == [0.5] * 16
    stored = (path / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert stored == 64 + 64 + WEIGHT.nbytes


@pytest.mark.parametrize("sign", [1, -1])
def test_results_are_the_same(sign: int, tmp_path: Path) -> None:
    path = build(tmp_path / "a.mlpackage").path
    result = portable.load(path).predict({"x": sign * X})
    padded = np.pad(sign * X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    y = np.einsum("nihwkl,oikl->nohw", windows, WEIGHT) + np.arange(16).reshape(1, -1, 1, 1)
    y = 0.5 * (np.clip(np.round(y * SLOPES / 0.5) + 3, -128, 127) - 3)
    expected = y + 7 if y.sum() > 0 else 2 * np.concatenate([y[:, :, :2], np.zeros((1, 16, 2, 4))], 2)
    assert result["y"].shape == expected.shape
    assert np.mean(np.abs(result["y"] - expected) < 1e-4) > 0.99  # halves may round either way
    assert np.array_equal(result["slopes"], SLOPES)


def test_coremltools_reads_it_back(tmp_path: Path) -> None:
    from coremltools.converters.mil.frontend.milproto.load import load
    from coremltools.models.utils import load_spec

    path = build(tmp_path / "a.mlpackage").path
    specification = load_spec(str(path))
    weights = str(path / "Data/com.apple.CoreML/weights")
    program = load(specification, specification.specificationVersion, weights)
    function = program.functions["main"]
    convolution = function.find_ops(op_type="conv")[0]
    assert np.allclose(convolution.weight.val, WEIGHT * SLOPES.reshape(-1, 1, 1, 1))
    assert np.allclose(convolution.bias.val, np.arange(16) * SLOPES.reshape(-1))
    quantize = function.find_ops(op_type="quantize")[0]
    assert quantize.zero_point.val.dtype == np.int8
    assert quantize.zero_point.val.tolist() == [3] * 16
