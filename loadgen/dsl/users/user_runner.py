"""Runs the iterations of one user: sets up, runs journeys, tears down, and reports how each iteration ended.

Exceptions of scenario code never leave this module; they become outcomes of iterations.
Only the engine's own cancellation passes. Four kinds of mistakes are reported once, with
file and line, while the run goes on: leaked tasks, coroutines never awaited, journeys
that catch their cancellation, and journeys that await nothing.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from types import FrameType
from typing import Any, Final

from loadgen.clients.pool.pool import Origin
from loadgen.clients.request.rate_cap import OverTheCap
from loadgen.dsl.users.exception_to_outcome import (
    fault_text,
    is_bound,
    is_installed,
    is_ours,
    outcome_of,
    place,
    traceback_of,
    where_of,
)
from loadgen.dsl.users.leaked_tasks import Stray, look_out, owns
from loadgen.dsl.users.user import User
from loadgen.dsl.users.worker_tally import WorkerTally
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorded_series import Noted, Spans
from loadgen.errors import IterationEnded, RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK, SKIPPED, Tags
from loadgen.units import format_duration

__all__ = ["ROWS_RAN_OUT", "BoundJourney", "JourneyLife"]

SET_UP = "(set-up)"
TEAR_DOWN = "(tear-down)"
"""The steps to which the requests of a user's set-up and tear-down are recorded."""
ROWS_RAN_OUT = "script rows ran out"
AT_ONCE_NS: Final = 50_000
"""An iteration shorter than this may have awaited nothing, so it is checked. A request on loopback takes longer."""
_TRIES: Final = 20
"""Number of short iterations to check per user before the checks stop."""
_MAX_STRAYS: Final = 1_000
_LET_THROUGH: Final = (
    "use `except Exception`, which does not catch it, instead of `except BaseException` or a bare `except:`"
)


@dataclass(frozen=True, slots=True)
class BoundJourney:
    """A journey with access to its data rows, ready to run."""

    name: str
    fn: Callable[..., Awaitable[None]]
    row: Callable[[int], Any] | None = None
    """Return the data row for an index, or None if there are no more rows. None: the journey takes no data."""
    set_up: Callable[..., Awaitable[None]] | None = None
    tear_down: Callable[..., Awaitable[None]] | None = None
    state: Callable[[], Any] | None = None
    """Creates a user's state; journeys with the same function share one state."""
    each: bool = False
    """True: rows are chosen per iteration (`Arrival.n`). False: per user (`Arrival.person`)."""
    functions: tuple[Callable[..., Any], ...] = ()
    """The scenario's functions that `fn` calls, whose lines messages show; empty: `fn` itself."""

    @property
    def defined(self) -> str:
        """Return where the journey is defined: "checkout.py:14"."""
        return _defined(self.functions[0] if self.functions else self.fn)

    @property
    def catching(self) -> str:
        """Return the place of the journey's first `except` that catches CancelledError; "" if none is found."""
        return next((where for fn in self.functions or (self.fn,) if (where := _catching(fn))), "")


def _lost_call(name: str) -> str:
    """Return a call that was never awaited, in the words of the scenario. name: of the coroutine's function."""
    owner, _, method = name.rpartition(".")
    if owner.endswith("Client") and method.startswith("_"):
        return "a request, such as user.http.get(...),"
    if owner in ("User", "UserWith"):
        return "a call of user" if method.startswith("_") else f"a call of user.{method}"
    return f"a call of {name.rpartition('<locals>.')[2]}"


