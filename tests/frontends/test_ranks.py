"""Programs of more axes than Core ML loads, written with fewer: against numpy, and against those left as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.program import ProgramBuilder, write_program
from harness.inspection import count_operations
from harness.runtimes import portable
from harness.tensors import TensorSpec

SHAPE = (2, 3, 1, 4, 2, 5)
FLAT = (6, 8, 5)
RANDOM = np.random.default_rng(3)
OPERAND = RANDOM.normal(size=SHAPE).astype(np.float32)
ROW = RANDOM.normal(size=(4, 1, 5)).astype(np.float32)
MATRIX = RANDOM.normal(size=(5, 7)).astype(np.float32)

# By what is done with a tensor of SHAPE: in MIL, and in numpy.
CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "nothing": (lambda x: x, lambda x: x),
    "unary": (lambda x: mb.tanh(x=x), np.tanh),
    "transpose": (lambda x: mb.transpose(x=x, perm=[0, 3, 2, 1, 5, 4]), lambda x: x.transpose(0, 3, 2, 1, 5, 4)),
    "two transposes": (
        lambda x: mb.tanh(x=mb.transpose(x=mb.transpose(x=x, perm=[5, 3, 2, 1, 0, 4]), perm=[1, 0, 5, 4, 3, 2])),
        lambda x: np.tanh(x.transpose(5, 3, 2, 1, 0, 4).transpose(1, 0, 5, 4, 3, 2)),
    ),
    "constant": (lambda x: mb.add(x=x, y=OPERAND), lambda x: x + OPERAND),
    "broadcast": (lambda x: mb.mul(x=ROW, y=x), lambda x: x * ROW),
    "scalar": (lambda x: mb.mul(x=x, y=np.float32(3)), lambda x: x * 3),
    "normalised": (
        lambda x: mb.sub(x=x, y=mb.reduce_mean(x=x, axes=[-2, 1], keep_dims=True)),
        lambda x: x - x.mean((4, 1), keepdims=True),
    ),
    "reduced": (lambda x: mb.reduce_log_sum_exp(x=x, axes=[2, 3]), lambda x: np.log(np.exp(x).sum((2, 3)))),
    "reduced to one": (lambda x: mb.reduce_sum(x=x), lambda x: x.sum().reshape(1)),
    "reduced over one place": (lambda x: mb.reduce_l1_norm(x=x, axes=[2]), lambda x: np.abs(x).sum(2)),
    "largest": (
        lambda x: mb.cast(x=mb.reduce_argmax(x=x, axis=3), dtype="fp32"),
        lambda x: x.argmax(3).astype(np.float32),
    ),
    "selected": (
        lambda x: mb.select(cond=mb.greater(x=x, y=np.float32(0)), a=x, b=OPERAND),
        lambda x: np.where(x > 0, x, OPERAND),
    ),
    "softmax": (
        lambda x: mb.softmax(x=x, axis=3),
        lambda x: np.exp(x) / np.exp(x).sum(3, keepdims=True),
    ),
    "concatenated": (
        lambda x: mb.concat(values=[x, OPERAND, x], axis=-3),
        lambda x: np.concatenate([x, OPERAND, x], 3),
    ),
    "stacked": (
        lambda x: mb.stack(values=[mb.squeeze(x=x, axes=[2]), OPERAND[:, :, 0]], axis=3),
        lambda x: np.stack([x[:, :, 0], OPERAND[:, :, 0]], 3),
    ),
    "split": (
        lambda x: mb.sub(**dict(zip("yx", mb.split(x=x, num_splits=2, axis=3), strict=True))),
        lambda x: x[..., 2:, :, :] - x[..., :2, :, :],
    ),
    "matrices": (lambda x: mb.matmul(x=x, y=MATRIX), lambda x: x @ MATRIX),
    "squares of matrices": (lambda x: mb.matmul(x=x, y=x, transpose_y=True), lambda x: x @ np.swapaxes(x, -1, -2)),
    "slice": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[0, 1, 0, -1, 0, 1],
            end=[2, 3, 1, 0, 2, 5],
            stride=[1, 1, 1, -2, 1, 2],
            end_mask=[False, False, False, True, False, False],
            squeeze_mask=[False, False, True, False, False, False],
        ),
        lambda x: x[:, 1:3, 0, -1::-2, :, 1:5:2],
    ),
    "slice of a size": (
        lambda x: mb.slice_by_size(x=x, begin=[0, 1, 0, 0, 0, 2], size=[2, 2, 1, 4, 2, -1]),
        lambda x: x[:, 1:, ..., 2:],
    ),
    "gather": (lambda x: mb.gather(x=x, indices=[[2, 0], [1, 1]], axis=1), lambda x: x[:, [[2, 0], [1, 1]]]),
    "pad": (
        lambda x: mb.pad(x=x, pad=[1, 0, 0, 0, 0, 2], mode="constant", constant_val=np.float32(3)),
        lambda x: np.pad(x, [(0, 0)] * 3 + [(1, 0), (0, 0), (0, 2)], constant_values=3),
    ),
    "tile": (lambda x: mb.tile(x=x, reps=[1, 1, 3, 1, 2, 1]), lambda x: np.tile(x, (1, 1, 3, 1, 2, 1))),
}


def _predicted(build: Callable[[Any], Any], folder: Path) -> tuple[Any, Any, Any]:
    builder = ProgramBuilder([TensorSpec("x", FLAT)])
    with builder.building() as given:
        result = build(mb.reshape(x=given["x"], shape=SHAPE))
        if result.rank > 3:
            result = mb.reshape(x=result, shape=(result.shape[0], result.shape[1], -1))
        builder.finish({"y": result})
    artifact = write_program(builder, "float32", folder / "a.mlpackage", {}, "the model")
    x = RANDOM.normal(size=FLAT).astype(np.float32)
    return x, portable.load(artifact.path).predict({"x": x})["y"], artifact


@pytest.mark.parametrize("name", CASES)
def test_same_result_with_fewer_axes(name: str, tmp_path: Path) -> None:
    build, expected = CASES[name]
    x, computed, _ = _predicted(build, tmp_path)
    wanted = expected(x.reshape(SHAPE)).reshape(computed.shape)
    assert np.ptp(wanted) > 0 or wanted.size == 1
    np.testing.assert_allclose(computed, wanted, atol=1e-5)
    assert np.abs(wanted).max() > 1e-2


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda x: mb.reverse(x=mb.reshape(x=x, shape=SHAPE), axes=[3]), "reverse"),
        (lambda x: mb.reshape(x=x, shape=SHAPE), "an output"),
        (
            lambda x: mb.mul(
                x=mb.reshape(x=x, shape=(2, 3, 2, 2, 2, 5)), y=np.ones((2, 1, 2, 1, 2, 1), np.float32)
            ),
            "mul",
        ),
    ],
    ids=["operation", "output", "axes all told apart"],
)  # fmt: skip
def test_what_cannot_be_written_with_fewer_is_named(build: Callable[[Any], Any], named: str, tmp_path: Path) -> None:
    builder = ProgramBuilder([TensorSpec("x", FLAT)])
    with builder.building() as given:
        builder.finish({"y": build(given["x"])})
    with pytest.raises(UnsupportedError, match=rf"the model .*{named}.* axes|the model .*axes.*{named}"):
        write_program(builder, "float32", tmp_path / "a.mlpackage", {}, "the model")


def test_an_input_of_too_many_axes_is_named(tmp_path: Path) -> None:
    builder = ProgramBuilder([TensorSpec("x", SHAPE)])
    with builder.building() as given:
        builder.finish({"y": mb.reshape(x=given["x"], shape=FLAT)})
    with pytest.raises(UnsupportedError, match="the model has an input of more axes than Core ML loads; received 'x'"):
        write_program(builder, "float32", tmp_path / "a.mlpackage", {}, "the model")


def test_transposes_of_as_few_axes_as_they_move(tmp_path: Path) -> None:
    _, _, artifact = _predicted(CASES["transpose"][0], tmp_path)
    assert count_operations(artifact.path)["transpose"] == 1
