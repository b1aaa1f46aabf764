"""Trace headers of requests. A tracing SDK takes 20 µs for them; we write them ourselves, without recording spans.

A trace id is 8 hex digits of epoch seconds and 96 random bits, a form that W3C trace context and X-Ray both accept. The
time is read for the first request of each iteration and for every 64th id, so ids of later requests may have an earlier
time. The client decides whether a trace is sampled from the id itself: the first 24 of its last 56 bits are compared
with a threshold, as in OpenTelemetry's consistent sampling with a threshold of 6 digits. So the decision follows from
the id (`Trace.samples`), for us, for the target, and for every later reader. A trace that is not sampled sends its
header too, with the flag 0.

`per="iteration"`: the requests of an iteration have trace ids of their own, and share these 24 bits. So they are
sampled together or not at all, also by any other consistent sampler with a threshold of up to 6 digits. All other 72
random bits differ, 40 of them in the low 64 bits, which some backends use as the whole id: two of 1,000 requests of an
iteration have equal low bits once in 2 million iterations. See docs/decisions/110-sampling-per-iteration.md.

All requests of a redirected call belong to one trace, each with its own span id. If the scenario gives a request
a trace header (of any of the plan's formats), the request is left unchanged: the scenario traces it.

Checked by: the patterns of the specifications (tests/clients/test_tracing.py); and OpenTelemetry's own propagators for
W3C, B3 and X-Ray read 2,000 of 2,000 of these headers, always to the same trace, span and decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from time import time
from typing import Final, Literal, NamedTuple, Protocol

from loadgen.clients.request.trace_formats import (
    FORMATS,
    TraceFormat,
    header_text,
    id_headers,
    read_header,
    renderers,
)
from loadgen.clients.request.trace_settings_check import Named, rate_of, share_of, wrongs_of
from loadgen.engine.tracing.share import AdaptiveShare, Threshold, threshold_of

__all__ = ["FORMATS", "Begun", "Iteration", "Names", "Trace", "TraceFormat", "TraceUnit", "Tracer"]

TraceUnit = Literal["iteration", "trace", "request"]
BaggageKey = Literal["run", "journey", "region", "load"]

_BATCH: Final = 64
"""The number of ids drawn together: single draws cost 0.3 µs more. A worker has one tracer for all its users."""
_ID_DIGITS: Final = 40
"""24 digits of the trace id (the other 8 are the time) and 16 of the span id."""
_DECISION: Final = slice(18, 24)
"""The digits of a trace id that decide whether it is sampled: the first of its last 56 bits."""
_SHARED: Final[dict[TraceUnit, slice]] = {"iteration": _DECISION, "trace": slice(0, 32), "request": slice(0, 0)}
"""The part of the first trace id that the other requests of an iteration have, too."""
_MOST_CALLS: Final = 1_000
"""Most sampled calls of one iteration whose threshold is stored: those of the last ones, which may be under way."""
_MOST_TEXTS: Final = 1_000
"""Most places whose texts for `baggage` and `x-dynatrace-test` are stored."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace headers that the requests of a plan have."""

    sample: float | str = 0.01
    """The share of iterations whose requests are sampled: 0 to 1, or "1%". Or their number per second in the whole
    fleet, "20/s". With `per="request"`: of calls."""
    formats: tuple[TraceFormat, ...] = ("w3c",)
    """The header formats: `w3c`, `b3`, `b3multi`, `xray`, `datadog`, `jaeger`, and `dynatrace-test`, which tags
    requests. Several at once carry one trace."""
    link: str = ""
    """The URL of a trace for reports, with `{trace_id}` in it."""
    per: TraceUnit = "iteration"
    """`iteration`: all requests of an iteration are sampled, or none; each has a trace of its own. `trace`: they are
    one trace. `request`: each call is sampled by itself, so journeys and steps cannot be taken apart."""
    baggage: tuple[BaggageKey, ...] = ()
    """The contents of the `baggage` header: `run`, `journey`, `region`, `load`. Off by default, because services send
    it on to third parties."""
    boost: float | str | None = None
    """The share while an objective on slow requests is breached, "20%" or 0.2; None: as always."""
    export: str = ""
    """"otlp:https://otlp.example": our own spans of sampled iterations are sent there, so that the trace in the tracing
    system begins with us. Each agent sends its own, so the agents' allow-list must admit the address."""
    export_auth: Named | None = None
    """secret("otlp-token"): its value is sent to the receiver in the header `export_header`."""
    export_header: str = "Authorization"
    server_timing: bool = False
    """Whether the durations in `Server-Timing` headers of all answers are recorded: a metric for each name."""

    @classmethod
    def parse(cls, text: str) -> Trace:
        """Return tracing settings with this `sample`. text: "1%", "0.01" or "20/s".

        Raises:
            ValueError: neither a share up to 1 nor a rate.
        """
        found = cls(sample=text).checked()
        return found if found.per_s is not None else cls(sample=found.share)

    def wrongs(self) -> Iterator[tuple[str, str]]:
        """Yield each error of these settings as (message, what to write instead)."""
        yield from wrongs_of(self)

    def checked(self) -> Trace:
        """Return these settings unchanged if they are valid.

        Raises:
            ValueError: at least one field is invalid; the text has all errors.
        """
        if wrong := [message for message, _ in self.wrongs()]:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def share(self) -> float:
        """Return the share that is sampled, 0 to 1, without a boost. With a rate it is 0, because the share changes."""
        return share_of(self.sample)

    @property
    def per_s(self) -> float | None:
        """Return the rate of decisions of the whole fleet, in 1/s; None if `sample` is a share."""
        return rate_of(self.sample)

    @property
    def boost_share(self) -> float | None:
        """Return the share while an objective is breached, 0 to 1; None without a boost."""
        return None if self.boost is None else share_of(self.boost)

    @property
    def is_adaptive(self) -> bool:
        """Return whether the share changes during a run: then each exemplar has its own weight."""
        return self.per_s is not None or self.boost is not None

    def samples(self, trace_id: str) -> bool:
        """Return True if the tracing system keeps a trace with this id (it is "sampled"). trace_id: 32 hex digits.

        Not with `is_adaptive`: there the threshold in force decides.
        """
        return trace_id[_DECISION] >= self.threshold

    @property
    def threshold(self) -> str:
        """Return 6 hex digits: a trace is sampled if the 6 digits of its id from place 19 on are at least this number.

        They are the first digits of OpenTelemetry's threshold, whose other 8 are zeros.
        """
        return threshold_of(self.share).digits

    @property
    def probability(self) -> float:
        """Return the exact probability with which a trace is sampled: `sample`, rounded to 24 bits.

        A share above 0 is never rounded to 0.
        """
        return threshold_of(self.share).probability

    def url_of(self, trace_id: str) -> str:
        """Return the URL at which a trace can be viewed; "" if the plan configures no link."""
        return self.link.replace("{trace_id}", trace_id)


