"""Decides whether all data of a run arrived. It needs proof: each agent's Fin and the plan. Pure.

An agent is complete when all of this holds:

- its Fin arrived and does not report an early end; an agent that left may end early if others took over at once;
- every delta up to the Fin's last is merged, and the merged deltas add up to the Fin's totals;
- no worker of it died with data that it had not sent;
- it started, or counted as missed, every iteration that the plan gave it (`reported_counts_vs_plan.py`), and no more;
- the allow-list's cap kept none of its requests from being sent.

For an agent that is not complete, this module gives the seconds and iterations that are missing, and their part of
the planned load. `gaps.py` has the arithmetic of gaps; here are the rules, the sums for each agent, and the sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

from loadgen.measure.deltas.delta import Counters
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.merging.merge import Epoch, Merge
from loadgen.profiles.profile import UserProfile
from loadgen.units import NS_PER_S, format_count, format_ratio
from loadgen.wire.messages import Fin
from loadgen_controller.core.run_state import Former
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.gaps import (
    Loads,
    PlannedLoads,
    covered_ns,
    epoch_of,
    gaps_of_losses,
    is_harmless,
    missing_share,
    silent_spans,
    within,
)
from loadgen_controller.judging.reported_counts_vs_plan import Against, AgentDue

__all__ = ["Completeness", "Loads", "account"]


@dataclass(frozen=True, slots=True)
class AgentData:
    """Whether all data of one agent arrived, with the missing part."""

    agent: str
    region: str
    is_complete: bool
    missing_s: float
    """Seconds of the load for which it sent no data."""
    missing_share: float
    """The missing part of the whole planned load, 0 to 1."""
    text: str
    """The missing data as a sentence; empty if nothing is missing."""
    note: str = ""
    """An event that cost no data, such as the death of a worker that had no load."""
    planned: int | None = None
    """Iterations that the plan gave it (after an early stop: the least); None: it was not compared with the plan."""
    missing: int = 0
    """Those of `planned` that it neither started nor counted as missed."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether all data of a run arrived, agent by agent."""

    agents: tuple[AgentData, ...]

    @property
    def is_complete(self) -> bool:
        return all(agent.is_complete for agent in self.agents)

    @property
    def missing_share(self) -> float:
        """Return which part of the planned load is missing, 0 to 1.

        Objectives are judged as if that part might have gone either way, well or badly.
        """
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
    """Return for each agent whether its data are complete, from its Fin, the merged deltas and the plan.

    Args:
        epochs: for each agent, the epoch in which it got its share.
        lost: for each lost agent, why it was lost.
        loads: start and profile of each load.
        load_ns: the planned or actual end of the load, ns from T0. None: the load ends after a number of iterations;
            then it ends with the last data of any agent.
        stays: for each load, whether a lost agent's part of it stays with that agent (`LaneSpec.stays`).
        left: for each agent that left by itself, when it stopped starting iterations, ns from T0.
        against: the comparison with the plan; None for run folders of older versions, which do not store the plan.
        held_back: for each agent, the requests that the allow-list's cap kept from being sent.
        former: for each agent that was restarted under its name and got a share again, its earlier processes.
    """
    found = {agent: epoch_of(merge, agent, epochs[agent]) for agent in assignment.agents}
    end_ns = load_ns if load_ns is not None else max((covered_ns(e) for e in found.values()), default=0)
    run = _Run(assignment, PlannedLoads(loads, stays, end_ns), merge, against)
    return Completeness(
        tuple(
            _judge_agent(
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
    planned: PlannedLoads
    merge: Merge
    against: Against | None

    @property
    def end_ns(self) -> int:
        return self.planned.end_ns


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


def _judge_agent(run: _Run, evidence: _Evidence) -> AgentData:
    """Return whether the data of one agent are complete, and what is missing, by the rules of this module."""
    agent, region = evidence.agent, run.assignment.region(evidence.agent)
    # An idle agent was to have a share, and the load ended before: it owes nothing.
    is_idle = not run.assignment.tenures(agent, run.end_ns) and evidence.fin is None and evidence.epoch is None
    wrong = "" if is_idle else _wrong_in_any_process(run, evidence)
    early = evidence.fin.reason if evidence.fin is not None and not wrong and not is_idle else ""
    if early and not _has_left_cleanly(run, evidence):
        # All that it sent has arrived, and yet it did not drive its whole share.
        wrong = f"it ended early: {early}"
    losses = run.merge.losses(agent)
    harmful = [loss for loss in losses if not is_harmless(loss, run.planned)]
    due = run.against.agents.get(agent, AgentDue()) if run.against is not None else AgentDue()
    lacks = [*map(str, due.differences), *_held_back_text(evidence.held_back)]
    if wrong or harmful or lacks:
        missing = _measure(run, evidence, harmful)
        text = _incomplete_text(run, evidence, missing, wrong, harmful, lacks)
        return AgentData(agent, region, False, missing.seconds, missing.share, text, "", due.planned, due.missing)
    notes = [f"{loss}, when it had no load" for loss in losses]
    if early and evidence.left_ns is not None and evidence.left_ns < run.end_ns:
        notes.append(f"it left ({early}), and other agents drove its share from {_seconds(evidence.left_ns)} on")
    note = "; ".join(f"agent {agent} ({region}): {one}" for one in notes)
    return AgentData(agent, region, True, 0.0, 0.0, "", note, due.planned, due.missing)


# -- rules ----------------------------------------------------------------------------------------


def _wrong_in_any_process(run: _Run, evidence: _Evidence) -> str:
    """Return why data of the agent or of its earlier processes are missing; empty if all arrived."""
    found = []
    for one in evidence.former:
        if what := _wrong(epoch_of(run.merge, evidence.agent, one.epoch), one.fin):
            found.append(f"its earlier process: {what}")
    if what := _wrong(evidence.epoch, evidence.fin):
        found.append(what)
    return "; ".join(found)


def _wrong(epoch: Epoch | None, fin: Fin | None) -> str:
    """Return why data of one process are missing; empty if its Fin arrived and the merged deltas add up to it."""
    if fin is None:
        return "it never reported that it had finished"
    merged = epoch.next_seq if epoch is not None else 0
    if epoch is not None and epoch.epoch != fin.epoch:
        return f"it finished in epoch {fin.epoch}, but got its share in epoch {epoch.epoch}"
    if merged != fin.last_seq + 1:
        return f"{merged:,} of {fin.last_seq + 1:,} deltas were merged"
    counters, recorded = (epoch.counters, epoch.recorded) if epoch is not None else (Counters(), 0)
    unequal = [
        f"{f.name} {getattr(fin.totals, f.name):,} reported and {getattr(counters, f.name):,} merged"
        for f in fields(Counters)
        if getattr(fin.totals, f.name) != getattr(counters, f.name)
    ]
    if recorded != fin.recorded:
        unequal.append(f"values {fin.recorded:,} reported and {recorded:,} merged")
    if unequal:
        return f"its totals do not add up: {', '.join(unequal)}"
    return ""


def _has_left_cleanly(run: _Run, evidence: _Evidence) -> bool:
    """Return whether the agent left by itself, and other agents took over its whole share at that very instant."""
    left_ns = evidence.left_ns
    if left_ns is None or any(run.planned.stays):
        return False
    if covered_ns(evidence.epoch) < min(left_ns, run.end_ns):
        return False
    return left_ns >= run.end_ns or run.assignment.until_ns(evidence.agent) == left_ns


# -- arithmetic -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Missing:
    """The missing data of one agent, in numbers."""

    spans: tuple[tuple[int, int], ...]
    """[start, end) in ns from T0: it had a share and sent nothing."""
    seconds: float
    """Their length, and for each dead worker its part of the time until it was replaced."""
    share: float
    """The missing part of the whole planned load, 0 to 1."""


def _measure(run: _Run, evidence: _Evidence, harmful: Sequence[Loss]) -> _Missing:
    agent, assignment, end_ns = evidence.agent, run.assignment, run.end_ns
    tenures = assignment.tenures(agent, end_ns)
    epochs = [evidence.epoch, *(epoch_of(run.merge, agent, one.epoch) for one in evidence.former)]
    covered = sorted(span for epoch in epochs if epoch is not None for span in epoch.spans)
    silent = tuple(silent_spans(covered, end_ns))
    whole = [(start, end, 1.0) for start, end in silent]
    gaps = [*whole, *gaps_of_losses(harmful, silent, end_ns)]
    whole_share = [(since, until, 1.0) for since, until, _ in tenures]
    seconds = sum((end - start) * part / NS_PER_S for start, end, part in within(gaps, whole_share))
    spans = tuple((start, end) for start, end, _ in within(whole, tenures))
    return _Missing(spans, seconds, _missing_share(run, evidence, gaps))


def _missing_share(run: _Run, evidence: _Evidence, gaps: Sequence[tuple[int, int, float]]) -> float:
    """Return which part of the whole load is missing, from the comparison with the plan, or estimated from the gaps."""
    agent, assignment = evidence.agent, run.assignment
    share = assignment.first_share(agent) if run.planned.is_counted else assignment.share(agent)
    counted = run.merge.counters(agent=agent)
    is_compared = run.against is not None and run.against.is_whole
    missing = 0.0
    if is_compared:
        assert run.against is not None
        unended = counted.iterations_started - counted.iterations_finished - counted.iterations_cut_off
        missing = run.against.missing_share(agent, max(0, unended))
    # The comparison of users samples ends of intervals and skips the first second after a change, so it does not find
    # a gap of 1 or 2 s.
    if not is_compared or all(isinstance(profile, UserProfile) for _, profile in run.planned.loads):
        moving = list(within(gaps, assignment.tenures(agent, run.end_ns)))
        staying = [(start, end, part * assignment.first_share(agent)) for start, end, part in gaps]
        missing = max(missing, missing_share(run.planned, share, evidence.epoch, moving, staying, run.merge))
    if evidence.held_back:
        missing += evidence.held_back / (counted.requests_started + evidence.held_back) * share
    return min(1.0, missing)


# -- sentences ------------------------------------------------------------------------------------


def _incomplete_text(
    run: _Run, evidence: _Evidence, missing: _Missing, wrong: str, harmful: Sequence[Loss], lacks: Sequence[str]
) -> str:
    """Return the sentence that states which data of an agent are missing, and why."""
    agent = evidence.agent
    name, of_load = f"agent {agent} ({run.assignment.region(agent)})", f"{format_ratio(missing.share)} of the load"
    if not wrong:
        losses = [f"{'; '.join(map(_loss_text, harmful))} ({of_load})"] if harmful else []
        return f"{name}: {'; '.join([*losses, *lacks])}"
    text = f"{name}: {wrong}"
    if missing.spans:
        when = ", ".join(f"{_seconds(start)} to {_seconds(end)}" for start, end in missing.spans)
        text = f"{name}: no data from {when} ({missing.seconds:.1f} s, {of_load}): {evidence.lost or wrong}"
    elif evidence.lost:
        text += f": {evidence.lost}"
    until_ns = run.assignment.until_ns(agent)
    if until_ns is not None and until_ns < run.end_ns and not all(run.planned.stays or (False,)):
        text += f"; from {_seconds(until_ns)} on, other agents drove its share"
    return "; ".join([text, *map(str, harmful), *lacks])


def _loss_text(loss: Loss) -> str:
    flying = f", and how its {format_count(loss.in_flight)} iterations in flight ended," if loss.in_flight else ""
    return f"{loss}; what worker {loss.worker} did after {_seconds(loss.told_ns)}{flying} is unknown"


def _held_back_text(requests: int) -> Iterator[str]:
    if requests:
        were = "request was" if requests == 1 else "requests were"
        yield f"{format_count(requests)} {were} not sent: over the cap of the allow-list"


def _seconds(ns: int) -> str:
    return f"{ns / NS_PER_S:.1f} s"
