"""Test suites of others, executed on the portable runtime."""

from __future__ import annotations

PARTS: dict[str, str] = {
    "tf1": "converters/mil/frontend/tensorflow/test",
    "tf2": "converters/mil/frontend/tensorflow2/test",
    "mil": "converters/mil/mil/ops/tests",
    "ml_program": "test/ml_program",
}
