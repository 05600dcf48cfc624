"""Rows of tables that are looked up."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.padding import fixed_size
from harness.frontends.program import as_var
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.registry import translates


@translates("EMBEDDING_LOOKUP")
def embedding_lookup(ids: Var, table: Var) -> Var:
    """Rows of the table."""
    return mb.gather(x=table, indices=ids, axis=0)


@translates("EMBEDDING_LOOKUP_SPARSE")
def embedding_lookup_sparse(
    ids: Var, places: Var, dense_shape: Array, weights: Var, table: Var, *, combiner: str
) -> Var:
    """Rows of the table, weighted and combined by the place that each belongs to
    (``kernels/embedding_lookup_sparse.cc``)."""
    outer = [int(size) for size in dense_shape.reshape(-1)[:-1]]
    buckets = int(np.prod(outer))
    strides = np.array([int(np.prod(outer[axis + 1 :])) for axis in range(len(outer))] + [0], np.int32)
    bucket = mb.reduce_sum(x=mb.mul(x=places, y=strides.reshape(1, -1)), axes=[1], keep_dims=False)
    tail = [fixed_size(size) for size in table.shape[1:]]
    flat = mb.reshape(x=table, shape=[-1, int(np.prod(tail))]) if len(tail) != 1 else table
    weight = mb.expand_dims(x=weights, axes=[1])
    rows = mb.mul(x=mb.gather(x=flat, indices=ids, axis=0), y=weight)

    def summed(values: Var, width: int) -> Var:
        zeros = as_var(like(values, np.zeros([buckets, width])))
        return mb.scatter(data=zeros, indices=bucket, updates=values, axis=0, mode="add")

    total = summed(rows, int(np.prod(tail)))
    if combiner in ("MEAN", "SQRTN"):
        share = summed(weight if combiner == "MEAN" else mb.mul(x=weight, y=weight), 1)
        share = mb.sqrt(x=share) if combiner == "SQRTN" else share
        # Places without rows stay zero.
        is_empty = mb.equal(x=share, y=np.float32(0))
        total = mb.real_div(x=total, y=mb.select(cond=is_empty, a=np.float32(1), b=share))
    elif combiner != "SUM":
        raise UnsupportedError("unknown combiner", received=combiner, supported="SUM, MEAN, SQRTN")
    return mb.reshape(x=total, shape=[*outer, *tail])


@translates("HASHTABLE_LOOKUP")
def hashtable_lookup(ids: Var, keys: Value, rows: Var, *, node: Node) -> tuple[Var, Var]:
    """The row of each key, zeros where there is none, and whether there is one (``kernels/hashtable_lookup.cc``)."""
    if any(item is not None and item.dtype == "string" for item in node.inputs):
        raise UnsupportedError("ML Programs do not compute with strings", received="a table of strings")
    is_same = mb.cast(
        x=mb.equal(x=mb.expand_dims(x=ids, axes=[1]), y=mb.expand_dims(x=as_var(keys), axes=[0])), dtype="int32"
    )
    hits = mb.reduce_max(x=is_same, axes=[1], keep_dims=False)
    found = mb.gather(x=rows, indices=mb.reduce_argmax(x=is_same, axis=1, keep_dims=False), axis=0)
    mask = mb.reshape(x=hits, shape=[-1, *([1] * (len(found.shape) - 1))])
    kept = mb.mul(x=found, y=mask if dtype_of(found) == "int32" else mb.cast(x=mask, dtype="fp32"))
    return kept, hits
