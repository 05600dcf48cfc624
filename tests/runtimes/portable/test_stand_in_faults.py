"""Machines that the stand-in plays, and what goes wrong on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.quiet import quiet_imports
from harness.runtimes.portable import stand_in
from harness.runtimes.portable.stand_in import Fault, Machine, playing
from harness.runtimes.portable.stand_in.playing import Player
from harness.tensors import Array

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from PIL import Image

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)
SIGNALS = {"sigsegv": signal.SIGSEGV, "sigabrt": signal.SIGABRT, "sigkill": signal.SIGKILL}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two outputs that are not zero."""
    program = mb.program(input_specs=[mb.TensorSpec((1, 3, 4))])(
        lambda x: (mb.add(x=x, y=2.0, name="sum"), mb.cast(x=mb.mul(x=x, y=9.0), dtype="int32", name="whole"))
    )
    path = tmp_path_factory.mktemp("models") / "two.mlpackage"
    ct.convert(program, convert_to="mlprogram", skip_model_load=True, minimum_deployment_target=ct.target.iOS16).save(
        str(path)
    )
    return path


@pytest.fixture
def played() -> Iterator[Any]:
    """Sets a machine, in this process, for models that do not go through coremltools."""
    yield lambda *faults: playing.set_machine(Machine(faults=faults))
    playing.set_machine(Machine())


def opened(package: Path, unit: str = "ALL") -> stand_in.MLModelProxy:
    return stand_in.MLModelProxy(str(package), unit, "", {}, None)


# Machines ----------------------------------------------------------------------------------------


def test_a_machine_goes_through_the_environment() -> None:
    faults = (Fault("sigsegv", at="predict", units=("CPU_AND_NE",), after=2), Fault("throttled", readings=3))
    machine = Machine((14, 4), "float32", ("GPU", "CPU"), faults)
    assert machine.devices == ("CPU", "GPU")
    variables = machine.environment()
    assert Machine.from_environment(variables) == machine
    assert json.loads(variables["HARNESS_STAND_IN"])["faults"][1] == {"kind": "throttled", "readings": 3}


def test_everything_of_a_machine_is_optional() -> None:
    assert Machine.from_environment({"HARNESS_STAND_IN": "{}"}) == Machine()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not set"),
        ("{", "is no JSON"),
        ("[]", "is an object"),
        ('{"macOS": [15, 0]}', "no field 'macOS'.*macos, numerics"),
        ('{"macos": [15]}', "two whole numbers"),
        ('{"macos": "15"}', "two whole numbers"),
        ('{"numerics": "bfloat16"}', "unknown numerics"),
        ('{"devices": ["GPU"]}', "no such compute devices"),
        ('{"devices": ["CPU", "TPU"]}', "no such compute devices"),
        ('{"devices": 3}', "no such compute devices"),
        ('{"faults": "hang"}', "faults are a list"),
        ('{"faults": ["hang"]}', "a fault is an object"),
        ('{"faults": [{"at": "load"}]}', "needs 'kind'"),
        ('{"faults": [{"kind": "explosion"}]}', "no such fault.*sigsegv"),
        ('{"faults": [{"kind": "hang"}]}', "not at that stage.*compile, load, predict, plan"),
        ('{"faults": [{"kind": "rgba", "at": "load"}]}', "not at that stage.*predict"),
        ('{"faults": [{"kind": "hang", "at": "load", "units": ["NPU"]}]}', "no such compute unit.*CPU_ONLY"),
        ('{"faults": [{"kind": "hang", "at": "load", "units": "ALL"}]}', "wrong type"),
        ('{"faults": [{"kind": "hang", "at": "load", "after": -1}]}', "negative"),
        ('{"faults": [{"kind": "hang", "at": "load", "after": true}]}', "wrong type"),
        ('{"faults": [{"kind": "slow", "at": "load"}]}', "needs seconds"),
        ('{"faults": [{"kind": "wrong_dtype", "dtype": "int8"}]}', "no such dtype.*float64"),
        ('{"faults": [{"kind": "throttled", "readings": 1, "state": "hot"}]}', "no such state.*serious"),
    ],
)
def test_machines_that_cannot_be(text: str | None, said: str) -> None:
    with pytest.raises(HarnessError, match=f"(?s){said}"):
        Machine.from_environment({} if text is None else {"HARNESS_STAND_IN": text})


def test_it_never_installs_itself() -> None:
    code = "from harness.runtimes.portable import stand_in; print(stand_in.machine())"
    environment = os.environ | Machine().environment()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


