"""Small networks of the kinds that are met on phones, in the forms that TFLiteConverter writes, against the
interpreter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports
from tests.frontends.tflite.files import check_file

with quiet_imports():
    import keras
    import tensorflow as tf
    from keras import layers


def _normalized(x: Any) -> Any:
    mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-5)


def style_transfer() -> Any:
    image = keras.Input((24, 24, 3), batch_size=1)
    x = layers.Lambda(lambda x: tf.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), "REFLECT"))(image)
    x = layers.ReLU()(layers.Lambda(_normalized)(layers.Conv2D(8, 5)(x)))
    y = layers.Lambda(_normalized)(layers.Conv2D(8, 3, 2, "same")(x))
    x = layers.Add()([x, layers.Conv2DTranspose(8, 3, 2, "same")(layers.ReLU()(y))])
    return keras.Model(image, layers.Conv2D(3, 3, padding="same", activation="tanh")(x))


def super_resolution() -> Any:
    image = keras.Input((None, None, 1))
    x = layers.Conv2D(8, 5, padding="same", activation="tanh")(image)
    x = layers.Conv2D(9, 3, padding="same")(x)
    return keras.Model(image, layers.Lambda(lambda x: tf.nn.depth_to_space(x, 3))(x))


def detector() -> Any:
    image = keras.Input((32, 32, 3), batch_size=1)
    x = layers.Conv2D(8, 3, 2, "same", activation="relu6")(image)
    fine = layers.SeparableConv2D(16, 3, padding="same", activation="relu6")(x)
    coarse = layers.Conv2D(16, 3, 2, "same", activation="relu6")(fine)
    boxes = [layers.Reshape((-1, 4))(layers.Conv2D(8, 3, padding="same")(x)) for x in (fine, coarse)]
    scores = [layers.Reshape((-1, 3))(layers.Conv2D(6, 3, padding="same")(x)) for x in (fine, coarse)]
    return keras.Model(
        image,
        [layers.Concatenate(axis=1)(boxes), layers.Activation("sigmoid")(layers.Concatenate(axis=1)(scores))],
    )


def segmenter() -> Any:
    image = keras.Input((32, 32, 3), batch_size=1)
    low = layers.Conv2D(8, 3, 2, "same", activation="relu")(image)
    x = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(low)
    pooled = layers.Conv2D(8, 1, activation="hard_swish")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Concatenate()([x, layers.Multiply()([low, pooled])])
    x = layers.Lambda(lambda x: tf.image.resize(x, (32, 32)))(layers.Conv2D(4, 1)(x))
    return keras.Model(image, layers.Softmax()(x))


def vision_transformer() -> Any:
    image = keras.Input((16, 16, 3), batch_size=1)
    x = layers.Reshape((16, 16))(layers.Conv2D(16, 4, 4)(image))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(y, y)])
    x = layers.Add()([x, layers.Dense(16)(layers.Dense(32, activation="gelu")(layers.LayerNormalization()(x)))])
    return keras.Model(image, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def inverted_bottleneck() -> Any:
    """TensorFlow writes a dense layer of an image as one of rows."""
    image = keras.Input((12, 16, 3))
    x = layers.Conv2D(8, 2, 2)(image)
    y = layers.LayerNormalization()(layers.DepthwiseConv2D(7, padding="same")(x))
    x = layers.Add()([x, layers.Dense(8)(layers.Dense(32, activation="gelu")(y))])
    return keras.Model(image, layers.Conv2D(3, 1)(x))


def _log_mel(wave: Any) -> Any:
    spectrum = tf.abs(tf.signal.stft(wave, 128, 64, 128))
    mel = tf.matmul(spectrum**2, tf.signal.linear_to_mel_weight_matrix(16, 65, 8000, 60, 3800))
    return tf.math.log(mel + 1e-3)[..., tf.newaxis]


def sound() -> Any:
    wave = keras.Input((1024,), batch_size=1)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Lambda(_log_mel)(wave))
    return keras.Model(wave, layers.Dense(5, activation="softmax")(layers.Flatten()(layers.MaxPool2D()(x))))


def enhancer() -> Any:
    wave = keras.Input((256, 1), batch_size=1)
    x = layers.LeakyReLU(negative_slope=0.2)(layers.Conv1D(8, 9, 2, "same")(wave))
    y = layers.Conv1DTranspose(8, 8, 2, "same")(layers.Conv1D(8, 9, 2, "same", activation="elu")(x))
    x = layers.Conv1DTranspose(4, 8, 2, "same", activation="relu")(layers.Concatenate()([x, y]))
    return keras.Model(wave, layers.Conv1D(1, 9, padding="same", activation="tanh")(x))


# Networks, the form of their weights, and how many transposes may be left.
CASES: dict[str, tuple[Callable[[], Any], str, int]] = {
    "style transfer": (style_transfer, "float32", 2),
    "super-resolution, flexible": (super_resolution, "float32", 2),
    "detector": (detector, "float32", 5),
    "segmenter": (segmenter, "float32", 2),
    "segmenter, float16": (segmenter, "float16", 2),
    "vision transformer": (vision_transformer, "float32", 1),
    "convolutions and dense layers": (inverted_bottleneck, "float32", 2),
    "sound": (sound, "float32", 2),
    "enhancer": (enhancer, "float32", 2),
}


@pytest.mark.parametrize("name", CASES)
def test_networks(name: str, tmp_path: Path) -> None:
    build, form, transposes = CASES[name]
    keras.utils.set_random_seed(3)
    converter = tf.lite.TFLiteConverter.from_keras_model(build())
    if form == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    path = tmp_path / "network.tflite"
    path.write_bytes(converter.convert())
    row = check_file(path)
    assert max(row["differences"].values()) <= 1e-4, row
    assert min(row["ranges"].values()) > 1e-3  # zeros would fail
    assert row["transposes"] <= transposes
    assert not row["warnings"]


def test_files_that_differ_are_seen() -> None:
    from tests.frontends.tflite.files import difference

    expected = np.array([0.0, 2.0])
    assert difference(np.array([0.0, 2.01]), expected) == pytest.approx(0.005)
    assert difference(np.zeros(2), expected) == 1
    assert difference(np.array([np.nan, 2]), expected) == float("inf")
    assert difference(np.zeros(3), expected) == float("inf")
