"""Recurrent layers against the interpreter: those made by hand, and Keras 2's, which become one operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.inspection import count_operations
from harness.quiet import quiet_imports
from harness.runtimes import portable
from harness.suites.tflite_cases import Case, run_case
from tests.frontends.tflite.cases.recurrent import CASES

with quiet_imports():
    import tensorflow as tf

tf_keras = pytest.importorskip("tf_keras")
RANDOM = np.random.default_rng(41)
SHAPE = (2, 6, 8)
# All of them are in `harness suite tflite`.
SOME = [case for case in CASES if isinstance(case.model, bytes)][::3]


@pytest.mark.parametrize("case", SOME, ids=lambda case: f"{case.operator} {case.name}")
def test_made_by_hand(case: Case) -> None:
    result = run_case(case, "made")
    assert result.outcome == "correct", result.reason


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One LSTM as a SavedModel."""
    model = tf_keras.Sequential(
        [tf_keras.layers.Input(batch_shape=SHAPE), tf_keras.layers.LSTM(64, return_sequences=True)]
    )
    model.set_weights([RANDOM.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    folder = str(tmp_path_factory.mktemp("layer") / "saved")
    tf.saved_model.save(model, folder)
    return folder


def both(content: bytes, folder: Path, x: Any) -> tuple[Any, Any, Any]:
    """What we and the interpreter say, and the package."""
    interpreter = tf.lite.Interpreter(
        model_content=content, experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    graph = parse_graph(content, "model")
    assert any(item.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" for item in graph.subgraphs[0].operators)
    artifact = convert_tflite(graph, "float32", folder / "a.mlpackage")
    given = x if x.dtype == np.float32 else x.astype(np.int32)
    (found,) = portable.load(artifact.path).predict(dict.fromkeys(artifact.input_names.values(), given)).values()
    return found, expected, artifact


def test_floats(layer: str, tmp_path: Path) -> None:
    content = tf.lite.TFLiteConverter.from_saved_model(layer).convert()
    found, expected, artifact = both(content, tmp_path, RANDOM.normal(size=SHAPE).astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected).max() > 0.1
    assert count_operations(artifact.path)["lstm"] == 1


def test_int8_weights_stay_compressed(layer: str, tmp_path: Path) -> None:
    converter = tf.lite.TFLiteConverter.from_saved_model(layer)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = converter.convert()
    found, expected, artifact = both(content, tmp_path, RANDOM.normal(size=SHAPE).astype(np.float32))
    assert np.abs(found - expected).max() < 0.02 * np.ptp(expected)
    assert artifact.size_bytes < 1.1 * len(content)


def test_full_integer(layer: str, tmp_path: Path) -> None:
    """The state is rounded after each step, as the interpreter's."""
    converter = tf.lite.TFLiteConverter.from_saved_model(layer)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    samples = RANDOM.normal(size=(10, *SHAPE)).astype(np.float32)
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    x = RANDOM.integers(-100, 100, SHAPE).astype(np.int8)
    found, expected, _ = both(converter.convert(), tmp_path, x)
    steps = np.abs(found - expected.astype(np.int32))
    assert (steps <= 1).mean() >= 0.999, np.bincount(steps.ravel())
    assert np.ptp(expected.astype(int)) > 100
