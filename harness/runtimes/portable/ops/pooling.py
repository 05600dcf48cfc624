"""Pools (coremltools ``iOS15/pool.py``)."""

from __future__ import annotations

from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.ops.convolution import padding
from harness.runtimes.portable.registry import lowers


@lowers("max_pool", moves=True)
def max_pool(
    x: Tensor,
    kernel_sizes: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Maximum over windows."""
    spatial = len(kernel_sizes)
    return op.MaxPool(
        x, kernel_shape=list(kernel_sizes), strides=list(strides or [1] * spatial),
        ceil_mode=int(ceil_mode), **padding(pad_type, pad, spatial),
    )  # fmt: skip
