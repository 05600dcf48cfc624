"""Real ``.tflite`` files through the frontend, executed on the portable runtime, against the interpreter.

``python -m tests.frontends.tflite.files FILE...`` prints a row for each file: the greatest difference in any output
relative to that output's range, time to convert, sizes, operations and transposes that are left, or why there is none.
Each file has a process and a time limit of its own. Exit 1 where any file is wrong or failed.

A file whose error the interpreter's own two sets of kernels (reference, optimised) exceed when they are compared with
each other is ``ROUNDED``, not ok: its result hangs on the rounding of float32, and which is right cannot be said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifact import Artifact
from harness.errors import HarnessError, PredictionError
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.graph import Signature, TFLiteGraph
from harness.frontends.tflite.reader import parse_graph
from harness.inspection import count_operations
from harness.quiet import quiet_imports
from harness.runtimes import portable
from harness.runtimes.tflite import TFLiteRuntime

TOLERANCE = 1e-3  # of each output's range
_LEAST_RANGE = 1e-6  # of the magnitude: outputs that vary less are constant, and compared relative to the magnitude
_ROUNDS = 8  # through the inputs, where a model keeps state


def with_builtin_operators(content: bytes) -> bytes:
    """MediaPipe's ``Convolution2DTransposeBias`` as TRANSPOSE_CONV with a bias, which the interpreter knows."""
    if b"Convolution2DTransposeBias" not in content:
        return content
    with quiet_imports():
        import flatbuffers
        from tensorflow.lite.python import schema_py_generated as schema
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    custom = [i for i, code in enumerate(model.operatorCodes) if code.customCode == b"Convolution2DTransposeBias"]
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if operator.opcodeIndex not in custom:
                continue
            padding, stride_width, stride_height = np.frombuffer(bytes(operator.customOptions)[:12], np.int32)
            options = schema.TransposeConvOptionsT()
            options.padding, options.strideW, options.strideH = int(padding) - 1, int(stride_width), int(stride_height)
            operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.TransposeConvOptions, options
            operator.customOptions = None
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(
                np.array(subgraph.tensors[operator.outputs[0]].shape, "<i4").tobytes(), np.uint8
            )
            model.buffers.append(buffer)
            size = schema.TensorT()
            size.name, size.shape, size.type = b"output_shape", [4], schema.TensorType.INT32
            size.buffer = len(model.buffers) - 1
            subgraph.tensors.append(size)
            x, weight, bias = operator.inputs
            operator.inputs = [len(subgraph.tensors) - 1, weight, x, bias]
    for index in custom:
        code = model.operatorCodes[index]
        code.customCode, code.version = None, 3
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE_CONV
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def sensible_inputs(graph: TFLiteGraph, interface: Signature, seed: int = 5) -> Iterator[dict[str, Any]]:
    """A photograph in [0, 1], one in [-1, 1] (tones, where the input is no picture), and noise: for each input in its
    shape and type."""
    random = np.random.default_rng(seed)
    tensors = graph.subgraphs[interface.subgraph].tensors
    for kind in ("positive", "signed", "noise"):
        values = {}
        for name, index in interface.inputs.items():
            tensor = tensors[index]
            shape = concrete_shape(tensor.shape_signature or tensor.shape)
            is_picture = kind != "noise" and len(shape) == 4 and shape[3] in (1, 3)
            is_positive = is_picture and kind == "positive"
            if kind == "noise":
                real = random.normal(0, 0.3, shape).clip(-1, 1)
            else:
                real = _picture(shape) if is_picture else _tones(shape, random)
                real = 2 * real - 1 if is_picture and not is_positive else real
            dtype = np.dtype(tensor.dtype)
            if dtype.kind == "b":
                values[name] = np.asarray(real > 0.5)
            elif tensor.dtype in ("int8", "uint8", "int16"):
                bounds = np.iinfo(dtype)
                low = 0 if is_positive else -1
                values[name] = (bounds.min + (real - low) / (1 - low) * (bounds.max - bounds.min)).astype(dtype)
            elif dtype.kind in "iu":
                values[name] = (np.abs(real) * 100).astype(dtype)
            else:
                values[name] = real.astype(dtype)
        yield values


