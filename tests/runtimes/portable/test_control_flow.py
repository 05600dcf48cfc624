"""``cond`` and ``while_loop``, which Python drives (harness/runtimes/portable/compiler.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.quiet import quiet_imports

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol

from tests.runtimes.portable.conftest import Run, load_program

X = np.array([[1, -2, 3], [-4, 5, 6]], np.float32)


def count(n: int) -> np.ndarray:
    return np.array([n], np.int32)


def check(results: list[Any], *expected: Any) -> None:
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        assert np.shape(result) == np.shape(wanted)
        np.testing.assert_allclose(result, wanted, rtol=1e-6)


# cond ---------------------------------------------------------------------------------------------


def positive(x: Any) -> Any:
    """Whether the sum of x is positive, as a scalar."""
    return mb.greater(x=mb.reduce_sum(x=x, keep_dims=False), y=0.0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS18])
def test_cond(run: Run, sign: int, target: Any) -> None:
    def build(x: Any) -> Any:
        outer = mb.mul(x=x, y=2.0)

        def true() -> Any:
            # A constant of the branch, a value and a constant of the outside.
            return mb.add(x=outer, y=np.float32([10, 20, 30])), mb.relu(x=x)

        def false() -> Any:
            return mb.sub(x=x, y=1.0), mb.mul(x=outer, y=outer)

        return mb.cond(pred=positive(x), _true_fn=true, _false_fn=false)

    x = sign * X
    check(
        run(build, {"x": x}, target=target),
        *((2 * x + [10, 20, 30], np.maximum(x, 0)) if sign > 0 else (x - 1, 4 * x * x)),
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_branches_that_compute_nothing(run: Run, sign: int) -> None:
    """One returns values of the outside, the other constants: its own, and one of the outside."""

    def build(x: Any) -> list[Any]:
        outside = mb.const(val=np.float32([[7, 8, 9]] * 2))
        doubled = mb.mul(x=x, y=2.0)

        def false() -> Any:
            return mb.const(val=np.float32([[1, 2, 3]] * 2)), outside

        first, second = mb.cond(pred=positive(x), _true_fn=lambda: (doubled, x), _false_fn=false)
        return [mb.add(x=first, y=0.0), mb.add(x=second, y=0.0)]

    x = sign * X
    check(run(build, {"x": x}), *((2 * x, x) if sign > 0 else ([[1, 2, 3]] * 2, [[7, 8, 9]] * 2)))


@pytest.mark.parametrize("sign", [1, -1])
def test_outputs_of_a_cond_are_used_and_returned(run: Run, sign: int) -> None:
    def build(x: Any) -> list[Any]:
        y = mb.cond(pred=positive(x), _true_fn=lambda: mb.add(x=x, y=1.0), _false_fn=lambda: mb.sub(x=x, y=1.0))
        return [mb.mul(x=y, y=x), y]

    x = sign * X
    check(run(build, {"x": x}), (x + sign) * x, x + sign)


@pytest.mark.parametrize("a", [0, 1])
@pytest.mark.parametrize("b", [0, 1])
def test_nested_cond(run: Run, a: int, b: int) -> None:
    def build(x: Any, a: Any, b: Any) -> Any:
        outer, inner = (mb.cast(x=mb.squeeze(x=flag), dtype="bool") for flag in (a, b))
        scaled = mb.mul(x=x, y=3.0)

        def true() -> Any:
            local = mb.add(x=scaled, y=1.0)
            chosen = mb.cond(
                pred=inner, _true_fn=lambda: mb.mul(x=local, y=x), _false_fn=lambda: mb.add(x=local, y=scaled)
            )
            return mb.sub(x=chosen, y=local)

        return mb.cond(pred=outer, _true_fn=true, _false_fn=lambda: mb.mul(x=scaled, y=-1.0))

    local = 3 * X + 1
    expected = ((local * X if b else local + 3 * X) - local) if a else -3 * X
    check(run(build, {"x": X, "a": count(a), "b": count(b)}), expected)


# while_loop ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [0, 1, 5])
@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS18])
def test_while_loop(run: Run, turns: int, target: Any) -> None:
    def build(x: Any, turns: Any) -> Any:
        last, step = mb.squeeze(x=turns), mb.mul(x=x, y=0.5)

        def body(i: Any, value: Any) -> Any:
            return mb.add(x=i, y=1), mb.add(x=mb.mul(x=value, y=np.float32([1, 2, 0.5])), y=step)

        return mb.while_loop(_cond=lambda i, value: mb.less(x=i, y=last), _body=body, loop_vars=(0, x))

    value = X
    for _ in range(turns):
        value = value * [1, 2, 0.5] + X / 2
    results = run(build, {"x": X, "turns": count(turns)}, target=target)
    check(results, turns, value)
    assert results[0].dtype == np.int32


def test_loop_variables_that_change_places(run: Run) -> None:
    def build(a: Any, b: Any) -> Any:
        def body(i: Any, a: Any, b: Any) -> Any:
            return mb.add(x=i, y=1), b, mb.add(x=a, y=b)

        return mb.while_loop(_cond=lambda i, a, b: mb.less(x=i, y=6), _body=body, loop_vars=(0, a, b))[1:]

    check(run(build, {"a": np.float32([1]), "b": np.float32([1])}), [13], [21])


@pytest.mark.parametrize("turns", [1, 3])
def test_body_that_returns_constants_and_outer_values(run: Run, turns: int) -> None:
    def build(x: Any, turns: Any) -> Any:
        last, tripled = mb.squeeze(x=turns), mb.mul(x=x, y=3.0)

        def body(i: Any, kept: Any, fixed: Any, outer: Any) -> Any:
            return mb.add(x=i, y=1), kept, mb.const(val=np.float32([4, 5])), tripled

        # The builder wants a constant of the body to begin as one, of the same value.
        fixed = mb.const(val=np.float32([4, 5]))
        return mb.while_loop(_cond=lambda i, *_: mb.less(x=i, y=last), _body=body, loop_vars=(0, x, fixed, x))[1:]

    check(run(build, {"x": X, "turns": count(turns)}), X, [4, 5], 3 * X)


def test_nested_loops(run: Run) -> None:
    """coremltools ``ops/tests/iOS14/test_control_flow.py``, with outer values in the inner loop."""

    def build(x: Any, y: Any) -> Any:
        two, one = mb.const(val=[2.0], name="two"), mb.const(val=[1.0], name="one")

        def body(i: Any, total: Any) -> Any:
            def inner(j: Any, total: Any) -> Any:
                return mb.add(x=j, y=one), mb.add(x=total, y=mb.mul(x=i, y=y))

            i, total = mb.while_loop(
                _cond=lambda j, total: mb.less(x=mb.mul(x=two, y=j), y=mb.add(x=j, y=two)), _body=inner,
                loop_vars=(i, total),
            )  # fmt: skip
            return mb.add(x=i, y=two), total

        return mb.while_loop(_cond=lambda i, total: mb.less(x=i, y=y), _body=body, loop_vars=(x, mb.mul(x=x, y=1.0)))

    i, total, y = 0.5, 0.5, 10.0
    while i < y:
        start = i
        while 2 * i < i + 2:
            i, total = i + 1, total + start * y
        i += 2
    check(run(build, {"x": np.float32([0.5]), "y": np.float32([y])}), [i], [total])


@pytest.mark.parametrize("turns", [0, 4])
def test_cond_in_a_loop_and_loop_in_a_cond(run: Run, turns: int) -> None:
    def build(x: Any, turns: Any) -> Any:
        last = mb.squeeze(x=turns)

        def body(i: Any, value: Any) -> Any:
            even = mb.equal(x=mb.mod(x=i, y=2), y=0)
            # The branches read a loop variable and a value of the outermost block.
            changed = mb.cond(
                pred=even, _true_fn=lambda: mb.add(x=value, y=x), _false_fn=lambda: mb.mul(x=value, y=2.0)
            )
            return mb.add(x=i, y=1), changed

        def looped() -> Any:
            return mb.while_loop(_cond=lambda i, value: mb.less(x=i, y=last), _body=body, loop_vars=(0, x))[1]

        return mb.cond(pred=mb.greater(x=last, y=0), _true_fn=looped, _false_fn=lambda: mb.mul(x=x, y=-1.0))

    value = X
    for i in range(turns):
        value = value * 2 if i % 2 else value + X
    check(run(build, {"x": X, "turns": count(turns)}), value if turns else -X)


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_loop_variable_that_grows(run: Run, turns: int) -> None:
    def build(x: Any, turns: Any) -> list[Any]:
        last = mb.squeeze(x=turns)

        def body(i: Any, value: Any) -> Any:
            return mb.add(x=i, y=1), mb.concat(values=[value, mb.mul(x=x, y=mb.cast(x=i, dtype="fp32"))], axis=0)

        _, value = mb.while_loop(_cond=lambda i, value: mb.less(x=i, y=last), _body=body, loop_vars=(1, x))
        return [value, mb.reduce_sum(x=value, axes=[0], keep_dims=False)]

    expected = np.concatenate([X] + [X * i for i in range(1, turns)])
    check(run(build, {"x": X, "turns": count(turns)}), expected, expected.sum(axis=0))


def test_kernels_and_lists_in_a_body(run: Run) -> None:
    """Steps that ONNX Runtime executes and numpy steps alternate inside a loop."""

    def build(x: Any) -> Any:
        def body(i: Any, value: Any, kept: Any) -> Any:
            order = mb.argsort(x=value, ascending=True)
            kept = mb.list_write(ls=kept, index=i, value=mb.gather_along_axis(x=value, indices=order, axis=-1))
            return mb.add(x=i, y=1), mb.mul(x=mb.list_read(ls=kept, index=i), y=np.float32([-1, 1, 2])), kept

        kept = mb.make_list(init_length=1, elem_shape=X.shape)
        _, value, kept = mb.while_loop(
            _cond=lambda i, value, kept: mb.less(x=i, y=3), _body=body, loop_vars=(0, x, kept)
        )
        return [value, mb.list_gather(ls=kept, indices=[0, 1, 2])]

    value, kept = X, []
    for _ in range(3):
        kept.append(np.sort(value, axis=-1))
        value = kept[-1] * [-1, 1, 2]
    check(run(build, {"x": X}), value, np.stack(kept))


def test_list_chosen_by_a_cond(run: Run) -> None:
    def build(x: Any) -> Any:
        ls = mb.make_list(init_length=1, elem_shape=X.shape)
        chosen = mb.cond(
            pred=positive(x),
            _true_fn=lambda: mb.list_write(ls=ls, index=0, value=x),
            _false_fn=lambda: mb.list_write(ls=ls, index=0, value=mb.mul(x=x, y=2.0)),
        )
        return mb.list_read(ls=chosen, index=0)

    check(run(build, {"x": X}), X)
    check(run(build, {"x": -X}), -2 * X)


@pytest.mark.parametrize("size", [1, 4])
def test_flexible_input(size: int) -> None:
    program = mb.program(input_specs=[mb.TensorSpec((get_new_symbol(), 3))], opset_version=ct.target.iOS17)(
        lambda x: mb.while_loop(
            _cond=lambda i, value: mb.less(x=i, y=3),
            _body=lambda i, value: (mb.add(x=i, y=1), mb.add(x=value, y=x)),
            loop_vars=(0, x),
        )[1]
    )
    model = load_program(program, target=ct.target.iOS17, inputs=[ct.TensorType("x", (ct.RangeDim(1, 9), 3))])
    x = np.arange(1, 3 * size + 1, dtype=np.float32).reshape(size, 3)
    check(list(model.predict({"x": x}).values()), 4 * x)


def test_float16_rounds_in_every_turn(run: Run) -> None:
    def build(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda i, value: mb.less(x=i, y=6),
            _body=lambda i, value: (mb.add(x=i, y=1), mb.mul(x=value, y=np.float16(1.1))),
            loop_vars=(0, mb.cast(x=x, dtype="fp16")),
        )[1]

    value = X.astype(np.float16)
    for _ in range(6):
        value = value * np.float16(1.1)
    (result,) = run(build, {"x": X}, numerics="float16")
    np.testing.assert_array_equal(result, value.astype(np.float32))
    assert (run(build, {"x": X})[0] != result).any()


def test_observation_inside_blocks() -> None:
    def build(x: Any) -> Any:
        def body(i: Any, value: Any) -> Any:
            return mb.add(x=i, y=1), mb.cond(
                pred=mb.less(x=i, y=9),
                _true_fn=lambda: mb.add(x=value, y=x, name="taken"),
                _false_fn=lambda: mb.mul(x=value, y=x, name="not_taken"),
            )

        return mb.while_loop(_cond=lambda i, value: mb.less(x=i, y=3), _body=body, loop_vars=(0, x))[1]

    program = mb.program(input_specs=[mb.TensorSpec(X.shape)], opset_version=ct.target.iOS18)(build)
    model = load_program(program, observe=["taken", "not_taken"])
    observed = model.observe({"x": X})
    assert set(observed) == {"taken"}
    np.testing.assert_array_equal(observed["taken"], 4 * X)  # the last turn's


def test_error_inside_a_block_names_the_operation(run: Run) -> None:
    def build(x: Any, index: Any) -> Any:
        ls = mb.make_list(init_length=1, elem_shape=(3,), dynamic_length=False)
        return mb.while_loop(
            _cond=lambda i, value: mb.less(x=i, y=3),
            _body=lambda i, value: (mb.add(x=i, y=1), mb.add(x=value, y=mb.list_read(ls=ls, index=i, name="culprit"))),
            loop_vars=(mb.squeeze(x=index), x),
        )[1]

    with pytest.raises(PredictionError, match=r"list_read 'culprit'.*outside of the list; received 1"):
        run(build, {"x": X, "index": count(0)})


def test_endless_loop_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runtimes.portable.compiler.MAXIMUM_TURNS", 20)

    def build(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda value: mb.greater(x=mb.reduce_max(x=value, keep_dims=False), y=0.0),
            _body=lambda value: mb.mul(x=value, y=0.5),
            loop_vars=(x,),
        )

    assert np.all(run(build, {"x": -np.abs(X)})[0] == -np.abs(X))
    with pytest.raises(PredictionError, match="20 turns"):
        run(build, {"x": X})
