"""What a run comes to: completeness is proved, reasons are sentences, precedence is the table's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import pytest

from loadgen import maximum, total
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.errors import ExitCode, Fault
from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.load_counts import Ending
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective
from loadgen.measure.statistics.batch_means import Batches
from loadgen.profiles.profile import ArrivalProfile, IterationProfile, UserProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen_controller.core.events import End, Reason
from loadgen_controller.core.run_state import Former
from loadgen_controller.core.shares import Assignment, Candidate, joined, reassigned
from loadgen_controller.judging.iterations_due_by_plan import Basis, PlannedLoad
from loadgen_controller.judging.verdict import Facts, Verdict, judge, too_many_script_faults
from tests.support.recording import Recording

ASSIGNMENT = Assignment(("a", "b"), ("eu", "us"), (3.0, 1.0))
CANDIDATES = (Candidate("a", "eu", 1.0), Candidate("b", "us", 1.0), Candidate("c", "eu", 1.0))
P95 = Objective(kind="percentile", text="p(95) < 300ms", limit=300 * NS_PER_MS, q=95)
WINDOWED = Objective(
    kind="percentile",
    text='p(95, window="3s") < 300ms',
    limit=300 * NS_PER_MS,
    q=95,
    window_ns=3 * NS_PER_S,
    abort=True,
)
FINISHED = End(Reason.FINISHED, "every agent has finished and delivered")
PLAN = ArrivalProfile((Stage(40, 40, 10 * NS_PER_S),))


def recordings(seconds: Mapping[str, int] | None = None, **what: float | str) -> dict[str, Recording]:
    found = {agent: Recording(agent) for agent in ASSIGNMENT.agents}
    for agent, recording in found.items():
        for _ in range((seconds or {}).get(agent, 10)):
            recording.interval(30 if agent == "a" else 10, **what)  # type: ignore[arg-type]
    return found


def merged(found: Mapping[str, Recording]) -> Merge:
    merge = Merge()
    for recording in found.values():
        for delta in recording.deltas:
            merge.accept(ASSIGNMENT.region(delta.agent), delta)
    return merge


def facts(found: Mapping[str, Recording], *ends: End, without_fin: str = "") -> Facts:
    return Facts(
        ends=ends or (FINISHED,),
        objectives=(P95,),
        profile=PLAN,
        journeys=("shop",),
        assignment=ASSIGNMENT,
        epochs=dict.fromkeys(ASSIGNMENT.agents, 1),
        fins={agent: recording.fin() for agent, recording in found.items() if agent != without_fin},
        has_started=True,
        load_ns=10 * NS_PER_S,
    )


def verdict(found: Mapping[str, Recording], *ends: End, without_fin: str = "") -> Verdict:
    return judge(facts(found, *ends, without_fin=without_fin), merged(found))


def test_run_that_kept_its_slos_has_passed() -> None:
    found = verdict(recordings())
    assert (found.result, found.exit_code, found.reasons) == ("passed", ExitCode.PASSED, ())
    assert found.completeness.is_complete
    assert [slo.verdict for slo in found.slos] == ["passed"]


def test_run_that_broke_an_slo_has_failed_and_says_by_how_much() -> None:
    found = verdict(recordings(ms=400))
    assert (found.result, found.exit_code) == ("failed", ExitCode.FAILED)
    assert found.reasons[0].startswith("SLO p(95) < 300ms of shop failed: observed 400")
    assert found.reasons[0].endswith("of 400 that were due")


def windowed(found: Mapping[str, Recording], bad: Mapping[int, int], good: int = 20) -> tuple[Facts, Merge]:
    """Each agent tells of `good` in each of its intervals, and of `bad` by interval."""
    for recording in found.values():
        for k, delta in enumerate(recording.deltas):
            recording.deltas[k] = replace(delta, due=(DueCounts(0, "shop", k, good=good, bad=bad.get(k, 0)),))
    return replace(facts(found), objectives=(WINDOWED,)), merged(found)


def test_window_that_was_broken_is_told_in_a_sentence() -> None:
    found = judge(*windowed(recordings(), {4: 10}))
    assert (found.result, found.exit_code) == ("failed", ExitCode.FAILED)
    assert found.reasons == (
        'SLO p(95, window="3s") < 300ms of shop failed: worst window 0:02 to 0:05: 85.7 % of 140 ended ok within'
        " 300 ms (needs 95 %); 3 of 8 windows broke it",
    )
    assert (found.slos[0].budget, found.slos[0].windows_failed) == (2.8571, 3)


def test_windows_that_were_kept_pass() -> None:
    found = judge(*windowed(recordings(), {4: 1}))
    assert (found.result, found.reasons, found.slos[0].windows) == ("passed", (), 8)


def test_windows_begin_after_the_warm_up() -> None:
    said, merge = windowed(recordings(), {1: 20})
    assert judge(said, merge).result == "failed"
    assert judge(replace(said, warmup_ns=2 * NS_PER_S), merge).result == "passed"


def test_window_longer_than_the_run_decides_nothing() -> None:
    said, merge = windowed(recordings(), {})
    found = judge(replace(said, load_ns=2 * NS_PER_S), merge)
    assert (found.result, found.exit_code) == ("incomplete", ExitCode.INCOMPLETE)
    assert found.reasons == (
        'SLO p(95, window="3s") < 300ms of shop is inconclusive: the run ended before the first window of 3.00 s was'
        " full",
    )


def test_windows_of_too_few_decide_nothing_and_say_so() -> None:
    found = judge(*windowed(recordings(), {}, good=2))
    assert found.reasons[0].endswith("too few samples: a window of 3.00 s needs 20, the fullest has 12")


@pytest.mark.parametrize(("bad", "code"), [(0, ExitCode.INCOMPLETE), (8, ExitCode.INCOMPLETE), (11, ExitCode.FAILED)])
def test_window_that_lacks_an_agents_data_has_failed_only_if_those_could_not_have_saved_it(
    bad: int, code: ExitCode
) -> None:
    """Agent b has a quarter of the load, so a third of what was told is missing: 8 of 148 are 5.4 %, of 198 4.0 %."""
    recorded = recordings({"b": 3})
    said, _ = windowed(recorded, {})
    recorded["a"].deltas[6] = replace(recorded["a"].deltas[6], due=(DueCounts(0, "shop", 6, good=100, bad=bad),))
    lost = replace(said, lost={"b": "killed"}, fins={"a": said.fins["a"]})
    found = judge(lost, merged(recorded))
    assert found.exit_code is code
    assert any("agent b" in reason for reason in found.reasons)


def test_run_that_a_broken_objective_stopped_has_failed_and_says_so_first() -> None:
    why = 'stopped at 0:05: SLO p(95, window="3s") < 300ms of shop is broken'
    said, merge = windowed(recordings(), {4: 10})
    found = judge(replace(said, ends=(End(Reason.SLO_BREACHED, why), FINISHED)), merge)
    assert (found.result, found.exit_code, found.reasons[0]) == ("failed", ExitCode.FAILED, why)


def test_outage_is_a_failed_run_and_not_an_invalid_one() -> None:
    found = judge(*windowed(recordings(outcome="refused"), dict.fromkeys(range(10), 20), good=0))
    assert (found.result, found.exit_code, found.validity.verdict) == ("failed", ExitCode.FAILED, "valid")


def test_killed_agent_makes_the_run_incomplete_and_names_the_missing_seconds() -> None:
    recorded = recordings({"b": 6})
    found = judge(
        replace(facts(recorded, without_fin="b"), lost={"b": "its process exited with signal 9"}), merged(recorded)
    )
    assert (found.result, found.exit_code) == ("incomplete", ExitCode.INCOMPLETE)
    assert (
        found.reasons[0]
        == "agent b (us): no data from 6.0 s to 10.0 s (4.0 s, 10.0 % of the load): its process exited with signal 9"
    )
    assert found.completeness.missing_share == pytest.approx(0.1)
    assert [slo.verdict for slo in found.slos] == ["inconclusive"], "10 % are missing and 5 % may be bad"


def test_what_others_drive_is_not_missing() -> None:
    """Of an agent that was lost at 6 s and whose share others have from 8 s on, 2 s are missing."""
    recorded = recordings({"b": 6})
    lost = replace(facts(recorded, without_fin="b"), lost={"b": "silent for 10.0 s"})
    moved = replace(lost, assignment=reassigned(ASSIGNMENT, {"a"}, 8 * NS_PER_S))
    found = judge(moved, merged(recorded))
    assert found.exit_code is ExitCode.INCOMPLETE
    assert found.reasons[0] == (
        "agent b (us): no data from 6.0 s to 8.0 s (2.0 s, 5.00 % of the load): silent for 10.0 s;"
        " from 8.0 s on, other agents drove its share"
    )
    assert found.completeness.missing_share == pytest.approx(0.25 * 0.2)
    assert found.completeness.agents[0].is_complete


def test_what_nobody_takes_over_is_missing_to_the_end() -> None:
    recorded = recordings({"b": 6})
    users = UserProfile((Stage(10, 10, 10 * NS_PER_S),))
    lost = replace(facts(recorded, without_fin="b"), profile=users, stays=(True,))
    found = judge(replace(lost, assignment=reassigned(ASSIGNMENT, {"a"}, 8 * NS_PER_S)), merged(recorded))
    assert found.completeness.missing_share == pytest.approx(0.25 * 0.4)


def test_users_of_a_lost_agent_are_missing_in_its_gap_although_the_samples_of_users_found_none() -> None:
    """Agent b has a quarter of the users, and others drive them from 8 s on: 2 of 10 s of a quarter are missing."""
    recorded = recordings({"b": 6})
    users = UserProfile((Stage(10, 10, 10 * NS_PER_S),))
    basis = Basis((PlannedLoad("", 0, users, (1.0,)),), counting=())
    lost = replace(facts(recorded, without_fin="b"), profile=users, basis=basis, lost={"b": "silent for 10.0 s"})
    found = judge(replace(lost, assignment=reassigned(ASSIGNMENT, {"a"}, 8 * NS_PER_S)), merged(recorded))
    assert found.completeness.missing_share == pytest.approx(0.25 * 0.2)
    assert "no data from 6.0 s to 8.0 s (2.0 s, 5.00 % of the load)" in found.reasons[0]


def test_slo_that_the_missing_share_could_not_have_saved_has_failed() -> None:
    found = verdict(recordings({"b": 6}, ms=400), without_fin="b")
    assert found.exit_code is ExitCode.FAILED
    assert any("agent b" in reason for reason in found.reasons), "all reasons are listed"


def test_missing_share_is_that_of_the_planned_load_not_of_the_time() -> None:
    recorded = recordings({"b": 5})
    ramp = ArrivalProfile((Stage(0, 80, 10 * NS_PER_S),))
    found = judge(replace(facts(recorded, without_fin="b"), profile=ramp), merged(recorded))
    assert found.completeness.missing_share == pytest.approx(0.25 * 0.75)
    users = UserProfile((Stage(10, 10, 10 * NS_PER_S),))
    found = judge(replace(facts(recorded, without_fin="b"), profile=users), merged(recorded))
    assert found.completeness.missing_share == pytest.approx(0.25 * 0.5)


def test_an_agent_that_was_to_have_a_share_after_the_end_owes_nothing() -> None:
    found = recordings()
    late = joined(ASSIGNMENT, {"eu": 3.0, "us": 1.0}, CANDIDATES, ["c"], 12 * NS_PER_S)

    result = judge(replace(facts(found), assignment=late, epochs={"a": 1, "b": 1, "c": 1}), merged(found))

    assert result.exit_code is ExitCode.PASSED, result.reasons


def test_missing_share_of_a_counted_load_is_what_was_never_done() -> None:
    recorded = recordings({"b": 5})
    counted = replace(facts(recorded, without_fin="b"), profile=IterationProfile(400, 4), load_ns=None)
    found = judge(counted, merged(recorded)).completeness
    assert found.missing_share == pytest.approx(0.25 - 50 / 400)
    assert found.agents[1].missing_s == 5.0


def test_agent_that_never_sent_anything_misses_its_whole_share() -> None:
    found = verdict(recordings({"b": 0}), without_fin="b").completeness
    assert (found.agents[1].missing_s, found.missing_share) == (10.0, 0.25)


def lost(recorded: Mapping[str, Recording], loss: Loss) -> None:
    deltas = recorded["b"].deltas
    deltas[-1] = replace(deltas[-1], losses=(loss,))


LOSS = Loss(1, 2, 4_500_000_000, 4 * NS_PER_S, 6 * NS_PER_S, 0, "worker 1 was killed by SIGKILL")


def test_worker_that_died_makes_the_run_incomplete_with_its_part_of_the_agents_share() -> None:
    recorded = recordings()
    lost(recorded, LOSS)
    found = verdict(recorded)
    assert (found.result, found.exit_code) == ("incomplete", ExitCode.INCOMPLETE)
    assert found.reasons[0] == (
        "agent b (us): worker 1 was killed by SIGKILL at 4.5 s; another process goes on with its share from 6.0 s;"
        " what worker 1 did after 4.0 s is unknown (2.50 % of the load)"
    )
    assert found.completeness.missing_share == pytest.approx(0.25 / 2 * 0.2)
    assert found.completeness.agents[1].missing_s == pytest.approx(1.0)
    assert [slo.verdict for slo in found.slos] == ["inconclusive"]


def test_worker_that_died_and_was_not_replaced_misses_its_part_to_the_end() -> None:
    recorded = recordings()
    lost(recorded, replace(LOSS, resumed_ns=NOBODY, in_flight=3))
    found = verdict(recorded)
    assert found.completeness.missing_share == pytest.approx(0.25 / 2 * 0.6)
    assert "and how its 3 iterations in flight ended, is unknown" in found.reasons[0]
    recorded = recordings()
    lost(recorded, replace(LOSS, left_out="the users of the load: their rows must not be used again"))
    assert verdict(recorded).completeness.missing_share == pytest.approx(0.25 / 2 * 0.6)


def test_worker_that_died_when_nothing_was_planned_and_nothing_in_flight_has_lost_nothing() -> None:
    recorded = recordings()
    lost(recorded, LOSS)
    pause = ArrivalProfile((Stage(80, 80, 4 * NS_PER_S), Stage(0, 0, 3 * NS_PER_S), Stage(80, 80, 3 * NS_PER_S)))
    found = judge(replace(facts(recorded), profile=pause), merged(recorded))
    assert found.result == "passed"
    assert "worker 1 was killed by SIGKILL at 4.5 s" in found.reasons[0], "said all the same"
    lost(recorded, replace(LOSS, in_flight=1))
    assert judge(replace(facts(recorded), profile=pause), merged(recorded)).result == "incomplete"
    lost(recorded, LOSS)
    counted = replace(facts(recorded), profile=IterationProfile(400, 4), load_ns=None)
    assert judge(counted, merged(recorded)).result == "incomplete", "of a counted load nothing can be proved"
    lost(recorded, replace(LOSS, died_ns=0, told_ns=0, resumed_ns=0))
    assert judge(counted, merged(recorded)).result == "passed", "it had begun nothing"
    lost(recorded, replace(LOSS, died_ns=0, told_ns=0, resumed_ns=NS_PER_S))
    assert verdict(recorded).result == "incomplete", "of what was due in the first second nobody drove its part"


def test_iterations_whose_end_was_never_told_are_missing() -> None:
    recorded = recordings()
    recorded["b"].interval(0, open_ended=4)
    found = verdict(recorded, without_fin="b").completeness
    assert not found.is_complete
    assert found.agents[1].missing_s == 0
    assert found.missing_share == pytest.approx(4 / 400)
    assert found.agents[1].text == "agent b (us): it never reported that it had finished"


def test_of_a_large_fleet_without_data_ten_agents_are_named_and_the_others_counted() -> None:
    agents = tuple(f"a{n:03}" for n in range(1_000))
    assignment = Assignment(agents, ("eu",) * 1_000, (1.0,) * 1_000)
    large = replace(facts({}), assignment=assignment, epochs=dict.fromkeys(agents, 1))
    found = judge(large, merged({}))
    assert found.exit_code is ExitCode.INCOMPLETE
    lacking = [reason for reason in found.reasons if reason.startswith("agent ")]
    assert [reason.split()[1] for reason in lacking] == [f"a{n:03}" for n in range(10)]
    assert "990 more agents did not deliver all data: see `agents` in summary.json" in found.reasons
    assert len(found.completeness.agents) == 1_000
    assert sum(map(len, found.reasons)) < 3_000


def test_agent_whose_last_delta_is_missing_is_incomplete() -> None:
    recorded = recordings()
    said = facts(recorded)
    recorded["b"].deltas.pop()
    found = judge(said, merged(recorded))
    assert found.exit_code is ExitCode.INCOMPLETE
    assert "9 of 10 deltas were merged" in found.reasons[0]


def test_agent_whose_totals_differ_is_incomplete_although_all_deltas_are_here() -> None:
    recorded = recordings()
    said = facts(recorded)
    fin = said.fins["a"]
    said.fins["a"] = replace(fin, totals=replace(fin.totals, requests_finished=301), recorded=fin.recorded + 1)
    found = judge(said, merged(recorded))
    assert found.exit_code is ExitCode.INCOMPLETE
    assert "requests_finished 301 reported and 300 merged" in found.reasons[0]
    assert "values" in found.reasons[0]


def test_agent_that_finished_in_another_epoch_is_incomplete() -> None:
    recorded = recordings()
    said = facts(recorded)
    said.fins["a"] = replace(said.fins["a"], epoch=2)
    assert judge(said, merged(recorded)).exit_code is ExitCode.INCOMPLETE


def test_agent_that_ended_early_did_not_do_its_share() -> None:
    recorded = recordings({"b": 6})
    said = facts(recorded)
    said.fins["b"] = recorded["b"].fin("the worker was killed")
    found = judge(said, merged(recorded))
    assert found.exit_code is ExitCode.INCOMPLETE
    assert found.reasons[0].endswith("10.0 % of the load): it ended early: the worker was killed")


def leaving(at_ns: int, *, moved_ns: int | None = None, stays: bool = False) -> Verdict:
    """Of 10 s agent b did 6, and said that it left at `at_ns`; others have its share from `moved_ns` on."""
    recorded = recordings({"b": 6})
    said = facts(recorded)
    said.fins["b"] = recorded["b"].fin("SIGTERM")
    assert said.assignment is not None
    if moved_ns is not None:
        others = [agent for agent in said.assignment.agents if agent != "b"]
        said = replace(said, assignment=reassigned(said.assignment, others, moved_ns))
    return judge(replace(said, left={"b": at_ns}, stays=(stays,)), merged(recorded))


def test_agent_that_left_when_it_had_said_and_whose_share_others_had_from_then_on_is_complete() -> None:
    found = leaving(6 * NS_PER_S, moved_ns=6 * NS_PER_S)
    assert found.completeness.is_complete
    (b,) = [one for one in found.completeness.agents if one.agent == "b"]
    assert b.note.endswith("it left (SIGTERM), and other agents drove its share from 6.0 s on")
    assert b.note in found.reasons


@pytest.mark.parametrize(
    ("at_s", "moved_s", "stays"),
    [(6, None, False), (6, 7, False), (7, 7, False), (6, 6, True)],
    ids=["nobody had its share", "others had it a second later", "it did not stay so long", "nobody can have it"],
)
def test_agent_that_left_without_that_is_incomplete(at_s: int, moved_s: int | None, stays: bool) -> None:
    found = leaving(at_s * NS_PER_S, moved_ns=None if moved_s is None else moved_s * NS_PER_S, stays=stays)
    assert found.exit_code is ExitCode.INCOMPLETE
    assert "it ended early: SIGTERM" in found.reasons[0]


@pytest.mark.parametrize(("unfit", "result"), [(0, "valid"), (1, "valid"), (2, "suspect"), (3, "invalid")])
def test_unfit_seconds_decide_validity(unfit: int, result: str) -> None:
    found = {agent: Recording(agent) for agent in ASSIGNMENT.agents}
    for recording in found.values():
        for k in range(10):
            recording.interval(10, unfit="lag p99 31 ms is above 2.00 ms" if k < unfit else "")
    judged = verdict(found)
    assert judged.validity.verdict == result
    assert judged.exit_code is (ExitCode.INVALID if result == "invalid" else ExitCode.PASSED)
    assert bool(judged.reasons) == bool(unfit)
    if unfit == 3:
        cause = "agent a has too much load for one core: lag p99 31 ms is above 2.00 ms"
        assert judged.reasons[0].startswith(f"{cause}, so times cannot be judged; ")
        figures = "unfit to measure in 3 of 10 intervals (30.0 %, 0 to 3 s): lag p99 31 ms is above 2.00 ms"
        assert [figures in reason for reason in judged.reasons] == [False, False, True, True]


@pytest.mark.parametrize(("unfit", "result"), [(1, "valid"), (2, "suspect"), (3, "invalid")])
def test_one_unfit_second_of_a_short_run_is_chance_and_three_are_not(unfit: int, result: str) -> None:
    found = {agent: Recording(agent) for agent in ASSIGNMENT.agents}
    for recording in found.values():
        for k in range(3):
            recording.interval(10, unfit="lag" if k < unfit else "")
    judged = verdict(found)
    assert judged.validity.verdict == result
    assert judged.reasons  # said all the same


def test_unfit_agent_weighs_as_much_as_its_share() -> None:
    found = recordings({"b": 0})
    for _ in range(10):
        found["b"].interval(10, unfit="lag")
    validity = verdict(found).validity
    assert (validity.verdict, validity.unfit_share) == ("invalid", 0.25)


def test_run_in_which_no_request_succeeded_has_failed_without_any_slo() -> None:
    recorded = recordings(outcome="refused")
    found = judge(replace(facts(recorded), objectives=()), merged(recorded))
    assert (found.exit_code, found.reasons) == (ExitCode.FAILED, ("none of 400 requests succeeded",))


def test_run_that_measured_nothing_has_failed() -> None:
    recorded = {agent: Recording(agent) for agent in ASSIGNMENT.agents}
    found = judge(replace(facts(recorded), objectives=()), merged(recorded))
    assert found.exit_code is ExitCode.FAILED


def test_slo_without_data_never_passes() -> None:
    recorded = recordings()
    found = judge(replace(facts(recorded), journeys=("shop", "search")), merged(recorded))
    assert found.exit_code is ExitCode.INCOMPLETE
    assert found.reasons == ("SLO p(95) < 300ms of search is inconclusive: there are no data for it",)


def test_pool_limited_run_says_add_users_and_still_passes() -> None:
    found = verdict(recordings(pool_limited=1))
    assert found.exit_code is ExitCode.PASSED
    assert "Add users" in found.reasons[0]


def sure_verdict(found: Mapping[str, Recording], *, needs_sure: bool) -> Verdict:
    """The verdict with the intervals of a finished run."""
    batches = Batches(0, 10 * NS_PER_S)
    for recording in found.values():
        for delta in recording.deltas:
            batches.accept(ASSIGNMENT.region(delta.agent), delta)
    return judge(replace(facts(found), needs_sure=needs_sure), merged(found), batches)


def one_slow_second() -> dict[str, Recording]:
    """10 of 400 iterations are slow, 2.5 %, all in one second: too clustered for a sure p(95)."""
    found = {agent: Recording(agent) for agent in ASSIGNMENT.agents}
    for agent, recording in found.items():
        for k in range(10):
            recording.interval(30 if agent == "a" else 10, ms=400 if (agent, k) == ("b", 4) else 20)
    return found


def test_unsure_objective_passes_unless_the_run_needs_sure_ones() -> None:
    found = sure_verdict(one_slow_second(), needs_sure=False)
    assert (found.exit_code, found.slos[0].verdict, found.slos[0].sure) == (ExitCode.PASSED, "passed", False)
    found = sure_verdict(one_slow_second(), needs_sure=True)
    assert (found.result, found.exit_code, found.slos[0].verdict) == ("incomplete", ExitCode.INCOMPLETE, "passed")
    assert found.reasons[0].startswith("SLO p(95) < 300ms of shop passed, but not surely: with 95 % confidence 0")
    assert found.reasons[0].endswith(" are bad, and 5 % is allowed. Run longer, or at a higher rate")


def test_sure_objectives_keep_their_verdict_when_the_run_needs_sure_ones() -> None:
    assert sure_verdict(recordings(), needs_sure=True).exit_code is ExitCode.PASSED
    assert sure_verdict(recordings(ms=400), needs_sure=True).exit_code is ExitCode.FAILED


def test_without_intervals_no_objective_is_sure() -> None:
    found = judge(replace(facts(recordings()), needs_sure=True), merged(recordings()))
    assert found.exit_code is ExitCode.INCOMPLETE
    assert "the interval of its bad share is unknown" in found.reasons[0]


def test_script_faults_are_the_scenarios_fault() -> None:
    recorded = recordings(script_faults=1)
    found = verdict(recorded)
    assert (found.result, found.exit_code) == ("error", ExitCode.USAGE)
    assert found.reasons[0] == "the scenario itself raised in 20 of 400 iterations (5.00 %, more than 0.10 %)"
    assert too_many_script_faults(merged(recorded)) == found.reasons[0]
    assert too_many_script_faults(merged(recordings({"a": 5, "b": 4}, script_faults=1))) == ""


def test_interrupted_run_is_judged_by_what_it_measured() -> None:
    stopped = End(Reason.STOPPED, "interrupted")
    assert verdict(recordings(), stopped).result == "interrupted"
    assert verdict(recordings(), stopped).exit_code is ExitCode.INTERRUPTED
    assert verdict(recordings(ms=400), stopped).exit_code is ExitCode.FAILED


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (End(Reason.TOO_FEW_AGENTS, "0 of 2 agents joined"), ExitCode.FLEET),
        (End(Reason.NOT_READY, "not ready: b"), ExitCode.FLEET),
        (End(Reason.REFUSED, "agent b cannot take part: bundle"), ExitCode.FLEET),
        (End(Reason.REFUSED, "agent b", ("b",), (Fault("s.py", 3, "no module named x"),)), ExitCode.USAGE),
        (End(Reason.SET_UP_FAILED, "set-up failed"), ExitCode.USAGE),
        (End(Reason.STOPPED, "interrupted"), ExitCode.INTERRUPTED),
        (End(Reason.STORAGE_FAILED, "no space left"), ExitCode.FLEET),
    ],
)
def test_run_that_never_started_ends_with_its_reason(end: End, code: ExitCode) -> None:
    found = judge(Facts((end,), (P95,), PLAN), Merge())
    assert (found.exit_code, found.reasons[0], found.slos) == (code, end.detail, ())


def test_every_reason_to_end_has_an_exit_code() -> None:
    for reason in Reason:
        found = judge(Facts((End(reason, "text"),), (), PLAN), Merge())
        assert (found.exit_code is ExitCode.PASSED) is (reason in (Reason.FINISHED, Reason.SATURATED))
        assert found.reasons == (() if reason is Reason.FINISHED else ("text",))


def test_the_gravest_finding_decides_and_all_are_listed() -> None:
    recorded = recordings({"b": 6}, ms=400, unfit="lag")
    ends = (End(Reason.STOPPED, "interrupted"), End(Reason.STORAGE_FAILED, "no space left"))
    said = replace(facts(recorded, *ends, without_fin="b"), bug="IllegalTransition")
    found = judge(said, merged(recorded))
    assert found.exit_code is ExitCode.BUG
    kinds = ["IllegalTransition", "no space left", "too much", "too much", "unfit", "unfit"]
    kinds += ["SLO", "agent b", "interrupted"]
    assert [kind in reason for kind, reason in zip(kinds, found.reasons, strict=True)] == [True] * 9


def test_counts_that_do_not_add_up_are_our_bug() -> None:
    recorded = recordings()
    recorded["a"].deltas[-1].counters.requests_finished += 1
    found = verdict(recorded)
    assert (found.result, found.exit_code) == ("error", ExitCode.BUG)


def test_facts_go_through_json_unchanged() -> None:
    recorded = recordings({"b": 6})
    said = facts(recorded, End(Reason.REFUSED, "no", ("b",), (Fault("s.py", 3, "x"),)), without_fin="b")
    assert msgspec.json.decode(msgspec.json.encode(said), type=Facts) == said


def test_an_end_without_a_reason_is_a_fault_of_ours() -> None:
    found = recordings()
    said = replace(facts(found), basis=Basis((), counting=("a",)))
    fins = {agent: replace(fin, ending=Ending.UNSAID) for agent, fin in said.fins.items()}
    judged = judge(replace(said, fins=fins), merged(found))
    assert judged.exit_code is ExitCode.BUG
    assert judged.reasons[0].startswith("agent a ended its load without a reason: this is a fault of loadgen")
    older = replace(said, fins=fins, basis=Basis((), counting=()))
    assert judge(older, merged(found)).exit_code is ExitCode.PASSED


def test_requests_over_the_cap_make_a_run_incomplete() -> None:
    found = recordings()
    merge = merged(found)
    merge.custom.add("us", "b", [CustomStats("cap: requests not started", "counter", 14, 14)])
    judged = judge(facts(found), merge)
    assert judged.exit_code is ExitCode.INCOMPLETE
    assert judged.reasons[0] == "agent b (us): 14 requests were not sent: over the cap of the allow-list"
    assert judged.completeness.missing_share == pytest.approx(14 / 114 * 0.25)


def test_an_earlier_process_of_an_agent_is_accounted_for_by_its_own_epoch() -> None:
    found = recordings()
    whole = facts(found)
    again = Recording("b", epoch=2)
    for _ in range(4):
        again.interval(10)
    gone = replace(whole.fins["b"], last_seq=9)
    judged = judge(
        replace(
            whole,
            epochs={"a": 1, "b": 2},
            fins={**whole.fins, "b": again.fin()},
            former={"b": (Former(1, None),)},
        ),
        merged({**found, "again": again}),
    )
    assert judged.exit_code is ExitCode.INCOMPLETE
    assert "agent b (us): its earlier process: it never reported that it had finished" in judged.reasons[0]
    judged = judge(
        replace(
            whole,
            epochs={"a": 1, "b": 2},
            fins={**whole.fins, "b": again.fin()},
            former={"b": (Former(1, gone),)},
        ),
        merged({**found, "again": again}),
    )
    assert judged.completeness.is_complete


def test_run_that_needs_sure_objectives_accepts_facts_and_no_maximum() -> None:
    def found(slo: Slo) -> Verdict:
        assert slo.objective is not None
        recorded = recordings()
        batches = Batches(0, 10 * NS_PER_S, objectives=[slo.objective])
        for recording in recorded.values():
            for delta in recording.deltas:
                batches.accept(ASSIGNMENT.region(delta.agent), delta)
        given = replace(facts(recorded), needs_sure=True, objectives=(slo.objective,))
        return judge(given, merged(recorded), batches)

    assert found(total("iterations") > 100).exit_code is ExitCode.PASSED
    assert found(maximum() < "1ms").exit_code is ExitCode.FAILED
    passed = found(maximum() < "1s")
    assert (passed.result, passed.exit_code, passed.slos[0].verdict) == ("incomplete", ExitCode.INCOMPLETE, "passed")
    assert passed.reasons[0] == (
        "SLO maximum() < 1s of shop passed, but not surely: a longer run may have a larger maximum. Limit a percentile,"
        " such as p(99.9)"
    )
