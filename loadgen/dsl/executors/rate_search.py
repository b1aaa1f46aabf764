"""The state machine of `hold` and `search`: grow until a window breaks, back off, then move to the estimated knee.

The machine is a pure fold over observations: `step(terms, climb, look)` returns the next state, and
nothing else is kept. The phases:

    phase    | stays at one rate until              | then
    growing  | enough results, or it breaks         | rate x 1.5; broken: draining; at `upto`: stays there
    draining | two clean observations in a row      | the rate from the knee's distribution; if no rate was good
             |                                      | so far: growing from here
    tracking | the window ends, or it breaks        | the rate from the knee's distribution; broken: draining
    ended    |                                      |

A *window* is a stay at one rate. It must be long enough to show a rate 2.5 % above a hard
limit (40 times the objective's time limit: a queue that grows by 2.5 % of its time). It
must also have enough results for the percentile (300 for a p99). Its beginning is ignored:
arrivals in flight from the previous rate, and a queue that has not settled yet. A window
*breaks* when it has `breaks` times the bad results that the whole window may have. Then the
rate is halved until the backlog is gone, and nothing is judged until then.

A search spends two of six windows at a lower rate, where the percentile is some 55 % of the
limit. The difference shows how steeply the percentile rises to the knee. Its windows grow
longer with their number, since late moves are small.

An unsound observation (the generator was not valid, or an agent has not reported) is
ignored. While the generator is invalid, the rate stays for 30 s, because other programs
often keep a machine busy for some seconds. If most results are bad as well, it stays for 5 s,
so that a target in trouble is not loaded for long. Then the rate falls to a level that it
does not exceed any more: the generator's limit, not the target's knee. Before the search ends
there, it tries the higher rate once more, because the machine may be calm by then.

A stream counts when its answer ends, which may be long after the limit. So objectives on streams also
ignore the mean time of an answer after each change of the rate: by Little's law, what is in flight
divided by what ends in a second. Tokens of an answer are not independent. Objectives that count tokens
weigh them so that all tokens of an answer are one result.

Three broken windows in a row mean that the target has changed, so earlier stays count
little from then on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf, log
from typing import Final

from loadgen.dsl.executors.knee_estimate import Knee, find_knee
from loadgen.dsl.executors.rate_results import Aim, Stay, pooled, same_rate
from loadgen.measure.objectives.steering_observation import Look
from loadgen.units import format_count, format_rate

__all__ = ["Climb", "ClimbTerms", "Phase", "begin", "settling_s", "step", "window_s"]

GROWTH: Final = 1.5
_RISE: Final = 1.1
"""Maximum factor of one upward move near the knee."""
_STILL: Final = 0.004
"""Moves smaller than this (in the logarithm of the rate) are not made, because each move starts a new window."""
_LIMITS_A_WINDOW: Final = 40.0
_LIMITS_WHILE_GROWING: Final = 10.0
_RESULTS_WHILE_GROWING: Final = 60
_CLEAN_LOOKS: Final = 2
_BREAKS_IN_A_ROW: Final = 3
_FORGET: Final = 0.2
"""Weight of all earlier stays after that many broken windows."""
_UNFIT_S: Final = 30.0
"""How long the generator must be invalid without a break before the rate falls."""
_UNFIT_AND_BAD_S: Final = 5.0
"""The same while most results are bad."""
_UNFIT_STEP: Final = 0.8
_RETRIES: Final = 1
"""Number of times that a search tries a rate again at which the generator was invalid."""
_DRAINING: Final = 8.0
"""Time for a backlog to drain: this many short windows, plus the time of this many arrivals."""
_KEPT: Final = 200
"""Maximum number of stays kept. Beyond it, the older half is summed up for each rate."""
_LEAST_BAD: Final = 5
_LONGER_AFTER: Final = 50.0
"""After this many windows, the windows of a search are twice as long, then three times: later moves are small."""
_TURN: Final = 6
_LOWER: Final = 2
"""Of `_TURN` windows of a search that contrasts, this many are at the lower rate."""
_CONTRAST: Final = 0.8
"""The lower rate is where the percentile is about 1 / (1 + this) of the limit."""
_CONTRASTS: Final = (0.08, 0.4)
"""Least and most that the lower rate is below the knee, as a share."""
_LONGEST_ANSWER_S: Final = 300.0
"""Answers are not waited for longer than this: of a frozen target, none would end."""
_FLOOR: Final = 1 / 64
"""The lowest rate to try, as share of the start rate. If objectives fail there, they are never met."""


@dataclass(frozen=True, slots=True)
class ClimbTerms:
    """The constant parameters of a search."""

    aims: tuple[Aim, ...]
    start_per_s: float
    upto_per_s: float
    every_s: float
    """The shortest window, in seconds."""
    quantile: float
    """Quantile of the knee's distribution that gives the rate."""
    breaks: float
    forget: float = 1.0
    """Factor by which older stays lose weight with each new one."""
    is_search: bool = False
    """True if the rate is the middle of the estimate instead of the quantile. A third of the windows is then at a lower
    rate, to measure how steeply the percentile rises to the knee.
    """

    @property
    def limit_s(self) -> float:
        """Return the longest time limit of the objectives, in seconds; 0 if none has a time limit."""
        return max((aim.limit_s or aim.waits_s for aim in self.aims), default=0.0)

    @property
    def floor_per_s(self) -> float:
        return self.start_per_s * _FLOOR


