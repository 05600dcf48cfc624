"""Runtimes: what executes models, references and conversions alike."""

from __future__ import annotations
