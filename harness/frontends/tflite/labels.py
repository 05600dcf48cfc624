"""What the values of a program are called: by the file's tensors, as shortly as they can be told apart.

A package holds a value's name twice, and again wherever it is read; a small quantised model is half names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from harness.frontends.tflite.graph import Subgraph


def labels_of(subgraph: Subgraph) -> list[str]:
    """A label for each tensor, all different: of names that TFLiteConverter joined (``a;b``) the first that is no other
    tensor's, without the scopes that it takes not to tell it apart."""
    joined = [[part for part in tensor.name.split(";") if part] for tensor in subgraph.tensors]
    owners: dict[str, set[int]] = {}
    for index, parts in enumerate(joined):
        for ending in (ending for part in parts for ending in _endings(part)):
            owners.setdefault(ending, set()).add(index)
    scope = _shared_scope([part for parts in joined for part in parts])
    labels: list[str] = []
    taken: set[str] = set()
    for index, parts in enumerate(joined):
        own = (ending for part in parts for ending in _endings(part) if len(owners[ending]) == 1)
        short = [part.removeprefix(scope) for part in parts] or ["tensor"]
        label = next((each for each in (*own, *short) if each not in taken), f"{short[0]}_{index}")
        while label in taken:
            label += "_"
        taken.add(label)
        labels.append(label)
    return labels


def _endings(name: str) -> Iterator[str]:
    """``c``, ``b/c`` and ``a/b/c`` of ``a/b/c``; none that is a number."""
    scopes = name.split("/")
    endings = ("/".join(scopes[place:]) for place in reversed(range(len(scopes))))
    return (ending for ending in endings if not ending.isdecimal())


def _shared_scope(names: Sequence[str]) -> str:
    """``unet/`` of ``unet/conv/weight`` and ``unet/conv/bias``; names without any scope do not count."""
    scopes = [name.split("/")[:-1] for name in names if "/" in name]
    levels = zip(*scopes, strict=False)
    return "".join(f"{level[0]}/" for level in takewhile(lambda level: len(set(level)) == 1, levels))