def concrete_shape(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Numbers for flexible sizes: a batch of 2, a second of sound, 64 of anything else."""
    rest = 16000 if len(shape) <= 2 else 64
    return tuple(size if size is not None else 2 if not axis and len(shape) > 1 else rest
                 for axis, size in enumerate(shape))  # fmt: skip


def _picture(shape: tuple[int, ...]) -> Any:
    """A part of a photograph, repeated where it is too small."""
    from harness.photographs import photograph

    pixels = photograph("astronaut", scale=max(shape[1:3]) / 512 * 1.2)[0, :, :, : shape[3]]
    rows, columns = (np.arange(size) % limit for size, limit in zip(shape[1:3], pixels.shape, strict=False))
    return np.broadcast_to(pixels[rows][:, columns], shape)


def _tones(shape: tuple[int, ...], random: Any) -> Any:
    """A mixture of sines along the last axis, in [-1, 1], with a little noise."""
    place = np.arange(shape[-1] if shape else 1)
    waves = sum(np.sin(place * frequency + phase) for frequency, phase in random.uniform(0.01, 1.5, (4, 2)))
    return np.clip(np.broadcast_to(waves.reshape(shape[-1:]) / 5, shape) + random.normal(0, 0.03, shape), -1, 1)


def difference(found: Any, expected: Any) -> float:
    """The greatest, relative to the range of what is expected; infinite where either is not finite or of one shape."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape or not (np.isfinite(found) == np.isfinite(expected)).all():
        return float("inf")
    if not expected.size:
        return 0.0
    finite = np.isfinite(expected)
    if not finite.any():
        return 0.0
    spread, magnitude = float(np.ptp(expected[finite])), float(np.abs(expected[finite]).max())
    if spread <= _LEAST_RANGE * magnitude:
        spread = magnitude
    error = float(np.abs(found - expected)[finite].max())
    return error / spread if spread else (float("inf") if error else 0.0)


def check_file(path: Path, precision: str = "float32", signature: str | None = None) -> dict[str, Any]:
    """One file's row."""
    row: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size}
    with tempfile.TemporaryDirectory() as folder:
        content = path.read_bytes()
        graph = parse_graph(content, path.stem)
        interface = graph.interface(signature)
        row["operators"] = len(graph.subgraphs[interface.subgraph].operators)
        started = time.perf_counter()
        has_state = any(item.name == "VAR_HANDLE" for subgraph in graph.subgraphs for item in subgraph.operators)
        artifact = convert_tflite(graph, precision, Path(folder, "a.mlpackage"), signature=signature)
        row["seconds"] = round(time.perf_counter() - started, 2)
        operations = count_operations(artifact.path)
        row.update(package=artifact.size_bytes, operations=operations.total(), transposes=operations["transpose"])
        row["warnings"] = artifact.warnings
        known = Path(folder, "known.tflite")
        known.write_bytes(with_builtin_operators(content))
        chosen = {} if signature is None else {"signature": signature}
        try:
            interpreter = TFLiteRuntime().load(Artifact(known, "tflite", provenance=chosen), "CPU", precision)
        except PredictionError as error:
            return row | {"unchecked": str(error)}
        model = portable.load(artifact.path)
        row["differences"] = dict.fromkeys(interface.outputs, 0.0)
        row["ranges"] = dict.fromkeys(interface.outputs, 0.0)
        # The interpreter's variables keep their values from one call to the next.
        state = model.new_state() if has_state else None
        for inputs in [*sensible_inputs(graph, interface)] * (_ROUNDS if has_state else 1):
            expected = interpreter.predict(inputs)
            given = {artifact.input_names[name]: _as_given(value) for name, value in inputs.items()}
            found = model.predict(given, state)
            errors = {}
            for name, value in expected.items():
                errors[name] = error = difference(found[artifact.output_names[name]].reshape(value.shape), value)
                row["differences"][name] = max(row["differences"][name], error)
                row["ranges"][name] = max(row["ranges"][name], float(np.ptp(value)))
            if max(errors.values(), default=0.0) > TOLERANCE and not has_state and interface.subgraph == 0:
                optimised = _by_optimised_kernels(known, interface, inputs)
                spreads = {name: difference(optimised[name], value) for name, value in expected.items()}
                is_rounding = all(error <= max(TOLERANCE, spreads[name]) for name, error in errors.items())
                row["is_rounding"] = is_rounding and row.get("is_rounding", True)
                row["kernels_differ"] = max(row.get("kernels_differ", 0.0), *spreads.values())
    return row


