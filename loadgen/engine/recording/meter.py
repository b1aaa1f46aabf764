"""One user's meter: where in the journey it is, and the sample that is not settled yet.

A request's sample is *provisional* until the first `expect` or `pick` on its
reply, the user's next request or think, or the end of its step or iteration.
Then it is recorded, once. So a reply that turns out to be wrong is recorded as
wrong, without being recorded twice.
"""

from __future__ import annotations

from typing import Any, Protocol

from loadgen.engine.recording.failures import Draft, Text, exchange_of
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.series import Place, RequestSeries
from loadgen.measure.deltas.exemplar import Failure
from loadgen.measure.deltas.series import OK, Tags

__all__ = ["Meter", "Sample"]


class Sample(Protocol):
    """What a client's reply carries of its request. Times are `perf_counter_ns`.

    It may also have `trace`, its trace id, and `exchange()`, which gives what was sent and received as text; they are
    asked for only where an exemplar or a failure is kept.
    """

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

    The clients call, for each request: `ask(name)`, and at the end `hold(sample)`.
    """

    __slots__ = (
        "_drafts",
        "_failed_as",
        "_home",
        "_is_held",
        "_place",
        "_sample",
        "failed",
        "journey",
        "load",
        "n",
        "pool_limited",
        "recorder",
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
        self.warmup = False
        self.pool_limited = False
        self.failed: str | None = None
        """The first `http` error of this iteration that no `expect` accepted: it becomes the iteration's outcome."""
        self._sample: Sample | None = None
        """The last one of this iteration: held, or settled and what a fault of the scenario came after."""
        self._is_held = False
        self._drafts: list[Draft] | None = None
        """Failures of this iteration's requests that are kept and not complete."""
        self._failed_as: dict[str, None] | None = None
        """Outcomes of this iteration's requests that failed."""
        self._home = self._place = recorder.place("", None, False, tags)

    def begin(self, journey: str, *, warmup: bool, pool_limited: bool, n: int = 0, load: int = 0) -> None:
        """HOT, once an iteration. `n` of load `load` begins; it waited for a free user if `pool_limited`."""
        if self._is_held:
            self.settle()
        if self._sample is not None:
            self.forget()
        self.n, self.load = n, load
        self.pool_limited, self.failed = pool_limited, None
        if journey != self.journey or warmup is not self.warmup:
            self.journey, self.warmup = journey, warmup
            self._home = self.recorder.place(journey, None, warmup, self.tags)
        self._place = self._home

    def enter(self, name: str) -> Place:
        """HOT, once a step. The user is now in step `name` of where it was, which is given for `leave`."""
        if self._is_held:
            self.settle()
        outer = self._place
        self._place = outer.steps.get(name) or outer.inner(name)
        return outer

    def leave(
        self,
        outer: Place,
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
        self._place = outer

    def back(self, outer: Place) -> None:
        """The user is in `outer` again; what it was in is no step that is timed."""
        self.settle()
        self._place = outer

    def ask(self, name: str) -> RequestSeries:
        """HOT. A request named `name` begins: what was held is settled, it is counted, and its series given."""
        if self._is_held:
            self.settle()
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

    @property
    def step(self) -> str | None:
        """The step that it is in: its full name, `a/b` when nested."""
        return self._place.step

    @property
    def last(self) -> Sample | None:
        """The last sample of this iteration: what a wait (`user.poll`) can show that has no exchange of its own."""
        return self._sample

    @property
    def _held(self) -> Sample | None:
        """The sample that is not settled yet."""
        return self._sample if self._is_held else None

    def hold(self, sample: Sample) -> None:
        """HOT. The request ended; its outcome may still be changed by an `expect`."""
        if self._is_held:
            self.settle()
        self._sample = sample
        self._is_held = True

    def settle(self) -> None:
        """HOT. Record what is held, as it stands."""
        if self._is_held:
            self._is_held = False
            held: Any = self._sample
            if held.outcome is not OK and self.failed is None and held.outcome.startswith("http "):
                self.failed = held.outcome
            if self.recorder.request(
                held.series,
                held.asked_ns,
                held.sent_ns,
                held.first_byte_ns,
                held.done_ns,
                held.outcome,
                held.size_bytes,
            ):
                self._note(held)

    def settle_as(self, sample: Sample, outcome: str) -> None:
        """An expectation on `sample` was decided: record it with `outcome`, unless it is recorded already.

        With OK, an `http 503` that was expected is recorded as ok: `expect` said that it is the right answer.
        """
        if self._is_held and self._sample is sample:
            sample.outcome = outcome
            self.settle()

    # -- finding out why --------------------------------------------------------------------

    def _note(self, held: Sample) -> None:
        """Its exemplar; and if it failed and is among the first to, all of it."""
        recorder, series, outcome = self.recorder, held.series, held.outcome
        response_ns, sent_ns = held.done_ns - held.asked_ns, held.sent_ns
        trace = getattr(held, "trace", "") or ""
        recorder.exemplars.saw(
            series,
            outcome,
            held.asked_ns,
            response_ns,
            held.done_ns - sent_ns if sent_ns else 0,
            self.n,
            self.load,
            trace,
        )
        if outcome == OK:
            return
        if self._failed_as is None:
            self._failed_as = {}
        self._failed_as[outcome] = None
        key = series.key
        if recorder.failures.wants(key.journey, key.request or "", outcome):
            if self._drafts is None:
                self._drafts = []
            self._drafts.append(self._draft(held, key.request or "", outcome))

    def _draft(self, sample: Sample | None, request: str, outcome: str) -> Draft:
        """sample: what failed, or the last before it."""
        exchange = exchange_of(sample) or ("", "")
        at_ns = sample.asked_ns if sample is not None else self.recorder.t0_ns
        failure = Failure(
            journey=self.journey,
            step=(sample.series.key.step if sample is not None else self.step) or "",
            request=request,
            outcome=outcome,
            load=self.load,
            n=self.n,
            at_ns=0,
            response_ns=max(0, sample.done_ns - at_ns) if sample is not None else 0,
            sent=exchange[0],
            received=exchange[1],
            trace=getattr(sample, "trace", "") or "",
        )
        return self.recorder.failures.draft(failure, at_ns)

    def end_iteration(
        self, outcome: str, detail: Text = "", where: Text = "", traceback: Text = "", row: Any = None
    ) -> None:
        """The iteration did not end ok: complete the failures of its requests, and keep its own where it has one.

        Args:
            outcome: the iteration's. If one of its requests has it, that request is what failed.
            detail: what was expected and what came.
            where: "checkout.py:14 in checkout".
            traceback: the scenario's frames.
            row: the data row; redacted by the names of its columns.

        Texts may be functions: they are called only where the failure is kept, which is rare.
        Cost where nothing is kept: 1.3 µs with the settling of the request that failed.
        """
        self.settle()
        book, drafts = self.recorder.failures, self._drafts or []
        of_request = outcome.removeprefix("set-up ")
        cause = next((draft for draft in reversed(drafts) if draft.failure.outcome == of_request), None)
        if cause is None and of_request not in (self._failed_as or ()) and book.wants(self.journey, "", outcome):
            cause = self._draft(self._sample, "", outcome)
        for draft in drafts:
            if draft is not cause:
                book.complete(draft, row=row)
        if cause is not None:
            book.complete(cause, detail, where, traceback, row)
        self._drafts = None
        self.forget()

    def forget(self) -> None:
        """The iteration is over: let go of its last reply. Failures that nobody said more about leave as they are."""
        self._failed_as = None
        self._sample = None
        if self._drafts is not None:
            for draft in self._drafts:
                self.recorder.failures.complete(draft)
            self._drafts = None
