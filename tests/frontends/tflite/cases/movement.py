"""Operators that move, repeat, select or make values; shapes, bounds and amounts that are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from harness.quiet import quiet_imports
from harness.suites.tflite_cases import Case, Input
from tests.frontends.tflite.building import Tensor, constant
from tests.frontends.tflite.tables import flexible, floats, ints, made

with quiet_imports():
    import tensorflow as tf

IMAGE = (2, 5, 4, 6)
QUANTIZED = ("float32", "int8", "int8-float", "int16x8")
PLAIN = ("float32",)
Function = Callable[..., Any]

# Operator, name, function of an image, forms.
OF_IMAGES: tuple[tuple[str, str, Function, tuple[str, ...]], ...] = (
    ("RESHAPE", "flat", lambda x: tf.reshape(x, (2, -1)), QUANTIZED),
    ("RESHAPE", "rank 5", lambda x: tf.reshape(x, (2, 5, 2, 2, 6)), PLAIN),
    ("RESHAPE", "vector", lambda x: tf.reshape(x, (-1,)), PLAIN),
    ("TRANSPOSE", "channels first", lambda x: tf.transpose(x, (0, 3, 1, 2)), QUANTIZED),
    ("TRANSPOSE", "backwards", lambda x: tf.transpose(x), PLAIN),
    ("TRANSPOSE", "rank 5", lambda x: tf.transpose(tf.reshape(x, (2, 5, 4, 2, 3)), (3, 1, 4, 0, 2)), PLAIN),
    ("CONCATENATION", "channels", lambda x: tf.concat([x, x * 2.0, -x], 3), QUANTIZED),
    ("CONCATENATION", "rows", lambda x: tf.concat([x, x * 2.0], 1), QUANTIZED),
    ("CONCATENATION", "negative axis", lambda x: tf.concat([x, x * 0.5], -2), PLAIN),
    ("PACK", "first", lambda x: tf.stack([x, x * 2.0], 0), ("float32", "int8")),
    ("PACK", "last", lambda x: tf.stack([x, x * 2.0, x], -1), PLAIN),
    ("PACK", "middle", lambda x: tf.stack([x, x * 2.0], 2), PLAIN),
    ("UNPACK", "rows", lambda x: tf.unstack(x, axis=1)[2], QUANTIZED),
    ("UNPACK", "channels", lambda x: sum(tf.unstack(x, axis=-1)[1:3]), PLAIN),
    ("SPLIT", "channels", lambda x: tf.split(x, 3, 3)[1], QUANTIZED),
    ("SPLIT", "negative axis", lambda x: tf.split(x, 2, -2)[1], PLAIN),
    ("SPLIT_V", "channels", lambda x: tf.split(x, (1, 3, 2), 3), QUANTIZED),
    ("SPLIT_V", "rest", lambda x: tf.split(x, (2, -1), 1)[1], PLAIN),
    ("SLICE", "to sizes", lambda x: tf.slice(x, (0, 1, 1, 2), (2, 3, 2, 3)), QUANTIZED),
    ("SLICE", "to the end", lambda x: tf.slice(x, (1, 2, 0, 1), (1, -1, -1, 4)), PLAIN),
    ("STRIDED_SLICE", "steps", lambda x: x[:, 1:5:2, ::2, 1::3], QUANTIZED),
    ("STRIDED_SLICE", "backwards", lambda x: x[:, ::-1, 3:0:-2, -1:-5:-2], PLAIN),
    ("STRIDED_SLICE", "shrunk", lambda x: x[1, :, -1, ...], PLAIN),
    ("STRIDED_SLICE", "ellipsis", lambda x: x[..., 2:], PLAIN),
    ("STRIDED_SLICE", "new axes", lambda x: x[:, tf.newaxis, 1, ..., 2:4], PLAIN),
    ("STRIDED_SLICE", "beyond", lambda x: x[:, 2:99, -99:3], PLAIN),
    ("GATHER", "rows", lambda x: tf.gather(x, [3, 0, 3], axis=1), QUANTIZED),
    ("GATHER", "one", lambda x: tf.gather(x, 2, axis=2), PLAIN),
    ("GATHER", "matrix", lambda x: tf.gather(x, [[0, 5], [1, 4]], axis=3), PLAIN),
    ("GATHER_ND", "tuples", lambda x: tf.gather_nd(x, [[0, 1], [1, 4]]), QUANTIZED),
    ("GATHER_ND", "elements", lambda x: tf.gather_nd(x, [[[0, 1, 2, 3]], [[1, 4, 3, 5]]]), PLAIN),
    ("TILE", "all", lambda x: tf.tile(x, (1, 2, 3, 1)), QUANTIZED),
    ("REVERSE_V2", "rows", lambda x: tf.reverse(x, [1]), ("float32", "int8")),
    ("REVERSE_V2", "channels", lambda x: tf.reverse(x, [-1]), PLAIN),
    ("BROADCAST_TO", "batch", lambda x: tf.broadcast_to(x[:1, :, :1], (3, 5, 4, 6)), PLAIN),
    ("BROADCAST_TO", "more axes", lambda x: tf.broadcast_to(x, (2, 2, 5, 4, 6)), PLAIN),
    ("PAD", "image", lambda x: tf.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0))), QUANTIZED),
    ("PAD", "all axes", lambda x: tf.pad(x, ((1, 0), (1, 2), (0, 1), (2, 1))), PLAIN),
    ("PADV2", "image", lambda x: tf.pad(x, ((0, 0), (1, 2), (3, 0), (0, 1)), constant_values=0.7), ("float32", "int8")),
    ("MIRROR_PAD", "reflect", lambda x: tf.pad(x, ((0, 0), (2, 1), (0, 3), (1, 2)), "REFLECT"), ("float32", "int8")),
    ("MIRROR_PAD", "symmetric", lambda x: tf.pad(x, ((2, 1), (5, 1), (0, 3), (0, 0)), "SYMMETRIC"), PLAIN),
    ("SPACE_TO_DEPTH", "2", lambda x: tf.nn.space_to_depth(x[:, :4], 2), ("float32", "int8")),
    ("SPACE_TO_BATCH_ND", "padded", lambda x: tf.space_to_batch(x, (2, 2), ((1, 0), (0, 0))), ("float32", "int8")),
    ("SPACE_TO_BATCH_ND", "uneven", lambda x: tf.space_to_batch(x, (3, 2), ((0, 1), (1, 1))), PLAIN),
    ("ONE_HOT", "of extremes", lambda x: tf.one_hot(tf.argmax(x, 3), 6, on_value=2.5, off_value=-1.0), PLAIN),
    ("ONE_HOT", "axis", lambda x: tf.one_hot(tf.cast(x * 4, tf.int32), 3, axis=1), PLAIN),
    ("MATRIX_DIAG", "rows", lambda x: tf.linalg.diag(x[0]), PLAIN),
    ("MATRIX_SET_DIAG", "wide", lambda x: tf.linalg.set_diag(x, x[:, :, :, 0]), PLAIN),
    ("MATRIX_SET_DIAG", "tall", lambda x: tf.linalg.set_diag(tf.transpose(x, (0, 1, 3, 2)), x[:, :, :, 0]), PLAIN),
    ("WHERE", "positive", lambda x: tf.where(x > 0.2), PLAIN),
    ("SCATTER_ND", "rows", lambda x: tf.scatter_nd([[2], [0]], x, (4, 5, 4, 6)), PLAIN),
    ("SEGMENT_SUM", "rows", lambda x: tf.math.segment_sum(x[0], [0, 0, 1, 2, 2]), PLAIN),
    ("BUCKETIZE", "five", lambda x: tf.raw_ops.Bucketize(input=x, boundaries=[-0.5, 0.0, 0.3, 0.9]), PLAIN),
)  # fmt: skip


def of_images() -> Iterator[Case]:
    for operator, name, function, forms in OF_IMAGES:
        yield Case(operator, name, function, floats(IMAGE), forms)
    yield Case("DEPTH_TO_SPACE", "2", lambda x: tf.nn.depth_to_space(x, 2), floats((2, 3, 4, 8)), ("float32", "int8"))
    yield Case("DEPTH_TO_SPACE", "3", lambda x: tf.nn.depth_to_space(x, 3), floats((1, 2, 3, 18)))
    yield Case(
        "BATCH_TO_SPACE_ND",
        "cropped",
        lambda x: tf.batch_to_space(x, (2, 2), ((1, 0), (0, 1))),
        floats((8, 3, 4, 2)),
        ("float32", "int8"),
    )
    yield Case(
        "BATCH_TO_SPACE_ND", "uneven", lambda x: tf.batch_to_space(x, (3, 2), ((0, 0), (0, 0))), floats((6, 3, 4, 2))
    )
    yield made("SQUEEZE", "all", floats((1, 4, 1, 3)), Tensor((4, 3)))
    for axis, shape in ((0, (1, 2, 3, 4)), (2, (2, 3, 1, 4)), (-1, (2, 3, 4, 1))):
        yield made("EXPAND_DIMS", f"{axis}", (*floats((2, 3, 4)), constant(axis, "int32")), Tensor(shape))
    yield made("SQUEEZE", "negative", floats((2, 1, 3, 1)), Tensor((2, 1, 3)), {"squeeze_dims": [-1]})


def of_integers() -> Iterator[Case]:
    numbers = ints((3, 4, 5), low=-99, high=99)
    functions: dict[str, Function] = {
        "RESHAPE": lambda x: tf.reshape(x, (12, 5)), "TRANSPOSE": lambda x: tf.transpose(x, (2, 0, 1)),
        "CONCATENATION": lambda x: tf.concat([x, x], 1), "PACK": lambda x: tf.stack([x, x], 1),
        "UNPACK": lambda x: tf.unstack(x, axis=1)[1], "SPLIT": lambda x: tf.split(x, 2, 1)[1],
        "SLICE": lambda x: tf.slice(x, (1, 1, 0), (2, 2, -1)), "STRIDED_SLICE": lambda x: x[::-1, 1::2],
        "GATHER": lambda x: tf.gather(x, [2, 0], axis=1), "GATHER_ND": lambda x: tf.gather_nd(x, [[2, 0], [1, 1]]),
        "TILE": lambda x: tf.tile(x, (1, 2, 1)), "REVERSE_V2": lambda x: tf.reverse(x, [1]),
        "PAD": lambda x: tf.pad(x, ((1, 0), (0, 2), (1, 1))),
        "BROADCAST_TO": lambda x: tf.broadcast_to(x, (2, 3, 4, 5)),
        "MIRROR_PAD": lambda x: tf.pad(x, ((1, 0), (0, 2), (1, 1)), "REFLECT"),
    }  # fmt: skip
    for operator, function in functions.items():
        for dtype in ("int32", "int64", "bool"):
            if dtype == "bool" and operator in ("PAD", "MIRROR_PAD"):
                continue
            yield Case(operator, dtype, function, (Input((3, 4, 5), dtype, -99, 99),))
    yield Case("PADV2", "int32", lambda x: tf.pad(x, ((1, 0), (0, 2), (1, 1)), constant_values=7), numbers)
    yield Case("ONE_HOT", "int32", lambda x: tf.one_hot(x, 4, 7, -1, dtype=tf.int32), ints((3, 4), low=-1, high=5))
    yield Case("ONE_HOT", "bool", lambda x: tf.one_hot(x, 4, True, False, dtype=tf.bool), ints((3, 4), low=-1, high=5))
    yield Case("WHERE", "bool", tf.where, (Input((3, 4), "bool"),))
    yield Case("WHERE", "vector", tf.where, (Input((9,), "bool"),))
    yield made("WHERE", "int32", ints((3, 4), low=-1, high=1), Tensor((None, 2), "int64"))
    yield Case("UNIQUE", "int32", lambda x: tf.unique(x), ints((12,), low=-3, high=3))
    yield Case("UNIQUE", "floats", lambda x: tf.unique(tf.round(x)), floats((12,), low=-3, high=3))
    yield Case("UNIQUE", "int64 places", lambda x: tf.unique(x, tf.int64), ints((12,), low=-3, high=3))
    yield made("SPACE_TO_DEPTH", "int32", ints((1, 4, 6, 2)), Tensor((1, 2, 3, 8), "int32"), {"block_size": 2})
    yield made("DEPTH_TO_SPACE", "int32", ints((1, 2, 3, 8)), Tensor((1, 4, 6, 2), "int32"), {"block_size": 2})
    pair = (constant([2], "int32"), constant([[1, 0]], "int32"))
    yield made("SPACE_TO_BATCH_ND", "rank 3", (*ints((2, 5, 3)), *pair), Tensor((4, 3, 3), "int32"))
    yield made("BATCH_TO_SPACE_ND", "rank 3", (*ints((4, 3, 3)), *pair), Tensor((2, 5, 3), "int32"))
    for dtype in ("int32", "int64"):
        x = Input((3, 4), dtype, -9, 9)
        yield Case("MATRIX_DIAG", dtype, tf.linalg.diag, (x,))
        yield made(
            "MATRIX_SET_DIAG",
            dtype,
            (Input((2, 3, 4), dtype, -9, 9), Input((2, 3), dtype, -9, 9)),
            Tensor((2, 3, 4), dtype),
        )
    x = Input((4, 6, 2), "float32")
    lengths = Input((4,), "int32", values=(1, 6, 3, 4))
    yield Case(
        "REVERSE_SEQUENCE", "rows", lambda x, n: tf.reverse_sequence(x, n, seq_axis=1, batch_axis=0), (x, lengths)
    )
    yield Case(
        "REVERSE_SEQUENCE",
        "columns",
        lambda x, n: tf.reverse_sequence(x, n, seq_axis=0, batch_axis=1),
        (Input((6, 4, 2), "int32", -9, 9), lengths),
    )


def scattered() -> Iterator[Case]:
    places = Input((3, 2), "int32", values=(0, 1, 2, 3, 0, 1))
    for dtype in ("float32", "int32", "int64", "bool"):
        yield Case(
            "SCATTER_ND",
            f"computed {dtype}",
            lambda i, u: tf.scatter_nd(i, u, (3, 4, 2)),
            (places, Input((3, 2), dtype, -9, 9)),
        )
    yield made(
        "SCATTER_ND",
        "computed shape",
        (places, *floats((3, 2)), Input((3,), "int32", values=(3, 4, 2))),
        Tensor((None, None, None)),
    )
    ids = Input((6,), "int32", values=(0, 2, -1, 2, 0, 2))
    for name, function in {
        "SUM": tf.math.unsorted_segment_sum,
        "MAX": tf.math.unsorted_segment_max,
        "MIN": tf.math.unsorted_segment_min,
        "PROD": tf.math.unsorted_segment_prod,
    }.items():
        yield Case(
            f"UNSORTED_SEGMENT_{name}", "floats", lambda x, i, f=function: f(x, i, 3)[::2], (*floats((6, 4)), ids)
        )
        yield Case(f"UNSORTED_SEGMENT_{name}", "int32", lambda x, i, f=function: f(x, i, 4), (*ints((6, 4)), ids))
        yield Case(
            f"UNSORTED_SEGMENT_{name}",
            "matrix",
            lambda x, i, f=function: f(x, i, 3),
            (*ints((2, 3, 4)), Input((2, 3), "int32", values=(0, 2, 1, 2, 0, 2))),
        )
    order = Input((6,), "int32", values=(0, 0, 1, 2, 2, 3))
    yield Case("SEGMENT_SUM", "computed", tf.math.segment_sum, (*floats((6, 4)), order))
    yield Case("SEGMENT_SUM", "int32 vector", tf.math.segment_sum, (*ints((6,)), order))
    for name, begin in {"inside": (1, 2), "beyond": (9, -3)}.items():
        for dtype in ("float32", "int32", "bool"):
            pair = (Input((4, 5), dtype, -9, 9), Input((2, 3), dtype, -9, 9))
            yield made(
                "DYNAMIC_UPDATE_SLICE", f"{name} {dtype}", (*pair, constant(begin, "int32")), Tensor((4, 5), dtype)
            )
            yield made(
                "DYNAMIC_UPDATE_SLICE",
                f"{name} computed {dtype}",
                (*pair, Input((2,), "int32", values=begin)),
                Tensor((4, 5), dtype),
            )
    shape = constant([4, 5], "int32")
    tuples = Input((3, 2), "int32", values=(0, 1, 1, 4, 3, 2))
    for dtype in ("float32", "int32", "int64"):
        yield made(
            "SPARSE_TO_DENSE",
            f"tuples {dtype}",
            (tuples, shape, Input((3,), dtype, 1, 9), constant(-1, dtype)),
            Tensor((4, 5), dtype),
        )
    yield made(
        "SPARSE_TO_DENSE",
        "vector",
        (Input((3,), "int32", values=(0, 2, 5)), constant([7], "int32"), *floats((3,)), constant(0.5)),
        Tensor((7,)),
    )
    for dtype in ("float32", "int32"):
        yield made(
            "DILATE",
            dtype,
            (Input((3, 2, 4), dtype, -9, 9), constant([2, 1, 3], "int32"), constant(5, dtype)),
            Tensor((5, 2, 10), dtype),
        )
    yield Case(
        "GATHER", "computed", lambda x, i: tf.gather(x, i, axis=1), (*floats((3, 4, 2)), *ints((5,), low=0, high=3))
    )
    yield Case(
        "GATHER",
        "batches",
        lambda x, i: tf.gather(x, i, axis=1, batch_dims=1),
        (*floats((3, 4, 2)), *ints((3, 5), low=0, high=3)),
    )
    yield Case("GATHER_ND", "computed", tf.gather_nd, (*floats((3, 3, 2)), *ints((5, 2), low=0, high=2)))


def computed() -> Iterator[Case]:
    """Shapes, bounds and amounts that are found when the model runs."""
    sizes = flexible(((None, None, 3), (4, 6, 3)))
    functions: dict[str, tuple[str, Function]] = {
        "flat": ("RESHAPE", lambda x: tf.reshape(x, (tf.shape(x)[0], -1))),
        "merged": ("RESHAPE", lambda x: tf.reshape(x, (tf.shape(x)[0] * tf.shape(x)[1], 3))),
        "shape": ("SHAPE", lambda x: tf.shape(x)),
        "half": ("STRIDED_SLICE", lambda x: x[: tf.shape(x)[0] // 2]),
        "one": ("STRIDED_SLICE", lambda x: x[:, tf.shape(x)[0] - 1]),
        "last rows": ("STRIDED_SLICE", lambda x: x[-2:, :-1]),
        "window": ("SLICE", lambda x: tf.slice(x, (tf.shape(x)[0] - 3, 0, 0), (2, 2, 3))),
        "rest": ("SLICE", lambda x: tf.slice(x, (tf.shape(x)[0] - 3, 1, 0), (-1, tf.shape(x)[1] - 2, 3))),
        "whole": ("BROADCAST_TO", lambda x: tf.broadcast_to(x[:1] * 2.0, tf.shape(x))),
        "ones": ("FILL", lambda x: tf.fill(tf.shape(x), 2.5) + x),
        "value": ("FILL", lambda x: tf.fill((3, 2), x[1, 2, 0]) + tf.constant([1.0, 2.0])),
        "integers": ("FILL", lambda x: tf.cast(x * 9.0, tf.int32) + tf.fill(tf.shape(x), 3)),
        "repeated": ("TILE", lambda x: tf.tile(x, (1, tf.shape(x)[0], 1))),
        "zeros": ("PAD", lambda x: tf.pad(x, ((0, tf.shape(x)[0]), (1, 0), (0, 0)))),
        "edge": ("PAD", lambda x: tf.pad(x, ((1, 2), (0, 3), (0, 0)))),
        "value around": ("PADV2", lambda x: tf.pad(x, ((0, tf.shape(x)[0]), (1, 0), (0, 0)), constant_values=0.5)),
        "reflected": ("MIRROR_PAD", lambda x: tf.pad(x, ((2, 1), (0, 2), (0, 0)), "REFLECT")),
        "symmetric": ("MIRROR_PAD", lambda x: tf.pad(x, ((2, 1), (0, 2), (0, 0)), "SYMMETRIC")),
        "places": ("RANGE", lambda x: tf.range(tf.shape(x)[1])),
        "steps": ("RANGE", lambda x: tf.range(x[0, 0, 0], 5.0, 0.5)),
        "together": ("BROADCAST_ARGS", lambda x: tf.broadcast_dynamic_shape(tf.shape(x), tf.shape(x)[1:])),
        "rows": ("PACK", lambda x: tf.stack([x, x * 2.0], 1)),
        "joined": ("CONCATENATION", lambda x: tf.concat([x, x * 2.0], 0)),
        "parts": ("SPLIT", lambda x: tf.split(x, 3, 2)[1]),
        "turned": ("TRANSPOSE", lambda x: tf.transpose(x, (1, 2, 0))),
        "backwards": ("REVERSE_V2", lambda x: tf.reverse(x, [0, 1])),
        "picked": ("GATHER", lambda x: tf.gather(x, [1, 0], axis=1)),
        "one more": ("EXPAND_DIMS", lambda x: tf.expand_dims(x * 2.0, 1)),
        "by extremes": ("ONE_HOT", lambda x: tf.one_hot(tf.argmax(x, 2), 3)),
    }  # fmt: skip
    for name, (operator, function) in functions.items():
        yield Case(operator, f"computed {name}", function, sizes)
    image = flexible(((None, None, None, 4), (2, 4, 6, 4)))
    yield Case("DEPTH_TO_SPACE", "flexible", lambda x: tf.nn.depth_to_space(x, 2), image)
    yield Case("SPACE_TO_DEPTH", "flexible", lambda x: tf.nn.space_to_depth(x, 2), image)
    yield Case("SQUEEZE", "flexible", lambda x: tf.squeeze(x * 2.0, [1]), flexible(((None, 1, None), (3, 1, 5))))
    batch = flexible(((None, 4, 6, 4), (3, 4, 6, 4)))
    yield Case("SPACE_TO_BATCH_ND", "flexible", lambda x: tf.space_to_batch(x, (2, 2), ((1, 1), (0, 0))), batch)
    yield Case(
        "BATCH_TO_SPACE_ND",
        "flexible",
        lambda x: tf.batch_to_space(x, (2, 2), ((1, 0), (0, 0))),
        flexible(((None, 4, 6, 4), (8, 4, 6, 4))),
    )
    starts = Input((2,), "int32", values=(1, 2))
    yield made("SLICE", "computed begin", (*floats((4, 5)), starts, constant([2, 3], "int32")), Tensor((2, 3)))
    yield made(
        "SLICE", "computed both", (*floats((4, 5)), starts, Input((2,), "int32", values=(2, -1))), Tensor((None, None))
    )
    bounds = (Input((2,), "int32", values=(-3, 1)), Input((2,), "int32", values=(4, 5)), constant([1, 2], "int32"))
    yield made("STRIDED_SLICE", "computed bounds", (*floats((4, 5)), *bounds), Tensor((None, None)))
    yield made(
        "STRIDED_SLICE",
        "offset",
        (*floats((4, 5)), *(constant(v, "int32") for v in ((1, 2), (2, 3), (1, 1)))),
        Tensor((2, 3)),
        {"offset": True},
        version=8,
    )
    yield made("RESHAPE", "computed", (*floats((4, 5)), Input((2,), "int32", values=(2, -1))), Tensor((None, None)))
    yield made("RESHAPE", "by option", floats((4, 5)), Tensor((10, 2)), {"new_shape": [10, -1]})
    yield made("TILE", "computed", (*floats((2, 3)), Input((2,), "int32", values=(3, 2))), Tensor((None, None)))
    yield made(
        "BROADCAST_TO",
        "computed",
        (*floats((2, 1)), Input((3,), "int32", values=(2, 2, 4))),
        Tensor((None, None, None)),
        version=3,
    )
    yield made(
        "FILL", "computed", (Input((2,), "int32", values=(3, 2)), *floats(())), Tensor((None, None)), constant=True
    )
    yield made("PAD", "computed", (*floats((2, 3)), Input((2, 2), "int32", values=(1, 0, 2, 1))), Tensor((None, None)))
    yield made(
        "PAD",
        "computed int32",
        (*ints((2, 3)), Input((2, 2), "int32", values=(1, 0, 2, 1))),
        Tensor((None, None), "int32"),
    )
    yield made(
        "MIRROR_PAD",
        "computed",
        (*floats((3, 4)), Input((2, 2), "int32", values=(1, 0, 2, 1))),
        Tensor((None, None)),
        {"mode": 0},
    )
    numbers = tuple(Input((), "int32", values=(value,)) for value in (2, 11, 3))
    yield made("RANGE", "int32", numbers, Tensor((None,), "int32"))
    yield made("RANGE", "constant", tuple(constant(value, "int32") for value in (2, -11, -3)), Tensor((5,), "int32"))
    yield made("RANK", "matrix", floats((2, 3)), Tensor((), "int32"), constant=True)
    yield made("SHAPE", "fixed", floats((2, 3)), Tensor((2,), "int32"), {"out_type": 2})
    shapes = (Input((3,), "int32", values=(2, 1, 5)), Input((2,), "int32", values=(3, 1)))
    yield made("BROADCAST_ARGS", "computed", shapes, Tensor((3,), "int32"))
    yield made(
        "BROADCAST_ARGS", "constant", (constant([2, 1, 5], "int32"), constant([3, 1], "int32")), Tensor((3,), "int32")
    )


def tables() -> Iterator[Case]:
    """Lookups, boxes and transforms."""
    yield made("EMBEDDING_LOOKUP", "rows", (*ints((4,), low=0, high=6), *floats((7, 3))), Tensor((4, 3)))
    yield made(
        "EMBEDDING_LOOKUP",
        "constant",
        (*ints((4,), low=0, high=6), constant(np.arange(42).reshape(7, 3, 2))),
        Tensor((4, 3, 2)),
    )
    lookups = (
        Input((4,), "int32", values=(1, 3, 0, 3)),
        Input((4, 2), "int32", values=(0, 0, 0, 1, 2, 0, 2, 1)),
        constant([3, 2], "int32"),
        *floats((4,), low=0.5, high=2),
        *floats((5, 4)),
    )
    for code, combiner in enumerate(("sum", "mean", "sqrtn")):
        yield made("EMBEDDING_LOOKUP_SPARSE", combiner, lookups, Tensor((3, 4)), {"combiner": code})
    keys = constant([1, 4, 6, 9], "int32")
    for dtype in ("float32", "int32"):
        yield made(
            "HASHTABLE_LOOKUP",
            dtype,
            (Input((5,), "int32", values=(4, 2, 9, 1, 12)), keys, Input((4, 3), dtype, -9, 9)),
            [Tensor((5, 3), dtype), Tensor((5,), "uint8")],
        )
    random = np.random.default_rng(3)
    corners = random.uniform(0, 6, (12, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 5, (12, 2))], 1).astype(np.float32)
    scores = random.permutation(np.linspace(0.05, 0.95, 12)).astype(np.float32)
    given = (Input((12, 4), values=tuple(boxes.reshape(-1).tolist())), Input((12,), values=tuple(scores.tolist())))
    limits = (constant(6, "int32"), constant(0.3), constant(0.2))
    yield made("NON_MAX_SUPPRESSION_V4", "hard", (*given, *limits), [Tensor((6,), "int32"), Tensor((), "int32")])
    few = (constant(12, "int32"), constant(0.1), constant(0.4))
    yield made("NON_MAX_SUPPRESSION_V4", "few", (*given, *few), [Tensor((12,), "int32"), Tensor((), "int32")])
    for sigma in (0.0, 0.5):
        yield made(
            "NON_MAX_SUPPRESSION_V5",
            f"sigma {sigma}",
            (*given, constant(6, "int32"), constant(0.6), constant(0.2), constant(sigma)),
            [Tensor((6,), "int32"), Tensor((6,)), Tensor((), "int32")],
        )
    yield Case("RFFT2D", "real", lambda x: tf.math.real(tf.signal.rfft2d(x)), floats((2, 8, 16)))
    yield Case("RFFT2D", "in stages", lambda x: tf.math.imag(tf.signal.rfft(x)), floats((2, 3, 1024)))
    yield Case("RFFT2D", "two axes in stages", lambda x: tf.math.real(tf.signal.rfft2d(x)), floats((2, 4, 512)))
    yield Case("RFFT2D", "one axis", lambda x: tf.abs(tf.signal.rfft(x)), floats((3, 64)))
    yield Case("RFFT2D", "padded", lambda x: tf.abs(tf.signal.rfft(x, [64])), floats((3, 50)))
    yield Case("REAL", "real", lambda x: tf.math.real(tf.signal.rfft2d(x)), floats((4, 8)))
    yield Case("IMAG", "imaginary", lambda x: tf.math.imag(tf.signal.rfft2d(x)), floats((4, 8)))
    yield Case("COMPLEX_ABS", "absolute", lambda x: tf.abs(tf.signal.rfft2d(x)), floats((4, 8)))


CASES = (*of_images(), *of_integers(), *scattered(), *computed(), *tables())