class Phase(Enum):
    GROWING = "growing"
    DRAINING = "draining"
    TRACKING = "tracking"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Climb:
    """The state of a search."""

    phase: Phase
    asked_per_s: float
    why: str = ""
    """The reason for the last move."""
    from_s: float | None = None
    """Arrivals due from this time on are judged; None: the new rate is not in force yet."""
    began_s: float = 0.0
    """When the current rate came into force."""
    stay: Stay = field(default_factory=lambda: Stay(1.0))
    stays: tuple[Stay, ...] = ()
    knee: Knee | None = None
    best_per_s: float = 0.0
    """The highest rate of a good window; 0: none yet."""
    worst_per_s: float = inf
    """The lowest rate of a broken window; infinite: none yet."""
    breaks: int = 0
    """Broken windows in a row."""
    clean: int = 0
    """Observations in a row without problems."""
    unfit_s: float = 0.0
    """How long the generator has not been valid, without a break."""
    unfit_and_bad_s: float = 0.0
    """How long, in addition, most results have been bad."""
    retries: int = 0
    """Number of times that the rate was raised again after the generator had been invalid at it."""
    ceiling_per_s: float = inf
    """The highest rate at which the generator was valid; infinite if it always was."""
    windows: int = 0
    """Windows judged while tracking the knee."""
    middle_per_s: float = 0.0
    """The latest rate that came from the knee's distribution; 0: none yet."""
    is_topped: bool = False
    """True if a window was good at the highest allowed rate."""
    note: str = ""
    """Why the search learns nothing at the moment; "" if it does."""
    now_s: float = 0.0
    answer_s: float = 0.0
    """Mean time of an answer when the current rate came into force, if the objectives judge streams."""
    finished: int = 0
    """Iterations that have ended so far."""
    events: tuple[int, ...] = ()
    """Results so far, by objective."""

    def upto(self, terms: ClimbTerms) -> float:
        return min(terms.upto_per_s, self.ceiling_per_s)

    def weights(self, terms: ClimbTerms) -> tuple[float, ...]:
        """Return how much one result counts, by objective: 1, or the share that a token is of an answer."""
        return tuple(
            min(1.0, max(1, self.finished) / max(1, events)) if aim.events else 1.0
            for aim, events in zip(terms.aims, self.events, strict=True)
        )


def begin(terms: ClimbTerms) -> Climb:
    why = f"starting at {format_rate(terms.start_per_s)}"
    return Climb(Phase.GROWING, terms.start_per_s, why, events=(0,) * len(terms.aims))


def step(terms: ClimbTerms, climb: Climb, look: Look) -> Climb:
    """Return the state of the search after one more observation `look`. Pure: it changes none of its arguments.

    Cost: 10 µs, plus `find_knee` at the end of a window.
    """
    climb = replace(climb, now_s=look.to_s)
    if climb.phase is Phase.ENDED:
        return climb
    if not look.is_sound:
        return _unsound(terms, climb, look)
    climb = replace(_counted(climb, look), unfit_s=0.0, unfit_and_bad_s=0.0, note="")
    if not look.is_steady or look.rate_per_s <= 0 or abs(log(look.rate_per_s / climb.asked_per_s)) > 1e-9:
        return climb  # the decided rate is not in force yet
    if climb.from_s is None:
        answer_s = _answer_s(terms, look)
        settled_s = look.from_s + settling_s(terms, climb.asked_per_s, climb.phase) + answer_s
        climb = replace(climb, from_s=settled_s, began_s=look.from_s, stay=Stay(climb.asked_per_s), answer_s=answer_s)
    if climb.phase is Phase.DRAINING:
        return _drain(terms, climb, look)
    stay = climb.stay.plus(look.parts, look.length_s, climb.weights(terms))
    if broken := _broken(terms, climb, stay):
        return _break(terms, replace(climb, stay=stay), broken)
    if climb.from_s is not None and look.from_s < climb.from_s - 1e-9:
        return climb  # a window may break while it settles, but is not judged good
    climb = replace(climb, stay=stay)
    return _judge(terms, climb) if _is_over(terms, climb) else climb


