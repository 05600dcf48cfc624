from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports
from harness.runtimes.portable.registry import KERNELS

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

from tests.runtimes.portable.conftest import Run

X = np.random.default_rng(0).permutation(60).reshape(3, 4, 5).astype(np.float32) - 30
TIES = np.array([[2, 1, 2, 3, 1, 3]], np.float32)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("x", [X, X.astype(np.int32)], ids=["float32", "int32"])
def test_argsort(run: Run, x: np.ndarray, axis: int, ascending: bool) -> None:
    (result,) = run(lambda x: mb.argsort(x=x, axis=axis, ascending=ascending), {"x": x}, target=ct.target.iOS15)
    np.testing.assert_array_equal(result, np.argsort(x if ascending else -x, axis=axis))
    assert result.dtype == np.int32


@pytest.mark.parametrize(("ascending", "expected"), [(False, [3, 5, 0, 2, 1, 4]), (True, [1, 4, 0, 2, 3, 5])])
def test_equal_values_keep_their_order(run: Run, ascending: bool, expected: list[int]) -> None:
    sort, top = run(
        lambda x: [mb.argsort(x=x, ascending=ascending), mb.topk(x=x, k=6, ascending=ascending)[1]], {"x": TIES}
    )
    np.testing.assert_array_equal(sort[0], expected)
    np.testing.assert_array_equal(top[0], expected)


@pytest.mark.parametrize(
    ("target", "options", "k", "axis"),
    [
        (ct.target.iOS15, {}, 1, -1),
        (ct.target.iOS15, {"k": 2, "axis": 1}, 2, 1),
        (ct.target.iOS15, {"k": 3, "axis": 0, "ascending": True}, 3, 0),
        (ct.target.iOS16, {"k": 2, "sort": False}, 2, -1),
        (ct.target.iOS16, {"k": 2, "return_indices": False}, 2, -1),
        (ct.target.iOS17, {"k": np.int8(3), "axis": -2, "output_indices_dtype": "uint16"}, 3, -2),
        (ct.target.iOS17, {"k": np.int16(2), "ascending": True, "return_indices": False}, 2, -1),
        (ct.target.iOS18, {"k": 4}, 4, -1),
    ],
)
@pytest.mark.parametrize("x", [X, X.astype(np.int32)], ids=["float32", "int32"])
def test_topk(run: Run, x: np.ndarray, target: Any, options: dict[str, Any], k: int, axis: int) -> None:
    results = run(lambda x: mb.topk(x=x, **options), {"x": x}, target=target)
    order = np.argsort(x if options.get("ascending") else -x, axis=axis)
    indices = np.take(order, np.arange(k), axis=axis)
    expected = [np.take_along_axis(x, indices, axis=axis), indices][
        : 1 if options.get("return_indices") is False else 2
    ]
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
    assert results[0].dtype == x.dtype


def test_topk_of_all(lower: Any) -> None:
    from harness.runtimes.portable.ops.sorting import topk

    np.testing.assert_array_equal(
        lower(lambda x: topk(x, axis=1, return_indices=False), {"x": X}), X.max(axis=1, keepdims=True)
    )
    expected = -np.sort(-X, axis=1)
    for k in (-1, 4):
        np.testing.assert_array_equal(
            lower(lambda x, k: topk(x, k, axis=1, return_indices=False), {"x": X, "k": np.array(k, np.int32)}), expected
        )


def test_flexible_sizes(lower: Any) -> None:
    from harness.runtimes.portable.ops.sorting import argsort, non_zero

    np.testing.assert_array_equal(lower(argsort, {"x": X}, axis=-2), np.argsort(-X, axis=-2))
    np.testing.assert_array_equal(lower(non_zero, {"x": X % 3}), np.argwhere(X % 3))


@pytest.mark.parametrize("x", [X % 3, X.astype(np.int32) % 2, np.zeros((2, 3), np.float32)])
def test_non_zero(run: Run, x: np.ndarray) -> None:
    (result,) = run(lambda x: mb.non_zero(x=x), {"x": x}, target=ct.target.iOS15)
    np.testing.assert_array_equal(result, np.argwhere(x))
    assert result.dtype == np.int32
    (result,) = run(lambda x: mb.non_zero(x=mb.cast(x=x, dtype="bool")), {"x": x})
    np.testing.assert_array_equal(result, np.argwhere(x))


# Non-maximum suppression --------------------------------------------------------------------------


