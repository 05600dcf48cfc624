"""What the values of a program are called: by the file's tensors, as shortly as they can be told apart.

A package holds a value's name twice, and again wherever it is read; a small quantised model is half names.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from harness.frontends.tflite.graph import Subgraph


def labels_of(subgraph: Subgraph) -> list[str]:
    """A label for each tensor, all different: of names that TFLiteConverter joined (``a;b``) the first that is no other
    tensor's, without the scopes that all names share."""
    joined = [[part for part in tensor.name.split(";") if part] for tensor in subgraph.tensors]
    scope = _shared_scope([part for parts in joined for part in parts])
    labels: list[str] = []
    taken: set[str] = set()
    for tensor, parts in zip(subgraph.tensors, joined, strict=True):
        short = [part.removeprefix(scope) for part in parts] or ["tensor"]
        label = next((part for part in short if part not in taken), f"{short[0]}_{tensor.index}")
        while label in taken:
            label += "_"
        taken.add(label)
        labels.append(label)
    return labels


def _shared_scope(names: Sequence[str]) -> str:
    """``unet/`` of ``unet/conv/weight`` and ``unet/conv/bias``; names without any scope do not count."""
    scopes = [name.split("/")[:-1] for name in names if "/" in name]
    levels = zip(*scopes, strict=False)
    return "".join(f"{level[0]}/" for level in takewhile(lambda level: len(set(level)) == 1, levels))
