"""Whose fault an exception is: the model's where coremltools raises it, ours otherwise."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.errors import ConversionError, HarnessError, InternalError, UnsupportedError
from harness.frontends import blame, program
from harness.frontends.builder import mb
from harness.frontends.onnx import convert
from harness.frontends.onnx.ops import activations
from harness.frontends.onnx.registry import TRANSLATIONS


def model(operator: str = "Softplus", shape: tuple[int, ...] = (1, 4), **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x"], ["y"], "asked", **attributes)
    declared = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([node], "graph", declared[:1], declared[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def within(function: Callable[..., Any], module: Any) -> Callable[..., Any]:
    """The function as if the module defined it."""
    return types.FunctionType(function.__code__, {**vars(module), **globals(), "__name__": module.__name__})


def slip(*_: Any, **__: Any) -> Any:
    return dict[int, int]()[7]


def numpys(*_: Any, **__: Any) -> Any:
    return np.ones(3) + np.ones(4)


def builders(x: Any) -> Any:
    return mb.concat(values=[x, mb.cast(x=x, dtype="int32")], axis=0)


def inside_a_loop(x: Any) -> Any:
    def turn(value: Any) -> Any:
        return dict[int, int]()[7]

    return mb.while_loop(_cond=turn, _body=turn, loop_vars=(x,))


def own_word(x: Any) -> Any:
    raise UnsupportedError("no such thing")


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (
            slip,
            InternalError,
            ("KeyError: 7", "slip of harness.frontends.onnx.ops.activations", "Report", "--traceback"),
        ),
        (numpys, InternalError, ("could not be broadcast",)),
        (inside_a_loop, InternalError, ("KeyError: 7",)),
        (builders, ConversionError, ("same data type", "(coremltools/converters/mil/")),
        (own_word, UnsupportedError, ("no such thing",)),
    ],
)
def test_of_a_translation(
    function: Callable[..., Any], error: type[HarnessError], words: tuple[str, ...], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    translation = within(function, activations)
    translation.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)]
    )
    monkeypatch.setitem(TRANSLATIONS._table, "Softplus", [])
    TRANSLATIONS.translates("Softplus")(translation)
    with pytest.raises(HarnessError) as caught:
        convert.convert_onnx(model(), "float32", tmp_path / "a.mlpackage")
    assert type(caught.value) is error
    assert str(caught.value).startswith("Softplus-18 node 'asked'")
    assert all(word in str(caught.value) for word in words)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        (convert.Converter, "_folded", "Softplus-18 node 'asked' cannot be translated: harness failed"),
        (convert, "_compressed_weights", "model model cannot be translated: harness failed"),
        (convert, "_find_untranslated", "model model cannot be translated: harness failed"),
        (program, "lower_ranks", "cannot be written with at most 5 axes: harness failed"),
        (program, "_share_small_constants", "cannot be written as an ML Program: harness failed"),
    ],
)
def test_of_what_is_around_a_translation(
    module: Any, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, slip)
    with pytest.raises(InternalError) as caught:
        convert.convert_onnx(model(), "float32", tmp_path / "a.mlpackage")
    assert words in str(caught.value)
    assert "KeyError: 7" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_pass_of_coremltools_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.converters.mil.mil.passes.defs.cleanup import noop_elimination

    monkeypatch.setattr(noop_elimination, "apply", within(lambda *_: [][0], sys.modules[noop_elimination.__module__]))
    with pytest.raises(ConversionError, match="common::noop_elimination failed; received IndexError") as caught:
        convert.convert_onnx(model(), "float32", tmp_path / "a.mlpackage")
    assert "in <lambda> (coremltools/" in str(caught.value)
    assert isinstance(caught.value.__cause__, IndexError)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("maximum recursion depth exceeded")])
def test_memory_and_the_stack_are_nobodys(error: Exception) -> None:
    with pytest.raises(ConversionError, match="model m cannot be translated; received"), blame.blame("model m"):
        raise error


def test_files_are_left_to_who_opens_them() -> None:
    with pytest.raises(FileNotFoundError), blame.blame("model m"):
        Path("/nowhere/at/all").read_text()


def test_classes_of_types_are_said_by_their_names() -> None:
    text = blame.reason(ValueError("<class 'a.b.<locals>.double'> is no\n <class 'int'>."))
    assert text == "double is no int"
