"""Measure `loadgen trace` with many traces: CPU time and the largest memory of the whole command, in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from bench.report import Section, held
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.traced_past_run import STARTED, MadeRequest, traced_run

SPANS = 40
SLOW_CALLS = 41
BUDGET_S, BUDGET_MIB = 10.0, 300.0
A_SECOND = 5.6
"""Stored requests of the made run a second: three for each of two agents, some of them twice."""
HOW = """\
A made run of {seconds} s with {traces:,} sampled requests, 10 % of them slow, and their traces of {spans} spans with \
5 attributes each in a file of OTLP JSON, one a line ({mb:.0f} MB). `loadgen trace RUN --file FILE --most 20000` as a \
new process: *from the file*; then without `--file`: *from the run folder*. CPU time of the process with its imports, \
and its largest memory. *One trace of {large:,} spans*: a run of 60 s one of whose traces has so many."""


def measure(*, traces: int = 10_000, large: int = 120_000) -> Section:
    seconds = max(30, round(traces / A_SECOND))
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="loadgen-bench-") as name:
        run, file = traced_run(Path(name), seconds=seconds, slow_share=0.1, document=document_of)
        mb = file.stat().st_size / 1e6
        count = sum(1 for _ in file.open("rb"))
        costs = [_timed(run, "--file", str(file)), _timed(run)]
        for what, (cpu_s, mib) in zip(("from the file", "from the run folder"), costs, strict=True):
            rows.append([f"{count:,} traces, {what}", f"{cpu_s:.1f} s", f"{mib:.0f}"])
    with tempfile.TemporaryDirectory(prefix="loadgen-bench-") as name:
        run, file = traced_run(Path(name), seconds=60, slow_share=0.1, document=_with_a_large_one(large))
        cpu_s, mib = _timed(run, "--file", str(file))
        others = sum(1 for _ in file.open("rb")) - 1
        rows.append([f"one trace of {large:,} spans, {others} others", f"{cpu_s:.1f} s", f"{mib:.0f}"])
    worst_s, worst_mib = max(cost[0] for cost in costs), max(cost[1] for cost in costs)
    return Section(
        "Causes from many traces",
        HOW.format(seconds=seconds, traces=count, spans=SPANS, mb=mb, large=large),
        ["", "CPU", "memory, MiB"],
        rows,
        f"Budgets: 10,000 traces of {SPANS} spans in {BUDGET_S:g} s: {held(worst_s <= BUDGET_S)}; "
        f"in {BUDGET_MIB:.0f} MiB: {held(worst_mib <= BUDGET_MIB)}. "
        f"One trace of 120,000 spans in {BUDGET_S:g} s: {held(cpu_s <= BUDGET_S)}.",
    )


def _timed(run: Path, *options: str) -> tuple[float, float]:
    """Return the CPU time of the command, s, and its largest memory, MiB."""
    command = [sys.executable, "-m", "loadgen_controller.cli", "trace", str(run), "--most", "20000", *options]
    process = subprocess.Popen(command, cwd=run.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"loadgen trace ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _with_a_large_one(spans: int) -> Callable[[MadeRequest], dict[str, Any]]:
    """Return a maker of traces, the first of which has this number of spans."""
    sizes = iter((spans,))
    return lambda one: document_of(one, next(sizes, SPANS))


def document_of(one: MadeRequest, spans: int = SPANS) -> dict[str, Any]:
    """Return a trace of this number of spans as OTLP JSON, with up to 5 attributes a span.

    The slow ones wait for a statement of stock. Version 2.1 of stock makes them.
    """
    draw = Random(one.trace)
    is_slow = one.calls == SLOW_CALLS
    begin = round(STARTED.timestamp() * NS_PER_S) + one.at_ns + NS_PER_MS
    version = "2.1" if is_slow or draw.random() < 0.2 else "2.0"
    base = draw.getrandbits(48) << 16
    ids = [f"{base + n + 1:016x}" for n in range(spans)]
    end = begin + one.response_ns - 2 * NS_PER_MS
    post = {"http.request.method": "POST", "http.response.status_code": 200}
    served = {**post, "http.route": "/checkout", "url.path": "/checkout"}
    query = {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.query.text": f"SELECT * FROM item WHERE tenant = {draw.randrange(100)}",
        "server.address": "db",
        "server.port": 5432,
    }
    called = {**post, "server.address": "stock", "server.port": 8080}
    inner = begin + 11 * NS_PER_MS
    last = end - 8 * NS_PER_MS
    shop = [
        _span(one, ids[0], one.span, "POST", 2, begin, end, served),
        _span(one, ids[1], ids[0], "POST", 3, begin + 10 * NS_PER_MS, end - 5 * NS_PER_MS, called),
    ]
    stock = [_span(one, ids[2], ids[1], "POST", 2, inner, end - 6 * NS_PER_MS, {**served, "http.route": "/reserve"})]
    # Of six statements, one takes the time that slow requests have more.
    names = ["SELECT " + ("item", "price", "cart", "user", "offer", "rate")[n % 6] for n in range(spans - 3)]
    usual = max(1, 15 * NS_PER_MS // len(names))
    longer = max(0, last - inner - usual * len(names)) // max(1, names.count("SELECT item"))
    at = inner
    for n, name in enumerate(names):
        took = usual - draw.randrange(1 + usual // 3) + (longer if name == "SELECT item" else 0)
        stock.append(_span(one, ids[3 + n], ids[2], name, 3, at, at + took, query))
        at += took
    return {
        "resourceSpans": [
            _resource({"service.name": "shop", "service.version": "1.4", "host.name": "node-a"}, shop),
            _resource(
                {"service.name": "stock", "service.version": version, "k8s.pod.name": f"stock-{draw.randrange(3)}"},
                stock,
            ),
        ]
    }


def _span(
    one: MadeRequest, id_: str, parent: str, name: str, kind: int, begin: int, end: int, attributes: dict[str, Any]
) -> dict[str, Any]:
    return {
        "traceId": one.trace,
        "spanId": id_,
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(end),
        "attributes": _attributes(attributes),
        "status": {},
    }


def _resource(attributes: dict[str, Any], spans: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "resource": {"attributes": _attributes(attributes)},
        "scopeSpans": [{"scope": {"name": "made"}, "spans": spans}],
    }


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]
