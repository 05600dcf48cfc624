"""What conditions are read from: commands and ``NSProcessInfo`` on a Mac, files elsewhere."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from pathlib import Path
from typing import Protocol

from harness.machine import machine_name

_SECONDS = 20.0
_FOUNDATION = "/System/Library/Frameworks/Foundation.framework/Foundation"
_OBJECTIVE_C = "/usr/lib/libobjc.A.dylib"


class Unreadable(Exception):  # noqa: N818 (a reason, which becomes data)
    """Why a reading is not there."""


class Sensors(Protocol):
    """One machine's. Every method raises Unreadable with the reason."""

    system: str

    def run(self, *command: str) -> str:
        """What a command prints."""
        ...

    def process_info(self, selector: str) -> int:
        """A number of ``NSProcessInfo.processInfo``: ``thermalState`` or ``isLowPowerModeEnabled``."""
        ...

    def fact(self, name: str) -> str:
        """A reading of a system that is no Mac, by the name of its field."""
        ...


class MacSensors:
    """Commands that every macOS has, and Foundation through the Objective-C runtime, without PyObjC."""

    system = "macOS"

    def run(self, *command: str) -> str:
        """See Sensors."""
        name = command[0]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS
            )
        except OSError as error:
            raise Unreadable(f"{name}: {error.strerror or error}") from error
        except subprocess.TimeoutExpired as error:
            raise Unreadable(f"{name} had not ended after {_SECONDS:.0f} s") from error
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise Unreadable(f"{name} ended with status {done.returncode}: {lines[0] if lines else 'no message'}")
        return done.stdout

    def process_info(self, selector: str) -> int:
        """See Sensors."""
        try:
            ctypes.CDLL(_FOUNDATION)
            return objective_c_number(ctypes.CDLL(_OBJECTIVE_C), "NSProcessInfo", "processInfo", selector)
        except (OSError, AttributeError) as error:
            raise Unreadable(f"NSProcessInfo: {error}") from error

    def fact(self, name: str) -> str:
        """None: a Mac's readings have commands."""
        raise Unreadable(f"{name} is not read so on a Mac")


def objective_c_number(runtime: ctypes.CDLL, class_name: str, shared: str, selector: str) -> int:
    """``[[class shared] selector]``, an integer or a BOOL; Unreadable where an object does not answer it.

    ``objc_msgSend`` has the type of the method that it calls, so each call has a prototype of its own.
    """
    runtime.objc_getClass.restype = ctypes.c_void_p
    runtime.objc_getClass.argtypes = [ctypes.c_char_p]
    runtime.sel_registerName.restype = ctypes.c_void_p
    runtime.sel_registerName.argtypes = [ctypes.c_char_p]
    address = ctypes.cast(runtime.objc_msgSend, ctypes.c_void_p).value
    assert address is not None
    pointer, number = ctypes.c_void_p, ctypes.c_long
    send_for_object = ctypes.CFUNCTYPE(pointer, pointer, pointer)(address)
    ask = ctypes.CFUNCTYPE(ctypes.c_bool, pointer, pointer, pointer)(address)
    is_flag = selector.startswith("is")
    send_for_number = ctypes.CFUNCTYPE(ctypes.c_bool if is_flag else number, pointer, pointer)(address)

    def registered(name: str) -> int:
        return int(runtime.sel_registerName(name.encode()) or 0)

    kind = runtime.objc_getClass(class_name.encode())
    instance = send_for_object(kind, registered(shared)) if kind else None
    if not instance:
        raise Unreadable(f"there is no {class_name}.{shared}")
    if not ask(instance, registered("respondsToSelector:"), registered(selector)):
        raise Unreadable(f"{class_name} has no {selector}")
    return int(send_for_number(instance, registered(selector)))


class LinuxSensors:
    """What ``/etc``, ``/proc`` and ``/sys`` tell; ``root`` is where they are."""

    system = platform.system()

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def run(self, *command: str) -> str:
        """None: the commands are those of a Mac."""
        raise Unreadable(f"{command[0]} is a command of macOS")

    def process_info(self, selector: str) -> int:
        """None: Foundation is macOS."""
        raise Unreadable("NSProcessInfo is there on macOS only")

    def fact(self, name: str) -> str:
        """See Sensors."""
        if name == "os_version":
            return self._os_release()
        if name == "os_build":
            return platform.release()
        if name == "chip":
            return machine_name()
        if name == "memory_bytes":
            return str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        if name == "power_source":
            return self._power_source()
        raise Unreadable(f"{name} is not read on {self.system}")

    def _os_release(self) -> str:
        path = self.root / "etc/os-release"
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from error
        names = [line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")]
        if not names:
            raise Unreadable(f"{path} has no PRETTY_NAME")
        return names[0]

    def _power_source(self) -> str:
        """``/sys/class/power_supply``: ``type`` is Mains, Battery or UPS (kernel documentation, sysfs-class-power)."""
        folder = self.root / "sys/class/power_supply"
        kinds: dict[str, list[Path]] = {}
        for supply in sorted(folder.glob("*")):
            try:
                kinds.setdefault((supply / "type").read_text().strip(), []).append(supply)
            except OSError:
                continue
        if not kinds:
            raise Unreadable(f"{folder} lists no power supply")
        for supply in kinds.get("Mains", []):
            try:
                if (supply / "online").read_text().strip() == "1":
                    return "AC"
            except OSError:
                continue
        if "Battery" in kinds:
            return "battery"
        raise Unreadable(f"{folder} does not tell which supply is in use")


def default_sensors() -> Sensors:
    """This machine's."""
    return MacSensors() if platform.system() == "Darwin" else LinuxSensors()
