"""A controller that was killed in a run, and another one that takes the run up from its folder."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loadgen.allowlist import AllowList, Entry
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.errors import ExitCode, StorageError, UsageError
from loadgen.measure.deltas.rendezvous_counts import WaitingAt
from loadgen.measure.merging.checkpoint import read_checkpoint, thaw
from loadgen.measure.run_folder.kept_stream_log import read_streams
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage as LoadStage
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S
from loadgen.wire.curve_keys import AgentKeys, ControllerKeys, KeyPair
from loadgen.wire.messages import (
    Adjust,
    Reassign,
    ReleaseAt,
    SetUp,
    SetUpDone,
    StartAt,
    TearDown,
    TornDown,
    Waiting,
    Welcome,
)
from loadgen_controller.agents.hub import AgentHub
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.core.load_change_messages import LoadChange
from loadgen_controller.run.checkpointer import Checkpointer, Kept
from loadgen_controller.run.conductor import Conductor, Result
from loadgen_controller.run.finish import Sealed, seal
from loadgen_controller.run.recovery import restore, unfinished
from loadgen_controller.run.rejudge import reread
from loadgen_controller.run.view import PointView
from tests.controller.conftest import JumpingClock, lapse, on_disk, order_of
from tests.support.fake_agent import FakeAgent
from tests.support.kept_streams import kept as kept_stream
from tests.support.wire import until


class Restarts:
    """One run, and as many controllers as it takes."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir, self.clock = runs_dir, JumpingClock()
        own, pair = KeyPair.new(), KeyPair.new()
        self._agent_keys = AgentKeys(pair, own.public)
        self._keys = ControllerKeys(own, {pair.public: "*"})
        self.hub = AgentHub(self._keys, clock=self.clock)
        self._address = self.hub.address
        self.hub.start()
        self._agents: list[FakeAgent] = []
        self.instance_types: dict[str, str] = {}
        self.pythons: dict[str, str] = {}
        self.busy_waits_ns: dict[str, int] = {}

    def begin(self, agents: int = 2, *, allow: AllowList | None = None, **other: object) -> None:
        limits = Limits() if allow is None else Limits.of(allow.allow)
        order = replace(order_of(**other), agents=agents, allow=allow, limits=limits)
        self._conduct(Conductor(order, self.hub, runs_dir=self.runs_dir))

    def _conduct(self, conductor: Conductor) -> None:
        self.conductor = conductor
        self.conducting: asyncio.Task[Result] = asyncio.create_task(conductor.conduct())

    async def started(self, *regions: str) -> tuple[FakeAgent, FakeAgent]:
        for agent, region in zip("ab", regions or ("eu", "us"), strict=True):
            self._agents.append(FakeAgent(self._address, self._agent_keys, agent, region))
            self._agents[-1].instance_type = self.instance_types.get(agent, "")
            self._agents[-1].python = self.pythons.get(agent, "")
            self._agents[-1].busy_wait_ns = self.busy_waits_ns.get(agent, 0)
        a, b = self._agents
        await asyncio.gather(a.start(), b.start())
        self.clock.jump(1)
        await until(lambda: self.conductor.run.phase is Phase.RUNNING)
        return a, b

    async def kill(self, *, durable: bool = True) -> None:
        """As SIGKILL leaves it: nothing is sealed, nobody hears anything. What was to be durable by now is."""
        if durable:
            await on_disk(self)
        self.conducting.cancel()
        with suppress(asyncio.CancelledError):
            await self.conducting
        await self.hub.close()

    async def take_up(self) -> None:
        self.hub = AgentHub(self._keys, self._address, clock=self.clock)
        restored = restore(self.conductor.run_dir)
        self.hub.fleet.restore(restored.members, self.clock())
        self._conduct(Conductor(restored.order, self.hub, runs_dir=self.runs_dir, restored=restored))
        self.hub.start()
        await until(lambda: not self.conductor._is_deaf and self.conductor.run.grace_until_ns)

    async def back(self, *agents: FakeAgent) -> None:
        """As agents do: they say Hello, and send again what was not acknowledged."""
        for agent in agents:
            welcome = await agent.join()
            assert (welcome.epoch, welcome.run_id) == (1, self.conductor.run_id), "the same process, the same epoch"
            await agent.deliver(*range(agent.acked + 1, len(agent.recording.deltas)))

    async def result(self) -> Result:
        async with asyncio.timeout(60):
            return await self.conducting

    async def close(self) -> None:
        self.conducting.cancel()
        with suppress(asyncio.CancelledError):
            await self.conducting
        await self.hub.close()
        for agent in self._agents:
            await agent.close()


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Restarts]:
    made = Restarts(tmp_path)
    yield made
    await made.close()


