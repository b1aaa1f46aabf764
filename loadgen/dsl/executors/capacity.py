"""Loads that find the highest rate that meets an objective: `hold` stays there, `search` reports it.

    hold(p(99) < "300ms", upto="1000/s", duration="30m")      finds the rate and holds it, following the target
    search(p(99) < "300ms", upto="1000/s")                    steps up to the knee and ends, with an interval

Both are steering executors, like those that users write. `rate_search.py` decides how
they move, and `knee_estimate.py` estimates the knee; this module has their arguments and texts.

`hold` stays a little below the knee: at a rate that the knee is below with a probability of
15 %. On targets whose service times vary much this is 3 to 5 % below the knee, on others 1
to 3 %. `search` uses the middle for two thirds of its windows, and a lower rate for the rest.
The lower rate shows how steeply the percentile rises, without which the error of the knee
is unknown.

docs/how-often-wrong.md has the error rates of both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log
from typing import Final

from loadgen.dsl.executors.knee_estimate import Knee
from loadgen.dsl.executors.rate_results import Aim, Stay
from loadgen.dsl.executors.rate_search import Climb, ClimbTerms, Phase, begin, settling_s, step, window_s
from loadgen.dsl.executors.steering_executor import Decision, Finding, SteeringExecutor
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.errors import Fault
from loadgen.measure.objectives.steering_observation import Look
from loadgen.units import NS_PER_S, format_duration, format_rate, parse_duration, parse_rate, parse_ratio

__all__ = ["Hold", "Limit", "Search", "hold", "search"]

_LOW, _MIDDLE, _HIGH = 0.05, 0.5, 0.95
_HELD: Final = 1.5
"""The knee of a held load counts as found when half of the 90 % interval of its distribution is at most this many
tolerances.
"""
_HOLD_QUANTILE: Final = 0.15
_HOLD_BREAKS: Final = 5.0
_HOLD_FORGET: Final = 0.99
_SEARCH_BREAKS: Final = 10.0
_LEAST_WINDOWS: Final = 6
"""Minimum number of windows judged near the knee before it counts as found."""
_START_SHARE: Final = 64
_WAITS: Final = ("ttft", "ttft_due", "ttfo", "e2e")
"""Limits of a goodput that a queue at the model breaks."""
_GAPS: Final = ("tpot", "stall", "itl", "icl")
_EVENTS: Final[Mapping[str, str]] = {"itl": "tokens", "icl": "reads"}
"""Metrics with many values in an answer, and the events that have one value each."""


@dataclass(slots=True)
class _Known:
    """Cached state after the latest observations, so that a step handles only new ones. It never changes a result."""

    count: int = 0
    last: Look | None = None
    climb: Climb | None = None


@dataclass(frozen=True, eq=False)
class Limit(SteeringExecutor):
    """Base class of the executors that `hold` and `search` create."""

    objectives: tuple[Slo, ...]
    start: str | float
    upto: str | float
    duration: str | float
    every: str | float = "5s"
    tolerance: str | float = "5%"
    _known: _Known = field(default_factory=_Known, repr=False)

    @property
    @abstractmethod
    def word(self) -> str:
        """Return the name of the function that created this executor: "hold" or "search"."""

    @property
    @abstractmethod
    def terms(self) -> ClimbTerms: ...

    @abstractmethod
    def decide(self, climb: Climb) -> Decision:
        """Return the next rate of the fleet and its reason, given the present state of the search."""

    def steer(self, looks: Sequence[Look]) -> Decision:
        return self.decide(self._climbed(looks))

    def wrong(self) -> Iterable[str]:
        if not self.objectives:
            yield 'no objective is given; write p(99) < "300ms"'
        for argument, read in (("every", parse_duration), ("tolerance", parse_ratio)):
            try:
                value = read(getattr(self, argument))
            except (ValueError, OverflowError, AttributeError, TypeError) as error:
                yield f"{argument}: {error}"
                continue
            if argument == "every" and value < NS_PER_S:
                yield f"every: {self.every} is shorter than 1s, the interval of measurements; write at least 1s"
            if argument == "tolerance" and not 0.01 <= value <= 0.5:
                yield f"tolerance: {self.tolerance} is out of range; write 1% to 50%"

    @property
    def aims(self) -> tuple[Aim, ...]:
        return tuple(
            Aim(
                one.text,
                float(one.budget.allowed),
                one.limit / NS_PER_S if one.kind == "percentile" else None,
                max((limit_ns for name, limit_ns in one.limits if name in _WAITS), default=0) / NS_PER_S,
                is_late=bool(one.limits) or one.is_of_streams,
                is_of_gaps=one.metric in _GAPS,
                events=_EVENTS.get(one.metric, ""),
            )
            for one in self.steered
        )

    def window_s(self, rate_per_s: float) -> float:
        """Return how long this load stays at `rate_per_s` before it is judged, in seconds.

        The time includes the beginning, whose results are ignored.
        """
        return window_s(self.terms, rate_per_s) + settling_s(self.terms, rate_per_s)

    def describe(self) -> str:
        texts = ", ".join(aim.text for aim in self.aims)
        start, upto = format_rate(_rate(self.start)), format_rate(_rate(self.upto))
        return f"{self.word} {texts}: {start} to {upto}"

    def _own_faults(self) -> Iterator[Fault]:
        for fault in super()._own_faults():
            yield Fault(fault.file, fault.line, fault.message.replace(type(self).__name__, self.word, 1), fault.hint)

    def _climbed(self, looks: Sequence[Look]) -> Climb:
        known, terms = self._known, self.terms
        goes_on = 0 < known.count <= len(looks) and looks[known.count - 1] == known.last
        climb = known.climb if goes_on and known.climb is not None else begin(terms)
        for look in looks[known.count if goes_on else 0 :]:
            climb = step(terms, climb, look)
        known.count, known.last, known.climb = len(looks), looks[-1] if looks else None, climb
        return climb

    def _climb_terms(self, quantile: float, breaks: float, forget: float, is_search: bool = False) -> ClimbTerms:
        return ClimbTerms(
            aims=self.aims,
            start_per_s=_rate(self.start),
            upto_per_s=_rate(self.upto),
            every_s=parse_duration(self.every) / NS_PER_S,
            quantile=quantile,
            breaks=breaks,
            forget=forget,
            is_search=is_search,
        )

    # -- what is known ----------------------------------------------------------------------

    def finding(self, climb: Climb) -> Finding:
        """Return what is known about the knee, the highest rate that meets the objectives: verdict, text and rates.

        After the end of the search, the finding is final.
        """
        knee, texts = climb.knee, " and ".join(aim.text for aim in self.aims)
        if climb.phase is Phase.ENDED and climb.best_per_s:
            return Finding("not decided", f"the target did not recover: {climb.why}")
        if climb.is_topped:
            return self._topped(climb, texts)
        if not climb.best_per_s and climb.worst_per_s <= self.terms.start_per_s:
            lowest = format_rate(climb.asked_per_s)
            if climb.phase is Phase.ENDED:
                return Finding("never met", f"{texts} is not met even at {lowest}")
            return Finding("not decided", f"not decided: {texts} has not been met at any rate so far, down to {lowest}")
        if knee is None:
            tried = format_rate(climb.asked_per_s)
            return Finding("not decided", f"not decided: no rate up to {tried} broke {texts}{self._too_few(climb)}")
        found = self._located(climb, knee, texts)
        return replace(found, text=f"{found.text}{self._too_few(climb)}") if found.verdict == "not decided" else found

    @abstractmethod
    def _located(self, climb: Climb, knee: Knee, texts: str) -> Finding:
        """Return the finding for the estimated `knee`, the highest rate that meets the objectives.

        The verdict is "found" if the estimate is certain enough, else "not decided". texts: the objectives, for the
        sentence of the finding.
        """

    def _topped(self, climb: Climb, texts: str) -> Finding:
        upto = climb.upto(self.terms)
        is_generator = climb.ceiling_per_s < self.terms.upto_per_s
        most = (
            "the highest rate at which the generator was valid" if is_generator else "the highest allowed rate (upto)"
        )
        text = f"the knee was not reached: {texts} is met at {format_rate(upto)}, {most}"
        return Finding("not reached", text, upto, held_per_s=upto)

    @property
    def _tolerance(self) -> float:
        return parse_ratio(self.tolerance)

    def _too_few(self, climb: Climb) -> str:
        """Return "; too few samples: ..." if the load is too short for enough windows at its present rate; else ""."""
        for i, aim in enumerate(self.aims):
            if aim.least / climb.asked_per_s * _LEAST_WINDOWS > parse_duration(self.duration) / NS_PER_S:
                seen = round(climb.stay.count(i))
                need = format_duration(round(aim.least / climb.asked_per_s) * NS_PER_S)
                at = format_rate(climb.asked_per_s)
                answers = " answers" if aim.events else ""
                text = f"{seen}{answers} in this window, {aim.least:g} needed, which takes {need} at {at}"
                return f"; too few samples: {text}"
        return ""

    def _seen(self, stays: Sequence[Stay]) -> str:
        """Return what the newest stay at one rate showed, as text: "p(99) < 300ms: p(99) about 270 ms of 300".

        Returns "" if there are no results.
        """
        worst = stays[-1].worst(self.aims) if stays else None
        if worst is None:
            return ""
        aim = self.aims[worst.objective]
        share = exp(worst.distance(aim))
        whose = f" of {worst.journey}" if worst.journey and len(stays[-1].tallies) > 1 else ""
        if aim.limit_s is None:
            return f"{aim.text}{whose}: {worst.bad / worst.count * 100:.3g} % of {worst.count:.0f}"
        q = f"p({100 - aim.allowed * 100:g})"
        of = f"the {aim.events} of {worst.count:.0f} answers" if aim.events else f"{worst.count:.0f}"
        if share > 1:
            bad = f"{worst.bad / worst.count * 100:.3g} %" if aim.events else f"{worst.bad:.0f}"
            return f"{aim.text}{whose}: {q} above it, {bad} of {of} missed"
        return f"{aim.text}{whose}: {q} about {share * aim.limit_s * 1e3:.3g} ms of {of}"


class Hold(Limit):
    """The executor that `hold` creates."""

    @property
    def word(self) -> str:
        return "hold"

    @property
    def terms(self) -> ClimbTerms:
        return self._climb_terms(_HOLD_QUANTILE, _HOLD_BREAKS, _HOLD_FORGET)

    def decide(self, climb: Climb) -> Decision:
        finding = self.finding(climb)
        if climb.phase is Phase.ENDED:
            return Decision(None, climb.why, finding)
        parts = (climb.why, self._seen(climb.stays) if climb.phase is not Phase.DRAINING else "", climb.note)
        return Decision(climb.asked_per_s, "; ".join(part for part in parts if part), finding)

    def _located(self, climb: Climb, knee: Knee, texts: str) -> Finding:
        """Return the finding with the held rate and the estimated knee, but without an interval of the knee.

        A load that backs off early does not measure rates above the knee, so the interval would be unreliable.
        """
        held = climb.asked_per_s if climb.phase is Phase.TRACKING else self._resumed(climb, knee)
        rate = knee.rate(_MIDDLE)
        half = log(knee.rate(_HIGH) / knee.rate(_LOW)) / 2
        if climb.windows < _LEAST_WINDOWS or half > _HELD * self._tolerance:
            text = f"not decided: the knee of {texts} is about {format_rate(rate)}; held {format_rate(held)}"
            return Finding("not decided", text, rate, held_per_s=held)
        text = f"held {format_rate(held)}: the knee of {texts} is about {format_rate(rate)}"
        return Finding("found", text, rate, held_per_s=held)

    def _resumed(self, climb: Climb, knee: Knee) -> float:
        """Return the rate to hold after a back-off, when the target's backlog is gone, in iterations/s."""
        return min(knee.rate(self.terms.quantile), climb.upto(self.terms))


