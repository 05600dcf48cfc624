"""What a report says of Core ML cells beside the main table: costs, placement, and where errors enter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.attribution import read_ladders
from harness.ladder import Ladder
from harness.runtimes.coreml.plan import ComputePlan, difference
from harness.timing import Timing

_LISTED = 5
_NOTHING = "–"  # noqa: RUF001 - for a value that does not exist

Records = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Section:
    """A titled table with a remark on how to read it."""

    title: str
    remark: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sections(records: Records, folder: Path | None) -> tuple[Section, ...]:
    """Those that have anything to say. ``records`` are rows of to_frame; ladders are read in ``folder``, and in the
    folders of the records' runs there. Raises StoreError where a file of ladders is damaged."""
    rows = list(records)
    found = (_costs(rows), _ladders(_read(rows, folder)), _placement(rows), _moved(rows))
    return tuple(section for section in found if section.rows)


def _cell(record: Mapping[str, Any]) -> str:
    return f"{record['model']}, {record['route']} {record['precision']}, {record['compute_unit']}"


def _milliseconds(seconds: Any) -> str:
    if seconds is None or math.isnan(seconds):
        return _NOTHING
    return f"{seconds * 1000:.3g}"


def _costs(records: list[Mapping[str, Any]]) -> Section:
    rows = []
    for record in records:
        if record["runtime"] != "coreml" or math.isnan(record["compile_seconds"]):
            continue
        loads = [
            f"{_milliseconds(record[f'{warm}load_seconds'])} ({record[f'{warm}load_state'] or 'unknown'})"
            if not math.isnan(record[f"{warm}load_seconds"])
            else _NOTHING
            for warm in ("", "warm_")
        ]
        framework = Timing(tuple(record["framework_samples"])).median
        rows.append(
            (
                _cell(record), _milliseconds(record["compile_seconds"]), *loads,
                _milliseconds(record["first_predict_seconds"]), _milliseconds(framework),
                _milliseconds(Timing(tuple(record["samples"])).median),
            )
        )  # fmt: skip
    return Section(
        "Costs of Core ML cells",
        "Milliseconds, each measured apart: compiling the package, loading and specialising (cold and warm as they "
        "were found to be), the first prediction, and the median of steady ones as the framework reports it and as "
        "Python sees it.",
        ("Cell", "Compile", "Load", "Load again", "First", "Framework", "Python"),
        tuple(rows),
    )


def _read(records: list[Mapping[str, Any]], folder: Path | None) -> tuple[Ladder, ...]:
    if folder is None:
        return ()
    runs = dict.fromkeys(str(record["run"]) for record in records)
    folders = [path for path in (folder, *(folder / run for run in runs)) if path.is_dir()]
    return tuple(ladder for path in folders for ladder in read_ladders(path))


def _ladders(ladders: tuple[Ladder, ...]) -> Section:
    newest = {ladder.key: ladder for ladder in ladders}
    rows = [
        (
            f"{ladder.model}, {ladder.route} {ladder.precision}", ladder.output, ladder.describe(),
            " → ".join(f"{rung.name} {rung.error:.1e}" if rung.error is not None else f"{rung.name} {_NOTHING}"
                       for rung in ladder.rungs),
        )
        for ladder in newest.values()
    ]  # fmt: skip
    return Section(
        "Where errors enter",
        "Each output from the reference to the device, one change at a time: conversion (portable float32), precision "
        "(portable float16), and each compute unit. Figures are the greatest absolute differences from the reference.",
        ("Conversion", "Output", "Finding", "Errors"),
        tuple(rows),
    )


def _plans(records: list[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], ComputePlan]]:
    found = []
    for record in records:
        if record["compute_plan"]:
            plan = ComputePlan.from_json(record["compute_plan"])
            if plan.operations:
                found.append((record, plan))
    return found


def _share(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.0%}"


def _placement(records: list[Mapping[str, Any]]) -> Section:
    rows = []
    for record, plan in _plans(records):
        shares = ", ".join(f"{kind} {_share(share)}" for kind, share in plan.shares().items())
        left = plan.left_neural_engine()
        names = [f"{item.operator} {item.name} {_share(item.cost)}" for item in left[:_LISTED]]
        rest = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
        rows.append((_cell(record), shares, ", ".join(names) + rest or _NOTHING))
    return Section(
        "Placement, as Core ML estimates it",
        "Estimated shares of cost by preferred device, before execution: neither a measurement nor a promise. Then the "
        "operations that left the Neural Engine, the most costly first.",
        ("Cell", "Estimated shares", "Left the Neural Engine"),
        tuple(rows),
    )


def _moved(records: list[Mapping[str, Any]]) -> Section:
    """Between routes of one model, precision and compute unit: the first is compared with each other one."""
    groups: dict[tuple[str, ...], list[tuple[Mapping[str, Any], ComputePlan]]] = {}
    for record, plan in _plans(records):
        groups.setdefault((record["model"], record["precision"], record["compute_unit"]), []).append((record, plan))
    rows = []
    for key, members in groups.items():
        (first, old), *others = members
        for second, new in others:
            lines = difference(old, new).lines()
            if lines:
                rest = f" and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
                rows.append(
                    (", ".join(key), f"{first['route']} → {second['route']}", "; ".join(lines[:_LISTED]) + rest)
                )
    return Section(
        "Placement, route by route",
        "Where the estimates of two routes differ, operation by operation of the same name.",
        ("Cell", "Routes", "Differences"),
        tuple(rows),
    )
