"""ESPCN: three times the resolution, by convolutions and depth_to_space (Shi et al. 2016, arXiv:1609.05158).

Height and width are flexible. Trained by ``python -m models._training super_resolution``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.case import ModelCase
from harness.photographs import photograph

WEIGHTS = Path(__file__).with_suffix(".npz")
SCALE = 3
HELD_OUT = "chelsea"  # not among the photographs that it was trained on


def depth_to_space_layer() -> Any:
    """TensorFlow's depth_to_space as a Keras layer."""
    import keras
    import tensorflow as tf

    class DepthToSpace(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.nn.depth_to_space(x, SCALE)

        def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
            batch, height, width, channels = shape
            return (batch, height and height * SCALE, width and width * SCALE, channels // SCALE**2)

    return DepthToSpace(name="depth_to_space")


def espcn() -> Any:
    """A Keras model, (batch, height, width, 3) to (batch, 3 * height, 3 * width, 3).

    The paper's three layers (section 3.2: 64 filters of 5x5, 32 of 3x3, then 3x3) and two more of 32 between.
    """
    import keras
    from keras import layers

    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(64, 5, padding="same", activation="relu", name="features")(image)
    for index in (1, 2, 3):
        x = layers.Conv2D(32, 3, padding="same", activation="relu", name=f"mapping{index}")(x)
    x = layers.Conv2D(3 * SCALE**2, 3, padding="same", kernel_initializer="zeros", name="subpixels")(x)
    # A correction to the nearest pixel, so that training starts from an enlarged picture and not from nothing.
    nearest = layers.Concatenate(name="nearest")([image] * SCALE**2)
    x = layers.Add(name="corrected")([x, nearest])
    x = depth_to_space_layer()(x)
    return keras.Model(image, layers.ReLU(max_value=1.0, name="enlarged")(x), name="super_resolution")


def degrade(clean: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Photographs reduced to a third (bicubic with antialiasing)."""
    return resize(clean, clean.shape[1] // SCALE, clean.shape[2] // SCALE)


def resize(photographs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic, of (batch, height, width, channels); antialiased where it reduces."""

    def channel(plane: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(plane).resize((width, height), resample=Image.Resampling.BICUBIC))

    planes = [np.stack([channel(photo[..., c]) for c in range(photo.shape[-1])], -1) for photo in photographs]
    return np.clip(np.stack(planes), 0, 1).astype(np.float32)


def naive(image: np.ndarray) -> np.ndarray:
    """What can be done without a model: bicubic enlargement."""
    return resize(image, image.shape[1] * SCALE, image.shape[2] * SCALE)


def target() -> np.ndarray:
    """What the output ought to look like."""
    return photograph(HELD_OUT, (288, 384), corner=(6, 40))


def inputs() -> dict[str, np.ndarray]:
    return {"image": degrade(target(), np.random.default_rng(0))}


def build() -> Any:
    model = espcn()
    with np.load(WEIGHTS) as archive:
        model.set_weights([archive[variable.path].astype(np.float32) for variable in model.variables])
    return model


CASE = ModelCase(
    name="super_resolution",
    build=build,
    inputs=inputs,
    description="ESPCN, three times the resolution by depth_to_space, any size",
    files=(WEIGHTS,),
)
