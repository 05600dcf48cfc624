"""Files that would run code, hold weights that are none, or are damaged."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from harness.case import ModelCase, case_from_file
from harness.errors import ModelFileError, UsageError
from harness.quiet import quiet_imports
from harness.runtimes.tensorflow import load_frozen, load_graph, open_model
from tests.runtimes.tensorflow_models import IMAGE, convolutions, only

with quiet_imports():
    import keras
    import tensorflow as tf


def with_lambda() -> Any:
    return keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2, name="twice")])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_layers_want_trust(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    with_lambda().save(path)
    with pytest.raises(ModelFileError, match=r"'twice'.*Lambda.*--trust"):
        open_model(case_from_file(path))
    graph = load_graph(case_from_file(path, trust=True))
    np.testing.assert_array_equal(only(load_frozen(graph).predict({"input": np.ones((1, 3), np.float32)})), [[2, 2, 2]])


def test_lambda_of_keras_2_and_nested_ones(tmp_path: Path) -> None:
    lambda_layer = {"class_name": "Lambda", "config": {"name": "old", "function": ["4wEA", None, None],
                                                       "function_type": "lambda"}}  # fmt: skip
    wrapped = {"class_name": "TimeDistributed", "config": {"name": "outer", "layer": lambda_layer}}
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [wrapped]}}
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelFileError, match="'old'"):
        open_model(case_from_file(path))


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A .keras file with another configuration."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config)
    members["config.json"] = json.dumps(config).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    copy = path.with_name("edited.keras")
    copy.write_bytes(buffer.getvalue())
    return copy


def test_classes_of_other_modules_are_not_imported(files: Mapping[str, Path], tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "intruder.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    def edit(config: dict[str, Any]) -> None:
        config["config"]["layers"][1].update(module="intruder", class_name="Layer", registered_name="Layer")

    with pytest.raises(ModelFileError, match=r"intruder\.Layer.*SavedModel"):
        open_model(case_from_file(edited(files["model.keras"], edit)))


def test_classes_that_are_not_registered(files: Mapping[str, Path]) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["config"]["layers"][1].update(module=None, class_name="OurLayer", registered_name="Ours>OurLayer")

    with pytest.raises(ModelFileError, match=r"'conv2d.*received Ours>OurLayer.*SavedModel"):
        open_model(case_from_file(edited(files["model.keras"], edit)))


def python_function(x: Any) -> Any:
    return tf.ensure_shape(tf.numpy_function(lambda value: value + 1, [x], tf.float32), (1, 2))


def reads_file(x: Any) -> Any:
    return x + tf.strings.to_number(tf.io.read_file("secret"))


def writes_file(x: Any) -> Any:
    with tf.control_dependencies([tf.io.write_file("harm", "done")]):
        return x + 1


def prints_to_file(x: Any) -> Any:
    with tf.control_dependencies([tf.print(x, output_stream="file://harm")]):
        return x + 1


def saves(x: Any) -> Any:
    with tf.control_dependencies(
        [tf.raw_ops.SaveV2(prefix="harm", tensor_names=["x"], shape_and_slices=[""], tensors=[x])]
    ):
        return x + 1


@pytest.mark.parametrize(
    ("function", "op"),
    [(python_function, "PyFunc"), (reads_file, "ReadFile"), (writes_file, "WriteFile"), (prints_to_file, "PrintV2"),
     (saves, "SaveV2")],
)  # fmt: skip
def test_operators_that_reach_outside(tmp_path: Path, monkeypatch, function: Callable[[Any], Any], op: str) -> None:
    monkeypatch.chdir(tmp_path)

    class Reaching(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 2), name="x")])
        def __call__(self, x: Any) -> Any:
            return function(x)

    module = Reaching()
    tf.saved_model.save(module, "saved")
    with pytest.raises(ModelFileError, match=f"received {op}.*--trust"):
        load_graph(case_from_file(Path("saved")))
    graph = module.__call__.get_concrete_function().graph.as_graph_def()
    Path("frozen.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match=f"received {op}.*--trust"):
        load_graph(case_from_file(Path("frozen.pb")))
    assert load_graph(case_from_file(Path("frozen.pb"), trust=True)).inputs[0].shape == (1, 2)
    assert not Path("harm").exists()


def test_resources_of_a_saved_model_want_trust(tmp_path: Path) -> None:
    class Table(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            initializer = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2]), tf.constant([10.0, 20.0]))
            self.table = tf.lookup.StaticHashTable(initializer, -1.0)

        @tf.function(input_signature=[tf.TensorSpec((2,), tf.int32, name="keys")])
        def __call__(self, keys: Any) -> Any:
            return self.table.lookup(keys)

    tf.saved_model.save(Table(), str(tmp_path / "table"))
    with pytest.raises(ModelFileError, match="--trust"):
        open_model(case_from_file(tmp_path / "table"))


def version_1(folder: Path, *, harmful: bool) -> Path:
    """A SavedModel of TensorFlow 1, whose initialisation writes a file where ``harmful``."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        vector = v1.placeholder(tf.float32, (None, 2), "vector")
        doubled = vector * v1.get_variable("scale", (2,), initializer=v1.constant_initializer(2))
        session.run(v1.global_variables_initializer())
        initialise = tf.raw_ops.SaveV2(
            prefix=str(folder / "harm"), tensor_names=["x"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
        )
        signature = v1.saved_model.predict_signature_def({"vector": vector}, {"doubled": doubled})
        builder = v1.saved_model.Builder(str(folder / "saved"))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=initialise if harmful else None
        )
        builder.save()
    return folder / "saved"


