"""``python -m tests.frontends.onnx.fuzz 2000 --seed 1``: damaged ``.onnx`` files, each a typed error or a conversion.

Bytes are changed, cut and doubled; and fields of the model are changed so that it can still be read (types, sizes,
names, attributes). Each batch of files has a process of its own: a crash or a hang is told with its seed.
"""

from __future__ import annotations

import argparse
import collections
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import onnx

from harness.errors import HarnessError

BATCH = 50
SECONDS_PER_FILE = 60


def models() -> list[bytes]:
    """Small models of ONNX's suite and a convolutional network."""
    from harness.suites.onnx_cases import cases
    from tests.frontends.onnx.test_convert import image_model

    chosen = [case.model.SerializeToString() for case in cases("node")[::45] if case.model is not None]
    return [image_model().SerializeToString(), *chosen]


def damaged_bytes(content: bytes, choose: random.Random) -> bytes:
    """Bytes changed, cut off or doubled."""
    data = bytearray(content)
    for _ in range(choose.choice((1, 2, 5, 20))):
        data[choose.randrange(len(data))] = choose.randrange(256)
    kind = choose.randrange(4)
    if kind == 0:
        del data[choose.randrange(len(data)) :]
    elif kind == 1:
        start = choose.randrange(len(data))
        data[start:start] = data[start : start + choose.randrange(1, 40)]
    return bytes(data)


def damaged_model(content: bytes, choose: random.Random) -> bytes:
    """A model that can be read, and says something else."""
    proto = onnx.ModelProto()
    proto.ParseFromString(content)
    for _ in range(choose.choice((1, 2, 4))):
        _change(proto, choose)
    return proto.SerializeToString()


def _change(proto: Any, choose: random.Random) -> None:
    graph = proto.graph
    values = [*graph.input, *graph.output]
    node = choose.choice(graph.node) if graph.node else None
    kind = choose.randrange(7)
    if kind == 0 and values:
        dims = choose.choice(values).type.tensor_type.shape.dim
        if dims:
            choose.choice(dims).dim_value = choose.choice((0, -1, 1, 2, 7, 2**31, 2**62))
    elif kind == 1 and values:
        choose.choice(values).type.tensor_type.elem_type = choose.randrange(0, 30)
    elif kind == 2 and node is not None and node.input:
        node.input[choose.randrange(len(node.input))] = choose.choice(["", "nowhere", *[v.name for v in values]])
    elif kind == 3 and node is not None and node.attribute:
        attribute = choose.choice(node.attribute)
        if attribute.ints:
            attribute.ints[choose.randrange(len(attribute.ints))] = choose.choice((-(2**62), -1, 0, 1, 3, 2**31, 2**62))
        else:
            attribute.i = choose.choice((-(2**62), -1, 0, 1, 3, 2**31, 2**62))
    elif kind == 4 and graph.initializer:
        tensor = choose.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[choose.randrange(len(tensor.dims))] = choose.choice((0, -1, 1, 3, 2**40))
    elif kind == 5:
        for item in proto.opset_import:
            item.version = choose.choice((-1, 0, 6, 7, 11, 13, 18, 24, 999))
    elif node is not None:
        node.op_type = choose.choice(["Relu", "Concat", "Reshape", "Loop", "Resize", "Nothing", "Conv", "Gather"])


def run_batch(seeds: list[int], folder: Path) -> None:
    """In a process of its own: a line for each seed before and after it."""
    from harness.frontends.onnx.convert import convert_onnx

    contents = models()
    for seed in seeds:
        choose = random.Random(seed)
        content = choose.choice(contents)
        damage = damaged_bytes if choose.random() < 0.5 else damaged_model
        path = folder / "damaged.onnx"
        path.write_bytes(damage(content, choose))
        print("begin", seed, flush=True)
        try:
            artifact = convert_onnx(path, "float32", folder / "a.mlpackage")
            print("end", seed, _agreement(path, artifact), flush=True)
        except HarnessError:
            print("end", seed, "refused", flush=True)
        except Exception as error:
            print("end", seed, f"untyped {type(error).__name__}: {str(error)[:100]}", flush=True)


def _agreement(path: Path, artifact: Any) -> str:
    """Whether what was converted says what ONNX Runtime says, on random inputs; where that can be asked."""
    import numpy as np

    from harness.runtimes import portable
    from harness.runtimes.onnxruntime import OnnxRuntime, open_onnx

    random_ = np.random.default_rng(0)
    try:
        source = open_onnx(path, "damaged")
        inputs = {
            spec.name: random_.uniform(0, 2, [size or 2 for size in spec.shape]).astype(spec.dtype)
            for spec in source.inputs
        }
        from harness.artifact import Artifact

        expected = OnnxRuntime().load(Artifact(path, "onnx"), "CPU", "float32").predict(inputs)
    except (HarnessError, TypeError, ValueError, MemoryError):
        return "converted, no reference"
    try:
        given = {artifact.input_names[name]: value for name, value in inputs.items() if name in artifact.input_names}
        found = portable.load(artifact.path).predict(given)
    except HarnessError as error:
        return f"converted, refused when run: {str(error)[:80]}"
    for name, wanted in expected.items():
        got = np.asarray(found[artifact.output_names[name]], np.float64)
        if wanted.dtype == object or got.size != wanted.size:
            return f"WRONG size of {name}: {got.shape}, not {wanted.shape}"
        if not np.allclose(got.reshape(wanted.shape), wanted.astype(np.float64), atol=1e-3, rtol=1e-3, equal_nan=True):
            return f"WRONG {name}"
    return "converted, equal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", nargs=2, type=int)
    arguments = parser.parse_args()
    if arguments.batch:
        with tempfile.TemporaryDirectory() as folder:
            run_batch(list(range(*arguments.batch)), Path(folder))
        return
    outcomes: collections.Counter[str] = collections.Counter()
    seed, last = arguments.seed, arguments.seed + arguments.count
    while seed < last:
        end = min(seed + BATCH, last)
        command = [sys.executable, "-m", "tests.frontends.onnx.fuzz", "0", "--batch", str(seed), str(end)]
        start = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_PER_FILE * 5, check=False)
            output, status = done.stdout, done.returncode
        except subprocess.TimeoutExpired as error:
            output, status = (error.stdout or b"").decode(), -1
        lines = [line.split(" ", 2) for line in output.splitlines() if line.startswith(("begin", "end"))]
        for word, number, *rest in lines:
            if word == "end":
                outcomes[rest[0].split(":")[0]] += 1
                if rest[0].startswith(("untyped", "WRONG")):
                    print(number, rest[0])
        finished = [int(line[1]) for line in lines if line[0] == "end"]
        if status != 0 or len(finished) < end - seed:
            began = [int(line[1]) for line in lines if line[0] == "begin"]
            culprit = began[-1] if began else seed
            outcomes["hung" if status == -1 else "crashed"] += 1
            print(f"seed {culprit}: the process ended with {status} after {time.monotonic() - start:.0f} s")
            seed = culprit + 1
        else:
            seed = end
    print(dict(outcomes))


if __name__ == "__main__":
    main()
