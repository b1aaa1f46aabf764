"""Rows of requests that an httpx client sends: their names, their outcomes, and whether they fail the iteration.

Both transports use this module: ours (`transport.py`) and the stock one (`stock.py`). Each
request on the wire is a row. Rows are named `GET /path`, as in `user.http`, or by
`extensions={"name": "/products/{sku}"}`; the hops of a redirect are then called
`NAME (hop 2)`. `extensions={"accept": {404}}` lists statuses that are not errors.
`extensions={"tags": {"kind": "first"}}` gives the request tags.

A failed request fails the iteration only if no repeat of it succeeds. A client library that
gets 429 and repeats the same request (method, URL, body) until it succeeds leaves errors in
the rows, but the iteration does not fail. The same holds for an auth flow that answers a 401
with the same request; then the 401 is not an error at all, as in `user.http`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import httpx

from loadgen.clients.httpx_api.errors import ROW
from loadgen.clients.pool.pool import Origin, origin_of
from loadgen.clients.protocol.outcomes import http_outcome
from loadgen.clients.request.tracing import Tracer
from loadgen.engine.recording.concurrent_call_meter import Turn, current_turn, within
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.user_meter import Meter, Sample
from loadgen.measure.deltas.series_key import OK

__all__ = ["Call", "HttpxRows", "HttpxSample", "origin_of_url"]

_CHALLENGES: Final = frozenset({401, 407})
_PORTS: Final = {"http": 80, "https": 443}
_MOST_OPEN: Final = 100
"""The number of failed requests of one iteration that are remembered because a repeat may succeed."""

_Key = tuple[str, str, bytes | None, Turn | None]


class Call:
    """The state that the requests of one call of an httpx client share. It travels in their extensions."""

    __slots__ = ("asked_ns", "hops", "is_sampled", "request", "span", "trace")

    def __init__(self, asked_ns: int = 0) -> None:
        self.asked_ns = asked_ns
        """When the journey called the client, if known; only for the first request of the call."""
        self.request: httpx.Request | None = None
        """The last request. A redirect is a new request; after a challenge the same request is sent again."""
        self.hops = 0
        self.trace = self.span = ""
        self.is_sampled = False


class HttpxSample(Sample, Protocol):
    """The row of one request while the request is under way."""

    turn: Turn | None
    status: int
    """The status of the answer; 0 without an answer."""

    @property
    def request(self) -> httpx.Request: ...


class HttpxRows:
    """Names and records the rows of one user's httpx clients.

    targets: name -> base URL; rows of targets other than `base_url` have the target's name in theirs. tags: response
    headers, in lower case; rows are split by their values. is_judged: the journey decides what is right
    (`reply.expect`),
    so an error status is not recorded as an error before the journey continues.
    """

    __slots__ = ("_before", "_challenged", "_is_judged", "_iteration", "_open", "meter", "tags", "tracer")

    def __init__(
        self,
        meter: Meter,
        base_url: str,
        targets: Mapping[str, str],
        tags: tuple[str, ...] = (),
        tracer: Tracer | None = None,
        *,
        is_judged: bool = False,
    ) -> None:
        self._is_judged = is_judged
        self.meter, self.tags, self.tracer = meter, tags, tracer
        self._before: dict[Origin, str] = {}
        for name, url in targets.items():
            self._before[origin_of_url(httpx.URL(url))] = f"{name}:" if name else ""
        self._before[origin_of_url(httpx.URL(base_url))] = ""
        self._challenged: HttpxSample | None = None
        self._open: dict[_Key, tuple[str, bool]] = {}
        """Errors of this iteration without a successful repeat: (outcome, whether it failed the iteration)."""
        self._iteration = (0, 0, "")

    def begin(self, request: httpx.Request, origin: Origin, target: bytes) -> tuple[RequestSeries, Call, Turn | None]:
        """Begin the measurement of a request: choose its name and count it as started. This also records the user's
        previous request.

        Returns (the series of its name, the state of the call, its turn in a concurrent group). Outside of a group the
        turn is None.
        """
        extensions = request.extensions
        call = extensions.get(ROW)
        if not isinstance(call, Call):
            call = extensions[ROW] = Call()
        if call.request is not request:
            call.request = request
            call.hops += 1
        name = extensions.get("name")
        if name is None:
            before = self._before.get(origin)
            if before is None:
                before = f"{origin.scheme}://{origin.where}"
            name = f"{request.method} {before}{target.partition(b'?')[0].decode('ascii')}"
        elif call.hops > 1:
            name = f"{name} (hop {call.hops})"
        turn = current_turn(self.meter)
        tags = extensions.get("tags") if call.hops == 1 else None
        if turn is None and self._challenged is None:
            series = self.meter.ask(name)
            return series if tags is None else series.marked(tags), call, None
        with within(turn):
            if self._challenged is not None:
                self._answer_challenge(self._challenged, request)
            series = self.meter.ask(name)
        return series if tags is None else series.marked(tags), call, turn

    def trace_lines(self, request: httpx.Request, call: Call, series: RequestSeries) -> bytes:
        """Return the trace header lines to add to a request, and store its trace in `call`. If the request has a trace
        header already, return b"". Only for plans with tracing. series: to which the request belongs.
        """
        assert self.tracer is not None
        for name, value in request.headers.raw:
            if name.lower() in self.tracer.header_names:
                theirs = self.tracer.theirs(b"\r\n%b: %b\r\n\r\n" % (name, value))
                call.trace, call.span, call.is_sampled = theirs or "", "", False
                self.meter.recorder.undecided(series.key)
                return b""
        lines, call.trace, call.span, call.is_sampled = self.tracer.lines(self.meter, call.trace)
        return lines

    def outcome_of(self, request: httpx.Request, status: int) -> str:
        """Return the outcome of an answer: `ok` for a status below 400 or one that the request accepts, otherwise for
        example `http 503`.
        """
        if status < 400:
            return OK
        accept = request.extensions.get("accept")
        return OK if accept is not None and status in accept else http_outcome(status)

    def answered(self, sample: HttpxSample) -> None:
        """Record a request whose answer is complete, or was read as far as the journey read it."""
        meter = self.meter
        if sample.turn is None and sample.outcome is OK and not self._open:
            meter.hold(sample)
            return
        with within(sample.turn):
            meter.hold(sample)
            if sample.outcome == OK:
                if self._open:
                    self._repeated(sample)
            elif sample.status in _CHALLENGES:
                self._challenged = sample
            elif not self._is_judged:
                self._settle_error(sample)

    def failed(self, sample: HttpxSample) -> None:
        """Record a request that got no complete answer. This method raises nothing: the transport raises the exception
        to the journey.
        """
        with within(sample.turn):
            self.meter.hold(sample)
            self.meter.settle()

    def gone(self, sample: HttpxSample) -> None:
        """Remove a cancelled request from the watch for overdue requests. The request is not recorded, because it never
        ended.
        """
        if sample.series.watch is not None:
            sample.series.watch.gone(sample.asked_ns)

    # -- does an error fail the iteration? --------------------------------------------------------

    def _answer_challenge(self, challenged: HttpxSample, request: httpx.Request) -> None:
        self._challenged = None
        if challenged.request is request:
            self.meter.settle_as(challenged, OK)
        elif self.meter.last is challenged and not self._is_judged:
            self._settle_error(challenged)

    def _settle_error(self, sample: HttpxSample) -> None:
        """Record an answer with an error status as failed. The error fails the iteration, unless a later, equal request
        succeeds (`_repeated`) or an earlier error failed the iteration already.
        """
        meter = self.meter
        before = meter.failed
        meter.settle()
        self._forget_last_iteration()
        if len(self._open) < _MOST_OPEN:
            key = _key(sample)
            was = self._open.get(key, (sample.outcome, before is None and meter.failed is not None))
            self._open[key] = was

    def _repeated(self, sample: HttpxSample) -> None:
        """Cancel the failure of the iteration by an earlier request, because an equal one has now succeeded. If another
        error is still open, that one fails the iteration instead.
        """
        self._forget_last_iteration()
        was = self._open.pop(_key(sample), None)
        if was is None or not was[1]:
            return
        turn = sample.turn
        for key, (outcome, _) in self._open.items():
            if key[3] is turn:
                self._open[key] = (outcome, True)
                self.meter.failed = outcome
                return
        self.meter.failed = None

    def _forget_last_iteration(self) -> None:
        meter = self.meter
        iteration = (meter.load, meter.n, meter.journey)
        if iteration != self._iteration:
            self._iteration = iteration
            self._open.clear()


def origin_of_url(url: httpx.URL, wrong: type[Exception] = httpx.UnsupportedProtocol) -> Origin:
    """Return the origin (scheme, host, port) of a URL. wrong: the exception to raise.

    Raises:
        httpx.UnsupportedProtocol: neither http nor https.
    """
    scheme = url.scheme
    port = url.port or _PORTS.get(scheme)
    if port is None or not url.host:
        raise wrong(f'"{url}" is not an absolute http:// or https:// URL')
    return origin_of(scheme, url.raw_host.decode("ascii"), port)


def _key(sample: HttpxSample) -> _Key:
    request = sample.request
    try:
        body: bytes | None = request.content
    except RuntimeError:  # RequestNotRead of httpx or httpx2
        body = None
    return request.method, str(request.url), body, sample.turn
