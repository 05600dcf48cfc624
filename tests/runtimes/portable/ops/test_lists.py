from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops.lists import TensorList

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

from tests.runtimes.portable.conftest import Run

A, B = np.array([1, 3], np.float32), np.array([2, 4], np.float32)


def test_write_read_gather_scatter(run: Run) -> None:
    """coremltools ``ops/tests/iOS14/test_control_flow.py``: zeros at first; a write behind the end extends."""

    def build(a: Any, b: Any) -> list[Any]:
        ls = mb.make_list(init_length=2, elem_shape=(2,))
        initial = mb.list_read(ls=ls, index=0)
        ls = mb.list_write(ls=ls, index=0, value=a)
        ls = mb.list_write(ls=ls, index=4, value=b)
        ls = mb.list_scatter(ls=ls, indices=[2, 1], value=np.array([[-1, -2], [-4, -5]], np.float32))
        return [
            initial,
            mb.list_read(ls=ls, index=0),
            mb.list_gather(ls=ls, indices=[4, 2, 3, 1]),
            mb.list_length(ls=ls),
        ]

    results = run(build, {"a": A, "b": B}, target=ct.target.iOS15)
    expected: list[Any] = [[0, 0], A, [B, [-1, -2], [0, 0], [-4, -5]], 5]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
    assert results[3].dtype == np.int32


def test_writes_leave_the_old_list_alone(run: Run) -> None:
    def build(a: Any, b: Any) -> list[Any]:
        first = mb.list_write(ls=mb.make_list(init_length=1, elem_shape=(2,)), index=0, value=a)
        second = mb.list_write(ls=first, index=0, value=b)
        return [mb.list_read(ls=first, index=0), mb.list_read(ls=second, index=0)]

    for result, wanted in zip(run(build, {"a": A, "b": B}), [A, B], strict=True):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("turns", [0, 1, 4])
@pytest.mark.parametrize("shape", [(2,), ("n",)], ids=["static", "unknown"])
def test_list_as_a_loop_variable(run: Run, turns: int, shape: Any) -> None:
    def build(a: Any, turns: Any) -> list[Any]:
        def body(i: Any, ls: Any) -> list[Any]:
            value = mb.mul(x=a, y=mb.add(x=mb.cast(x=i, dtype="fp32"), y=1.0))
            return [mb.add(x=i, y=1), mb.list_write(ls=ls, index=i, value=value)]

        ls = mb.make_list(init_length=1, elem_shape=shape)
        last = mb.squeeze(x=turns)
        i, ls = mb.while_loop(_cond=lambda i, ls: mb.less(x=i, y=last), _body=body, loop_vars=(0, ls))
        indices = mb.range_1d(start=0, end=mb.list_length(ls=mb.list_write(ls=ls, index=0, value=a)), step=1)
        return [mb.list_length(ls=ls), mb.list_gather(ls=mb.list_write(ls=ls, index=0, value=a), indices=indices), i]

    length, gathered, i = run(build, {"a": A, "turns": np.array([turns], np.int32)})
    assert i == turns
    assert length == max(turns, 1)
    np.testing.assert_array_equal(gathered, [A * (k + 1) for k in range(max(turns, 1))])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_indices_and_values_when_it_runs(run: Run, dtype: Any) -> None:
    name = "int32" if dtype is np.int32 else "fp32"

    def build(value: Any, indices: Any, index: Any) -> list[Any]:
        ls = mb.make_list(init_length=3, elem_shape=(2, 2), dynamic_length=False, dtype=name)
        ls = mb.list_scatter(ls=ls, indices=indices, value=value)
        return [mb.list_gather(ls=ls, indices=indices), mb.list_read(ls=ls, index=mb.squeeze(x=index)),
                mb.list_gather(ls=ls, indices=[0, 1, 2])]  # fmt: skip

    value = np.arange(1, 9).reshape(2, 2, 2).astype(dtype)
    gathered, read, everything = run(
        build, {"value": value, "indices": np.array([2, 0], np.int32), "index": np.array([2], np.int32)}
    )
    np.testing.assert_array_equal(gathered, value)
    np.testing.assert_array_equal(read, value[0])
    np.testing.assert_array_equal(everything, [value[1], np.zeros((2, 2)), value[0]])
    assert gathered.dtype == everything.dtype == dtype


def test_float16(run: Run) -> None:
    def build(a: Any) -> Any:
        ls = mb.make_list(init_length=1, elem_shape=(2,), dtype="fp16")
        ls = mb.list_write(ls=ls, index=0, value=mb.cast(x=a, dtype="fp16"))
        return mb.list_gather(ls=ls, indices=[0])

    (result,) = run(build, {"a": A / 10}, numerics="float16")
    np.testing.assert_array_equal(result, [(A / 10).astype(np.float16)])


FIXED = TensorList((None, np.ones(2, np.float32)), (2,), np.dtype(np.float32), grows=False)
UNKNOWN = TensorList((None, None), (None,), np.dtype(np.float32), grows=True)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: FIXED.read(2), r"outside of the list; received 2; supported: 0\.\.1"),
        (lambda: FIXED.gather([0, -1]), "outside of the list"),
        (lambda: FIXED.written([(2, A)]), "outside of the list"),
        (lambda: UNKNOWN.written([(-1, A)]), "outside of the list"),
        (lambda: FIXED.written([(0, np.ones(3, np.float32))]), "another shape"),
        (lambda: UNKNOWN.written([(0, np.ones((1, 2), np.float32))]), "another shape"),
        (lambda: UNKNOWN.read(0), "before any is written"),
    ],
)
def test_errors(action: Any, message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        action()


def test_elements_never_written() -> None:
    np.testing.assert_array_equal(UNKNOWN.written([(1, A)]).gather([0, 1]), [np.zeros(2), A])
    assert FIXED.gather([]).shape == (0, 2)


def test_scalars() -> None:
    scalars = TensorList((None, None), (), np.dtype(np.float32), grows=False).written([(1, np.array(7, np.float32))])
    np.testing.assert_array_equal(scalars.gather([1, 0]), [7, 0])
