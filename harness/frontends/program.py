"""MIL programs that a frontend builds: inputs and outputs, constants, names, and the package they are written to."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifact import Artifact, place_package
from harness.errors import UnsupportedError
from harness.frontends.blame import blame
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.ranks import lower_ranks
from harness.frontends.specification import all_operations, specification_of
from harness.quiet import quiet_conversion, quiet_imports
from harness.tensors import MAXIMUM_RANK, Array, TensorSpec

# A flexible dimension of no declared bound: Core ML wants one (coremltools, RangeDim).
DEFAULT_UPPER_BOUND = 4096
# ... where the tensor is no image: a minute of sound is about a million samples.
LONGEST_SEQUENCE = 1 << 20

_INT32 = np.iinfo(np.int32)


def narrowed(array: Array) -> Array:
    """A constant in a type that MIL computes with: float32, float16, int32 or bool.

    64-bit integers beyond 32 bits are clipped, as they stand for "to the end" in slices; UnsupportedError for types
    that MIL does not know.
    """
    kind = array.dtype.kind
    if array.dtype in (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int32), np.dtype(np.bool_)):
        return array
    if kind == "f" and array.dtype.itemsize == 8:
        return array.astype(np.float32)
    if kind in "iu":
        return np.clip(array, _INT32.min, _INT32.max).astype(np.int32)
    raise UnsupportedError("a constant has a type that MIL does not compute with", received=array.dtype)


@dataclass
class Scope:
    """Values by name in one block, and those of the blocks around it. Constants are written once for each block."""

    parent: Scope | None = None
    values: dict[str, Value] = field(default_factory=dict)
    written: dict[str, Var] = field(default_factory=dict)

    def find(self, name: str) -> Value | None:
        """The value of that name, here or outside; None where there is none."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return None

    def materialize(self, name: str) -> Var:
        """The value of that name as a MIL value. Raises KeyError where there is none."""
        value = self.find(name)
        if value is None:
            raise KeyError(name)
        if not isinstance(value, np.ndarray):
            return value
        scope: Scope | None = self
        while scope is not None:
            if name in scope.written:
                return scope.written[name]
            scope = scope.parent
        self.written[name] = constant(value, name)
        return self.written[name]


# coremltools' passes change small constants, biases among them, in place.
_CHANGED_IN_PLACE = 1 << 16


def _writable(array: Array) -> Array:
    """A copy of a small constant that is read-only, as those of files are."""
    return array if array.flags.writeable or array.size > _CHANGED_IN_PLACE else array.copy()


def constant(array: Array, name: str | None = None) -> Var:
    """A constant of the program that is being built."""

    keywords = {} if name is None else {"name": name}
    value: Var = mb.const(val=_writable(narrowed(np.asarray(array))), **keywords)
    return value


def as_var(value: Value) -> Var:
    """``value`` as a MIL value."""
    return constant(value) if isinstance(value, np.ndarray) else value


