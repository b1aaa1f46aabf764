"""The user: what a journey's code holds in its hand.

One `User` is one simulated person: cookies, headers, connections and random
numbers are its own. In open loads it is a fresh person for each iteration (the
connections stay with the slot), in closed loads the same one for the whole load.

What is *idle* (think, pace, rendez-vous) is duration and no response time; what is
*waited for* (a request, a poll) is both.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import perf_counter_ns
from typing import Any, Final, Generic, Never, TypeVar, overload

from loadgen.clients import HttpClient, HttpxClient
from loadgen.dsl.distributions import Distribution
from loadgen.dsl.source_location import here
from loadgen.dsl.users.concurrent_calls import Apart, PollPlace
from loadgen.dsl.users.leaked_tasks import owns
from loadgen.dsl.users.outcome import outcome_of
from loadgen.dsl.users.steps import Measure, Step
from loadgen.dsl.users.worker_counters import Tally
from loadgen.engine.load.pace import next_cycle
from loadgen.engine.load.rendezvous import Points
from loadgen.engine.recording.meter import Meter
from loadgen.errors import IterationEnded, RequestFailed, UsageError
from loadgen.measure.deltas.rendezvous_counts import MAX_POINT_NAME
from loadgen.measure.deltas.series import OK, SKIPPED, TIMEOUT
from loadgen.units import NS_PER_S, format_duration, parse_duration

__all__ = ["User", "UserWith", "utc_now"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
S = TypeVar("S")
T = TypeVar("T")

MAX_CLIENTS: Final = 100
"""Of `user.client`, for one person: more can only come from a factory that is made anew each time."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class User:
    """One simulated person within a journey.

    http: the HTTP client of this person: httpx's names and arguments, measured.
    shared: the JSON value that the plan's set-up returned, the same for all users of the fleet.

    Args:
        sleep, wait, clock, now: time; a trial gives its own, which jump. sleep: for what is idle (think, pace); wait:
            between polls; the same unless given. clock: ns, as `perf_counter_ns`.
        open_client: makes the HTTP client of another of the plan's targets; raises UsageError where there is none.
        open_httpx: makes an httpx client over the same connections.
        points: where users of the worker meet; None: this one is alone, and waits for nobody.
    """

    __slots__ = (
        "_beside",
        "_clock",
        "_httpx",
        "_idle_since_ns",
        "_n",
        "_now",
        "_open_client",
        "_open_httpx",
        "_others",
        "_pace_due_ns",
        "_person",
        "_points",
        "_random",
        "_seed",
        "_sleep",
        "_state",
        "_traits",
        "_wait",
        "began_ns",
        "clients",
        "ended_ns",
        "http",
        "idle_ns",
        "is_fresh",
        "meter",
        "owner",
        "shared",
    )

    def __init__(
        self,
        http: HttpClient,
        meter: Meter,
        *,
        seed: int,
        shared: Any = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wait: Callable[[float], Awaitable[None]] | None = None,
        clock: Callable[[], int] = perf_counter_ns,
        now: Callable[[], datetime] = utc_now,
        open_client: Callable[[str], HttpClient] | None = None,
        open_httpx: Callable[[], HttpxClient] | None = None,
        points: Points | None = None,
    ) -> None:
        self.http: Final = http
        self.meter: Final = meter
        self.shared = shared
        self.idle_ns = 0
        self.began_ns = self.ended_ns = 0
        """When the iteration's first line ran, and when the one before ended."""
        self.is_fresh = False
        """True: a fresh person for each iteration."""
        self.owner: Any = None
        """The life that it is driven by."""
        self._idle_since_ns = 0
        self._seed, self._n, self._person = seed, 0, 0
        self._random: Random | None = None
        self._traits: tuple[int, dict[str, float]] | None = None
        self._pace_due_ns = 0
        self._others: dict[str, HttpClient] | None = None
        self._beside = 0
        """How many `gather` are under way."""
        self.clients: dict[Any, Any] | None = None
        """Made by `client`, by what made them."""
        self._state: Any = None
        self._sleep, self._clock, self._now = sleep, clock, now
        self._wait = sleep if wait is None else wait
        self._open_client = open_client
        self._open_httpx = open_httpx
        self._httpx: HttpxClient | None = None
        self._points = points

    # -- where time goes ----------------------------------------------------------------------

    def step(self, name: str) -> Step:
        """A named, timed part of the journey: `async with user.step("login"):`. Steps nest as `outer/inner`.

        Its response time is without think time; its outcome is the exception that left it, or the
        first `http` error of a request in it that no `expect` accepted.
        """
        return Step(self, name)

    def measure(self, name: str) -> Measure:
        """Time anything else that is awaited, as a request named `name`: `async with user.measure("sign"):`."""
        return Measure(self.meter, name)

    async def think(self, low: float | str | Distribution, high: float | str | None = None) -> None:
        """Pause as a person would: `think(2)`, `think("500ms")`, uniformly `think(1, 3)`, `think(lognormal(1.4, .8))`.

        Seconds, or durations as text. Not response time, except within `gather`, where others are waited for meanwhile.
        The random number is the iteration's own, so a run can be repeated.

        Raises:
            ValueError: no duration, or a negative one.
            UsageError: a distribution with faults, or one with a second argument.
        """
        self.meter.settle()
        if isinstance(low, Distribution):
            if high is not None:
                raise UsageError("think of a distribution has one argument", hint="write think(lognormal(1.4, .8))")
            wait_s = max(0.0, low.draw(self.random))
        else:
            low_ns = parse_duration(low)
            wait_ns = low_ns if high is None else self.random.uniform(low_ns, parse_duration(high))
            wait_s = wait_ns / NS_PER_S
        if self._beside:
            await self._sleep(wait_s)
            return
        self._idle_since_ns = perf_counter_ns()
        try:
            await self._sleep(wait_s)
        finally:
            self._be_back()

    async def pace(self, every: float | str) -> None:
        """Closed loads: begin an iteration every `every`, however long it takes. Call it last in the journey.

        Waits until `every` after the previous cycle was due (the first: after the iteration's first line). An
        iteration that overran its cycle skips to the next one that is still to come; what it skipped is counted as
        `pace: skipped cycles`, and there is never a burst. The wait is idle: duration, no response time. A person that
        was away (a load that goes down and up again) begins anew. The plan's `drain` must be longer than `every`, or
        the last iterations are cut off while they wait.

        Raises:
            ValueError: no duration.
            UsageError: 0.

        As k6's `sleep(T - elapsed)` and Locust's `constant_pacing`, but on a grid: those begin late after an overrun
        and stay so.
        """
        self.meter.settle()
        every_ns = parse_duration(every)
        if not every_ns:
            raise UsageError("pace(0) paces nothing", hint='say how often an iteration begins: user.pace("10s")')
        if self.is_fresh and Tally.of(self.meter.recorder).is_new(("pace", self.meter.journey)):
            origin = here()
            self.meter.recorder.note(
                f"{Path(origin.file).name}:{origin.line}: user.pace in an open load only keeps the user busy: the "
                f"arrivals say when iterations of {self.meter.journey} begin; take it out, or use users(n)"
            )
        was_away = self.began_ns - self.ended_ns > every_ns
        began_ns = self.began_ns if was_away or not self._pace_due_ns else self._pace_due_ns
        due_ns, skipped = next_cycle(began_ns, every_ns, self._clock())
        if skipped:
            Tally.of(self.meter.recorder).skipped_cycles(skipped)
        self._pace_due_ns = due_ns
        self._idle_since_ns = perf_counter_ns()
        try:
            for _ in range(3):  # a timer may fire early; and a rehearsal cuts idle times short, so not until it is due
                if (left_ns := due_ns - self._clock()) <= 0:
                    break
                await self._sleep(left_ns / NS_PER_S)
        finally:
            self._be_back()

    async def rendezvous(self, name: str, *, users: int, timeout: float | str = "30s") -> bool:
        """Wait until `users` users of the whole fleet wait here, and go on with them at one instant.

            if not await user.rendezvous("sale opens", users=100, timeout="30s"):
                user.skip("too few came")

        The first `users` that wait are a group, the next ones the next. A rendez-vous is known by its name within a
        load of the plan. The wait is idle: duration, no response time.

        Returns True when the group is complete. False when this user has waited for `timeout`, which then goes on
        alone (`rendezvous: timed out` counts them, `rendezvous: met` the others), and when the load has ended: nobody
        waits longer than a second after that. A trial and `loadgen check` wait for nobody.

        Args:
            name: up to 100 characters, without numbers or ids that vary: 50 rendez-vous of one worker at most.
            users: the same for all calls of this name. No more than the load can have at a time.

        Raises:
            ValueError: no duration.
            UsageError: no name, no number of users or another one than elsewhere, a `timeout` of 0; within `gather`.

        As LoadRunner's `lr_rendezvous` and JMeter's Synchronizing Timer, but a time-out is each user's own, and the
        group is one over all agents: JMeter's is one a JVM.
        """
        meter = self.meter
        meter.settle()
        timeout_ns = _checked_rendezvous(name, users, timeout)
        if self._beside:
            raise UsageError("rendezvous within user.gather: a user waits as a whole", hint="wait before the gather")
        if self._points is None:
            return True
        self._idle_since_ns = perf_counter_ns()
        try:
            ended = await self._points.wait(meter.load, name, users, timeout_ns / NS_PER_S)
        finally:
            self._be_back()
        Tally.of(meter.recorder).rendezvous(ended)
        return ended == "met"

    async def poll(
        self,
        call: Callable[[], Awaitable[T]],
        *,
        until: Callable[[T], object],
        every: float | str = "1s",
        timeout: float | str = "2m",
        name: str,
    ) -> T:
        """Ask until it is so: `await user.poll(lambda: user.http.get("/job/1"), until=is_done, name="job")`.

        The whole wait is one request named `name`, from the first ask to the answer for which `until` is true, which
        is returned. The polls are rows of their own, all named `NAME (poll)`. Each begins `every` after the one before
        began, or at once if that took longer. The wait is what a person waits for: response time of step and journey.

        A poll that fails (`refused`, a failed `expect`) ends the wait with its outcome. A status of 400 or more is an
        error as anywhere else: where "not there yet" is a 404, the call says `accept={200, 404}`.

        Raises:
            RequestFailed: `timeout`, also while a call is under way; the sample is censored at `timeout`.
            UsageError: `call` gives nothing to await.
        """
        meter = self.meter
        meter.settle()
        every_ns, timeout_ns = parse_duration(every), parse_duration(timeout)
        polls = PollPlace(meter.place, f"{name} (poll)")
        sample = Measure(self.meter, name)
        sample.begin(self._clock())
        deadline_ns = sample.asked_ns + timeout_ns
        count = 0
        try:
            while True:
                began_ns = self._clock()
                count += 1
                limit = asyncio.timeout(max(0, deadline_ns - began_ns) / NS_PER_S)
                try:
                    async with limit:
                        answer, is_so = await Apart(meter, _asked(call, until), polls)
                except TimeoutError:
                    if limit.expired():
                        break
                    raise
                sample.last = answer
                if is_so:
                    sample.end(self._clock(), OK)
                    return answer
                next_ns = began_ns + every_ns
                await self._wait_until(min(next_ns, deadline_ns))
                if next_ns >= deadline_ns:
                    break
        except asyncio.CancelledError:
            sample.gone()
            raise
        except BaseException as error:
            sample.end(self._clock(), outcome_of(error))
            raise
        sample.end(deadline_ns, TIMEOUT)
        raise RequestFailed(TIMEOUT, f"{name}: not so after {format_duration(timeout_ns)} and {count} polls")

    # -- chance -------------------------------------------------------------------------------

    @property
    def random(self) -> Random:
        """Random numbers of this iteration, seeded by (run seed, load, arrival): the same when it is run again."""
        if self._random is None:
            self._random = Random(_seed_of(self._seed, self.meter.load, self._n))  # noqa: S311  # no secret depends on it
        return self._random

    def draw(self, of: Distribution) -> float:
        """A number of this iteration: `draw(exponential(3))`. The same as `of.draw(user.random)`."""
        return _distribution("draw", of).draw(self.random)

    def trait(self, name: str, of: Distribution) -> float:
        """What this person is like: drawn when first asked for, and the same for the person's life.

        Seeded by (run seed, load, person, name): the same person has it on any number of agents. A person is an
        arrival in open and counted loads, and a user in closed ones.

        Raises:
            UsageError: a distribution with faults.
        """
        kept = self._traits
        if kept is None or kept[0] != self._person:
            kept = self._traits = self._person, {}
        value = kept[1].get(name)
        if value is None:
            seed = f"{self._seed} {self.meter.load} {self._person} {name}"
            value = kept[1][name] = _distribution("trait", of).draw(Random(seed))  # noqa: S311  # no secret depends on it
        return value

    def now(self) -> datetime:
        """The time of day, UTC, for what a request or a token says; in a trial the clock that jumps."""
        return self._now()

    # -- how it goes --------------------------------------------------------------------------

    def fail(self, reason: str) -> Never:
        """End the iteration: it went wrong in a way that only the journey can tell. The outcome is `fail: REASON`.

        Reasons are names: the first 50 of a worker, 100 characters of each; the rest is `fail: (other)`.
        """
        text = str(reason)
        outcome = Tally.of(self.meter.recorder).reason(text)
        raise IterationEnded(outcome, "" if outcome == f"fail: {text}" else text)

    def skip(self, reason: str = "") -> Never:
        """End the iteration: there is nothing to do for this person. `skipped` is neither good nor bad for any SLO."""
        raise IterationEnded(SKIPPED, reason)

    def check(self, name: str, ok: object) -> bool:
        """Count whether something is so, as the rate `check: NAME`, and go on. Returns whether it is.

        Names are bounded: 200 of a worker, the rest is `check: (other)`.
        """
        is_ok = bool(ok)
        Tally.of(self.meter.recorder).check(name, is_ok)
        return is_ok

    # -- other ways to reach a target -----------------------------------------------------------

    def to(self, target: str) -> HttpClient:
        """The HTTP client for another of the plan's targets: the same connection pool, its own headers and cookies.

        Raises:
            UsageError: the plan has no target of that name.
        """
        others = self._others
        if others is None:
            others = self._others = {}
        client = others.get(target)
        if client is None:
            if self._open_client is None:
                raise UsageError(f'there is no target "{target}"', hint="give the plan targets={...}")
            client = others[target] = self._open_client(target)
        return client

    @property
    def httpx(self) -> HttpxClient:
        """A real `httpx.AsyncClient` over the same connections, measured: `AsyncOpenAI(http_client=user.httpx)`.

        Made when first asked for, with the plan's target as `base_url`, and the person's from then on: a fresh person
        has a fresh one, with cookies, headers and hooks of its own; so has one whose client was closed. Rows are
        `GET /path`, or what a request's `extensions={"name": ...}` says.
        """
        client = self._httpx
        if client is None or client.is_closed:
            if self._open_httpx is None:
                raise UsageError("this user has no httpx client", hint="make people with `People`")
            client = self._httpx = self._open_httpx()
        return client

    @overload
    async def gather(self, a: Awaitable[A], /) -> tuple[A]: ...
    @overload
    async def gather(self, a: Awaitable[A], b: Awaitable[B], /) -> tuple[A, B]: ...
    @overload
    async def gather(self, a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> tuple[A, B, C]: ...
    @overload
    async def gather(
        self, a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /
    ) -> tuple[A, B, C, D]: ...
    @overload
    async def gather(self, *calls: Awaitable[T]) -> tuple[T, ...]: ...
    async def gather(self, *calls: Awaitable[Any]) -> tuple[Any, ...]:
        """Await several calls at once, as a browser does: `a, b = await user.gather(user.http.get("/a"), ...)`.

        All answers, in the order of the calls. The first that fails cancels the others and is raised. Steps and
        samples of the calls do not mix; when all are there they are recorded, so give each call its own `expect=`.

        Raises:
            UsageError: something that cannot be awaited.
        """
        wrong = next((one for one in calls if not inspect.isawaitable(one)), None)
        if wrong is not None:
            for call in calls:
                if inspect.iscoroutine(call):
                    call.close()
            raise UsageError(
                f"gather: {wrong!r} cannot be awaited",
                hint="leave out the `await` within the brackets: user.gather(user.http.get(...), ...)",
            )
        self.meter.settle()
        tasks = [asyncio.create_task(_run(Apart(self.meter, call))) for call in calls]
        if not tasks:
            return ()
        self._beside += 1
        failures: list[BaseException] = []
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failures = [error for task in tasks if task in done and (error := _failure(task)) is not None]
        finally:
            self._beside -= 1
            unfinished = [task for task in tasks if not task.done()]
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished)
            for task in tasks:
                _failure(task)  # seen: else asyncio logs it as never retrieved
        if failures:
            raise failures[0]
        return tuple(task.result() for task in tasks)

    @owns(keeps=True)
    def client(self, factory: Callable[[User], T]) -> T:
        """A third party's client: `redis = user.client(Redis)`, made once a person and closed with it.

        factory: a class or function of the module that takes the user; it measures with `user.measure`. Closed with
        its `aclose()` or `close()`.

        Raises:
            UsageError: a factory that is another one each time (a lambda in the journey).
        """
        clients = self.clients
        if clients is None:
            clients = self.clients = {}
        if factory not in clients:
            if len(clients) >= MAX_CLIENTS:
                raise UsageError(
                    f"one person with {MAX_CLIENTS} clients: the factory is made anew each time",
                    hint="give user.client a class or a function of the module, no lambda",
                )
            client = factory(self)
            if inspect.iscoroutine(client):
                client.close()
                raise UsageError(
                    f"user.client: {getattr(factory, '__name__', factory)} is async",
                    hint="make the client in a plain function or class, and connect in a method that is awaited",
                )
            clients[factory] = client
        made: T = clients[factory]
        return made

    # -- the engine's side --------------------------------------------------------------------

    def _be_back(self) -> None:
        """What was idle is over: it came to its end, or a time-out of the journey's own cancelled it."""
        self.idle_ns += perf_counter_ns() - self._idle_since_ns
        self._idle_since_ns = 0

    def idle_until(self, now_ns: int) -> int:
        """Think time of this iteration so far, with the think that is going on."""
        return self.idle_ns + (now_ns - self._idle_since_ns if self._idle_since_ns else 0)

    @property
    def chance_key(self) -> tuple[int, int, int]:
        """(run seed, load, n): what all chance of this iteration follows from."""
        return self._seed, self.meter.load, self._n

    def begin(self, n: int, person: int | None = None) -> None:
        """The engine begins iteration `n` with this person (who is `n`, unless said)."""
        self._n, self._random, self._state = n, None, None
        self._person = n if person is None else person
        self.idle_ns = self._idle_since_ns = 0

    def renew(self) -> None:
        """A fresh person: no cookies, no headers. Connections stay; `close_clients` comes before."""
        self.http.reset()
        if self._others is not None:
            for client in self._others.values():
                client.reset()
        self._httpx = None
        self._pace_due_ns = 0

    def take_state(self, state: object) -> None:
        """The life gives this person's state for the iteration that begins."""
        self._state = state

    async def close_clients(self) -> None:
        """Close what `client` made. Raises what the first of them raised, after all were closed."""
        clients, self.clients = self.clients or {}, None
        failure: Exception | None = None
        for client in clients.values():
            close = getattr(client, "aclose", None) or getattr(client, "close", None)
            try:
                if close is not None and inspect.isawaitable(closing := close()):
                    await closing
            except Exception as error:  # noqa: BLE001  # the others must be closed, too
                failure = failure or error
        if failure is not None:
            raise failure

    async def _wait_until(self, at_ns: int) -> None:
        while (left_ns := at_ns - self._clock()) > 0:  # a timer may fire early
            await self._wait(left_ns / NS_PER_S)

    def __repr__(self) -> str:
        return f"<User in iteration {self._n} of {self.meter.journey or 'no journey'}, step {self.meter.step}>"


