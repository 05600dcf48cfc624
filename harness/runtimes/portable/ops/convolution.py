"""Convolutions (coremltools ``iOS15/conv.py``, ``iOS17/conv.py``)."""

from __future__ import annotations

from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.registry import lowers


def padding(pad_type: str, pad: tuple[int, ...] | None, spatial: int) -> dict[str, object]:
    """ONNX attributes for MIL's ``pad_type`` and ``pad`` (begin and end of each axis in turn)."""
    if pad_type == "same":
        return {"auto_pad": "SAME_UPPER"}
    if pad_type == "same_lower":
        return {"auto_pad": "SAME_LOWER"}
    if pad_type == "valid" or pad is None:
        return {"pads": [0] * (2 * spatial)}
    return {"pads": [*pad[0::2], *pad[1::2]]}


@lowers("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: tuple[int, ...] | None = None,
    pad_type: str = "valid",
    pad: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Tensor:
    """N-d convolution, weight (C_out, C_in / groups, *kernel)."""
    spatial = x.rank - 2
    return op.Conv(
        x, weight, bias, strides=list(strides or [1] * spatial), dilations=list(dilations or [1] * spatial),
        group=groups, **padding(pad_type, pad, spatial),
    )  # fmt: skip
