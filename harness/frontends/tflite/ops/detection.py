"""Boxes of detectors."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.padding import fixed_size
from harness.frontends.program import as_var
from harness.frontends.tflite.layout import known
from harness.frontends.tflite.registry import translates


@translates("NON_MAX_SUPPRESSION_V4")
def non_max_suppression(
    boxes: Var, scores: Var, most: Value, iou_threshold: Value, score_threshold: Value
) -> tuple[Var, Var]:
    """Indices of the boxes that are kept, best first and zeros after them, and how many there are."""
    indices, _, count = _suppressed(boxes, scores, most, iou_threshold, score_threshold, None)
    return indices, count


@translates("NON_MAX_SUPPRESSION_V5")
def soft_non_max_suppression(
    boxes: Var, scores: Var, most: Value, iou_threshold: Value, score_threshold: Value, sigma: Value
) -> tuple[Var, Var, Var]:
    """Indices, scores and count of the boxes that are kept, where each one kept lowers the scores of its like."""
    return _suppressed(boxes, scores, most, iou_threshold, score_threshold, sigma)


def _suppressed(
    boxes: Var, scores: Var, most: Value, iou_threshold: Value, score_threshold: Value, sigma: Value | None
) -> tuple[Var, Var, Var]:
    """As ``kernels/internal/reference/non_max_suppression.h``: always the best box that is left, once."""
    limit = known(most)
    if limit is None:
        raise UnsupportedError("the number of boxes must be a constant", received="a value that is computed")
    count, rows = fixed_size(scores.shape[0]), int(limit.reshape(()))
    overlap, least = (mb.reshape(x=as_var(item), shape=[1]) for item in (iou_threshold, score_threshold))
    sides = [mb.squeeze(x=side, axes=[1]) for side in mb.split(x=boxes, num_splits=4, axis=1)]
    low = [mb.minimum(x=sides[axis], y=sides[axis + 2]) for axis in (0, 1)]
    high = [mb.maximum(x=sides[axis], y=sides[axis + 2]) for axis in (0, 1)]
    spans = [mb.sub(x=end, y=begin) for begin, end in zip(low, high, strict=True)]
    area = mb.mul(x=spans[0], y=spans[1])
    corners = [*low, *high, area]
    lowered = (sigma is not None and known(sigma) is None) or (sigma is not None and np.any(known(sigma)))
    factor = None
    if lowered:
        width = mb.reshape(x=as_var(sigma), shape=[1])  # type: ignore[arg-type]
        is_none = mb.less_equal(x=width, y=np.float32(0))
        divisor = mb.select(cond=is_none, a=np.ones(1, np.float32), b=width)
        factor = mb.real_div(x=mb.select(cond=is_none, a=np.zeros(1, np.float32), b=np.full(1, -0.5, np.float32)),
                             y=divisor)  # fmt: skip
    # A score of -inf is one that is gone.
    gone = np.full(count, -np.inf, np.float32)
    given = mb.select(cond=mb.greater(x=scores, y=least), a=scores, b=gone)

    def goes_on(number: Var, left: Var, picked: Var, values: Var) -> Var:
        best = mb.reduce_max(x=left, axes=[0], keep_dims=True)
        is_left = mb.squeeze(x=mb.greater(x=best, y=np.full(1, -np.inf, np.float32)), axes=[0])
        return mb.logical_and(x=mb.less(x=number, y=np.int32(min(rows, count))), y=is_left)

    def pick(number: Var, left: Var, picked: Var, values: Var) -> list[Var]:
        best = mb.reduce_argmax(x=left, axis=0, keep_dims=True)
        place = mb.expand_dims(x=number, axes=[0])
        picked = mb.scatter(data=picked, indices=place, updates=best, axis=0, mode="update")
        score = mb.gather(x=left, indices=best, axis=0)
        values = mb.scatter(data=values, indices=place, updates=score, axis=0, mode="update")
        iou = _overlaps(corners, [mb.gather(x=side, indices=best, axis=0) for side in corners])
        if factor is not None:
            left = mb.mul(x=left, y=mb.exp(x=mb.mul(x=mb.mul(x=iou, y=iou), y=factor)))
            left = mb.select(cond=mb.greater(x=left, y=least), a=left, b=gone)
        is_gone = mb.logical_or(
            x=mb.greater_equal(x=iou, y=overlap), y=mb.equal(x=np.arange(count, dtype=np.int32), y=best)
        )
        return [mb.add(x=number, y=np.int32(1)), mb.select(cond=is_gone, a=gone, b=left), picked, values]

    number, _, picked, values = mb.while_loop(
        _cond=goes_on,
        _body=pick,
        loop_vars=(as_var(np.array(0)), given, as_var(np.zeros(rows, np.int32)), as_var(np.zeros(rows, np.float32))),
    )
    return picked, values, number


def _overlaps(boxes: list[Var], chosen: list[Var]) -> Var:
    """Intersection over union with the chosen box; 0 where one of them is empty."""
    shared = None
    for axis in (0, 1):
        end = mb.minimum(x=boxes[axis + 2], y=chosen[axis + 2])
        side = mb.relu(x=mb.sub(x=end, y=mb.maximum(x=boxes[axis], y=chosen[axis])))
        shared = side if shared is None else mb.mul(x=shared, y=side)
    union = mb.sub(x=mb.add(x=chosen[4], y=boxes[4]), y=shared)
    is_empty = mb.logical_or(
        x=mb.less_equal(x=boxes[4], y=np.float32(0)), y=mb.less_equal(x=chosen[4], y=np.float32(0))
    )
    safe = mb.select(cond=is_empty, a=np.float32(1), b=union)
    return mb.select(cond=is_empty, a=np.float32(0), b=mb.real_div(x=shared, y=safe))