SIX_SECONDS: dict[str, Any] = {
    "profile": ArrivalProfile((LoadStage(20, 20, 6 * NS_PER_S),)),
    "duration_ns": 6 * NS_PER_S,
}
"""A plan for agents that record ten iterations in each of six seconds."""


async def end(run: Restarts, *agents: FakeAgent, seconds: int = 3) -> Result:
    for agent in agents:
        while len(agent.recording.deltas) < seconds:
            agent.recording.interval()
            await agent.deliver(len(agent.recording.deltas) - 1)
        await agent.finish()
    return await run.result()


def total(result: Result, agents: tuple[FakeAgent, ...]) -> None:
    """Every count that an agent recorded is there, once."""
    requests = result.summary["requests"]
    assert isinstance(requests, dict)
    assert requests["finished"] == sum(a.recording.fin().totals.requests_finished for a in agents)
    assert result.verdict.completeness.is_complete
    assert reread(RunDir.open(result.run_dir)).exit_code == result.exit_code


async def test_a_run_that_is_taken_up_knows_on_what_its_agents_are(run: Restarts) -> None:
    """They do not say it again: it is the same process to which the new controller owes its epoch."""
    run.begin()
    run.pythons = {"a": "CPython 3.13.5 with PGO and LTO"}
    run.instance_types, run.busy_waits_ns = {"a": "c7i.xlarge"}, {"b": 41_000}
    agents = a, b = await run.started()
    await run.kill()
    await run.take_up()
    await run.back(*agents)
    result = await end(run, a, b)
    manifest = open_run(result.run_dir).manifest
    assert {one["id"]: one["instance_type"] for one in manifest["agents"]} == {"a": "c7i.xlarge", "b": None}
    assert {one["id"]: one["python"] for one in manifest["agents"]} == {**run.pythons, "b": None}
    assert {one["id"]: one["busy_wait_us"] for one in manifest["agents"]} == {"a": 0, "b": 41}


# -- counts ----------------------------------------------------------------------------------------


@pytest.mark.fault("F4", "at the wire, four times")
async def test_a_run_goes_on_where_it_was_and_no_count_is_lost_or_doubled(run: Restarts) -> None:
    run.begin(**SIX_SECONDS)
    agents = a, b = await run.started()
    a.recording.interval()
    b.recording.interval()
    await asyncio.gather(a.deliver(), b.deliver())
    await asyncio.gather(a.acknowledged(0), b.acknowledged(0))
    for _ in range(4):
        await run.kill()
        a.recording.interval()  # while nobody listens
        await run.take_up()
        await run.back(a, b)
        await a.acknowledged(len(a.recording.deltas) - 1)
    result = await end(run, a, b, seconds=6)
    assert result.exit_code is ExitCode.PASSED
    total(result, agents)


@pytest.mark.fault("F6", "between the disk and the acknowledgement")
async def test_what_was_durable_and_not_acknowledged_is_acknowledged_and_not_counted_again(run: Restarts) -> None:
    run.begin()
    agents = a, b = await run.started()
    a.recording.interval()
    await a.deliver()
    await a.acknowledged(0)
    await run.kill()
    a.acked = -1  # the acknowledgement was lost on its way
    await run.take_up()
    await run.back(a, b)
    await a.acknowledged(0)
    assert run.conductor.rejected_input["duplicate"] == 1
    total(await end(run, *agents), agents)


