"""Diagonals of matrices."""

from __future__ import annotations

import numpy as np

from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Var
from harness.frontends.padding import fixed_size
from harness.frontends.program import as_var
from harness.frontends.selection import as_numbers, where
from harness.frontends.tflite.registry import translates


def _diagonal(rows: int, columns: int, rank: int) -> Var:
    return as_var(np.eye(rows, columns, dtype=bool).reshape([1] * (rank - 2) + [rows, columns]))


@translates("MATRIX_DIAG")
def matrix_diag(x: Var) -> Var:
    """Square matrices with x on their diagonal."""
    size = fixed_size(x.shape[-1])

    def placed(x: Var) -> Var:
        rank = len(x.shape) + 1
        zero = as_var(like(x, np.zeros([1] * rank)))
        return where(_diagonal(size, size, rank), mb.expand_dims(x=x, axes=[-2]), zero)

    return as_numbers(placed, x)


@translates("MATRIX_SET_DIAG")
def matrix_set_diag(x: Var, diagonal: Var) -> Var:
    """x with another main diagonal."""
    rows, columns = (fixed_size(size) for size in x.shape[-2:])

    def placed(x: Var, diagonal: Var) -> Var:
        # Repeated along the axis that does not have as many places.
        column = mb.expand_dims(x=diagonal, axes=[-2 if rows > columns else -1])
        return where(_diagonal(rows, columns, len(x.shape)), column, x)

    assert dtype_of(x) == dtype_of(diagonal)
    return as_numbers(placed, x, diagonal)
