"""What a model's inputs and outputs look like, and checks of arrays against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.errors import InputError

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

# Axes of a tensor that Core ML loads (coremltools, ``Program._check_invalid_tensor_rank``).
MAXIMUM_RANK = 5


@dataclass(frozen=True)
class ImageSpec:
    """An image feature: ``color`` is RGB, BGR, GRAYSCALE or GRAYSCALE_FLOAT16 as in Core ML."""

    color: str
    height: int
    width: int


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor. ``shape`` holds None for a flexible dimension; ``dtype`` is numpy's name.

    ``layout`` names the axes where they are known, one letter each (``NHWC``, ``NCHW``).
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    layout: str | None = None
    image: ImageSpec | None = None

    @property
    def is_flexible(self) -> bool:
        """Whether any dimension takes its size from the inputs."""
        return any(size is None for size in self.shape)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of ``shape`` fits."""
        return len(shape) == len(self.shape) and all(
            wanted is None or wanted == size for wanted, size in zip(self.shape, shape, strict=True)
        )

    def with_shape(self, shape: tuple[int, ...]) -> TensorSpec:
        """The same tensor with its flexible dimensions fixed."""
        return TensorSpec(self.name, shape, self.dtype, self.layout, self.image)


def describe_shape(shape: tuple[int | None, ...]) -> str:
    """``(1, ?, ?, 3)``."""
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


def as_declared(array: Array, spec: TensorSpec, model: str) -> Array:
    """An input in its declared type, without a copy where it has it. Raises InputError for another kind of numbers."""
    array = np.asarray(array)
    if not np.can_cast(array.dtype, spec.dtype, casting="same_kind"):
        raise InputError(
            f"input {spec.name!r} of model {model} has the wrong type",
            received=array.dtype,
            supported=spec.dtype,
            remedy="Convert the array",
        )
    return array.astype(spec.dtype, copy=False)


def check_inputs(specs: tuple[TensorSpec, ...], inputs: Mapping[str, Array], model: str) -> None:
    """Raise InputError unless ``inputs`` has one fitting array for every spec, and no other."""
    names = {spec.name for spec in specs}
    for name in inputs:
        if name not in names:
            raise InputError(f"model {model} has no input {name!r}", supported=sorted(names), remedy="Rename the input")
    for spec in specs:
        if spec.name not in inputs:
            raise InputError(
                f"input {spec.name!r} of model {model} is missing",
                received=sorted(inputs) or "no inputs",
                supported=f"{spec.dtype} {describe_shape(spec.shape)}",
                remedy="Give a value for it",
            )
        array = inputs[spec.name]
        if not spec.accepts(array.shape):
            raise InputError(
                f"input {spec.name!r} of model {model} has the wrong shape",
                received=describe_shape(array.shape),
                supported=describe_shape(spec.shape),
                remedy="Resize or reshape the input",
            )
