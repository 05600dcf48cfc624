from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable.onnx_graph import OnnxGraph, building
from harness.runtimes.portable.ops import movement
from harness.runtimes.portable.program import TensorType

with quiet_imports():
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]

X = np.random.default_rng(8).standard_normal((2, 3, 4)).astype(np.float32)
Y = -np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 1
FLEXIBLE = (ct.RangeDim(1, 10), 3, 4)


def same(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


# name -> (how MIL says it, numpy)
CASES: dict[str, tuple[Function, Function]] = {
    "identity": (lambda x: mb.identity(x=x), lambda x: x),
    "transpose": (lambda x: mb.transpose(x=x, perm=[2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
    "transpose negative": (lambda x: mb.transpose(x=x, perm=[-1, 0, -2]), lambda x: x.transpose(2, 0, 1)),
    "expand_dims": (lambda x: mb.expand_dims(x=x, axes=[0, 3]), lambda x: x[None, :, :, None]),
    "expand_dims negative": (lambda x: mb.expand_dims(x=x, axes=[-1, -4]), lambda x: x[:, None, :, :, None]),
    "reshape": (lambda x: mb.reshape(x=x, shape=[4, 6]), lambda x: x.reshape(4, 6)),
    "reshape inferred": (lambda x: mb.reshape(x=x, shape=[3, -1, 2]), lambda x: x.reshape(3, 4, 2)),
    "reshape same place": (lambda x: mb.reshape(x=x, shape=[0, -1, 0]), lambda x: x),
    "flatten2d": (lambda x: mb.flatten2d(x=x), lambda x: x.reshape(2, 12)),
    "flatten2d negative": (lambda x: mb.flatten2d(x=x, axis=-1), lambda x: x.reshape(6, 4)),
    "flatten2d at 0": (lambda x: mb.flatten2d(x=x, axis=0), lambda x: x.reshape(1, 24)),
    "flatten2d at the end": (lambda x: mb.flatten2d(x=x, axis=3), lambda x: x.reshape(24, 1)),
    "tile": (lambda x: mb.tile(x=x, reps=[2, 1, 3]), lambda x: np.tile(x, (2, 1, 3))),
    "reverse": (lambda x: mb.reverse(x=x), lambda x: x[::-1, ::-1, ::-1]),
    "reverse some": (lambda x: mb.reverse(x=x, axes=[0, -1]), lambda x: x[::-1, :, ::-1]),
    "reverse_sequence": (
        lambda x: mb.reverse_sequence(x=x, lengths=[4, 0, 3], seq_axis=2, batch_axis=1),
        lambda x: tf.reverse_sequence(x, [4, 0, 3], seq_axis=2, batch_axis=1).numpy(),
    ),
    "reverse_sequence other order": (
        lambda x: mb.reverse_sequence(x=x, lengths=[1, 2, 2, 0], seq_axis=0, batch_axis=-1),
        lambda x: tf.reverse_sequence(x, [1, 2, 2, 0], seq_axis=0, batch_axis=2).numpy(),
    ),
    "sliding_windows": (
        lambda x: mb.sliding_windows(x=x, axis=2, size=2),
        lambda x: np.stack([x[:, :, i : i + 2] for i in range(3)], axis=2),
    ),
    "sliding_windows apart": (
        lambda x: mb.sliding_windows(x=x, axis=-2, size=2, stride=1),
        lambda x: np.stack([x[:, i : i + 2] for i in range(2)], axis=1),
    ),
    "sliding_windows stride": (
        lambda x: mb.sliding_windows(x=x, axis=-1, size=1, stride=2),
        lambda x: x[:, :, ::2, None],
    ),
    "stack": (lambda x: mb.stack(values=[x, mb.sub(x=0.0, y=x)], axis=1), lambda x: np.stack([x, -x], axis=1)),
    "stack at the end": (lambda x: mb.stack(values=[x, x], axis=-1), lambda x: np.stack([x, x], axis=-1)),
}


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
@pytest.mark.parametrize("name", CASES)
def test_floats(run: Function, name: str, target: Any) -> None:
    build, formula = CASES[name]
    (result,) = run(build, {"x": X}, target=target)
    same(result, formula(X))


# Since iOS17 some of these ops take narrow integers.
TYPES = [
    (name, dtype)
    for name in CASES
    for dtype in ("int32", "bool", "fp16", "uint8")
    if name != "stack" and not (dtype == "uint8" and name.startswith(("tile", "flatten2d", "identity", "stack")))
]


@pytest.mark.parametrize(("name", "dtype"), TYPES)
def test_other_types(run: Function, name: str, dtype: str) -> None:
    build, formula = CASES[name]
    x = np.abs(Y) % 3

    def converted(x: Any) -> Any:
        return mb.cast(x=build(mb.cast(x=x, dtype=dtype)), dtype="fp32")

    (result,) = run(converted, {"x": x}, target=ct.target.iOS17, numerics="float16")
    kind = np.bool_ if dtype == "bool" else np.float32
    same(result, formula(x.astype(kind)).astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(run: Function, axis: int) -> None:
    def build(x: Any, y: Any) -> Any:
        return mb.concat(values=[x, y, x], axis=axis), mb.concat(values=[x, y], axis=axis, interleave=True)

    joined, interleaved = run(build, {"x": X, "y": Y}, target=ct.target.iOS15)
    same(joined, np.concatenate([X, Y, X], axis=axis))
    slices = [part for i in range(X.shape[axis]) for part in (X.take([i], axis), Y.take([i], axis))]
    same(interleaved, np.concatenate(slices, axis=axis))


def test_concat_of_scalars_and_of_other_types(run: Function) -> None:
    def build(x: Any, y: Any) -> Any:
        sizes = mb.shape(x=x)
        scalars = [mb.gather(x=sizes, indices=i) for i in (2, 0)]
        signs = mb.concat(values=[mb.greater(x=x, y=0.0), mb.less(x=y, y=-4.0)], axis=2)
        return mb.concat(values=scalars, axis=0), mb.cast(x=signs, dtype="int32")

    sizes, signs = run(build, {"x": X, "y": Y})
    same(sizes, np.int32([4, 2]))
    same(signs, np.concatenate([X > 0, Y < -4], axis=2).astype(np.int32))


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({"num_splits": 2, "axis": 2}, [2]),
        ({"num_splits": 3, "axis": -2}, [1, 2]),
        ({"split_sizes": [1, 3], "axis": -1}, [1]),
        ({"split_sizes": [1, 2], "num_splits": 2, "axis": 1}, [1]),
        ({"split_sizes": [2], "axis": 0}, []),
    ],
)
@pytest.mark.parametrize("dtype", ["fp32", "int32", "bool"])
def test_split(run: Function, options: dict[str, Any], at: list[int], dtype: str) -> None:
    x = np.abs(Y) % 2

    def build(x: Any) -> Any:
        parts = mb.split(x=mb.cast(x=x, dtype=dtype), **options)
        return tuple(mb.cast(x=part, dtype="fp32") for part in (parts if isinstance(parts, list | tuple) else [parts]))

    results = run(build, {"x": x})
    expected = np.split(x, at, axis=options["axis"])
    assert len(results) == len(expected)
    for result, part in zip(results, expected, strict=True):
        same(result, part)


# Shape ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "shape"), [(None, (3, 4)), ([0], (3, 1, 4, 1)), ([-1, 0], (3, 1, 4)), ([1, 2], (1, 3, 4, 1))]
)
def test_squeeze(run: Function, axes: Any, shape: Any) -> None:
    """A listed axis of another size stays (iOS15/tensor_transformation.py)."""
    x = X[:1].reshape(1, 3, 1, 4, 1)
    (result,) = run(lambda x: mb.squeeze(x=x, axes=axes), {"x": x})
    same(result, x.reshape(shape))


def test_squeeze_leaves_a_flexible_axis(run: Function) -> None:
    """An axis that is 1 only this time is no axis of size 1 to MIL."""
    (result,) = run(lambda x: mb.squeeze(x=mb.expand_dims(x=x, axes=[1])), {"x": X[:1]}, shapes={"x": FLEXIBLE})
    same(result, X[:1])


def test_squeeze_of_a_wrong_declaration() -> None:
    with building(OnnxGraph()) as graph:
        x = graph.declare("x", TensorType("fp32", (1, 3)))
        with pytest.raises(PackageError, match="declares another shape"):
            movement.squeeze(x, (0,), outputs=(TensorType("fp32", (4,)),))


def test_reshape_to_and_from_a_scalar(run: Function) -> None:
    def build(x: Any) -> Any:
        scalar = mb.reshape(x=x, shape=np.zeros(0, np.int32))
        return mb.reshape(x=mb.exp(x=scalar), shape=[1, 1])

    (result,) = run(build, {"x": np.float32([[0.5]])})
    np.testing.assert_allclose(result, [[np.exp(0.5)]], rtol=1e-6)


# iOS17/test_tensor_transformation.py, test_reshape_with_zero_different_len_iOS17, and its like
@pytest.mark.parametrize(
    ("shape", "expected"), [([1, 0, -1, 0], (1, 2, 3, 4)), ([-1, 0], (6, 4)), ([0, 2, 0, 0], (1, 2, 3, 4))]
)
@pytest.mark.parametrize("dynamic", [False, True])
def test_reshape_with_zeros_from_the_end(run: Function, shape: list[int], expected: Any, dynamic: bool) -> None:
    inputs = {"x": X, "shape": np.array(shape, np.int32)}

    def build(x, shape_):
        return mb.reshape(x=x, shape=shape_ if dynamic else shape)

    (result,) = run(lambda x, shape: build(x, shape), inputs, target=ct.target.iOS17)
    same(result, X.reshape(expected))


@pytest.mark.parametrize("shape", [[4, 6], [-1, 8], [2, 1, -1, 3], [0, -1, 0]])
def test_reshape_at_run_time(run: Function, shape: list[int]) -> None:
    inputs = {"x": X, "shape": np.array(shape, np.int32)}
    (result,) = run(lambda x, shape: mb.reshape(x=x, shape=shape), inputs, target=ct.target.iOS15)
    same(result, X.reshape([X.shape[i] if size == 0 else size for i, size in enumerate(shape)]))


def test_reshape_of_an_empty_tensor(run: Function) -> None:
    def build(x: Any) -> Any:
        empty = mb.slice_by_index(x=x, begin=[0, 1, 0], end=[2, 1, 4])
        return mb.reshape(x=empty, shape=[4, -1]), mb.concat(values=[empty, x], axis=1)

    empty, joined = run(build, {"x": X})
    assert empty.shape == (4, 0)
    same(joined, X)


def test_reshape_like(run: Function) -> None:
    """The example of iOS16/tensor_transformation.py."""

    def build(x: Any, a: Any, b: Any) -> Any:
        return mb.reshape_like(x=x, ref_tensors=(a, b), begins=(0, 1), ends=(2, 0), end_masks=(False, True))

    x = np.arange(180, dtype=np.float32).reshape(6, 30)
    inputs = {"x": x, "a": X, "b": np.ones((1, 5, 6), np.float32)}
    (result,) = run(build, inputs, target=ct.target.iOS16)
    same(result, x.reshape(2, 3, 5, 6))


def test_flexible_shapes(run: Function) -> None:
    def build(x: Any) -> Any:
        return (
            mb.reshape(x=x, shape=[-1, 2]),
            mb.concat(values=[x, x], axis=0, interleave=True),
            mb.flatten2d(x=x),
            mb.sliding_windows(x=x, axis=0, size=2, stride=2),
            mb.reverse(x=x, axes=[0]),
        )

    x = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
    shaped, interleaved, flat, windows, reversed_ = run(build, {"x": x}, shapes={"x": FLEXIBLE})
    same(shaped, x.reshape(-1, 2))
    same(interleaved, np.repeat(x, 2, axis=0))
    same(flat, x.reshape(5, 12))
    same(windows, np.stack([x[:2], x[2:4]]))
    same(reversed_, x[::-1])


def test_tile_at_run_time(run: Function) -> None:
    inputs = {"x": X, "reps": np.int32([1, 2, 2])}
    (result,) = run(lambda x, reps: mb.tile(x=x, reps=reps), inputs)
    same(result, np.tile(X, (1, 2, 2)))


def test_reverse_sequence_at_run_time(run: Function) -> None:
    inputs = {"x": X, "lengths": np.int32([2, 3])}

    def build(x, lengths):
        return mb.reverse_sequence(x=x, lengths=lengths, seq_axis=1, batch_axis=0)

    (result,) = run(build, inputs)
    same(result, tf.reverse_sequence(X, [2, 3], seq_axis=1, batch_axis=0).numpy())


def test_reverse_sequence_along_its_batch() -> None:
    with building(OnnxGraph()) as graph:
        x, lengths = (graph.declare(name, TensorType("fp32", (2, 3))) for name in ("x", "lengths"))
        with pytest.raises(PackageError, match="are the same"):
            movement.reverse_sequence(x, lengths)


# Padding ----------------------------------------------------------------------------------------

PADS = [[0, 1, 2, 0], [1, 1, 2, 2, 3, 1], [2, 3]]


def numpy_pad(x: np.ndarray, pad: list[int], mode: str, value: float) -> np.ndarray:
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))
    if mode == "constant":
        return np.pad(x, widths, constant_values=value)
    return np.pad(x, widths, "edge" if mode == "replicate" else mode)


