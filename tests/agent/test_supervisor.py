"""A whole agent: real sockets, a real worker process that behaves as its plan says, a controller by script."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from loadgen.bundle import Bundle, pack_files
from loadgen.errors import ExitCode, Fault
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.profiles.stage import Stage as LoadStage
from loadgen.units import NS_PER_S
from loadgen.wire.messages import (
    BEATS_MINOR,
    PROTOCOL_MINOR,
    ROWS_MINOR,
    Ack,
    Adjust,
    BundleRequest,
    Bye,
    ClockPing,
    Delta,
    Fin,
    Heartbeat,
    Hello,
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
    Welcome,
)
from loadgen_agent.supervisor import heartbeat_times, lifecycle
from loadgen_agent.supervisor import supervisor as module
from loadgen_agent.supervisor.lifecycle import Exit, Phase
from loadgen_agent.supervisor.supervisor import Supervisor, Terms
from loadgen_agent.supervisor.workers import WorkerPlacement
from tests.support import fake_worker
from tests.support.fake_controller import FakeController
from tests.support.wire import key_ring, serving, until

WORKER = (sys.executable, "-m", fake_worker.__name__)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    scenario = tmp_path / "s.py"
    scenario.write_text("# a scenario\n" * 500)
    return pack_files(scenario, [scenario])


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in life takes tenths here."""
    for name in ("EVERY_NS", "LATE_NS"):
        monkeypatch.setattr(heartbeat_times, name, 100_000_000)
    monkeypatch.setattr(module, "WORKER_SILENT_NS", 400_000_000)
    monkeypatch.setattr(lifecycle, "FAREWELL_NS", 200_000_000)
    monkeypatch.setattr("loadgen_agent.delivery.unacknowledged.STALLED_NS", 150_000_000)
    monkeypatch.setattr("loadgen_agent.delivery.unacknowledged.FIN_AGAIN_NS", 100_000_000)


