"""Which Mac the stand-in plays, and what goes wrong on it: an argument of ``install``, or one environment variable."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args

from harness.errors import HarnessError, UsageError
from harness.runtimes.coreml.devices import COMPUTE_UNITS, DeviceKind, devices_of
from harness.runtimes.portable.numerics import check_numerics

VARIABLE = "HARNESS_STAND_IN"
STAGES = ("compile", "load", "predict", "plan")
THERMAL_STATES = ("fair", "serious", "critical")
DTYPES = ("float64", "float16")

# Kinds of fault, and the stages at which they can be; see ``Fault``.
FAULTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("error", "sigsegv", "sigabrt", "sigkill", "hang", "slow", "memory"), STAGES),
    **dict.fromkeys(("wrong_dtype", "rgba", "key_order", "missing_output", "not_finite"), ("predict",)),
    **dict.fromkeys(("inexact", "unstable", "strict"), ("predict",)),
    **dict.fromkeys(("no_costs", "no_usage"), ("plan",)),
    "throttled": (),
}
# What a kind cannot do without, besides its stage.
_NEEDS = {
    "slow": "seconds",
    "memory": "bytes",
    "inexact": "size",
    "unstable": "size",
    "wrong_dtype": "dtype",
    "throttled": "readings",
}


@dataclass(frozen=True)
class Fault:
    """One failure that the stand-in plays.

    ``kind``
        ``error``: RuntimeError in Core ML's words, or ``message``; ``sigsegv``, ``sigabrt``, ``sigkill``: that
        signal; ``hang``: native code that never returns and holds the GIL; ``slow``: ``seconds`` longer;
        ``memory``: ``bytes`` more, for good.
        ``wrong_dtype``: float outputs of ``dtype``; ``rgba``: every image as RGBA, not opaque; ``key_order``:
        outputs in another order each time; ``missing_output``: without the last; ``not_finite``: a NaN in each;
        ``inexact``: ``size`` off, up and down in turns; ``unstable``: the same, other at each call.
        ``strict``: an error unless arrays are such as may be wrapped without a copy, and are kept alive.
        ``no_costs``, ``no_usage``: a compute plan that does not tell. ``throttled``: thermal ``state`` for so
        many ``readings``, counted in the file ``counter`` where several processes read.
    ``at``
        A stage; the only one of the kind if not given.
    ``units``
        The compute units that are concerned; all if not given. Compiling knows none and always is.
    ``after``
        So many calls of the stage go well first, in each process.
    """

    kind: str
    at: str = ""
    units: tuple[str, ...] = ()
    after: int = 0
    seconds: float = 0.0
    bytes: int = 0
    size: float = 0.0
    dtype: str = ""
    message: str = ""
    state: str = "serious"
    readings: int = 0
    counter: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        if self.kind not in FAULTS:
            raise UsageError("the stand-in plays no such fault", received=repr(self.kind), supported=FAULTS)
        stages = FAULTS[self.kind]
        if not self.at and len(stages) == 1:
            object.__setattr__(self, "at", stages[0])
        if self.at not in (stages or ("",)):
            received, supported = repr(self.at), stages or ["no stage"]
            raise UsageError(f"fault {self.kind!r} is not at that stage", received=received, supported=supported)
        for unit in self.units:
            if unit not in COMPUTE_UNITS:
                raise UsageError("there is no such compute unit", received=repr(unit), supported=COMPUTE_UNITS)
        for name, choices in (("dtype", ("", *DTYPES)), ("state", THERMAL_STATES)):
            if (value := getattr(self, name)) not in choices:
                raise UsageError(f"fault {self.kind!r} has no such {name}", received=repr(value), supported=choices)
        for name in ("after", "seconds", "bytes", "size", "readings"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} of fault {self.kind!r} is negative", received=getattr(self, name))
        if (needed := _NEEDS.get(self.kind)) and not getattr(self, needed):
            raise UsageError(f"fault {self.kind!r} needs {needed}")

    def concerns(self, unit: str) -> bool:
        """Whether a model on that compute unit is concerned."""
        return not self.units or unit in self.units


@dataclass(frozen=True)
class Machine:
    """``macos``: version; ``numerics``: of values that a program declares float16; ``devices``: of the Mac,
    the CPU among them. Raises UsageError or UnknownNameError for what the stand-in cannot be."""

    macos: tuple[int, int] = (15, 0)
    numerics: str = "float16"
    devices: tuple[DeviceKind, ...] = get_args(DeviceKind)
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.macos, tuple) or [type(part) for part in self.macos] != [int, int]:
            raise UsageError("a macOS version is two whole numbers", received=self.macos)
        check_numerics(self.numerics)
        known = get_args(DeviceKind)
        given = self.devices if isinstance(self.devices, tuple) else ()
        if "CPU" not in given or any(kind not in known for kind in given):
            raise UsageError(
                "a Mac has no such compute devices",
                received=self.devices,
                supported=f"CPU and any of {', '.join(known)}",
            )
        object.__setattr__(self, "devices", tuple(kind for kind in known if kind in self.devices))

    def devices_of(self, unit: str) -> tuple[DeviceKind, ...]:
        """What a compute unit uses of this Mac. A device that is not there is not missed: the CPU is."""
        return tuple(kind for kind in devices_of(unit) if kind in self.devices)

    def faults_at(self, stage: str, unit: str | None) -> tuple[Fault, ...]:
        """Faults of a stage for a compute unit (None: one that is not known yet)."""
        return tuple(fault for fault in self.faults if fault.at == stage and (unit is None or fault.concerns(unit)))

    def environment(self) -> dict[str, str]:
        """What tells a child process to play this machine, once it calls ``install_from_environment``."""
        value = dataclasses.asdict(self)
        value["faults"] = [
            {name: item for name, item in fault.items() if item != _DEFAULTS.get(name)} for fault in value["faults"]
        ]
        return {VARIABLE: json.dumps(value)}

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """The machine of the environment variable; raises UsageError where it is absent or wrong."""
        text = variables.get(VARIABLE)
        if text is None:
            raise UsageError(f"{VARIABLE} is not set", remedy="Set it to JSON, such as Machine.environment gives")
        try:
            return cls.from_json(json.loads(text))
        except ValueError as error:
            raise UsageError(f"{VARIABLE} is no JSON", received=error) from error
        except HarnessError as error:
            raise UsageError(f"{VARIABLE}: {error}") from error

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """From an object with any of the fields; raises UsageError."""
        fields = _fields_of(cls, value, "the stand-in's machine")
        faults = fields.get("faults", ())
        if not isinstance(faults, list | tuple):
            raise UsageError("faults are a list", received=repr(faults))
        fields["faults"] = tuple(Fault(**_fields_of(Fault, fault, "a fault")) for fault in faults)
        return cls(**fields)


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Fault)}


def _fields_of(kind: type, value: Any, what: str) -> dict[str, Any]:
    """The fields of a JSON object, lists as tuples; raises UsageError for others and for missing ones."""
    if not isinstance(value, dict):
        raise UsageError(f"{what} is an object", received=repr(value))
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise UsageError(f"{what} has no field {name!r}", supported=fields)
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in value:
            raise UsageError(f"{what} needs {name!r}", received=value)
    return {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}


def _check_types(fault: Fault) -> None:
    """JSON brings what it likes."""
    kinds: dict[str, tuple[type, ...]] = {"units": (tuple,), "seconds": (int, float), "size": (int, float)}
    for field in dataclasses.fields(fault):
        value = getattr(fault, field.name)
        expected = kinds.get(field.name, (int,) if field.name in ("after", "bytes", "readings") else (str,))
        if not isinstance(value, expected) or isinstance(value, bool):
            names = " or ".join(kind.__name__ for kind in expected)
            raise UsageError(f"{field.name} of a fault has the wrong type", received=repr(value), supported=names)
