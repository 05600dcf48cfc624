"""The readings of the Mac that is played, in the commands' own format."""

from __future__ import annotations

from harness.runtimes.coreml.conditions import ThermalState
from harness.runtimes.coreml.sensors import Unreadable
from harness.runtimes.portable.stand_in.playing import player

CHIP = "Apple M0 (stand-in)"
_THERMAL_STATES: tuple[ThermalState, ...] = ("nominal", "fair", "serious", "critical")
_SYSCTL = {
    "machdep.cpu.brand_string": CHIP,
    "hw.perflevel0.physicalcpu": "4",
    "hw.perflevel1.physicalcpu": "4",
    "hw.memsize": str(8 * 2**30),
}


class StandInSensors:
    """See Sensors; the versions are such as no system has."""

    system = "macOS"

    def run(self, *command: str) -> str:
        """See Sensors."""
        match command:
            case ("sw_vers",):
                major, minor = player().machine.macos
                return f"ProductName:\t\tmacOS\nProductVersion:\t\t{major}.{minor}\nBuildVersion:\t\t0A000\n"
            case ("sysctl", name) if name in _SYSCTL:
                return f"{name}: {_SYSCTL[name]}\n"
            case ("pmset", "-g", "batt"):
                return "Now drawing from 'AC Power'\n"
            case ("xcodebuild", "-version"):
                return "Xcode 0.0\nBuild version 0A000\n"
        raise Unreadable(f"the stand-in does not play {' '.join(command)}")

    def process_info(self, selector: str) -> int:
        """See Sensors."""
        if selector == "thermalState":
            return [*_THERMAL_STATES].index(player().thermal_state())  # type: ignore[arg-type]
        return 0

    def fact(self, name: str) -> str:
        """None: a Mac's readings have commands."""
        raise Unreadable(f"{name} is not read so on a Mac")
