"""The user: the object with which a journey's code sends requests and controls its own timing.

A `User` is one virtual user with its own cookies, headers, connections and random
numbers. An open load has a fresh user for each iteration, which reuses the connections
of an earlier one. A closed load has the same users from start to end.

*Idle* time (think, pace, rendez-vous) is part of an iteration's duration, but not of its
response time. Time spent waiting for the target (a request, a poll) is part of both.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import CookieJar
from pathlib import Path
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Generic, Never, Protocol, TypeVar, overload

import numpy as np

from loadgen.clients.browser.page_visit import PageName, PageVisit
from loadgen.clients.http import HttpClient
from loadgen.clients.httpx_api.transport import HttpxClient
from loadgen.clients.httpx_api.user_clients import UserClients
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.sse import EventStream
from loadgen.clients.tcp_udp.frames import Frame
from loadgen.clients.tcp_udp.links import Links
from loadgen.clients.tcp_udp.tcp_link import TcpLink
from loadgen.clients.tcp_udp.udp_socket import UdpSocket
from loadgen.dsl.data.choices import Choices
from loadgen.dsl.distributions import Distribution
from loadgen.dsl.plans.per_load import PerLoad
from loadgen.dsl.prompts.prompt import Prompt
from loadgen.dsl.source_location import here
from loadgen.dsl.tag import Tag
from loadgen.dsl.users.argument_checks import (
    check_check,
    check_gathered,
    check_name,
    check_prompt,
    check_setting,
    check_until,
    distribution_of,
    pace_ns,
    poll_times_ns,
    rendezvous_timeout_ns,
    sse_limits,
    think_range_ns,
)
from loadgen.dsl.users.concurrent_calls import Apart, PollPlace
from loadgen.dsl.users.exception_to_outcome import outcome_of
from loadgen.dsl.users.leaked_tasks import owns, running_owner
from loadgen.dsl.users.library_clients import LibraryClients, Scope, WorkerClients, check_scope
from loadgen.dsl.users.named_outcomes import Outcomes, check_outcomes
from loadgen.dsl.users.steps import Measure, Step
from loadgen.dsl.users.worker_tally import WorkerTally
from loadgen.engine.load.pace import next_cycle
from loadgen.engine.load.rendezvous import Points
from loadgen.engine.recording.tagging import GivenTags
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import IterationEnded, RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK, SKIPPED, TIMEOUT
from loadgen.target_url import TargetUrl
from loadgen.units import NS_PER_S, format_duration

if TYPE_CHECKING:
    import httpx2 as _httpx2  # optional

    from loadgen.clients.browser.chromium import StorageState
    from loadgen.clients.grpc_client.channel import GrpcChannel
    from loadgen.clients.grpc_schema.reflected import Reflected
    from loadgen.clients.ws_client.websocket import WebSocket

__all__ = ["NO_LOAD", "User", "UserLoad", "UserWith", "utc_now"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
S = TypeVar("S")
T = TypeVar("T")
V = TypeVar("V", bool, int, float, str)


@dataclass(frozen=True, slots=True)
class UserLoad:
    """The load of a user. `settings` has its values of `per_load` settings, by name."""

    name: str = ""
    """Empty if the plan has a single load, or gives this one no name."""
    settings: Mapping[str, Any] = field(default_factory=dict)


def utc_now() -> datetime:
    return datetime.now(UTC)


NO_LOAD: Final = UserLoad()


class Openers(Protocol):
    """Creates the further clients of a user, over the user's connections. All users of a worker share it."""

    reflected: Reflected
    """The gRPC services that the worker knows by reflection."""
    grpc_targets: set[str]
    """The targets with gRPC channels, by name; "" is the plan's main target."""

    def open_grpc(self, user: User, target: str) -> HttpClient:
        """Return the client for gRPC calls to the target of this name.

        Raises:
            UsageError: the plan has no target of that name.
        """
        ...

    def open_client(self, user: User, target: str) -> HttpClient:
        """Return a new client for the target of this name.

        Raises:
            UsageError: the plan has no target of that name.
        """
        ...

    def open_llm(self, user: User) -> LlmClient:
        """Return a new client of the AI model.

        Raises:
            UsageError: the plan has no model.
        """
        ...

    def open_browser(
        self,
        user: User,
        url: str,
        name: PageName,
        storage: StorageState | None = None,
        jar: CookieJar | None = None,
    ) -> PageVisit:
        """Return a visit to pages in a browser.

        Raises:
            UsageError: the plan has no browsers.
        """
        ...

    def httpx_clients(self, user: User) -> UserClients:
        """Return a new object that makes httpx clients."""
        ...

    def links(self, user: User) -> Links:
        """Return a new object that opens TCP connections and UDP sockets."""
        ...

    def target_url(self, target: str) -> TargetUrl:
        """Return the URL of the target of this name.

        Raises:
            UsageError: the plan has no target of that name.
        """
        ...


