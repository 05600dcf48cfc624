"""ONNX's own backend suite through our frontend: each case is converted, executed on the portable runtime, and
compared with the suite's expected outputs at the suite's own tolerance."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.artifact import Artifact
from harness.errors import ConversionError, HarnessError, ModelFileError, UnknownNameError
from harness.suites.processes import run_isolated
from harness.tensors import Array

KINDS = ("node", "simple", "pytorch")
_FOLDERS = {"simple": ("simple",), "pytorch": ("pytorch-converted", "pytorch-operator")}

FORMS = ("inputs", "constants")
OURS = "onnx"
# Routes that convert ONNX by other means.
RIVALS = ("onnx2coreml", "onnxsim")

# correct: built, and every output as expected. inexact: float16 outputs within one step of float16 of the expected
# ones, which were rounded after every operation, and not within the suite's tolerance. wrong: built, and not as
# expected. failed: built, and the portable runtime raises; or the case compares nothing. crashed: an error that is
# none of ours, or no end. unsupported: refused with a reason before or while it was converted.
Outcome = Literal["correct", "inexact", "wrong", "failed", "crashed", "unsupported"]
OUTCOMES: tuple[Outcome, ...] = ("correct", "inexact", "wrong", "failed", "crashed", "unsupported")
BAD: tuple[Outcome, ...] = ("wrong", "failed", "crashed")


@dataclass(frozen=True)
class CaseResult:
    """One case in one form; ``form`` is ``inputs``, or ``constants`` with inputs after the first promoted."""

    name: str
    operator: str
    form: str
    outcome: Outcome
    reason: str = ""
    kind: str = "node"
    converter: str = OURS


def cases(kind: str) -> list[Any]:
    """The suite's cases of one kind, without the expanded ones (which test ONNX's own function bodies)."""
    return [case for case in _all_cases(kind) if not _is_expanded(case)]


def count_expanded(kinds: Sequence[str]) -> int:
    """How many cases of these kinds are left out."""
    return sum(_is_expanded(case) for kind in kinds for case in _all_cases(kind))


def _is_expanded(case: Any) -> bool:
    return "_expanded" in case.name


@cache
def _all_cases(kind: str) -> tuple[Any, ...]:
    from onnx.backend.test.loader import load_model_tests

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases divide by zero to make their data
        for folder in _FOLDERS.get(kind, (kind,)):
            found += load_model_tests(kind=folder)
    return tuple(sorted(found, key=lambda case: str(case.name)))


def operator_of(case: Any) -> str:
    """What a node case is a test of; the model's name for others."""
    if case.kind != "node" or case.model is None:
        return str(case.name)
    return str(case.model.graph.node[0].op_type)


def _chosen(kind: str, operators: Sequence[str]) -> list[Any]:
    return [case for case in cases(kind) if not operators or operator_of(case) in operators]


def check_choice(kinds: Sequence[str], operators: Sequence[str]) -> None:
    """Raises UnknownNameError for a kind that there is not, and for an operator without a case in the kinds."""
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownNameError("ONNX's suite has no such part", received=repr(kind), supported=KINDS)
    known = {operator_of(case) for kind in kinds for case in cases(kind)}
    for operator in operators:
        if operator not in known:
            near = get_close_matches(operator, known, 5) or f"{len(known)} operators, none with a name like it"
            raise UnknownNameError("no case tests this operator", received=repr(operator), supported=near)


def _forms(kind: str) -> tuple[str, ...]:
    """Whole models have their constants where they are."""
    return FORMS if kind == "node" else FORMS[:1]


def count_cases(kinds: Sequence[str], operators: Sequence[str], converters: Sequence[str]) -> int:
    """How many results ``run_suite`` gives."""
    return sum(len(_chosen(kind, operators)) * len(_forms(kind)) for kind in kinds) * len(converters)


def converters() -> tuple[str, ...]:
    """Ours and every rival that is installed."""
    from harness import plugins

    return (OURS, *(name for name in RIVALS if not plugins.route(name).unavailable()))


def run_suite(
    kinds: Sequence[str], operators: Sequence[str], converters: Sequence[str], jobs: int = 1
) -> Iterator[CaseResult]:
    """Every chosen case in every form by every converter, in ``jobs`` processes. A case that ends its process is a
    result, crashed."""
    work = [
        (converter, kind, str(case.name), form)
        for converter in converters
        for kind in kinds
        for case in _chosen(kind, operators)
        for form in _forms(kind)
    ]
    return run_isolated(work, _run_named, _lost, jobs)


_Work = tuple[str, str, str, str]


def _lost(item: _Work, reason: str) -> CaseResult:
    converter, kind, name, form = item
    operator = operator_of(_by_name(kind)[name])
    return CaseResult(name, operator, form, "crashed", reason, kind, converter)


def _run_named(item: _Work) -> CaseResult:
    converter, kind, name, form = item
    return replace(run_case(_by_name(kind)[name], form, converter), kind=kind)


@cache
def _by_name(kind: str) -> dict[str, Any]:
    return {case.name: case for case in cases(kind)}


def run_case(case: Any, form: str = "inputs", converter: str = OURS) -> CaseResult:
    """Convert, execute and compare one case."""
    return replace(_run_case(case, form, converter), converter=converter)


