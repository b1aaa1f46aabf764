"""`loadgen coverage`: which requests of the traffic the scenarios send, and which are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import ExitCode, UsageError
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.run_folder.rundir import find_run
from loadgen.report.exports.markdown import report_lines
from loadgen.report.run_as_dataframes import open_run
from loadgen.traffic.coverage.measure import MEASURES, Measure, coverage_of
from loadgen.traffic.coverage.openapi_operations import read_openapi
from loadgen.traffic.coverage.source_calls import calls_of, scenario_files
from loadgen.traffic.coverage.traced_endpoints import read_traced_endpoints
from loadgen.traffic.coverage.traffic_names import read_traffic_names
from loadgen.units import parse_ratio, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo, echo_json
from loadgen_controller.screen.coverage_report import coverage_document, coverage_report
from loadgen_controller.screen.terminal_report import Output, print_report

NAME = "coverage"
_FORMATS = ("text", "json", "markdown")
EXAMPLES = """[bold]Examples[/bold]

loadgen coverage scenarios/ --traffic traffic.json

loadgen coverage scenarios/ --traffic traffic.json --openapi api.yaml --min 95% --by requests

loadgen coverage shop.py --openapi api.json --traces traces/

loadgen coverage scenarios/ --traffic traffic.json --run last --format markdown > coverage.md"""


def main(
    files: Annotated[list[Path], typer.Argument(metavar="SCENARIO...", help="Scenarios, or folders with scenarios.")],
    traffic: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="The traffic.json of `loadgen model`: names of requests with counts."),
    ] = None,
    openapi: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An OpenAPI document, 2.0 to 3.1: JSON, or YAML with the extra traffic."),
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="Traces of production, as for `loadgen trace why --file`. They add endpoints to the lists.",
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Count only requests that this run has sent: its id, the beginning of the id, `last`, or its folder.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="MEASURE",
            help=f"Weight of each endpoint: {', '.join(MEASURES)}. Default: requests; without --traffic: operations.",
        ),
    ] = None,
    least: Annotated[
        str | None, typer.Option("--min", metavar="SHARE", help="Exit code 1 if a smaller share is exercised.")
    ] = None,
    output_format: Annotated[
        str, typer.Option("--format", metavar="NAME", help=f"Output: {', '.join(_FORMATS)}.")
    ] = "text",
    top: Annotated[int, typer.Option(metavar="N", min=1, help="The most rows of each table.")] = 20,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> int:
    """Show which requests of the traffic the scenarios send, as a share, and which are missing.

    The known endpoints are the names of --traffic, the operations of --openapi and the entries of --traces. The
    requests of the scenarios are found in their source, which is not run. With --run, only requests that this run has
    sent count.

    The lists: the busiest endpoints that no scenario sends, with code to begin with; requests to no known endpoint;
    operations without traffic, and traffic without an operation; statuses that no request expects.

    Exit code 1: the share is below --min. 2: a file cannot be read.
    """
    errors = CollectedErrors()
    if traffic is None and openapi is None and traces is None:
        errors.add(
            "nothing to compare the scenarios with",
            "add --traffic traffic.json, --openapi api.yaml or --traces traces/",
        )
    if by is not None and by not in MEASURES:
        errors.add(f'--by: unknown measure "{by}"', f"write one of: {', '.join(MEASURES)}")
    if output_format not in _FORMATS:
        errors.add(f'--format: unknown format "{output_format}"', f"write one of: {', '.join(_FORMATS)}")
    needed = errors.parse("--min", least, _share)
    names = None if traffic is None else errors.catch(lambda: read_traffic_names(traffic))
    document = None if openapi is None else errors.catch(lambda: read_openapi(openapi))
    traced = None if traces is None else errors.catch(lambda: read_traced_endpoints(traces))
    sources = errors.catch(lambda: scenario_files(files)) or []
    found_calls = [errors.catch(lambda path=path: calls_of(path)) for path in sources]  # type: ignore[misc]
    run_names = None if run is None else errors.catch(lambda: _names_of(run, runs_dir))
    errors.check()
    calls = [call for some in found_calls if some is not None for call in some]
    found = coverage_of(calls, names, document, run_names, traced)
    measure: Measure = "operations" if names is None else "requests"
    measure = next((one for one in MEASURES if one == by), measure)
    ratio = found.shares[measure].ratio
    if not found.known:
        without = quantity(found.unnamed_traces + found.traces_without_entry, "trace")
        left_out = f"; {without} without a server span with a route"
        raise UsageError(
            f"--by {measure} cannot be computed: {found.shares['operations'].missing}{left_out if traced else ''}",
            hint="name an OpenAPI document with paths, or traces whose server spans have a method and http.route",
        )
    if ratio is None:
        raise UsageError(
            f"--by {measure} cannot be computed: {found.shares[measure].missing}",
            hint="add --traffic traffic.json, or write --by operations"
            if names is None
            else "write --by requests or --by operations",
        )
    passed = needed is None or ratio >= needed
    if output_format == "json":
        echo_json(json.dumps(coverage_document(found, measure, needed, passed=passed), indent=2))
    elif output_format == "markdown":
        report = coverage_report(found, measure, needed, top, passed=passed)
        for line in report_lines(report):
            echo(line)
        if report.foot:
            for line in ("", "```python", *report.foot[2:], "```"):
                echo(line)
    else:
        echo(f"read {quantity(len(sources), 'file')} with {quantity(len(calls), 'request')}", err=True)
        print_report(Output(), coverage_report(found, measure, needed, top, passed=passed))
    return ExitCode.PASSED if passed else ExitCode.FAILED


def _names_of(run: str, runs_dir: Path) -> frozenset[str]:
    """Return the names of the requests of a run with at least one answer that was as expected."""
    keys = open_run(find_run(run, runs_dir)).merge.keys()
    return frozenset(key.request for key in keys if key.kind == "request" and key.outcome == OK and key.request)


def _share(text: str) -> float:
    try:
        return parse_ratio(text)
    except ValueError as wrong:
        raise ValueError(f"{str(wrong).partition(';')[0]}; write 95%") from None
