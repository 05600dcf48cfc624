"""The options of an operator as plain values by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.errors import ConversionError
from harness.frontends.tflite.flatbuffer import Table, damaged
from harness.frontends.tflite.graph import Operator
from harness.frontends.tflite.schema import STRING, VECTOR, Schema

# The generated schema does not say which numbers are members of an enumeration (schema.fbs does).
_ENUMERATIONS = {
    "fused_activation_function": "ActivationFunctionType", "padding": "Padding", "mode": "MirrorPadMode",
    "weights_format": "FullyConnectedOptionsWeightsFormat", "kernel_type": "LSTMKernelType",
    "combiner": "CombinerType", "reduce_function": "ReduceWindowFunction", "algorithm": "RngAlgorithm",
    "comparison_direction": "StablehloComparisonDirection", "compare_type": "StablehloComparisonType",
    "type": "LSHProjectionType", "composite_attributes_format": "CustomOptionsFormat",
    "precision_config": "StablehloPrecisionConfig",
}  # fmt: skip
_TYPES = frozenset(
    {"in_data_type", "out_data_type", "output_type", "out_type", "idx_out_type", "quantized_bias_type", "key_dtype",
     "value_dtype"}
)  # fmt: skip
# These cannot be zero or less, and kernels divide by them.
_POSITIVE = frozenset(
    {"stride_w", "stride_h", "stride_d", "dilation_w_factor", "dilation_h_factor", "dilation_d_factor", "filter_width",
     "filter_height", "block_size"}
)  # fmt: skip

# Operators whose table of options is not called after them (flatbuffer_conversions.cc).
_OTHER_TABLES = {
    "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions", "L2_POOL_2D": "Pool2DOptions",
    "L2_NORMALIZATION": "L2NormOptions", "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
    "MEAN": "ReducerOptions", "SUM": "ReducerOptions", "REDUCE_PROD": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions", "REDUCE_MIN": "ReducerOptions", "REDUCE_ANY": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions", "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions", "RANDOM_STANDARD_NORMAL": "RandomOptions",
    "RANDOM_UNIFORM": "RandomOptions", "MULTINOMIAL": "RandomOptions",
}  # fmt: skip


def custom_attributes(operator: Operator) -> dict[str, Any]:
    """A custom operator's options by name: a FlexBuffer's map, as TensorFlow's converter writes them.

    Raises ConversionError for bytes that are none.
    """
    if not operator.custom_options:
        return {}
    from flatbuffers import flexbuffers

    try:
        values = flexbuffers.Loads(operator.custom_options)
    except Exception as error:  # whatever its reader stumbles over
        values = error
    if not isinstance(values, dict):
        raise ConversionError(
            f"custom operator {operator.name} has options that are no map of a FlexBuffer",
            received=f"{len(operator.custom_options)} bytes",
            remedy="Let its translation take `node` and read node.operator.custom_options",
        )
    return values


def options_table(operator: str, schema: Schema) -> str | None:
    """The table that holds a builtin operator's options, or None where it has none."""
    if operator in _OTHER_TABLES:
        return _OTHER_TABLES[operator]
    wanted = f"{operator.replace('_', '')}Options".lower()
    return next((table for table in schema.tables if table.lower() == wanted), None)


def read_options(
    operator: str, union: tuple[str, Table] | None, schema: Schema, file: str, place: str
) -> Mapping[str, Any]:
    """Every field of an operator's options, enumerations and types by name.

    Options that are left out have the schema's defaults. Those of another operator are refused: TFLite would pass over
    them without a word. Raises ModelFileError.
    """
    table = options_table(operator, schema)
    if table is None or not schema.tables[table]:
        return {}
    if union is not None and union[0] != table:
        raise damaged(file, place, "has the options of another operator", union[0], table)
    values = union[1] if union is not None else {field.name: field.default for field in schema.tables[table]}
    options: dict[str, Any] = {}
    for field in schema.tables[table]:
        value = values[field.name]
        where = f"{place}, {field.name}"
        if field.kind == VECTOR and (field.dtype == np.uint8 or value is None):
            options[field.name] = (b"" if field.dtype == np.uint8 else ()) if value is None else value.tobytes()
        elif field.kind == VECTOR:
            options[field.name] = tuple(value.tolist())
        elif field.kind == STRING:
            options[field.name] = value or ""
        elif field.name in _TYPES:
            options[field.name] = member(schema, "TensorType", value, file, where).lower()
        elif field.name in _ENUMERATIONS:
            options[field.name] = member(schema, _ENUMERATIONS[field.name], value, file, where)
        elif field.name in _POSITIVE and value <= 0:
            raise damaged(file, where, "is not positive", value)
        else:
            options[field.name] = value
    return options


def member(schema: Schema, enumeration: str, number: int, file: str, place: str) -> str:
    """The name of an enumeration's member. Raises ModelFileError for a number that is none."""
    name = schema.enumerations[enumeration].get(number)
    if name is None:
        raise damaged(file, place, f"is no {enumeration}", number, schema.enumerations[enumeration].values())
    return name