@pytest.fixture
def stern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience with a worker that is told to stop: for one that will not, however long it is given."""
    monkeypatch.setattr(lifecycle, "GRACE_NS", 400_000_000)
    monkeypatch.setattr(lifecycle, "CUT_NS", 300_000_000)


class Stage:
    """One agent and its controller."""

    def __init__(self, bundle: Bundle, terms: Terms, placement: WorkerPlacement) -> None:
        self.keys = controller_keys, agents = key_ring("eu")
        self.controller = FakeController(controller_keys, bundle=bundle.data, sha256=bundle.sha256)
        self.agent = Supervisor(self.controller.address, "eu-west-1", "eu", agents["eu"], terms, WORKER, placement)
        self.running = asyncio.create_task(self.agent.run())

    def pid(self, worker: int = 0) -> int:
        assert self.agent._workers is not None
        pid = self.agent._workers.pids[worker]
        assert pid is not None
        return pid

    def losses(self) -> list[Loss]:
        return [loss for delta in self.controller.taken for loss in delta.losses]

    async def ending(self, within_s: float = 60.0) -> Exit:
        async with asyncio.timeout(within_s):
            return await self.running


@asynccontextmanager
async def stage(
    bundle: Bundle,
    terms: Terms = Terms(),  # noqa: B008
    placement: WorkerPlacement = WorkerPlacement(),  # noqa: B008
) -> AsyncIterator[Stage]:
    scene = Stage(bundle, terms, placement)
    try:
        async with serving(scene.controller):
            yield scene
    finally:
        scene.running.cancel()
        await asyncio.gather(scene.running, return_exceptions=True)


async def test_a_run_from_hello_to_bye_is_complete(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("six")
        fin = await s.controller.hear(Fin)
        assert (fin.run_id, fin.epoch, fin.last_seq, fin.reason) == ("r1", 1, 5, "")
        await until(s.controller.is_complete)
        assert {(d.agent, d.epoch, d.run_id) for d in s.controller.taken} == {("eu", 1, "r1")}
        assert s.controller.of(Hello)[0].pid == os.getpid()
        ready = s.controller.of(Ready)[0]
        assert 0 < ready.clock_error_ns < 10 * NS_PER_S
        await s.controller.bye()
        assert (await s.ending()).code is ExitCode.PASSED


async def test_heartbeats_travel_within_deltas_and_histograms_packed_unless_the_controller_is_older(
    bundle: Bundle,
) -> None:
    for minor in (PROTOCOL_MINOR, ROWS_MINOR - 1, BEATS_MINOR - 1, 0):
        async with stage(bundle) as s:
            s.controller.minor = minor
            await s.controller.start("six")
            await until(s.controller.is_complete)
            assert s.controller.beats_within > 0 if minor >= BEATS_MINOR else s.controller.beats_within == 0
            assert any(beat.phase == "running" for beat in s.controller.of(Heartbeat))
            assert {one.packed is not None for one in s.controller.of(Delta)} == {minor >= ROWS_MINOR}
            await s.controller.bye()
            assert (await s.ending()).code is ExitCode.PASSED


async def test_an_agent_that_is_not_taken_in_yet_says_hello_and_nothing_else(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        s.controller.is_mute = True
        await until(lambda: len(s.controller.of(Hello)) >= 2)
        assert {type(message) for message in s.controller.heard} == {Hello}
        s.controller.is_mute = False
        await until(lambda: s.controller.of(ClockPing))


async def test_every_delta_is_taken_once_though_most_acknowledgements_are_lost(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        s.controller.drops_ack = lambda number: number % 12 != 0  # the next one comes after the stall is noticed
        await s.controller.start("steady")
        await until(lambda: len(s.controller.taken) >= 40)
        s.controller.say(Stop("r1", "enough"))
        await until(s.controller.is_complete)
        assert [d.seq for d in s.controller.taken] == list(range(len(s.controller.taken)))
        assert s.controller.arrived > len(s.controller.taken)
        s.controller.drops_ack = lambda number: False
        await until(lambda: s.controller.of(Heartbeat)[-1].last_seq_acked == len(s.controller.taken) - 1)


async def test_the_fin_is_sent_again_until_bye(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("six")
        await until(lambda: len(s.controller.of(Fin)) >= 3)
        assert len(set(map(str, s.controller.of(Fin)))) == 1
        await s.controller.bye()
        await s.ending()


async def test_p1_nothing_is_lost_while_the_controllers_socket_is_closed_and_opened_again(bundle: Bundle) -> None:
    scene = Stage(bundle, Terms(), WorkerPlacement())
    async with serving(scene.controller):
        await scene.controller.start("steady")
        await until(lambda: len(scene.controller.taken) >= 5)
    await asyncio.sleep(0.3)
    again = scene.controller.again()
    async with serving(again):
        await until(lambda: again.identity)
        await until(lambda: len(again.taken) >= 30)
        assert again.of(Hello)[-1].epoch == 1
        again.say(Stop("r1", "enough"))
        await until(again.is_complete)
        await again.bye()
        assert (await scene.ending()).code is ExitCode.PASSED


async def test_a_controller_of_another_run_ends_the_load_of_the_old_one(bundle: Bundle) -> None:
    scene = Stage(bundle, Terms(), WorkerPlacement())
    async with serving(scene.controller):
        await scene.controller.start("steady")
        await until(lambda: scene.controller.taken)
    other = scene.controller.again()
    other.run_id = "r2"
    other.heard, other.taken = [], []
    async with serving(other):
        await other.hear(Heartbeat, lambda beat: beat.phase == "idle", 15)
        other.say(other.prepare("six", "r2"))
        await other.hear(Ready)
        other.say(StartAt("r2", 0))
        await other.hear(Fin, lambda fin: fin.run_id == "r2")
        other.say(Bye("r2", leave=True))
        assert (await scene.ending()).code is ExitCode.PASSED


async def test_a_bundle_that_is_not_what_its_sha256_says_is_refused(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        s.controller.sha256 = hashlib.sha256(b"another").hexdigest()
        await s.controller.hear(Hello)
        s.controller.say(s.controller.prepare("six"))
        refused = await s.controller.hear(Refused)
        assert "sha256" in refused.reason
        assert s.controller.of(BundleRequest)
        await until(lambda: s.agent.phase is Phase.IDLE)
        assert not s.controller.of(Ready)


async def test_hint_of_a_refusal_reaches_the_controller(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.hear(Hello)
        s.controller.say(replace(s.controller.prepare("six"), bundle_sha256="no hash"))
        refused = await s.controller.hear(Refused)
        assert refused.reason.endswith("; run the same version of loadgen on the controller and on this agent")


async def test_faults_of_the_scenario_reach_the_controller_and_the_agent_stays(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.hear(Hello)
        s.controller.say(s.controller.prepare("refuses"))
        refused = await s.controller.hear(Refused)
        assert refused.faults == (Fault("s.py", 3, "no such column"),)
        await until(lambda: s.agent.phase is Phase.IDLE)


async def test_a_worker_that_cannot_be_started_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "WORKER", ("/nonexistent/python",))
    async with stage(bundle) as s:
        await s.controller.hear(Hello)
        s.controller.say(s.controller.prepare("six"))
        assert "cannot be started" in (await s.controller.hear(Refused)).reason


async def test_a_worker_killed_while_ready_is_refused(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.hear(Hello)
        s.controller.say(s.controller.prepare("steady"))
        await s.controller.hear(Ready)
        os.kill(s.pid(), signal.SIGKILL)
        assert "killed by SIGKILL" in (await s.controller.hear(Refused)).reason


async def test_a_worker_killed_under_load_is_said_and_another_goes_on_with_its_share(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("steady")
        await until(lambda: len(s.controller.taken) >= 5)
        first = s.pid()
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(s.losses()) >= 2)
        told, again = s.losses()[:2]
        assert told.cause == again.cause == "the worker was killed by SIGKILL"
        assert (told.place, told.resumed_ns) == (again.place, NOBODY)
        assert again.resumed_ns > told.died_ns
        before = len(s.controller.taken)
        await until(lambda: len(s.controller.taken) >= before + 5)
        assert s.pid() != first
        s.controller.say(Stop("r1", "enough"))
        await until(s.controller.is_complete)
        assert s.controller.of(Fin)[0].reason == ""


async def test_a_place_whose_processes_die_three_times_is_given_up_and_the_fin_says_why(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("steady")
        for life in range(3):
            at = len(s.controller.taken)
            await until(lambda at=at: len(s.controller.taken) >= at + 3)  # type: ignore[misc]
            os.kill(s.pid(), signal.SIGKILL)
            await until(lambda life=life: len({one.died_ns for one in s.losses()}) > life)  # type: ignore[misc]
        fin = await s.controller.hear(Fin)
        assert fin.reason == "the worker was killed by SIGKILL"
        await until(s.controller.is_complete)


async def test_several_workers_are_one_agent_and_one_of_them_that_dies_is_made_up_for(bundle: Bundle) -> None:
    async with stage(bundle, placement=WorkerPlacement(2)) as s:
        await s.controller.start("steady")
        await until(lambda: len(s.controller.taken) >= 10)
        assert [len(s.controller.of(kind)) for kind in (Ready, Fin)] == [1, 0]
        assert s.controller.of(Hello)[0].weight == 2  # its part of its region's load
        os.kill(s.pid(1), signal.SIGKILL)
        await until(lambda: any(one.resumed_ns != NOBODY for one in s.losses()))
        assert {(one.worker, one.workers, one.cause) for one in s.losses()} == {
            (1, 2, "worker 1 was killed by SIGKILL")
        }
        s.controller.say(Stop("r1", "enough"))
        await until(s.controller.is_complete)
        assert [d.seq for d in s.controller.taken] == list(range(len(s.controller.taken)))
        assert {one.worker for d in s.controller.taken for one in d.workers} == {0, 1}


def waiting(arrived: int, gone: int, worker: int = 0, life: int = 0) -> Waiting:
    return Waiting("r1", worker, life, (WaitingAt(0, "sale opens", 10, arrived, gone),))


async def test_who_waits_is_told_with_the_worker_s_number_and_a_release_reaches_it_on_its_own_clock(
    bundle: Bundle,
) -> None:
    async with stage(bundle, placement=WorkerPlacement(2)) as s:
        s.controller.ahead_ns = 3600 * 10**9
        await s.controller.start("waits")
        await until(lambda: {waiting(5, 0, worker) for worker in (0, 1)} <= set(s.controller.of(Waiting)))
        in_a_minute_ns = s.controller.now_ns() + 60 * 10**9
        s.controller.say(ReleaseAt("r1", 0, 9, 0, "sale opens", 5, 0))  # for a process that is not there
        s.controller.say(ReleaseAt("r1", 1, 0, 0, "sale opens", 3, in_a_minute_ns))
        heard = await s.controller.hear(Waiting, lambda m: m.points[0].gone > 0)
        assert (heard.worker, heard.points[0].arrived, heard.points[0].gone) == (1, 5, 3)
        assert 45 <= heard.points[0].users <= 60  # s until then, as the worker sees it


async def test_of_a_worker_that_dies_nobody_waits_any_more(bundle: Bundle) -> None:
    async with stage(bundle, placement=WorkerPlacement(2)) as s:
        await s.controller.start("waits")
        await s.controller.hear(Waiting, lambda m: m == waiting(5, 0, 1))
        os.kill(s.pid(1), signal.SIGKILL)
        await s.controller.hear(Waiting, lambda m: m == Waiting("r1", 1, 1))
        await s.controller.hear(Waiting, lambda m: m == waiting(5, 0, 1, life=1))


async def test_who_waits_is_told_again_after_the_connection_was_lost(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("waits")
        await s.controller.hear(Waiting)
        s.controller.heard.clear()
        s.controller.say(Welcome(1, 8.0, "r1"))
        await s.controller.hear(Waiting, lambda m: m == waiting(5, 0))


async def test_changes_of_the_load_reach_a_worker_once_and_in_turn_and_all_of_them_the_one_that_takes_over(
    bundle: Bundle,
) -> None:
    async with stage(bundle) as s:
        await s.controller.start("steady")
        for number in (1, 1, 3, 2):
            s.controller.say(Adjust("r1", number, 0, number, (LoadStage(1, 1, 10**9),)))
        await s.controller.hear(Delta, lambda delta: delta.health.notes == ("life 0 heard [1, 2]",))
        await s.controller.hear(Heartbeat, lambda beat: beat.adjusted == 2)  # so that the third is said again
        os.kill(s.pid(), signal.SIGKILL)
        await s.controller.hear(Delta, lambda delta: delta.health.notes == ("life 1 heard [1, 2]",))
        s.controller.say(Stop("r1", "enough"))
        await until(s.controller.is_complete)


async def test_a_change_counts_as_followed_once_the_workers_follow_it(bundle: Bundle) -> None:
    """The supervisor has it, and the loop of its worker is blocked: a late joiner must not begin yet."""
    async with stage(bundle) as s:
        await s.controller.start("deaf")
        s.controller.say(Reassign("r1", 1, 2, 60 * NS_PER_S, (1.0, 1.0)))
        await s.controller.hear(Delta, lambda delta: delta.health.notes == ("life 0 heard [1]",))
        s.controller.heard.clear()
        await until(lambda: len(s.controller.of(Heartbeat)) >= 2)
        assert {beat.adjusted for beat in s.controller.of(Heartbeat)} == {0}
        s.controller.say(Stop("r1", "enough"))
        await until(s.controller.is_complete)


async def test_a_worker_that_was_killed_for_want_of_memory_is_said_to_be(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(bundle) as s:
        await s.controller.start("steady")
        await until(lambda: s.controller.taken)
        monkeypatch.setattr("loadgen_agent.supervisor.workers.oom_kills", lambda: 1 << 40)
        os.kill(s.pid(), signal.SIGKILL)
        await until(s.losses)
        assert s.losses()[0].cause == "the worker was killed by SIGKILL: memory ran out"


async def test_a_worker_killed_before_t0_is_replaced_and_had_done_nothing(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.hear(Hello)
        s.controller.say(s.controller.prepare("steady"))
        await s.controller.hear(Ready)
        s.controller.say(StartAt("r1", time.perf_counter_ns() + 2 * NS_PER_S))
        await until(lambda: s.agent.phase is Phase.RUNNING)
        os.kill(s.pid(), signal.SIGKILL)
        await until(lambda: len(s.losses()) >= 2)
        told, again = s.losses()[:2]
        assert (told.died_ns, told.told_ns, told.resumed_ns) == (0, 0, NOBODY)
        assert again.place == told.place
        assert again.resumed_ns >= 0


async def test_a_worker_whose_child_holds_its_stream_is_seen_to_be_dead(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("forks")
        await until(lambda: len(s.controller.taken) >= 3)
        os.kill(s.pid(), signal.SIGKILL)
        await until(lambda: any(one.resumed_ns != NOBODY for one in s.losses()))
        s.controller.say(Stop("r1", "enough"))
        await until(s.controller.is_complete)
        told, again = s.losses()[:2]
        assert (told.resumed_ns, again.place) == (NOBODY, told.place)
        assert 0 < again.died_ns < again.resumed_ns


@pytest.mark.usefixtures("stern")
async def test_a_worker_of_several_that_blocks_is_named(bundle: Bundle) -> None:
    async with stage(bundle, placement=WorkerPlacement(2)) as s:
        await s.controller.start("blocks")
        beat = await s.controller.hear(Heartbeat, lambda beat: "worker 0, worker 1" in beat.note)
        assert "blocks its loop" in beat.note
        s.controller.say(Stop("r1", "enough", now=True))
        fin = await s.controller.hear(Fin)
        assert "did not stop on request" in fin.reason
        await until(s.controller.is_complete)


@pytest.mark.parametrize(("plan", "why"), [("dies", "exit code 3"), ("garbles", "an invalid message")])
async def test_a_worker_that_ends_or_talks_nonsense_leaves_a_fin_with_the_reason(
    bundle: Bundle, plan: str, why: str
) -> None:
    async with stage(bundle) as s:
        await s.controller.start(plan)
        assert why in (await s.controller.hear(Fin)).reason
        await until(s.controller.is_complete)


@pytest.mark.usefixtures("stern")
async def test_a_blocked_worker_is_reported_and_killed_when_it_does_not_stop(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("blocks")
        beat = await s.controller.hear(Heartbeat, lambda beat: beat.note != "")
        assert "blocks its loop" in beat.note
        assert beat.phase == "running"
        s.controller.say(Stop("r1", "enough", now=True))
        fin = await s.controller.hear(Fin)
        assert "did not stop on request" in fin.reason
        await until(s.controller.is_complete)
        await s.controller.bye()
        assert (await s.ending()).code is ExitCode.PASSED


async def test_a_blocked_worker_alone_does_not_look_like_a_lost_controller(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        s.controller.lease_s = 1.5
        await s.controller.start("blocks")
        await asyncio.sleep(2.5)
        assert s.agent.phase is Phase.RUNNING


@pytest.mark.quiet
async def test_without_its_controller_an_agent_stops_its_load_and_in_the_end_itself(bundle: Bundle) -> None:
    async with stage(bundle, Terms(hand_over_s=1.5)) as s:
        s.controller.lease_s = 0.6
        await s.controller.start("steady")
        await until(lambda: s.controller.taken)
        s.controller.is_mute = True
        fin = await s.controller.hear(Fin)
        assert "the controller was silent" in fin.reason
        ending = await s.ending()
        assert ending.code is ExitCode.FLEET
        assert "are not delivered" in ending.reason


@pytest.mark.fault("F8", "agent to controller")
async def test_a_controller_that_speaks_and_does_not_hear_is_lost_too(bundle: Bundle) -> None:
    """Only one direction is cut: what the agent sends is acknowledged by nobody."""
    async with stage(bundle) as s:
        s.controller.lease_s = 0.6
        await s.controller.start("steady")
        await until(lambda: s.controller.taken)
        s.controller.is_mute = True
        async with asyncio.timeout(60):
            while s.agent.phase is not Phase.FINISHED:
                s.controller.say(Ack("r1", 1, -1))
                await asyncio.sleep(0.05)
        assert "the controller was silent" in (await s.controller.hear(Fin)).reason


async def test_a_blocked_worker_that_did_not_end_itself_is_ended_and_another_takes_its_place(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "WATCHDOG_NS", 300_000_000)
    async with stage(bundle) as s:
        s.controller.lease_s = 2.0
        await s.controller.start("blocks")
        await until(lambda: s.losses())
        assert s.losses()[0].cause == "the worker was silent for more than 2 s"
        assert s.agent.phase is Phase.RUNNING


async def test_an_agent_that_was_frozen_does_not_blame_its_workers(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        s.controller.lease_s = 0.8
        await s.controller.start("steady")
        await until(lambda: s.controller.taken)
        time.sleep(3.5)  # the agent's loop is the test's
        await s.controller.hear(Fin)
        assert s.losses() == []


async def test_a_controller_that_comes_back_within_the_time_gets_everything(bundle: Bundle) -> None:
    async with stage(bundle, Terms(hand_over_s=20)) as s:
        s.controller.lease_s = 0.6
        await s.controller.start("steady")
        await until(lambda: s.controller.taken)
        s.controller.is_mute = True
        await until(lambda: s.agent.phase is Phase.FINISHED)
        s.controller.is_mute = False
        await until(s.controller.is_complete)
        await s.controller.bye()
        assert (await s.ending()).code is ExitCode.PASSED


@pytest.mark.fault("F26", "the agent's half: it stops, hands over and leaves")
async def test_sigterm_stops_hands_over_and_leaves(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("steady")
        await until(lambda: len(s.controller.taken) >= 3)
        s.agent.terminate("SIGTERM")
        ending = await s.ending()
        assert (ending.code, ending.reason) == (ExitCode.PASSED, "SIGTERM")
        assert s.controller.is_complete()
        assert s.controller.of(Fin)[-1].reason == "SIGTERM"


@pytest.mark.fault("F25", "an agent that is told to leave while a change is on its way")
async def test_an_agent_leaves_no_sooner_than_a_change_that_it_has_heard_of_holds(bundle: Bundle) -> None:
    """What it leaves could be another's only from then on: changes come in the order of their times."""
    async with stage(bundle) as s:
        await s.controller.start("steady")
        await until(lambda: s.controller.taken)
        s.controller.say(Reassign("r1", 1, 2, 60 * NS_PER_S, (1.0, 1.0)))
        await until(lambda: any(beat.adjusted == 1 for beat in s.controller.of(Heartbeat)))
        s.agent.terminate("SIGTERM")
        await until(lambda: any(beat.leaves_ns for beat in s.controller.of(Heartbeat)))
        assert {beat.leaves_ns for beat in s.controller.of(Heartbeat)} == {0, 60 * NS_PER_S}


