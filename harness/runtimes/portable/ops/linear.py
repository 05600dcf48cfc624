"""Matrix products (coremltools ``linear.py`` of iOS15 and iOS17, ``iOS18/transformers.py``)."""

from __future__ import annotations

import math

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, cast_to, constant, op
from harness.runtimes.portable.registry import lowers


def _transposed(x: Tensor) -> Tensor:
    """The last two axes exchanged; a constant stays one, so that ONNX Runtime can pack it."""
    if x.value is not None:
        return constant(np.ascontiguousarray(np.swapaxes(x.value, -1, -2)))
    axes = list(range(x.rank))
    return op.Transpose(x, perm=[*axes[:-2], axes[-1], axes[-2]])


def _product(x: Tensor, y: Tensor) -> Tensor:
    """ONNX's MatMul, in one dtype: iOS17 lets a constant have another one than the other operand."""
    if x.dtype != y.dtype:
        x, y = cast_to(x, "fp32"), cast_to(y, "fp32")
    return op.MatMul(x, y)


@lowers("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, weight (D_out, D_in)."""
    product = _product(x, _transposed(weight))
    return product if bias is None else op.Add(product, cast_to(bias, product.dtype))


@lowers("matmul")
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """numpy's matmul; a transposition exchanges the last two axes and does nothing to a vector."""
    x = _transposed(x) if transpose_x and x.rank > 1 else x
    y = _transposed(y) if transpose_y and y.rank > 1 else y
    return _product(x, y)


@lowers("einsum")
def einsum(values: list[Tensor], equation: str) -> Tensor:
    """Products over the last axis of x and the third last of y, the others batch, ones broadcast.

    MIL has "nchw,nwhu->nchu" and "chw,whr->chr", with any letters.
    """
    x, y = values
    letters = dict.fromkeys(sign for sign in equation if sign.isalpha())
    renamed = {letter: chr(ord("a") + place) for place, letter in enumerate(letters)}
    canonical = "".join(renamed.get(sign, sign) for sign in equation if sign != " ")
    if canonical not in ("abcd,adce->abce", "abc,cbd->abd"):
        raise PackageError(
            "unknown equation of einsum", received=equation, supported=("nchw,nwhu->nchu", "chw,whr->chr")
        )
    batch = list(range(x.rank - 3))
    swap = [*batch, len(batch) + 1, len(batch), len(batch) + 2]
    return op.Transpose(op.MatMul(op.Transpose(x, perm=swap), op.Transpose(y, perm=swap)), perm=swap)


@lowers("scaled_dot_product_attention")
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(query @ key.T / sqrt(E) + mask) @ value; a false mask element is minus infinity."""
    size = query.shape[-1] if query.shape is not None else None
    if size is None:
        root = op.Sqrt(cast_to(op.Shape(query, start=query.rank - 1), "fp32"))
        query = op.Div(query, root)
    else:
        query = op.Mul(query, 1.0 / math.sqrt(size))
    scores = op.MatMul(query, _transposed(key))
    if attn_mask is not None and attn_mask.dtype == "bool":
        attn_mask = op.Where(attn_mask, np.array(0, np.float32), np.array(-np.inf, np.float32))
    if attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)
