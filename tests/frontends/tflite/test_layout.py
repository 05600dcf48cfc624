"""What stands between two convolutions is computed channels first: no transposes but the input's and the output's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.inspection import count_operations
from harness.quiet import quiet_imports
from harness.runtimes import portable
from tests.frontends.tflite.test_convert import converter_of, interpreted

with quiet_imports():
    import tensorflow as tf

RANDOM = np.random.default_rng(3)
IMAGE = (1, 8, 6, 4)
WEIGHTS = {channels: RANDOM.normal(0, 0.3, (3, 3, channels, 4)).astype(np.float32) for channels in range(1, 13)}
DEPTHWISE = RANDOM.normal(0, 0.3, (3, 3, 4, 1)).astype(np.float32)
SCALE = RANDOM.normal(size=(1, 1, 4)).astype(np.float32)
DENSE = RANDOM.normal(0, 0.3, (4, 5)).astype(np.float32)


def _dilated(x: Any, padding: str) -> Any:
    """As TensorFlow writes it: a batch of every second place."""
    begin, end = ((2, 2) if padding == "SAME" else (0, 0)), 8 % 2
    places = tf.space_to_batch(x, (2, 2), ((begin[0], begin[1] + end),) * 2)
    y = tf.nn.relu(tf.nn.depthwise_conv2d(places, DEPTHWISE, (1, 1, 1, 1), "VALID") + 0.1)
    return tf.batch_to_space(y, (2, 2), ((0, end),) * 2)


def _attention(x: Any, turned: Any) -> Any:
    """Of two heads of two channels. Else the values' product is put together as it is, heads before places."""
    queries, keys, values = (tf.reshape(x * scale, (1, 48, 2, 2)) for scale in (1.0, 0.7, -1.3))
    weights = tf.nn.softmax(tf.matmul(tf.transpose(queries, (0, 2, 1, 3)), tf.transpose(keys, (0, 2, 3, 1))))
    result = tf.matmul(weights, tf.transpose(values, (0, 2, 1, 3)))
    return tf.reshape(result if turned is None else turned(result, (0, 2, 1, 3)), (1, 48, 4))


# What is done between the convolutions, and how many transposes may be left.
BETWEEN: dict[str, tuple[Callable[[Any], Any], int]] = {
    "concatenation along height": (lambda x: tf.concat([x, x * 2], 1), 2),
    "concatenation of channels with a constant": (lambda x: tf.concat([x, np.ones(IMAGE, np.float32)], 3), 2),
    "split": (lambda x: tf.concat(tf.split(x, 2, 3)[::-1], 2), 2),
    "split of sizes": (lambda x: tf.split(x, [1, 3], 3)[1] * 2, 2),
    "pad": (lambda x: tf.pad(x, ((0, 0), (1, 2), (3, 0), (0, 1))), 2),
    "reflected pad": (lambda x: tf.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0)), "REFLECT"), 2),
    "slice": (lambda x: tf.slice(x, (0, 1, 2, 1), (1, 5, 3, 2)), 2),
    "strided slice": (lambda x: x[:, 1:-1:2, ::-1, 1:3], 2),
    "strided slice after an ellipsis": (lambda x: x[..., 1:3], 2),
    "one channel taken": (lambda x: tf.reshape(x[..., 2], (1, 8, 6, 1)), 2),
    "tile": (lambda x: tf.tile(x, (1, 2, 1, 3)), 2),
    "reverse": (lambda x: tf.reverse(x, (1, 2)), 2),
    "gather": (lambda x: tf.gather(x, (3, 0, 1), axis=3), 2),
    "cumulative sum": (lambda x: tf.cumsum(x, 3), 2),
    "mean of places": (lambda x: x - tf.reduce_mean(x, (1, 2), keepdims=True), 2),
    "mean of channels": (lambda x: x - tf.reduce_mean(x, 3, keepdims=True), 2),
    "instance normalisation": (
        lambda x: (x - tf.nn.moments(x, (1, 2), keepdims=True)[0])
        * tf.math.rsqrt(tf.nn.moments(x, (1, 2), keepdims=True)[1] + 1e-3) * SCALE,
        2,
    ),
    "softmax": (lambda x: tf.nn.softmax(x), 2),
    "softmax with a temperature": (lambda x: tf.nn.log_softmax(x) * 2, 2),
    "unit vectors": (lambda x: tf.math.l2_normalize(x, 3), 2),
    "learned slopes": (lambda x: tf.nn.relu(x) + -SCALE * tf.nn.relu(-x), 2),
    "dilated convolution": (lambda x: _dilated(x, "SAME"), 2),
    "dilated convolution without padding": (lambda x: _dilated(x, "VALID"), 2),
    "squeeze and excite": (
        lambda x: x * tf.sigmoid(tf.matmul(tf.reduce_mean(x, (1, 2)), DENSE[:, :4]))[:, tf.newaxis, tf.newaxis],
        2,
    ),
    "depth to space": (lambda x: tf.nn.depth_to_space(x, 2), 2),
    "nearest neighbours": (lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, (11, 9)), 2),
    "channels first and back": (lambda x: tf.transpose(tf.transpose(x, (0, 3, 1, 2)) * 2, (0, 2, 3, 1)), 2),
    "height folded into width": (lambda x: tf.reshape(tf.nn.relu(tf.reshape(x, (1, 48, 4)) - 0.1), (1, 6, 8, 4)), 2),
    "dense layer of channels": (lambda x: tf.tensordot(x, DENSE, 1), 2),
    "channels shuffled": (
        lambda x: tf.reshape(tf.transpose(tf.reshape(x, (1, 8, 6, 2, 2)), (0, 1, 2, 4, 3)), IMAGE), 3
    ),
    "rows multiplied and put in another shape": (
        lambda x: tf.reshape(tf.matmul(tf.reshape(x, (48, 4)), DENSE[:, :4]), (1, 6, 8, 4)), 4
    ),
    "rows that are also read as rows": (
        lambda x: tf.reshape(tf.reshape(x, (48, 4)) + tf.matmul(tf.reshape(x, (48, 4)), DENSE[:, :4]), IMAGE), 4
    ),
    "channels split and swapped": (
        lambda x: tf.reshape(tf.transpose(tf.reshape(x, (1, 48, 2, 2)), (0, 1, 3, 2)), IMAGE), 3
    ),
    "attention": (lambda x: tf.reshape(_attention(tf.reshape(x, (1, 48, 4)), tf.transpose), IMAGE), 2),
    "attention that has its heads last": (lambda x: tf.reshape(_attention(tf.reshape(x, (1, 48, 4)), None), IMAGE), 4),
    "stacked and taken apart": (lambda x: tf.add_n(tf.unstack(tf.stack([x, x * x], 1), axis=1)), 2),
}  # fmt: skip