@pytest.mark.fault("F6", "before the disk")
async def test_what_was_not_durable_is_sent_again(run: Restarts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen_controller.run.delta_journal.COMMIT_S", 0.1)
    run.begin()
    agents = a, b = await run.started()
    await on_disk(run)
    monkeypatch.setattr("loadgen_controller.run.delta_journal.COMMIT_S", 60)
    a.recording.interval()
    await a.deliver()
    await until(lambda: run.conductor.view().merge.counters().requests_finished)
    await run.kill(durable=False)
    monkeypatch.setattr("loadgen_controller.run.delta_journal.COMMIT_S", 0.1)
    await run.take_up()
    assert run.conductor.view().merge.counters().requests_finished == 0
    await run.back(a, b)
    await a.acknowledged(0)
    total(await end(run, *agents), agents)


@pytest.mark.fault("F6", "in the middle of a record")
async def test_a_record_that_was_torn_by_the_crash_is_cut_and_sent_again(run: Restarts) -> None:
    run.begin()
    agents = a, b = await run.started()
    for _ in range(2):
        a.recording.interval()
    await a.deliver()
    await a.acknowledged(1)
    await run.kill()
    log = run.conductor.run_dir / "deltas.log"
    os.truncate(log, log.stat().st_size - 3)
    with (run.conductor.run_dir / "events.jsonl").open("ab") as events:
        events.write(b'{"at": "2026-')
    a.acked = 0  # what is torn was not durable, so it was not acknowledged
    await run.take_up()
    await run.back(a, b)
    total(await end(run, *agents), agents)


async def test_kept_streams_are_there_once_after_restarts(run: Restarts) -> None:
    run.begin(**SIX_SECONDS, llm={"model": "m", "keep_streams": 0.5})
    agents = a, b = await run.started()
    for k in range(2):
        for _ in range(2):
            a.recording.interval()
            n = len(a.recording.deltas) - 1
            a.recording.deltas[n] = replace(a.recording.deltas[n], streams=(kept_stream(n),), streams_left_out=1)
        await a.deliver(*range(2 * k, 2 * k + 2))
        await a.acknowledged(2 * k + 1)
        await run.kill()
        a.acked = -1  # the acknowledgements were lost, so the agent sends all of them again
        await run.take_up()
        await run.back(a, b)
        await a.acknowledged(2 * k + 1)
    result = await end(run, *agents, seconds=6)

    found = read_streams(result.run_dir)
    assert found is not None
    assert ([one.stream.n for one in found.streams], found.left_out, found.share) == ([0, 1, 2, 3], 4, 0.5)
    assert {(one.agent, one.region) for one in found.streams} == {("a", "eu")}


# -- state -----------------------------------------------------------------------------------------


async def test_changes_of_the_load_are_told_to_who_missed_them_and_the_end_stands(run: Restarts) -> None:
    run.begin()
    agents = a, b = await run.started()
    run.conductor.adjust(LoadChange("scale", factor=2, by="alice"))
    run.conductor.adjust(LoadChange("pause"))
    before = run.conductor.end_ns, run.conductor.view().spec, run.conductor.due_before(10**10)
    for agent in agents:
        await agent.next(Adjust, lambda adjust: adjust.number == 2)
        agent.heard.clear()
    await run.kill()
    await run.take_up()
    await run.back(a, b)
    assert (run.conductor.end_ns, run.conductor.view().spec, run.conductor.due_before(10**10)) == before
    assert run.conductor.view().is_paused
    await b.beat(adjusted=1)
    assert (await b.next(Adjust)).number == 2
    run.conductor.adjust(LoadChange("resume"))
    assert (await a.next(Adjust)).number == 3
    result = await end(run, *agents)
    rows = result.summary["adjustments"]
    assert isinstance(rows, list)
    assert [(row["kind"], row["by"]) for row in rows] == [("scale", "alice"), ("pause", ""), ("resume", "")]


async def test_when_a_run_began_is_known_though_the_line_that_tells_it_was_late(run: Restarts) -> None:
    run.begin()
    await run.started()
    t0_ns = run.conductor.run.t0_ns
    await run.kill()
    restored = restore(run.conductor.run_dir)
    restored.folder.close()
    late = next(line for line in restored.folder.read_events() if line.get("name") == "Tick")
    assert t0_ns is not None
    late_s = (int(str(late["now_ns"])) - t0_ns) / 1e9
    assert late_s > 0.1
    assert restored.started_at == datetime.fromisoformat(str(late["at"])) - timedelta(seconds=round(late_s, 6))


async def test_the_allow_list_and_the_caps_of_before_still_hold(run: Restarts) -> None:
    listed = AllowList(
        allow=(Entry(host="127.0.0.1", owner="the shop", expires=date(2099, 12, 31), max_requests_per_s=150),)
    )
    run.begin(allow=listed)
    a, b = await run.started()
    await run.kill()
    await run.take_up()
    await run.back(a, b)
    assert (run.conductor.order.allow, run.conductor.order.limits) == (listed, Limits(max_requests_per_s=150))
    with pytest.raises(UsageError, match="admits only 150 requests/s"):
        run.conductor.adjust(LoadChange("scale", factor=1_000))
    await end(run, a, b)


async def test_a_fin_of_before_is_still_there(run: Restarts) -> None:
    run.begin()
    agents = a, b = await run.started()
    for _ in range(3):
        a.recording.interval()
    await a.deliver()
    await a.finish()
    await until(lambda: "a" in run.conductor.run.merged)
    await run.kill()
    await run.take_up()
    assert run.conductor.run.merged == {"a"}
    await run.back(b)
    total(await end(run, b), agents)


async def test_what_the_set_up_returned_is_kept_for_the_tear_down_and_then_forgotten(run: Restarts) -> None:
    run.begin(has_set_up=True, has_tear_down=True)
    for agent, region in (("a", "eu"), ("b", "us")):
        run._agents.append(FakeAgent(run._address, run._agent_keys, agent, region))
    a, b = run._agents
    await asyncio.gather(a.get_ready(), b.get_ready())
    await a.next(SetUp)
    await a.send(SetUpDone(run.conductor.run_id, b'{"session": "s3cret"}'))
    await asyncio.gather(a.next(StartAt), b.next(StartAt))
    run.clock.jump(1)
    await run.kill()
    secret = run.conductor.run_dir / "shared.json"
    assert secret.stat().st_mode & 0o077 == 0
    await run.take_up()
    await run.back(a, b)
    ending = asyncio.create_task(end(run, a, b))
    assert (await a.next(TearDown)).shared_json == b'{"session": "s3cret"}'
    await a.send(TornDown(run.conductor.run_id))
    result = await ending
    assert result.exit_code is ExitCode.PASSED
    assert not secret.exists()
    assert not any("s3cret" in path.read_text(errors="replace") for path in result.run_dir.iterdir() if path.is_file())


async def test_an_agent_that_does_not_come_back_is_lost_as_any_other(run: Restarts) -> None:
    run.begin()
    a, _ = await run.started()
    await run.kill()
    await run.take_up()
    await run.back(a)
    await lapse(run, 12, a)
    await until(lambda: run.conductor.run.lost == {"b"})


async def test_shares_that_were_moved_stay_moved_and_are_told_to_who_missed_it(run: Restarts) -> None:
    long_ns = 100 * NS_PER_S
    run.begin(regions={"eu": 1.0}, duration_ns=long_ns, profile=ArrivalProfile((LoadStage(20, 20, long_ns),)))
    a, _ = await run.started("eu", "eu")
    await lapse(run, 16, a)
    moved = await a.next(Reassign)
    assert (moved.number, moved.generation, moved.weights) == (1, 2, (1, 0))
    await run.kill()
    await run.take_up()
    assert run.conductor.run.moved == {"b"}
    await run.back(a)
    await a.beat(adjusted=0)
    assert await a.next(Reassign) == moved


async def test_who_has_met_whom_is_still_known(run: Restarts) -> None:
    def at_sale(arrived: int, gone: int = 0) -> Waiting:
        return Waiting(run.conductor.run_id, 0, 0, (WaitingAt(0, "sale opens", 10, arrived, gone),))

    run.begin()
    a, b = await run.started()
    await a.send(at_sale(7))
    await until(lambda: run.conductor.view().points == (PointView("", "sale opens", 7, 10, 0),))
    await b.send(at_sale(8))  # each on a connection of its own, and who is heard first goes first
    (first,) = [await b.next(ReleaseAt)]
    await run.kill()
    await run.take_up()
    await run.back(a, b)
    assert run.conductor.view().points == (PointView("", "sale opens", 0, 10, 1),)
    await a.send(at_sale(12, 7))
    await b.send(at_sale(8))  # it has not heard
    await until(lambda: run.conductor.view().points == (PointView("", "sale opens", 0, 10, 2),))
    second = await b.next(ReleaseAt, lambda release: release.upto > first.upto)
    assert (first.upto, second.upto) == (3, 8)
    result = await end(run, a, b)
    lines = map(json.loads, (result.run_dir / "events.jsonl").read_text().splitlines())
    assert [line["group"] for line in lines if line["kind"] == "rendezvous"] == [1, 2]


async def test_another_process_of_the_name_is_another_epoch(run: Restarts) -> None:
    run.begin()
    a, _ = await run.started()
    await run.kill()
    await run.take_up()
    newer = FakeAgent(run._address, run._agent_keys, "b", "us", pid=2)
    run._agents.append(newer)
    await run.back(a)
    await newer.send(newer.hello())
    assert (await newer.next(Welcome)).epoch == 2
    await until(lambda: "b" in run.conductor.run.lost)


async def test_a_run_that_had_not_begun_ends_when_it_is_taken_up(run: Restarts) -> None:
    run.begin()
    await run.kill()
    await run.take_up()
    result = await run.result()
    assert result.exit_code is not ExitCode.PASSED
    assert "before the load had begun" in str(result.summary["reasons"])


# -- folders ---------------------------------------------------------------------------------------


@pytest.mark.fault("F31", "the run's folder has a lock")
async def test_a_run_has_one_controller(run: Restarts) -> None:
    run.begin()
    await run.started()
    await on_disk(run)
    with pytest.raises(StorageError, match="another controller"):
        restore(run.conductor.run_dir)
    await run.kill()
    assert unfinished(run.runs_dir) == [run.conductor.run_dir]
    await run.take_up()
    with pytest.raises(StorageError, match="another controller"):
        restore(run.conductor.run_dir)


async def test_a_run_that_is_over_is_not_taken_up(run: Restarts) -> None:
    run.begin()
    a, b = await run.started()
    result = await end(run, a, b)
    assert unfinished(run.runs_dir) == []
    with pytest.raises(UsageError, match="is over"):
        restore(result.run_dir)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "another manifest": lambda path: (path / "manifest.json").write_text('{"format": 9}'),
    "no bundle": lambda path: (path / "bundle.tar").unlink(),
    "no beginning": lambda path: (path / "events.jsonl").write_text(""),
    "no events": lambda path: (path / "events.jsonl").write_text("nonsense\n"),
}


