"""One user's meter: where in the journey it is, and the sample that is not settled yet.

A request's sample is *provisional* until the first `expect` or `pick` on its
reply, the user's next request or think, or the end of its step or iteration.
Then it is recorded, once. So a reply that turns out to be wrong is recorded as
wrong, without being recorded twice.
"""

from __future__ import annotations

from typing import Protocol

from loadgen.engine.recorder import Place, Recorder, RequestSeries, Tags, Watch
from loadgen.measure.series import OK

__all__ = ["Meter", "Sample"]


class Sample(Protocol):
    """What a client's reply carries of its request. Times are `perf_counter_ns`."""

    series: RequestSeries
    asked_ns: int
    sent_ns: int
    """0 when the request was never written."""
    first_byte_ns: int
    done_ns: int
    outcome: str
    size_bytes: int


class Meter:
    """Resolves series for the place the user is in, and holds at most one provisional sample.

    The clients call, for each request: `settle()`, `request(name)`, and at the end `hold(sample)`.
    """

    __slots__ = (
        "_held",
        "_place",
        "failed",
        "journey",
        "load",
        "n",
        "pool_limited",
        "recorder",
        "step",
        "tags",
        "warmup",
    )

    def __init__(self, recorder: Recorder, tags: Tags = ()) -> None:
        self.recorder = recorder
        self.tags = tags
        """Of the load that the user belongs to: part of every key."""
        self.journey = ""
        self.load, self.n = 0, 0
        """Which arrival of which of the plan's loads this iteration is."""
        self.step: str | None = None
        self.warmup = False
        self.pool_limited = False
        self.failed: str | None = None
        """The first `http` error of this iteration that no `expect` accepted: it becomes the iteration's outcome."""
        self._held: Sample | None = None
        self._place = recorder.place("", None, False, tags)

    def begin(self, journey: str, *, warmup: bool, pool_limited: bool, n: int = 0, load: int = 0) -> None:
        """Iteration `n` of load `load` begins; it waited for a free user if `pool_limited`."""
        self.settle()
        self.n, self.load = n, load
        self.journey, self.warmup, self.pool_limited, self.failed = journey, warmup, pool_limited, None
        self.enter(None)

    def enter(self, step: str | None) -> None:
        """The user is now in `step` (full name, `a/b` when nested; None outside of steps)."""
        if self._held is not None:
            self.settle()
        self.step = step
        self._place = self.recorder.place(self.journey, step, self.warmup, self.tags)

    @property
    def watch(self) -> Watch | None:
        """Of the step that the user is in."""
        series = self._place.series
        return series.watch if series is not None else None

    def leave(
        self,
        outer: str | None,
        response_ns: int,
        duration_ns: int,
        outcome: str,
        censored: bool,
        entered_ns: int = 0,
    ) -> None:
        """HOT, once a step. The step that the user is in ended with `outcome`, and the user is in `outer` again."""
        series = self._place.series
        assert series is not None
        self.recorder.step(series, response_ns, duration_ns, outcome, censored, entered_ns)
        self.step = outer
        self._place = self.recorder.place(self.journey, outer, self.warmup, self.tags)

    def request(self, name: str) -> RequestSeries:
        """HOT. A request named `name` is asked for: counts it as started and gives its series."""
        counters = self.recorder.counters
        counters.requests_started += 1
        if self.pool_limited:
            counters.requests_pool_limited += 1
        place = self._place
        return place.names.get(name) or place.resolve(name)

    @property
    def place(self) -> Place:
        """Where the user is."""
        return self._place

    def hold(self, sample: Sample) -> None:
        """HOT. The request ended; its outcome may still be changed by an `expect`."""
        if self._held is not None:
            self.settle()
        self._held = sample

    def settle(self) -> None:
        """HOT. Record what is held, as it stands."""
        held = self._held
        if held is not None:
            self._held = None
            if held.outcome is not OK and self.failed is None and held.outcome.startswith("http "):
                self.failed = held.outcome
            self.recorder.request(
                held.series,
                held.asked_ns,
                held.sent_ns,
                held.first_byte_ns,
                held.done_ns,
                held.outcome,
                held.size_bytes,
            )

    def settle_as(self, sample: Sample, outcome: str) -> None:
        """An expectation on `sample` was decided: record it with `outcome`, unless it is recorded already.

        With OK, an `http 503` that was expected is recorded as ok: `expect` said that it is the right answer.
        """
        if self._held is sample:
            sample.outcome = outcome
            self.settle()
