"""Asks a Prometheus server for slices: few calls, one after another, as `prometheus_answers` says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlencode

from loadgen.outside_text import one_line
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.sources.asked import Asked, NoCounts, Pulled, Reply
from loadgen.programme.sources.http_calls import HttpCalls
from loadgen.programme.sources.prometheus_answers import (
    Request,
    bucket_fault,
    bucket_request,
    edges_request,
    interval_request,
    parse_edges,
    parse_interval,
    parse_samples,
    sample_requests,
    slices_of,
    unclear,
    why_not_asked,
)
from loadgen.units import quantity

__all__ = ["CALLS_EACH", "PrometheusSource"]

T = TypeVar("T")

CALLS_EACH: Final = 2
"""The calls for an objective without restarts and gaps."""
_SAMPLE_CALLS_MOST: Final = 40
"""The most calls for raw samples of one objective in one pull."""


@dataclass(slots=True)
class PrometheusSource:
    """One server. Requests follow one another, so it is never asked twice at the same time.

    url: its base URL. headers: with credentials. secrets: values that no message may contain. sleep, draw: for tests.

    Raises:
        UsageError: the certificate cannot be used.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    ca: Path | None = None
    limit_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    _calls: HttpCalls = field(init=False)

    def __post_init__(self) -> None:
        self._calls = HttpCalls(self.url, self.headers, self.secrets, self.ca, self.limit_s, self.sleep, self.draw)

    @property
    def calls(self) -> int:
        """Return the number of requests that were sent."""
        return self._calls.sent

    @property
    def shown(self) -> str:
        """Return the URL without a user and a password."""
        return self._calls.shown

    def pull(self, asked: Asked) -> Pulled:
        """Return the slices of one objective. Missing slices have a sentence in `faults`."""
        sent, answered = self._calls.sent, self._calls.answered
        slices, faults, notes = self._pull(asked)
        has_answered = self._calls.answered > answered
        return Pulled(tuple(slices), tuple(faults), tuple(notes), self._calls.sent - sent, has_answered)

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def _pull(self, asked: Asked) -> tuple[list[Slice], list[NoCounts], list[str]]:
        if (fault := why_not_asked(asked)) is not None:
            return [], [fault], []
        edges = self._parsed(edges_request(asked), lambda reply: parse_edges(reply, asked))
        if isinstance(edges, NoCounts):
            return [], [edges], []
        if "total" not in edges.roles:
            return [], [NoCounts(f"no series is {one_line(asked.total, 160)}")], []
        notes: list[str] = []
        if asked.good and "good" not in edges.roles:
            request = bucket_request(asked)
            reply = None if request is None else self._reply(request)
            return [], [bucket_fault(reply if isinstance(reply, Reply) else None, asked)], []
        if asked.bad and "bad" not in edges.roles:
            request = bucket_request(asked)
            if request is not None:
                reply = self._reply(request)
                return [], [bucket_fault(reply if isinstance(reply, Reply) else None, asked)], []
            notes.append(f"no series is {one_line(asked.bad, 160)}: it counts as no bad requests; check its spelling")
        interval_s = self._parsed(interval_request(asked), parse_interval)
        if isinstance(interval_s, NoCounts):
            return [], [interval_s], notes
        if not interval_s:
            interval_s = asked.width / 4
            notes.append(f"the scrape interval is not known: {interval_s:g} s is taken")
        if interval_s * 2 > asked.width:
            text = f"a scrape interval of {interval_s:g} s is too long for slices of {asked.width} s"
            return [], [NoCounts(text)], notes
        starts = unclear(edges, asked, interval_s)
        known = starts
        while len(requests := sample_requests(edges, asked, known, interval_s)) > _SAMPLE_CALLS_MOST:
            known = known[: len(known) // 2]
        left_out = frozenset(starts[len(known) :])
        if left_out:
            are = "is" if len(left_out) == 1 else "are"
            count = quantity(len(left_out), "slice")
            notes.append(f"{count} with restarts or gaps {are} missing: too many calls are needed")
        for request in requests:
            role = request.role
            fault = self._parsed(request, lambda reply, role=role: parse_samples(reply, role, edges))  # type: ignore[misc]
            if fault is not None:
                return [], [fault], notes
        evidence = f"{self.shown}: counters {' and '.join(f'{role} {query}' for role, query in asked.roles)}"
        slices, more = slices_of(edges, asked, interval_s, one_line(evidence, 400))
        return [one for one in slices if one.start not in left_out], [], notes + more

    def _parsed(self, request: Request, parse: Callable[[Reply], T | NoCounts]) -> T | NoCounts:
        return self._calls.parsed(self._path(request), parse)

    def _reply(self, request: Request) -> Reply | NoCounts:
        return self._calls.reply(self._path(request))

    def _path(self, request: Request) -> str:
        given = dict(request.given) | {"timeout": f"{max(1, int(self.limit_s * 1_000))}ms"}
        return f"/api/v1/{request.path}?{urlencode(given)}"
