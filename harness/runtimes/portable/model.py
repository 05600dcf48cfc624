"""A loaded model of the portable runtime."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError, PackageError, UnknownNameError, UnsupportedError
from harness.memory import return_freed_memory
from harness.runtimes.portable import ops  # noqa: F401 (fills the tables of implementations)
from harness.runtimes.portable.compiler import CompiledBlock, Compiler
from harness.runtimes.portable.features import Features, read_features
from harness.runtimes.portable.numerics import Numerics, check_numerics
from harness.runtimes.portable.ops.state import StateBuffer
from harness.runtimes.portable.package import open_package
from harness.runtimes.portable.program import Block, Function, StateType, TensorType, Type, Value, read_program
from harness.tensors import Array

# Flexible models are compiled once for each set of input shapes; this many are kept.
_COMPILED_SHAPES = 8


class State:
    """The buffers of one stateful session, zero at first. Not to be shared between threads."""

    def __init__(self, buffers: dict[str, Array]) -> None:
        self.buffers = buffers

    def read_state(self, name: str) -> Array:
        """A copy of a buffer; InputError where there is no such state."""
        self._check(name)
        return self.buffers[name].copy()

    def write_state(self, name: str, value: Any) -> None:
        """Replace what a buffer holds; InputError for an unknown name or another shape."""
        self._check(name)
        old, new = self.buffers[name], np.array(value)
        if new.shape != old.shape:
            raise InputError(f"state {name!r} has another shape", received=new.shape, supported=str(old.shape))
        self.buffers[name] = new.astype(old.dtype)

    def _check(self, name: str) -> None:
        if name not in self.buffers:
            raise InputError(f"there is no state {name!r}", supported=sorted(self.buffers))


class PortableModel:
    """A function of a converted program, ready to predict. ``predict`` may be called from several
    threads at once."""

    def __init__(
        self, function: Function, features: Features, numerics: Numerics, observe: frozenset[str], name: str
    ) -> None:
        self.name = name
        self.function = function
        self.features = features
        self.numerics = numerics
        known = set(_observable(function.block)) | {spec.name for spec in features.inputs}
        for unknown in sorted(observe - known):
            raise UnknownNameError(
                f"model {name} computes no value of that name",
                received=repr(unknown),
                supported=get_close_matches(unknown, known) or sorted(known)[:10],
            )
        self._observe = observe
        self._compiled: OrderedDict[tuple[tuple[int, ...], ...], CompiledBlock] = OrderedDict()
        self._lock = threading.Lock()
        if not any(spec.is_flexible for spec in features.inputs):
            self._compile({})

    def new_state(self) -> State:
        """Zeroed state buffers for ``predict(..., state=)``."""
        buffers = {}
        for value in self.features.states:
            assert isinstance(value.type, StateType)
            tensor = value.type.tensor
            buffers[value.name] = np.zeros([size or 1 for size in tensor.shape], tensor.storage)
        return State(buffers)

    def predict(self, inputs: Mapping[str, Any], state: State | None = None) -> dict[str, Any]:
        """Outputs by name, as ``coremltools.models.MLModel.predict`` returns them.

        ``inputs``: arrays in the declared shapes, PIL images where the model declares images.
        Raises InputError for inputs that do not fit and PredictionError where execution fails.
        """
        return self._run(inputs, state)[0]

    def observe(self, inputs: Mapping[str, Any], state: State | None = None) -> dict[str, Array]:
        """The values named by ``observe`` at loading, by their MIL names; a value of a branch that was not
        taken is absent."""
        return self._run(inputs, state)[1]

    def _run(self, inputs: Mapping[str, Any], state: State | None) -> tuple[dict[str, Any], dict[str, Array]]:
        if self.features.states and state is None:
            raise InputError(
                f"model {self.name} keeps state and none was given",
                supported=[value.name for value in self.features.states],
                remedy="Pass state=model.new_state()",
            )
        arrays: dict[str, Any] = dict(self.features.arrays(inputs, self.function, self.numerics, self.name))
        block = self._compile({name: array.shape for name, array in arrays.items()})
        if state is not None:
            arrays |= {value.name: StateBuffer(state.buffers, value.name) for value in self.features.states}
        observed: dict[str, Array] = {}
        values = dict(zip(block.outputs, block.run(arrays, observed), strict=True))
        # The caller may write into what it receives: not into the model's constants or its own inputs.
        for name in values.keys() & (block.constants.keys() | arrays.keys()):
            values[name] = copy(values[name])
        return self.features.results(values), observed

    def _compile(self, shapes: dict[str, tuple[int, ...]]) -> CompiledBlock:
        flexible = [spec.name for spec in self.features.inputs if spec.is_flexible]
        key = tuple(shapes[name] for name in flexible)
        with self._lock:
            if key not in self._compiled:
                if len(self._compiled) >= _COMPILED_SHAPES:
                    self._compiled.popitem(last=False)
                types: dict[str, Type] = {}
                for value in self.function.inputs:
                    types[value.name] = _with_shape(value, shapes.get(value.name))
                compiler = Compiler(self.numerics, self.function.opset, self._observe)
                self._compiled[key] = compiler.block(self.function.block, types, {})
                return_freed_memory()
            self._compiled.move_to_end(key)
            return self._compiled[key]


def _observable(block: Block) -> Iterator[str]:
    """Names of all values that a block computes, those of inner blocks included."""
    for operation in block.operations:
        yield from (output.name for output in operation.outputs)
        for inner in operation.blocks:
            yield from (value.name for value in inner.inputs)
            yield from _observable(inner)


def _with_shape(value: Value, shape: tuple[int, ...] | None) -> Type:
    if shape is None or not isinstance(value.type, TensorType):
        return value.type
    return TensorType(value.type.dtype, shape)


def load(
    path: str | Path,
    numerics: str = "float32",
    function: str | None = None,
    observe: Iterable[str] = (),
) -> PortableModel:
    """Load a converted package for execution on any machine.

    ``numerics`` is ``float32`` or ``float16`` (see numerics.py); ``function`` one of a multi-function
    package's; ``observe`` names of intermediate values for ``PortableModel.observe``.
    Raises ModelFileError, PackageError, UnsupportedError, UnknownNameError or PredictionError.
    """
    checked = check_numerics(numerics)
    path = Path(path)
    model, weights = open_package(path)
    return load_spec(model, weights, checked, function, observe, path.name)


def load_spec(
    model: Any,
    weights: Path,
    numerics: Numerics,
    function: str | None = None,
    observe: Iterable[str] = (),
    name: str = "model",
) -> PortableModel:
    """As ``load``, from a ``Model_pb2.Model`` in memory."""
    if model.WhichOneof("Type") != "mlProgram":
        raise UnsupportedError(
            f"model {name} is not an ML Program", received=model.WhichOneof("Type"), supported=["mlProgram"]
        )
    try:
        program = read_program(model.mlProgram, weights)
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise PackageError(
            f"the program of {name} is damaged", received=repr(error), remedy="Convert the model again"
        ) from error
    description = model.description
    described = {item.name: item for item in description.functions}
    chosen = function or description.defaultFunctionName or "main"
    if chosen not in program.functions:
        raise UnknownNameError(
            f"model {name} has no such function", received=repr(chosen), supported=sorted(program.functions)
        )
    features = read_features(described.get(chosen, description), program.functions[chosen])
    names = frozenset(observe)
    return PortableModel(program.functions[chosen], features, numerics, names, name)
