"""The native interface, by itself and through coremltools in a process where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UnknownNameError
from harness.quiet import quiet_imports
from harness.runtimes.portable import stand_in
from harness.runtimes.portable.stand_in import MLModelProxy

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

X = np.array([[1.0, -2.0, 3.0]], np.float32)
WEIGHT = np.arange(15, dtype=np.float32).reshape(5, 3)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer and a counter in a state."""

    @mb.program(
        input_specs=[mb.TensorSpec((1, 3)), mb.StateTensorSpec((1,), dtype=ct.converters.mil.mil.types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, count: Any) -> Any:
        counted = mb.add(x=mb.read_state(input=count), y=np.float16(1))
        counted = mb.coreml_update_state(state=count, value=counted)
        return mb.linear(x=x, weight=WEIGHT, name="y"), mb.cast(x=counted, dtype="fp32", name="counted")

    path = tmp_path_factory.mktemp("models") / "linear.mlpackage"
    ct.convert(
        program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True, compute_precision=ct.precision.FLOAT32
    ).save(str(path))
    return path


def opened(path: Path, function: str = "", asset: Any = None) -> MLModelProxy:
    return MLModelProxy(str(path), "CPU_ONLY", function, {}, asset)


def test_prediction(package: Path) -> None:
    model = opened(package)
    assert model.get_last_predict_duration_in_nano_seconds() is None
    outputs = model.predict({"x": X}, model.newState())
    np.testing.assert_allclose(outputs["y"], X @ WEIGHT.T, rtol=1e-6)
    duration = model.get_last_predict_duration_in_nano_seconds()
    assert duration is not None
    assert duration > 0
    assert model.get_load_duration_in_nano_seconds() > 0


def test_state(package: Path) -> None:
    model = opened(package)
    state = model.newState()
    assert [model.predict({"x": X}, state)["counted"].item() for _ in range(3)] == [1, 2, 3]
    assert state.read_state("count").tolist() == [3]
    state.write_state("count", np.array([9.0]))
    assert model.predict({"x": X}, state)["counted"].item() == 10
    assert model.predict({"x": X}, model.newState())["counted"].item() == 1


@pytest.mark.parametrize(("name", "shape", "said"), [("other", (1,), "has no state 'other'"), ("count", (2,), "shape")])
def test_state_that_does_not_fit(package: Path, name: str, shape: tuple[int, ...], said: str) -> None:
    state = opened(package).newState()
    with pytest.raises(RuntimeError, match=said):
        state.write_state(name, np.ones(shape))


@pytest.mark.parametrize(
    ("path", "function", "said"),
    [("nowhere.mlpackage", "", "there is no model"), ("linear.mlpackage", "other", "no such function")],
)
def test_models_that_do_not_load(package: Path, path: str, function: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        opened(package.parent / path, function)


def test_inputs_that_do_not_fit(package: Path) -> None:
    model = opened(package)
    with pytest.raises(RuntimeError, match=r"'x' of model .* is missing"):
        model.predict({}, model.newState())


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (ct.EnumeratedShapes([(1, 3), (1, 5)]), r"MultiArray Shape \(1 x 4\) was not in enumerated set"),
        ((1, ct.RangeDim(5, 9)), r"Size \(4\) of dimension \(1\) is not in allowed range \(5[.][.]9\)"),
    ],
)
def test_sizes_that_do_not_fit_are_told_in_core_mls_words(tmp_path: Path, shape: Any, said: str) -> None:
    symbol = ct.converters.mil.mil.get_new_symbol()
    program = mb.program(input_specs=[mb.TensorSpec((1, symbol))])(lambda x: mb.relu(x=x, name="y"))
    path = tmp_path / "flexible.mlpackage"
    ct.convert(
        program, inputs=[ct.TensorType("x", shape)], convert_to="mlprogram", skip_model_load=True,
        pass_pipeline=ct.PassPipeline.EMPTY,
    ).save(str(path))  # fmt: skip
    with pytest.raises(RuntimeError, match=said + ".*'x' of model flexible"):
        opened(path).predict({"x": np.ones((1, 4), np.float32)})


def test_a_failing_prediction_says_what_core_ml_says(tmp_path: Path) -> None:
    program = mb.program(
        input_specs=[mb.TensorSpec((2,)), mb.TensorSpec((1,), dtype=ct.converters.mil.mil.types.int32)],
        opset_version=ct.target.iOS17,
    )(lambda x, at: mb.gather(x=x, indices=at, axis=0, validate_indices=True))
    path = tmp_path / "gather.mlpackage"
    ct.convert(program, minimum_deployment_target=ct.target.iOS17, skip_model_load=True).save(str(path))
    with pytest.raises(RuntimeError, match="Unable to compute the prediction using ML Program"):
        opened(path).predict({"x": np.ones(2, np.float32), "at": np.array([7], np.int32)})


def test_compiled_models(package: Path) -> None:
    model = opened(package)
    compiled = Path(model.get_compiled_model_path())
    assert compiled.suffix == ".mlmodelc"
    assert model.get_compiled_model_path() == str(compiled)
    again = opened(compiled)
    np.testing.assert_allclose(again.predict({"x": X}, again.newState())["y"], X @ WEIGHT.T, rtol=1e-6)


def test_compiling_a_file(tmp_path: Path) -> None:
    program = mb.program(input_specs=[mb.TensorSpec((1, 3))])(lambda x: mb.relu(x=x, name="y"))
    specification = ct.convert(program, skip_model_load=True).get_spec()
    (tmp_path / "spec.mlmodel").write_bytes(specification.SerializeToString())
    compiled = MLModelProxy.compileModel(str(tmp_path / "spec.mlmodel"), str(tmp_path))
    assert compiled == str(tmp_path / "spec.mlmodelc")
    assert opened(Path(compiled)).predict({"x": X})["y"].tolist() == [[1, 0, 3]]


def test_unknown_numerics() -> None:
    with pytest.raises(UnknownNameError, match="float64"):
        stand_in.install(numerics="float64")


SCRIPT = """
import json, sys
import numpy as np
from PIL import Image
from harness.runtimes.portable import stand_in
stand_in.install(macos=(15, 0), numerics="float32")
import coremltools as ct
from coremltools.converters.mil.mil import Builder as mb
from coremltools.models.compute_device import MLComputeDevice, MLGPUComputeDevice
from coremltools.models.compute_plan import MLComputePlan

path = sys.argv[1]
said = {}
X = np.array([[1.0, -2.0, 3.0]], np.float32)
model = ct.models.MLModel(path)
said["y"] = model.predict({"x": X}, model.make_state())["y"].tolist()
said["durations"] = [model.load_duration_in_nano_seconds > 0, model.last_predict_duration_in_nano_seconds > 0]

compiled = ct.models.CompiledMLModel(model.get_compiled_model_path())
said["compiled"] = compiled.predict({"x": X}, compiled.make_state())["y"].tolist()
asset = ct.models.model.MLModelAsset.from_path(model.get_compiled_model_path())
from_asset = ct.models.CompiledMLModel.from_asset(asset)
said["asset"] = from_asset.predict({"x": X}, from_asset.make_state())["y"].tolist()
with open(model.weights_dir + "/weight.bin", "rb") as file:
    blobs = {"weights/weight.bin": file.read()}
memory = ct.models.model.MLModelAsset.from_memory(model.get_spec().SerializeToString(), blobs)
from_memory = ct.models.CompiledMLModel.from_asset(memory)
said["memory"] = from_memory.predict({"x": X}, from_memory.make_state())["y"].tolist()

plan = MLComputePlan.load_from_path(model.get_compiled_model_path())
operations = plan.model_structure.program.functions["main"].block.operations
said["operations"] = [item.operator_name for item in operations if item.operator_name != "const"]
linear = next(item for item in operations if item.operator_name == "linear")
said["inputs"] = {name: argument.bindings[0].name for name, argument in linear.inputs.items() if name == "x"}
usage = plan.get_compute_device_usage_for_mlprogram_operation(linear)
said["device"] = isinstance(usage.preferred_compute_device, MLGPUComputeDevice)
costs = [plan.get_estimated_cost_for_mlprogram_operation(item) for item in operations]
said["cost"] = sum(cost.weight for cost in costs if cost is not None)
said["devices"] = [
    len(MLComputeDevice.get_all_compute_devices()),
    len(ct.models.MLModel.get_available_compute_devices()),
]

program = mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 5))])(lambda image: mb.mul(x=image, y=0.5, name="half"))
images = ct.convert(program, inputs=[ct.ImageType("image", (1, 3, 4, 5))], convert_to="mlprogram")
specification = images.get_spec()
image = specification.description.output[0].type.imageType
image.width, image.height, image.colorSpace = 5, 4, ct.proto.FeatureTypes_pb2.ImageFeatureType.RGB
images = ct.models.MLModel(specification, weights_dir=images.weights_dir)
half = images.predict({"image": Image.new("RGB", (5, 4), (10, 20, 40))})["half"]
said["image"] = [half.mode, list(half.size), list(half.getpixel((0, 0)))]

simple = mb.program(input_specs=[mb.TensorSpec((2,))])(lambda x: mb.add(x=x, y=1.0, name="y"))
batch = ct.convert(simple, convert_to="mlprogram").predict([{"x": np.ones(2)}, {"x": np.zeros(2)}])
said["batch"] = [item["y"].tolist() for item in batch]
network = ct.convert(simple, convert_to="neuralnetwork")
try:
    network.predict({"x": np.ones(2)})
except RuntimeError as error:
    said["network"] = str(error)
print("SAID " + json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(package: Path) -> dict[str, Any]:
    """What coremltools answers in a process where the stand-in is installed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(package)], capture_output=True, text=True, check=False, timeout=300
    )
    assert "SAID " in done.stdout, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.rpartition("SAID ")[2])
    return answers