class Search(Limit):
    """The executor that `search` creates."""

    def _located(self, climb: Climb, knee: Knee, texts: str) -> Finding:
        rate, (low, high) = knee.counted, knee.interval
        between = f"{format_rate(low)} to {format_rate(high)}"
        if climb.windows < _LEAST_WINDOWS or knee.width > self._tolerance:
            text = f"not decided: the knee of {texts} is somewhere in {between}"
            return Finding("not decided", text, rate, low, high)
        text = f"the knee of {texts} is at {format_rate(rate)} (90 % interval {between})"
        return Finding("found", text, rate, low, high)

    @property
    def word(self) -> str:
        return "search"

    @property
    def terms(self) -> ClimbTerms:
        return self._climb_terms(_MIDDLE, _SEARCH_BREAKS, 1.0, is_search=True)

    def decide(self, climb: Climb) -> Decision:
        finding = self.finding(climb)
        is_over = climb.phase is Phase.ENDED or finding.verdict in ("found", "not reached")
        if is_over:
            return Decision(None, finding.text, finding)
        parts = (climb.why, self._seen(climb.stays) if climb.phase is not Phase.DRAINING else "", climb.note)
        return Decision(climb.asked_per_s, "; ".join(part for part in parts if part), finding)


def hold(
    *objectives: Slo,
    upto: str | float,
    duration: str | float,
    start: str | float | None = None,
    every: str | float = "5s",
    tolerance: str | float = "5%",
) -> Hold:
    """Return an open load that finds the highest rate at which the objectives are met, and holds it.

    Args:
        objectives: such as `p(99) < "300ms"`, `error_ratio() < "1%"`, `p(95, metric="ttft") < "500ms"`. Each journey
            must meet all of them.
        upto: the highest allowed rate: "1000/s".
        duration: of the whole load.
        start: the initial rate; by default `upto` / 64.
        every: the shortest window to judge. Windows are longer at low rates and for limits above 125 ms.
        tolerance: the knee counts as found when its interval is this narrow.
    """
    return Hold(objectives, _start(start, upto), upto, duration, every, tolerance)


def search(
    *objectives: Slo,
    upto: str | float,
    duration: str | float = "1h",
    start: str | float | None = None,
    every: str | float = "5s",
    tolerance: str | float = "5%",
) -> Search:
    """Return an open load that steps up to the knee, the highest rate that meets the objectives, and then ends.

    It ends when the 90 % interval of the estimate is within the tolerance on either side, or after `duration`. A target
    with few or clustered slow results needs longer; its search is "not decided" if `duration` is too short. The summary
    reports the rate and its interval, or why it was not found. The arguments are those of `hold`.
    """
    return Search(objectives, _start(start, upto), upto, duration, every, tolerance)


def _start(start: str | float | None, upto: str | float) -> str | float:
    if start is not None:
        return start
    try:
        return parse_rate(upto) / _START_SHARE
    except (ValueError, OverflowError, AttributeError, TypeError):
        return upto  # the check of `upto` reports the error


def _rate(given: str | float) -> float:
    return parse_rate(given)
