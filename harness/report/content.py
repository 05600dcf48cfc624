"""What every report says, in words and formatted numbers: terminal, Markdown and HTML only lay it out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from harness.limitations import Limitation, limitations
from harness.report.frame import latest
from harness.report.names import runtime_name
from harness.report.sections import Section, sections

NOTHING = "–"  # noqa: RUF001 - for a value that does not exist
TO = "–"  # noqa: RUF001 - between the ends of an interval


NoteKind = Literal["failure", "caution", "conversion", "stability", "skipped"]

# What stands above the notes of each kind, in this order.
NOTE_TITLES: Mapping[NoteKind, str] = {
    "failure": "Failures",
    "caution": "What could not be judged, and inputs that were cast",
    "conversion": "Conversions that may differ",
    "stability": "Timings to distrust",
    "skipped": "Skipped",
}


@dataclass(frozen=True)
class Note:
    """A numbered remark below the table."""

    number: int
    kind: NoteKind
    text: str


@dataclass(frozen=True)
class Row:
    """One cell of the matrix, formatted."""

    model: str
    route: str
    precision: str
    runtime: str
    compute_unit: str
    status: str
    error: str  # in the unit of the tolerance
    tolerance: str
    psnr: str
    ssim: str
    median: str
    interval: str
    p95: str
    ratio: str
    notes: tuple[int, ...]
    picture: Path | None
    provenance: tuple[tuple[str, str], ...]

    @property
    def is_bad(self) -> bool:
        """Whether it was not within tolerance, or never got as far."""
        return self.status in ("failed", "error")

    @property
    def was_compared(self) -> bool:
        """Whether there is an error to show."""
        return self.error != NOTHING

    @property
    def conversion(self) -> str:
        """Route and precision."""
        return f"{self.route} {self.precision}"

    @property
    def executed_by(self) -> str:
        """The runtime's name for people."""
        return runtime_name(self.runtime)

    @property
    def where(self) -> str:
        """Runtime and compute unit."""
        return f"{self.runtime} {self.compute_unit}"


@dataclass(frozen=True)
class Content:
    """A whole report."""

    summary: str
    reference: str
    rows: tuple[Row, ...]
    notes: tuple[Note, ...]
    sections: tuple[Section, ...]
    limitations: tuple[Limitation, ...]
    environment: tuple[tuple[str, str], ...]
    reading: tuple[str, ...]

    @property
    def models(self) -> dict[str, list[Row]]:
        """Rows by model."""
        return {
            name: [row for row in self.rows if row.model == name] for name in dict.fromkeys(r.model for r in self.rows)
        }

    def notes_of(self, kind: NoteKind) -> list[Note]:
        """Those of one kind."""
        return [note for note in self.notes if note.kind == kind]


def content(frame: pd.DataFrame, folder: Path | None = None) -> Content:
    """The report of ``frame`` (see to_frame), of each cell the latest record.

    ``folder`` is where the report will lie; pictures are looked for there, and in folders named by run.
    """
    rows_of_frame = latest(frame).to_dict("records")
    records = [{str(name): value for name, value in row.items()} for row in rows_of_frame]
    models = list(dict.fromkeys(record["model"] for record in records))
    records.sort(key=lambda record: models.index(record["model"]))
    sources = list(dict.fromkeys(record["tolerance_source"] for record in records if record["tolerance_source"]))
    notes: dict[tuple[NoteKind, str], Note] = {}
    rows = tuple(_row(record, notes, folder, len(sources) > 1) for record in records)
    references = dict.fromkeys(str(record["reference"]) for record in records)
    reference = " or ".join(runtime_name(name) for name in references) or "the reference"
    return Content(
        summary=_summary(records, reference, len(frame), frame["run"].nunique()),
        reference=reference,
        rows=rows,
        notes=tuple(notes.values()),
        sections=sections(records, folder),
        limitations=_applicable(records),
        environment=_environment(records),
        reading=_reading(sources, reference) if rows else (),
    )


