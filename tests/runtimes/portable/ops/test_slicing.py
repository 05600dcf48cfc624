from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 1
T, F = True, False

# The slices of coremltools' iOS14/test_tensor_transformation.py, test_builder_eval, and more:
# what MIL is given (begin, end, then stride and masks), and numpy's slice.
CASES: list[tuple[dict[str, Any], Any]] = [
    ({"begin": [1, 1, 1], "end": [2, 2, 2]}, np.s_[1:2, 1:2, 1:2]),
    ({"begin": [1, 1, 1], "end": [2, 3, 4], "stride": [1, 1, 2]}, np.s_[1:2, 1:3, 1:4:2]),
    ({"begin": [-3, -3, -3], "end": [-1, -1, -1]}, np.s_[-3:-1, -3:-1, -3:-1]),
    ({"begin": [0, 0, -3], "end": [-1, -2, -2]}, np.s_[0:-1, 0:-2, -3:-2]),
    ({"begin": [-1, -1, -1], "end": [0, 1, -3], "stride": [-2, -1, -3]}, np.s_[-1:0:-2, -1:1:-1, -1:-3:-3]),
    (
        {"begin": [1, 1, 1], "end": [2, 3, 4], "stride": [1, 1, 2], "begin_mask": [T, F, T], "end_mask": [T, T, F]},
        np.s_[:, 1:, :4:2],
    ),
    (
        {"begin": [1, 1, 1], "end": [2, 3, 3], "stride": [1, 1, 2], "begin_mask": [F, F, T],
         "end_mask": [T, F, F], "squeeze_mask": [F, T, F]},
        np.s_[1:, 1, :3:2],
    ),
    ({"begin": [1, 1, 1], "end": [2, 2, 0], "squeeze_mask": [F, F, T]}, np.s_[1:2, 1:2, 1]),
    (
        {"begin": [0, 0, -1], "end": [0, 0, 0], "begin_mask": [T, T, F], "end_mask": [T, T, F],
         "squeeze_mask": [F, F, T]},
        np.s_[..., -1],
    ),
    ({"begin": [1, -2, 0], "end": [0, 0, 3], "squeeze_mask": [T, T, F]}, np.s_[1, -2, 0:3]),
    (
        {"begin": [0, 0, 0], "end": [0, 0, 0], "stride": [1, -1, -1], "begin_mask": [T, T, T], "end_mask": [T, T, T]},
        np.s_[:, ::-1, ::-1],
    ),
    (
        {"begin": [0, 2, 3], "end": [2, 0, 0], "stride": [1, -2, -1], "end_mask": [F, T, F]},
        np.s_[0:2, 2::-2, 3:0:-1],
    ),
    ({"begin": [0, 0, 2], "end": [100, 2, 100]}, np.s_[0:100, 0:2, 2:100]),
    ({"begin": [0, 1, 2], "end": [2, 1, 4]}, np.s_[0:2, 1:1, 2:4]),
    (
        {"begin": [1, 0, 0], "end": [0, 0, 2], "stride": [-1, 1, 1], "begin_mask": [F, T, F], "end_mask": [F, T, F],
         "squeeze_mask": [T, F, F]},
        np.s_[1, :, 0:2],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), CASES)
def test_slice_by_index(run: Function, options: dict[str, Any], expected: Any) -> None:
    (result,) = run(lambda x: mb.slice_by_index(x=x, **options), {"x": X}, target=ct.target.iOS15)
    np.testing.assert_array_equal(result, X[expected])
    assert result.shape == X[expected].shape


@pytest.mark.parametrize("dynamic", [("begin",), ("end",), ("begin", "end")], ids="+".join)
@pytest.mark.parametrize(("options", "expected"), CASES)
def test_slice_by_index_at_run_time(
    run: Function, options: dict[str, Any], expected: Any, dynamic: tuple[str, ...]
) -> None:
    def build(x: Any, **bounds: Any) -> Any:
        return mb.slice_by_index(x=x, **{**options, **bounds})

    inputs = {"x": X, **{name: np.array(options[name], np.int32) for name in dynamic}}
    arguments = ", ".join(inputs)
    built = eval(f"lambda {arguments}: build({', '.join(f'{name}={name}' for name in inputs)})", {"build": build})
    (result,) = run(built, inputs, target=ct.target.iOS17)
    np.testing.assert_array_equal(result, X[expected])


