"""Decodes a .tflite file as its schema says, trusting no byte of it.

Offsets are followed with every bound checked, as FlatBuffers' own C++ verifier does, so that a file that decodes here
is one that native code may follow. Nothing is decoded without limit: tables are counted, and objects that overlap,
by which a small file could stand for a huge model, run into a budget.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from harness.errors import ModelFileError
from harness.frontends.dispatch import Array
from harness.frontends.tflite.schema import SCALAR, STRING, TABLE, UNION, VECTOR, Field, Schema

IDENTIFIER = b"TFL3"
# As in FlatBuffers' verifier; a model of 100,000 operators has about half as many tables.
_MOST_TABLES = 1_000_000
# Distinct objects take no more bytes than the file has; some writers share a few of them.
_SHARED = 4

Table = dict[str, Any]


def damaged(file: str, place: str, what: str, received: object = None, supported: object = None) -> ModelFileError:
    """The error for a file that does not say what it must, naming file and place."""
    return ModelFileError(
        f"{file} is damaged: {place} {what}", received=received, supported=supported, remedy="Export the model anew"
    )


def decode(data: memoryview, file: str, schema: Schema) -> Table:
    """The file's Model table, nested: fields by name; vectors as read-only views; absent tables and vectors are None.

    A union is ``(name of its table, table)``. Raises ModelFileError.
    """
    return _Decoder(data, file, schema).root()


class _Decoder:
    def __init__(self, data: memoryview, file: str, schema: Schema) -> None:
        self._data = data
        self._file = file
        self._tables = schema.tables
        self._enumerations = schema.enumerations
        self._tables_left = _MOST_TABLES
        self._bytes_left = _SHARED * len(data) + 4096

    def root(self) -> Table:
        if len(self._data) < 8 or bytes(self._data[4:8]) != IDENTIFIER:
            raise ModelFileError(
                f"{self._file} is not a TFLite model",
                received=f"{len(self._data)} bytes, which begin with {bytes(self._data[:8])!r}",
                supported=f"a flatbuffer with the identifier {IDENTIFIER.decode()}",
            )
        return self._table("Model", self._offset(0, "the file"), "the model")

    def _read(self, layout: str, position: int, place: str) -> Any:
        try:
            return struct.unpack_from(layout, self._data, position)[0]
        except struct.error:
            raise self._outside(place, position) from None

    def _outside(self, place: str, position: int) -> ModelFileError:
        return damaged(self._file, place, "points outside of the file", position, f"up to {len(self._data)} bytes")

    def _offset(self, position: int, place: str) -> int:
        """The target of the offset that is stored at ``position``."""
        offset = self._read("<I", position, place)
        if not 4 <= offset < 2**31:
            raise damaged(self._file, place, "has an impossible offset", offset)
        return int(position + offset)

    def _spend(self, size: int, place: str) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise damaged(self._file, place, "shares its bytes with too many others")

    def _table(self, name: str, position: int, place: str) -> Table:
        self._tables_left -= 1
        if self._tables_left < 0:
            raise damaged(self._file, place, "is one table too many", supported=f"{_MOST_TABLES} tables")
        vtable = position - self._read("<i", position, place)
        if vtable < 0:
            raise self._outside(place, vtable)
        length, size = self._read("<H", vtable, place), self._read("<H", vtable + 2, place)
        if length < 4 or length % 2 or vtable + length > len(self._data):
            raise damaged(self._file, place, "has a table of fields of a wrong length", length)
        if size < 4 or position + size > len(self._data):
            raise damaged(self._file, place, "has a wrong size", size)
        self._spend(size, place)
        values: Table = {}
        for field in self._tables[name]:
            start = self._read("<H", vtable + field.slot, place) if field.slot + 2 <= length else 0
            if start == 0:
                values[field.name] = None if field.kind == UNION else field.default
                continue
            width = field.dtype.itemsize if field.kind == SCALAR and field.dtype is not None else 4
            if start < 4 or start + width > size:
                raise damaged(self._file, f"{place}, {field.name}", "lies outside of its table", start)
            values[field.name] = self._value(field, position + start, values, f"{place}, {field.name}")
        return values

    def _value(self, field: Field, position: int, values: Table, place: str) -> Any:
        if field.kind == SCALAR:
            assert field.dtype is not None
            return np.frombuffer(self._data, field.dtype, 1, position)[0].item()
        target = self._offset(position, place)
        if field.kind == STRING:
            return self._string(target, place)
        if field.kind == VECTOR:
            return self._vector(field, target, place)
        if field.kind == TABLE:
            return self._table(field.target, target, place)
        if field.kind == UNION:
            number = values[f"{field.name}_type"]
            member = self._enumerations[field.target].get(number)
            if member is None:
                raise damaged(self._file, place, "is of an unknown type", number)
            return None if member == "NONE" else (member, self._table(member, target, place))
        count = self._length(target, 4, place)
        self._spend(4 * count, place)
        return [
            self._table(field.target, self._offset(item, f"{place}[{index}]"), f"{place}[{index}]")
            for index, item in enumerate(range(target + 4, target + 4 + 4 * count, 4))
        ]

    def _length(self, position: int, width: int, place: str) -> int:
        count = int(self._read("<I", position, place))
        if position + 4 + count * width > len(self._data):
            raise damaged(self._file, place, "is longer than the file", f"{count} elements")
        return count

    def _vector(self, field: Field, position: int, place: str) -> Array:
        assert field.dtype is not None
        count = self._length(position, field.dtype.itemsize, place)
        if field.name != "data":  # a buffer's bytes are not looked at
            self._spend(count * field.dtype.itemsize, place)
        array: Array = np.frombuffer(self._data, field.dtype, count, position + 4)
        return array

    def _string(self, position: int, place: str) -> str:
        count = self._length(position, 1, place)
        end = position + 4 + count
        # Native code reads strings up to their NUL.
        if end >= len(self._data) or self._data[end] != 0:
            raise damaged(self._file, place, "is a text without an end")
        self._spend(count, place)
        return bytes(self._data[position + 4 : end]).decode(errors="replace")
