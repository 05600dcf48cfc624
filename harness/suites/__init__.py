"""Test suites of others, executed on the portable runtime."""

from __future__ import annotations

# Files and folders of coremltools.
PARTS: dict[str, tuple[str, ...]] = {
    "tf1": ("converters/mil/frontend/tensorflow/test",),
    "tf2": ("converters/mil/frontend/tensorflow2/test",),
    "mil": ("converters/mil/mil/ops/tests",),
    "ml_program": ("test/ml_program",),
    "api": (
        "test/api",
        "test/modelpackage",
        "test/neural_network/test_compiled_model.py",
        "test/neural_network/test_model.py",
    ),
}
