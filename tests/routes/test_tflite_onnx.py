"""The second way through TensorFlow Lite: the zoo, files, and what stands in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.case import discover
from harness.errors import ConversionError, UnsupportedError
from harness.inputs import prepare
from harness.quiet import quiet_imports
from harness.routes.tflite import tflite_bytes
from harness.routes.tflite_onnx import TFLiteOnnxRoute
from harness.runtimes import portable
from harness.runtimes.tflite import open_tflite
from tests.frontends.tflite.building import Tensor, one_operator

with quiet_imports():
    import tensorflow as tf

MODELS = discover(Path(__file__).parents[2] / "models")


def by_source(artifact: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = portable.load(artifact.path).predict(
        {artifact.input_names[name]: value for name, value in inputs.items()}
    )
    return {name: outputs[feature] for name, feature in artifact.output_names.items()}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_zoo(name: str, tmp_path: Path) -> None:
    prepared = prepare(MODELS[name])
    expected = prepared.reference().predict(prepared.inputs)
    artifact = TFLiteOnnxRoute().convert(prepared.source, "float32", tmp_path / "a.mlpackage")
    found = by_source(artifact, prepared.inputs)
    assert found.keys() == expected.keys()
    for output, value in expected.items():
        np.testing.assert_allclose(found[output], value, atol=1e-4)
        assert np.std(value) > 0.05


def file_of(function: Any, folder: Path, *names: str) -> Any:
    specs = [tf.TensorSpec((1, 4, 6), name=name) for name in names]
    concrete = tf.function(function).get_concrete_function(*specs)
    path = folder / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert())
    return open_tflite(path, "model")


def test_a_file_keeps_its_signature(tmp_path: Path) -> None:
    source = file_of(lambda b, a: {"sum": a + 2 * b, "product": a * b}, tmp_path, "b", "a")
    artifact = TFLiteOnnxRoute().convert(source, "float32", tmp_path / "a.mlpackage")
    random = np.random.default_rng(3)
    a, b = (random.normal(size=(1, 4, 6)).astype(np.float32) for _ in range(2))
    found = by_source(artifact, {"a": a, "b": b})
    np.testing.assert_allclose(found["sum"], a + 2 * b, atol=1e-6)
    np.testing.assert_allclose(found["product"], a * b, atol=1e-6)


def test_what_cannot_be_converted_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(one_operator("Unheard", [Tensor((1, 4))], [Tensor((1, 4))]))
    source = open_tflite(path, "model")
    with pytest.raises(ConversionError, match=r"model.*Unheard"):
        TFLiteOnnxRoute().convert(source, "float32", tmp_path / "a.mlpackage")


def test_another_subgraph_is_refused(tmp_path: Path) -> None:
    class Module(tf.Module):  # type: ignore[misc]
        def first(self, x: Any) -> Any:
            return x + 1

        def second(self, x: Any) -> Any:
            return x * 2

    module, spec = Module(), tf.TensorSpec((1, 4), name="x")
    signatures = {name: tf.function(getattr(module, name)).get_concrete_function(spec) for name in ("first", "second")}
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=list(signatures))
    (tmp_path / "model.tflite").write_bytes(converter.convert())
    source = open_tflite(tmp_path / "model.tflite", "model", "second")
    with pytest.raises(UnsupportedError, match="second"):
        TFLiteOnnxRoute().convert(source, "float32", tmp_path / "a.mlpackage")


def test_only_tensorflow_becomes_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="TFLiteConverter"):
        tflite_bytes(file_of(lambda x: x + 1, tmp_path, "x"))
