"""The table of TFLite operators, by their builtin or custom names; ``since`` is the operator's version."""

from __future__ import annotations

from harness.frontends.dispatch import Translations

TRANSLATIONS = Translations()
translates = TRANSLATIONS.translates
