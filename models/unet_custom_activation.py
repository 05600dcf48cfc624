"""A U-Net with an activation of its own, which brightens photographs taken in the dark and removes their noise.

The activation is no Keras built-in: x * sigmoid(1.702 x), the approximation of GELU by Hendrycks and Gimpel (2016,
section 2), plus a multiple of x that is learned for each channel. Pooling averages, and upsampling is a transposed
convolution. Trained by ``python -m models._training unet_custom_activation``.
"""

from pathlib import Path
from typing import Any

import numpy as np

from harness.case import ModelCase
from harness.photographs import photograph

WEIGHTS = Path(__file__).with_suffix(".npz")
EXPOSURE = 0.15  # of the light that the photograph ought to have had
PHOTONS = 1500  # counted at a pixel of value 1; the count's deviation is its square root
READ_NOISE = 0.004
CHANNELS = (16, 32, 64)
HELD_OUT = "coffee"  # not among the photographs that it was trained on


def sigmoid_gated_linear_unit() -> Any:
    """A new layer: x * sigmoid(1.702 x) + slope * x with a learned slope for each channel."""
    import keras

    class SigmoidGate(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: tuple[int | None, ...]) -> None:
            self.slope = self.add_weight(shape=(shape[-1],), initializer="zeros", name="slope")

        def call(self, x: Any) -> Any:
            return x * keras.ops.sigmoid(1.702 * x) + self.slope * x

    return SigmoidGate


def unet(size: int | None) -> Any:
    """A Keras model, (batch, size, size, 3) in and out; ``size`` has to be a multiple of 4."""
    import keras
    from keras import layers

    activation = sigmoid_gated_linear_unit()

    def block(x: Any, filters: int, name: str) -> Any:
        for index in (1, 2):
            x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv{index}")(x)
            x = activation(name=f"{name}_gate{index}")(x)
        return x

    image = keras.Input((size, size, 3), name="image")
    x = layers.Rescaling(1 / EXPOSURE, name="exposure")(image)
    bright = x
    skips = []
    for level, filters in enumerate(CHANNELS[:-1]):
        x = block(x, filters, f"encoder{level}")
        skips.append(x)
        x = layers.AveragePooling2D(2, name=f"pool{level}")(x)
    x = block(x, CHANNELS[-1], "bottleneck")
    for level in reversed(range(len(skips))):
        x = layers.Conv2DTranspose(CHANNELS[level], 2, strides=2, name=f"upsample{level}")(x)
        x = layers.Concatenate(name=f"skip{level}")([skips[level], x])
        x = block(x, CHANNELS[level], f"decoder{level}")
    correction = layers.Conv2D(3, 1, kernel_initializer="zeros", name="correction")(x)
    result = layers.Add(name="corrected")([bright, correction])
    return keras.Model(image, layers.ReLU(max_value=1.0, name="brightened")(result), name="unet_custom_activation")


def degrade(clean: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Photographs taken with too little light: dark, with the noise of photons and of the sensor."""
    photons = random.poisson(clean * EXPOSURE * PHOTONS) / PHOTONS
    return np.clip(photons + random.normal(0, READ_NOISE, clean.shape), 0, 1).astype(np.float32)


def naive(image: np.ndarray) -> np.ndarray:
    """What can be done without a model: brightness, noise and all."""
    return np.clip(image / np.float32(EXPOSURE), 0, 1)


def target() -> np.ndarray:
    """What the output ought to look like."""
    return photograph(HELD_OUT, (256, 256), corner=(40, 160))


def inputs() -> dict[str, np.ndarray]:
    return {"image": degrade(target(), np.random.default_rng(2))}


def build() -> Any:
    model = unet(256)
    with np.load(WEIGHTS) as archive:
        model.set_weights([archive[variable.path].astype(np.float32) for variable in model.variables])
    return model


CASE = ModelCase(
    name="unet_custom_activation",
    build=build,
    inputs=inputs,
    description="U-Net with its own activation that brightens dark photographs, 256x256x3",
    files=(WEIGHTS,),
)
