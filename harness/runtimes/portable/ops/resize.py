"""Resizing (coremltools ``iOS15/image_resizing.py`` and its newer versions)."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.registry import lowers


@lowers("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: Any = 1.0,
    scale_factor_width: Any = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool = True,
) -> Tensor:
    """Bilinear by factors; half_pixel_centers counts where align_corners is false (iOS16)."""
    mode = "align_corners" if align_corners else "half_pixel" if half_pixel_centers else "asymmetric"
    scales = np.array([1] * (x.rank - 2) + [float(scale_factor_height), float(scale_factor_width)], np.float32)
    return op.Resize(x, None, scales, mode="linear", coordinate_transformation_mode=mode)