def identifier(name: str, role: str, taken: set[str]) -> str:
    """A name that Core ML takes for a feature: letters, digits and underscores, different from those before."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not clean or clean[0].isdigit():
        clean = f"{role}_{clean}"
    candidates = (f"{clean}_{count}" if count else clean for count in range(len(taken) + 1))
    unique = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(unique)
    return unique


class Names:
    """Gives the values of a program the names that they have in the source graph."""

    def __init__(self) -> None:
        self._named: set[int] = set()
        self._kept: list[Var] = []
        self.given: set[str] = set()

    def give(self, value: Value, name: str) -> None:
        """Name a value that has no name of its own yet."""
        if isinstance(value, np.ndarray) or value.op is None or id(value) in self._named:
            return
        self._named.add(id(value))
        self._kept.append(value)
        self.given.add(name)
        value.name = name
        if len(value.op.outputs) == 1:
            value.op.name = name


@dataclass(frozen=True)
class InputRange:
    """Bounds of one flexible dimension."""

    lower: int = 1
    upper: int = DEFAULT_UPPER_BOUND


class ProgramBuilder:
    """One function, ``main``. Inputs have MIL's types; what Core ML cannot take as a model's input is cast inside.

    ``ranges`` bounds flexible dimensions by input name and axis. ``target`` names a member of ``coremltools.target``;
    ``states`` last from one prediction to the next, in float16, and are given with the inputs.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        target: str = "iOS17",
        ranges: Mapping[tuple[str, int], InputRange] | None = None,
        states: Sequence[TensorSpec] = (),
    ) -> None:
        with quiet_imports():
            import coremltools
            from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types

        self.target = target
        self.inputs = tuple(inputs)
        kinds = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}
        placeholders, input_types = {}, []
        for spec in self.inputs:
            shape, declared = [], []
            for axis, size in enumerate(spec.shape or (1,)):
                upper = DEFAULT_UPPER_BOUND if len(spec.shape) > 3 else LONGEST_SEQUENCE
                bounds = (ranges or {}).get((spec.name, axis), InputRange(1, upper))
                shape.append(get_new_symbol() if size is None else size)
                declared.append(coremltools.RangeDim(bounds.lower, bounds.upper) if size is None else size)
            kind = kinds["int32" if _is_integer(spec.dtype) else spec.dtype]
            placeholders[spec.name] = mb.placeholder(shape=tuple(shape), dtype=kind)
            if None in spec.shape:
                input_types.append(coremltools.TensorType(name=spec.name, shape=coremltools.Shape(declared)))
        for spec in states:
            placeholders[spec.name] = mb.state_tensor_placeholder(shape=spec.shape, dtype=types.fp16)
        self.states = tuple(states)
        self.program = Program()
        self.function = Function(placeholders, opset_version=getattr(coremltools.target, target))
        if input_types:
            self.function.set_input_types(tuple(input_types))

    @contextmanager
    def building(self) -> Iterator[dict[str, Var]]:
        """Operations go into the function; gives its inputs by name, in the source's rank and as bool where so
        declared."""

        with self.function:
            values = {}
            for spec in self.inputs:
                value: Var = self.function.inputs[spec.name]
                if spec.shape == ():
                    value = mb.squeeze(x=value, axes=[0])
                if spec.dtype == "bool":
                    value = mb.cast(x=value, dtype="bool")
                values[spec.name] = value
            yield values | {spec.name: self.function.inputs[spec.name] for spec in self.states}

    def finish(self, outputs: Mapping[str, Value]) -> None:
        """Declare the outputs, by name. Inputs and constants that are returned as they are get a copy."""

        given = {id(value) for value in self.function.inputs.values()}
        results: list[Var] = []
        for name, value in outputs.items():
            result = as_var(value)
            is_new = id(result) not in given and result.op is not None and result.op.op_type != "const"
            if is_new and all(result is not other for other in results):
                result.name = name
                if len(result.op.outputs) == 1:
                    result.op.name = name
            else:
                result = mb.identity(x=result, name=name)
            results.append(result)
        self.function.set_outputs(results)
        self.program.add_function("main", self.function)


def _is_integer(dtype: str) -> bool:
    return dtype == "bool" or dtype.startswith(("int", "uint"))


# coremltools' passes that our programs need, in order. Each was found to take time linear in the count of operations.
_PASSES = (
    "common::dead_code_elimination",
    "common::cast_optimization",
    "common::noop_elimination",
    "common::const_elimination",
    "common::divide_to_multiply",
    "common::add_conv_transpose_output_shape",
    "common::fuse_matmul_weight_bias",
    "common::fuse_linear_bias",
    "common::fuse_gelu_tanh_approximation",
    "common::fuse_gelu_exact",
    "common::fuse_leaky_relu",
    "common::rank0_expand_dims_swap",
    "common::fuse_squeeze_expand_dims",
    "common::compose_conv1d",
    "common::use_reflection_padding",
    "common::merge_consecutive_paddings",
    "common::fuse_pad_conv",
    "common::merge_consecutive_transposes",
    "common::reduce_transposes",
    "common::fuse_conv_scale",
    "common::fuse_conv_bias",
    "common::fuse_elementwise_to_batchnorm",
    "common::fuse_conv_batchnorm",
    "common::fuse_conv_scale",
    "common::fuse_conv_bias",
    "common::fuse_prelu",
    "common::prelu_to_lrelu",
    "common::merge_consecutive_relus",
    "common::merge_consecutive_reshapes",
    "common::merge_consecutive_transposes",
    "common::fuse_transpose_matmul",
    "common::expand_high_rank_reshape_and_transpose",
    "common::reduce_transposes",
    "common::dedup_op_and_var_names",
)
_TYPE_PASSES = ("common::update_output_dtypes", "common::const_elimination", "common::cast_optimization")
_FINAL_PASSES = (
    "common::const_elimination",
    "common::const_deduplication",
    "common::dead_code_elimination",
    "common::noop_elimination",
    "common::dedup_op_and_var_names",
    "common::topological_reorder",
    "common::dead_code_elimination",
    "mil_backend::adjust_io_to_supported_types",
    "mil_backend::fuse_activation_silu",
    "common::const_elimination",
    "common::cast_optimization",
    "common::dead_code_elimination",
    "mil_backend::sanitize_name_strings",
    "common::dedup_op_and_var_names",
    "nn_backend::handle_unused_inputs",
)


