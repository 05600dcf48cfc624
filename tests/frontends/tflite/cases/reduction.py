"""Reductions, positions of extremes, sums along an axis, the greatest values."""

from __future__ import annotations

from collections.abc import Iterator

from harness.quiet import quiet_imports
from harness.suites.tflite_cases import Case, Input
from tests.frontends.tflite.building import Tensor, constant
from tests.frontends.tflite.tables import flexible, floats, ints, made

with quiet_imports():
    import tensorflow as tf

IMAGE = (2, 5, 4, 3)
QUANTIZED = ("float32", "int8", "int8-float", "int16x8")
FUNCTIONS = {
    "MEAN": tf.reduce_mean, "SUM": tf.reduce_sum, "REDUCE_MAX": tf.reduce_max, "REDUCE_MIN": tf.reduce_min,
    "REDUCE_PROD": tf.reduce_prod,
}  # fmt: skip
AXES = {"space": (1, 2), "channels": (-1,), "batch": (0,), "all": (0, 1, 2, 3), "apart": (0, 3), "unordered": (2, -3)}


def reductions() -> Iterator[Case]:
    for operator, function in FUNCTIONS.items():
        for name, axes in AXES.items():
            if (operator, name) == ("REDUCE_PROD", "all"):
                continue  # next to nothing
            for kept in (False, True):
                yield Case(
                    operator,
                    f"{name}{' kept' * kept}",
                    lambda x, f=function, a=axes, k=kept: f(x, a, k),
                    floats(IMAGE),
                    QUANTIZED if name in ("space", "channels") else ("float32",),
                )
        yield Case(operator, "rank 5", lambda x, f=function: f(x, (1, 3)), floats((2, 3, 2, 2, 3)))
        yield Case(operator, "flexible", lambda x, f=function: f(x, (1, 2)), flexible(((None, None, None, 3), IMAGE)))
        yield Case(operator, "int32", lambda x, f=function: f(x, (1,)), ints((4, 5), low=-7, high=9))
        yield made(operator, "no axes", (*floats((2, 3)), constant([], "int32")), Tensor((2, 3)))
    for operator in ("SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "MEAN"):
        yield Case(
            operator, "int64", lambda x, f=FUNCTIONS[operator]: f(x, (1,)), ints((4, 5), low=-5, high=5, dtype="int64")
        )
    for operator, function in (("REDUCE_ANY", tf.reduce_any), ("REDUCE_ALL", tf.reduce_all)):
        for kept in (False, True):
            yield Case(
                operator, f"row{' kept' * kept}", lambda x, f=function, k=kept: f(x, (1,), k), (Input((9, 2), "bool"),)
            )
        yield Case(operator, "all", lambda x, f=function: f(x, (1, 2)), (Input((9, 2, 1), "bool"),))


def positions() -> Iterator[Case]:
    for operator, function in (("ARG_MAX", tf.argmax), ("ARG_MIN", tf.argmin)):
        for axis in (0, 1, -1):
            for output in (tf.int32, tf.int64):
                yield Case(
                    operator,
                    f"axis {axis} {output.name}",
                    lambda x, f=function, a=axis, o=output: f(x, a, output_type=o),
                    floats((4, 5, 6)),
                    ("float32", "int8"),
                )
        yield Case(operator, "int32", lambda x, f=function: f(x, 1), ints((4, 9), low=-3, high=3))
        yield Case(operator, "flexible", lambda x, f=function: f(x, 3), flexible(((None, None, None, 3), (2, 3, 4, 3))))
    yield made(
        "ARG_MAX",
        "bool",
        (Input((3, 6), "bool"), constant(1, "int32")),
        Tensor((3,), "int32"),
        {"output_type": 2},
        version=3,
    )
    for k in (1, 3, 6):
        yield Case("TOPK_V2", f"{k}", lambda x, k=k: tf.math.top_k(x, k), floats((3, 4, 6)), ("float32", "int8"))
    yield Case("TOPK_V2", "int32", lambda x: tf.math.top_k(x, 3), ints((3, 9), low=-100, high=100))
    yield Case("TOPK_V2", "ties", lambda x: tf.math.top_k(x, 5), ints((3, 9), low=-2, high=2))
    yield Case("TOPK_V2", "vector", lambda x: tf.math.top_k(x, 2), floats((9,)))
    for exclusive in (False, True):
        for backwards in (False, True):
            for axis in (0, -1):
                yield Case(
                    "CUMSUM",
                    f"axis {axis} {exclusive} {backwards}",
                    lambda x, a=axis, e=exclusive, r=backwards: tf.cumsum(x, a, e, r),
                    floats((4, 5)),
                )
    yield Case("CUMSUM", "int32", lambda x: tf.cumsum(x, 1), ints((4, 5)))
    yield Case("CUMSUM", "int64", lambda x: tf.cumsum(x, 1), ints((4, 5), dtype="int64"))
    for reduce, name in enumerate(("ADD", "MUL", "MINIMUM", "MAXIMUM", "ALL", "ANY"), start=1):
        dtype = "bool" if name in ("ALL", "ANY") else "float32"
        x = Input((6, 7), dtype)
        if dtype == "bool":  # some windows hold both
            x = Input((6, 7), dtype, values=tuple(index < 20 for index in range(42)))
        first = {"ADD": 0.5, "MUL": 2.0, "MINIMUM": 0.3, "MAXIMUM": -0.3, "ALL": True, "ANY": False}[name]
        yield made(
            "REDUCE_WINDOW",
            name,
            (x, constant(first, dtype), *(constant(v, "int64") for v in ([2, 3], [2, 1], [1, 2]))),
            Tensor((3, 3), dtype),
            {"reduce_function": reduce},
        )
    whole = (Input((5, 6, 2), "int32", -9, 9), constant(3, "int32"))
    yield made(
        "REDUCE_WINDOW",
        "int32",
        (*whole, *(constant(v, "int64") for v in ([3, 1, 1], [1, 2, 1], [1, 1, 1]))),
        Tensor((3, 3, 2), "int32"),
        {"reduce_function": 1},
    )


CASES = (*reductions(), *positions())
