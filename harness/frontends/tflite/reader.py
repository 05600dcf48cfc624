"""Reads .tflite files: decoded with every bound checked, then verified, so that nothing later has to doubt them."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ModelFileError
from harness.frontends.dispatch import Array
from harness.frontends.tflite import verify
from harness.frontends.tflite.flatbuffer import Table, damaged, decode
from harness.frontends.tflite.graph import (
    Blockwise,
    Operator,
    Quantization,
    Signature,
    Subgraph,
    TensorInfo,
    TFLiteGraph,
)
from harness.frontends.tflite.options import member, read_options
from harness.frontends.tflite.schema import schema
from harness.frontends.tflite.weights import BITS, SparseDimension, Sparsity, stored_bytes

SCHEMA_VERSION = 3
_HIGHEST_RANK = 32
_LARGEST_TENSOR = 1 << 46  # bytes; sums of sizes stay below what 64 bits hold


def read_graph(path: Path) -> TFLiteGraph:
    """The model in a file, whose weights are views into it. Raises ModelFileError naming file and place."""
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise ModelFileError(f"{path} is not a TFLite model", received="an empty file")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read", received=error) from error
    return _Reader(data, str(path)).graph(path.stem)


def parse_graph(data: bytes, name: str) -> TFLiteGraph:
    """The model in ``data``, as ``read_graph`` reads it; ``name`` stands for the file in messages."""
    return _Reader(memoryview(data), name).graph(name)


class _Reader:
    def __init__(self, data: memoryview, file: str) -> None:
        self._data = data
        self._file = file
        self._schema = schema()
        self._buffers: list[Array | None] = []
        self._texts: dict[int, int] = {}

    def _damaged(self, place: str, what: str, received: object = None, supported: object = None) -> ModelFileError:
        return damaged(self._file, place, what, received, supported)

    def graph(self, name: str) -> TFLiteGraph:
        model = decode(self._data, self._file, self._schema)
        if model["version"] != SCHEMA_VERSION:
            raise self._damaged("the model", "is of another version", model["version"], SCHEMA_VERSION)
        if not model["subgraphs"]:
            raise self._damaged("the model", "has no subgraph")
        if not model["buffers"]:
            raise self._damaged("the model", "has no buffers")
        self._buffers = [self._buffer(table, f"buffer {index}") for index, table in enumerate(model["buffers"])]
        codes = [
            self._code(table, f"operator code {index}") for index, table in enumerate(model["operator_codes"] or ())
        ]
        subgraphs = [
            self._subgraph(table, codes, f"subgraph {index} {table['name'] or ''!r}")
            for index, table in enumerate(model["subgraphs"])
        ]
        verify.check_calls(subgraphs, self._file)
        signatures = [
            self._signature(table, subgraphs, f"signature {index}")
            for index, table in enumerate(model["signature_defs"] or ())
        ]
        verify.check_signatures(signatures, subgraphs, self._file)
        metadata = {}
        for index, table in enumerate(model["metadata"] or ()):
            metadata[table["name"] or ""] = self._buffer_at(table["buffer"], f"metadata {index}")
        return TFLiteGraph(
            name, model["description"] or "", tuple(subgraphs), tuple(signatures),
            {key: value for key, value in metadata.items() if value is not None},
        )  # fmt: skip

    def _buffer(self, table: Table, place: str) -> Array | None:
        """A buffer's bytes, which lie behind the flatbuffer where the file is larger than 2 GB."""
        if table["data"] is not None:
            return table["data"] if len(table["data"]) else None
        if table["offset"] <= 1:  # 1 is what the converter writes before it knows
            return None
        return self._outside(table["offset"], table["size"], place)

    def _outside(self, offset: int, size: int, place: str) -> Array:
        if offset + size > len(self._data):
            raise self._damaged(place, "lies outside of the file", f"{size} bytes at {offset}", len(self._data))
        array: Array = np.frombuffer(self._data, np.uint8, size, offset)
        return array

    def _buffer_at(self, index: int, place: str) -> Array | None:
        if not 0 <= index < len(self._buffers):
            raise self._damaged(place, "names a buffer that there is not", index, f"0 to {len(self._buffers) - 1}")
        return self._buffers[index]

    def _code(self, table: Table, place: str) -> tuple[str, bool, int]:
        """Name, whether it is custom, and version. Old files have the code in a byte, later ones in both places."""
        code = max(table["builtin_code"], table["deprecated_builtin_code"])
        name = member(self._schema, "BuiltinOperator", code, self._file, place)
        if table["version"] < 1:
            raise self._damaged(place, "is of an impossible version", table["version"])
        if name != "CUSTOM":
            return name, False, table["version"]
        if not table["custom_code"]:
            raise self._damaged(place, "is a custom operator without a name")
        return table["custom_code"], True, table["version"]

    def _indices(self, vector: Array | None, count: int, place: str, lowest: int = 0) -> tuple[int, ...]:
        """Indices of tensors, from ``lowest`` (-1 where some may be left out)."""
        if vector is None or not len(vector):
            return ()
        values = vector.astype(np.int64)
        wrong = values[(values < lowest) | (values >= count)]
        if len(wrong):
            raise self._damaged(place, "names a tensor that there is not", int(wrong[0]), f"{lowest} to {count - 1}")
        return tuple(values.tolist())

    def _subgraph(self, table: Table, codes: Sequence[tuple[str, bool, int]], place: str) -> Subgraph:
        tensors = [
            self._tensor(each, index, f"{place}, tensor {index} {each['name'] or ''!r}")
            for index, each in enumerate(table["tensors"] or ())
        ]
        inputs = self._indices(table["inputs"], len(tensors), f"{place}, inputs")
        outputs = self._indices(table["outputs"], len(tensors), f"{place}, outputs")
        operators = [
            self._operator(each, index, codes, len(tensors), f"{place}, operator {index}")
            for index, each in enumerate(table["operators"] or ())
        ]
        written = {*inputs, *(index for operator in operators for index in operator.outputs)}
        # Constants without elements have no bytes.
        completed = tuple(
            TensorInfo(**{**vars(tensor), "buffer": np.empty(0, np.uint8)})
            if 0 in tensor.shape and tensor.buffer is None and tensor.index not in written and not tensor.is_variable
            else tensor
            for tensor in tensors
        )
        subgraph = Subgraph(table["name"] or "", completed, inputs, outputs, tuple(operators))
        verify.check_subgraph(subgraph, self._file, place)
        for tensor in completed:
            if tensor.quantization is not None:
                self._check_quantization(tensor, len(completed), f"{place}, tensor {tensor.index} {tensor.name!r}")
        return subgraph

    def _operator(
        self, table: Table, index: int, codes: Sequence[tuple[str, bool, int]], count: int, place: str
    ) -> Operator:
        if table["opcode_index"] >= len(codes):
            raise self._damaged(place, "has a code that there is not", table["opcode_index"], f"0 to {len(codes) - 1}")
        name, is_custom, version = codes[table["opcode_index"]]
        place = f"{place} {name}"
        custom: Any = table["custom_options"] if table["custom_options"] is not None else b""
        if is_custom and table["large_custom_options_offset"] > 1:
            custom = self._outside(table["large_custom_options_offset"], table["large_custom_options_size"], place)
        union = table["builtin_options"] or table["builtin_options2"]
        if table["builtin_options"] is not None and table["builtin_options2"] is not None:
            raise self._damaged(place, "has options twice")
        return Operator(
            index, name, version,
            inputs=self._indices(table["inputs"], count, f"{place}, inputs", lowest=-1),
            outputs=self._indices(table["outputs"], count, f"{place}, outputs"),
            options={} if is_custom else read_options(name, union, self._schema, self._file, place),
            custom_options=bytes(custom),
            intermediates=self._indices(table["intermediates"], count, f"{place}, intermediates", lowest=-1),
            is_custom=is_custom,
        )  # fmt: skip

    def _shape(self, vector: Array | None, place: str, lowest: int) -> tuple[int, ...]:
        if vector is None:
            return ()
        if len(vector) > _HIGHEST_RANK:
            raise self._damaged(place, "has too many dimensions", len(vector), f"up to {_HIGHEST_RANK}")
        if len(vector) and vector.min() < lowest:
            raise self._damaged(place, "has a negative size", tuple(vector.tolist()))
        return tuple(vector.tolist())

    def _tensor(self, table: Table, index: int, place: str) -> TensorInfo:
        dtype = member(self._schema, "TensorType", table["type"], self._file, place).lower()
        shape = self._shape(table["shape"], place, 0)
        signature = self._shape(table["shape_signature"], f"{place}, shape_signature", -1) or shape
        if len(signature) != len(shape):
            raise self._damaged(place, "has a shape and a signature of different ranks", f"{shape} and {signature}")
        if table["external_buffer"]:
            raise ModelFileError(f"{place} of {self._file} has its values in another file", remedy="Export one file")
        if dtype in BITS and stored_bytes(math.prod(shape), dtype) > _LARGEST_TENSOR:
            raise self._damaged(place, "is larger than any memory", shape)
        buffer = self._buffer_at(table["buffer"], place) if table["buffer"] else None
        sparsity = self._sparsity(table["sparsity"], place) if buffer is not None else None
        if buffer is not None:
            if table["is_variable"]:
                raise self._damaged(place, "is a variable and a constant at once")
            self._check_size(buffer, table["buffer"], dtype, shape, sparsity, place)
        return TensorInfo(
            index=index, name=table["name"] or "", shape=shape,
            shape_signature=shape if buffer is not None else tuple(
                None if flexible == -1 else size for size, flexible in zip(shape, signature, strict=True)
            ),
            dtype=dtype, buffer=buffer, quantization=self._quantization(table["quantization"], shape, dtype, place),
            sparsity=sparsity, is_variable=table["is_variable"],
        )  # fmt: skip

    def _check_size(
        self, buffer: Array, number: int, dtype: str, shape: tuple[int, ...], sparsity: Sparsity | None, place: str
    ) -> None:
        count = math.prod(shape)
        if dtype == "string":
            if number not in self._texts:
                self._texts[number] = verify.count_texts(buffer, self._file, place)
            if self._texts[number] != count:
                raise self._damaged(place, "has a wrong number of texts", self._texts[number], count)
        elif dtype in BITS:
            if sparsity is not None:
                dense, count = count, verify.sparse_elements(sparsity, shape, self._file, place)
                verify.check_expansion(count, dense, self._file, place)
            if stored_bytes(count, dtype) != len(buffer):
                raise self._damaged(
                    place, "has a constant of a wrong size", f"{len(buffer)} bytes",
                    f"{stored_bytes(count, dtype)} for {dtype} {shape}",
                )  # fmt: skip

    def _sparsity(self, table: Table | None, place: str) -> Sparsity | None:
        if table is None:
            return None
        order, metadata = table["traversal_order"], table["dim_metadata"]
        if order is None or metadata is None:
            raise self._damaged(place, "is sparse without saying how")
        block_map = table["block_map"]
        levels = []
        for index, level in enumerate(metadata):
            where = f"{place}, sparse level {index}"
            if member(self._schema, "DimensionType", level["format"], self._file, where) == "DENSE":
                levels.append(SparseDimension(level["dense_size"]))
                continue
            vectors = [
                union[1]["values"] if union else None for union in (level["array_segments"], level["array_indices"])
            ]
            if vectors[0] is None or vectors[1] is None or not len(vectors[0]):
                raise self._damaged(where, "has no segments or no indices")
            levels.append(SparseDimension(0, *vectors))
        return Sparsity(
            tuple(order.tolist()), tuple(block_map.tolist()) if block_map is not None else (), tuple(levels)
        )

    def _quantization(self, table: Table | None, shape: tuple[int, ...], dtype: str, place: str) -> Quantization | None:
        """Scales and zero points of a tensor of integers; floats may carry some that mean nothing."""
        if table is None:
            return None
        empty = np.empty(0, np.int64)
        if table["details"] is not None and table["details"][0] == "BlockwiseQuantization":
            block = table["details"][1]
            blockwise = Blockwise(block["scales"], block["zero_points"], block["block_size"])
            return Quantization(empty.astype(np.float32), empty, table["quantized_dimension"], blockwise)
        scales, zero_points, axis = table["scale"], table["zero_point"], table["quantized_dimension"]
        if scales is None or not len(scales):
            return None
        if zero_points is None or len(zero_points) != len(scales):
            received = f"{len(scales)} scales, {0 if zero_points is None else len(zero_points)} zero points"
            raise self._damaged(place, "has scales and zero points of different lengths", received)
        if axis < 0 or (shape and axis >= len(shape)):
            raise self._damaged(place, "is quantized along a dimension that it has not", axis, f"0 to {len(shape) - 1}")
        if len(scales) != 1 and (not shape or len(scales) != shape[axis]):
            raise self._damaged(
                place, "has a wrong number of scales", len(scales), f"1 or {shape[axis] if shape else 1}"
            )
        if not dtype.startswith(("int", "uint")):
            return None
        return Quantization(scales, zero_points, axis if shape else 0)

    def _check_quantization(self, tensor: TensorInfo, count: int, place: str) -> None:
        quantization = tensor.quantization
        assert quantization is not None
        blockwise = quantization.blockwise
        if blockwise is not None:
            if (
                blockwise.block_size <= 0
                or not 0 <= blockwise.scales < count
                or not -1 <= blockwise.zero_points < count
            ):
                raise self._damaged(place, "is quantized in blocks that make no sense", blockwise)
            return
        scales: Any = quantization.scales
        zero_points: Any = quantization.zero_points
        # A scale of zero is what a channel of zeros may have; nothing can be quantized with it.
        if not np.isfinite(scales).all() or (scales < 0).any() or (not tensor.is_constant and (scales == 0).any()):
            raise self._damaged(place, "has scales that are not positive and finite", scales[:8])
        lowest, highest = _integer_range(tensor.dtype)
        if (zero_points < lowest).any() or (zero_points > highest).any():
            raise self._damaged(place, "has zero points out of its range", zero_points[:8], f"{lowest} to {highest}")

    def _signature(self, table: Table, subgraphs: Sequence[Subgraph], place: str) -> Signature:
        if table["subgraph_index"] >= len(subgraphs):
            raise self._damaged(place, "is of a subgraph that there is not", table["subgraph_index"])
        maps = [
            verify.tensor_map(
                [(each["name"] or "", each["tensor_index"]) for each in table[role] or ()],
                self._file,
                f"{place}, {role}",
            )
            for role in ("inputs", "outputs")
        ]
        return Signature(table["signature_key"] or "", table["subgraph_index"], *maps)


def _integer_range(dtype: str) -> tuple[int, int]:
    bits = BITS[dtype]
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
