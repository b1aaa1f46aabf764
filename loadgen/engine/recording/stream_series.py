"""Records the metrics of requests to AI models: time to first token, gaps between tokens, numbers of tokens.

A request to a model is a row like any other (`recorder.py`). Besides, its row has one `StreamSeries` with the values of
each stream metric. Each ended request has exactly one value of `ttft`, under its outcome: a request that failed before
its first token has the time until then as a lower bound. So the number of `ttft` values is the number of ended requests
to models, good and bad. The values of a stream that failed belong to the series of its outcome, never to those of `ok`.

A `goodput` objective sets limits for the metrics of one request. For each objective of this kind, each request has one
value in the series of kind "goodput". Its outcome is `ok` if the request kept all limits, `SLOW` if it broke one, and
the request's own outcome if that failed. The value is its number of output tokens. A request may have limits of its own
(`slo=` of its call). They replace those of every goodput objective, and its values have them as a tag.

Objectives over windows also watch requests that still run (`RunningStream`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from loadgen.engine.recording.recorded_series import MAX_OUTCOMES, Watch
from loadgen.measure.deltas.series_key import (
    GOODPUT_TAG,
    OK,
    OTHER,
    OWN_LIMITS_TAG,
    SKIPPED,
    SLOW,
    STREAM_METRICS,
    TIMEOUT,
    TOKEN_METRICS,
    TOKEN_NS,
    SeriesKey,
    StreamMetric,
)
from loadgen.measure.histograms.histogram import MAX_NS
from loadgen.measure.objectives.terms import Objective, is_judged
from loadgen.measure.streams import StreamTimes

__all__ = ["MAX_OWN_LIMITS", "Goodput", "RunningStream", "StreamSeries", "goodputs_of"]

MAX_OWN_LIMITS: Final = 20
"""Most distinct limits of their own that the requests of one row have in reports; the rest is "(other)".

