"""The conditions a figure was measured in: system, chip, heat, power, load.

A reading that fails is None with a reason, never a guess. How each command's output is read is a pure function;
the outputs are those of Apple's manual pages and documentation, and were not seen on a Mac by us.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args

from harness.runtimes.coreml.sensors import Sensors, Unreadable, default_sensors

VERSION = 1

ThermalState = Literal["nominal", "fair", "serious", "critical"]
PowerSource = Literal["AC", "battery", "UPS"]

# pmset(1), -g batt.
_POWER_SOURCES: dict[str, PowerSource] = {"AC Power": "AC", "Battery Power": "battery", "UPS Power": "UPS"}


@dataclass(frozen=True)
class Conditions:
    """``time`` is UTC, ``memory_bytes`` what the machine has, ``load_average`` over 1, 5 and 15 minutes.
    ``reasons`` says of each field that is None why."""

    time: str
    system: str
    os_version: str | None = None
    os_build: str | None = None
    chip: str | None = None
    performance_cores: int | None = None
    efficiency_cores: int | None = None
    memory_bytes: int | None = None
    xcode_version: str | None = None
    coremltools_version: str | None = None
    thermal_state: ThermalState | None = None
    low_power_mode: bool | None = None
    power_source: PowerSource | None = None
    load_average: tuple[float, float, float] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_throttled(self) -> bool | None:
        """Whether the system slows down because of heat: thermal state serious or critical (Apple's
        ``ProcessInfo.ThermalState``). None where it is not known."""
        return None if self.thermal_state is None else self.thermal_state in ("serious", "critical")

    def to_json(self) -> dict[str, Any]:
        """For records; see from_json."""
        return {"version": VERSION, **dataclasses.asdict(self), "reasons": dict(self.reasons)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote; ValueError for another version."""
        if value.get("version") != VERSION:
            raise ValueError(f"conditions of version {value.get('version')}, not {VERSION}")
        known = {item.name for item in dataclasses.fields(cls)}
        fields = {name: item for name, item in value.items() if name in known}
        if fields.get("load_average") is not None:
            fields["load_average"] = tuple(fields["load_average"])
        return cls(**fields)


_sensors: Sensors | None = None
_constant: dict[str, Any] = {}


def set_sensors(sensors: Sensors | None) -> None:
    """What conditions are read from, from now on; this machine's own if None."""
    global _sensors
    _sensors = sensors
    _constant.clear()


def read_conditions() -> Conditions:
    """How this machine is now. Cheap enough for before and after every cell: what cannot change is read once
    in a process, the rest costs one command on a Mac and none elsewhere."""
    sensors = _sensors or default_sensors()
    if not _constant:
        _constant.update(_read(_CONSTANT, sensors))
    found = _constant | _read(_CHANGING, sensors)
    values = {name: value for name, value in found.items() if not isinstance(value, Unreadable)}
    reasons = {name: str(value) for name, value in found.items() if isinstance(value, Unreadable)}
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return Conditions(time=time, system=sensors.system, reasons=reasons, **values)


def _read(readings: Mapping[str, Callable[[Sensors], Any]], sensors: Sensors) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, reading in readings.items():
        try:
            found[name] = reading(sensors)
        except Unreadable as reason:
            found[name] = reason
    return found


# What the commands say --------------------------------------------------------------------------


def parse_lines(text: str) -> dict[str, str]:
    """``name: value`` lines, as sw_vers and sysctl print them."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, separator, value in pairs if separator}


def parse_xcode(text: str) -> str:
    """``16.0 (16A242d)`` of ``xcodebuild -version``."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].startswith("Xcode "):
        raise Unreadable(f"xcodebuild -version said {text[:80]!r}")
    build = next((line.removeprefix("Build version ") for line in lines if line.startswith("Build version ")), "")
    version = lines[0].removeprefix("Xcode ")
    return f"{version} ({build})" if build else version


def parse_power_source(text: str) -> PowerSource:
    """Of ``pmset -g batt``, whose first line is ``Now drawing from 'AC Power'``."""
    for said, source in _POWER_SOURCES.items():
        if f"'{said}'" in text.partition("\n")[0]:
            return source
    raise Unreadable(f"pmset -g batt said {text[:80]!r}")


