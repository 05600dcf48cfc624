"""Values that are found once."""

from __future__ import annotations

from harness.frontends.onnx.registry import translates
from harness.frontends.sorting import unique

translates("Unique", since=11)(unique)
