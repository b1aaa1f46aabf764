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

import re
from dataclasses import dataclass
from random import Random
from time import time
from typing import Final, Literal, NamedTuple, Protocol, get_args

from loadgen.clients.request.trace_formats import (
    FORMATS,
    TraceFormat,
    header_text,
    id_headers,
    read_header,
    renderers,
)

__all__ = ["FORMATS", "Begun", "Iteration", "Names", "Trace", "TraceFormat", "TraceUnit", "Tracer"]

TraceUnit = Literal["iteration", "trace", "request"]
_UNITS: Final = get_args(TraceUnit)
BaggageKey = Literal["run", "journey", "region", "load"]
_BAGGAGE: Final[tuple[BaggageKey, ...]] = get_args(BaggageKey)

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")
_BATCH: Final = 64
"""The number of ids drawn together: single draws cost 0.3 µs more. A worker has one tracer for all its users."""
_ID_DIGITS: Final = 40
"""24 digits of the trace id (the other 8 are the time) and 16 of the span id."""
_DECISION_BITS: Final = 24
_DECISION: Final = slice(18, 24)
"""The digits of a trace id that decide whether it is sampled: the first of its last 56 bits."""
_SHARED: Final[dict[TraceUnit, slice]] = {"iteration": _DECISION, "trace": slice(0, 32), "request": slice(0, 0)}
"""The part of the first trace id that the other requests of an iteration have, too."""
_NEVER: Final = "g"
"""Greater than any hex digit."""
_MOST_TEXTS: Final = 1_000
"""Most places whose texts for `baggage` and `x-dynatrace-test` are stored."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace headers that the requests of a plan have."""

    sample: float = 0.01
    """The share of iterations whose requests are sampled, 0 to 1. With `per="request"`: of calls."""
    formats: tuple[TraceFormat, ...] = ("w3c",)
    """The header formats: `w3c`, `b3`, `b3multi`, `xray`, `datadog`, `jaeger`, and `dynatrace-test`, which tags
    requests. Several at once carry one trace."""
    link: str = ""
    """The URL of a trace for reports, with `{trace_id}` in it."""
    per: TraceUnit = "iteration"
    """`iteration`: all requests of an iteration are sampled, or none; each has a trace of its own. `trace`: they are
    one trace. `request`: each call is sampled by itself, so journeys and steps cannot be taken apart."""
    baggage: tuple[BaggageKey, ...] = ()
    """What the `baggage` header contains: `run`, `journey`, `region`, `load`. Off by default, because services send it
    on to third parties."""
    server_timing: bool = False
    """Whether the durations in `Server-Timing` headers of all answers are recorded: a metric for each name."""

    @classmethod
    def parse(cls, text: str) -> Trace:
        """Return tracing settings in which this share of iterations is sampled. text: the share, as "1%" or "0.01".

        Raises:
            ValueError: not a share, or more than 1.
        """
        found = _SHARE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f'invalid share of iterations to trace "{text}"; write "1%"')
        return cls(sample=float(found[1]) / (100 if found[2] else 1)).checked()

    def checked(self) -> Trace:
        """Return these settings unchanged if they are valid.

        Raises:
            ValueError: a field is invalid.
        """
        if not isinstance(self.sample, int | float) or not 0 <= self.sample <= 1:
            raise ValueError(f'sample must be a share from 0 to 1 ("1%" is 0.01), got {self.sample!r}')
        formats: object = self.formats
        if not isinstance(formats, tuple | list) or not formats or any(f not in FORMATS for f in formats):
            raise ValueError(f"formats must be some of {', '.join(FORMATS)}, got {self.formats!r}")
        if not id_headers(tuple(self.formats)):
            raise ValueError('formats: "dynatrace-test" has no trace ids; write formats=("w3c", "dynatrace-test")')
        if self.link and "{trace_id}" not in self.link:
            raise ValueError(f'link must contain "{{trace_id}}", got {self.link!r}')
        if self.per not in _UNITS:
            raise ValueError(f"per must be one of {', '.join(_UNITS)}, got {self.per!r}")
        baggage: object = self.baggage
        if not isinstance(baggage, tuple | list) or any(key not in _BAGGAGE for key in baggage):
            raise ValueError(f"baggage must be some of {', '.join(_BAGGAGE)}, as a tuple, got {self.baggage!r}")
        if not isinstance(self.server_timing, bool):
            raise ValueError(f"server_timing must be True or False, got {self.server_timing!r}")
        return self

    def samples(self, trace_id: str) -> bool:
        """Return True if the tracing system keeps a trace with this id (it is "sampled"). trace_id: 32 hex digits."""
        return trace_id[_DECISION] >= self.threshold

    @property
    def threshold(self) -> str:
        """Return 6 hex digits: a trace is sampled if the 6 digits of its id from place 19 on are at least this number.

        They are the first digits of OpenTelemetry's threshold, whose other 8 are zeros.
        """
        rejected = self._rejected
        return f"{rejected:06x}" if rejected < 2**_DECISION_BITS else _NEVER

    @property
    def probability(self) -> float:
        """Return the exact probability with which a trace is sampled: `sample`, rounded to 24 bits.

        A share above 0 is never rounded to 0.
        """
        return 1 - self._rejected / 2**_DECISION_BITS

    @property
    def _rejected(self) -> int:
        rejected = round((1 - self.sample) * 2**_DECISION_BITS)
        return min(rejected, 2**_DECISION_BITS - 1) if self.sample > 0 else rejected

    def url_of(self, trace_id: str) -> str:
        """Return the URL at which a trace can be viewed; "" if the plan configures no link."""
        return self.link.replace("{trace_id}", trace_id)


