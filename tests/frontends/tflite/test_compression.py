"""Weights that take fewer bytes than their numbers do: their size in the package, and what is computed with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.artifact import Artifact
from harness.case import find_case
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.inspection import count_operations
from harness.quiet import quiet_imports
from harness.runtimes import portable
from tests.frontends.tflite.building import Tensor, constant, one_operator

with quiet_imports():
    import keras
    import tensorflow as tf

RANDOM = np.random.default_rng(4)


def interpreted(content: bytes, x: Any) -> Any:
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_REF
    interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def converted(content: bytes, precision: str, folder: Path, target: str | None = None) -> Artifact:
    path = folder / f"{precision}.mlpackage"
    return convert_tflite(parse_graph(content, "model"), precision, path, target=target)


def predicted(artifact: Artifact, x: Any) -> Any:
    (found,) = portable.load(artifact.path).predict({artifact.inputs[0].name: x}).values()
    return found


@pytest.mark.parametrize(
    ("name", "ends"),
    [("unet_custom_activation", tf.float32), ("unet_custom_activation", tf.int8), ("super_resolution", tf.int8)],
)
def test_int8_models_take_no_more_than_the_file(name: str, ends: Any, tmp_path: Path) -> None:
    model = find_case(name, Path("models")).build()
    shape = [1, *(size or 64 for size in model.inputs[0].shape[1:])]
    image = keras.Input(batch_shape=tuple(shape), name="image")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, model(image)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([RANDOM.random(shape, np.float32)] for _ in range(2))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = ends
    content = converter.convert()
    for precision in ("float32", "float16"):
        assert converted(content, precision, tmp_path).size_bytes <= 1.1 * len(content), precision


def pruned(x: Any) -> Any:
    kernel = RANDOM.normal(size=(3, 3, 16, 32)).astype(np.float32)
    matrix = RANDOM.normal(size=(32, 64)).astype(np.float32)
    for weight in (kernel, matrix):
        weight[np.abs(weight) < 1.3] = 0
    y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))
    return tf.matmul(tf.reduce_mean(y, (1, 2)), matrix)


@pytest.mark.parametrize(("half", "target"), [(False, "iOS17"), (True, "iOS17"), (True, "iOS18")])
def test_sparse_weights(half: bool, target: str, tmp_path: Path) -> None:
    function = tf.function(pruned).get_concrete_function(tf.TensorSpec((1, 8, 8, 16)))
    sizes = {}
    for is_sparse in (False, True):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if half else []
        converter.optimizations += [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if is_sparse else []
        converter.target_spec.supported_types = [tf.float16] if half else []
        content = converter.convert()
        for precision in ("float32", "float16"):
            artifact = converted(content, precision, tmp_path, target)
            sizes[is_sparse, precision] = artifact.size_bytes
            assert count_operations(artifact.path)["constexpr_sparse_to_dense"] == (2 if is_sparse else 0)
            x = RANDOM.normal(size=(1, 8, 8, 16)).astype(np.float32)
            expected = interpreted(content, x)
            tolerance = 1e-5 if precision == "float32" or half else 1e-3
            assert np.abs(predicted(artifact, x) - expected).max() < tolerance * np.ptp(expected)
    assert sizes[True, "float32"] < 0.7 * sizes[False, "float32"]
    assert sizes[True, "float16"] < 0.5 * sizes[False, "float16"]


STEPS = {"scales": (0.04,), "zero_points": (3,)}
WEIGHTS = RANDOM.integers(-7, 8, (32, 64))
BIAS = RANDOM.integers(-500, 500, 32)


def dense_layer(dtype: str, scales: tuple[float, ...]) -> bytes:
    """Of int8 activations and weights of four bits."""
    zero_points = (0,) * len(scales)
    return one_operator(
        "FULLY_CONNECTED",
        [
            Tensor((2, 64), "int8", **STEPS),
            Tensor((32, 64), dtype, WEIGHTS, scales, zero_points),
            Tensor((32,), "int32", BIAS, tuple(0.04 * scale for scale in scales), zero_points),
        ],
        [Tensor((2, 32), "int8", scales=(0.11,), zero_points=(-5,))],
        {"keep_num_dims": False},
        version=10,
    )  # fmt: skip


@pytest.mark.parametrize("scales", [(0.02,), tuple(np.linspace(0.005, 0.03, 32))])
@pytest.mark.parametrize(("precision", "target"), [("float32", "iOS17"), ("float16", "iOS17"), ("float32", "iOS18")])
def test_weights_of_four_bits(precision: str, target: str, scales: tuple[float, ...], tmp_path: Path) -> None:
    artifact = converted(dense_layer("int4", scales), precision, tmp_path, target)
    assert count_operations(artifact.path)["constexpr_lut_to_dense"] == 1
    stored = sum(file.stat().st_size for file in artifact.path.rglob("weight.bin"))
    assert stored == 64 + 64 + WEIGHTS.size // 2
    x = RANDOM.integers(-128, 128, (2, 64))
    # The same integers as int8, which the interpreter's reference kernels know for all scales.
    expected = interpreted(dense_layer("int8", scales), x.astype(np.int8)).astype(np.int32)
    difference = np.abs(predicted(artifact, x.astype(np.int32)) - expected)
    assert difference.max() <= (0 if precision == "float32" else 1)
    assert np.ptp(expected) > 50


def test_weights_of_four_bits_of_real_numbers(tmp_path: Path) -> None:
    scales = tuple(np.linspace(0.01, 0.2, 32))
    bias = RANDOM.normal(size=32)
    content = one_operator(
        "FULLY_CONNECTED",
        [Tensor((2, 64)), Tensor((32, 64), "int4", WEIGHTS, scales, (0,) * 32), constant(bias)],
        [Tensor((2, 32))],
        {"fused_activation_function": 1},
        version=10,
    )
    artifact = converted(content, "float32", tmp_path)
    assert count_operations(artifact.path)["constexpr_lut_to_dense"] == 1
    x = RANDOM.normal(size=(2, 64)).astype(np.float32)
    expected = np.maximum(x @ (WEIGHTS * np.array(scales)[:, None]).T + bias, 0)
    np.testing.assert_allclose(predicted(artifact, x), expected, atol=1e-4)
    assert expected.max() > 1


# A factor, its scale and the result's: halves, negative factors, identity, results beyond the type.
FACTORS = [
    (100, 0.01, 0.05),
    (255, 1 / 255, 0.05),
    (64, 0.0078125, 0.05),
    (-77, 0.013, 0.04),
    (3, 0.5, 0.21),
    (1, 0.7, 0.05),
]


@pytest.mark.parametrize("zero_point", [-128, 3])
@pytest.mark.parametrize(("factor", "scale", "result"), FACTORS)
def test_a_number_times_every_value(factor: int, scale: float, result: float, zero_point: int, tmp_path: Path) -> None:
    values = factor if factor < 128 else factor - 128
    content = one_operator(
        "MUL",
        [
            Tensor((256,), "int8", scales=(0.05,), zero_points=(3,)),
            Tensor((1,), "int8", [values], (scale,), (values - factor,)),
        ],
        [Tensor((256,), "int8", scales=(result,), zero_points=(zero_point,))],
    )
    x = np.arange(-128, 128, dtype=np.int8)
    found = predicted(converted(content, "float32", tmp_path), x.astype(np.int32))
    expected = interpreted(content, x)
    assert np.array_equal(found, expected)
    assert np.ptp(expected.astype(int)) > 40
