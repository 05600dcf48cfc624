"""Every MIL operation's implementation; importing this package fills the tables in registry.py."""

from __future__ import annotations

from harness.runtimes.portable.ops import activations, convolution, elementwise, movement, pooling, resize

__all__ = ["activations", "convolution", "elementwise", "movement", "pooling", "resize"]
