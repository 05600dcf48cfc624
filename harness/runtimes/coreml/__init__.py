"""Core ML itself, on a Mac."""

from __future__ import annotations
