"""A small network, and its files in every format of TensorFlow's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.case import ModelCase
from harness.quiet import quiet_imports
from harness.runtimes.tensorflow import load_graph

with quiet_imports():
    import keras

IMAGE = np.random.default_rng(0).random((1, 9, 7, 3), np.float32)


def convolutions(size: int | None = None) -> Any:
    keras.utils.set_random_seed(3)
    image = keras.Input((size, size, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(image, keras.layers.Conv2D(2, 3, padding="same", name="result")(x))


def write_files(folder: Path) -> Mapping[str, Path]:
    """The network in every format."""
    model = convolutions()
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.export(folder / "saved_model", verbose=False)
    graph = load_graph(ModelCase("net", build=lambda: model), {"image": IMAGE.shape})
    (folder / "model.pb").write_bytes(graph.graph_def.SerializeToString())
    return {path.name: path for path in folder.iterdir()}


def only(values: Mapping[str, np.ndarray]) -> np.ndarray:
    (value,) = values.values()
    return value
