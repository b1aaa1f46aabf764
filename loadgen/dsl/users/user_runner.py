"""One user's life as the engine drives it: sets up, runs journeys, tears down, and says how each ended.

Nothing that scenario code does gets out of here but the engine's own cancellation:
what it raises becomes the iteration's outcome. What it loses (tasks, coroutines),
what it holds up (a journey that catches its cancellation) and what it spins (one
that awaits nothing) is said once, with file and line, and the run goes on.
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

from loadgen.clients import OverTheCap
from loadgen.dsl.users.leaked_tasks import Stray, look_out, owns
from loadgen.dsl.users.outcome import (
    fault_text,
    is_bound,
    is_installed,
    is_ours,
    outcome_of,
    place,
    traceback_of,
    where_of,
)
from loadgen.dsl.users.user import User
from loadgen.dsl.users.worker_counters import Tally
from loadgen.engine.load.users import Arrival
from loadgen.errors import IterationEnded, UsageError
from loadgen.measure.deltas.series import OK, SKIPPED
from loadgen.units import format_duration

__all__ = ["ROWS_RAN_OUT", "BoundJourney", "JourneyLife"]

SET_UP = "(set-up)"
TEAR_DOWN = "(tear-down)"
"""The steps under which the requests of a person's set-up and tear-down are recorded."""
ROWS_RAN_OUT = "script rows ran out"
AT_ONCE_NS: Final = 50_000
"""A closed user whose iteration took less is looked at: does it await anything? A request on loopback takes more."""
_TRIES: Final = 20
"""Short iterations that are looked at before it is believed that they do."""
_MAX_STRAYS: Final = 1_000
_LET_THROUGH: Final = "let it through: `except Exception` does, `except BaseException` and a bare `except:` do not"


@dataclass(frozen=True, slots=True)
class BoundJourney:
    """A journey with its rows at hand, ready to be run."""

    name: str
    fn: Callable[..., Awaitable[None]]
    row: Callable[[int], Any] | None = None
    """Index -> data row; None: the journey takes no data. Gives None when the rows ran out."""
    set_up: Callable[..., Awaitable[None]] | None = None
    tear_down: Callable[..., Awaitable[None]] | None = None
    state: Callable[[], Any] | None = None
    """Makes a person's state; journeys with the same one share it."""
    each: bool = False
    """True: `row` is asked by iteration (`Arrival.n`), not by person (`Arrival.person`)."""
    functions: tuple[Callable[..., Any], ...] = ()
    """Those of the scenario that `fn` runs, for who looks for its lines; empty: `fn` itself."""

    @property
    def defined(self) -> str:
        """ "checkout.py:14"."""
        return _defined(self.functions[0] if self.functions else self.fn)

    @property
    def catching(self) -> str:
        """The line of the first handler in it that catches CancelledError; "" where none is seen."""
        return next((where for fn in self.functions or (self.fn,) if (where := _catching(fn))), "")


