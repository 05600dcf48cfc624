"""TFLite's schema as data, found by probing TensorFlow's generated accessors; nothing of it is written down twice."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from harness.quiet import quiet_imports

SCALAR, VECTOR, STRING, TABLE, TABLES, UNION = "scalar", "vector", "string", "table", "tables", "union"


@dataclass(frozen=True)
class Field:
    """A field of a table: ``slot`` is its place in the vtable in bytes, ``default`` what an absent scalar means.

    ``dtype`` is of a scalar, or of a vector's elements; ``target`` names the table, or a union's enumeration.
    """

    name: str
    slot: int
    kind: str
    dtype: np.dtype[Any] | None = None
    target: str = ""
    default: Any = None


@dataclass(frozen=True)
class Schema:
    """Tables by name with their fields in order, and enumerations by name, number to member."""

    tables: Mapping[str, tuple[Field, ...]]
    enumerations: Mapping[str, Mapping[int, str]]


@functools.cache
def schema() -> Schema:
    """The schema of the installed TensorFlow."""
    with quiet_imports():
        from tensorflow.lite.python import schema_py_generated as generated
    classes = {name: value for name, value in vars(generated).items() if isinstance(value, type)}
    tables = {name for name, value in classes.items() if hasattr(value, "GetRootAs")}
    objects = {f"{name}T" for name in tables}
    return Schema(
        tables={name: _fields(generated, name) for name in sorted(tables)},
        enumerations={
            name: {number: member for member, number in vars(value).items() if not member.startswith("_")}
            for name, value in classes.items()
            if name not in tables and name not in objects
        },
    )


class _Probe:
    """Stands in for flatbuffers' Table, and notes what an accessor asks it for."""

    Bytes = b""
    Pos = 0

    def __init__(self, is_present: bool) -> None:
        self.is_present = is_present
        self.slot = 0
        self.flags: Any = None
        self.is_string = self.is_union = False

    def Offset(self, slot: int) -> int:  # noqa: N802 (flatbuffers' names)
        self.slot = slot
        return int(self.is_present)

    def Get(self, flags: Any, _: int) -> int:  # noqa: N802
        self.flags = flags
        return 0

    def Vector(self, _: int) -> int:  # noqa: N802
        return 0

    def Indirect(self, _: int) -> int:  # noqa: N802
        return 0

    def String(self, _: int) -> bytes:  # noqa: N802
        self.is_string = True
        return b""

    def Union(self, *_: Any) -> None:  # noqa: N802
        self.is_union = True


def _fields(generated: ModuleType, table: str) -> tuple[Field, ...]:
    accessors = vars(getattr(generated, table))
    found = [
        _field(generated, table, name)
        for name, value in accessors.items()
        if callable(value)
        and name != "Init"
        and not ((match := re.fullmatch(r"(\w+)(Length|AsNumpy|IsNone)", name)) and match[1] in accessors)
    ]
    return tuple(sorted(found, key=lambda field: field.slot))


def _field(generated: ModuleType, table: str, accessor: str) -> Field:
    owner = getattr(generated, table)
    is_vector = f"{accessor}Length" in vars(owner)

    def ask(is_present: bool) -> tuple[_Probe, Any]:
        instance, probe = owner(), _Probe(is_present)
        instance._tab = probe
        return probe, getattr(instance, accessor)(*((0,) if is_vector else ()))

    probe, value = ask(is_present=True)
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", accessor).lower()
    if probe.is_union:
        enumeration = {"ArraySegments": "SparseIndexVector", "ArrayIndices": "SparseIndexVector"}.get(
            accessor, "QuantizationDetails" if accessor == "Details" else accessor
        )
        return Field(name, probe.slot, UNION, target=enumeration)
    if probe.is_string:
        return Field(name, probe.slot, STRING)
    if probe.flags is None:
        return Field(name, probe.slot, TABLES if is_vector else TABLE, target=type(value).__name__)
    dtype = np.dtype(probe.flags.packer_type.format.lstrip("<>=") if probe.flags.name != "bool" else "?")
    if is_vector:
        return Field(name, probe.slot, VECTOR, dtype.newbyteorder("<"))
    return Field(name, probe.slot, SCALAR, dtype.newbyteorder("<"), default=ask(is_present=False)[1])
