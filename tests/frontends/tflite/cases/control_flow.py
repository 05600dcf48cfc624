"""Branches, loops and variables."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.quiet import quiet_imports
from harness.suites.tflite_cases import Case, Input

with quiet_imports():
    import tensorflow as tf

KERNEL = np.random.default_rng(23).normal(0, 0.3, (3, 3, 4, 4)).astype(np.float32)


def branch(x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.nn.relu(x) * 2, lambda: tf.square(x) - 1)


def branch_of_images(x: Any) -> Any:
    """The image is used channels first outside as well as inside."""
    y = tf.nn.conv2d(x, KERNEL, 1, "SAME")
    z = tf.cond(
        tf.reduce_sum(x) > 0,
        lambda: tf.nn.relu(tf.nn.conv2d(y, KERNEL, 1, "SAME")) + y,
        lambda: tf.nn.avg_pool2d(x, 3, 1, "SAME") * y,
    )
    return tf.nn.conv2d(z + y, KERNEL, 1, "SAME") + x


def nested(x: Any) -> Any:
    def inner(value: Any) -> Any:
        return tf.cond(tf.reduce_max(value) > 1, lambda: value - 1, lambda: value * 3)

    return tf.cond(tf.reduce_sum(x) > 0, lambda: inner(x) + 1, lambda: inner(-x))


def until_large(x: Any) -> Any:
    return tf.while_loop(lambda v, n: tf.reduce_sum(tf.abs(v)) < 100, lambda v, n: (v * 2 + 1, n + 1), (x, 0))


def of_images(x: Any) -> Any:
    y = tf.nn.conv2d(x, KERNEL, 1, "SAME")

    def body(v: Any, n: Any) -> Any:
        return tf.nn.tanh(tf.nn.conv2d(v, KERNEL, 1, "SAME") + y), n + 1

    v, _ = tf.while_loop(lambda v, n: tf.cast(n, tf.float32) < tf.reduce_max(x), body, (y, 0))
    return tf.nn.conv2d(v, KERNEL, 1, "SAME") + y


def counted(x: Any) -> Any:
    return tf.while_loop(lambda i, v: i < 5, lambda i, v: (i + 1, v * 1.1 + tf.cast(i, tf.float32)), (0, x))[1]


def many_turns(x: Any) -> Any:
    return tf.while_loop(
        lambda i, v: i < 400, lambda i, v: (i + 1, tf.sin(v + 2 * x + 1e-3 * tf.cast(i, tf.float32))), (0, x)
    )[1]


def growing(x: Any) -> Any:
    """The value has one row more after each turn, as many as the data say."""
    shapes = (tf.TensorShape([]), tf.TensorShape([None, 3]))
    _, rows = tf.while_loop(
        lambda n, v: tf.cast(n, tf.float32) < tf.reduce_max(x), lambda n, v: (n + 1, tf.concat([v, v[-1:] * 2], 0)),
        (0, x), shape_invariants=shapes,
    )  # fmt: skip
    return tf.reduce_sum(rows, 0)


def growing_by_count(x: Any) -> Any:
    shapes = (tf.TensorShape([]), tf.TensorShape([None, 3]))
    body = lambda n, v: (n + 1, tf.concat([v, v[-1:] * 2], 0))  # noqa: E731
    return tf.while_loop(lambda n, v: n < 4, body, (0, x), shape_invariants=shapes)[1]


def loop_in_branch(x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: until_large(x)[0], lambda: branch(x + 1))


def branch_in_loop(x: Any) -> Any:
    body = lambda v, n: (branch(v) + 1, n + 1)  # noqa: E731
    return tf.while_loop(lambda v, n: tf.cast(n, tf.float32) < tf.reduce_max(x), body, (x, 0))[0]


class Accumulator(tf.Module):  # type: ignore[misc]
    """Adds up what it is given, from ``first`` on; counts on the way where it is told to."""

    def __init__(self, first: Any) -> None:
        super().__init__()
        self.total = tf.Variable(np.asarray(first, np.float32))
        self.scale = tf.Variable(np.float32([1, 2, 3]))

    def lasting(self, x: Any) -> Any:
        self.total.assign(0.5 * self.total + x)
        return self.total * self.scale

    def lasting_in_a_branch(self, x: Any) -> Any:
        if tf.reduce_sum(x) > 0:
            self.total.assign_add(x)
        else:
            self.total.assign(self.total * 0.5)
        return self.total + 1

    def lasting_in_a_loop(self, x: Any) -> Any:
        steps = tf.constant(0.0)
        while steps < tf.reduce_max(x):
            self.total.assign(self.total * 0.5 + x)
            steps += 1.0
        return self.total + 1

    def read_only(self, x: Any) -> Any:
        return x * self.scale + self.total

    def assigned_before_it_is_read(self, x: Any) -> Any:
        self.total.assign(x * 2)
        return self.total * self.scale


def with_variables(method: str, first: Sequence[float]) -> bytes:
    """A method as a model; a second signature, which nothing calls here, assigns all variables, so that they stay."""
    module = Accumulator([first])
    spec = tf.TensorSpec((1, 3), name="x")

    def assigns(x: Any) -> Any:
        module.scale.assign(x[0])
        return module.lasting(x)

    signatures = {
        "serving_default": tf.function(getattr(module, method)).get_concrete_function(spec),
        "other": tf.function(assigns).get_concrete_function(spec),
    }
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        converter.experimental_enable_resource_variables = True
        return converter.convert()


class Stream(tf.Module):
    """The last four rows of what it was given, weighted: a streaming layer."""

    def __init__(self, first: float) -> None:
        self.rows = tf.Variable(tf.fill((1, 3, 6), first))
        self.weight = tf.constant(np.random.default_rng(3).normal(size=(6, 5)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 1, 6), name="x")])
    def next(self, x: Any) -> Any:
        """One more row."""
        rows = tf.concat([self.rows, x], 1)
        self.rows.assign(rows[:, 1:])
        return tf.reshape(rows, (4, 6)) @ self.weight


def with_quantized_variable(first: float) -> bytes:
    """A full int8 model whose variable is int8, too."""
    module, random = Stream(first), np.random.default_rng(4)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, {"serving_default": module.next})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.experimental_enable_resource_variables = True
        converter._experimental_variable_quantization = True
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [random.uniform(-1, 3, (1, 1, 6)).astype(np.float32)] for _ in range(20)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()


POSITIVE = (Input((1, 3), values=(1, 2, 3.5)),)
NEGATIVE = (Input((1, 3), values=(-4, 1, 0.5)),)
IMAGE = (Input((1, 6, 5, 4), low=-1, high=2),)
VECTOR = (Input((1, 3)),)
READ = with_variables("read_only", (3, 1, -2))
CASES = (
    Case("IF", "one way", branch, POSITIVE),
    Case("IF", "the other way", branch, NEGATIVE),
    Case("IF", "of images", branch_of_images, IMAGE),
    Case("IF", "nested", nested, POSITIVE),
    Case("IF", "with a loop", loop_in_branch, POSITIVE),
    Case("WHILE", "until the data say so", until_large, POSITIVE),
    Case("WHILE", "never", until_large, (Input((1, 3), values=(100, 2, 3)),)),
    Case("WHILE", "of images", of_images, IMAGE),
    Case("WHILE", "counted", counted, VECTOR),
    Case("WHILE", "many turns", many_turns, VECTOR),
    Case("WHILE", "growing", growing, POSITIVE),
    Case("WHILE", "growing by count", growing_by_count, VECTOR),
    Case("WHILE", "with a branch", branch_in_loop, POSITIVE),
    Case("CALL_ONCE", "first values", READ, VECTOR),
    Case("VAR_HANDLE", "read", READ, VECTOR),
    Case("READ_VARIABLE", "read", READ, VECTOR),
    Case("ASSIGN_VARIABLE", "before it is read", with_variables("assigned_before_it_is_read", (3, 1, -2)), VECTOR),
)
