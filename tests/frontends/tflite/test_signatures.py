"""Several ways of calling a model, several inputs and outputs, and shapes that are only known when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.artifact import Artifact
from harness.case import find_case
from harness.errors import InputError, UnknownNameError
from harness.frontends.program import InputRange
from harness.frontends.tflite.convert import convert_tflite
from harness.inputs import prepare
from harness.quiet import quiet_imports
from harness.routes.tflite import TFLiteRoute
from harness.runtimes import portable
from harness.runtimes.tflite import TFLiteRuntime

with quiet_imports():
    import tensorflow as tf

RANDOM = np.random.default_rng(9)
KERNEL = RANDOM.normal(0, 0.3, (3, 3, 3, 4)).astype(np.float32)
BACKWARDS = RANDOM.normal(0, 0.3, (2, 2, 5, 4)).astype(np.float32)
DENSE = RANDOM.normal(0, 0.3, (4, 6)).astype(np.float32)


class Calls(tf.Module):  # type: ignore[misc]
    """Three signatures, one of which has names that Core ML does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(DENSE)

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32), tf.TensorSpec((1, 4), tf.float32)])
    def scaled(self, b: Any, a: Any) -> dict[str, Any]:
        return {"sum": tf.matmul(a + 2 * b, self.weight), "difference": a - 3 * b}

    @tf.function(input_signature=[tf.TensorSpec((1, 6), tf.float32, name="x")])
    def back(self, x: Any) -> dict[str, Any]:
        return {"x": tf.matmul(x, self.weight, transpose_b=True)}

    @tf.function(input_signature=[tf.TensorSpec((2, 3), tf.int32, name="x")])
    def doubled(self, x: Any) -> dict[str, Any]:
        return {"0": x * 2, "0:1": x + 1}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    module = Calls()
    functions = {"scaled": module.scaled, "back": module.back, "doubled": module.doubled}
    tf.saved_model.save(module, str(folder / "saved"), signatures=functions)
    path = folder / "calls.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert())
    return path


SIGNATURES = {
    "scaled": {"a": (1, 4), "b": (1, 4)},
    "back": {"x": (1, 6)},
    "doubled": {"x": (2, 3)},
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str, calls: Path, tmp_path: Path) -> None:
    source = prepare_source(f"{calls}@{name}", SIGNATURES[name], tmp_path)
    artifact = TFLiteRoute().convert(source.source, "float32", tmp_path / "a.mlpackage")
    expected = source.reference().predict(source.inputs)
    found = portable.load(artifact.path).predict(
        {artifact.input_names[key]: value for key, value in source.inputs.items()}
    )
    assert set(expected) == set(artifact.output_names)
    for key, value in expected.items():
        np.testing.assert_allclose(found[artifact.output_names[key]], value, atol=1e-5)
        assert np.abs(value).max() > 0.1  # zeros would fail


