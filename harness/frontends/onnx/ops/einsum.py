"""Einstein sums: every form of the equation, by diagonals, sums, products and transposes."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters
from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.frontends.integers import INTEGERS, wrapped
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates


@dataclass(frozen=True)
class _Term:
    """A value whose axes are labelled, each label once."""

    value: Var
    labels: str

    def size(self, label: str) -> Any:
        return self.value.shape[self.labels.index(label)]


@translates("Einsum", since=12)
def einsum(*operands: Var, equation: str, node: Node) -> Var:
    """As numpy.einsum: two operands at a time, from the left."""
    inputs, output = _labels(equation, [len(value.shape) for value in operands])
    terms = [_diagonal(value, labels) for value, labels in zip(operands, inputs, strict=True)]
    terms = _without_broadcast(terms)
    result = _summed(terms[0], output + "".join(term.labels for term in terms[1:]))
    for index, term in enumerate(terms[1:], 1):
        needed = output + "".join(other.labels for other in terms[index + 1 :])
        result = _product(result, _summed(term, result.labels + needed), needed)
    value = _ordered(result, output).value
    return wrapped(value, node.output_dtype()) if node.output_dtype() in INTEGERS else value


def _labels(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """One label for each axis, of the operands and of the result. Raises UnsupportedError where they do not fit."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    free = [letter for letter in ascii_letters if letter not in text]
    counts = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    spread = "".join(free[: max(counts)])
    # The axes of an ellipsis are counted from the last.
    inputs = [term.replace("...", spread[len(spread) - count :]) for term, count in zip(terms, counts, strict=True)]
    letters = left.replace("...", "").replace(",", "")
    if not arrow:
        right = ("..." if "..." in left else "") + "".join(
            sorted(item for item in set(letters) if letters.count(item) == 1)
        )
    output = right.replace("...", spread)
    if any(len(labels) != rank for labels, rank in zip(inputs, ranks, strict=True)) or not set(output) <= set(
        "".join(inputs)
    ):
        raise UnsupportedError("the equation does not fit the operands", received=f"{equation!r}, ranks {ranks}")
    return inputs, output


def _diagonal(x: Var, labels: str) -> _Term:
    """Of axes that share a label, which goes last: every n + 1st element of the n by n that they are."""
    while len(set(labels)) < len(labels):
        label = next(item for item in labels if labels.count(item) > 1)
        first, second = [axis for axis, item in enumerate(labels) if item == label][:2]
        size, other = x.shape[first], x.shape[second]
        rest = [axis for axis in range(len(labels)) if axis not in (first, second)]
        if _is_one(size) != _is_one(other):
            raise UnsupportedError("a diagonal of axes of different sizes", received=f"{size} and {other}")
        _static(x)
        kept = [int(x.shape[axis]) for axis in rest]
        flat = mb.reshape(x=mb.transpose(x=x, perm=[*rest, first, second]), shape=[*kept, int(size) ** 2])
        rank = len(kept) + 1
        x = mb.slice_by_index(
            x=flat, begin=[0] * rank, end=[0] * rank, stride=[1] * (rank - 1) + [int(size) + 1],
            begin_mask=[True] * rank, end_mask=[True] * rank,
        )  # fmt: skip
        labels = "".join(labels[axis] for axis in rest) + label
    return _Term(x, labels)


def _without_broadcast(terms: list[_Term]) -> list[_Term]:
    """Axes of size 1 are dropped where another operand has more of the label."""
    wide = {label for term in terms for label in term.labels if not _is_one(term.size(label))}
    result = []
    for term in terms:
        axes = [axis for axis, label in enumerate(term.labels) if label in wide and _is_one(term.size(label))]
        kept = "".join(label for axis, label in enumerate(term.labels) if axis not in axes)
        result.append(_Term(mb.squeeze(x=term.value, axes=axes) if axes else term.value, kept))
    return result


def _summed(term: _Term, needed: str) -> _Term:
    """Over the labels that nothing else needs."""
    axes = [axis for axis, label in enumerate(term.labels) if label not in needed]
    if not axes:
        return term
    kept = "".join(label for label in term.labels if label in needed)
    return _Term(mb.reduce_sum(x=term.value, axes=axes, keep_dims=False), kept)


def _product(a: _Term, b: _Term, needed: str) -> _Term:
    """Of two terms, summed over the labels that are not needed."""
    shared = [label for label in a.labels if label in b.labels]
    batch = "".join(label for label in shared if label in needed)
    contracted = "".join(label for label in shared if label not in needed)
    rows = "".join(label for label in a.labels if label not in shared)
    columns = "".join(label for label in b.labels if label not in shared)
    if not contracted:
        left = _spread(_ordered(a, batch + rows), len(columns))
        right = _spread(_ordered(b, batch + columns), len(rows), len(batch))
        return _Term(mb.mul(x=left, y=right), batch + rows + columns)
    sizes = {label: term.size(label) for term in (a, b) for label in term.labels}
    left = _matrices(a, batch, rows, contracted)
    right = _matrices(b, batch, contracted, columns)
    product = mb.matmul(x=left, y=right)
    if len(rows) != 1 or len(columns) != 1:
        if not rows and len(columns) == 1:
            product = mb.squeeze(x=product, axes=[len(batch)])
        elif not columns and len(rows) == 1:
            product = mb.squeeze(x=product, axes=[len(batch) + 1])
        elif not batch + rows + columns:
            product = mb.squeeze(x=product)
        else:
            product = mb.reshape(x=product, shape=_known([sizes[label] for label in batch + rows + columns]))
    return _Term(product, batch + rows + columns)


def _matrices(term: _Term, batch: str, rows: str, columns: str) -> Var:
    """Of the batch's axes and two more, into which the axes of rows and columns are joined."""
    ordered = _ordered(term, batch + rows + columns)
    if len(rows) == len(columns) == 1:
        return ordered.value
    if not rows and len(columns) == 1:
        return mb.expand_dims(x=ordered.value, axes=[len(batch)])
    if not columns and len(rows) == 1:
        return mb.expand_dims(x=ordered.value, axes=[len(batch) + 1])
    joined = [int(np.prod(_known([term.size(label) for label in part]), dtype=int)) for part in (rows, columns)]
    return mb.reshape(x=ordered.value, shape=[*_known([term.size(label) for label in batch]), *joined])


def _ordered(term: _Term, labels: str) -> _Term:
    order = [term.labels.index(label) for label in labels]
    return _Term(term.value if order == sorted(order) else mb.transpose(x=term.value, perm=order), labels)


def _spread(term: _Term, count: int, at: int | None = None) -> Var:
    """With ``count`` new axes of size 1, at the end by default."""
    begin = len(term.labels) if at is None else at
    return mb.expand_dims(x=term.value, axes=list(range(begin, begin + count))) if count else term.value


def _is_one(size: Any) -> bool:
    return isinstance(size, int | np.integer) and int(size) == 1


def _known(sizes: list[Any]) -> list[int]:
    if not all(isinstance(size, int | np.integer) for size in sizes):
        raise UnsupportedError("axes of flexible size are joined", received=[str(size) for size in sizes])
    return [int(size) for size in sizes]


def _static(x: Var) -> None:
    _known(list(x.shape))
