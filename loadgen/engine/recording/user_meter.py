"""One user's meter: its place in the journey, and the sample that is not settled yet.

A request's sample is *provisional* until the first `expect` or `pick` on its reply, the user's next
request or think, or the end of its step or iteration. Then it is recorded, once. So a reply that turns
out to be wrong is recorded as wrong, without being recorded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, ClassVar, Final, Protocol

from loadgen.engine.recording.failure_samples import Draft, Text, exchange_of
from loadgen.engine.recording.recorded_series import Place, RequestSeries, Spans
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.tagging import GivenTags, NamedTag
from loadgen.engine.tracing.share import Threshold
from loadgen.measure.deltas.exemplar import Failure
from loadgen.measure.deltas.series_key import OK, Tags

__all__ = ["MAX_NOTED", "NOTED_CHARACTERS", "CountsTokens", "LimitsMessages", "Meter", "Sample"]

MAX_NOTED: Final = 20
NOTED_CHARACTERS: Final = 200


class CountsTokens(Protocol):
    """The tokenizer of a model."""

    def count_all(self, texts: Sequence[str]) -> int:
        """Return the number of tokens of several texts together."""


class LimitsMessages(Protocol):
    """The cap of an allow-list, as far as messages without a row need it."""

    def spend(self) -> None:
        """Count a message that is about to be sent. Raise RequestFailed if it must not be sent."""


class Sample(Protocol):
    """The measurements of a request that a client's reply carries. Times are `perf_counter_ns`.

    A sample may also have `trace`, its trace id, and `exchange()`, which returns the sent and received data as text.
    Both are only used if an exemplar or a failure is stored. In a plan with tracing it has `span` and `is_sampled`.
    """

    series: RequestSeries
    asked_ns: int
    sent_ns: int
    """0 if the request was never written."""
    first_byte_ns: int
    done_ns: int
    outcome: str
    size_bytes: int


class Meter:
    """Resolves series for the user's place, and holds at most one provisional sample.

    For each request a client calls `ask(name)`, and at the end `hold(sample)`.
    """

    __slots__ = (
        "_drafts",
        "_failed_as",
        "_home",
        "_is_held",
        "_place",
        "_sample",
        "_waited",
        "drawn",
        "drawn_calls",
        "failed",
        "failed_calls",
        "journey",
        "load",
        "n",
        "noted",
        "pool_limited",
        "recorder",
        "spans",
        "tags",
        "trace_unit",
        "waits",
        "warmup",
    )

    times_streams: ClassVar[bool] = False
    """Whether the stream metrics of requests to AI models are recorded (`stream_meter.py`)."""
    keeps_messages: ClassVar[bool] = False
    """Whether the first messages of WebSockets are kept with the sample of their connect, to show them."""
    tokenizer: ClassVar[CountsTokens | None] = None
    """Counts the tokens of answers of models without usage; None: nothing does."""
    message_cap: ClassVar[LimitsMessages | None] = None
    """Limits the messages that have no row of their own; None: the run has no cap (`clients/request/rate_cap.py`)."""

    def __init__(self, recorder: Recorder, tags: Tags = ()) -> None:
        self.recorder = recorder
        self.tags = tags
        """Tags of the user's load: part of every key."""
        self.journey = ""
        self.trace_unit = ""
        """The part of the id that these traces share (`clients/request/tracing.py`); "" before the first."""
        self.drawn: Threshold | None = None
        """The threshold of this iteration's decision, if the plan's share changes during a run."""
        self.drawn_calls: dict[str, Threshold] | None = None
        """With `per="request"`: by trace id, those of this iteration's sampled calls."""
        self.spans: Spans | None = None
        """The traces of this iteration's requests, if it is sampled as a whole (`clients/request/traced_meter.py`)."""
        self.load, self.n = 0, 0
        """Index of the plan's load, and `n`, the number of the arrival within it, of this iteration."""
        self.warmup = False
        self.pool_limited = False
        self.failed: str | None = None
        """The first `http` error of this iteration that no `expect` accepted: it becomes the iteration's outcome."""
        self.noted: dict[str, object] | None = None
        """The fields that the journey noted of this iteration (`user.note`)."""
        self.failed_calls: dict[FrameType, Sample] | None = None
        """Failed requests of this iteration by the call of a client library that sent them
        (`clients/httpx_api/failed_calls.py`)."""
        self.waits: Callable[[int], int | None] | None = None
        """Returns the time at `now_ns` since the iteration was due, without think time; None: it has no due time."""
        self._waited = (-1, -1)
        """Load and number of the iteration whose wait `first_wait_ns` has returned."""
        self._sample: Sample | None = None
        """The last sample of this iteration, held or settled: a fault of the scenario shows it."""
        self._is_held = False
        self._drafts: list[Draft] | None = None
        """Stored failures of this iteration's requests that are not complete."""
        self._failed_as: dict[str, None] | None = None
        """Outcomes of this iteration's requests that failed."""
        self._home = self._place = recorder.place("", None, False, tags)

    def begin(self, journey: str, *, warmup: bool, pool_limited: bool, n: int = 0, load: int = 0) -> None:
        """HOT, once an iteration. Begin iteration `n` of load `load` at the start of its journey.

        `pool_limited`: it waited for a free user.
        """
        if self._is_held:
            self.settle()
        # An iteration that was ok ends without `end_iteration`, so its sample is released here.
        if self._sample is not None:
            self.forget()
        self.n, self.load = n, load
        self.pool_limited, self.failed, self.noted = pool_limited, None, None
        self.trace_unit, self.spans = "", None  # more than 3 in one statement make a tuple: 30 ns
        self.drawn_calls = None
        if journey != self.journey or warmup is not self.warmup:
            self.journey, self.warmup = journey, warmup
            self._home = self.recorder.place(journey, None, warmup, self.tags)
        self._place = self._home

    def move_home(self, tags: Tags) -> None:
        """Count the user's next iterations under these tags of its load. Call it between iterations."""
        if tags is not self.tags:
            self.tags, self.journey = tags, ""

    def enter(self, name: str) -> Place:
        """HOT, once a step. Move the user into step `name`, and return its old place (step or journey) for `leave`."""
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
        """HOT, once a step.

        Record the user's current step with `outcome`, and move the user back to its old place `outer`.
        """
        series = self._place.series
        assert series is not None
        self.recorder.step(series, response_ns, duration_ns, outcome, censored, entered_ns)
        base = self._place.base
        # The user may have got tags within the step, which it keeps.
        self._place = outer if outer.base is base else outer.moved(base, outer.scope)

    def back(self, outer: Place) -> None:
        """Move the user back to its old place `outer`, without recording a step."""
        self.settle()
        self._place = outer.moved(self._place.base, outer.scope)

    def tag(self, tag: NamedTag | str, value: object) -> None:
        """HOT, once for each tag of a user. Count the user's iteration, steps and requests under this tag from now on.

        Raises:
            UsageError: an unknown name of a tag, or a value that is not a text.
        """
        if self._is_held:
            self.settle()
        pair = self.recorder.tagging.pair(tag, value)
        if pair is not None:
            self._place = self._place.tagged(pair)

    def note(self, fields: dict[str, object]) -> None:
        """Add fields to what the failures and exemplars of this iteration show. Limits: `MAX_NOTED` fields.

        A text is cut to `NOTED_CHARACTERS`. Numbers and booleans stay as they are; other values become texts.
        """
        if self._is_held:
            self.settle()
        noted = dict(self.noted or {})  # a copy: exemplars keep the old one
        for name, value in fields.items():
            if name not in noted and len(noted) >= MAX_NOTED:
                self.recorder.note(f"user.note: more than {MAX_NOTED} fields in an iteration; the rest is left out")
                break
            is_plain = value is None or isinstance(value, bool | float) or (isinstance(value, int) and value < 1 << 63)
            noted[name[:NOTED_CHARACTERS]] = value if is_plain else str(value)[:NOTED_CHARACTERS]
        self.noted = noted

    def scope(self, tags: GivenTags) -> None:
        """Give the user's present step tags that hold until the step ends, and win over the user's own.

        Raises:
            UsageError: an unknown name of a tag, or a value that is not a text.
        """
        place = self._place
        scope = self.recorder.merged(place.scope, self.recorder.tagging.pairs(tags))
        self._place = place.moved(place.base, scope)

    def first_wait_ns(self, now_ns: int) -> int | None:
        """Return how long the iteration has waited since it was due, for its first request to an AI model.

        None for further requests of the iteration, and without a due time.
        """
        if self.waits is None or self._waited == (self.load, self.n):
            return None
        self._waited = (self.load, self.n)
        return self.waits(now_ns)

    def ask(self, name: str) -> RequestSeries:
        """HOT. Count the start of a request `name`, and return the series to which its sample belongs.

        If the last request's sample is not recorded yet, it is recorded first.
        """
        if self._is_held:
            self.settle()
        counters = self.recorder.counters
        counters.requests_started += 1
        if self.pool_limited:
            counters.requests_pool_limited += 1
        place = self._place
        return place.names.get(name) or place.resolve(name)

    def ask_unsent(self, name: str) -> RequestSeries:
        """Do as `ask` for a row that sends nothing to the target, such as a wait for a message. No cap counts it."""
        return self.ask(name)

    @property
    def place(self) -> Place:
        """Where the user is in its journey: the journey or a step, with their series."""
        return self._place

    @property
    def step(self) -> str | None:
        """Full name of the step in which the user is, `a/b` if nested; None outside of steps."""
        return self._place.step

    @property
    def last(self) -> Sample | None:
        """The last request sample of this iteration, recorded or not; None before the first one.

        A wait (`user.poll`) without an exchange of its own shows it.
        """
        return self._sample

    @property
    def _held(self) -> Sample | None:
        """The request sample that is not recorded yet; None without one."""
        return self._sample if self._is_held else None

    def hold(self, sample: Sample) -> None:
        """HOT. Keep the sample of an ended request, to be recorded later: an `expect` may still change its outcome."""
        if self._is_held:
            self.settle()
        self._sample = sample
        self._is_held = True

    def settle(self) -> None:
        """HOT. Record the held sample with its present outcome. Without a held sample it does nothing."""
        if self._is_held:
            self._is_held = False
            held: Any = self._sample
            if held.outcome is not OK and self.failed is None and held.outcome.startswith("http "):
                self.failed = held.outcome
            if self.recorder.request(
                held.series,
                held.asked_ns,
                held.sent_ns,
                held.done_ns,
                held.outcome,
                held.size_bytes,
            ):
                self._note(held)

    def settle_as(self, sample: Sample, outcome: str) -> None:
        """Record a held sample with `outcome`, because an expectation on it was decided.

        If it is recorded already, do nothing. With OK, an expected `http 503` is recorded as ok, because `expect`
        declared it the right answer.
        """
        if self._is_held and self._sample is sample:
            sample.outcome = outcome
            self.settle()

    # -- exemplars and failures ------------------------------------------------------------------

    def _note(self, held: Sample) -> None:
        """Store an exemplar of a recorded request.

        If it failed and is among the first of its kind, also store all details.
        """
        outcome, sent_ns = held.outcome, held.sent_ns
        trace = getattr(held, "trace", "") or ""
        self.recorder.exemplars.saw(
            held.series,
            outcome,
            held.asked_ns,
            held.done_ns - held.asked_ns,
            held.done_ns - sent_ns if sent_ns else 0,
            self.n,
            self.load,
            trace,
            self.noted,
        )
        if outcome != OK:
            self._note_failure(held, outcome)

    def _note_failure(self, held: Sample, outcome: str) -> None:
        """Store all details of a failed request, if it is among the first of its kind."""
        if self._failed_as is None:
            self._failed_as = {}
        self._failed_as[outcome] = None
        key = held.series.key
        if self.recorder.failures.wants(key.journey, key.request or "", outcome):
            if self._drafts is None:
                self._drafts = []
            self._drafts.append(self._draft(held, key.request or "", outcome))

    def _draft(self, sample: Sample | None, request: str, outcome: str) -> Draft:
        """Store the details of a failure, and return them as a draft that the end of the iteration completes.

        `sample` is the request that failed, or the last one before the failure, or None.
        """
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
        """End an iteration that was not ok: complete the stored failures of its requests with these details.

        If no request caused its outcome, a failure of the iteration itself is stored.

        Args:
            outcome: the iteration's. If one of its requests has the same outcome, that request is the cause.
            detail: the expected and the actual result.
            where: "checkout.py:14 in checkout".
            traceback: the scenario's frames.
            row: the data row; redacted by the names of its columns.

        Texts may be functions: they are only called if the failure is stored, which is rare.
        Cost if nothing is stored: 1.3 µs with the settling of the failed request.
        """
        self.settle()
        book, drafts = self.recorder.failures, self._drafts or []
        of_request = outcome.removeprefix("set-up ")
        cause = next((draft for draft in reversed(drafts) if draft.failure.outcome == of_request), None)
        if cause is None and of_request not in (self._failed_as or ()) and book.wants(self.journey, "", outcome):
            cause = self._draft(self._sample, "", outcome)
        for draft in drafts:
            if draft is not cause:
                book.complete(draft, row=row, noted=self.noted)
        if cause is not None:
            book.complete(cause, detail, where, traceback, row, self.noted)
        self._drafts = None
        self.forget()

    def forget(self) -> None:
        """Release the last sample of an iteration that is over. Its incomplete failures are sent as they are."""
        self._failed_as = None
        self._sample = None
        self.failed_calls = None
        if self._drafts is not None:
            for draft in self._drafts:
                self.recorder.failures.complete(draft, noted=self.noted)
            self._drafts = None