def window_s(terms: ClimbTerms, rate_per_s: float, phase: Phase = Phase.TRACKING) -> float:
    """Return how long the load must stay at `rate_per_s` to be judged, in seconds.

    The returned time is a minimum, which assumes that the result of every due arrival is known.
    """
    if phase is Phase.GROWING:
        return max(terms.every_s, _RESULTS_WHILE_GROWING / rate_per_s, _LIMITS_WHILE_GROWING * terms.limit_s)
    results = max(aim.least for aim in terms.aims)
    return max(terms.every_s, results / rate_per_s, _LIMITS_A_WINDOW * terms.limit_s)


def settling_s(terms: ClimbTerms, rate_per_s: float, phase: Phase = Phase.TRACKING) -> float:
    """Return the length of the beginning of a stay that is ignored, in seconds; at most the length of the window.

    This time is the objective's limit, after which all arrivals of the previous rate are decided, plus about two
    relaxation times of an M/M/1 queue. One relaxation time is 0.2 * rate * limit^2 near the knee
    (see `knee_estimate.py`).
    """
    limit_s = terms.limit_s
    return min(limit_s + 0.4 * rate_per_s * limit_s**2, window_s(terms, rate_per_s, phase))


def _counted(climb: Climb, look: Look) -> Climb:
    """Return the state with the results of one more observation counted, for the weights of tokens."""
    events = list(climb.events)
    for part in look.parts:
        events[part.objective] += part.good + part.bad
    return replace(climb, finished=climb.finished + look.finished, events=tuple(events))


def _answer_s(terms: ClimbTerms, look: Look) -> float:
    """Return the mean time of an iteration, in seconds, as that of an answer; 0 if no objective judges streams.

    The time has think time in it, because an iteration with several answers loads the target until its end.
    """
    if not any(aim.is_late for aim in terms.aims):
        return 0.0
    return min(look.in_flight * look.length_s / max(1, look.finished), _LONGEST_ANSWER_S)


# -- windows -----------------------------------------------------------------------------------


def _is_over(terms: ClimbTerms, climb: Climb) -> bool:
    stay = climb.stay
    if climb.phase is Phase.GROWING and climb.asked_per_s < climb.upto(terms) * (1 - 1e-9):
        limits_s = max(terms.every_s, _LIMITS_WHILE_GROWING * terms.limit_s)
        if stay.length_s < limits_s - 1e-9:
            return False
        counts = [(stay.count(i), aim) for i, aim in enumerate(terms.aims)]
        if all(count >= aim.least for count, aim in counts):
            return True
        # A few bad results may be chance, so then wait for as many results as the percentile needs.
        return all(count >= _RESULTS_WHILE_GROWING for count, _ in counts) and not _is_over_budget(terms, stay)
    longer = 1 + climb.windows / _LONGER_AFTER if terms.is_search else 1.0
    limits_s = longer * max(terms.every_s, _LIMITS_A_WINDOW * terms.limit_s)
    enough = all(stay.count(i) >= longer * aim.least for i, aim in enumerate(terms.aims))
    return enough and stay.length_s >= limits_s - 1e-9


def _is_over_budget(terms: ClimbTerms, stay: Stay) -> bool:
    return any(one.bad > one.count * terms.aims[one.objective].allowed for one in stay.tallies)


