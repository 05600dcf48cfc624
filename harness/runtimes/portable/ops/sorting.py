"""Operations that select by value (coremltools ``iOS15/tensor_operation.py`` and its newer versions)."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.runtimes.portable.onnx_graph import Tensor, cast_to, op, shape_of
from harness.runtimes.portable.registry import kernel, lowers
from harness.tensors import Array

# Opsets whose boxes stand along the last axis, without a threshold for scores.
_BOXES_LAST = ("CoreML7", "CoreML8")


def _sorted(x: Tensor, count: Tensor, axis: int, ascending: bool) -> tuple[Tensor, Tensor]:
    """ONNX TopK: among equal values the lower index comes first."""
    values, indices = op.TopK(x, count, axis=axis, largest=int(not ascending), sorted=1, outputs=2)
    return values, indices


def _size(x: Tensor, axis: int) -> Tensor:
    """The size of one axis, as a vector of one int64."""
    sized: Tensor = op.Gather(shape_of(x), [axis % x.rank], axis=0)
    return sized


@lowers("topk", moves=True)
def topk(
    x: Tensor,
    k: Tensor | None = None,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """The ``k`` largest or smallest values along an axis, with their indices; all of them where k is -1 (iOS17).

    They come sorted also where ``sort`` is false, which leaves the order open.
    """
    if k is None or k.value is not None:
        wanted = 1 if k is None else int(np.asarray(k.value).reshape(()))
        count = _size(x, axis) if wanted == -1 else op.Identity(np.array([wanted], np.int64))
    else:
        given = op.Reshape(cast_to(k, "int64"), [1])
        count = op.Where(op.Less(given, 0), _size(x, axis), given)
    values, indices = _sorted(x, count, axis, ascending)
    return (values, indices) if return_indices else values


@lowers("argsort", moves=True)
def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """Indices that sort along an axis; equal values keep their order."""
    return _sorted(x, _size(x, axis), axis, ascending)[1]


@lowers("non_zero", moves=True)
def non_zero(x: Tensor) -> Tensor:
    """Indices of the elements that are not zero, one row each, (count, rank)."""
    indices: Tensor = op.Transpose(op.NonZero(x), perm=[1, 0])
    return indices


@kernel("non_maximum_suppression", moves=True)
def non_maximum_suppression(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    max_boxes: int,
    score_threshold: float = -np.inf,
    per_class_suppression: bool = False,
    *,
    opset: str,
) -> tuple[Array, ...]:
    """Boxes by falling score, without those that overlap a better one by more than ``iou_threshold``.

    Boxes are (x, y, width, height) around their centre, (n, B, 4), and scores (n, B, K); from iOS17 on
    (n, 4, B) and (n, K, B). A box's score and class are those of its best class. Where every box is below the
    threshold, the best one is returned all the same; places left over hold 0 and index -1 (coremltools
    ``ops/tests/iOS14/test_tensor_operation.py``, which compares Core ML with such a reference).
    """
    boxes_last = opset in _BOXES_LAST
    if boxes_last:
        boxes, scores = boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1)
    batches = len(boxes)
    chosen_boxes = np.zeros((batches, max_boxes, 4), np.float32)
    chosen_scores = np.zeros((batches, max_boxes, scores.shape[-1]), np.float32)
    chosen = np.full((batches, max_boxes), -1, np.int32)
    counts = np.zeros(batches, np.int32)
    for batch in range(batches):
        kept = _suppress(boxes[batch], scores[batch], iou_threshold, max_boxes, score_threshold, per_class_suppression)
        count = len(kept)
        chosen_boxes[batch, :count] = boxes[batch, kept]
        chosen_scores[batch, :count] = scores[batch, kept]
        chosen[batch, :count] = kept
        counts[batch] = count
    if boxes_last:
        return chosen_boxes.transpose(0, 2, 1), chosen_scores.transpose(0, 2, 1), chosen
    return chosen_boxes, chosen_scores, chosen, counts


def _suppress(
    boxes: Any, scores: Any, iou_threshold: float, max_boxes: int, score_threshold: float, per_class: bool
) -> list[int]:
    """Indices of the boxes kept in one image."""
    best = scores.max(axis=-1)
    classes = scores.argmax(axis=-1)
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    areas = boxes[:, 2] * boxes[:, 3]
    order = np.argsort(-best, kind="stable")
    left = order[best[order] > score_threshold]
    if not left.size:
        left = order[:1]
    kept: list[int] = []
    while left.size and len(kept) < max_boxes:
        first, left = left[0], left[1:]
        kept.append(int(first))
        sides = np.minimum(high[first], high[left]) - np.maximum(low[first], low[left])
        shared = np.maximum(sides, 0).prod(axis=-1)
        together = areas[first] + areas[left] - shared
        # Boxes without an area overlap nothing.
        real = (areas[first] > 0) & (areas[left] > 0)
        overlap = np.where(real, shared / np.where(real, together, 1), 0)
        suppressed = overlap > iou_threshold
        if per_class:
            suppressed &= classes[left] == classes[first]
        left = left[~suppressed]
    return kept
