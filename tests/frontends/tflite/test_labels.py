"""What values are called."""

from __future__ import annotations

import pytest

from harness.frontends.tflite.graph import Subgraph, TensorInfo
from harness.frontends.tflite.labels import labels_of

CASES: dict[str, tuple[list[str], list[str]]] = {
    "shared scopes": (["net/a/conv", "net/a/bias", "x:0"], ["conv", "bias", "x:0"]),
    "no shared scope": (["net/conv", "other/conv"], ["net/conv", "other/conv"]),
    "scopes that tell nothing": (["a/b/conv", "a/b/add", "c/d/add"], ["conv", "b/add", "d/add"]),
    "numbers": (["a/1", "b/2"], ["a/1", "b/2"]),
    "only whole scopes": (["net/conv1", "net/conv2"], ["conv1", "conv2"]),
    "joined": (["n/add;n/conv;n/bias", "n/relu"], ["add", "relu"]),
    "joined with one that is taken": (["n/add", "n/add;n/conv"], ["add", "conv"]),
    "twice": (["add", "add"], ["add", "add_1"]),
    "none": (["", ""], ["tensor", "tensor_1"]),
}


@pytest.mark.parametrize("name", CASES)
def test_labels(name: str) -> None:
    names, expected = CASES[name]
    tensors = tuple(TensorInfo(index, each, (1,), (1,), "float32") for index, each in enumerate(names))
    assert labels_of(Subgraph("main", tensors, (), (), ())) == expected
