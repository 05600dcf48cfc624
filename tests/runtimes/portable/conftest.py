"""Builds small MIL programs and executes them on the portable runtime."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

from pathlib import Path

from harness.runtimes import portable
from harness.runtimes.portable.numerics import Numerics
from tests.runtimes.portable.executed import record_predictions

record_predictions()

# coremltools collects garbage in every conversion, which takes 0.4 s where all of its modules are scanned.
gc.freeze()

Run = Callable[..., list[Any]]


def load_program(
    program: Any,
    *,
    numerics: Numerics = "float32",
    target: Any = ct.target.iOS18,
    precision: str = "float32",
    observe: Sequence[str] = (),
    **options: Any,
) -> portable.PortableModel:
    """A MIL program as converted (``options`` of ct.convert) and loaded; no graph pass simplifies it where
    ``precision`` is float32."""
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT16 if precision == "float16" else ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY if precision == "float32" else ct.PassPipeline.DEFAULT,
        skip_model_load=True,
        **options,
    )
    return portable.load_spec(model.get_spec(), Path(model.weights_dir), numerics, observe=observe)


def run_program(
    build: Callable[..., Any],
    inputs: Mapping[str, np.ndarray],
    *,
    numerics: Numerics = "float32",
    target: Any = ct.target.iOS18,
    precision: str = "float32",
    shapes: Mapping[str, Sequence[Any]] | None = None,
) -> list[Any]:
    """Outputs, in order, of the program that ``build`` makes of MIL inputs named as ``inputs``.

    No graph pass simplifies the program first. ``shapes`` declares other shapes than those of the
    arrays; a size may be a ``ct.RangeDim``.
    """
    dtypes = {"float32": ct.converters.mil.mil.types.fp32, "float16": ct.converters.mil.mil.types.fp16,
              "int32": ct.converters.mil.mil.types.int32, "bool": ct.converters.mil.mil.types.bool}  # fmt: skip
    declared = {name: tuple((shapes or {}).get(name, array.shape)) for name, array in inputs.items()}
    specs = [
        mb.TensorSpec([getattr(size, "symbol", size) for size in declared[name]], dtypes[array.dtype.name])
        for name, array in inputs.items()
    ]
    types = [ct.TensorType(name, shape) for name, shape in declared.items()] if shapes else None
    signature = ", ".join(inputs)
    function: Any = eval(f"lambda {signature}: build({signature})", {"build": build})
    program = mb.program(input_specs=specs, opset_version=target)(function)
    loaded = load_program(program, numerics=numerics, target=target, precision=precision, inputs=types)
    results = loaded.predict(inputs)
    return [results[output.name] for output in loaded.features.outputs]


@pytest.fixture
def run() -> Run:
    """``run(build, inputs, numerics=..., target=...)``; see run_program."""
    return run_program


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``last`` look back at the others."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)
