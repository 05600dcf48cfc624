"""A TensorFlow model as one frozen graph of fixed shapes, whose inputs and outputs have clean names."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import HarnessError, InputError, ModelFileError, one_line
from harness.quiet import quiet_imports
from harness.runtimes import model_safety
from harness.source import hash_of
from harness.tensors import Array, TensorSpec, describe_shape

# Sides tried to find which sizes a network takes; U-Nets want powers of two, of which 2 ** 7 is rare already.
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)


def import_tensorflow() -> Any:
    """The module, without what it prints while it loads and without its warnings afterwards."""
    if "tensorflow" not in sys.modules:
        with quiet_imports():
            import tensorflow
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


@dataclass(frozen=True)
class FrozenGraph:
    """A model as one graph without variables.

    ``function`` is a concrete function of tensors in the order of ``inputs``, which returns the list of ``outputs``.
    Every input is a Placeholder of ``graph_def`` and every output an Identity, with the very name of its spec. Shapes
    are fixed, but for output dimensions that depend on values, which are None.
    """

    name: str
    function: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    graph_def: Any
    format: str = "tensorflow"

    def content_hash(self) -> str:
        """SHA-256 of the graph with its weights, whatever the order of its nodes, which differs between processes."""
        library = self.graph_def.library
        functions = [
            (function.signature.name, [*_serialized(function.node_def), _bytes(_without_nodes(function))])
            for function in library.function
        ]
        parts = [("graph", _serialized(self.graph_def.node)), *sorted(functions)]
        return hash_of(((name.encode(), blocks) for name, blocks in parts), self.name)


def _serialized(nodes: Iterable[Any]) -> list[bytes]:
    return [_bytes(node) for node in sorted(nodes, key=lambda node: str(node.name))]


def _without_nodes(function: Any) -> Any:
    copy = type(function)()
    copy.CopyFrom(function)
    del copy.node_def[:]
    return copy


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class SourceModel:
    """A model that TensorFlow has opened, before its flexible dimensions are fixed.

    ``call`` takes tensors in the order of ``inputs`` and returns outputs by name. ``owner`` is kept alive for the
    variables that a function refers to weakly. ``origin`` names the model or file in messages; ``is_trusted`` tells
    whether its graph may reach outside (Python, files).
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    call: Callable[..., Mapping[str, Any]]
    owner: Any
    origin: str
    is_trusted: bool

    def freeze(self, shapes: Mapping[str, tuple[int, ...]] | None = None) -> FrozenGraph:
        """Fix the shapes and turn variables to constants.

        ``shapes`` holds shapes by input name; without one, an open batch is 1. Raises InputError where a size is
        missing or does not fit, ModelFileError where a weight is not finite or the graph is unsafe.
        """
        tf = import_tensorflow()
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        given = dict(shapes or {})
        for name in given:
            if name not in {spec.name for spec in self.inputs}:
                raise InputError(
                    f"{self.origin} has no input {name!r}",
                    supported=[spec.name for spec in self.inputs],
                    remedy="Rename the input",
                )
        inputs = tuple(spec.with_shape(self._fixed(spec, given.get(spec.name))) for spec in self.inputs)
        names: list[str] = []

        def outputs(*tensors: Any) -> tuple[Any, ...]:
            result = self.call(*tensors)
            names[:] = result
            return tuple(result.values())

        try:
            concrete = tf.function(outputs, autograph=False).get_concrete_function(
                *(tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in inputs)
            )
        except HarnessError:
            raise
        except Exception as error:  # any layer may refuse a shape in its own way
            sizes = ", ".join(f"{spec.name} {describe_shape(spec.shape)}" for spec in inputs)
            raise InputError(
                f"{self.origin} cannot be traced with {sizes}",
                received=one_line(error),
                remedy="Give inputs of another size",
            ) from error
        model_safety.check_finite(_variables(concrete), self.origin)
        if not self.is_trusted:
            model_safety.check_graph(concrete.graph.as_graph_def(), self.origin)
        # coremltools and tf2onnx read If and While, not the Switch and Merge that they would be lowered to.
        constant = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
        # Of constants NaN alone is refused: a mask may well be full of infinity.
        folded = model_safety.constants(constant.graph.as_graph_def())
        model_safety.check_finite(((name, values) for name, values in folded if np.isnan(values).any()), self.origin)
        return _with_clean_names(self.name, constant, inputs, names)

    def _fixed(self, spec: TensorSpec, shape: tuple[int, ...] | None) -> tuple[int, ...]:
        if shape is None:
            shape = tuple(
                1 if size is None and axis == 0 else -1 if size is None else size
                for axis, size in enumerate(spec.shape)
            )
            if -1 not in shape:
                return shape
            raise InputError(
                f"input {spec.name!r} of {self.origin} has a flexible size",
                received="no size for it",
                supported=describe_shape(spec.shape),
                remedy="Give inputs, whose size is taken",
            )
        if not spec.accepts(shape):
            raise InputError(
                f"input {spec.name!r} of {self.origin} has the wrong shape",
                received=describe_shape(shape),
                supported=describe_shape(spec.shape),
                remedy="Resize or reshape the input",
            )
        return shape

    def multiple(self) -> int:
        """The smallest power of two whose multiples the model takes as flexible sizes, found by trial.

        Raises InputError where no size that is tried is taken.
        """
        tf = import_tensorflow()
        call = tf.function(self.call, autograph=False)
        failure: Exception | None = None
        for multiple in _MULTIPLES:
            side = multiple * (64 // multiple + 1)  # an odd multiple, so that no larger power of two divides it
            try:
                call(*(tf.zeros(_with_side(spec.shape, side), spec.dtype) for spec in self.inputs))
            except Exception as error:  # any layer may refuse a shape in its own way
                failure = error
            else:
                return multiple
        raise InputError(
            f"{self.origin} takes no size that was tried, multiples of 1 to {_MULTIPLES[-1]}",
            received=one_line(failure) if failure else None,
            remedy="Give arrays of a shape that it takes",
        )


def _with_side(shape: tuple[int | None, ...], side: int) -> list[int]:
    return [(1 if axis == 0 else side) if size is None else size for axis, size in enumerate(shape)]


def _variables(concrete: Any) -> Iterator[tuple[str, Array]]:
    """Values of what a concrete function captures, by name."""
    for variable in concrete.graph.variables:
        yield variable.name.removesuffix(":0"), variable.numpy()


def _with_clean_names(name: str, constant: Any, inputs: tuple[TensorSpec, ...], names: Sequence[str]) -> FrozenGraph:
    """The graph with placeholders named as ``inputs`` and an Identity for each output, named as in ``names``."""
    tf = import_tensorflow()
    from tensorflow.core.framework import graph_pb2

    graph_def = graph_pb2.GraphDef()
    graph_def.CopyFrom(constant.graph.as_graph_def())
    names = [name if name not in {spec.name for spec in inputs} else f"{name}_output" for name in names]
    renamed = {tensor.op.name: spec.name for tensor, spec in zip(constant.inputs, inputs, strict=True)}
    reserved = {*renamed.values(), *names}
    taken = reserved | {node.name for node in graph_def.node}
    for node in graph_def.node:
        if node.name in reserved and node.name not in renamed:
            renamed[node.name] = _unused(f"{node.name}_node", taken)
            taken.add(renamed[node.name])
    for node in graph_def.node:
        node.name = renamed.get(node.name, node.name)
        node.input[:] = [_rename(reference, renamed) for reference in node.input]
    for output, tensor in zip(names, constant.outputs, strict=True):
        node = graph_def.node.add(name=output, op="Identity", input=[_rename(tensor.name, renamed)])
        node.attr["T"].type = tensor.dtype.as_datatype_enum
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    graph = wrapped.graph
    function = wrapped.prune(
        [graph.get_tensor_by_name(f"{spec.name}:0") for spec in inputs],
        [graph.get_tensor_by_name(f"{output}:0") for output in names],
        name=name,
    )
    outputs = tuple(
        tensor_spec(output, static_shape(tensor.shape), tensor.dtype.name)
        for output, tensor in zip(names, function.outputs, strict=True)
    )
    return FrozenGraph(name, function, inputs, outputs, function.graph.as_graph_def())


def _rename(reference: str, renamed: Mapping[str, str]) -> str:
    """A node's input: ``name``, ``name:index`` or ``^name``."""
    match = re.fullmatch(r"(\^?)([^:]+)((?::\d+)?)", reference)
    if match is None:
        return reference
    return match[1] + renamed.get(match[2], match[2]) + match[3]


def _unused(name: str, taken: set[str]) -> str:
    return next(candidate for count in range(len(taken) + 1) if (candidate := f"{name}{count or ''}") not in taken)


def static_shape(shape: Any) -> tuple[int | None, ...]:
    """A TensorShape as a tuple; of unknown rank as no dimensions at all. Outputs only."""
    return tuple(shape.as_list()) if shape.rank is not None else ()


def tensor_spec(name: str, shape: tuple[int | None, ...], dtype: str) -> TensorSpec:
    """A spec whose layout is NHWC or NCHW where it is an image of 1, 3 or 4 channels."""
    layout = None
    if len(shape) == 4:
        layout = "NHWC" if shape[3] in (1, 3, 4) else "NCHW" if shape[1] in (1, 3, 4) else None
    return TensorSpec(name, shape, dtype, layout)


def clean_names(given: Sequence[str], role: str, generated: Sequence[bool] | None = None) -> list[str]:
    """Identifiers out of a model's own names, each different.

    A name that its library made up and counted (``generated``) becomes ``role``, numbered from 1 where there are
    several inputs or outputs, so that names do not depend on how many models were built before.
    """
    names: list[str] = []
    for index, name in enumerate(given):
        if generated is not None and generated[index]:
            name = role if len(given) == 1 else f"{role}_{index + 1}"
        clean = re.sub(r"\W", "_", name, flags=re.ASCII)
        if not clean or clean[0].isdigit():
            clean = f"{role}_{clean}"
        names.append(_unused(clean, set(names)))
    return names


def require_rank(shape: Any, name: str, origin: str) -> tuple[int | None, ...]:
    """An input's TensorShape as a tuple. Raises ModelFileError where even the number of dimensions is open."""
    if shape.rank is None:
        raise ModelFileError(
            f"input {name!r} of {origin} has no shape, not even a number of dimensions",
            remedy="Export the model with a shape for every input",
        )
    return tuple(shape.as_list())
