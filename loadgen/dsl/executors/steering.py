"""Loads that follow what they see: a steering executor is asked after each interval which rate comes next.

    class Gentle(SteeringExecutor):
        objectives = (p(99) < "300ms",)
        start, upto, duration = "5/s", "200/s", "10m"

        def steer(self, looks: Sequence[Look]) -> Decision:
            last = looks[-1]
            if last.bad_ratio is None or not last.is_sound:
                return Decision(last.rate_per_s, "nothing to go by")
            rate = last.rate_per_s * (0.8 if last.bad_ratio > 0.01 else 1.02)
            return Decision(rate, f"{last.bad} of {last.good + last.bad} were bad")

`steer` is asked in one worker of one agent, and its answer changes the rate of the
whole fleet. It is a pure function of all looks so far: when that worker dies another
one is asked, which gets the same looks. So it reads no clock, keeps no state and
draws nothing. Answers that are no rate, come too late or are an exception leave the
rate as it is, and the run says so.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

from loadgen.dsl.executors.base import Lowered
from loadgen.dsl.executors.custom import Authored
from loadgen.dsl.plans.slo import Slo
from loadgen.dsl.plans.spec import SteeringSpec
from loadgen.errors import Fault
from loadgen.measure.objectives.objective import Objective
from loadgen.measure.objectives.steering_observation import Look, Part
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import MAX_RATE_PER_S, Stage
from loadgen.units import NS_PER_S, format_rate, parse_duration, parse_rate

__all__ = [
    "MAX_DURATION_S",
    "Decision",
    "Finding",
    "FindingVerdict",
    "Look",
    "Part",
    "SteeringExecutor",
    "decision_wrong",
]

MAX_DURATION_S: Final = 24 * 3600.0
"""A steered load keeps all its looks, one each second."""

FindingVerdict = Literal["found", "not reached", "never met", "not decided"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known by now of the highest rate that meets the objectives."""

    verdict: FindingVerdict
    """found: `rate_per_s` it is, within the interval. not reached: they were met up to the highest rate that was
    allowed. never met: not even at the lowest. not decided: too little was seen."""
    text: str
    """A sentence."""
    rate_per_s: float | None = None
    low: float | None = None
    """The ends of the 90 % interval, where there is one."""
    high: float | None = None
    held_per_s: float | None = None
    """The rate that was held, where one was."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Which rate comes next for the whole fleet, and why. None ends the load."""

    rate_per_s: float | None
    why: str = ""
    """A sentence for the person at the terminal."""
    finding: Finding | None = None


class SteeringExecutor(Authored):
    """An open load whose rate follows what is seen of the target. See the module.

    What the load begins with and how far it may go are attributes, of the class or set by its `__init__`.
    """

    objectives: Sequence[Slo]
    """What `look.parts` count good and bad by; their windows and `abort` do not matter here. None: no parts."""
    start: str | float
    """The rate until the first decision."""
    upto: str | float
    """No decision goes beyond it: "200/s"."""
    duration: str | float
    """The load ends then, if no decision ends it before."""

    @abstractmethod
    def steer(self, looks: Sequence[Look]) -> Decision:
        """The rate from now on.

        A pure function of all looks since the load began, oldest first, at least one. It must answer well within a
        second, since it shares a process with the load.
        """

    @property
    def method(self) -> str:
        return f"{type(self).__name__}.steer"

    def _built(self, seed: int) -> Lowered:
        start, upto, duration_ns = _rate(self.start), _rate(self.upto), parse_duration(self.duration)
        steering = SteeringSpec(executor=self.describe(), objectives=self.steered, start_per_s=start, upto_per_s=upto)
        return Lowered(ArrivalProfile((Stage(start, start, duration_ns),)), steering=steering)

    def describe(self) -> str:
        """In a few words, for the plan and the report."""
        start, upto = format_rate(_rate(self.start)), format_rate(_rate(self.upto))
        return f"{type(self).__name__}: {start} to {upto}"

    @property
    def slos(self) -> tuple[Slo, ...]:
        return tuple(one for one in self._given() if isinstance(one, Slo))

    @property
    def steered(self) -> tuple[Objective, ...]:
        """Its objectives as values."""
        return tuple(one.objective for one in self.slos if one.objective is not None)

    def _given(self) -> Iterable[object]:
        given: object = getattr(self, "objectives", ())
        return given if isinstance(given, Iterable) and not isinstance(given, str) else [given]

    def _told(self) -> Iterator[Fault]:
        name = type(self).__name__
        yield from self._objectives_wrong(name)
        rates: dict[str, float] = {}
        for argument, read in (("start", _rate), ("upto", _rate), ("duration", _duration_s)):
            given = getattr(self, argument, None)
            try:
                rates[argument] = read(given)
            except (ValueError, OverflowError) as error:
                yield self._origin.fault(f"{name}: {argument}: {error}")
        if rates.get("start", 0.0) > rates.get("upto", float("inf")):
            yield self._origin.fault(
                f"{name}: it starts at {format_rate(rates['start'])}, beyond upto, {format_rate(rates['upto'])}",
                "a lower start, or a higher upto",
            )
        yield from super()._told()

    def _objectives_wrong(self, name: str) -> Iterator[Fault]:
        for one in self._given():
            if isinstance(one, Slo):
                yield from one.faults
            else:
                yield self._origin.fault(f"{name}: {one!r} is no objective", 'write p(99) < "300ms"')


def decision_wrong(decision: object, upto: float) -> str:
    """Why an answer of `steer` is none, for the person who wrote it; empty when it is one."""
    if not isinstance(decision, Decision):
        return f"it answered {decision!r}, which is no Decision"
    rate: object = decision.rate_per_s
    if rate is None:
        return ""
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        return f"it answered {rate!r}, which is no rate"
    if not isfinite(rate) or rate < 0:
        return f"it answered {rate}, which is no rate"
    if rate > upto * (1 + 1e-9):
        return f"it answered {format_rate(rate)}, beyond upto, {format_rate(upto)}"
    return ""


def _rate(given: object) -> float:
    if given is None:
        raise ValueError('which rate? write "10/s"')
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f'{given!r} is no rate; write "10/s"')
    rate = parse_rate(given)
    if not 0 < rate <= MAX_RATE_PER_S:
        raise ValueError(f"{given} is no rate to steer by; above 0 and at most {MAX_RATE_PER_S:g}/s")
    return rate


def _duration_s(given: object) -> float:
    if given is None:
        raise ValueError('how long may it take? write "20m"')
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f'{given!r} is no duration; write "20m"')
    duration_s = parse_duration(given) / NS_PER_S
    if not 0 < duration_s <= MAX_DURATION_S:
        raise ValueError(f"{given} is no duration for a steered load; above 0 and at most 24h")
    return duration_s
