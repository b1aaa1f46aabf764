"""`loadgen trace collect`: our own collector of traces, for trials and tests."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.backends.collector.program import run
from loadgen.backends.collector.server import Collector, CollectorConfig
from loadgen.backends.collector.trace_ring import Counts
from loadgen.hostport import host_port
from loadgen.units import parse_size, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo

__all__ = ["COLLECT", "collect"]

LEAST_BYTES = 1 << 20
MOST_BYTES = 64 << 30

COLLECT = """[bold]Examples[/bold]

loadgen trace collect

loadgen trace collect --listen 127.0.0.1:4318 --memory 512MiB

OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 opentelemetry-instrument python shop.py    # in another terminal

curl http://127.0.0.1:4318/health"""


def collect(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address to listen on; port 0: any free port.")
    ] = "127.0.0.1:4318",
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory for spans. Beyond it, the oldest traces are dropped.")
    ] = "256MiB",
    traces: Annotated[int, typer.Option(min=1, metavar="N", help="Most traces to keep.")] = 100_000,
) -> None:
    """Receive traces of the target by OTLP over HTTP, keep the newest in memory, and return them by id.

    The collector is a stand-in for trials and tests, not a store: a restart forgets all traces. Read them with
    `backend = "collector"` in a table of loadgen.toml such as trace.local. Ctrl-C ends it and prints counts.
    """
    errors = CollectedErrors()
    place = errors.parse("--listen", listen, host_port)
    most_bytes = errors.parse("--memory", memory, _memory)
    errors.check()
    assert place is not None
    assert most_bytes is not None
    config = CollectorConfig(place[0], place[1], most_bytes, traces)
    counts = run(config, _announce)
    echo(summary(counts))


def summary(counts: Counts) -> str:
    """Return the counts of a collector as one line."""
    text = f"{quantity(counts.requests, 'request')} with {quantity(counts.spans, 'span')}"
    dropped = [
        f"{quantity(number, 'span')} {why}"
        for number, why in (
            (counts.evicted_spans, f"of {quantity(counts.evicted_traces, 'old trace')} dropped for space"),
            (counts.late_spans, "came after their trace was dropped"),
            (counts.cut_spans, "were too many for one trace"),
            (counts.rejected_spans, "had no valid ids"),
        )
        if number
    ]
    if counts.refused_requests:
        dropped.append(f"{quantity(counts.refused_requests, 'request')} refused")
    return "; ".join((text, *dropped))


def _announce(collector: Collector) -> None:
    echo(f"the collector is open at {collector.url} (Ctrl-C closes it)")
    if not collector.is_local:
        echo("note: everybody who reaches this address can send traces and read them", err=True)


def _memory(text: str) -> int:
    size = parse_size(text)
    if not LEAST_BYTES <= size <= MOST_BYTES:
        raise ValueError(f"{text} is out of range: must be from 1 MiB to 64 GiB")
    return size
