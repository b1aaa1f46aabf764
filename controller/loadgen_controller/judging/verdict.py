"""What a run came to: complete? valid? SLOs kept? One result, one exit code, all reasons in plain sentences.

Pure, and derived from what the run folder holds and nothing else: the merged
deltas and the `Facts`, which the conductor writes into `events.jsonl`. So
`reread.py` comes to the same verdict from the folder alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from loadgen.dsl.plans.spec import highest_sum
from loadgen.dsl.users.worker_counters import HELD_BACK
from loadgen.errors import EXIT_PRECEDENCE, ExitCode
from loadgen.measure.deltas.load_counts import Ending
from loadgen.measure.merging.merge import Merge, check_invariant
from loadgen.measure.objectives.objective import Objective, SloResult, describe, evaluate_all
from loadgen.profiles.profile import OpenProfile, Profile
from loadgen.units import format_count, format_ratio
from loadgen.wire.messages import Fin
from loadgen_controller.core.events import End, Reason
from loadgen_controller.core.run_record import Former
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.against_plan import Against, compare_with_plan
from loadgen_controller.judging.completeness import Completeness, Loads, account
from loadgen_controller.judging.gaps import gaps_of
from loadgen_controller.judging.plan_due import Basis
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
SCRIPT_FAULTS_ABOVE = 0.001
_FAULTS_TO_STOP = 10
"""During a run, fewer are no reason to stop: one in the first hundred iterations is no rate yet."""

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
    Reason.SLO_BREACHED: ExitCode.FAILED,
    Reason.ERROR_FUSE: ExitCode.FAILED,
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
    """What a verdict needs beside the deltas. Goes through JSON unchanged."""

    ends: tuple[End, ...]
    objectives: tuple[Objective, ...]
    profile: Profile
    """Of the plan's first load."""
    journeys: tuple[str, ...] = ()
    """Of the plan: one without data passes no objective."""
    assignment: Assignment | None = None
    """None: it ended before anybody had a share."""
    epochs: dict[str, int] = field(default_factory=dict)
    fins: dict[str, Fin] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    """Why each lost agent is lost."""
    has_started: bool = False
    load_ns: int | None = None
    """From T0 to the end of the load as planned, or as it was stopped; None: ended by count."""
    warmup_ns: int = 0
    """From T0 to the end of the warm-up, stated or found: windows of objectives begin after it."""
    warmup_found: str = ""
    """Why the warm-up was cut there, where it was to be found; empty: the plan stated it."""
    bug: str = ""
    """Not empty: we went wrong, and how."""
    first_ns: int = 0
    """When the first load begins, from T0."""
    steered: tuple[tuple[str, str], ...] = ()
    """What each steered load came to: the verdict of its finding, and a sentence."""
    stays: tuple[bool, ...] = ()
    """Of each load, whether what an agent has of it is nobody else's, whatever becomes of the agent."""
    more_loads: tuple[tuple[int, Profile], ...] = ()
    """Of each further load, when it begins (ns from T0) and its profile."""
    left: dict[str, int] = field(default_factory=dict)
    """Who left by itself, and from when on (ns after T0) it said that it began nothing."""
    former: dict[str, tuple[Former, ...]] = field(default_factory=dict)
    """Earlier processes of agents that were restarted under their name and got a share again."""
    basis: Basis | None = None
    """The plan and its changes, to hold the agents' counts against. None: a folder of before that was kept."""

    @property
    def loads(self) -> Loads:
        return ((self.first_ns, self.profile), *self.more_loads)


@dataclass(frozen=True, slots=True)
class Verdict:
    result: Outcome
    exit_code: ExitCode
    reasons: tuple[str, ...]
    """Most severe first; also what has no bearing on the exit code but must be known."""
    validity: Validity
    completeness: Completeness
    slos: tuple[SloResult, ...]


@dataclass(frozen=True, slots=True)
class _Finding:
    code: ExitCode
    """PASSED: only to be known."""
    text: str


