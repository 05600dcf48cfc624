"""Models that are no ML Programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports
from harness.runtimes.portable.stand_in import MLModelProxy

with quiet_imports():
    from coremltools.proto import Model_pb2


@pytest.fixture
def specification() -> Any:
    """y = 0.5 + 2a + 3b."""
    model = Model_pb2.Model(specificationVersion=1)
    for name in ("a", "b"):
        model.description.input.add(name=name).type.doubleType.SetInParent()
    model.description.output.add(name="y").type.doubleType.SetInParent()
    model.glmRegressor.offset.append(0.5)
    model.glmRegressor.weights.add().value.extend([2, 3])
    return model


def opened(model: Any, folder: Path) -> MLModelProxy:
    path = folder / "model.mlmodel"
    path.write_bytes(model.SerializeToString())
    return MLModelProxy(str(path), "ALL", "", {}, None)


def test_a_regressor(specification: Any, tmp_path: Path) -> None:
    model = opened(specification, tmp_path)
    assert model.predict({"a": 10.0, "b": np.array([100.0])}) == {"y": 320.5}
    assert model.batchPredict([{"a": 0, "b": 0}, {"a": 1, "b": 0}]) == [{"y": 0.5}, {"y": 2.5}]
    (tmp_path / "model.mlmodel").unlink()
    assert Path(model.get_compiled_model_path()).is_dir()


def test_what_a_regressor_refuses(specification: Any, tmp_path: Path) -> None:
    model = opened(specification, tmp_path)
    with pytest.raises(RuntimeError, match="'b' of model"):
        model.predict({"a": 1.0})
    with pytest.raises(RuntimeError, match="has 2 weights; received 3 values"):
        model.predict({"a": 1.0, "b": np.ones(2)})
    with pytest.raises(RuntimeError, match="no state"):
        model.newState()


def test_a_network_loads_only(tmp_path: Path) -> None:
    network = Model_pb2.Model(specificationVersion=1)
    network.neuralNetwork.layers.add(name="sum").add.SetInParent()
    model = opened(network, tmp_path)
    assert (model.is_executed, model.program) == (False, None)
    with pytest.raises(RuntimeError, match="is not an ML Program"):
        model.predict({})
    structure = MLModelProxy.get_model_structure(model.get_compiled_model_path())
    assert [layer.type for layer in structure.neuralnetwork.layers] == ["elementwise"]
