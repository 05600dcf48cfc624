"""The checks, each executed in a process of its own. What they assume is listed in DESIGN.md's native seam
and was read from coremltools 9's Python source."""

from __future__ import annotations

import gc
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.doctor.models import CHANNELS, Models, by_hand, picture, values
from harness.doctor.result import Finding, Group
from harness.quiet import quiet_imports
from harness.runtimes import portable
from harness.runtimes.coreml.conditions import read_conditions
from harness.runtimes.coreml.devices import COMPUTE_UNITS, available_devices, devices_of
from harness.runtimes.coreml.plan import read_plan
from harness.tensors import Array

Function = Callable[[Models], Finding]

# Largest error of ``array``, whose outputs reach about 2: a few roundings to float16, and what a unit adds.
# An answer of zeros, of another channel order or of the wrong sign is off by more than 1.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Check:
    """``what`` is assumed; ``macos``: the first version that has it; ``native``: whether it needs Core ML."""

    name: str
    group: Group
    what: str
    function: Function
    macos: tuple[int, int] = (13, 0)
    native: bool = True


CHECKS: dict[str, Check] = {}


def check(
    what: str, group: Group = "assumptions", macos: tuple[int, int] = (13, 0), native: bool = True
) -> Callable[[Function], Function]:
    """Register a function under its name."""

    def register(function: Function) -> Function:
        CHECKS[function.__name__] = Check(function.__name__, group, what, function, macos, native)
        return function

    return register


def _coremltools() -> Any:
    with quiet_imports():
        import coremltools
    return coremltools


def _proxy(models: Models, path: Path) -> Any:
    from coremltools.models import model

    models.reached("load")
    return model._MLModelProxy(str(path), "CPU_ONLY", "", {}, None)


def _model(models: Models, path: Path, unit: str = "CPU_ONLY") -> Any:
    """A model that loads; RuntimeError with what was warned of if it does not."""
    ct = _coremltools()
    models.reached("load")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit[unit])
    if model.__proxy__ is None:
        raise RuntimeError("; ".join(str(item.message) for item in caught) or "not loaded, without a word")
    models.reached("predict")
    return model


def _compiled(models: Models, path: Path) -> Path:
    ct = _coremltools()
    models.reached("compile")
    target = models.folder / f"{path.stem}-{time.time_ns()}.mlmodelc"
    return Path(ct.models.utils.compile_model(str(path), str(target)))


def _error(outputs: dict[str, Any], expected: dict[str, Array]) -> float:
    """Largest absolute difference; infinite where a name or shape is another."""
    if set(outputs) != set(expected) or any(np.shape(outputs[name]) != expected[name].shape for name in expected):
        return float("inf")
    return max(float(np.max(np.abs(outputs[name].astype(np.float64) - expected[name]))) for name in expected)


def _judged(outputs: dict[str, Any], expected: dict[str, Array], against: str) -> Finding:
    error = _error(outputs, expected)
    observed = f"largest difference {error:.2g} from {against}"
    return Finding("holds" if error <= TOLERANCE else "differs", observed)


@check("The portable runtime answers what numpy does", group="here", native=False)
def portable_runtime(models: Models) -> Finding:
    """float16 and float32 numerics."""
    errors = [_error(models.expected(numerics), by_hand()) for numerics in ("float32", "float16")]
    observed = "largest difference {:.2g} in float32, {:.2g} in float16".format(*errors)
    return Finding("holds" if errors[0] <= 2e-3 and errors[1] <= 1e-2 else "differs", observed)


def _unit(unit: str) -> Function:
    def predicts(models: Models) -> Finding:
        outputs = _model(models, models.array, unit).predict({"x": values()})
        return _judged(outputs, models.expected("float16"), "the portable runtime")

    predicts.__name__ = unit
    return predicts


for _name in COMPUTE_UNITS:
    check(f"{_name} answers what the portable runtime does", group="units")(_unit(_name))


@check("get_available_compute_devices lists the devices", macos=(14, 0))
def compute_devices(models: Models) -> Finding:
    """Kinds that are known, the CPU among them."""
    devices = available_devices()
    if devices.reason is not None:
        return Finding("differs", devices.reason)
    return Finding("holds" if "CPU" in devices.kinds else "differs", ", ".join(map(str, devices.found)))


