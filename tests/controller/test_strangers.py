"""Who is heard by a controller that runs, and who no longer: keys that come and go, names that two want."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, find, settings

from loadgen.errors import ExitCode
from loadgen.wire.codec import encode
from loadgen.wire.curve_keys import AgentKeys, load_agent, load_controller
from loadgen.wire.key_folder_changes import add_agent, handout, init_keys, revoke
from loadgen.wire.messages import (
    FROM_AGENTS,
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Ack,
    Bye,
    Message,
    Nack,
    Rejected,
    Welcome,
)
from loadgen_controller.agents import key_watcher
from loadgen_controller.core import registry
from loadgen_controller.core.quarantine import BAD_MESSAGES
from loadgen_controller.run.conductor import Result
from tests.controller.conftest import Play, lapse
from tests.support.messages import BY_CLASS
from tests.support.wire import until

Stage = Callable[..., Play]


def events(result: Result, kind: str) -> list[dict[str, object]]:
    lines = map(json.loads, (result.run_dir / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with keys of a and b, looked at often."""
    monkeypatch.setattr(key_watcher, "LOOK_S", 0.1)
    init_keys(tmp_path / "keys")
    for name in ("a", "b"):
        add_agent(tmp_path / "keys", name)
    return tmp_path / "keys"


def of(keys: Path, name: str) -> AgentKeys:
    return load_agent(handout(keys, name))


def test_the_folder_is_looked_at_often_enough_for_the_promise_of_10_s() -> None:
    assert key_watcher.LOOK_S < 5


@pytest.mark.fault("F15", "a key that is revoked in a run")
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
    await lapse(play, 10, a, b)
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


@pytest.mark.fault("F15", "a key that is revoked while a real agent uses it")
async def test_f15_a_real_agent_leaves_within_10_s_of_its_revocation(
    stage: Stage, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the folder is looked at as often as in earnest
    play = stage(controller_keys=load_controller(keys))
    argv = ["--controller", play.hub.address, "--region", "us", "--keys", str(handout(keys, "b")), "--id", "b"]
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadgen_agent.cli", *argv, stderr=asyncio.subprocess.PIPE
    )
    await until(lambda: play.hub.fleet.get("b"), 60)
    revoke(keys, "b")
    async with asyncio.timeout(60):
        _, said = await agent.communicate()
    assert agent.returncode == ExitCode.FLEET
    assert b"the key of b was revoked" in said


@pytest.mark.fault("F15", "a revoked key that comes again")
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


@pytest.mark.fault("F14", "same key")
async def test_f14_of_two_processes_with_one_name_the_newer_stays_and_the_older_is_told_to_stop(stage: Stage) -> None:
    play = stage()
    _, b = await play.started()
    b.recording.interval()
    await b.deliver()
    await b.acknowledged(0)

    newer = play.agent("b", "us", pid=2)
    assert (await newer.join()).epoch == 2

    assert "process 2 on here has registered as b after this one" in (await b.next(Rejected)).reason
    b.recording.interval()
    await b.deliver(1)
    await b.next(Rejected)
    await b.send(b.hello())
    await b.next(Rejected)
    assert (await newer.join()).epoch == 2, "the older one did not take the name back"
    assert play.conductor.view().merge.next_seq("b", 1) == 1


@pytest.mark.fault("F14", "same key, the older comes back")
async def test_f14_an_older_process_that_was_away_does_not_take_its_name_back(stage: Stage) -> None:
    play = stage()
    for pid in (1, 2):
        assert (await play.agent("b", "us", pid=pid).join()).epoch == pid
    older = play.agent("b", "us", pid=1)
    await older.send(older.hello(epoch=1))
    assert "process 2 on here" in (await older.next(Rejected)).reason


@pytest.mark.fault("F14", "another key")
async def test_f14_a_name_is_refused_to_whoever_has_another_key(stage: Stage, keys: Path) -> None:
    play = stage(controller_keys=load_controller(keys))
    honest = play.agent("a", "eu", keys=of(keys, "a"))
    await honest.join()
    other = play.agent("a", "eu", keys=of(keys, "b"), pid=2)
    await other.send(other.hello())
    await play.trouble("impostor")
    assert other.heard == []
    assert (await honest.join()).epoch == 1


# -- what peers say that have a good key ----------------------------------------------------------


async def test_g15_an_agent_hears_what_of_it_was_no_use(stage: Stage) -> None:
    play = stage()
    _, b = await play.started()
    await b.send_bytes(b"nonsense")
    assert (await b.next(Nack)).reason.startswith("unreadable: from b: ")
    b.recording.interval()
    await b.send(replace(b.recording.deltas[0], stats=()))
    assert "sums that do not match its counts" in (await b.next(Nack)).reason
    await b.deliver()
    await b.acknowledged(0)


