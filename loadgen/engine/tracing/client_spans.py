"""The generator's own spans of sampled iterations: journey, steps and requests, as values.

An iteration's spans are collected until it ends, because a request's parent is the step around it, and a step has a
span id only once it is over. Pure.

| `per=` | traces |
| --- | --- |
| "trace" | one: the journey is the root, steps and requests lie below it |
| "iteration" | each call has its own, with our request as root; journey and steps have one more, which links to them |
| "request" | each call has its own; journeys and steps have no spans, because they are not sampled as a whole |

Further hops of a redirected call are children of the call's first request.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from loadgen.measure.deltas.series_key import SeriesKey

__all__ = ["MAX_SPANS", "ClientSpan", "FirstSpans", "IterationTree", "Request"]

MAX_SPANS: Final = 500
"""Most spans of one iteration; further ones are counted and left out."""
_MOST_TRACES: Final = 5_000
"""Most traces whose first span is remembered, so that further hops find their parent."""


class Request(NamedTuple):
    """Fields of spans of requests. url: without the query. status: 0 if there was no answer. port: 0: unknown."""

    method: str
    url: str
    host: str
    port: int
    status: int


class ClientSpan(NamedTuple):
    """One span. Ids are hex digits, times are on `perf_counter_ns`.

    threshold: of the sampling, as in `tracestate`. links: "TRACE-SPAN" of each request of a journey or a step.
    """

    trace: str
    span: str
    parent: str
    name: str
    begun_ns: int
    ended_ns: int
    outcome: str
    journey: str
    step: str
    threshold: str
    request: Request | None = None
    links: tuple[str, ...] = ()


class FirstSpans:
    """The first span of each of the last traces: the parent of the further hops of a redirect."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def parent_of(self, trace: str, span: str) -> str:
        """Return the first span of this trace, or "" if it is this one."""
        first = self._first.setdefault(trace, span)
        if first != span:
            return first
        if len(self._first) > _MOST_TRACES:
            del self._first[next(iter(self._first))]
        return ""


class IterationTree:
    """The spans of one sampled iteration.

    put: receives all spans at the end of the iteration, and how many were left out. trace: of the iteration, if its
    requests are one trace; else "".
    """

    __slots__ = ("_first", "_journey", "_left_out", "_open", "_put", "_random", "_spans", "_trace", "_whole")

    def __init__(self, put: Callable[[list[ClientSpan], int], None], random: Random, trace: str = "") -> None:
        self._put, self._random, self._trace = put, random, trace
        self._whole = bool(trace)
        self._spans: list[ClientSpan] = []
        self._open: list[int] = []
        """Places in `_spans` of those whose parent is not known yet."""
        self._first = FirstSpans()
        self._left_out = 0
        self._journey = ""
        """The span id of the journey, once it has ended."""

    def request(self, span: ClientSpan) -> None:
        """Add a request that has ended. After the end of the iteration it is passed on at once."""
        if not self._whole:
            if not self._trace:
                # The span ids and the trace id of the journey are drawn here; its decision is that of its requests.
                self._trace = f"{span.trace[:8]}{self._hex(10)}{span.trace[18:24]}{self._hex(8)}"
            span = span._replace(parent=self._first.parent_of(span.trace, span.span))
        if self._journey:
            self._put([span._replace(parent=self._journey) if self._whole else span], 0)
        else:
            self._add(span)

    def step(self, key: SeriesKey, begun_ns: int, ended_ns: int, outcome: str) -> None:
        """Add a step that has ended. Spans without a parent that began after it become its children."""
        self._close(key, begun_ns, ended_ns, outcome, key.step or "")

    def end(self, key: SeriesKey, begun_ns: int, ended_ns: int, outcome: str) -> None:
        """Add the journey, which has ended, and pass all spans on."""
        if self._journey or not self._spans:
            return
        self._journey = self._close(key, begun_ns, ended_ns, outcome, "")
        self._put(self._spans, self._left_out)
        self._spans, self._open, self._left_out = [], [], 0

    def _close(self, key: SeriesKey, begun_ns: int, ended_ns: int, outcome: str, step: str) -> str:
        if not self._trace:  # no request of it was exported
            return ""
        # The journey encloses everything, also requests that began before its user was free.
        inner = [at for at in self._open if not step or self._spans[at].begun_ns >= begun_ns]
        span = self._hex(16)
        links = []
        for at in inner:
            one = self._spans[at]
            if self._whole or one.request is None:
                self._spans[at] = one._replace(parent=span)
            else:
                links.append(f"{one.trace}-{one.span}")
        threshold = self._spans[0].threshold if self._spans else ""
        self._open = [at for at in self._open if at not in set(inner)]
        name = step or key.journey
        made = ClientSpan(
            self._trace, span, "", name, begun_ns, ended_ns, outcome, key.journey, step, threshold, None, tuple(links)
        )
        self._add(made, is_last=not step)
        return span

    def _add(self, span: ClientSpan, *, is_last: bool = False) -> None:
        if len(self._spans) >= MAX_SPANS and not is_last:
            self._left_out += 1
            return
        self._open.append(len(self._spans))
        self._spans.append(span)

    def _hex(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits) or 1:0{digits}x}"