@check("Heat, power and the chip can be read")
def readings(models: Models) -> Finding:
    """Those that a measurement is judged by."""
    found = read_conditions()
    wanted = ("thermal_state", "low_power_mode", "power_source", "chip", "os_build")
    told = [f"{name} {getattr(found, name)}" for name in wanted if getattr(found, name) is not None]
    missing = [f"{name}: {found.reasons[name]}" for name in wanted if name in found.reasons]
    return Finding("differs" if missing else "holds", "; ".join(missing or told))


@check("The native module has every function that coremltools calls")
def native_names(models: Models) -> Finding:
    """By name."""
    _coremltools()
    from coremltools.models import model

    wanted = (
        "auto_set_specification_version", "batchPredict", "compileModel", "create_model_asset_from_memory",
        "create_model_asset_from_path", "get_all_compute_devices", "get_available_compute_devices",
        "get_compiled_model_path", "get_compute_plan", "get_last_predict_duration_in_nano_seconds",
        "get_load_duration_in_nano_seconds", "get_model_structure", "maximum_supported_specification_version",
        "newState", "predict",
    )  # fmt: skip
    missing = [name for name in wanted if not hasattr(model._MLModelProxy, name)]
    return Finding("differs" if missing else "holds", f"missing: {', '.join(missing)}" if missing else "all of them")


@check("A model is made with five arguments")
def five_arguments(models: Models) -> Finding:
    """Path, compute unit, function, hints, asset; not with four."""
    _coremltools()
    from coremltools.models import model

    _proxy(models, models.array)
    try:
        model._MLModelProxy(str(models.array), "CPU_ONLY", "", {})
    except TypeError:
        return Finding("holds", "five load, four are a TypeError")
    return Finding("differs", "four arguments load as well")


@check("predict(dict, state) answers a dict")
def predict_answers_a_dict(models: Models) -> Finding:
    """With None for a model without state."""
    _coremltools()
    proxy = _proxy(models, models.array)
    models.reached("predict")
    outputs = proxy.predict({"x": values()}, None)
    if not isinstance(outputs, dict):
        return Finding("differs", f"a {type(outputs).__name__}")
    return _judged(outputs, models.expected("float16"), "the portable runtime")


@check("Outputs are found by name, their order is not promised")
def key_order(models: Models) -> Finding:
    """Says which orders were seen."""
    model = _model(models, models.array)
    declared = [feature.name for feature in model.get_spec().description.output]
    orders = {tuple(model.predict({"x": values()})) for _ in range(10)}
    if any(sorted(order) != sorted(declared) for order in orders):
        return Finding("differs", f"names {sorted(orders)}, declared {declared}")
    seen = "in the declared order" if orders == {tuple(declared)} else f"{len(orders)} orders"
    return Finding("holds", f"{seen} in 10 predictions")


@check("A float16 output arrives as float32")
def float16_output(models: Models) -> Finding:
    """Of a model with a float16 input too."""
    outputs = _model(models, models.half).predict({"x": values()})
    dtypes = sorted({str(value.dtype) for value in outputs.values()})
    return Finding("holds" if dtypes == ["float32"] else "differs", ", ".join(dtypes))


@check("Constants are read that stand in the operation, and operations need no names", macos=(14, 0))
def literals(models: Models) -> Finding:
    """As harness.frontends.specification writes them."""
    outputs = _model(models, models.literals).predict({"x": values()})
    expected = portable.load(models.literals, "float32").predict({"x": values()})
    return _judged(outputs, expected, "the portable runtime")


@check("Images arrive as PIL: colour RGBA, grayscale L, float16 grayscale F")
def images(models: Models) -> Finding:
    """Modes, and values of the colour image."""
    outputs = _model(models, models.image).predict({"picture": picture()})
    modes = {name: getattr(outputs[name], "mode", type(outputs[name]).__name__) for name in ("color", "gray", "fine")}
    error = np.abs(np.asarray(outputs["color"])[..., :3].astype(float) - np.asarray(picture()) / 2).max()
    observed = ", ".join(f"{name} {mode}" for name, mode in modes.items()) + f", colour is off by {error:.2g} of 255"
    right = list(modes.values()) == ["RGBA", "L", "F"] and error <= 1
    return Finding("holds" if right else "differs", observed)