def _row(
    record: Mapping[str, Any], notes: dict[tuple[NoteKind, str], Note], folder: Path | None, name_source: bool
) -> Row:
    remarks: list[tuple[NoteKind, str]] = []
    if record["status"] in ("failed", "error"):
        stage = f"at {record['stage']}: " if record["stage"] else ""
        remarks.append(("failure", stage + (record["error"] or "no reason was recorded")))
    elif record["status"] == "skipped":
        remarks.append(("skipped", record["error"] or "no reason was recorded"))
    remarks += [("caution", text) for text in record["cautions"]]
    remarks += [("conversion", text) for text in record["conversion_warnings"]]
    remarks += [("stability", text) for text in dict.fromkeys((*record["stability"], *record["warnings"]))]
    for kind, text in remarks:
        notes.setdefault((kind, text), Note(len(notes) + 1, kind, text))
    return Row(
        model=record["model"],
        route=record["route"],
        precision=record["precision"],
        runtime=record["runtime"],
        compute_unit=record["compute_unit"],
        status=record["status"],
        error=_deviation(record),
        tolerance=_bound(record),
        psnr=decibels(record["psnr"]),
        ssim=similarity(record["ssim"]),
        median=milliseconds(record["median_ms"]),
        interval=_interval(record["median_low_ms"], record["median_high_ms"]),
        p95=milliseconds(record["p95_ms"]),
        ratio=NOTHING if math.isnan(record["ratio"]) else f"{record['ratio']:.2f}",
        notes=tuple(dict.fromkeys(notes[remark].number for remark in remarks)),
        picture=_picture(record, folder),
        provenance=_provenance(record, name_source),
    )


def _deviation(record: Mapping[str, Any]) -> str:
    """What was judged, in the unit of its tolerance."""
    if math.isnan(record["deviation"]):
        return small(record["max_abs_error"])
    return _in_unit(record["judged_as"], record["deviation"])


def _bound(record: Mapping[str, Any]) -> str:
    if math.isnan(record["tolerance"]):
        return NOTHING
    unit = {"range": " of range", "labels": " of labels", "steps": " steps"}.get(record["judged_as"], "")
    text = _in_unit(record["judged_as"], record["tolerance"]) + unit
    return "1 step" if text == "1 steps" else text


def _in_unit(kind: str, value: float) -> str:
    """A deviation or a bound; see tolerance.Kind."""
    if kind == "steps":
        return f"{value:g}"
    return share(value) if kind == "labels" else small(value)


def share(value: float) -> str:
    """A share of elements: ``0.02 %``, ``0``."""
    return "0" if value == 0 else f"{value * 100:.2g} %"


def small(value: float) -> str:
    """An error or a bound: ``3.5e-06``, ``1e-04``, ``0``."""
    return NOTHING if math.isnan(value) else "0" if value == 0 else f"{value:.1e}".replace(".0e", "e")


def decibels(value: float) -> str:
    """``52.3``; ``∞`` for equal outputs."""
    return NOTHING if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.1f}"


def similarity(value: float) -> str:
    """Four decimals, rounded down, so that 1.0000 means equal."""
    return NOTHING if math.isnan(value) else f"{math.floor(value * 1e4 + 1e-9) / 1e4:.4f}"


def milliseconds(value: float) -> str:
    """Three significant digits: ``0.123``, ``12.3``, ``1230``."""
    if math.isnan(value):
        return NOTHING
    rounded = float(f"{value:.3g}")
    decimals = 2 - math.floor(math.log10(rounded)) if rounded > 0 else 0
    return f"{rounded:.{max(decimals, 0)}f}"


def _interval(low: float, high: float) -> str:
    return NOTHING if math.isnan(low) else f"{milliseconds(low)}{TO}{milliseconds(high)}"


def _picture(record: Mapping[str, Any], folder: Path | None) -> Path | None:
    if folder is None or not record["picture"]:
        return None
    candidates = (folder / record["picture"], folder / record["run"] / record["picture"])
    return next((path for path in candidates if path.is_file()), None)


