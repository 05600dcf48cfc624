"""Executes converted Core ML programs on any machine.

model = portable.load("unet.mlpackage", numerics="float16")
outputs = model.predict({"image": array})
"""

from __future__ import annotations

from harness.runtimes.portable.model import PortableModel, State, load, load_spec

__all__ = ["PortableModel", "State", "load", "load_spec"]
