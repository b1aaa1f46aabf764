"""Measure the readers of span formats: CPU time of a trace in each format, and a long file in bounded memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import thread_time_ns
from typing import TypeVar

from bench.children import run_python
from bench.report import Section, held, spread
from loadgen.traces.convert.datadog import traces_of_datadog
from loadgen.traces.convert.jaeger_json import traces_of_jaeger
from loadgen.traces.convert.otlp_json import otlp_json_line, trace_of_kept_line, traces_of_otlp_json
from loadgen.traces.convert.otlp_protobuf import traces_of_otlp
from loadgen.traces.convert.xray_segments import traces_of_xray
from loadgen.traces.convert.zipkin import traces_of_zipkin
from tests.support.trace_documents import (
    MadeSpan,
    as_datadog,
    as_jaeger,
    as_otlp,
    as_otlp_protobuf,
    as_xray,
    as_zipkin,
    shop_trace,
)

__all__ = ["measure"]

SPANS = 40
_T = TypeVar("_T")
LONG_S, LONG_MIB, LARGE_S = 5.0, 300.0, 10.0
HOW = """\
Made traces of {spans} spans (`tests/support/trace_documents.py`), up to 5 attributes a span and 3 of its process, \
{traces} of each format, {turns} turns, CPU time of the thread. *decode*: from bytes to spans, with allow-list and \
redaction. *write* and *read again*: the line that the run folder keeps. Texts repeat from trace to trace, as those of \
services do, except for ids. *{long:,} traces, one a line* ({mb:.0f} MB): a child that reads the file line by line and \
drops each trace; CPU time and largest memory, with Python and our packages. *One trace of {large:,} spans*: one \
document."""


def measure(*, traces: int = 300, long: int = 10_000, large: int = 120_000, turns: int = 5) -> Section:
    made = [shop_trace(number, n_queries=SPANS - 4) for number in range(1, traces + 1)]
    known = [traces_of_otlp_json(_dumped(as_otlp(*one)))[0] for one in made]
    lines = [otlp_json_line(one) for one in known]
    rows = [
        _row("OTLP JSON: decode", [_dumped(as_otlp(*one)) for one in made], traces_of_otlp_json, turns),
        _row("OTLP protobuf: decode", [as_otlp_protobuf(*one) for one in made], traces_of_otlp, turns),
        _row("Jaeger JSON: decode", [_dumped(as_jaeger(*one)) for one in made], traces_of_jaeger, turns),
        _row("Zipkin JSON: decode", [_dumped(as_zipkin(*one)) for one in made], traces_of_zipkin, turns),
        _row("Datadog: decode", [_dumped(as_datadog(*one)) for one in made], traces_of_datadog, turns),
        _row("X-Ray segments: decode", [as_xray(*one) for one in made], traces_of_xray, turns),
        _row("kept line: write", known, otlp_json_line, turns),
        _row("kept line: read again", lines, trace_of_kept_line, turns),
    ]
    long_row, long_verdict, mb = _long(long, made)
    large_row, large_verdict = _large(large)
    return Section(
        "Reading spans",
        HOW.format(spans=SPANS, traces=traces, turns=turns, long=long, mb=mb, large=large),
        ["", "CPU µs a trace: least", "median", "memory, MiB"],
        [*rows, long_row, large_row],
        f"{long_verdict} {large_verdict}",
    )


def _dumped(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _row(name: str, documents: Sequence[_T], work: Callable[[_T], object], turns: int) -> list[str]:
    costs = []
    for _ in range(turns):
        began = thread_time_ns()
        for one in documents:
            work(one)
        costs.append((thread_time_ns() - began) / 1e3 / len(documents))
    return [name, *spread(costs, 0), ""]


def _long(number: int, made: list[tuple[str, list[MadeSpan]]]) -> tuple[list[str], str, float]:
    with tempfile.TemporaryDirectory(prefix="loadgen-bench-") as folder:
        path = Path(folder) / "traces.jsonl"
        with path.open("wb") as file:
            for first in range(0, number, len(made)):
                for trace, spans in made[: number - first]:
                    at = f"{int(trace, 16) + first * 1_000:032x}"
                    file.write(_dumped(as_otlp(at, spans)) + b"\n")
        mb = path.stat().st_size / 1e6
        found = run_python("bench.span_formats_once", str(path), timeout_s=300)
    verdict = (
        f"{number:,} traces: {found['cpu_s']:.1f} s, budget {LONG_S:g} s of the 10 s with the partition: "
        f"{held(found['cpu_s'] <= LONG_S * number / 10_000 + 0.5)}; {found['memory_mib']:.0f} MiB, budget "
        f"{LONG_MIB:.0f}: {held(found['memory_mib'] <= LONG_MIB)}."
    )
    cost = f"{found['cpu_s'] * 1e6 / found['traces']:.0f}"
    return [f"{number:,} traces, one a line", cost, cost, f"{found['memory_mib']:.0f}"], verdict, mb


def _large(number: int) -> tuple[list[str], str]:
    document = _dumped(as_otlp(*shop_trace(1, n_queries=number - 4)))
    began = thread_time_ns()
    [trace] = traces_of_otlp_json(document)
    took_s = (thread_time_ns() - began) / 1e9
    assert len(trace.spans) == number
    row = [f"one trace of {number:,} spans, {len(document) / 1e6:.0f} MB", *[f"{took_s * 1e6:,.0f}"] * 2, ""]
    return row, f"{number:,} spans: {took_s:.1f} s, budget {LARGE_S:g}: {held(took_s <= LARGE_S)}."
