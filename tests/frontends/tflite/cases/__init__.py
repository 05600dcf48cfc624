"""The table of `harness suite tflite`: one module a family of operators, each with its ``CASES``."""
