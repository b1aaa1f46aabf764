"""How the agent's clock stands to the controller's."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire.codec import encode, with_answer
from loadgen.wire.messages import Ack, ClockPing, ClockPong, Message, Rejected
from loadgen_agent.supervisor.link import ClockOffset, Link
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


def test_one_ping_is_under_way_at_a_time_and_a_lost_one_is_not_waited_for() -> None:
    clock = ClockOffset()
    assert clock.next_ping(0) is not None
    assert clock.next_ping(1) is None
    second = clock.next_ping(ClockOffset.AGAIN_NS)
    assert second is not None
    clock.pong(ClockPong(second.agent_ns, 99), ClockOffset.AGAIN_NS + 2)
    assert clock.pongs == 1
    clock.pong(ClockPong(second.agent_ns, 99), ClockOffset.AGAIN_NS + 3)
    assert clock.pongs == 1, "an answer counts once"


@pytest.mark.fault("G9", "the clock of a controller that is 300 ms away")
def test_g9_on_a_line_that_is_slower_than_the_next_ping_the_clock_is_measured_all_the_same() -> None:
    """As of an agent on another continent: each answer comes after the next one was asked."""
    clock, way_ns, offset_ns, on_their_way = ClockOffset(), 150 * NS_PER_MS, 10**15, list[tuple[int, ClockPong]]()
    assert clock.error_ns == ClockOffset.UNKNOWN_NS, "and not 0: nothing is known"
    for now_ns in range(10**12, 10**12 + 10 * NS_PER_S, 50 * NS_PER_MS):
        while on_their_way and on_their_way[0][0] <= now_ns:
            clock.pong(on_their_way.pop(0)[1], now_ns)
        if (ping := clock.next_ping(now_ns)) is not None:
            on_their_way.append((now_ns + 2 * way_ns, ClockPong(ping.agent_ns, now_ns + way_ns + offset_ns)))
    assert clock.is_measured
    assert (clock.offset_ns, clock.error_ns) == (offset_ns, way_ns)


@given(st.lists(st.integers(-90 * NS_PER_S, 90 * NS_PER_S), min_size=1, max_size=8), st.integers(-(10**15), 10**15))
@pytest.mark.fault("F22", "the controller's monotonic clock is another one after a restart, without a clock")
def test_f22_a_clock_that_is_another_one_after_a_new_connection_is_measured_anew(
    steps_ns: list[int], offset_ns: int
) -> None:
    """Of one boot a monotonic clock does not step; that of a controller on another machine is another one."""
    clock, now_ns = ClockOffset(), 10**12
    for step_ns in steps_ns:
        offset_ns += step_ns
        stale = clock.next_ping(now_ns)
        clock = ClockOffset(clock)
        while not clock.is_measured:
            now_ns = exchange(clock, now_ns, 3 * NS_PER_MS, NS_PER_MS, offset_ns)
            if stale is not None:  # said by the one before
                clock.pong(ClockPong(stale.agent_ns, 77), now_ns)
        assert abs(clock.offset_ns - offset_ns) <= clock.error_ns == 2 * NS_PER_MS


def test_what_was_measured_stands_until_a_new_connection_has_its_first_answer() -> None:
    clock = ClockOffset()
    exchange(clock, 0, 10, 10, 5)
    again = ClockOffset(clock)
    assert (again.offset_ns, again.error_ns, again.is_measured) == (5, 10, False)
    exchange(again, 100, 30, 30, 500)
    assert (again.offset_ns, again.error_ns) == (500, 30)


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
        assert "a message has protocol version 9." in link.trouble
        assert "run the same version of loadgen" in link.trouble
        controller.router.send(identity, encode(ClockPong(1, 1)))
        await until(lambda: not link.trouble)
    serve.cancel()
    with suppress(asyncio.CancelledError):
        await serve
    link.close()


async def test_an_acknowledgement_that_answers_a_heartbeat_extends_the_lease_and_no_impossible_one_does() -> None:
    keys, agents = key_ring("eu")
    controller, now_ns, acks = RouterEnd(keys), [10 * NS_PER_S], list[Message]()
    link = Link(controller.address, agents["eu"], "eu", acks.append, lambda: None, lambda: now_ns[0])
    serve = asyncio.create_task(link.serve())
    async with serving(controller):
        await until(lambda: link.send(ClockPing(1)))
        identity, _, _ = await controller.next()
        began_ns, now_ns[0] = link.acked_ns, 20 * NS_PER_S
        for seq, answers_ns in enumerate((0, 21 * NS_PER_S, -1, 9 * NS_PER_S, 15 * NS_PER_S, 12 * NS_PER_S)):
            controller.router.send(identity, with_answer(encode(Ack("r", 1, seq)), answers_ns))
            await until(lambda seq=seq: len(acks) > seq)  # type: ignore[misc]
            assert link.acked_ns == (began_ns if seq < 4 else 15 * NS_PER_S)
    serve.cancel()
    with suppress(asyncio.CancelledError):
        await serve
    link.close()