def boxes_and_scores(batches: int, boxes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([batches, boxes, classes])
    corner = random.uniform(0, 10, (batches, boxes, 2))
    size = random.uniform(1, 8, (batches, boxes, 2))
    scores = random.permutation(batches * boxes * classes).reshape(batches, boxes, classes) / (
        batches * boxes * classes
    )
    return np.concatenate([corner, size], axis=-1).astype(np.float32), scores.astype(np.float32)


def tensorflow_suppression(
    boxes: np.ndarray, scores: np.ndarray, overlap: float, threshold: float, count: int, per_class: bool
) -> list[int]:
    """TensorFlow's kernel, for each class by itself where wanted, with Core ML's answer where nothing is left."""
    with quiet_imports():
        import tensorflow as tf
    best, classes = scores.max(axis=-1), scores.argmax(axis=-1)
    corners = np.concatenate(
        [boxes[:, 1::-1] - boxes[:, 3:1:-1] / 2, boxes[:, 1::-1] + boxes[:, 3:1:-1] / 2], axis=-1
    )  # y1, x1, y2, x2
    kept: list[int] = []
    for group in (
        [np.flatnonzero(classes == c) for c in range(scores.shape[-1])] if per_class else [np.arange(len(best))]
    ):
        found = tf.image.non_max_suppression(corners[group], best[group], count, overlap, threshold).numpy()
        kept.extend(group[found].tolist())
    kept.sort(key=lambda index: -best[index])
    return kept[:count] or [int(best.argmax())]


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize(
    ("target", "boxes", "classes", "overlap", "threshold", "count"),
    [
        (ct.target.iOS15, 30, 4, 0.3, 0.2, 37),
        (ct.target.iOS15, 30, 1, 0.1, 0.5, 4),
        (ct.target.iOS15, 10, 3, 0.5, 2.0, 3),
        (ct.target.iOS17, 30, 4, 0.2, None, 12),
        (ct.target.iOS18, 20, 2, 0.6, None, 5),
    ],
)
def test_non_maximum_suppression(
    run: Run,
    target: Any,
    boxes: int,
    classes: int,
    overlap: float,
    threshold: float | None,
    count: int,
    per_class: bool,
) -> None:
    all_boxes, all_scores = boxes_and_scores(2, boxes, classes)
    old = threshold is not None
    inputs = {"boxes": all_boxes, "scores": all_scores}
    if not old:
        inputs = {name: np.ascontiguousarray(array.transpose(0, 2, 1)) for name, array in inputs.items()}
    options = {"score_threshold": np.float32(threshold)} if old else {}
    results = run(
        lambda boxes, scores: mb.non_maximum_suppression(
            boxes=boxes, scores=scores, iou_threshold=np.float32(overlap), max_boxes=count,
            per_class_suppression=per_class, **options
        ),
        inputs, target=target,
    )  # fmt: skip
    assert len(results) == (4 if old else 3)
    for batch in range(2):
        kept = tensorflow_suppression(
            all_boxes[batch], all_scores[batch], overlap, -1.0 if threshold is None else threshold, count, per_class
        )
        found_boxes, found_scores = (r[batch] if old else r[batch].T for r in results[:2])
        padding = count - len(kept)
        np.testing.assert_array_equal(results[2][batch], kept + [-1] * padding)
        np.testing.assert_array_equal(found_boxes, np.pad(all_boxes[batch][kept], ((0, padding), (0, 0))))
        np.testing.assert_array_equal(found_scores, np.pad(all_scores[batch][kept], ((0, padding), (0, 0))))
        if old:
            assert results[3][batch] == len(kept)


def test_suppression_as_core_ml_has_it(run: Run) -> None:
    """coremltools ``ops/tests/iOS14/test_tensor_operation.py``, test_builder_to_backend_smoke."""
    boxes = np.repeat(np.arange(4, dtype=np.float32), 4).reshape(1, 4, 4)
    scores = np.array([[[-3.5], [9.4], [2.3], [0.7]]], np.float32)
    found = run(
        lambda boxes, scores: mb.non_maximum_suppression(
            boxes=boxes, scores=scores, iou_threshold=0.2, score_threshold=0.4, max_boxes=2, per_class_suppression=True
        ),
        {"boxes": boxes, "scores": scores}, target=ct.target.iOS15,
    )  # fmt: skip
    expected: list[Any] = [[[[1.0] * 4, [2.0] * 4]], np.array([[[9.4], [2.3]]], np.float32), [[1, 2]], [2]]
    for result, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_overlap_equal_to_the_threshold_is_kept() -> None:
    # Two unit squares, shifted by a half: a third of their union is shared.
    boxes = np.array([[[0, 0, 2, 2], [1, 0, 2, 2], [0, 0, 0, 0]]], np.float32)
    scores = np.array([[[3], [2], [1]]], np.float32)
    function = KERNELS["non_maximum_suppression"].function
    for overlap, kept in [(1 / 3 + 1e-6, [0, 1, 2]), (1 / 3 - 1e-6, [0, 2, -1])]:
        assert function(boxes, scores, overlap, 3, opset="CoreML5")[2].tolist() == [kept]


def test_float16(run: Run) -> None:
    x = np.array([[0.1, 0.100001, 3, 2]], np.float32)
    values, indices = run(lambda x: mb.topk(x=x, k=3), {"x": x}, numerics="float16", precision="float16")
    np.testing.assert_array_equal(values, np.array([[3, 2, 0.1]], np.float16).astype(np.float32))
    np.testing.assert_array_equal(indices, [[2, 3, 0]])  # the first two are equal in float16
