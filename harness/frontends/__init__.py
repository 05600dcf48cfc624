"""Graphs of other frameworks to MIL programs: one package for each format."""

from __future__ import annotations
