"""A table of TensorFlow Lite cases through our frontend: each model is made when it is run, converted, executed on the
portable runtime, and compared with TensorFlow Lite's interpreter (reference kernels, no delegates)."""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.artifact import Artifact
from harness.errors import ConversionError, HarnessError, ModelFileError, PredictionError, UnknownNameError, UsageError
from harness.suites.processes import run_isolated
from harness.tensors import Array

TABLE = Path("tests/frontends/tflite/cases")

# How a TensorFlow function becomes a model: float32; float16 weights; int8 weights (dynamic range); int8 throughout,
# with integers or floats at its ends; int16 activations with int8 weights. A model made by hand is what it is.
FORMS = ("float32", "float16", "dynamic", "int8", "int8-float", "int16x8")
FLOATS = FORMS[:3]
MADE = "made"
QUANTIZED = ("int8", "int8-float", "int16x8")

# correct: converted, and every output as expected. wrong: converted, and not as expected. failed: converted, and the
# portable runtime raises; or the case proves nothing. crashed: an error that is none of ours, or no end. refused:
# with a reason, before or while it was converted. unavailable: TFLiteConverter does not write the case in this form,
# or the interpreter does not execute it.
Outcome = Literal["correct", "wrong", "failed", "crashed", "refused", "unavailable"]
BAD = ("wrong", "failed", "crashed")
OUTCOMES: tuple[Outcome, ...] = ("correct", "wrong", "failed", "crashed", "refused", "unavailable")

# Of an output's range. The interpreter rounds activations to int8 as it runs where weights are int8, we do not.
FLOAT_TOLERANCE = 1e-4
DYNAMIC_TOLERANCE = 2e-2
# Of elements, within one step of quantisation.
STEP_SHARE = 0.999

_SAMPLES = 32


