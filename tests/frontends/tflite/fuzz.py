"""``python -m tests.frontends.tflite.fuzz 2000 --seed 1``: damaged ``.tflite`` files, each a typed error or converted.

Bytes are changed, cut and doubled; and fields of the model are changed so that it can still be read (operators,
versions, options, shapes, types, buffers, quantisation, indices). What is converted is compared with the interpreter,
which has a process of its own, as it may crash.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifact import Artifact
from harness.errors import HarnessError
from harness.quiet import quiet_imports
from tests.frontends.fuzzing import main, outcomes_of

SHAPE = (1, 8, 6, 4)
NUMBERS = (-(2**31), -2, -1, 0, 1, 2, 3, 5, 7, 100, 2**31 - 1)


FORMS = ("float32", "float16", "dynamic", "int8", "int16")


@functools.cache
def models(chosen: tuple[str, ...] = FORMS) -> list[bytes]:
    """Small networks of several operators: in floats, with float16 and int8 weights, in integers throughout."""
    with quiet_imports():
        import tensorflow as tf
    random_ = np.random.default_rng(7)
    kernel, matrix = (random_.normal(0, 0.3, shape).astype(np.float32) for shape in ((3, 3, 4, 5), (60, 3)))

    def network(x: Any) -> Any:
        y = tf.nn.relu6(tf.nn.conv2d(x, kernel, 1, "SAME") + 0.1)
        y = tf.concat([tf.nn.max_pool2d(y, 2, 2, "SAME"), tf.nn.avg_pool2d(y, 2, 2, "SAME")], 3)[:, :, :, 2:7]
        return tf.nn.softmax(tf.matmul(tf.reshape(y, (1, 60)), matrix)), tf.reduce_mean(y * 2.0, (1, 2))

    def moves(x: Any) -> Any:
        y = tf.transpose(tf.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))[:, 1:9:2], (0, 2, 1, 3))
        return tf.gather(tf.split(y, 2, 3)[1], [1, 0], axis=1) + tf.image.resize(x, (4, 2))[:, :2, :1, :1]

    contents = []
    for function, forms in (
        (network, FORMS),
        (moves, ("float32", "int8")),
    ):
        signature = [tf.TensorSpec(SHAPE, tf.float32, name="x")]
        concrete = tf.function(function, input_signature=signature).get_concrete_function()
        for form in (form for form in forms if form in chosen):
            converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
            if form != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if form == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if form.startswith("int"):
                samples = random_.normal(size=(8, *SHAPE)).astype(np.float32)
                converter.representative_dataset = lambda samples=samples: ([sample] for sample in samples)
                sets = tf.lite.OpsSet
                wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
                converter.target_spec.supported_ops = [
                    sets.TFLITE_BUILTINS_INT8 if form == "int8" else wide, sets.TFLITE_BUILTINS
                ]  # fmt: skip
            contents.append(converter.convert())
    return contents


def damaged_model(content: bytes, choose: random.Random) -> bytes:
    """A model that can be read, and says something else."""
    with quiet_imports():
        from tensorflow.lite.tools import flatbuffer_utils
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for _ in range(choose.choice((1, 1, 2, 4))):
        _change(model, choose)
    try:
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    except Exception:  # what flatbuffers cannot write
        return content


def _change(model: Any, choose: random.Random) -> None:
    graph = choose.choice(model.subgraphs)
    tensor, operator = choose.choice(graph.tensors), choose.choice(graph.operators)
    kind = choose.choice(
        ("code", "version", "options", "shape", "type", "buffer", "scales", "indices", "ends", "bytes")
    )
    if kind == "code":
        operator.opcodeIndex = choose.randrange(len(model.operatorCodes) + 1)
    elif kind == "version":
        code = choose.choice(model.operatorCodes)
        code.version = choose.choice((0, 1, 2, 3, 9, 100))
        if choose.random() < 0.5:
            code.builtinCode = choose.randrange(210)
    elif kind == "options" and operator.builtinOptions is not None:
        fields = [name for name, value in vars(operator.builtinOptions).items() if isinstance(value, int)]
        if fields:
            setattr(operator.builtinOptions, choose.choice(fields), choose.choice(NUMBERS))
    elif kind == "shape" and tensor.shape is not None and len(tensor.shape):
        tensor.shape = [int(size) for size in tensor.shape]
        tensor.shape[choose.randrange(len(tensor.shape))] = choose.choice(NUMBERS)
    elif kind == "type":
        tensor.type = choose.randrange(19)
    elif kind == "buffer":
        tensor.buffer = choose.randrange(len(model.buffers) + 1)
    elif kind == "scales" and tensor.quantization is not None and tensor.quantization.scale is not None:
        part = choose.choice(("scale", "zeroPoint", "quantizedDimension"))
        if part == "quantizedDimension":
            tensor.quantization.quantizedDimension = choose.choice(NUMBERS)
        else:
            values = list(getattr(tensor.quantization, part))
            change = choose.choice(("drop", "repeat", "set"))
            given = (0.0, -1.0, 1e-30, 1e30, float("nan"), 0.5) if part == "scale" else (-1000, -128, 0, 5, 127, 2**40)
            values = {"drop": values[:-1], "repeat": values * 2, "set": [choose.choice(given), *values[1:]]}[change]
            setattr(tensor.quantization, part, values)
    elif kind == "indices":
        part = choose.choice(("inputs", "outputs"))
        values = [int(index) for index in getattr(operator, part)]
        if values:
            values[choose.randrange(len(values))] = choose.randrange(-2, len(graph.tensors) + 1)
            setattr(operator, part, values)
    elif kind == "ends":
        part = choose.choice(("inputs", "outputs"))
        setattr(graph, part, [choose.randrange(-1, len(graph.tensors) + 1) for _ in range(choose.randrange(4))])
    elif kind == "bytes":
        buffer = choose.choice(model.buffers)
        if buffer.data is not None and len(buffer.data):
            data = np.array(buffer.data, np.uint8)
            data[choose.randrange(len(data))] = choose.randrange(256)
            buffer.data = data[: choose.choice((len(data), len(data) - 1))]


def run_batch(seeds: list[int], folder: Path) -> Iterable[tuple[int, str]]:
    """What becomes of each seed's file."""
    reference = Reference()
    try:
        yield from outcomes_of(
            seeds, models(), damaged_model, lambda path, package: judged(path, package, reference), folder, ".tflite"
        )
    finally:
        reference.close()


