"""Convolutions, forwards and backwards, and fully connected layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.quiet import quiet_imports
from harness.suites.tflite_cases import FORMS, Case, Input

with quiet_imports():
    import tensorflow as tf

RANDOM = np.random.default_rng(5)


def weights(*shape: int) -> Any:
    return RANDOM.normal(0, 0.3, shape).astype(np.float32)


IMAGE = (Input((1, 9, 8, 6)),)
KERNEL, DEPTHWISE = weights(3, 3, 6, 20), weights(3, 3, 6, 1)
CASES = (
    Case("CONV_2D", "same", lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME") + 0.1, IMAGE, FORMS),
    Case("CONV_2D", "strided", lambda x: tf.nn.conv2d(x, KERNEL, 2, "SAME"), IMAGE, FORMS),
    Case(
        "DEPTHWISE_CONV_2D", "same", lambda x: tf.nn.depthwise_conv2d(x, DEPTHWISE, (1, 1, 1, 1), "SAME"), IMAGE, FORMS
    ),
)
