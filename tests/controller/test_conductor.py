"""A run over real sockets, with agents by script and a clock that jumps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.engine.health.interpreter import this_build
from loadgen.errors import ExitCode, Fault, FleetError, StorageError, UsageError
from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.profiles.edits import PAUSE
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage as LoadStage
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode, encode
from loadgen.wire.curve_keys import AgentKeys, KeyPair
from loadgen.wire.messages import (
    PROTOCOL_MINOR,
    Ack,
    Adjust,
    BundleRequest,
    Bye,
    ClockPing,
    ClockPong,
    Delta,
    Heartbeat,
    Prepare,
    Ready,
    Reassign,
    Refused,
    Rejected,
    ReleaseAt,
    SetUp,
    SetUpDone,
    StartAt,
    Stop,
    TearDown,
    TornDown,
    Waiting,
    WaitingAt,
)
from loadgen_controller.core.events import AgentLost
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.core.load_change_messages import LoadChange
from loadgen_controller.core.rendezvous import AGAIN_NS, LEAD_NS
from loadgen_controller.core.run_state import Former
from loadgen_controller.judging.verdict import Facts
from loadgen_controller.run.conductor import Result
from loadgen_controller.run.finish import Sealed, seal
from loadgen_controller.run.rejudge import reread
from loadgen_controller.run.view import PointView
from tests.controller.conftest import BUNDLE, Play, lapse, ticked
from tests.support.fake_agent import FakeAgent
from tests.support.wire import until

Stage = Callable[..., Play]


def events(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in (result.run_dir / "events.jsonl").read_text().splitlines()]


async def finish(*agents: FakeAgent, seconds: int = 3, **what: object) -> None:
    for agent in agents:
        for _ in range(seconds - len(agent.recording.deltas)):
            agent.recording.interval(**what)  # type: ignore[arg-type]
        await agent.deliver()
        await agent.finish()


# -- the load is changed --------------------------------------------------------------------------


async def test_a_change_goes_to_all_agents_ahead_of_its_time_and_moves_the_end(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    (made,) = play.conductor.adjust(LoadChange("scale", factor=2, by="root, process 1"))
    told = await asyncio.gather(a.next(Adjust), b.next(Adjust))
    assert told[0] == told[1]
    assert (told[0].number, told[0].load, told[0].at_ns) == (1, 0, made.at_ns)
    assert told[0].stages == (LoadStage(40, 40, 3 * NS_PER_S - made.at_ns),)
    (paused,) = play.conductor.adjust(LoadChange("pause"))
    assert (await a.next(Adjust)).stages == (PAUSE,)
    play.clock.jump(100)
    await ticked(play)
    assert play.conductor.view().is_paused
    assert play.conductor.view().phase is Phase.RUNNING  # far beyond the end that was planned
    (resumed,) = play.conductor.adjust(LoadChange("resume"))
    again = await a.next(Adjust)
    assert (again.number, again.stages) == (3, (LoadStage(40, 40, 3 * NS_PER_S - paused.at_ns),))
    assert play.conductor.view().spec.duration_ns == resumed.at_ns + 3 * NS_PER_S - paused.at_ns == resumed.end_ns
    await finish(a, b)
    result = await play.result()
    rows = result.summary["adjustments"]
    assert isinstance(rows, list)
    assert [(row["kind"], row["was"], row["now"]) for row in rows] == [
        ("scale", "20/s", "40/s"),
        ("pause", "40/s", "paused"),
        ("resume", "paused", "40/s"),
    ]
    assert rows[0]["by"] == "root, process 1"
    kinds = [e["adjustment"]["kind"] for e in events(result) if e["kind"] == "adjusted"]  # type: ignore[index]
    assert kinds == ["scale", "pause", "resume"]
    assert reread(RunDir.open(result.run_dir)).exit_code == result.exit_code


async def test_what_agents_had_that_are_gone_at_once_is_shared_out_at_once(stage: Stage) -> None:
    play = stage(regions={"eu": 0.5, "us": 0.25, "ap": 0.25})
    agents = [play.agent(name, region) for name, region in (("a", "eu"), ("b", "us"), ("c", "ap"))]
    await asyncio.gather(*(agent.start() for agent in agents))
    play.clock.jump(1)
    await until(lambda: play.conductor.run.phase is Phase.RUNNING)
    for gone in "ab":
        play.conductor.apply(AgentLost(gone, "it went away"))
    c = agents[2]
    assert (await c.next(Reassign)).weights == (0, 0, 1)
    play.conductor.request_stop("enough", now=True)
    await c.next(Stop)
    assert not [message for message in c.heard if isinstance(message, Reassign)]
    await c.finish()
    shared_out = [event["cause"] for event in events(await play.result()) if event["kind"] == "reassigned"]
    assert shared_out == ["a, b"]


async def test_an_agent_that_missed_a_change_hears_it_again_and_the_others_do_not(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    for factor in (2.0, 3.0):
        play.conductor.adjust(LoadChange("scale", factor=factor))
        for agent in (a, b):
            await agent.next(Adjust)
    await asyncio.gather(a.beat(adjusted=2), b.beat(adjusted=1))
    await b.send(ClockPing(1))
    await b.next(ClockPong)
    assert not [message for message in b.heard if isinstance(message, Adjust)], "it may be on its way"
    play.clock.jump(1)
    await asyncio.gather(a.beat(adjusted=2), b.beat(adjusted=1))
    assert (await b.next(Adjust)).number == 2
    await a.send(ClockPing(1))
    await a.next(ClockPong)
    assert not [message for message in a.heard if isinstance(message, Adjust)]


async def test_the_manifest_has_the_busy_wait_that_each_agent_measured(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    a.busy_wait_ns = 52_300  # b is an agent of an older version, which reports none

    await asyncio.gather(a.start(), b.start())

    folder = RunDir.open(play.conductor.run_dir)

    def waits_us() -> dict[str, float]:
        agents: Any = folder.read_manifest()["agents"]
        return {one["id"]: one["busy_wait_us"] for one in agents}

    await until(lambda: waits_us() == {"a": 52.3, "b": 0})


async def test_what_is_changed_before_the_start_is_told_before_it(stage: Stage) -> None:
    play = stage(has_set_up=True)
    a, b = play.pair()
    await asyncio.gather(a.get_ready(), b.get_ready())
    await a.next(SetUp)
    assert play.conductor.adjust(LoadChange("pause"))[0].at_ns == 0
    await a.send(SetUpDone(play.conductor.run_id, b"1"))
    await b.next(StartAt)
    kinds = [type(message) for message in b.heard]
    assert kinds == [Adjust]  # heard, and before the start, which was taken out
    await a.next(StartAt)
    await a.beat("ready")
    await a.next(StartAt)  # what may have been lost is said again, with what was changed before it
    assert [m.number for m in a.heard if isinstance(m, Adjust)] == [1, 1]


async def test_no_change_leads_above_what_the_allow_list_admits(stage: Stage) -> None:
    play = stage()
    limits = Limits(max_requests_per_s=30, max_duration_ns=4 * NS_PER_S)
    play.conductor._order = replace(play.conductor._order, limits=limits)
    a, b = await play.started()
    with pytest.raises(UsageError, match=r"does not permit this change: 40 iterations/s .* 30 requests/s"):
        play.conductor.adjust(LoadChange("scale", factor=2))
    assert play.conductor.adjust(LoadChange("scale", factor=1.5))
    await finish(a, b)


async def test_changes_that_make_no_sense_change_nothing(stage: Stage) -> None:
    play = stage()
    with pytest.raises(UsageError, match="still waiting for its agents"):
        play.conductor.adjust(LoadChange("pause"))
    a, b = await play.started()
    for wish, why in (
        (LoadChange("resume"), "not paused"),
        (LoadChange("skip"), "last stage"),
        (LoadChange("scale", users=5), "no number of users"),
        (LoadChange("pause", load="spike"), "no load spike"),
    ):
        with pytest.raises(UsageError, match=why):
            play.conductor.adjust(wish)
    play.conductor.request_stop("enough")
    with pytest.raises(UsageError, match="draining"):
        play.conductor.adjust(LoadChange("pause"))
    await finish(a, b)
    result = await play.result()
    assert result.summary["adjustments"] == []


async def test_an_agent_that_is_too_old_to_be_told_is_named(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    await b.send(b.hello(minor=1))
    await asyncio.gather(a.get_ready(), b.next(Prepare))
    await b.send(Ready(play.conductor.run_id, 1, play.conductor._order.bundle_sha256))
    await until(lambda: play.conductor.run.t0_ns is not None)
    with pytest.raises(FleetError, match=r"agent b does not support load changes: .* protocol 1\.1"):
        play.conductor.adjust(LoadChange("pause"))


# -- the good way ------------------------------------------------------------------------------


async def test_two_agents_run_to_the_end_and_every_count_is_kept(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await finish(a, b)
    result = await play.result()
    assert (result.exit_code, result.summary["result"]) == (ExitCode.PASSED, "passed")
    requests = result.summary["requests"]
    assert isinstance(requests, dict)
    assert requests["finished"] == 60
    assert await a.next(Bye) == Bye(play.conductor.run_id, leave=False)
    assert {path.name for path in result.run_dir.iterdir()} == {
        "manifest.json",
        "bundle.tar",
        "deltas.log",
        "events.jsonl",
        "summary.json",
        "histograms.hlog",
    }
    assert (result.run_dir / "bundle.tar").read_bytes() == BUNDLE


async def test_the_manifest_says_the_instance_type_of_each_agent_and_null_of_one_that_is_not_on_ec2(
    stage: Stage,
) -> None:
    play = stage()
    a, b = play.pair()
    a.instance_type = "c7i.xlarge"
    await asyncio.gather(a.start(), b.start())
    await finish(a, b)
    manifest = open_run((await play.result()).run_dir).manifest
    assert {one["id"]: one["instance_type"] for one in manifest["agents"]} == {"a": "c7i.xlarge", "b": None}


async def test_the_manifest_names_the_python_of_each_agent_and_null_of_an_older_one(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    a.python = "CPython 3.13.5 with PGO and LTO"
    await asyncio.gather(a.start(), b.start())
    await finish(a, b)
    manifest = open_run((await play.result()).run_dir).manifest
    assert {one["id"]: one["python"] for one in manifest["agents"]} == {"a": a.python, "b": None}
    assert manifest["versions"]["python_build"] == str(this_build())


async def test_all_agents_get_one_start_and_their_exact_place(stage: Stage) -> None:
    play = stage(regions={"eu": 0.75, "us": 0.25})
    a, b = play.pair()
    before_ns = play.clock()
    prepares = await asyncio.gather(a.get_ready(), b.get_ready())
    assert [(p.index, p.weights) for p in prepares] == [(0, (3.0, 1.0)), (1, (3.0, 1.0))]
    starts = await asyncio.gather(a.next(StartAt), b.next(StartAt))
    assert starts[0] == starts[1]
    assert before_ns < starts[0].t0_ns <= play.clock() + 0.7 * NS_PER_S


async def test_the_bundle_comes_in_chunks(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    await asyncio.gather(a.get_ready(), b.join())
    prepare = Prepare("", 1, play.conductor._order.bundle_sha256, len(BUNDLE), "", "", b"", 0, 0, (), 0)
    assert await a.fetch(prepare) == BUNDLE
    await a.send(BundleRequest("0" * 64, 0))
    await a.send(BundleRequest(prepare.bundle_sha256, len(BUNDLE)))
    await until(lambda: play.conductor.rejected_input.get("malformed") == 2)


async def test_clock_pings_are_answered_with_our_clock(stage: Stage) -> None:
    play = stage()
    a, _ = play.pair()
    await a.join()
    before_ns = play.clock()
    await a.send(ClockPing(4711))
    pong = await a.next(ClockPong)
    assert pong.agent_ns == 4711
    assert before_ns <= pong.controller_ns <= play.clock()


async def test_set_up_runs_in_one_agent_and_its_value_goes_to_all(stage: Stage) -> None:
    play = stage(has_set_up=True, has_tear_down=True)
    a, b = play.pair()
    await asyncio.gather(a.get_ready(), b.get_ready())
    await a.next(SetUp)
    await b.send(SetUpDone(play.conductor.run_id, b'"not asked"'))
    await play.trouble("unexpected")
    await a.send(SetUpDone(play.conductor.run_id, b'{"token": 7}'))
    starts = await asyncio.gather(a.next(StartAt), b.next(StartAt))
    assert {start.shared_json for start in starts} == {b'{"token": 7}'}
    play.clock.jump(1)
    await finish(a, b)
    assert (await a.next(TearDown)).shared_json == b'{"token": 7}'
    await a.send(TornDown(play.conductor.run_id))
    assert (await play.result()).exit_code is ExitCode.PASSED
    assert not any(isinstance(message, SetUp | TearDown) for message in b.heard)


async def test_view_tells_phase_agents_and_data(stage: Stage) -> None:
    play = stage()
    assert (play.conductor.view().phase, play.conductor.view().agents) == (Phase.WAITING, ())
    a, _ = await play.started()
    await until(lambda: play.conductor.view().phase is Phase.RUNNING)
    a.recording.interval()
    await a.deliver()
    await a.acknowledged(0)
    view = play.conductor.view()
    assert [(agent.id, agent.region, agent.state) for agent in view.agents] == [
        ("a", "eu", "running"),
        ("b", "us", "running"),
    ]
    assert view.merge.counters().requests_finished == 10
    assert view.clock_ns > 0


async def test_the_folder_alone_gives_the_same_verdict_again(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await finish(a)
    b.recording.interval()
    await b.deliver()
    await b.acknowledged(0)
    play.conductor.request_stop("interrupted")
    play.conductor.request_stop("interrupted again", now=True)
    play.clock.jump(6)
    result = await play.result()
    assert result.exit_code is ExitCode.INCOMPLETE
    assert reread(RunDir.open(result.run_dir)) == result.verdict


# -- data, exactly once ------------------------------------------------------------------------


async def test_delta_is_acknowledged_when_it_is_on_the_disk(stage: Stage) -> None:
    play = stage()
    a, _ = await play.started()
    delta = a.recording.interval()
    await a.deliver()
    await a.acknowledged(0)
    folder = RunDir.open(play.conductor.run_dir)
    assert [decode(record) for record in folder.records()] == [delta]


async def test_duplicate_delta_is_merged_once_and_acknowledged_again(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    a.recording.interval()
    await a.deliver(0)
    await a.next(Ack)
    await a.deliver(0)
    assert await a.next(Ack) == Ack(play.conductor.run_id, 1, 0)
    await finish(a, b)
    result = await play.result()
    assert result.exit_code is ExitCode.PASSED
    assert result.verdict.completeness.is_complete


async def test_what_an_agent_says_with_its_heartbeat_is_shown_and_kept(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    for _ in range(2):
        await a.send(Heartbeat(play.conductor.run_id, "running", note="the worker has been silent for more than 5 s"))
    await finish(a, b)
    notes = (await play.result()).summary["notes"]
    assert isinstance(notes, list)
    assert [note for note in notes if "silent for more than 5 s" in note] == [
        "a: the worker has been silent for more than 5 s"
    ]


async def test_delta_after_a_gap_waits_for_the_missing_one(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    for _ in range(3):
        a.recording.interval()
    await a.deliver(0, 2)
    await play.trouble("gap")
    await a.acknowledged(0)
    await a.deliver(1, 2)
    await a.acknowledged(2)
    await finish(a, b)
    assert (await play.result()).exit_code is ExitCode.PASSED


async def test_fin_before_the_last_delta_ends_nothing(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await finish(b)
    for _ in range(3):
        a.recording.interval()
    await a.deliver(0)
    await a.finish()
    await until(lambda: play.conductor.view().phase is Phase.FINISHING)
    await a.deliver(1, 2)
    await a.finish()  # an agent repeats it until Bye
    assert (await play.result()).exit_code is ExitCode.PASSED


async def test_totals_that_differ_make_the_run_incomplete(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await finish(b)
    for _ in range(3):
        a.recording.interval()
    await a.deliver()
    await a.finish(recorded=a.recording.recorded + 1)
    result = await play.result()
    assert result.exit_code is ExitCode.INCOMPLETE
    assert "do not add up" in result.verdict.reasons[0]


async def test_folder_is_sealed_from_a_merge_that_queries_of_the_live_view_cannot_change(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []

    def looking(folder: RunDir, facts: Facts, merge: Merge, *rest: Any) -> Sealed:
        waiting.extend([len(merge._open), *(len(store._waiting_parts) for store in merge._stores)])
        return seal(folder, facts, merge, *rest)

    monkeypatch.setattr("loadgen_controller.run.conductor.seal", looking)
    play = stage()
    await finish(*await play.started())
    assert (await play.result()).exit_code is ExitCode.PASSED
    assert waiting == [0, 0]


# -- agents that go ----------------------------------------------------------------------------


async def test_agent_that_vanishes_is_lost_after_10_s_and_the_run_goes_on(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    b.recording.interval()
    await b.deliver()
    await b.acknowledged(0)
    await lapse(play, 10, a)
    await until(lambda: play.conductor.run.lost == frozenset({"b"}))
    assert play.conductor.view().agents[1].state == "lost"
    assert play.conductor.view().notices[-1].startswith("agent b is lost: silent for 10.")
    await finish(a)
    result = await play.result_in_time(a)
    assert (result.exit_code, result.summary["result"]) == (ExitCode.INCOMPLETE, "incomplete")
    assert "agent b (us): no data from 1.0 s to 3.0 s (2.0 s, 33.3 % of the load): silent" in result.verdict.reasons[0]


async def test_agent_that_restarts_during_the_load_is_not_merged_twice(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    b.recording.interval()
    await b.deliver()
    await b.acknowledged(0)
    restarted = play.agent("b", "us", pid=2)
    assert (await restarted.join()).epoch == 2
    restarted.recording.run_id, restarted.recording.epoch = play.conductor.run_id, 2
    restarted.recording.interval()
    await restarted.deliver()
    await play.trouble("other agent")
    await b.deliver()
    await play.trouble("stranger")
    await finish(a)
    result = await play.result()
    assert result.exit_code is ExitCode.INCOMPLETE
    assert "its process 1 was replaced by 2" in result.verdict.reasons[0]


async def test_agent_that_says_hello_again_keeps_its_epoch_and_hears_again_what_it_missed(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    await asyncio.gather(a.join(), b.join())
    await a.next(Prepare)
    assert (await a.join()).epoch == 1
    prepare = await a.next(Prepare)
    for agent in (a, b):
        await agent.send(Ready(prepare.run_id, prepare.generation, prepare.bundle_sha256))
    await a.next(StartAt)
    a.recording.run_id = prepare.run_id
    await a.beat("ready")
    await a.next(StartAt)


async def test_run_whose_agents_all_vanish_ends_as_a_failure_of_the_fleet(stage: Stage) -> None:
    play = stage(regions={"eu": 1.0})
    a = play.agent("a", "eu")
    await a.start()
    await lapse(play, 45)  # 30 s beyond the end of the drain
    result = await play.result()
    assert result.exit_code is ExitCode.FLEET
    assert any("no agent is left" in reason for reason in result.verdict.reasons)


# -- ends --------------------------------------------------------------------------------------


async def test_stop_drains_and_keeps_what_was_measured(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    a.recording.interval(), b.recording.interval()
    play.conductor.request_stop("interrupted")
    assert await a.stopped() == Stop(play.conductor.run_id, "interrupted", now=False)
    await asyncio.gather(a.deliver(), b.deliver())
    await asyncio.gather(a.finish(), b.finish())
    result = await play.result()
    assert (result.exit_code, result.summary["result"]) == (ExitCode.INTERRUPTED, "interrupted")
    requests = result.summary["requests"]
    assert isinstance(requests, dict)
    assert requests["finished"] == 20


async def test_second_stop_cuts_off_and_does_not_wait_for_the_deaf(stage: Stage) -> None:
    play = stage()
    a, _ = await play.started()
    a.recording.interval()
    await a.deliver()
    await a.acknowledged(0)
    play.conductor.request_stop("interrupted")
    play.conductor.request_stop("interrupted again", now=True)
    assert (await a.next(Stop, lambda stop: stop.now)).reason == "interrupted again"
    await a.beat("running")
    await a.next(Stop, lambda stop: stop.now)  # said again to one that seems not to have heard
    play.clock.jump(5)
    result = await play.result()
    assert result.exit_code is ExitCode.INCOMPLETE
    requests = result.summary["requests"]
    assert isinstance(requests, dict)
    assert requests["finished"] == 10


async def test_run_that_nobody_joins_ends_with_the_names_of_the_empty_regions(stage: Stage) -> None:
    play = stage()
    play.clock.jump(121)
    result = await play.result()
    assert result.exit_code is ExitCode.FLEET
    assert result.verdict.reasons == ("0 of 2 agents joined within 120 s; no agent in eu, us",)
    assert (result.run_dir / "summary.json").exists()


@pytest.mark.fault("G9", "an agent that is never ready, by a clock that jumps")
async def test_agent_that_is_never_ready_is_named(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    await asyncio.gather(a.get_ready(), b.join())
    await b.next(Prepare)
    for _ in range(3):
        play.clock.jump(60)
        await ticked(play)
    result = await play.result()
    assert result.exit_code is ExitCode.FLEET
    assert "not ready within 120 s: b" in result.verdict.reasons[0]
    await a.next(Bye)


async def test_faults_on_an_agent_are_faults_of_the_scenario(stage: Stage) -> None:
    play = stage()
    a, b = play.pair()
    await asyncio.gather(a.join(), b.join())
    fault = Fault("shop.py", 3, "no module named faker")
    await a.send(Refused(play.conductor.run_id, "the scenario has faults on this agent", (fault,)))
    result = await play.result()
    assert result.exit_code is ExitCode.USAGE
    assert "shop.py:3: no module named faker" in result.verdict.reasons


async def test_scenario_that_raises_too_often_stops_the_run(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    a.recording.interval(20, script_faults=15)
    await a.deliver()
    assert "the scenario itself raised in 15 of 20 iterations" in (await a.stopped()).reason
    await asyncio.gather(a.finish(), b.finish())
    assert (await play.result()).exit_code is ExitCode.USAGE


@pytest.mark.fault("F20", "ENOSPC in the run's folder for a while")
async def test_disk_that_is_full_acknowledges_nothing_and_the_run_goes_on_when_it_has_space_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadgen_controller.run.delta_journal.AGAIN_S", 0.05)
    play = stage()
    a, b = await play.started()
    for _ in range(3):
        a.recording.interval(), b.recording.interval()
    await a.deliver(0)
    await a.acknowledged(0)

    def full(*_: object) -> None:
        raise StorageError("cannot write deltas.log: No space left on device", hint="make space")

    with monkeypatch.context() as failing:
        failing.setattr(RunDir, "sync", full)
        await a.deliver(1)
        await until(lambda: any("No space left" in notice for notice in play.conductor.view().notices))
        await asyncio.sleep(0.3)
        assert a.acked == 0
        assert play.conductor.run.phase is Phase.RUNNING
    await a.acknowledged(1)
    await asyncio.gather(a.deliver(2), b.deliver())
    await asyncio.gather(a.finish(), b.finish())
    result = await play.result()
    assert result.verdict.completeness.is_complete
    assert "all waiting data is written now" in str(result.summary["notes"])
    assert len(list(RunDir.open(result.run_dir).records())) == 6


async def test_disk_that_stays_full_acknowledges_nothing_to_the_end_and_the_run_is_an_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = stage()
    a, b = await play.started()
    a.recording.interval(), a.recording.interval()
    await a.deliver(0)
    await a.acknowledged(0)

    def full(*_: object) -> None:
        raise StorageError("cannot write deltas.log: No space left on device", hint="make space")

    monkeypatch.setattr(RunDir, "sync", full)
    await a.deliver(1)
    play.conductor.request_stop("enough", now=True)
    await asyncio.gather(a.finish(), b.finish())
    for _ in range(100):
        play.clock.jump(1)
        await asyncio.sleep(0.01)
    result = await play.result()
    assert (result.exit_code, result.summary["result"]) == (ExitCode.FLEET, "error")
    assert any("No space left" in reason for reason in result.verdict.reasons)
    assert a.acked == 0
    monkeypatch.undo()
    assert len(list(RunDir.open(result.run_dir).records())) == 1


async def test_bug_of_ours_ends_the_run_with_70_and_keeps_what_was_measured(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = stage()
    a, _ = await play.started()
    a.recording.interval()
    await a.deliver()
    await a.acknowledged(0)
    monkeypatch.setattr(play.conductor._fleet, "tick", lambda _now_ns: 1 / 0)
    result = await play.result()
    assert result.exit_code is ExitCode.BUG
    assert result.verdict.reasons[0].startswith("ZeroDivisionError")
    assert (await a.stopped()).now
    assert (result.run_dir / "summary.json").exists()


# -- peers that are not as they should be -------------------------------------------------------


async def test_peer_with_a_wrong_key_is_not_heard(stage: Stage) -> None:
    play = stage()
    wrong = play.agent("a", "eu", keys=AgentKeys(KeyPair.new(), play.keys.controller))
    await until(lambda: "does not know our key" in wrong.trouble)
    assert play.conductor.view().agents == ()
    a, b = await play.started()
    await finish(a, b)
    assert (await play.result()).exit_code is ExitCode.PASSED


async def test_peer_of_another_major_version_is_refused_by_name(stage: Stage) -> None:
    play = stage()
    old = play.agent("a", "eu")
    await old.send(old.hello(major=99))
    assert (
        f"the agent has protocol 99.{PROTOCOL_MINOR}, the controller 1.{PROTOCOL_MINOR}"
        in (await old.next(Rejected)).reason
    )


async def test_message_of_another_major_version_is_refused_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    play = stage()
    old = play.agent("a", "eu")
    monkeypatch.setattr("loadgen.wire.messages.PROTOCOL_MAJOR", 9)
    data = encode(old.hello())
    monkeypatch.undo()
    await old.send_bytes(data)
    assert (
        f"a message has protocol version 9.{PROTOCOL_MINOR}, and we need 1.{PROTOCOL_MINOR}"
        in (await old.next(Rejected)).reason
    )


@pytest.mark.parametrize(
    ("other", "reason"),
    [({"agent": "b"}, "calls itself b"), ({"weight": 0.0}, "weight"), ({"weight": -1.0}, "weight")],
)
async def test_agent_that_is_not_what_it_says_is_rejected(stage: Stage, other: dict[str, object], reason: str) -> None:
    play = stage()
    a = play.agent("a", "eu")
    await a.send(a.hello(**other))
    assert reason in (await a.next(Rejected)).reason


async def test_random_bytes_and_nonsense_are_counted_and_survived(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    stray = play.agent("x", "mars")
    await stray.join()
    for n in range(50):
        await stray.send_bytes(bytes((n * k) % 256 for k in range(n)))
    await a.send(Bye("", leave=True))  # not for a controller
    await a.send(Ready("another run", 1, "x"))
    await a.send(Ready(play.conductor.run_id, 99, "x"))
    await a.send(TornDown(play.conductor.run_id))
    good = a.recording.interval()
    bad: list[Delta] = [
        replace(good, agent="b"),
        replace(good, epoch=7),
        replace(good, run_id="another"),
        replace(good, index=good.index[::-1]),
        replace(good, count=good.count[:-4]),
        replace(good, end_ns=10**18),
        replace(good, stats=()),
    ]
    for delta in bad:
        await a.send(delta)
    await finish(a, b)
    result = await play.result()
    assert result.exit_code is ExitCode.PASSED
    counts = play.conductor.rejected_input
    assert (counts["unreadable"], counts["quarantine"]) == (11, 40), "the 11th is of a"
    assert (counts["other run"], counts["other generation"], counts["other agent"]) == (2, 1, 2)
    assert (counts["unexpected"], counts["not an agent's"], counts["malformed"]) == (1, 1, 3)
    told = [event for event in events(result) if event["kind"] == "trouble" and event["trouble"] == "unreadable"]
    assert len(told) < 5, "told at a bounded rate"
    assert next(event for event in events(result) if event["kind"] == "troubles")["counts"] == counts


async def test_agent_of_a_region_that_the_plan_does_not_have_takes_no_part(stage: Stage) -> None:
    play = stage()
    stray = play.agent("x", "mars")
    await stray.join()
    a, b = await play.started()
    await finish(a, b)
    result = await play.result()
    assert result.exit_code is ExitCode.PASSED
    assert "agent x does not take part: the plan has no load in mars" in play.conductor.view().notices
    assert [agent.agent for agent in result.verdict.completeness.agents] == ["a", "b"]


async def test_stranger_is_not_answered(stage: Stage) -> None:
    play = stage()
    a = play.agent("a", "eu")
    await a.beat("running")
    await a.send(ClockPing(1))
    await until(lambda: play.conductor.rejected_input.get("stranger") == 2)
    assert a.heard == []


# -- rendez-vous -------------------------------------------------------------------------------


def at_sale(play: Play, arrived: int, gone: int = 0, *, worker: int = 0, users: int = 10, life: int = 0) -> Waiting:
    return Waiting(play.conductor.run_id, worker, life, (WaitingAt(0, "sale opens", users, arrived, gone),))


async def test_users_of_two_agents_go_on_at_one_instant_and_the_folder_says_who_met(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await a.send(at_sale(play, 4))
    await a.send(at_sale(play, 2, worker=1))
    await until(lambda: play.conductor.view().points == (PointView("", "sale opens", 6, 10, 0),))
    before_ns = play.clock()
    await b.send(at_sale(play, 5))
    releases = [await a.next(ReleaseAt), await a.next(ReleaseAt), await b.next(ReleaseAt)]
    assert [(one.worker, one.upto) for one in releases] == [(0, 4), (1, 2), (0, 4)]
    (at_ns,) = {one.at_ns for one in releases}
    assert before_ns <= at_ns - LEAD_NS <= play.clock()
    assert play.conductor.view().points == (PointView("", "sale opens", 1, 10, 1),)
    for agent, waiting in ((a, at_sale(play, 4, 4)), (a, at_sale(play, 2, 2, worker=1)), (b, at_sale(play, 5, 4))):
        await agent.send(waiting)
    await finish(a, b)
    result = await play.result()
    (event,) = [one for one in events(result) if one["kind"] == "rendezvous"]
    assert {key: event[key] for key in ("point", "load", "group", "users", "agents")} == {
        "point": "sale opens",
        "load": "",
        "group": 1,
        "users": 10,
        "agents": {"a": 6, "b": 4},
    }
    assert isinstance(event["at_ns"], int)
    (whole,) = [one for one in events(result) if one["kind"] == "rendezvous in all"]
    assert {key: whole[key] for key in ("groups", "met", "came")} == {"groups": 1, "met": 10, "came": 11}


async def test_a_release_that_an_agent_did_not_hear_is_said_again_until_it_tells_so(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await a.send(at_sale(play, 10))
    first = await a.next(ReleaseAt)
    play.clock.jump(AGAIN_NS / NS_PER_S)
    assert await a.next(ReleaseAt) == first
    await a.send(at_sale(play, 10, 10))
    await finish(a, b)
    assert (await play.result()).exit_code is ExitCode.PASSED


async def test_the_users_of_a_lost_agent_do_not_count(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await a.send(at_sale(play, 9))
    await until(lambda: play.conductor.view().points)
    again = play.agent("a", "eu", pid=2)  # another process of the same name: the first is lost
    await again.join()
    await until(lambda: play.conductor.view().points[0].waiting == 0)
    await b.send(at_sale(play, 9))
    await until(lambda: play.conductor.view().points[0].waiting == 9)
    await again.send(at_sale(play, 9))  # it has no share of this run
    await play.trouble("unexpected")
    assert play.conductor.view().points == (PointView("", "sale opens", 9, 10, 0),)


async def test_the_users_of_an_agent_that_was_lost_and_came_again_before_the_start_count(stage: Stage) -> None:
    play = stage()
    await play.agent("a", "eu", pid=2).join()
    a = play.agent("a", "eu")
    await a.join()  # the first of its name is lost
    await asyncio.gather(a.start(), play.agent("b", "us").start())
    play.clock.jump(1)
    await a.send(at_sale(play, 9))
    await until(lambda: play.conductor.view().points)
    assert play.conductor.view().points[0].waiting == 9


async def test_an_agent_that_has_finished_has_nobody_who_waits(stage: Stage) -> None:
    play = stage()
    a, _ = await play.started()
    await a.send(at_sale(play, 9))
    await until(lambda: play.conductor.view().points)
    await finish(a)
    await until(lambda: play.conductor.view().points[0].waiting == 0)


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (Waiting("", 0, 0, (WaitingAt(0, "a", 10, 2, 3),)), "malformed"),
        (Waiting("", 5000, 0, (WaitingAt(0, "a", 10, 2, 0),)), "over a limit"),
        (Waiting("other run", 0, 0, ()), "other run"),
    ],
)
async def test_what_no_worker_can_say_of_its_users_is_counted_and_forgotten(
    stage: Stage, odd: Waiting, kind: str
) -> None:
    play = stage()
    a, _ = await play.started()
    await a.send(odd if odd.run_id else replace(odd, run_id=play.conductor.run_id))
    await play.trouble(kind)
    assert play.conductor.view().points == ()


async def test_workers_that_do_not_agree_on_the_number_of_users_are_told_of(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await a.send(at_sale(play, 1))
    await until(lambda: play.conductor.view().points)
    await b.send(at_sale(play, 1, users=7))
    said = 'the rendez-vous "sale opens" waits for 10 users, but on b for 7: all groups have 10'
    await until(lambda: said in play.conductor.view().notices)


async def test_agent_that_is_restarted_under_its_name_gets_load_again(stage: Stage) -> None:
    a_minute = {"profile": ArrivalProfile((LoadStage(20, 20, 60 * NS_PER_S),)), "duration_ns": 60 * NS_PER_S}
    play = stage(**a_minute)
    a, b = await play.started()
    for agent in (a, b):
        agent.recording.interval()
        await agent.deliver()
        await agent.acknowledged(0)
    again = play.agent("b", "us", pid=2)
    prepare = await again.get_ready()
    assert prepare.index == 1
    await lapse(play, 12, a, again)
    moved = await a.next(Reassign)
    taken = await a.next(Reassign, lambda one: one.weights[1] > 0)
    assert (moved.weights[1], moved.number, taken.number) == (0, 1, 2)
    assert taken.at_ns > moved.at_ns >= 8 * NS_PER_S
    await a.beat(adjusted=2)
    await lapse(play, 1, again)
    start = await again.next(StartAt)
    assert start.from_ns >= start.since_ns == taken.at_ns
    again.recording.interval()
    await again.deliver()
    await again.acknowledged(0)
    assert play.conductor._record.former == {"b": (Former(1, None),)}
    play.conductor.request_stop("enough")
    await asyncio.gather(a.finish(), again.finish())
    result = await play.result()
    (data,) = [one for one in result.verdict.completeness.agents if one.agent == "b"]
    assert not data.is_complete
    assert "its earlier process: it never reported that it had finished" in " ".join(result.verdict.reasons)
    assert result.summary["requests"]["finished"] == 30  # type: ignore[index]
    assert reread(RunDir.open(result.run_dir)).reasons == result.verdict.reasons
