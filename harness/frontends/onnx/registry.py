"""The table of ONNX operators. ``since`` is the opset; operators of other domains are named ``domain::Operator``."""

from __future__ import annotations

from harness.frontends.dispatch import Translations

TRANSLATIONS = Translations()
translates = TRANSLATIONS.translates
