"""Steered loads: after each interval, a steering executor decides the next rate.

    class Gentle(SteeringExecutor):
        objectives = (p(99) < "300ms",)
        start, upto, duration = "5/s", "200/s", "10m"

        def steer(self, looks: Sequence[Look]) -> Decision:
            last = looks[-1]
            if last.bad_ratio is None or not last.is_sound:
                return Decision(last.rate_per_s, "no usable measurements")
            rate = last.rate_per_s * (0.8 if last.bad_ratio > 0.01 else 1.02)
            return Decision(rate, f"{last.bad} of {last.good + last.bad} were bad")

One worker of one agent calls `steer`, and its decision changes the rate of the whole
fleet. If that worker dies, another one continues with the same observations. So
`steer` must be a pure function of all observations: no clock, no state, no random
numbers. An invalid or late decision, or an exception, leaves the rate unchanged, and
the run reports it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

from loadgen.dsl.executors.base import Lowered
from loadgen.dsl.executors.custom import Authored
from loadgen.dsl.plans.objectives.slo import Slo
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
"""Maximum duration of a steered load, which keeps one observation per second."""

FindingVerdict = Literal["found", "not reached", "never met", "not decided"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The knowledge so far about the highest rate that meets the objectives (the knee)."""

    verdict: FindingVerdict
    """found: `rate_per_s`, within the interval. not reached: the objectives were met up to the highest allowed rate.
    never met: not even at the lowest rate. not decided: too few measurements.
    """
    text: str
    """The finding as a sentence."""
    rate_per_s: float | None = None
    low: float | None = None
    """Lower end of the 90 % interval, if there is one."""
    high: float | None = None
    held_per_s: float | None = None
    """The rate that was held, for `hold`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The next rate of the whole fleet, iterations/s, and the reason. A rate of None ends the load."""

    rate_per_s: float | None
    why: str = ""
    """The reason as a sentence, shown in the terminal."""
    finding: Finding | None = None


class SteeringExecutor(Authored):
    """Base class for a steered open load, whose rate is decided while it runs. Implement `steer`.

    Set the attributes below in the class or in its `__init__`.
    """

    objectives: Sequence[Slo]
    """Objectives by which `look.parts` counts iterations as good or bad; windows and `abort` are ignored. Default:
    none.
    """
    start: str | float
    """The rate until the first decision: "5/s"."""
    upto: str | float
    """The highest allowed rate: "200/s". Higher decisions are rejected."""
    duration: str | float
    """The load ends after this time, unless a decision ends it earlier."""

    @abstractmethod
    def steer(self, looks: Sequence[Look]) -> Decision:
        """Return the next rate of the whole fleet and its reason, from all observations since the load started.

        Must be a pure function of `looks`, which has at least one observation, the oldest first. It must return well
        within a second, because it shares a process with the load.
        """

    @property
    def method(self) -> str:
        return f"{type(self).__name__}.steer"

    def _built(self, seed: int) -> Lowered:
        start, upto, duration_ns = _rate(self.start), _rate(self.upto), parse_duration(self.duration)
        steering = SteeringSpec(executor=self.describe(), objectives=self.steered, start_per_s=start, upto_per_s=upto)
        return Lowered(ArrivalProfile((Stage(start, start, duration_ns),)), steering=steering)

    def describe(self) -> str:
        """Return a short description of the executor for the plan and the report: "Gentle: 5/s to 200/s"."""
        start, upto = format_rate(_rate(self.start)), format_rate(_rate(self.upto))
        return f"{type(self).__name__}: {start} to {upto}"

    @property
    def slos(self) -> tuple[Slo, ...]:
        return tuple(one for one in self._given() if isinstance(one, Slo))

    @property
    def steered(self) -> tuple[Objective, ...]:
        """Return the valid objectives of this executor as plain values, which can be sent to agents."""
        return tuple(one.objective for one in self.slos if one.objective is not None)

    def _given(self) -> Iterable[object]:
        given: object = getattr(self, "objectives", ())
        return given if isinstance(given, Iterable) and not isinstance(given, str) else [given]

    def _own_faults(self) -> Iterator[Fault]:
        name = type(self).__name__
        yield from self._objectives_wrong(name)
        rates: dict[str, float] = {}
        for argument, read in (("start", _rate), ("upto", _rate), ("duration", _duration_s)):
            given = getattr(self, argument, None)
            try:
                rates[argument] = read(given)
            except (ValueError, OverflowError) as error:
                yield self._origin.fault(f"{name}: {argument}: {error}", f"correct {argument} of {name}")
        if rates.get("start", 0.0) > rates.get("upto", float("inf")):
            yield self._origin.fault(
                f"{name}: start, {format_rate(rates['start'])}, is above upto, {format_rate(rates['upto'])}",
                "lower start, or raise upto",
            )
        yield from super()._own_faults()

    def _objectives_wrong(self, name: str) -> Iterator[Fault]:
        for one in self._given():
            if isinstance(one, Slo):
                yield from one.faults
                if one.probe is not None:
                    message = f"{name}: {one.text}: a load cannot follow a probe"
                    yield one.origin.fault(message, 'write p(99) < "300ms", and move this one to the slos of the plan')
                if one.objective is not None and not one.objective.is_steerable:
                    message = f"{name}: {one.objective.text}: a load can only follow response times and error ratios"
                    hint = 'write p(99) < "300ms" or error_ratio() < "1%"'
                    if one.objective.is_of_streams or one.objective.limits:
                        message += ", and percentiles of stream times and goodputs without load= and tags="
                        hint = 'write p(95, metric="ttft") < "500ms" or goodput(ttft="500ms") > "95%"'
                    yield one.origin.fault(message, hint)
            else:
                yield self._origin.fault(f"{name}: {one!r} is not an objective", 'write p(99) < "300ms"')


def decision_wrong(decision: object, upto: float) -> str:
    """Return why a result of `steer` is invalid, as part of a message for the user; "" if it is valid.

    upto: the highest allowed rate, iterations/s.
    """
    if not isinstance(decision, Decision):
        return f"it returned {decision!r}, which is not a Decision(rate, why)"
    rate: object = decision.rate_per_s
    if rate is None:
        return ""
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        return f"it returned the rate {rate!r}, which is not a finite number of at least 0"
    if not isfinite(rate) or rate < 0:
        return f"it returned the rate {rate}, which is not a finite number of at least 0"
    if rate > upto * (1 + 1e-9):
        return f"it returned {format_rate(rate)}, which is above upto, {format_rate(upto)}"
    return ""


def _rate(given: object) -> float:
    if given is None:
        raise ValueError('missing; write "10/s"')
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f'{given!r} is not a rate; write "10/s"')
    rate = parse_rate(given)
    if not 0 < rate <= MAX_RATE_PER_S:
        raise ValueError(f"{given} is not a valid rate; write one above 0 and at most {MAX_RATE_PER_S:g}/s")
    return rate


def _duration_s(given: object) -> float:
    if given is None:
        raise ValueError('missing; write "20m"')
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f'{given!r} is not a duration; write "20m"')
    duration_s = parse_duration(given) / NS_PER_S
    if not 0 < duration_s <= MAX_DURATION_S:
        raise ValueError(f"{given} is not valid; write a duration above 0 and at most 24h")
    return duration_s
