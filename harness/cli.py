"""The command line: arguments and progress only. What it does is in evaluate.py and report/."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from harness.doctor.command import doctor
from harness.inspection_command import inspect
from harness.suites.command import suite_coremltools
from harness.suites.onnx_command import suite_onnx
from harness.suites.tflite_command import suite_tflite

if TYPE_CHECKING:
    from harness.case import ModelCase
    from harness.evaluate import Cell, Plan
    from harness.record import Record
    from harness.store import Run, RunInfo

# Plain help: rich takes half of the start-up time.
app = typer.Typer(
    help="Does a TensorFlow image-to-image model survive its trip to Core ML? With numbers and pictures.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cache_app = typer.Typer(help="The cache of conversions.", rich_markup_mode=None, no_args_is_help=True)
suite_app = typer.Typer(help="Test suites of others, through ours.", rich_markup_mode=None, no_args_is_help=True)
app.command()(doctor)
suite_app.command("coremltools")(suite_coremltools)
suite_app.command("onnx")(suite_onnx)
suite_app.command("tflite")(suite_tflite)
app.command("inspect")(inspect)
app.add_typer(cache_app, name="cache")
app.add_typer(suite_app, name="suite")

MODELS = Path("models")
RESULTS = Path("results")

Out = Annotated[Path, typer.Option("--out", help="The folder of results.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Trust = Annotated[bool, typer.Option("--trust", help="Let model files run code of their own.")]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", help="Python file with translations of its own, repeatable.")
]
Models = Annotated[Path, typer.Option("--models", help="The folder of model cases.")]


@app.command()
def run(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names from models/, or model files. All by default.")
    ] = None,
    route: Annotated[list[str] | None, typer.Option(help="Conversion route, repeatable. All by default.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="float32 or float16, repeatable. Both unless given.")
    ] = None,
    runtime: Annotated[
        list[str] | None, typer.Option(help="Runtime, repeatable. All of this machine unless given.")
    ] = None,
    compute_unit: Annotated[list[str] | None, typer.Option(help="Compute unit, repeatable. All by default.")] = None,
    inputs: Annotated[
        list[Path] | None, typer.Option(help="Photographs or .npy files, one for each input in order.")
    ] = None,
    out: Out = RESULTS,
    models_folder: Models = MODELS,
    samples: Annotated[int, typer.Option(min=0, help="Timed predictions in each cell; 0 times nothing.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the schedule's random order.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last unfinished run.")] = False,
    plugin: Plugins = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Convert, execute, time and compare; store the results and write a report."""
    from harness.case import discover, find_case
    from harness.errors import UsageError
    from harness.evaluate import Plan, default_routes, default_runtimes
    from harness.frontends.plugin_files import load_plugin_files
    from harness.store import Store

    store = Store(out)
    if resume:
        unfinished = store.resume()
        _execute(_plan_of(unfinished, models_folder, trust), unfinished, json)
    names = models or sorted(discover(models_folder))
    if not names:
        raise UsageError(f"there is no model in {models_folder}", remedy="Name a model file")
    cases = [find_case(name, models_folder, trust=trust) for name in names]
    plan = Plan(
        cases=tuple(cases),
        routes=tuple(route or default_routes()),
        precisions=_precisions(precision),
        runtimes=tuple(runtime or default_runtimes()),
        compute_units=tuple(compute_unit or ()),
        inputs=tuple(inputs or ()),
        samples=samples,
        seed=seed,
        plugins=tuple(plugin or ()),
    )
    load_plugin_files(plan.plugins)  # before anything is stored
    _execute(plan, store.begin(_information(plan)), json)


