"""TFLite models through the frontend, executed on the portable runtime, against the interpreter."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.quiet import quiet_imports
from harness.runtimes import portable
from tests.frontends.fuzzing import outcomes_of
from tests.frontends.tflite import fuzz
from tests.frontends.tflite.building import Tensor, one_operator

with quiet_imports():
    import tensorflow as tf

RANDOM = np.random.default_rng(7)
IMAGE = (1, 8, 6, 4)
KERNEL = RANDOM.normal(0, 0.3, (3, 3, 4, 5)).astype(np.float32)
DEPTHWISE = RANDOM.normal(0, 0.3, (3, 3, 4, 2)).astype(np.float32)
BACKWARDS = RANDOM.normal(0, 0.3, (3, 3, 5, 4)).astype(np.float32)

CASES: dict[str, Callable[[Any], Any]] = {
    "conv same": lambda x: tf.nn.relu(tf.nn.conv2d(x, KERNEL, 2, "SAME") + 0.1),
    "conv valid dilated": lambda x: tf.nn.conv2d(x, KERNEL, 1, "VALID", dilations=2),
    "depthwise": lambda x: tf.nn.depthwise_conv2d(x, DEPTHWISE, (1, 1, 1, 1), "SAME"),
    "transposed": lambda x: tf.nn.conv2d_transpose(x, BACKWARDS, (1, 16, 12, 5), 2, "SAME"),
    "max pool": lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"),
    "average pool": lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"),
    "bilinear": lambda x: tf.image.resize(x, (16, 12)),
    "nearest": lambda x: tf.image.resize(x, (11, 9), "nearest"),
    "dense": lambda x: tf.matmul(tf.reshape(x, (8, 24)), RANDOM.normal(size=(24, 3)).astype(np.float32)),
    "arithmetic": lambda x: (x * 2 - 1) / (tf.abs(x) + 1) + tf.square(x),
    "softmax": lambda x: tf.nn.log_softmax(x) + tf.nn.softmax(x),
    "activations": lambda x: tf.nn.leaky_relu(x, 0.3) + tf.nn.relu6(x) + tf.tanh(x),
    "reductions": lambda x: tf.reduce_mean(x, (1, 2)) + tf.reduce_max(x, (1, 2)),
    "slices": lambda x: x[:, 1:7:2, ::-1, tf.newaxis, 1],
    "pad": lambda x: tf.pad(tf.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0))), ((0, 0), (2, 1), (0, 0), (0, 0)), "REFLECT"),
    "symmetric pad": lambda x: tf.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), "SYMMETRIC"),
    "split and concat": lambda x: tf.concat(tf.split(x, 2, 3)[::-1], 1),
    "depth to space": lambda x: tf.nn.depth_to_space(x, 2),
    "space to depth": lambda x: tf.nn.space_to_depth(x, 2),
    "gather and transpose": lambda x: tf.transpose(tf.gather(x, [2, 0], axis=2), (0, 3, 1, 2)),
    "select": lambda x: tf.where(x > 0, x, x * x),
    "l2": lambda x: tf.math.l2_normalize(x, -1),
    "one hot of argmax": lambda x: tf.one_hot(tf.argmax(x, 3), 4),
}


def converter_of(function: Callable[[Any], Any], shape: tuple[int, ...] = IMAGE) -> Any:
    signature = [tf.TensorSpec(shape, tf.float32, name="x")]
    concrete = tf.function(function, input_signature=signature).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())


def interpreter_of(content: bytes) -> Any:
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_REF
    interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return interpreter


def interpreted(content: bytes, x: Any) -> Any:
    interpreter = interpreter_of(content)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def predicted(content: bytes, x: Any, folder: Path) -> Any:
    artifact = convert_tflite(parse_graph(content, "model"), "float32", folder / "a.mlpackage")
    (name,), (output,) = artifact.input_names.values(), artifact.output_names.values()
    return portable.load(artifact.path).predict({name: x})[output]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Ours and the interpreter's by the names of ``CASES``, which are the outputs of one model."""
    content = converter_of(lambda x: [function(x) for function in CASES.values()]).convert()
    x = RANDOM.normal(size=IMAGE).astype(np.float32)
    runner = interpreter_of(content).get_signature_runner()
    expected = runner(x=x)
    graph = parse_graph(content, "model")
    artifact = convert_tflite(graph, "float32", tmp_path_factory.mktemp("floats") / "a.mlpackage")
    found = portable.load(artifact.path).predict({"x": x})
    outputs = graph.interface().outputs
    in_order = sorted(outputs, key=lambda name: graph.subgraphs[0].outputs.index(outputs[name]))
    pairs = [(found[artifact.output_names[name]], expected[name]) for name in in_order]
    return dict(zip(CASES, pairs, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_float(name: str, results: dict[str, tuple[Any, Any]]) -> None:
    found, expected = results[name]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected).max() > 1e-2  # zeros would fail


def small_network(x: Any) -> Any:
    x = tf.nn.relu6(tf.nn.conv2d(x, KERNEL, 2, "SAME") + 0.1)
    return tf.nn.avg_pool2d(x, 2, 2, "SAME")


def test_full_integer(tmp_path: Path) -> None:
    converter = converter_of(small_network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    samples = RANDOM.normal(size=(20, *IMAGE)).astype(np.float32)
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    content = converter.convert()
    x = RANDOM.integers(-128, 128, IMAGE).astype(np.int8)
    expected = interpreted(content, x).astype(np.int32)
    found = predicted(content, x.astype(np.int32), tmp_path)
    steps = np.abs(found - expected)
    assert (steps <= 1).mean() >= 0.999
    assert np.abs(expected + 128).max() > 20  # an answer of the lowest value would fail


def test_what_has_no_name_in_the_file_takes_few_bytes(tmp_path: Path) -> None:
    content = converter_of(small_network).convert()
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    artifact = convert_tflite(path, "float16", tmp_path / "model.mlpackage")
    names = written_names(artifact.path)
    tensors = parse_graph(content, "model").subgraphs[0].tensors
    sources = {re.sub(r"\W", "_", tensor.name.split(";")[0]) for tensor in tensors}
    results = [name for name, kind in names.items() if kind in ("conv", "relu6", "avg_pool")]
    assert any(name.removesuffix("_cast_fp16") in sources for name in results)
    others = [name for name in names if name.removesuffix("_cast_fp16") not in sources | set(artifact.output_names)]
    assert others
    assert sum(len(name) <= 3 for name in others) >= len(others) / 2
    assert not any(re.search(r"_\d+_[a-z_]+_\d+$", name) for name in others)


def written_names(package: Path) -> dict[str, str]:
    """The types of a written program's operations by the names of their results."""
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    model.ParseFromString((package / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    return {result.name: operation.type for operation in block.operations for result in operation.outputs}


def test_float16_weights(tmp_path: Path) -> None:
    converter = converter_of(small_network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    content = converter.convert()
    x = RANDOM.normal(size=IMAGE).astype(np.float32)
    np.testing.assert_allclose(predicted(content, x, tmp_path), interpreted(content, x), atol=1e-4)


def test_everything_that_stands_in_the_way_is_told(tmp_path: Path) -> None:
    content = converter_of(lambda x: x + tf.random.uniform(IMAGE)).convert()
    with pytest.raises(UnsupportedError, match="RANDOM_UNIFORM"):
        predicted(content, np.zeros(IMAGE, np.float32), tmp_path)


def test_damaged_files(tmp_path: Path) -> None:
    models = fuzz.models(("float32", "int8"))
    found = outcomes_of(range(40), models, fuzz.damaged_model, _converted_or_refused, tmp_path, ".tflite")
    outcomes = [outcome for _, outcome in found if outcome != "begin"]
    assert set(outcomes) == {"refused", "converted"}


def _converted_or_refused(path: Path, package: Path) -> str:
    return fuzz.judged(path, package, None)


# Sums of products, new scales, means, pools, tables and resizing, one after the other: an error in the rounding of one
# would spread.
def scaled_network(x: Any) -> Any:
    y = tf.nn.conv2d(x, KERNEL, 1, "SAME") + 0.1
    y = y * tf.nn.relu6(y + 3.0) * np.float32(1 / 6)
    gate = tf.sigmoid(tf.reduce_mean(y, (1, 2), keepdims=True) * 3.0)
    y = tf.nn.leaky_relu(tf.nn.conv2d_transpose(y * gate, KERNEL, (1, 16, 12, 4), 2, "SAME"), 0.3)
    y = tf.concat([tf.nn.avg_pool2d(y, 2, 2, "SAME"), x], 3)
    y = tf.nn.depthwise_conv2d(y, np.concatenate([DEPTHWISE, DEPTHWISE], 2), (1, 1, 1, 1), "SAME")
    y = tf.compat.v1.image.resize_bilinear(y, (11, 9))
    return tf.nn.softmax(tf.abs(y) - tf.nn.relu(y * 0.7))


@pytest.mark.parametrize("kind", [tf.int8, tf.uint8])
def test_integers_are_the_reference_kernels(kind: Any, tmp_path: Path) -> None:
    converter = converter_of(scaled_network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    samples = RANDOM.normal(size=(20, *IMAGE)).astype(np.float32)
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = kind
    content = converter.convert()
    x = RANDOM.integers(0, 256, IMAGE).astype(np.uint8).view(kind.as_numpy_dtype)
    expected = interpreted(content, x).astype(np.int32)
    difference = np.abs(predicted(content, x.astype(np.int32), tmp_path) - expected)
    assert (difference == 0).mean() >= 0.99
    assert difference.max() <= 1
    assert np.ptp(expected) > 50


def test_float16_weights_stay_so(tmp_path: Path) -> None:
    converter = converter_of(lambda x: tf.matmul(tf.reshape(x, (1, 192)), RANDOM.normal(size=(192, 300)).astype("f4")))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    content = converter.convert()
    artifact = convert_tflite(parse_graph(content, "model"), "float32", tmp_path / "a.mlpackage")
    size = sum(file.stat().st_size for file in artifact.path.rglob("*") if file.is_file())
    assert size < 1.1 * len(content)


SCALES = {"scales": (0.1,)}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (Tensor((1, 4)), Tensor((1, 4), "int8")),
        (Tensor((1, 4)), Tensor((1, 4), "int8", **SCALES)),
        (Tensor((1, 4), "int16", **SCALES), Tensor((1, 4))),
        (Tensor((1, 4)), Tensor((1, 4), "float16")),
    ],
    ids=["integers", "quantised of reals", "reals of quantised", "float16 of float32"],
)
def test_a_result_that_its_tensor_cannot_hold(given: Tensor, made: Tensor, tmp_path: Path) -> None:
    """As in a damaged file."""
    content = one_operator("SOFTMAX", [given], [made], {"beta": 1.0})
    with pytest.raises(ConversionError, match=rf"SOFTMAX.*cannot hold.*{made.dtype}"):
        convert_tflite(parse_graph(content, "model"), "float32", tmp_path / "a.mlpackage")


def test_zero_points_of_channels_that_the_kernel_passes_over(tmp_path: Path) -> None:
    """As in a damaged file: weights of a scale for each channel have zero points of 0."""
    inputs = [
        Tensor((1, 3), "int8", **SCALES),
        Tensor((2, 3), "int8", np.ones((2, 3)), scales=(0.01, 0.02), zero_points=(5, 0)),
    ]
    content = one_operator("FULLY_CONNECTED", inputs, [Tensor((1, 2), "int8", **SCALES)], version=4)
    with pytest.raises(ConversionError, match=r"FULLY_CONNECTED.*zero points of channels; received \[5, 0\]"):
        convert_tflite(parse_graph(content, "model"), "float32", tmp_path / "a.mlpackage")


def test_a_bias_that_the_kernel_cannot_add(tmp_path: Path) -> None:
    """As in a damaged file: the interpreter's 32 bits of a result run over."""
    inputs = [
        Tensor((1, 3), "int16", scales=(1e-4,)),
        Tensor((2, 3), "int8", np.ones((2, 3)), scales=(0.01,)),
        Tensor((2,), "int64", [5, 10**15], scales=(1e-6,)),
    ]
    content = one_operator("FULLY_CONNECTED", inputs, [Tensor((1, 2), "int16", **SCALES)], version=4)
    with pytest.raises(ConversionError, match=r"FULLY_CONNECTED.*32 bits.*1e\+15"):
        convert_tflite(parse_graph(content, "model"), "float32", tmp_path / "a.mlpackage")
