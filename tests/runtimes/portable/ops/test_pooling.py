from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops import pooling

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]


def pooled(
    x: np.ndarray,
    kernel: list[int],
    strides: list[int],
    pads: list[tuple[int, int]],
    reduce: Callable[[np.ndarray, int], float],
    ceil: bool = False,
) -> np.ndarray:
    """``reduce(the elements of a window, how many of its places are input or padding)``, PyTorch's ceil mode."""
    sizes = []
    for size, length, step, (begin, end) in zip(x.shape[2:], kernel, strides, pads, strict=True):
        count = (size + begin + end - length + (step - 1 if ceil else 0)) // step + 1
        sizes.append(count - 1 if ceil and (count - 1) * step >= size + begin else count)
    result = np.zeros((*x.shape[:2], *sizes))
    for position in np.ndindex(*sizes):
        window: list[slice] = []
        places = 1
        for at, size, length, step, (begin, end) in zip(position, x.shape[2:], kernel, strides, pads, strict=True):
            start = at * step - begin
            stop = min(start + length, size + end)
            places *= stop - start
            window.append(slice(max(start, 0), max(min(stop, size), 0)))
        for image, channel in np.ndindex(*x.shape[:2]):
            result[(image, channel, *position)] = reduce(x[(image, channel, *window)].astype(np.float64), places)
    return result


def maximum(window: np.ndarray, places: int) -> float:
    return float(window.max(initial=-np.inf))


def mean(window: np.ndarray, places: int) -> float:
    return float(window.sum() / places)


def mean_without_padding(window: np.ndarray, places: int) -> float:
    return float(window.mean())


def root_of_squares(window: np.ndarray, places: int) -> float:
    return float(np.sqrt((window**2).sum()))


OPS: dict[str, tuple[Function, Callable[[np.ndarray, int], float]]] = {
    "max_pool": (lambda **a: mb.max_pool(**a), maximum),
    "avg_pool": (lambda **a: mb.avg_pool(**a), mean),
    "avg_pool without padding": (
        lambda **a: mb.avg_pool(exclude_padding_from_average=True, **a), mean_without_padding,
    ),
    "l2_pool": (lambda **a: mb.l2_pool(**a), root_of_squares),
}  # fmt: skip

# x, kernel, strides, custom pads
SHAPES: list[tuple[tuple[int, ...], list[int], list[int], list[tuple[int, int]]]] = [
    ((1, 3, 9), [2], [2], [(1, 0)]),
    ((2, 3, 8, 7), [3, 2], [2, 3], [(1, 2), (0, 1)]),
    ((1, 2, 7, 10), [4, 3], [1, 2], [(3, 1), (2, 2)]),
    ((1, 2, 5, 6, 7), [2, 3, 2], [2, 1, 3], [(1, 1), (0, 2), (1, 0)]),
]


