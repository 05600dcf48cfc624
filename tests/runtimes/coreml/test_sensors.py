"""Commands that fail, files of Linux, and calls of the Objective-C runtime against one that is made here."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.runtimes.coreml import sensors
from harness.runtimes.coreml.sensors import LinuxSensors, MacSensors, Unreadable, objective_c_number


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("no-such-command",), "no-such-command: No such file"),
        ((sys.executable, "-c", "import sys; sys.exit('xcode-select: error: no Xcode')"), "status 1: xcode-select"),
        ((sys.executable, "-c", "import sys; sys.exit(3)"), "status 3: no message"),
    ],
)
def test_commands_that_fail(command: tuple[str, ...], said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        MacSensors().run(*command)


def test_a_command_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "_SECONDS", 0.2)
    with pytest.raises(Unreadable, match="had not ended"):
        MacSensors().run(sys.executable, "-c", "import time; time.sleep(60)")


def test_a_command_that_works() -> None:
    assert MacSensors().run(sys.executable, "-c", "print('said')") == "said\n"


@pytest.mark.skipif(sys.platform == "darwin", reason="Foundation is there")
def test_there_is_no_foundation_here() -> None:
    with pytest.raises(Unreadable, match="NSProcessInfo"):
        MacSensors().process_info("thermalState")


class Runtime:
    """``libobjc`` with one class, one instance and two methods; selectors are numbers of their names."""

    INSTANCE = 4242

    def __init__(self, known: dict[str, int], has_class: bool = True) -> None:
        names: list[bytes] = [b""]
        pointer = ctypes.c_void_p

        def register(name: bytes) -> int:
            if name not in names:
                names.append(name)
            return names.index(name)

        def send(receiver: int, selector: int, argument: int | None) -> int:
            name = names[selector].decode()
            if (receiver, name) == (1, "processInfo"):
                return self.INSTANCE
            if receiver == self.INSTANCE and name == "respondsToSelector:":
                return int(names[argument or 0].decode() in known)
            assert receiver == self.INSTANCE
            return known[name]

        self.objc_getClass = ctypes.CFUNCTYPE(pointer, ctypes.c_char_p)(lambda name: int(has_class))
        self.sel_registerName = ctypes.CFUNCTYPE(pointer, ctypes.c_char_p)(register)
        self.objc_msgSend = ctypes.CFUNCTYPE(ctypes.c_long, pointer, pointer, pointer)(send)


def asked(runtime: Any, selector: str) -> int:
    return objective_c_number(runtime, "NSProcessInfo", "processInfo", selector)


def test_objective_c() -> None:
    runtime = Runtime({"thermalState": 2, "isLowPowerModeEnabled": 1})
    assert asked(runtime, "thermalState") == 2
    assert asked(runtime, "isLowPowerModeEnabled") == 1


def test_objective_c_without_the_method_or_class() -> None:
    with pytest.raises(Unreadable, match="has no isLowPowerModeEnabled"):
        asked(Runtime({"thermalState": 2}), "isLowPowerModeEnabled")
    with pytest.raises(Unreadable, match=r"no NSProcessInfo\.processInfo"):
        asked(Runtime({}, has_class=False), "thermalState")


@pytest.mark.parametrize(
    ("supplies", "source"),
    [
        ({"AC": ("Mains", "1"), "BAT0": ("Battery", None)}, "AC"),
        ({"AC": ("Mains", "0"), "BAT0": ("Battery", None)}, "battery"),
        ({"BAT0": ("Battery", None)}, "battery"),
        ({"AC": ("Mains", "0")}, None),
        ({}, None),
    ],
)
def test_power_of_linux(tmp_path: Path, supplies: dict[str, tuple[str, str | None]], source: str | None) -> None:
    for name, (kind, online) in supplies.items():
        folder = tmp_path / "sys/class/power_supply" / name
        folder.mkdir(parents=True)
        (folder / "type").write_text(kind + "\n")
        if online is not None:
            (folder / "online").write_text(online + "\n")
    if source is not None:
        assert LinuxSensors(tmp_path).fact("power_source") == source
    else:
        with pytest.raises(Unreadable, match="power"):
            LinuxSensors(tmp_path).fact("power_source")


def test_version_of_linux(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc/os-release"
    with pytest.raises(Unreadable, match="os-release"):
        LinuxSensors(tmp_path).fact("os_version")
    path.write_text('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    assert LinuxSensors(tmp_path).fact("os_version") == "Debian GNU/Linux 12"
