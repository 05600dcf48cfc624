from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.quiet import quiet_imports

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

from tests.runtimes.portable.conftest import Run

X = np.random.default_rng(0).uniform(-30, 30, (2, 3, 4)).astype(np.float32)
X[0, 0] = [2.5, 3.5, -2.5, 1e6]  # halves, and beyond every range
SCALES = np.array([0.25, 0.5, 2], np.float32)
RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def along(parameter: Any, axis: int | None) -> Any:
    return parameter if axis is None else np.reshape(parameter, [-1 if i == axis % 3 else 1 for i in range(3)])


CASES = [
    ({"scale": np.float32(0.3)}, None),
    ({"scale": np.float32(1)}, None),
    ({"scale": np.float32(0.3), "zero_point": 17}, None),
    ({"scale": SCALES, "axis": 1}, 1),
    ({"scale": SCALES, "axis": -2, "zero_point": [3, 0, 100]}, -2),
]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize(("options", "axis"), CASES)
def test_quantize(run: Run, dtype: str, options: dict[str, Any], axis: int | None) -> None:
    given = {**options, **({"zero_point": np.array(options["zero_point"], dtype)} if "zero_point" in options else {})}
    (result,) = run(
        lambda x: mb.cast(x=mb.quantize(input=x, output_dtype=dtype, **given), dtype="int32"),
        {"x": X}, target=ct.target.iOS17,
    )  # fmt: skip
    scaled = X / along(options["scale"], axis)
    expected = np.clip(np.round(scaled) + along(options.get("zero_point", 0), axis), *RANGES[dtype])
    np.testing.assert_array_equal(result, expected)


def test_halves_are_rounded_to_even(run: Run) -> None:
    (result,) = run(
        lambda x: mb.cast(x=mb.quantize(input=x, scale=np.float32(1), output_dtype="int8"), dtype="int32"), {"x": X}
    )
    np.testing.assert_array_equal(result[0, 0], [2, 4, -2, 127])


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize(("options", "axis"), CASES)
def test_dequantize(run: Run, dtype: str, options: dict[str, Any], axis: int | None) -> None:
    given = {**options, **({"zero_point": np.array(options["zero_point"], dtype)} if "zero_point" in options else {})}
    integers = np.random.default_rng(1).integers(*RANGES[dtype], (2, 3, 4), endpoint=True).astype(np.int32)
    (result,) = run(
        lambda x: mb.dequantize(input=mb.cast(x=x, dtype=dtype), **given), {"x": integers}, target=ct.target.iOS17
    )
    expected = along(options["scale"], axis) * (integers - along(options.get("zero_point", 0), axis)).astype(np.float64)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_float16(run: Run) -> None:
    (result,) = run(
        lambda x: mb.dequantize(
            input=mb.quantize(input=x, scale=np.float32(0.3), output_dtype="int8"), scale=np.float32(0.3)
        ),
        {"x": X}, numerics="float16", precision="float16",
    )  # fmt: skip
    scale = float(np.float16(0.3))
    half = np.minimum(X, 1000).astype(np.float16).astype(np.float64)
    expected = np.clip(np.round(half / scale), -128, 127) * scale
    np.testing.assert_array_equal(result, expected.astype(np.float16).astype(np.float32))


def test_sizes_known_when_it_runs(lower: Any) -> None:
    from harness.runtimes.portable.onnx_graph import constant
    from harness.runtimes.portable.ops.quantization import quantize

    result = lower(lambda x: quantize(x, constant(SCALES), "uint8", axis=-2), {"x": X})
    np.testing.assert_array_equal(result, np.clip(np.round(X / along(SCALES, 1)), 0, 255))
    with pytest.raises(PredictionError, match="unknown type to quantize to"):
        lower(lambda x: quantize(x, constant(SCALES), "int4"), {"x": X})