@pytest.mark.parametrize("how", ["y", "compiled", "asset", "memory"])
def test_through_coremltools(said: dict[str, Any], how: str) -> None:
    np.testing.assert_allclose(said[how], X @ WEIGHT.T, rtol=1e-6)


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("durations", [True, True]),
        ("batch", [[2, 2], [1, 1]]),
        ("inputs", {"x": "x"}),
        ("device", True),
        ("cost", pytest.approx(1)),
        ("devices", [3, 3]),
        ("image", ["RGBA", [5, 4], [5, 10, 20, 255]]),
    ],
)
def test_coremltools_is_told(said: dict[str, Any], what: str, answer: Any) -> None:
    assert said[what] == answer


def test_structure_and_refusal(said: dict[str, Any]) -> None:
    assert {"read_state", "add", "linear"} <= set(said["operations"])
    assert "is not an ML Program" in said["network"]


@pytest.mark.parametrize("kind", ["neuralnetwork", "pipeline"])
def test_structure_of_other_kinds(tmp_path: Path, kind: str) -> None:
    program = mb.program(input_specs=[mb.TensorSpec((2,))])(lambda x: mb.relu(x=x, name="y"))
    network = ct.convert(program, convert_to="neuralnetwork", skip_model_load=True).get_spec()
    specification = network
    if kind == "pipeline":
        specification = ct.proto.Model_pb2.Model(specificationVersion=network.specificationVersion)
        specification.pipeline.models.add().CopyFrom(network)
        specification.pipeline.names.append("first")
    path = tmp_path / "model.mlmodel"
    path.write_bytes(specification.SerializeToString())
    structure = MLModelProxy.get_model_structure(MLModelProxy.compileModel(str(path), str(tmp_path)))
    if kind == "pipeline":
        assert structure.neuralnetwork is None
        name, structure = structure.pipeline.sub_models[0]
        assert name == "first"
    assert [(layer.type, layer.input_names, layer.output_names) for layer in structure.neuralnetwork.layers] == [
        ("activation", ["x"], ["y"])
    ]
