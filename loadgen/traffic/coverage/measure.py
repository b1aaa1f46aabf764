"""Joins traffic, an OpenAPI document, traces and the requests of scenarios: exercised endpoints, and the gaps.

The endpoints that are known are the names of the traffic, the operations of the document and the entries of the traces.
They are the same endpoint if their paths fit: `GET /products/{id}` of the log is `GET /products/{sku}` of the document.
Traces are a sample, so shares do not count them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from loadgen.traffic.coverage.endpoints import ANYTHING, Endpoint, Index, endpoint_of_name
from loadgen.traffic.coverage.openapi_operations import Operation, Operations
from loadgen.traffic.coverage.source_calls import SourceCall
from loadgen.traffic.coverage.traced_endpoints import TracedEndpoints
from loadgen.traffic.coverage.traffic_names import TrafficName, TrafficNames

__all__ = ["MEASURES", "Coverage", "Known", "Measure", "Share", "Unexpected", "coverage_of"]

Measure = Literal["requests", "errors", "writes", "time", "operations"]
MEASURES: Final[tuple[Measure, ...]] = ("requests", "errors", "writes", "time", "operations")


@dataclass(frozen=True)
class Known:
    """An endpoint that is known. name: None if it is not in the traffic. operation: None if not in the document."""

    endpoint: Endpoint
    name: TrafficName | None
    operation: Operation | None
    calls: tuple[SourceCall, ...]
    """The requests in the source that fit. Without these, and with a run, the run has shown it."""
    is_exercised: bool
    traces: int = 0
    """Number of traces that start at it."""

    @property
    def count(self) -> int:
        """Requests in the traffic."""
        return 0 if self.name is None else self.name.count


@dataclass(frozen=True)
class Share:
    """The exercised part of a measure. missing: why it cannot be computed; then the numbers are 0."""

    exercised: float
    total: float
    missing: str = ""

    @property
    def ratio(self) -> float | None:
        """From 0 to 1; None if it is unknown. A total of 0 is covered."""
        if self.missing:
            return None
        return self.exercised / self.total if self.total else 1.0


@dataclass(frozen=True)
class Unexpected:
    """Statuses of a name in the log that none of its requests expects, as classes such as 4, with requests."""

    endpoint: Endpoint
    classes: Mapping[int, int]


@dataclass(frozen=True)
class Coverage:
    """The result. Lists are sorted by requests, the most first, then by traces and by endpoint."""

    shares: Mapping[Measure, Share]
    known: tuple[Known, ...]
    not_exercised: tuple[Known, ...]
    """Seen in the traffic or in traces, or without traffic in the document, and not exercised."""
    nowhere_known: tuple[SourceCall, ...]
    """Requests whose endpoint is not known: often a typo."""
    dead: tuple[Endpoint, ...]
    """In the document, and neither in the traffic nor in traces."""
    shadow: tuple[Known, ...]
    """In the traffic or in traces, and not in the document."""
    unexpected: tuple[Unexpected, ...]
    unreadable: tuple[SourceCall, ...]
    """Requests whose endpoint cannot be known from the source."""
    unnamed: int
    """Requests of the traffic without a name of their own, which are in no share."""
    left_out: tuple[str, ...]
    """Paths of the document that could not be read, with reasons."""
    has_traces: bool = False
    unnamed_traces: int = 0
    """Number of traces without a route in their first span. The lists leave them out."""
    traces_without_entry: int = 0
    """Number of traces without a server span. The lists leave them out."""


def coverage_of(
    calls: Sequence[SourceCall],
    traffic: TrafficNames | None,
    document: Operations | None,
    run_names: Collection[str] | None = None,
    traced: TracedEndpoints | None = None,
) -> Coverage:
    """Return the coverage.

    traffic, document, traced: at least one. run_names: the names of requests in a run. Then only these are exercised.
    """
    known = _joined(traffic, document)
    traces = _traces(known, traced)
    known += [(one, None, None) for one in traces if one not in {endpoint for endpoint, _, _ in known}]
    sent = _Sent(known, calls, run_names)
    every = (replace(sent.known(*one), traces=traces.get(one[0], 0)) for one in known)
    found = sorted(every, key=lambda one: (-one.count, -one.traces, one.endpoint))
    wanted = [one for one in found if traffic is None or one.name is not None or one.traces]
    return Coverage(
        shares=_shares(found, traffic is not None),
        known=tuple(found),
        not_exercised=tuple(one for one in wanted if not one.is_exercised),
        nowhere_known=tuple(call for call in calls if call.endpoints and not sent.is_known(call)),
        dead=tuple(one.endpoint for one in found if one.name is None and not one.traces) if traffic is not None else (),
        shadow=tuple(one for one in found if one.operation is None) if document is not None else (),
        unexpected=tuple(_unexpected(found)),
        unreadable=tuple(call for call in calls if not call.endpoints),
        unnamed=0 if traffic is None else traffic.unnamed,
        left_out=() if document is None else document.left_out,
        has_traces=traced is not None,
        unnamed_traces=0 if traced is None else traced.unnamed,
        traces_without_entry=0 if traced is None else traced.without_entry,
    )


_Pair = tuple[Endpoint, TrafficName | None, Operation | None]


def _joined(traffic: TrafficNames | None, document: Operations | None) -> list[_Pair]:
    """Return each known endpoint once, with its name and its operation. An operation may have several names."""
    operations = () if document is None else document.operations
    by_endpoint = {one: operation for operation in operations for one in (operation.endpoint, *operation.others)}
    index = Index(by_endpoint)
    seen: set[Endpoint] = set()
    joined: list[_Pair] = []
    for name in () if traffic is None else traffic.names:
        fits = index.find(name.endpoint)
        operation = by_endpoint[fits[0]] if fits else None
        if operation is not None:
            seen.add(operation.endpoint)
        joined.append((name.endpoint, name, operation))
    joined += [(one.endpoint, None, one) for one in operations if one.endpoint not in seen]
    return joined


def _traces(known: Sequence[_Pair], traced: TracedEndpoints | None) -> dict[Endpoint, int]:
    """Return the traces of each known endpoint, and of each endpoint that only traces have."""
    of: dict[Endpoint, list[Endpoint]] = {}
    for endpoint, _, operation in known:
        ways = () if operation is None else (operation.endpoint, *operation.others)
        for way in dict.fromkeys((endpoint, *ways)):
            of.setdefault(way, []).append(endpoint)
    index, counts = Index(of), dict[Endpoint, int]()
    for entry, number in () if traced is None else traced.traces.items():
        fits = dict.fromkeys(endpoint for fit in index.find(entry) for endpoint in of[fit])
        for endpoint in fits or (entry,):
            counts[endpoint] = counts.get(endpoint, 0) + number
    return counts


class _Sent:
    """The requests of the scenarios by known endpoint."""

    def __init__(self, known: Sequence[_Pair], calls: Sequence[SourceCall], run_names: Collection[str] | None) -> None:
        self._run_names = run_names
        self._of: dict[Endpoint, Endpoint] = {}
        """The known endpoint of each way to write it."""
        for endpoint, name, operation in known:
            self._of[endpoint] = endpoint
            if name is None and operation is not None:
                self._of |= dict.fromkeys(operation.others, endpoint)
        self._index = Index(self._of)
        self._calls: dict[Endpoint, list[SourceCall]] = {}
        self._proved: set[Endpoint] = set()
        for call in calls:
            for endpoint in self._found(call.endpoints):
                self._calls.setdefault(endpoint, []).append(call)
                if run_names is not None and _is_in_run(call, run_names):
                    self._proved.add(endpoint)
        for name_of_row in run_names or ():
            if (sent := endpoint_of_name(name_of_row)) is not None:
                self._proved |= self._found([sent])

    def _found(self, endpoints: Iterable[Endpoint]) -> set[Endpoint]:
        return {self._of[fit] for one in endpoints for fit in self._index.find(one)}

    def is_known(self, call: SourceCall) -> bool:
        """Whether each endpoint of a request is known. Of paths that are drawn from a file, one is enough."""
        return bool(self._found(call.endpoints))

    def known(self, endpoint: Endpoint, name: TrafficName | None, operation: Operation | None) -> Known:
        calls = tuple(dict.fromkeys(self._calls.get(endpoint, ())))
        is_exercised = bool(calls) if self._run_names is None else endpoint in self._proved
        return Known(endpoint, name, operation, calls, is_exercised)


def _is_in_run(call: SourceCall, names: Collection[str]) -> bool:
    """Whether a run has the row of a request. A name with computed parts fits every name with the same fixed parts."""
    if ANYTHING not in call.row:
        return call.row in names
    row = endpoint_of_name(call.row)
    index = Index([row]) if row is not None else None
    sent = (endpoint_of_name(name) for name in names)
    return index is not None and any(one is not None and bool(index.find(one)) for one in sent)


def _shares(known: Sequence[Known], has_traffic: bool) -> dict[Measure, Share]:
    nothing = "" if known else "no endpoint is known from the inputs, so there is nothing to compare with"
    operations = Share(sum(one.is_exercised for one in known), len(known), nothing)
    if not has_traffic:
        missing = Share(0, 0, "it needs --traffic")
        return {measure: missing for measure in MEASURES if measure != "operations"} | {"operations": operations}
    named = [one for one in known if one.name is not None]
    return {
        "requests": _share(named, lambda one: one.count, ""),
        "errors": _share(named, _errors, "traffic.json has no statuses of single names"),
        "writes": _share(named, lambda one: one.count if one.endpoint.is_write else 0, ""),
        "time": _share(named, _seconds, "traffic.json has no server times: a log without durations has none"),
        "operations": operations,
    }


def _share(known: Sequence[Known], weight: Callable[[Known], float | None], missing: str) -> Share:
    weights = [weight(one) for one in known]
    if all(one is None for one in weights):
        return Share(0, 0, missing)
    pairs = list(zip(known, (one or 0 for one in weights), strict=True))
    return Share(sum(number for one, number in pairs if one.is_exercised), sum(number for _, number in pairs))


def _errors(known: Known) -> int | None:
    return None if known.name is None else known.name.errors


def _seconds(known: Known) -> float | None:
    return None if known.name is None else known.name.server_s


def _unexpected(known: Sequence[Known]) -> Iterable[Unexpected]:
    for one in known:
        statuses = one.name.statuses if one.name is not None else None
        if not statuses or not one.calls:
            continue
        missing: dict[int, int] = {}
        expected = {status // 100 for status in statuses for call in one.calls if call.expects(status)}
        for status, count in sorted(statuses.items()):
            if count and status >= 100 and status // 100 not in expected:
                missing[status // 100] = missing.get(status // 100, 0) + count
        if missing:
            yield Unexpected(one.endpoint, missing)
