"""How a plan says its load: `arrivals()`, `users()`, `iterations()`.

    arrivals().ramp(to="200/s", over="2m").hold("10m")      open: the rate is given, the target cannot slow it down
    arrivals("50/s").hold("1m")
    arrivals().steps("50/s", by="50/s", every="1m", upto="400/s")
    arrivals().sine(mean="100/s", amplitude="40/s", period="10m", duration="1h")
    arrivals("50/s").poisson(seed=7).hold("1m")             spaced by chance, along the same curve
    users(64).hold("10s")                                   closed: the number of users is given, the rate follows
    users().ramp(to=500, over="1m").hold("5m").ramp(to=0, over="30s")
    users(50).hold("10m").pace("10s")                       each begins an iteration every 10 s
    iterations(1000, users=10)                              counted: it ends when they are done
    iterations(per_user=5, users=10)

Each call gives a new value; nothing is changed in place. None of them raises: what
is wrong is kept with the line that says it, in `faults`, and the loader reports
all of it at once. Rates are of iterations; the requests that follow are a result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Self

from loadgen.dsl.executors.base import Executor, Lowered
from loadgen.dsl.executors.rates import count_of, duration_of, hour_of, number_of, rate_of, seed_of
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.profiles import curve
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, Profile, UserProfile
from loadgen.profiles.spacing import MAX_SHAPE, MIN_SHAPE, Spacing
from loadgen.profiles.stage import MAX_DURATION_NS, Stage, exact

__all__ = ["MAX_STEPS", "Arrivals", "Iterations", "Users", "arrivals", "iterations", "users"]

MAX_STEPS = 1_000
"""More steps than this are a slip of the pen: `by="1/s"` for "100/s"."""


@dataclass(frozen=True, slots=True)
class _Staged(Executor):
    """Stages said one after the other. Faults stand at the lines that said them."""

    origin: Origin
    stages: tuple[Stage, ...] = ()
    level: float = 0.0
    """Where the next stage starts."""
    said: tuple[Fault, ...] = ()

    def hold(self, duration: str | float) -> Self:
        """Keep what stands before for `duration`: "10m", or seconds."""
        return self._then(here(), lambda: (self._held(self.level, duration),))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it; empty when `profile()` can be driven."""
        if self.said:
            return self.said
        try:
            self._built()
        except ProfileError as error:
            return tuple(replace(fault, file=self.origin.file, line=self.origin.line) for fault in error.faults)
        return ()

    def lower(self, seed: int) -> Lowered:
        _refuse(self.faults)
        return Lowered(self._built())

    @abstractmethod
    def _built(self) -> Profile: ...

    def _held(self, level: float, duration: str | float) -> Stage:
        duration_ns = duration_of(duration)
        if duration_ns == 0:
            raise ValueError("a hold of no duration holds nothing")
        return Stage(level, level, duration_ns)

    def _then(self, origin: Origin, more: Callable[[], tuple[Stage, ...]]) -> Self:
        """With more stages, or with the fault why not."""
        try:
            stages = more()
        except ValueError as error:
            return replace(self, said=(*self.said, origin.fault(str(error))))
        return replace(self, stages=self.stages + stages, level=stages[-1].end)


