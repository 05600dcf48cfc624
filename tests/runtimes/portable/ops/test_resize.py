from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops import resize as module
from harness.runtimes.portable.program import TensorType

with quiet_imports():
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]
MODES = ["DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS"]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def grid(mode: str, size: int, target: int) -> np.ndarray:
    """The formulas of coremltools' docstring of resize_bilinear, in float64."""
    i = np.arange(target, dtype=np.float64)
    if mode == "ALIGN_CORNERS" and target == 1:
        return np.array([(size - 1) / 2])
    if mode in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        points = i * (size - 1) / max(target - 1, 1)
    elif mode == "DEFAULT":
        points = i * (size / target)
    elif mode == "OFFSET_CORNERS":
        points = (i + 0.5) * max(1, size - 1) / target
    else:
        points = (i + 0.5) * size / target - 0.5
    return np.clip(points, 0, size - 1)


def linear(x: np.ndarray, targets: list[int], mode: str) -> np.ndarray:
    x = x.astype(np.float64)
    for axis, target in enumerate(targets, x.ndim - len(targets)):
        size = x.shape[axis]
        points = grid(mode, size, target)
        matrix = np.maximum(0, 1 - np.abs(points[:, None] - np.arange(size)))
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def nearest(x: np.ndarray, targets: list[int], half_pixel: bool) -> np.ndarray:
    for axis, target in enumerate(targets, x.ndim - len(targets)):
        offset = 1 if half_pixel else 0
        index = [(2 * i + offset) * x.shape[axis] // (2 * target) for i in range(target)]
        x = x.take(index, axis=axis)
    return x


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("targets", [(10, 21), (3, 4), (1, 5), (1, 1), (5, 7), (13, 2)])
@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 3, 5, 7), (2, 1, 3, 5, 7), (1, 2, 1, 1)])
def test_resize_bilinear(run: Function, mode: str, targets: tuple[int, int], shape: Any) -> None:
    x = noise(*shape)
    [result] = run(
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=targets[0], target_size_width=targets[1], sampling_mode=mode
        ),
        {"x": x},
        target=ct.target.iOS15,
    )
    np.testing.assert_allclose(result, linear(x, list(targets), mode), rtol=1e-4, atol=1e-5)