class Reference:
    """The interpreter in a process of its own, which is started anew after a crash."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def predict(self, path: Path, inputs: dict[str, Any]) -> dict[str, Any] | str:
        """Outputs, or why there are none."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            return self._pool.submit(_interpreted, path, inputs).result(timeout=60)
        except (BrokenProcessPool, TimeoutError):
            self.close()
            return "it crashed"

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _interpreted(path: Path, inputs: dict[str, Any]) -> dict[str, Any] | str:
    from harness.runtimes.tflite import TFLiteRuntime

    try:
        return TFLiteRuntime().load(Artifact(path, "tflite"), "CPU", "float32").predict(inputs)
    except HarnessError as error:
        return str(error)


def judged(path: Path, package: Path, reference: Reference | None) -> str:
    """Whether what was converted says what the interpreter says, on random inputs; where that can be asked."""
    from harness.frontends.tflite.convert import convert_tflite
    from harness.frontends.tflite.reader import read_graph
    from harness.runtimes import portable

    graph = read_graph(path)
    artifact = convert_tflite(graph, "float32", package)
    if reference is None:
        return "converted"
    random_ = np.random.default_rng(0)
    inputs = {
        name: random_.uniform(0, 2, [size or 1 for size in spec.shape]).astype(spec.dtype)
        for name, spec in zip(artifact.input_names, artifact.inputs, strict=True)
    }
    expected = reference.predict(path, inputs)
    if isinstance(expected, str):
        return "converted, no reference"
    integers = {"int64": np.int32, "int16": np.int32, "int8": np.int32, "uint8": np.int32}
    given = {
        artifact.input_names[name]: value.astype(integers.get(str(value.dtype), value.dtype))
        for name, value in inputs.items()
    }
    try:
        found = portable.load(artifact.path).predict(given)
    except HarnessError as error:
        return f"converted, refused when run: {str(error)[:80]}"
    for name, wanted in expected.items():
        got = np.asarray(found[artifact.output_names[name]], np.float64)
        if got.size != wanted.size:
            return f"WRONG size of {name}: {got.shape}, not {wanted.shape}"
        wanted = wanted.astype(np.float64)
        span = float(np.ptp(wanted[np.isfinite(wanted)])) if np.isfinite(wanted).any() else 0.0
        # Integers and what they make of floats: a step; activations that the interpreter rounds as it runs: a little.
        if not np.allclose(got.reshape(wanted.shape), wanted, atol=max(1e-3, 0.02 * span), rtol=1e-3, equal_nan=True):
            return f"WRONG {name}: {np.abs(got.reshape(wanted.shape) - wanted).max():.3g} of {span:.3g}"
    return "converted, equal"


if __name__ == "__main__":
    main("tests.frontends.tflite.fuzz", __doc__, run_batch)