class Iteration(Protocol):
    """The iteration that a request belongs to: a user's meter."""

    trace_unit: str
    """What its requests share: "" before the first one; then the digits of the decision, or the whole trace id."""
    journey: str
    load: int
    n: int

    @property
    def step(self) -> str | None: ...


class Begun:
    """An `Iteration` for requests outside of journeys, such as those of tests and benchmarks."""

    __slots__ = ("journey", "load", "n", "step", "trace_unit")

    def __init__(self, journey: str = "", step: str | None = None, load: int = 0, n: int = 0) -> None:
        self.trace_unit, self.journey, self.step, self.load, self.n = "", journey, step, load, n


class Names(NamedTuple):
    """What `x-dynatrace-test` and `baggage` say of a run: its plan, its id, the region, and the loads by index."""

    plan: str = ""
    run: str = ""
    region: str = ""
    loads: tuple[str, ...] = ()


class Tracer:
    """Writes the trace headers of a plan. One for all users of a worker; not thread-safe.

    random: the tracer's own, never a user's, because tracing must not change the random numbers of users. With the same
    seed the ids of a run can be drawn again, except for their time. Workers need different seeds, or their ids collide.
    """

    __slots__ = (
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

    def __init__(self, trace: Trace, random: Random, names: Names = Names()) -> None:  # noqa: B008  # frozen
        self.trace = trace.checked()
        self._threshold, self._is_one_trace = trace.threshold, trace.per == "trace"
        self._share = _SHARED[trace.per]
        self._randbytes = random.randbytes
        self._ids: list[str] = []
        self._epoch, self._next_s = "", 0.0
        formats = tuple(trace.formats)
        self._of_sampled, self._of_others = renderers(formats, trace.threshold.rstrip("0") or "0")
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
        unit = iteration.trace_unit
        if trace_id:
            is_sampled = trace_id[18:24] >= self._threshold
        elif not unit:
            now_s = time()
            if not 0 < self._next_s - now_s <= 1:  # also if the clock was set back
                self._set_epoch(now_s)
            trace_id = self._epoch + drawn[:24]
            is_sampled = trace_id[18:24] >= self._threshold
            iteration.trace_unit = trace_id[self._share]
        elif self._is_one_trace:
            trace_id = unit
            is_sampled = trace_id[18:24] >= self._threshold
        else:  # the clock is read for the first request of an iteration and at each draw, because it costs 40 ns
            trace_id = f"{self._epoch}{drawn[:10]}{unit}{drawn[16:24]}"
            is_sampled = unit >= self._threshold
        if is_sampled:
            lines = self._of_sampled(trace_id, span)
        elif self._is_w3c:  # written here, nine in ten requests save a call: 70 ns
            return f"traceparent: 00-{trace_id}-{span}-00\r\n".encode(), trace_id, span, False
        else:
            lines = self._of_others(trace_id, span)
        if self._beside:
            place = iteration.journey, iteration.step, iteration.load
            test, after = self._texts.get(place) or self._new_place(*place)
            lines = f"{lines}x-dynatrace-test: VU={iteration.n};{test}\r\n{after}" if test else lines + after
        return lines.encode(), trace_id, span, is_sampled

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
