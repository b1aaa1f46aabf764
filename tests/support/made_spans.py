"""Short ways to write spans, traces and observed requests in tests. Times are ns; the start defaults to 0."""

from __future__ import annotations

import json
from pathlib import Path

from loadgen.traces.model import Kind, Span, Trace, Tree
from loadgen.traces.path_times import timed
from loadgen.traces.repair import Refused, repaired
from loadgen.traces.timed import Observed, TimedTrace

__all__ = ["crisp_trace", "observed", "own_times", "span", "timed_trace", "trace", "tree"]

CRISP = Path(__file__).parent.parent / "data/traces/crisp"


def span(
    id_: str,
    begin: int,
    end: int | None,
    parent: str = "",
    *,
    service: str | None = None,
    name: str | None = None,
    kind: Kind = "internal",
    instance: str = "",
    links: tuple[str, ...] = (),
    resolution: int = 1,
    attributes: dict[str, str] | None = None,
) -> Span:
    return Span(
        id=id_,
        parent=parent,
        service=service or id_,
        operation=name or "do",
        start_ns=begin,
        end_ns=end,
        kind=kind,
        links=links,
        resolution_ns=resolution,
        resource={"service.instance.id": instance} if instance else {},
        attributes=attributes or {},
    )


def trace(*spans: Span, is_cut: bool = False) -> Trace:
    return Trace("a" * 32, spans, is_cut)


def tree(*spans: Span) -> Tree:
    made = repaired(trace(*spans))
    assert not isinstance(made, Refused), made
    return made


def observed(response: int, service: int | None = None, *, weight: float = 1.0) -> Observed:
    return Observed(
        trace="a" * 32,
        journey="buy",
        step="",
        request="POST /checkout",
        outcome="ok",
        region="",
        at_s=1.0,
        response_ns=response,
        service_ns=response if service is None else service,
        weight=weight,
    )


def timed_trace(made: Tree, response: int | None = None, *, weight: float = 1.0) -> TimedTrace:
    root_ns = (made.root.end_ns or 0) - made.root.start_ns
    return timed(observed(root_ns if response is None else response, weight=weight), made)


def own_times(made: Tree) -> dict[str, int]:
    """Return the own time on the critical path by the last element of the path, without those that have none."""
    found: dict[str, int] = {}
    for path, time in timed_trace(made).paths.items():
        if time.own_ns:
            found[path[-1]] = found.get(path[-1], 0) + time.own_ns
    return found


def crisp_trace(number: int) -> Trace:
    """Return a fixture of CRISP. Its unit is the µs of Jaeger; here 1 stays 1."""
    data = json.loads((CRISP / f"{number}.json").read_text(encoding="utf-8"))["data"][0]
    services = {key: process["serviceName"] for key, process in data["processes"].items()}
    return Trace(
        data["traceID"],
        tuple(
            Span(
                id=raw["spanID"],
                parent=next((one["spanID"] for one in raw["references"] if one["refType"] == "CHILD_OF"), ""),
                service=services[raw["processID"]],
                operation=raw["operationName"],
                start_ns=raw["startTime"],
                end_ns=raw["startTime"] + raw["duration"],
            )
            for raw in data["spans"]
        ),
    )
