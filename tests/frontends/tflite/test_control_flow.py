"""Branches, loops and variables, against the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.inspection import count_operations
from harness.quiet import quiet_imports
from harness.runtimes import portable
from tests.frontends.tflite.cases import control_flow as functions
from tests.frontends.tflite.cases.control_flow import KERNEL, with_quantized_variable, with_variables

with quiet_imports():
    import tensorflow as tf

RANDOM = np.random.default_rng(23)


def converted(function: Callable[..., Any], *shapes: Any, module: Any = None) -> bytes:
    specs = [
        shape if isinstance(shape, tf.TensorSpec) else tf.TensorSpec(shape, tf.float32, name=f"x{index}")
        for index, shape in enumerate(shapes)
    ]
    concrete = tf.function(function).get_concrete_function(*specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], module or tf.Module()).convert()


def interpreter_of(content: bytes) -> Any:
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_REF
    interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return interpreter


def compared(content: bytes, inputs: Sequence[Any], folder: Path, variables_last: bool = False, **options: Any) -> Any:
    """The package, after its outputs were found to be the interpreter's for each set of ``inputs``."""
    graph = parse_graph(content, "model")
    artifact = convert_tflite(graph, "float32", folder / "a.mlpackage", **options)
    model = portable.load(artifact.path)
    run = interpreter_of(content).get_signature_runner(graph.interface().name)
    state = model.new_state() if variables_last else None
    seen = []
    for values in inputs:
        given = dict(zip(graph.interface().inputs, values, strict=True))
        found = model.predict(given, state)
        for name, wanted in run(**given).items():
            np.testing.assert_allclose(found[artifact.output_names[name]].reshape(wanted.shape), wanted, atol=1e-4)
            seen.append(wanted)
    assert max(np.abs(item).max() for item in seen) > 1e-2
    return artifact