async def test_g15_an_agent_that_sends_too_much_nonsense_is_told_to_go_and_is_lost(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    for n in range(BAD_MESSAGES):
        await b.send_bytes(b"nonsense \x1b[2J %d" % n)
    assert "quarantine after 10 invalid messages within 60 s" in (await b.next(Rejected)).reason
    b.recording.interval()
    await b.deliver()
    await play.trouble("quarantine")
    assert play.conductor.view().merge.next_seq("b", 1) == 0
    await lapse(play, 10, a)
    await until(lambda: play.conductor.run.lost == frozenset({"b"}))
    for _ in range(3):
        a.recording.interval()
    await a.deliver()
    await a.finish()
    result = await play.result()
    assert "in quarantine after 10 invalid messages" in result.verdict.reasons[0]
    (event,) = events(result, "quarantined")
    assert event["agent"] == "b"
    assert "\x1b" not in str([event["why"], *play.conductor.view().notices])


async def test_g15_after_a_minute_an_agent_that_was_in_quarantine_can_come_anew(stage: Stage) -> None:
    play = stage()
    b = play.agent("b", "us")
    await b.join()
    for _ in range(BAD_MESSAGES):
        await b.send_bytes(b"nonsense")
    await b.next(Rejected)
    again = play.agent("b", "us", pid=2)
    await again.send(again.hello())
    assert "in quarantine" in (await again.next(Rejected)).reason
    play.clock.jump(61)
    await b.beat()
    await play.trouble("unheard")
    assert (await again.join()).epoch == 2


def message_of(kind: type, run_id: str) -> Message:
    made: Any = find(BY_CLASS[kind], lambda _: True, settings=settings(database=None, phases=(Phase.generate,)))
    message: Message = replace(made, run_id=run_id) if hasattr(made, "run_id") else made
    return message


ONLY_A_CONTROLLERS = [kind for kind in BY_CLASS if kind not in FROM_AGENTS]


@pytest.mark.parametrize("kind", ONLY_A_CONTROLLERS, ids=lambda kind: kind.__name__)
async def test_g14_an_agent_cannot_say_what_only_a_controller_may(stage: Stage, kind: type[Message]) -> None:
    play = stage()
    a, b = await play.started()
    await b.send(message_of(kind, play.conductor.run_id))
    await play.trouble("not an agent's")
    run = play.conductor.run
    assert (run.live, run.lost, run.ends) == (("a", "b"), frozenset(), ())
    assert not [message for message in a.heard if isinstance(message, kind) and not isinstance(message, Ack | Welcome)]


async def test_g14_a_message_for_another_agent_or_another_run_changes_nothing(stage: Stage) -> None:
    play = stage()
    a, b = await play.started()
    for agent in (a, b):
        agent.recording.interval()
    await b.send(a.recording.deltas[0])
    await play.trouble("other agent")
    await b.send(replace(b.recording.deltas[0], run_id="another"))
    await b.send(replace(b.recording.fin(), run_id="another"))
    await until(lambda: play.conductor.rejected_input.get("other run") == 2)
    assert [play.conductor.view().merge.next_seq(agent, 1) for agent in "ab"] == [0, 0]


@pytest.mark.fault("F19", "deltas again, out of order, of an older epoch")
async def test_f19_what_was_merged_is_merged_once_however_often_and_in_whatever_order_it_comes(stage: Stage) -> None:
    play = stage()
    a, _ = await play.started()
    for _ in range(3):
        a.recording.interval()
    await a.deliver()
    await a.acknowledged(2)
    await a.deliver(2, 0, 1, 1, 2, 0)
    await until(lambda: play.conductor.rejected_input.get("duplicate") == 6)
    await a.send(replace(a.recording.deltas[0], seq=9))
    await play.trouble("gap")
    newer = play.agent("b", "us", pid=2)
    assert (await newer.join()).epoch == 2
    newer.recording.run_id, newer.recording.epoch = play.conductor.run_id, 1
    newer.recording.interval()
    await newer.deliver()  # by the newer process, in the name of the older epoch
    merge = play.conductor.view().merge
    assert merge.epochs("a")[0].recorded == a.recording.recorded
    assert merge.counters(agent="a") == a.recording.fin().totals


@pytest.mark.parametrize("field", ["region", "host"])
@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb"])
async def test_g15_a_name_that_no_terminal_should_show_is_not_taken_in(stage: Stage, field: str, text: str) -> None:
    play = stage()
    a = play.agent("a", "eu")
    await a.send(a.hello(**{field: text}))
    assert "cannot be printed" in (await a.next(Rejected)).reason


async def test_g15_names_without_end_are_not_taken_in(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_AGENTS", 2)
    play = stage()
    for agent in ("a.1", "a.2"):
        await play.agent(agent, "eu").join()
    third = play.agent("a.3", "eu")
    await third.send(third.hello())
    assert "its maximum number of agents" in (await third.next(Rejected)).reason
    known = play.agent("a.1", "eu", pid=2)
    assert (await known.join()).epoch == 2, "those that are known can come again"


# -- versions -------------------------------------------------------------------------------------


@pytest.mark.fault("F32", "a minor older and newer")
@pytest.mark.parametrize("minor", [PROTOCOL_MINOR - 1, PROTOCOL_MINOR + 1])
async def test_f32_an_agent_one_minor_older_or_newer_takes_part(
    stage: Stage, minor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = stage(regions={"eu": 1.0})
    a = play.agent("a", "eu")
    monkeypatch.setattr("loadgen.wire.messages.PROTOCOL_MINOR", minor)
    data = encode(a.hello(minor=minor))
    monkeypatch.undo()
    await a.send_bytes(data)
    await a.next(Welcome)
    member = play.hub.fleet.get("a")
    assert member is not None
    assert member.minor == minor
    await a.run(iterations=20)
    assert (await play.result()).exit_code is ExitCode.PASSED


@pytest.mark.fault("F32", "a major newer")
async def test_f32_an_agent_one_major_newer_is_told_both_versions_and_what_to_do(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = stage()
    newer = play.agent("a", "eu")
    monkeypatch.setattr("loadgen.wire.messages.PROTOCOL_MAJOR", PROTOCOL_MAJOR + 1)
    data = encode(newer.hello())
    monkeypatch.undo()
    await newer.send_bytes(data)
    reason = (await newer.next(Rejected)).reason
    assert (
        f"a message has protocol version {PROTOCOL_MAJOR + 1}.{PROTOCOL_MINOR}, and we need {PROTOCOL_MAJOR}." in reason
    )
    assert "run the same version of loadgen" in reason
