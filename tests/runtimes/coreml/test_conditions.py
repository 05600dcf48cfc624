"""How the commands' outputs are read. The samples are from manual pages and documentation, not from a Mac."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from harness.runtimes.coreml import conditions
from harness.runtimes.coreml.conditions import Conditions, read_conditions
from harness.runtimes.coreml.sensors import LinuxSensors, Unreadable

# sw_vers(1); sysctl(8), "Determining system capabilities"; pmset(1); xcodebuild(1).
OUTPUTS: Mapping[tuple[str, ...], str] = {
    ("sw_vers",): "ProductName:\t\tmacOS\nProductVersion:\t\t14.5\nBuildVersion:\t\t23F79\n",
    ("sysctl", "machdep.cpu.brand_string"): "machdep.cpu.brand_string: Apple M1\n",
    ("sysctl", "hw.perflevel0.physicalcpu"): "hw.perflevel0.physicalcpu: 4\n",
    ("sysctl", "hw.perflevel1.physicalcpu"): "hw.perflevel1.physicalcpu: 2\n",
    ("sysctl", "hw.memsize"): "hw.memsize: 17179869184\n",
    ("xcodebuild", "-version"): "Xcode 15.4\nBuild version 15F31d\n",
    ("pmset", "-g", "batt"): "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=4653155)\t95%; discharging;\n",
}


class Mac:
    system = "macOS"

    def __init__(self, **other: Any) -> None:
        self.outputs: dict[tuple[str, ...], str] = {**OUTPUTS, **other.pop("outputs", {})}
        self.numbers = {"thermalState": 2, "isLowPowerModeEnabled": 1} | other
        self.asked: list[str] = []

    def run(self, *command: str) -> str:
        self.asked.append(command[0])
        if command not in self.outputs:
            raise Unreadable(f"{command[0]}: not there")
        return self.outputs[command]

    def process_info(self, selector: str) -> int:
        return self.numbers[selector]

    def fact(self, name: str) -> str:
        raise AssertionError(name)


@pytest.fixture
def sensed() -> Iterator[Any]:
    yield conditions.set_sensors
    conditions.set_sensors(None)


def test_a_mac(sensed: Any) -> None:
    sensed(Mac())
    found = read_conditions()
    said = {name: value for name, value in dataclasses.asdict(found).items() if name not in ("time", "load_average")}
    assert said == {
        "system": "macOS", "os_version": "14.5", "os_build": "23F79", "chip": "Apple M1",
        "performance_cores": 4, "efficiency_cores": 2, "memory_bytes": 2**34, "xcode_version": "15.4 (15F31d)",
        "coremltools_version": said["coremltools_version"], "thermal_state": "serious", "low_power_mode": True,
        "power_source": "battery", "reasons": {},
    }  # fmt: skip
    assert found.is_throttled is True


@pytest.mark.parametrize(
    ("command", "output", "field", "reason"),
    [
        (("sw_vers",), "", "os_build", "sw_vers does not tell BuildVersion"),
        (("sysctl", "hw.perflevel1.physicalcpu"), "", "efficiency_cores", "does not tell hw.perflevel1"),
        (("sysctl", "hw.memsize"), "hw.memsize: many\n", "memory_bytes", "is 'many'"),
        (
            ("xcodebuild", "-version"),
            "xcode-select: error: requires Xcode",
            "xcode_version",
            "xcodebuild -version said",
        ),
        (("pmset", "-g", "batt"), "Now drawing from 'Steam'\n", "power_source", "said .*Steam"),
    ],
)
def test_what_is_not_told(sensed: Any, command: tuple[str, ...], output: str, field: str, reason: str) -> None:
    sensed(Mac(outputs={command: output}))
    found = read_conditions()
    assert getattr(found, field) is None
    assert re.search(reason, found.reasons[field])


@pytest.mark.parametrize(
    ("text", "source"),
    [("AC Power", "AC"), ("Battery Power", "battery"), ("UPS Power", "UPS")],
)
def test_power_sources(text: str, source: str) -> None:
    assert conditions.parse_power_source(f"Now drawing from '{text}'\n") == source


@pytest.mark.parametrize(
    ("number", "state", "throttled"),
    [(0, "nominal", False), (1, "fair", False), (2, "serious", True), (3, "critical", True)],
)
def test_thermal_states(sensed: Any, number: int, state: str, throttled: bool) -> None:
    sensed(Mac(thermalState=number))
    found = read_conditions()
    assert (found.thermal_state, found.is_throttled) == (state, throttled)


def test_a_thermal_state_that_apple_has_not_yet(sensed: Any) -> None:
    sensed(Mac(thermalState=4))
    found = read_conditions()
    assert (found.thermal_state, found.is_throttled) == (None, None)
    assert "is 4" in found.reasons["thermal_state"]


def test_what_cannot_change_is_read_once(sensed: Any) -> None:
    mac = Mac()
    sensed(mac)
    read_conditions()
    mac.asked.clear()
    read_conditions()
    assert mac.asked == ["pmset"]


def test_round_trip(sensed: Any) -> None:
    for sensors in (Mac(), LinuxSensors()):
        sensed(sensors)
        found = read_conditions()
        assert Conditions.from_json(json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(ValueError, match="version 2"):
        Conditions.from_json(found.to_json() | {"version": 2})


def test_whatever_is_none_has_a_reason(sensed: Any) -> None:
    """On this machine, whichever it is."""
    sensed(None)
    found = read_conditions()
    nothing = {name for name, value in dataclasses.asdict(found).items() if value is None}
    assert nothing == set(found.reasons)
    assert all(found.reasons.values())
