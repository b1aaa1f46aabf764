"""`loadgen trace show`: one trace of a run as a waterfall."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.backends.kept_traces import kept_traces
from loadgen.errors import IncompleteError, UsageError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.outside_text import one_line
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.why_slow.joined import joined, waterfall_of
from loadgen.report.why_slow.requests import sampled_requests, unmeasured
from loadgen.traces.timed import TimedTrace
from loadgen.units import quantity
from loadgen_controller.commands.bucket import RUNS, RunArgument, RunsDir
from loadgen_controller.console_output import Output
from loadgen_controller.screen.cause_lines import print_waterfall

__all__ = ["EXAMPLES", "main"]

EXAMPLES = "[bold]Example[/bold]\n\nloadgen trace show last 4bf92f35"
_LEAST_DIGITS = 4


def main(
    run: RunArgument,
    trace_id: Annotated[
        str,
        typer.Argument(metavar="TRACE_ID", help="The id of the trace in hex digits; the first 4 or more are enough."),
    ],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Show one trace of a run as a waterfall: its spans, and when the response waited for each of them.

    The trace must be in the run folder, where `loadgen trace RUN` keeps what it reads.
    """
    path = find_run(run, runs_dir)
    wanted = _id(trace_id)
    found = {trace.id: trace for trace in kept_traces(path) if trace.id.startswith(wanted)}
    if len(found) > 1:
        raise UsageError(
            f"the ids of {quantity(len(found), 'trace')} begin with {wanted}",
            hint="give more digits of the id, or all 32",
        )
    if not found:
        raise UsageError(
            f"run {path.name} has no trace {wanted}",
            hint="call `loadgen trace` first: it reads the traces, and prints this command with the id of a slow one",
        )
    (trace,) = found.values()
    opened = open_run(path)
    ours = [one for one in sampled_requests(opened.exemplars) if set(dict(one.parts)) == {trace.id}]
    result = joined(lambda: (trace,), ours or [unmeasured(trace)])
    if not result.timed:
        why = next(iter(result.refused), "the trace has no spans")
        raise IncompleteError(f"trace {trace.id} cannot be shown: {why}", hint="look at it in the tracing system")
    console = Output()
    requests = [one for one in result.timed if one.observed.request]
    for one in requests or result.timed:
        print_waterfall(console, waterfall_of(one), _kind(one))


def _kind(one: TimedTrace) -> str:
    return "sampled request" if one.observed.outcome else "request that no agent measured"


def _id(text: str) -> str:
    wanted = text.strip().lower().replace("-", "")
    if len(wanted) < _LEAST_DIGITS or len(wanted) > 32 or any(digit not in "0123456789abcdef" for digit in wanted):
        raise UsageError(
            f"{one_line(text, 60)!r} is not a trace id", hint="give the first 4 or more of the 32 hex digits"
        )
    return wanted
