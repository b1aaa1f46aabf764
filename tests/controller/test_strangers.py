"""Who is heard by a controller that runs, and who no longer: keys that come and go, names that two want."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.errors import ExitCode
from loadgen.wire.keyfolder import add_agent, handout, init_keys, revoke
from loadgen.wire.keys import AgentKeys, load_agent, load_controller
from loadgen.wire.messages import Bye, Rejected
from loadgen_controller import doorkeeper
from loadgen_controller.conductor import Result
from tests.controller.conftest import Play
from tests.support.wire import until

Stage = Callable[..., Play]


def events(result: Result, kind: str) -> list[dict[str, object]]:
    lines = map(json.loads, (result.run_dir / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with keys of a and b, looked at often."""
    monkeypatch.setattr(doorkeeper, "LOOK_S", 0.1)
    init_keys(tmp_path / "keys")
    for name in ("a", "b"):
        add_agent(tmp_path / "keys", name)
    return tmp_path / "keys"


def of(keys: Path, name: str) -> AgentKeys:
    return load_agent(handout(keys, name))


def test_the_folder_is_looked_at_often_enough_for_the_promise_of_10_s() -> None:
    assert doorkeeper.LOOK_S < 5


async def test_f15_a_revoked_key_is_told_and_heard_no_more_though_its_connection_stands(
    stage: Stage, keys: Path
) -> None:
    play = stage(controller_keys=load_controller(keys))
    a, b = (play.agent(name, region, keys=of(keys, name)) for name, region in (("a", "eu"), ("b", "us")))
    await asyncio.gather(a.start(), b.start())
    play.clock.jump(1)
    b.recording.interval()
    await b.deliver()
    await b.acknowledged(0)

    revoke(keys, "b")

    assert (await b.next(Rejected)).reason == "the key of b was revoked"
    b.recording.interval()
    await b.deliver(1)
    await play.trouble("revoked key")
    assert play.conductor.view().merge.next_seq("b", 1) == 1, "what came after the revocation is not merged"
    for _ in range(11):
        play.clock.jump(0.9)
        await a.beat()
        await b.beat()
        await asyncio.sleep(0.06)
    await until(lambda: play.conductor.run.lost == frozenset({"b"}))
    for _ in range(3):
        a.recording.interval()
    await a.deliver()
    await a.finish()
    await a.next(Bye)
    result = await play.result()
    assert result.exit_code is ExitCode.INCOMPLETE
    assert "the key of b was revoked" in result.verdict.reasons[0]
    assert [(e["name"], e["agents"]) for e in events(result, "key revoked")] == [("b", ["b"])]


async def test_f15_a_revoked_key_cannot_come_in_again_and_its_name_can_with_a_new_key(stage: Stage, keys: Path) -> None:
    play = stage(controller_keys=load_controller(keys))
    old = of(keys, "b")
    revoke(keys, "b")
    add_agent(keys, "b")
    new = play.agent("b", "us", keys=of(keys, "b"))
    assert (await new.join()).epoch == 1
    refused = play.agent("b", "us", keys=old)
    await until(lambda: "does not know our key" in refused.trouble)
    await play.trouble("unknown key")


async def test_a_folder_of_keys_that_is_away_for_a_while_changes_nothing_and_is_said(stage: Stage, keys: Path) -> None:
    play = stage(controller_keys=load_controller(keys))
    a = play.agent("a", "eu", keys=of(keys, "a"))
    b_keys = of(keys, "b")
    await a.join()
    keys.rename(keys.with_name("away"))
    await play.trouble("keys folder")
    assert (await a.join()).epoch == 1
    assert (await play.agent("b", "us", keys=b_keys).join()).epoch == 1


async def test_f14_of_two_processes_with_one_name_the_newer_stays_and_the_older_is_told_to_stop(stage: Stage) -> None:
    play = stage()
    _, b = await play.started()
    b.recording.interval()
    await b.deliver()
    await b.acknowledged(0)

    newer = play.agent("b", "us", pid=2)
    assert (await newer.join()).epoch == 2

    assert "process 2 on here has registered as b after it" in (await b.next(Rejected)).reason
    b.recording.interval()
    await b.deliver(1)
    await b.next(Rejected)
    await b.send(b.hello())
    await b.next(Rejected)
    assert (await newer.join()).epoch == 2, "the older one did not take the name back"
    assert play.conductor.view().merge.next_seq("b", 1) == 1


async def test_f14_an_older_process_that_was_away_does_not_take_its_name_back(stage: Stage) -> None:
    play = stage()
    for pid in (1, 2):
        assert (await play.agent("b", "us", pid=pid).join()).epoch == pid
    older = play.agent("b", "us", pid=1)
    await older.send(older.hello(epoch=1))
    assert "process 2 on here" in (await older.next(Rejected)).reason


async def test_f14_a_name_is_refused_to_whoever_has_another_key(stage: Stage, keys: Path) -> None:
    play = stage(controller_keys=load_controller(keys))
    honest = play.agent("a", "eu", keys=of(keys, "a"))
    await honest.join()
    other = play.agent("a", "eu", keys=of(keys, "b"), pid=2)
    await other.send(other.hello())
    await play.trouble("impostor")
    assert other.heard == []
    assert (await honest.join()).epoch == 1