def _run_case(case: Any, form: str, converter: str) -> CaseResult:
    from harness.runtimes import portable

    operator = operator_of(case)
    try:
        model, data = _load(case)
        if form == "constants":
            model, data = _promoted(model, data)
    except (ValueError, TypeError, KeyError) as error:
        return CaseResult(case.name, operator, form, "unsupported", f"the case cannot be loaded: {error!r}")
    if not data or not all(expected for _, expected in data):
        return CaseResult(case.name, operator, form, "failed", "the case has no expected outputs: it shows nothing")
    with tempfile.TemporaryDirectory() as folder:
        try:
            artifact = _converted(model, case.name, Path(folder), converter)
        except (ConversionError, ModelFileError) as error:
            return CaseResult(case.name, operator, form, "unsupported", str(error))
        except Exception as error:
            return CaseResult(case.name, operator, form, "crashed", repr(error))
        try:
            runtime = portable.load(artifact.path)
            for inputs, expected in data:
                inputs = {name: _widened(value) for name, value in inputs.items()}
                given = {
                    artifact.input_names[name]: value for name, value in inputs.items() if name in artifact.input_names
                }
                outputs = runtime.predict(given)
                reason = _difference(expected, [outputs[name] for name in artifact.output_names.values()], case)
                if reason:
                    found = [outputs[name] for name in artifact.output_names.values()]
                    outcome: Outcome = "inexact" if _is_a_rounding(expected, found) else "wrong"
                    return CaseResult(case.name, operator, form, outcome, reason)
        except HarnessError as error:
            return CaseResult(case.name, operator, form, "failed", str(error))
        except Exception as error:
            return CaseResult(case.name, operator, form, "crashed", repr(error))
    return CaseResult(case.name, operator, form, "correct")


def _converted(model: Any, name: str, folder: Path, converter: str) -> Artifact:
    destination = folder / "case.mlpackage"
    if converter == OURS:
        from harness.frontends.onnx.convert import convert_onnx

        return convert_onnx(model, "float32", destination, name=name)
    import onnx

    from harness import plugins
    from harness.source import SourceFile

    path = folder / "case.onnx"
    onnx.save(model, path)
    return plugins.route(converter).convert(SourceFile(name, path, "onnx", (), ()), "float32", destination)


def _difference(expected: Sequence[Any], found: Sequence[Array], case: Any) -> str:
    """What is wrong, or nothing. Shapes must be equal but for Core ML's having no scalars."""
    for index, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        wanted = _widened(wanted)
        got = np.asarray(got)
        if wanted.shape != got.shape and not (wanted.shape == () and got.shape == (1,)):
            return f"output {index} has shape {got.shape}, not {wanted.shape}"
        if wanted.dtype.kind in "fV":
            wanted = wanted.astype(np.float64)
        try:
            np.testing.assert_allclose(got.astype(np.float64).reshape(wanted.shape), wanted.astype(np.float64),
                                       rtol=case.rtol, atol=case.atol)  # fmt: skip
        except (AssertionError, TypeError, ValueError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return f"output {index}: " + " ".join(lines[1:4])[:200]
    return ""


def _is_a_rounding(expected: Sequence[Any], found: Sequence[Array]) -> bool:
    """Whether all outputs are float16 and within one step of it."""
    for wanted, got in zip(map(np.asarray, expected), found, strict=True):
        if wanted.dtype != np.float16 or wanted.shape != got.shape or not np.isfinite(got).all():
            return False
        if (
            np.abs(got.astype(np.float16).astype(np.float64) - wanted) > np.abs(np.spacing(wanted)).astype(np.float64)
        ).any():
            return False
    return True


def _load(case: Any) -> tuple[Any, list[tuple[dict[str, Any], list[Any]]]]:
    """Model, and pairs of inputs by name and expected outputs."""
    import onnx
    from onnx import numpy_helper

    if case.model is not None:
        model, sets = case.model, case.data_sets
    else:
        folder = Path(case.model_dir)
        model = onnx.load(folder / "model.onnx")
        sets = []
        for data in sorted(folder.glob("test_data_set_*")):
            read = [
                [_tensor(data / f"{role}_{index}.pb") for index in range(len(list(data.glob(f"{role}_*.pb"))))]
                for role in ("input", "output")
            ]
            sets.append(tuple(read))
    initializers = {tensor.name for tensor in model.graph.initializer}
    names = [item.name for item in model.graph.input if item.name not in initializers]
    arrays = [
        (
            {name: _array(value, numpy_helper) for name, value in zip(names, inputs, strict=False)},
            [_array(value, numpy_helper) for value in outputs],
        )
        for inputs, outputs in sets
    ]
    return model, arrays


def _tensor(path: Path) -> Any:
    import onnx

    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return tensor


def _array(value: Any, numpy_helper: Any) -> Any:
    if hasattr(value, "data_type"):
        value = numpy_helper.to_array(value)
    if isinstance(value, list):
        raise TypeError("sequences are not tensors")
    return np.asarray(value)


def _widened(value: Any) -> Array:
    """Narrow types that numpy does not compute with, as our programs take and give them."""
    array = np.asarray(value)
    if array.dtype.kind == "V":
        return array.astype(np.int32 if "int" in array.dtype.name else np.float32)
    return array


def _promoted(model: Any, data: list[tuple[dict[str, Any], list[Any]]]) -> tuple[Any, list[Any]]:
    """The model with all inputs but the first as constants, as real models have them (of the first data set)."""
    import onnx
    from onnx import numpy_helper

    promoted = onnx.ModelProto()
    promoted.CopyFrom(model)
    promoted.ir_version = max(4, promoted.ir_version)  # before, a constant had to be an input too
    if not data:
        return promoted, []
    inputs, outputs = data[0]
    names = list(inputs)[1:]
    for name in names:
        promoted.graph.initializer.append(numpy_helper.from_array(inputs[name], name))
    kept = [item for item in promoted.graph.input if item.name not in names]
    del promoted.graph.input[:]
    promoted.graph.input.extend(kept)
    return promoted, [({name: value for name, value in inputs.items() if name not in names}, outputs)]
