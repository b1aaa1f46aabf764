"""The standard loads of a plan: `arrivals()`, `users()`, `iterations()`.

    arrivals().ramp(to="200/s", over="2m").hold("10m")      open: a given rate, whatever the target's speed
    arrivals("50/s").hold("1m")
    arrivals().steps("50/s", by="50/s", every="1m", upto="400/s")
    arrivals().sine(mean="100/s", amplitude="40/s", period="10m", duration="1h")
    arrivals("50/s").poisson(seed=7).hold("1m")             random spacings on the same curve
    users(64).hold("10s")                                   closed: a given number of users; the target decides the rate
    users().ramp(to=500, over="1m").hold("5m").ramp(to=0, over="30s")
    users().levels([1, 2, 4, 8], each="2m", settle="20s")   one row of results for each level
    users(50).hold("10m").pace("10s")                       each user starts an iteration every 10 s
    iterations(1000, users=10)                              counted: ends when all iterations are done
    iterations(per_user=5, users=10)

Each method returns a new value and changes nothing in place. None of them raises: errors
are kept in `faults` with their lines, and the loader reports all at once. Rates count
iterations; the number of requests depends on the journeys.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Self, TypeVar

from loadgen.dsl.executors.base import Executor, Lowered
from loadgen.dsl.executors.parse_quantities import count_of, duration_of, gamma_shape, hour_of, rate_of, seed_of
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.profiles import smooth_curves
from loadgen.profiles.levels import MAX_LEVELS, LevelMark, level_text
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, Profile, UserProfile
from loadgen.profiles.spacing import Spacing
from loadgen.profiles.stage import MAX_DURATION_NS, Stage, exact

__all__ = ["MAX_STEPS", "Arrivals", "Iterations", "Users", "arrivals", "iterations", "users"]

T = TypeVar("T")
MAX_STEPS = 1_000
"""Maximum number of steps. More is a typing error, such as `by="1/s"` for "100/s"."""


@dataclass(frozen=True, slots=True)
class _Staged(Executor):
    """A load made of successive stages. Errors keep the lines of the calls that caused them."""

    origin: Origin
    stages: tuple[Stage, ...] = ()
    level: float = 0.0
    """The rate or number of users at which the next stage starts."""
    errors: tuple[Fault, ...] = ()
    marks: tuple[LevelMark, ...] = ()
    """Which of the stages are levels (`levels`)."""

    def hold(self, duration: str | float) -> Self:
        """Return this load with one more stage: hold the current rate or number of users for `duration`."""
        return self._then(here(), lambda: (self._held(self.level, duration),))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return all errors of this load; `lower()` works only if this is empty."""
        if self.errors:
            return self.errors
        try:
            self._built()
        except ProfileError as error:
            return tuple(replace(fault, file=self.origin.file, line=self.origin.line) for fault in error.faults)
        return ()

    def lower(self, seed: int) -> Lowered:
        _refuse(self.faults)
        return Lowered(self._built(), levels=self.marks)

    @abstractmethod
    def _built(self) -> Profile: ...

    def _with_levels(
        self, origin: Origin, read: Callable[[], list[float]], each: object, settle: object, may_stop: object
    ) -> Self:
        """Return this load with a stage for each level that `read` returns. All wrong arguments become errors."""
        wrong: list[str] = []

        def tried(action: Callable[[], T]) -> T | None:
            try:
                return action()
            except ValueError as error:
                wrong.append(f"levels: {error}")
                return None

        levels, each_ns, settle_ns = tried(read), tried(lambda: duration_of(each)), tried(lambda: duration_of(settle))
        if each_ns == 0:
            wrong.append('levels: each= must be above 0; write each="2m"')
        elif each_ns is not None and settle_ns is not None and settle_ns >= each_ns:
            wrong.append(
                f"levels: settle={settle!r} must be shorter than each={each!r}; nothing would be left to measure"
            )
        if not isinstance(may_stop, bool):
            wrong.append(f"levels: stop_when_saturated={may_stop!r} must be True or False; write True, or leave it out")
        elif may_stop and levels is not None and sorted(levels) != levels:
            wrong.append(
                "levels: with stop_when_saturated=True levels must rise, because the run ends after the first saturated"
                " level; sort them"
            )
        known = {self._text(self.stages[one.stage].start) for one in self.marks}
        for level in levels or ():
            if (text := self._text(level)) in known:
                wrong.append(f"levels: {text} is given twice; remove one, because each level has one row of results")
            known.add(text)
        if len(known) > MAX_LEVELS:
            wrong.append(f"levels: {len(known)} are more than {MAX_LEVELS}; write fewer levels")
        if wrong or levels is None or each_ns is None or settle_ns is None:
            parts = [one.partition("; ") for one in wrong]
            return replace(self, errors=(*self.errors, *(origin.fault(what, hint) for what, _, hint in parts)))
        stages = tuple(Stage(level, level, each_ns) for level in levels)
        share, first = settle_ns / each_ns, len(self.stages)
        marks = tuple(LevelMark(first + k, share, may_stop is True) for k in range(len(levels)))
        return replace(self, stages=self.stages + stages, marks=self.marks + marks, level=levels[-1])

    def _text(self, level: float) -> str:
        """Return a level as its rows show it."""
        return level_text(level, is_rate=isinstance(self, Arrivals))

    def _held(self, level: float, duration: str | float) -> Stage:
        duration_ns = duration_of(duration)
        if duration_ns == 0:
            raise ValueError('the duration of a hold must be above 0; write hold("1m")')
        return Stage(level, level, duration_ns)

    def _then(self, origin: Origin, more: Callable[[], tuple[Stage, ...]]) -> Self:
        """Return this load with the stages that `more` returns.

        If `more` raises ValueError, return this load with an error at `origin` instead.
        """
        try:
            stages = more()
        except ValueError as error:
            return replace(self, errors=(*self.errors, origin.fault(str(error))))
        return replace(self, stages=self.stages + stages, level=stages[-1].end)


