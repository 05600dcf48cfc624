from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.artifact import Artifact
from harness.case import ModelCase, case_from_file
from harness.errors import InputError, PackageError, PredictionError
from harness.quiet import quiet_imports
from harness.runtimes.tensorflow import TensorFlowRuntime, load_frozen, load_graph, open_model
from harness.tensors import TensorSpec
from tests.runtimes.tensorflow_models import IMAGE, convolutions, only

with quiet_imports():
    import keras
    import tensorflow as tf


@pytest.mark.parametrize(
    ("name", "output", "is_flexible"),
    [("model.keras", "result", True), ("model.h5", "result", True), ("saved_model", "output_0", True),
     ("model.pb", "result", False)],
)  # fmt: skip
def test_every_format(files: Mapping[str, Path], name: str, output: str, is_flexible: bool) -> None:
    model = open_model(case_from_file(files[name]))
    assert [spec.name for spec in model.inputs] == ["image"]
    assert model.inputs[0].is_flexible == is_flexible
    graph = model.freeze({"image": IMAGE.shape})
    assert graph.inputs == (TensorSpec("image", IMAGE.shape, "float32", "NHWC"),)
    assert graph.outputs == (TensorSpec(output, (1, 9, 7, 2)),)
    ops = {node.op for node in graph.graph_def.node}
    assert "Conv2D" in ops
    assert not any("Variable" in op or "PartitionedCall" in op for op in ops)
    expected = convolutions()(IMAGE, training=False).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(only(load_frozen(graph).predict({"image": IMAGE})), expected, atol=1e-6)


def test_a_graph_says_its_names_itself(files: Mapping[str, Path]) -> None:
    graph = load_graph(case_from_file(files["model.keras"]), {"image": IMAGE.shape})
    nodes = {node.name: node for node in graph.graph_def.node}
    assert nodes["image"].op == "Placeholder"
    assert nodes["result"].op == "Identity"
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph.graph_def, name="")
        with tf.compat.v1.Session(graph=imported) as session:
            again = session.run("result:0", {"image:0": IMAGE})
    np.testing.assert_allclose(again, only(load_frozen(graph).predict({"image": IMAGE})), atol=1e-6)


def several() -> Any:
    """Names that clash with each other, with nodes of the graph and between inputs and outputs."""
    first = keras.Input((4,), name="x")
    second = keras.Input((4,), name="y.z")
    total = keras.layers.Add(name="total")([first, second])
    return keras.Model(
        [first, second], {"x": total, "difference": keras.layers.Subtract()([first, second]), "a/b": total}
    )


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    model = several()
    model.save(tmp_path / "several.keras")
    inputs = {"x": np.arange(4, dtype=np.float32)[None], "y_z": np.full((1, 4), 10, np.float32)}
    for case in (ModelCase("several", build=lambda: model), case_from_file(tmp_path / "several.keras")):
        graph = load_graph(case)
        assert [spec.name for spec in graph.inputs] == ["x", "y_z"]
        outputs = load_frozen(graph).predict(inputs)
        assert set(outputs) == {"x_output", "difference", "a_b"}
        np.testing.assert_array_equal(outputs["x_output"], [[10, 11, 12, 13]])
        np.testing.assert_array_equal(outputs["a_b"], [[10, 11, 12, 13]])
        np.testing.assert_array_equal(outputs["difference"], [[-10, -9, -8, -7]])


def test_names_that_keras_counts_do_not_depend_on_history() -> None:
    def build() -> Any:
        first, second = keras.Input((2,)), keras.Input((2,))
        return keras.Model([first, second], [keras.layers.Add()([first, second]), keras.layers.ReLU()(first)])

    for _ in range(2):
        graph = load_graph(ModelCase("plain", build=build))
        assert [spec.name for spec in graph.inputs] == ["input_1", "input_2"]
        assert [spec.name for spec in graph.outputs] == ["output_1", "output_2"]
    sequential = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    graph = load_graph(ModelCase("sequential", build=lambda: sequential))
    assert (graph.inputs[0].name, graph.outputs[0].name) == ("input", "output")


class Module(tf.Module):
    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.weights = tf.Variable(values, name="weights")

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="vector")])
    def __call__(self, vector: Any) -> Any:
        return {"scaled": vector * self.weights}


