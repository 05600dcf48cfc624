"""Every error harness raises on purpose.

HarnessError
├── UsageError              the command, the caller or the caller's file is wrong (exit 2)
│   ├── ModelFileError      a model file is missing, of another format, truncated or unsafe
│   ├── InputError          inputs do not fit the model: name, shape, type, mode, values
│   └── UnknownNameError    no such model, route, runtime, operator, ...
├── ConversionError         a route could not convert a model
│   └── UnsupportedError    ... because of a known Limitation
├── PackageError            a converted package is malformed
├── PredictionError         a runtime failed while it loaded or executed a valid model
├── StoreError              results or cache could not be read or written (exit 2)
└── InternalError           harness itself is at fault, neither the command nor the model
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# What Keras and others write around words for terminals.
_COLOURS = re.compile(r"\x1b\[[\d;]*m")


class HarnessError(Exception):
    """One clear sentence about what failed, and what to do about it.

    ``what`` names the op, node, model or file; the rest is added to the sentence where given.
    """

    def __init__(
        self,
        what: str,
        *,
        received: object = None,
        supported: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.received = received
        self.supported = supported
        self.remedy = remedy
        parts = [what.rstrip(".")]
        if received is not None:
            parts.append(f"received {received}")
        if supported is not None:
            parts.append(f"supported: {_listed(supported)}")
        sentence = "; ".join(parts) + "."
        if remedy:
            sentence += f" {remedy.rstrip('.')}."
        super().__init__(sentence)


def _listed(supported: object) -> str:
    if isinstance(supported, Iterable) and not isinstance(supported, str | bytes):
        return ", ".join(str(item) for item in supported)
    return str(supported)


class UsageError(HarnessError):
    """The command, the caller or the caller's file is wrong."""


class ModelFileError(UsageError):
    """A model file is missing, of another format, truncated or unsafe."""


class InputError(UsageError):
    """Inputs do not fit the model."""


class UnknownNameError(UsageError):
    """A name that harness does not know."""


class ConversionError(HarnessError):
    """A route could not convert a model."""


class UnsupportedError(ConversionError):
    """A known limitation stands in the way."""


class PackageError(HarnessError):
    """A converted package is malformed."""


class PredictionError(HarnessError):
    """A runtime failed while it loaded or executed a valid model."""


class StoreError(HarnessError):
    """Results or cache could not be read or written."""


class InternalError(HarnessError):
    """Harness itself is at fault: an exception that it does not raise on purpose, which is the ``__cause__``."""


def one_line(error: object, limit: int = 400) -> str:
    """The message of a library's error as one line of readable length, whatever lines it was in; its type if empty."""
    text = " ".join(_COLOURS.sub("", str(error)).split()).rstrip(" .:")
    if len(text) > limit:
        text = f"{text[:limit].rsplit(' ', 1)[0]} ..."
    return text or type(error).__name__
