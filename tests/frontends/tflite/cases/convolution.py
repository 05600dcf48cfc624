"""Convolutions, forwards and backwards, pools, and fully connected layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.quiet import quiet_imports
from harness.suites.tflite_cases import FORMS, Case
from tests.frontends.tflite.building import Tensor, constant
from tests.frontends.tflite.tables import flexible, floats, made, weights

with quiet_imports():
    import tensorflow as tf

IMAGE = floats((1, 9, 8, 6))
ODD = floats((2, 7, 10, 6))
ANY = flexible(((None, None, None, 6), (2, 7, 8, 6)))
QUANTIZED = ("float32", "int8", "int8-float", "int16x8")
BIAS = weights(20)
BACK_BIAS = weights(5)


def convolutions() -> Iterator[Case]:
    for side in (1, 2, 3, 5):
        kernel = weights(side, side, 6, 20)
        for padding in ("SAME", "VALID"):
            for stride in (1, 2):
                yield Case(
                    "CONV_2D",
                    f"{side}x{side} {padding} stride {stride}",
                    lambda x, k=kernel, p=padding, s=stride: tf.nn.conv2d(x, k, s, p) + BIAS,
                    ODD,
                    FORMS if side == 3 else ("float32",),
                )
    kernel = weights(3, 3, 6, 20)
    wide = weights(3, 5, 6, 20)
    yield Case("CONV_2D", "without bias", lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), IMAGE, FORMS)
    yield Case("CONV_2D", "strides of each axis", lambda x: tf.nn.conv2d(x, wide, (3, 2), "SAME"), ODD, QUANTIZED)
    for padding in ("SAME", "VALID"):
        yield Case(
            "CONV_2D",
            f"dilated {padding}",
            lambda x, p=padding: tf.nn.conv2d(x, kernel, 1, p, dilations=(2, 3)),
            floats((1, 12, 13, 6)),
            QUANTIZED,
        )
    for name, activation in {
        "relu": tf.nn.relu,
        "relu6": tf.nn.relu6,
        "relu_n1_to_1": lambda x: tf.clip_by_value(x, -1.0, 1.0),
        "tanh": tf.tanh,
    }.items():
        yield Case(
            "CONV_2D", name, lambda x, f=activation: f(tf.nn.conv2d(x, kernel, 1, "SAME") * 3.0 + 0.2), IMAGE, QUANTIZED
        )
    grouped = weights(3, 3, 2, 12)
    yield Case("CONV_2D", "grouped", lambda x: tf.nn.conv2d(x, grouped, 1, "SAME"), IMAGE)
    for stride in (1, 2):
        yield Case(
            "CONV_2D",
            f"flexible stride {stride}",
            lambda x, s=stride: tf.nn.relu(tf.nn.conv2d(x, kernel, s, "SAME")),
            ANY,
        )
    yield Case("CONV_2D", "one column", lambda x: tf.nn.conv2d(x, kernel, 2, "SAME"), floats((1, 9, 1, 6)), QUANTIZED)
    for multiplier in (1, 2, 3):
        depth = weights(3, 3, 6, multiplier)
        for stride, padding in ((1, "SAME"), (2, "SAME"), (1, "VALID")):
            yield Case(
                "DEPTHWISE_CONV_2D",
                f"times {multiplier} {padding} stride {stride}",
                lambda x, k=depth, s=stride, p=padding: tf.nn.depthwise_conv2d(x, k, (1, s, s, 1), p) + 0.1,
                ODD,
                QUANTIZED if multiplier < 3 else ("float32",),
            )
    depth = weights(3, 3, 6, 1)
    yield Case(
        "DEPTHWISE_CONV_2D",
        "dilated",
        lambda x: tf.nn.depthwise_conv2d(x, depth, (1, 1, 1, 1), "VALID", dilations=(2, 2)),
        floats((1, 12, 13, 6)),
        QUANTIZED,
    )
    many = weights(3, 3, 128, 1)
    yield Case(
        "DEPTHWISE_CONV_2D",
        "many channels",
        lambda x: tf.nn.relu6(tf.nn.depthwise_conv2d(x, many, (1, 1, 1, 1), "SAME")),
        floats((1, 6, 6, 128)),
        FORMS,
    )
    single = weights(3, 3, 1, 8)
    yield Case(
        "DEPTHWISE_CONV_2D",
        "of one channel",
        lambda x: tf.nn.depthwise_conv2d(x, single, (1, 1, 1, 1), "SAME"),
        floats((1, 9, 8, 1)),
        QUANTIZED,
    )
    yield Case("DEPTHWISE_CONV_2D", "flexible", lambda x: tf.nn.depthwise_conv2d(x, depth, (1, 2, 2, 1), "SAME"), ANY)
    volume = weights(2, 3, 3, 3, 4)
    for stride, padding in ((1, "SAME"), (2, "SAME"), (1, "VALID")):
        yield Case(
            "CONV_3D",
            f"{padding} stride {stride}",
            lambda x, s=stride, p=padding: tf.nn.relu(tf.nn.conv3d(x, volume, (1, s, s, s, 1), p) + 0.1),
            floats((1, 5, 6, 7, 3)),
            ("float32", "float16"),
        )
    yield Case(
        "CONV_3D",
        "dilated",
        lambda x: tf.nn.conv3d(x, volume, (1,) * 5, "VALID", dilations=(1, 2, 2, 2, 1)),
        floats((1, 6, 7, 8, 3)),
    )


def backwards() -> Iterator[Case]:
    for side in (2, 3, 4):
        kernel = weights(side, side, 5, 6)
        for padding in ("SAME", "VALID"):
            for stride in (1, 2, 3):
                rows, columns = (size * stride if padding == "SAME" else (size - 1) * stride + side for size in (9, 8))
                yield Case(
                    "TRANSPOSE_CONV",
                    f"{side}x{side} {padding} stride {stride}",
                    lambda x, k=kernel, o=(1, rows, columns, 5), s=stride, p=padding: (
                        tf.nn.conv2d_transpose(x, k, o, s, p) + BACK_BIAS
                    ),
                    IMAGE,
                    QUANTIZED if side == 3 else ("float32",),
                )
    kernel = weights(3, 3, 5, 6)
    for rows, columns in ((17, 16), (18, 15)):
        yield Case(
            "TRANSPOSE_CONV",
            f"to {rows} by {columns}",
            lambda x, o=(1, rows, columns, 5): tf.nn.conv2d_transpose(x, kernel, o, 2, "SAME"),
            IMAGE,
        )
    yield Case(
        "TRANSPOSE_CONV",
        "relu",
        lambda x: tf.nn.relu(tf.nn.conv2d_transpose(x, kernel, (1, 18, 16, 5), 2, "SAME") + BACK_BIAS),
        IMAGE,
        QUANTIZED,
    )

    def flexible_size(x: Any) -> Any:
        sizes = tf.shape(x)
        return tf.nn.conv2d_transpose(x, kernel, tf.stack([sizes[0], sizes[1] * 2, sizes[2] * 2, 5]), 2, "SAME")

    yield Case("TRANSPOSE_CONV", "flexible", flexible_size, ANY)
    volume = weights(2, 3, 3, 4, 3)
    for stride, padding in ((1, "SAME"), (2, "SAME"), (2, "VALID")):
        size = [
            n * stride if padding == "SAME" else (n - 1) * stride + k for n, k in zip((3, 4, 5), (2, 3, 3), strict=True)
        ]
        yield Case(
            "CONV_3D_TRANSPOSE",
            f"{padding} stride {stride}",
            lambda x, o=(1, *size, 4), s=stride, p=padding: tf.nn.conv3d_transpose(x, volume, o, s, p) + BACK_BIAS[:4],
            floats((1, 3, 4, 5, 3)),
        )


def layers() -> Iterator[Case]:
    matrix = weights(24, 64)
    for name, shape in {"matrix": (4, 24), "rank 3": (2, 3, 24), "rank 4": (2, 2, 2, 24)}.items():
        yield Case("FULLY_CONNECTED", name, lambda x: tf.nn.relu(tf.matmul(x, matrix) + 0.1), floats(shape), FORMS)
    yield Case("FULLY_CONNECTED", "without bias", lambda x: tf.matmul(x, matrix), floats((4, 24)), FORMS)
    yield Case("FULLY_CONNECTED", "flexible", lambda x: tf.matmul(x, matrix), flexible(((None, 24), (5, 24))))
    yield made(
        "FULLY_CONNECTED",
        "flattens",
        (*floats((2, 3, 8)), constant(weights(5, 24)), constant(weights(5))),
        Tensor((2, 5)),
    )
    yield made(
        "FULLY_CONNECTED",
        "keeps axes",
        (*floats((2, 3, 8)), constant(weights(5, 8)), None),
        Tensor((2, 3, 5)),
        {"keep_num_dims": True},
        version=5,
    )
    yield made("FULLY_CONNECTED", "computed weights", floats((4, 8), (5, 8)), Tensor((4, 5)))
    yield made("FULLY_CONNECTED", "computed weights and bias", floats((4, 8), (5, 8), (5,)), Tensor((4, 5)))
    for code, name in enumerate(("none", "relu", "relu_n1_to_1", "relu6")):
        yield made(
            "FULLY_CONNECTED",
            name,
            (*floats((4, 8), low=-4, high=4), constant(weights(5, 8, scale=1))),
            Tensor((4, 5)),
            {"fused_activation_function": code},
        )
    for name, (left, right) in {
        "matrices": ((4, 5), (5, 3)),
        "batches": ((2, 4, 5), (2, 5, 3)),
        "broadcast": ((2, 1, 4, 5), (3, 5, 3)),
        "rank 5": ((2, 1, 2, 4, 5), (2, 1, 1, 5, 3)),
    }.items():
        yield Case(
            "BATCH_MATMUL",
            name,
            tf.matmul,
            floats(left, right),
            ("float32", "int8", "int16x8") if name in ("batches", "broadcast") else ("float32",),
        )
    yield Case(
        "BATCH_MATMUL",
        "transposed",
        lambda x, y: tf.matmul(x, y, transpose_a=True, transpose_b=True),
        floats((2, 5, 4), (2, 3, 5)),
        ("float32", "int8"),
    )
    second = weights(2, 24, 32)
    yield Case("BATCH_MATMUL", "constant", lambda x: tf.matmul(x, second), floats((2, 4, 24)), ("float32", "int8"))


def pools() -> Iterator[Case]:
    functions = {"MAX_POOL_2D": tf.nn.max_pool2d, "AVERAGE_POOL_2D": tf.nn.avg_pool2d}
    for operator, function in functions.items():
        for size in (2, 3, (2, 3)):
            for stride in (1, 2, (3, 1)):
                for padding in ("SAME", "VALID"):
                    yield Case(
                        operator,
                        f"{size} stride {stride} {padding}",
                        lambda x, f=function, k=size, s=stride, p=padding: f(x, k, s, p),
                        ODD,
                        QUANTIZED if size == 3 else ("float32",),
                    )
        for stride in (1, 2):
            yield Case(operator, f"flexible stride {stride}", lambda x, f=function, s=stride: f(x, 3, s, "SAME"), ANY)
        yield Case(operator, "relu6", lambda x, f=function: tf.nn.relu6(f(x * 8.0, 2, 2, "VALID")), ODD, QUANTIZED)
    for padding, shape in (("SAME", (2, 4, 5, 6)), ("VALID", (2, 3, 4, 6))):
        for activation in (0, 3):
            yield made(
                "L2_POOL_2D",
                f"{padding} {activation}",
                floats((2, 7, 10, 6), low=-9, high=9),
                Tensor(shape),
                {
                    "padding": int(padding == "VALID"),
                    "stride_w": 2,
                    "stride_h": 2,
                    "filter_width": 3,
                    "filter_height": 3,
                    "fused_activation_function": activation,
                },
            )
    for radius, bias, alpha, beta in ((2, 1.0, 0.5, 0.5), (1, 2.0, 1.0, 0.75)):
        yield Case(
            "LOCAL_RESPONSE_NORMALIZATION",
            f"radius {radius}",
            lambda x, v=(radius, bias, alpha, beta): tf.nn.lrn(x, *v),
            floats((2, 3, 4, 7), low=-3, high=3),
        )


def resized() -> Iterator[Case]:
    sizes = {"twice": (14, 20), "smaller": (3, 5), "between": (9, 13), "one": (1, 1), "alike": (7, 10), "tall": (21, 4)}
    for operator, function in (
        ("RESIZE_BILINEAR", tf.compat.v1.image.resize_bilinear),
        ("RESIZE_NEAREST_NEIGHBOR", tf.compat.v1.image.resize_nearest_neighbor),
    ):
        for name, size in sizes.items():
            if name == "alike":
                continue
            for mode in ({}, {"align_corners": True}, {"half_pixel_centers": True}):
                yield Case(
                    operator,
                    f"{name} {' '.join(mode)}".strip(),
                    lambda x, f=function, s=size, m=mode: f(x, s, **m),
                    ODD,
                    QUANTIZED if name in ("twice", "between") else ("float32",),
                )
        for mode in ({}, {"align_corners": True}, {"half_pixel_centers": True}):
            yield Case(
                operator,
                f"flexible to fixed {' '.join(mode)}".strip(),
                lambda x, f=function, m=mode: f(x, (11, 12), **m),
                ANY,
            )
            yield Case(
                operator,
                f"flexible twice {' '.join(mode)}".strip(),
                lambda x, f=function, m=mode: f(x, tf.shape(x)[1:3] * 2, **m),
                ANY,
            )
        yield Case(
            operator,
            "to the size of another",
            lambda x, y, f=function: f(x, tf.shape(y)[1:3]),
            flexible(((1, None, None, 3), (1, 5, 4, 3)), ((1, None, None, 2), (1, 12, 9, 2))),
        )


CASES = (*convolutions(), *backwards(), *layers(), *pools(), *resized())