# The values of coremltools' own tests, which compare with devices.
DEVICE_CASES: list[tuple[str, Function, list[float], list[float]]] = [
    ("strict", lambda x: mb.resize_bilinear(
        x=x, target_size_height=1, target_size_width=5, sampling_mode="STRICT_ALIGN_CORNERS",
    ), [0, 1], [0, 0.25, 0.5, 0.75, 1]),
    ("default", lambda x: mb.resize_bilinear(x=x, target_size_height=1, target_size_width=5), [0, 1],
     [0, 0.4, 0.8, 1, 1]),
    ("offset", lambda x: mb.resize_bilinear(
        x=x, target_size_height=1, target_size_width=5, sampling_mode="OFFSET_CORNERS",
    ), [0, 1], [0.1, 0.3, 0.5, 0.7, 0.9]),
    ("unalign", lambda x: mb.resize_bilinear(
        x=x, target_size_height=1, target_size_width=5, sampling_mode="UNALIGN_CORNERS",
    ), [0, 1], [0, 0.1, 0.5, 0.9, 1]),
    ("upsample", lambda x: mb.upsample_bilinear(x=x, scale_factor_height=1, scale_factor_width=3), [0, 1],
     [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ("fraction", lambda x: mb.upsample_bilinear(
        x=x, scale_factor_height=1.0, scale_factor_width=2.6, align_corners=False,
    ), [0, 1], [0, 0.1, 0.5, 0.9, 1]),
    ("half pixel", lambda x: mb.upsample_bilinear(
        x=x, scale_factor_height=1, scale_factor_width=3, align_corners=False, half_pixel_centers=True,
    ), [1, 2], [1, 1, 4 / 3, 5 / 3, 2, 2]),
    ("asymmetric", lambda x: mb.upsample_bilinear(
        x=x, scale_factor_height=1, scale_factor_width=3, align_corners=False, half_pixel_centers=False,
    ), [1, 2], [1, 4 / 3, 5 / 3, 2, 2, 2]),
    ("nearest", lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=1, scale_factor_width=2),
     [1.5, 2.5, 3.5], [1.5, 1.5, 2.5, 2.5, 3.5, 3.5]),
    ("nearest smaller", lambda x: mb.upsample_nearest_neighbor(
        x=x, scale_factor_height=1.0, scale_factor_width=0.67,
    ), [1.5, -2.5, 3.5], [1.5, -2.5]),
    ("nearest fraction", lambda x: mb.upsample_nearest_neighbor(
        x=x, scale_factor_height=1.0, scale_factor_width=1.12,
    ), [1.5, -2.5, 3.5], [1.5, -2.5, 3.5]),
    ("resize nearest", lambda x: mb.resize(
        x=x, shape=[1, 3], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR",
    ), [-6.174, 9.371], [-6.174, 9.371, 9.371]),
    ("resize linear", lambda x: mb.resize(x=x, shape=[1, 1, 5], resized_dims=np.uint32(2)), [0, 1],
     [0, 0.4, 0.8, 1, 1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "build", "values", "expected"), DEVICE_CASES, ids=[c[0] for c in DEVICE_CASES])
def test_values_of_devices(run: Function, name: str, build: Function, values: Any, expected: Any) -> None:
    [result] = run(build, {"x": np.array(values, np.float32).reshape(1, 1, -1)})
    np.testing.assert_allclose(result.reshape(-1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factors", [(2, 3), (2.5, 0.75), (0.5, 1.3), (1.0, 4)])
@pytest.mark.parametrize("kind", ["align", "half pixel", "asymmetric", "nearest"])
@pytest.mark.parametrize("shape", [(2, 6, 9), (1, 2, 6, 9), (2, 1, 2, 6, 9)])
def test_upsample(run: Function, factors: tuple[float, float], kind: str, shape: Any) -> None:
    x = noise(*shape)
    if any(isinstance(factor, float) for factor in factors):
        factors = (float(factors[0]), float(factors[1]))
    scale = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
    targets = [int(np.floor(np.float32(f) * n)) for f, n in zip(factors, shape[-2:], strict=True)]
    if kind == "nearest":
        [result] = run(lambda x: mb.upsample_nearest_neighbor(x=x, **scale), {"x": x}, target=ct.target.iOS15)
        assert np.array_equal(result, nearest(x, targets, half_pixel=False))
        return
    mode = {"align": "STRICT_ALIGN_CORNERS", "half pixel": "UNALIGN_CORNERS", "asymmetric": "DEFAULT"}[kind]
    more = {"half_pixel_centers": False} if kind == "asymmetric" else {}
    [result] = run(
        lambda x: mb.upsample_bilinear(x=x, align_corners=kind == "align", **scale, **more),
        {"x": x},
        target=ct.target.iOS16 if more else ct.target.iOS15,
    )
    np.testing.assert_allclose(result, linear(x, targets, mode), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("targets", [(10, 14), (25, 30), (3, 4), (1, 1), (5, 7), (13, 20)])
def test_resize_nearest_neighbor_matches_tensorflow_half_pixel(run: Function, targets: tuple[int, int]) -> None:
    x = noise(2, 3, 5, 7)
    [result] = run(
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=targets[0], target_size_width=targets[1]),
        {"x": x},
    )
    expected = tf.raw_ops.ResizeNearestNeighbor(images=x.transpose(0, 2, 3, 1), size=targets, half_pixel_centers=True)
    assert np.array_equal(result, np.transpose(expected, (0, 3, 1, 2)))
    assert np.array_equal(result, nearest(x, list(targets), half_pixel=True))


@pytest.mark.parametrize("size", [3, 6, 7, 11, 49, 93])
@pytest.mark.parametrize("factor", [14 / 6, 7 / 3, 1.1, 5.3])
def test_upsample_nearest_neighbor_is_exact_where_float32_is_not(run: Function, size: int, factor: float) -> None:
    x = np.arange(size, dtype=np.float32).reshape(1, 1, size)
    target = int(np.floor(np.float32(factor) * np.float32(size)))
    [result] = run(
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=1.0, scale_factor_width=factor), {"x": x}
    )
    assert result.reshape(-1).tolist() == [i * size // target for i in range(target)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", ["LINEAR", "NEAREST_NEIGHBOR"])
@pytest.mark.parametrize(
    ("shape", "sizes", "dims"),
    [((5, 7), [10, 21], 2), ((2, 5, 7), [1, 8, 3], 2),
     ((2, 5, 7), [0, 1], 2), ((3, 5, 7), [4, 0, 5], 3), ((6,), [9], 1),
     ((1, 2, 5, 7), [3, 0], 1)],
)  # fmt: skip
@pytest.mark.parametrize("dynamic", [True, False])
def test_resize(  # type: ignore[no-untyped-def]
    run, mode, interpolation, shape, sizes, dims, dynamic
) -> None:
    x = noise(*shape)
    targets = [size or kept for size, kept in zip(sizes[-dims:], shape[-dims:], strict=True)]
    arguments = {"resized_dims": np.uint32(dims), "interpolation_mode": interpolation, "sampling_mode": mode}
    if dynamic:
        inputs = {"x": x, "shape": np.array(sizes, np.int32)}
        [result] = run(lambda x, shape: mb.resize(x=x, shape=shape, **arguments), inputs)
    else:
        [result] = run(lambda x: mb.resize(x=x, shape=sizes, **arguments), {"x": x})
    if interpolation == "LINEAR":
        np.testing.assert_allclose(result, linear(x, targets, mode), rtol=1e-4, atol=1e-5)
        return
    expected = x
    for axis, target in enumerate(targets, len(shape) - dims):
        points = grid("UNALIGN_CORNERS" if mode == "DEFAULT" else mode, expected.shape[axis], target)
        if mode in ("DEFAULT", "UNALIGN_CORNERS"):
            expected = np.moveaxis(nearest(np.moveaxis(expected, axis, -1), [target], True), -1, axis)
        else:
            expected = expected.take(np.floor(points + 0.5).astype(int), axis=axis)
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("interpolation", ["LINEAR", "NEAREST_NEIGHBOR"])
def test_resize_of_integers(run: Function, interpolation: str) -> None:
    x = np.array([[0, 10], [20, 30]], np.int32)
    [result] = run(
        lambda x: mb.resize(
            x=x, shape=[3, 3], resized_dims=np.uint32(2), interpolation_mode=interpolation,
            sampling_mode="STRICT_ALIGN_CORNERS",
        ),
        {"x": x},
    )  # fmt: skip
    middle = {"LINEAR": [[0, 5, 10], [10, 15, 20], [20, 25, 30]],
              "NEAREST_NEIGHBOR": [[0, 10, 10], [20, 30, 30], [20, 30, 30]]}  # fmt: skip
    assert result.tolist() == middle[interpolation]
    assert result.dtype == np.int32


@pytest.mark.parametrize("kind", ["bilinear", "nearest"])
def test_upsample_of_unknown_size(lower: Function, kind: str) -> None:
    x = noise(2, 3, 5, 7)
    function = {"bilinear": module.upsample_bilinear, "nearest": module.upsample_nearest_neighbor}[kind]
    result = lower(
        function, {"x": x}, scale_factor_height=2.5, scale_factor_width=2.0,
        outputs=(TensorType("fp32", (None,) * 4),),
    )  # fmt: skip
    if kind == "bilinear":
        np.testing.assert_allclose(result, linear(x, [12, 14], "STRICT_ALIGN_CORNERS"), rtol=1e-4, atol=1e-5)
    else:
        assert np.array_equal(result, nearest(x, [12, 14], half_pixel=False))


def test_float16(run: Function) -> None:
    x = noise(1, 2, 5, 7)
    results = run(
        lambda x: (mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False),
                   mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3)),
        {"x": x}, precision="float16", numerics="float16",
    )  # fmt: skip
    half = x.astype(np.float16).astype(np.float32)
    assert np.array_equal(results[0], results[0].astype(np.float16))
    np.testing.assert_allclose(results[0], linear(half, [10, 14], "UNALIGN_CORNERS"), rtol=1e-3, atol=1e-3)
    assert np.array_equal(results[1], half.repeat(2, axis=2).repeat(3, axis=3))


def test_refuses_modes_that_mil_has_not(lower: Function) -> None:
    x = {"x": noise(1, 2, 3)}
    with pytest.raises(HarnessError, match="sampling_mode"):
        lower(module.resize_bilinear, x, sampling_mode="CUBIC")
    with pytest.raises(HarnessError, match="both true"):
        lower(module.upsample_bilinear, x, align_corners=True, half_pixel_centers=True, outputs=())
    with pytest.raises(HarnessError, match="interpolation_mode"):
        lower(module.resize, x | {"shape": np.array([2], np.int32)}, resized_dims=1, interpolation_mode="CUBIC")
