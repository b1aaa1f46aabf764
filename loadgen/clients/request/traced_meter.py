"""A meter for plans with tracing: it offers every sampled request, step and iteration as an exemplar.

Of the requests that are not sampled only the slowest of an interval and the first two that failed are kept, without a
weight. Plans without tracing use `Meter`, and pay nothing. For a request that is not sampled, exemplars cost 40 ns with
this meter; a sampled one costs 2 µs (bench/tracing.py).

A step that ends before the first request of its iteration is not offered, because the iteration's decision is drawn
with its first request.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

from loadgen.clients.request.answer_traces import INVALID, answer_headers, named_trace
from loadgen.clients.request.named_traces import NamedTraces
from loadgen.clients.request.server_timing import ServerTimings
from loadgen.clients.request.tracing import Trace
from loadgen.engine.recording.recorded_series import About, Picked, Place, Series
from loadgen.engine.recording.user_meter import Meter
from loadgen.engine.tracing.spans import IterationSpans
from loadgen.measure.deltas.series_key import OK, PHASES
from loadgen.measure.histograms.histogram import MAX_NS

__all__ = ["TracedMeter", "with_traces"]


class TracedMeter(Meter):
    """Offers the sampled ones among the samples that it settles."""

    __slots__ = ()

    per: ClassVar[Literal["iteration", "trace", "request"]] = "iteration"
    """What is sampled as a whole. With "request", steps and iterations are not sampled."""

    answer_headers: ClassVar[frozenset[bytes]] = frozenset()
    """The response headers that can name a trace of the target's own (`answer_traces.py`)."""

    def settle(self) -> None:
        """HOT, once a request. As `Meter.settle`; a call of it would cost as much as the rest."""
        if self._is_held:
            self._is_held = False
            held: Any = self._sample
            if held.outcome is not OK and self.failed is None and held.outcome.startswith("http "):
                self.failed = held.outcome
            is_notable = self.recorder.request(
                held.series,
                held.asked_ns,
                held.sent_ns,
                held.done_ns,
                held.outcome,
                held.size_bytes,
            )
            try:
                is_sampled = held.is_sampled
            except AttributeError:  # no request of ours: a measured piece of the journey, or a stored answer
                is_sampled = False
                self.recorder.undecided(held.series.key)
            if is_sampled:
                self._note_sampled(held)
            elif is_notable:
                self._note(held)

    def leave(
        self,
        outer: Place,
        response_ns: int,
        duration_ns: int,
        outcome: str,
        censored: bool,
        entered_ns: int = 0,
    ) -> None:
        """HOT, once a step. As `Meter.leave`; steps of sampled iterations are offered, too."""
        spans, series = self.spans, self._place.series
        if spans is not None and series is not None:
            self.recorder.exemplars.saw_sampled(
                series,
                outcome,
                response_ns,
                partial(self._picked_step, series, outcome, entered_ns, response_ns),
            )
        super().leave(outer, response_ns, duration_ns, outcome, censored, entered_ns)

    def _note_sampled(self, held: Any) -> None:
        outcome, series, ours = held.outcome, held.series, held.trace
        if self.answer_headers and (head := getattr(held, "head", None)) is not None:
            named = named_trace(head.raw, self.answer_headers)
            if named and named != ours:
                self._note_named(held, named)
        response_ns = held.done_ns - held.asked_ns
        if outcome == OK and response_ns <= MAX_NS:  # longer ones are in another series
            series.sampled_n += 1
            series.sampled_sum_ns += response_ns
        if self.per != "request":
            spans = self.spans
            if spans is None:
                spans = self.spans = IterationSpans(ours if self.per == "trace" else "")
            assert isinstance(spans, IterationSpans)
            spans.add(held.asked_ns, held.trace, held.span)
        self.recorder.exemplars.saw_sampled(series, outcome, response_ns, partial(self._picked, held))
        if outcome is not OK and outcome != OK:
            self._note_failure(held, outcome)

    def _note_named(self, held: Any, named: str) -> None:
        """Store the trace that the answer names instead of ours, because that one can be read."""
        counts = NamedTraces.of(self.recorder)
        if named == INVALID:
            counts.invalid.n += 1
        else:
            counts.foreign.n += 1
            held.trace = named

    def _note(self, held: Any) -> None:
        """Offer a request that is not sampled and is the slowest so far, or failed."""
        outcome, at_ns, response_ns, service_ns, n, load, trace, noted, about = self._picked(held)
        self.recorder.exemplars.saw(held.series, outcome, at_ns, response_ns, service_ns, n, load, trace, noted, about)
        if outcome != OK:
            self._note_failure(held, outcome)

    def _picked(self, held: Any) -> Picked:
        """Return what is stored of a request. Some 2 µs, so only for those that are kept for now."""
        sent_ns, done_ns = held.sent_ns, held.done_ns
        opening = getattr(held, "opening_ns", None) or getattr(held, "opening_times", {})
        about = About(
            span=getattr(held, "span", ""),
            status=_status(held),
            first_byte_ns=max(0, held.first_byte_ns - sent_ns) if sent_ns and held.first_byte_ns else 0,
            phases=_phases(held, opening),
            reused=bool(sent_ns) and "connect" not in opening,
            pool_limited=self.pool_limited,
            remote=getattr(held, "remote", ""),
            tags=held.series.key.tags,
        )
        return (
            held.outcome,
            held.asked_ns,
            done_ns - held.asked_ns,
            done_ns - sent_ns if sent_ns else 0,
            self.n,
            self.load,
            getattr(held, "trace", "") or "",
            self.noted,
            about,
        )

    def _picked_step(self, series: Series, outcome: str, entered_ns: int, response_ns: int) -> Picked:
        spans = self.spans
        assert spans is not None
        about = About(pool_limited=self.pool_limited, tags=series.key.tags, requests=spans.since(entered_ns))
        return outcome, entered_ns, response_ns, 0, self.n, self.load, spans.trace, self.noted, about