class JourneyLife:
    """The life of one user as the engine drives it; implements `loadgen.engine.load.user_iterations.Life`.

    Args:
        fresh: True: each iteration has a fresh user (open loads).
        report: called with a message for each script error: file, line, error and advice.
        load: the index of the plan's load.
        close_idle: closes all idle connections, called before each iteration; None: connections stay open.
        origins: where to connect ahead of demand besides the plan's own target.
    """

    def __init__(
        self,
        user: User,
        journeys: Sequence[BoundJourney],
        *,
        fresh: bool,
        report: Callable[[str], None],
        load: int = 0,
        close_idle: Callable[[], None] | None = None,
        origins: Sequence[Origin] = (),
    ) -> None:
        self._user = user
        self._origins = origins
        self._journeys = journeys
        self._fresh = fresh
        self._report = report
        self._load = load
        self._close_idle = close_idle
        self._lived: dict[int, Any] = {}
        """Arguments of the journeys that this user is set up for; each is torn down when the user leaves."""
        self._states: dict[int, Any] = {}
        """The user's states, by the id of the function that created them."""
        self._state_of: object = None
        self._journey: BoundJourney | None = None
        self._running: Awaitable[None] | None = None
        self._is_abandoned = False
        self._strays: list[Stray] | None = None
        self._kept: list[Stray] | None = None
        self._tries = 0 if fresh else _TRIES
        self._turned = False
        self.begun_ns = self.ended_ns = self.set_up_ns = 0
        self.arrival: Arrival | None = None
        """The present or last iteration; None before the first."""
        self.idle_ns = 0
        self.outcome = OK
        self.censored = False
        user._owner, user._is_fresh = self, fresh
        look_out(self)

    @property
    def user(self) -> User:
        """Return the user whose life this is."""
        return self._user

    @owns()
    async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
        """Run one iteration; then `outcome`, `censored` and the times describe it. HOT, once an iteration.

        pool_limited: the iteration had to wait for a free user.
        """
        user = self._user
        meter = user._meter
        journey = self._journey = self._journeys[arrival.journey]
        self.arrival = arrival
        if self._fresh:
            user._renew()
        if self._close_idle is not None:
            self._close_idle()
        meter.begin(journey.name, warmup=arrival.warmup, pool_limited=pool_limited, n=arrival.n, load=self._load)
        user._begin(arrival.n, arrival.row)
        args: tuple[Any, ...] = (user,)
        outcome, failure = OK, None
        try:
            if journey.row is not None:
                if (row := journey.row(arrival.n if journey.each else arrival.person)) is None:
                    raise IterationEnded(ROWS_RAN_OUT)
                args = (user, row)
            if journey.state is not None:
                self._give_state(journey.state)
            if journey.set_up is not None and arrival.journey not in self._lived:
                await self._set_up(journey.set_up, args)
            if journey.tear_down is not None or journey.set_up is not None:
                self._lived[arrival.journey] = args
            self._running = running = journey.fn(*args)
            # The call above only creates the coroutine; the journey's first line runs in the `await`.
            user._began_ns = self.begun_ns = perf_counter_ns()
            await running
        except GeneratorExit:
            raise
        except BaseException as error:  # any exception of scenario code becomes the outcome
            if self._is_stopped(error):
                raise
            outcome, failure = self._outcome(error), error
        user._ended_ns = self.ended_ns = perf_counter_ns()
        self._running = None
        if not self._fresh and isinstance(failure, OverTheCap):
            await asyncio.sleep(failure.until_s)  # otherwise a closed user would retry in a busy loop
        meter.settle()
        self.idle_ns = user._idle_ns + self.set_up_ns
        if outcome is OK and meter.failed is None:
            self.outcome, self.censored = OK, False
            meter.forget()
        else:
            self.outcome = meter.failed or OK if outcome is OK else outcome
            self.censored = is_bound(self.outcome)
            if self.outcome != SKIPPED:
                self._record_failure(failure, args[1] if len(args) > 1 else None)
            else:
                meter.forget()
        if self._tries and self.ended_ns - self.begun_ns < AT_ONCE_NS:
            self._check_awaits(journey)
        if self._fresh and (self._lived or user._clients or self._kept):
            await self._end_user()
        if self._strays is not None:
            self._end_strays(journey)

    def idle_until(self, now_ns: int) -> int:
        return self._user._idle_until(now_ns) + self.set_up_ns

    @property
    def tags(self) -> Tags:
        return self._user._meter.place.base

    @property
    def noted(self) -> Noted:
        return self._user._meter.noted

    @property
    def spans(self) -> Spans | None:
        return self._user._meter.spans

    async def preconnect(self) -> None:
        for origin in (None, *self._origins):
            with suppress(RequestFailed):
                await self._user.http.preconnect(origin)

    async def close(self) -> None:
        """End this user: run tear-downs, then close its connections. A running iteration is abandoned."""
        self._abandon()
        await self._end_user()
        await self._closed(self._user._close_slot_clients())
        self._user._meter.settle()
        await self._user.http.close()
        self._report_forgotten()

    def resisted(self) -> None:
        """Report a journey that caught its cancellation and continued.

        The engine calls this after such an iteration. The report is made once per journey and worker.
        """
        journey = self._journey
        if journey is not None and WorkerTally.of(self._user._meter.recorder).is_new(("resisted", journey.name)):
            self._report(
                f"{journey.catching or journey.defined}: journey {journey.name} caught CancelledError and "
                f"continued after it was stopped; {_LET_THROUGH}"
            )

    # -- set-up, state, tear-down ---------------------------------------------------------------

    @owns(keeps=True)
    async def _set_up(self, set_up: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        began_ns = perf_counter_ns()
        meter = self._user._meter
        outer = meter.enter(SET_UP)
        try:
            await set_up(*args)
        except IterationEnded as ended:
            raise IterationEnded(f"set-up {ended.outcome}", ended.detail) from ended
        finally:
            meter.back(outer)
            self.set_up_ns = perf_counter_ns() - began_ns
        self._user._idle_ns = 0

    def _give_state(self, make: Callable[[], Any]) -> None:
        state = None if self._fresh else self._states.get(id(make))
        if state is None:
            state = make()
            if state is None:
                raise UsageError(
                    f"state={getattr(make, '__name__', make)} returned None", hint="return the state from this function"
                )
            self._states[id(make)] = state
        self._state_of = make
        self._user._take_state(state)

    def state_is(self, state: object) -> None:
        """Keep the state that the journey has assigned to `user.state`, for the user's later iterations."""
        self._states[id(self._state_of)] = state

    async def _end_user(self) -> None:
        await self._tear_down()
        if self._user._clients:
            await self._closed(self._user._close_clients())
        kept, self._kept = self._kept, None
        for stray in kept or ():
            stray.task.cancel()

    async def _closed(self, closing: Awaitable[None]) -> None:
        try:
            await closing
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # reported; the run goes on
            self._report(f"closing a client of user.client: {fault_text(error)}")

    async def _tear_down(self) -> None:
        lived, self._lived = self._lived, {}
        meter = self._user._meter
        for index, args in lived.items():
            tear_down = self._journeys[index].tear_down
            if tear_down is None:
                continue
            outer = meter.enter(TEAR_DOWN)
            try:
                await tear_down(*args)
            except asyncio.CancelledError:
                raise
            except IterationEnded as ended:
                self._report(f"tear-down of {self._journeys[index].name}: {ended}")
            except (Exception, SystemExit) as error:  # noqa: BLE001  # reported; the run goes on
                self._outcome(error)
            finally:
                meter.back(outer)

    # -- how it went ----------------------------------------------------------------------------

    def _outcome(self, error: BaseException) -> str:
        # A CancelledError here is the scenario's own; `_is_stopped` has handled the engine's.
        is_own = isinstance(error, asyncio.CancelledError)
        outcome = "script CancelledError" if is_own else outcome_of(error, self._user._meter)
        if outcome.startswith("script "):
            self._user._meter.recorder.counters.script_faults += 1
            self._report(fault_text(error) if outcome != ROWS_RAN_OUT else self._rows_ran_out())
        return outcome

    def _rows_ran_out(self) -> str:
        journey = self._journey
        where = f"{journey.defined}: journey {journey.name}" if journey is not None else "the journey"
        return (
            f'{where} has used up the rows of its feed; add rows, or write `.unique(when_out="cycle")` to begin again'
        )

    def _is_stopped(self, error: BaseException) -> bool:
        """Return True if `error` is the engine's own cancellation of the iteration, not an exception of the scenario.

        Raises:
            CancelledError: the iteration was abandoned, so its result no longer counts.
        """
        if self._is_abandoned:
            raise asyncio.CancelledError from error
        if not isinstance(error, asyncio.CancelledError):
            return False
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0

    def _record_failure(self, error: BaseException | None, row: object) -> None:
        """Record a failed iteration with its error texts.

        The texts are passed as functions, which are called only if this failure is kept as an exemplar. That is rare.
        """
        if error is None:
            self._user._meter.end_iteration(self.outcome, row=row)
            return
        detail = error.detail if isinstance(error, IterationEnded) else partial(fault_text, error)
        self._user._meter.end_iteration(
            self.outcome, detail, partial(where_of, error), partial(traceback_of, error), row
        )

    # -- leaks and other mistakes of journeys -------------------------------------------------------

    def started(self, stray: Stray) -> None:
        if stray.is_kept:
            kept = self._kept = [one for one in self._kept or () if not one.task.done()]
            kept.append(stray)
            return
        strays = self._strays
        if strays is None:
            strays = self._strays = []
        elif len(strays) > _MAX_STRAYS:
            strays[:] = [one for one in strays if not one.task.done()]
        strays.append(stray)

    def _end_strays(self, journey: BoundJourney) -> None:
        """Cancel the tasks that this iteration started and did not await, and report each.

        In closed loads, tasks that a library started run until the user leaves.
        """
        strays, self._strays = self._strays or [], None
        for stray in strays:
            if stray.task.done():
                continue
            if stray.is_library and not self._fresh:
                self.started(Stray(stray.task, stray.where, is_library=True, is_kept=True))
                continue
            stray.task.cancel()
            if not stray.is_library:
                self._report(
                    f"{stray.where}: a task was still running when the iteration of {journey.name} ended, and was "
                    "cancelled; `await` it, or run calls concurrently with `await user.gather(...)`"
                )

    def forgot(self, name: str, where: str, source: str) -> None:
        journey = self._journey
        if journey is None:
            return
        forgotten, key = WorkerTally.of(self._user._meter.recorder).forgotten, (journey.name, name)
        if not where:
            # Without the origin, the line is unknown; `leaked_tasks` now tracks origins, so the next one shows it.
            if key not in forgotten:
                forgotten[key] = (
                    f"{journey.defined.rpartition(':')[0]}: in journey {journey.name} {_lost_call(name)} was never "
                    "awaited, so it did nothing; write `await` before it"
                )
            return
        forgotten[key] = ""
        is_call = "http." in source or ".post(" in source or ".get(" in source
        self._report(
            f"{where}: `{source}` was never awaited, so {'nothing was sent' if is_call else 'it never ran'}; "
            "write `await` before it"
        )

    def _report_forgotten(self) -> None:
        """Report the coroutines that were never awaited and whose line has not been found in the whole run."""
        forgotten = WorkerTally.of(self._user._meter.recorder).forgotten
        for key, text in forgotten.items():
            if text:
                forgotten[key] = ""
                self._report(text)

    def _check_awaits(self, journey: BoundJourney) -> None:
        """Report a journey of a closed load that awaits nothing, because it would block the worker's event loop.

        Called after a short iteration: if the loop has not turned since the one before, the journey awaited nothing.
        """
        loop = asyncio.get_running_loop()
        if self._tries < _TRIES and not self._turned:
            self._tries = 0
            if WorkerTally.of(self._user._meter.recorder).is_new(("awaits nothing", journey.name)):
                took = format_duration(self.ended_ns - self.begun_ns)
                self._report(
                    f"{journey.defined}: journey {journey.name} took {took} and awaited nothing, so in a closed "
                    "load its user starts it again at once, without pause; await a request, or `await user.think(1, 3)`"
                )
            return
        self._tries -= 1
        self._turned = False
        loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turned = True

    def _abandon(self) -> None:
        """Close the coroutine of an iteration that still runs when the user leaves: it caught its cancellation."""
        running, journey = self._running, self._journey
        if not inspect.iscoroutine(running) or inspect.getcoroutinestate(running) != inspect.CORO_SUSPENDED:
            return
        assert journey is not None
        self._is_abandoned = True
        where = _standing(running) or journey.catching or journey.defined
        self._running = None
        with suppress(RuntimeError):  # it even catches GeneratorExit; nothing more can be done
            running.close()
        if WorkerTally.of(self._user._meter.recorder).is_new(("abandoned", journey.name)):
            self._report(
                f"{where}: journey {journey.name} caught CancelledError and did not stop, so its iteration was "
                f"abandoned; {_LET_THROUGH}"
            )


def _defined(fn: Callable[..., Any]) -> str:
    """Return where a function is defined: "checkout.py:14"; "?" if unknown."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code is not None else "?"


def _standing(running: Coroutine[Any, Any, Any]) -> str:
    """Return the place in the scenario's own code at which a suspended coroutine waits; "" if not found."""
    where = ""
    at: Any = running
    while at is not None:
        frame: FrameType | None = getattr(at, "cr_frame", None)
        if frame is None:
            break
        if not is_ours(frame.f_globals.get("__name__", "")) and not is_installed(frame.f_code.co_filename):
            where = place(frame)
        at = at.cr_await
    return where


def _catching(fn: Callable[..., Any]) -> str:
    """Return the place of the first `except` in a function that catches CancelledError; "" if none is found."""
    fn = inspect.unwrap(fn)
    try:
        lines, first = inspect.getsourcelines(fn)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and (
            node.type is None or any(name in ast.unparse(node.type) for name in ("CancelledError", "BaseException"))
        ):
            return f"{Path(inspect.getfile(fn)).name}:{first + node.lineno - 1} in {fn.__name__}"
    return ""