class JourneyLife:
    """See `loadgen.engine.load.users.Life`.

    Args:
        fresh: True: a new person for each iteration (open loads).
        report: told of each fault of the scenario: file, line, text and what to do.
        load: the index of the plan's load.
        close_idle: closes the connections that are kept, before each iteration; None: they stay.
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
    ) -> None:
        self._user = user
        self._journeys = journeys
        self._fresh = fresh
        self._report = report
        self._load = load
        self._close_idle = close_idle
        self._lived: dict[int, Any] = {}
        """Journeys that this person is set up for, with the row; they are torn down when the person leaves."""
        self._states: dict[int, Any] = {}
        """By the identity of what made them."""
        self._state_of: object = None
        self._journey: BoundJourney | None = None
        self._running: Awaitable[None] | None = None
        self._is_abandoned = False
        self._strays: list[Stray] | None = None
        self._kept: list[Stray] | None = None
        self._tries = 0 if fresh else _TRIES
        self._turned = False
        self.begun_ns = self.ended_ns = self.set_up_ns = 0
        self.idle_ns = 0
        self.outcome = OK
        self.censored = False
        user.owner, user.is_fresh = self, fresh
        look_out(self)

    @owns()
    async def iterate(self, arrival: Arrival, *, pool_limited: bool) -> None:
        """HOT, once an iteration."""
        user = self._user
        meter = user.meter
        journey = self._journey = self._journeys[arrival.journey]
        if self._fresh:
            user.renew()
        if self._close_idle is not None:
            self._close_idle()
        meter.begin(journey.name, warmup=arrival.warmup, pool_limited=pool_limited, n=arrival.n, load=self._load)
        user.begin(arrival.n, arrival.row)
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
            user.began_ns = self.begun_ns = perf_counter_ns()
            await running
        except GeneratorExit:
            raise
        except BaseException as error:  # it becomes the outcome
            if self._is_stopped(error):
                raise
            outcome, failure = self._outcome(error), error
        user.ended_ns = self.ended_ns = perf_counter_ns()
        self._running = None
        if not self._fresh and isinstance(failure, OverTheCap):
            await asyncio.sleep(failure.until_s)  # else it would come again as fast as the CPU lets it
        meter.settle()
        self.idle_ns = user.idle_ns + self.set_up_ns
        if outcome is OK and meter.failed is None:
            self.outcome, self.censored = OK, False
            meter.forget()
        else:
            self.outcome = meter.failed or OK if outcome is OK else outcome
            self.censored = is_bound(self.outcome)
            if self.outcome != SKIPPED:
                self._tell_failure(failure, args[1] if len(args) > 1 else None)
            else:
                meter.forget()
        if self._tries and self.ended_ns - self.begun_ns < AT_ONCE_NS:
            self._look_whether_it_awaits(journey)
        if self._fresh and (self._lived or user.clients or self._kept):
            await self._end_person()
        if self._strays is not None:
            self._end_strays(journey)

    def idle_until(self, now_ns: int) -> int:
        return self._user.idle_until(now_ns) + self.set_up_ns

    async def close(self) -> None:
        """The person leaves: tear-down, then the connections. An iteration that still runs is abandoned."""
        self._abandon()
        await self._end_person()
        self._user.meter.settle()
        await self._user.http.close()
        self._say_forgotten()

    def resisted(self) -> None:
        """The engine cancelled the iteration, and it ended otherwise than by that."""
        journey = self._journey
        if journey is not None and Tally.of(self._user.meter.recorder).is_new(("resisted", journey.name)):
            self._report(
                f"{journey.catching or journey.defined}: journey {journey.name} caught CancelledError and "
                f"went on after it was stopped; {_LET_THROUGH}"
            )

    # -- set-up, state, tear-down ---------------------------------------------------------------

    @owns(keeps=True)
    async def _set_up(self, set_up: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        began_ns = perf_counter_ns()
        meter = self._user.meter
        outer = meter.enter(SET_UP)
        try:
            await set_up(*args)
        except IterationEnded as ended:
            raise IterationEnded(f"set-up {ended.outcome}", ended.detail) from ended
        finally:
            meter.back(outer)
            self.set_up_ns = perf_counter_ns() - began_ns
        self._user.idle_ns = 0

    def _give_state(self, make: Callable[[], Any]) -> None:
        state = None if self._fresh else self._states.get(id(make))
        if state is None:
            state = make()
            if state is None:
                raise UsageError(f"state={getattr(make, '__name__', make)} made None", hint="let it return the state")
            self._states[id(make)] = state
        self._state_of = make
        self._user.take_state(state)

    def state_is(self, state: object) -> None:
        """The journey has assigned another one."""
        self._states[id(self._state_of)] = state

    async def _end_person(self) -> None:
        await self._tear_down()
        if self._user.clients:
            try:
                await self._user.close_clients()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  # reported; the run goes on
                self._report(f"closing a client of user.client: {fault_text(error)}")
        kept, self._kept = self._kept, None
        for stray in kept or ():
            stray.task.cancel()

    async def _tear_down(self) -> None:
        lived, self._lived = self._lived, {}
        meter = self._user.meter
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
        # A CancelledError that gets here is none of the engine's.
        is_own = isinstance(error, asyncio.CancelledError)
        outcome = "script CancelledError" if is_own else outcome_of(error)
        if outcome.startswith("script "):
            self._user.meter.recorder.counters.script_faults += 1
            self._report(fault_text(error) if outcome != ROWS_RAN_OUT else self._rows_ran_out())
        return outcome

    def _rows_ran_out(self) -> str:
        journey = self._journey
        where = f"{journey.defined}: journey {journey.name}" if journey is not None else "the journey"
        return (
            f'{where} has used up the rows of its feed; add rows, or write `.unique(when_out="cycle")` to begin again'
        )

    def _is_stopped(self, error: BaseException) -> bool:
        """True when `error` is the engine's stop, and nothing that the journey did."""
        if self._is_abandoned:
            raise asyncio.CancelledError from error
        if not isinstance(error, asyncio.CancelledError):
            return False
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0

    def _tell_failure(self, error: BaseException | None, row: object) -> None:
        """What a person needs to see why; the texts are made only if this failure is kept, which few are."""
        if error is None:
            self._user.meter.end_iteration(self.outcome, row=row)
            return
        detail = error.detail if isinstance(error, IterationEnded) else partial(fault_text, error)
        self._user.meter.end_iteration(
            self.outcome, detail, partial(where_of, error), partial(traceback_of, error), row
        )

    # -- what a journey gets wrong beside that ----------------------------------------------------

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
        """Cancel what the iteration started and did not await; what a library started is the person's."""
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
                    "cancelled; `await` it, or run calls beside each other with `await user.gather(...)`"
                )

    def forgot(self, name: str, where: str, source: str) -> None:
        journey = self._journey
        if journey is None:
            return
        forgotten, key = Tally.of(self._user.meter.recorder).forgotten, (journey.name, name)
        if not where:
            # The line of a coroutine that was kept in a variable is known when it happens again.
            if key not in forgotten:
                forgotten[key] = (
                    f"{journey.defined}: in journey {journey.name} a call of {name} was never awaited, so nothing "
                    "came of it; write `await` before it"
                )
            return
        forgotten[key] = ""
        is_call = "http." in source or ".post(" in source or ".get(" in source
        self._report(
            f"{where}: `{source}` was never awaited, so {'nothing was sent' if is_call else 'it never ran'}; "
            "write `await` before it"
        )

    def _say_forgotten(self) -> None:
        """Those whose line nobody has found."""
        forgotten = Tally.of(self._user.meter.recorder).forgotten
        for key, text in forgotten.items():
            if text:
                forgotten[key] = ""
                self._report(text)

    def _look_whether_it_awaits(self, journey: BoundJourney) -> None:
        """A short iteration of a closed load: it awaited nothing if the loop has not turned since the one before."""
        loop = asyncio.get_running_loop()
        if self._tries < _TRIES and not self._turned:
            self._tries = 0
            if Tally.of(self._user.meter.recorder).is_new(("awaits nothing", journey.name)):
                took = format_duration(self.ended_ns - self.begun_ns)
                self._report(
                    f"{journey.defined}: journey {journey.name} took {took} and awaited nothing, so in a closed "
                    "load its user begins it again at once; await a request, or `await user.think(1, 3)`"
                )
            return
        self._tries -= 1
        self._turned = False
        loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turned = True

    def _abandon(self) -> None:
        """An iteration that runs on when the person leaves has caught its cancellation: end it by force."""
        running, journey = self._running, self._journey
        if not inspect.iscoroutine(running) or inspect.getcoroutinestate(running) != inspect.CORO_SUSPENDED:
            return
        assert journey is not None
        self._is_abandoned = True
        where = _standing(running) or journey.catching or journey.defined
        self._running = None
        with suppress(RuntimeError):  # it catches that, too: it is left behind
            running.close()
        if Tally.of(self._user.meter.recorder).is_new(("abandoned", journey.name)):
            self._report(
                f"{where}: journey {journey.name} caught CancelledError and would not stop, so its iteration was "
                f"abandoned; {_LET_THROUGH}"
            )


def _defined(fn: Callable[..., Any]) -> str:
    """ "checkout.py:14"."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code is not None else "?"


def _standing(running: Coroutine[Any, Any, Any]) -> str:
    """Where in the scenario's own code a suspended coroutine stands."""
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
    """The line of the first handler in a journey that catches CancelledError; "" where none is seen."""
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