async def test_a_kill_waits_for_no_worker(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "CUT_NS", 60_000_000_000)
    async with stage(bundle) as s:
        await s.controller.start("blocks")
        await until(lambda: len(s.controller.taken) >= 3)
        pid = s.pid()
        s.controller.say(Stop("r1", "killed", now=True, kill=True))
        await until(lambda: s.agent.phase is Phase.FINISHED)
        await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        await until(s.controller.is_complete)


async def test_kill_flag_ends_the_load_at_once_and_what_was_measured_is_handed_over(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("steady")
        await until(lambda: len(s.controller.taken) >= 3)
        s.agent.cut_off("the fleet's kill flag is set")
        assert s.agent.phase is Phase.STOPPING
        ending = await s.ending()
        assert (ending.code, ending.reason) == (ExitCode.PASSED, "the fleet's kill flag is set")
        assert s.controller.is_complete()


async def test_kill_flag_loses_nothing_of_a_load_that_is_over(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("steady")
        await until(lambda: len(s.controller.taken) >= 3)
        s.controller.is_mute = True  # so that it is not gone at once
        s.agent.terminate("SIGTERM")
        await until(lambda: s.agent.phase is Phase.FINISHED)
        s.agent.cut_off("the fleet's kill flag is set")
        s.controller.is_mute = False
        assert (await s.ending()).code is ExitCode.PASSED
        assert s.controller.is_complete()


@pytest.mark.usefixtures("stern")
async def test_sigterm_with_a_worker_that_does_not_listen_ends_all_the_same(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("blocks")
        await until(lambda: len(s.controller.taken) >= 3)
        s.agent.terminate("SIGTERM")
        assert (await s.ending()).code is ExitCode.PASSED
        assert s.controller.is_complete()


async def test_set_up_and_tear_down_go_to_the_worker_and_its_environment_holds_no_secret(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-7731")
    async with stage(bundle) as s:
        await s.controller.hear(Hello)
        prepare = s.controller.prepare("six")
        s.controller.say(prepare)
        assert (await s.controller.hear(Ready)).bundle_sha256 == prepare.bundle_sha256
        s.controller.say(SetUp("r1"))
        environ = json.loads((await s.controller.hear(SetUpDone)).value_json)
        assert "PATH" in environ
        assert "canary-7731" not in environ.values()
        s.controller.say(StartAt("r1", 0))
        await s.controller.hear(Fin)
        s.controller.say(TearDown("r1"))
        await s.controller.hear(TornDown)


async def test_an_agent_that_is_rejected_says_why(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        s.controller.is_mute = True
        await s.controller.hear(Hello)
        s.controller.say(Rejected("it speaks protocol 9.0"))
        ending = await s.ending()
        assert ending.code is ExitCode.FLEET
        assert "protocol 9.0" in ending.reason


@pytest.mark.quiet
async def test_an_agent_that_nobody_takes_in_gives_up_in_time(bundle: Bundle) -> None:
    async with stage(bundle, Terms(join_s=0.3)) as s:
        s.controller.is_mute = True
        ending = await s.ending()
        assert (ending.code, ending.reason) == (
            ExitCode.FLEET,
            "not accepted by the controller within 0 s: the controller does not answer",
        )


async def test_unreadable_messages_are_counted_and_survived(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.hear(Hello)
        for junk in (b"", b"junk", os.urandom(1000)):
            s.controller.router.send(s.controller.identity, junk)
        await until(lambda: s.agent._link.unreadable == 3)
        s.controller.say(s.controller.prepare("six"))
        ready = await s.controller.hear(Ready)
    assert (ready.run_id, ready.bundle_sha256) == (s.controller.prepare("six").run_id, bundle.sha256)


async def test_no_worker_and_no_folder_is_left_behind(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        await s.controller.start("steady")
        await until(lambda: s.controller.taken)
        pid, folder = s.pid(), s.agent._cache.get(bundle.sha256)
        assert folder is not None
        await s.controller.bye()  # in the middle of the load
        await s.ending()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert not folder.exists()


async def test_an_agent_that_is_started_again_hands_over_what_the_one_before_had_left(
    bundle: Bundle, tmp_path: Path
) -> None:
    terms = Terms(spool=tmp_path / "spool")
    async with stage(bundle, terms) as s:
        await s.controller.start("steady")
        await until(lambda: len(s.controller.taken) >= 3)
        s.controller.is_mute = True
        before = len(s.controller.taken)
        await until(
            lambda: (
                s.agent._delivery.unacknowledged is not None and s.agent._delivery.unacknowledged.last_seq > before + 20
            )
        )
        assert s.agent._delivery.unacknowledged is not None
        last_seq = s.agent._delivery.unacknowledged.last_seq
        s.running.cancel()
        await asyncio.gather(s.running, return_exceptions=True)
        s.controller.is_mute, s.controller.epoch = False, 2
        _, agents = s.keys
        again = Supervisor(s.controller.address, "eu-west-1", "eu", agents["eu"], terms, WORKER)
        running = asyncio.create_task(again.run())
        try:
            await until(lambda: len(s.controller.taken) >= last_seq)
            await until(lambda: not again._delivery.has_left_over)
            assert {delta.epoch for delta in s.controller.taken} == {1}
            assert [delta.seq for delta in s.controller.taken] == list(range(len(s.controller.taken)))
            assert list((tmp_path / "spool").rglob("*.spool")) == []
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_asked_for_longer_intervals_an_agent_joins_its_deltas_and_loses_none(bundle: Bundle) -> None:
    async with stage(bundle) as s:
        s.controller.asks_ns = 20  # the fake worker's intervals are of 1 ns
        await s.controller.start("steady")
        await until(lambda: len(s.controller.taken) >= 4)
        s.controller.say(Stop("r1", "enough"))
        await until(s.controller.is_complete)
        joints = [delta for delta in s.controller.taken if delta.health.intervals > 1]
        assert {(delta.start_ns % 20, delta.end_ns % 20) for delta in joints[1:-1]} == {(0, 0)}
        assert sum(delta.health.counted[0] for delta in s.controller.taken) == s.controller.taken[-1].end_ns
