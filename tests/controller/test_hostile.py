"""G15, F17: an agent with a good key that sends a hundred thousand hostile messages harms nobody but itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage as LoadStage
from loadgen.units import NS_PER_S
from loadgen.wire.codec import encode
from loadgen.wire.messages import (
    Bye,
    Heartbeat,
    Message,
    Ready,
    Refused,
    SetUpDone,
    Steered,
    Stop,
    TornDown,
    Waiting,
    WaitingAt,
)
from loadgen_controller.core.quarantine import Quarantine
from loadgen_controller.core.registry import Fleet
from tests.controller.conftest import Play
from tests.support.fake_agent import FakeAgent
from tests.support.fuzz import mutated
from tests.support.wire import until

Stage = Callable[..., Play]
SEED = 20261125
AN_HOUR = {"profile": ArrivalProfile((LoadStage(20, 20, 3600 * NS_PER_S),)), "duration_ns": 3600 * NS_PER_S}


def said(agent: FakeAgent) -> list[bytes]:
    """What an agent says in a run, each in its right form."""
    run_id = agent.recording.run_id
    for _ in range(4):
        agent.recording.interval()
    deltas = [replace(delta, seq=seq) for delta in agent.recording.deltas for seq in (delta.seq, 0, 7)]
    rest: list[Message] = [
        agent.hello(),
        agent.hello(epoch=1),
        Ready(run_id, 1, "ab" * 32, 1000),
        Refused(run_id, "no"),
        SetUpDone(run_id, b"{}", ""),
        Heartbeat(run_id, "running", 3, 2, "a note"),
        Waiting(run_id, 0, 0, (WaitingAt(0, "sale", 10, 3, 1),)),
        Steered(run_id, 0, 1, 5.0, False, "why"),
        TornDown(run_id),
        Stop(run_id, "stop", True),
        Bye(run_id, True),
        agent.recording.fin(),
    ]
    return [encode(message) for message in (*deltas, *rest)]


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def attack(play: Play, a: FakeAgent, b: FakeAgent, count: int) -> list[int]:
    """Handed to the station as if the socket had; in the end 10 figures of what memory it took on the way."""
    member = play.hub.fleet.get("b")
    assert member is not None
    seen = []
    messages = mutated(said(b), SEED)
    for _ in range(10):
        for number, data in enumerate(islice(messages, count // 10)):
            play.hub._on_message(member.identity, "b", data)
            if number % 1_000 == 0:
                await a.beat()
            elif number % 200 == 0:
                await asyncio.sleep(0)
        seen.append(rss_bytes())
    return seen


async def survived(play: Play, a: FakeAgent) -> None:
    """The other agent's run is what it would have been."""
    play.hub.check()
    await a.beat()
    for _ in range(3):
        a.recording.interval()
    await a.deliver()
    await until(lambda: a.acked >= 2)
    await a.finish()
    await a.next(Bye)
    await play.result()
    assert play.conductor._bug == "", "no exception has reached the conductor"
    merge, fin = play.conductor.view().merge, a.recording.fin()
    assert merge.counters(agent="a") == fin.totals
    assert merge.epochs("a")[0].recorded == fin.recorded


@pytest.mark.fault("F17", "thousands of changed messages of a keyed agent")
@pytest.mark.parametrize("count", [5_000, pytest.param(150_000, marks=pytest.mark.slow)])
async def test_g15_f17_no_exception_escapes_and_memory_stays_flat(
    count: int, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quarantine, "bad", lambda self, agent: False)  # else the eleventh would be the last to be read
    monkeypatch.setattr(Quarantine, "begin", lambda self, agent: None)  # a changed number may be beyond a limit
    monkeypatch.setattr(Fleet, "unheard", lambda self, agent, because: None)
    play = stage(**AN_HOUR)
    a, b = await play.started()
    seen = await attack(play, a, b, count)
    assert sum(play.conductor.rejected_input.values()) > count / 2, f"seed {SEED}"
    assert seen[-1] - seen[1] < 30 << 20, f"seed {SEED}: {seen}"
    play.hub.lose("b", "it was hostile")
    await survived(play, a)


@pytest.mark.fault("F17", "quarantine")
async def test_g15_f17_a_hostile_agent_is_in_quarantine_and_the_other_ends_its_run(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    await attack(play, a, b, 2_000)
    assert play.conductor.rejected_input["quarantine"] > 1_500
    play.hub.lose("b", "it was hostile")
    await survived(play, a)
