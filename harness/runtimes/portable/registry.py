"""Which MIL operation is executed by which function: ``@lowers`` (ONNX nodes) or ``@kernel`` (numpy).

The function's positional parameters are the operation's inputs, by name; their annotations say how
they are bound:

==========================================  ====================================================
``Tensor``, ``list[Tensor]``                a handle in the ONNX graph (lowerings only)
``Array``, ``list[Array]``                  a numpy array; in a lowering it must be a constant
``int float bool str``, ``tuple[int, ...]`` Python values; in a lowering they must be constants
``TensorList``, ``State``                   a list or state buffer (kernels only)
``Any``                                     as it is
==========================================  ====================================================

Keyword-only parameters are context: ``outputs`` (the declared types), ``opset`` (CoreML5 ...) and, for lowerings,
``readers`` (the types of the operations that read a result; "output" where it leaves its block).
Float16 arrays and handles arrive as float32; narrow integers as int32.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harness.errors import PackageError, PredictionError
from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.program import Operation


@dataclass(frozen=True, eq=False)
class Implementation:
    """How one operation is executed.

    ``moves``: the op only moves or selects values, so that float16 rounding has nothing to do.
    """

    name: str
    function: Callable[..., Any]
    moves: bool

    @cached_property
    def signature(self) -> inspect.Signature:
        """Its parameters: the operation's inputs, and context."""
        return inspect.signature(self.function)

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Annotations by parameter, without their None."""
        return {name: _plain(hint) for name, hint in typing.get_type_hints(self.function).items()}

    def parameters(self, operation: Operation) -> dict[str, Any]:
        """Annotation by name of each input that ``operation`` gives; PackageError if they do not fit."""
        known = {
            name: parameter
            for name, parameter in self.signature.parameters.items()
            if parameter.kind is not parameter.KEYWORD_ONLY
        }
        for name in operation.inputs:
            if name not in known:
                raise PackageError(f"op {operation} has no input {name!r}", supported=list(known))
        for name, parameter in known.items():
            if parameter.default is parameter.empty and name not in operation.inputs:
                raise PackageError(f"op {operation} lacks its input {name!r}")
        return {name: self.hints.get(name, Any) for name in operation.inputs}

    def context(self, operation: Operation, opset: str, readers: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The keyword-only arguments."""
        types = tuple(output.type for output in operation.outputs)
        offered = {"outputs": types, "opset": opset, "readers": readers}
        return {
            name: offered[name]
            for name, parameter in self.signature.parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }


LOWERINGS: dict[str, Implementation] = {}
KERNELS: dict[str, Implementation] = {}

Decorated = Callable[[Callable[..., Any]], Callable[..., Any]]


def lowers(*names: str, moves: bool = False) -> Decorated:
    """Register the function as the lowering of the named MIL operations."""
    return _register(LOWERINGS, names, moves)


def kernel(*names: str, moves: bool = False) -> Decorated:
    """Register the function as the numpy kernel of the named MIL operations."""
    return _register(KERNELS, names, moves)


def lowers_directly(table: Mapping[str, str], *, arity: int = 1, moves: bool = False) -> None:
    """Register operations (MIL name -> ONNX name) whose inputs map one to one.

    ``arity`` 1 takes ``x``; 2 takes ``x`` and ``y``.
    """
    for name, onnx_name in table.items():
        if arity == 1:

            def lower(x: Tensor, onnx_name: str = onnx_name) -> Tensor:
                return typing.cast(Tensor, getattr(op, onnx_name)(x))

        else:

            def lower(x: Tensor, y: Tensor, onnx_name: str = onnx_name) -> Tensor:  # type: ignore[misc]
                return typing.cast(Tensor, getattr(op, onnx_name)(x, y))

        lowers(name, moves=moves)(lower)


def _register(table: dict[str, Implementation], names: tuple[str, ...], moves: bool) -> Decorated:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            if name in LOWERINGS or name in KERNELS:
                raise ValueError(f"{name} is implemented twice")
            table[name] = Implementation(name, function, moves)
        return function

    return register


def _plain(hint: Any) -> Any:
    """``X | None`` as ``X``."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return members[0] if len(members) == 1 else hint
    return hint


def wants_handle(hint: Any) -> bool:
    """Whether an annotation asks for a handle, or for a list of handles."""
    return hint is Tensor or (typing.get_origin(hint) is list and typing.get_args(hint) == (Tensor,))


def wants_list(hint: Any) -> bool:
    """Whether an annotation asks for all bindings of an input, in a list."""
    return typing.get_origin(hint) is list


def python_value(hint: Any, value: Any, where: str) -> Any:
    """``value`` (an array or a literal) as the annotation asks for it."""
    if hint is Any or value is None:
        return value
    if hint in (int, float, bool, str):
        array = np.asarray(value)
        if array.size != 1:
            raise PredictionError(f"{where} must be one {hint.__name__}", received=f"shape {array.shape}")
        return hint(array.reshape(()).item())
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        return tuple(kind(item) for item in np.asarray(value).reshape(-1).tolist())
    if isinstance(value, np.ndarray | list | tuple | int | float | bool) and "ndarray" in str(hint):
        return np.asarray(value)
    return value
