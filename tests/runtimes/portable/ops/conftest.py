"""Executes one lowering by itself, with dimensions that it does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from harness.runtimes.portable.onnx_graph import OnnxGraph, building
from harness.runtimes.portable.program import TensorType
from harness.runtimes.portable.sessions import GraphSession

DTYPES = {"float32": "fp32", "int32": "int32", "bool": "bool"}


@pytest.fixture
def lower() -> Callable[..., np.ndarray]:
    """``lower(function, {"x": array}, stride=2)``: the result where every size is unknown until execution."""

    def run(function: Callable[..., Any], tensors: Mapping[str, np.ndarray], **constants: Any) -> np.ndarray:
        graph = OnnxGraph()
        with building(graph):
            inputs = {
                name: graph.declare(name, TensorType(DTYPES[array.dtype.name], (None,) * array.ndim))
                for name, array in tensors.items()
            }
            result = function(**inputs, **constants)
        session = GraphSession(graph, list(inputs.values()), [result])
        return np.asarray(session.run(list(tensors.values()))[0])

    return run