@dataclass(frozen=True, slots=True)
class Arrivals(_Staged):
    """An open load: iterations start at planned times, whatever the target's speed. Made by `arrivals`."""

    shape: float | None = None
    """Shape of the gamma distribution of spacings; None: even spacings."""
    seed: int | None = None
    """Seed of the spacings; None: the run's seed."""

    def ramp(self, *, to: str | float, over: str | float) -> Self:
        """Return this load with one more stage: change the rate evenly from its current value to `to`.

        Args:
            to: "200/s", or iterations per second.
            over: duration of the change: "2m", or seconds. With 0 the rate jumps.
        """
        return self._then(here(), lambda: (Stage(self.level, rate_of(to), duration_of(over)),))

    def steps(self, start: str | float, *, by: str | float, every: str | float, upto: str | float) -> Self:
        """Return this load with more stages: hold `start`, `start + by` ... up to `upto`, for `every` each.

        `by` may be negative, for steps down.
        """
        return self._then(
            here(),
            lambda: tuple(
                self._held(level, every) for level in _levels(rate_of(start), rate_of(by, below_0=True), rate_of(upto))
            ),
        )

    def levels(
        self,
        levels: Iterable[str | float],
        *,
        each: str | float,
        settle: str | float = 0,
        stop_when_saturated: bool = False,
    ) -> Self:
        """Return this load with more stages: each rate of `levels` for `each`, with results of its own.

        The iterations that are due at a level have the tag `level`, such as "2/s". So rows, objectives
        (`tags={"level": "2/s"}`) and the table of levels are split by it.

        Args:
            levels: rates, such as ["1/s", "2/s", "4/s"], each once.
            each: duration of each level.
            settle: the first part of each level, whose iterations have `level="settling"` and are in no level.
            stop_when_saturated: the run ends after a level in which requests in flight and the time to the first token
                both grew, so the levels above it are not run. It needs requests to AI models, and 30 s after settling.
        """
        return self._with_levels(
            here(),
            lambda: [_level(rate_of(one), one) for one in _listed(levels, '"1/s", "2/s"')],
            each,
            settle,
            stop_when_saturated,
        )

    def sine(
        self,
        *,
        mean: str | float,
        amplitude: str | float,
        period: str | float,
        duration: str | float,
        phase: str | float = 0,
    ) -> Self:
        """Return this load with one more part of length `duration`: mean + amplitude · sin(2π (t + phase) / period).

        phase: time into the period at the start. 0: at the mean and rising; a quarter of the period: at the maximum.
        """
        return self._then(
            here(),
            lambda: smooth_curves.sine(
                rate_of(mean), rate_of(amplitude), duration_of(period), duration_of(duration), duration_of(phase)
            ),
        )

    def day(
        self,
        *,
        low: str | float,
        high: str | float,
        peak_at: str | float = "20:00",
        low_at: str | float = "04:00",
        duration: str | float = "24h",
    ) -> Self:
        """Return this load with a daily curve from midnight to midnight, made of half cosines.

        The rate rises from `low` at `low_at` to `high` at `peak_at`, and falls again.

        duration: how long the day takes. `duration="30m"` plays it in half an hour, with the same rates.
        """
        return self._then(
            here(),
            lambda: smooth_curves.day(
                rate_of(low), rate_of(high), hour_of(peak_at), hour_of(low_at), duration_of(duration)
            ),
        )

    def poisson(self, seed: int | None = None) -> Self:
        """Return this load with random, independent arrivals: exponential instead of even spacings, on the same curve.

        seed: seed of the spacings; None: the run's seed.
        """
        return self._spaced(here(), lambda: 1.0, seed)

    def gamma(self, *, cv: float | None = None, burstiness: float | None = None, seed: int | None = None) -> Self:
        """Return this load with gamma-distributed spacings on the same curve: bursts, or more even than random.

        Give either `cv` or `burstiness`.

        Args:
            cv: coefficient of variation of the spacings. 1 is Poisson; 2 is burstier; 0.5 is more even.
            burstiness: the same as shape of the gamma distribution, 1/cv²: 1 is Poisson; 0.25 is burstier.
            seed: as in `poisson`.
        """
        return self._spaced(here(), lambda: gamma_shape(cv, burstiness), seed)

    def _spaced(self, origin: Origin, shape: Callable[[], float], seed: int | None) -> Self:
        try:
            if self.shape is not None:
                raise ValueError("the spacing is set twice; write poisson() or gamma() only once")
            return replace(self, shape=shape(), seed=None if seed is None else seed_of(seed))
        except ValueError as error:
            return replace(self, errors=(*self.errors, origin.fault(str(error))))

    def lower(self, seed: int) -> Lowered:
        profile = self.profile()
        if self.shape is None:
            return Lowered(profile, levels=self.marks)
        spacing = Spacing(self.shape, (seed if self.seed is None else self.seed) % (1 << 64))
        return Lowered(ArrivalProfile(profile.stages, spacing), levels=self.marks)

    def profile(self) -> ArrivalProfile:
        """Return the load's curve as a profile with evenly spaced arrivals.

        Raises:
            ScenarioError: the load has errors.
        """
        _refuse(self.faults)
        return self._built()

    def _built(self) -> ArrivalProfile:
        if not self.stages and self.level:
            raise ProfileError("the load has no duration", hint=f'write arrivals("{self.level:g}/s").hold("1m")')
        if self.stages and not any(stage.start or stage.end for stage in self.stages):
            raise ProfileError(
                "the load has nothing to do: its rate is always 0", hint='write arrivals("10/s").hold("1m")'
            )
        return ArrivalProfile(self.stages)