class User:
    """One virtual user, the first argument of every journey: it sends requests, thinks, and names its steps."""

    __slots__ = (
        "_began_ns",
        "_beside",
        "_clients",
        "_clock",
        "_ended_ns",
        "_grpc",
        "_httpx",
        "_httpx2",
        "_idle_ns",
        "_idle_since_ns",
        "_is_fresh",
        "_links",
        "_llm",
        "_made_clients",
        "_meter",
        "_n",
        "_now",
        "_number",
        "_openers",
        "_others",
        "_owner",
        "_pace_due_ns",
        "_points",
        "_prompts",
        "_random",
        "_seed",
        "_sleep",
        "_slot_clients",
        "_state",
        "_traits",
        "_wait",
        "_words",
        "_worker_clients",
        "http",
        "load",
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
        openers: Openers | None = None,
        points: Points | None = None,
        load: UserLoad = NO_LOAD,
        words: np.ndarray | None = None,
        worker_clients: WorkerClients | None = None,
    ) -> None:
        """Create a user. The engine does this; a journey gets its user as its argument.

        Args:
            sleep, wait, clock, now: the sources of time, which a trial replaces. `sleep` is for idle time (think, pace)
                and `wait` for the time between polls; `wait` defaults to `sleep`. `clock` returns ns, as
                `perf_counter_ns`.
            openers: creates further clients; None: this user has only `http`.
            words: of which prompts are made (`tokenizer_words.py`); None: those of the shipped list.
            points: the rendez-vous of this worker; None in a trial, where no rendez-vous waits.
            worker_clients: the libraries' clients that all users of the worker share; None: the user shares none.
        """
        self.http: Final = http
        """The user's HTTP client, with httpx's methods, which measures requests: `await user.http.get("/")`."""
        self._meter: Final = meter
        self.load: Final = load
        """The load of the plan that the user belongs to; `user.load.name` is its name."""
        self.shared = shared
        """The JSON value that the plan's set_up returned, the same for all users of the fleet; None without a set_up.
        """
        self._idle_ns = 0
        self._began_ns = self._ended_ns = 0
        """Times of the first line of the current iteration, and of the end of the iteration before."""
        self._is_fresh = False
        """True if each iteration has a fresh user (open loads)."""
        self._owner: Any = None
        """The `JourneyLife` that drives this user; it tracks leaked tasks."""
        self._idle_since_ns = 0
        self._seed, self._n, self._number = seed, 0, 0
        self._random: Random | None = None
        self._prompts = 0
        """Number of prompts that the iteration has drawn."""
        self._traits: tuple[int, dict[str, float]] | None = None
        self._pace_due_ns = 0
        self._others: dict[str, HttpClient] | None = None
        self._beside = 0
        """Number of `gather` calls in progress."""
        self._clients: LibraryClients | None = None
        self._slot_clients: LibraryClients | None = None
        self._worker_clients = WorkerClients() if worker_clients is None else worker_clients
        self._state: Any = None
        self._sleep, self._clock, self._now = sleep, clock, now
        self._wait = sleep if wait is None else wait
        self._openers = openers
        self._made_clients: UserClients | None = None
        self._grpc: GrpcChannel | None = None
        self._links: Links | None = None
        self._httpx: HttpxClient | None = None
        self._httpx2: Any = None
        self._points = points
        self._llm: LlmClient | None = None
        self._words = words

    # -- where time goes ----------------------------------------------------------------------

    def step(self, name: str, *, tags: GivenTags | None = None) -> Step:
        """Return a context manager that times a named part of the journey: `async with user.step("login"):`.

        Nested steps are named `outer/inner`. The response time of a step excludes think time. The outcome of a step is
        the exception that left its block. Without an exception, it is the first `http` error of a request in the step
        that no `expect` accepted, or else ok. `tags` hold for the step and all within it, and win over the user's.
        """
        if type(name) is not str or not name:  # also true for a StrEnum, which is a valid name
            check_name("step", name)
        return Step(self, name, tags)

    def measure(self, name: str, outcomes: Outcomes | None = None) -> Measure:
        """Return a context manager that times any awaited call as a request: `async with user.measure("sign"):`.

        Args:
            name: the request's name in the results.
            outcomes: outcomes of the library's exceptions, such as `{ConnectionError: "refused"}`, or with a function
                that returns the outcome: `{PostgresError: lambda e: f"sql {e.sqlstate}"}`. The nearest class counts.
                The measured call, its step and its iteration get this outcome; the exception can still be caught.
                Exceptions that are not named are errors of the script.

        Raises:
            UsageError: `name` is empty, or `outcomes` has a key that is no exception, or an outcome that is no text.
        """
        if type(name) is not str or not name:
            check_name("measure", name)
        if outcomes is not None:
            check_outcomes(outcomes)
        return Measure(self._meter, name, outcomes)

    async def think(self, low: float | str | Distribution, high: float | str | None = None) -> None:
        """Pause like a human: `think(2)` or `think("500ms")`; `think(1, 3)` draws evenly between the two.

        Numbers are seconds; texts are durations. A distribution draws the pause: `think(lognormal(1.4, .8))`. The pause
        does not count as response time, except within `gather`, where other calls run meanwhile. Random pauses use the
        iteration's own random numbers, so a run can be repeated.

        Raises:
            ValueError: an invalid or negative duration.
            UsageError: an invalid distribution, or one with a second argument; or `low` is longer than `high`.
        """
        self._meter.settle()
        if isinstance(low, Distribution):
            if high is not None:
                raise UsageError(
                    "think: a distribution must be the only argument", hint="write think(lognormal(1.4, .8))"
                )
            wait_s = max(0.0, low.draw(self.random))
        else:
            low_ns, high_ns = think_range_ns(low, high)
            wait_s = (low_ns if high is None else self.random.uniform(low_ns, high_ns)) / NS_PER_S
        if self._beside:
            await self._sleep(wait_s)
            return
        self._idle_since_ns = perf_counter_ns()
        try:
            await self._sleep(wait_s)
        finally:
            self._be_back()

    async def pace(self, every: float | str) -> None:
        """Wait so that this user's iterations start every `every`. For closed loads; call it last in the journey.

        The wait ends `every` after the planned start of this cycle; the first cycle starts with the iteration's first
        line. An iteration that took longer than its cycle waits for the next start in the future, so there is never a
        burst. The metric `pace: skipped cycles` counts the skipped starts. The wait is idle time: part of the duration,
        not of the response time. A user that paused (because the load went down and up again) starts a new grid of
        cycles. The plan's `drain` must be longer than `every`, or the last iterations are cut off during their wait.

        Raises:
            ValueError: an invalid duration.
            UsageError: `every` is 0.

        Like k6's `sleep(T - elapsed)` and Locust's `constant_pacing`, but on a grid: those start all later iterations
        late after one overrun.
        """
        self._meter.settle()
        every_ns = pace_ns(every)
        if self._is_fresh and WorkerTally.of(self._meter.recorder).is_new(("pace", self._meter.journey)):
            origin = here()
            self._meter.recorder.note(
                f"{Path(origin.file).name}:{origin.line}: in an open load, user.pace only keeps the user busy: the "
                f"plan's arrivals decide when iterations of {self._meter.journey} start; remove it, or use users(n)"
            )
        was_away = self._began_ns - self._ended_ns > every_ns
        began_ns = self._began_ns if was_away or not self._pace_due_ns else self._pace_due_ns
        due_ns, skipped = next_cycle(began_ns, every_ns, self._clock())
        if skipped:
            WorkerTally.of(self._meter.recorder).skipped_cycles(skipped)
        self._pace_due_ns = due_ns
        self._idle_since_ns = perf_counter_ns()
        try:
            for _ in range(3):  # a timer may fire early; at most 3 waits, because a rehearsal shortens idle times
                if (left_ns := due_ns - self._clock()) <= 0:
                    break
                await self._sleep(left_ns / NS_PER_S)
        finally:
            self._be_back()

    async def rendezvous(self, name: str, *, users: int, timeout: float | str = "30s") -> bool:
        """Wait until `users` users of the whole fleet wait at this point, then continue together.

            if not await user.rendezvous("sale opens", users=100, timeout="30s"):
                user.skip("too few users arrived")

        The first `users` users that wait form a group, the next `users` the next group. The name identifies a
        rendez-vous within one load of the plan. The wait is idle time: part of the duration, not of the response time.

        Args:
            name: 1 to 100 characters. It must not contain varying numbers or ids, since a worker tracks at most 50
                names.
            users: the size of a group, the same in all calls with this name, and at most the number of concurrent
                users.
            timeout: how long this user waits; above 0.

        Returns:
            True when the group is complete. False after `timeout`: this user then continues alone. Also False within a
            second after the load has ended. In a trial and in `loadgen check`, it returns True at once. The metrics
            `rendezvous: met` and `rendezvous: timed out` count the users.

        Raises:
            ValueError: an invalid duration.
            UsageError: an invalid name, a different `users` for the same name, a `timeout` of 0, or a call within
                `gather`.

        Like LoadRunner's `lr_rendezvous` and JMeter's Synchronizing Timer, with two differences: each user has its own
        time-out, and a group spans all agents, while JMeter's is limited to one JVM.
        """
        meter = self._meter
        meter.settle()
        timeout_ns = rendezvous_timeout_ns(name, users, timeout)
        if self._beside:
            raise UsageError("rendezvous cannot be called within user.gather", hint="call it before user.gather")
        if self._points is None:
            return True
        self._idle_since_ns = perf_counter_ns()
        try:
            ended = await self._points.wait(meter.load, name, users, timeout_ns / NS_PER_S)
        finally:
            self._be_back()
        WorkerTally.of(meter.recorder).rendezvous(ended)
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
        """Repeat a call until its result is as expected, and return that result.

            await user.poll(lambda: user.http.get("/job/1"), until=is_done, name="job")

        The whole wait is recorded as one request named `name`, from the first poll to the accepted result. The polls
        have rows of their own, all named `NAME (poll)`. The wait counts as response time of the step and the journey.

        A poll that fails (`refused`, a failed `expect`) ends the wait with its outcome. A status of 400 or more is an
        error here, too; if 404 means "not ready yet", pass `accept={200, 404}` to the call.

        Args:
            call: starts one poll; called without arguments.
            until: returns a true value for the result that ends the wait.
            every: time from the start of one poll to the start of the next. A poll that takes longer is followed at
                once.
            timeout: limit of the whole wait, which also cancels a poll in flight.
            name: name of the request that stands for the whole wait.

        Raises:
            RequestFailed: with outcome `timeout`; the sample is recorded as censored at `timeout`.
            UsageError: the result of `call` cannot be awaited, `until` is async or not a function, or `every` is longer
                than `timeout`.
        """
        meter = self._meter
        meter.settle()
        every_ns, timeout_ns = poll_times_ns(every, timeout)
        check_until(until)
        polls = PollPlace(meter.place, f"{name} (poll)")
        sample = Measure(self._meter, name)
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
            sample.end(self._clock(), outcome_of(error, meter))
            raise
        sample.end(deadline_ns, TIMEOUT)
        raise RequestFailed(
            TIMEOUT,
            f"{name}: no accepted result after {format_duration(timeout_ns)} and {count} polls; "
            "check until=, or raise timeout=",
        )

    # -- chance -------------------------------------------------------------------------------

    @property
    def random(self) -> Random:
        """Return the random numbers of this iteration.

        The seed is (run seed, load, arrival), so a repeated run draws the same numbers.
        """
        if self._random is None:
            self._random = Random(_seed_of(self._seed, self._meter.load, self._n))  # noqa: S311  # no secret depends on it
        return self._random

    @overload
    def draw(self, of: Distribution) -> float: ...
    @overload
    def draw(self, of: Choices) -> str: ...
    def draw(self, of: Distribution | Choices) -> float | str:
        """Return a number drawn from a distribution, `draw(exponential(3))`, or a text drawn from `choices`.

        It uses this iteration's random numbers.
        """
        return of.draw(self.random) if isinstance(of, Choices) else distribution_of("draw", of).draw(self.random)

    def trait(self, name: str, of: Distribution) -> float:
        """Return a property of this user: drawn on first use, then constant for the user's whole life.

        The seed is (run seed, load, user, name), so a user has the same traits on any number of agents. In open and
        counted loads, each arrival is a user of its own.

        Raises:
            UsageError: an invalid distribution.
        """
        kept = self._traits
        if kept is None or kept[0] != self._number:
            kept = self._traits = self._number, {}
        value = kept[1].get(name)
        if value is None:
            seed = f"{self._seed} {self._meter.load} {self._number} {name}"
            value = kept[1][name] = distribution_of("trait", of).draw(Random(seed))  # noqa: S311  # no secret depends on it
        return value

    def text_of(self, prompt: Prompt) -> str:
        """Return a text for a prompt, for requests that `user.llm` does not send: `text_of(prompt(tokens=1024))`.

        Each call draws another text, which depends on the run's seed, the iteration, and how many prompts it has drawn
        before. So `gather` may change which call gets which text.

        Raises:
            UsageError: the prompt was created with invalid arguments.
        """
        check_prompt(prompt)
        return prompt.text(*self._next_prompt(), words=self._words)

    def _next_prompt(self) -> tuple[int, int, int, int, int]:
        """Count one more prompt of this iteration, and return the arguments of `Prompt.text` for it."""
        nth, self._prompts = self._prompts, self._prompts + 1
        return self._seed, self._n, nth, self._meter.load, self._number

    def now(self) -> datetime:
        """Return the current time of day in UTC, for use in requests and tokens. In a trial, the clock is simulated."""
        return self._now()

    # -- who the user is -----------------------------------------------------------------------

    @property
    def arrival(self) -> int:
        """Return the number of this iteration within its load, from 0: the same on any number of agents.

        Open and counted loads number the iterations of the whole fleet without gaps. In a closed load, each user has
        numbers of its own: `number * 2**32 + iteration`. `loadgen check --arrival` repeats an iteration by its number.
        """
        return self._n

    @property
    def number(self) -> int:
        """Return the number of this user within its load, from 0 over the fleet: the same on any number of agents.

        In open and counted loads, each iteration has a user of its own, so it is `arrival`.
        """
        return self._number

    @property
    def iteration(self) -> int:
        """Return how many iterations this user has begun before this one; 0 in open and counted loads."""
        return self._n & 0xFFFFFFFF if self._n != self._number else 0

    def setting(self, setting: PerLoad[V]) -> V:
        """Return the value of a `per_load` setting for the load of this user, or its default.

        Raises:
            UsageError: `setting` was not made by `per_load`.
        """
        check_setting(setting)
        value: V = self.load.settings.get(setting.name, setting.default)
        return value

    # -- how it goes --------------------------------------------------------------------------

    def fail(self, reason: str) -> Never:
        """End the iteration as failed, for a reason that only the journey can check. The outcome is `fail: REASON`.

        A worker records the first 50 different reasons, each cut to 100 characters; further ones become `fail:
        (other)`.
        """
        text = str(reason)
        outcome = WorkerTally.of(self._meter.recorder).reason(text)
        raise IterationEnded(outcome, "" if outcome == f"fail: {text}" else text)

    def skip(self, reason: str = "") -> Never:
        """End the iteration because there is nothing to do. The outcome `skipped` does not count in any objective."""
        raise IterationEnded(SKIPPED, reason)

    def check(self, name: str, ok: object) -> bool:
        """Record whether a condition holds, as the rate `check: NAME`, and return it as a bool.

        The iteration continues. A worker records at most 200 names; further ones are counted in `check: (other)`.

        Raises:
            UsageError: the name is not a text, or `ok` is a function, which is always true.
        """
        check_check(name, ok)
        is_ok = bool(ok)
        WorkerTally.of(self._meter.recorder).check(name, is_ok)
        return is_ok

    def tag(self, tag: Tag | str, value: str) -> None:
        """Count this user's iteration, steps and requests under a value of a tag, from here on: `tag(tenant, "gold")`.

        The rest of the iteration has the tag: also the row of the journey, and the steps that are open. The next
        iteration starts without it. Within `gather` it holds for that call only. A value that the tag does not declare
        is counted in `(other)`.

        Args:
            tag: a declared tag (`loadgen.tag`) or its name. A tag that is not in `Plan(tags=...)` has no effect.
            value: one of its values. For ids use `note`.

        Raises:
            UsageError: an unknown name, a value that is not a text, or a tag that is read from a header.
        """
        self._meter.tag(tag, value)

    def note(self, **fields: object) -> None:
        """Add fields to this iteration, for its failures and exemplars: `user.note(order=reply.pick("$.id", str))`.

        Notes are not tags: they split no rows and may have any number of values. Each failed request that is stored in
        full, and each exemplar, shows the notes, from here to the end of the iteration. A later note replaces a field
        of the same name. At most 20 fields are kept; texts are cut to 200 characters, and all of them together
        to 1 KiB. Fields that look like secrets are masked.
        """
        self._meter.note(fields)

    # -- other ways to reach a target -----------------------------------------------------------

    def to(self, target: str) -> HttpClient:
        """Return the HTTP client for another target of the plan.

        It shares the user's connection pool, but has its own headers and cookies.

        Raises:
            UsageError: the plan has no target of that name.
        """
        others = self._others
        if others is None:
            others = self._others = {}
        client = others.get(target)
        if client is None:
            client = others[target] = self._all_openers().open_client(self, target)
        return client

    def sse(
        self,
        url: str,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        tags: GivenTags | None = None,
        upto: int | None = None,
        within: str | float | None = None,
        reconnect: bool = True,
    ) -> EventStream:
        """Return a context manager that reads server-sent events: `async with user.sse("/events") as events:`.

        `async for event in events:` then yields each `Event` with `data`, `event`, `id` and `t_ns`.

        Args:
            name: of the row; by default `SSE /path`.
            upto: the most events. within: "30s": the longest time. None: no limit.
            reconnect: connect again when the server ends the stream, after the time that it asked for (`retry:`).

        Raises:
            UsageError: `upto` or `within` is not above 0.
        """
        most, within_ns = sse_limits(upto, within)
        return EventStream(
            self.http,
            url,
            name=name,
            headers=headers,
            tags=tags,
            upto=most,
            within_ns=within_ns,
            reconnect=reconnect,
            wait=self._wait,
        )

    def browser(
        self,
        url: str = "/",
        *,
        name: str | Callable[[str], str] | None = None,
        storage_state: StorageState | None = None,
        share_cookies: bool = False,
    ) -> PageVisit:
        """Return a context manager that opens a page in a real browser: `async with user.browser("/") as page:`.

        `page` is Playwright's typed page: `await page.click("text=Buy")`. Each block has a fresh browser profile. Each
        navigation is a row, `page /path`, from its start to the load event, with the web vitals of the page as metrics:
        lcp, inp, cls, fcp, ttfb. They are recorded when the user leaves the page. Browsers take much CPU, so give only
        a small share of the users a browser, on other machines than the rest: docs/language-browser.md.

        Args:
            url: the first page, relative to the plan's target.
            name: the name of the first row; or a function that returns the name of each row from its URL.
            storage_state: cookies and local storage, as `await page.context.storage_state()` returned them in an
                earlier `async with user.browser` block. None: the profile is empty.
            share_cookies: the browser starts with the cookies of `user.http`, and at the end of the block `user.http`
                has those of the browser.

        Raises:
            UsageError: the plan has no `browsers=`, or `storage_state` is not such a dict.
        """
        if storage_state is not None and not isinstance(storage_state, dict):
            raise UsageError(
                f"user.browser: storage_state must be a dict, not a {type(storage_state).__name__}",
                hint="write state = await page.context.storage_state() at the end of an earlier block, and pass state",
            )
        jar = self.http.cookies.jar if share_cookies else None
        return self._all_openers().open_browser(self, url, name, storage_state, jar)

    def tcp(self, target: str = "", *, frame: Frame, timeout: float | str | None = None) -> TcpLink:
        """Return a TCP connection: `async with user.tcp("gate", frame=lines()) as link: await link.ask(b"PING")`.

        Connecting has a row, `TCP gate (connect)`, and so has each `ask`, `send` and `receive` of the connection.

        Args:
            target: name of a target `tcp://HOST:PORT`, or with TLS `tcps://HOST:PORT`; "" for the plan's main target.
            frame: how messages are cut out of the bytes: `lines()`, `length_prefix(4)`, `fixed_size(8)`,
                `until(b"...")`, or a custom `Frame`.
            timeout: of each request on the connection; by default the plan's. It also limits connecting, if it is
                shorter than the plan's `connect_timeout=`.

        Raises:
            UsageError: the plan has no target of that name, it is not tcp:// or tcps://, or an invalid argument.
        """
        return self._all_links().tcp(target, frame, timeout)

    def udp(self, target: str = "") -> UdpSocket:
        """Return this user's UDP socket for a target: `await user.udp("dns").ask(query, match=first(2), timeout="1s")`.

        A lost answer is a `timeout`. Counters show late answers, and datagrams that answer no request.

        Args:
            target: name of a target `udp://HOST:PORT`; "" for the plan's main target.

        Raises:
            UsageError: the plan has no target of that name, or it is not udp://.
        """
        return self._all_links().udp(target)

    def target(self, name: str = "") -> TargetUrl:
        """Return the URL of a target of the plan, for a client library: `Redis.from_url(user.target("cache"))`.

        The URL is a str with the extra attributes `scheme`, `host`, `port`, `place` (HOST:PORT) and `path`.

        Raises:
            UsageError: the plan has no target of that name.
        """
        return self._all_openers().target_url(name)

    def _all_links(self) -> Links:
        links = self._links
        if links is None:
            links = self._links = self._all_openers().links(self)
        return links

    def ws(
        self,
        url: str,
        *,
        target: str = "",
        name: str | None = None,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float | str | None = None,
        tags: GivenTags | None = None,
    ) -> WebSocket:
        """Return a context manager that opens a WebSocket: `async with user.ws("/feed") as ws:`.

        The connection has `send`, `ask`, `messages`, `ping` and `close`. The user's headers and cookies are sent with
        its request.

        Args:
            url: a path of the target, or a whole `ws://` or `wss://` URL.
            target: the name of another target of the plan.
            name: the beginning of the names of the rows, by default `WS /path`: `WS /path (connect)`.
            subprotocols: the subprotocols to offer; `ws.subprotocol` is the one that the target chose.
            headers: more headers of the request.
            timeout: the limit for connecting, TLS and the handshake together; by default the plan's.
            tags: the tags of the connect row.

        Raises:
            UsageError: an invalid subprotocol, or a header that the handshake sets itself.
        """
        from loadgen.clients.ws_client.websocket import open_websocket  # few scenarios need it

        http = self.to(target) if target else self.http
        return open_websocket(
            http, url, name=name, subprotocols=subprotocols, headers=headers, tags=tags, timeout=timeout
        )

    @property
    def llm(self) -> LlmClient:
        """Return the user's client for the AI model of the plan's `Llm`: `await user.llm.chat(prompt(tokens=1024))`.

        Raises:
            UsageError: the plan has no `Llm`.
        """
        client = self._llm
        if client is None:
            client = self._llm = self._all_openers().open_llm(self)
        return client

    @property
    def grpc(self) -> GrpcChannel:
        """Return a channel for generated gRPC stubs: `await CartStub(user.grpc).Get(GetCart(id="7"), timeout=2)`.

        It has the shape of a `grpc.aio.Channel`, and sends over this user's own HTTP/2 connections. Each call is a row,
        "shop.v1.Cart/Get"; its outcome is ok, or the status: "grpc not_found". Calls that fail raise an exception that
        is a `grpc.RpcError`. For another target of the plan: `user.grpc_channel("cart")`.

        Raises:
            UsageError: the plan does not use HTTP/2.
        """
        channel = self._grpc
        if channel is None:
            channel = self._grpc = self.grpc_channel()
        return channel

    def grpc_channel(self, target: str = "") -> GrpcChannel:
        """Return a new channel as `grpc` does, for the target of this name; "" for the plan's main target.

        A target with `grpc://` or `grpcs://` always uses HTTP/2; one with `https://` needs it in the plan.

        Raises:
            UsageError: the plan does not use HTTP/2, or has no target of that name.
        """
        from loadgen.clients.grpc_client.channel import GrpcChannel  # imports grpcio: 0.1 s, which few scenarios need

        openers = self._openers
        if openers is None:
            return GrpcChannel(self.to(target) if target else self.http, target=target)
        openers.grpc_targets.add(target)
        return GrpcChannel(openers.open_grpc(self, target), reflected=openers.reflected, target=target)

    @property
    def httpx(self) -> HttpxClient:
        """Return an `httpx.AsyncClient` over this user's connections, measured: `AsyncOpenAI(http_client=user.httpx)`.

        The client is created on first use, with the plan's target as `base_url`, and is kept for the user's life. A
        fresh user gets a fresh client with its own cookies, headers and hooks. A closed client is replaced by a new
        one. Rows are named `GET /path`, or by the request's `extensions={"name": ...}`.
        """
        client = self._httpx
        if client is None or client.is_closed:
            client = self._httpx = self.open_httpx()
        return client

    @property
    def httpx2(self) -> _httpx2.AsyncClient:
        """Return an `httpx2.AsyncClient` over this user's connections, for libraries that import httpx2:
        `AsyncAnthropic(http_client=user.httpx2)`. Everything else is as with `httpx`.

        Raises:
            UsageError: httpx2 is not installed.
        """
        client = self._httpx2
        if client is None or client.is_closed:
            client = self._httpx2 = self.open_httpx2()
        return client

    def open_httpx(self, **options: Any) -> HttpxClient:
        """Return another `httpx.AsyncClient` over this user's connections, measured, each time a new one.

        options: arguments of `httpx.AsyncClient`, such as `headers`, `auth` or `base_url`.

        Raises:
            UsageError: an argument that the plan decides, such as `proxy` or `verify`.
        """
        return self._library_clients().client("httpx", options)

    def open_httpx2(self, **options: Any) -> _httpx2.AsyncClient:
        """Return another `httpx2.AsyncClient` over this user's connections, as `open_httpx` does.

        Raises:
            UsageError: as `open_httpx`; or httpx2 is not installed.
        """
        return self._library_clients().client("httpx2", options)

    def open_transport(self, library: str = "httpx") -> Any:
        """Return a transport over this user's connections, for a library that makes its httpx client itself:
        `AsyncQdrantClient(url, transport=user.open_transport())`.

        library: `httpx` or `httpx2`.

        Raises:
            UsageError: another library, or httpx2 is not installed.
        """
        return self._library_clients().transport(library)

    def _library_clients(self) -> UserClients:
        clients = self._made_clients
        if clients is None:
            clients = self._made_clients = self._all_openers().httpx_clients(self)
        return clients

    def _all_openers(self) -> Openers:
        if self._openers is None:
            raise UsageError("this user has only user.http", hint="create users with `UserFactory`")
        return self._openers

    @staticmethod
    def current() -> User:
        """Return the user whose iteration runs now, for a library that takes a function that makes clients:
        `set_async_client_factory(lambda: User.current().open_httpx2())`.

        Takes some 10 µs. Works in the journey, and in tasks that it started.

        Raises:
            UsageError: called outside of an iteration.
        """
        user = getattr(running_owner(), "user", None)
        if not isinstance(user, User):
            raise UsageError("User.current(): no iteration runs here", hint="call it in a journey, or pass the user")
        return user

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
        """Await several calls concurrently, as a browser does: `a, b = await user.gather(user.http.get("/a"), ...)`.

        Returns all results, in the order of the calls. The first failing call cancels the others, and its exception is
        raised. Each call has its own steps and samples, which are recorded at its end; so pass `expect=` to each call.

        Raises:
            UsageError: an argument cannot be awaited.
        """
        try:
            for one in calls:
                check_gathered(one)
        except UsageError:
            for call in calls:
                if inspect.iscoroutine(call):
                    call.close()
            raise
        self._meter.settle()
        tasks = [asyncio.create_task(_run(Apart(self._meter, call))) for call in calls]
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
                _failure(task)  # asyncio logs exceptions that nobody has retrieved
        if failures:
            raise failures[0]
        return tuple(task.result() for task in tasks)

    @owns(keeps=True)
    def client(self, factory: Callable[[User], T], *, scope: Scope = "user", outcomes: Outcomes | None = None) -> T:
        """Return a third-party client: `await user.client(Cache, scope="worker").redis.get(sku)`.

        The client is created at the first call, and closed by its `aclose()` or `close()`.

        Args:
            factory: a class or function at module level that takes a user. Connect in a method that is awaited later.
            scope: whose client it is, and so how long it lives. "user": the user's; in open loads, where each iteration
                has a fresh user, it lives for one iteration. "slot": of the users that follow one another in one slot.
                "worker": of all users of the worker process; the factory gets a user that measures nothing, so time its
                calls in the journey: `async with user.measure(...):`.
            outcomes: outcomes of the exceptions that the factory raises, as those of `measure`, for a factory that
                connects by itself. The next call runs a failed factory again.

        Raises:
            UsageError: an async factory, an unknown scope, invalid outcomes, or a different factory each time (such as
                a lambda in the journey).
            Exception: what the factory raises.
        """
        if outcomes is not None:
            check_outcomes(outcomes, "user.client")
        if scope == "user":
            clients = self._clients
            if clients is None:
                clients = self._clients = LibraryClients()
            return clients.get(factory, self, outcomes)
        if scope == "slot":
            if self._slot_clients is None:
                self._slot_clients = LibraryClients(is_shared=True)
            return self._slot_clients.get(factory, self, outcomes)
        check_scope(scope)
        return self._worker_clients.of(factory, self, outcomes)

    # -- the engine's side --------------------------------------------------------------------

    def _be_back(self) -> None:
        """End an idle period of the user and add its length to the iteration's idle time.

        The runner also calls this when a time-out of the journey cancelled the idle period.
        """
        self._idle_ns += perf_counter_ns() - self._idle_since_ns
        self._idle_since_ns = 0

    def _idle_until(self, now_ns: int) -> int:
        """Return the idle time of this iteration in ns, including the idle period in progress."""
        return self._idle_ns + (now_ns - self._idle_since_ns if self._idle_since_ns else 0)

    @property
    def _chance_key(self) -> tuple[int, int, int]:
        """Return (run seed, load, iteration number), from which all random numbers of this iteration follow."""
        return self._seed, self._meter.load, self._n

    def _begin(self, n: int, number: int | None = None) -> None:
        """Reset the user for iteration `n`; called by the engine.

        number: the user's number, by default `n`.
        """
        self._n, self._random, self._state, self._prompts = n, None, None, 0
        self._number = n if number is None else number
        self._idle_ns = self._idle_since_ns = 0

    def _renew(self) -> None:
        """Make this a fresh user: remove cookies and headers. Connections stay open. Call `_close_clients` first."""
        self.http.reset()
        if self._others is not None:
            for client in self._others.values():
                client.reset()
        self._httpx = self._httpx2 = None
        self._pace_due_ns = 0

    def _take_state(self, state: object) -> None:
        """Set `user.state` for the iteration that starts; called by the engine."""
        self._state = state

    async def _close_clients(self) -> None:
        """Close the clients of the user that `client` created, then raise the first exception of a close, if any."""
        clients, self._clients = self._clients, None
        if clients is not None:
            await clients.close()

    async def _close_slot_clients(self) -> None:
        """Close the clients of the slot, likewise, and its TCP connections and UDP sockets."""
        clients, self._slot_clients = self._slot_clients, None
        links, self._links = self._links, None
        if links is not None:
            await links.close()
        if clients is not None:
            await clients.close()

    async def _wait_until(self, at_ns: int) -> None:
        while (left_ns := at_ns - self._clock()) > 0:  # a timer may fire early
            await self._wait(left_ns / NS_PER_S)

    def __repr__(self) -> str:
        return f"<User in iteration {self._n} of {self._meter.journey or 'no journey'}, step {self._meter.step}>"


