"""ONNX to MIL."""

from __future__ import annotations