@dataclass(frozen=True, slots=True)
class Users(_Staged):
    """A closed load: a number of users, each iterating as fast as the target allows, or at a pace. Made by `users`."""

    pace_ns: int = 0
    is_spread: bool = True

    def pace(self, every: str | float, *, spread: bool = True) -> Self:
        """Return this load with a pace: each user starts an iteration each `every`. So the rate is users / `every`.

        An iteration longer than `every` skips the cycles that it overruns; the metric `pace: skipped cycles` counts
        them. There is never a burst. The wait does not count as response time.

        spread: users that start at the same moment (with `users(50).hold(...)`: all) are spread over the first cycle.
            False: they all start at once, again in each cycle.
        """
        origin = here()
        try:
            if self.pace_ns:
                raise ValueError("the pace is set twice; write .pace(...) only once")
            every_ns = duration_of(every)
            if not every_ns:
                raise ValueError('a pace must be above 0; write .pace("10s")')
            if every_ns > MAX_DURATION_NS:
                raise ValueError(f'a pace must be at most 366 days, got {every}; write .pace("10s")')
            if not isinstance(spread, bool):
                raise ValueError(f"spread={spread!r} must be True or False; write spread=False, or leave it out")
        except ValueError as error:
            return replace(self, errors=(*self.errors, origin.fault(str(error))))
        return replace(self, pace_ns=every_ns, is_spread=spread)

    def levels(
        self,
        levels: Iterable[int],
        *,
        each: str | float,
        settle: str | float = 0,
        stop_when_saturated: bool = False,
    ) -> Self:
        """Return this load with more stages: each number of users of `levels` for `each`, with results of its own.

        The iterations whose user was ready at a level have the tag `level`, such as "8". So rows, objectives
        (`tags={"level": "8"}`) and the table of levels are split by it.

        Args:
            levels: numbers of users, such as [1, 2, 4, 8], each once.
            each: duration of each level.
            settle: the first part of each level, whose iterations have `level="settling"` and are in no level.
            stop_when_saturated: as for `arrivals`. Users that wait for each answer limit the requests in flight, so
                their levels are almost never saturated.
        """
        return self._with_levels(
            here(),
            lambda: [_level(count_of(one, "users"), one) for one in _listed(levels, "1, 2, 4")],
            each,
            settle,
            stop_when_saturated,
        )

    def ramp(self, *, to: int, over: str | float) -> Self:
        """Return this load with one more stage: change the number of users evenly to `to`; with `over=0` at once."""
        return self._then(here(), lambda: (Stage(self.level, count_of(to, "users"), duration_of(over)),))

    def profile(self) -> UserProfile:
        """Return the load's curve of numbers of users as a profile.

        Raises:
            ScenarioError: the load has errors.
        """
        _refuse(self.faults)
        return self._built()

    def _built(self) -> UserProfile:
        if not self.stages and self.level:
            raise ProfileError("the load has no duration", hint=f'write users({self.level:g}).hold("1m")')
        if self.stages and not any(stage.start or stage.end for stage in self.stages):
            raise ProfileError(
                "the load has nothing to do: it has 0 users all the time", hint='write users(10).hold("1m")'
            )
        return UserProfile(self.stages, pace_ns=self.pace_ns, is_spread=self.is_spread)


