"""Is all of it here? Proved from each agent's Fin and from the plan, never assumed.

An agent is complete when all of this holds:

- its Fin is here and does not say that it ended early, or other agents had its share from then on when it left;
- every delta up to the Fin's last is merged, and the merged deltas add up to the Fin's totals;
- no worker of it died with data that it had not sent;
- it started, or counted as missed, every iteration that the plan gave it (`against_plan.py`), and no more;
- the allow-list's cap kept none of its requests from being sent.

For an agent that is not complete, this module says which seconds and how many iterations are missing, and how much
of the planned load that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from loadgen.measure.deltas.delta import Counters
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.measure.merging.merge import Epoch, Merge
from loadgen.profiles.profile import IterationProfile, OpenProfile, Profile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_S, format_count, format_ratio
from loadgen.wire.messages import Fin
from loadgen_controller.core.run_record import Former
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.against_plan import Against, AgentDue

__all__ = ["AgentData", "Completeness", "Loads", "account", "gaps_of_losses"]

Loads = Sequence[tuple[int, Profile]]
"""Of each load of the plan, when it begins (ns after T0) and its profile."""


@dataclass(frozen=True, slots=True)
class AgentData:
    """What came of one agent."""

    agent: str
    region: str
    is_complete: bool
    missing_s: float
    """Of the load's time, without data from it."""
    missing_share: float
    """Of the whole planned load, 0 to 1."""
    text: str
    """What is missing, in words; empty when nothing is."""
    note: str = ""
    """What happened and cost nothing: a worker that died when it had no load."""
    planned: int | None = None
    """Iterations that the plan gave it, at an early stop the least; None: not held against the plan."""
    missing: int = 0
    """Of these, neither started nor counted as missed."""


@dataclass(frozen=True, slots=True)
class Completeness:
    agents: tuple[AgentData, ...]

    @property
    def is_complete(self) -> bool:
        return all(agent.is_complete for agent in self.agents)

    @property
    def missing_share(self) -> float:
        """Of the planned load: counted as good, it is what could have changed a verdict."""
        return min(1.0, sum(agent.missing_share for agent in self.agents))