def _status(held: Any) -> int:
    try:
        return held.status_code or 0
    except AttributeError:  # no answer came
        return 0


def _phases(held: Any, opening: Any) -> tuple[int, ...]:
    """Return the ns of each phase, in the order of `PHASES`; () if the request was never sent and nothing is known.

    Without `Http(phases=True)`, wait begins when the request was sent, and send is 0.
    """
    sent_ns, first_ns, done_ns = held.sent_ns, held.first_byte_ns, held.done_ns
    if not sent_ns:
        return tuple(opening.get(phase, 0) for phase in PHASES) if opening else ()
    written_ns = getattr(held, "written_ns", 0)
    ended_ns = first_ns or done_ns
    written_ns = min(written_ns, ended_ns) if written_ns > sent_ns else sent_ns
    before = (opening.get("blocked", 0), opening.get("dns", 0), opening.get("connect", 0), opening.get("tls", 0))
    return (*before, written_ns - sent_ns, ended_ns - written_ns, done_ns - first_ns if first_ns else 0)


class ServerTimedMeter(TracedMeter):
    """Records the Server-Timing headers of all answers, too."""

    __slots__ = ()

    def settle(self) -> None:
        """HOT, once a request."""
        if self._is_held:
            head = getattr(self._sample, "head", None)
            if head is not None and not getattr(self._sample, "cache", ""):  # a stored answer has old durations
                ServerTimings.of(self.recorder).read(head.raw)
            super().settle()


def with_traces(meter: type[Meter], trace: Trace) -> type[Meter]:
    """Return a class of meters that offers what is sampled besides what `meter` records."""
    traced = ServerTimedMeter if trace.server_timing else TracedMeter
    bases = (traced,) if meter is Meter else (meter, traced)
    named = answer_headers(trace.formats)
    return type(f"Traced{meter.__name__}", bases, {"__slots__": (), "per": trace.per, "answer_headers": named})
