"""Reads weight files of ML Program packages (MIL blob storage, version 2), without copying.

A file is a 64-byte header, then for each blob 64 bytes of metadata and the data it points at:
sentinel, type, size in bytes, offset of the data, bits of padding (coremltools'
``mlmodel/src/MILBlob/Blob/StorageFormat.hpp``).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np

from harness.errors import PackageError
from harness.tensors import Array

_HEADER = struct.Struct("<II")
_METADATA = struct.Struct("<IIQQQ")
_METADATA_SIZE = 64
_SENTINEL = 0xDEADBEEF

# Blob type -> MIL dtype (BlobDataType.hpp).
_BLOB_DTYPES = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 5: "bf16", 6: "int16", 7: "uint16", 8: "int4",
    9: "uint1", 10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
}  # fmt: skip

# MIL dtype -> numpy dtype of whole-byte types.
NUMPY_DTYPES: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(numpy_name)
    for name, numpy_name in {
        "fp16": "float16", "fp32": "float32", "fp64": "float64", "bool": "bool",
        "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
        "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    }.items()
}  # fmt: skip

# MIL dtype -> bits, for types that share bytes.
SUB_BYTE_BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}


def unpack_bits(packed: Array, dtype: str, count: int) -> Array:
    """``count`` integers of a sub-byte ``dtype`` from bytes, lowest bits first, one byte each."""
    width = SUB_BYTE_BITS[dtype]
    bits = np.unpackbits(packed.view(np.uint8), bitorder="little")
    if bits.size < count * width:
        raise PackageError(
            f"a {dtype} value is cut short",
            received=f"{packed.nbytes} bytes",
            supported=f"at least {(count * width + 7) // 8} bytes",
            remedy="Convert the model again",
        )
    places = (1 << np.arange(width)).astype(np.uint8)
    values = (bits[: count * width].reshape(count, width) * places).sum(axis=1, dtype=np.uint8)
    if dtype == "int4":
        values = ((values ^ 8).astype(np.int8) - 8).astype(np.int8)
    unpacked: Array = values
    return unpacked


class WeightFile:
    """One memory-mapped weight file; arrays returned are read-only views of it where they can be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise PackageError(
                f"weight file {path} cannot be read", received=error, remedy="Convert the model again"
            ) from error
        if len(self._map) < _METADATA_SIZE or _HEADER.unpack_from(self._map, 0)[1] != 2:
            raise PackageError(
                f"weight file {path} is not MIL blob storage version 2", remedy="Convert the model again"
            )

    def read(self, offset: int, dtype: str, count: int) -> Array:
        """The ``count`` elements of MIL ``dtype`` whose metadata stands at byte ``offset``."""
        where = f"blob at byte {offset} of {self.path}"
        if offset % 64 or not 0 < offset <= len(self._map) - _METADATA_SIZE:
            raise PackageError(f"{where} is out of range", remedy="Convert the model again")
        sentinel, blob_type, size, start, _ = _METADATA.unpack_from(self._map, offset)
        if sentinel != _SENTINEL or start + size > len(self._map):
            raise PackageError(f"{where} is damaged", remedy="Convert the model again")
        stored = _BLOB_DTYPES.get(blob_type)
        if stored != dtype and not (stored == "uint8" and dtype == "bool"):
            raise PackageError(f"{where} has another type", received=stored, supported=dtype)
        data: Array = np.frombuffer(self._map, np.uint8, size, start)
        if dtype in SUB_BYTE_BITS:
            return unpack_bits(data, dtype, count)
        numpy_dtype = NUMPY_DTYPES.get(dtype)
        if numpy_dtype is None or size != count * numpy_dtype.itemsize:
            raise PackageError(
                f"{where} has another size",
                received=f"{size} bytes",
                supported=f"{count} elements of {dtype}",
                remedy="Convert the model again",
            )
        return data.view(numpy_dtype)