def _broken(terms: ClimbTerms, climb: Climb, stay: Stay) -> str:
    """Return why this stay at one rate has already missed an objective for certain; "" if it may still be good."""
    length_s = window_s(terms, climb.asked_per_s, climb.phase)
    for one in stay.tallies:
        aim = terms.aims[one.objective]
        whole = one.count * max(1.0, length_s / max(stay.length_s, 1e-9))
        if one.bad >= _LEAST_BAD and one.bad > terms.breaks * aim.allowed * whole:
            whose = f" of {one.journey}" if one.journey and len(stay.tallies) > 1 else ""
            if aim.events:
                return f"{one.bad / one.count * 100:.3g} % of the {aim.events}{whose} missed {aim.text}"
            bad, count = format_count(round(one.bad)), format_count(round(one.count))
            return f"{bad} of {count}{whose} missed {aim.text}"
    return ""


def _judge(terms: ClimbTerms, climb: Climb) -> Climb:
    """Judge a stay at one rate that ended without breaking an objective; return the state with the next rate."""
    stay, rate = climb.stay, climb.asked_per_s
    climb = _learned(terms, climb)
    worst = stay.worst(terms.aims)
    is_good = worst is not None and worst.distance(terms.aims[worst.objective]) <= 0
    if is_good:
        at_top = rate >= climb.upto(terms) * (1 - 1e-9)
        climb = replace(climb, best_per_s=max(climb.best_per_s, rate), is_topped=at_top)
        if at_top and climb.ceiling_per_s < terms.upto_per_s and climb.retries < _RETRIES:
            return _retry(terms, climb)
    if climb.phase is Phase.GROWING and is_good and climb.worst_per_s > rate * GROWTH * (1 + 1e-9):
        if rate >= climb.upto(terms) * (1 - 1e-9):
            return replace(
                climb, breaks=0, why=f"{format_rate(rate)} is the highest allowed rate, and it met the objectives"
            )
        further = min(rate * GROWTH, climb.upto(terms))
        return _move(
            replace(climb, breaks=0), Phase.GROWING, further, f"{format_rate(rate)} met the objectives: the rate grows"
        )
    return _track(terms, replace(climb, breaks=0, windows=climb.windows + (climb.phase is Phase.TRACKING)))


