"""Asks a Prometheus server for slices: few calls, one after another, as `prometheus_answers` says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlencode, urlsplit

from loadgen.backends.fetch import Ask, Fetcher, NotFetched
from loadgen.outside_text import one_line
from loadgen.programme.slices import Slice
from loadgen.programme.sources.asked import Asked, NoCounts, Reply
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

__all__ = ["CALLS_EACH", "PrometheusSource", "Pulled"]

T = TypeVar("T")

CALLS_EACH: Final = 2
"""The calls for an objective without restarts and gaps."""
_TRIES: Final = 3
_WAIT_MOST_S: Final = 60.0
_BACKOFF_S: Final = 1.0
_SAMPLE_CALLS_MOST: Final = 40
"""The most calls for raw samples of one objective in one pull."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The slices that a source returned. faults, notes: sentences. Time without a slice is missing."""

    slices: tuple[Slice, ...] = ()
    faults: tuple[NoCounts, ...] = ()
    notes: tuple[str, ...] = ()
    calls: int = 0


@dataclass(slots=True)
class PrometheusSource:
    """One server. Requests follow one another, so it is never asked twice at the same time.

    url: its base URL. headers: with credentials. secrets: values that no message may contain. calls: what was sent.
    sleep, draw: for tests.

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
    calls: int = 0
    _fetcher: Fetcher | None = None

    def pull(self, asked: Asked) -> Pulled:
        """Return the slices of one objective. Missing slices have a sentence in `faults`."""
        before = self.calls
        slices, faults, notes = self._pull(asked)
        return Pulled(tuple(slices), tuple(faults), tuple(notes), self.calls - before)

    def close(self) -> None:
        """Close the connections."""
        if self._fetcher is not None:
            self._fetcher.close()

    @property
    def shown(self) -> str:
        """Return the URL without a user and a password."""
        parts = urlsplit(self.url)
        return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 120)

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
            notes.append(f"{len(left_out)} slices with restarts or gaps are missing: they need too many calls")
        for request in requests:
            role = request.role
            fault = self._parsed(request, lambda reply, role=role: parse_samples(reply, role, edges))  # type: ignore[misc]
            if fault is not None:
                return [], [fault], notes
        evidence = f"{self.shown}: counters {' and '.join(f'{role} {query}' for role, query in asked.roles)}"
        slices, more = slices_of(edges, asked, interval_s, one_line(evidence, 400))
        return [one for one in slices if one.start not in left_out], [], notes + more

    def _parsed(self, request: Request, parse: Callable[[Reply], T | NoCounts]) -> T | NoCounts:
        """Send a request and parse its answer; repeat it if that may help, and obey Retry-After."""
        for n in range(_TRIES):
            reply = self._reply(request)
            found: T | NoCounts = reply if isinstance(reply, NoCounts) else parse(reply)
            if not isinstance(found, NoCounts) or not found.may_pass or n == _TRIES - 1:
                return found
            if found.wait_s > _WAIT_MOST_S:
                return NoCounts(f"{found}, which is longer than {_WAIT_MOST_S:g} s")
            self.sleep(max(found.wait_s, _BACKOFF_S * 2**n * (0.5 + self.draw())))
        raise AssertionError

    def _reply(self, request: Request) -> Reply | NoCounts:
        if self._fetcher is None:
            self._fetcher = Fetcher(self.url, self.headers, self.secrets, self.ca, self.limit_s)
        given = dict(request.given) | {"timeout": f"{max(1, int(self.limit_s * 1_000))}ms"}
        self.calls += 1
        (found,) = self._fetcher.get([Ask(f"/api/v1/{request.path}?{urlencode(given)}")])
        if isinstance(found, NotFetched):
            return NoCounts(str(found), may_pass=True)
        return Reply(found.status, found.body, found.headers)
