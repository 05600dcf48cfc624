"""Plays the faults of the installed machine: what native code does when it fails, and outputs that are wrong."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.runtimes.portable.stand_in.machine import Fault, Machine
from harness.tensors import Array

# How Core ML's own messages begin: coremltools' mil/ops/tests/iOS17/test_scatter_gather.py for a prediction,
# coremltools' issues and documentation for the others. NSError's description, as libcoremlpython hands it on.
PREDICTION_FAILED = "Unable to compute the prediction using ML Program."
_MESSAGES = {
    "compile": 'Error compiling model: "compiler error:  Encountered an error while compiling a neural network model: '
    'validator error: the stand-in was told to fail.".',
    "load": "Error in declaring network or loading its weights. Failed to build the model execution plan using a model "
    "architecture file with error code: -1.",
    "predict": f"{PREDICTION_FAILED} It can be an invalid input data or broken/unsupported model.",
    "plan": "Failed to load the compute plan.",
}
_ABORTED = b"libc++abi: terminating due to uncaught exception of type NSException: played by the stand-in\n"
_MUTEX_BYTES = 128


class Player:
    """A machine and how often each stage was reached in this process."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._calls: Counter[tuple[Fault, str]] = Counter()
        self._held: list[Any] = []
        self._inputs: list[weakref.ref[Array]] = []

    def play(self, stage: str, unit: str | None) -> None:
        """Fail as planned: raises RuntimeError, takes longer or more memory, ends the process, or never returns."""
        for fault in self._due(stage, unit):
            if fault.kind in _ACTIONS:
                _ACTIONS[fault.kind](fault)
            elif fault.kind == "memory":
                self._held.append(np.ones(fault.bytes, np.uint8))

    def check_inputs(self, inputs: Mapping[str, Any], unit: str) -> None:
        """``strict``: raises RuntimeError for an array that cannot be wrapped without a copy, or was not kept alive."""
        if not any(fault.kind == "strict" for fault in self.machine.faults_at("predict", unit)):
            return
        if any(reference() is None for reference in self._inputs):
            raise RuntimeError("an input array of an earlier prediction was freed")
        for name, array in inputs.items():
            if not isinstance(array, np.ndarray):
                continue
            flags = array.flags
            wrong = {
                f"is {array.dtype}": array.dtype.name not in ("float32", "float64", "int32"),
                "is not native-endian": not array.dtype.isnative,
                "is not writable": not flags.writeable,
                "is not C-contiguous": not flags.c_contiguous,
            }
            for complaint in (text for text, holds in wrong.items() if holds):
                raise RuntimeError(f"input {name!r} {complaint}")
            self._inputs.append(weakref.ref(array))

    def outputs(self, outputs: dict[str, Any], unit: str) -> dict[str, Any]:
        """A prediction's outputs as the machine's faults leave them."""
        for fault in self._due("predict", unit, kinds=_DISTORTIONS):
            call = self._calls[fault, "predict"] - fault.after
            outputs = _DISTORTIONS[fault.kind](fault, outputs, call)
        return outputs

    def plans(self, kind: str, unit: str) -> bool:
        """Whether ``no_costs`` or ``no_usage`` is planned for plans of that unit."""
        return any(fault.kind == kind for fault in self.machine.faults_at("plan", unit))

    def thermal_state(self) -> str:
        """What this reading of the thermal state answers; see ``throttled``."""
        for fault in self.machine.faults:
            if fault.kind != "throttled":
                continue
            self._calls[fault, ""] += 1
            reading = _count_in_file(fault.counter) if fault.counter else self._calls[fault, ""]
            if reading <= fault.readings:
                return fault.state
        return "nominal"

    def _due(self, stage: str, unit: str | None, kinds: Mapping[str, Any] | None = None) -> list[Fault]:
        due = []
        for fault in self.machine.faults_at(stage, unit):
            if (fault.kind in _DISTORTIONS) is (kinds is not None):
                self._calls[fault, stage] += 1
                if self._calls[fault, stage] > fault.after:
                    due.append(fault)
        return due


# Failures of native code -----------------------------------------------------------------------


def _error(fault: Fault) -> None:
    raise RuntimeError(fault.message or _MESSAGES[fault.at])