def account(
    assignment: Assignment,
    epochs: Mapping[str, int],
    fins: Mapping[str, Fin],
    lost: Mapping[str, str],
    loads: Loads,
    load_ns: int | None,
    merge: Merge,
    stays: Sequence[bool] = (),
    left: Mapping[str, int] = MappingProxyType({}),
    against: Against | None = None,
    held_back: Mapping[str, int] = MappingProxyType({}),
    former: Mapping[str, Sequence[Former]] = MappingProxyType({}),
) -> Completeness:
    """Compare each agent's Fin with the deltas that were merged, and the merged counts with the plan.

    Args:
        epochs: of each agent, the one that it got its share in.
        lost: why an agent is lost.
        stays: of each load, whether a lost agent's part of it is nobody else's (`LaneSpec.stays`).
        left: who left by itself, and from when on, ns after T0.
        load_ns: from T0 to the end of the load as it was planned, or as it was
            stopped; None where it ends by count: then the last data of any agent end it.
        against: the run beside its plan; None: a run folder of before that was kept.
        held_back: requests of each agent that the allow-list's cap did not let start.
        former: earlier processes of agents that were restarted under their name and got a share again.
    """
    found = {agent: _epoch(merge, agent, epochs[agent]) for agent in assignment.agents}
    end_ns = load_ns if load_ns is not None else max((_covered_ns(e) for e in found.values()), default=0)
    run = _Run(assignment, loads, end_ns, merge, stays, against)
    return Completeness(
        tuple(
            _agent(
                run,
                _Evidence(
                    agent,
                    found[agent],
                    fins.get(agent),
                    lost.get(agent, ""),
                    left.get(agent),
                    held_back.get(agent, 0),
                    former.get(agent, ()),
                ),
            )
            for agent in assignment.agents
        )
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """The inputs that all agents share; see `account`."""

    assignment: Assignment
    loads: Loads
    end_ns: int
    merge: Merge
    stays: Sequence[bool]
    against: Against | None


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The inputs about one agent; see `account`."""

    agent: str
    epoch: Epoch | None
    fin: Fin | None
    lost: str
    left_ns: int | None
    held_back: int
    former: Sequence[Former]


def _agent(run: _Run, of: _Evidence) -> AgentData:
    merge, end_ns, agent = run.merge, run.end_ns, of.agent
    is_idle = not run.assignment.tenures(agent, end_ns) and of.fin is None and of.epoch is None
    wrong = "" if is_idle else _wrong_of_all(run, of)  # idle: it was to have a share, and the load ended before
    early = of.fin.reason if of.fin is not None and not wrong and not is_idle else ""
    if early and not _has_left(run, of):
        # What it sent is all here, and yet it did not do its share: its worker died, or it lost the controller.
        wrong = f"it ended early: {early}"
    losses = merge.losses(agent)
    real = [loss for loss in losses if not _is_nothing(loss, run.loads, end_ns)]
    due = run.against.agents.get(agent, AgentDue()) if run.against is not None else AgentDue()
    lacks = [*map(str, due.differences), *_held_back(of.held_back)]
    if wrong or real or lacks:
        return _incomplete(run, of, due, wrong, real, lacks)
    told = [f"{loss}, when it had no load" for loss in losses]
    if early and of.left_ns is not None and of.left_ns < end_ns:
        told.append(f"it left ({early}), and others drove its share from {of.left_ns / NS_PER_S:.1f} s on")
    region = run.assignment.region(agent)
    note = "; ".join(f"agent {agent} ({region}): {one}" for one in told)
    return AgentData(agent, region, True, 0.0, 0.0, "", note, due.planned, due.missing)


def _wrong_of_all(run: _Run, of: _Evidence) -> str:
    """Why what is here of the agent, and of its earlier processes, is not all that they had to send."""
    found = []
    for one in of.former:
        if what := _wrong(_epoch(run.merge, of.agent, one.epoch), one.fin):
            found.append(f"of its earlier process: {what}")
    if what := _wrong(of.epoch, of.fin):
        found.append(what)
    return "; ".join(found)


def _has_left(run: _Run, of: _Evidence) -> bool:
    """Whether the agent left by itself, and others had its share from that very instant on."""
    if of.left_ns is None or any(run.stays):
        return False
    return _is_moved(run.assignment, of.agent, of.left_ns, of.epoch, run.end_ns)


def _incomplete(
    run: _Run, of: _Evidence, due: AgentDue, wrong: str, real: Sequence[Loss], lacks: Sequence[str]
) -> AgentData:
    agent, assignment, end_ns = of.agent, run.assignment, run.end_ns
    region, tenures = assignment.region(agent), assignment.tenures(agent, end_ns)
    epochs = [of.epoch, *(_epoch(run.merge, agent, one.epoch) for one in of.former)]
    spans = sorted(span for epoch in epochs if epoch is not None for span in epoch.spans)
    silent = tuple(_gaps(spans, end_ns))
    whole = [(start, end, 1.0) for start, end in silent] + list(gaps_of_losses(real, silent, end_ns))
    missing_s = sum(
        (min(end, b) - max(start, a)) * part / NS_PER_S
        for start, end, part in whole
        for a, b, _ in tenures
        if max(start, a) < min(end, b)
    )
    share = _share_missing(run, of, whole)
    if not wrong:
        text = _lost_text(agent, region, real, share) if real else f"agent {agent} ({region}): "
        text += ("; " if real and lacks else "") + "; ".join(lacks)
    else:
        gaps = within(((start, end, 1.0) for start, end in silent), tenures)
        when = ", ".join(f"{start / NS_PER_S:.1f} s to {end / NS_PER_S:.1f} s" for start, end, _ in gaps)
        text = f"agent {agent} ({region}): "
        text += f"no data from {when} ({missing_s:.1f} s, {format_ratio(share)} of the load)" if when else wrong
        if of.lost or when:
            text += f": {of.lost or wrong}"
        until_ns = assignment.until_ns(agent)
        if until_ns is not None and until_ns < end_ns and not all(run.stays or (False,)):
            text += f"; from {until_ns / NS_PER_S:.1f} s on others drove its share"
        text = "; ".join([text, *map(str, real), *lacks])
    return AgentData(agent, region, False, missing_s, share, text, "", due.planned, due.missing)


def _share_missing(run: _Run, of: _Evidence, whole: Sequence[tuple[int, int, float]]) -> float:
    """The agent's part of the whole planned load that is missing: counted if it could be compared with the plan."""
    agent, assignment = of.agent, run.assignment
    is_counted = all(isinstance(profile, IterationProfile) for _, profile in run.loads)
    share = assignment.first_share(agent) if is_counted else assignment.share(agent)
    counted = run.merge.counters(agent=agent)
    if run.against is not None and run.against.is_whole:
        unended = counted.iterations_started - counted.iterations_finished - counted.iterations_cut_off
        missing = run.against.missing_share(agent, max(0, unended))
    else:
        parts = list(within(whole, assignment.tenures(agent, run.end_ns)))
        kept = [(start, end, part * assignment.first_share(agent)) for start, end, part in whole]
        missing = _missing_share(share, of.epoch, run.loads, parts, kept, run.stays, run.end_ns, run.merge)
    if of.held_back:
        missing += of.held_back / (counted.requests_started + of.held_back) * share
    return min(1.0, missing)


def _held_back(requests: int) -> Iterator[str]:
    if requests:
        were = "request was" if requests == 1 else "requests were"
        yield f"{format_count(requests)} {were} not sent: over the cap of the allow-list"


def _wrong(epoch: Epoch | None, fin: Fin | None) -> str:
    """Why what is here of the agent is not all that it had to tell; empty when it is."""
    if fin is None:
        return "it never said that it has finished"
    merged = epoch.next_seq if epoch is not None else 0
    if epoch is not None and epoch.epoch != fin.epoch:
        return f"it finished in epoch {fin.epoch}, its share was given in epoch {epoch.epoch}"
    if merged != fin.last_seq + 1:
        return f"{merged:,} of {fin.last_seq + 1:,} deltas were merged"
    counters, recorded = (epoch.counters, epoch.recorded) if epoch is not None else (Counters(), 0)
    unequal = [
        f"{f.name} {getattr(fin.totals, f.name):,} said and {getattr(counters, f.name):,} merged"
        for f in fields(Counters)
        if getattr(fin.totals, f.name) != getattr(counters, f.name)
    ]
    if recorded != fin.recorded:
        unequal.append(f"values {fin.recorded:,} said and {recorded:,} merged")
    if unequal:
        return f"its totals do not add up: {', '.join(unequal)}"
    return ""


def _is_moved(assignment: Assignment, agent: str, left_ns: int, epoch: Epoch | None, end_ns: int) -> bool:
    """Whether an agent drove its share up to `left_ns`, and others had it from that very instant on."""
    return _covered_ns(epoch) >= min(left_ns, end_ns) and (left_ns >= end_ns or assignment.until_ns(agent) == left_ns)


def _lost_text(agent: str, region: str, losses: Sequence[Loss], missing_share: float) -> str:
    told = []
    for loss in losses:
        flying = f" and {format_count(loss.in_flight)} iterations in flight" if loss.in_flight else ""
        told.append(f"{loss}; what it did after {loss.told_ns / NS_PER_S:.1f} s{flying} is not known")
    return f"agent {agent} ({region}): {'; '.join(told)} ({format_ratio(missing_share)} of the load)"


def _is_nothing(loss: Loss, loads: Loads, end_ns: int) -> bool:
    """Whether it is proved that nothing was lost: nothing was in flight, and nothing was planned until it went on.

    Of a counted load only where it died before the start: what it had begun after its last word is not known.
    """
    begun_nothing = loss.died_ns == 0 and loss.resumed_ns != NOBODY
    if loss.in_flight or (not begun_nothing and any(isinstance(profile, IterationProfile) for _, profile in loads)):
        return False
    until_ns = max(loss.told_ns, loss.gone_until_ns(end_ns))
    return _areas(loads, until_ns) == _areas(loads, loss.told_ns)


def gaps_of_losses(
    losses: Iterable[Loss], gaps: Sequence[tuple[int, int]], end_ns: int
) -> Iterator[tuple[int, int, float]]:
    """(start, end, part of the agent's share): what nobody drove, or nobody told of, beside the agent's own `gaps`."""
    for loss in losses:
        at_ns, until_ns = loss.told_ns, loss.gone_until_ns(end_ns)
        for start_ns, stop_ns in (*gaps, (until_ns, until_ns)):
            if at_ns < min(start_ns, until_ns):
                yield at_ns, min(start_ns, until_ns), 1 / loss.workers
            at_ns = max(at_ns, stop_ns)


def within(
    parts: Iterable[tuple[int, int, float]], tenures: Sequence[tuple[int, int, float]]
) -> Iterator[tuple[int, int, float]]:
    """What of the parts lies within the tenures: (start, end, part of the whole load)."""
    for start_ns, end_ns, part in parts:
        for since_ns, until_ns, share in tenures:
            if max(start_ns, since_ns) < min(end_ns, until_ns):
                yield max(start_ns, since_ns), min(end_ns, until_ns), part * share


def _epoch(merge: Merge, agent: str, number: int) -> Epoch | None:
    return next((epoch for epoch in merge.epochs(agent) if epoch.epoch == number), None)


def _covered_ns(epoch: Epoch | None) -> int:
    return epoch.spans[-1][1] if epoch is not None and epoch.spans else 0


def _gaps(spans: Sequence[tuple[int, int]], end_ns: int) -> Iterator[tuple[int, int]]:
    """What of [0, end) no span covers."""
    at_ns = 0
    for start_ns, stop_ns in spans:
        if at_ns < min(start_ns, end_ns):
            yield at_ns, min(start_ns, end_ns)
        at_ns = max(at_ns, stop_ns)
    if at_ns < end_ns:
        yield at_ns, end_ns


def _missing_share(
    share: float,
    epoch: Epoch | None,
    loads: Loads,
    gaps: Sequence[tuple[int, int, float]],
    kept: Sequence[tuple[int, int, float]],
    stays: Sequence[bool],
    end_ns: int,
    merge: Merge,
) -> float:
    """What was planned of the agent within its gaps, and what it began and never told the end of.

    gaps, kept: (start, end, part of the whole load), of loads that others take over and of those that stay.

    Iterations and user-seconds cannot be added up: of a plan that has both, the greater share counts.
    """
    counters = epoch.counters if epoch is not None else Counters()
    open_ended = counters.iterations_started - counters.iterations_finished - counters.iterations_cut_off
    if all(isinstance(profile, IterationProfile) for _, profile in loads):
        ended = counters.iterations_finished + counters.iterations_cut_off
        planned = sum(profile.total() for _, profile in loads if isinstance(profile, IterationProfile))
        return min(share, max(0.0, share - ended / planned))
    in_gaps = 0.0
    for kind in _TIMED:
        own = [
            (one, stay)
            for one, stay in zip(loads, (*stays, *[False] * (len(loads) - len(stays))), strict=True)
            if isinstance(one[1], kind)
        ]
        whole = _areas([one for one, _ in own], end_ns)
        missing = sum(_area_in(kept if stay else gaps, one) for one, stay in own)
        in_gaps = max(in_gaps, missing / whole if whole else 0.0)
    arrivals = [one for one in loads if isinstance(one[1], OpenProfile)]
    begun = _areas(arrivals, end_ns) if len(arrivals) == len(loads) else merge.counters().iterations_started
    return min(share, in_gaps + (max(0, open_ended) / begun if begun else 0.0))


_TIMED: Final = (OpenProfile, UserProfile)


def _area_in(gaps: Sequence[tuple[int, int, float]], load: tuple[int, Profile]) -> float:
    """Of what the load planned, that which falls into the gaps."""
    return sum((_areas([load], end) - _areas([load], start)) * part for start, end, part in gaps)


def _areas(loads: Loads, until_ns: int) -> float:
    return sum(
        _area(profile.stages, until_ns - after_ns)
        for after_ns, profile in loads
        if not isinstance(profile, IterationProfile)
    )


def _area(stages: Sequence[Stage], until_ns: int) -> float:
    """Under the curve of rate or users up to `until_ns`, in iterations or user-seconds."""
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
