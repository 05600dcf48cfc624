"""Records as a pandas DataFrame, with the statistics that derive from their samples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pandas as pd

from harness.record import Record
from harness.report.names import runtime_name
from harness.timing import Timing, ratios

CELL = ["model", "route", "precision", "runtime", "compute_unit"]

# Milliseconds, but for the count, the ratios and the text.
DERIVED = [
    "sample_count", "median_ms", "median_low_ms", "median_high_ms", "quartile_low_ms", "quartile_high_ms", "p95_ms",
    "reference_median_ms", "ratio", "ratio_low", "ratio_high", "stability",
]  # fmt: skip


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record, in the order given: every field of Record, then ``DERIVED``.

    ``median_low_ms`` and ``median_high_ms`` bound the median with 95 % confidence. ``ratio`` is the median of the
    samples' ratios to the reference's in the same rounds, with ``ratio_low`` and ``ratio_high``. ``stability`` is a
    tuple of warnings. What a record does not have is NaN.
    """
    rows = [_row(record) for record in records]
    frame = pd.DataFrame(rows, columns=[item.name for item in fields(Record)] + DERIVED)
    return frame.astype(dict.fromkeys(_number_columns(), "float64"))


def _number_columns() -> list[str]:
    hints = get_type_hints(Record)
    optional = [name for name, hint in hints.items() if type(None) in get_args(hint)]
    return [*optional, *(name for name in DERIVED if name.endswith("_ms") or name.startswith("ratio"))]


def _row(record: Record) -> dict[str, Any]:
    timing, reference = Timing(record.samples, record.warm_up), Timing(record.reference_samples, record.warm_up)
    low, high = timing.median_interval or (None, None)
    quartile_low, quartile_high = timing.quartiles or (None, None)
    seconds = {
        "median_ms": timing.median,
        "median_low_ms": low,
        "median_high_ms": high,
        "quartile_low_ms": quartile_low,
        "quartile_high_ms": quartile_high,
        "p95_ms": timing.p95,
        "reference_median_ms": reference.median,
    }
    return {
        **{item.name: getattr(record, item.name) for item in fields(record)},
        **{name: math.nan if value is None else value * 1000 for name, value in seconds.items()},
        "sample_count": len(record.samples),
        **_ratio(timing, reference),
        "stability": _stability(timing, reference, record),
    }


def _ratio(timing: Timing, reference: Timing) -> dict[str, float]:
    rounds = Timing(ratios(timing.samples, reference.samples))
    median, (low, high) = rounds.median, rounds.median_interval or (math.nan, math.nan)
    return {"ratio": math.nan if median is None else median, "ratio_low": low, "ratio_high": high}


def _stability(timing: Timing, reference: Timing, record: Record) -> tuple[str, ...]:
    name = runtime_name(record.reference)
    of_reference = (f"{name}'s {warning}" for warning in reference.warnings)
    return tuple(dict.fromkeys((*timing.warnings, *of_reference)))


def latest(frame: pd.DataFrame) -> pd.DataFrame:
    """The record of each cell that started last: in the order given if all are of one run, else by cell."""
    newest = frame.sort_values("started", kind="stable").drop_duplicates(CELL, keep="last")
    return newest.sort_index() if newest["run"].nunique() == 1 else newest.sort_values(CELL, kind="stable")