@pytest.mark.parametrize(
    ("unit", "devices", "used"),
    [
        ("CPU_ONLY", ("CPU", "GPU", "NeuralEngine"), ("CPU",)),
        ("CPU_AND_NE", ("CPU", "GPU", "NeuralEngine"), ("CPU", "NeuralEngine")),
        ("CPU_AND_NE", ("CPU", "GPU"), ("CPU",)),
        ("ALL", ("CPU", "NeuralEngine"), ("CPU", "NeuralEngine")),
    ],
)
def test_a_unit_uses_what_is_there(unit: str, devices: Any, used: tuple[str, ...]) -> None:
    assert Machine(devices=devices).devices_of(unit) == used


# Outputs -----------------------------------------------------------------------------------------


def test_outputs_of_another_type(package: Path, played: Any) -> None:
    played(Fault("wrong_dtype", dtype="float64", units=("CPU_AND_NE",)))
    assert opened(package).predict({"x": X})["sum"].dtype == np.float32
    outputs = opened(package, "CPU_AND_NE").predict({"x": X})
    assert (outputs["sum"].dtype, outputs["whole"].dtype) == (np.float64, np.int32)
    np.testing.assert_allclose(outputs["sum"], X + 2, atol=2e-3)


def test_another_order_each_time(package: Path, played: Any) -> None:
    names = list(opened(package).predict({"x": X}))
    played(Fault("key_order"))
    model = opened(package)
    assert [list(model.predict({"x": X})) for _ in range(3)] == [names[::-1], names, names[::-1]]


def test_an_output_that_is_missing(package: Path, played: Any) -> None:
    played(Fault("missing_output", after=1))
    model = opened(package)
    assert [len(model.predict({"x": X})) for _ in range(3)] == [2, 1, 1]


def test_values_that_are_not_finite(package: Path, played: Any) -> None:
    played(Fault("not_finite"))
    assert np.isnan(opened(package).predict({"x": X})["sum"]).sum() == 1


def test_a_stated_error(package: Path, played: Any) -> None:
    exact = opened(package).predict({"x": X})["sum"]
    played(Fault("inexact", size=0.25, units=("ALL",)))
    first, second = (opened(package).predict({"x": X})["sum"] for _ in range(2))
    np.testing.assert_allclose(np.abs(first - exact), 0.25, rtol=1e-5)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(opened(package, "CPU_ONLY").predict({"x": X})["sum"], exact)


def test_an_error_that_is_another_each_time(package: Path, played: Any) -> None:
    exact = opened(package).predict({"x": X})["sum"]
    played(Fault("unstable", size=0.25))
    model = opened(package)
    first, second = (model.predict({"x": X})["sum"] for _ in range(2))
    assert np.abs(first - second).max() > 0.01
    assert 0.01 < np.abs(first - exact).max() <= 0.25


@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_images(mode: str) -> None:
    image = Image.new(mode, (3, 2), (9, 9, 9, 255) if mode == "RGBA" else 9)
    changed = Player(Machine(faults=(Fault("rgba"),))).outputs({"image": image}, "ALL")["image"]
    assert changed.mode == "RGBA"
    assert np.asarray(changed)[0, 0].tolist() == [9, 9, 9, 0]
    off = Player(Machine(faults=(Fault("inexact", size=2),))).outputs({"image": image}, "ALL")["image"]
    assert off.mode == mode
    difference = np.asarray(off).astype(int) - np.asarray(image).astype(int)
    assert np.abs(difference[..., :3]).tolist() == np.full_like(difference[..., :3], 2).tolist()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (X.astype(np.float16), "is float16"),
        (X.astype(">f4"), "native-endian"),
        (X.transpose(0, 2, 1).copy().transpose(0, 2, 1), "C-contiguous"),
        (np.broadcast_to(X[:, :1], X.shape), "writable"),
    ],
)
def test_arrays_that_cannot_be_wrapped(package: Path, played: Any, array: Array, said: str) -> None:
    played(Fault("strict"))
    with pytest.raises(RuntimeError, match=f"input 'x' is (not )?{said.removeprefix('is ')}"):
        opened(package).predict({"x": array})


def test_arrays_that_are_not_kept(package: Path, played: Any) -> None:
    played(Fault("strict"))
    model = opened(package)
    kept = X.copy()
    model.predict({"x": kept})
    model.predict({"x": X.copy()})
    with pytest.raises(RuntimeError, match="was freed"):
        model.predict({"x": kept})


