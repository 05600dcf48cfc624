"""What harness does not do, as data that the documentation, the command line and the tests read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["unsupported", "inexact", "unverified"]


@dataclass(frozen=True)
class Limitation:
    """``where``: a module of harness; ``what``: an op or feature; ``reason``: one a reader can check."""

    where: str
    what: str
    kind: Kind
    reason: str


LIMITATIONS: tuple[Limitation, ...] = (
    Limitation(
        "runtimes.portable",
        "float16 numerics",
        "inexact",
        "Apple publishes neither accumulation width nor rounding of its compute units: results are rounded to "
        "float16 after every op and accumulated in float32, which is one model of a device",
    ),
    Limitation(
        "runtimes.portable",
        "neuralnetwork",
        "unsupported",
        "the portable runtime executes ML Programs; .mlmodel files of the neuralnetwork kind run on a Mac only",
    ),
    Limitation(
        "runtimes.portable.ops",
        "_const_symbolic",
        "unsupported",
        "stands for a symbol inside coremltools' converter and is never written into a package: its backend "
        "(converters/mil/backend/mil/load.py) writes const only",
    ),
    Limitation(
        "runtimes.coreml",
        "every figure",
        "unverified",
        "no Mac was at hand when this was written: the macOS path is tested against a stand-in of coremltools' "
        "native module, and no latency or accuracy of a real device is claimed",
    ),
)


def limitations(where: str = "") -> tuple[Limitation, ...]:
    """All of a module and of those below it."""
    return tuple(item for item in LIMITATIONS if item.where.startswith(where))
