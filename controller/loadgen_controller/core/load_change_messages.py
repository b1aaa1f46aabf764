"""Checks load changes and translates them into messages for agents. Pure.

An operator requests a load change: pause, resume, scale, or skip a stage. For each load
concerned, the request changes the load's course (`loadgen/profiles/edits.py`). If the
load's stages change, all agents receive one numbered Adjust. So agents have no notion
of a pause: for them a load has other stages from a given time on.

Each accepted change is kept as an `Adjustment`, with texts and numbers for the event
log, the summary and the marks on charts. Times are ns after T0.
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
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage, length
from loadgen.units import NS_PER_S, format_count
from loadgen.wire.messages import Adjust, Reassign

__all__ = ["Adjustment", "Adjustments", "Kind", "LoadChange", "as_rows", "lanes_of"]

Kind = Literal["pause", "resume", "scale", "skip", "steer"]


@dataclass(frozen=True, slots=True)
class LoadChange:
    """A request to change a running load. A "scale" has exactly one of `factor`, `rate` and `users`."""

    kind: Kind
    load: str | None = None
    """The load's name; None for all loads of the plan to which the change can apply."""
    factor: float | None = None
    rate: float | None = None
    """Iterations/s."""
    users: float | None = None
    by: str = ""
    """The requester, for example "root, process 4711"."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One accepted change of one load, in the form in which reports show it."""

    kind: Kind
    load: str
    """The load's name; empty if it has no name in the plan."""
    at_ns: int
    was: str
    """The load at `at_ns` without the change: "200/s"."""
    now: str
    """The load at `at_ns` with the change: "paused", "300/s"."""
    text: str
    """The change as the end of a sentence: "scaled by 1.5, from 200/s to 300/s"."""
    by: str = ""
    number: int = 0
    """The number of the Adjust message; 0 if no message was necessary, because the load is paused."""
    end_ns: int | None = None
    """When the load ends after this change; None if that is unknown."""