def _by_optimised_kernels(path: Path, interface: Signature, inputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs of the interpreter's other kernels, without a delegate."""
    with quiet_imports():
        import tensorflow as tf
    kind = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(str(path), experimental_op_resolver_type=kind)
    for name, index in interface.inputs.items():
        interpreter.resize_tensor_input(index, inputs[name].shape)
    interpreter.allocate_tensors()
    for name, index in interface.inputs.items():
        interpreter.set_tensor(index, inputs[name])
    interpreter.invoke()
    return {name: interpreter.get_tensor(index) for name, index in interface.outputs.items()}


def _as_given(value: Any) -> Any:
    value = value.astype(np.int32) if value.dtype.kind in "iub" else value
    return value.reshape(value.shape or (1,))


def _in_process(path: Path, limit: float, precision: str) -> dict[str, Any]:
    command = [sys.executable, "-m", __spec__.name, "--one", "--precision", precision, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"file": path.name, "error": f"not done in {limit:g} s"}
    if done.returncode:
        return {"file": path.name, "error": f"process ended with {done.returncode}: {done.stderr.strip()[-300:]}"}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _verdict(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"FAILED  {row['error']}"
    worst = max(row.get("differences", {}).values(), default=0.0)
    said = f"{len(row['warnings'])} warnings" if row["warnings"] else ""
    if "unchecked" in row:
        word, said = "UNCHECKED", row["unchecked"]
    elif worst <= TOLERANCE:
        word = "ok"
    elif row["warnings"]:
        word = "warned"
    elif row.get("is_rounding"):
        word, said = "ROUNDED", f"the interpreter's kernels differ by {row['kernels_differ']:.2e} from each other"
    else:
        word = "WRONG"
    return (
        f"{word:7} {worst:9.2e}  {row['seconds']:6.1f} s  {row['operators']:4d} -> {row['operations']:4d} operations, "
        f"{row['transposes']:3d} transposes, {row['bytes']:>9,} -> {row['package']:>9,} bytes {said}"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--limit", type=float, default=300, help="seconds for each file")
    parser.add_argument("--json", action="store_true", help="print rows as JSON lines")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        try:
            print(json.dumps(check_file(arguments.files[0], arguments.precision)))
        except HarnessError as error:
            print(json.dumps({"file": arguments.files[0].name, "error": f"{type(error).__name__}: {error}"}))
        return 0
    words: Counter[str] = Counter()
    for path in arguments.files:
        row = _in_process(path, arguments.limit, arguments.precision)
        verdict = _verdict(row)
        words[verdict.split()[0]] += 1
        print(json.dumps(row) if arguments.json else f"{path.stem[:52]:52} {verdict}", flush=True)
    counts = ", ".join(f"{count} {word}" for word, count in words.items())
    print(f"within {TOLERANCE:g} or warned: {words['ok'] + words['warned']} of {len(arguments.files)} ({counts})",
          file=sys.stderr)  # fmt: skip
    return 1 if words["FAILED"] or words["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
