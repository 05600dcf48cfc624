"""Arithmetic, functions of single elements, comparison, logic and selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from harness.quiet import quiet_imports
from harness.suites.tflite_cases import FLOATS, Case, Input
from tests.frontends.tflite.building import Tensor, constant
from tests.frontends.tflite.tables import flexible, floats, ints, made

with quiet_imports():
    import tensorflow as tf

Function = Callable[..., Any]

IMAGE = (1, 5, 4, 3)
QUANTIZED = ("float32", "int8", "int8-float", "int16x8")
ACTIVATIONS = {"relu": tf.nn.relu, "relu6": tf.nn.relu6, "relu_n1_to_1": lambda x: tf.clip_by_value(x, -1.0, 1.0)}
BINARY: dict[str, Function] = {
    "ADD": tf.add, "SUB": tf.subtract, "MUL": tf.multiply, "DIV": tf.divide, "MAXIMUM": tf.maximum,
    "MINIMUM": tf.minimum, "SQUARED_DIFFERENCE": tf.math.squared_difference, "FLOOR_DIV": tf.math.floordiv,
    "FLOOR_MOD": tf.math.floormod,
}  # fmt: skip
COMPARED: dict[str, Function] = {
    "LESS": tf.less, "LESS_EQUAL": tf.less_equal, "GREATER": tf.greater, "GREATER_EQUAL": tf.greater_equal,
    "EQUAL": tf.equal, "NOT_EQUAL": tf.not_equal,
}  # fmt: skip
UNARY: dict[str, tuple[Function, float, float]] = {
    "EXP": (tf.exp, -2, 2), "LOG": (tf.math.log, 0.1, 4), "SIN": (tf.sin, -4, 4), "COS": (tf.cos, -4, 4),
    "SQRT": (tf.sqrt, 0, 4), "RSQRT": (tf.math.rsqrt, 0.1, 4), "SQUARE": (tf.square, -2, 2), "ABS": (tf.abs, -2, 2),
    "NEG": (tf.negative, -2, 2), "FLOOR": (tf.floor, -4, 4), "CEIL": (tf.math.ceil, -4, 4),
    "ROUND": (tf.round, -4, 4), "SIGN": (tf.sign, -1, 1),
}  # fmt: skip
# Of shapes: alike, a scalar, each axis, a lower rank, both sides.
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "alike": (IMAGE, IMAGE), "scalar": (IMAGE, ()), "channels": (IMAGE, (3,)), "rows": ((2, 5), (2, 1)),
    "both": ((3, 1, 4), (1, 2, 4)), "rank 5": ((2, 3, 2, 2, 3), (1, 3, 1, 2, 1)), "vector": ((7,), (7,)),
}  # fmt: skip


def low_of(operator: str) -> tuple[float, float]:
    return (0.5, 2.0) if operator in ("DIV", "FLOOR_DIV", "FLOOR_MOD") else (-2.0, 2.0)


def binary() -> Iterator[Case]:
    for operator, function in BINARY.items():
        low, high = low_of(operator)
        quantised = operator in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")
        for name, (left, right) in SHAPES.items():
            inputs = (*floats(left, low=-2, high=2), *floats(right, low=low, high=high))
            yield Case(operator, name, function, inputs, QUANTIZED if quantised and name != "rank 5" else ("float32",))
        signed = (
            *ints((4, 9), low=-40, high=40),
            Input((4, 9), "int32", values=tuple([-7, -3, -1, 1, 2, 5] * 6)),
        )
        if operator == "DIV":  # TensorFlow divides integers as floats
            yield made(operator, "int32", signed, Tensor((4, 9), "int32"))
        else:
            yield Case(operator, "int32", function, signed)
        yield Case(
            operator,
            "constant",
            lambda x, f=function: f(x, tf.constant([0.5, 1.5, 3.0])),
            floats(IMAGE),
            QUANTIZED if quantised else ("float32",),
        )
        yield Case(
            operator,
            "constant first",
            lambda x, f=function: f(tf.constant([0.5, 1.5, 3.0]), x),
            floats(IMAGE, low=0.5, high=2),
        )
        yield Case(
            operator,
            "flexible",
            function,
            flexible(((None, None, 3), (2, 4, 3)), ((None, None, 3), (2, 4, 3)), low=0.5, high=2),
        )
        if operator in ("ADD", "SUB", "MUL", "DIV"):
            for activation, applied in ACTIVATIONS.items():
                inputs = (*floats(IMAGE, low=-4, high=4), *floats(IMAGE, low=low, high=high))
                yield Case(
                    operator,
                    activation,
                    lambda x, y, f=function, g=applied: g(f(x, y)),
                    inputs,
                    QUANTIZED if quantised else ("float32",),
                )
    for operator in ("FLOOR_DIV", "FLOOR_MOD", "DIV"):
        signs = Input((4, 8), values=tuple([-2.0, -0.7, 0.7, 3.0] * 8))
        yield Case(operator, "signs", BINARY[operator], (*floats((4, 8), low=-5, high=5), signs))
    for dtype in ("int8", "int16"):
        numbers = (Input((4, 6), dtype, -90, 90), Input((4, 6), dtype, values=tuple([-7, -3, -1, 1, 2, 5] * 4)))
        yield made("FLOOR_DIV", dtype, numbers, Tensor((4, 6), dtype), version=2)
        yield made("FLOOR_MOD", dtype, numbers, Tensor((4, 6), dtype), version=2)
    for operator in ("ADD", "SUB", "MUL"):
        yield Case(operator, "int64", BINARY[operator], ints((3, 4), (3, 4), dtype="int64"))
        for code, name in enumerate(("none", "relu", "relu_n1_to_1", "relu6")):
            yield made(
                operator,
                f"int32 {name}",
                ints((3, 8), (3, 8)),
                Tensor((3, 8), "int32"),
                {"fused_activation_function": code},
            )
    yield Case("MAXIMUM", "int64", tf.maximum, ints((3, 4), (3, 4), dtype="int64"))
    yield Case("MINIMUM", "int64", tf.minimum, ints((3, 4), (4,), dtype="int64"))
    yield Case("ADD_N", "three", lambda x, y, z: tf.add_n([x, y, z]), floats(IMAGE, IMAGE, IMAGE))
    yield Case("ADD_N", "int32", lambda x, y, z: tf.add_n([x, y, z]), ints((4, 3), (4, 3), (4, 3)))
    yield Case("POW", "floats", tf.pow, floats(IMAGE, IMAGE, low=0.2, high=2))
    yield Case("POW", "constant exponent", lambda x: tf.pow(x, 3.5), floats(IMAGE, low=0.2, high=2))
    yield Case("POW", "broadcast", tf.pow, floats((2, 1, 3), (4, 1), low=0.2, high=2))
    yield Case("POW", "int32", tf.pow, (*ints((3, 4), low=-5, high=5), *ints((3, 4), low=0, high=6)))
    yield Case("POW", "int32 constant", lambda x: tf.pow(x, 3), ints((3, 4), low=-9, high=9))
    yield Case("ATAN2", "quadrants", tf.atan2, floats((6, 8), (6, 8), low=-3, high=3))
    axes = [
        (0.0, 1.0),
        (0.0, -1.0),
        (-0.0, -1.0),
        (1.0, 0.0),
        (-1.0, 0.0),
        (0.0, 0.0),
        (1.0, 1.0),
        (-2.0, -2.0),
        (1e-30, -1.0),
        (np.inf, np.inf),
        (-1.0, np.inf),
        (np.inf, 2.0),
        (1.0, -np.inf),
    ]
    yield Case("ATAN2", "axes", tf.atan2, tuple(Input((13,), values=tuple(side)) for side in zip(*axes, strict=True)))


def unary() -> Iterator[Case]:
    for operator, (function, low, high) in UNARY.items():
        quantised = operator in ("ABS", "RSQRT", "EXP", "LOG", "SIN")
        yield Case(
            operator, "image", function, floats(IMAGE, low=low, high=high), QUANTIZED if quantised else ("float32",)
        )
        yield Case(operator, "rank 5", function, floats((2, 1, 3, 2, 2), low=low, high=high))
        yield Case(operator, "flexible", function, flexible(((None, 3), (4, 3)), low=low, high=high))
    yield Case("ROUND", "halves", tf.round, (Input((6,), values=(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)),))
    yield Case("LOG", "zero", tf.math.log, (Input((3,), values=(0.0, 1.0, 4.0)),))
    yield Case("RSQRT", "zero", tf.math.rsqrt, (Input((3,), values=(0.0, 1.0, 4.0)),))
    yield Case("EXP", "far", tf.exp, (Input((4,), values=(-100.0, -1.0, 1.0, 5.0)),))
    yield Case("SIGN", "zero", tf.sign, (Input((3,), values=(0.0, -1.0, 4.0)),))
    yield Case("ABS", "int32", tf.abs, ints((4, 5)))
    yield Case("NEG", "int32", tf.negative, ints((4, 5)))
    yield Case("NEG", "int64", tf.negative, ints((4, 5), dtype="int64"))
    yield Case("SIGN", "int32", tf.sign, ints((4, 5), low=-2, high=2))
    yield Case("LOGICAL_NOT", "matrix", tf.logical_not, (Input((4, 5), "bool"),))
    yield Case("ZEROS_LIKE", "floats", lambda x: tf.zeros_like(x), flexible(((None, 3), (4, 3))), constant=True)
    yield Case(
        "ZEROS_LIKE", "int32", lambda x: tf.zeros_like(x), (Input((None, 3), "int32", given=(4, 3)),), constant=True
    )


def _few_values(seed: int) -> Input:
    """Five values, so that two such inputs are equal here and there."""
    values = np.random.default_rng(seed).integers(-2, 3, IMAGE) / 2
    return Input(IMAGE, values=tuple(values.reshape(-1).tolist()))


def compared() -> Iterator[Case]:
    for operator, function in COMPARED.items():
        for name in ("alike", "scalar", "channels", "both"):
            left, right = SHAPES[name]
            inputs = ints(left, right, low=-1, high=1) if "EQUAL" in (operator, operator[4:]) else floats(left, right)
            yield Case(operator, name, function, inputs)
        for dtype in ("int32", "int64"):
            yield Case(operator, dtype, function, ints((4, 6), (4, 6), low=-1, high=1, dtype=dtype))
        yield Case(operator, "quantised", function, (_few_values(1), _few_values(2)), ("int8", "int16x8"))
        yield Case(
            operator,
            "floats that are equal",
            function,
            (Input((4,), values=(1.0, 2.0, 3.0, 4.0)), Input((4,), values=(1.0, 2.5, 3.0, 3.5))),
        )
    booleans = (Input((4, 5), "bool"), Input((4, 5), "bool"))
    row = (Input((4, 5), "bool"), Input((5,), "bool"))
    for operator, function in (("LOGICAL_AND", tf.logical_and), ("LOGICAL_OR", tf.logical_or)):
        yield Case(operator, "alike", function, booleans)
        yield Case(operator, "broadcast", function, row)
    for operator in ("EQUAL", "NOT_EQUAL"):
        yield Case(operator, "bool", COMPARED[operator], booleans)
        yield Case(operator, "bool broadcast", COMPARED[operator], row)


def selected() -> Iterator[Case]:
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        "condition of a row": ((5,), (4, 5), (4, 5)),
        "scalars": ((4, 5), (), ()), "all different": ((4, 1, 1), (1, 5, 1), (3,)),
    }  # fmt: skip
    for name, (condition, left, right) in shapes.items():
        yield Case("SELECT_V2", name, tf.where, (Input(condition, "bool"), *floats(left, right)), ("float32", "int8"))
    yield Case("SELECT_V2", "int32", tf.where, (Input((4, 1), "bool"), *ints((4, 5), (5,))))
    yield Case("SELECT_V2", "bool", tf.where, (Input((4, 1), "bool"), Input((4, 5), "bool"), Input((4, 5), "bool")))
    yield Case("SELECT", "alike", tf.compat.v1.where, (Input((4, 5), "bool"), *floats((4, 5), (4, 5))))
    yield Case("SELECT", "rows", tf.compat.v1.where, (Input((4,), "bool"), *floats((4, 5), (4, 5))))
    yield made(
        "SELECT", "int64", (Input((4, 5), "bool"), *ints((4, 5), (4, 5), dtype="int64")), Tensor((4, 5), "int64")
    )


def activations() -> Iterator[Case]:
    functions: dict[str, Function] = {
        "RELU": tf.nn.relu, "RELU6": tf.nn.relu6, "RELU_N1_TO_1": lambda x: tf.clip_by_value(x, -1.0, 1.0),
        "LOGISTIC": tf.sigmoid, "TANH": tf.tanh,
        "ELU": tf.nn.elu, "LEAKY_RELU": lambda x: tf.nn.leaky_relu(x, 0.3),
        "HARD_SWISH": lambda x: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
        "GELU": lambda x: tf.nn.gelu(x, approximate=False), "SOFTMAX": tf.nn.softmax, "LOG_SOFTMAX": tf.nn.log_softmax,
        "L2_NORMALIZATION": lambda x: tf.math.l2_normalize(x, -1),
    }  # fmt: skip
    for operator, function in functions.items():
        for name, shape in {"image": IMAGE, "matrix": (4, 6), "rank 3": (2, 3, 5), "vector": (9,)}.items():
            yield Case(
                operator,
                name,
                function,
                floats(shape, low=-6, high=8),
                QUANTIZED if name in ("image", "matrix") else ("float32",),
            )
        yield Case(operator, "flexible", function, flexible(((None, None, 3), (4, 2, 3)), low=-4, high=8))
    yield Case(
        "GELU", "approximate", lambda x: tf.nn.gelu(x, approximate=True), floats(IMAGE, low=-6, high=6), QUANTIZED
    )
    yield Case("LEAKY_RELU", "steep", lambda x: tf.nn.leaky_relu(x, 1.5), floats(IMAGE, low=-6, high=6), QUANTIZED)
    for name, shape in {"image": IMAGE, "vector": (9,)}.items():
        yield made("RELU_0_TO_1", name, floats(shape, low=-2, high=2), Tensor(shape))
    yield made("SOFTMAX", "beta", floats((3, 5)), Tensor((3, 5)), {"beta": 2.5})
    yield made("L2_NORMALIZATION", "of zeros", (Input((2, 3), values=(0, 0, 0, 1, 2, 3)),), Tensor((2, 3)))
    alphas = {"channels": (3,), "image": (5, 4, 3), "shared": (1, 1, 3), "one": (1, 1, 1)}
    for name, shape in alphas.items():
        alpha = np.linspace(-0.5, 0.9, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        yield made("PRELU", name, (*floats(IMAGE), constant(alpha)), Tensor(IMAGE))
    yield made("PRELU", "computed", (*floats(IMAGE), *floats((1, 1, 3))), Tensor(IMAGE))
    yield made(
        "FAKE_QUANT", "8 bits", floats((4, 9), low=-3, high=3), Tensor((4, 9)), {"min": -1.3, "max": 2.1, "numBits": 8}
    )
    yield made(
        "FAKE_QUANT", "4 bits", floats((4, 9), low=-3, high=3), Tensor((4, 9)), {"min": 0.0, "max": 2.5, "numBits": 4}
    )


def typed() -> Iterator[Case]:
    wide = ("float32", "int32", "int64", "bool", "int8", "uint8", "int16", "uint16")
    for given in wide:
        for wanted in wide:
            if given == wanted or (given, wanted) == ("float32", "bool"):
                continue
            # Of floats, C leaves open what lies beyond the type.
            limits = {"float32": (0, 120), "bool": (0, 1), "uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 60000)}
            low, high = limits.get(given, (-30000, 30000))
            if wanted == "bool":
                low, high = max(low, -1), 1
            if given == "float32" and not wanted.startswith("u"):
                low = -120
            yield made("CAST", f"{given} to {wanted}", (Input((4, 8), given, low, high),), Tensor((4, 8), wanted))
    yield made("CAST", "floats beyond uint8", floats((4, 8), low=-300, high=500), Tensor((4, 8), "uint8"))
    yield made("CAST", "zeros to bool", (Input((4,), values=(0.0, -0.0, 0.2, -3.0)),), Tensor((4,), "bool"))
    yield Case("CAST", "float to int", lambda x: tf.cast(x, tf.int32), floats((4, 8), low=-9, high=9), FLOATS)
    for dtype, low, high in (
        ("int8", -128, 127),
        ("uint8", 0, 255),
        ("int16", -32768, 32767),
        ("uint16", 0, 65535),
        ("int32", -(2**31), 2**31 - 1),
    ):
        pair = (Input((4, 8), dtype, low, high), Input((4, 8), dtype, low, high))
        yield made("BITWISE_XOR", dtype, pair, Tensor((4, 8), dtype))
        shifts = (Input((4, 8), dtype, low, high), Input((4, 8), dtype, 0, 9))
        yield made("RIGHT_SHIFT", dtype, shifts, Tensor((4, 8), dtype))
    numbers = Input((6,), "int32", values=(-5, 5, -(2**31), 2**31 - 1, 2**30, -(2**30)))
    shifts_beyond = Input((6,), "int32", values=(31, 31, 31, 31, 40, 30))
    yield made("RIGHT_SHIFT", "far", (numbers, shifts_beyond), Tensor((6,), "int32"))
    yield made("BITWISE_XOR", "bool", (Input((4, 8), "bool"), Input((4, 8), "bool")), Tensor((4, 8), "bool"))
    yield made("BITWISE_XOR", "broadcast", ints((4, 8), (8,), dtype="int8"), Tensor((4, 8), "int8"))
    for given, wanted in (("int8", "uint8"), ("uint8", "int8"), ("int16", "uint16"), ("uint16", "int16")):
        low, high = (-100, 100) if given.startswith("i") else (0, 250)
        yield made("BITCAST", f"{given} to {wanted}", (Input((4, 8), given, low, high),), Tensor((4, 8), wanted))
    yield made("DEQUANTIZE", "float16", (constant(np.linspace(-2, 2, 6), "float16"),), Tensor((6,)))


CASES = (*binary(), *unary(), *compared(), *selected(), *activations(), *typed())
