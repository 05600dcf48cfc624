"""The one pipeline: every cell of a plan becomes a Record, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.bench import Draw, Settings, records_of
from harness.cache import ConversionCache
from harness.conversions import Progress
from harness.frontends.plugin_files import load_plugin_files
from harness.plan import Cell, Plan, cells, in_random_order
from harness.record import Record
from harness.store import Run


def evaluate(
    plan: Plan, run: Run, cache: ConversionCache, progress: Progress, draw: Draw | None = None
) -> Iterator[Record]:
    """Run every cell that ``run`` has not finished; each record is stored before it is yielded.

    ``progress`` is told what is going on. A model that cannot be opened, or whose reference fails, is a record of each
    of its cells, and the run goes on. Raises StoreError, and what ``cells`` and the plugins' files raise.
    """
    planned = cells(plan)
    settings = Settings(
        cache, plan.inputs, run.name, plan.seed, progress, run.folder, draw, plan.isolation,
        plugin_files=load_plugin_files(plan.plugins),
        begun={record.model: record.model_hash for record in run.records() if record.was_judged},
    )  # fmt: skip
    for case in plan.cases:
        ordered = in_random_order([cell for cell in planned if cell.case is case], plan.seed)
        mine = [cell for cell in ordered if cell.key not in run.finished]
        if not mine:
            continue
        progress(f"loading {case.name}", None)
        for record in records_of(case, settings, mine, plan.schedule, ordered):
            stored = replace(record, position=_position(ordered, record))
            run.append(stored)
            yield stored


def _position(ordered: list[Cell], record: Record) -> int:
    return [cell.key for cell in ordered].index(record.cell)
