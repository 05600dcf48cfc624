"""Trains the models of this folder on patches of real photographs: ``python -m models._training unet``.

Seeds are fixed, so that a second run on the same machine and versions gives the same weights. They are kept as float16,
beside the model.
"""

from __future__ import annotations

import argparse
import importlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from harness.photographs import COLOR_PHOTOGRAPHS, photograph
from harness.quiet import quiet_imports

SEED = 7
SCALES = (1.0, 0.7, 0.5)  # photographs are shown at several sizes


@dataclass(frozen=True)
class Recipe:
    """How one model is trained. ``patch`` is the side of the target, in pixels."""

    steps: int
    batch: int
    patch: int
    learning_rate: float = 2e-3


RECIPES = {
    "unet": Recipe(steps=700, batch=8, patch=96),
    "unet_custom_activation": Recipe(steps=700, batch=8, patch=96),
    "super_resolution": Recipe(steps=5000, batch=16, patch=72),
}


def patches(recipe: Recipe, held_out: str, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches (batch, patch, patch, 3) in [0, 1], turned and mirrored at random."""
    names = [name for name in COLOR_PHOTOGRAPHS if name != held_out]
    photographs = [photograph(name, scale=scale) for name in names for scale in SCALES]
    while True:
        chosen = []
        for _ in range(recipe.batch):
            pixels = photographs[random.integers(len(photographs))]
            top, left = (random.integers(size - recipe.patch + 1) for size in pixels.shape[1:3])
            patch = pixels[0, top : top + recipe.patch, left : left + recipe.patch]
            patch = np.rot90(patch, random.integers(4))
            chosen.append(patch[:, ::-1] if random.integers(2) else patch)
        yield np.stack(chosen)


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """Decibels, for values in [0, 1]."""
    return -10 * math.log10(float(np.mean(np.square(image.astype(np.float64) - reference))))


def network(module: ModuleType) -> Any:
    """The untrained model: the sides of its images are free, so that it takes patches."""
    if module.__name__.endswith("super_resolution"):
        return module.espcn()
    if module.__name__.endswith("unet_custom_activation"):
        return module.unet(None)
    return module.unet(module.CHANNELS, None)


def train(name: str) -> None:
    """Train the model and write its weights."""
    with quiet_imports():
        import keras
        import tensorflow as tf
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    recipe = RECIPES[name]
    module = importlib.import_module(f"models.{name}")
    model = network(module)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, recipe.steps, alpha=0.01, warmup_target=recipe.learning_rate, warmup_steps=recipe.steps // 20
    )
    model.compile(keras.optimizers.Adam(schedule), loss="mse")
    random = np.random.default_rng(SEED)
    started = time.perf_counter()
    losses = []
    for step, clean in zip(range(1, recipe.steps + 1), patches(recipe, module.HELD_OUT, random), strict=False):
        losses.append(float(model.train_on_batch(module.degrade(clean, random), clean)))
        if step % 100 == 0:
            elapsed = time.perf_counter() - started
            print(f"{name} step {step}/{recipe.steps} loss {np.mean(losses[-100:]):.6f} {elapsed:.0f} s", flush=True)
    np.savez_compressed(module.WEIGHTS, **{v.path: v.numpy().astype(np.float16) for v in model.variables})
    report(name, module)


def report(name: str, module: ModuleType) -> None:
    """How the written weights do on the photograph that was held out."""
    image = module.inputs()["image"]
    without = psnr(module.naive(image), module.target())
    with_model = psnr(np.asarray(module.build()(image)), module.target())
    size = module.WEIGHTS.stat().st_size
    print(f"{name} on {module.HELD_OUT}: {without:.2f} dB without, {with_model:.2f} dB with the model; {size} bytes")


def main() -> None:
    """Train the models that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m models._training", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(RECIPES), help=f"of {', '.join(RECIPES)} (default: all)")
    for name in parser.parse_args().models:
        train(name)


if __name__ == "__main__":
    main()
