"""Routes from TensorFlow to Core ML."""

from __future__ import annotations
