from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.errors import (
    HarnessError,
    InputError,
    ModelFileError,
    PackageError,
    UnknownNameError,
    UnsupportedError,
)
from harness.quiet import quiet_imports
from harness.runtimes import portable

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol, types

X = np.array([[1, -2, 3]], np.float32)
WEIGHT = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)


def saved(folder: Path, build: Any, *shape: Any, name: str = "model", specs: Any = None, **options: Any) -> Path:
    """The path of a package that holds the program ``build`` of ``x``."""
    target = options.pop("target", ct.target.iOS18)
    program = mb.program(input_specs=specs or [mb.TensorSpec(shape)], opset_version=target)(build)
    path = folder / f"{name}.mlpackage"
    ct.convert(
        program, convert_to="mlprogram", minimum_deployment_target=target, skip_model_load=True,
        **{"compute_precision": ct.precision.FLOAT32} | options,
    ).save(str(path))  # fmt: skip
    return path


def layered(x: Any) -> Any:
    hidden = mb.matmul(x=x, y=WEIGHT, name="hidden")
    return mb.add(x=mb.relu(x=hidden, name="rectified"), y=1.0, name="y")


def test_package_from_a_file(tmp_path: Path) -> None:
    model = portable.load(saved(tmp_path, lambda x: layered(x), 1, 3))
    assert [(spec.name, spec.shape, spec.dtype) for spec in model.features.inputs] == [("x", (1, 3), "float32")]
    assert [(spec.name, spec.shape, spec.dtype) for spec in model.features.outputs] == [("y", (1, 3), "float32")]
    np.testing.assert_allclose(model.predict({"x": X})["y"], np.maximum(X @ WEIGHT, 0) + 1, rtol=1e-6)


def test_numerics(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda x: layered(x), 1, 3, compute_precision=ct.precision.FLOAT16)
    exact = np.maximum(X @ WEIGHT.astype(np.float16).astype(np.float32), 0) + 1
    wide, narrow = (
        portable.load(path, numerics=numerics).predict({"x": X})["y"] for numerics in ("float32", "float16")
    )
    np.testing.assert_allclose(wide, exact, rtol=1e-6)
    np.testing.assert_allclose(narrow, exact, rtol=2e-3)
    assert (narrow == narrow.astype(np.float16)).all()
    assert (wide != narrow).any()


# Functions ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of two functions that share their weight; one is the default."""
    folder = tmp_path_factory.mktemp("functions")
    builds = {
        "plain": lambda x: mb.matmul(x=x, y=WEIGHT, name="y"),
        "negated": lambda x: mb.mul(x=mb.matmul(x=x, y=WEIGHT), y=-1.0, name="z"),
    }
    description = ct.utils.MultiFunctionDescriptor()
    for name, build in builds.items():
        path = saved(folder, build, 1, 3, name=name)
        description.add_function(str(path), src_function_name="main", target_function_name=name)
    description.default_function_name = "negated"
    path = folder / "both.mlpackage"
    ct.utils.save_multifunction(description, str(path))
    return path


@pytest.mark.parametrize(("function", "output", "sign"), [(None, "z", -1), ("negated", "z", -1), ("plain", "y", 1)])
def test_functions(functions: Path, function: str | None, output: str, sign: int) -> None:
    results = portable.load(functions, function=function).predict({"x": X})
    assert list(results) == [output]
    np.testing.assert_allclose(results[output], sign * (X @ WEIGHT), rtol=1e-6)


def test_unknown_function(functions: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"received 'third'; supported: negated, plain"):
        portable.load(functions, function="third")


# Observation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("numerics", ["float32", "float16"])
def test_observe(tmp_path: Path, numerics: str) -> None:
    path = saved(tmp_path, lambda x: layered(x), 1, 3)
    model = portable.load(path, numerics=numerics, observe=["hidden", "rectified", "x", "y"])
    observed = model.observe({"x": X})
    assert set(observed) == {"hidden", "rectified", "x", "y"}
    np.testing.assert_allclose(observed["hidden"], X @ WEIGHT, rtol=1e-6)
    assert (observed["hidden"] < 0).any()
    np.testing.assert_array_equal(observed["rectified"], np.maximum(observed["hidden"], 0))
    np.testing.assert_array_equal(observed["x"], X)
    np.testing.assert_array_equal(observed["y"], model.predict({"x": X})["y"])


def test_observation_of_a_flexible_model(tmp_path: Path) -> None:
    path = saved(
        tmp_path, lambda x: layered(x), get_new_symbol(), 3, inputs=[ct.TensorType("x", (ct.RangeDim(1, 20), 3))]
    )
    model = portable.load(path, observe=["hidden"])
    for size in (1, 4):
        x = np.repeat(X, size, axis=0)
        np.testing.assert_allclose(model.observe({"x": x})["hidden"], x @ WEIGHT, rtol=1e-6)


def test_observation_of_constants_and_weights(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        weight = mb.constexpr_blockwise_shift_scale(data=np.int8([[1, 2, 3]]), scale=np.float32([[0.5]]), name="weight")
        return mb.mul(x=x, y=weight)

    model = portable.load(saved(tmp_path, build, 1, 3), observe=["weight"])
    np.testing.assert_array_equal(model.observe({"x": X})["weight"], [[0.5, 1, 1.5]])


def test_unknown_observed_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"received 'hiden'; supported: hidden"):
        portable.load(saved(tmp_path, lambda x: layered(x), 1, 3), observe=["hiden"])


# Flexible shapes ----------------------------------------------------------------------------------


