"""Every MIL operation's implementation; importing this package fills the tables in registry.py."""

from __future__ import annotations

from harness.runtimes.portable.ops import (
    activations,
    classification,
    compression,
    convolution,
    elementwise,
    lists,
    movement,
    pooling,
    quantization,
    random,
    recurrent,
    resize,
    sorting,
    state,
)

__all__ = [
    "activations",
    "classification",
    "compression",
    "convolution",
    "elementwise",
    "lists",
    "movement",
    "pooling",
    "quantization",
    "random",
    "recurrent",
    "resize",
    "sorting",
    "state",
]
