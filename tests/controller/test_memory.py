"""F18, P9: a message that never ends, from a peer with a good key, costs a second and not the controller."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from loadgen.errors import ExitCode
from loadgen.units import NS_PER_S
from loadgen.wire.messages import Bye
from loadgen_controller.agents.memory_guard import Memory, Relief, give_back, limit_bytes, used_bytes
from loadgen_controller.run.conductor import Result
from tests.controller.conftest import Play
from tests.support.fake_agent import FakeAgent
from tests.support.raw_zmtp import RawPeer
from tests.support.wire import until

Stage = Callable[..., Play]
MIB = 1 << 20


def test_within_the_limit_nothing_is_done() -> None:
    memory = Memory(100)
    assert {memory.check(used, used) for used in range(101)} == {Relief.NONE}


def test_above_it_all_connections_are_dropped_and_if_that_does_not_help_the_runs_are_ended() -> None:
    memory = Memory(100)
    assert [memory.check(used, 0) for used in (101, 50, 101, 102)] == [
        Relief.DROP,
        Relief.NONE,
        Relief.DROP,
        Relief.END,
    ]


def test_the_third_time_within_a_minute_the_runs_are_ended() -> None:
    memory = Memory(100)
    looks = [memory.check(used, at * NS_PER_S) for at in (0, 20, 40) for used in (101, 50)]
    assert looks[::2] == [Relief.DROP, Relief.DROP, Relief.END]
    memory = Memory(100)
    looks = [memory.check(used, at * NS_PER_S) for at in (0, 40, 80, 120) for used in (101, 50)]
    assert looks[::2] == [Relief.DROP] * 4


def test_the_limit_is_four_fifths_of_the_machine_or_of_the_least_limit_around_us(tmp_path: Path) -> None:
    assert used_bytes() < limit_bytes()
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/loadgen.service\n")
    own = tmp_path / "sys/fs/cgroup/system.slice/loadgen.service"
    own.mkdir(parents=True)
    (own / "memory.max").write_text("max\n")
    machine = limit_bytes(tmp_path)
    (own / "memory.max").write_text("100000000\n")  # MemoryMax= of the service
    (own.parent / "memory.max").write_text("200000000\n")
    assert limit_bytes(tmp_path) == 80_000_000 < machine


@contextmanager
def endless(play: Play) -> Iterator[None]:
    """A keyed peer that sends parts of one message for ever, and comes again when it is thrown out."""
    is_over = False

    def flood() -> None:
        while not is_over:
            with suppress(OSError, AssertionError):
                peer = RawPeer(play.hub.address, play.keys, "evil")
                try:
                    while not is_over:
                        peer.send_part(bytes(64 << 10), more=True)
                finally:
                    peer.close()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield
    finally:
        is_over = True
        thread.join()


async def beat_for_ever(*agents: FakeAgent) -> None:
    while True:
        for agent in agents:
            with suppress(TimeoutError):  # it has no connection just now
                async with asyncio.timeout(1):
                    await agent.beat()
        await asyncio.sleep(0.2)


def dropped(result: Result) -> int:
    lines = map(json.loads, (result.run_dir / "events.jsonl").read_text().splitlines())
    return sum(line["kind"] == "connections dropped" for line in lines)


def room(mib: int) -> int:
    give_back()
    return used_bytes() + mib * MIB


@pytest.mark.fault("F18", "once")
async def test_p9_f18_a_message_that_never_ends_costs_a_hang_up_and_the_run_is_complete(stage: Stage) -> None:
    RawPeer.check()
    play = stage(memory_bytes=room(60))
    a, b = await play.started()
    with endless(play):
        await until(lambda: any("out of memory" in notice for notice in play.conductor.view().notices))
    for agent in (a, b):
        for _ in range(3):
            agent.recording.interval()
        while agent.acked < 2:  # what went into the dying connection is lost: P1
            await agent.deliver()
            await asyncio.sleep(0.1)
        await agent.finish()
    for agent in (a, b):
        await agent.next(Bye)
    result = await play.result()
    assert result.exit_code is ExitCode.PASSED, result.verdict.reasons
    assert dropped(result) in (1, 2)


@pytest.mark.fault("F18", "again and again")
async def test_p9_f18_one_that_comes_again_and_again_ends_the_run_with_what_was_measured(stage: Stage) -> None:
    RawPeer.check()
    play = stage(memory_bytes=room(40))
    a, b = await play.started()
    a.recording.interval()
    await a.deliver()
    await a.acknowledged(0)
    beating = asyncio.create_task(beat_for_ever(a, b))
    with endless(play):
        async with asyncio.timeout(50):
            result = await play.conducting
    beating.cancel()
    assert result.exit_code is ExitCode.FLEET
    assert any("out of memory" in reason for reason in result.verdict.reasons)
    assert play.conductor.view().merge.next_seq("a", 1) == 1
    assert dropped(result) >= 2  # the third look within a minute, or one that finds no less than before, ends the run
