"""What stands in the way of a conversion is named: every operator, its nodes, and who refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import plugins
from harness.case import ModelCase
from harness.errors import ConversionError, UnsupportedError
from harness.frontends.left import Left, listed
from harness.quiet import quiet_imports
from harness.routes.refusals import tflite_refusal
from harness.runtimes.tensorflow import FrozenGraph, load_graph

with quiet_imports():
    import tensorflow as tf


def frozen(function: Callable[..., Any], *shape: int) -> FrozenGraph:
    class Module(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec(shape, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            result = function(x)
            return result if isinstance(result, dict) else {"result": result}

    return load_graph(ModelCase("asked", build=Module))


def colours(x: Any) -> Any:
    return tf.image.hsv_to_rgb(tf.math.erfc(tf.image.rgb_to_hsv(x))) + tf.image.rgb_to_hsv(x + 1.0)


def spectrum(x: Any) -> Any:
    return tf.math.real(tf.signal.ifft2d(tf.signal.fft2d(tf.cast(x, tf.complex64)) * 2.0))


def loop(x: Any) -> Any:
    return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.math.erfc(y) + tf.linalg.inv(y)), (0, x))[1]


def branches(x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.math.erfc(x), lambda: tf.linalg.inv(x))


def mapped(x: Any) -> Any:
    return tf.map_fn(tf.linalg.inv, x)


def until_it_rests(x: Any) -> Any:
    def once(y: Any, change: Any, turns: Any) -> Any:
        z = y * 0.5
        return z, tf.reduce_max(tf.abs(z - y)), turns + 1

    y, _, turns = tf.while_loop(lambda y, change, turns: change > 0.01, once, (x, tf.constant(1.0), tf.constant(0)))
    return {"result": tf.cond(tf.reduce_mean(y) > 0.5, lambda: 1.0 - y, lambda: y), "turns": turns}


def text(x: Any) -> Any:
    return tf.cast(tf.strings.length(tf.strings.as_string(x)), tf.float32)


def bits(x: Any) -> Any:
    return tf.bitwise.invert(tf.bitcast(x, tf.int32))


COLOURS = {"Erfc": r"\S*/Erfc", "HSVToRGB": r"\S*/HSVToRGB", "RGBToHSV": r"\S*/RGBToHSV', '\S*/RGBToHSV_1"}
CASES: list[tuple[str, str, Callable[..., Any], tuple[int, ...], dict[str, str]]] = [
    *((route, by, colours, (1, 4, 4, 3), COLOURS)
      for route, by in (("native", "coremltools"), ("onnx", "tf2onnx"), ("tflite", "TFLiteConverter"),
                        ("tflite_onnx", "TFLiteConverter"))),
    *((route, by, spectrum, (1, 4, 4), {"FFT2D": r"\S*/FFT2D", "IFFT2D": r"\S*/IFFT2D"})
      for route, by in (("native", "coremltools"),)),
    ("onnx", "tf2onnx", spectrum, (1, 4, 4), {"FFT2D": r"\S*/FFT2D", "IFFT2D": r"\S*/IFFT2D", "Real": r"\S*/Real"}),
    ("tflite", "TFLiteConverter", spectrum, (1, 4, 4),
     {"FFT2D of complex64": r"\S*/FFT2D", "IFFT2D of complex64": r"\S*/IFFT2D"}),
    *((route, by, function, (3, 3), {"Erfc": r"\S*/Erfc", "MatrixInverse": r"\S*/MatrixInverse"})
      for route, by in (("native", "coremltools"), ("tflite", "TFLiteConverter"), ("onnx", "tf2onnx"))
      for function in (loop, branches)),
    ("native", "coremltools", mapped, (2, 3, 3), {"MatrixInverse": r"\S*/MatrixInverse"}),
    ("native", "coremltools", text, (4,), {"AsString": r"\S*/AsString", "StringLength": r"\S*/StringLength"}),
    ("onnx", "tf2onnx", text, (4,), {"StringLength": r"\S*/StringLength"}),
    ("native", "coremltools", bits, (4,), {"Bitcast": r"\S*/Bitcast", "Invert": r"\S*/Invert"}),
    ("onnx", "tf2onnx", bits, (4,), {"Bitcast": r"\S*/Bitcast"}),
    ("tflite_onnx", "tf2onnx", lambda x: tf.bitcast(x, tf.int32) + 1, (4,), {"BITCAST": r"\S*/Bitcast"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("route", "by", "function", "shape", "operators"),
    CASES,
    ids=[f"{route}-{getattr(function, '__name__', 'bits')}" for route, _, function, *_ in CASES],
)
def test_every_operator_is_named(
    route: str, by: str, function: Callable[..., Any], shape: tuple[int, ...], operators: dict[str, str], tmp_path: Path
) -> None:
    source = frozen(function, *shape)
    with pytest.raises(UnsupportedError) as caught:
        plugins.route(route).convert(source, "float32", tmp_path / "a.mlpackage")
    message = str(caught.value)
    assert message.startswith(f"{by} cannot convert asked: it does not translate ")
    listed = message.partition("does not translate ")[2].partition("; besides")[0].partition(". Replace")[0]
    assert re.findall(r"(?:^|, )([\w ]+) \(nodes? ", listed) == sorted(operators)
    for operator, nodes in operators.items():
        assert re.search(rf"{operator} \(nodes? '{nodes}'\)", listed), (operator, message)
    assert message.endswith("Replace such operators in the model, or try another route.")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_types_that_an_operator_lacks_are_named(tmp_path: Path) -> None:
    source = frozen(lambda x: (x * 2.0, tf.cast(x * 3.0, tf.float64) * 2.0)[1], 4)
    with pytest.raises(UnsupportedError, match=r"translate Mul of float64 \(node '\S*/mul_\d'\)\. Replace"):
        plugins.route("tflite").convert(source, "float32", tmp_path / "a.mlpackage")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            until_it_rests,
            ("StatelessWhile node '", "AttributeError: ", "in _rewrite_while_loop_functions (coremltools/"),
        ),
        (lambda x: tf.cast(tf.cast(x, tf.uint64), tf.float32), ("Cast node '", "uint64 not supported, in Cast (core")),
        (
            lambda x: tf.scan(lambda a, b: a + b, x),
            ("Less node '", "IndexError: list index out of range, in Less (coremltools/"),
        ),
    ],
)
def test_where_coremltools_fails_is_named(function: Callable[..., Any], words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="coremltools cannot convert asked: ") as caught:
        plugins.route("native").convert(frozen(function, 4, 4), "float32", tmp_path / "a.mlpackage")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("x.py:3:1: error: 'tf.A' op is odd\n    y = f(x)\n^\n<unknown>:0: error: failed while converting: 'main'\n",
         "received 'tf.A' op is odd; failed while converting: 'main'."),
        ("Only support at least one\n signature key.", "received Only support at least one signature key."),
    ],
)  # fmt: skip
def test_all_that_tflite_says_in_one_line(message: str, said: str) -> None:
    error = tflite_refusal(ValueError(message), "asked", frozen(lambda x: x * 2.0, 4).graph_def)
    assert type(error) is ConversionError
    assert said in str(error)


def test_many_nodes_are_counted_and_operators_are_not() -> None:
    left = [Left(f"Op{kind}", f"n{number}") for kind in range(30) for number in range(8)]
    message = listed(left)
    assert all(f"Op{kind} (nodes 'n0', 'n1', 'n2', 'n3', 'n4' and 3 more)" in message for kind in range(30))