# Native failures, in processes of their own --------------------------------------------------------

CHILD = """
import json, os, signal, sys, warnings
from harness.quiet import without_frameworks
from harness.runtimes.portable import stand_in
without_frameworks()
stand_in.install_from_environment()
import coremltools as ct, numpy as np

def said(call):
    try:
        return str(call())[:0] or "well"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

path, unit = sys.argv[1], ct.ComputeUnit[sys.argv[2]]
signal.signal(signal.SIGALRM, lambda *_: os._exit(77))
print("START", flush=True)
signal.alarm(1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = ct.models.MLModel(path, compute_units=unit)
print("LOADED", flush=True)
lines = {
    "warnings": [item.category.__name__ for item in caught if "predict()" in str(item.message)],
    "proxy": model.__proxy__ is not None,
    "compile": said(lambda: ct.models.utils.compile_model(path)),
    "predict": said(lambda: model.predict({"x": np.ones((1, 3, 4), np.float32)})),
}
compiled = os.environ.get("COMPILED")
lines["compiled"] = said(lambda: ct.models.CompiledMLModel(compiled, unit)) if compiled else ""
lines["plan"] = said(lambda: ct.models.compute_plan.MLComputePlan.load_from_path(compiled, unit)) if compiled else ""
print("SAID " + json.dumps(lines))
"""


def child(package: Path, fault: Fault, unit: str = "CPU_AND_NE", **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | Machine(faults=(fault,)).environment() | variables
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(package), unit],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def answers(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=120)
    assert "SAID " in output, errors
    said: dict[str, Any] = json.loads(output.rpartition("SAID ")[2])
    return said


@pytest.mark.parametrize("stage", ["compile", "load", "predict", "plan"])
def test_errors_through_coremltools(package: Path, tmp_path: Path, stage: str) -> None:
    compiled = stand_in.MLModelProxy.compileModel(str(package), str(tmp_path))
    said = answers(child(package, Fault("error", at=stage, message="as told"), COMPILED=compiled))
    told = "RuntimeError: as told"
    at_load = stage in ("compile", "load")
    assert said == {
        "warnings": ["RuntimeWarning"] if at_load else [],
        "proxy": not at_load,
        "compile": told if stage == "compile" else "well",
        "predict": told if stage != "plan" else "well",
        "compiled": told if stage == "load" else "well",
        "plan": told if stage == "plan" else "well",
    }


@pytest.mark.parametrize(("kind", "stage"), [("sigsegv", "predict"), ("sigabrt", "load"), ("sigkill", "predict")])
def test_signals(package: Path, kind: str, stage: str) -> None:
    process = child(package, Fault(kind, at=stage))
    output, errors = process.communicate(timeout=120)
    assert process.returncode == -SIGNALS[kind]
    assert ("LOADED" in output) is (stage == "predict")
    assert ("NSException" in errors) is (kind == "sigabrt")


def test_a_hang_ends_by_a_kill_only(package: Path) -> None:
    """Python's handler of the alarm, one second after the start, cannot run."""
    process = child(package, Fault("hang", at="predict"))
    try:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(2)] == ["START", "LOADED"]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_another_unit_is_not_concerned(package: Path) -> None:
    assert answers(child(package, Fault("sigsegv", at="predict", units=("CPU_AND_NE",)), "ALL"))["predict"] == "well"


def test_slow(package: Path, played: Any) -> None:
    played(Fault("slow", at="load", seconds=0.2))
    start = time.perf_counter()
    model = opened(package)
    assert time.perf_counter() - start >= 0.2
    assert model.get_load_duration_in_nano_seconds() >= 2e8


def test_memory_is_really_taken(package: Path, played: Any) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    model = opened(package)
    model.predict({"x": X})
    before = resident()
    played(Fault("memory", at="predict", bytes=2**28))
    model.predict({"x": X})
    assert resident() - before > 2**27


# Heat --------------------------------------------------------------------------------------------


def test_heat_that_goes(tmp_path: Path) -> None:
    fault = Fault("throttled", readings=2, state="critical", counter=str(tmp_path / "count"))
    first, second = (Player(Machine(faults=(fault,))) for _ in range(2))
    assert [first.thermal_state(), second.thermal_state(), first.thermal_state()] == ["critical", "critical", "nominal"]
    alone = Player(Machine(faults=(Fault("throttled", readings=1),)))
    assert [alone.thermal_state() for _ in range(2)] == ["serious", "nominal"]