@app.command()
def convert(
    model: Annotated[str, typer.Argument(help="A name from models/, or a model file (FILE@SIGNATURE).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The package to write (.mlpackage).")],
    route: Annotated[
        str | None, typer.Option(help="Conversion route; native if not given, onnx or tflite for such a file.")
    ] = None,
    precision: Annotated[str, typer.Option(help="float32 or float16.")] = "float16",
    inputs: Annotated[list[Path] | None, typer.Option(help="Files that give flexible dimensions their size.")] = None,
    models_folder: Models = MODELS,
    plugin: Plugins = None,
    trust: Trust = False,
) -> None:
    """Convert one model by one route."""
    from harness import plugins
    from harness.case import find_case
    from harness.errors import UsageError
    from harness.frontends.plugin_files import load_plugin_files
    from harness.inputs import open_source

    if output.suffix != ".mlpackage":
        raise UsageError(f"{output} is no name for an ML Program", supported=["a name that ends in .mlpackage"])
    load_plugin_files(plugin or ())
    source = open_source(find_case(model, models_folder, trust=trust), tuple(inputs or ()))
    name = route or ("native" if source.format == "tensorflow" else source.format)
    artifact = plugins.route(name).convert(source, _precisions([precision])[0], output)
    for warning in artifact.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{artifact.path}  {artifact.size_bytes:,} bytes")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of results.")] = RESULTS,
    json: Json = False,
) -> None:
    """Show every run: table, Markdown and HTML."""
    from harness.report.frame import to_frame
    from harness.store import Store

    records = Store(folder).records()
    frame = to_frame(records)
    if json:
        typer.echo(frame.to_json(orient="records", indent=2))
        return
    _show(records)
    _write_report(records, folder)


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="A run's folder, or a folder of results (its last run).")],
    new: Annotated[Path, typer.Argument(help="The same, of what is to be judged.")],
    fail_on: Annotated[str, typer.Option(help="Rules, e.g. 'status', 'accuracy', 'latency>1.2', by commas.")] = "",
    json: Json = False,
) -> None:
    """Show what changed between two runs; exit 1 where a rule is broken."""
    from harness.report.compare import changes_table, compare_runs, parse_rules
    from harness.report.frame import to_frame
    from harness.store import last_run

    rules = parse_rules(fail_on) if fail_on else ()
    changes = compare_runs(to_frame(last_run(old).records), to_frame(last_run(new).records), rules)
    if json:
        from dataclasses import asdict

        _print_json([asdict(change) for change in changes])
    else:
        from rich.console import Console

        Console().print(changes_table(changes))
    raise typer.Exit(1 if any(change.breaks for change in changes) else 0)


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(help="models, routes, runtimes or limitations")],
    models_folder: Models = MODELS,
    json: Json = False,
) -> None:
    """List what there is."""

    from harness.errors import UnknownNameError

    listings = {
        "models": lambda: _model_rows(models_folder),
        "routes": lambda: _plugin_rows("harness.routes"),
        "runtimes": lambda: _plugin_rows("harness.runtimes"),
        "limitations": _limitation_rows,
    }
    if what not in listings:
        raise UnknownNameError(f"there is no list of {what!r}", supported=sorted(listings))
    rows = listings[what]()
    if json:
        _print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*(rows[0] if rows else {"nothing": ""}), box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)


@cache_app.command("clear")
def cache_clear() -> None:
    """Forget every conversion."""
    from harness.cache import ConversionCache

    entries, size = ConversionCache().clear()
    typer.echo(f"{entries} conversions removed, {size:,} bytes")


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))


def _execute(plan: Plan, run: Run, json: bool) -> NoReturn:
    from harness.cache import ConversionCache
    from harness.evaluate import cells, evaluate
    from harness.report.picture import comparison_picture

    def draw(path: Path, image: Any, reference: Any, candidate: Any, title: str) -> bool:
        return comparison_picture(path, image, reference, candidate, candidate_title=title)

    with (
        run,
        ConversionCache() as cache,
        _progress(len(cells(plan)), len(run.finished), quiet=json) as (announce, advance),
    ):
        for _ in evaluate(plan, run, cache, announce, draw):
            advance()
    records = run.records()
    if json:
        _print_json([record.to_json() for record in records])
    else:
        _show(records)
    _write_report(records, run.folder, quiet=json)
    raise typer.Exit(0 if all(record.status in ("passed", "skipped") for record in records) else 1)


