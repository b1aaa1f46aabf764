"""Derives the verdict on a run: one result, one exit code, and every reason as a sentence. Pure.

The verdict says whether the run is complete, whether it is valid and whether it met its objectives. It follows only
from the content of the run folder: the merged deltas and the `Facts` that the conductor writes to `events.jsonl`. So
`rejudge.py` derives the same verdict from the folder alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from loadgen.dsl.plans.spec import highest_sum
from loadgen.dsl.users.worker_tally import HELD_BACK
from loadgen.errors import EXIT_PRECEDENCE, ExitCode
from loadgen.measure.deltas.load_counts import Ending
from loadgen.measure.deltas.stream_health import JUDGED_AS, MetricValidity
from loadgen.measure.merging.merge import Merge, check_invariant
from loadgen.measure.objectives.objective import Objective, SloResult, describe, evaluate_all, unsure_text
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.objective_intervals import with_intervals
from loadgen.profiles.profile import OpenProfile, Profile
from loadgen.units import format_count, format_ratio, quantity
from loadgen.wire.messages import Fin
from loadgen_controller.core.events import End, Reason
from loadgen_controller.core.run_state import Former
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.completeness import Completeness, Loads, account
from loadgen_controller.judging.gaps import gaps_of
from loadgen_controller.judging.iterations_due_by_plan import Basis
from loadgen_controller.judging.reported_counts_vs_plan import Against, compare_with_plan
from loadgen_controller.judging.stream_validity import held_back, metrics_of_own_limits, misled, stream_validity
from loadgen_controller.judging.validity import Validity, judge_fitness

__all__ = [
    "POOL_LIMITED_ABOVE",
    "SCRIPT_FAULTS_ABOVE",
    "Facts",
    "Outcome",
    "Verdict",
    "judge",
    "too_many_script_faults",
]

POOL_LIMITED_ABOVE = 0.01
"""Share of requests that waited for a free user above which the verdict mentions it."""
SCRIPT_FAULTS_ABOVE = 0.001
"""Share of iterations in which the scenario itself raised above which the run is a usage error."""
_FAULTS_TO_STOP = 10
"""Least number of such iterations that stops a running run: one in the first hundred is no estimate of the rate."""
_AGENTS_NAMED = 10
"""Agents without all data that the reasons of a verdict name one by one: a fleet of 1,000 would take 200 kB."""

Outcome = Literal["passed", "failed", "incomplete", "invalid", "interrupted", "error"]

_RESULTS: dict[ExitCode, Outcome] = {
    ExitCode.PASSED: "passed",
    ExitCode.FAILED: "failed",
    ExitCode.INCOMPLETE: "incomplete",
    ExitCode.INVALID: "invalid",
    ExitCode.INTERRUPTED: "interrupted",
}

_CODES = {
    Reason.FINISHED: ExitCode.PASSED,
    Reason.STOPPED: ExitCode.INTERRUPTED,
    Reason.KILLED: ExitCode.INTERRUPTED,
    Reason.TOKENS_USED: ExitCode.INTERRUPTED,
    Reason.SATURATED: ExitCode.PASSED,
    Reason.SLO_BREACHED: ExitCode.FAILED,
    Reason.ERROR_FUSE: ExitCode.FAILED,
    Reason.TARGET_IN_DANGER: ExitCode.FAILED,
    Reason.NOT_ALLOWED: ExitCode.USAGE,
    Reason.SCRIPT_FAULTS: ExitCode.USAGE,
    Reason.SET_UP_FAILED: ExitCode.USAGE,
    Reason.TEAR_DOWN_FAILED: ExitCode.USAGE,
    Reason.AGENT_LOST: ExitCode.INCOMPLETE,
    Reason.OVERDUE: ExitCode.INCOMPLETE,
    Reason.TOO_FEW_AGENTS: ExitCode.FLEET,
    Reason.NOT_READY: ExitCode.FLEET,
    Reason.REFUSED: ExitCode.FLEET,
    Reason.LOST_BEFORE_START: ExitCode.FLEET,
    Reason.ALL_LOST: ExitCode.FLEET,
    Reason.STORAGE_FAILED: ExitCode.FLEET,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about a run that a verdict needs in addition to the deltas. JSON stores them without loss."""

    ends: tuple[End, ...]
    """Why the run ended; several reasons if several things happened, the first one first."""
    objectives: tuple[Objective, ...]
    profile: Profile
    """Profile of the plan's first load."""
    journeys: tuple[str, ...] = ()
    """Journeys of the plan: an objective of a journey without data does not pass."""
    assignment: Assignment | None = None
    """The shares of all agents; None if the run ended before they were assigned."""
    epochs: dict[str, int] = field(default_factory=dict)
    """For each agent, the epoch in which it got its share."""
    fins: dict[str, Fin] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    """For each lost agent, why it was lost."""
    has_started: bool = False
    """Whether the load began."""
    load_ns: int | None = None
    """Planned or actual end of the load, ns from T0; None: the load ended after a number of iterations."""
    warmup_ns: int = 0
    """End of the warm-up, ns from T0, as stated or detected. Windows of objectives begin after it."""
    warmup_found: str = ""
    """Why the detected warm-up ends there; empty if the plan states the warm-up."""
    bug: str = ""
    """A fault of loadgen itself, as a sentence; empty if no fault occurred."""
    first_ns: int = 0
    """When the first load begins, ns from T0."""
    steered: tuple[tuple[str, str], ...] = ()
    """The result of each steered load: its verdict and a sentence."""
    followed: tuple[Objective, ...] = ()
    """The objectives that steered loads follow."""
    stays: tuple[bool, ...] = ()
    """For each load, whether a lost agent's part of it stays with that agent."""
    more_loads: tuple[tuple[int, Profile], ...] = ()
    """For each further load, when it begins (ns from T0) and its profile."""
    left: dict[str, int] = field(default_factory=dict)
    """For each agent that left by itself, when it stopped starting iterations, ns from T0."""
    former: dict[str, tuple[Former, ...]] = field(default_factory=dict)
    """For each agent that was restarted under its name and got a share again, its earlier processes."""
    basis: Basis | None = None
    """The plan and its changes, with which counts are compared; None for folders of versions that did not store it."""
    steady_ns: int = 0
    """When the batches for intervals begin, ns from T0: after the warm-up and the load's last ramp."""
    on_one_machine: bool = False
    """Whether all agents ran on the controller's machine; False in folders of versions that did not store it."""
    needs_sure: bool = False
    """Whether an objective whose verdict is not sure gives exit code 3."""

    @property
    def loads(self) -> Loads:
        """Return the start (ns from T0) and the profile of each load."""
        return ((self.first_ns, self.profile), *self.more_loads)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a run, with everything that it rests on."""

    result: Outcome
    exit_code: ExitCode
    reasons: tuple[str, ...]
    """Sentences, most severe first; at the end those that do not change the exit code but must be known."""
    validity: Validity
    completeness: Completeness
    slos: tuple[SloResult, ...]
    streams: dict[str, MetricValidity] = field(default_factory=dict)
    """Whether each metric of streams could be measured; empty if no streams were read."""


@dataclass(frozen=True, slots=True)
class _Finding:
    code: ExitCode
    """PASSED: for information only."""
    text: str


def judge(facts: Facts, merge: Merge, batches: Batches | None = None, of_probes: tuple[SloResult, ...] = ()) -> Verdict:
    """Return the verdict on a run that has ended, from its facts and its merged data.

    of_probes: the results of the objectives on probes, which follow from the journal of probes.
    batches: the same data in batches, for the intervals of objectives. None: the intervals are unknown, and no
        objective is sure.
    """
    completeness, validity = Completeness(()), Validity()
    slos: tuple[SloResult, ...] = ()
    streams: dict[str, MetricValidity] = {}
    findings = [*_find_in_ends(facts)]
    if facts.has_started and facts.assignment is not None:
        against = None
        if facts.basis is not None:
            against = compare_with_plan(facts.basis, facts.assignment, merge, facts.load_ns)
            findings += _find_in_plan(facts, facts.basis, against)
        completeness = account(
            facts.assignment,
            facts.epochs,
            facts.fins,
            facts.lost,
            facts.loads,
            facts.load_ns,
            merge,
            facts.stays,
            facts.left,
            against,
            _held_back(merge),
            facts.former,
        )
        validity = judge_fitness(
            facts.assignment, merge, _planned_per_s(facts.loads), on_one_machine=facts.on_one_machine
        )
        slos = _slos(facts, merge, completeness)
        if batches is not None:
            slos = with_intervals(slos, facts.objectives, batches)
        streams = stream_validity(facts.assignment, merge)
        slos, unmeasured = held_back(slos, facts.objectives, streams, metrics_of_own_limits(merge))
        slos = (*slos, *of_probes)
        findings += _find_in_data(completeness, merge)
        findings += _find_in_validity(validity)
        findings += [_Finding(ExitCode.INVALID, text) for text in (*unmeasured, *misled(facts.followed, streams))]
        findings += _find_in_streams(streams)
        findings += _find_in_slos(slos, needs_sure=facts.needs_sure)
        findings += _find_in_steering(facts)
        was_stopped = any(end.reason in (Reason.STOPPED, Reason.TOKENS_USED) for end in facts.ends)
        findings += _find_in_counts(merge, completeness, was_stopped=was_stopped)
    order = (*EXIT_PRECEDENCE, ExitCode.PASSED)
    findings.sort(key=lambda finding: order.index(finding.code))  # stable: the order within a code stays
    code = findings[0].code if findings else ExitCode.PASSED
    reasons = tuple(dict.fromkeys(finding.text for finding in findings))
    return Verdict(_RESULTS.get(code, "error"), code, reasons, validity, completeness, slos, streams)


def _find_in_plan(facts: Facts, basis: Basis, against: Against) -> Iterator[_Finding]:
    for text in against.fleet:
        yield _Finding(ExitCode.INCOMPLETE, f"the run does not add up to its plan: {text}")
    for agent in basis.counting:
        fin = facts.fins.get(agent)
        if fin is not None and fin.ending is Ending.UNSAID:
            yield _Finding(
                ExitCode.BUG,
                f"agent {agent} ended its load without a reason: this is a fault of loadgen. Please report it with the"
                " run's events.jsonl",
            )


def _held_back(merge: Merge) -> dict[str, int]:
    """Return for each agent how many requests the cap of the allow-list kept from being sent."""
    return {agent: stats.total for _, agent, stats in merge.custom.state() if stats.name == HELD_BACK and stats.total}


def _planned_per_s(loads: Loads) -> float | None:
    """Return the highest planned rate of all open loads together, iterations/s; None if no load is open."""
    return highest_sum((at, profile) for at, profile in loads if isinstance(profile, OpenProfile)) or None


def too_many_script_faults(merge: Merge) -> str:
    """Return why a running run must be stopped if its scenario raises too often; empty if it may continue."""
    counters = merge.counters()
    if counters.script_faults < _FAULTS_TO_STOP:
        return ""
    return _script_faults(counters.script_faults, counters.iterations_finished)


def _script_faults(faults: int, finished: int) -> str:
    if faults <= SCRIPT_FAULTS_ABOVE * finished:
        return ""
    return (
        f"the scenario itself raised in {format_count(faults)} of {format_count(finished)} iterations"
        f" ({format_ratio(faults / max(1, finished))}, more than {format_ratio(SCRIPT_FAULTS_ABOVE)})"
    )


def _slos(facts: Facts, merge: Merge, completeness: Completeness) -> tuple[SloResult, ...]:
    assert facts.assignment is not None
    missing = [agent.agent for agent in completeness.agents if not agent.is_complete]
    ends_ns = [stop_ns for agent in merge.agents() for epoch in merge.epochs(agent) for _, stop_ns in epoch.spans]
    end_ns = facts.load_ns if facts.load_ns is not None else max(ends_ns, default=0)
    return evaluate_all(
        facts.objectives,
        merge,
        completeness.is_complete,
        completeness.missing_share,
        facts.journeys,
        from_ns=facts.warmup_ns,
        end_ns=facts.load_ns,
        gaps=gaps_of(facts.assignment, merge, missing, end_ns),
    )


def _find_in_ends(facts: Facts) -> Iterator[_Finding]:
    if facts.bug:
        yield _Finding(ExitCode.BUG, facts.bug)
    for end in facts.ends:
        code = _CODES[end.reason]
        if end.reason is Reason.REFUSED and end.faults:
            code = ExitCode.USAGE
        if end.reason is not Reason.FINISHED:
            yield _Finding(code, end.detail)
        for fault in end.faults:
            yield _Finding(code, str(fault))


def _find_in_data(completeness: Completeness, merge: Merge) -> Iterator[_Finding]:
    for wrong in check_invariant(merge):
        yield _Finding(ExitCode.BUG, f"the merged counts do not add up: {wrong}")
    lacking = [agent.text for agent in completeness.agents if not agent.is_complete]
    for text in lacking[:_AGENTS_NAMED]:
        yield _Finding(ExitCode.INCOMPLETE, text)
    if (others := len(lacking) - _AGENTS_NAMED) > 0:
        text = f"{quantity(others, 'more agent')} did not deliver all data: see `agents` in summary.json"
        yield _Finding(ExitCode.INCOMPLETE, text)
    for agent in completeness.agents:
        if agent.is_complete and agent.note:
            yield _Finding(ExitCode.PASSED, agent.note)


def _find_in_validity(validity: Validity) -> Iterator[_Finding]:
    code = ExitCode.INVALID if validity.verdict == "invalid" else ExitCode.PASSED
    for reason in validity.reasons:
        yield _Finding(code, reason)


def _find_in_streams(streams: Mapping[str, MetricValidity]) -> Iterator[_Finding]:
    """Yield one remark for all metrics that share a verdict: ttft and ttft_due, or itl, icl and stall."""
    seen: set[str] = set()
    for metric, one in streams.items():
        judged_as = JUDGED_AS.get(metric, metric)
        if one.verdict != "valid" and judged_as not in seen:
            seen.add(judged_as)
            yield _Finding(ExitCode.PASSED, f"{one.reason}; {one.advice}")


def _find_in_slos(slos: tuple[SloResult, ...], *, needs_sure: bool) -> Iterator[_Finding]:
    for slo in slos:
        whose = f" of {slo.journey}" if slo.journey else ""
        if needs_sure and not slo.sure and slo.verdict != "inconclusive":
            yield _Finding(ExitCode.INCOMPLETE, f"SLO {slo.objective}{whose} {slo.verdict}, but {unsure_text(slo)}")
        elif slo.verdict == "failed":
            yield _Finding(ExitCode.FAILED, f"SLO {slo.objective}{whose} failed: {describe(slo)}")
        elif slo.verdict == "inconclusive":
            yield _Finding(ExitCode.INCOMPLETE, f"SLO {slo.objective}{whose} is inconclusive: {describe(slo)}")


def _find_in_steering(facts: Facts) -> Iterator[_Finding]:
    for verdict, text in facts.steered:
        yield _Finding(ExitCode.FAILED if verdict == "never met" else ExitCode.PASSED, text)


def _find_in_counts(merge: Merge, completeness: Completeness, *, was_stopped: bool) -> Iterator[_Finding]:
    counters = merge.counters()
    if faults := _script_faults(counters.script_faults, counters.iterations_finished):
        yield _Finding(ExitCode.USAGE, faults)
    if completeness.is_complete:  # otherwise the missing requests may have succeeded
        succeeded = counters.requests_finished - counters.requests_errors
        iterations_ok = counters.iterations_finished - counters.iterations_errors
        if counters.requests_finished and not succeeded:
            yield _Finding(ExitCode.FAILED, f"none of {format_count(counters.requests_finished)} requests succeeded")
        elif not counters.requests_finished and not iterations_ok and not was_stopped:
            yield _Finding(ExitCode.FAILED, "nothing was measured: no request and no iteration succeeded")
    started = counters.requests_started
    if started and (share := counters.requests_pool_limited / started) > POOL_LIMITED_ABOVE:
        yield _Finding(
            ExitCode.PASSED,
            f"{format_ratio(share)} of the requests are pool-limited: their iterations waited for a free user. The"
            " times of journeys include that wait, those of steps and requests do not. Add users (max_users)",
        )
