"""What a conversion warns of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.artifact import Artifact
from harness.cli import app
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.quiet import quiet_imports
from tests.frontends.tflite.building import Tensor, one_operator
from tests.frontends.tflite.test_convert import converter_of, small_network

with quiet_imports():
    import tensorflow as tf

WIDE = np.array([3, 1 << 40], np.int64)


def hybrid() -> bytes:
    weight = np.random.default_rng(0).normal(size=(192, 64)).astype(np.float32)
    converter = converter_of(lambda x: tf.matmul(tf.reshape(x, (1, 192)), weight))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content: bytes = converter.convert()
    return content


def of_wide_integers(x: Any) -> Any:
    return tf.cast(x[0, 0, 0, :2], tf.int64) * tf.constant(WIDE)


CASES = {
    "nothing": (lambda: converter_of(small_network).convert(), []),
    "hybrid": (hybrid, ["FULLY_CONNECTED (operator 1): the interpreter rounds"]),
    "wide integers": (lambda: converter_of(of_wide_integers).convert(), ["64-bit integers", "beyond 32 bits"]),
    "slices to the end": (lambda: converter_of(lambda x: x[:, 2:]).convert(), []),
}


@pytest.mark.parametrize("name", CASES)
def test_warnings(name: str, tmp_path: Path) -> None:
    build, wanted = CASES[name]
    path = tmp_path / "net.tflite"
    path.write_bytes(build())
    artifact = convert_tflite(path, "float32", tmp_path / "a.mlpackage")
    assert bool(artifact.warnings) == bool(wanted)
    for text in wanted:
        assert any(text in warning and "model net" in warning for warning in artifact.warnings)
    assert Artifact.from_json(artifact.to_json()).warnings == artifact.warnings


@pytest.mark.parametrize(("precision", "told"), [("float32", None), ("float16", "TANH.*float16, which holds 11 bits")])
def test_integers_of_16_bits(precision: str, told: str | None, tmp_path: Path) -> None:
    tensors = [Tensor((2, 3), "int16", scales=(scale,)) for scale in (0.0003, 1 / 32768)]
    graph = parse_graph(one_operator("TANH", tensors[:1], tensors[1:]), "net")
    artifact = convert_tflite(graph, precision, tmp_path / "a.mlpackage")
    if told is None:
        assert not artifact.warnings
    else:
        assert re.search(told, *artifact.warnings)


def test_the_command_says_them(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(hybrid())
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 6, 4), np.float32))
    arguments = [
        "convert",
        str(path),
        "--route",
        "tflite",
        "-o",
        str(tmp_path / "a.mlpackage"),
        "--inputs",
        str(tmp_path / "x.npy"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "warning: model net: FULLY_CONNECTED" in result.output
