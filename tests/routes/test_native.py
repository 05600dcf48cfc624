from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.case import ModelCase
from harness.errors import StoreError, UnknownNameError
from harness.quiet import quiet_imports
from harness.routes.native import NativeRoute
from harness.runtimes import portable
from harness.runtimes.tensorflow import FrozenGraph, load_frozen, load_graph

with quiet_imports():
    import coremltools
    import keras
    import tensorflow as tf


def network() -> Any:
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 10, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    return keras.Model(image, keras.layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="result")(x))


@pytest.fixture(scope="module")
def graph() -> FrozenGraph:
    return load_graph(ModelCase("network", build=network))


def module(*signature: Any, function: Any) -> FrozenGraph:
    class Module(tf.Module):
        @tf.function(input_signature=signature)
        def __call__(self, *tensors: Any) -> Any:
            return function(*tensors)

    return load_graph(ModelCase("module", build=Module))


def predict(path: Path, inputs: Mapping[str, np.ndarray], precision: str) -> dict[str, np.ndarray]:
    return portable.load(path, numerics=precision).predict(dict(inputs))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
def test_conversion(graph: FrozenGraph, tmp_path: Path, precision: str, tolerance: float) -> None:
    destination = tmp_path / "new" / "network.mlpackage"
    artifact = NativeRoute().convert(graph, precision, destination)
    assert artifact.path == destination
    assert artifact.format == "mlprogram"
    assert artifact.inputs == graph.inputs
    assert artifact.outputs == graph.outputs
    assert artifact.input_names == {"image": "image"}
    assert artifact.output_names == {"result": "result"}
    assert artifact.provenance["precision"] == precision
    assert artifact.provenance["coremltools"] == coremltools.__version__
    image = {"image": np.random.default_rng(0).random((1, 12, 10, 3), np.float32)}
    reference = load_frozen(graph).predict(image)["result"]
    assert reference.std() > 0.01
    error = np.abs(predict(destination, image, precision)["result"] - reference).max()
    assert error < tolerance
    assert (error > 1e-5) == (precision == "float16")


def mil_dtypes(path: Path) -> dict[str, int]:
    """How many tensors of each type the operators of a package return."""
    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    function = spec.mlProgram.functions["main"]
    counts: dict[str, int] = {}
    for block in function.block_specializations.values():
        for operation in block.operations:
            if operation.type in ("conv", "relu", "sigmoid"):
                name = "float16" if operation.outputs[0].type.tensorType.dataType == 10 else "float32"
                counts[name] = counts.get(name, 0) + 1
    return counts


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_precision_is_that_of_the_operators(graph: FrozenGraph, tmp_path: Path, precision: str) -> None:
    artifact = NativeRoute().convert(graph, precision, tmp_path / "network.mlpackage")
    assert mil_dtypes(artifact.path) == {precision: 4}
    assert {spec.dtype for spec in (*artifact.inputs, *artifact.outputs)} == {"float32"}


def test_deployment_target(graph: FrozenGraph, tmp_path: Path) -> None:
    for target, version in (("iOS15", 6), ("iOS17", 8)):
        artifact = NativeRoute(minimum_deployment_target=target).convert(graph, "float32", tmp_path / "n.mlpackage")
        spec = coremltools.models.MLModel(str(artifact.path), skip_model_load=True).get_spec()
        assert spec.specificationVersion == version
        assert artifact.provenance["minimum_deployment_target"] == target
    with pytest.raises(UnknownNameError, match=r"deployment target; received iOS99.*iOS16"):
        NativeRoute(minimum_deployment_target="iOS99").convert(graph, "float32", tmp_path / "n.mlpackage")


def test_several_outputs_keep_their_names_order_and_types(tmp_path: Path) -> None:
    def outputs(first: Any, second: Any) -> Any:
        total = first + second
        return {"zeta": total, "alpha": tf.reduce_sum(total, -1), "index": tf.argmax(second, -1), "first": first,
                "same": total}  # fmt: skip

    signature = (tf.TensorSpec((2, 3), name="first"), tf.TensorSpec((2, 3), name="second"))
    graph = module(*signature, function=outputs)
    inputs = {
        "first": np.arange(6, dtype=np.float32).reshape(2, 3),
        "second": np.array([[1, 5, 2], [9, 3, 4]], np.float32),
    }
    reference = load_frozen(graph).predict(inputs)
    artifact = NativeRoute().convert(graph, "float32", tmp_path / "several.mlpackage")
    assert [spec.name for spec in artifact.outputs] == [spec.name for spec in graph.outputs]
    assert set(artifact.output_names) == set(reference) == {"zeta", "alpha", "index", "first_output", "same"}
    types = {spec.name: spec.dtype for spec in artifact.outputs}
    assert types["index"] == "int32"
    assert types["zeta"] == "float32"
    results = predict(artifact.path, inputs, "float32")
    for name, value in reference.items():
        np.testing.assert_allclose(results[artifact.output_names[name]], value, err_msg=name)


def test_integer_inputs(tmp_path: Path) -> None:
    graph = module(tf.TensorSpec((3,), tf.int32, name="indices"),
                   function=lambda indices: tf.gather(tf.constant([10.0, 20.0, 30.0]), indices))  # fmt: skip
    artifact = NativeRoute().convert(graph, "float32", tmp_path / "gather.mlpackage")
    assert artifact.inputs[0].dtype == "int32"
    (result,) = predict(artifact.path, {"indices": np.array([2, 0, 1], np.int32)}, "float32").values()
    np.testing.assert_array_equal(result, [30, 10, 20])


def test_unknown_precision(graph: FrozenGraph, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="received int8; supported: float32, float16"):
        NativeRoute().convert(graph, "int8", tmp_path / "n.mlpackage")


def test_nothing_is_printed(graph: FrozenGraph, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    NativeRoute().convert(graph, "float16", tmp_path / "n.mlpackage")
    assert capfd.readouterr() == ("", "")


def test_package_is_replaced_whole(graph: FrozenGraph, tmp_path: Path) -> None:
    destination = tmp_path / "n.mlpackage"
    destination.mkdir()
    (destination / "left over").write_text("old")
    NativeRoute().convert(graph, "float32", destination)
    assert not (destination / "left over").exists()
    assert (destination / "Manifest.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["n.mlpackage"]


def test_folder_that_is_a_file(graph: FrozenGraph, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        NativeRoute().convert(graph, "float32", tmp_path / "file" / "n.mlpackage")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_folder_that_is_not_writable(graph: FrozenGraph, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        NativeRoute().convert(graph, "float32", tmp_path / "n.mlpackage")


def test_a_failed_save_leaves_the_old_package(graph: FrozenGraph, tmp_path: Path, monkeypatch) -> None:
    destination = tmp_path / "n.mlpackage"
    NativeRoute().convert(graph, "float32", destination)
    before = sorted(path.stat().st_size for path in destination.rglob("*") if path.is_file())

    def full(self: Any, path: str, *args: Any) -> None:
        Path(path).mkdir()
        Path(path, "half").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(coremltools.models.MLModel, "save", full)
    with pytest.raises(StoreError, match=r"No space left.*disk is not full"):
        NativeRoute().convert(graph, "float16", destination)
    assert sorted(path.stat().st_size for path in destination.rglob("*") if path.is_file()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["n.mlpackage"]
