"""Core ML cells through the stand-in: a Mac in the cell's process, this system in the test's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.artifact import Artifact
from harness.isolation import Limits
from harness.quiet import quiet_imports
from harness.runtimes.base import Isolation
from harness.runtimes.coreml.runtime import CoreMLRuntime
from harness.runtimes.portable.stand_in import Fault, Machine
from harness.tensors import Array
from harness.timing import Schedule, Stability

ENTRY = (sys.executable, "-m", "tests.runtimes.coreml.stand_in_cell")
ISOLATION = Isolation(limits=Limits(seconds=60), cool_down=0, longest_cool_down=0)
SCHEDULE = Schedule(samples=8, warm_up=Stability(most=12), seed=3)


def stand_in_runtime(*faults: Fault, **machine: object) -> CoreMLRuntime:
    """Core ML as that Mac would have it."""
    runtime = CoreMLRuntime()
    runtime.entry = ENTRY
    runtime.environment = Machine(faults=faults, **machine).environment()  # type: ignore[arg-type]
    runtime.unavailable = lambda: None  # type: ignore[method-assign]
    return runtime


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two outputs of one input: ``wide`` is twice ``x`` and a half, ``small`` its square root."""
    with quiet_imports():
        import coremltools as ct
        from coremltools.converters.mil.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 4))], opset_version=ct.target.iOS16)
    def program(x):  # type: ignore[no-untyped-def]
        return mb.add(x=mb.mul(x=x, y=np.float32(2)), y=np.float32(0.5), name="wide"), mb.sqrt(x=x, name="small")

    path = tmp_path_factory.mktemp("package") / "two.mlpackage"
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS16, skip_model_load=True)
    model.save(str(path))
    return Artifact(path, "mlprogram", provenance={"route": "by hand", "precision": "float16"})


@pytest.fixture(scope="session")
def picture_package(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A picture as bright as the input, and one of its channels."""
    with quiet_imports():
        import coremltools as ct
        from coremltools.converters.mil.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 6))], opset_version=ct.target.iOS16)
    def program(x):  # type: ignore[no-untyped-def]
        gray = mb.slice_by_size(x=x, begin=[0, 0, 0, 0], size=[1, 1, 4, 6])
        return mb.mul(x=x, y=np.float32(1), name="color"), mb.mul(x=gray, y=np.float32(1), name="gray")

    path = tmp_path_factory.mktemp("picture") / "picture.mlpackage"
    kinds = (ct.colorlayout.RGB, ct.colorlayout.GRAYSCALE)
    program.functions["main"].set_output_types([ct.ImageType(color_layout=kind) for kind in kinds])
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS16, skip_model_load=True)
    model.save(str(path))
    return Artifact(path, "mlprogram")


@pytest.fixture
def inputs() -> dict[str, Array]:
    return {"x": np.random.default_rng(0).random((1, 3, 4, 4), np.float32)}


Measure = Callable[..., object]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundles" / "cell"