@dataclass(frozen=True, slots=True)
class Adjustments:
    """The current course of every load of a run, and all changes that led to it. Create it with `Adjustments.of`."""

    courses: tuple[Course, ...]
    planned: tuple[Profile, ...]
    lasting: tuple[int | None, ...]
    """For each load that uses each data row once: the most iterations or users, limited by its rows. Else None."""
    told: tuple[Adjust | Reassign, ...] = ()
    """All messages so far, in the order of their numbers from 1. An agent that missed some receives them again."""
    made: tuple[Adjustment, ...] = ()

    @classmethod
    def of(cls, spec: PlanSpec) -> Adjustments:
        """Return the loads of a plan as they are before any load change."""
        lanes = lanes_of(spec)
        return cls(
            courses=tuple(Course.of(lane.profile, lane.after_ns, lane.name) for lane in lanes),
            planned=tuple(lane.profile for lane in lanes),
            lasting=tuple(_most(lane) for lane in lanes),
        )

    # -- current state --------------------------------------------------------------------------

    @property
    def end_ns(self) -> int | None:
        """Return when the last load ends, in ns after T0; None while that is unknown."""
        ends = [course.end_ns for course in self.courses]
        return None if None in ends else max((end for end in ends if end is not None), default=0)

    def is_paused(self, at_ns: int) -> bool:
        """Return whether all loads that have not ended by `at_ns` are paused; False if all have ended."""
        going = [course for course in self.courses if course.end_ns is None or course.end_ns > at_ns]
        return bool(going) and all(course.is_paused for course in going)

    def in_force(self, spec: PlanSpec) -> PlanSpec:
        """Return the plan with all load changes so far applied, so that the run can be compared with it."""
        if not self.made:
            return spec
        profiles = [_edited(profile, course) for profile, course in zip(self.planned, self.courses, strict=True)]
        # strict=False, because a spec of an older version has no lanes, but `lanes_of` gives one.
        lanes = tuple(
            msgspec.structs.replace(lane, profile=profile) for lane, profile in zip(spec.lanes, profiles, strict=False)
        )
        return msgspec.structs.replace(spec, lanes=lanes, profile=profiles[0], duration_ns=self.end_ns)

    def due_before(self, at_ns: int) -> int | None:
        """Return how many iterations of all loads are due before `at_ns`; None if a load is not open."""
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
        """Return the messages of all load changes so far, in order."""
        return tuple(one for one in self.told if isinstance(one, Adjust))

    # -- changes --------------------------------------------------------------------------------

    def requested(self, change: LoadChange, at_ns: int, run_id: str) -> Adjustments:
        """Return the loads with a requested change from `at_ns` on, or from the last change on if that is later.

        Raises:
            UsageError: the change is not possible now; the text gives the reason.
        """
        at_ns = self.not_before(at_ns)
        changed = self
        for load in self._chosen(change, at_ns):
            changed = changed._with(load, self._course(change, load, at_ns), change, at_ns, run_id)
        return changed

    def replaced(
        self, load: int, stages: Sequence[Stage], at_ns: int, run_id: str, *, why: str, by: str = ""
    ) -> Adjustments:
        """Return the loads with the rest of one steered load replaced by `stages` from `at_ns` on.

        Without stages, that load ends at `at_ns`.

        Raises:
            UsageError: the load is over.
        """
        at_ns = self.not_before(at_ns)
        course = self.courses[load].replaced(at_ns, stages) if stages else self.courses[load].ended(at_ns)
        return self._with(load, course, LoadChange("steer", by=by), at_ns, run_id, why)

    def reassigned(self, generation: int, at_ns: int, weights: tuple[float, ...], run_id: str) -> Adjustments:
        """Return the same loads with a share change added to the recorded changes.

        `at_ns` must come from `not_before`.
        """
        return replace(self, told=(*self.told, Reassign(run_id, len(self.told) + 1, generation, at_ns, weights)))

    def not_before(self, at_ns: int) -> int:
        """Return `at_ns`, or the time of the last change if that is later, so that changes stay in order."""
        reassigned = [one.at_ns for one in self.told if isinstance(one, Reassign)]
        return max(0, at_ns, *(one.at_ns for one in self.made), *reassigned)

    def _with(
        self, load: int, course: Course, change: LoadChange, at_ns: int, run_id: str, text: str = ""
    ) -> Adjustments:
        before = self.courses[load]
        self._must_have_rows(load, course)
        told = self.told
        if course.stages != before.stages:
            from_ns, stages = course.rest(at_ns)
            told = (*told, Adjust(run_id, len(told) + 1, load, from_ns, stages))
        made = Adjustment(
            kind=change.kind,
            load=course.name,
            at_ns=at_ns,
            was=_value(before, at_ns),
            now=_value(course, at_ns),
            text=text or _text(change, before, course, at_ns),
            by=change.by,
            number=len(told) if told is not self.told else 0,
            end_ns=course.end_ns,
        )
        courses = tuple(course if i == load else one for i, one in enumerate(self.courses))
        return replace(self, courses=courses, told=told, made=(*self.made, made))

    def _course(self, change: LoadChange, load: int, at_ns: int) -> Course:
        course = self.courses[load]
        match change.kind:
            case "pause":
                return course.paused(at_ns)
            case "resume":
                return course.resumed(at_ns)
            case "skip":
                return course.skipped(at_ns)
        if change.factor is not None:
            return course.scaled(at_ns, change.factor)
        return course.scaled_to(at_ns, change.rate if change.rate is not None else change.users or 0.0)

    def _chosen(self, change: LoadChange, at_ns: int) -> list[int]:
        """Return the indices of the loads that the request changes.

        Raise UsageError if none is possible, or if the request must name one of several.
        """
        if change.load is not None:
            found = [i for i, course in enumerate(self.courses) if course.name == change.load]
            if not found:
                names = ", ".join(course.name or "(a load without a name)" for course in self.courses)
                raise UsageError(f"the plan has no load {change.load}", hint=f"name one of its loads: {names}")
            self._must_be_of_its_kind(change, self.courses[found[0]])
            return found
        going = [i for i, course in enumerate(self.courses) if course.end_ns is None or course.end_ns > at_ns]
        if not going:
            raise UsageError("all loads of the run are over, so there is nothing to change", hint="start a new run")
        match change.kind:
            # Without a fitting load the first others are kept, because the change then raises the error with the
            # reason.
            case "pause":
                chosen = [i for i in going if not self.courses[i].is_paused] or going
            case "resume":
                chosen = [i for i in going if self.courses[i].is_paused] or going[:1]
            case "skip":
                chosen = [i for i in going if self.courses[i].kind != "gate"] or going
            case _:
                kinds = ("rate",) if change.rate is not None else ("users",) if change.users is not None else None
                able = [i for i in going if self.courses[i].kind != "gate"]
                chosen = [i for i in able if kinds is None or self.courses[i].kind in kinds] or going[:1]
                self._must_be_of_its_kind(change, self.courses[chosen[0]])
        if len(chosen) > 1 and (change.kind == "skip" or change.rate is not None or change.users is not None):
            names = ", ".join(f"--load {self.courses[i].name}" for i in chosen if self.courses[i].name)
            raise UsageError("several loads are running, and the change must name one of them", hint=names)
        return chosen

    @staticmethod
    def _must_be_of_its_kind(change: LoadChange, course: Course) -> None:
        subject = f"load {course.name}" if course.name else "the load"
        if change.rate is not None and course.kind != "rate":
            hint = "--users 50" if course.kind == "users" else "a factor: loadgen scale 1.5"
            raise UsageError(f"--rate: {subject} has no rate to set", hint=f"use {hint}")
        if change.users is not None and course.kind != "users":
            raise UsageError(f"--users: {subject} has no number of users to set", hint="use --rate 200/s")

    def _must_have_rows(self, load: int, course: Course) -> None:
        most, profile = self.lasting[load], _edited(self.planned[load], course)
        if most is None or is_pause(course.stages):
            return
        needed = _uses(profile)
        if needed is not None and needed > most:
            what = "users" if isinstance(profile, UserProfile) else "iterations"
            raise UsageError(
                f"{f'load {course.name}' if course.name else 'the load'} uses each data row once and has rows for "
                f"{format_count(most)} {what}; this change needs {format_count(needed)}",
                hint="scale it less, or start a new run with more rows",
            )


