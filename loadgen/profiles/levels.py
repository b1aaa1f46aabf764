"""Levels: stages of a load with a constant rate or number of users, by which its results are split.

    users().levels([1, 2, 4, 8], each="2m", settle="20s")

Each iteration belongs to the level at its due time; in a closed load, at the time when its user was ready. In the first
part of each level, `settle`, iterations belong to `SETTLING` instead: the target still reacts to the change. Iterations
of other stages, such as a ramp, belong to no level. All of it follows from the stages, so each agent computes it alone.

Times are ns from the beginning of the load.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

import msgspec

from loadgen.profiles.stage import Stage, exact

__all__ = [
    "MAX_LEVELS",
    "SETTLING",
    "LevelMark",
    "LevelSpan",
    "LevelTimes",
    "held_spans",
    "level_text",
    "spans_of_levels",
]

SETTLING: Final = "settling"
"""The value of the tag `level` in the first part of a level, and after a change that ended the levels."""
MAX_LEVELS: Final = 50
"""A row has at most 100 parts (`tagging.MAX_PARTS`), and tags of AI models split it, too."""


class LevelMark(msgspec.Struct, frozen=True, array_like=True):
    """One stage that is a level. stage: its index. settle: the share of it that does not count, 0 to below 1.

    may_stop: the run ends after the level if the level was saturated and further ones follow.
    """

    stage: int
    settle: float = 0.0
    may_stop: bool = False


@dataclass(frozen=True, slots=True)
class LevelSpan:
    """A level of a load: its text, its value, and when it begins, counts and ends.

    value: iterations/s or users. may_stop: as in `LevelMark`.
    """

    text: str
    value: float
    start_ns: int
    settled_ns: int
    end_ns: int
    may_stop: bool = False


def held_spans(spans: Iterable[LevelSpan], load_ns: int | None) -> tuple[LevelSpan, ...]:
    """Return the levels that were held to their end. load_ns: when the load ended; None: after all of them.

    A run that is stopped within a level holds it, and all further ones, not to the end: they have no rates.
    """
    return tuple(span for span in spans if load_ns is None or span.end_ns <= load_ns)


def level_text(value: float, *, is_rate: bool) -> str:
    """Return a level as its tag shows it: "8" for users, "2/s" for a rate."""
    return f"{value:.6g}/s" if is_rate else str(ceil(exact(value)))


def spans_of_levels(stages: Sequence[Stage], marks: Iterable[LevelMark], *, is_rate: bool) -> tuple[LevelSpan, ...]:
    """Return the levels of a load in order. stages: of its profile; marks: which of them are levels."""
    edges = [0]
    for stage in stages:
        edges.append(edges[-1] + stage.duration_ns)
    return tuple(
        LevelSpan(
            level_text(stages[one.stage].start, is_rate=is_rate),
            stages[one.stage].start,
            edges[one.stage],
            edges[one.stage] + round(Fraction(one.settle) * stages[one.stage].duration_ns),
            edges[one.stage + 1],
            one.may_stop,
        )
        for one in marks
    )


class LevelTimes:
    """Which level a time of a running load belongs to.

    A change of the running load keeps the levels before it. Planned levels that remain after the change keep their
    names, and settle again. Stages with other values, such as those of a scaled load, are `SETTLING`.
    """

    __slots__ = ("_at", "_is_rate", "_planned", "_starts", "t0_ns")

    def __init__(self, stages: Sequence[Stage], marks: Iterable[LevelMark], *, is_rate: bool) -> None:
        self.t0_ns = 0
        """The beginning of the load on `perf_counter_ns`."""
        settles = {one.stage: one.settle for one in marks}
        planned = [(stage, settles.get(k)) for k, stage in enumerate(stages) if stage.duration_ns]
        self._is_rate = is_rate
        self._planned: tuple[tuple[Stage, float | None], ...] = tuple(planned)
        """The planned stages, each with the share of it that does not count; None: it is no level."""
        self._starts, self._at = [0], [""]
        self._append(
            0, [(stage, None if share is None else round(share * stage.duration_ns)) for stage, share in planned]
        )

    def at(self, t_ns: int) -> str:
        """HOT, once an iteration. Return the level at a time of the load; "" if it has none then. Cost: 0.2 µs."""
        return self._at[bisect_right(self._starts, t_ns) - 1] if t_ns >= 0 else ""

    def at_clock(self, now_ns: int) -> str:
        """Return the level at a time of `perf_counter_ns`."""
        return self.at(now_ns - self.t0_ns)

    def adjust(self, at_ns: int, stages: Sequence[Stage]) -> None:
        """Replace the load's curve from `at_ns` on by these stages."""
        rest = [stage for stage in stages if stage.duration_ns]
        # The stages that are left of the plan are its last ones.
        left = self._planned[max(0, len(self._planned) - len(rest)) :]
        planned = (*[(None, None)] * (len(rest) - len(left)), *left)
        kept = bisect_right(self._starts, at_ns - 1)
        self._starts, self._at = self._starts[:kept], self._at[:kept]
        changed: list[tuple[Stage, int | None]] = []
        for stage, (was, share) in zip(rest, planned, strict=True):
            settle_ns: int | None = stage.duration_ns
            if was is not None and share is None:
                settle_ns = None
            elif was is not None and share is not None and (stage.start, stage.end) == (was.start, was.end):
                settle_ns = min(round(share * was.duration_ns), stage.duration_ns)
            changed.append((stage, settle_ns))
        self._append(at_ns, changed)

    def _append(self, start_ns: int, stages: Iterable[tuple[Stage, int | None]]) -> None:
        for stage, settle_ns in stages:
            text = "" if settle_ns is None else level_text(stage.start, is_rate=self._is_rate)
            parts = [(start_ns, text)] if not settle_ns else [(start_ns, SETTLING), (start_ns + settle_ns, text)]
            start_ns += stage.duration_ns
            for at_ns, name in parts:
                if at_ns < start_ns:
                    self._starts.append(at_ns)
                    self._at.append(name)
        self._starts.append(start_ns)
        self._at.append("")