def test_more_shapes_than_are_kept(tmp_path: Path) -> None:
    path = saved(
        tmp_path, lambda x: mb.reduce_mean(x=x, axes=[0], keep_dims=True, name="y"), get_new_symbol(), 3,
        inputs=[ct.TensorType("x", (ct.RangeDim(1, 20), 3))],
    )  # fmt: skip
    model = portable.load(path)
    for size in (*range(1, 13), 1, 5):
        x = np.arange(3 * size, dtype=np.float32).reshape(size, 3)
        np.testing.assert_allclose(model.predict({"x": x})["y"], x.mean(axis=0, keepdims=True), rtol=1e-6)
        assert len(model._compiled) <= 8


def test_two_flexible_inputs(tmp_path: Path) -> None:
    size = get_new_symbol()
    dimension = ct.RangeDim(1, 9)
    path = saved(
        tmp_path, lambda x, z: mb.sub(x=x, y=z, name="y"), specs=[mb.TensorSpec((size, 3)), mb.TensorSpec((1, 3))],
        inputs=[ct.TensorType("x", (dimension, 3)), ct.TensorType("z", (1, 3))],
    )  # fmt: skip
    model = portable.load(path)
    for count in (2, 7):
        x = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
        np.testing.assert_array_equal(model.predict({"x": x, "z": X})["y"], x - X)


# Together -----------------------------------------------------------------------------------------


def test_image_classifier(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)

    def build(image: Any) -> Any:
        return mb.softmax(x=mb.reduce_mean(x=image, axes=[2, 3], keep_dims=False), name="scores")

    path = saved(
        tmp_path, build, specs=[mb.TensorSpec((1, 3, 4, 6))],
        inputs=[ct.ImageType("image", (1, 3, 4, 6), scale=1 / 20, color_layout=ct.colorlayout.BGR)],
        classifier_config=ct.ClassifierConfig(["blue", "green", "red"], predicted_feature_name="color"),
        compute_precision=ct.precision.FLOAT16,
    )  # fmt: skip
    means = pixels.reshape(-1, 3).mean(axis=0)[::-1] / 20
    expected = np.exp(means - means.max()) / np.exp(means - means.max()).sum()
    for numerics in ("float32", "float16"):
        results = portable.load(path, numerics=numerics).predict({"image": Image.fromarray(pixels)})
        assert results.pop("color") == ["blue", "green", "red"][int(expected.argmax())]
        (scores,) = results.values()
        assert list(scores) == ["blue", "green", "red"]
        np.testing.assert_allclose(list(scores.values()), expected, rtol=2e-2)


def test_threads_share_a_model(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        def body(i: Any, value: Any) -> Any:
            return mb.add(x=i, y=1), mb.add(x=value, y=mb.topk(x=x, k=3)[0])

        return mb.while_loop(_cond=lambda i, value: mb.less(x=i, y=20), _body=body, loop_vars=(0, x))[1]

    path = saved(tmp_path, build, get_new_symbol(), 3, inputs=[ct.TensorType("x", (ct.RangeDim(1, 20), 3))])
    model = portable.load(path)

    def check(turn: int) -> bool:
        x = np.random.default_rng(turn).normal(size=(1 + turn % 4, 3)).astype(np.float32)
        (result,) = model.predict({"x": x}).values()
        return np.allclose(result, x - 20 * np.sort(-x), rtol=1e-4, atol=1e-4)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, range(40)))


def test_state_is_each_callers_own(tmp_path: Path) -> None:
    path = saved(
        tmp_path,
        lambda x, total: mb.coreml_update_state(state=total, value=mb.add(x=x, y=mb.read_state(input=total)), name="y"),
        specs=[mb.TensorSpec((1, 3), types.fp16), mb.StateTensorSpec((1, 3), types.fp16)],
    )
    model = portable.load(path)
    first, second = model.new_state(), model.new_state()
    model.predict({"x": X}, first)
    np.testing.assert_array_equal(model.predict({"x": X}, first)["y"], 2 * X)
    np.testing.assert_array_equal(model.predict({"x": X}, second)["y"], X)
    with pytest.raises(InputError, match="keeps state"):
        model.predict({"x": X})


# Files that cannot be loaded ----------------------------------------------------------------------


def test_no_such_numerics(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="bfloat16"):
        portable.load(saved(tmp_path, lambda x: layered(x), 1, 3), numerics="bfloat16")


def neural_network(folder: Path) -> Path:
    program = mb.program(input_specs=[mb.TensorSpec((1, 3))])(lambda x: mb.relu(x=x))
    path = folder / "old.mlmodel"
    ct.convert(program, convert_to="neuralnetwork", skip_model_load=True).save(str(path))
    return path


def without_weights(folder: Path) -> Path:
    path = saved(folder, lambda x: mb.matmul(x=x, y=np.ones((3, 30), np.float32)), 1, 3)
    (weights,) = path.rglob("weight.bin")
    weights.unlink()
    return path


def cut_short(folder: Path) -> Path:
    path = saved(folder, lambda x: layered(x), 1, 3)
    (model,) = path.rglob("*.mlmodel")
    model.write_bytes(model.read_bytes()[:-20])
    return path


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder: folder / "absent.mlpackage", ModelFileError, "there is no model"),
        (neural_network, UnsupportedError, "not an ML Program; received neuralNetwork"),
        (without_weights, PackageError, "cannot be read"),
        (cut_short, PackageError, "not a readable Core ML model"),
    ],
)
def test_models_that_cannot_be_loaded(tmp_path: Path, make: Any, error: type[HarnessError], message: str) -> None:
    with pytest.raises(error, match=message):
        portable.load(make(tmp_path))
