"""`loadgen trace export`: the traces in a run folder as one file for other tools."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from loadgen.backends.kept_traces import kept_traces
from loadgen.errors import IncompleteError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.traces.convert.otlp_json import otlp_json_line
from loadgen.units import quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.bucket import RUNS, RunArgument, RunsDir
from loadgen_controller.console_output import echo
from loadgen_controller.screen.output_file import opened

__all__ = ["EXAMPLES", "main"]

EXAMPLES = "[bold]Example[/bold]\n\nloadgen trace export last -o traces.jsonl"


def main(
    run: RunArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write; - is standard output.")
    ],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Write the traces in a run folder as OTLP in JSON, one trace a line, as an OpenTelemetry Collector writes it.

    Attributes are those that loadgen kept: names of the allow-list, with secrets redacted.
    """
    errors = CollectedErrors()
    path = errors.catch(lambda: find_run(run, runs_dir))
    errors.check_file("--output", output)
    errors.check()
    assert path is not None
    traces = kept_traces(path)
    first = next(traces, None)
    if first is None:
        raise IncompleteError(f"run {path.name} has no traces", hint=f"read them first: loadgen trace {path.name}")
    count = 0
    with opened(output) as file:
        for trace in chain((first,), traces):
            file.write(otlp_json_line(trace).strip() + b"\n")
            count += 1
    if str(output) != "-":
        echo(f"wrote {quantity(count, 'trace')} to {output}", err=True)
