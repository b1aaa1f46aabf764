"""What is asked of a run that goes on, checked, and made into what agents are told. Pure.

A wish is what a person says: pause, resume, scale, skip a stage. For each load
that it is about it changes the load's course (`loadgen/profiles/edits.py`), and whatever
that changes of the load becomes one numbered Adjust for all agents. So agents
know nothing of pauses: to them a load has other stages from a time on.

What was asked is kept in words and numbers (`Adjustment`), for the event log, the
summary and the marks on charts. Times are ns after T0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from loadgen.dsl.plans.spec import LaneSpec, PlanSpec
from loadgen.errors import UsageError
from loadgen.profiles.describe import pieces_of, stage_text, value_text
from loadgen.profiles.edits import Course, is_pause
from loadgen.profiles.profile import ArrivalProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage, length
from loadgen.profiles.steps import TimedProfile
from loadgen.units import NS_PER_S, format_count
from loadgen.wire.messages import Adjust, Reassign

__all__ = ["Adjustment", "Adjustments", "Kind", "LoadChange", "as_rows", "lanes_of"]

Kind = Literal["pause", "resume", "scale", "skip", "steer"]


@dataclass(frozen=True, slots=True)
class LoadChange:
    """What is asked. Of `factor`, `rate` and `users`, a scale has one."""

    kind: Kind
    load: str | None = None
    """Its name; None: all loads of the plan that it makes sense for."""
    factor: float | None = None
    rate: float | None = None
    """Iterations/s."""
    users: float | None = None
    by: str = ""
    """Who asks: "root, process 4711"."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One change of one load, as it is told later."""

    kind: Kind
    load: str
    """Name; empty where the plan gives it none."""
    at_ns: int
    was: str
    """What the load was to be at `at_ns`: "200/s"."""
    now: str
    """What it is instead: "paused", "300/s"."""
    text: str
    """As a sentence goes on: "scaled by 1.5, from 200/s to 300/s"."""
    by: str = ""
    number: int = 0
    """Of the Adjust that told it; 0: nothing had to be told, since the load waits."""
    end_ns: int | None = None
    """When the load ends as things stand since; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Adjustments:
    """All loads of a run as they stand, and how they came to. Begin with `Adjustments.of`."""

    courses: tuple[Course, ...]
    planned: tuple[Profile, ...]
    lasting: tuple[int | None, ...]
    """What a load that reads each row once may have at most, in iterations or users: as many as there are rows for."""
    told: tuple[Adjust | Reassign, ...] = ()
    """By number, from 1: what an agent that missed it is told again."""
    made: tuple[Adjustment, ...] = ()

    @classmethod
    def of(cls, spec: PlanSpec) -> Adjustments:
        lanes = lanes_of(spec)
        return cls(
            courses=tuple(Course.of(lane.profile, lane.after_ns, lane.name) for lane in lanes),
            planned=tuple(lane.profile for lane in lanes),
            lasting=tuple(_most(lane) for lane in lanes),
        )

    # -- how things stand -----------------------------------------------------------------------

    @property
    def end_ns(self) -> int | None:
        """When the last load ends; None while that is not known."""
        ends = [course.end_ns for course in self.courses]
        return None if None in ends else max((end for end in ends if end is not None), default=0)

    def is_paused(self, at_ns: int) -> bool:
        """Every load that is not over."""
        going = [course for course in self.courses if course.end_ns is None or course.end_ns > at_ns]
        return bool(going) and all(course.is_paused for course in going)

    def in_force(self, spec: PlanSpec) -> PlanSpec:
        """The plan with its loads as they are now, for whoever compares a run with its plan."""
        if not self.made:
            return spec
        profiles = [_edited(profile, course) for profile, course in zip(self.planned, self.courses, strict=True)]
        lanes = tuple(
            msgspec.structs.replace(lane, profile=profile) for lane, profile in zip(spec.lanes, profiles, strict=False)
        )
        return msgspec.structs.replace(spec, lanes=lanes, profile=profiles[0], duration_ns=self.end_ns)

    def due_before(self, at_ns: int) -> int | None:
        """How many iterations are due before `at_ns`, of all loads; None where one is not open."""
        total = 0
        for load, profile in enumerate(self.planned):
            if not isinstance(profile, ArrivalProfile):
                return None
            schedule, begin_ns = profile.schedule(), self.courses[load].begin_ns
            for adjust in self.adjusts:
                if adjust.load == load:
                    schedule = schedule.replaced(adjust.at_ns - begin_ns, adjust.stages)
            total += schedule.count_at(max(0, at_ns - begin_ns))
        return total

    @property
    def adjusts(self) -> tuple[Adjust, ...]:
        return tuple(one for one in self.told if isinstance(one, Adjust))

    # -- changes --------------------------------------------------------------------------------

    def wished(self, wish: LoadChange, at_ns: int, run_id: str) -> Adjustments:
        """What is asked, from `at_ns` on.

        Raises:
            UsageError: it makes no sense now, and why.
        """
        at_ns = self.not_before(at_ns)
        changed = self
        for load in self._chosen(wish, at_ns):
            changed = changed._with(load, self._course(wish, load, at_ns), wish, at_ns, run_id)
        return changed

    def replaced(
        self, load: int, stages: Sequence[Stage], at_ns: int, run_id: str, *, why: str, by: str = ""
    ) -> Adjustments:
        """The rest of a load by somebody who reckons for himself: an executor that steers. No stages: it ends.

        Raises:
            UsageError: the load is over.
        """
        at_ns = self.not_before(at_ns)
        course = self.courses[load].replaced(at_ns, stages) if stages else self.courses[load].ended(at_ns)
        return self._with(load, course, LoadChange("steer", by=by), at_ns, run_id, why)

    def reassigned(self, generation: int, at_ns: int, weights: tuple[float, ...], run_id: str) -> Adjustments:
        """The shares are others from `at_ns` on, which must be a time of `not_before`."""
        return replace(self, told=(*self.told, Reassign(run_id, len(self.told) + 1, generation, at_ns, weights)))

    def not_before(self, at_ns: int) -> int:
        """Changes come in the order of their times."""
        reassigned = [one.at_ns for one in self.told if isinstance(one, Reassign)]
        return max(0, at_ns, *(one.at_ns for one in self.made), *reassigned)

    def _with(
        self, load: int, course: Course, wish: LoadChange, at_ns: int, run_id: str, text: str = ""
    ) -> Adjustments:
        before = self.courses[load]
        self._must_have_rows(load, course)
        told = self.told
        if course.stages != before.stages:
            from_ns, stages = course.rest(at_ns)
            told = (*told, Adjust(run_id, len(told) + 1, load, from_ns, stages))
        made = Adjustment(
            kind=wish.kind,
            load=course.name,
            at_ns=at_ns,
            was=_value(before, at_ns),
            now=_value(course, at_ns),
            text=text or _text(wish, before, course, at_ns),
            by=wish.by,
            number=len(told) if told is not self.told else 0,
            end_ns=course.end_ns,
        )
        courses = tuple(course if i == load else one for i, one in enumerate(self.courses))
        return replace(self, courses=courses, told=told, made=(*self.made, made))

    def _course(self, wish: LoadChange, load: int, at_ns: int) -> Course:
        course = self.courses[load]
        match wish.kind:
            case "pause":
                return course.paused(at_ns)
            case "resume":
                return course.resumed(at_ns)
            case "skip":
                return course.skipped(at_ns)
        if wish.factor is not None:
            return course.scaled(at_ns, wish.factor)
        return course.scaled_to(at_ns, wish.rate if wish.rate is not None else wish.users or 0.0)

    def _chosen(self, wish: LoadChange, at_ns: int) -> list[int]:
        """The loads that it is about."""
        if wish.load is not None:
            found = [i for i, course in enumerate(self.courses) if course.name == wish.load]
            if not found:
                names = ", ".join(course.name or "(the one without a name)" for course in self.courses)
                raise UsageError(f"the plan has no load {wish.load}", hint=f"it has {names}")
            self._must_be_of_its_kind(wish, self.courses[found[0]])
            return found
        going = [i for i, course in enumerate(self.courses) if course.end_ns is None or course.end_ns > at_ns]
        if not going:
            raise UsageError("the load is over")
        match wish.kind:
            case "pause":
                chosen = [i for i in going if not self.courses[i].is_paused] or going
            case "resume":
                chosen = [i for i in going if self.courses[i].is_paused] or going[:1]
            case "skip":
                chosen = [i for i in going if self.courses[i].kind != "gate"] or going
            case _:
                kinds = ("rate",) if wish.rate is not None else ("users",) if wish.users is not None else None
                able = [i for i in going if self.courses[i].kind != "gate"]
                chosen = [i for i in able if kinds is None or self.courses[i].kind in kinds] or going[:1]
                self._must_be_of_its_kind(wish, self.courses[chosen[0]])
        if len(chosen) > 1 and (wish.kind == "skip" or wish.rate is not None or wish.users is not None):
            names = ", ".join(f"--load {self.courses[i].name}" for i in chosen if self.courses[i].name)
            raise UsageError("several loads go on: which of them?", hint=names)
        return chosen

    @staticmethod
    def _must_be_of_its_kind(wish: LoadChange, course: Course) -> None:
        whose = f"load {course.name}" if course.name else "the load"
        if wish.rate is not None and course.kind != "rate":
            hint = "--users 50" if course.kind == "users" else "a factor: loadgen scale 1.5"
            raise UsageError(f"--rate: {whose} has no rate that could be set", hint=hint)
        if wish.users is not None and course.kind != "users":
            raise UsageError(f"--users: {whose} has no number of users that could be set", hint="--rate 200/s")

    def _must_have_rows(self, load: int, course: Course) -> None:
        most, profile = self.lasting[load], _edited(self.planned[load], course)
        if most is None or is_pause(course.stages):
            return
        needed = _uses(profile)
        if needed is not None and needed > most:
            what = "users" if isinstance(profile, UserProfile) else "iterations"
            raise UsageError(
                f"{f'load {course.name}' if course.name else 'the load'} reads each row once, and has rows for "
                f"{format_count(most)} {what}; it would have {format_count(needed)}",
                hint="scale it less, or run it again with more rows",
            )


def lanes_of(spec: PlanSpec) -> Sequence[LaneSpec]:
    """One for each load, also of specs that are older than several loads."""
    return spec.lanes or (LaneSpec(name="", load=spec.load, journeys=spec.journeys, profile=spec.profile),)


def _most(lane: LaneSpec) -> int | None:
    if lane.steering is not None:
        return lane.steering.most(lane.profile) if any(journey.is_unique for journey in lane.journeys) else None
    return _uses(lane.profile) if any(journey.is_unique for journey in lane.journeys) else None


def _uses(profile: Profile) -> int | None:
    """Rows that a load takes where none is taken twice; None where its target decides."""
    if isinstance(profile, UserProfile):
        return profile.peak
    return profile.total()


def _edited(profile: Profile, course: Course) -> Profile:
    """The profile as it is now; of a load that was not changed, the profile."""
    planned = Course.of(profile, course.begin_ns, course.name)
    if course == planned:
        return profile
    if isinstance(profile, TimedProfile):
        return msgspec.structs.replace(profile, edited=course.own(), duration_ns=length(course.own()))
    if isinstance(profile, ArrivalProfile | UserProfile):
        return msgspec.structs.replace(profile, stages=course.own(), is_edited=True)
    return profile


def _value(course: Course, at_ns: int) -> str:
    if course.is_paused:
        return "paused"
    if course.end_ns is not None and course.end_ns <= at_ns:
        return "over"
    if course.kind == "gate":
        return "going on"
    return value_text(course.value_at(at_ns), course.kind)


def _text(wish: LoadChange, before: Course, after: Course, at_ns: int) -> str:
    match wish.kind:
        case "pause":
            return f"paused, at {_value(before, at_ns)}" if before.kind != "gate" else "paused"
        case "resume":
            return f"resumed, at {_value(after, at_ns)}" if after.kind != "gate" else "resumed"
        case "skip":
            left = before.waiting if before.waiting is not None else before.rest(at_ns)[1]
            what = "a curve" if pieces_of(left) > 1 else stage_text(left[0], before.kind)
            return f"skipped what was left of a stage: {what}"
    if wish.factor is not None:
        how = f"by {wish.factor:g}"
    else:
        how = "to " + value_text(wish.rate if wish.rate is not None else wish.users or 0.0, before.kind)
    if before.is_paused:
        return f"scaled {how}, while it was paused"
    return f"scaled {how}, from {_value(before, at_ns)} to {_value(after, at_ns)}"


def as_rows(made: Iterable[Adjustment]) -> Iterator[dict[str, object]]:
    """For `summary.json`: times in s after T0."""
    for one in made:
        yield {
            "at_s": round(one.at_ns / NS_PER_S, 3),
            "kind": one.kind,
            "load": one.load,
            "was": one.was,
            "now": one.now,
            "text": one.text,
            "by": one.by,
            "end_s": None if one.end_ns is None else round(one.end_ns / NS_PER_S, 3),
        }