@dataclass(frozen=True, slots=True)
class Iterations(Executor):
    """A counted load: ends when its iterations are done, however long they take. Made by `iterations`."""

    origin: Origin
    iterations: int = 0
    users: int = 1
    per_user: int = 0
    errors: tuple[Fault, ...] = field(default=())

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self.errors

    def lower(self, seed: int) -> Lowered:
        return Lowered(self.profile())

    def profile(self) -> IterationProfile:
        """Return the load as a profile: iterations in total, number of users, and iterations per user.

        Raises:
            ScenarioError: the load has errors.
        """
        _refuse(self.faults)
        return IterationProfile(self.iterations, self.users, self.per_user)


def arrivals(rate: str | float | None = None) -> Arrivals:
    """Return an open load: iterations start at planned times. Add stages to it: `arrivals("200/s").hold("10m")`.

    rate: the rate at the start: "200/s", "1000/h", or a number per second; None: 0.
    """
    origin = here()
    try:
        return Arrivals(origin, level=0.0 if rate is None else rate_of(rate))
    except ValueError as error:
        return Arrivals(origin, errors=(origin.fault(str(error)),))


def users(n: int | None = None) -> Users:
    """Return a closed load: a number of users that iterate. Add stages to it: `users(64).hold("10m")`.

    n: the number of users at the start; None: 0.
    """
    origin = here()
    try:
        return Users(origin, level=0 if n is None else count_of(n, "users"))
    except ValueError as error:
        return Users(origin, errors=(origin.fault(str(error)),))


def iterations(n: int | None = None, *, users: int = 1, per_user: int | None = None) -> Iterations:
    """Return a load with a fixed number of iterations: `n` in the whole fleet, or `per_user` by each user.

    Args:
        n: total number of iterations, which the users share as they become free.
        users: number of users of the whole fleet.
        per_user: each user does exactly this many iterations. Give either `n` or `per_user`.
    """
    origin = here()
    faults = []
    if n is None and per_user is None:
        faults.append(origin.fault("the number of iterations is missing", "write iterations(1000, users=10)"))
    if n is not None and per_user is not None:
        hint = "write iterations(1000, users=10), or iterations(per_user=5, users=10)"
        faults.append(origin.fault("both the total number of iterations and per_user= are given", hint))
    counts = {"iterations": n, "iterations per user": per_user, "users": users}
    for what, value in counts.items():
        try:
            if (what == "users" or value is not None) and count_of(value, what) == 0:
                raise ValueError(f"the number of {what} must be at least 1; raise it")
        except ValueError as error:
            faults.append(origin.fault(str(error)))
    if not faults and per_user is not None:
        try:
            count_of(per_user * users, "iterations")
        except ValueError as error:
            faults.append(origin.fault(str(error)))
    if faults:
        return Iterations(origin, errors=tuple(faults))
    if per_user is not None:
        return Iterations(origin, per_user * users, users, per_user)
    return Iterations(origin, n or 0, users)


# -- helpers --------------------------------------------------------------------------------------


def _listed(levels: object, example: str) -> list[Any]:
    """Return the levels of a load as a list. Raises ValueError for an empty list, or a value that is not a list."""
    if not isinstance(levels, Iterable) or isinstance(levels, str | bytes | Mapping):
        raise ValueError(f"{levels!r} is not a list; write [{example}]")
    if not (found := list(levels)):
        raise ValueError(f"the list is empty; write [{example}]")
    return found


def _level(value: float, given: object) -> float:
    if value <= 0:
        raise ValueError(f"{given!r} is not a level; write one above 0")
    return float(value)


def _levels(start: float, by: float, upto: float) -> list[float]:
    first, step, last = exact(start), exact(by), exact(upto)
    if step == 0 or (last - first) / step < 0:
        raise ValueError(f"steps from {start:g}/s by {by:g}/s never reach {upto:g}/s; correct by=")
    more: Fraction = (last - first) / step
    if more >= MAX_STEPS:
        raise ValueError(
            f"steps from {start:g}/s by {by:g}/s to {upto:g}/s are more than {MAX_STEPS:,} steps; raise by="
        )
    return [float(first + k * step) for k in range(int(more) + 1)]


def _refuse(faults: tuple[Fault, ...]) -> None:
    if faults:
        raise ScenarioError(faults)
