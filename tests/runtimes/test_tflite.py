"""The TFLite interpreter as a runtime: names, types and sizes of inputs, and files that it must not see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.artifact import Artifact
from harness.errors import InputError, ModelFileError, PackageError
from harness.quiet import quiet_imports
from harness.runtimes.tflite import TFLiteRuntime
from tests.frontends.tflite.building import Tensor, one_operator

with quiet_imports():
    import tensorflow as tf


def loaded(content: bytes, folder: Path) -> Any:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return TFLiteRuntime().load(Artifact(path, "tflite"), "CPU", "float32")


def converted(function: Callable[..., Any], *specs: Any) -> bytes:
    concrete = tf.function(function, input_signature=specs).get_concrete_function()
    content: bytes = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()
    return content


def test_inputs_by_name(tmp_path: Path) -> None:
    content = converted(
        lambda first, second: first - 2 * second,
        tf.TensorSpec((2, 3), name="first"),
        tf.TensorSpec((2, 3), name="second"),
    )
    first, second = np.ones((2, 3), np.float32), np.full((2, 3), 5, np.float32)
    (output,) = loaded(content, tmp_path).predict({"second": second, "first": first}).values()
    np.testing.assert_array_equal(output, np.full((2, 3), -9))


def test_flexible_inputs_are_resized(tmp_path: Path) -> None:
    model = loaded(converted(lambda x: tf.reduce_sum(x, 1), tf.TensorSpec((None, None), name="x")), tmp_path)
    for shape in ((2, 3), (5, 1), (1, 7)):
        (output,) = model.predict({"x": np.ones(shape, np.float32)}).values()
        np.testing.assert_array_equal(output, np.full(shape[0], shape[1]))


def test_integers_of_a_quantised_model(tmp_path: Path) -> None:
    grid = {"dtype": "int8", "scales": (0.5,), "zero_points": (3,)}
    model = loaded(one_operator("RELU", [Tensor((4,), **grid)], [Tensor((4,), **grid)], version=2), tmp_path)
    (output,) = model.predict({"input_0": np.array([-128, 2, 3, 127], np.int8)}).values()
    assert output.dtype == np.int8
    assert output.tolist() == [3, 3, 3, 127]
    with pytest.raises(InputError):
        model.predict({"input_0": np.zeros(4, np.float32)})


def test_reference_kernels_whose_table_names_an_older_version(tmp_path: Path) -> None:
    grid = {"dtype": "int8", "scales": (0.5,), "zero_points": (3,)}
    shapes = (1, 1, 1, 4), (1, 2, 2, 1)
    content = one_operator(
        "DEPTH_TO_SPACE", [Tensor(shapes[0], **grid)], [Tensor(shapes[1], **grid)], version=2, options={"block_size": 2}
    )
    kinds = tf.lite.experimental.OpResolverType
    with pytest.raises(ValueError, match="version '2'"):
        tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=kinds.BUILTIN_REF)
    asked = []
    interpreter = tf.lite.Interpreter

    def noted(**keywords: Any) -> Any:
        asked.append(keywords["experimental_op_resolver_type"])
        return interpreter(**keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.lite, "Interpreter", noted)
        model = loaded(content, tmp_path)
    (output,) = model.predict({"input_0": np.array([1, 2, 3, 4], np.int8).reshape(shapes[0])}).values()
    assert output.reshape(-1).tolist() == [1, 2, 3, 4]
    assert asked == [kinds.BUILTIN_REF] * 2
    assert (tmp_path / "model.tflite").read_bytes() == content


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    model = loaded(converted(lambda x: x + 1.0, tf.TensorSpec((2, 3), name="x")), tmp_path)
    for inputs in ({}, {"y": np.zeros((2, 3), np.float32)}, {"x": np.zeros((3, 2), np.float32)}):
        with pytest.raises(InputError):
            model.predict(inputs)


def test_a_damaged_file_does_not_reach_native_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(converted(lambda x: x + 1.0, tf.TensorSpec((2, 3), name="x")))
    content[0:4] = (2**31 - 1).to_bytes(4, "little")

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the interpreter was asked")

    monkeypatch.setattr(tf.lite, "Interpreter", fail)
    with pytest.raises(ModelFileError):
        loaded(bytes(content), tmp_path)
    with pytest.raises(PackageError):
        TFLiteRuntime().load(Artifact(tmp_path / "model.tflite", "onnx"), "CPU", "float32")
