"""What the types of a model's tensors are in its program."""

from __future__ import annotations

from harness.errors import UnsupportedError
from harness.frontends.tflite.graph import TensorInfo
from harness.frontends.tflite.quantization import is_quantized


def computed_type(tensor: TensorInfo | None) -> str:
    """The type that a tensor's values have: that of the file, but float32 where its integers stand for reals."""
    if tensor is None:
        raise UnsupportedError("an input that its type is asked of is left out")
    return "float32" if is_quantized(tensor) else tensor.dtype
