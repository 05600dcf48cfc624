"""Records that show every kind of result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.record import Record

RUN = "20250131T120000Z-3f9a1c"
SOURCE = "default for outputs in [0, 1]"


def samples(median: float, *, slope: float = 0.0, count: int = 20, seed: int = 0) -> tuple[float, ...]:
    """Seconds about ``median``, of 1 % scatter, each ``slope`` more than the one before."""
    noise = np.random.default_rng(seed).uniform(-0.01, 0.01, count)
    return tuple(float(median * (1 + value) + slope * (index - count / 2)) for index, value in enumerate(noise))


def record(model: str = "unet", precision: str = "float32", **values: Any) -> Record:
    """A record that passed, but for ``values``."""
    base: dict[str, Any] = {
        "run": RUN, "route": "native", "runtime": "portable", "compute_unit": "CPU", "status": "passed",
        "output": "image", "max_abs_error": 3.5e-6, "mean_abs_error": 4e-7, "relative_error": 5e-7, "cosine": 0.99999,
        "psnr": 109.12, "ssim": 0.99996, "tolerance": 1e-4, "tolerance_source": SOURCE,
        "samples": samples(0.0821), "reference_samples": samples(0.1, seed=1), "warm_up": 3, "seed": 7,
        "convert_seconds": 2.53, "load_seconds": 0.2, "artifact_bytes": 1234567, "model_hash": "ab12" * 16,
        "artifact_hash": "cd34" * 16, "input_source": "astronaut", "input_shapes": "image (1, 64, 64, 3)",
        "started": "2025-01-31T12:00:00+00:00", "machine": "x86_64", "system": "Linux 6.1",
        "versions": {"coremltools": "9.0", "tensorflow": "2.21.0"},
    }  # fmt: skip
    return Record(**{**base, "model": model, "precision": precision, **values})


NOTHING: dict[str, Any] = {
    "max_abs_error": None, "mean_abs_error": None, "relative_error": None, "cosine": None, "psnr": None, "ssim": None,
    "samples": (), "reference_samples": (),
}  # fmt: skip


@pytest.fixture
def records() -> list[Record]:
    """Passed, beyond tolerance, drifting, equal, not timed with a warning, skipped and not converted."""
    return [
        record(picture="unet.png"),
        record(
            precision="float16", status="failed", stage="compare", error="output 'image' is 0.0312 off, beyond 0.01",
            max_abs_error=0.0312, tolerance=1e-2, psnr=30.0, ssim=0.9,
        ),
        record("unet_custom_activation", samples=samples(0.1, slope=0.0008)),
        record(
            "identity", max_abs_error=0.0, psnr=float("inf"), ssim=1.0, samples=(), reference_samples=(),
            conversion_warnings=("model identity: ADD (operator 1) may differ by a step",),
        ),
        record(
            "unet", "float16", runtime="coreml", compute_unit="CPU_AND_NE", status="skipped",
            error="Core ML runs on macOS only", **NOTHING,
        ),
        record(
            "<b>a|b*</b>", status="error", stage="convert", error="op 'MatrixInverse' is <not> supported. Use *this*.",
            **NOTHING,
        ),
    ]  # fmt: skip