def _provenance(record: Mapping[str, Any], name_source: bool) -> tuple[tuple[str, str], ...]:
    cached = " (from the cache)" if record["convert_cached"] else ""
    convert = record["convert_seconds"]
    facts = {
        "run": record["run"],
        "started": record["started"],
        "input": f"{record['input_source']} {record['input_shapes']}".strip(),
        "model SHA-256": record["model_hash"][:16],
        "package SHA-256": record["artifact_hash"][:16],
        "package size": "" if math.isnan(record["artifact_bytes"]) else f"{int(record['artifact_bytes']):,} bytes",
        "conversion": "" if math.isnan(convert) else f"{convert:.2f} s{cached}",
        "load": "" if math.isnan(record["load_seconds"]) else f"{record['load_seconds'] * 1000:.0f} ms",
        "output judged": record["output"],
        "judged by": _judged_by(record),
        "tolerance from": record["tolerance_source"] if name_source else "",
    }
    return tuple((name, str(fact)) for name, fact in facts.items() if fact)


def _judged_by(record: Mapping[str, Any]) -> str:
    if not record["judged_as"]:
        return ""
    because = f": {record['judged_because']}" if record["judged_because"] else ""
    if math.isnan(record["elements"]):
        return f"{record['judged_as']}{because}"
    return f"{record['judged_as']}{because}; {int(record['differing'])} of {int(record['elements'])} elements beyond it"


def _summary(records: list[dict[str, Any]], reference: str, count: int, runs: int) -> str:
    if not records:
        return "There are no results yet."
    counts = {
        status: sum(record["status"] == status for record in records)
        for status in ("passed", "failed", "error", "skipped")
    }
    compared = len(records) - counts["skipped"]
    sentence = f"{counts['passed']} of {_counted(compared, 'cell')} within tolerance of {reference}"
    if not counts["passed"] + counts["failed"]:
        sentence = "Nothing was judged"
    details = [
        f"{counts['failed']} beyond it" if counts["failed"] else "",
        f"{_counted(counts['error'], 'error')}" if counts["error"] else "",
        f"{counts['skipped']} skipped" if counts["skipped"] else "",
    ]
    sentence += "".join(f", {detail}" for detail in details if detail) + "."
    if count > len(records):
        sentence += f" Of each cell the latest record is shown, out of {count} in {_counted(runs, 'run')}."
    return sentence


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _applicable(records: list[dict[str, Any]]) -> tuple[Limitation, ...]:
    """Limitations of the routes and runtimes that took part; those of single operations fail by themselves."""
    modules = {f"runtimes.{record['runtime']}" for record in records if record["status"] != "skipped"}
    modules |= {f"routes.{record['route']}" for record in records if record["status"] != "skipped"}
    return tuple(item for item in limitations() if item.where in modules)


def _environment(records: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    versions = {name: version for record in records for name, version in record["versions"].items()}
    facts = {
        "Run": _several(record["run"] for record in records),
        "Machine": _several(record["machine"] for record in records),
        "System": _several(record["system"] for record in records),
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
        "Schedule": _several(
            f"{record['sample_count']} samples after {record['warm_up']} warm-up calls, seed {record['seed']}"
            for record in records
            if record["sample_count"]
        ),
    }
    return tuple((name, fact) for name, fact in facts.items() if fact)


def _several(values: Iterable[str], most: int = 4) -> str:
    """Different values, in order; not more than a reader wants."""
    different = list(dict.fromkeys(value for value in values if value))
    rest = f" and {len(different) - most} more" if len(different) > most else ""
    return "; ".join(different[:most]) + rest


def _reading(sources: list[str], reference: str) -> tuple[str, ...]:
    """How the columns are to be read."""
    tolerance = {0: "its source is not recorded", 1: sources[0] if sources else ""}.get(
        len(sources), "of several sources, see the provenance"
    )
    return (
        f"Error: of the output that is nearest to its tolerance, or beyond it, from {reference}: a share of the range "
        "of the reference's own values; whole steps of integers that are quantities; the share of labels that differ. "
        f"Tolerance: {tolerance}.",
        "PSNR (decibels, ∞ where equal) and SSIM take the range of the reference's own output as the peak, "
        "or 255 for 8-bit images.",
        f"Median: milliseconds of one prediction, with its 95 % confidence interval (CI). Ratio: to {reference}'s "
        "median, timed in the same schedule; below 1 is faster.",
    )