def same(sizes: tuple[int, ...], kernel: list[int], strides: list[int], lower: bool) -> list[tuple[int, int]]:
    pads = []
    for size, length, step in zip(sizes, kernel, strides, strict=True):
        total = max(0, (-(-size // step) - 1) * step + length - size)
        pads.append((total - total // 2, total // 2) if lower else (total // 2, total - total // 2))
    return pads


def negative_noise(*shape: int) -> np.ndarray:
    """Below zero, so that a zero of the padding would win a maximum."""
    return (-np.random.default_rng(0).random(shape) - 0.5).astype(np.float32)


@pytest.mark.parametrize("pad_type", ["valid", "same", "same_lower", "custom"])
@pytest.mark.parametrize(
    ("name", "case"), [c for c in itertools.product(OPS, SHAPES) if c[0] != "l2_pool" or len(c[1][1]) < 3]
)
def test_pool(run: Function, name: str, case: Any, pad_type: str) -> None:
    shape, kernel, strides, custom = case
    build, reduce = OPS[name]
    x = negative_noise(*shape)
    pads = {"valid": [(0, 0)] * len(kernel), "custom": custom}.get(
        pad_type, same(shape[2:], kernel, strides, pad_type == "same_lower")
    )
    more = {"pad": [n for pair in custom for n in pair]} if pad_type == "custom" else {}
    [result] = run(lambda x: build(x=x, kernel_sizes=kernel, strides=strides, pad_type=pad_type, **more), {"x": x})
    np.testing.assert_allclose(result, pooled(x, kernel, strides, pads, reduce), rtol=1e-5)


# The cases of ceil mode: a window that hangs over, one that does not, one dropped because it starts in the padding.
CEIL = [([3], [2], 0, 8), ([3], [2], 0, 9), ([3], [2], 1, 8), ([2], [2], 1, 7), ([3], [3], 1, 10), ([2], [3], 1, 7)]


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize(("kernel", "strides", "pad", "size"), CEIL)
def test_ceil_mode(run: Function, name: str, kernel: list[int], strides: list[int], pad: int, size: int) -> None:
    build, reduce = OPS[name]
    x = negative_noise(2, 2, size, size + 2)
    two = [*kernel, kernel[0]], [*strides, strides[0]]
    [result] = run(
        lambda x: build(x=x, kernel_sizes=two[0], strides=two[1], pad_type="custom", pad=[pad] * 4, ceil_mode=True),
        {"x": x},
    )
    np.testing.assert_allclose(result, pooled(x, *two, [(pad, pad)] * 2, reduce, ceil=True), rtol=1e-5)


def test_ceil_mode_refuses_a_window_outside(run: Function) -> None:
    with pytest.raises(PredictionError, match="beyond the input"):
        run(
            lambda x: mb.max_pool(x=x, kernel_sizes=[1], strides=[3], pad_type="valid", ceil_mode=True),
            {"x": negative_noise(1, 1, 5)},
        )


@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "l2_pool"])
def test_padding_as_wide_as_the_window(run: Function, name: str) -> None:
    build, reduce = OPS[name]
    x = negative_noise(1, 2, 5, 6)
    [result] = run(lambda x: build(x=x, kernel_sizes=[2, 2], pad_type="custom", pad=[2, 1, 0, 3]), {"x": x})
    np.testing.assert_allclose(result, pooled(x, [2, 2], [1, 1], [(2, 1), (0, 3)], reduce), rtol=1e-5)


def test_average_of_a_window_of_padding_alone_is_not_a_number(run: Function) -> None:
    x = negative_noise(1, 1, 4)
    [result] = run(
        lambda x: OPS["avg_pool without padding"][0](x=x, kernel_sizes=[2], pad_type="custom", pad=[2, 0]), {"x": x}
    )
    assert np.isnan(result[0, 0, 0])
    expected = pooled(x[:, :, :], [2], [1], [(1, 0)], mean_without_padding)
    np.testing.assert_allclose(result[:, :, 1:], expected, rtol=1e-5)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS18])
def test_defaults_and_float16(run: Function, target: Any) -> None:
    x = negative_noise(1, 2, 6, 6)
    results = run(
        lambda x: (mb.max_pool(x=x, kernel_sizes=[2, 2], pad_type="valid"),
                   mb.avg_pool(x=x, kernel_sizes=[2, 2], pad_type="valid")),
        {"x": x}, target=target, precision="float16", numerics="float16",
    )  # fmt: skip
    half = x.astype(np.float16).astype(np.float32)
    assert np.array_equal(results[0], pooled(half, [2, 2], [1, 1], [(0, 0)] * 2, maximum).astype(np.float32))
    expected = pooled(half, [2, 2], [1, 1], [(0, 0)] * 2, mean)
    assert np.array_equal(results[1], results[1].astype(np.float16))
    np.testing.assert_allclose(results[1], expected, rtol=1e-3)


@pytest.mark.parametrize("pad_type", ["same", "same_lower"])
def test_unknown_size(lower: Function, pad_type: str) -> None:
    x = negative_noise(1, 2, 7, 8)
    result = lower(pooling.max_pool, {"x": x}, kernel_sizes=(3, 2), strides=(2, 3), pad_type=pad_type)
    pads = same((7, 8), [3, 2], [2, 3], pad_type == "same_lower")
    np.testing.assert_allclose(result, pooled(x, [3, 2], [2, 3], pads, maximum), rtol=1e-6)
