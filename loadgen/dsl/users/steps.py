"""The timed blocks of a journey: `async with user.step("login"):`, `async with user.measure("sign"):`.

A step times a part of the journey, including its requests and think time. A measure
times one awaited call and records it as a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from loadgen.dsl.users.exception_to_outcome import is_bound, outcome_of
from loadgen.dsl.users.named_outcomes import Outcomes, name_failure
from loadgen.engine.recording.failure_samples import exchange_of
from loadgen.engine.recording.recorded_series import move_watch
from loadgen.engine.recording.tagging import GivenTags
from loadgen.engine.recording.user_meter import Meter
from loadgen.measure.deltas.series_key import OK

if TYPE_CHECKING:
    from loadgen.dsl.users.user import User

__all__ = ["Measure", "Step"]


class _NoLoop:
    """Stands for the loop of a future that is done and therefore never uses it."""

    def get_debug(self) -> bool:
        return False


def _done() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.Future(loop=cast("Any", _NoLoop()))
    done.set_result(None)
    return done


_DONE: Final = _done()
"""Awaited when a step begins and ends, which waits for nothing. To make and end two coroutines instead would take 900
CPU instructions more for each step: 1 % of a journey over HTTP/1.1."""


class Step:
    """The context manager behind `User.step`. HOT, twice a step."""

    __slots__ = ("_entered_ns", "_failed", "_idle_ns", "_name", "_outer", "_tags", "_user", "_watch")

    def __init__(self, user: User, name: str, tags: GivenTags | None = None) -> None:
        self._user, self._name, self._tags = user, name, tags

    def __aenter__(self) -> Awaitable[None]:
        user = self._user
        meter = user._meter
        self._outer = meter.enter(
            self._name
        )  # settles the request before, so that its failure does not count for this step
        if self._tags is not None:
            self._scope(self._tags)
        self._failed, self._idle_ns = meter.failed, user._idle_ns
        meter.failed = None
        self._entered_ns = perf_counter_ns()
        # Not `meter.place`: a property costs as much as a call.
        series = meter._place.series
        self._watch = watch = None if series is None else series.watch
        if watch is not None:
            watch.begun(self._entered_ns, self._idle)
        return _DONE

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        now_ns = perf_counter_ns()
        user = self._user
        meter = user._meter
        meter.settle()
        duration_ns = now_ns - self._entered_ns
        idle_ns = user._idle_until(now_ns) if user._idle_since_ns else user._idle_ns  # nobody is idle here, as a rule
        response_ns = duration_ns - (idle_ns - self._idle_ns)
        series = meter._place.series
        if series is not None and series.watch is not self._watch:  # the user got a tag within the step
            move_watch(self._watch, series.watch, self._entered_ns, self._idle)
        failed = meter.failed
        # The surrounding step keeps its own first failure.
        if self._failed is not None:
            meter.failed = self._failed
        if error is None and failed is None:
            meter.leave(self._outer, response_ns, duration_ns, OK, False, self._entered_ns)
            return _DONE
        outcome = failed or OK if error is None else outcome_of(error, meter)
        is_censored = outcome is not OK and is_bound(outcome)
        meter.leave(self._outer, response_ns, duration_ns, outcome, is_censored, self._entered_ns)
        return _DONE

    def _scope(self, tags: GivenTags) -> None:
        """Give the entered step its tags. With an error in them, the user leaves the step before it begins."""
        meter = self._user._meter
        try:
            meter.scope(tags)
        except BaseException:
            meter.back(self._outer)
            raise

    def _idle(self, now_ns: int) -> int:
        """Return how long the user has been idle since it entered the step, in ns. now_ns: the present time."""
        return self._user._idle_until(now_ns) - self._idle_ns


class Measure:
    """The context manager behind `User.measure`. It is also the sample that the meter records."""

    __slots__ = (
        "_meter",
        "_name",
        "_outcomes",
        "asked_ns",
        "done_ns",
        "first_byte_ns",
        "last",
        "outcome",
        "sent_ns",
        "series",
        "size_bytes",
    )

    def __init__(self, meter: Meter, name: str, outcomes: Outcomes | None = None) -> None:
        self._meter, self._name, self._outcomes = meter, name, outcomes
        self.last: object = None
        """The last result of a poll, which a failure shows."""

    @property
    def peer(self) -> tuple[str, int]:
        """Return host and port for a span of ours: they are unknown, because loadgen does not send the request."""
        return "", 0

    async def __aenter__(self) -> None:
        self._meter.settle()
        self.begin(perf_counter_ns())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            self.gone()  # cut off in flight: counted as started, not finished
            return
        done_ns = perf_counter_ns()
        if error is not None and self._outcomes is not None:
            name_failure(error, self._outcomes)
        self.end(done_ns, OK if error is None else outcome_of(error, self._meter))

    def begin(self, asked_ns: int) -> None:
        self.series = self._meter.ask(self._name)
        self.size_bytes = 0
        self.asked_ns = self.sent_ns = asked_ns
        if self.series.watch is not None:
            self.series.watch.begun(asked_ns)

    def end(self, done_ns: int, outcome: str) -> None:
        self.first_byte_ns = self.done_ns = done_ns
        self.outcome = outcome
        self._meter.hold(self)
        self._meter.settle()

    def gone(self) -> None:
        if self.series.watch is not None:
            self.series.watch.gone(self.asked_ns)

    def exchange(self) -> tuple[str, str]:
        """Return the last request and its reply as texts, to store them with a failure; ("", "") if unknown."""
        return exchange_of(self.last) or ("", "")