def parse_thermal_state(value: int) -> ThermalState:
    """``NSProcessInfoThermalState``: 0 to 3."""
    states: tuple[ThermalState, ...] = get_args(ThermalState)
    if not 0 <= value < len(states):
        raise Unreadable(f"NSProcessInfo.thermalState is {value}")
    return states[value]


def _value(lines: Mapping[str, str], name: str, command: str) -> str:
    if not lines.get(name):
        raise Unreadable(f"{command} does not tell {name}")
    return lines[name]


def _count(lines: Mapping[str, str], name: str, command: str) -> int:
    value = _value(lines, name, command)
    if not value.isdigit():
        raise Unreadable(f"{command} says {name} is {value!r}")
    return int(value)


def _sw_vers(name: str) -> Callable[[Sensors], str]:
    return lambda sensors: _value(parse_lines(sensors.run("sw_vers")), name, "sw_vers")


def _sysctl(name: str) -> Callable[[Sensors], int]:
    return lambda sensors: _count(parse_lines(sensors.run("sysctl", name)), name, "sysctl")


def _only_on_macos(reading: Callable[[Sensors], Any], elsewhere: Callable[[Sensors], Any]) -> Callable[[Sensors], Any]:
    return lambda sensors: (reading if sensors.system == "macOS" else elsewhere)(sensors)


def _untold(what: str) -> Callable[[Sensors], Any]:
    def reading(sensors: Sensors) -> Any:
        raise Unreadable(f"{what} is read on macOS only")

    return reading


def _xcode(sensors: Sensors) -> str:
    return parse_xcode(sensors.run("xcodebuild", "-version"))


def _coremltools(sensors: Sensors) -> str:
    try:
        return importlib.metadata.version("coremltools")
    except importlib.metadata.PackageNotFoundError as error:
        raise Unreadable("coremltools is not installed") from error


def _load_average(sensors: Sensors) -> tuple[float, float, float]:
    try:
        return os.getloadavg()
    except OSError as error:
        raise Unreadable(f"getloadavg: {error}") from error


_CHIP = "machdep.cpu.brand_string"

_CONSTANT: dict[str, Callable[[Sensors], Any]] = {
    "os_version": _only_on_macos(_sw_vers("ProductVersion"), lambda sensors: sensors.fact("os_version")),
    "os_build": _only_on_macos(_sw_vers("BuildVersion"), lambda sensors: sensors.fact("os_build")),
    "chip": _only_on_macos(
        lambda sensors: _value(parse_lines(sensors.run("sysctl", _CHIP)), _CHIP, "sysctl"),
        lambda sensors: sensors.fact("chip"),
    ),
    # perflevel0 is the fastest kind of core: developer.apple.com, "Determining system capabilities".
    "performance_cores": _only_on_macos(_sysctl("hw.perflevel0.physicalcpu"), _untold("the kind of cores")),
    "efficiency_cores": _only_on_macos(_sysctl("hw.perflevel1.physicalcpu"), _untold("the kind of cores")),
    "memory_bytes": _only_on_macos(_sysctl("hw.memsize"), lambda sensors: int(sensors.fact("memory_bytes"))),
    "xcode_version": _only_on_macos(_xcode, _untold("Xcode")),
    "coremltools_version": _coremltools,
}  # fmt: skip
_CHANGING: dict[str, Callable[[Sensors], Any]] = {
    "thermal_state": _only_on_macos(
        lambda sensors: parse_thermal_state(sensors.process_info("thermalState")), _untold("the thermal state")
    ),
    "low_power_mode": _only_on_macos(
        lambda sensors: bool(sensors.process_info("isLowPowerModeEnabled")), _untold("low-power mode")
    ),
    "power_source": _only_on_macos(
        lambda sensors: parse_power_source(sensors.run("pmset", "-g", "batt")),
        lambda sensors: sensors.fact("power_source"),
    ),
    "load_average": _load_average,
}
