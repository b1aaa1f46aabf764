"""Finds the spans of a run for which an agent sent no data, and computes how much of the planned load they hold. Pure.

Times are ns from T0. A *gap* is (start, end, part): `part` is a fraction from 0 to 1, first of the agent's share and,
after `within`, of the whole load. A worker that died leaves a gap with its part of the agent's share.

Planned load is measured as the area under a load's curve: iterations for open loads, user-seconds for closed loads.
Counted loads have no curve; their iterations are compared directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from loadgen.measure.deltas.delta import Counters
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.measure.merging.merge import Epoch, Merge
from loadgen.measure.objectives.objective import Gap
from loadgen.profiles.profile import IterationProfile, OpenProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S
from loadgen_controller.core.shares import Assignment

__all__ = [
    "Loads",
    "PlannedLoads",
    "covered_ns",
    "epoch_of",
    "gaps_of",
    "gaps_of_losses",
    "is_harmless",
    "missing_share",
    "silent_spans",
    "within",
]

Loads = Sequence[tuple[int, Profile]]
"""For each load of the plan: its start (ns from T0) and its profile."""

_TIMED: Final = (OpenProfile, UserProfile)


@dataclass(frozen=True, slots=True)
class PlannedLoads:
    """The loads of a plan and when they end."""

    loads: Loads
    stays: Sequence[bool]
    """For each load: whether a lost agent's part of it stays with that agent (`LaneSpec.stays`). May be shorter."""
    end_ns: int

    @property
    def is_counted(self) -> bool:
        """Return whether every load is a number of iterations, without a curve over time."""
        return all(isinstance(profile, IterationProfile) for _, profile in self.loads)


# -- spans without data ---------------------------------------------------------------------------


def gaps_of(assignment: Assignment, merge: Merge, agents: Iterable[str], end_ns: int) -> tuple[Gap, ...]:
    """Return the spans in [0, end_ns) without data of these agents, each with its part of the whole and of its region's
    load.

    Only times in which an agent had a share count. A worker that died adds a gap from its last data to the time at
    which another process took over.
    """
    found: list[Gap] = []
    for agent in agents:
        region = assignment.region(agent)
        spans = sorted(span for epoch in merge.epochs(agent) for span in epoch.spans)
        silent = list(silent_spans(spans, end_ns))
        parts = [(start, end, 1.0) for start, end in silent]
        parts += gaps_of_losses(merge.losses(agent), silent, end_ns)
        tenures = assignment.tenures(agent, end_ns)
        for whole in parts:
            found += (
                Gap(start, end, region, part, whole[2] * assignment.part_of_region(agent, start))
                for start, end, part in within([whole], tenures)
            )
    return tuple(found)


def gaps_of_losses(
    losses: Iterable[Loss], silent: Sequence[tuple[int, int]], end_ns: int
) -> Iterator[tuple[int, int, float]]:
    """Yield (start, end, part) for each gap that a dead worker left, without the spans in `silent`.

    The part is the worker's part of its agent's load. In `silent` spans the whole agent sent nothing.

    A gap begins at the worker's last data. It ends when another process takes over, or else at `end_ns`.
    """
    for loss in losses:
        for start, end in silent_spans(silent, loss.gone_until_ns(end_ns), loss.told_ns):
            yield start, end, 1 / loss.workers


def within(
    gaps: Iterable[tuple[int, int, float]], tenures: Sequence[tuple[int, int, float]]
) -> Iterator[tuple[int, int, float]]:
    """Yield the pieces of `gaps` in which the agent had a share, with their part of the whole load.

    tenures: (start, end, share) of the agent, as `Assignment.tenures` returns them.
    """
    for start_ns, end_ns, part in gaps:
        for since_ns, until_ns, share in tenures:
            if max(start_ns, since_ns) < min(end_ns, until_ns):
                yield max(start_ns, since_ns), min(end_ns, until_ns), part * share


def silent_spans(spans: Sequence[tuple[int, int]], end_ns: int, at_ns: int = 0) -> Iterator[tuple[int, int]]:
    """Yield the parts of [at_ns, end_ns) that none of `spans` covers. `spans` must be sorted and may overlap."""
    # The empty span at the end makes the loop yield the time after the last span as well.
    for start_ns, stop_ns in (*spans, (end_ns, end_ns)):
        if at_ns < min(start_ns, end_ns):
            yield at_ns, min(start_ns, end_ns)
        at_ns = max(at_ns, stop_ns)


