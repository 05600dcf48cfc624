"""State buffers (coremltools ``iOS18/states.py``, ``coreml_dialect/ops.py``).

coremltools writes ``coreml_update_state`` to a package as ``write_state`` and ``read_state``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.runtimes.portable.registry import kernel
from harness.tensors import Array


@dataclass(frozen=True)
class StateBuffer:
    """One named buffer among those of a session. Neither reading nor writing shares memory with the caller."""

    buffers: dict[str, Array]
    name: str

    def read(self) -> Array:
        """A copy of what the buffer holds."""
        return self.buffers[self.name].copy()

    def write(self, data: Array) -> None:
        """Replace what the buffer holds by a copy of ``data``."""
        self.buffers[self.name] = np.array(data)


@kernel("read_state", moves=True)
def read_state(input: StateBuffer) -> Array:  # noqa: A002 (the operation's own name for it)
    """The buffer's present content."""
    return input.read()


@kernel("write_state")
def write_state(input: StateBuffer, data: Array) -> tuple[()]:  # noqa: A002
    """Replace the buffer's content; has no result."""
    input.write(data)
    return ()


@kernel("coreml_update_state", moves=True)
def coreml_update_state(state: StateBuffer, value: Array) -> Array:
    """Replace the buffer's content and return it."""
    state.write(value)
    return state.read()
