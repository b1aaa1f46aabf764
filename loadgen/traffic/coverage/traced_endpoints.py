"""Finds the endpoints that traces of production enter by: the requests of users, and not those between services.

An entry is a server span without another server span above it. Its endpoint is its method with its route (`http.route`
or `url.template`), or its name if that is a method and a path. A path without a route has values of users in it, so it
is no endpoint. Traces are sampled, often by errors and slowness, so their numbers are no shares of the traffic.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.backends.trace_files import collect_files, trace_files
from loadgen.traces.convert.spans import SpanCollector
from loadgen.traces.model import Span, Trace
from loadgen.traffic.coverage.endpoints import Endpoint, endpoint_of_name

__all__ = ["TracedEndpoints", "endpoints_in", "read_traced_endpoints"]

_ROUTES: Final = ("http.route", "url.template")
_METHOD: Final = re.compile(r"[A-Z]{3,10}")
_COLON: Final = re.compile(r"(?<=/):([A-Za-z_]\w*)")
_ANGLE: Final = re.compile(r"<(?:[^<>:/]*:)?([^<>/]*)>")


@dataclass(frozen=True, slots=True)
class TracedEndpoints:
    """Endpoints with the number of traces that enter by them.

    unnamed: traces whose entry has no method or no route. without_entry: traces without a server span: of jobs and
    messages, or of a library that sets no kinds.
    """

    traces: Mapping[Endpoint, int]
    unnamed: int = 0
    without_entry: int = 0


def read_traced_endpoints(path: Path) -> TracedEndpoints:
    """Return the endpoints of a file or a folder of traces, in any format that `loadgen trace` reads.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        TraceFormatError: a file has an unknown format or is damaged.
    """
    found = SpanCollector()
    collect_files(trace_files(path), found)
    return endpoints_in(found.traces())


def endpoints_in(traces: list[Trace]) -> TracedEndpoints:
    """Return the endpoints of traces. A trace with several entries counts once for each endpoint."""
    counts: Counter[Endpoint] = Counter()
    unnamed = without_entry = 0
    for trace in traces:
        entries = list(_entries(trace))
        ends = {end for span in entries if (end := _endpoint(span)) is not None}
        counts.update(ends)
        unnamed += bool(entries) and not ends
        without_entry += not entries
    return TracedEndpoints(dict(sorted(counts.items())), unnamed, without_entry)


def _entries(trace: Trace) -> Iterator[Span]:
    """Yield the server spans that no other server span is above."""
    spans = {span.id: span for span in trace.spans}
    for span in trace.spans:
        if span.kind != "server":
            continue
        above, seen = spans.get(span.parent), {span.id}
        while above is not None and above.kind != "server" and above.id not in seen:
            seen.add(above.id)
            above = spans.get(above.parent)
        if above is None or above.id in seen:
            yield span


def _endpoint(span: Span) -> Endpoint | None:
    method = span.attributes.get("http.request.method")
    route = next((found for name in _ROUTES if (found := span.attributes.get(name))), None)
    if isinstance(method, str) and _METHOD.fullmatch(method) and isinstance(route, str):
        return endpoint_of_name(f"{method} {_in_braces(route if route.startswith('/') else f'/{route}')}")
    # The convention for names of server spans is "METHOD ROUTE"; a name without a route is the method only.
    word, _, path = span.operation.partition(" ")
    return endpoint_of_name(f"{word} {_in_braces(path)}") if _METHOD.fullmatch(word) and path else None


def _in_braces(route: str) -> str:
    """Return a route with its parameters in braces: `/orders/:id` and `/orders/<int:id>` are `/orders/{id}`."""
    return _ANGLE.sub(r"{\1}", _COLON.sub(r"{\1}", route))