class UserWith(User, Generic[S]):
    """A user with typed state: `@journey(state=Session)` passes it to `async def j(user: UserWith[Session])`."""

    __slots__ = ()

    @property
    def state(self) -> S:
        """Return the user's state, created once per user by the journey's `state=`, and kept for the user's life.

        Raises:
            UsageError: the journey has no `state=`.
        """
        if self._state is None:
            raise UsageError("this journey has no state", hint="declare it: @journey(state=Session)")
        value: S = self._state
        return value

    @state.setter
    def state(self, value: S) -> None:
        """Replace the user's state; raises UsageError for a value of another type."""
        before = self._state
        if before is not None and not isinstance(value, type(before)):
            raise UsageError(
                f"user.state must be a {type(before).__name__}, got {value!r} of type {type(value).__name__}",
                hint="set the attributes of the state, or assign a value of the same type",
            )
        self._state = value
        if self._owner is not None:
            self._owner.state_is(value)


def _seed_of(seed: int, load: int, n: int) -> int:
    """Return one seed for the run's seed, the load's index and the iteration's number; different for each of these."""
    return (seed % 2**64 << 96) + (load << 80) + n


def _failure(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


async def _run(call: Awaitable[T]) -> T:
    return await call


async def _asked(call: Callable[[], Awaitable[T]], until: Callable[[T], object]) -> tuple[T, bool]:
    """Make one poll; return its result, and True if `until` accepts the result, which ends the wait."""
    asking = call()
    if not inspect.isawaitable(asking):
        raise UsageError(
            f"poll: the result of call() is {asking!r}, which cannot be awaited",
            hint="pass a function that starts the call: lambda: user.http.get(...)",
        )
    answer = await asking
    is_so = until(answer)
    if inspect.iscoroutine(is_so):
        is_so.close()
        raise UsageError(
            "poll: until= is async, so it is always true", hint="pass a plain function that takes the result"
        )
    return answer, bool(is_so)
