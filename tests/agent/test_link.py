"""How the agent's clock stands to the controller's."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.wire.codec import encode
from loadgen.wire.messages import ClockPing, ClockPong, Rejected
from loadgen_agent.link import ClockOffset, Link
from tests.support.wire import RouterEnd, key_ring, serving, until

times = st.integers(0, 50_000_000)


def exchange(clock: ClockOffset, now_ns: int, there_ns: int, back_ns: int, offset_ns: int) -> int:
    ping = clock.next_ping(now_ns)
    assert ping is not None
    clock.pong(ClockPong(ping.agent_ns, ping.agent_ns + there_ns + offset_ns), now_ns + there_ns + back_ns)
    return now_ns + there_ns + back_ns


@given(st.lists(st.tuples(times, times), min_size=1, max_size=16), st.integers(-(10**15), 10**15))
def test_the_offset_is_off_by_at_most_half_of_the_shortest_round_trip(
    ways: list[tuple[int, int]], offset_ns: int
) -> None:
    clock, now_ns = ClockOffset(), 10**12
    for there_ns, back_ns in ways:
        now_ns = exchange(clock, now_ns, there_ns, back_ns, offset_ns)
    assert clock.error_ns == min(there + back for there, back in ways) // 2
    assert abs(clock.offset_ns - offset_ns) <= clock.error_ns + 1
    assert abs(clock.to_own_ns(10**13 + offset_ns) - 10**13) <= clock.error_ns + 1


def test_one_ping_is_under_way_at_a_time_and_a_lost_one_is_given_up() -> None:
    clock = ClockOffset()
    first = clock.next_ping(0)
    assert first is not None
    assert clock.next_ping(1) is None
    second = clock.next_ping(ClockOffset.AGAIN_NS)
    assert second is not None
    clock.pong(ClockPong(first.agent_ns, 99), ClockOffset.AGAIN_NS + 1)  # too late: its round trip says nothing
    assert clock.pongs == 0
    clock.pong(ClockPong(second.agent_ns, 99), ClockOffset.AGAIN_NS + 2)
    assert clock.pongs == 1


def test_after_enough_exchanges_it_is_measured() -> None:
    clock, now_ns = ClockOffset(), 0
    while not clock.is_measured:
        now_ns = exchange(clock, now_ns, 10, 10, 5)
    assert 8 <= clock.pongs <= 16
    assert clock.next_ping(now_ns + 10**10) is None


@pytest.mark.fault("F32", "a controller of a newer major, as the agent tells it")
async def test_f32_an_agent_says_of_a_controller_of_another_major_which_versions_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("loadgen.wire.messages.PROTOCOL_MAJOR", 9)
    newer = encode(Rejected("whatever"))
    monkeypatch.undo()
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    link = Link(controller.address, agents["eu"], "eu", lambda message: None, lambda: None)
    serve = asyncio.create_task(link.serve())
    async with serving(controller):
        await until(lambda: link.send(ClockPing(1)))
        identity, _, _ = await controller.next()
        controller.router.send(identity, newer)
        await until(lambda: link.trouble)
        assert "message of protocol 9." in link.trouble
        assert "run the same version of loadgen" in link.trouble
        controller.router.send(identity, encode(ClockPong(1, 1)))
        await until(lambda: not link.trouble)
    serve.cancel()
    with suppress(asyncio.CancelledError):
        await serve
    link.close()