def lanes_of(spec: PlanSpec) -> Sequence[LaneSpec]:
    """Return the plan's loads. A spec of an older version, which could have only one load, gives that load."""
    return spec.lanes or (LaneSpec(name="", load=spec.load, journeys=spec.journeys, profile=spec.profile),)


def _most(lane: LaneSpec) -> int | None:
    if lane.steering is not None:
        return lane.steering.most(lane.profile) if any(journey.is_unique for journey in lane.journeys) else None
    return _uses(lane.profile) if any(journey.is_unique for journey in lane.journeys) else None


def _uses(profile: Profile) -> int | None:
    """Return how many data rows a load needs if it uses each row once: one for each user or iteration.

    None if that depends on the target.
    """
    if isinstance(profile, UserProfile):
        return profile.peak
    return profile.total()


def _edited(profile: Profile, course: Course) -> Profile:
    """Return the load's profile with the changes of `course`, or the same profile if the load was not changed."""
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


def _text(change: LoadChange, before: Course, after: Course, at_ns: int) -> str:
    match change.kind:
        case "pause":
            return f"paused, at {_value(before, at_ns)}" if before.kind != "gate" else "paused"
        case "resume":
            return f"resumed, at {_value(after, at_ns)}" if after.kind != "gate" else "resumed"
        case "skip":
            left = before.waiting if before.waiting is not None else before.rest(at_ns)[1]
            what = "a curve" if pieces_of(left) > 1 else stage_text(left[0], before.kind)
            return f"skipped what was left of a stage: {what}"
    if change.factor is not None:
        how = f"by {change.factor:g}"
    else:
        how = "to " + value_text(change.rate if change.rate is not None else change.users or 0.0, before.kind)
    if before.is_paused:
        return f"scaled {how}, while it was paused"
    return f"scaled {how}, from {_value(before, at_ns)} to {_value(after, at_ns)}"


def as_rows(made: Iterable[Adjustment]) -> Iterator[dict[str, object]]:
    """Yield one row for each change, for `summary.json`; times in s after T0."""
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