@pytest.mark.parametrize("pad", PADS, ids=str)
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_pad(run: Function, mode: str, pad: list[int]) -> None:
    (result,) = run(lambda x: mb.pad(x=x, pad=pad, mode=mode, constant_val=0.5), {"x": X}, target=ct.target.iOS15)
    same(result, numpy_pad(X, pad, mode, 0.5))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_pad_at_run_time(run: Function, mode: str) -> None:
    pad = [1, 0, 2, 1, 0, 3]
    inputs = {"x": X, "pad": np.array(pad, np.int32)}
    (result,) = run(lambda x, pad: mb.pad(x=x, pad=pad, mode=mode, constant_val=-2.0), inputs)
    same(result, numpy_pad(X, pad, mode, -2.0))


def test_pad_defaults_to_zeros_and_keeps_float16(run: Function) -> None:
    (result,) = run(lambda x: mb.pad(x=x, pad=[1, 2]), {"x": X}, precision="float16", numerics="float16")
    same(result, numpy_pad(X.astype(np.float16).astype(np.float32), [1, 2], "constant", 0))


def test_unknown_pad_mode() -> None:
    with pytest.raises(PackageError, match="replicate"):
        movement.pad(None, None, mode="symmetric")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_moved_values_are_not_rounded(run: Function, dtype: str) -> None:
    """A cast to float16 rounds in float16 numerics; moving what is float16 changes nothing."""

    def build(x: Any) -> Any:
        y = mb.transpose(x=mb.cast(x=x, dtype=dtype), perm=[1, 0, 2])
        return mb.cast(x=mb.reshape(x=y, shape=[6, 4]), dtype="fp32")

    (result,) = run(build, {"x": X}, numerics="float16")
    kind = np.float16 if dtype == "fp16" else np.float32
    same(result, X.astype(kind).astype(np.float32).transpose(1, 0, 2).reshape(6, 4))
