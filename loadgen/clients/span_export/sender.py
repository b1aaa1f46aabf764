"""Sends client spans from a thread, so that the load never waits for their receiver.

The queue is bounded. Spans that do not fit, or that the receiver does not accept, are dropped and counted. The
figures of the run do not depend on them.
"""

from __future__ import annotations

import gzip
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from random import Random
from time import monotonic, perf_counter_ns, time_ns
from typing import Any, Final

from loadgen.clients.span_export.client_span_names import request_of
from loadgen.clients.span_export.guarded_post import GuardedPost, PostFailed
from loadgen.clients.span_export.otlp_spans import encoded, rejected
from loadgen.engine.tracing.client_spans import ClientSpan, FirstSpans, IterationTree, Request

__all__ = ["MAX_WAITING", "SpanSender", "packed"]

MAX_WAITING: Final = 20_000
"""Most spans that wait to be sent: some 15 MB."""
_AT_ONCE: Final = 512
"""Most spans of one message: some 120 kB before compression."""
_EVERY_S: Final = 1.0
_TRIES: Final = 3
_LEVEL: Final = 1
"""Of gzip: a higher one saves 5 % of the bytes and takes twice as long."""


def packed(spans: list[ClientSpan], resource: Mapping[str, str], epoch_ns: int) -> bytes:
    """Return the compressed message that exports these spans."""
    return gzip.compress(encoded(spans, dict(resource), epoch_ns), _LEVEL)


class SpanSender:
    """Receives the spans of one worker and sends them. The event loop's thread calls its methods.

    resource: the attributes of all spans. redact: removes secrets from a URL. random: for the ids of journeys and
    steps.
    """

    def __init__(
        self, post: GuardedPost, resource: Mapping[str, str], redact: Callable[[str], str], random: Random
    ) -> None:
        self._post, self._resource, self._random = post, dict(resource), random
        self._waiting: deque[ClientSpan] = deque()
        self._wake = threading.Event()
        self._until_s: float | None = None
        """When the thread must have ended, by `monotonic`; None: it goes on."""
        self._thread: threading.Thread | None = None
        self._first = FirstSpans()
        self._clean = lru_cache(4_096)(lambda request: _cleaned(request, redact))
        self.offered = self.sent = self.dropped = 0
        self._why = ""
        self._noted_power = 0

    # -- on the loop --------------------------------------------------------------------------

    def tree(self, trace: str) -> IterationTree:
        """Return a new tree of one sampled iteration. trace: its id, if its requests are one trace; else ""."""
        return IterationTree(self.put, self._random, trace)

    def request(self, sample: Any, tree: IterationTree | None, journey: str, step: str, threshold: str) -> None:
        """Add the span of a sampled request that has ended. tree: of its iteration; None: calls are sampled alone."""
        request = request_of(sample)
        if request is not None:
            self._add(sample, (sample.trace, sample.span), request, tree, journey, step, threshold)

    def row(
        self,
        sample: Any,
        ids: tuple[str, str],
        peer: tuple[str, int],
        tree: IterationTree | None,
        journey: str,
        step: str,
        threshold: str,
    ) -> None:
        """Add the span of a row whose protocol has no headers. ids: of the trace and the span. peer: host and port, or
        ("", 0).
        """
        self._add(sample, ids, Request("", "", *peer, 0), tree, journey, step, threshold)

    def _add(
        self,
        sample: Any,
        ids: tuple[str, str],
        request: Request,
        tree: IterationTree | None,
        journey: str,
        step: str,
        threshold: str,
    ) -> None:
        span = ClientSpan(
            *ids,
            "",
            sample.series.key.request or "",
            sample.asked_ns,
            sample.done_ns,
            sample.outcome,
            journey,
            step,
            threshold,
            request,
        )
        if tree is not None:
            tree.request(span)
        else:
            self.put([span._replace(parent=self._first.parent_of(span.trace, span.span))], 0)

    def put(self, spans: list[ClientSpan], left_out: int) -> None:
        """Add spans to the queue. left_out: how many more there were."""
        room = MAX_WAITING - len(self._waiting)
        if len(spans) > room:
            left_out += len(spans) - room
            spans = spans[:room]
            self._why = f"{MAX_WAITING:,} were waiting"
        elif left_out:
            self._why = "an iteration had too many"
        self._waiting.extend(spans)
        self.offered += len(spans) + left_out
        self.dropped += left_out
        if self._thread is None:
            # A daemon, so that a receiver that hangs cannot keep the process from ending.
            self._thread = threading.Thread(target=self._serve, name="span-export", daemon=True)
            self._thread.start()
        if len(self._waiting) >= _AT_ONCE:
            self._wake.set()

    def note(self) -> str:
        """Return a remark for the operator if more spans were dropped: at 1, 10, 100, ...; else ""."""
        power = len(str(self.dropped)) if self.dropped else 0
        if power <= self._noted_power:
            return ""
        self._noted_power = power
        return f"trace export: {self.dropped:,} of our spans dropped so far: {self._why}"

    def finish(self, patience_s: float) -> str:
        """Send what waits, for at most `patience_s`, then end the thread. Blocks. Return a remark about the drops."""
        thread = self._thread
        if thread is not None:
            self._until_s = monotonic() + patience_s
            self._wake.set()
            thread.join(patience_s + 0.5)
        self._waiting.clear()
        sent = self.sent  # a thread that still waits for its receiver may go on
        if sent == self.offered:
            return ""
        why = self._why or f"they were not sent within {patience_s:g} s after the end"
        return f"trace export: {self.offered - sent:,} of {self.offered:,} of our spans dropped: {why}"

    # -- in the thread ------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            self._wake.wait(_EVERY_S)
            self._wake.clear()
            while self._waiting and not self._is_over():
                self._deliver([self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))])
            if self._until_s is not None:
                self._post.close()
                return

    def _is_over(self) -> bool:
        return self._until_s is not None and monotonic() >= self._until_s

    def _deliver(self, spans: list[ClientSpan]) -> None:
        spans = [span if span.request is None else span._replace(request=self._clean(span.request)) for span in spans]
        body = packed(spans, self._resource, time_ns() - perf_counter_ns())
        for attempt in range(1, _TRIES + 1):
            try:
                refused = min(rejected(self._post.post(body)), len(spans))
            except PostFailed as failure:
                self._why = str(failure)
                if not failure.may_repeat or attempt == _TRIES or self._is_over():
                    self.dropped += len(spans)
                    return
                threading.Event().wait(min(failure.after_s or 0.5 * attempt, self._left_s()))
                continue
            self.sent += len(spans) - refused
            self.dropped += refused
            if refused:
                self._why = "the receiver rejected them"
            return

    def _left_s(self) -> float:
        return 30.0 if self._until_s is None else max(0.0, self._until_s - monotonic())


def _cleaned(request: Request, redact: Callable[[str], str]) -> Request:
    return request._replace(url=redact(request.url))