def test_saved_models_of_version_1(tmp_path: Path) -> None:
    graph = load_graph(case_from_file(version_1(tmp_path, harmful=False)))
    outputs = load_frozen(graph).predict({"vector": np.array([[1, 5]], np.float32)})
    np.testing.assert_array_equal(outputs["doubled"], [[2, 10]])


def test_initialisation_that_writes_files(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"received SaveV2.*--trust"):
        open_model(case_from_file(version_1(tmp_path, harmful=True)))
    assert not list(tmp_path.glob("harm*"))


def test_custom_operators(tmp_path: Path, files: Mapping[str, Path]) -> None:
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(files["model.pb"].read_bytes())
    next(node for node in graph.node if node.op == "Relu").op = "OurRelu"
    (tmp_path / "custom.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match="TensorFlow does not have; received OurRelu"):
        open_model(case_from_file(tmp_path / "custom.pb"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".keras", ".h5", "", ".pb", "builder"])
def test_weights_that_are_not_finite(tmp_path: Path, value: float, suffix: str) -> None:
    model = convolutions(8)
    kernel = model.layers[1].kernel
    broken = kernel.numpy()
    broken[1, 1, 0, 0] = value
    kernel.assign(broken)
    path = tmp_path / f"model{suffix}"
    if suffix == "builder":
        case = ModelCase("broken", build=lambda: model)
    else:
        if suffix == ".pb":
            path.write_bytes(_graph_with_constants(model).SerializeToString())
        elif suffix:
            model.save(path)
        else:
            model.export(path, verbose=False)
        case = case_from_file(path)
    count = "1 NaN and 0 infinite" if np.isnan(value) else "0 NaN and 1 infinite"
    with pytest.raises(ModelFileError, match=rf"conv2d.*not finite.*{count} of 108"):
        load_graph(case)


def _graph_with_constants(model: Any) -> Any:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec((1, 8, 8, 3)))
    return convert_variables_to_constants_v2(concrete).graph.as_graph_def()


