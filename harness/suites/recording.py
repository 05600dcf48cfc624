"""Observes what a test predicts, and what it compares the predictions with."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from harness.runtimes.portable.program import Block, Function, TensorType
from harness.runtimes.portable.stand_in import MLModelProxy, MLStateProxy
from harness.suites.comparisons import Comparison, compare
from harness.tensors import Array

# What tests call on predictions, where it stands, and whether it raises or returns its verdict.
_CHECKS: tuple[tuple[str, str], ...] = (
    ("numpy.testing", "assert_allclose"),
    ("numpy.testing", "assert_array_equal"),
    ("numpy.testing", "assert_equal"),
    ("numpy.testing", "assert_almost_equal"),
    ("numpy.testing", "assert_array_almost_equal"),
    ("numpy", "allclose"),
    ("numpy", "array_equal"),
)


@dataclass
class Recording:
    """What one test did. ``predictions`` are kept alive, so that an array is known by its identity.

    ``other_kinds`` counts models that are no ML Program. A test may expect an error of ``predict``; one of
    loading is only a warning to it.
    """

    ops: set[str] = field(default_factory=set)
    precision: Literal["float16", "float32"] = "float32"
    loads: int = 0
    calls: int = 0
    load_errors: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    other_kinds: int = 0
    predictions: list[Array] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)

    def is_prediction(self, value: Any) -> bool:
        """Whether ``value`` is a predicted array, or a view of one."""
        while isinstance(value, np.ndarray):
            if any(value is prediction for prediction in self.predictions):
                return True
            value = value.base
        return False

    def to_row(self) -> dict[str, Any]:
        """The part of a result row that this class knows."""
        return {
            "ops": sorted(self.ops),
            "precision": self.precision,
            "loads": self.loads,
            "calls": self.calls,
            "other_kinds": self.other_kinds,
            "load_errors": self.load_errors,
            "errors": self.errors,
            "comparisons": [dataclasses.asdict(comparison) for comparison in self.comparisons],
        }


class RecordingProxy(MLModelProxy):
    """The stand-in's model, noted in ``current``."""

    current: ClassVar[Recording] = Recording()

    def __init__(self, path: str, compute_unit: str, function_name: str, hints: Mapping[str, str], asset: Any) -> None:
        recording = RecordingProxy.current
        try:
            super().__init__(path, compute_unit, function_name, hints, asset)
        except Exception as error:  # coremltools makes a warning of a RuntimeError; others are slips of ours
            recording.load_errors.append(str(error) or type(error).__name__)
            raise
        recording.loads += 1
        recording.other_kinds += self.program is None

    def predict(self, inputs: dict[str, Any], state: MLStateProxy | None = None) -> dict[str, Any]:
        """See MLModelProxy.predict."""
        recording = RecordingProxy.current
        if not self.is_executed:
            return super().predict(inputs, state)
        recording.calls += 1
        if self.program is not None:
            note_program(recording, self.program)
        try:
            outputs = super().predict(inputs, state)
        except Exception as error:
            recording.errors.append(str(error) or type(error).__name__)
            raise
        recording.predictions += [value for value in outputs.values() if isinstance(value, np.ndarray)]
        return outputs


def note_program(recording: Recording, function: Function) -> None:
    """Note the op types of a program that is predicted with, and whether it computes in float16."""

    def walk(block: Block) -> Iterator[tuple[str, bool]]:
        for operation in block.operations:
            types = [output.type for output in operation.outputs]
            yield operation.type, any(isinstance(item, TensorType) and item.dtype == "fp16" for item in types)
            for inner in operation.blocks:
                yield from walk(inner)

    for name, is_float16 in walk(function.block):
        if name != "const":
            recording.ops.add(name)
        if is_float16:
            recording.precision = "float16"


def wrap_checks() -> None:
    """Note every comparison of a prediction in ``RecordingProxy.current``; the checks behave as before."""
    for module_name, name in _CHECKS:
        module = importlib.import_module(module_name)
        setattr(module, name, _recorded(getattr(module, name)))


def _recorded(check: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(check)
    names = list(signature.parameters)[:2]

    @functools.wraps(check)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        recording = RecordingProxy.current
        bound = signature.bind(*args, **kwargs)
        pair = [bound.arguments[name] for name in names]
        predicted = [recording.is_prediction(value) for value in pair]
        # Two predictions compared with each other say nothing about either.
        if sum(predicted) == 1:
            place = predicted.index(True)

            def own(answer: Array) -> bool:
                changed = signature.bind(*args, **kwargs)
                changed.arguments[names[place]] = answer
                try:
                    return check(*changed.args, **changed.kwargs) is not False
                except AssertionError:
                    return False

            expected = _numbers(pair[1 - place])
            if expected is not None:
                recording.comparisons.append(compare(pair[place], expected, own, recording.precision))
        return check(*args, **kwargs)

    return recorded


def _numbers(value: Any) -> Array | None:
    """``value`` as an array of numbers, if it is one."""
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        return None
    return array if array.dtype.kind in "biuf" else None
