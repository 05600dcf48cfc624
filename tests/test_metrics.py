from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from harness.errors import InputError
from harness.metrics import (
    compare,
    cosine_similarity,
    data_range,
    image_layout,
    max_absolute_error,
    mean_absolute_error,
    psnr,
    relative_error,
    ssim,
)
from harness.tensors import ImageSpec, TensorSpec

A = np.array([1.0, -2.0, 3.0], np.float32)
B = np.array([1.0, -2.5, 2.0], np.float32)
METRICS: list[Callable[..., float | None]] = [
    max_absolute_error, mean_absolute_error, relative_error, cosine_similarity, psnr, ssim,
]  # fmt: skip


def photograph(*shape: int, seed: int = 0) -> np.ndarray:
    """Smooth structure and some noise, in [0, 1]."""
    generator = np.random.default_rng(seed)
    height, width = shape[-3:-1]
    rows, columns = np.mgrid[0:height, 0:width]
    base = 0.5 + 0.3 * np.sin(rows / 5)[..., None] * np.cos(columns / 7)[..., None]
    return np.clip(base + generator.normal(0, 0.05, shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (max_absolute_error, 1.0),
        (mean_absolute_error, 0.5),
        (relative_error, np.sqrt(1.25 / 14)),
        (cosine_similarity, 12 / np.sqrt(14 * 11.25)),
        (psnr, 10 * np.log10(25 / (1.25 / 3))),  # the reference spans 5
    ],
)
def test_values_worked_by_hand(metric: Callable[..., float], expected: float) -> None:
    assert metric(A, B) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (max_absolute_error, 0.0),
        (mean_absolute_error, 0.0),
        (relative_error, 0.0),
        (cosine_similarity, 1.0),
        (psnr, float("inf")),
    ],
)
def test_equal_arrays(metric: Callable[..., float], expected: float) -> None:
    assert metric(A, A.copy()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_values_and_empty_arrays_are_undefined(metric: Callable[..., float | None], bad: float) -> None:
    image = photograph(1, 16, 16, 3)
    broken = image.copy()
    broken[0, 3, 4, 1] = bad
    assert metric(image, broken) is None
    assert metric(broken, image) is None
    assert metric(broken, broken) is None
    assert metric(np.zeros((1, 0, 16, 3)), np.zeros((1, 0, 16, 3))) is None


@pytest.mark.parametrize("metric", METRICS)
def test_arrays_that_no_metric_fits(metric: Callable[..., float | None]) -> None:
    with pytest.raises(InputError, match=r"\(3\) and \(1, 3\)"):
        metric(A, B[None])
    with pytest.raises(InputError, match="complex64"):
        metric(A, B.astype(np.complex64))


@pytest.mark.parametrize("metric", [relative_error, cosine_similarity, psnr])
def test_a_reference_of_zeros_is_undefined(metric: Callable[..., float | None]) -> None:
    assert metric(np.zeros(3), A) is None


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_squares_neither_overflow_nor_vanish(scale: float) -> None:
    first, second = A.astype(np.float64), B.astype(np.float64)
    for metric in (relative_error, cosine_similarity, psnr):
        assert metric(first * scale, second * scale) == pytest.approx(metric(first, second), rel=1e-9)
    assert cosine_similarity(first, second * scale) == pytest.approx(cosine_similarity(first, second), rel=1e-9)


def test_unsigned_integers_do_not_wrap_around() -> None:
    assert max_absolute_error(np.array([3, 250], np.uint8), np.array([5, 249], np.uint8)) == 2.0
    assert max_absolute_error(np.array([True, False]), np.array([True, True])) == 1.0


@pytest.mark.parametrize(
    ("reference", "spec", "expected"),
    [
        (np.array([3, 9], np.uint8), None, 255.0),
        (np.array([3.0, 9.0]), None, 6.0),
        (np.array([3.0, 9.0]), TensorSpec("y", (2,), image=ImageSpec("RGB", 1, 1)), 255.0),
        (np.array([3.0, 9.0]), TensorSpec("y", (2,), image=ImageSpec("GRAYSCALE_FLOAT16", 1, 1)), 6.0),
        (np.array([3.0, np.nan]), None, None),
    ],
)
def test_data_range(reference: np.ndarray, spec: TensorSpec | None, expected: float | None) -> None:
    assert data_range(reference, spec) == expected


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((1, 64, 64, 3), None, "NHWC"),
        ((1, 3, 64, 64), None, "NCHW"),
        ((1, 3, 64, 4), None, "NHWC"),
        ((64, 64, 1), None, "HWC"),
        ((1, 64, 64, 32), None, None),
        ((1, 64, 64, 32), "NHWC", "NHWC"),
        ((64, 64), None, None),
        ((64, 64), "HW", "HW"),
        ((1, 64, 64, 3), "HWC", None),
        ((1, 64), "NC", None),
        ((), None, None),
    ],
)
def test_image_layout(shape: tuple[int, ...], layout: str | None, expected: str | None) -> None:
    assert image_layout(shape, layout) == expected