def prepare_source(argument: str, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> Any:
    """The model and inputs that ``--inputs`` would give it."""
    case = find_case(argument, Path("models"))
    dtype = np.int32 if argument.endswith("doubled") else np.float32
    files = []
    for key, shape in shapes.items():
        np.save(folder / f"{key}.npy", (RANDOM.normal(size=shape) * 9).astype(dtype))
        files.append(folder / f"{key}.npy")
    return prepare(case, tuple(files))


def test_a_signature_must_be_one_that_there_is(calls: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="back, doubled, scaled"):
        prepare(find_case(f"{calls}@forth", Path("models")))
    with pytest.raises(UnknownNameError, match="MODEL@SIGNATURE"):
        prepare(find_case(str(calls), Path("models")))


def _network(x: Any) -> Any:
    y = tf.nn.relu(tf.nn.conv2d(x, KERNEL, 2, "SAME"))
    return y * tf.sigmoid(tf.reduce_mean(y, (1, 2), keepdims=True)) + tf.reduce_max(y, 3, keepdims=True)


def _split(x: Any) -> Any:
    parts = tf.split(tf.nn.conv2d(x, KERNEL, 1, "VALID"), 2, 3)
    return tf.pad(tf.concat(parts[::-1], 3), ((0, 0), (1, 0), (0, 2), (0, 0)))


def _flattened(x: Any) -> Any:
    y = tf.reduce_mean(tf.nn.conv2d(x, KERNEL, 2, "SAME"), (1, 2))
    return tf.nn.softmax(tf.reshape(tf.matmul(y, DENSE), (tf.shape(x)[0], 2, 3)))


def _upsampled(x: Any) -> Any:
    y = tf.nn.conv2d(x, KERNEL, 2, "SAME")
    return tf.image.resize(y, tf.shape(x)[1:3]) + tf.image.resize(y, tf.shape(x)[1:3], "nearest")


def _transposed(x: Any) -> Any:
    y = tf.nn.conv2d(x, KERNEL, 2, "SAME")
    shape = tf.shape(y)
    return tf.nn.conv2d_transpose(y, BACKWARDS, tf.stack([shape[0], shape[1] * 2, shape[2] * 2, 5]), 2, "SAME")


def _pixels(x: Any) -> Any:
    y = tf.nn.conv2d(x, KERNEL, 1, "SAME")
    return tf.nn.depth_to_space(y, 2)[:, 1:-1, ::2] + 1


def _tokens(x: Any) -> Any:
    y = tf.nn.conv2d(x, KERNEL, 2, "SAME")
    tokens = tf.reshape(y, (tf.shape(y)[0], -1, 4))
    return tf.matmul(tf.nn.softmax(tf.matmul(tokens, tokens, transpose_b=True)), tokens)


def _masked(x: Any) -> Any:
    return tf.where(x[:, 0, 0, 0] > 0, 2.0, -1.0)[:, None] * tf.reduce_mean(x, (1, 2))


def _pooled_tokens(x: Any) -> Any:
    """A size that is picked from a shape and a mean along axis 1 have the same number as a constant."""
    tokens = tf.reshape(tf.nn.relu(x), (tf.shape(x)[0], 16, 3))
    return tf.reduce_mean(tf.nn.softmax(tokens), 1)


# Networks, the shape that they are declared with, and shapes that they are called with.
FLEXIBLE: dict[str, tuple[Callable[[Any], Any], tuple[int | None, ...], list[tuple[int, ...]]]] = {
    "batch": (_network, (None, 8, 8, 3), [(1, 8, 8, 3), (3, 8, 8, 3)]),
    "places": (_network, (1, None, None, 3), [(1, 8, 8, 3), (1, 11, 14, 3)]),
    "everything but channels": (_network, (None, None, None, 3), [(2, 9, 7, 3)]),
    "split of places": (_split, (1, None, None, 3), [(1, 8, 8, 3), (1, 9, 12, 3)]),
    "classified batch": (_flattened, (None, 8, 8, 3), [(1, 8, 8, 3), (4, 8, 8, 3)]),
    "classified places": (_flattened, (1, None, None, 3), [(1, 10, 6, 3)]),
    "resized to the input's size": (_upsampled, (1, None, None, 3), [(1, 8, 8, 3), (1, 12, 20, 3)]),
    "transposed convolution": (_transposed, (1, None, None, 3), [(1, 8, 8, 3), (1, 12, 20, 3)]),
    "pixels": (_pixels, (None, None, None, 3), [(1, 6, 8, 3), (2, 7, 9, 3)]),
    "numbers that a batch chooses": (_masked, (None, 4, 4, 3), [(1, 4, 4, 3), (5, 4, 4, 3)]),
    "pooled tokens": (_pooled_tokens, (None, 4, 4, 3), [(1, 4, 4, 3), (3, 4, 4, 3)]),
    "attention": (_tokens, (None, 8, None, 3), [(1, 8, 8, 3), (2, 8, 6, 3)]),
}


@pytest.mark.parametrize("name", FLEXIBLE)
def test_flexible_shapes(name: str, tmp_path: Path) -> None:
    network, declared, shapes = FLEXIBLE[name]
    concrete = tf.function(network, input_signature=[tf.TensorSpec(declared, tf.float32, name="x")])
    path = tmp_path / "a.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete.get_concrete_function()]).convert())
    artifact = convert_tflite(path, "float32", tmp_path / "a.mlpackage")
    interpreter, model = TFLiteRuntime().load(Artifact(path, "tflite"), "CPU", "float32"), portable.load(artifact.path)
    for shape in shapes:
        x = RANDOM.normal(size=shape).astype(np.float32)
        (expected,) = interpreter.predict({"x": x}).values()
        (found,) = model.predict({"x": x}).values()
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert np.abs(expected).max() > 1e-2  # zeros would fail


def test_ranges(tmp_path: Path) -> None:
    concrete = tf.function(_network, input_signature=[tf.TensorSpec((1, None, None, 3), tf.float32, name="x")])
    path = tmp_path / "a.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete.get_concrete_function()]).convert())
    ranges = {("x", 1): InputRange(4, 16), ("x", 2): InputRange(4, 16)}
    model = portable.load(convert_tflite(path, "float32", tmp_path / "a.mlpackage", ranges=ranges).path)
    model.predict({"x": np.zeros((1, 16, 4, 3), np.float32)})
    with pytest.raises(InputError):
        model.predict({"x": np.zeros((1, 17, 4, 3), np.float32)})
    with pytest.raises(UnknownNameError, match="no such input"):
        convert_tflite(path, "float32", tmp_path / "b.mlpackage", ranges={("y", 1): InputRange(4, 16)})
