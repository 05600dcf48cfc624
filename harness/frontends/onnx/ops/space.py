"""Channels to space and back."""

from __future__ import annotations

from harness.frontends.onnx.registry import translates
from harness.frontends.space import depth_to_space, space_to_depth

translates("DepthToSpace")(depth_to_space)
translates("SpaceToDepth")(space_to_depth)