def epoch_of(merge: Merge, agent: str, number: int) -> Epoch | None:
    """Return what was merged of the agent's process with this number; None if no delta of it was merged."""
    return next((epoch for epoch in merge.epochs(agent) if epoch.epoch == number), None)


def covered_ns(epoch: Epoch | None) -> int:
    """Return the end of the last interval for which data of this process arrived, ns from T0; 0 if there is none."""
    return epoch.spans[-1][1] if epoch is not None and epoch.spans else 0


# -- the planned load in them ---------------------------------------------------------------------


def is_harmless(loss: Loss, planned: PlannedLoads) -> bool:
    """Return whether a dead worker certainly lost nothing.

    It had no iteration in flight, and no load until its replacement began.

    With a counted load this is true only if the worker died before the start. Later, nobody knows how many iterations
    it began after its last data.
    """
    begun_nothing = loss.died_ns == 0 and loss.resumed_ns != NOBODY
    has_counted = any(isinstance(profile, IterationProfile) for _, profile in planned.loads)
    if loss.in_flight or (has_counted and not begun_nothing):
        return False
    until_ns = max(loss.told_ns, loss.gone_until_ns(planned.end_ns))
    return _areas(planned.loads, until_ns) == _areas(planned.loads, loss.told_ns)


def missing_share(
    planned: PlannedLoads,
    share: float,
    epoch: Epoch | None,
    gaps: Sequence[tuple[int, int, float]],
    staying_gaps: Sequence[tuple[int, int, float]],
    merge: Merge,
) -> float:
    """Return the part of the whole planned load, from 0 to `share`, that is missing from one agent.

    Missing are the load that was planned in its gaps, and the iterations that it started and whose end it never
    reported. Iterations and user-seconds cannot be added up, so with both kinds of load the greater part counts.

    Args:
        share: the agent's part of the whole load, 0 to 1.
        epoch: what was merged of the agent; None: nothing.
        gaps: gaps within the agent's tenures, as parts of the whole load, for loads that other agents take over.
        staying_gaps: the same for loads that no other agent takes over.
    """
    counters = epoch.counters if epoch is not None else Counters()
    unended = counters.iterations_started - counters.iterations_finished - counters.iterations_cut_off
    if planned.is_counted:
        ended = counters.iterations_finished + counters.iterations_cut_off
        total = sum(profile.total() for _, profile in planned.loads if isinstance(profile, IterationProfile))
        return min(share, max(0.0, share - ended / total))
    loads, stays = planned.loads, (*planned.stays, *[False] * (len(planned.loads) - len(planned.stays)))
    in_gaps = 0.0
    for kind in _TIMED:
        own = [(load, stay) for load, stay in zip(loads, stays, strict=True) if isinstance(load[1], kind)]
        whole = _areas([load for load, _ in own], planned.end_ns)
        missing = sum(_area_in(staying_gaps if stay else gaps, load) for load, stay in own)
        in_gaps = max(in_gaps, missing / whole if whole else 0.0)
    arrivals = [load for load in loads if isinstance(load[1], OpenProfile)]
    # Closed loads have no planned number of iterations, so the number that was started stands in for it.
    begun = _areas(arrivals, planned.end_ns) if len(arrivals) == len(loads) else merge.counters().iterations_started
    return min(share, in_gaps + (max(0, unended) / begun if begun else 0.0))


def _area_in(gaps: Sequence[tuple[int, int, float]], load: tuple[int, Profile]) -> float:
    return sum((_areas([load], end) - _areas([load], start)) * part for start, end, part in gaps)


def _areas(loads: Loads, until_ns: int) -> float:
    """Return the area under the curves of all loads up to `until_ns`.

    Loads with a fixed number of iterations have none.
    """
    return sum(
        _area(profile.stages, until_ns - after_ns)
        for after_ns, profile in loads
        if not isinstance(profile, IterationProfile)
    )


def _area(stages: Sequence[Stage], until_ns: int) -> float:
    """Return the area under one curve up to `until_ns`, in iterations or user-seconds."""
    area = 0.0
    edges = [0]
    for stage in stages:
        edges.append(edges[-1] + stage.duration_ns)
    for (start_ns, stop_ns), stage in zip(pairwise(edges), stages, strict=True):
        if start_ns >= until_ns or start_ns == stop_ns:
            continue
        part = (min(stop_ns, until_ns) - start_ns) / (stop_ns - start_ns)
        at_end = stage.start + (stage.end - stage.start) * part
        area += (stage.start + at_end) / 2 * (min(stop_ns, until_ns) - start_ns) / NS_PER_S
    return area
