"""Channels to space and back, channels first."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Var


def _is_float(x: Var) -> bool:
    return dtype_of(x) in ("fp32", "fp16")


def _sizes(x: Var) -> list[int]:
    if not all(isinstance(size, int | np.integer) for size in x.shape):
        raise UnsupportedError("integers of flexible size", supported="floats")
    return [int(size) for size in x.shape]


def depth_to_space(x: Var, *, blocksize: int, mode: str = "DCR") -> Var:
    """Space from channels; ONNX DCR is MIL's own order, CRD is pixel_shuffle."""
    if mode not in ("DCR", "CRD"):
        raise UnsupportedError("unknown mode", received=mode, supported=["DCR", "CRD"])
    if _is_float(x):
        if mode == "CRD":
            return mb.pixel_shuffle(x=x, upscale_factor=blocksize)
        return mb.depth_to_space(x=x, block_size=blocksize)
    batch, channels, height, width = _sizes(x)
    rest = channels // blocksize**2
    split = [rest, blocksize, blocksize] if mode == "CRD" else [blocksize, blocksize, rest]
    parted = mb.reshape(x=x, shape=[batch, *split, height, width])
    order = [0, 1, 4, 2, 5, 3] if mode == "CRD" else [0, 3, 4, 1, 5, 2]
    moved = mb.transpose(x=parted, perm=order)
    return mb.reshape(x=moved, shape=[batch, rest, height * blocksize, width * blocksize])


def space_to_depth(x: Var, *, blocksize: int, mode: str = "DCR") -> Var:
    """Channels from space, in MIL's own order."""
    if mode not in ("DCR", "CRD"):
        raise UnsupportedError("unknown mode", received=mode, supported=["DCR", "CRD"])
    if _is_float(x):
        if mode == "CRD":
            return mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(blocksize))
        return mb.space_to_depth(x=x, block_size=blocksize)
    batch, channels, height, width = _sizes(x)
    parted = mb.reshape(x=x, shape=[batch, channels, height // blocksize, blocksize, width // blocksize, blocksize])
    moved = mb.transpose(x=parted, perm=[0, 1, 3, 5, 2, 4] if mode == "CRD" else [0, 3, 5, 1, 2, 4])
    return mb.reshape(x=moved, shape=[batch, channels * blocksize**2, height // blocksize, width // blocksize])