@contextmanager
def _progress(
    total: int, done: int, quiet: bool
) -> Iterator[tuple[Callable[[str, Cell | None], None], Callable[[], None]]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(24),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("starting", total=total, completed=done)

        def announce(what: str, cell: Cell | None) -> None:
            bar.update(task, description=f"{what} {cell}" if cell else what)
            if not console.is_terminal and not quiet and cell is None:
                console.print(what)

        yield announce, lambda: bar.advance(task)


def _show(records: list[Record]) -> None:
    from rich.console import Console

    from harness.report.frame import to_frame
    from harness.report.terminal import results_table

    Console().print(results_table(to_frame(records)))


def _write_report(records: list[Record], folder: Path, quiet: bool = False) -> None:
    from harness.report.frame import to_frame
    from harness.report.html import write_html
    from harness.report.markdown import write_markdown

    frame = to_frame(records)
    written = [write_markdown(frame, folder), write_html(frame, folder)]
    if not quiet:
        typer.echo("Report: " + "  ".join(str(path) for path in written))


def _precisions(given: list[str] | None) -> tuple[str, ...]:
    from harness.errors import UnknownNameError
    from harness.routes.base import PRECISIONS

    for name in given or ():
        if name not in PRECISIONS:
            raise UnknownNameError(f"there is no precision {name!r}", supported=PRECISIONS)
    return tuple(given or PRECISIONS)


def _information(plan: Plan) -> RunInfo:
    """What is stored of a plan, so that it can be resumed."""
    import platform

    from harness.evaluate import cells
    from harness.machine import machine_name
    from harness.store import RunInfo

    return RunInfo(
        command=("harness", *sys.argv[1:]),
        seed=plan.seed,
        cells=tuple(cell.key for cell in cells(plan)),
        options={
            "models": [case.argument for case in plan.cases],
            "routes": list(plan.routes),
            "precisions": list(plan.precisions),
            "runtimes": list(plan.runtimes),
            "compute_units": list(plan.compute_units),
            "inputs": [str(path.resolve()) for path in plan.inputs],
            "samples": plan.samples,
            "plugins": [str(path.resolve()) for path in plan.plugins],
        },
        system={"machine": machine_name(), "system": platform.platform(), "python": platform.python_version()},
    )


def _plan_of(run: Run, models_folder: Path, trust: bool) -> Plan:
    from harness.case import find_case
    from harness.evaluate import Plan

    stored = run.info.options
    cases: list[ModelCase] = [find_case(name, models_folder, trust=trust) for name in stored["models"]]
    return Plan(
        cases=tuple(cases),
        routes=tuple(stored["routes"]),
        precisions=tuple(stored["precisions"]),
        runtimes=tuple(stored["runtimes"]),
        compute_units=tuple(stored["compute_units"]),
        inputs=tuple(Path(path) for path in stored["inputs"]),
        samples=stored["samples"],
        seed=run.info.seed,
        plugins=tuple(Path(path) for path in stored.get("plugins", ())),
    )


def _model_rows(folder: Path) -> list[dict[str, str]]:
    from harness.case import discover

    return [{"name": case.name, "description": case.description} for case in discover(folder).values()]


def _plugin_rows(group: str) -> list[dict[str, str]]:
    from harness import plugins

    load: Callable[[str], Any] = plugins.route if group == plugins.ROUTES else plugins.runtime
    return [{"name": name, "available": load(name).unavailable() or "yes"} for name in plugins.names(group)]


def _limitation_rows() -> list[dict[str, str]]:
    from harness.limitations import limitations

    return [
        {"where": item.where, "what": item.what, "kind": item.kind, "reason": item.reason} for item in limitations()
    ]