def test_module() -> None:
    graph = load_graph(ModelCase("module", build=lambda: Module([2.0, 3.0])))
    assert graph.inputs[0].shape == (1, 2)
    np.testing.assert_array_equal(
        load_frozen(graph).predict({"vector": np.array([[5, 7]], np.float32)})["scaled"], [[10, 21]]
    )


def test_control_flow_and_integers(tmp_path: Path) -> None:
    class Loop(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((3,), tf.int32, name="values")])
        def __call__(self, values: Any) -> Any:
            for _ in tf.range(4):
                values = values + 2
            return values

    tf.saved_model.save(Loop(), str(tmp_path / "loop"))
    graph = load_graph(case_from_file(tmp_path / "loop"))
    assert graph.inputs[0].dtype == "int32"
    result = only(load_frozen(graph).predict({"values": np.array([1, 2, 3], np.int32)}))
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, [9, 10, 11])


def test_a_batch_may_be_given(files: Mapping[str, Path]) -> None:
    batch = np.repeat(IMAGE, 3, 0)
    graph = load_graph(case_from_file(files["saved_model"]), {"image": batch.shape})
    assert only(load_frozen(graph).predict({"image": batch})).shape == (3, 9, 7, 2)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, r"flexible size.*\(\?, \?, \?, 3\)"),
        ({"image": (1, 8, 8, 4)}, r"wrong shape; received \(1, 8, 8, 4\)"),
        ({"image": (1, 8, 8)}, "wrong shape"),
        ({"picture": (1, 8, 8, 3)}, "no input 'picture'; supported: image"),
    ],
)
def test_shapes_that_do_not_fit(files: Mapping[str, Path], shapes: Mapping[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_graph(case_from_file(files["model.keras"]), shapes)


def pooled(levels: int) -> Any:
    image = x = keras.Input((None, None, 3), name="image")
    for _ in range(levels):
        x = keras.layers.MaxPooling2D(2)(x)
    for _ in range(levels):
        x = keras.layers.UpSampling2D(2)(x)
    return keras.Model(image, keras.layers.Concatenate()([image, x]))


@pytest.mark.parametrize(("levels", "multiple"), [(0, 1), (1, 2), (3, 8)])
def test_multiple(levels: int, multiple: int, tmp_path: Path) -> None:
    model = pooled(levels)
    model.export(tmp_path / "saved", verbose=False)
    assert open_model(ModelCase("pooled", build=lambda: model)).multiple() == multiple
    assert open_model(case_from_file(tmp_path / "saved")).multiple() == multiple
    if levels:
        with pytest.raises(InputError, match="cannot be traced with image"):
            load_graph(ModelCase("pooled", build=lambda: model), {"image": (1, 8, 9, 3)})


# The runtime


def test_runtime_loads_a_model_file(files: Mapping[str, Path]) -> None:
    artifact = Artifact(files["saved_model"], "tensorflow", (TensorSpec("image", IMAGE.shape),))
    with TensorFlowRuntime().load(artifact, "CPU", "float32") as model:
        outputs = model.predict({"image": IMAGE})
    np.testing.assert_allclose(outputs["output_0"], convolutions()(IMAGE, training=False).numpy(), atol=1e-6)
    with pytest.raises(PackageError, match="received mlprogram"):
        TensorFlowRuntime().load(Artifact(files["model.pb"], "mlprogram"), "CPU", "float32")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'image'.*missing"),
        ({"image": IMAGE, "more": IMAGE}, "no input 'more'"),
        ({"image": IMAGE[:, 1:]}, "wrong shape"),
        ({"image": IMAGE.astype(np.complex64)}, "wrong type; received complex64; supported: float32"),
    ],
)
def test_inputs_that_do_not_fit(files: Mapping[str, Path], inputs: Mapping[str, np.ndarray], message: str) -> None:
    model = load_frozen(load_graph(case_from_file(files["model.pb"])))
    with pytest.raises(InputError, match=message):
        model.predict(inputs)


def test_failure_while_it_executes() -> None:
    class Strict(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((2,), name="x")])
        def __call__(self, x: Any) -> Any:
            return tf.gather(x, tf.cast(x, tf.int32))

    model = load_frozen(load_graph(ModelCase("strict", build=Strict)))
    np.testing.assert_array_equal(only(model.predict({"x": np.array([1, 0], np.float32)})), [0, 1])
    with pytest.raises(PredictionError, match="strict"):
        model.predict({"x": np.array([5, 0], np.float32)})
