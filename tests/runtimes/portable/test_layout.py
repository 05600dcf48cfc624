"""Rounding inside ONNX Runtime's blocked layout gives, bit for bit, what rounding in the plain graph gives."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports
from harness.runtimes.portable import sessions
from tests.runtimes.portable.conftest import run_program

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

RANDOM = np.random.default_rng(21)
IMAGE = RANDOM.random((1, 16, 12, 20), np.float32)


def conv(x: Any, outputs: int, activation: str = "", **options: Any) -> Any:
    weight = (RANDOM.standard_normal((outputs, x.shape[1], 3, 3)) / 12).astype(np.float32)
    bias = RANDOM.standard_normal(outputs).astype(np.float32)
    y = mb.conv(x=x, weight=weight, bias=bias, pad_type="same", **options)
    return getattr(mb, activation)(x=y) if activation else y


def skip_connection(x: Any) -> Any:
    first = conv(x, 16, "relu")
    inner = conv(mb.max_pool(x=first, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"), 32, "relu")
    upper = mb.upsample_bilinear(
        x=inner, scale_factor_height=2.0, scale_factor_width=2.0, align_corners=False, half_pixel_centers=True
    )
    return conv(conv(mb.concat(values=[upper, first], axis=1), 16, "relu"), 16)


def residual(x: Any) -> Any:
    return mb.add(x=conv(conv(x, 16, "relu"), 16), y=x)


def other_activations(x: Any) -> Any:
    return conv(conv(conv(x, 16, "sigmoid"), 16, "tanh"), 16, "relu6")


def twice_read(x: Any) -> Any:
    y = conv(x, 16)
    return mb.add(x=mb.relu(x=y), y=conv(mb.concat(values=[y, x], axis=1), 16))


def strided(x: Any) -> Any:
    return conv(conv(x, 32, "relu", strides=[2, 2]), 16, "relu")


NETWORKS = [skip_connection, residual, other_activations, twice_read, strided]


def outputs(network: Callable[[Any], Any], numerics: str) -> np.ndarray:
    global RANDOM
    RANDOM = np.random.default_rng(22)
    (result,) = run_program(
        network,
        {"x": IMAGE},
        numerics=numerics,
        precision="float16",
        target=ct.target.iOS16,  # type: ignore[arg-type]
    )
    return np.asarray(result)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_same_bits_as_the_plain_graph(network: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = outputs(network, "float16")
    monkeypatch.setattr(sessions, "round_in_layout", lambda *_: False)
    plain = outputs(network, "float16")
    assert np.abs(plain).max() > 0.1
    np.testing.assert_array_equal(blocked, plain)
    assert np.array_equal(blocked, blocked.astype(np.float16))
    exact = outputs(network, "float32")
    assert not np.array_equal(exact, blocked)
    np.testing.assert_allclose(blocked, exact, atol=1e-2)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="no blocked layout on this processor")
@pytest.mark.parametrize("network", [skip_connection, strided], ids=lambda network: network.__name__)
def test_layout_is_used(network: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = sessions.round_in_layout

    def noted(*arguments: Any) -> Any:
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr(sessions, "round_in_layout", noted)
    outputs(network, "float16")
    assert made
    assert all(made)


def test_split_concatenation_is_the_same_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    split = outputs(skip_connection, "float32")
    monkeypatch.setattr(sessions, "split_concatenations", lambda *_: None)
    whole = outputs(skip_connection, "float32")
    assert np.abs(whole).max() > 0.1
    np.testing.assert_allclose(split, whole, rtol=1e-5, atol=1e-6)