def judge(facts: Facts, merge: Merge) -> Verdict:
    """The verdict on a run that is over."""
    completeness, validity = Completeness(()), Validity()
    slos: tuple[SloResult, ...] = ()
    findings = [*_of_ends(facts)]
    if facts.has_started and facts.assignment is not None:
        against = None
        if facts.basis is not None:
            against = compare_with_plan(facts.basis, facts.assignment, merge, facts.load_ns)
            findings += _of_plan(facts, facts.basis, against)
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
        validity = judge_fitness(facts.assignment, merge, _planned_per_s(facts.loads))
        slos = _slos(facts, merge, completeness)
        findings += _of_data(completeness, merge)
        findings += _of_validity(validity)
        findings += _of_slos(slos)
        findings += _of_steering(facts)
        findings += _of_counts(merge, completeness, was_stopped=any(e.reason is Reason.STOPPED for e in facts.ends))
    order = (*EXIT_PRECEDENCE, ExitCode.PASSED)
    findings.sort(key=lambda finding: order.index(finding.code))  # stable: within a code as found
    code = findings[0].code if findings else ExitCode.PASSED
    reasons = tuple(dict.fromkeys(finding.text for finding in findings))
    return Verdict(_RESULTS.get(code, "error"), code, reasons, validity, completeness, slos)


def _of_plan(facts: Facts, basis: Basis, against: Against) -> Iterator[_Finding]:
    for text in against.fleet:
        yield _Finding(ExitCode.INCOMPLETE, f"the run does not add up to its plan: {text}")
    for agent in basis.counting:
        fin = facts.fins.get(agent)
        if fin is not None and fin.ending is Ending.UNSAID:
            yield _Finding(
                ExitCode.BUG,
                f"agent {agent} ended its load without a reason: this is a fault of loadgen; please report it with the"
                " run's events.jsonl",
            )


def _held_back(merge: Merge) -> dict[str, int]:
    """Requests of each agent that the cap of the allow-list did not let start."""
    return {agent: stats.total for _, agent, stats in merge.custom.state() if stats.name == HELD_BACK and stats.total}


def _planned_per_s(loads: Loads) -> float | None:
    """The highest rate of iterations that was planned; None where no load is open."""
    return highest_sum((at, profile) for at, profile in loads if isinstance(profile, OpenProfile)) or None


def too_many_script_faults(merge: Merge) -> str:
    """Why the run should be stopped as a fault of the scenario; empty while it should not."""
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
    told_ns = [stop_ns for agent in merge.agents() for epoch in merge.epochs(agent) for _, stop_ns in epoch.spans]
    end_ns = facts.load_ns if facts.load_ns is not None else max(told_ns, default=0)
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


def _of_ends(facts: Facts) -> Iterator[_Finding]:
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


def _of_data(completeness: Completeness, merge: Merge) -> Iterator[_Finding]:
    for wrong in check_invariant(merge):
        yield _Finding(ExitCode.BUG, f"the merged counts do not add up: {wrong}")
    for agent in completeness.agents:
        if not agent.is_complete:
            yield _Finding(ExitCode.INCOMPLETE, agent.text)
        elif agent.note:
            yield _Finding(ExitCode.PASSED, agent.note)


def _of_validity(validity: Validity) -> Iterator[_Finding]:
    code = ExitCode.INVALID if validity.verdict == "invalid" else ExitCode.PASSED
    for reason in validity.reasons:
        yield _Finding(code, reason)


def _of_slos(slos: tuple[SloResult, ...]) -> Iterator[_Finding]:
    for slo in slos:
        whose = f" of {slo.journey}" if slo.journey else ""
        if slo.verdict == "failed":
            yield _Finding(ExitCode.FAILED, f"SLO {slo.objective}{whose} failed: {describe(slo)}")
        elif slo.verdict == "inconclusive":
            yield _Finding(ExitCode.INCOMPLETE, f"SLO {slo.objective}{whose} is inconclusive: {describe(slo)}")


def _of_steering(facts: Facts) -> Iterator[_Finding]:
    for verdict, text in facts.steered:
        yield _Finding(ExitCode.FAILED if verdict == "never met" else ExitCode.PASSED, text)


def _of_counts(merge: Merge, completeness: Completeness, *, was_stopped: bool) -> Iterator[_Finding]:
    counters = merge.counters()
    if faults := _script_faults(counters.script_faults, counters.iterations_finished):
        yield _Finding(ExitCode.USAGE, faults)
    if completeness.is_complete:  # otherwise what is missing may have succeeded
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
            f"{format_ratio(share)} of the requests are pool-limited: iterations waited for a free user, so these"
            " request times are not the target's alone; add users (max_users)",
        )
