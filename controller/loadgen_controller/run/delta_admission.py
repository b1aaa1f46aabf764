"""Checks that a delta fits into its run, within the limits for the whole run.

`loadgen/wire/check_limits.py` has checked each message by itself. This module checks totals over many
messages before a delta is merged: series, custom metrics and lost workers of an agent. It also
rejects due counts that cannot belong to this run. An agent that exceeds a limit of its own is
rejected, since a sound agent merges into `(other)` before it reaches the limit.

Limits of the run are another matter: many sound agents together can exceed them, e.g. with 400
request names each in 100 regions. Then no agent is rejected: new series are counted in `(other)`,
with a notice. The delta is changed before it is written, so every reader of the run gets the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from loadgen.dsl.plans.spec import PlanSpec, steered_objectives
from loadgen.errors import LimitExceeded
from loadgen.measure.deltas.custom import CHECK, MAX_CUSTOM, CustomStats, fitting_tags
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.limits import (
    CUSTOM_OF_AGENT,
    CUSTOM_OF_RUN,
    LOSSES_OF_AGENT,
    SERIES_OF_AGENT,
    SERIES_OF_RUN,
    TAGGED_CUSTOM_OF_AGENT,
    TAGGED_CUSTOM_OF_RUN,
)
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import OTHER, SeriesKey, Tags
from loadgen.measure.deltas.series_numbering import fitting, tight_from
from loadgen.measure.merging.merge import Merge
from loadgen.wire.messages import Steered

__all__ = ["Admission"]

_TIGHT_CUSTOM: Final = CUSTOM_OF_RUN - 4
"""The number of names from which new ones are counted in `(other)`. The 4 free places are for the `(other)` of each
kind and of checks."""
_TIGHT_TAGGED_CUSTOM: Final = TAGGED_CUSTOM_OF_RUN - 2 * MAX_CUSTOM
"""From this many tagged custom metrics on, `fitting_tags` puts new values of tags into `(other)`."""


class Admission:
    """The checks of one run. Check a delta when all earlier deltas of its agent are merged.

    notice: called with each notice for the operator.
    """

    def __init__(self, spec: PlanSpec, merge: Merge, notice: Callable[[str], None]) -> None:
        self._merge, self._notice = merge, notice
        self._lanes = spec.lanes
        self._interval_ns = spec.interval_ns
        self._objectives = len(spec.slos) + len(steered_objectives(lane.steering for lane in spec.lanes))
        self._trends = {metric.name for metric in spec.metrics if metric.kind == "trend"}
        self._journeys = {"", *(journey.name for journey in spec.journeys)}

    def check(self, delta: Delta) -> None:
        """HOT, once a delta.

        Check that the totals of its agent, with this delta added, stay within the limits for one agent.

        Raises:
            LimitExceeded: a total is above the limit for one agent.
        """
        if not (delta.new_series or delta.custom or delta.losses or delta.due):
            return  # nearly always
        if delta.seq != self._merge.next_seq(delta.agent, delta.epoch):
            return  # the merge will not accept it: it is a repetition, or an earlier delta is missing
        if delta.new_series:
            brought = next((one.series for one in self._merge.epochs(delta.agent) if one.epoch == delta.epoch), 0)
            _hold("series of one agent", brought + len(delta.new_series), SERIES_OF_AGENT)
            for key in delta.new_series:
                if key.kind == "trend" and key.request not in self._trends:
                    raise LimitExceeded(
                        "trend",
                        f'"{key.request}", which the plan does not declare',
                        f"one of the {len(self._trends)} trends of the plan: run the same version of loadgen on every"
                        " agent",
                    )
        if delta.custom:
            known = self._merge.custom.names_of(delta.agent)
            # The union is made only near the limit, because it copies all names of the agent.
            if len(known) + len(delta.custom) > CUSTOM_OF_AGENT:
                names = known | {one.name for one in delta.custom}
                _hold("custom metrics of one agent", len(names), CUSTOM_OF_AGENT)
            tagged = self._merge.custom.tagged_of(delta.agent)
            if len(tagged) + len(delta.custom) > TAGGED_CUSTOM_OF_AGENT:
                rows = tagged | {(one.name, one.tags) for one in delta.custom if one.tags}
                _hold("tagged custom metrics of one agent", len(rows), TAGGED_CUSTOM_OF_AGENT)
        if delta.losses:
            _hold("losses of one agent", len(self._merge.losses(delta.agent)) + len(delta.losses), LOSSES_OF_AGENT)
        for row in delta.due:
            self._check_due(row, delta.end_ns)

    def check_steered(self, steered: Steered) -> None:
        """Check that a rate decision does not exceed the plan's highest rate.

        Raises:
            LimitExceeded: the decided rate is higher.
        """
        steering = self._lanes[steered.load].steering if steered.load < len(self._lanes) else None
        rate = steered.rate_per_s
        if steering is not None and rate is not None and rate > steering.upto_per_s:
            raise LimitExceeded(
                "Steered.rate_per_s",
                f"{rate:g}",
                f"{steering.upto_per_s:g}, the plan's highest rate: correct the executor",
            )

    @property
    def room(self) -> int:
        """Return how many new series the run still accepts before it counts further ones in the series `(other)`."""
        return max(0, tight_from(SERIES_OF_RUN) - len(self._merge.names))

    def fitted(self, region: str, delta: Delta) -> Delta:
        """Return the delta, or a copy with new series replaced by `(other)` if the run has no room for them.

        All counts stay the same.
        """
        if not (delta.new_series or delta.custom):
            return delta
        series = self._series(region, delta.new_series) if len(delta.new_series) > self.room else delta.new_series
        custom = delta.custom
        if len(self._merge.custom) + len(custom) > _TIGHT_CUSTOM:
            custom = self._customs(custom)
        if len(self._merge.custom.tagged) + len(custom) > _TIGHT_TAGGED_CUSTOM:
            custom = self._fitted_tags(custom)
        if series is delta.new_series and custom is delta.custom:
            return delta
        return replace(delta, new_series=series, custom=custom)

    def _check_due(self, row: DueCounts, end_ns: int) -> None:
        """Raise LimitExceeded for counts of due iterations with an unknown objective, journey or interval.

        Each such row would cost 8 KiB.
        """
        if row.objective >= self._objectives or row.journey not in self._journeys:
            found = f'{row.objective} of journey "{row.journey}"'
            raise LimitExceeded(
                "DueCounts.objective",
                found,
                f"the plan's {self._objectives} objectives, and its journeys: the agent counts for one that the plan"
                " does not have; run the same version of loadgen on every agent",
            )
        if row.k > end_ns // self._interval_ns + 1:
            raise LimitExceeded(
                "DueCounts.k",
                f"{row.k:,}, an interval after the end of the delta",
                f"{end_ns // self._interval_ns + 1:,}, where the delta ends: run the same version of loadgen"
                " on every agent",
            )

    def _series(self, region: str, new: tuple[SeriesKey, ...]) -> tuple[SeriesKey, ...]:
        known = self._merge.has_series
        coming: set[SeriesKey] = set()
        found = []
        for key in new:
            kept = key
            if not known(region, key):
                used = len(self._merge.names) + len(coming)
                kept = fitting(key, lambda one: one in coming or known(region, one), used, SERIES_OF_RUN)
                if not known(region, kept):
                    coming.add(kept)
            found.append(kept)
        fitted = tuple(found)
        if fitted == new:
            return new
        self._notice(
            f"the agents have more than {tight_from(SERIES_OF_RUN):,} series together: new series are in {OTHER}"
        )
        return fitted

    def _customs(self, custom: tuple[CustomStats, ...]) -> tuple[CustomStats, ...]:
        table = self._merge.custom
        room = _TIGHT_CUSTOM - len(table)
        coming: set[str] = set()
        found = []
        is_changed = False
        for one in custom:
            if one.name not in table and one.name not in coming:
                if room <= len(coming):
                    one = replace(one, name=_other(one))
                    is_changed = True
                else:
                    coming.add(one.name)
            found.append(one)
        if not is_changed:
            return custom
        self._notice(f"the agents have more than {_TIGHT_CUSTOM:,} custom metrics in total: new metrics are in {OTHER}")
        return tuple(found)

    def _fitted_tags(self, custom: tuple[CustomStats, ...]) -> tuple[CustomStats, ...]:
        known = self._merge.custom.tagged
        coming: set[tuple[str, Tags]] = set()
        found = []
        for one in custom:
            used = len(known) + len(coming)
            tags = fitting_tags(
                one.name, one.tags, lambda *row: row in known or row in coming, used, TAGGED_CUSTOM_OF_RUN
            )
            if tags and (one.name, tags) not in known:
                coming.add((one.name, tags))
            found.append(one if tags == one.tags else replace(one, tags=tags))
        fitted = tuple(found)
        if fitted == custom:
            return custom
        self._notice(
            f"the agents have more than {_TIGHT_TAGGED_CUSTOM:,} parts of custom metrics by tags in total: new"
            f" values of tags are in {OTHER}"
        )
        return fitted


def _other(one: CustomStats) -> str:
    """Return the name of the metric `(other)` that collects metrics of this kind.

    Metrics of different kinds cannot be added.
    """
    return f"{CHECK}{OTHER}" if one.name.startswith(CHECK) and one.kind == "rate" else f"{one.kind} {OTHER}"


def _hold(what: str, found: int, limit: int) -> None:
    if found > limit:
        raise LimitExceeded(
            what,
            f"{found:,}",
            f"{limit:,}: this agent sent too many. Use fewer names and tags in the scenario, or see the agent's log",
        )
