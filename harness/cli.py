"""The command line: arguments and progress only. What it does is in evaluate.py and report/."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from harness.comparison_command import compare
from harness.doctor.command import doctor
from harness.inspection_command import inspect
from harness.list_command import list_
from harness.suites.command import suite_coremltools
from harness.suites.onnx_command import suite_onnx
from harness.suites.tflite_command import suite_tflite

if TYPE_CHECKING:
    from harness.case import ModelCase
    from harness.errors import UsageError
    from harness.plan import Cell, Plan
    from harness.record import Record
    from harness.store import Run, RunInfo, Store

# Plain help: rich takes half of the start-up time.
app = typer.Typer(
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
app.command()(compare)
app.command("inspect")(inspect)
app.command("list")(list_)
app.add_typer(cache_app, name="cache")
app.add_typer(suite_app, name="suite")

MODELS = Path("models")
RESULTS = Path("results")
_REASONS = 3  # that are told where nothing was judged

Out = Annotated[Path, typer.Option("--out", help="The folder of results.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Trust = Annotated[bool, typer.Option("--trust", help="Let model files run code of their own.")]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", help="Python file with translations of its own, repeatable.")
]
Models = Annotated[Path, typer.Option("--models", help="The folder of model cases.")]


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("coreml-harness"))
        raise typer.Exit


@app.callback()
def every_command(
    context: typer.Context,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Does a TensorFlow image-to-image model survive its trip to Core ML? With numbers and pictures."""
    context.ensure_object(dict)["traceback"] = traceback


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
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last unfinished run, as it was begun.")
    ] = False,
    plugin: Plugins = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Convert, execute, time and compare; store the results and write a report."""
    from harness.interruption import interruptible

    begun: Run | None = None
    with interruptible(lambda: _kept(begun, out, resume, trust)):
        from harness.case import discover, distinct_names, find_case
        from harness.errors import UsageError
        from harness.frontends.plugin_files import load_plugin_files
        from harness.inputs import check_files
        from harness.plan import Plan, default_routes, default_runtimes
        from harness.store import Store

        store = Store(out)
        if resume:
            plan, begun = _resumed(store, models_folder, trust)
            _execute(plan, begun, json)
        check_files(inputs or ())
        names = models or sorted(discover(models_folder, tolerant=True))
        if not names:
            raise UsageError(f"there is no model in {models_folder}", remedy="Name a model file")
        cases = [find_case(name, models_folder, trust=trust) for name in names]
        plan = Plan(
            cases=distinct_names(cases),
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
        begun = store.begin(_information(plan, models_folder))
        _execute(plan, begun, json)


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
    from harness.inputs import check_files, open_source

    if output.suffix != ".mlpackage":
        raise UsageError(f"{output} is no name for an ML Program", supported=["a name that ends in .mlpackage"])
    check_files(inputs or ())
    load_plugin_files(plugin or ())
    source = open_source(find_case(model, models_folder, trust=trust), tuple(inputs or ()))
    name = route or ("native" if source.format == "tensorflow" else source.format)
    artifact = plugins.route(name).convert(source, _precisions([precision])[0], output)
    for warning in artifact.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{artifact.path}  {artifact.size_bytes:,} bytes")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder of results, or one run's folder.")] = RESULTS,
    json: Json = False,
) -> None:
    """Show every run, or one: table, Markdown and HTML."""
    from harness.report.frame import to_frame
    from harness.store import runs_at

    records = [record for run in runs_at(folder) for record in run.records]
    frame = to_frame(records)
    if json:
        typer.echo(frame.to_json(orient="records", indent=2))
        return
    _show(records)
    _write_report(records, folder)


@cache_app.command("clear")
def cache_clear() -> None:
    """Forget every conversion."""
    from harness.cache import ConversionCache

    entries, size = ConversionCache().clear()
    typer.echo(f"{entries} conversions removed, {size:,} bytes")


def _kept(run: Run | None, out: Path, resume: bool, trust: bool) -> str:
    """What an interrupted run leaves, and how to go on."""
    from shlex import quote

    options = ["--resume", *(["--trust"] if trust else []), *(["--out", quote(str(out))] if out != RESULTS else [])]
    again = f"`harness run {' '.join(options)}`"
    if run is None:
        return f"what was kept before still is, and {again} goes on with it" if resume else "nothing was kept"
    planned, kept = len(run.info.cells), len(run.finished)
    if not kept:
        return "no cell had finished, so that nothing was kept"
    if kept == planned:
        return f"all {planned} cells are kept in {run.folder}; `harness report {quote(str(run.folder))}` shows them"
    return f"{kept} of {planned} cells are kept in {run.folder}; {again} goes on with the rest"


def _execute(plan: Plan, run: Run, json: bool) -> NoReturn:
    from harness.cache import ConversionCache
    from harness.evaluate import evaluate
    from harness.plan import cells
    from harness.report.picture import draw_cell

    with (
        run,
        ConversionCache() as cache,
        _progress(len(cells(plan)), len(run.finished), quiet=json) as (announce, advance),
    ):
        for _ in evaluate(plan, run, cache, announce, draw_cell):
            advance()
    records = run.records()
    if json:
        from harness.printing import print_json

        print_json([record.to_json() for record in records])
    else:
        _show(records)
    _write_report(records, run.folder, quiet=json)
    if not any(record.was_judged for record in records):
        raise _nothing_judged(records)
    raise typer.Exit(0 if all(record.status in ("passed", "skipped") for record in records) else 1)


def _nothing_judged(records: list[Record]) -> UsageError:
    from harness.errors import UsageError

    reasons = list(dict.fromkeys(record.error.rstrip(".") for record in records))
    rest = f"; and {len(reasons) - _REASONS} more reasons" if len(reasons) > _REASONS else ""
    cells = f"none of {len(records)} cells" if len(records) > 1 else "the one cell"
    was = "was" if len(records) > 1 else "was not"
    return UsageError(
        f"nothing was judged: {cells} {was} compared with a reference. {'; '.join(reasons[:_REASONS])}{rest}"
    )


@contextmanager
def _progress(
    total: int, done: int, quiet: bool
) -> Iterator[tuple[Callable[[str, Cell | None], None], Callable[[], None]]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(24),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("starting", total=total, completed=done)

        told = [""]

        def announce(what: str, cell: Cell | None) -> None:
            bar.update(task, description=f"{what} {cell}" if cell else what)
            step = what.partition(":")[0]
            if not console.is_terminal and not quiet and cell is None and step != told[0]:
                told[0] = step
                console.print(Text(step))

        yield announce, lambda: bar.advance(task)


def _show(records: list[Record]) -> None:
    from harness.printing import print_for_people
    from harness.report.frame import to_frame
    from harness.report.terminal import results_table

    print_for_people(results_table(to_frame(records)))


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


def _information(plan: Plan, models_folder: Path) -> RunInfo:
    """What is stored of a plan, so that it can be resumed from anywhere by `--resume` and `--out`. Trust is not: it has
    to be given again."""
    import platform

    from harness.machine import machine_name
    from harness.plan import cells
    from harness.store import RunInfo

    return RunInfo(
        command=("harness", *sys.argv[1:]),
        seed=plan.seed,
        cells=tuple(cell.key for cell in cells(plan)),
        options={
            "models": [case.argument for case in plan.cases],
            "models_folder": str(models_folder.resolve()),
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


def _resumed(store: Store, models_folder: Path, trust: bool) -> tuple[Plan, Run]:
    """The last unfinished run of a store, and what it planned; another run may take it where that fails."""
    run = store.resume()
    try:
        return _plan_of(run, models_folder, trust), run
    except BaseException:
        run.close()
        raise


def _plan_of(run: Run, models_folder: Path, trust: bool) -> Plan:
    """What a run planned; the folder of models as given where an earlier version did not store it."""
    from harness.case import distinct_names, find_case
    from harness.plan import Plan

    stored = run.info.options
    folder = Path(stored.get("models_folder", models_folder))
    cases: list[ModelCase] = [find_case(name, folder, trust=trust) for name in stored["models"]]
    return Plan(
        cases=distinct_names(cases),
        routes=tuple(stored["routes"]),
        precisions=tuple(stored["precisions"]),
        runtimes=tuple(stored["runtimes"]),
        compute_units=tuple(stored["compute_units"]),
        inputs=tuple(Path(path) for path in stored["inputs"]),
        samples=stored["samples"],
        seed=run.info.seed,
        plugins=tuple(Path(path) for path in stored.get("plugins", ())),
    )
