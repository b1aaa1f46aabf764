"""One user's life as the engine drives it: sets up, runs journeys, tears down, and says how each ended.

Nothing that scenario code does gets out of here but CancelledError: what it
raises becomes the iteration's outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from loadgen.dsl.outcome import fault_text, is_bound, outcome_of
from loadgen.dsl.user import User
from loadgen.engine.users import Arrival
from loadgen.errors import IterationEnded
from loadgen.measure.series import OK

__all__ = ["ROWS_RAN_OUT", "BoundJourney", "JourneyLife"]

SET_UP = "(set-up)"
TEAR_DOWN = "(tear-down)"
"""The steps under which the requests of a person's set-up and tear-down are recorded."""
ROWS_RAN_OUT = "script rows ran out"


@dataclass(frozen=True, slots=True)
class BoundJourney:
    """A journey with its rows at hand, ready to be run."""

    name: str
    fn: Callable[..., Awaitable[None]]
    row: Callable[[int], Any] | None = None
    """Index -> data row; None: the journey takes no data. Gives None when the rows ran out."""
    set_up: Callable[..., Awaitable[None]] | None = None
    tear_down: Callable[..., Awaitable[None]] | None = None


class JourneyLife:
    """See `loadgen.engine.users.Life`.

    Args:
        fresh: True: a new person for each iteration (open loads).
        report: told once for each fault of the scenario: file, line and text.
    """

    def __init__(
        self, user: User, journeys: Sequence[BoundJourney], *, fresh: bool, report: Callable[[str], None]
    ) -> None:
        self._user = user
        self._journeys = journeys
        self._fresh = fresh
        self._report = report
        self._lived: dict[int, Any] = {}
        """Journeys that this person is set up for, with the row; they are torn down when the person leaves."""
        self.begun_ns = self.ended_ns = self.set_up_ns = 0
        self.idle_ns = 0
        self.outcome = OK
        self.censored = False

    async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
        """HOT, once an iteration."""
        user = self._user
        journey = self._journeys[arrival.journey]
        if self._fresh:
            user.http.reset()
        user.meter.begin(journey.name, warmup=arrival.warmup, pool_limited=pool_limited)
        user.begin(arrival.n)
        args: tuple[Any, ...] = (user,)
        outcome = OK
        try:
            if journey.row is not None:
                if (row := journey.row(arrival.row)) is None:
                    raise IterationEnded(ROWS_RAN_OUT)
                args = (user, row)
            if journey.set_up is not None and arrival.journey not in self._lived:
                await self._set_up(journey.set_up, args)
            if journey.tear_down is not None or journey.set_up is not None:
                self._lived[arrival.journey] = args
            self.begun_ns = perf_counter_ns()
            await journey.fn(*args)
        except asyncio.CancelledError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # it becomes the outcome
            outcome = self._outcome(error)
        self.ended_ns = perf_counter_ns()
        user.meter.settle()
        self.idle_ns = user.idle_ns + self.set_up_ns
        self.outcome = user.meter.failed or OK if outcome is OK else outcome
        self.censored = is_bound(self.outcome)
        if self._fresh and self._lived:
            await self._tear_down()

    def idle_until(self, now_ns: int) -> int:
        return self._user.idle_until(now_ns) + self.set_up_ns

    async def close(self) -> None:
        """The person leaves: tear-down, then the connections."""
        await self._tear_down()
        self._user.meter.settle()
        await self._user.http.close()

    async def _set_up(self, set_up: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        began_ns = perf_counter_ns()
        meter = self._user.meter
        meter.enter(SET_UP)
        try:
            await set_up(*args)
        except IterationEnded as ended:
            raise IterationEnded(f"set-up {ended.outcome}", ended.detail) from ended
        finally:
            meter.enter(None)
            self.set_up_ns = perf_counter_ns() - began_ns
        self._user.idle_ns = 0

    async def _tear_down(self) -> None:
        lived, self._lived = self._lived, {}
        meter = self._user.meter
        for index, args in lived.items():
            tear_down = self._journeys[index].tear_down
            if tear_down is None:
                continue
            meter.enter(TEAR_DOWN)
            try:
                await tear_down(*args)
            except asyncio.CancelledError:
                raise
            except IterationEnded as ended:
                self._report(f"tear-down of {self._journeys[index].name}: {ended}")
            except (Exception, SystemExit) as error:  # noqa: BLE001  # reported; the run goes on
                self._outcome(error)
            finally:
                meter.enter(None)

    def _outcome(self, error: BaseException) -> str:
        outcome = outcome_of(error)
        if outcome.startswith("script "):
            self._user.meter.recorder.counters.script_faults += 1
            self._report(fault_text(error))
        return outcome
