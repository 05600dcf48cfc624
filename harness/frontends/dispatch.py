"""Which operator of a source format is translated by which function.

The function's signature is the operator's schema. Positional parameters are the inputs in order (``*xs`` takes a
variable number), keyword-only parameters are the attributes by name, ``node`` excepted, which is the node itself.
Annotations say how inputs are bound:

==========================================  ====================================================
``Var`` or none                             a MIL value; constants are written into the program
``Value``                                   a MIL value, or a numpy array where it is constant
``Array``                                   a numpy array: the input must be constant
``int float bool str``, ``tuple[int, ...]`` Python values: the input must be constant
==========================================  ====================================================

A function returns one value or a tuple of them, MIL values or numpy arrays (constants).
"""

from __future__ import annotations

import inspect
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harness.errors import ConversionError, HarnessError, InternalError, UnsupportedError
from harness.frontends.blame import blamed, reason
from harness.frontends.builder import mb

__all__ = ["Array", "Translation", "Translations", "Value", "Var"]

# Any numbers: what they are is the source graph's to say.
Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
# A MIL value (``coremltools.converters.mil.mil.Var``), which is not imported here: it costs seconds.
Var = typing.NewType("Var", Any)  # type: ignore[valid-newtype]
Value = Var | Array

_PYTHON_TYPES = (int, float, bool, str)


@dataclass(frozen=True, eq=False)
class Translation:
    """How one operator is translated, from version ``since`` of it on."""

    operator: str
    since: int
    function: Callable[..., Any]

    @cached_property
    def inputs(self) -> tuple[inspect.Parameter, ...]:
        """Positional parameters."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return tuple(item for item in self._parameters if item.kind in kinds)

    @cached_property
    def variadic(self) -> inspect.Parameter | None:
        """The parameter that takes all further inputs."""
        return next((item for item in self._parameters if item.kind is inspect.Parameter.VAR_POSITIONAL), None)

    @cached_property
    def attributes(self) -> dict[str, inspect.Parameter]:
        """Keyword-only parameters, ``node`` excepted."""
        kind = inspect.Parameter.KEYWORD_ONLY
        return {item.name: item for item in self._parameters if item.kind is kind and item.name != "node"}

    @cached_property
    def wants_node(self) -> bool:
        """Whether the function asks for the node."""
        return any(item.name == "node" for item in self._parameters)

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Annotations by parameter, without their None."""
        return {name: _plain(hint) for name, hint in typing.get_type_hints(self.function).items()}

    @property
    def is_ours(self) -> bool:
        """Whether the function is harness's, and not a user's."""
        return self.function.__module__.startswith("harness.")

    def check_results(self, results: Sequence[Any], where: str) -> None:
        """Raise ConversionError where a user's function gives what is no value."""
        wrong = [] if self.is_ours else [type(each).__name__ for each in results if not _is_value(each)]
        if wrong:
            code = self.function.__code__
            raise ConversionError(
                f"the translation of {where} returns what is no value",
                received=", ".join(wrong),
                supported=("MIL values", "numpy arrays"),
                remedy=f"Mend {code.co_filename}, line {code.co_firstlineno}",
            )

    def _failed(self, error: Exception, where: str) -> HarnessError:
        """What to raise for an exception of the function: whose it is, and where to look."""
        if self.is_ours:
            return blamed(error, where, by=f"{self.function.__name__} of {self.function.__module__}")
        file = self.function.__code__.co_filename
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        line = lines[-1] if lines else self.function.__code__.co_firstlineno
        return ConversionError(
            f"{where} cannot be translated", received=reason(error), remedy=f"Mend {file}, line {line}"
        )

    @cached_property
    def _parameters(self) -> tuple[inspect.Parameter, ...]:
        return tuple(inspect.signature(self.function).parameters.values())

    def call(
        self,
        inputs: Sequence[Value | None],
        attributes: Mapping[str, Any],
        node: Any,
        where: str,
        materialize: Callable[[int], Var],
    ) -> tuple[Any, ...]:
        """Bind and translate. ``inputs`` holds None for optional ones left out; ``materialize(i)`` writes constant
        input i into the program. Raises ConversionError or UnsupportedError naming ``where``; InternalError where our
        own function fails."""
        arguments = self._bind_inputs(inputs, where, materialize)
        unknown = sorted(attributes.keys() - self.attributes.keys())
        if unknown:
            raise UnsupportedError(
                f"{where} has attributes that are not translated",
                received=", ".join(f"{name}={attributes[name]!r}" for name in unknown),
                supported=sorted(self.attributes) or "no attributes",
            )
        for name, parameter in self.attributes.items():
            if parameter.default is parameter.empty and name not in attributes:
                raise ConversionError(f"{where} lacks its attribute {name!r}")
        keywords = dict(attributes) | ({"node": node} if self.wants_node else {})
        try:
            results = self.function(*arguments, **keywords)
        except InternalError:
            raise
        except HarnessError as error:
            if str(error).startswith(where):
                raise
            raise type(error)(f"{where}: {error}") from error
        except Exception as error:  # the builder and numpy raise much, a user's own function anything
            raise self._failed(error, where) from error
        return tuple(results) if isinstance(results, tuple | list) else (results,)

    def _bind_inputs(self, inputs: Sequence[Value | None], where: str, materialize: Callable[[int], Var]) -> list[Any]:
        if len(inputs) > len(self.inputs) and self.variadic is None:
            raise ConversionError(f"{where} has {len(inputs)} inputs", supported=f"at most {len(self.inputs)}")
        arguments: list[Any] = []
        for index, value in enumerate(inputs):
            parameter = self.inputs[index] if index < len(self.inputs) else self.variadic
            assert parameter is not None
            if value is None:
                if parameter.default is parameter.empty and parameter is not self.variadic:
                    raise ConversionError(f"{where} lacks its input {parameter.name!r}")
                arguments.append(None if parameter is self.variadic else parameter.default)
            else:
                hint = self.hints.get(parameter.name, Var)
                arguments.append(_bound(hint, value, index, f"input {parameter.name!r} of {where}", materialize))
        for parameter in self.inputs[len(inputs) :]:
            if parameter.default is parameter.empty:
                raise ConversionError(f"{where} lacks its input {parameter.name!r}")
        return arguments


