"""Every MIL operation's implementation; importing this package fills the tables in registry.py."""

from __future__ import annotations

from harness.runtimes.portable.ops import (
    activations,
    classification,
    compression,
    convolution,
    elementwise,
    generation,
    indexing,
    lists,
    movement,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    resize,
    slicing,
    sorting,
    state,
)

__all__ = [
    "activations",
    "classification",
    "compression",
    "convolution",
    "elementwise",
    "generation",
    "indexing",
    "lists",
    "movement",
    "normalization",
    "pooling",
    "quantization",
    "random",
    "recurrent",
    "reduction",
    "resize",
    "slicing",
    "sorting",
    "state",
]