Each request is judged by its limits all the same.
"""


@dataclass(frozen=True, slots=True)
class Goodput:
    """The limits that a good request keeps: of one or more goodput objectives, or of the call of one request.

    limits: by name (`terms.GOODPUT_LIMITS`), the greatest good value in ns. text: identifies the limits.
    """

    text: str
    limits: Mapping[str, int]

    @property
    def running_ns(self) -> int | None:
        """Return the age at which a request without a token is bad, whatever becomes of it; None: at none."""
        # Whoever waits for the first token also waits for the last.
        return min((limit_ns for name, limit_ns in self.limits.items() if name in ("ttft", "e2e")), default=None)

    def is_kept(self, times: StreamTimes, ttft_due_ns: int) -> bool:
        """Return whether a request that ended ok kept all limits.

        ttft and e2e count from when the request was due if that is known, else (-1) from its call. A figure that the
        request does not have, such as tpot of a single token, breaks no limit; without a first token it breaks ttft.
        """
        return all(_value(times, name, ttft_due_ns) <= limit_ns for name, limit_ns in self.limits.items())


def goodputs_of(objectives: Iterable[Objective]) -> tuple[Goodput, ...]:
    """Return the limits of all goodput objectives, each once."""
    found = {one.goodput_text: Goodput(one.goodput_text, dict(one.limits)) for one in objectives if one.limits}
    return tuple(found.values())


def _value(times: StreamTimes, name: str, ttft_due_ns: int) -> float:
    """Return a figure of a request as goodput limits it, in ns; -1 if the request does not have it."""
    match name:
        case "ttft":
            return inf if times.ttft_ns < 0 else max(times.ttft_ns, ttft_due_ns)
        case "ttft_due":
            return ttft_due_ns
        case "ttfo":
            return times.ttfo_ns
        case "tpot" | "itl":
            return times.tpot_ns
        case "stall":
            return times.stall_ns
        case _:
            return times.last_token_ns + max(0, ttft_due_ns - times.ttft_ns)


class StreamSeries:
    """The stream metrics of one row of requests, and its goodput.

    key: of the request. watch: receives the values that objectives over windows need; None without these. goodputs:
    the limits of the plan. goodput_watch: returns the watch for a goodput series' key. due_watch: as `watch`, for
    objectives on `ttft_due`.
    """

    __slots__ = ("_goodputs", "_other", "due_watch", "key", "ok", "watch")

    def __init__(
        self,
        key: SeriesKey,
        watch: Watch | None = None,
        goodputs: Sequence[Goodput] = (),
        goodput_watch: Callable[[SeriesKey], Watch | None] = lambda _: None,
        due_watch: Watch | None = None,
    ) -> None:
        self.key, self.watch, self.due_watch = key, watch, due_watch
        self.ok: tuple[list[int], ...] = tuple([] for _ in STREAM_METRICS)
        """Values of requests that ended ok, in the order of `STREAM_METRICS`. A flip replaces the lists."""
        self._other: dict[tuple[StreamMetric, str, bool], list[int]] = {}
        self._goodputs = tuple(_GoodputSeries(key, one, goodput_watch) for one in goodputs)

    def ended(
        self,
        times: StreamTimes,
        asked_ns: int,
        response_ns: int,
        outcome: str,
        wait_ns: int | None = None,
        own: Goodput | None = None,
    ) -> None:
        """HOT, once a request to a model: budget 1.5 µs + 60 ns a token (bench/llm.py). Record its stream metrics.

        Args:
            asked_ns: when the journey called, `perf_counter_ns`. response_ns: until it ended.
            wait_ns: from when the request was due to its call; None: it had no due time.
            own: the limits of its call, which replace those of goodput objectives.
        """
        ttft_due_ns = -1
        if outcome is OK or outcome == OK:
            ttft, ttft_due, ttfo, itl, icl, stall, tpot, prompt, cached, output, reasoning = self.ok
            if times.ttft_ns < 0:  # the server counted tokens and sent none, such as hidden reasoning
                self._first_token(times, response_ns, outcome, wait_ns)
            else:
                ttft.append(times.ttft_ns)
                if wait_ns is not None:
                    ttft_due_ns = times.ttft_ns + wait_ns
                    ttft_due.append(ttft_due_ns)
            if times.ttfo_ns >= 0:
                ttfo.append(times.ttfo_ns)
            if times.itl_counts is None:
                itl += times.itl_ns
            else:
                for gap_ns, n in zip(times.itl_ns, times.itl_counts, strict=True):
                    itl += [gap_ns] * n
            if times.icl_ns:
                icl += times.icl_ns
                stall.append(times.stall_ns)
            if times.tpot_ns >= 0:
                tpot.append(round(times.tpot_ns))
            if times.prompt_tokens >= 0:
                prompt.append(_tokens(times.prompt_tokens))
            if times.cached_tokens >= 0:
                cached.append(_tokens(times.cached_tokens))
            if times.output_tokens >= 0:
                output.append(_tokens(times.output_tokens))
            if times.reasoning_tokens >= 0:
                reasoning.append(_tokens(times.reasoning_tokens))
        else:
            self._failed(times, response_ns, outcome, wait_ns)
        if self.watch is not None:
            _show(self.watch, times, asked_ns, response_ns, outcome)
        if self.due_watch is not None and wait_ns is not None:
            _show_due(self.due_watch, times, asked_ns, response_ns, outcome, wait_ns)
        for one in self._goodputs:
            one.ended(times, asked_ns, outcome, ttft_due_ns, own)

    def read(self, prompt_tokens: int) -> None:
        """Record the prompt tokens of an ok request that has no stream, such as one for embeddings; -1: unknown."""
        if prompt_tokens >= 0:
            self.ok[STREAM_METRICS.index("prompt_tokens")].append(_tokens(prompt_tokens))

    def _failed(self, times: StreamTimes, response_ns: int, outcome: str, wait_ns: int | None) -> None:
        """Record the figures of a request that failed, under its outcome."""
        self._first_token(times, response_ns, outcome, wait_ns)
        if times.ttfo_ns >= 0:
            self._add("ttfo", outcome, times.ttfo_ns)
        for gap_ns, n in times.itl:
            self._add("itl", outcome, *[gap_ns] * n)
        if times.icl_ns:
            self._add("icl", outcome, *times.icl_ns)
            # The wait that the failure ended may have become the longest, so it is a bound.
            self._add("stall", outcome, times.stall_ns, is_bound=outcome == TIMEOUT)
        if times.tpot_ns >= 0:
            self._add("tpot", outcome, round(times.tpot_ns))
        if times.prompt_tokens >= 0:
            self._add("prompt_tokens", outcome, _tokens(times.prompt_tokens))
        if times.cached_tokens >= 0:
            self._add("cached_tokens", outcome, _tokens(times.cached_tokens))
        if times.output_tokens >= 0:
            self._add("output_tokens", outcome, _tokens(times.output_tokens))
        if times.reasoning_tokens >= 0:
            self._add("reasoning_tokens", outcome, _tokens(times.reasoning_tokens))

    def _first_token(self, times: StreamTimes, response_ns: int, outcome: str, wait_ns: int | None) -> None:
        """Record ttft and ttft_due under an outcome: lower bounds if no token came."""
        had_token = times.ttft_ns >= 0
        ttft_ns = times.ttft_ns if had_token else response_ns
        self._add("ttft", outcome, ttft_ns, is_bound=not had_token)
        if wait_ns is not None:
            self._add("ttft_due", outcome, ttft_ns + wait_ns, is_bound=not had_token)

    def _add(self, metric: StreamMetric, outcome: str, *values: int, is_bound: bool = False) -> None:
        key = (metric, outcome, is_bound)
        found = self._other.get(key)
        if found is None:
            if len(self._other) >= len(STREAM_METRICS) * MAX_OUTCOMES:
                key = (metric, OTHER, is_bound)
            found = self._other.setdefault(key, [])
        found += values

    @property
    def is_watched(self) -> bool:
        """Return whether an objective over windows needs its requests."""
        return (
            self.watch is not None or self.due_watch is not None or any(one.watch is not None for one in self._goodputs)
        )

    def begun(
        self, asked_ns: int, wait_ns: int | None, has_token: Callable[[], bool], own: Goodput | None = None
    ) -> RunningStream | None:
        """Register a request that begins, and return it as its watches see it; None if it has no watch.

        Its end, in any series, must be registered by `over` or `gone`. has_token: whether its first token has come.
        own: the limits of its call.
        """
        if not self.is_watched:
            return None
        running = RunningStream(self, asked_ns, wait_ns, has_token, own)
        if self.watch is not None:
            self.watch.begun(asked_ns, running.idle_ns)
        if self.due_watch is not None and wait_ns is not None:
            self.due_watch.begun(asked_ns, running.idle_from_due_ns)
        for one in self._goodputs:
            if one.watch is not None:
                one.watch.begun(asked_ns, running.idle_by(one.goodput))
        return running

    def void(self, asked_ns: int, wait_ns: int | None) -> None:
        """Let the watches forget a running request: it counts in another series, or not at all."""
        if self.watch is not None:
            self.watch.ended(asked_ns, 0, SKIPPED)
        if self.due_watch is not None and wait_ns is not None:
            self.due_watch.ended(asked_ns, 0, SKIPPED)
        self.void_goodputs(asked_ns)

    def void_goodputs(self, asked_ns: int) -> None:
        """Let the watches of goodputs forget a running request."""
        for one in self._goodputs:
            if one.watch is not None:
                one.watch.ended(asked_ns, 0, SKIPPED)

    def swap(self) -> Iterator[tuple[SeriesKey, list[int]]]:
        """Remove and yield the values since the last swap: (key, values) for each metric and outcome."""
        full, self.ok = self.ok, tuple([] for _ in STREAM_METRICS)
        for metric, values in zip(STREAM_METRICS, full, strict=True):
            if values:
                yield replace(self.key, metric=metric), values
        other, self._other = self._other, {}
        for (metric, outcome, is_bound), values in other.items():
            yield replace(self.key, metric=metric, outcome=outcome, censored=is_bound), values
        for one in self._goodputs:
            yield from one.swap()


class RunningStream:
    """A request to a model that has begun, as objectives over windows see it.

    Its age counts until its first token. After that it is 0, so the request is undecided until its end.
    """

    __slots__ = ("_asked_ns", "_has_token", "_own", "_series", "_wait_ns")

    def __init__(
        self,
        series: StreamSeries,
        asked_ns: int,
        wait_ns: int | None,
        has_token: Callable[[], bool],
        own: Goodput | None = None,
    ) -> None:
        self._series, self._asked_ns, self._wait_ns, self._has_token = series, asked_ns, wait_ns, has_token
        self._own = own

    def idle_ns(self, now_ns: int) -> int:
        """Return the part of the time since the call that is not its age."""
        return now_ns - self._asked_ns if self._has_token() else 0

    def idle_from_due_ns(self, now_ns: int) -> int:
        """Return the same for an age that counts from when the request was due: below 0 without a token."""
        return now_ns - self._asked_ns if self._has_token() else -(self._wait_ns or 0)

    def idle_by(self, planned: Goodput) -> Callable[[int], int]:
        """Return `idle_from_due_ns` for the watch of a goodput, which compares ages with the limit of `planned`.

        With limits of its own, the request's age is shifted by the difference of the two limits. Without a limit of its
        own for the first token or the last, its age is 0.
        """
        own = self._own
        if own is None:
            return self.idle_from_due_ns
        own_ns = own.running_ns
        if own_ns is None:
            return lambda now_ns: now_ns - self._asked_ns
        later_ns = own_ns - (planned.running_ns or 0)
        return lambda now_ns: self.idle_from_due_ns(now_ns) + (0 if self._has_token() else later_ns)

    def over(self, series: StreamSeries) -> None:
        """Register that it ends in `series`, which may not be the one in which it began."""
        if series is not self._series:
            self.void()
            series.begun(self._asked_ns, self._wait_ns, self._has_token, self._own)

    def void(self) -> None:
        """Register that it counts neither as good nor as bad."""
        self._series.void(self._asked_ns, self._wait_ns)

    def gone(self) -> None:
        """Register that it was cancelled. Without a first token it is bad if it was older than the limit.

        Goodput does not count it: if its iteration was cut off, that is what counts.
        """
        series, asked_ns = self._series, self._asked_ns
        if self._has_token():
            self.void()
            return
        if series.watch is not None:
            series.watch.gone(asked_ns)
        if series.due_watch is not None and self._wait_ns is not None:
            series.due_watch.gone(asked_ns)
        series.void_goodputs(asked_ns)


def _show(watch: Watch, times: StreamTimes, asked_ns: int, response_ns: int, outcome: str) -> None:
    """Pass the values of an ended request to the watch that counts them for objectives over windows."""
    watch.ended(asked_ns, response_ns, outcome)
    known = _shown(outcome, is_bound=False)
    for metric in watch.metrics:
        if metric == "ttft":
            had_token = times.ttft_ns >= 0
            ttft_ns = times.ttft_ns if had_token else response_ns
            watch.timed(metric, asked_ns, ttft_ns, known if had_token else _shown(outcome, is_bound=True))
        elif metric == "itl":
            for gap_ns, n in times.itl:
                for _ in range(n):
                    watch.timed(metric, asked_ns, gap_ns, known)
        elif metric == "icl":
            for gap_ns in times.icl_ns:
                watch.timed(metric, asked_ns, gap_ns, known)
        elif metric in TOKEN_METRICS:
            n = getattr(times, metric)
            if n >= 0:
                watch.timed(metric, asked_ns, _tokens(n), known)
        else:
            value = round(_value(times, metric, -1))
            if value >= 0:
                # As in `_failed`: the wait that a time-out ended may have become the longest.
                watch.timed(metric, asked_ns, value, outcome if metric == "stall" else known)


def _show_due(watch: Watch, times: StreamTimes, asked_ns: int, response_ns: int, outcome: str, wait_ns: int) -> None:
    """Pass `ttft_due` of an ended request to its watch."""
    watch.ended(asked_ns, response_ns, outcome)
    had_token = times.ttft_ns >= 0
    ttft_ns = times.ttft_ns if had_token else response_ns
    watch.timed("ttft_due", asked_ns, ttft_ns + wait_ns, _shown(outcome, is_bound=not had_token))


def _shown(outcome: str, *, is_bound: bool) -> str:
    """Return the outcome under which a watch gets a value. Watches take the values of time-outs, and no others, as
    lower bounds.
    """
    if not is_judged(outcome) or (outcome == TIMEOUT) == is_bound:
        return outcome
    return TIMEOUT if is_bound else OTHER


class _GoodputSeries:
    """Whether the requests of one row kept the limits of one goodput, or their own: lists of output tokens."""

    __slots__ = ("_own", "goodput", "key", "values", "watch")

    def __init__(self, key: SeriesKey, goodput: Goodput, watch: Callable[[SeriesKey], Watch | None]) -> None:
        self.goodput = goodput
        self.key = replace(key, kind="goodput", metric="value", tags=(*key.tags, (GOODPUT_TAG, goodput.text)))
        self.watch = watch(self.key)
        self.values: dict[tuple[str, str], list[int]] = {}
        """By the text of the request's own limits ("": it had none) and its outcome."""
        self._own: set[str] = set()

    def ended(
        self, times: StreamTimes, asked_ns: int, outcome: str, ttft_due_ns: int, own: Goodput | None = None
    ) -> None:
        if outcome == OK and not (own or self.goodput).is_kept(times, ttft_due_ns):
            outcome = SLOW
        text = "" if own is None else own.text
        values = self.values.get((text, outcome))
        if values is None:
            if text and text not in self._own:
                text = text if len(self._own) < MAX_OWN_LIMITS else OTHER
                self._own.add(text)
            if len(self.values) >= MAX_OUTCOMES * (1 + len(self._own)):
                outcome = OTHER
            values = self.values.setdefault((text, outcome), [])
        values.append(_tokens(max(0, times.output_tokens)))
        if self.watch is not None:
            self.watch.ended(asked_ns, 0, outcome)

    def swap(self) -> Iterator[tuple[SeriesKey, list[int]]]:
        taken, self.values = self.values, {}
        for (own, outcome), values in taken.items():
            tags = (*self.key.tags, (OWN_LIMITS_TAG, own)) if own else self.key.tags
            yield replace(self.key, outcome=outcome, tags=tags), values


def _tokens(n: int) -> int:
    """Return a number of tokens as a value of a histogram; more than it can hold counts as the most."""
    return min(n * TOKEN_NS, MAX_NS)
