"""ONNX Runtime as the reference of ``.onnx`` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from harness.artifact import Artifact
from harness.runtimes.onnxruntime import OnnxRuntime
from tests.frontends.onnx.checking import node_model

ONE, ZERO = np.float32(1), np.uint8(0)


def test_sums_of_unsigned_times_signed_bytes_are_whole(tmp_path: Path) -> None:
    """Two products of 255 and 127 are more than 16 bits hold."""
    image = np.full((1, 4, 3, 3), 255, np.uint8)
    weight = np.full((1, 4, 3, 3), 127, np.int8)
    inputs = [image, ONE, ZERO, weight, ONE, np.int8(0), np.float32(10_000), ZERO]
    proto, given = node_model("QLinearConv", [np.asarray(value) for value in inputs], len(inputs) - 1, 13)
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    (found,) = OnnxRuntime().load(Artifact(path, "onnx"), "CPU", "float32").predict(given).values()
    assert found.item() == round(36 * 255 * 127 / 10_000)
