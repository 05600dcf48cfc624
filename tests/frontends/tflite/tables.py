"""What the modules of the table share: inputs in short, and models of one operator with all their options."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.suites.tflite_cases import Case, Input
from tests.frontends.tflite.building import Tensor, one_operator

RANDOM = np.random.default_rng(5)


def floats(*shapes: tuple[int | None, ...], low: float = -1, high: float = 1) -> tuple[Input, ...]:
    """float32 inputs."""
    return tuple(Input(shape, "float32", low, high) for shape in shapes)


def ints(*shapes: tuple[int | None, ...], low: int = -9, high: int = 9, dtype: str = "int32") -> tuple[Input, ...]:
    """Inputs of integers."""
    return tuple(Input(shape, dtype, low, high) for shape in shapes)


def flexible(*pairs: tuple[tuple[int | None, ...], tuple[int, ...]], low: float = -1, high: float = 1) -> Any:
    """float32 inputs of flexible sizes, and the sizes that are run."""
    return tuple(Input(shape, "float32", low, high, given=given) for shape, given in pairs)


def weights(*shape: int, scale: float = 0.3) -> Any:
    return RANDOM.normal(0, scale, shape).astype(np.float32)


def made(
    operator: str, name: str, inputs: tuple[Any, ...], outputs: list[Tensor] | Tensor,
    options: dict[str, Any] | None = None, version: int = 1, constant: bool = False, tolerance: float = 1e-4,
) -> Case:  # fmt: skip
    """A case of a model made by hand; ``inputs`` are Inputs, constants (``building.constant``) and None."""
    given = tuple(item for item in inputs if isinstance(item, Input))
    tensors = [Tensor(item.shape, item.dtype) if isinstance(item, Input) else item for item in inputs]
    results = outputs if isinstance(outputs, list) else [outputs]
    model = one_operator(operator, tensors, results, options, version)
    return Case(operator, name, model, given, constant=constant, tolerance=tolerance)
