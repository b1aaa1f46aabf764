"""How a plan says its load: `arrivals()`, `users()`, `iterations()`.

    arrivals().ramp(to="200/s", over="2m").hold("10m")      open: the rate is given, the target cannot slow it down
    arrivals("50/s").hold("1m")
    arrivals().steps("50/s", by="50/s", every="1m", upto="400/s")
    users(64).hold("10s")                                   closed: the number of users is given, the rate follows
    users().ramp(to=500, over="1m").hold("5m").ramp(to=0, over="30s")
    iterations(1000, users=10)                              counted: it ends when they are done

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

from loadgen.dsl.executor import Executor, Lowered
from loadgen.dsl.origin import Origin, here
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.profile import (
    MAX_RATE_PER_S,
    MAX_USERS,
    ArrivalProfile,
    IterationProfile,
    Profile,
    Stage,
    UserProfile,
    exact,
)
from loadgen.units import parse_duration, parse_rate

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
        duration_ns = _duration(duration)
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

    def ramp(self, *, to: str | float, over: str | float) -> Self:
        """Change the rate evenly from what stands before (or 0) to `to`; over 0 it jumps."""
        return self._then(here(), lambda: (Stage(self.level, _rate(to), _duration(over)),))

    def steps(self, start: str | float, *, by: str | float, every: str | float, upto: str | float) -> Self:
        """Hold `start`, `start + by` ... for `every` each, as long as `upto` is not passed. `by` may be negative."""
        return self._then(
            here(),
            lambda: tuple(
                self._held(level, every) for level in _levels(_rate(start), _rate(by, below_0=True), _rate(upto))
            ),
        )

    def profile(self) -> ArrivalProfile:
        """
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
    """A closed load: a number of users, each iterating as fast as the target lets it."""

    def ramp(self, *, to: int, over: str | float) -> Self:
        """Change the number of users evenly from what stands before (or 0) to `to`; over 0 it jumps."""
        return self._then(here(), lambda: (Stage(self.level, _count(to, "users"), _duration(over)),))

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
        return UserProfile(self.stages)


@dataclass(frozen=True, slots=True)
class Iterations(Executor):
    """A counted load: it ends when the iterations are done, however long that takes."""

    origin: Origin
    iterations: int = 0
    users: int = 1
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
        return IterationProfile(self.iterations, self.users)


def arrivals(rate: str | float | None = None) -> Arrivals:
    """An open load, at first of `rate` ("200/s", "1000/h", or a number per second); without one, of 0."""
    origin = here()
    try:
        return Arrivals(origin, level=0.0 if rate is None else _rate(rate))
    except ValueError as error:
        return Arrivals(origin, said=(origin.fault(str(error)),))


def users(n: int | None = None) -> Users:
    """A closed load, at first of `n` users; without it, of none."""
    origin = here()
    try:
        return Users(origin, level=0 if n is None else _count(n, "users"))
    except ValueError as error:
        return Users(origin, said=(origin.fault(str(error)),))


def iterations(n: int | None = None, *, users: int = 1) -> Iterations:
    """`n` iterations in the whole fleet, by `users` users."""
    origin = here()
    faults = []
    if n is None:
        faults.append(origin.fault("how many iterations?", "iterations(1000, users=10)"))
    for value, what in ((n, "iterations"), (users, "users"))[n is None :]:
        try:
            if _count(value, what) == 0:
                raise ValueError(f"a load of 0 {what} has nothing to do")
        except ValueError as error:
            faults.append(origin.fault(str(error)))
    return Iterations(origin, said=tuple(faults)) if faults or n is None else Iterations(origin, n, users)


# -- reading what was said ------------------------------------------------------------------------


def _rate(value: object, *, below_0: bool = False) -> float:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f'{value!r} is no rate; write "200/s", "30/m" or "1000/h"')
    try:
        rate = parse_rate(value)
    except OverflowError:
        raise ValueError(f"a rate cannot be {value}") from None
    if rate < 0 and not below_0:
        raise ValueError(f"a rate cannot be negative: {value}")
    if abs(rate) > MAX_RATE_PER_S:
        raise ValueError(f"a rate of {value} is beyond {MAX_RATE_PER_S:g}/s")
    return rate


def _duration(value: object) -> int:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f'{value!r} is no duration; write "500ms", "10s", "2m" or "1h"')
    try:
        return parse_duration(value)
    except OverflowError:
        raise ValueError(f"a duration cannot be {value}") from None


def _count(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number of {what}; write a whole number")
    if value < 0:
        raise ValueError(f"the number of {what} cannot be negative: {value}")
    most = MAX_USERS if what == "users" else 1 << 53
    if value > most:
        raise ValueError(f"{value:,} {what} are beyond {most:,}")
    return value


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