@check("A model that cannot load leaves a RuntimeWarning, and raises at predict")
def failing_load(models: Models) -> Finding:
    """Of a package whose weights are an empty file."""
    ct = _coremltools()
    models.reached("load")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = ct.models.MLModel(str(models.damaged), compute_units=ct.ComputeUnit.CPU_ONLY)
    warned = [item for item in caught if item.category is RuntimeWarning]
    if not warned or model.__proxy__ is not None:
        return Finding("differs", "a package without weights loads")
    try:
        model.predict({"x": values()})
    except Exception as error:  # the framework's errors have no common class
        return Finding("holds", f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
    return Finding("differs", "it warns, and predicts")


@check("MLModel.predict changes the caller's dict")
def changed_dict(models: Models) -> Finding:
    """A float16 array becomes float32 in it."""
    given = {"x": values().astype(np.float16)}
    _model(models, models.array).predict(given)
    dtype = given["x"].dtype
    return Finding("holds" if dtype == np.float32 else "differs", f"a float16 array in it is {dtype} afterwards")


@check("Arrays are wrapped without a copy (coremltools #2827); ours are fit for it")
def arrays(models: Models) -> Finding:
    """What happens to others is only told."""
    model = _model(models, models.array)
    expected = models.expected("float16")
    plain = values()
    before = sys.getrefcount(plain)
    error = _error(model.predict({"x": plain}), expected)
    gc.collect()
    held = sys.getrefcount(plain) - before
    told = [f"afterwards {held} references are held" if held else "no reference is held afterwards"]
    odd = {
        "strided": np.asfortranarray(values()),
        "big-endian": values().astype(">f4"),
        "read-only": values(),
    }
    odd["read-only"].flags.writeable = False
    for name, array in odd.items():
        models.reached(f"predict with a {name} array")
        try:
            right = _error(model.predict({"x": array}), expected) <= TOLERANCE
        except Exception as refusal:  # the framework's errors have no common class
            told.append(f"{name}: {type(refusal).__name__}")
        else:
            told.append(f"{name}: {'right' if right else 'WRONG'}")
    return Finding("holds" if error <= TOLERANCE else "differs", "; ".join(told))


@check("get_compiled_model_path is a folder that lives as long as the model")
def compiled_path(models: Models) -> Finding:
    """A ``.mlmodelc``."""
    model = _model(models, models.array)
    path = Path(model.get_compiled_model_path())
    there = path.is_dir() and path.suffix == ".mlmodelc"
    del model
    gc.collect()
    afterwards = "still there" if path.exists() else "gone"
    return Finding("holds" if there else "differs", f"{path.suffix}, {afterwards} after it")


@check("Durations are told in nanoseconds")
def durations(models: Models) -> Finding:
    """None before the first prediction; of the order of what Python's clock says."""
    model = _model(models, models.array)
    first = model.last_predict_duration_in_nano_seconds
    start = time.perf_counter_ns()
    model.predict({"x": values()})
    seen = time.perf_counter_ns() - start
    told, load = model.last_predict_duration_in_nano_seconds, model.load_duration_in_nano_seconds
    observed = f"load {load}, before a prediction {first}, after it {told}, Python saw {seen}"
    right = first is None and bool(load) and told is not None and seen / 1000 < told <= seen
    return Finding("holds" if right else "differs", observed)


@check("compileModel makes a model that CompiledMLModel loads")
def compile_model(models: Models) -> Finding:
    """And that answers the same."""
    ct = _coremltools()
    path = _compiled(models, models.array)
    models.reached("load")
    model = ct.models.CompiledMLModel(str(path), ct.ComputeUnit.CPU_ONLY)
    models.reached("predict")
    return _judged(model.predict({"x": values()}), models.expected("float16"), "the portable runtime")


@check("A compute plan names devices and estimated costs", macos=(14, 4))
def compute_plan(models: Models) -> Finding:
    """For all units."""
    path = _compiled(models, models.array)
    models.reached("plan")
    plan = read_plan(path, "ALL")
    if plan.reason is not None:
        return Finding("differs", plan.reason)
    costs = [operation.cost for operation in plan.operations if operation.cost is not None]
    kinds = [f"{kind} {sum(item.preferred == kind for item in plan.operations)}" for kind in devices_of("ALL")]
    unknown = sum(operation.preferred is None for operation in plan.operations)
    observed = (
        f"{len(plan.operations)} operations: {', '.join(kinds)}, unknown {unknown}; "
        f"{len(costs)} costs, sum {sum(costs):.3g}"
    )
    return Finding("holds" if unknown < len(plan.operations) and costs else "differs", observed)


@check("The structure of a compiled model lists its operations", macos=(14, 4))
def model_structure(models: Models) -> Finding:
    """Those of the program, under their MIL names."""
    ct = _coremltools()
    path = _compiled(models, models.array)
    models.reached("structure")
    structure = ct.models.compute_plan.MLModelStructure.load_from_path(str(path))
    if structure.program is None:
        return Finding("differs", "it is no program")
    operations = structure.program.functions["main"].block.operations
    names = sorted({operation.operator_name for operation in operations})
    right = {"conv", "relu", "mul"} <= {name.rpartition(".")[2] for name in names}
    return Finding("holds" if right else "differs", ", ".join(names))


@check("Specification 7 (macOS 13) and newer is read")
def specification_version(models: Models) -> Finding:
    """coremltools 9 writes up to 10."""
    _coremltools()
    from coremltools.models import model

    version = model._MLModelProxy.maximum_supported_specification_version()
    return Finding("holds" if version >= 7 else "differs", f"up to {version}")


@check("A model loads from an asset in memory", macos=(15, 0))
def assets(models: Models) -> Finding:
    """And from one on disk."""
    ct = _coremltools()
    from coremltools.models.model import MLModelAsset

    path = _compiled(models, models.array)
    models.reached("load")
    on_disk = ct.models.CompiledMLModel.from_asset(MLModelAsset.from_path(str(path)), ct.ComputeUnit.CPU_ONLY)
    package = ct.models.MLModel(str(models.array), skip_model_load=True)
    blobs = {f"weights/{item.name}": item.read_bytes() for item in Path(package.weights_dir).iterdir()}
    asset = MLModelAsset.from_memory(package.get_spec().SerializeToString(), blobs)
    in_memory = ct.models.CompiledMLModel.from_asset(asset, ct.ComputeUnit.CPU_ONLY)
    models.reached("predict")
    expected = models.expected("float16")
    errors = [_error(model.predict({"x": values()}), expected) for model in (on_disk, in_memory)]
    observed = "largest difference {:.2g} on disk, {:.2g} in memory".format(*errors)
    return Finding("holds" if max(errors) <= TOLERANCE else "differs", observed)


@check("A batch is answered in order")
def batch(models: Models) -> Finding:
    """Two inputs, the second the negative of the first."""
    outputs = _model(models, models.array).predict([{"x": values()}, {"x": np.negative(values())}])
    first, second = (item["filtered"] for item in outputs)
    expected: Any = by_hand()["filtered"]
    right = first.shape[1] == CHANNELS and np.abs(first - expected).max() <= TOLERANCE
    right = right and np.abs(second[np.greater(expected, TOLERANCE)]).max() <= TOLERANCE
    return Finding("holds" if right else "differs", f"{len(outputs)} answers")


@check("A state is kept between predictions, read and written", macos=(15, 0))
def state(models: Models) -> Finding:
    """Two additions, one after a state was written."""
    model = _model(models, models.counter)
    kept = model.make_state()
    one = np.ones(2, np.float32)
    totals = [float(model.predict({"x": one}, kept)["total"][0]) for _ in range(2)]
    (name,) = (feature.name for feature in model.get_spec().description.state)
    totals.append(float(kept.read_state(name)[0]))
    kept.write_state(name, np.array([7, 7], np.float32))
    totals.append(float(model.predict({"x": one}, kept)["total"][0]))
    return Finding("holds" if totals == [1, 2, 2, 8] else "differs", "totals " + ", ".join(f"{x:g}" for x in totals))
