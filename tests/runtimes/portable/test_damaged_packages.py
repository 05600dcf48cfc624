"""A damaged package gives a typed error or a result: no crash, no hang, no runaway memory."""

from __future__ import annotations

import collections
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.quiet import quiet_imports
from harness.runtimes import portable

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

from tests.runtimes.portable.damage import damaged

SEEDS = 150
SECONDS = 10
# Of ru_maxrss: kibibytes on Linux, bytes on macOS.
MEMORY = 2**31 // (1 if sys.platform == "darwin" else 1024)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolution, activation, resizing, a loop, a list of shapes: whatever damage can reach."""
    random = np.random.default_rng(11)
    weight = random.standard_normal((4, 3, 3, 3)).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 16, 16))], opset_version=ct.target.iOS17)
    def program(image):  # type: ignore[no-untyped-def]
        x = mb.conv(x=image, weight=weight, pad_type="same", strides=[2, 2])
        x = mb.upsample_bilinear(x=mb.relu(x=x), scale_factor_height=2.0, scale_factor_width=2.0)
        x = mb.concat(values=[x, mb.reduce_mean(x=image, axes=[1], keep_dims=True)], axis=1)
        x = mb.transpose(x=mb.softmax(x=x, axis=1), perm=[0, 2, 3, 1])

        def more(turn, value):  # type: ignore[no-untyped-def]
            return mb.less(x=turn, y=3)

        def body(turn, value):  # type: ignore[no-untyped-def]
            return mb.add(x=turn, y=1), mb.mul(x=value, y=1.5)

        _, x = mb.while_loop(_cond=more, _body=body, loop_vars=(0, x))
        return mb.slice_by_index(x=mb.tile(x=x, reps=[1, 1, 2, 1]), begin=[0, 2, 2, 0], end=[1, 14, 30, 5])

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
    path = tmp_path_factory.mktemp("package") / "whole.mlpackage"
    model.save(str(path))
    return path


def test_damage_is_told(package: Path, tmp_path: Path) -> None:
    image = {"image": np.random.default_rng(12).random((1, 3, 16, 16), np.float32)}
    portable.load(package, numerics="float16").predict(image)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told: collections.Counter[str] = collections.Counter()
    for seed in range(SEEDS):
        path = damaged(package, tmp_path, seed)
        start = time.monotonic()
        try:
            portable.load(path, numerics="float16").predict(image)
            told["a result"] += 1
        except HarnessError as error:
            told[type(error).__name__ if str(error).strip() else f"nothing, seed {seed}"] += 1
        assert time.monotonic() - start < SECONDS, f"seed {seed} took too long"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    # Damage that nobody notices would mean that it was not damage.
    assert told["PackageError"] > SEEDS // 3, told
    assert len(told) >= 3, told
    assert not any(what.startswith("nothing") for what in told), told
