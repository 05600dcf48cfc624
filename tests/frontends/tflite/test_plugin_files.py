"""Custom operators that a user's own file translates: the documented example, and what is told of files that fail."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.__main__ import main
from harness.errors import ConversionError, UnsupportedError, UsageError
from harness.frontends.plugin_files import load_plugin_files
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.frontends.tflite.registry import TRANSLATIONS
from harness.quiet import quiet_imports
from harness.runtimes import portable
from models import unet_custom_activation

with quiet_imports():
    import tensorflow as tf

DOCUMENT = Path(__file__).parents[3] / "docs" / "tflite.md"
IMPLEMENTS = """
    name: "{}" attr {{ key: "tfl_fusable_op" value {{ b: true }} }} attr {{ key: "power" value {{ f: 3.0 }} }}
"""
CUBE = """
from coremltools.converters.mil import Builder as mb

from harness.frontends.tflite import Var, translates


@translates("{}")
def cube(x: Var, *, power: float) -> Var:
    return mb.pow(x=x, y=power)
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    yield
    for module in [name for name in sys.modules if name.startswith("harness_plugin_")]:
        TRANSLATIONS.withdraw(module)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    try:
        main()
    except SystemExit as stop:
        return stop.code
    return 0


def custom_model(operator: str) -> bytes:
    """One custom operator that raises to the third power."""

    @tf.function(experimental_implements=IMPLEMENTS.format(operator))
    def cube(x: Any) -> Any:
        return x * x * x

    concrete = tf.function(lambda x: cube(x + 1.0)).get_concrete_function(tf.TensorSpec((2, 3), name="x"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    converter.allow_custom_ops = True
    return converter.convert()


def test_the_documented_example(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```(\w*)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    export, gate = (text for language, text in blocks if language == "python")
    (line,) = (text for language, text in blocks if not language and "--plugin" in text)
    Path("export.py").write_text(export)
    Path("gate.py").write_text(gate)
    with quiet_imports():
        runpy.run_path("export.py")
    assert command(monkeypatch, *line.split()[1:]) == 0
    image = unet_custom_activation.inputs()["image"]
    expected = unet_custom_activation.build()(image).numpy()
    (found,) = portable.load("unet_gate.mlpackage").predict({"image": image}).values()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert expected.std() > 0.1


def test_a_custom_operator_without_translation_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"custom operator Cube1 .*--plugin FILE"):
        convert_tflite(parse_graph(custom_model("Cube1"), "model"), "float32", tmp_path / "a.mlpackage")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\nx = = 2\n", "line 2.*SyntaxError"),
        ("import numpy\n\nimport no_such_package\n", "line 3.*no_such_package"),
        ("def f():\n    return 1 / 0\n\n\nf()\n", "line 2.*ZeroDivisionError"),
        ("import sys\nsys.exit(0)\n", "line 2.*SystemExit"),
        ("x = 1\n", "translates no operator"),
        ("from harness.frontends.tflite import translates\n\n@translates('ADD')\ndef add(x, y): ...\n",
         "line 3.*ADD.*twice"),
        ("from harness.frontends.tflite import translates\n\n@translates('New1')\ndef f(x: Unknown): ...\n",
         "line 3.*Unknown"),
    ],
)  # fmt: skip
def test_a_file_that_fails_is_told_with_its_line(text: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(text)
    before = TRANSLATIONS.operators()
    with pytest.raises(UsageError, match=f"(?s)mine.py.*{told}"):
        load_plugin_files([Path("mine.py")])
    assert TRANSLATIONS.operators() == before
    assert command(monkeypatch, "inspect", "model.tflite", "--plugin", "mine.py") == 2


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"none\.py cannot be read"):
        load_plugin_files([Path("none.py")])


def test_errors_while_it_translates_name_the_line(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(CUBE.format("Cube2") + "\n\nclass Odd(Exception): ...\n")
    content = parse_graph(custom_model("Cube2"), "model")
    plugin.write_text(plugin.read_text().replace("return mb", "raise Odd('no')\n    return mb"))
    load_plugin_files([plugin])
    with pytest.raises(ConversionError, match=r"Cube2.*no.*mine\.py, line 9"):
        convert_tflite(content, "float32", tmp_path / "a.mlpackage")
    plugin.write_text(CUBE.format("Cube2").replace(", *, power: float", ""))
    load_plugin_files([plugin])
    with pytest.raises(UnsupportedError, match=r"attributes that are not translated.*power=3\.0"):
        convert_tflite(content, "float32", tmp_path / "a.mlpackage")


@pytest.mark.parametrize("returned", ["'text'", "(x, 3)", "lambda: x"])
def test_what_is_no_value_is_told_with_the_function(returned: str, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(CUBE.format("Cube4").replace("return mb.pow(x=x, y=power)", f"return {returned}"))
    load_plugin_files([plugin])
    with pytest.raises(
        ConversionError, match=r"Cube4.* returns what is no value; received (str|int|function).*mine\.py"
    ):
        convert_tflite(parse_graph(custom_model("Cube4"), "model"), "float32", tmp_path / "a.mlpackage")


def test_a_kept_conversion_belongs_to_the_files_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    concrete = tf.function(lambda x: x + 1.0).get_concrete_function(tf.TensorSpec((2, 3), name="x"))
    Path("model.tflite").write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert())
    np.save("x.npy", np.ones((2, 3), np.float32))
    plugin = Path("mine.py")
    cached = []
    for index, text in enumerate([CUBE, CUBE, CUBE + "\n# changed\n"]):
        plugin.write_text(text.format("Cube3"))
        arguments = [
            "run", "model.tflite", "--route", "tflite", "--precision", "float32", "--runtime", "portable",
            "--inputs", "x.npy", "--samples", "0", "--plugin", "mine.py", "--out", f"out{index}",
        ]  # fmt: skip
        assert command(monkeypatch, *arguments) == 0
        (file,) = Path(f"out{index}").glob("*/records.jsonl")
        cached.append(json.loads(file.read_text().splitlines()[0])["convert_cached"])
    assert cached == [False, True, False]