def write_program(
    builder: ProgramBuilder, precision: str, destination: Path, provenance: Mapping[str, str], what: str,
    source_names: Collection[str] | None = None,
) -> Artifact:  # fmt: skip
    """Optimise a finished program, write it as an ``.mlpackage`` and describe it. ``source_names`` are those that the
    source graph gave to values: all others are shortened, if they are known.

    Raises ConversionError where coremltools' passes or its writer fail.
    """
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
    from coremltools.models.utils import save_spec

    program = builder.program
    with quiet_conversion(), tempfile.TemporaryDirectory() as weights:
        with blame(what, f"cannot be written with at most {MAXIMUM_RANK} axes"):
            lower_ranks(program, what)
        casts = ("common::add_fp16_cast",) if precision == "float16" else ()
        for name in (*_PASSES, *casts, *_TYPE_PASSES, *_FINAL_PASSES):
            if name == "common::reduce_transposes" and not _has_transposes(program):
                continue
            with blame(what, f"cannot be written as an ML Program: coremltools' pass {name} failed"):
                PASS_REGISTRY[name](program)
        with blame(what, "cannot be written as an ML Program"):
            program._check_early_error_out_for_invalid_program()
            _share_small_constants(program)
            if source_names is not None:
                _shorten_names(program, source_names)
            specification = specification_of(program, weights, builder.function.opset_version.value)
            place_package(destination, lambda package: save_spec(specification, str(package), weights_dir=weights))
    specs = {spec.name: spec for spec in builder.inputs}
    return Artifact(
        path=destination,
        format="mlprogram",
        inputs=tuple(specs.values()),
        outputs=tuple(
            TensorSpec(feature.name, tuple(int(size) for size in feature.type.multiArrayType.shape))
            for feature in specification.description.output
        ),
        provenance={**provenance, "precision": precision, "minimum_deployment_target": builder.target},
    )


# coremltools shares those that are larger, if they are nearly equal.
_LARGEST_SHARED = 100


def _share_small_constants(program: Any) -> None:
    """One constant for all that are the same: each takes about a hundred bytes of a package."""
    for function in program.functions.values():
        found: dict[tuple[Any, ...], Any] = {}
        shared = []
        with function:
            for operation in list(function.operations):
                if operation.op_type != "const" or np.size(operation.val.val) > _LARGEST_SHARED:
                    continue
                # What is written is the variable's: slice_by_index replaces the stride of an axis that it drops there.
                variable, value = operation.outputs[0], np.asarray(operation.outputs[0].val)
                key = (variable.dtype, value.dtype.str, value.shape, value.tobytes())
                first = found.setdefault(key, variable)
                if first is not variable and variable not in function.outputs:
                    function.replace_uses_of_var_after_op(anchor_op=operation, old_var=variable, new_var=first)
                    shared.append(operation)
            function.remove_ops(shared)


# What coremltools' builder and its casts make of an operation's type, or of its name for the constants it is given.
_AUTOMATIC = re.compile(r"(op|[a-z]\w*)_\d+(_[a-z]\w*_\d+)?(_cast_fp16|_to_fp16|_promoted)*")
_CASTS = re.compile(r"(_cast_fp16|_to_fp16|_promoted)+$")


def _shorten_names(program: Any, source_names: Collection[str]) -> None:
    """Names of two or three letters for values that have none in the source graph: a package holds each twice, and
    again wherever the value is read. Those of functions' outputs stay."""
    kept = {re.sub(r"\W", "_", name, flags=re.ASCII) for name in source_names}
    for function in program.functions.values():
        operations = list(all_operations(function))
        taken = {variable.name for operation in operations for variable in operation.outputs} | set(function.inputs)
        taken |= {operation.name for operation in operations}
        short = (name for name in _short_names() if name not in taken)
        outputs = {id(variable) for variable in function.outputs}
        for operation in operations:
            if len(operation.outputs) != 1 or id(operation.outputs[0]) in outputs:
                continue
            if _is_automatic(operation) and _CASTS.sub("", operation.name) not in kept:
                operation.name = operation.outputs[0].name = next(short)


def _is_automatic(operation: Any) -> bool:
    if not _AUTOMATIC.fullmatch(operation.name):
        return False
    return operation.op_type == "const" or operation.name.startswith((f"{operation.op_type}_", "op_"))


def _short_names() -> Iterator[str]:
    """c0, c1, ... c9, ca, ... in base 36."""
    return (f"c{np.base_repr(count, 36).lower()}" for count in itertools.count())


def _has_transposes(program: Any) -> bool:
    return any(operation.op_type == "transpose" for function in program.functions.values()
               for operation in function.operations)  # fmt: skip