def _bound(hint: Any, value: Value, index: int, what: str, materialize: Callable[[int], Var]) -> Any:
    is_constant = isinstance(value, np.ndarray)
    if hint is Var:
        return materialize(index) if is_constant else value
    if "ndarray" in str(hint) and "Var" in str(hint):
        return value
    if not is_constant:
        raise UnsupportedError(f"{what} must be a constant", received="a value that is computed")
    assert isinstance(value, np.ndarray)
    if hint in _PYTHON_TYPES:
        if value.size != 1:
            raise ConversionError(f"{what} must be one {hint.__name__}", received=f"shape {value.shape}")
        item = value.reshape(()).item()
        return item.decode() if isinstance(item, bytes) else hint(item)
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        return tuple(kind(item) for item in value.reshape(-1).tolist())
    return value


def _is_value(result: Any) -> bool:
    return result is None or isinstance(result, np.ndarray) or hasattr(result, "sym_type")


def _plain(hint: Any) -> Any:
    """``X | None`` as ``X``."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = tuple(member for member in typing.get_args(hint) if member is not type(None))
        return members[0] if len(members) == 1 else typing.Union[members]  # noqa: UP007 - members are known at run time
    return hint


class Translations:
    """The operators of one source format."""

    def __init__(self) -> None:
        self._table: dict[str, list[Translation]] = {}

    def translates(self, *operators: str, since: int = 1) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function for the named operators, from version ``since`` of them on."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            for operator in operators:
                versions = self._table.setdefault(operator, [])
                if any(item.since == since for item in versions):
                    raise ValueError(f"{operator} since {since} is translated twice")
                versions.append(Translation(operator, since, function))
                versions.sort(key=lambda item: item.since)
            return function

        return register

    def directly(self, table: Mapping[str, str], *, parameters: Iterable[str] = ("x",)) -> None:
        """Register operators (source name -> MIL name) whose inputs map one to one onto MIL's ``parameters``."""
        names = tuple(parameters)
        for operator, mil_name in table.items():
            self.translates(operator)(_direct(mil_name, names))

    def find(self, operator: str, version: int) -> Translation | None:
        """The newest at or below ``version``, or None."""
        found = [item for item in self._table.get(operator, ()) if item.since <= version]
        return found[-1] if found else None

    def of_module(self, module: str) -> list[Translation]:
        """Those whose functions a module defines."""
        return [item for versions in self._table.values() for item in versions if item.function.__module__ == module]

    def withdraw(self, module: str) -> None:
        """Forget the translations that a module registered."""
        for operator, versions in list(self._table.items()):
            versions[:] = [item for item in versions if item.function.__module__ != module]
            if not versions:
                del self._table[operator]

    def operators(self) -> list[str]:
        """Every operator that is translated, in alphabetical order."""
        return sorted(self._table)


def _direct(mil_name: str, names: tuple[str, ...]) -> Callable[..., Any]:
    def translate(*values: Any) -> Any:

        return getattr(mb, mil_name)(**dict(zip(names, values, strict=True)))

    kind = inspect.Parameter.POSITIONAL_ONLY
    translate.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    translate.__annotations__ = {}
    return translate
