"""`loadgen board`: which journeys are covered by tests and promises, and what the house standard still asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from loadgen.errors import ExitCode, UsageError
from loadgen.history.store.write_once_storage import place_of
from loadgen.outside_text import one_line
from loadgen.programme.promises.objectives import Objective
from loadgen.similar_names import did_you_mean
from loadgen.units import quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import AsOfOption, EnvOption, StoreOption
from loadgen_controller.commands.slo_parts.files import FilesArgument, FormatOption, check_format, read_slos
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.commands.time_options import parse_as_of
from loadgen_controller.console_output import Text, echo, echo_json
from loadgen_controller.screen.output_file import write
from loadgen_controller.screen.terminal_report import Output, print_report, print_table

if TYPE_CHECKING:
    from loadgen.programme.board.board import Board

NAME = "board"
EXAMPLES = """[bold]Examples[/bold]

loadgen board

loadgen board --check

loadgen board -o board.html -o board.csv

loadgen board -o board.html --owners CODEOWNERS --traffic shop/traffic.json --traces traces/

loadgen board slos/ --team payments --as-of 2026-07-27T06:00Z --format json

[bold]Exit codes[/bold]

0 shown, or the standard is kept; with --check: 1 a rule is broken, 3 something is unknown; 2 usage error"""
_SUFFIXES: Final = (".html", ".csv", ".json", ".md")
_USUAL_WIDTH: Final = 80
_OWNER: Final = 24
"""Most columns for an owner on a terminal of the usual width."""
_MISSING: Final = 3
"""The column of missing pieces, which is cut on a narrow terminal."""


def main(
    files: FilesArgument = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"Write the board to a file: {', '.join(_SUFFIXES)}, by its name. May be repeated.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Show what breaks the house standard and what to do. Exit code 1 if a rule does."),
    ] = False,
    team: Annotated[str, typer.Option(metavar="NAME", help="Only the journeys of this team.")] = "",
    as_of: AsOfOption = None,
    weeks: Annotated[int, typer.Option(metavar="N", min=0, max=53, help="Number of weeks of the trend.")] = 13,
    owners: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Owners who are still there: CODEOWNERS, or a list with one owner a line."),
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="The traffic.json of `loadgen model`: endpoints that no journey has."),
    ] = None,
    openapi: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An OpenAPI document: operations that no journey has.")
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="Traces of production, as for `loadgen trace why --file`: entries that no journey has.",
        ),
    ] = None,
    programme: Annotated[
        Path | None,
        typer.Option(
            "--programme",
            metavar="FILE",
            help="The file with the house standard and facts about journeys. Default: programme.toml, if there is one.",
        ),
    ] = None,
    store: StoreOption = None,
    env: EnvOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of each journey.")] = False,
    output_format: FormatOption = "text",
) -> int:
    """Show which journeys are covered: owner, scenario, objectives in test and production, gate, and capacity.

    Journeys are weighted by their requests in production, and by their value in programme.toml. Journeys come from
    promises, programme.toml and accepted runs. It measures nothing: it reads history, ledger and files.

    A share that is not known is shown as unknown, and is never assumed.
    """
    errors = CollectedErrors()
    errors.catch(lambda: check_format(output_format))
    outputs = list(dict.fromkeys(output or ()))
    for to in outputs:
        if to.suffix.lower() not in _SUFFIXES:
            errors.add(f"-o: unknown kind of file {to.name}", f"name it {' or '.join(f'board{s}' for s in _SUFFIXES)}")
        errors.check_file("-o", to)
    now = datetime.now(UTC) if as_of is None else errors.parse("--as-of", as_of, parse_as_of)
    with needing_analysis("loadgen board"):
        from loadgen.programme.board.board import board_of
        from loadgen.programme.board.gather import Inputs, gather
        from loadgen.programme.board.owners_file import read_owners
        from loadgen.programme.board.standard_file import StandardFile, read_standard
        from loadgen.programme.programme_toml import FILE_NAME
        from loadgen.traffic.coverage.openapi_operations import read_openapi
        from loadgen.traffic.coverage.traced_endpoints import read_traced_endpoints
        from loadgen.traffic.coverage.traffic_names import read_traffic_names
    path = programme if programme is not None else Path(FILE_NAME)
    has_file = programme is not None or path.exists()
    file = errors.catch(lambda: read_standard(path)) if has_file else StandardFile()
    where = store_of(errors, store, env)
    place = errors.catch(lambda: place_of(where))
    objectives = errors.catch(lambda: _objectives(files))
    present = None if owners is None else errors.catch(lambda: read_owners(owners))
    names = None if traffic is None else errors.catch(lambda: read_traffic_names(traffic))
    document = None if openapi is None else errors.catch(lambda: read_openapi(openapi))
    traced = None if traces is None else errors.catch(lambda: read_traced_endpoints(traces))
    errors.check()
    assert now is not None
    assert place is not None
    assert file is not None
    inputs = Inputs(
        now, objectives or (), file, present, names, document, traced, weeks, "" if as_of is None else now.isoformat()
    )
    if traced is not None and traced.unnamed:
        echo(f"note: {quantity(traced.unnamed, 'trace')} without a method or a route at the entry", err=True)
    if traced is not None and traced.without_entry:
        echo(f"note: {quantity(traced.without_entry, 'trace')} without a server span", err=True)
    found = board_of(gather(place, inputs), file, weeks)
    if team:
        teams = sorted({row.team for row in found.rows if row.team})
        if team not in teams:
            hint = did_you_mean(team, teams) or "write team into [journeys.NAME] of programme.toml"
            raise UsageError(f'--team: no journey belongs to "{one_line(team, 80)}"', hint=hint)
        found = board_of(gather(place, inputs), file, weeks, team)
    for to in outputs:
        _write(to, found)
    if output_format == "json":
        from loadgen.programme.board.shown import as_board_json

        echo_json(as_board_json(found).decode().rstrip("\n"))
    else:
        _show(found, is_check=check, is_explained=explain)
    if outputs:
        echo(f"wrote {', '.join(one_line(str(to), 200) for to in outputs)}", err=True)
    return _exit_code(found) if check else ExitCode.PASSED


def _objectives(files: list[Path] | None) -> tuple[Objective, ...]:
    """Return all promises; none if no file is named and there is no folder `slos`."""
    if files is None and not Path("slos").exists():
        return ()
    return read_slos(files).check().objectives


def _show(board: Board, *, is_check: bool, is_explained: bool) -> None:
    from loadgen.programme.board.shown import as_board_study, check_lines, explain_lines
    from loadgen.studies.report import as_report

    if not is_check:
        console = Output()
        spare = max(console.width - _USUAL_WIDTH, 0) // 2  # the other half is for the missing pieces
        report = as_report(as_board_study(board, is_wide=False, owner_columns=_OWNER + spare))
        print_report(console, replace(report, tables=(), foot=()))
        for table in report.tables:
            print_table(console, table, cut=_MISSING)
            console.print()
        for line in report.foot:
            console.print(Text(line))
    for line in explain_lines(board) if is_explained else ():
        echo(line)
    if not is_check:
        return
    for line in check_lines(board):
        echo(line)
    for text in board.notes:
        echo(f"note: {one_line(text, 400)}", err=True)
    for text in board.troubles:
        echo(f"could not be read: {one_line(text, 400)}", err=True)
    counts = {state: sum(one.state == state for one in board.findings) for state in ("broken", "unknown", "excepted")}
    words = ", ".join(f"{count} {state}" for state, count in counts.items())
    code = _exit_code(board)
    says = {0: "the house standard is kept", 1: "the house standard is broken", 3: "the house standard is undecided"}
    echo(f"{says[int(code)]} (exit code {int(code)}): {quantity(len(board.rows), 'journey')}; rules: {words}")


def _exit_code(board: Board) -> ExitCode:
    states = {one.state for one in board.findings}
    if "broken" in states:
        return ExitCode.FAILED
    return ExitCode.INCOMPLETE if "unknown" in states or board.troubles or not board.rows else ExitCode.PASSED


def _write(path: Path, board: Board) -> None:
    from loadgen.programme.board.shown import as_board_json, as_board_markdown, as_board_study
    from loadgen.studies.files import as_csv
    from loadgen.studies.page import as_page

    made: Mapping[str, Callable[[], bytes]] = {
        ".html": lambda: as_page(as_board_study(board)),
        ".csv": lambda: as_csv(as_board_study(board)),
        ".json": lambda: as_board_json(board),
        ".md": lambda: as_board_markdown(board).encode("utf-8", "replace"),
    }
    write(path, made[path.suffix.lower()]())
