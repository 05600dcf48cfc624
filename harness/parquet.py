"""Records exported as one Parquet file, a column a field; the lines of JSON stay the source."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from harness.disk import disk_error
from harness.record import Record
from harness.record_lines import strict

_HINTS = get_type_hints(Record)


def export(records: Iterable[Record], path: Path) -> None:
    """Write all records, nested objects as JSON text. Raises StoreError, and leaves an earlier file as it was."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}

    def column(hint: Any) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Literal:
            return pa.string()
        if origin is tuple:
            return pa.list_(columns[arguments[0]])
        if origin is dict and Any in arguments:
            return pa.string()
        if origin is dict:
            return pa.map_(*(columns[argument] for argument in arguments))
        return columns[hint if origin is None else arguments[0]]

    schema = pa.schema([(item.name, column(_HINTS[item.name])) for item in fields(Record)])
    rows = [{name: _value(_HINTS[name], value) for name, value in vars(record).items()} for record in records]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), aside)
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def _value(hint: Any, value: Any) -> Any:
    """A mapping as pairs where it is of one type, else as JSON text."""
    if get_origin(hint) is not dict:
        return value
    if Any in get_args(hint):
        return json.dumps(strict(value), allow_nan=False)
    return list(value.items())