@dataclass(frozen=True)
class Input:
    """An input and its random values, uniform in [low, high] (integers: both included), or ``values`` themselves.

    A size None in ``shape`` is flexible in the model; ``given`` is the shape that is run.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    low: float = -1.0
    high: float = 1.0
    values: tuple[Any, ...] | None = None
    given: tuple[int, ...] | None = None

    @property
    def run_shape(self) -> tuple[int, ...]:
        """The shape that is run."""
        return self.given if self.given is not None else tuple(1 if size is None else size for size in self.shape)

    def array(self, random: np.random.Generator) -> Array:
        """Values for one run."""
        if self.values is not None:
            return np.array(self.values).astype(self.dtype).reshape(self.run_shape)
        if self.dtype == "bool":
            return random.integers(0, 2, self.run_shape).astype(bool)
        if np.dtype(self.dtype).kind in "iu":
            return random.integers(int(self.low), int(self.high) + 1, self.run_shape).astype(self.dtype)
        return random.uniform(self.low, self.high, self.run_shape).astype(self.dtype)


@dataclass(frozen=True, eq=False)
class Case:
    """One test of an operator: a TensorFlow function of ``inputs``, or the bytes of a flatbuffer that takes them.

    ``operator`` is the builtin (or custom) name that the model must hold. ``constant`` says that an output of one value
    throughout is right; without it such a case would prove nothing. ``tolerance`` is relative to an output's range.
    """

    operator: str
    name: str
    model: Callable[..., Any] | bytes
    inputs: tuple[Input, ...]
    forms: tuple[str, ...] = ("float32",)
    tolerance: float = FLOAT_TOLERANCE
    constant: bool = False

    @property
    def ran_forms(self) -> tuple[str, ...]:
        """The forms that the case is run in."""
        return (MADE,) if isinstance(self.model, bytes) else self.forms


@dataclass(frozen=True)
class CaseResult:
    """One case in one form. Of integer outputs, ``exact`` and ``within_step`` are the least shares of elements."""

    operator: str
    name: str
    form: str
    outcome: Outcome
    reason: str = ""
    exact: float | None = None
    within_step: float | None = None


def find_table(folder: Path | None = None) -> Path:
    """The folder of the table: of a checkout around the current folder unless one is named. Raises UsageError."""
    found = folder or next(
        (parent / TABLE for parent in (Path.cwd(), *Path.cwd().parents) if (parent / TABLE).is_dir()), None
    )
    if found is None or not found.is_dir() or not (found / "__init__.py").exists():
        raise UsageError(
            "there is no table of TensorFlow Lite cases here",
            received=folder or Path.cwd(),
            supported=f"a checkout, which has {TABLE}",
            remedy="Name the folder with --table",
        )
    return found.resolve()


@cache
def read_table(folder: Path) -> tuple[Case, ...]:
    """The cases of a table's modules (``CASES`` of each), which import each other by the names of their packages."""
    root, package = folder.parent, folder.name
    while (root / "__init__.py").exists():
        root, package = root.parent, f"{root.name}.{package}"
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    found: list[Case] = []
    for path in sorted(folder.glob("*.py")):
        if path.stem != "__init__":
            module = importlib.import_module(f"{package}.{path.stem}")
            if module.__file__ is None or Path(module.__file__).resolve() != path:
                raise UsageError(f"{path} cannot be imported", received=f"{package} is {module.__file__}")
            found += module.CASES
    names = [(case.operator, case.name) for case in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError("two cases of the table have one name", received=sorted(twice))
    if never := [(case.operator, case.name) for case in found if not case.ran_forms]:
        raise UsageError("cases of the table have no form to be run in", received=never, supported=FORMS)
    return tuple(found)


def chosen(folder: Path, operators: Sequence[str], forms: Sequence[str]) -> list[tuple[Case, str]]:
    """Cases and forms, in order. Raises UnknownNameError for an operator without cases or a form that is none,
    UsageError where nothing is left to run."""
    cases = read_table(folder)
    known = {case.operator for case in cases}
    for operator in operators:
        if operator not in known:
            raise UnknownNameError("no case tests this operator", received=operator, supported=sorted(known))
    for form in forms:
        if form not in (*FORMS, MADE):
            raise UnknownNameError("there is no such form", received=form, supported=(*FORMS, MADE))
    found = [
        (case, form)
        for case in cases
        for form in case.ran_forms
        if (not operators or case.operator in operators) and (not forms or form in forms)
    ]
    if not found:
        raise UsageError(
            "no case of these operators is run in these forms",
            received=f"{', '.join(operators) or 'all operators'} in {', '.join(forms) or 'all forms'}",
            supported=sorted({form for case in cases if case.operator in operators for form in case.ran_forms}),
        )
    return found


def run_suite(folder: Path, operators: Sequence[str], forms: Sequence[str], jobs: int = 1) -> Iterator[CaseResult]:
    """Every chosen case in every chosen form, in ``jobs`` processes. A case that ends its process is a result."""
    work = [(folder, case.operator, case.name, form) for case, form in chosen(folder, operators, forms)]
    return run_isolated(work, _run_named, _lost, jobs)


_Work = tuple[Path, str, str, str]


def _run_named(item: _Work) -> CaseResult:
    folder, operator, name, form = item
    try:
        return run_case(_by_name(folder)[operator, name], form)
    except Exception as error:  # one case does not end the suite
        return CaseResult(operator, name, form, "failed", f"the case cannot be run: {error!r}")


def _lost(item: _Work, reason: str) -> CaseResult:
    _, operator, name, form = item
    return CaseResult(operator, name, form, "crashed", reason)


@cache
def _by_name(folder: Path) -> Mapping[tuple[str, str], Case]:
    return {(case.operator, case.name): case for case in read_table(folder)}


def run_case(case: Case, form: str) -> CaseResult:
    """Make, convert, execute and compare one case."""
    from harness.runtimes import portable

    result = CaseResult(case.operator, case.name, form, "correct")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            path = _made(case, form, folder)
            inputs, expected = _expected(case, form, path)
        except PredictionError as error:
            return replace(result, outcome="unavailable", reason=str(error))
        except ModelFileError as error:
            return replace(result, outcome="refused", reason=str(error))
        try:
            artifact = _converted(path, folder)
        except (ConversionError, ModelFileError) as error:
            return replace(result, outcome="refused", reason=str(error))
        except Exception as error:
            return replace(result, outcome="crashed", reason=repr(error))
        try:
            given = {artifact.input_names[key]: _taken(value) for key, value in inputs.items()
                     if key in artifact.input_names}  # fmt: skip
            outputs = portable.load(artifact.path).predict(given)
            found = {key: np.asarray(outputs[artifact.output_names[key]]) for key in expected}
        except HarnessError as error:
            return replace(result, outcome="failed", reason=str(error))
        except Exception as error:
            return replace(result, outcome="crashed", reason=repr(error))
        return _judged(result, case, path, expected, found)


def _made(case: Case, form: str, folder: Path) -> Path:
    """The model as a file. Raises PredictionError where it does not hold the operator or nothing of it is quantised."""
    from harness.frontends.tflite.reader import read_graph

    path = folder / "case.tflite"
    path.write_bytes(case.model if isinstance(case.model, bytes) else _written(case, form))
    graph = read_graph(path)
    operators = {operator.name for subgraph in graph.subgraphs for operator in subgraph.operators}
    if case.operator not in operators:
        raise PredictionError(f"TFLiteConverter writes {', '.join(sorted(operators)) or 'no operator'} instead")
    types = {tensor.dtype for subgraph in graph.subgraphs for tensor in subgraph.tensors}
    wanted = {"float16": "float16", "dynamic": "int8", "int16x8": "int16", "int8": "int8", "int8-float": "int8"}
    if form in wanted and wanted[form] not in types:
        raise PredictionError("TFLiteConverter leaves the model in float32")
    return path


def _written(case: Case, form: str) -> bytes:
    """What TFLiteConverter makes of the function. Raises PredictionError."""
    from harness.quiet import quiet_imports
    from harness.runtimes.tensorflow_graph import import_tensorflow

    tf = import_tensorflow()
    model = case.model
    assert callable(model)

    def called(*arrays: Any) -> Any:  # tf.function takes a lambda's defaults for inputs
        return model(*arrays)

    signature = [tf.TensorSpec(item.shape, item.dtype, name=f"input_{index}") for index, item in enumerate(case.inputs)]
    with quiet_imports():
        try:
            function = tf.function(called, input_signature=signature).get_concrete_function()
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
            _configure(converter, case, form, tf)
            content: bytes = converter.convert()
        except Exception as error:  # converters raise whatever their parts raise
            lines = str(error).strip().splitlines()
            raise PredictionError(f"TFLiteConverter: {lines[0][:200] if lines else type(error).__name__}") from error
    return content


def _configure(converter: Any, case: Case, form: str, tf: Any) -> None:
    if form == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if form in QUANTIZED:
        random = np.random.default_rng(1)
        samples = [
            {f"input_{index}": item.array(random) for index, item in enumerate(case.inputs)} for _ in range(_SAMPLES)
        ]
        converter.representative_dataset = lambda: iter(samples)
        sets = tf.lite.OpsSet
        wide = form == "int16x8"
        converter.target_spec.supported_ops = [
            sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 if wide else sets.TFLITE_BUILTINS_INT8
        ]
        if form != "int8-float" and any(item.dtype == "float32" for item in case.inputs):
            converter.inference_input_type = converter.inference_output_type = tf.int16 if wide else tf.int8


def _expected(case: Case, form: str, path: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and the interpreter's outputs, by name. Raises PredictionError."""
    from harness.frontends.tflite.reader import read_graph
    from harness.runtimes.tflite import TFLiteRuntime

    graph = read_graph(path)
    interface = graph.interface()
    tensors = graph.subgraphs[interface.subgraph].tensors
    random = np.random.default_rng(zlib.crc32(f"{case.operator} {case.name}".encode()))
    arrays = [item.array(random) for item in case.inputs]
    inputs = {}
    for position, (name, index) in enumerate(interface.inputs.items()):
        # TFLiteConverter drops inputs that are not read and may order them anew.
        numbered = re.fullmatch(r"input_(\d+)(_\d+)?", name)
        place = int(numbered[1]) if numbered else position
        array, tensor = arrays[place], tensors[index]
        if tensor.dtype != str(array.dtype) and tensor.quantization is not None:
            limits = np.iinfo(tensor.dtype)
            scaled = np.round(array / tensor.quantization.scales[0]) + tensor.quantization.zero_points[0]
            array = np.clip(scaled, limits.min, limits.max).astype(tensor.dtype)
        inputs[name] = array
    artifact = Artifact(path=path, format="tflite", inputs=(), outputs=(), provenance={})
    return inputs, TFLiteRuntime().load(artifact, "cpu", "float32").predict(inputs)


def _converted(path: Path, folder: Path) -> Artifact:
    from harness.frontends.tflite.convert import convert_tflite

    return convert_tflite(path, "float32", folder / "case.mlpackage")


def _taken(value: Array) -> Array:
    """An input in a type that Core ML takes."""
    return value.astype(np.int32) if value.dtype.kind in "iub" else value


def _judged(
    result: CaseResult, case: Case, path: Path, expected: Mapping[str, Array], found: Mapping[str, Array]
) -> CaseResult:
    from harness.frontends.tflite.reader import read_graph

    graph = read_graph(path)
    interface = graph.interface()
    tensors = graph.subgraphs[interface.subgraph].tensors
    producers = {
        index: operator for operator in graph.subgraphs[interface.subgraph].operators for index in operator.outputs
    }
    if not expected:
        return replace(result, outcome="failed", reason="the model has no outputs: the case shows nothing")
    if not case.constant and all(_is_of_one_value(value) for value in expected.values()):
        return replace(result, outcome="failed", reason="every expected output is of one value: the case shows nothing")
    for name, wanted in expected.items():
        got = found[name]
        if wanted.shape != got.shape and not (wanted.shape == () and got.shape == (1,)):
            return replace(result, outcome="wrong", reason=f"output {name} has shape {got.shape}, not {wanted.shape}")
        got = got.reshape(wanted.shape).astype(np.float64)
        tensor = tensors[interface.outputs[name]]
        step = 1.0 if tensor.quantization is not None and tensor.dtype in ("int8", "uint8", "int16") else 0.0
        producer = producers.get(tensor.index)
        if result.form == "int8-float" and producer is not None and producer.name == "DEQUANTIZE":
            quantization = tensors[producer.inputs[0]].quantization
            step = float(quantization.scales[0]) if quantization is not None else 0.0
        if wanted.dtype.kind in "iub" or step:
            difference = np.abs(got - wanted.astype(np.float64))
            exact = float((difference <= step * 1e-3).mean()) if wanted.size else 1.0
            within = float((difference <= step * 1.001).mean()) if wanted.size else 1.0
            result = replace(result, exact=_least(exact, result.exact), within_step=_least(within, result.within_step))
            if within < (STEP_SHARE if result.form in QUANTIZED or step else 1.0):
                reason = f"output {name}: {within:.2%} within a step, {exact:.2%} exact, worst {difference.max():g}"
                return replace(result, outcome="wrong", reason=reason)
            continue
        reason = _float_difference(wanted.astype(np.float64), got, _tolerance(case, result.form))
        if reason:
            return replace(result, outcome="wrong", reason=f"output {name}: {reason}")
    return result


def _tolerance(case: Case, form: str) -> float:
    return max(case.tolerance, DYNAMIC_TOLERANCE) if form == "dynamic" else case.tolerance


def _float_difference(wanted: Array, got: Array, tolerance: float) -> str:
    """What is wrong, or nothing. Infinities and what is no number must be at the same places."""
    finite = np.isfinite(wanted)
    if not np.array_equal(wanted[~finite], got[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return "infinities or NaN are at other places"
    if not finite.any():
        return ""
    values = wanted[finite]
    span = float(values.max() - values.min()) or float(np.abs(values).max()) or 1.0
    worst = float(np.max(np.abs(np.subtract(got[finite], values))))
    return "" if worst <= tolerance * span else f"off by {worst:.3g}, {worst / span:.3g} of the range"


def _is_of_one_value(value: Array) -> bool:
    return (
        value.size == 0
        or (value.size == 1 and not value.any())
        or (value.size > 1 and bool((value == value.flat[0]).all()))
    )


def _least(share: float, so_far: float | None) -> float:
    return share if so_far is None else min(share, so_far)