@pytest.mark.parametrize("dtype", ["int32", "bool", "fp16"])
def test_slice_of_other_types(run: Function, dtype: str) -> None:
    def build(x: Any) -> Any:
        y = mb.slice_by_index(x=mb.cast(x=x, dtype=dtype), begin=[0, 0, 1], end=[2, 3, 4], stride=[1, 1, 2])
        return mb.cast(x=y, dtype="fp32")

    x = X % 5
    (result,) = run(build, {"x": x}, numerics="float16")
    kind = {"int32": np.int32, "bool": np.bool_, "fp16": np.float16}[dtype]
    np.testing.assert_array_equal(result, x.astype(kind)[:, :, 1:4:2].astype(np.float32))


def test_slice_to_a_scalar(run: Function) -> None:
    def build(x: Any) -> Any:
        y = mb.slice_by_index(x=x, begin=[1, -1, 2], end=[0, 0, 0], squeeze_mask=[True] * 3)
        assert y.rank == 0
        return mb.expand_dims(x=y, axes=[0])

    (result,) = run(build, {"x": X})
    np.testing.assert_array_equal(result, [X[1, -1, 2]])


SIZES = [
    ([0, 1, 0], [-1, -1, -1], np.s_[:, 1:, :]),
    ([0, 1, 0], [-1, -1, 3], np.s_[:, 1:, 0:3]),
    ([0, -2, 0], [-1, -1, 3], np.s_[:, -2:, 0:3]),
    ([1, -2, -3], [1, 2, 2], np.s_[1:2, -2:, -3:-1]),
]


@pytest.mark.parametrize("dynamic", [(), ("begin",), ("begin", "size")], ids="+".join)
@pytest.mark.parametrize(("begin", "size", "expected"), SIZES)
def test_slice_by_size(
    run: Function, begin: list[int], size: list[int], expected: Any, dynamic: tuple[str, ...]
) -> None:
    inputs = {"x": X, "begin": np.array(begin, np.int32), "size": np.array(size, np.int32)}

    def build(x: Any, begin_: Any, size_: Any) -> Any:
        return mb.slice_by_size(
            x=x, begin=begin_ if "begin" in dynamic else begin, size=size_ if "size" in dynamic else size
        )

    (result,) = run(lambda x, begin, size: build(x, begin, size), inputs, target=ct.target.iOS17)
    np.testing.assert_array_equal(result, X[expected])


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("options", "expected"), [case for case in CASES if X[case[1]].size])
def test_slice_update(run: Function, options: dict[str, Any], expected: Any, dynamic: bool) -> None:
    update = -np.arange(X[expected].size, dtype=np.float32).reshape(X[expected].shape) - 1
    bounds = {name: np.array(options[name], np.int32) for name in ("begin", "end")}

    def build(x: Any, update: Any, begin: Any, end: Any) -> Any:
        given = {"begin": begin, "end": end} if dynamic else {}
        return mb.slice_update(x=x, update=update, **{**options, **given})

    (result,) = run(lambda x, update, begin, end: build(x, update, begin, end), {"x": X, "update": update, **bounds})
    want = X.copy()
    want[expected] = update
    np.testing.assert_array_equal(result, want)


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_slice_update_of_other_types(run: Function, dtype: str) -> None:
    def build(x: Any, update: Any) -> Any:
        x, update = mb.cast(x=x, dtype=dtype), mb.cast(x=update, dtype=dtype)
        y = mb.slice_update(x=x, update=update, begin=[0, 1, 0], end=[2, 3, 4])
        return mb.cast(x=y, dtype="int32")

    update = np.zeros((2, 2, 4), np.float32)
    update[1, 1, 2] = 7
    (result,) = run(build, {"x": X, "update": update})
    want = X.copy()
    want[:, 1:3] = update
    np.testing.assert_array_equal(result, want.astype(np.int32 if dtype == "int32" else np.bool_).astype(np.int32))
