"""Boxes of detectors."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.blocks import scalar
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.expect import check_rank
from harness.frontends.onnx.declared import known_or_none
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var


@translates("NonMaxSuppression", since=10)
def non_max_suppression(
    boxes: Var, scores: Var, max_output_boxes_per_class: Value | None = None, iou_threshold: Value | None = None,
    score_threshold: Value | None = None, *, center_point_box: int = 0,
) -> Var:  # fmt: skip
    """(batch, class, box) of each box that is kept, best first. MIL's own operation pads its result and compares
    thresholds otherwise, so that boxes are picked one after the other, for all batches and classes at once."""
    known = known_or_none(max_output_boxes_per_class)
    if max_output_boxes_per_class is None or (known is not None and known[0] <= 0):
        raise UnsupportedError("Core ML has no tensors without elements", received="max_output_boxes_per_class 0")
    check_rank("the scores", scores, 3)
    check_rank("the boxes", boxes, 3)
    batch, classes, count = _sizes(scores)
    groups = batch * classes
    most = count if known is None else min(count, int(known[0]))
    limit = np.int32(most) if known is not None else scalar(as_var(max_output_boxes_per_class))
    flat = mb.reshape(x=scores, shape=[groups, count])
    corners = _corners(boxes, classes, bool(center_point_box))
    overlap = np.zeros((1, 1), np.float32) if iou_threshold is None else _single(iou_threshold)
    alive = as_var(np.ones((groups, count), np.int32))
    if score_threshold is not None:
        alive = mb.cast(x=mb.greater(x=flat, y=_single(score_threshold)), dtype="int32")

    def goes_on(number: Var, alive: Var, picked: Var) -> Var:
        is_left = mb.greater(x=mb.reduce_max(x=alive, axes=[0, 1], keep_dims=False), y=np.int32(0))
        return mb.logical_and(x=mb.less(x=number, y=limit), y=is_left)

    def pick(number: Var, alive: Var, picked: Var) -> list[Var]:
        left = mb.select(cond=mb.greater(x=alive, y=np.int32(0)), a=flat, b=np.float32(-np.inf))
        best = mb.reduce_argmax(x=left, axis=1, keep_dims=True)
        is_one = mb.greater(x=mb.gather_along_axis(x=alive, indices=best, axis=1), y=np.int32(0))
        row = mb.select(cond=is_one, a=best, b=np.int32(-1))
        picked = mb.scatter(
            data=picked, indices=mb.expand_dims(x=number, axes=[0]), updates=mb.reshape(x=row, shape=[1, groups]),
            axis=0, mode="update",
        )  # fmt: skip
        chosen = [mb.gather_along_axis(x=side, indices=best, axis=1) for side in corners]
        is_gone = mb.logical_or(
            x=_overlaps(corners, chosen, overlap), y=mb.equal(x=np.arange(count, dtype=np.int32).reshape(1, -1), y=best)
        )
        still = mb.mul(x=alive, y=mb.cast(x=mb.logical_not(x=is_gone), dtype="int32"))
        return [mb.add(x=number, y=np.int32(1)), still, picked]

    none = as_var(np.full((most, groups), -1, np.int32))
    _, _, picked = mb.while_loop(_cond=goes_on, _body=pick, loop_vars=(as_var(np.array(0)), alive, none))
    places = mb.reshape(x=mb.transpose(x=picked, perm=[1, 0]), shape=[groups * most])
    is_picked = mb.cast(x=mb.greater_equal(x=places, y=np.int32(0)), dtype="int32")
    kept = mb.squeeze(x=mb.non_zero(x=is_picked), axes=[1])
    group = mb.floor_div(x=kept, y=np.int32(most))
    columns = [
        mb.floor_div(x=group, y=np.int32(classes)),
        mb.mod(x=group, y=np.int32(classes)),
        mb.gather(x=places, indices=kept, axis=0),
    ]
    return mb.stack(values=columns, axis=1)


def _sizes(scores: Var) -> list[int]:
    if not all(isinstance(size, int | np.integer) for size in scores.shape):
        raise UnsupportedError("boxes of flexible number", received=[str(size) for size in scores.shape])
    return [int(size) for size in scores.shape]


def _single(value: Value) -> Var:
    return mb.reshape(x=as_var(value), shape=[1, 1])


def _corners(boxes: Var, classes: int, is_centered: bool) -> list[Var]:
    """Least and greatest of both axes and the area, each (batch x classes, boxes)."""
    batch, count, _ = _sizes(boxes)
    first, second, third, fourth = mb.split(x=boxes, num_splits=4, axis=2)
    if is_centered:
        halves = [mb.mul(x=size, y=np.float32(0.5)) for size in (third, fourth)]
        low = [mb.sub(x=middle, y=half) for middle, half in zip((first, second), halves, strict=True)]
        high = [mb.add(x=middle, y=half) for middle, half in zip((first, second), halves, strict=True)]
    else:
        pairs = ((first, third), (second, fourth))
        low = [mb.minimum(x=begin, y=end) for begin, end in pairs]
        high = [mb.maximum(x=begin, y=end) for begin, end in pairs]
    spans = [mb.sub(x=end, y=begin) for begin, end in zip(low, high, strict=True)]
    sides = []
    for side in (*low, *high, mb.mul(x=spans[0], y=spans[1])):
        # (batch, boxes, 1) for each class.
        wide = mb.reshape(x=side, shape=[batch, 1, count])
        wide = mb.tile(x=wide, reps=[1, classes, 1]) if classes > 1 else wide
        sides.append(mb.reshape(x=wide, shape=[batch * classes, count]))
    return sides


def _overlaps(boxes: list[Var], chosen: list[Var], threshold: Value) -> Var:
    """Whether intersection over union with the chosen box is more than the threshold."""
    spans = [
        mb.relu(x=mb.sub(x=mb.minimum(x=boxes[axis + 2], y=chosen[axis + 2]),
                         y=mb.maximum(x=boxes[axis], y=chosen[axis])))
        for axis in (0, 1)
    ]  # fmt: skip
    shared = mb.mul(x=spans[0], y=spans[1])
    union = mb.sub(x=mb.add(x=chosen[4], y=boxes[4]), y=shared)
    is_more = mb.greater(x=mb.real_div(x=shared, y=union), y=threshold)
    return mb.logical_and(x=is_more, y=mb.greater(x=shared, y=np.float32(0)))
