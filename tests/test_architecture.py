"""The floors of the house: a module imports only from floors below its own, or from its own package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "harness"

# The longest prefix counts.
FLOORS = {
    "errors": 0, "interruption": 0, "quiet": 0, "tensors": 0.5, "tolerance": 0.5, "code": 0,
    "failures": 1, "likeness": 1, "judging": 1.5,
    "case": 1, "source": 1, "artifact": 1, "limitations": 1, "record": 1, "photographs": 1,
    "machine": 1, "memory": 0, "isolation": 1, "metrics": 2, "timing": 1, "latency": 2, "ladder": 3,
    "frontends": 2.5, "runtimes": 3, "runtimes.base": 2,
    "routes": 4, "plugins": 5, "inputs": 5,
    "disk": 1, "record_lines": 2, "parquet": 5, "store": 5, "cache": 5,
    "plan": 5.2, "attribution": 5.5, "conversions": 5.5, "doubt": 5.5, "bench": 5.8, "evaluate": 6,
    "report": 7, "inspection": 6.5, "inspection_command": 7,
    "printing": 3, "comparison_command": 7.5, "list_command": 7, "suites": 7, "doctor": 7,
    "cli": 8, "pytest_plugin": 8, "__main__": 9, "": 9,
}  # fmt: skip

MODULES = sorted(path for path in ROOT.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def floor(name: str) -> int:
    while name not in FLOORS:
        name = name.rpartition(".")[0]
    return FLOORS[name]


def package(name: str) -> str:
    return name.split(".")[0]


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "harness":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name.removeprefix("harness").removeprefix(".") for name in names]
        elif isinstance(node, ast.Import):
            found += [a.name.removeprefix("harness.") for a in node.names if a.name.startswith("harness.")]
    known = {module_name(module) for module in MODULES}
    return [name if name in known else name.rpartition(".")[0] for name in found]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_from_below(path: Path) -> None:
    own = module_name(path)
    for other in imports(path):
        assert package(other) == package(own) or floor(other) < floor(own), f"{own} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450


def test_help_does_not_import_the_heavy_packages() -> None:
    code = (
        "import sys, runpy; sys.argv = ['harness', '--help']\n"
        "try: runpy.run_module('harness', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'tensorflow', 'coremltools', 'onnxruntime', 'onnx', 'rich.table'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("HEAVY []")
