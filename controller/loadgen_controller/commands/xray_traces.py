"""`loadgen runs traces`: shows which spans took the time of slow requests, by the target's traces in X-Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from loadgen.errors import IncompleteError
from loadgen.measure.run_folder.rundir import find_run, replace_file
from loadgen.report.report_parts import Table
from loadgen.units import NS_PER_MS
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.bucket import RUNS, RunArgument, RunsDir
from loadgen_controller.commands.cloudwatch_metrics import span_of
from loadgen_controller.console_output import echo
from loadgen_controller.past_runs.listing import is_running
from loadgen_controller.screen.terminal_report import Output, print_table

# Imported by the functions that use it: this module is part of all `loadgen runs` commands.
if TYPE_CHECKING:
    from loadgen.aws.target.xray import Part, Traced
    from loadgen.measure.deltas.exemplar import Exemplar
    from loadgen.report.run_as_dataframes import Run

__all__ = ["NAME", "TRACES", "traces_of_run"]

TRACES = """[bold]Examples[/bold]

loadgen runs traces last --region eu-west-1

loadgen runs traces last --region eu-west-1 --filter 'service("shop")' --slowest 100"""
NAME = "traces.json"
FORMAT: Final = 1
LEAST: Final = 20
"""Fewest traces that are analysed: of fewer, the slowest twentieth would be less than one trace."""
MOST: Final = 20_000
_ROWS: Final = 15
_REQUESTS: Final = 5


def traces_of_run(
    run: RunArgument,
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="NAME", help="AWS region with the target's traces. Default: AWS_REGION."),
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            "--filter", metavar="TEXT", help="Only traces that match this X-Ray filter expression: 'service(\"shop\")'."
        ),
    ] = "",
    slowest: Annotated[
        int, typer.Option("--slowest", min=1, max=500, metavar="N", help="Most slow traces to analyse.")
    ] = 50,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Read traces of the target from X-Ray for the time of a run, and show which spans took the time of slow requests.

    The slowest twentieth of the traces is compared with as many typical ones. The plan must ask for traces:
    `trace=Trace(sample=0.01, formats=("xray",))`. The result is also stored in the run folder (traces.json).
    """
    from loadgen.aws.account.boto_clients import Clients
    from loadgen.aws.target import xray  # slow to import (boto3), so only here
    from loadgen.report.run_as_dataframes import open_run

    errors = CollectedErrors()
    path = errors.catch(lambda: find_run(run, runs_dir))
    if path is not None and is_running(path):
        errors.add(f"run {path.name} is still going on", "wait until it ends")
    clients = errors.catch(Clients)
    where = region or ("" if clients is None else clients.default_region)
    if clients is not None and not where:
        errors.add("the AWS region of the traces is unknown", "add --region, for example eu-west-1, or set AWS_REGION")
    errors.check()
    assert path is not None
    assert clients is not None
    opened = open_run(path)
    found = xray.find(clients, where, *span_of(path), only, MOST)
    traced = [one for one in found if _may_be_ours(opened, one.trace_id)]
    if len(traced) < LEAST:
        raise IncompleteError(
            f"X-Ray in {where} has {len(traced)} traces of this run, but at least {LEAST} are needed",
            hint='add trace=Trace(sample=0.01, formats=("xray",)) to the plan; traces can arrive a minute late',
        )
    if len(found) == MOST:
        echo(f"note: only the first {MOST:,} traces were read; choose others with --filter", err=True)
    slow, typical = xray.slow_and_typical(traced, slowest)
    ours = _slowest_of(opened, {one.trace_id for one in traced})
    wanted = dict.fromkeys([*(one.trace_id for one in (*slow, *typical)), *(one.trace for one in ours)])
    read = xray.parts(clients, where, list(wanted))
    spans = xray.compared(_of(read, slow), _of(read, typical))
    document = {
        "format": FORMAT,
        "source": "xray",
        "region": where,
        "filter": only,
        "fetched_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "traces": len(traced),
        "slow": _group(slow, read),
        "typical": _group(typical, read),
        "spans": [_as_json(one) for one in spans],
        "requests": [_request(one, read) for one in ours],
    }
    replace_file(path / NAME, msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    _print(document, spans, opened)
    echo(f"written to {path / NAME}")


def _may_be_ours(run: Run, trace_id: str) -> bool:
    """Return whether a trace can be of this run, because the plan samples this trace id.

    Foreign traces with such an id pass, too.
    """
    from loadgen.clients.request.tracing import Trace

    spec: Any = run.manifest.get("spec", {}).get("trace")
    return not spec or Trace(sample=float(spec.get("sample", 1))).samples(trace_id)


def _slowest_of(run: Run, there: set[str]) -> list[Exemplar]:
    """Return the slowest stored requests after the warm-up, slowest first.

    Only requests whose trace id is in `there` count.
    """
    by_trace = {
        one.trace: one
        for kept in run.exemplars
        if (one := kept.exemplar).request and one.trace in there and not one.warmup
    }
    return sorted(by_trace.values(), key=lambda one: -one.response_ns)[:_REQUESTS]


def _of(read: Mapping[str, Mapping[str, float]], traces: Iterable[Traced]) -> list[Mapping[str, float]]:
    return [read[one.trace_id] for one in traces if one.trace_id in read]


def _group(traces: Sequence[Traced], read: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return a summary of traces: number, how many X-Ray has complete, and the shortest and longest time in ms."""
    times = [one.response_s * 1e3 for one in traces]
    whole = sum(one.trace_id in read for one in traces)
    return {"traces": len(traces), "whole": whole, "least_ms": round(min(times), 3), "most_ms": round(max(times), 3)}


def _as_json(part: Part) -> dict[str, Any]:
    return {
        "span": part.span,
        "slow_ms": round(part.slow_ms, 3),
        "typical_ms": round(part.typical_ms, 3),
        "slow_traces": part.slow_traces,
    }


def _request(one: Exemplar, read: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the fields of one stored request with its trace.

    `traced_ms` and `longest` are None if X-Ray's trace is incomplete.
    """
    parts = read.get(one.trace)
    return {
        "trace_id": one.trace,
        "request": one.request,
        "outcome": one.outcome,
        "response_ms": round(one.response_ns / NS_PER_MS, 3),
        "traced_ms": None if parts is None else round(sum(parts.values()) * 1e3, 3),
        "longest": None if parts is None else max(parts, key=lambda name: parts[name]),
    }


def _print(document: Mapping[str, Any], spans: Sequence[Part], opened: Run) -> None:
    from loadgen.report.report_tables import response_table

    out, slow, typical = Output(), document["slow"], document["typical"]
    if opened.summary is not None:
        print_table(out, response_table(opened.summary))
        out.print()
    for name, group in (("slow", slow), ("typical", typical)):
        whole = "" if group["whole"] == group["traces"] else f", {group['whole']} of them complete"
        echo(
            f"{name}: {group['traces']} of {document['traces']:,} traces{whole},"
            f" {group['least_ms']:,.1f} to {group['most_ms']:,.1f} ms at the target"
        )
    rows = [
        (one.span, f"{one.slow_ms:,.1f}", f"{one.typical_ms:,.1f}", f"{one.more_ms:+,.1f}", str(one.slow_traces))
        for one in spans[:_ROWS]
    ]
    head = ("span", "ms when slow", "ms when typical", "difference", "slow traces with it")
    print_table(out, Table("Average time per span of a trace", head, tuple(rows)))
    if len(spans) > _ROWS:
        echo(f"and {len(spans) - _ROWS} more spans, in {NAME}")
    if document["requests"]:
        head = ("request", "most of it in", "ms here", "ms at the target", "trace")
        made = tuple(
            (
                one["request"],
                one["longest"] or "-",
                f"{one['response_ms']:,.1f}",
                _ms(one["traced_ms"]),
                one["trace_id"],
            )
            for one in document["requests"]
        )
        print_table(out, Table("Slowest requests of the run that were traced", head, made, words=2))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