class UserWith(User, Generic[S]):
    """A user with a state: what `@journey(state=Session)` hands to `async def j(user: UserWith[Session])`."""

    __slots__ = ()

    @property
    def state(self) -> S:
        """Made once a person, by calling what the journey gives as `state=`; kept for the person's life.

        Raises:
            UsageError: the journey has none.
        """
        if self._state is None:
            raise UsageError("this journey has no state", hint="write @journey(state=Session)")
        value: S = self._state
        return value

    @state.setter
    def state(self, value: S) -> None:
        """Raises UsageError: a value of another type."""
        before = self._state
        if before is not None and not isinstance(value, type(before)):
            raise UsageError(
                f"user.state is a {type(before).__name__}: {value!r} of type {type(value).__name__} is none",
                hint="set the attributes of the state, or assign one of the same type",
            )
        self._state = value
        if self.owner is not None:
            self.owner.state_is(value)


def _distribution(word: str, of: object) -> Distribution:
    if not isinstance(of, Distribution):
        raise UsageError(
            f"{word} takes a distribution, not {of!r}", hint="write lognormal(0, .3), uniform(1, 3), fixed(2)"
        )
    return of


def _checked_rendezvous(name: object, users: object, timeout: float | str) -> int:
    """The time-out in ns. Raises ValueError, UsageError."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_POINT_NAME:
        raise UsageError(
            f"rendezvous: {name!r} is no name",
            hint=f'1 to {MAX_POINT_NAME} characters: user.rendezvous("sale opens", ...)',
        )
    if not isinstance(users, int) or isinstance(users, bool) or users < 1:
        raise UsageError(f"rendezvous: users={users!r}", hint="say how many are to meet, as a whole number: users=100")
    timeout_ns = parse_duration(timeout)
    if not timeout_ns:
        raise UsageError("rendezvous: timeout=0 waits for nobody", hint='say how long: timeout="30s"')
    return timeout_ns


def _seed_of(seed: int, load: int, n: int) -> int:
    """Another number for each (seed, load, n)."""
    return (seed % 2**64 << 96) + (load << 80) + n


def _failure(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


async def _run(call: Awaitable[T]) -> T:
    return await call


async def _asked(call: Callable[[], Awaitable[T]], until: Callable[[T], object]) -> tuple[T, bool]:
    """One poll: its answer, and whether it is the one that was waited for."""
    asking = call()
    if not inspect.isawaitable(asking):
        raise UsageError(
            f"poll: the call gives {asking!r}, which cannot be awaited",
            hint="give a function that makes the call: lambda: user.http.get(...)",
        )
    answer = await asking
    is_so = until(answer)
    if inspect.iscoroutine(is_so):
        is_so.close()
        raise UsageError("poll: until= is async, so it is always true", hint="give a plain function of the answer")
    return answer, bool(is_so)