def check(content: bytes, allowed: int, folder: Path) -> None:
    """As the interpreter says, and with no more transposes."""
    artifact = convert_tflite(parse_graph(content, "model"), "float32", folder / "a.mlpackage")
    x = RANDOM.normal(size=IMAGE).astype(np.float32)
    expected = interpreted(content, x)
    ((given, output),) = zip(artifact.input_names.values(), artifact.output_names.values(), strict=True)
    found = portable.load(artifact.path).predict({given: x})[output]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected).max() > 1e-2  # zeros would fail
    assert count_operations(artifact.path)["transpose"] <= allowed


@pytest.mark.parametrize("name", BETWEEN)
def test_between_convolutions(name: str, tmp_path: Path) -> None:
    between, allowed = BETWEEN[name]

    def network(x: Any) -> Any:
        x = between(tf.nn.conv2d(x, WEIGHTS[4], 1, "SAME"))
        return tf.nn.conv2d(x, WEIGHTS[x.shape[3]], 1, "SAME")

    content = converter_of(network).convert()
    check(content, allowed, tmp_path)


# What a model ends with after a convolution: transposes that are left, the input's among them.
ENDS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "class of each place": (lambda x: tf.argmax(x, 3, tf.int32), 1),
    "pooled": (lambda x: tf.reduce_mean(x, (1, 2)), 1),
    "pooled and classified": (lambda x: tf.nn.softmax(tf.matmul(tf.reduce_mean(x, (1, 2)), DENSE)), 1),
    "greatest of each row": (lambda x: tf.reduce_max(x, 2), 2),
    "greatest channel": (lambda x: tf.reduce_max(x, 3), 1),
    "one place": (lambda x: x[:, 0, 0, :], 1),
    "boxes": (lambda x: tf.concat([tf.reshape(x, (1, 24, 8)), tf.reshape(x[:, ::2], (1, -1, 8))], 1), 3),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends(name: str, tmp_path: Path) -> None:
    end, allowed = ENDS[name]
    content = converter_of(lambda x: end(tf.nn.conv2d(x, WEIGHTS[4], 1, "SAME"))).convert()
    check(content, allowed, tmp_path)


def test_slopes_of_channels_are_one_operation(tmp_path: Path) -> None:
    content = converter_of(BETWEEN["learned slopes"][0]).convert()
    artifact = convert_tflite(parse_graph(content, "model"), "float32", tmp_path / "a.mlpackage")
    assert count_operations(artifact.path)["prelu"] == 1
