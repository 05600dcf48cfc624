"""Resizing: rows and columns picked (nearest), or MIL's bilinear resize where it computes the same (linear)."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.onnx.registry import translates

# MIL's names of the coordinates that ONNX calls so.
_SAMPLING = {
    "half_pixel": "UNALIGN_CORNERS", "align_corners": "STRICT_ALIGN_CORNERS", "asymmetric": "DEFAULT",
}  # fmt: skip


def _positions(old: int, new: int, scale: float, mode: str) -> Array:
    """Where each output lies in the input (ONNX, Resize, coordinate_transformation_mode)."""
    index = np.arange(new, dtype=np.float64)
    if mode == "asymmetric":
        return index / scale
    if mode == "align_corners":
        return index * (old - 1) / (new - 1) if new > 1 else np.zeros(1)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and new > 1):
        return (index + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return np.zeros(1)
    if mode == "half_pixel_symmetric":
        adjustment = new / (scale * old)
        centre = old / 2
        return centre * (1 - adjustment) + (index + 0.5) / scale - 0.5
    raise UnsupportedError("this coordinate transformation is not translated", received=mode)


_NEAREST: dict[str, Any] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _resized(x: Var, sizes: list[int], scales: list[float], mode: str, coordinates: str, nearest: str) -> Var:
    given = [int(size) for size in x.shape]
    changed = [
        axis for axis, (old, new) in enumerate(zip(given, sizes, strict=True)) if old != new or scales[axis] != 1
    ]
    if not changed:
        return x
    if mode == "nearest":
        factors = [sizes[axis] / given[axis] for axis in (-2, -1)]
        rows = {}
        for axis in changed:
            where = _positions(given[axis], sizes[axis], scales[axis], coordinates)
            rows[axis] = np.clip(_NEAREST[nearest](where), 0, given[axis] - 1).astype(np.int32)
        whole = len(given) == 4 and min(changed) >= 2 and all(factor == int(factor) for factor in factors)
        if whole and all(
            np.array_equal(row, np.arange(sizes[axis]) // (sizes[axis] // given[axis])) for axis, row in rows.items()
        ):
            return mb.upsample_nearest_neighbor(
                x=x, scale_factor_height=float(factors[0]), scale_factor_width=float(factors[1])
            )
        for axis, row in rows.items():
            x = mb.gather(x=x, indices=row, axis=axis)
        return x
    if mode != "linear":
        raise UnsupportedError("this mode of resizing is not translated", received=mode, supported="nearest, linear")
    exact = all(abs(sizes[axis] - given[axis] * scales[axis]) < 1e-6 for axis in changed)
    if coordinates == "pytorch_half_pixel" and min(sizes[-2:]) > 1:
        coordinates = "half_pixel"
    if len(given) != 4 or min(changed) < 2 or coordinates not in _SAMPLING or not exact:
        raise UnsupportedError(
            "this linear resizing is not translated",
            received=f"{given} to {sizes}, {coordinates}",
            supported=f"images (N, C, H, W) by whole sizes, {', '.join(_SAMPLING)}",
        )
    return mb.resize_bilinear(
        x=x, target_size_height=sizes[2], target_size_width=sizes[3], sampling_mode=_SAMPLING[coordinates]
    )


@translates("Resize", since=11)
def resize(
    x: Var,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    *,
    antialias: int = 0,
    axes: tuple[int, ...] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Var:
    """To sizes, or by scales, of the named axes."""
    if antialias and mode != "nearest":
        raise UnsupportedError("antialiasing is not translated", received="antialias=1")
    if keep_aspect_ratio_policy != "stretch":
        raise UnsupportedError("keeping the aspect ratio is not translated", received=keep_aspect_ratio_policy)
    given = [int(size) for size in x.shape]
    chosen = [axis % len(given) for axis in axes] if axes is not None else list(range(len(given)))
    new, factors = list(given), [1.0] * len(given)
    if sizes is not None and sizes.size:
        for axis, size in zip(chosen, sizes.tolist(), strict=True):
            new[axis], factors[axis] = int(size), size / given[axis]
    elif scales is not None and scales.size:
        for axis, factor in zip(chosen, scales.tolist(), strict=True):
            new[axis], factors[axis] = int(np.floor(given[axis] * factor)), float(factor)
    return _resized(x, new, factors, mode, coordinate_transformation_mode, nearest_mode)


@translates("Resize", since=10)
@translates("Upsample", since=9)
def resize_by_scales(x: Var, scales: Array, *, mode: str = "nearest") -> Var:
    """Asymmetric coordinates, rounded down."""
    given = [int(size) for size in x.shape]
    factors = [float(factor) for factor in scales.reshape(-1)]
    new = [int(np.floor(size * factor)) for size, factor in zip(given, factors, strict=True)]
    return _resized(x, new, factors, mode, "asymmetric", "floor")