def _segmentation_fault(fault: Fault) -> None:
    ctypes.string_at(1)


def _abort(fault: Fault) -> None:
    sys.stderr.flush()
    os.write(2, fault.message.encode() + b"\n" if fault.message else _ABORTED)
    os.abort()


def _kill(fault: Fault) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(fault: Fault) -> None:
    """A mutex locked twice: no signal handler of Python's runs any more, for the GIL is held."""
    native = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(_MUTEX_BYTES)
    native.pthread_mutex_init(mutex, None)
    for _ in range(2):
        native.pthread_mutex_lock(mutex)


def _slow(fault: Fault) -> None:
    ctypes.PyDLL(None).usleep(ctypes.c_uint(round(fault.seconds * 1e6)))


_ACTIONS: dict[str, Callable[[Fault], None]] = {
    "error": _error,
    "sigsegv": _segmentation_fault,
    "sigabrt": _abort,
    "sigkill": _kill,
    "hang": _hang,
    "slow": _slow,
}


# Outputs that are wrong ------------------------------------------------------------------------


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _each_float(change: Callable[[Array], Array]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda outputs: {name: change(value) if _is_float(value) else value for name, value in outputs.items()}


def _wrong_dtype(fault: Fault, outputs: dict[str, Any], call: int) -> dict[str, Any]:
    return _each_float(lambda value: value.astype(fault.dtype))(outputs)


def _rgba(fault: Fault, outputs: dict[str, Any], call: int) -> dict[str, Any]:
    def changed(value: Any) -> Any:
        image = value.convert("RGBA")
        image.putalpha(0)
        return image

    return {name: changed(value) if hasattr(value, "convert") else value for name, value in outputs.items()}


def _key_order(fault: Fault, outputs: dict[str, Any], call: int) -> dict[str, Any]:
    names = list(outputs)[:: -1 if call % 2 else 1]
    return {name: outputs[name] for name in names}


def _missing_output(fault: Fault, outputs: dict[str, Any], call: int) -> dict[str, Any]:
    return dict(list(outputs.items())[:-1])


def _not_finite(fault: Fault, outputs: dict[str, Any], call: int) -> dict[str, Any]:
    def changed(value: Array) -> Array:
        value = value.copy()
        value.reshape(-1)[:1] = np.nan
        return value

    return _each_float(changed)(outputs)


def _off_by(error: Callable[[int], Array], outputs: dict[str, Any]) -> dict[str, Any]:
    """Images too, in whole steps of their values."""

    def changed(value: Any) -> Any:
        if _is_float(value):
            return value + error(value.size).reshape(value.shape).astype(value.dtype)
        if getattr(value, "mode", "") in ("RGBA", "L"):
            from PIL import Image

            pixels = np.asarray(value).astype(np.float64)
            colors = pixels[..., :3] if value.mode == "RGBA" else pixels
            colors += np.rint(error(colors.size)).reshape(colors.shape)
            return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        return value

    return {name: changed(value) for name, value in outputs.items()}


def _inexact(fault: Fault, outputs: dict[str, Any], call: int) -> dict[str, Any]:
    return _off_by(lambda count: fault.size * (1.0 - 2.0 * (np.arange(count) % 2)), outputs)


def _unstable(fault: Fault, outputs: dict[str, Any], call: int) -> dict[str, Any]:
    generator = np.random.default_rng(call)
    return _off_by(lambda count: fault.size * generator.uniform(-1, 1, count), outputs)


_DISTORTIONS: dict[str, Callable[[Fault, dict[str, Any], int], dict[str, Any]]] = {
    "wrong_dtype": _wrong_dtype,
    "rgba": _rgba,
    "key_order": _key_order,
    "missing_output": _missing_output,
    "not_finite": _not_finite,
    "inexact": _inexact,
    "unstable": _unstable,
}


def _count_in_file(path: str) -> int:
    """One more byte in the file; how many there are now."""
    with Path(path).open("ab") as file:
        file.write(b".")
        file.flush()
        return file.tell()


# What is installed; without ``install``, a Mac on which nothing fails.
_player = Player(Machine())


def player() -> Player:
    """Of the machine that is installed."""
    return _player


def set_machine(machine: Machine) -> None:
    """Play that machine from now on."""
    global _player
    _player = Player(machine)