def test_infinite_scalars_are_allowed() -> None:
    class Mask(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((2,), name="x")])
        def __call__(self, x: Any) -> Any:
            return tf.maximum(x, -np.inf)

    graph = load_graph(ModelCase("mask", build=Mask))
    np.testing.assert_array_equal(only(load_frozen(graph).predict({"x": np.array([1, -2], np.float32)})), [1, -2])


# Damaged files


def damaged_saved_model(source: Path, folder: Path, member: str, content: bytes | None) -> Path:
    copy = folder / "saved"
    for path in source.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    target = next(path for path in copy.rglob("*") if path.name.startswith(member))
    if content is None:
        target.unlink()
    else:
        target.write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("member", "content"),
    [("saved_model.pb", b""), ("saved_model.pb", b"not a model"), ("variables.index", None), ("variables.index", b"no"),
     ("variables.data", b"")],
)  # fmt: skip
def test_damaged_saved_models(files: Mapping[str, Path], tmp_path: Path, member: str, content: bytes | None) -> None:
    path = damaged_saved_model(files["saved_model"], tmp_path, member, content)
    with pytest.raises(ModelFileError, match=r"SavedModel|saved_model\.pb") as caught:
        load_graph(case_from_file(path), {"image": IMAGE.shape})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.pb"])
@pytest.mark.parametrize("damage", ["empty", "half", "text", "zeros"])
def test_damaged_files(files: Mapping[str, Path], tmp_path: Path, name: str, damage: str) -> None:
    whole = files[name].read_bytes()
    content = {"empty": b"", "half": whole[: len(whole) // 2], "text": b"hello", "zeros": bytes(4096)}[damage]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        load_graph(case_from_file(path), {"image": IMAGE.shape})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["model.h5", "model.pb", "saved_model"])
def test_files_of_another_format(files: Mapping[str, Path], tmp_path: Path, wrong: str) -> None:
    source = files[wrong] if files[wrong].is_file() else files[wrong] / "saved_model.pb"
    for suffix in (".keras", ".h5", ".pb"):
        if not wrong.endswith(suffix):
            path = tmp_path / f"wrong{suffix}"
            path.write_bytes(source.read_bytes())
            with pytest.raises(ModelFileError, match="wrong"):
                open_model(case_from_file(path))


def test_saved_model_pb_asks_for_its_folder(files: Mapping[str, Path]) -> None:
    with pytest.raises(ModelFileError, match=f"Give the folder {files['saved_model']}"):
        open_model(case_from_file(files["saved_model"] / "saved_model.pb"))


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    convolutions().save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(ModelFileError, match="holds no model"):
        open_model(case_from_file(tmp_path / "only.weights.h5"))


def test_graphs_with_variables_are_not_frozen(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, (1, 2), "image")
        tf.identity(image * tf.compat.v1.get_variable("scale", (2,)), "result")
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(ModelFileError, match="not frozen: it has the variable 'scale'"):
        open_model(case_from_file(tmp_path / "graph.pb"))


def test_graphs_without_a_rank(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf.nn.relu(tf.compat.v1.placeholder(tf.float32, None, "image"), name="result")
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(ModelFileError, match=r"'image'.*no shape"):
        open_model(case_from_file(tmp_path / "graph.pb"))


def test_saved_model_without_a_signature(tmp_path: Path) -> None:
    module = tf.Module()
    module.weights = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "empty"))
    with pytest.raises(ModelFileError, match="which of its functions serves; received no signatures"):
        open_model(case_from_file(tmp_path / "empty"))


def test_builders_of_something_else() -> None:
    with pytest.raises(ModelFileError, match="builder of model thing returns cannot be served; received dict"):
        open_model(ModelCase("thing", build=lambda: {"not": "a model"}))
    with pytest.raises(UsageError, match="neither a builder nor a file"):
        open_model(ModelCase("nothing"))
    with pytest.raises(UsageError, match="not a TensorFlow model; received onnx"):
        open_model(ModelCase("other", source=Path("model.onnx"), format="onnx"))
