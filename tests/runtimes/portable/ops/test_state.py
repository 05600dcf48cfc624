from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import InputError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops.state import StateBuffer
from harness.runtimes.portable.registry import KERNELS

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

from tests.runtimes.portable.conftest import load_program

SHAPE = (2, 3)
X = np.arange(1, 7, dtype=np.float32).reshape(SHAPE)


def program(body: Any, states: tuple[str, ...] = ("total",)) -> Any:
    """A program of ``x`` and float16 states of one shape."""
    specs = [mb.TensorSpec(SHAPE, types.fp16)] + [mb.StateTensorSpec(SHAPE, types.fp16) for _ in states]
    names = ", ".join(("x", *states))
    return mb.program(input_specs=specs, opset_version=ct.target.iOS18)(
        eval(f"lambda {names}: body({names})", {"body": body})
    )


def accumulate(x: Any, total: Any) -> Any:
    return mb.coreml_update_state(state=total, value=mb.add(x=x, y=mb.read_state(input=total)))


def test_state_survives_between_predictions() -> None:
    model = load_program(program(accumulate))
    (name,) = (spec.name for spec in model.features.outputs)
    state, other = model.new_state(), model.new_state()
    for turn in range(1, 4):
        np.testing.assert_array_equal(model.predict({"x": X}, state)[name], turn * X)
    np.testing.assert_array_equal(model.predict({"x": X}, other)[name], X)
    np.testing.assert_array_equal(state.buffers["total"], 3 * X)


def test_order_of_reads_and_writes() -> None:
    def body(x: Any, a: Any, b: Any) -> list[Any]:
        before = mb.read_state(input=a)
        mb.coreml_update_state(state=a, value=mb.add(x=before, y=x))
        between = mb.read_state(input=a)
        mb.coreml_update_state(state=b, value=mb.mul(x=between, y=np.float16(10)))
        mb.coreml_update_state(state=a, value=mb.sub(x=between, y=np.float16(1)))
        results = before, between, mb.read_state(input=a), mb.read_state(input=b)
        return [mb.add(x=value, y=np.float16(0)) for value in results]

    model = load_program(program(body, ("a", "b")))
    state = model.new_state()
    model.predict({"x": X}, state)
    results = list(model.predict({"x": X}, state).values())
    for result, expected in zip(results, [X - 1, 2 * X - 1, 2 * X - 2, 20 * X - 10], strict=True):
        np.testing.assert_array_equal(result, expected)


def test_state_written_in_a_loop() -> None:
    def body(x: Any, total: Any) -> Any:
        def turn(i: Any) -> Any:
            mb.coreml_update_state(state=total, value=mb.add(x=x, y=mb.read_state(input=total)), name="written")
            return mb.add(x=i, y=1)

        turns = mb.while_loop(_cond=lambda i: mb.less(x=i, y=5), _body=turn, loop_vars=(0,))
        factor = mb.cast(x=turns, dtype="fp16")
        return mb.mul(x=mb.read_state(input=total), y=factor)

    model = load_program(program(body))
    state = model.new_state()
    (result,) = model.predict({"x": X}, state).values()
    np.testing.assert_array_equal(state.buffers["total"], 5 * X)
    np.testing.assert_array_equal(result, 25 * X)


def test_memory_is_not_shared() -> None:
    model = load_program(program(lambda x, total: mb.coreml_update_state(state=total, value=x)))
    state, given = model.new_state(), X.copy()
    (result,) = model.predict({"x": given}, state).values()
    given[:] = -1
    result[:] = -1
    np.testing.assert_array_equal(state.buffers["total"], X)


def test_float16_numerics() -> None:
    model = load_program(program(accumulate), numerics="float16")
    state = model.new_state()
    model.predict({"x": X / 10}, state)
    expected = (X / 10).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(state.buffers["total"], expected)
    model.predict({"x": X / 10}, state)
    np.testing.assert_array_equal(state.buffers["total"], 2 * expected)


def test_missing_state() -> None:
    with pytest.raises(InputError, match=r"keeps state and none was given.*total"):
        load_program(program(accumulate)).predict({"x": X})


def test_read_and_write_by_name() -> None:
    model = load_program(program(accumulate))
    state = model.new_state()
    np.testing.assert_array_equal(state.read_state("total"), np.zeros(SHAPE))
    state.write_state("total", 10 * X.astype(np.float64))
    model.predict({"x": X}, state)
    np.testing.assert_array_equal(state.read_state("total"), 11 * X)
    with pytest.raises(InputError, match=r"no state 'sum'.*total"):
        state.read_state("sum")
    with pytest.raises(InputError, match=r"\(3,\).*\(2, 3\)"):
        state.write_state("total", np.zeros(3))


def test_update_as_one_operation() -> None:
    buffers = {"total": np.zeros(SHAPE, np.float32)}
    result = KERNELS["coreml_update_state"].function(StateBuffer(buffers, "total"), X)
    np.testing.assert_array_equal(result, X)
    np.testing.assert_array_equal(buffers["total"], X)
