"""Packed and sparse constants, against values that are written out."""

from __future__ import annotations

import numpy as np
import pytest

from harness.frontends.tflite.weights import SparseDimension, Sparsity, densify, stored_bytes, unpack


@pytest.mark.parametrize(
    ("dtype", "stored", "wanted"),
    [
        ("int4", [0x21, 0xF8, 0x07], [1, 2, -8, -1, 7]),
        ("uint4", [0x21, 0xF8], [1, 2, 8, 15]),
        ("int2", [0b11100100], [0, 1, -2, -1]),
        ("bool", [0, 1, 2], [False, True, True]),
        ("bfloat16", [0x80, 0x3F, 0x00, 0xC0], [1.0, -2.0]),
        ("float16", [0x00, 0x3C], [1.0]),
        ("int16", [0xFF, 0xFF, 0x00, 0x01], [-1, 256]),
    ],
)
def test_unpack(dtype: str, stored: list[int], wanted: list[float]) -> None:
    assert stored_bytes(len(wanted), dtype) == len(stored)
    assert unpack(np.array(stored, np.uint8), len(wanted), dtype).tolist() == wanted


def dense(size: int) -> SparseDimension:
    return SparseDimension(size)


def sparse(segments: list[int], indices: list[int]) -> SparseDimension:
    return SparseDimension(0, np.array(segments), np.array(indices))


@pytest.mark.parametrize(
    ("sparsity", "stored", "wanted"),
    [
        # Rows, of each of which some columns are stored.
        (Sparsity((0, 1), (), (dense(2), sparse([0, 1, 3], [2, 0, 1]))), [5, 6, 7], [[0, 0, 5], [6, 7, 0]]),
        # Columns first.
        (Sparsity((1, 0), (), (dense(3), sparse([0, 1, 1, 2], [1, 0]))), [5, 6], [[0, 0, 6], [5, 0, 0]]),
        # Some rows, each whole.
        (Sparsity((0, 1), (), (sparse([0, 1], [1]), dense(3))), [5, 6, 7], [[0, 0, 0], [5, 6, 7]]),
        # Sparse on both levels.
        (Sparsity((0, 1), (), (sparse([0, 1], [1]), sparse([0, 2], [0, 2]))), [5, 6], [[0, 0, 0], [5, 0, 6]]),
        # Nothing is stored.
        (Sparsity((0, 1), (), (dense(2), sparse([0, 0, 0], []))), [], [[0, 0, 0], [0, 0, 0]]),
        # Blocks of two columns.
        (
            Sparsity((0, 1, 2), (1,), (dense(2), sparse([0, 1, 2], [1, 0]), dense(2))),
            [5, 6, 7, 8],
            [[0, 0, 5, 6], [7, 8, 0, 0]],
        ),
        # Blocks of two rows and two columns.
        (
            Sparsity((0, 1, 2, 3), (0, 1), (dense(1), sparse([0, 1], [1]), dense(2), dense(2))),
            [1, 2, 3, 4],
            [[0, 0, 1, 2], [0, 0, 3, 4]],
        ),
    ],
)
def test_densify(sparsity: Sparsity, stored: list[float], wanted: list[list[float]]) -> None:
    shape = np.shape(wanted)
    assert densify(np.array(stored, np.float32), shape, sparsity).tolist() == wanted
