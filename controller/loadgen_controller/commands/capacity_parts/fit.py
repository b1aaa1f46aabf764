"""`loadgen capacity fit`: the curve of throughput against load, and its peak."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.errors import UsageError
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.capacity_parts.study_output import (
    CsvOption,
    HtmlOption,
    JsonOption,
    StudyStoreOption,
    end_study,
    study_output_of,
)
from loadgen_controller.commands.missing_extra import needing_analysis

if TYPE_CHECKING:
    from loadgen.capacity.curves.points import MeasuredCurve

__all__ = ["FIT", "fit"]

FIT = """[bold]Examples[/bold]

loadgen capacity fit measured.csv

loadgen capacity fit measured.csv --load nodes --throughput tps --axis instances --html curve.html

loadgen capacity fit last --json -

loadgen capacity fit 20261124-1703 20261124-1711 20261124-1719 20261124-1727 --extrapolate 500"""

_MOST_DATA = 1_000


class AxisName(StrEnum):
    """The kind of a curve's load."""

    CONCURRENCY = "concurrency"
    INSTANCES = "instances"
    RATE = "rate"


def fit(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA.csv|RUN...",
            help="A CSV file with a header and one row for each measurement; or runs: ids, the beginning of an id,"
            " `last`, or folders. A run with levels gives a point for each level.",
        ),
    ],
    load: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of the load. Default: found by its name.")
    ] = None,
    throughput: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of the throughput. Default: found by its name.")
    ] = None,
    axis: Annotated[
        AxisName | None,
        typer.Option(help="Kind of the load: concurrent users, instances, or an offered rate. Default: by its name."),
    ] = None,
    extrapolate: Annotated[
        list[float] | None,
        typer.Option(
            metavar="LOAD",
            help="Print the throughput at this load. Beyond 1.2 times the highest tested one it is marked as"
            " extrapolated. Repeatable.",
        ),
    ] = None,
    html: HtmlOption = None,
    json: JsonOption = None,
    csv: CsvOption = None,
    store: StudyStoreOption = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> int:
    """Fit throughput against load with the Universal Scalability Law, and find the load of its peak with its interval.

    A peak is only quoted from 6 distinct loads, of which 2 lie beyond it. Exit code 0: a peak was found. Exit code 3:
    no peak was seen, with the reason.
    """
    errors = CollectedErrors()
    output = study_output_of(errors, html=html, json=json, csv=csv, store=store)
    for value in extrapolate or ():
        if not 0 < value < 1e100:
            errors.add(f"--extrapolate: {value:g} must be a finite number above 0", "write a load: --extrapolate 500")
    with needing_analysis("loadgen capacity fit"):
        from loadgen.capacity.curves import fit_study
    measured = errors.catch(lambda: _measured(data, load, throughput, axis, runs_dir))
    errors.check()
    if measured is None:
        raise UsageError("no data", hint="name a CSV file or runs")
    return end_study(output, fit_study.study_of_curve(measured, extrapolate=tuple(extrapolate or ())))


def _measured(
    data: Sequence[str], load: str | None, throughput: str | None, axis: AxisName | None, runs_dir: Path
) -> MeasuredCurve:
    """Return the points of a CSV file or of runs."""
    from loadgen.capacity.curves.curve_csv import read_curve_csv
    from loadgen.capacity.curves.curve_of_runs import curve_of_runs
    from loadgen.capacity.curves.points import AXES

    is_file = [
        not (Path(one) / "manifest.json").is_file() and (Path(one).suffix or Path(one).is_file()) for one in data
    ]
    chosen = next((one for one in AXES if one == axis), None)
    if any(is_file):
        if len(data) > 1:
            raise UsageError(
                f"{len(data)} arguments, but a CSV file must be the only one",
                hint="put all measurements into one file, with a row for each, or name runs only",
            )
        return read_curve_csv(Path(data[0]), load=load, throughput=throughput, axis=chosen)
    if load or throughput:
        raise UsageError("--load and --throughput name columns of a CSV file, not of runs", hint="leave them out")
    if len(data) > _MOST_DATA:
        raise UsageError(f"{len(data):,} runs, but at most {_MOST_DATA:,} can be fitted", hint="name fewer runs")
    return curve_of_runs(data, runs_dir, axis=chosen)