def ssim_by_definition(first: np.ndarray, second: np.ndarray, peak: float) -> float:
    """Wang et al. 2004, equations 13 to 16, with the window written out; two grey images."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    values = []
    for row in range(first.shape[0] - 10):
        for column in range(first.shape[1] - 10):
            x, y = (image[row : row + 11, column : column + 11].astype(np.float64) for image in (first, second))
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            values.append(
                (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
                / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
            )  # fmt: skip
    return float(np.mean(values))


def test_ssim_is_that_of_the_paper() -> None:
    first, second = photograph(20, 24, 1), photograph(20, 24, 1, seed=1)
    expected = ssim_by_definition(first[..., 0], second[..., 0], peak=1.0)
    assert 0.2 < expected < 0.95
    assert ssim(first, second, data_range=1.0) == pytest.approx(expected, abs=1e-6)


def test_ssim_takes_the_image_axes_from_the_layout() -> None:
    first, second = photograph(2, 24, 32, 3), photograph(2, 24, 32, 3, seed=1)
    expected = np.mean(
        [
            ssim(first[n, :, :, c], second[n, :, :, c], "HW", data_range=float(np.ptp(first)))
            for n in range(2)
            for c in range(3)
        ]
    )
    assert ssim(first, second) == pytest.approx(expected, abs=1e-12)
    moved = first.transpose(3, 0, 2, 1), second.transpose(3, 0, 2, 1)
    assert ssim(*moved, "CNWH") == pytest.approx(expected, abs=1e-12)
    wrong_axes = ssim(*moved, "NHWC")
    assert wrong_axes is None  # height 2 is below the window


@pytest.mark.parametrize("shape", [(1, 10, 64, 3), (1, 64, 10, 3), (1, 64, 64, 32), (64, 64), (7,), ()])
def test_ssim_is_undefined_without_an_image(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape)
    assert ssim(values, values * 0.9) is None


def test_ssim_of_volumes() -> None:
    volume = np.random.default_rng(0).random((1, 12, 12, 12, 1))
    assert ssim(volume, volume, "NDHWC") == pytest.approx(1.0)
    assert ssim(volume, volume[:, ::-1], "NDHWC") < 0.9


def test_a_comparison_within_tolerance() -> None:
    image = photograph(1, 16, 16, 3)
    result = compare({"y": image}, {"y": image + np.float32(1e-3)}, 2e-3)
    assert result.passed
    assert result.reason == ""
    worst = result.worst
    assert worst.max_abs_error == pytest.approx(1e-3, rel=1e-3)
    assert worst.psnr == pytest.approx(20 * np.log10(np.ptp(image) / 1e-3), abs=0.01)
    assert 0.99 < worst.ssim < 1.0


def test_the_bound_is_inclusive() -> None:
    reference, candidate = {"y": np.array([1.0, 2.0])}, {"y": np.array([1.0, 2.5])}
    assert compare(reference, candidate, 0.5).passed
    result = compare(reference, candidate, 0.4999)
    assert not result.passed
    assert result.reason == "output 'y' is 0.5 off, beyond 0.4999"


NAN = np.array([1.0, np.nan])
FINE = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("reference", "candidate", "reason"),
    [
        (FINE, None, "is missing"),
        (FINE, NAN, "1 of 2 values that are not finite"),
        (FINE, np.array([np.inf, -np.inf]), "2 of 2 values that are not finite"),
        (NAN, FINE, "1 of 2 values of the reference are not finite"),
        (NAN, NAN, "of the reference are not finite, and 1 of its own"),
        (FINE, FINE[None], r"has shape \(1, 2\), the reference's is \(2\)"),
        (FINE, np.array(["a", "b"]), "its values are of type <U1"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "is empty"),
    ],
)
def test_what_fails_whatever_the_tolerance(reference: np.ndarray, candidate: np.ndarray | None, reason: str) -> None:
    result = compare(
        {"good": FINE, "y": reference}, {"good": FINE, **({} if candidate is None else {"y": candidate})}, 1e30
    )
    assert not result.passed
    assert re.search(reason, result.reason)
    assert result.worst.name == "y"
    assert result.worst.max_abs_error is None


def test_the_worst_output_and_the_unjudged() -> None:
    reference = {"a": FINE, "b": FINE, "c": FINE}
    result = compare(reference, {"a": FINE, "b": FINE + 0.5, "c": FINE + 0.25, "extra": FINE}, 0.3)
    assert [output.passed for output in result.outputs] == [True, False, True]
    assert result.worst.name == "b"
    assert "'b'" in result.reason
    assert "'c'" not in result.reason
    assert result.unjudged == ("extra",)


@pytest.mark.parametrize("tolerance", [-1e-9, np.nan, np.inf])
def test_a_tolerance_that_is_no_bound(tolerance: float) -> None:
    with pytest.raises(InputError, match="tolerance"):
        compare({"y": FINE}, {"y": FINE}, tolerance)


def test_a_reference_without_outputs() -> None:
    with pytest.raises(InputError, match="no outputs"):
        compare({}, {"y": FINE}, 1.0)


def test_layouts_come_from_the_specs() -> None:
    values = photograph(1, 16, 16, 8)
    assert compare({"y": values}, {"y": values}, 0.0).worst.ssim is None
    spec = TensorSpec("y", values.shape, layout="NHWC")
    assert compare({"y": values}, {"y": values}, 0.0, {"y": spec}).worst.ssim == pytest.approx(1.0)
