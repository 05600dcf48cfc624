"""Matrix products."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var


@translates("MatMul")
def matmul(x: Value, y: Value, *, node: Node) -> Var:
    """As numpy.matmul; vectors are matrices of one row or column."""
    is_float = node.input_dtype() in ("float32", "float16")
    if is_float and isinstance(y, np.ndarray) and y.ndim == 2 and not isinstance(x, np.ndarray) and len(x.shape) >= 2:
        return mb.linear(x=x, weight=np.ascontiguousarray(y.T)) if len(x.shape) <= 3 else mb.matmul(x=x, y=y)
    x, y = as_var(x), as_var(y)
    is_row, is_column = len(x.shape) == 1, len(y.shape) == 1
    x = mb.expand_dims(x=x, axes=[0]) if is_row else x
    y = mb.expand_dims(x=y, axes=[1]) if is_column else y
    result = mb.matmul(x=x, y=y)
    dropped = [axis for axis, drop in ((len(result.shape) - 2, is_row), (len(result.shape) - 1, is_column)) if drop]
    return mb.squeeze(x=result, axes=dropped) if dropped else result


@translates("Gemm", since=6)
def gemm(
    a: Var, b: Value, c: Value | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,  # noqa: N803
    transB: int = 0, broadcast: int = 1, node: Node,  # noqa: N803
) -> Var:  # fmt: skip
    """alpha * A' B' + beta * C."""
    is_float = node.input_dtype() in ("float32", "float16")
    if not is_float and (alpha != int(alpha) or beta != int(beta)):
        raise UnsupportedError("integers times a fraction", received=f"alpha={alpha}, beta={beta}")
    if (
        is_float
        and isinstance(b, np.ndarray)
        and not transA
        and (c is None or (isinstance(c, np.ndarray) and c.ndim <= 1))
    ):
        weight = b * np.float32(alpha) if alpha != 1.0 else b
        weight = weight if transB else weight.T
        width = weight.shape[0]
        keywords = {}
        if c is not None:
            keywords["bias"] = np.broadcast_to(c * np.float32(beta) if beta != 1.0 else c, (width,)).copy()
        return mb.linear(x=a, weight=np.ascontiguousarray(weight), **keywords)
    result = mb.matmul(x=a, y=as_var(b), transpose_x=bool(transA), transpose_y=bool(transB))
    if alpha != 1.0:
        result = mb.mul(x=result, y=like(result, alpha))
    if c is None:
        return result
    addend = as_var(c)
    return mb.add(x=result, y=addend if beta == 1.0 else mb.mul(x=addend, y=like(addend, beta)))
