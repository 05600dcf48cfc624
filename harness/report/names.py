"""What runtimes are called in reports."""

from __future__ import annotations

RUNTIME_NAMES = {
    "tensorflow": "TensorFlow", "tflite": "TensorFlow Lite", "onnxruntime": "ONNX Runtime",
    "portable": "portable runtime", "coreml": "Core ML",
}  # fmt: skip


def runtime_name(name: str) -> str:
    """A runtime's name for people; a third party's is what it calls itself."""
    return RUNTIME_NAMES.get(name, name)
