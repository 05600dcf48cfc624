"""Lists of tensors (coremltools ``iOS15/control_flow.py``); TensorFlow's TensorArray becomes one.

A list is a value: every write returns another list, so that loops and branches cannot disturb each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.errors import PredictionError
from harness.runtimes.portable.program import ListType, storage_dtype
from harness.runtimes.portable.registry import kernel
from harness.tensors import Array


@dataclass(frozen=True, eq=False)
class TensorList:
    """Tensors of one shape; an element that was never written is None and reads as zeros.

    ``element_shape`` has None for a size that only the written elements know. A list that ``grows``
    is extended by a write behind its end (coremltools ``ops/tests/iOS14/test_control_flow.py``).
    """

    elements: tuple[Array | None, ...]
    element_shape: tuple[int | None, ...]
    dtype: np.dtype[np.generic]
    grows: bool

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def _written_shape(self) -> tuple[int | None, ...]:
        """The shape of an element that was written, else the declared one."""
        return next((element.shape for element in self.elements if element is not None), self.element_shape)

    def read(self, index: int) -> Array:
        """The element at ``index``; PredictionError outside of the list."""
        if not 0 <= index < len(self):
            raise PredictionError("the index is outside of the list", received=index, supported=f"0..{len(self) - 1}")
        element = self.elements[index]
        if element is not None:
            return element
        shape = [size for size in self._written_shape if size is not None]
        if len(shape) != len(self._written_shape):
            raise PredictionError(
                f"element {index} is read before any is written, and its shape is unknown",
                received=self.element_shape,
                remedy="Give the list a static element shape in the source model",
            )
        return np.zeros(shape, self.dtype)

    def gather(self, indices: Iterable[int]) -> Array:
        """The elements at ``indices``, stacked along a new first axis."""
        elements = [self.read(index) for index in indices]
        if elements:
            return np.stack(elements)
        return np.zeros((0, *(size or 0 for size in self._written_shape)), self.dtype)

    def written(self, writes: Iterable[tuple[int, Array]]) -> TensorList:
        """This list with elements replaced; later writes win."""
        elements = list(self.elements)
        for index, value in writes:
            if index < 0 or (index >= len(elements) and not self.grows):
                raise PredictionError(
                    "the index is outside of the list", received=index, supported=f"0..{len(elements) - 1}"
                )
            if len(value.shape) != len(self.element_shape) or any(
                wanted not in (None, size) for wanted, size in zip(self.element_shape, value.shape, strict=True)
            ):
                raise PredictionError(
                    "the value has another shape than the list's elements",
                    received=value.shape,
                    supported=self.element_shape,
                )
            elements.extend([None] * (index + 1 - len(elements)))
            elements[index] = value.astype(self.dtype)
        return replace(self, elements=tuple(elements))


@kernel("make_list")
def make_list(
    elem_shape: list[Array] | None = None,
    init_length: int = 1,
    dynamic_length: bool = True,
    dtype: str = "fp32",
    *,
    outputs: tuple[ListType, ...],
) -> TensorList:
    """A list of zeros; a name in ``elem_shape`` stands for a size known at run time, and where it is
    absent the declared type has the shape."""
    shape: Sequence[Any] = [np.asarray(size).item() for size in elem_shape or ()] or outputs[0].element.shape
    sizes = tuple(size if isinstance(size, int) else None for size in shape)
    return TensorList((None,) * init_length, sizes, storage_dtype(dtype), dynamic_length)


@kernel("list_length")
def list_length(ls: TensorList) -> Array:
    """How many elements the list has, written or not."""
    return np.array(len(ls), np.int32)


@kernel("list_write")
def list_write(ls: TensorList, index: int, value: Array) -> TensorList:
    """The list with ``value`` at ``index``."""
    return ls.written([(index, value)])


@kernel("list_read", moves=True)
def list_read(ls: TensorList, index: int) -> Array:
    """The element at ``index``, zeros where none was written."""
    return ls.read(index)


@kernel("list_gather", moves=True)
def list_gather(ls: TensorList, indices: tuple[int, ...]) -> Array:
    """The elements at ``indices``, stacked."""
    return ls.gather(indices)


@kernel("list_scatter")
def list_scatter(ls: TensorList, indices: tuple[int, ...], value: Array) -> TensorList:
    """The list with ``value[k]`` at ``indices[k]``."""
    if len(indices) != len(value):
        raise PredictionError("there is not one value for each index", received=f"{len(value)} for {len(indices)}")
    return ls.written(zip(indices, value, strict=True))
