"""Which operations tests have executed with results other than zeros."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from harness.runtimes.portable import PortableModel
from harness.runtimes.portable.program import Block

EXECUTED: set[str] = set()


def operations(block: Block) -> Iterator[str]:
    for operation in block.operations:
        yield operation.type
        for inner in operation.blocks:
            yield from operations(inner)


def note(model: PortableModel, results: Iterable[Any]) -> None:
    """Remember the operations of ``model`` if any of its ``results`` is not all zeros."""
    if any(not isinstance(value, np.ndarray) or np.any(value != 0) for value in results):
        EXECUTED.update(operations(model.function.block))


def record_predictions() -> None:
    """Let every prediction of this process be noted."""
    predict = PortableModel.predict

    def noted(self: PortableModel, *args: Any, **kwargs: Any) -> dict[str, Any]:
        results = predict(self, *args, **kwargs)
        note(self, results.values())
        return results

    PortableModel.predict = noted  # type: ignore[method-assign]
