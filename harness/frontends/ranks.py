"""Programs whose tensors have more axes than Core ML loads, written with fewer.

A tensor keeps its elements in their order whatever its axes: each that has too many is stood in for by one whose first
axes are taken together, and an operation on it works on as few axes as it tells apart. A transpose is left between two
reshapes, as coremltools' pass ``expand_high_rank_reshape_and_transpose`` wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.tensors import MAXIMUM_RANK

# An axis as one operation sees it: axes beside each other that are seen alike are taken together.
_Kind = tuple[Any, ...]
_Shape = tuple[int, ...]

_ELEMENTWISE = frozenset(
    [
        "abs", "acos", "asin", "atan", "atanh", "cast", "ceil", "clamped_relu", "clip", "cos", "cosh", "elu", "erf",
        "exp", "exp2", "floor", "gelu", "identity", "inverse", "leaky_relu", "linear_activation", "log", "logical_not",
        "relu", "relu6", "round", "rsqrt", "scaled_tanh", "sigmoid", "sigmoid_hard", "sign", "silu", "sin", "sinh",
        "softplus", "softsign", "sqrt", "square", "tan", "tanh", "threshold", "thresholded_relu",
        "add", "equal", "floor_div", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or",
        "logical_xor", "maximum", "minimum", "mod", "mul", "not_equal", "pow", "real_div", "select", "sub",
    ]
)  # fmt: skip
_RESHAPES = frozenset(["reshape", "expand_dims", "squeeze"])
_REDUCTIONS = frozenset(
    f"reduce_{kind}"
    for kind in (
        "l1_norm", "l2_norm", "log_sum", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square",
        "argmax", "argmin",
    )
)  # fmt: skip


def lower_ranks(program: Any, what: str) -> None:
    """Write the operations on tensors of too many axes anew. Raises UnsupportedError for one that cannot be."""
    for function in program.functions.values():
        for value in function.inputs.values():
            _refuse_interface(value, f"{what} has an input")
        _Block(function, {}, what).lower()


def _has_too_many(value: Any) -> bool:
    """Whether Core ML does not load a value for the number of its axes."""
    from coremltools.converters.mil.mil import ListVar

    return not isinstance(value, ListVar) and value.rank > MAXIMUM_RANK


def _refuse_interface(value: Any, what: str) -> None:
    if _has_too_many(value):
        raise UnsupportedError(
            f"{what} of more axes than Core ML loads",
            received=f"{value.name!r} of {value.rank} axes",
            supported=f"{MAXIMUM_RANK} axes",
            remedy="Take axes together, or leave out those of size 1",
        )


class _Block:
    """One block; ``stand_ins`` by the value that is stood in for, those of the blocks around it included."""

    def __init__(self, block: Any, stand_ins: Mapping[Any, Var], what: str) -> None:
        self._block = block
        self._stand_ins = dict(stand_ins)
        self._what = what
        self._operation: Any = None
        self._made: list[Any] = []  # for that operation

    def lower(self) -> None:
        """Each operation in turn; what is replaced is removed at the end."""
        replaced = []
        with self._block:
            for operation in list(self._block.operations):
                for inner in operation.blocks:
                    _Block(inner, self._stand_ins, self._what).lower()
                if operation.op_type == "const" or operation.op_type.startswith("constexpr_"):
                    continue
                if any(map(_has_too_many, _tensors(operation))):
                    self._replace(operation)
                    replaced.append(operation)
            for value in self._block.outputs:
                _refuse_interface(value, f"{self._what} has an output")
            self._block.remove_ops(replaced[::-1])

    def _replace(self, operation: Any) -> None:
        self._operation, self._made = operation, []
        kind = operation.op_type
        translate: Callable[[], Sequence[Any] | None] | None = {
            **dict.fromkeys(_ELEMENTWISE, self._elementwise),
            **dict.fromkeys(_RESHAPES, self._reshape),
            **dict.fromkeys(_REDUCTIONS, self._reduce),
            "transpose": self._transpose,
            "softmax": self._along_axis,
            "cumsum": self._along_axis,
            "concat": self._concat,
            "stack": self._concat,
            "split": self._split,
            "matmul": self._matmul,
            "slice_by_index": self._slice,
            "slice_by_size": self._slice,
            "gather": self._gather,
            "pad": self._pad,
            "tile": self._tile,
        }.get(kind)
        shapes = [value.shape for value in _tensors(operation)]
        results = None
        if translate is not None and all(isinstance(size, (int, np.integer)) for shape in shapes for size in shape):
            results = translate()
        if results is None:
            raise UnsupportedError(
                f"{self._what} computes with tensors of more than {MAXIMUM_RANK} axes, which Core ML does not load",
                received=f"{kind} {operation.outputs[0].name!r} of shapes {', '.join(map(str, map(tuple, shapes)))}",
                supported="movements, elementwise operations, reductions and products of matrices, of known shapes, "
                f"that tell at most {MAXIMUM_RANK} axes apart",
                remedy="Take axes together, or leave out those of size 1, before this operation",
            )
        for output, result in zip(operation.outputs, results, strict=True):
            if _has_too_many(output):
                self._stand_ins[output] = self._reshaped(result, _short(output.shape))
                continue
            result = self._reshaped(result, output.shape)
            if result in self._made:
                result.name = result.op.name = output.name
            else:
                result = self._add("identity", x=result, name=output.name)
            self._block.replace_uses_of_var_after_op(anchor_op=operation, old_var=output, new_var=result)

    # What an operation reads and writes -----------------------------------------------------------

    def _add(self, kind: str, **inputs: Any) -> Any:
        result = getattr(mb, kind)(**inputs, before_op=self._operation)
        self._made += result if isinstance(result, (tuple, list)) else [result]
        return result

    def _given(self, *changed: str) -> dict[str, Any]:
        return {name: value for name, value in self._operation.inputs.items() if name not in changed}

    def _constant(self, name: str) -> Any:
        value = self._operation.inputs.get(name)
        return None if value is None else value.val

    def _reshaped(self, value: Any, shape: Sequence[int]) -> Any:
        if value.val is not None:
            return np.reshape(value.val, shape)
        value = self._stand_ins.get(value, value)
        shape = tuple(map(int, shape))
        if tuple(value.shape) == shape:
            return value
        if not shape:
            return self._add("squeeze", x=self._reshaped(value, (1,)))
        return self._add("reshape", x=value, shape=np.array(shape, np.int32))

    def _axis(self, rank: int) -> int:
        return int(self._constant("axis")) % rank

    # Families -------------------------------------------------------------------------------------

    def _reshape(self) -> Sequence[Any]:
        return [self._operation.x]

    def _transpose(self) -> Sequence[Any]:
        x = self._operation.x
        moved = [int(axis) for axis in self._constant("perm") if x.shape[axis] != 1]
        left = sorted(moved)
        runs: list[list[int]] = []
        for axis in moved:
            if runs and left.index(axis) == left.index(runs[-1][-1]) + 1:
                runs[-1].append(axis)
            else:
                runs.append([axis])
        shape = [prod(x.shape[axis] for axis in run) for run in sorted(runs)]
        x = self._reshaped(x, shape or [1])
        return [self._add("transpose", x=x, perm=[sorted(runs).index(run) for run in runs] or [0])]

    def _elementwise(self) -> Sequence[Any] | None:
        given = self._given()
        shape = self._operation.outputs[0].shape
        operands = {name: value for name, value in given.items() if name in ("x", "y", "a", "b", "cond") and value.rank}
        padded = {name: (1,) * (len(shape) - value.rank) + tuple(value.shape) for name, value in operands.items()}
        groups = _together(
            [(size, *(each[axis] == size for each in padded.values())) for axis, size in enumerate(shape)]
        )
        if len(groups) > MAXIMUM_RANK:
            return None
        is_alike = all(tuple(value.shape) == tuple(shape) for value in operands.values())
        for name, value in operands.items():
            given[name] = self._reshaped(value, _short(shape) if is_alike else _grouped(padded[name], groups))
        return [self._add(self._operation.op_type, **given)]

    def _reduce(self) -> Sequence[Any] | None:
        operation, given = self._operation, self._given("x", "axes", "axis", "keep_dims")
        shape = operation.x.shape
        if operation.op_type.startswith("reduce_arg"):
            axes = [self._axis(len(shape))]
        else:
            named = self._constant("axes")
            axes = list(range(len(shape))) if named is None else [int(axis) % len(shape) for axis in named]
        groups = _together([(size, "reduced" if axis in axes else None) for axis, size in enumerate(shape)])
        if len(groups) > MAXIMUM_RANK:
            return None
        x = self._reshaped(operation.x, _grouped(shape, groups))
        reduced = [place for place, group in enumerate(groups) if set(group) & set(axes)]
        if operation.op_type.startswith("reduce_arg"):
            return [self._add(operation.op_type, x=x, axis=np.int32(reduced[0]), keep_dims=True, **given)]
        return [self._add(operation.op_type, x=x, axes=np.array(reduced, np.int32), keep_dims=True, **given)]

    def _along_axis(self) -> Sequence[Any]:
        x = self._operation.x
        shape = _around(x.shape, self._axis(x.rank))
        return [
            self._add(self._operation.op_type, x=self._reshaped(x, shape), axis=np.int32(1), **self._given("x", "axis"))
        ]

    def _concat(self) -> Sequence[Any] | None:
        operation = self._operation
        axis = self._axis(operation.outputs[0].rank)
        if self._constant("interleave"):
            return None
        parts = []
        for value in operation.values:
            shape = list(value.shape)
            if operation.op_type == "stack":
                shape.insert(axis, 1)
            parts.append(self._reshaped(value, _around(shape, axis)))
        return [self._add("concat", values=parts, axis=np.int32(1))]

    def _split(self) -> Sequence[Any]:
        x = self._operation.x
        axis = self._axis(x.rank)
        sizes = np.array([value.shape[axis] for value in self._operation.outputs], np.int32)
        parts = self._add("split", x=self._reshaped(x, _around(x.shape, axis)), split_sizes=sizes, axis=np.int32(1))
        return list(parts) if isinstance(parts, (tuple, list)) else [parts]

    def _matmul(self) -> Sequence[Any] | None:
        x, y = self._operation.x, self._operation.y
        batch = self._operation.outputs[0].shape[:-2]
        if min(x.rank, y.rank) < 2:
            return None
        padded = [(1,) * (len(batch) + 2 - each.rank) + tuple(each.shape) for each in (x, y)]
        groups = _together([(size, *(each[axis] == size for each in padded)) for axis, size in enumerate(batch)])
        if len(groups) + 2 > MAXIMUM_RANK:
            return None
        x, y = (
            self._reshaped(value, (*_grouped(shape[:-2], groups), *shape[-2:]))
            for value, shape in zip((x, y), padded, strict=True)
        )
        return [self._add("matmul", x=x, y=y, **self._given("x", "y"))]

    def _slice(self) -> Sequence[Any] | None:
        x = self._operation.x
        places = _sliced(x.shape, {name: self._constant(name) for name in self._operation.inputs if name != "x"})
        if places is None:
            return None
        groups = _together([(size, None if kept == range(size) else axis)
                            for axis, (size, kept) in enumerate(zip(x.shape, places, strict=True))])  # fmt: skip
        if len(groups) > MAXIMUM_RANK:
            return None
        kept = []
        for group in groups:
            cut = [places[axis] for axis in group if places[axis] != range(x.shape[axis])]
            kept.append(cut[0] if cut else range(prod(x.shape[axis] for axis in group)))
        return [
            self._add(
                "slice_by_index",
                x=self._reshaped(x, _grouped(x.shape, groups)),
                begin=np.array([each.start for each in kept], np.int32),
                end=np.array([each.stop for each in kept], np.int32),
                stride=np.array([each.step for each in kept], np.int32),
                end_mask=[each.step < 0 and each.stop < 0 for each in kept],
            )
        ]

    def _gather(self) -> Sequence[Any] | None:
        x, indices = self._operation.x, self._operation.indices
        if self._constant("batch_dims"):
            return None
        given = self._given("x", "indices", "axis", "batch_dims")
        x = self._reshaped(x, _around(x.shape, self._axis(x.rank)))
        indices = self._reshaped(indices, (prod(indices.shape),))
        return [self._add("gather", x=x, indices=indices, axis=np.int32(1), **given)]

    def _pad(self) -> Sequence[Any] | None:
        x, rows = self._operation.x, self._constant("pad")
        if rows is None:
            return None
        rows = np.concatenate([np.zeros(2 * x.rank - len(rows), np.int32), rows]).reshape(-1, 2)
        groups = _together([(size, axis if row.any() else None)
                            for axis, (size, row) in enumerate(zip(x.shape, rows, strict=True))])  # fmt: skip
        if len(groups) > MAXIMUM_RANK:
            return None
        moved = self._reshaped(x, _grouped(x.shape, groups))
        rows = np.array([rows[list(group)].max(axis=0) for group in groups], np.int32).reshape(-1)
        return [self._add("pad", x=moved, pad=rows, **self._given("x", "pad"))]

    def _tile(self) -> Sequence[Any] | None:
        x, counts = self._operation.x, self._constant("reps")
        if counts is None:
            return None
        groups = _together([(size, axis if count != 1 else None)
                            for axis, (size, count) in enumerate(zip(x.shape, counts, strict=True))])  # fmt: skip
        if len(groups) > MAXIMUM_RANK:
            return None
        reps = np.array([max(int(counts[axis]) for axis in group) for group in groups], np.int32)
        return [self._add("tile", x=self._reshaped(x, _grouped(x.shape, groups)), reps=reps)]


def _tensors(operation: Any) -> list[Any]:
    """What an operation computes and reads."""
    found = [*operation.outputs]
    for value in operation.inputs.values():
        found += value if isinstance(value, (tuple, list)) else [value]
    return found


def _short(shape: Sequence[int]) -> _Shape:
    """The first axes taken together."""
    return prod(shape[: 1 - MAXIMUM_RANK]), *shape[1 - MAXIMUM_RANK :]


def _around(shape: Sequence[int], axis: int) -> _Shape:
    """(what is before, the axis, what is behind)."""
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def _together(kinds: Sequence[_Kind]) -> list[list[int]]:
    """Axes beside each other that are seen alike; the first item of a kind is the axis's size, and an axis of size 1
    goes with any that it does not concern itself."""
    groups: list[list[int]] = []
    last: _Kind | None = None
    for axis, (size, *kind) in enumerate(kinds):
        concerns = any(item is not None and not isinstance(item, bool) for item in kind)
        is_free = size == 1 and not concerns
        if groups and (is_free or last is None or tuple(kind) == last):
            groups[-1].append(axis)
        else:
            groups.append([axis])
        if not is_free:
            last = tuple(kind)
    return groups


def _grouped(shape: Sequence[int], groups: Sequence[Sequence[int]]) -> _Shape:
    return tuple(prod(shape[axis] for axis in group) for group in groups)


def _sliced(shape: Sequence[int], given: Mapping[str, Any]) -> list[range] | None:
    """The places of each axis that a slice takes; None where they are computed."""
    if "size" in given:
        begin, size = given["begin"], given["size"]
        if begin is None or size is None:
            return None
        return [
            range(int(first), int(first) + int(count) if count >= 0 else length)
            for first, count, length in zip(begin, size, shape, strict=True)
        ]
    if given["begin"] is None or given["end"] is None:
        return None
    rank = len(shape)
    stride = given.get("stride")
    begin_mask, end_mask, squeeze_mask = (
        [False] * rank if given.get(name) is None else given[name]
        for name in ("begin_mask", "end_mask", "squeeze_mask")
    )
    places = []
    for axis, length in enumerate(shape):
        step = 1 if stride is None else int(stride[axis])
        first, last = int(given["begin"][axis]), int(given["end"][axis])
        if squeeze_mask[axis]:
            first += length if first < 0 else 0
            places.append(range(first, first + 1))
            continue
        places.append(range(length)[slice(None if begin_mask[axis] else first, None if end_mask[axis] else last, step)])
    return places
