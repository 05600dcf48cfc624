"""Einsum: each form of the equation, for floats and integers, against ONNX's own evaluator (numpy.einsum)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from tests.frontends.onnx.checking import check, converted, node_model

RANDOM = np.random.default_rng(5)
CASES: list[tuple[Any, ...]] = [
    ("ij,jk->ik", (3, 4), (4, 5)), ("ij,jk", (3, 4), (4, 5)), (" i j , j k -> k i ", (3, 4), (4, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("...ij,...jk->...ik", (2, 3, 4), (1, 4, 5)),
    ("...ij,...jk", (6, 2, 3, 4), (2, 4, 5)), ("i,i", (4,), (4,)), ("i,i->i", (4,), (4,)), ("i,j->ij", (4,), (3,)),
    ("ij->ji", (3, 4)), ("ij->", (3, 4)), ("ij->j", (3, 4)), ("ba", (3, 4)), ("ii->i", (4, 4)), ("ii", (4, 4)),
    ("bii->bi", (2, 4, 4)), ("iii->i", (3, 3, 3)), ("...ii->...i", (2, 3, 4, 4)), ("ij,jj->i", (3, 4), (4, 4)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)), ("bqnc,bknc->bnqk", (2, 3, 4, 5), (2, 6, 4, 5)),
    ("bijc,cd->bijd", (2, 3, 4, 5), (5, 6)), ("abcd,cdef->abef", (2, 3, 4, 5), (4, 5, 2, 3)),
    ("abcd,cd->ab", (2, 3, 4, 5), (4, 5)), ("cd,abcd->ba", (4, 5), (2, 3, 4, 5)), ("ij,j->i", (3, 4), (4,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("ij,ik,il->i", (2, 3), (2, 4), (2, 5)),
    ("a,b,c->cab", (2,), (3,), (4,)), ("...,...->...", (2, 3), (3,)), ("i...->...i", (2, 3, 4)),
    ("...a,...a->...", (2, 3, 4), (3, 4)), ("nchw,hkc->nwk", (2, 3, 4, 5), (4, 6, 3)),
    ("bij,bij->b", (2, 3, 4), (2, 3, 4)), ("bij,bij->bij", (2, 3, 4), (2, 1, 4)), ("->", ()), (",->", (), ()),
    ("i,->i", (3,), ()), ("bhwij,hkc,i->bwk", (1, 2, 2, 3, 2), (2, 4, 3), (3,)),
    ("ab...,b...->a...", (2, 3, 4), (3, 4)), ("i...,j...->...", (2, 3, 4), (5, 3, 4)), ("Aa,aB->AB", (2, 3), (3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_every_form(dtype: Any) -> None:
    for equation, *shapes in CASES:
        operands: list[Any] = [np.asarray(RANDOM.integers(1, 9, shape)).astype(dtype) for shape in shapes]
        for constants in range(min(2, len(shapes))):
            check(*node_model("Einsum", operands, constants, 13, equation=equation), evaluator="onnx")


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "...ij,...jk->...ki"])
def test_flexible(equation: str) -> None:
    operands: list[Any] = [RANDOM.normal(size=shape).astype(np.float32) for shape in ((2, 3, 4), (2, 4, 5))]
    check(*node_model("Einsum", operands, 0, 13, flexible=True, equation=equation))


def test_joined_flexible_axes_are_refused() -> None:
    operands: list[Any] = [RANDOM.normal(size=shape).astype(np.float32) for shape in ((2, 3, 4), (3, 4, 5))]
    with pytest.raises(UnsupportedError, match="flexible"):
        converted(*node_model("Einsum", operands, 0, 13, flexible=True, equation="abc,bcd->ad"))
