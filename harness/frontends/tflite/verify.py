"""Whether the parts of a TFLite model fit each other: order, control flow, signatures, sparse and text constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np

from harness.frontends.dispatch import Array
from harness.frontends.tflite.flatbuffer import damaged
from harness.frontends.tflite.graph import Operator, Signature, Subgraph
from harness.frontends.tflite.weights import Sparsity

# Operators of a model with every call of a subgraph written out.
_MOST_OPERATORS = 1_000_000
# A dense tensor may be this many times larger than what is stored of it, and any tensor this large in elements.
_LARGEST_EXPANSION = 4096
_ALWAYS_ALLOWED = 1 << 20


def check_subgraph(subgraph: Subgraph, file: str, place: str) -> None:
    """Every tensor is defined once, before its use. Raises ModelFileError."""
    defined = {tensor.index for tensor in subgraph.tensors if tensor.is_constant or tensor.is_variable}
    for index in subgraph.inputs:
        if subgraph.tensors[index].is_constant:
            raise damaged(file, f"{place}, tensor {index}", "is a constant and an input at once")
    defined.update(subgraph.inputs)
    for operator in subgraph.operators:
        where = f"{place}, operator {operator.index} {operator.name}"
        for index in operator.inputs:
            if index >= 0 and index not in defined:
                raise damaged(file, where, f"reads tensor {index} before anything writes it")
        for index in operator.outputs:
            if index in defined:
                raise damaged(file, where, f"writes tensor {index}, which is defined already")
            defined.add(index)
    for index in subgraph.outputs:
        if index not in defined:
            raise damaged(file, place, f"returns tensor {index}, which nothing writes")


def called_subgraphs(operator: Operator) -> tuple[int, ...]:
    """Indices of the subgraphs that an operator calls, in the order of its options."""
    found: list[int] = []
    for name, value in operator.options.items():
        if name.endswith("subgraph_index") or (name == "subgraph" and operator.name == "CALL"):
            found.append(value)
        elif name.endswith("subgraph_indices"):
            found += value
    return tuple(found)


def check_calls(subgraphs: Sequence[Subgraph], file: str) -> None:
    """Subgraphs that operators call exist, take and return as much as they are given, and never call themselves.

    Raises ModelFileError, also where calls within calls multiply to more operators than any model has.
    """
    calls: dict[int, list[int]] = {}
    for index, subgraph in enumerate(subgraphs):
        calls[index] = []
        for operator in subgraph.operators:
            where = f"subgraph {index} {subgraph.name!r}, operator {operator.index} {operator.name}"
            called = called_subgraphs(operator)
            for target in called:
                if not 0 <= target < len(subgraphs):
                    raise damaged(
                        file, where, "calls a subgraph that there is not", target, f"0 to {len(subgraphs) - 1}"
                    )
            _check_arity(operator, [subgraphs[target] for target in called], file, where)
            calls[index] += called
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise damaged(file, "the model", "has subgraphs that call themselves", error.args[1]) from None
    sizes: dict[int, int] = {}
    for index in order:  # those that are called come first
        sizes[index] = len(subgraphs[index].operators) + sum(sizes[target] for target in calls[index])
        if sizes[index] > _MOST_OPERATORS:
            raise damaged(file, f"subgraph {index}", f"amounts to more than {_MOST_OPERATORS} operators with its calls")


def _check_arity(operator: Operator, called: Sequence[Subgraph], file: str, place: str) -> None:
    given, wanted = len(operator.inputs), len(operator.outputs)
    expected: list[tuple[int, int]]
    if operator.name in ("IF", "STABLEHLO_CASE"):
        expected = [(given - 1, wanted)] * len(called)
    elif operator.name in ("WHILE", "STABLEHLO_WHILE"):
        expected = [(given, 1), (given, wanted)]
        if given != wanted:
            raise damaged(file, place, "does not return what it takes", f"{given} inputs, {wanted} outputs")
    elif operator.name == "CALL_ONCE":
        expected = [(0, 0)]
    elif operator.name in ("CALL", "STABLEHLO_COMPOSITE"):
        expected = [(given, wanted)]
    else:
        return
    for subgraph, (inputs, outputs) in zip(called, expected, strict=True):
        if (len(subgraph.inputs), len(subgraph.outputs)) != (inputs, outputs):
            raise damaged(
                file, place, f"does not fit subgraph {subgraph.name!r}",
                f"{len(subgraph.inputs)} inputs and {len(subgraph.outputs)} outputs", f"{inputs} and {outputs}",
            )  # fmt: skip


def check_signatures(signatures: Sequence[Signature], subgraphs: Sequence[Subgraph], file: str) -> None:
    """Signatures have names of their own, name each input of their subgraph once, and only what it returns."""
    names: set[str] = set()
    for signature in signatures:
        place = f"signature {signature.name!r}"
        if not signature.name or signature.name in names:
            raise damaged(file, place, "has no name of its own")
        names.add(signature.name)
        subgraph = subgraphs[signature.subgraph]
        if sorted(signature.inputs.values()) != sorted(subgraph.inputs):
            raise damaged(file, place, "does not name the inputs of its subgraph once each")
        if not set(signature.outputs.values()) <= set(subgraph.outputs):
            raise damaged(file, place, "names outputs that its subgraph does not return")


def sparse_elements(sparsity: Sparsity, shape: tuple[int, ...], file: str, place: str) -> int:
    """How many elements a sparse tensor stores. Raises ModelFileError where its tree is not sound."""
    rank, levels = len(shape), sparsity.levels
    if len(levels) != len(sparsity.traversal_order) or len(levels) != rank + len(sparsity.block_map):
        raise damaged(
            file, place, "is sparse with a wrong number of levels",
            f"{len(levels)} levels, {len(sparsity.traversal_order)} in order, {len(sparsity.block_map)} of blocks",
            f"{rank} and one for each dimension in blocks",
        )  # fmt: skip
    order = sparsity.traversal_order
    if sorted(order[:rank]) != list(range(rank)) or sorted(order[rank:]) != list(range(rank, len(order))):
        raise damaged(file, place, "is sparse in an order that is none of its dimensions", order)
    sizes = [*shape, *([0] * len(sparsity.block_map))]
    if len(set(sparsity.block_map)) < len(sparsity.block_map):
        raise damaged(file, place, "has a dimension in two blocks", sparsity.block_map)
    for block, dimension in enumerate(sparsity.block_map):
        level = levels[order.index(rank + block)]
        if not 0 <= dimension < rank or level.segments is not None or level.size <= 0 or sizes[dimension] % level.size:
            raise damaged(file, place, "has a block that does not divide its dimension", dimension)
        sizes[dimension] //= level.size
        sizes[rank + block] = level.size
    count = 1
    for dimension, level in zip(order, levels, strict=True):
        where = f"{place}, sparse dimension {dimension}"
        if level.segments is None or level.indices is None:
            if level.size != sizes[dimension]:
                raise damaged(file, where, "has a wrong size", level.size, sizes[dimension])
            count *= level.size
            continue
        segments, indices = level.segments, level.indices
        if len(segments) != count + 1:
            raise damaged(file, where, "has a wrong number of segments", len(segments) - 1, count)
        steps = np.diff(segments.astype(np.int64))
        if segments[0] != 0 or (steps < 0).any() or segments[-1] != len(indices):
            raise damaged(file, where, "has segments that are not in order")
        if len(indices) and not (indices.min() >= 0 and indices.max() < sizes[dimension]):
            raise damaged(file, where, "has indices that are out of range", supported=f"0 to {sizes[dimension] - 1}")
        count = len(indices)
    return count


def check_expansion(stored: int, dense: int, file: str, place: str) -> None:
    """A sparse tensor that would not fill the memory with zeros. Raises ModelFileError."""
    if dense > max(_ALWAYS_ALLOWED, _LARGEST_EXPANSION * stored):
        raise damaged(file, place, "is sparse beyond reason", f"{stored} elements of {dense}")


def count_texts(buffer: Array, file: str, place: str) -> int:
    """How many texts a constant holds: a count, one offset for each and the end, then their bytes."""
    count = int(buffer[:4].view("<u4")[0]) if len(buffer) >= 4 else -1
    header = 4 * (count + 2)
    if count < 0 or header > len(buffer):
        raise damaged(file, place, "has a wrong number of texts", count)
    offsets = buffer[4:header].view("<u4").astype(np.int64)
    if offsets[0] != header or offsets[-1] != len(buffer) or (np.diff(offsets) < 0).any():
        raise damaged(file, place, "has texts that lie outside of it")
    return count


def tensor_map(names: Sequence[tuple[str, int]], file: str, place: str) -> Mapping[str, int]:
    """A signature's names. Raises ModelFileError where two are alike or one is missing."""
    mapping = dict(names)
    if "" in mapping or len(mapping) < len(names):
        raise damaged(file, place, "has names that are missing or alike", [name for name, _ in names])
    return mapping
