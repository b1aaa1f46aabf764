"""Changes the rest of a running load: pause, resume, scale, skip a stage, replace, end. Pure functions.

A load is a sequence of stages. A change keeps the stages before its time and replaces those after it. The numbers of
iterations do not change, and nobody needs to know which were started. Arrival n of an open load is due where the area
under the curve exceeds n, wherever changes have moved that point. So no arrival is lost or doubled.

Times are ns from T0; a load that begins later has a first stage of 0. Values are iterations/s or users. For counted
loads the value is 1 (iterations may start) or 0 (paused).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, log10
from typing import Final

from loadgen.errors import UsageError
from loadgen.profiles.describe import Kind, pieces_of, value_text
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile, Profile, UserProfile
from loadgen.profiles.stage import MAX_DURATION_NS, MAX_RATE_PER_S, MAX_USERS, Stage, exact, highest, length
from loadgen.units import NS_PER_S

__all__ = [
    "OPEN",
    "PAUSE",
    "Course",
    "cut",
    "is_pause",
    "replaced",
    "value_at",
]

PAUSE: Final = Stage(0.0, 0.0, 10 * MAX_DURATION_NS)
"""A hold of 0 that is longer than any plan, for a pause with an unknown end."""
OPEN: Final = Stage(1.0, 1.0, 10 * MAX_DURATION_NS)
"""The only stage of a counted load."""
_MOST: Final[dict[Kind, float]] = {"rate": MAX_RATE_PER_S, "users": MAX_USERS, "speed": 1e6, "gate": 1.0}
_LEAST: Final = 1e-6
"""The lowest peak of a scaled load: one iteration in 11 days. Values such as 1e-308 would make numbers overflow."""


def is_pause(stages: Sequence[Stage]) -> bool:
    """Whether a load with these stages is paused at its end without a known time of resumption."""
    return bool(stages) and stages[-1].duration_ns > MAX_DURATION_NS and not stages[-1].end


def cut(stages: Sequence[Stage], at_ns: int) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """Split a load's stages at `at_ns`: return those before and those after it.

    Stages without a duration are left out.
    """
    before: list[Stage] = []
    for k, stage in enumerate(stages):
        if at_ns < stage.duration_ns:
            rest = tuple(s for s in stages[k + 1 :] if s.duration_ns)
            if at_ns <= 0:
                return tuple(before), (stage, *rest)
            middle = float(stage.at(at_ns))
            before.append(Stage(stage.start, middle, at_ns))
            return tuple(before), (Stage(middle, stage.end, stage.duration_ns - at_ns), *rest)
        at_ns -= stage.duration_ns
        if stage.duration_ns:
            before.append(stage)
    return tuple(before), ()


def replaced(stages: Sequence[Stage], at_ns: int, rest: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the load's stages until `at_ns`, followed by `rest`.

    If the stages end earlier, the gap has the value 0.
    """
    before, _ = cut(stages, at_ns)
    gap_ns = at_ns - length(before)
    return (*before, *((Stage(0.0, 0.0, gap_ns),) if gap_ns > 0 else ()), *(s for s in rest if s.duration_ns))


def value_at(stages: Sequence[Stage], t_ns: int) -> Fraction:
    """Return the exact value of the curve at `t_ns` after its beginning; 0 before the beginning and after the end."""
    for stage in stages:
        if 0 <= t_ns < stage.duration_ns:
            return stage.at(t_ns)
        t_ns -= stage.duration_ns
        if t_ns < 0:
            break
    return Fraction(0)