@pytest.mark.parametrize("case", DAMAGE)
async def test_a_folder_that_is_damaged_is_said_so_and_left_as_it_is(case: str, run: Restarts) -> None:
    run.begin()
    await run.started()
    await run.kill()
    DAMAGE[case](run.conductor.run_dir)
    with pytest.raises((StorageError, UsageError)):
        restore(run.conductor.run_dir)
    RunDir.open(run.conductor.run_dir, writable=True).close()  # nobody holds it


# -- from a checkpoint -----------------------------------------------------------------------------


@pytest.mark.fault("F4", "with a checkpoint")
async def test_a_run_is_taken_up_from_its_checkpoint_and_only_what_came_after_it_is_read(
    run: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpointer, "is_due", property(lambda self: bool(self._merge.waiting)))
    monkeypatch.setattr("loadgen_controller.run.checkpointer._LOOK_S", 0.01)
    run.begin(**SIX_SECONDS)
    agents = a, b = await run.started()
    checkpoint = run.conductor.run_dir / "checkpoint"
    for _ in range(2):
        a.recording.interval()
        b.recording.interval()
        await asyncio.gather(a.deliver(), b.deliver())
        await asyncio.gather(*(one.acknowledged(len(one.recording.deltas) - 1) for one in agents))
        await until(lambda: _epochs_in(checkpoint) == {"a": len(a.recording.deltas), "b": len(b.recording.deltas)})
        monkeypatch.setattr(Checkpointer, "is_due", property(lambda self: False))
        a.recording.interval()
        await a.deliver(len(a.recording.deltas) - 1)
        await a.acknowledged(len(a.recording.deltas) - 1)
        await run.kill()
        log = run.conductor.run_dir / "deltas.log"
        whole = log.read_bytes()
        log.write_bytes(whole[:20] + bytes(20) + whole[40:])  # what the checkpoint has is not looked at
        await run.take_up()
        log.write_bytes(whole)
        monkeypatch.setattr(Checkpointer, "is_due", property(lambda self: bool(self._merge.waiting)))
        await run.back(a, b)
    result = await end(run, a, b, seconds=6)
    assert result.exit_code is ExitCode.PASSED
    total(result, agents)
    assert not checkpoint.exists()
    assert not (run.conductor.run_dir / "merged.log").exists()


