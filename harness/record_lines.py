"""Records as lines of strict JSON, one a line, where numbers that are not finite are named as strings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from harness.disk import disk_error
from harness.errors import StoreError
from harness.record import FORMAT_VERSION, Record

_HINTS = get_type_hints(Record)
_NUMBERS = {name for name, hint in _HINTS.items() if float in (hint, *get_args(hint)) and get_origin(hint) is not tuple}
_LISTS_OF_NUMBERS = {name for name, hint in _HINTS.items() if hint == tuple[float, ...]}


def to_line(record: Record) -> str:
    """A record as strict JSON on one line, without the line's end."""
    return json.dumps(strict(record.to_json()), allow_nan=False, ensure_ascii=False)


def from_line(line: str) -> Record:
    """The inverse of ``to_line``. Raises ValueError, KeyError or TypeError where it is no record."""
    data = json.loads(line)
    if not isinstance(data, dict):
        raise TypeError(f"a record is an object, not {type(data).__name__}")
    for name in _NUMBERS & data.keys():
        data[name] = _number(data[name])
    for name in _LISTS_OF_NUMBERS & data.keys():
        data[name] = [_number(item) for item in data[name]]
    return Record.from_json(data)


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


def strict(value: Any) -> Any:
    """``value`` with the numbers that strict JSON does not have replaced by "Infinity", "-Infinity" and "NaN"."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def read_records(path: Path) -> tuple[list[Record], int, bool]:
    """A file's records, the length in bytes of all their lines, and whether something incomplete follows them.

    Only the last line may be incomplete, as each line is on the disk before the next is begun. Raises StoreError
    for a line before it that is damaged, and for one that a newer harness wrote.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise disk_error(path, error) from error
    records: list[Record] = []
    whole = 0
    while whole < len(content):
        end = content.find(b"\n", whole) + 1
        if not end:
            return records, whole, True
        try:
            line = content[whole:end].decode()
            check_version(path, json.loads(line))
            records.append(from_line(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if end == len(content):
                return records, whole, True
            raise StoreError(
                f"line {len(records) + 1} of {path} is damaged",
                received=error,
                remedy="Restore the file, or delete that line",
            ) from error
        whole = end
    return records, whole, False


def check_version(path: Path, data: Mapping[str, Any]) -> None:
    """Raises StoreError where a newer harness wrote ``data`` of the file ``path``, and ValueError for no version."""
    version = data["format_version"]
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"format version {version!r}")
    if version > FORMAT_VERSION:
        raise StoreError(
            f"{path} was written by a newer harness",
            received=f"format version {version}",
            supported=f"versions up to {FORMAT_VERSION}",
            remedy="Upgrade harness, or keep these results in a folder of their own",
        )