@dataclass(frozen=True, slots=True)
class Course:
    """One load of a running plan: its planned stages with all changes so far. Begin with `Course.of`.

    change  | running                              | paused                               | over
    pause   | -> paused                            | illegal                              | illegal
    resume  | illegal                              | -> running, from where it stopped    | illegal
    scale   | multiplies the rest; recorded times  | multiplies the waiting stages        | illegal
            | are played faster by the factor      |                                      |
    skip    | removes the present stage; illegal   | removes the first waiting stage;     | illegal
            | in the last one                      | illegal in the last one              |
    replace | replaces the rest                    | replaces the waiting stages          | illegal
    end     | -> over                              | -> over                              | illegal

    A counted load can only be paused, resumed and ended. Its end depends on the target and not on time.
    An illegal change raises UsageError with a hint. Changes must come in the order of their times.
    """

    stages: tuple[Stage, ...]
    """All stages from T0 to the end, past and future."""
    kind: Kind
    begin_ns: int = 0
    """Planned beginning of the load, from T0."""
    waiting: tuple[Stage, ...] | None = None
    """The remaining stages while the load is paused; None when it is not paused."""
    name: str = ""
    """Name of the load, for messages."""

    @classmethod
    def of(cls, profile: Profile, begin_ns: int = 0, name: str = "") -> Course:
        """Return the course (stages with all changes so far) of a load that was not changed yet."""
        kind: Kind
        if isinstance(profile, ArrivalProfile):
            kind, stages = "rate", profile.stages
        elif isinstance(profile, TimedProfile):
            kind, stages = "speed", profile.speeds
        elif isinstance(profile, UserProfile):
            kind, stages = "users", profile.stages
        else:
            kind, stages = "gate", (OPEN,)
        front = (Stage(0.0, 0.0, begin_ns),) if begin_ns else ()
        return cls((*front, *(s for s in stages if s.duration_ns)), kind, begin_ns, None, name)

    @property
    def is_paused(self) -> bool:
        """Whether the load is paused."""
        return self.waiting is not None

    @property
    def end_ns(self) -> int | None:
        """Present end of the load in ns after T0; None if it is unknown, because the load is paused or counted."""
        is_endless = bool(self.stages) and self.stages[-1].duration_ns > MAX_DURATION_NS
        return None if is_endless else length(self.stages)

    def value_at(self, t_ns: int) -> float:
        """Return the load's rate, number of users or playback speed at `t_ns` after T0."""
        return float(value_at(self.stages, t_ns))

    def own(self) -> tuple[Stage, ...]:
        """Return the stages from the load's planned beginning on, without the time from T0 to the beginning."""
        return cut(self.stages, self.begin_ns)[1]

    def rest(self, at_ns: int) -> tuple[int, tuple[Stage, ...]]:
        """Return what agents must get after a change at `at_ns`: (time of the change, stages from then on)."""
        at_ns = max(at_ns, self.begin_ns)
        return at_ns, cut(self.stages, at_ns)[1]

    # -- edits ----------------------------------------------------------------------------------

    def paused(self, at_ns: int) -> Course:
        """Return a copy of the course that is paused from `at_ns` on."""
        self._must_last(at_ns)
        if self.is_paused:
            raise UsageError(f"{self._whose} is paused already", hint="loadgen resume continues it")
        before, after = cut(self.stages, at_ns)
        return replace(self, stages=(*before, PAUSE), waiting=after)

    def resumed(self, at_ns: int) -> Course:
        """Return a copy of a paused course that continues at `at_ns` with the stages that waited."""
        self._must_last(at_ns)
        if self.waiting is None:
            raise UsageError(f"{self._whose} is not paused", hint="loadgen pause pauses a load")
        before, _ = cut(self.stages, at_ns)
        return replace(self, stages=(*before, *self.waiting), waiting=None)

    def scaled(self, at_ns: int, factor: float) -> Course:
        """Return a copy of the course whose stages after `at_ns` are multiplied by `factor`."""
        self._must_last(at_ns)
        self._must_have_a_value("scaled")
        how = f"by {factor:g}"
        self._must_be_finite(factor, how)
        return self._scaled(at_ns, exact(factor), how)

    def scaled_to(self, at_ns: int, value: float) -> Course:
        """Return a copy of this course whose stages after `at_ns` are multiplied so that the value then is `value`.

        A course is the load's stages with all changes so far. Raises UsageError if the value at `at_ns` is 0.
        """
        self._must_last(at_ns)
        self._must_have_a_value("scaled")
        how = f"to {value:g}"
        self._must_be_finite(value, how)
        now = value_at(self._left(at_ns), 0)
        if not now:
            hint = "wait until it is above 0, or pass a factor: loadgen scale 1.5"
            raise UsageError(f"{self._whose} is at 0 now, and 0 cannot be scaled to a value", hint=hint)
        return self._scaled(at_ns, exact(value) / now, how)

    def skipped(self, at_ns: int) -> Course:
        """Return a copy of the course without the rest of the stage that is present at `at_ns`."""
        self._must_last(at_ns)
        self._must_have_a_value("skipped in")
        if at_ns < self.begin_ns and not self.is_paused and self._waits_for_its_beginning(at_ns):
            raise UsageError(f"{self._whose} has not begun", hint="name a running load: --load NAME")
        left = self._left(at_ns)
        rest = left[pieces_of(left) :]
        if not rest:
            raise UsageError(f"{self._whose} is in its last stage", hint="loadgen stop ends the run")
        return self._with_rest(at_ns, rest)

    def replaced(self, at_ns: int, stages: Sequence[Stage]) -> Course:
        """Return a copy of the course with these stages from `at_ns` on, or after the pause if it is paused."""
        self._must_last(at_ns)
        return self._with_rest(at_ns, tuple(s for s in stages if s.duration_ns))

    def ended(self, at_ns: int) -> Course:
        """Return a copy of the course that ends at `at_ns`."""
        self._must_last(at_ns)
        return replace(self, stages=cut(self.stages, at_ns)[0], waiting=None)

    # -- parts ----------------------------------------------------------------------------------

    @property
    def _whose(self) -> str:
        return f"load {self.name}" if self.name else "the load"

    def _left(self, at_ns: int) -> tuple[Stage, ...]:
        return self.waiting if self.waiting is not None else cut(self.stages, at_ns)[1]

    def _with_rest(self, at_ns: int, rest: tuple[Stage, ...]) -> Course:
        if self.waiting is not None:
            return replace(self, waiting=rest)
        return replace(self, stages=(*cut(self.stages, at_ns)[0], *rest))

    def _scaled(self, at_ns: int, factor: Fraction, how: str) -> Course:
        left = self._left(at_ns)
        self._must_stay_within_limits(left, factor, how)
        return self._with_rest(
            at_ns, tuple(_faster(s, factor) if self.kind == "speed" else s.times(factor) for s in left)
        )

    def _must_be_finite(self, number: float, how: str) -> None:
        if not 0 < number < float("inf"):
            raise UsageError(
                f"{self._whose} cannot be scaled {how}: the number must be finite and above 0",
                hint="loadgen pause stops a load",
            )

    def _must_stay_within_limits(self, left: tuple[Stage, ...], factor: Fraction, how: str) -> None:
        """Raise UsageError if the stages `left`, multiplied by `factor`, exceed a limit. `how` is for the message.

        It uses exact fractions: 200/s times 1e308 overflows a float64.
        """
        highest_now, most = highest(left), _MOST[self.kind]
        top, shown = exact(highest_now) * factor, value_text(highest_now, self.kind)
        whose = f"{self._whose} cannot be scaled {how}: its highest value, {shown},"
        if top > exact(most):
            raise UsageError(
                f"{whose} would exceed the limit of {value_text(most, self.kind)}",
                hint=f"the largest factor now is {_digits(exact(most) / exact(highest_now))}",
            )
        if 0 < top < exact(_LEAST):
            raise UsageError(f"{whose} would fall below {_LEAST:g}", hint="loadgen pause stops a load")
        lasts_ns = length(left) / factor if self.kind == "speed" else Fraction(0)
        if lasts_ns > MAX_DURATION_NS:
            days = MAX_DURATION_NS // (86_400 * NS_PER_S)
            raise UsageError(
                f"{self._whose} cannot be scaled {how}: it would last longer than {days} days",
                hint="use a larger factor; loadgen pause stops a load",
            )

    def _must_last(self, at_ns: int) -> None:
        if not self.is_paused and length(self.stages) <= at_ns:
            raise UsageError(f"{self._whose} is over and cannot be changed", hint="loadgen watch shows the loads")

    def _must_have_a_value(self, what: str) -> None:
        if self.kind == "gate":
            raise UsageError(
                f"{self._whose} has a fixed number of iterations, and no stages that could be {what}",
                hint="pause, resume or end it instead",
            )

    def _waits_for_its_beginning(self, at_ns: int) -> bool:
        return not value_at(self.stages, at_ns) and length(self.stages[:1]) > at_ns


def _digits(number: Fraction) -> str:
    """Return a number as text with at most six significant digits, rounded down so that it is still within a limit."""
    number = min(number, Fraction(10) ** 300)  # a plan may have a rate of 1e-305/s, and floats end at 1.8e308
    unit = Fraction(10) ** (floor(log10(number)) - 5)
    down = number // unit * unit
    return f"{int(down):,}" if 1_000 <= down < 10**12 else f"{float(down):.6g}"


def _faster(stage: Stage, factor: Fraction) -> Stage:
    """Return a stage of playback speed that plays the same recorded times `factor` times as fast."""
    fast = stage.times(factor)
    was, now = exact(stage.start) + exact(stage.end), exact(fast.start) + exact(fast.end)
    # Rounded up: a stage that is 1 ns too short could leave out the last recorded time.
    return Stage(fast.start, fast.end, ceil(stage.duration_ns * was / now) if now else stage.duration_ns)
