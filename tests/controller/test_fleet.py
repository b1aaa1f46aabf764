"""Who is registered, and who is still there."""

from __future__ import annotations

from loadgen.units import NS_PER_S
from loadgen.wire.messages import PROTOCOL_MAJOR, PROTOCOL_MINOR, Hello
from loadgen_controller.core.events import AgentJoined, AgentLost, AgentReturned
from loadgen_controller.core.registry import LOST_AFTER_NS, Fleet, Presence

A = "a"
ID, ID2 = b"a\0one", b"a\0two"


def hello(pid: int = 7, region: str = "eu") -> Hello:
    return Hello(A, region, PROTOCOL_MAJOR, PROTOCOL_MINOR, pid, "host", 2)


def s(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def ticked(fleet: Fleet, until_s: float, from_s: float = 0) -> list[object]:
    """Tick each half second, as the conductor does or better."""
    return [event for n in range(round(from_s * 2), round(until_s * 2) + 1) for event in fleet.tick(s(n / 2))]


def presence(fleet: Fleet) -> Presence:
    member = fleet.get(A)
    assert member is not None
    return member.presence


def test_first_hello_gets_epoch_1() -> None:
    fleet = Fleet()
    assert fleet.hello(hello(), ID, 0) == (AgentJoined(A, "eu"),)
    assert [(m.id, m.epoch, m.pid) for m in fleet] == [(A, 1, 7)]


def test_repeated_hello_of_the_same_process_keeps_its_epoch() -> None:
    fleet = Fleet()
    fleet.hello(hello(), ID, 0)
    assert fleet.hello(hello(), ID, s(1)) == ()
    assert [m.epoch for m in fleet] == [1]


def test_hello_of_another_process_ends_the_epoch_before() -> None:
    fleet = Fleet()
    fleet.hello(hello(7), ID, 0)
    lost, joined = fleet.hello(hello(8), ID2, s(1))
    assert lost == AgentLost(
        A, "its process 7 was replaced by 8: unless restarted, give each agent its own --id", LOST_AFTER_NS
    )
    assert joined == AgentJoined(A, "eu")
    assert [m.epoch for m in fleet] == [2]


def test_agent_is_suspected_after_3_s_and_lost_after_10_s_of_silence() -> None:
    fleet = Fleet()
    fleet.hello(hello(), ID, 0)
    assert ticked(fleet, 3) == []
    assert presence(fleet) is Presence.HERE
    assert ticked(fleet, 10, from_s=3.5) == []
    assert presence(fleet) is Presence.SUSPECTED
    assert ticked(fleet, 12, from_s=10.5) == [AgentLost(A, "silent for 10.5 s", is_silent=True)]


def test_any_message_is_a_sign_of_life() -> None:
    fleet = Fleet()
    fleet.hello(hello(), ID, 0)
    ticked(fleet, 9)
    assert fleet.heard(A, s(9)) == ()
    assert ticked(fleet, 19, from_s=9.5) == []


def test_lost_agent_that_is_heard_is_back_in_its_epoch() -> None:
    fleet = Fleet()
    fleet.hello(hello(), ID, 0)
    ticked(fleet, 11)
    assert fleet.heard(A, s(12)) == (AgentReturned(A, "eu"),)
    assert presence(fleet) is Presence.HERE
    ticked(fleet, 30, from_s=12)
    assert fleet.hello(hello(), ID, s(31)) == (AgentReturned(A, "eu"),)


def test_agent_that_restarts_after_it_was_lost_only_joins() -> None:
    fleet = Fleet()
    fleet.hello(hello(7), ID, 0)
    ticked(fleet, 11)
    assert fleet.hello(hello(8), ID2, s(12)) == (AgentJoined(A, "eu"),)


def test_controller_that_slept_does_not_call_its_agents_lost() -> None:
    fleet = Fleet()
    fleet.hello(hello(), ID, 0)
    ticked(fleet, 2)
    assert fleet.tick(s(60)) == ()
    assert presence(fleet) is Presence.HERE
    assert ticked(fleet, 72, from_s=60.5) == [AgentLost(A, "silent for 10.5 s", is_silent=True)]


def test_agent_is_lost_once() -> None:
    fleet = Fleet()
    fleet.hello(hello(), ID, 0)
    assert fleet.lose(A, "its process exited with -9") == (AgentLost(A, "its process exited with -9"),)
    assert fleet.lose(A, "again") == ()
    assert ticked(fleet, 20) == []


def test_unknown_agent_is_nobody() -> None:
    fleet = Fleet()
    assert fleet.heard("x", 0) == fleet.lose("x", "gone") == ()
