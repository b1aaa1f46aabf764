"""`loadgen slo check`: all faults and notes of files of promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import ExitCode, Fault, ScenarioError, UsageError
from loadgen.programme.load_tests.said import LoadTests
from loadgen.programme.promises.checks import check_edges, check_events, check_journeys, check_owners
from loadgen.programme.promises.low_traffic_notes import low_traffic_notes
from loadgen.programme.promises.objectives import RollingWindow
from loadgen.programme.promises.slo_set import Reading, SloSet
from loadgen.programme.slo_files.yaml_nodes import read_documents
from loadgen.programme.sloth.alert_windows import AlertWindows, is_alert_windows, read_alert_windows
from loadgen.units import quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.slo_parts.files import (
    FilesArgument,
    FormatOption,
    StrictOption,
    check_format,
    read_slos,
    slo_files,
)
from loadgen_controller.commands.slo_parts.live import CALLS_MOST, ask_sources, live_exit_code, print_answers
from loadgen_controller.commands.slo_parts.load_tests import load_tests_said
from loadgen_controller.commands.slo_parts.shown import (
    composite_lines,
    document_of,
    explain,
    print_document,
    print_notes,
    sentence,
    short,
)
from loadgen_controller.console_output import echo

__all__ = ["CHECK", "check"]

CHECK = """[bold]Examples[/bold]

loadgen slo check

loadgen slo check slos/ --scenario scenarios/checkout.py --owners --strict

loadgen slo check slos/checkout.yaml --events checkout-fast=500 --edges 0.1,0.25,0.5,1

loadgen slo check --live

loadgen slo check slos/ --format json"""


def check(
    files: FilesArgument = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A scenario: the journeys of promises must be in one. Repeatable."),
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COUNT",
            help="Requests of a promise in its window: its target must allow at least one bad one, and a page must "
            "come in time. Repeatable.",
        ),
    ] = None,
    edges: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS,...",
            help="Upper edges of the source's histogram, in seconds: thresholds must be among them.",
        ),
    ] = None,
    owners: Annotated[bool, typer.Option("--owners", help="Every promise must have an owner.")] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Ask the source of each promise once for its newest slices, and report what it has."
        ),
    ] = False,
    calls: Annotated[
        int, typer.Option(metavar="N", help="With --live: ask no further promise when this many calls were sent.")
    ] = CALLS_MOST,
    strict: StrictOption = False,
    explain_all: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of each promise.")] = False,
    output_format: FormatOption = "text",
) -> int:
    """Check files of promises: OpenSLO v1, or sloth. All faults are shown at once, each with file and line.

    A note is about something useless, or not judged. Files with notes pass, unless --strict is given.

    Exit code 0: no fault. 1: with --live, a source failed. 2: a fault, or an option is wrong.
    """
    errors = CollectedErrors()
    if not 1 <= calls <= 10_000:
        errors.add(f"--calls is {calls}: must be from 1 to 10,000", "for example --calls 60")
    errors.catch(lambda: check_format(output_format))
    counts = errors.catch(lambda: _events(events or ()))
    limits = errors.catch(lambda: _edges(edges)) if edges is not None else None
    names = {name for file in scenario or () for name in errors.catch(partial(_journeys, file)) or ()}
    errors.check()
    windows, others = _alert_windows(slo_files(files))
    reading = read_slos(others) if others else Reading(SloSet())
    faults = {fault for _, found in windows.values() for fault in found}
    faults |= set(reading.faults_of(strict=strict)) | set(check_events(reading, counts or {}))
    if scenario:
        faults |= set(check_journeys(reading, names))
    if limits:
        faults |= set(check_edges(reading, limits))
    if owners:
        faults |= set(check_owners(reading))
    late_pages = tuple(low_traffic_notes(reading, counts)) if counts else ()
    faults |= set(late_pages if strict else ())
    notes = () if strict else reading.notes + late_pages
    if unknown := set(counts or ()) - {one.name for one in reading.slos.objectives}:
        raise UsageError(f"--events: no promise is named {sorted(unknown)[0]}", hint="use the names in the files")
    left_out = load_tests_said(reading.slos.objectives, reading.slos.sources)
    if output_format == "json":
        document = document_of(reading, sorted(faults), notes)
        for row in document["objectives"]:
            row["load_tests"] = {"state": left_out[row["name"]].state, "by": left_out[row["name"]].text}
        document["alert_windows"] = [_document(path, one) for path, (one, _) in windows.items() if one is not None]
        answers = ask_sources(reading.slos, calls) if live and not faults else []
        if live:
            document["live"] = [one.as_document() for one in answers]
        print_document(document)
        return ExitCode.USAGE if faults else live_exit_code(answers)
    for path, (one, _) in windows.items():
        if one is not None:
            factors = ", ".join(f"{rule.name} {short(one.factor(rule))}" for rule in one.rules)
            echo(f"{path}: alert windows of sloth for {RollingWindow(one.period_s).text}, burn: {factors}")
    code = _print(reading, faults, notes, left_out if explain_all else None)
    return print_answers(ask_sources(reading.slos, calls)) if live else code


def _print(
    reading: Reading, faults: set[Fault], notes: tuple[Fault, ...], left_out: Mapping[str, LoadTests] | None
) -> int:
    """Print the promises, the notes and the result. left_out: of each promise, with its arithmetic; None: neither."""
    for one in reading.slos.objectives:
        echo(sentence(one))
        for line in (*explain(one), left_out[one.name].says) if left_out is not None else ():
            echo(f"  {line}")
    for line in composite_lines(reading.slos):
        echo(line)
    print_notes(notes)
    if faults:
        raise ScenarioError(faults)
    echo(f"{quantity(len(reading.slos.objectives), 'objective')} without a fault, {quantity(len(notes), 'note')}")
    return ExitCode.PASSED


def _alert_windows(paths: list[Path]) -> tuple[dict[Path, tuple[AlertWindows | None, tuple[Fault, ...]]], list[Path]]:
    """Return the files of alert windows with what they contain and their faults, and all other files."""
    found, others = {}, []
    for path in paths:
        if is_alert_windows(read_documents(path)):
            found[path] = read_alert_windows(path)
        else:
            others.append(path)
    return found, others


def _document(path: Path, windows: AlertWindows) -> dict[str, object]:
    factors = {rule.name: float(windows.factor(rule)) for rule in windows.rules}
    return {"file": str(path), "period_s": windows.period_s, "factors": factors}


def _journeys(file: str) -> list[str]:
    from loadgen.dsl.loading.loader import load, split_plan  # slow to import; `loadgen slo status` has 1.5 s
    from loadgen_controller.planning import promise_reader  # noqa: F401  # lets scenarios read promises

    path, plan = split_plan(file)
    return [journey.name for journey in load(Path(path), plan).journeys]


def _events(texts: Iterable[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        name, _, count = text.rpartition("=")
        if not name or not (count.isascii() and count.isdecimal()) or not 0 < len(count) <= 15:
            raise UsageError(f"--events {text}: not a name with a count", hint="write --events checkout-fast=500")
        found[name] = int(count)
    return found


def _edges(text: str) -> list[Decimal]:
    try:
        edges = [Decimal(one.strip()) for one in text.split(",")]
    except ArithmeticError:
        edges = []
    if not edges or not all(edge.is_finite() and edge > 0 for edge in edges):
        raise UsageError(f"--edges {text}: not a list of seconds", hint="write --edges 0.1,0.25,0.5,1")
    return edges