class Iteration(Protocol):
    """The iteration that a request belongs to: a user's meter."""

    trace_unit: str
    """The part of the id that its requests share: "" before the first one; then the digits of the decision, or all."""
    journey: str
    load: int
    n: int
    drawn: Threshold | None
    """The threshold of its decision, if the share changes during a run."""
    drawn_calls: dict[str, Threshold] | None
    """With `per="request"`: by trace id, the thresholds of its sampled calls."""

    @property
    def step(self) -> str | None: ...


class Begun:
    """An `Iteration` for requests outside of journeys, such as those of tests and benchmarks."""

    __slots__ = ("drawn", "drawn_calls", "journey", "load", "n", "step", "trace_unit")

    def __init__(self, journey: str = "", step: str | None = None, load: int = 0, n: int = 0) -> None:
        self.trace_unit, self.journey, self.step, self.load, self.n = "", journey, step, load, n
        self.drawn: Threshold | None = None
        self.drawn_calls: dict[str, Threshold] | None = None


class Names(NamedTuple):
    """A run in `x-dynatrace-test` and `baggage`: its plan, its id, the region, and the loads by index."""

    plan: str = ""
    run: str = ""
    region: str = ""
    loads: tuple[str, ...] = ()


class Tracer:
    """Writes the trace headers of a plan. One for all users of a worker; not thread-safe.

    random: the tracer's own, never a user's, because tracing must not change the random numbers of users. With the same
    seed the ids of a run can be drawn again, except for their time. Workers need different seeds, or their ids collide.
    adaptive: the share in force, if it changes during a run; all tracers of a worker have the same one.
    """

    __slots__ = (
        "_adaptive",
        "_beside",
        "_epoch",
        "_has_tests",
        "_ids",
        "_is_one_trace",
        "_is_w3c",
        "_names",
        "_next_s",
        "_of_others",
        "_of_sampled",
        "_randbytes",
        "_share",
        "_texts",
        "_threshold",
        "header_names",
        "trace",
    )

    def __init__(
        self,
        trace: Trace,
        random: Random,
        names: Names = Names(),  # noqa: B008  # frozen
        adaptive: AdaptiveShare | None = None,
    ) -> None:
        self.trace = trace.checked()
        self._threshold, self._is_one_trace = threshold_of(trace.share), trace.per == "trace"
        self._adaptive = adaptive
        self._share = _SHARED[trace.per]
        self._randbytes = random.randbytes
        self._ids: list[str] = []
        self._epoch, self._next_s = "", 0.0
        formats = tuple(trace.formats)
        self._of_sampled, self._of_others = renderers(formats)
        self._has_tests = "dynatrace-test" in formats
        self._is_w3c = formats == ("w3c",) and not trace.baggage
        self._beside = self._has_tests or bool(trace.baggage)
        self._names = names
        self._texts: dict[tuple[str, str | None, int], tuple[str, str]] = {}
        self.header_names: frozenset[bytes] = id_headers(formats)
        """The names of the headers with trace ids, in lower case."""

    def lines(self, iteration: Iteration, trace_id: str = "") -> tuple[bytes, str, str, bool]:
        """HOT, once a request: budget 0.8 µs with `w3c`, 2.0 µs with all formats (bench/tracing.py).

        Return (the header lines of a request, each with its CRLF; its trace id; its span id; whether it is sampled).
        The trace id is new if `trace_id` is ""; else the request is one more span of that trace.
        """
        if not self._ids:
            self._draw()
        drawn = self._ids.pop()
        span = drawn[24:]
        threshold, adaptive, unit = self._threshold, self._adaptive, iteration.trace_unit
        if adaptive is not None and self._share.stop:
            # The decision holds for the whole iteration, also if the threshold changes meanwhile.
            if unit and iteration.drawn is not None:
                threshold = iteration.drawn
            else:
                threshold = iteration.drawn = adaptive.draw()
        if adaptive is not None and not self._share.stop:  # each call by itself
            trace_id, is_sampled, threshold = self._call(adaptive, iteration, trace_id, drawn)
        elif trace_id:
            is_sampled = trace_id[18:24] >= threshold.digits
        elif not unit:
            now_s = time()
            if not 0 < self._next_s - now_s <= 1:  # also if the clock was set back
                self._set_epoch(now_s)
            trace_id = self._epoch + drawn[:24]
            is_sampled = trace_id[18:24] >= threshold.digits
            iteration.trace_unit = trace_id[self._share]
            if is_sampled and adaptive is not None:
                adaptive.count_sampled()
        elif self._is_one_trace:
            trace_id = unit
            is_sampled = trace_id[18:24] >= threshold.digits
        else:  # the clock is read for the first request of an iteration and at each draw, because it costs 40 ns
            trace_id = f"{self._epoch}{drawn[:10]}{unit}{drawn[16:24]}"
            is_sampled = unit >= threshold.digits
        if is_sampled:
            lines = self._of_sampled(trace_id, span, threshold.text)
        elif self._is_w3c:  # written here, nine in ten requests save a call: 70 ns
            return f"traceparent: 00-{trace_id}-{span}-00\r\n".encode(), trace_id, span, False
        else:
            lines = self._of_others(trace_id, span, "")
        if self._beside:
            place = iteration.journey, iteration.step, iteration.load
            test, after = self._texts.get(place) or self._new_place(*place)
            lines = f"{lines}x-dynatrace-test: VU={iteration.n};{test}\r\n{after}" if test else lines + after
        return lines.encode(), trace_id, span, is_sampled

    def _call(
        self, adaptive: AdaptiveShare, iteration: Iteration, trace_id: str, drawn: str
    ) -> tuple[str, bool, Threshold]:
        """HOT, once a request with `per="request"` and a share that changes. Return (id, is it sampled, threshold).

        The decision holds for all requests of a call, also if the threshold changes meanwhile.
        """
        calls = iteration.drawn_calls
        if trace_id:
            found = None if calls is None else calls.get(trace_id)
            return trace_id, found is not None, found or self._threshold
        trace_id = self._now() + drawn[:24]
        threshold = adaptive.draw()
        if trace_id[18:24] < threshold.digits:
            return trace_id, False, threshold
        adaptive.count_sampled()
        if calls is None:
            calls = iteration.drawn_calls = {}
        elif len(calls) >= _MOST_CALLS:
            del calls[next(iter(calls))]
        calls[trace_id] = threshold
        return trace_id, True, threshold

    def _now(self) -> str:
        """Return the seconds of the epoch as 8 hex digits."""
        now_s = time()
        if not 0 < self._next_s - now_s <= 1:  # also if the clock was set back
            self._set_epoch(now_s)
        return self._epoch

    def _draw(self) -> None:
        digits = self._randbytes(_BATCH * _ID_DIGITS // 2).hex()
        self._ids = [digits[at : at + _ID_DIGITS] for at in range(0, len(digits), _ID_DIGITS)]
        self._set_epoch(time())

    def _set_epoch(self, now_s: float) -> None:
        self._epoch, self._next_s = f"{int(now_s):08x}", int(now_s) + 1

    def theirs(self, data: bytes) -> str | None:
        """Return the trace id in the trace header that the scenario has put into a request. Return "" if the id is
        unreadable, and None if the request has no trace header.
        """
        head = data[: data.find(b"\r\n\r\n")]
        lower = head.lower()
        for name in self.header_names:
            at = lower.find(b"\r\n%b:" % name)
            if at >= 0:
                begin = at + len(name) + 3
                end = head.find(b"\r\n", begin)
                value = head[begin : end if end >= 0 else None].decode("latin-1").strip()
                return read_header(name, value)
        return None

    def _new_place(self, journey: str, step: str | None, load: int) -> tuple[str, str]:
        """Return and store the names for `x-dynatrace-test`, and the line of `baggage`, of requests at this place."""
        if len(self._texts) >= _MOST_TEXTS:
            self._texts.clear()
        plan, run, region, loads = self._names
        name = loads[load] if load < len(loads) else ""
        test = ""
        if self._has_tests:
            test = ";".join(
                f"{key}={header_text(value)}"
                for key, value in (("SI", "loadgen"), ("LTN", run or plan), ("LSN", journey), ("TSN", step or ""))
                if value
            )
        values = {"run": run, "journey": journey, "region": region, "load": name or str(load)}
        # Baggage has no spaces in values.
        members = [
            f"loadgen.{key}={header_text(values[key]).replace(' ', '%20')}"
            for key in dict.fromkeys(self.trace.baggage)
            if values[key]
        ]
        found = test, f"baggage: {','.join(members)}\r\n" if members else ""
        self._texts[journey, step, load] = found
        return found
