"""`loadgen capacity coldstart`: how long new instances take, from a run in which the target was scaled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.capacity.coldstart.by_second import WINDOWS, read_seconds
from loadgen.capacity.coldstart.events import ScaleEvent, scale_events
from loadgen.capacity.coldstart.study import LEAST_REQUESTS, cold_start_study, cold_starts
from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.outside_text import one_line
from loadgen.report.run_as_dataframes import Run, open_run
from loadgen.report.target_side.metrics_file import read_target_side
from loadgen.units import NS_PER_S, parse_duration, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.bucket import RUNS, RunArgument, RunsDir
from loadgen_controller.commands.capacity_parts.study_output import (
    CsvOption,
    HtmlOption,
    JsonOption,
    StudyStoreOption,
    end_study,
    study_output_of,
)
from loadgen_controller.past_runs.listing import is_running

__all__ = ["COLDSTART", "cold_start"]

COLDSTART: Final = """[bold]Examples[/bold]

loadgen capacity coldstart last

loadgen capacity coldstart last --instance-tag x-pod --html coldstart.html

loadgen capacity coldstart 20261124-1703 --at 2m --at 6m"""

_MOST_EVENTS: Final = 200
_TAG_MOST: Final = 100


def cold_start(
    run: RunArgument,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at", metavar="TIME", help="A scaling event by hand, from the start of the load; may be repeated."
        ),
    ] = None,
    instance_tag: Annotated[
        str, typer.Option("--instance-tag", metavar="NAME", help="The tag of answers that names the instance.")
    ] = "",
    html: HtmlOption = None,
    json: JsonOption = None,
    csv: CsvOption = None,
    store: StudyStoreOption = None,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Measure from a scaling event to the first good answer of a new instance, and until p95 is warm again.

    The events are marks of the run: of a probe of kind kubernetes, or of AWS (`loadgen runs metrics RUN FILE`).
    """
    errors = CollectedErrors()
    output = study_output_of(errors, html=html, json=json, csv=csv, store=store)
    by_hand = [time for text in at or () if (time := errors.parse("--at", text, _event_s)) is not None]
    folder = errors.catch(lambda: find_run(run, runs_dir))
    if folder is not None and is_running(folder):
        errors.add(f"run {folder.name} is still going on", "wait until it ends")
    errors.check()
    assert folder is not None
    events = _events(folder, by_hand)
    tag = instance_tag.strip()
    opened = open_run(folder)
    seconds = read_seconds(opened, tag)
    if tag and not seconds.first_good:
        raise UsageError(
            f"run {folder.name} has no good answer with the tag {one_line(tag, _TAG_MOST)}",
            hint="give a tag that the scenario sets (docs/language-requests.md), or leave out --instance-tag",
        )
    events = [one for one in events if one.at_s < len(seconds)]
    if not events:
        raise UsageError(
            f"all scaling events of run {folder.name} are after its load", hint="repeat the run with a longer load"
        )
    window_s = seconds.window_s(LEAST_REQUESTS)
    if window_s is None:
        raise UsageError(
            f"run {folder.name} has fewer than {LEAST_REQUESTS} requests in {WINDOWS[-1]} s, too few for p95 by second",
            hint="repeat the run with a higher rate",
        )
    found = cold_starts(events, seconds, window_s, has_tag=bool(tag))
    raise typer.Exit(
        end_study(output, cold_start_study(folder.name, found, seconds, window_s, tag=tag, invalid=_invalid(opened)))
    )


def _invalid(run: Run) -> str:
    """Return why the run is not valid; "" if it is, or if it has no summary."""
    if run.summary is None or run.summary.validity.verdict != "invalid":
        return ""
    return "; ".join(run.summary.validity.reasons) or "the run is invalid"


def _events(folder: Path, by_hand: list[float]) -> list[ScaleEvent]:
    if by_hand:
        return [ScaleEvent(at_s, 0.0, "--at", "given by hand") for at_s in sorted(set(by_hand))]
    side = read_target_side(folder)
    events = scale_events(side.marks)[:_MOST_EVENTS]
    if events:
        return events
    why = (
        f"{quantity(len(side.marks), 'mark')}, none of them of a fleet that grew"
        if side.marks
        else "no marks of its target"
    )
    if fault := side.lanes.get("fault"):
        why = one_line(str(fault), 300)
    raise UsageError(
        f"run {folder.name} has no scaling event: {why}",
        hint="run with a probe of kind kubernetes, read AWS's with `loadgen runs metrics RUN FILE`, or give --at 2m",
    )


def _event_s(text: str) -> float:
    return parse_duration(text) / NS_PER_S
