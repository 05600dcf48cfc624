"""A model's weights are in memory once, and intermediate values go after their last use."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.quiet import quiet_imports
from harness.runtimes import portable

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

LAYERS = 12
CHANNELS = 256
WEIGHT_MEGABYTES = LAYERS * CHANNELS * CHANNELS * 9 * 4 / 1e6


def anonymous_megabytes() -> float:
    """What this process holds beside mapped files."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024 / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_weights_once(tmp_path: Path, precision: str) -> None:
    random = np.random.default_rng(31)

    @mb.program(input_specs=[mb.TensorSpec((1, CHANNELS, 8, 8))], opset_version=ct.target.iOS16)
    def program(x):  # type: ignore[no-untyped-def]
        for _ in range(LAYERS):
            weight = (random.standard_normal((CHANNELS, CHANNELS, 3, 3)) / 48).astype(np.float32)
            x = mb.relu(x=mb.conv(x=x, weight=weight, pad_type="same"))
        return x

    compute_precision = ct.precision.FLOAT16 if precision == "float16" else ct.precision.FLOAT32
    path = tmp_path / "heavy.mlpackage"
    ct.convert(
        program, minimum_deployment_target=ct.target.iOS16, compute_precision=compute_precision, skip_model_load=True
    ).save(str(path))
    image = {"x": random.random((1, CHANNELS, 8, 8), np.float32)}
    portable.load(path, numerics=precision).predict(image)  # whatever is allocated once
    before = anonymous_megabytes()
    model = portable.load(path, numerics=precision)
    (result,) = model.predict(image).values()
    assert np.any(result != 0)
    assert anonymous_megabytes() - before < 1.4 * WEIGHT_MEGABYTES
