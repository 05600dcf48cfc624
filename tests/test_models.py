"""The models that ship: what they do to a photograph they were not trained on, and that they convert."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from harness.case import ModelCase, discover
from harness.photographs import COLOR_PHOTOGRAPHS
from harness.routes.native import NativeRoute
from harness.routes.tflite import TFLiteRoute
from harness.runtimes import portable
from harness.runtimes.tensorflow import FrozenGraph, load_frozen, load_graph, open_model

FOLDER = Path(__file__).parents[1] / "models"
# Decibels that each must gain over what can be done without a model; measured gains are 9.0, 6.0 and 0.58.
GAINS = {"unet": 8.0, "unet_custom_activation": 5.0, "super_resolution": 0.4}


@pytest.fixture(scope="module")
def cases() -> Mapping[str, ModelCase]:
    return discover(FOLDER)


@pytest.fixture(scope="module")
def graphs(cases: Mapping[str, ModelCase]) -> Mapping[str, FrozenGraph]:
    return {name: load_graph(case, {key: value.shape for key, value in inputs_of(case).items()})
            for name, case in cases.items()}  # fmt: skip


def inputs_of(case: ModelCase) -> dict[str, np.ndarray]:
    assert case.inputs is not None
    return dict(case.inputs())  # type: ignore[arg-type]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"models.{name}")


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square(image.astype(np.float64) - reference))))


def test_they_are_found(cases: Mapping[str, ModelCase]) -> None:
    assert set(cases) == set(GAINS)


@pytest.mark.parametrize("name", GAINS)
def test_weights_are_small_files_of_the_case(cases: Mapping[str, ModelCase], name: str) -> None:
    weights = FOLDER / f"{name}.npz"
    assert weights in cases[name].files
    assert weights.stat().st_size < 2_000_000


@pytest.mark.parametrize("name", GAINS)
def test_inputs_are_a_photograph_in_range(cases: Mapping[str, ModelCase], name: str) -> None:
    (image,) = inputs_of(cases[name]).values()
    assert image.dtype == np.float32
    assert image.shape[3] == 3
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.std() > 0.03
    np.testing.assert_array_equal(image, next(iter(inputs_of(cases[name]).values())))
    assert module(name).HELD_OUT in COLOR_PHOTOGRAPHS


@pytest.mark.parametrize("name", GAINS)
def test_photographs_come_out_better(
    graphs: Mapping[str, FrozenGraph], cases: Mapping[str, ModelCase], name: str
) -> None:
    inputs = inputs_of(cases[name])
    (output,) = load_frozen(graphs[name]).predict(inputs).values()
    target = module(name).target()
    assert output.shape == target.shape
    assert output.min() >= 0
    assert output.max() <= 1
    (image,) = inputs.values()
    assert psnr(output, target) > psnr(module(name).naive(image), target) + GAINS[name]


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", GAINS)
def test_conversion_keeps_to_the_tolerance(
    graphs: Mapping[str, FrozenGraph], cases: Mapping[str, ModelCase], name: str, precision: str, tmp_path: Path
) -> None:
    inputs = inputs_of(cases[name])
    artifact = NativeRoute().convert(graphs[name], precision, tmp_path / "model.mlpackage")
    (reference,) = load_frozen(graphs[name]).predict(inputs).values()
    (result,) = portable.load(artifact.path, numerics=precision).predict(inputs).values()
    error = np.abs(result - reference).max()
    assert error <= cases[name].tolerance.for_precision(precision)
    assert (error > 1e-4) == (precision == "float16")


@pytest.mark.parametrize("name", GAINS)
def test_the_tflite_route_keeps_to_the_tolerance(
    graphs: Mapping[str, FrozenGraph], cases: Mapping[str, ModelCase], name: str, tmp_path: Path
) -> None:
    inputs = inputs_of(cases[name])
    artifact = TFLiteRoute().convert(graphs[name], "float32", tmp_path / "model.mlpackage")
    (reference,) = load_frozen(graphs[name]).predict(inputs).values()
    (result,) = portable.load(artifact.path).predict(inputs).values()
    assert np.abs(result - reference).max() <= 1e-4
    assert not artifact.warnings


def test_super_resolution_takes_any_size(cases: Mapping[str, ModelCase]) -> None:
    model = open_model(cases["super_resolution"])
    assert model.inputs[0].shape == (None, None, None, 3)
    assert model.multiple() == 1
    assert model.freeze({"image": (1, 11, 13, 3)}).outputs[0].shape == (1, 33, 39, 3)


def test_custom_activation_is_what_it_says() -> None:
    layer = module("unet_custom_activation").sigmoid_gated_linear_unit()()
    x = np.array([[-2.0, 0.5, 3.0]], np.float32)
    layer(x)
    layer.set_weights([np.array([0.1, -0.2, 0.3], np.float32)])
    expected = x / (1 + np.exp(-1.702 * x)) + [0.1, -0.2, 0.3] * x
    np.testing.assert_allclose(np.asarray(layer(x)), expected, atol=1e-6)


def test_custom_activation_has_learned_slopes() -> None:
    with np.load(FOLDER / "unet_custom_activation.npz") as weights:
        slopes = np.concatenate([weights[name] for name in weights.files if name.endswith("slope")])
    assert np.abs(slopes).mean() > 0.005


def test_benchmark_network_is_the_one_of_the_goal() -> None:
    unet = module("unet")
    first, second = unet.benchmark_unet(), unet.benchmark_unet()
    assert first.input_shape == first.output_shape == (None, 256, 256, 3)
    filters = {layer.filters for layer in first.layers if hasattr(layer, "filters")}
    assert filters == {32, 64, 128, 256, 3}
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    image = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)
    assert np.abs(np.asarray(first(image)) - image).mean() > 0.05


def test_training_is_repeatable_and_never_sees_the_held_out_photograph() -> None:
    training = importlib.import_module("models._training")
    recipe = training.Recipe(steps=1, batch=3, patch=24)
    first, second = (next(training.patches(recipe, "astronaut", np.random.default_rng(5))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (3, 24, 24, 3)
    with pytest.MonkeyPatch.context() as patched:
        seen = set()
        original = training.photograph
        patched.setattr(training, "photograph", lambda name, **options: (seen.add(name), original(name, **options))[1])
        next(training.patches(recipe, "coffee", np.random.default_rng(0)))
    assert seen == set(COLOR_PHOTOGRAPHS) - {"coffee"}
