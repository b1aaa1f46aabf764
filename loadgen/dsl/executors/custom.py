"""User-written executors: plain typed classes in the scenario, or in a module in its folder.

    @dataclass(frozen=True)
    class FlashSale(OpenExecutor):
        people: int
        half_s: float = 20.0

        def due(self, seed: int) -> Iterator[float]:
            for k in range(self.people):
                yield -self.half_s * log2(1 - k / self.people)

The class yields when arrivals are due (or how many users there are) in the whole fleet.
It must be a pure function of its own values and the seed; the engine divides the load
among any number of agents. Each process that needs the times walks through them once
before the start. An agent refuses the run if its executor yields other times than the
one on the command line did.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from loadgen.dsl.executors.base import Executor, Lowered
from loadgen.dsl.executors.custom_executor_check import raised, walk_levels, walk_times
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.profiles.given_arrival_times import TimedProfile, digest_of_levels
from loadgen.profiles.profile import UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S, parse_duration

__all__ = ["Authored", "ClosedExecutor", "OpenExecutor"]


class Authored(Executor):
    """Base of user-written executors. Results are cached, because a plan asks for its loads often."""

    _origin: Origin
    _own: tuple[Fault, ...] | None
    _lowered: dict[int, Lowered | ScenarioError]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        one = super().__new__(cls)
        for name, value in (("_origin", here()), ("_own", None), ("_lowered", {})):
            object.__setattr__(one, name, value)  # users' dataclasses may be frozen
        return one

    def wrong(self) -> Iterable[str]:
        """Return one sentence for each error in this executor's own values. Subclasses override it to check them."""
        return ()

    @property
    def origin(self) -> Origin:
        """Return the line of the scenario that created this executor."""
        return self._origin

    @property
    def home(self) -> Path:
        """Return the folder of the file in which this executor's class is written."""
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        return Path(file).parent if isinstance(file, str) else Path(self._origin.file).parent

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return the errors in the executor's own values. Errors in the values that it yields are raised by `lower`."""
        if self._own is None:
            object.__setattr__(self, "_own", tuple(self._own_faults()))
        assert self._own is not None
        return self._own

    def lower(self, seed: int) -> Lowered:
        """Return the load's profile, made of all values that the user's method yields. The result is cached per seed.

        Raises:
            ScenarioError: with the errors of `faults`, or all errors in the yielded values.
        """
        if self.faults:
            raise ScenarioError(self.faults)
        if seed not in self._lowered:
            try:
                self._lowered[seed] = self._built(seed)
            except ProfileError as error:
                self._lowered[seed] = ScenarioError(self._origin.fault(f.message, f.hint) for f in error.faults)
            except ScenarioError as error:
                self._lowered[seed] = error
        found = self._lowered[seed]
        if isinstance(found, ScenarioError):
            raise ScenarioError(found.faults)
        return found

    @property
    @abstractmethod
    def method(self) -> str:
        """Return the name of the user's method that yields the values, for messages: "FlashSale.due"."""

    @abstractmethod
    def _built(self, seed: int) -> Lowered: ...

    def _own_faults(self) -> Iterator[Fault]:
        name = type(self).__name__
        try:
            messages = list(self.wrong())
        except Exception as error:  # noqa: BLE001  # user code
            yield raised(error, self, f"{name}.wrong")
            return
        for message in messages:
            yield self._origin.fault(f"{name}: {message}", f"correct the arguments of {name}")


class OpenExecutor(Authored):
    """Base class for a user-written open load. Implement `due`, which yields when arrivals are due.

    The load ends with the second of its last arrival. `--rate` and `--duration` play it faster or slower.
    """

    @abstractmethod
    def due(self, seed: int) -> Iterator[float]:
        """Yield the due time of each arrival of the whole fleet, in seconds from the load's start.

        Times must be at least 0 and non-decreasing.

        Must be a pure function: the same executor and seed must give the same times on every agent. So do not use the
        time of day or the environment, and draw random numbers only from `random.Random(seed)`.
        """

    @property
    def method(self) -> str:
        return f"{type(self).__name__}.due"

    def _built(self, seed: int) -> Lowered:
        times = np.array(walk_times(self, lambda: self.due(seed)), dtype=np.float64)
        profile = TimedProfile.of(times, type(self).__name__)
        return Lowered(msgspec.structs.replace(profile, is_by_chance=True), times)


class ClosedExecutor(Authored):
    """Base class for a user-written closed load. Implement `levels`, which yields numbers of users over time."""

    duration: str | float
    """Duration of the whole load, from its start: "10m", or seconds. The last level holds until then."""

    @abstractmethod
    def levels(self, seed: int) -> Iterator[tuple[float, int]]:
        """Yield pairs: a time in seconds from the load's start, and the fleet's number of users from then on, in order.

        There are no users before the first level. Must be a pure function, like `OpenExecutor.due`.
        """

    @property
    def method(self) -> str:
        return f"{type(self).__name__}.levels"

    def _own_faults(self) -> Iterator[Fault]:
        yield from super()._own_faults()
        try:
            self._duration_ns()
        except ValueError as error:
            yield self._origin.fault(f"{type(self).__name__}: duration: {error}", 'write duration = "10m"')

    def _duration_ns(self) -> int:
        given: object = getattr(self, "duration", None)
        if given is None:
            raise ValueError("missing")
        if not isinstance(given, str | int | float) or isinstance(given, bool):
            raise ValueError(f"{given!r} is not a duration")
        try:
            return parse_duration(given)
        except OverflowError:
            raise ValueError(f"a duration must be finite, got {given}") from None

    def _built(self, seed: int) -> Lowered:
        name, duration_ns = type(self).__name__, self._duration_ns()
        levels = [(round(at * NS_PER_S), users) for at, users in walk_levels(self, lambda: self.levels(seed))]
        late = [at_ns for at_ns, _ in levels if at_ns >= duration_ns]
        if late:
            raise ProfileError(
                f"{self.method}: level at {late[0] / NS_PER_S:g} s, but the load ends at {duration_ns / NS_PER_S:g} s",
                hint="raise duration, or yield no level after its end",
            )
        edges = [*(at_ns for at_ns, _ in levels), duration_ns]
        stages = [Stage(0.0, 0.0, edges[0])] if edges[0] else []
        stages += [
            Stage(float(users), float(users), end_ns - at_ns)
            for (at_ns, users), end_ns in zip(levels, edges[1:], strict=True)
            if end_ns > at_ns
        ]
        return Lowered(UserProfile(tuple(stages), label=name, digest=digest_of_levels(levels)))