@dataclass(frozen=True, slots=True)
class Arrivals(_Staged):
    """An open load: iterations are due at given times, however fast the target answers."""

    shape: float | None = None
    """Of the gamma law of the spacings; None: arrivals are spaced evenly."""
    seed: int | None = None
    """Of the spacings; None: the run's."""

    def ramp(self, *, to: str | float, over: str | float) -> Self:
        """Change the rate evenly from what stands before (or 0) to `to`; over 0 it jumps."""
        return self._then(here(), lambda: (Stage(self.level, rate_of(to), duration_of(over)),))

    def steps(self, start: str | float, *, by: str | float, every: str | float, upto: str | float) -> Self:
        """Hold `start`, `start + by` ... for `every` each, as long as `upto` is not passed. `by` may be negative."""
        return self._then(
            here(),
            lambda: tuple(
                self._held(level, every) for level in _levels(rate_of(start), rate_of(by, below_0=True), rate_of(upto))
            ),
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
        """A rate that swings: mean + amplitude · sin(2π (t + phase) / period), for `duration`.

        phase: how far into its period it begins. 0: at the mean, rising; a quarter of the period: at its highest.
        """
        return self._then(
            here(),
            lambda: curve.sine(
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
        """A day from midnight to midnight: up from `low` at `low_at` to `high` at `peak_at` and down, by half cosines.

        duration: what the day takes. `duration="30m"` is the same day with the same rates in half an hour.
        """
        return self._then(
            here(),
            lambda: curve.day(rate_of(low), rate_of(high), hour_of(peak_at), hour_of(low_at), duration_of(duration)),
        )

    def poisson(self, seed: int | None = None) -> Self:
        """Arrivals that know nothing of each other: exponential spacings instead of even ones, along the same curve.

        seed: of the spacings, whatever the run's is; None: they follow the run's seed.
        """
        return self._spaced(here(), lambda: 1.0, seed)

    def gamma(self, *, cv: float | None = None, burstiness: float | None = None, seed: int | None = None) -> Self:
        """Arrivals in bursts, or more even than by chance: gamma spacings, along the same curve.

        Args:
            cv: coefficient of variation of the spacings. 1 is Poisson; 2 burstier; 0.5 more even.
            burstiness: the same said as the shape of the gamma law, 1/cv²: 1 is Poisson, 0.25 burstier.
            seed: as in `poisson`.
        """
        return self._spaced(here(), lambda: _shape(cv, burstiness), seed)

    def _spaced(self, origin: Origin, shape: Callable[[], float], seed: int | None) -> Self:
        try:
            if self.shape is not None:
                raise ValueError("how arrivals are spaced is said twice: poisson() or gamma(), once")
            return replace(self, shape=shape(), seed=None if seed is None else seed_of(seed))
        except ValueError as error:
            return replace(self, said=(*self.said, origin.fault(str(error))))

    def lower(self, seed: int) -> Lowered:
        profile = self.profile()
        if self.shape is None:
            return Lowered(profile)
        spacing = Spacing(self.shape, (seed if self.seed is None else self.seed) % (1 << 64))
        return Lowered(ArrivalProfile(profile.stages, spacing))

    def profile(self) -> ArrivalProfile:
        """Its curve, evenly spaced.

        Raises:
            ScenarioError: it has faults.
        """
        _refuse(self.faults)
        return self._built()

    def _built(self) -> ArrivalProfile:
        if not self.stages and self.level:
            raise ProfileError("the load has no duration", hint=f'arrivals("{self.level:g}/s").hold("1m")')
        return ArrivalProfile(self.stages)


@dataclass(frozen=True, slots=True)
class Users(_Staged):
    """A closed load: a number of users, each iterating as fast as the target lets it, or at a pace."""

    pace_ns: int = 0
    is_spread: bool = True

    def pace(self, every: str | float, *, spread: bool = True) -> Self:
        """Each user begins an iteration every `every`, however long it takes: the rate is users / every.

        An iteration that takes longer skips the cycles that it overruns, which are counted as `pace: skipped cycles`;
        there is never a burst. The wait is nobody's response time.

        spread: who comes at the same moment (`users(50).hold(...)`: all) is spread over the first cycle. False: all
            begin at once, and again in each cycle.
        """
        origin = here()
        try:
            if self.pace_ns:
                raise ValueError("the pace is said twice")
            every_ns = duration_of(every)
            if not every_ns:
                raise ValueError('a pace of 0 paces nothing; write .pace("10s")')
            if every_ns > MAX_DURATION_NS:
                raise ValueError(f"a pace of {every} is beyond 366 days")
            if not isinstance(spread, bool):
                raise ValueError(f"spread: {spread!r} is neither True nor False")
        except ValueError as error:
            return replace(self, said=(*self.said, origin.fault(str(error))))
        return replace(self, pace_ns=every_ns, is_spread=spread)

    def ramp(self, *, to: int, over: str | float) -> Self:
        """Change the number of users evenly from what stands before (or 0) to `to`; over 0 it jumps."""
        return self._then(here(), lambda: (Stage(self.level, count_of(to, "users"), duration_of(over)),))

    def profile(self) -> UserProfile:
        """
        Raises:
            ScenarioError: it has faults.
        """
        _refuse(self.faults)
        return self._built()

    def _built(self) -> UserProfile:
        if not self.stages and self.level:
            raise ProfileError("the load has no duration", hint=f'users({self.level:g}).hold("1m")')
        return UserProfile(self.stages, pace_ns=self.pace_ns, is_spread=self.is_spread)


@dataclass(frozen=True, slots=True)
class Iterations(Executor):
    """A counted load: it ends when the iterations are done, however long that takes."""

    origin: Origin
    iterations: int = 0
    users: int = 1
    per_user: int = 0
    said: tuple[Fault, ...] = field(default=())

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self.said

    def lower(self, seed: int) -> Lowered:
        return Lowered(self.profile())

    def profile(self) -> IterationProfile:
        """
        Raises:
            ScenarioError: it has faults.
        """
        _refuse(self.faults)
        return IterationProfile(self.iterations, self.users, self.per_user)


def arrivals(rate: str | float | None = None) -> Arrivals:
    """An open load, at first of `rate` ("200/s", "1000/h", or a number per second); without one, of 0."""
    origin = here()
    try:
        return Arrivals(origin, level=0.0 if rate is None else rate_of(rate))
    except ValueError as error:
        return Arrivals(origin, said=(origin.fault(str(error)),))


def users(n: int | None = None) -> Users:
    """A closed load, at first of `n` users; without it, of none."""
    origin = here()
    try:
        return Users(origin, level=0 if n is None else count_of(n, "users"))
    except ValueError as error:
        return Users(origin, said=(origin.fault(str(error)),))


def iterations(n: int | None = None, *, users: int = 1, per_user: int | None = None) -> Iterations:
    """`n` iterations in the whole fleet, by `users` users; or `per_user` by each of them, no more and no fewer."""
    origin = here()
    faults = []
    if n is None and per_user is None:
        faults.append(origin.fault("how many iterations?", "iterations(1000, users=10)"))
    if n is not None and per_user is not None:
        hint = "iterations(1000, users=10), or iterations(per_user=5, users=10)"
        faults.append(origin.fault("how many iterations? Both the number of all and per_user= are said", hint))
    counts = {"iterations": n, "iterations a user": per_user, "users": users}
    for what, value in counts.items():
        try:
            if (what == "users" or value is not None) and count_of(value, what) == 0:
                raise ValueError(f"a load of 0 {what} has nothing to do")
        except ValueError as error:
            faults.append(origin.fault(str(error)))
    if not faults and per_user is not None:
        try:
            count_of(per_user * users, "iterations")
        except ValueError as error:
            faults.append(origin.fault(str(error)))
    if faults:
        return Iterations(origin, said=tuple(faults))
    if per_user is not None:
        return Iterations(origin, per_user * users, users, per_user)
    return Iterations(origin, n or 0, users)


# -- what a load is built of ----------------------------------------------------------------------


def _shape(cv: object, burstiness: object) -> float:
    """Of the gamma law."""
    if (cv is None) == (burstiness is None):
        raise ValueError("gamma: say either cv= or burstiness=, as in gamma(cv=2.0)")
    if cv is None:
        said, shape = f"burstiness: {burstiness}", number_of(burstiness, "burstiness")
    else:
        said, shape = f"cv: {cv}", 1.0 / number_of(cv, "cv") / number_of(cv, "cv")
    if not MIN_SHAPE <= shape <= MAX_SHAPE:
        raise ValueError(f"{said} is none: a burstiness is {MIN_SHAPE:g} to {MAX_SHAPE:g}, a cv 0.001 to 31.6")
    return shape


def _levels(start: float, by: float, upto: float) -> list[float]:
    first, step, last = exact(start), exact(by), exact(upto)
    if step == 0 or (last - first) / step < 0:
        raise ValueError(f"steps from {start:g}/s by {by:g}/s never come to {upto:g}/s")
    more: Fraction = (last - first) / step
    if more >= MAX_STEPS:
        raise ValueError(f"steps from {start:g}/s by {by:g}/s to {upto:g}/s are more than {MAX_STEPS:,}")
    return [float(first + k * step) for k in range(int(more) + 1)]


def _refuse(faults: tuple[Fault, ...]) -> None:
    if faults:
        raise ScenarioError(faults)
