"""A meter for plans with tracing: it offers every sampled request, step and iteration as an exemplar.

A request that is not sampled is kept only if it is the slowest of its interval or one of the first two that failed,
without a weight.
Plans without tracing use `Meter`, and pay nothing. For a request that is not sampled, exemplars cost 40 ns with
this meter; a sampled one costs 2 µs (bench/tracing.py).

Rows of protocols without headers (TCP, UDP, messages of a WebSocket) cannot pass a trace on. If our own spans are
exported, such a row has a span as well, by the same decision, and its exemplar has the ids of this span. Otherwise
these rows are not sampled.

A step that ends before the first request of its iteration is not offered, because the iteration's decision is drawn
with its first request.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

from loadgen.clients.request.answer_traces import INVALID, answer_headers, named_trace
from loadgen.clients.request.named_traces import NamedTraces
from loadgen.clients.request.server_timing import ServerTimings
from loadgen.clients.request.tracing import Trace, Tracer
from loadgen.clients.span_export.sender import SpanSender
from loadgen.engine.recording.recorded_series import About, Picked, Place, Series
from loadgen.engine.recording.user_meter import Meter
from loadgen.engine.tracing.share import Threshold, threshold_of
from loadgen.engine.tracing.spans import IterationSpans
from loadgen.measure.deltas.series_key import OK, PHASES
from loadgen.measure.histograms.histogram import MAX_NS

__all__ = ["TracedMeter", "with_traces"]


class TracedMeter(Meter):
    """Offers the sampled ones among the samples that it settles."""

    __slots__ = ()

    per: ClassVar[Literal["iteration", "trace", "request"]] = "iteration"
    """The unit that is sampled as a whole. With "request", steps and iterations are not sampled."""
    export: ClassVar[SpanSender | None] = None
    """Receives our own spans of sampled iterations; None: they are not exported."""
    tracer: ClassVar[Tracer | None] = None
    """Draws the decision and the ids of rows without headers; None: these have no spans."""
    threshold: ClassVar[str] = ""
    """The plan's threshold, as in `tracestate`, if it does not change."""

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
                if self.tracer is not None and (peer := getattr(held, "peer", None)) is not None:
                    is_notable = is_notable and not self._export_alone(self.tracer, held, peer)
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
            if isinstance(spans, IterationSpans) and spans.tree is not None:
                spans.tree.step(series.key, entered_ns, entered_ns + duration_ns, outcome)
        super().leave(outer, response_ns, duration_ns, outcome, censored, entered_ns)

    def _note_sampled(self, held: Any) -> None:
        outcome, series, spans = held.outcome, held.series, self.spans
        response_ns = held.done_ns - held.asked_ns
        if outcome == OK and response_ns <= MAX_NS:  # longer ones are in another series
            series.sampled_n += 1
            series.sampled_sum_ns += response_ns
        if self.per != "request" and spans is None:
            spans = self.spans = self._new_spans(held.trace if self.per == "trace" else "")
        if self.export is not None:
            self._export(self.export, held)
        if self.answer_headers and (head := getattr(held, "head", None)) is not None:
            named = named_trace(head.raw, self.answer_headers)
            if named and named != held.trace:
                self._note_named(held, named)
        if self.per != "request":
            assert isinstance(spans, IterationSpans)
            spans.add(held.asked_ns, held.trace, held.span)
        self.recorder.exemplars.saw_sampled(series, outcome, response_ns, partial(self._picked, held))
        if outcome is not OK and outcome != OK:
            self._note_failure(held, outcome)

    def _new_spans(self, trace: str) -> IterationSpans:
        tree = None if self.export is None else self.export.tree(trace)
        return IterationSpans(trace, 0.0 if self.drawn is None else self.drawn.probability, tree)

    def _export(self, export: SpanSender, held: Any) -> None:
        spans, key = self.spans, held.series.key
        tree = spans.tree if isinstance(spans, IterationSpans) else None
        drawn = self._drawn_of(held.trace)
        export.request(held, tree, key.journey, key.step or "", self.threshold if drawn is None else drawn.text)

    def _export_alone(self, tracer: Tracer, held: Any, peer: tuple[str, int]) -> bool:
        """Export the span of a row whose protocol has no headers, if it is sampled, and offer the row as an exemplar.

        Return False if it is not sampled. peer: host and port, if known.
        """
        assert self.export is not None
        _, trace, span, is_sampled = tracer.lines(self)
        if not is_sampled:
            return False
        if self.per != "request" and self.spans is None:
            self.spans = self._new_spans(trace if self.per == "trace" else "")
        drawn = self._drawn_of(trace)
        tree = self.spans.tree if isinstance(self.spans, IterationSpans) else None
        key, threshold = held.series.key, self.threshold if drawn is None else drawn.text
        self.export.row(held, (trace, span), peer, tree, key.journey, key.step or "", threshold)
        # Not in the requests of its step: `loadgen trace` would look for spans of the target in its trace.
        response_ns = held.done_ns - held.asked_ns
        picked = partial(self._picked, held, trace, span)
        self.recorder.exemplars.saw_sampled(held.series, held.outcome, response_ns, picked)
        if held.outcome is not OK and held.outcome != OK:
            self._note_failure(held, held.outcome)
        return True

    def _drawn_of(self, trace: str) -> Threshold | None:
        """Return the threshold with which a request was sampled; None: that of the plan, or it is not sampled."""
        if self.per != "request":
            return self.drawn
        calls = self.drawn_calls
        return None if calls is None else calls.get(trace)

    def _note_named(self, held: Any, named: str) -> None:
        """Store the trace that the answer names instead of ours, because that one can be read."""
        counts = NamedTraces.of(self.recorder)
        if named == INVALID:
            counts.invalid.add()
        else:
            counts.foreign.add()
            if (calls := self.drawn_calls) is not None and held.trace in calls:
                calls[named] = calls[held.trace]
            held.trace = named

    def _note(self, held: Any) -> None:
        """Offer a request that is not sampled and is the slowest so far, or failed."""
        outcome, at_ns, response_ns, service_ns, n, load, trace, noted, about = self._picked(held)
        self.recorder.exemplars.saw(held.series, outcome, at_ns, response_ns, service_ns, n, load, trace, noted, about)
        if outcome != OK:
            self._note_failure(held, outcome)

    def _picked(self, held: Any, trace: str = "", span: str = "") -> Picked:
        """Return what is stored of a request. Some 2 µs, so only for those that are kept for now.

        trace, span: the ids of a row without headers; others have them by themselves.
        """
        trace = trace or getattr(held, "trace", "") or ""
        sent_ns, done_ns, drawn = held.sent_ns, held.done_ns, self._drawn_of(trace)
        opening = getattr(held, "opening_ns", None) or getattr(held, "opening_times", {})
        about = About(
            span=span or getattr(held, "span", ""),
            status=_status(held),
            first_byte_ns=max(0, held.first_byte_ns - sent_ns) if sent_ns and held.first_byte_ns else 0,
            phases=_phases(held, opening),
            reused=bool(sent_ns) and "connect" not in opening,
            pool_limited=self.pool_limited,
            remote=getattr(held, "remote", ""),
            tags=held.series.key.tags,
            probability=0.0 if drawn is None else drawn.probability,
        )
        return (
            held.outcome,
            held.asked_ns,
            done_ns - held.asked_ns,
            done_ns - sent_ns if sent_ns else 0,
            self.n,
            self.load,
            trace,
            self.noted,
            about,
        )

    def _picked_step(self, series: Series, outcome: str, entered_ns: int, response_ns: int) -> Picked:
        spans = self.spans
        assert spans is not None
        about = About(
            pool_limited=self.pool_limited,
            tags=series.key.tags,
            requests=spans.since(entered_ns),
            probability=spans.probability,
        )
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


def with_traces(
    meter: type[Meter], trace: Trace, export: SpanSender | None = None, tracer: Tracer | None = None
) -> type[Meter]:
    """Return a class of meters that offers what is sampled besides what `meter` records.

    export: receives our own spans; None: they are not exported. tracer: that of the users, for spans of rows without
    headers.
    """
    traced = ServerTimedMeter if trace.server_timing else TracedMeter
    bases = (traced,) if meter is Meter else (meter, traced)
    own = {
        "__slots__": (),
        "per": trace.per,
        "export": export,
        "tracer": tracer if export is not None else None,
        "threshold": "" if trace.is_adaptive else threshold_of(trace.share).text,
        "answer_headers": answer_headers(trace.formats),
    }
    return type(f"Traced{meter.__name__}", bases, own)