def _learned(terms: ClimbTerms, climb: Climb) -> Climb:
    """Return the state with the current stay added to the stored ones, and a new, empty stay at the same rate.

    The new stay needs no time to settle. Older stays lose some of their weight.
    """
    kept = climb.stays
    if len(kept) >= _KEPT:
        old = [whole for group in same_rate(kept[: _KEPT // 2]) if (whole := pooled(group)) is not None]
        kept = (*old, *kept[_KEPT // 2 :])[1 - _KEPT :]
    older = tuple(replace(one, weight=one.weight * terms.forget) for one in kept)
    return replace(climb, stays=(*older, climb.stay), stay=Stay(climb.asked_per_s))


def _track(terms: ClimbTerms, climb: Climb) -> Climb:
    """Estimate the knee from all stays, and return the state that moves to the rate of its distribution's quantile."""
    knee = find_knee(climb.stays, terms.aims)
    climb = replace(climb, knee=knee)
    rate = climb.asked_per_s
    middle = min(knee.counted if terms.is_search else knee.rate(terms.quantile), max(rate, climb.middle_per_s) * _RISE)
    climb = replace(climb, middle_per_s=middle)
    if terms.is_search and climb.windows % _TURN >= _TURN - _LOWER:
        middle *= 1 - min(max(_CONTRAST / knee.steep, _CONTRASTS[0]), _CONTRASTS[1])
    further = min(max(middle, terms.floor_per_s), climb.upto(terms))
    if climb.phase is Phase.TRACKING and abs(log(further / rate)) < _STILL:
        return replace(climb, why=f"holding {format_rate(rate)}")
    way = "up" if further > rate else "down"
    return _move(climb, Phase.TRACKING, further, f"{way} from {format_rate(rate)} to {format_rate(further)}")


# -- backing off -------------------------------------------------------------------------------


def _break(terms: ClimbTerms, climb: Climb, broken: str) -> Climb:
    rate = climb.asked_per_s
    climb = _learned(terms, climb)
    breaks = climb.breaks + 1
    climb = replace(climb, breaks=breaks, worst_per_s=min(climb.worst_per_s, rate), is_topped=False)
    if breaks >= _BREAKS_IN_A_ROW:
        older = tuple(replace(one, weight=one.weight * _FORGET) for one in climb.stays[:-_BREAKS_IN_A_ROW])
        climb = replace(climb, stays=(*older, *climb.stays[-_BREAKS_IN_A_ROW:]), breaks=0)
    if climb.best_per_s:
        climb = replace(climb, knee=find_knee(climb.stays, terms.aims))
    return _fall(terms, climb, rate / 2, f"backing off from {format_rate(rate)}: {broken}")


def _fall(terms: ClimbTerms, climb: Climb, rate: float, why: str) -> Climb:
    if rate < terms.floor_per_s:
        lowest = format_rate(climb.asked_per_s)
        return replace(climb, phase=Phase.ENDED, why=f"{why}; {lowest} is the lowest rate to try")
    return _move(climb, Phase.DRAINING, rate, why)


def _drain(terms: ClimbTerms, climb: Climb, look: Look) -> Climb:
    """Return the state after one more observation of a back-off, in which the target works off its backlog.

    The search continues after two clean observations in a row. If the backlog lasts too long, the rate is halved again.
    """
    counts = Stay(climb.asked_per_s).plus(look.parts, 0.0)
    decided = sum(one.count for one in counts.tallies)
    is_clean = decided > 0 and all(
        one.bad <= 2 * terms.aims[one.objective].allowed * one.count for one in counts.tallies
    )
    climb = replace(climb, clean=climb.clean + 1 if is_clean else 0)
    if climb.clean >= _CLEAN_LOOKS:
        if not climb.best_per_s:
            return _move(climb, Phase.GROWING, climb.asked_per_s, f"judging {format_rate(climb.asked_per_s)}")
        assert climb.knee is not None
        middle = climb.knee.counted if terms.is_search else climb.knee.rate(terms.quantile)
        further = min(max(middle, terms.floor_per_s), climb.upto(terms))
        return _move(climb, Phase.TRACKING, further, f"the backlog is gone: the rate rises to {format_rate(further)}")
    short_s = max(terms.every_s, _LIMITS_WHILE_GROWING * terms.limit_s, climb.answer_s)
    patience_s = _DRAINING * (short_s + 1 / climb.asked_per_s)
    if look.to_s - climb.began_s > patience_s:
        rate = climb.asked_per_s
        return _fall(terms, climb, rate / 2, f"the backlog does not drain at {format_rate(rate)}")
    return climb


def _unsound(terms: ClimbTerms, climb: Climb, look: Look) -> Climb:
    """Return the state after an unusable observation: an agent has not reported, or the generator was not valid.

    The stay continues after it, with its earlier results. The rate falls when the generator has been invalid for long.
    """
    if not look.unfit:
        missing = f"{look.reported} of {look.agents} agents reported"
        return replace(climb, clean=0, note=f"measurements are ignored while only {missing}")
    unfit_s = climb.unfit_s + look.length_s
    is_bad = (look.bad_ratio or 0.0) > 0.5
    climb = replace(
        climb,
        clean=0,
        unfit_s=unfit_s,
        unfit_and_bad_s=climb.unfit_and_bad_s + look.length_s if is_bad else 0.0,
        note=f"the generator is not valid for {unfit_s:.0f} s (at {_UNFIT_S:.0f} s the rate falls): "
        + _first(look.unfit),
    )
    if unfit_s < _UNFIT_S and climb.unfit_and_bad_s < _UNFIT_AND_BAD_S:
        return climb
    lower = max(climb.asked_per_s * _UNFIT_STEP, terms.floor_per_s)
    climb = replace(climb, unfit_s=0.0, unfit_and_bad_s=0.0, is_topped=False)
    climb = replace(climb, ceiling_per_s=min(climb.ceiling_per_s, lower))
    why = f"down to {format_rate(lower)}: the generator was not valid at a higher rate ({_first(look.unfit)})"
    phase = Phase.DRAINING if climb.phase is Phase.DRAINING else climb.phase
    return _move(climb, phase, lower, why)


def _retry(terms: ClimbTerms, climb: Climb) -> Climb:
    """Return the state that leaves a rate that is good, but is the highest one at which the generator was valid."""
    higher = min(climb.asked_per_s / _UNFIT_STEP, terms.upto_per_s)
    climb = replace(climb, ceiling_per_s=inf, is_topped=False, retries=climb.retries + 1)
    return _move(climb, climb.phase, higher, f"the generator is valid again: up to {format_rate(higher)}")


def _first(reasons: Iterable[str]) -> str:
    return next(iter(reasons), "")


def _move(climb: Climb, phase: Phase, rate_per_s: float, why: str) -> Climb:
    return replace(climb, phase=phase, asked_per_s=rate_per_s, why=why, from_s=None, stay=Stay(rate_per_s), clean=0)
