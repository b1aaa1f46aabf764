"""Executors that users write: plain typed classes in the scenario, or in a module beside it.

    @dataclass(frozen=True)
    class FlashSale(OpenExecutor):
        people: int
        half_s: float = 20.0

        def due(self, seed: int) -> Iterator[float]:
            for k in range(self.people):
                yield -self.half_s * log2(1 - k / self.people)

An author says when arrivals are due (or how many users there are) in the whole
fleet, as a pure function of the executor's own values and the seed; the engine
divides it over any number of agents. It is walked through once before anything
starts, in each process that needs it. Agents build it again from the bundle, and
one to which it gives other times than it gave the command line refuses the run.
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
from loadgen.dsl.executors.generated_times import raised, walk_levels, walk_times
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.profiles.profile import UserProfile
from loadgen.profiles.stage import Stage
from loadgen.profiles.steps import TimedProfile, digest_of_levels
from loadgen.units import NS_PER_S, parse_duration

__all__ = ["Authored", "ClosedExecutor", "OpenExecutor"]


class Authored(Executor):
    """What authors' executors have in common. What is found out is kept: a plan asks for its loads often."""

    _origin: Origin
    _own: tuple[Fault, ...] | None
    _lowered: dict[int, Lowered | ScenarioError]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        one = super().__new__(cls)
        for name, value in (("_origin", here()), ("_own", None), ("_lowered", {})):
            object.__setattr__(one, name, value)  # authors' dataclasses are frozen
        return one

    def wrong(self) -> Iterable[str]:
        """What is wrong with its own values, a sentence each; all of it is told before anything starts."""
        return ()

    @property
    def origin(self) -> Origin:
        """The line that made it."""
        return self._origin

    @property
    def home(self) -> Path:
        """The folder of the file that its class is written in."""
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        return Path(file).parent if isinstance(file, str) else Path(self._origin.file).parent

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What it says itself is wrong; what is wrong with what it yields comes from `lower`."""
        if self._own is None:
            object.__setattr__(self, "_own", tuple(self._told()))
        assert self._own is not None
        return self._own

    def lower(self, seed: int) -> Lowered:
        """Walked through once for each seed.

        Raises:
            ScenarioError: with what `faults` has, or all that is wrong with what it yields.
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
        """What is walked, "FlashSale.due"."""

    @abstractmethod
    def _built(self, seed: int) -> Lowered: ...

    def _told(self) -> Iterator[Fault]:
        name = type(self).__name__
        try:
            said = list(self.wrong())
        except Exception as error:  # noqa: BLE001  # the author's code
            yield raised(error, self, f"{name}.wrong")
            return
        for message in said:
            yield self._origin.fault(f"{name}: {message}")


class OpenExecutor(Authored):
    """An open load that a user writes: `due` yields when arrivals are due.

    Its load ends with the second in which the last arrival is due. `--rate` and `--duration` play it faster or slower.
    """

    @abstractmethod
    def due(self, seed: int) -> Iterator[float]:
        """When each arrival of the whole fleet is due: seconds from the load's beginning, from 0, non-decreasing.

        A pure function: the same executor and seed give the same times on every agent. So no time of day, no
        environment, and chance only of a `random.Random(seed)`.
        """

    @property
    def method(self) -> str:
        return f"{type(self).__name__}.due"

    def _built(self, seed: int) -> Lowered:
        times = np.array(walk_times(self, lambda: self.due(seed)), dtype=np.float64)
        profile = TimedProfile.of(times, type(self).__name__)
        return Lowered(msgspec.structs.replace(profile, is_by_chance=True), times)


class ClosedExecutor(Authored):
    """A closed load that a user writes: `levels` yields how many users there are, and from when on."""

    duration: str | float
    """How long the last level holds: the whole load's, from its beginning: "10m", or seconds."""

    @abstractmethod
    def levels(self, seed: int) -> Iterator[tuple[float, int]]:
        """(seconds from the load's beginning, users in the whole fleet from then on), in order.

        Before the first there are none. A pure function, as `OpenExecutor.due` is.
        """

    @property
    def method(self) -> str:
        return f"{type(self).__name__}.levels"

    def _told(self) -> Iterator[Fault]:
        yield from super()._told()
        try:
            self._duration_ns()
        except ValueError as error:
            yield self._origin.fault(f"{type(self).__name__}: duration: {error}", 'write duration = "10m"')

    def _duration_ns(self) -> int:
        given: object = getattr(self, "duration", None)
        if given is None:
            raise ValueError("how long does it last?")
        if not isinstance(given, str | int | float) or isinstance(given, bool):
            raise ValueError(f"{given!r} is no duration")
        try:
            return parse_duration(given)
        except OverflowError:
            raise ValueError(f"a duration cannot be {given}") from None

    def _built(self, seed: int) -> Lowered:
        name, duration_ns = type(self).__name__, self._duration_ns()
        levels = [(round(at * NS_PER_S), users) for at, users in walk_levels(self, lambda: self.levels(seed))]
        late = [at_ns for at_ns, _ in levels if at_ns >= duration_ns]
        if late:
            raise ProfileError(
                f"{self.method}: a level from {late[0] / NS_PER_S:g} s on, where the load ends at "
                f"{duration_ns / NS_PER_S:g} s",
                hint="a longer duration, or no level from then on",
            )
        edges = [*(at_ns for at_ns, _ in levels), duration_ns]
        stages = [Stage(0.0, 0.0, edges[0])] if edges[0] else []
        stages += [
            Stage(float(users), float(users), end_ns - at_ns)
            for (at_ns, users), end_ns in zip(levels, edges[1:], strict=True)
            if end_ns > at_ns
        ]
        return Lowered(UserProfile(tuple(stages), label=name, digest=digest_of_levels(levels)))
