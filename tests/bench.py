"""``make bench``: the portable runtime against ONNX Runtime on tf2onnx's export of the same U-Net.

``tf2onnx export`` runs on ONNX Runtime with all defaults. 256x256x3, channels 32 to 256, random weights of a
fixed seed. All three are timed in one interleaved
schedule; only ratios of one run are printed, since absolute times are this machine's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from harness.case import ModelCase, load_case
from harness.quiet import quiet_imports
from harness.routes.native import NativeRoute
from harness.runtimes import portable
from harness.runtimes.tensorflow import FrozenGraph, load_frozen, load_graph
from harness.timing import Timing, interleave

MODELS = Path(__file__).parent.parent / "models"


def benchmark_graph() -> FrozenGraph:
    """The U-Net of models/unet.py, with other channels and random weights."""
    build = load_case(MODELS / "unet.py").build
    assert build is not None
    return load_graph(ModelCase("benchmark_unet", build=build.__globals__["benchmark_unet"]))


def onnx_session(graph: FrozenGraph):  # type: ignore[no-untyped-def]
    """An ONNX Runtime session on tf2onnx's export, all defaults."""
    with quiet_imports():
        import onnxruntime
        import tf2onnx

        model, _ = tf2onnx.convert.from_graph_def(
            graph.graph_def,
            input_names=[f"{spec.name}:0" for spec in graph.inputs],
            output_names=[f"{spec.name}:0" for spec in graph.outputs],
            opset=18,
        )
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console()
    graph = benchmark_graph()
    (spec,) = graph.inputs
    image = np.random.default_rng(arguments.seed).random(spec.shape, np.float32)
    session = onnx_session(graph)
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float32", "float16"):
            artifact = NativeRoute().convert(graph, precision, Path(folder) / f"{precision}.mlpackage")
            models[precision] = portable.load(artifact.path, numerics=precision)
    (name,) = (spec.name for spec in models["float32"].features.inputs)
    targets = {
        "tf2onnx export": lambda: session.run(None, {session.get_inputs()[0].name: image})[0],
        "portable float32": lambda: next(iter(models["float32"].predict({name: image}).values())),
        "portable float16": lambda: next(iter(models["float16"].predict({name: image}).values())),
    }
    expected = next(iter(load_frozen(graph).predict({spec.name: image}).values()))
    errors = {label: float(np.abs(target() - expected).max()) for label, target in targets.items()}
    timings = interleave(targets, samples=arguments.samples, warm_up=5, seed=arguments.seed)
    print_ratios(console, timings, errors)


def print_ratios(console: Console, timings: dict[str, Timing], errors: dict[str, float]) -> None:
    """Median times, and paired ratios: each round's, so that drift of the machine cancels."""
    table = Table("runtime", "median ms", "ratio", "of", "bound", "max error", box=None, header_style="bold")
    onnx, float32, float16 = timings
    bounds = {float32: (onnx, 1.0), float16: (float32, 1.15)}
    for label, timing in timings.items():
        assert timing.median is not None
        row = [label, f"{timing.median * 1e3:.1f}", "", "", "", f"{errors[label]:.1e}"]
        if label in bounds:
            base, bound = bounds[label]
            ratio = np.median(np.array(timing.samples) / np.array(timings[base].samples))
            row[2:5] = [f"{ratio:.3f}", base, f"{bound:.2f}"]
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
