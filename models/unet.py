"""A U-Net that removes noise from photographs: convolutions, max pooling, bilinear upsampling, skip connections.

Trained by ``python -m models._training unet``; the weights are beside this file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.case import ModelCase
from harness.photographs import photograph

WEIGHTS = Path(__file__).with_suffix(".npz")
NOISE = 0.1  # standard deviation, of [0, 1]
CHANNELS = (16, 32, 64, 128)
HELD_OUT = "astronaut"  # not among the photographs that it was trained on


def unet(channels: Sequence[int], size: int | None) -> Any:
    """A Keras U-Net, (batch, size, size, 3) in and out, with ``channels`` at each resolution.

    ``size`` has to be a multiple of 2 ** (levels - 1). It adds a correction to its input and clips to [0, 1].
    """
    import keras
    from keras import layers

    def block(x: Any, filters: int, name: str) -> Any:
        for index in (1, 2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"{name}_conv{index}")(x)
        return x

    image = x = keras.Input((size, size, 3), name="image")
    skips = []
    for level, filters in enumerate(channels[:-1]):
        x = block(x, filters, f"encoder{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"pool{level}")(x)
    x = block(x, channels[-1], "bottleneck")
    for level in reversed(range(len(skips))):
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"upsample{level}")(x)
        x = layers.Concatenate(name=f"skip{level}")([skips[level], x])
        x = block(x, channels[level], f"decoder{level}")
    correction = layers.Conv2D(3, 1, kernel_initializer="zeros", name="correction")(x)
    result = layers.Add(name="corrected")([image, correction])
    return keras.Model(image, layers.ReLU(max_value=1.0, name="denoised")(result), name="unet")


def benchmark_unet(channels: Sequence[int] = (32, 64, 128, 256), size: int = 256) -> Any:
    """The same network, wide, with weights of a fixed seed: for timing, not for pictures."""
    import keras

    keras.utils.set_random_seed(0)
    model = unet(channels, size)
    correction = model.get_layer("correction")
    random = np.random.default_rng(0)
    correction.set_weights([random.normal(0, 0.2, w.shape).astype(np.float32) for w in correction.get_weights()])
    return model


def degrade(clean: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Photographs with the noise that the model takes away."""
    noise = random.normal(0, NOISE, clean.shape).astype(np.float32)
    return np.clip(clean + noise, 0, 1)


def naive(image: np.ndarray) -> np.ndarray:
    """What can be done without a model: nothing."""
    return image


def target() -> np.ndarray:
    """What the output ought to look like."""
    return photograph(HELD_OUT, (256, 256), corner=(0, 96))


def inputs() -> dict[str, np.ndarray]:
    return {"image": degrade(target(), np.random.default_rng(1))}


def build() -> Any:
    model = unet(CHANNELS, 256)
    with np.load(WEIGHTS) as archive:
        model.set_weights([archive[variable.path].astype(np.float32) for variable in model.variables])
    return model


CASE = ModelCase(
    name="unet",
    build=build,
    inputs=inputs,
    description=f"U-Net that removes noise, 256x256x3, channels {'-'.join(map(str, CHANNELS))}",
    files=(WEIGHTS,),
)
