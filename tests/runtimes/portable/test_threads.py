"""One model predicts for several threads at once, also while flexible shapes are compiled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from harness.quiet import quiet_imports
from harness.runtimes import portable
from tests.runtimes.portable.conftest import load_program

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types


def flexible_model() -> portable.PortableModel:
    size = ct.RangeDim(1, 64)

    @mb.program(input_specs=[mb.TensorSpec((1, size.symbol))], opset_version=ct.target.iOS17)
    def program(x):  # type: ignore[no-untyped-def]
        turns = mb.cast(x=mb.reduce_max(x=x, axes=[0, 1], keep_dims=False), dtype="int32")

        def more(turn, value):  # type: ignore[no-untyped-def]
            return mb.less(x=turn, y=turns)

        def body(turn, value):  # type: ignore[no-untyped-def]
            return mb.add(x=turn, y=1), mb.add(x=value, y=x)

        return mb.while_loop(_cond=more, _body=body, loop_vars=(0, x))[1]

    return load_program(program, target=ct.target.iOS17, inputs=[ct.TensorType("x", (1, size))])


def test_predictions_do_not_mix() -> None:
    model = flexible_model()

    def check(seed: int) -> None:
        random = np.random.default_rng(seed)
        x = random.uniform(0, 5, (1, int(random.integers(1, 20)))).astype(np.float32)
        (result,) = model.predict({"x": x}).values()
        np.testing.assert_allclose(result, x * (1 + int(x.max())), rtol=1e-6)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, range(120)))


def test_states_do_not_mix() -> None:
    @mb.program(
        input_specs=[mb.TensorSpec((2,), dtype=types.fp16), mb.StateTensorSpec((2,), dtype=types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(x, total):  # type: ignore[no-untyped-def]
        return mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=x))

    model = load_program(program, target=ct.target.iOS18)

    def check(seed: int) -> None:
        state, expected = model.new_state(), np.zeros(2, np.float32)
        for step in range(1, 6):
            x = np.array([seed, step], np.float32)
            expected += x
            (result,) = model.predict({"x": x}, state).values()
            np.testing.assert_array_equal(result, expected)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(1, 20)))
