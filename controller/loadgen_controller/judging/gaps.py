"""Which parts of a run an agent told nothing of, for windows that may lack what it did there."""

from __future__ import annotations

from collections.abc import Iterable

from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Gap
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.completeness import gaps_of_losses, within

__all__ = ["gaps_of"]


def gaps_of(assignment: Assignment, merge: Merge, agents: Iterable[str], end_ns: int) -> tuple[Gap, ...]:
    """What of [0, end_ns) no delta of each of `agents` covers, with the agent's share of the load.

    Only while the agent had a share. Of a worker that died its part of it, from what it told last until another went
    on.
    """
    found: list[Gap] = []
    for agent in agents:
        region = assignment.region(agent)
        spans = sorted(span for epoch in merge.epochs(agent) for span in epoch.spans)
        told_ns = 0
        silent: list[tuple[int, int]] = []
        for start_ns, stop_ns in (*spans, (end_ns, end_ns)):
            if told_ns < min(start_ns, end_ns):
                silent.append((told_ns, min(start_ns, end_ns)))
            told_ns = max(told_ns, stop_ns)
        parts = [(start, end, 1.0) for start, end in silent]
        parts += gaps_of_losses(merge.losses(agent), silent, end_ns)
        tenures = assignment.tenures(agent, end_ns)
        for whole in parts:
            found += (
                Gap(start, end, region, part, whole[2] * assignment.part_of_region(agent, start))
                for start, end, part in within([whole], tenures)
            )
    return tuple(found)
