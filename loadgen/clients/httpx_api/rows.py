"""Rows of the requests that an httpx client sends: which name, which outcome, and whether the iteration failed.

What the transports (`httpx_transport.py`, `httpx_stock.py`) have in common. A
request on the wire is a row, named `GET /path` as `user.http` names it, or by
`extensions={"name": "/products/{sku}"}`; then the hops of its redirects are `NAME
(hop 2)`. `extensions={"accept": {404}}` are statuses that are no errors.

Whether an error is the iteration's, too, is said when it stays. A library that is
told 429 and sends the same request again (method, URL, body) until it is answered
has had no error: its rows have. So has an auth flow that answers a 401 with the
request itself; what is held for it is then no error at all, as in `user.http`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import httpx

from loadgen.clients.httpx_api.errors import ROW
from loadgen.clients.pool.pool import Origin, origin_of
from loadgen.clients.protocol.outcomes import http_outcome
from loadgen.clients.request.tracing import Tracer
from loadgen.engine.recording.concurrent_meter import Turn, current_turn, within
from loadgen.engine.recording.meter import Meter, Sample
from loadgen.engine.recording.series import RequestSeries
from loadgen.measure.deltas.series import OK

__all__ = ["Call", "HttpxRows", "HttpxSample", "origin_of_url"]

_CHALLENGES: Final = frozenset({401, 407})
_PORTS: Final = {"http": 80, "https": 443}
_MOST_OPEN: Final = 100
"""Failed requests of one iteration that may still be repeated."""

_Key = tuple[str, str, bytes | None, Turn | None]


class Call:
    """What the requests of one call of an httpx client have in common: it goes along in their extensions."""

    __slots__ = ("asked_ns", "hops", "request", "trace")

    def __init__(self, asked_ns: int = 0) -> None:
        self.asked_ns = asked_ns
        """When the journey called the client, where that is known; of the first request only."""
        self.request: httpx.Request | None = None
        """The last; a redirect is another one, an answer to a challenge is the same again."""
        self.hops = 0
        self.trace = ""


class HttpxSample(Sample, Protocol):
    """A row in the making."""

    turn: Turn | None
    status: int
    """0 without an answer."""

    @property
    def request(self) -> httpx.Request: ...


class HttpxRows:
    """The rows of one user's httpx clients.

    targets: name -> base URL; rows of other targets than `base_url` bear its name. tags: response headers, in lower
    case, by whose values rows are split. is_judged: the journey says what is right (`reply.expect`), so an error is not
    decided before it goes on.
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
        """Errors of this iteration that no repeat has answered: outcome, and whether it is the iteration's."""
        self._iteration = (0, 0, "")

    def begin(self, request: httpx.Request, origin: Origin, target: bytes) -> tuple[RequestSeries, Call, Turn | None]:
        """A request is asked for. Settles what the user held; counts one more as started."""
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
        if turn is None and self._challenged is None:
            return self.meter.ask(name), call, None
        with within(turn):
            if self._challenged is not None:
                self._answer_challenge(self._challenged, request)
            series = self.meter.ask(name)
        return series, call, turn

    def trace_lines(self, request: httpx.Request, call: Call) -> bytes:
        """Trace headers to add, with `call.trace` set; none where the request has one already. There is a tracer."""
        assert self.tracer is not None
        for name, value in request.headers.raw:
            if name.lower() in self.tracer.header_names:
                theirs = self.tracer.theirs(b"\r\n%b: %b\r\n\r\n" % (name, value))
                call.trace = theirs or ""
                return b""
        lines, call.trace = self.tracer.lines(call.trace)
        return lines

    def outcome_of(self, request: httpx.Request, status: int) -> str:
        """Of an answer with this status."""
        if status < 400:
            return OK
        accept = request.extensions.get("accept")
        return OK if accept is not None and status in accept else http_outcome(status)

    def answered(self, sample: HttpxSample) -> None:
        """The whole answer is there, or as much of it as was wanted: record it."""
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
        """No (whole) answer: record that. The exception says so to the journey."""
        with within(sample.turn):
            self.meter.hold(sample)
            self.meter.settle()

    def gone(self, sample: HttpxSample) -> None:
        """It was cancelled: started, and never finished."""
        if sample.series.watch is not None:
            sample.series.watch.gone(sample.asked_ns)

    # -- whose error it is ------------------------------------------------------------------------

    def _answer_challenge(self, challenged: HttpxSample, request: httpx.Request) -> None:
        self._challenged = None
        if challenged.request is request:
            self.meter.settle_as(challenged, OK)
        elif self.meter.last is challenged and not self._is_judged:
            self._settle_error(challenged)

    def _settle_error(self, sample: HttpxSample) -> None:
        """Record what is held, an error; it is the iteration's unless one was before, or its repeat is answered."""
        meter = self.meter
        before = meter.failed
        meter.settle()
        self._turn_page()
        if len(self._open) < _MOST_OPEN:
            key = _key(sample)
            was = self._open.get(key, (sample.outcome, before is None and meter.failed is not None))
            self._open[key] = was

    def _repeated(self, sample: HttpxSample) -> None:
        """The same request is answered now."""
        self._turn_page()
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

    def _turn_page(self) -> None:
        meter = self.meter
        iteration = (meter.load, meter.n, meter.journey)
        if iteration != self._iteration:
            self._iteration = iteration
            self._open.clear()


def origin_of_url(url: httpx.URL) -> Origin:
    """
    Raises:
        httpx.UnsupportedProtocol: neither http nor https.
    """
    scheme = url.scheme
    port = url.port or _PORTS.get(scheme)
    if port is None or not url.host:
        raise httpx.UnsupportedProtocol(f'"{url}" is no URL of http or https')
    return origin_of(scheme, url.raw_host.decode("ascii"), port)


def _key(sample: HttpxSample) -> _Key:
    request = sample.request
    try:
        body: bytes | None = request.content
    except httpx.RequestNotRead:
        body = None
    return request.method, str(request.url), body, sample.turn