def _epochs_in(path: Path) -> dict[str, int]:
    found = read_checkpoint(path)
    if found is None:
        return {}
    merge = thaw(found.state)
    return {epoch.agent: epoch.next_seq for agent in merge.agents() for epoch in merge.epochs(agent)}


@pytest.mark.parametrize("other", [{}, {"warmup_is_found": True}, {"warmup_ns": NS_PER_S}])
async def test_a_summary_from_sums_is_the_one_from_the_log(
    run: Restarts, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    monkeypatch.setattr(Checkpointer, "is_due", property(lambda self: bool(self._merge.waiting)))
    monkeypatch.setattr("loadgen_controller.run.checkpointer._LOOK_S", 0.01)
    both: list[tuple[object, bytes]] = []

    def sealed_twice(folder: RunDir, *others: Any) -> Sealed:
        assert isinstance(others[-1], Kept)
        for kept in (None, others[-1]):
            given = (*others[:-1], kept)
            sealed = seal(folder, *given)
            both.append((sealed.summary, folder.hlog_path.read_bytes()))
        return sealed

    monkeypatch.setattr("loadgen_controller.run.conductor.seal", sealed_twice)
    stages = (LoadStage(20, 20, 60 * NS_PER_S),)
    minute: dict[str, Any] = {"profile": ArrivalProfile(stages), "duration_ns": 60 * NS_PER_S}
    run.begin(**minute, **other)
    a, b = await run.started()
    run.clock.jump(40)
    for _ in range(40):
        a.recording.interval()
    await a.deliver()
    await a.acknowledged(39)
    await until(lambda: (run.conductor.run_dir / "checkpoint").exists())
    await end(run, a, b)
    from_log, from_sums = both
    assert from_sums == from_log
