"""The life of a user of a load with levels: each iteration is counted under the level at its due time.

Only such loads pay for it: about 0.5 µs an iteration.
"""

from __future__ import annotations

from collections.abc import Coroutine
from time import perf_counter_ns
from typing import Any

from loadgen.dsl.users.user_runner import JourneyLife
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.series_key import LEVEL_TAG, Tags
from loadgen.profiles.levels import LevelTimes

__all__ = ["LevelTags", "LeveledLife"]


class LevelTags:
    """The tags of a load's iterations in one worker: those of the load, and the level at a time.

    times: names the level of a time. recorder, tags: where they are counted, and the tags of the load.
    """

    __slots__ = ("_merged", "_recorder", "_tags", "times")

    def __init__(self, times: LevelTimes, recorder: Recorder, tags: Tags) -> None:
        self.times = times
        self._recorder, self._tags = recorder, tags
        self._merged: dict[str, Tags] = {"": tags}

    def at(self, now_ns: int) -> Tags:
        """HOT, once an iteration. Return the tags at a time of `perf_counter_ns`; equal ones are the same object."""
        level = self.times.at_clock(now_ns)
        found = self._merged.get(level)
        if found is None:
            found = self._merged[level] = self._recorder.merged(self._tags, ((LEVEL_TAG, level),))
        return found


class LeveledLife(JourneyLife):
    """A user whose iterations have the tag of their level. Set `level_tags` before its first iteration."""

    __slots__ = ("level_tags",)

    level_tags: LevelTags

    def iterate(self, arrival: Arrival, *, pool_limited: bool) -> Coroutine[Any, Any, None]:
        """HOT, once an iteration. Return the iteration as `JourneyLife` runs it, counted under its level.

        An iteration of a closed load has no due time: its user is ready now.
        """
        due_ns = arrival.due_ns
        self.user._meter.move_home(self.level_tags.at(perf_counter_ns() if due_ns is None else due_ns))
        return super().iterate(arrival, pool_limited=pool_limited)
