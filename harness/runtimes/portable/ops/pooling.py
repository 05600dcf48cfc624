"""Pools (coremltools ``iOS15/pool.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import PredictionError
from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.ops.convolution import window_padding
from harness.runtimes.portable.registry import lowers


def _attributes(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...] | None,
    pad_type: str,
    pad: tuple[int, ...] | None,
    ceil_mode: bool,
    padded_with: float,
) -> tuple[Tensor, dict[str, Any]]:
    """``x`` and ONNX's attributes. ONNX wants pads below the kernel's size: others are made beforehand."""
    spatial = len(kernel_sizes)
    steps = list(strides) if strides else [1] * spatial
    x, padding = window_padding(x, pad_type, pad, kernel_sizes, steps, [1] * spatial)
    pads = padding.get("pads")
    if isinstance(pads, list) and any(a >= b for a, b in zip(pads, kernel_sizes * 2, strict=True)):
        if ceil_mode:
            raise PredictionError("ceil_mode with padding as wide as the window", received=f"pad {pads}")
        amounts = [0, 0, *pads[:spatial], 0, 0, *pads[spatial:]]
        x, padding = op.Pad(x, amounts, np.array(padded_with, np.float32)), {"pads": [0] * (2 * spatial)}
    if ceil_mode:
        _check_last_window(x, kernel_sizes, steps, pads if isinstance(pads, list) else [])
    return x, {
        "kernel_shape": list(kernel_sizes), "strides": steps, "ceil_mode": int(ceil_mode), **padding
    }  # fmt: skip


def _check_last_window(x: Tensor, kernel: tuple[int, ...], strides: list[int], pads: list[int]) -> None:
    """MIL rounds up to a window that holds no element where nothing is padded; its value is nowhere defined."""
    sizes = x.shape[2:] if x.shape is not None else ()
    for size, length, step in zip(sizes, kernel, strides, strict=False):
        if size is not None and not any(pads) and -(-(size - length) // step) * step >= size:
            raise PredictionError(
                "ceil_mode asks for a window beyond the input",
                received=f"size {size}, kernel {length}, stride {step}",
                remedy="Set ceil_mode to false",
            )


@lowers("max_pool", moves=True)
def max_pool(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Maximum over windows of ``x`` (N, C, *D)."""
    x, attributes = _attributes(x, kernel_sizes, strides, pad_type, pad, ceil_mode, -np.inf)
    result: Tensor = op.MaxPool(x, **attributes)
    return result


@lowers("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """Mean over windows of ``x`` (N, C, *D), zeros of the padding included unless excluded.

    What ``ceil_mode`` adds beyond the padding is never counted (as in PyTorch).
    """
    x_padded, attributes = _attributes(x, kernel_sizes, strides, pad_type, pad, ceil_mode, 0.0)
    counted = int(not exclude_padding_from_average)
    result: Tensor = op.AveragePool(x_padded, count_include_pad=counted, **attributes)
    if x_padded is x or not exclude_padding_from_average:
        return result
    # Padded beforehand: divide by the share of each window that is not padding.
    ones = op.Expand(np.ones(1, np.float32), op.Shape(x))
    share, attributes = _attributes(ones, kernel_sizes, strides, pad_type, pad, ceil_mode, 0.0)
    divided: Tensor = op.Div(result, op.AveragePool(share, count_include_pad=0, **attributes))
    return divided


@lowers("l2_pool")
def l2_pool(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Square root of the sum of squares over windows of ``x`` (N, C, *D)."""
    x, attributes = _attributes(x, kernel_sizes, strides, pad_type, pad, ceil_mode, 0.0)
    result: Tensor = op.LpPool(x, p=2, **attributes)
    return result