SMALL = [[np.array([[1, 2, 3.5]], np.float32)], [np.array([[-4, 1, 0.5]], np.float32)]]
IMAGES = [[np.float32(sign) + RANDOM.normal(size=(1, 6, 5, 4)).astype(np.float32)] for sign in (0.5, -0.5)]
CASES: dict[str, tuple[Callable[..., Any], list[list[Any]], set[str], set[str]]] = {
    "branch": (functions.branch, SMALL, {"cond"}, set()),
    "branch of images": (functions.branch_of_images, IMAGES, {"cond"}, set()),
    "nested branches": (functions.nested, SMALL, {"cond"}, set()),
    "loop": (functions.until_large, SMALL, {"while_loop"}, set()),
    "loop of images": (functions.of_images, IMAGES, {"while_loop"}, set()),
    "counted loop": (functions.counted, SMALL, set(), {"while_loop"}),
    "long loop": (functions.many_turns, SMALL, {"while_loop"}, set()),
    "growing": (functions.growing, SMALL, {"while_loop"}, set()),
    "growing by count": (functions.growing_by_count, SMALL, set(), {"while_loop"}),
    "loop in branch": (functions.loop_in_branch, SMALL, {"cond", "while_loop"}, set()),
    "branch in loop": (functions.branch_in_loop, SMALL, {"cond", "while_loop"}, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_control_flow(name: str, tmp_path: Path) -> None:
    function, inputs, present, absent = CASES[name]
    artifact = compared(converted(function, inputs[0][0].shape), inputs, tmp_path)
    operations = set(count_operations(artifact.path))
    assert present <= operations
    assert not absent & operations


def test_a_branch_of_integers(tmp_path: Path) -> None:
    """Integers cross into subgraphs. (TFLite's calibrator does not survive loops.)"""

    def function(x: Any) -> Any:
        y = tf.nn.relu(tf.nn.conv2d(x, KERNEL, 1, "SAME"))
        z = tf.cond(tf.reduce_mean(x) > 0.125, lambda: tf.nn.conv2d(y, KERNEL, 1, "SAME"), lambda: y[:, ::-1])
        return tf.nn.avg_pool2d(z + y, 2, 1, "VALID")

    concrete = tf.function(function).get_concrete_function(tf.TensorSpec(IMAGES[0][0].shape, name="x"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: IMAGES * 4
    content = converter.convert()
    graph = parse_graph(content, "model")
    assert any(tensor.dtype == "int8" for subgraph in graph.subgraphs[1:] for tensor in subgraph.tensors)
    artifact = convert_tflite(graph, "float32", tmp_path / "a.mlpackage")
    assert count_operations(artifact.path)["cond"] == 1
    run = interpreter_of(content).get_signature_runner()
    for (value,) in IMAGES:
        (expected,) = run(x=value).values()
        (found,) = portable.load(artifact.path).predict({"x": value}).values()
        assert np.abs(found - expected).max() < 0.02 * np.ptp(expected)


def test_a_call_stands_for_its_subgraph(tmp_path: Path) -> None:
    """No kernel of the interpreter calls: one operator is moved into a subgraph of its own by hand."""
    with quiet_imports():
        import flatbuffers
        from tensorflow.lite.python import schema_py_generated as generated
    content = bytearray(converted(lambda x: tf.nn.relu(x) - 1, (1, 3)))
    model = generated.ModelT.InitFromObj(generated.Model.GetRootAs(content, 0))
    (main,) = model.subgraphs
    called = generated.ModelT.InitFromObj(generated.Model.GetRootAs(content, 0)).subgraphs[0]
    called.name = "called"
    code = generated.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = generated.BuiltinOperator.CALL
    code.version = 1
    operator = generated.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes), main.inputs, main.outputs
    operator.builtinOptionsType, operator.builtinOptions = (
        generated.BuiltinOptions.CallOptions,
        generated.CallOptionsT(),
    )
    operator.builtinOptions.subgraph = 1
    model.operatorCodes.append(code)
    model.subgraphs.append(called)
    main.operators = [operator]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    graph = parse_graph(bytes(builder.Output()), "model")
    assert [item.name for item in graph.subgraphs[0].operators] == ["CALL"]
    artifact = convert_tflite(graph, "float32", tmp_path / "a.mlpackage")
    for (value,) in SMALL:
        (found,) = portable.load(artifact.path).predict({"x0": value}).values()
        np.testing.assert_allclose(found, np.maximum(value, 0) - 1, atol=1e-6)


@pytest.mark.parametrize("method", ["read_only", "assigned_before_it_is_read"])
def test_variables_of_one_prediction(method: str, tmp_path: Path) -> None:
    artifact = compared(with_variables(method, (3, 1, -2)), [*SMALL, *SMALL], tmp_path)
    assert not {"read_state", "write_state"} & set(count_operations(artifact.path))


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ("lasting", (0, 0, 0)),
        ("lasting", (3, 1, -2)),
        ("lasting_in_a_branch", (3, 1, -2)),
        ("lasting_in_a_loop", (0, 0, 0)),
    ],
)
def test_variables_that_last(method: str, first: Sequence[float], tmp_path: Path) -> None:
    """Values that float16 holds exactly, as state is float16."""
    content = with_variables(method, first)
    artifact = compared(content, [*SMALL, *SMALL[::-1], *SMALL], tmp_path, variables_last=True)
    assert artifact.provenance["minimum_deployment_target"] == "iOS18"
    with pytest.raises(UnsupportedError, match=r"from one prediction to the next.*iOS18"):
        convert_tflite(parse_graph(content, "model"), "float32", tmp_path / "b.mlpackage", target="iOS17")


@pytest.mark.parametrize("first", [0.0, 1.25])
def test_quantized_variables_that_last(first: float, tmp_path: Path) -> None:
    """Their integers are state, which float16 holds exactly: the interpreter's results to the last bit."""
    content = with_quantized_variable(first)
    graph = parse_graph(content, "model")
    artifact = convert_tflite(graph, "float32", tmp_path / "a.mlpackage")
    assert artifact.provenance["minimum_deployment_target"] == "iOS18"
    (name,), (result,) = artifact.input_names.values(), artifact.output_names.values()
    model, interpreter = portable.load(artifact.path), interpreter_of(content)
    state, seen = model.new_state(), []
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    for _ in range(8):
        value = RANDOM.integers(-128, 128, source["shape"]).astype(np.int8)
        interpreter.set_tensor(source["index"], value)
        interpreter.invoke()
        seen.append(interpreter.get_tensor(target["index"]))
        found = model.predict({name: value.astype(np.int32)}, state)[result]
        np.testing.assert_array_equal(found, seen[-1])
    assert np.ptp(np.asarray(seen, np.int32)) > 100
