"""The two ends of the network. P2 to P8 are the pitfalls of RELIABILITY section 2."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from contextlib import suppress

import pytest
import zmq
from zmq.utils.z85 import decode as z85_decode

from loadgen.errors import PortBusy, UsageError
from loadgen.wire import sockets
from loadgen.wire.curve_keys import ANY_AGENT, AgentKeys, ControllerKeys, KeyPair
from loadgen.wire.sockets import Dealer, Router, identity_of, parse_address
from tests.support.chaos_proxy import chaos_proxy
from tests.support.wire import DealerEnd, RouterEnd, key_ring, serving, until


async def test_messages_go_both_ways_and_name_the_agent() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, agents["eu"], "eu.web-1")
    async with serving(controller, agent):
        await agent.send(b"hello")
        identity, name, data = await controller.next()
        assert (name, data) == ("eu.web-1", b"hello")
        assert agent.dealer.is_connected
        assert controller.router.send(identity, b"welcome")
        assert await agent.next() == b"welcome"


async def test_p2_what_cannot_be_sent_is_said() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    assert not controller.router.send(identity_of("nobody"), b"lost?")
    async with serving(controller):
        await until(lambda: agent.dealer.send(b"hello"))
        identity, _, _ = await controller.next()
        # The agent's loop does not read: sooner or later its queue is full, and the router says no instead of dropping.
        accepted = 0
        while accepted < 20_000 and controller.router.send(identity, bytes(1000)):
            accepted += 1
        assert accepted < 20_000
        assert controller.router.stats.unsent == 2
        async with serving(agent):
            for _ in range(accepted):
                assert await agent.next() == bytes(1000)


async def test_p3_nothing_is_lost_while_readers_are_cancelled() -> None:
    """Whoever waits for messages may give up at any time: the socket's reader is another task."""
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    got: list[int] = []

    async def impatient() -> None:
        while len(got) < 3000:
            try:
                _, _, data = await asyncio.wait_for(controller.received.get(), 0.0005)
            except TimeoutError:
                continue
            got.append(int(data))

    async with serving(controller, agent):
        await agent.send(b"0")
        reading = asyncio.create_task(impatient())
        for number in range(1, 3000):
            while not agent.dealer.send(b"%d" % number):
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.0004 if number % 7 == 0 else 0)
        async with asyncio.timeout(60):
            await reading
    assert got == list(range(3000))


async def test_p3_a_send_that_swallows_the_edge_of_an_arrival_does_not_deafen_the_reader() -> None:
    """Both ends send as often as they can; each message is answered by exactly one other, for a while."""
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(controller, agent):
        await agent.send(b"ping")
        for _ in range(2000):
            identity, _, _ = await controller.next()
            for _ in range(3):
                controller.router.send(identity, b"noise")
            controller.router.send(identity, b"pong")
            while await agent.next() != b"pong":
                agent.dealer.send(b"")
            while not controller.received.empty():
                controller.received.get_nowait()
            assert agent.dealer.send(b"ping")


async def test_p4_a_send_without_a_connection_says_no_at_once() -> None:
    _, agents = key_ring("eu")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        agent = DealerEnd(f"127.0.0.1:{nobody.getsockname()[1]}", agents["eu"], "eu")
        async with serving(agent):
            assert agent.dealer.send(b"hello") is False
            await until(lambda: "nobody listens" in agent.dealer.trouble)


async def test_p6_an_unknown_key_is_refused_and_hears_why() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    stranger = DealerEnd(controller.address, AgentKeys(KeyPair.new(), keys.own.public), "eu")
    good = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(controller, stranger, good):
        await until(lambda: "does not know our key" in stranger.dealer.trouble)
        assert not stranger.dealer.send(b"let me in")
        await good.send(b"hello")
        assert (await controller.next())[2] == b"hello"
        assert controller.router.stats.received == 1
        assert controller.router.stats.keys_refused >= 1


async def test_an_agent_that_knocks_before_its_key_is_known_comes_in_when_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """libzmq gives up after a refusal."""
    monkeypatch.setattr(sockets, "_AGAIN_WAITS_S", (0.1, 0.2))
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    controller.router.admit({})
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(controller, agent):
        await until(lambda: controller.router.stats.keys_refused == 3)
        controller.router.admit(keys.agents)
        await agent.send(b"hello")
        assert (await controller.next())[2] == b"hello"


async def test_p6_a_key_that_is_revoked_while_its_connection_stands_is_not_heard() -> None:
    keys, agents = key_ring("eu", "us")
    controller = RouterEnd(keys)
    revoked, good = (DealerEnd(controller.address, agents[name], name) for name in ("eu", "us"))
    async with serving(controller, revoked, good):
        await revoked.send(b"before")
        assert (await controller.next())[2] == b"before"
        controller.router.admit({agents["us"].own.public: "us"})
        await revoked.send(b"after")
        await until(lambda: controller.router.stats.revoked == 1)
        await good.send(b"I am still heard")
        assert (await controller.next())[2] == b"I am still heard"
        # A new key of the same name does not let the old one's connection in again.
        controller.router.admit({KeyPair.new().public: "eu"})
        await revoked.send(b"and now?")
        await until(lambda: controller.router.stats.revoked == 2)
        assert controller.received.empty()


@pytest.mark.fault("F15", "no gatekeeper")
async def test_p6_a_router_without_its_gatekeeper_lets_nobody_in() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    controller.router._gate.unbind("inproc://zeromq.zap.01")
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(controller, agent):
        await asyncio.sleep(0.3)
        assert not agent.dealer.send(b"hello")
        assert controller.router.stats.received == 0


async def test_p6_an_agent_that_expects_another_controller_talks_to_nobody() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, AgentKeys(agents["eu"].own, KeyPair.new().public), "eu")
    async with serving(controller, agent):
        await until(lambda: "is not the controller whose key" in agent.dealer.trouble)
        assert not agent.dealer.send(b"hello")
        assert controller.router.stats.received == 0


class Broken(dict[bytes, str]):
    """Keys of which some cannot be looked up."""

    bad: bytes

    def get(self, key: object, default: object = None) -> str:
        if key == self.bad:
            raise RuntimeError("the key store is gone")
        return ANY_AGENT


@pytest.mark.fault("F15", "a key that cannot be looked up")
async def test_p7_a_key_that_cannot_be_looked_up_stays_outside_and_all_others_come_in() -> None:
    own, unlucky, pair = KeyPair.new(), KeyPair.new(), KeyPair.new()
    broken = Broken()
    broken.bad = unlucky.public
    controller = RouterEnd(ControllerKeys(own, broken))
    refused = DealerEnd(controller.address, AgentKeys(unlucky, own.public), "eu")
    async with serving(controller, refused):
        await until(lambda: controller.router.stats.gate_failures)
        assert not refused.dealer.send(b"let me in")
        later = DealerEnd(controller.address, AgentKeys(pair, own.public), "us")
        async with serving(later):
            await later.send(b"hello")
            assert (await controller.next())[1:] == ("us", b"hello")
    assert any("the key store is gone" in text for kind, text in controller.refused if kind == "gate failed")


@pytest.mark.fault("F15", "the gatekeeper dies")
async def test_p7_a_gatekeeper_that_dies_ends_the_router_aloud_instead_of_locking_everybody_out() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    controller.router._gate.close()
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(agent):
        with pytest.raises(zmq.ZMQError):
            async with asyncio.timeout(60):
                await controller.router.serve()
    controller.router.close()


@pytest.mark.parametrize(
    "request_", [[], [b"1.0"], [b"1.0", b"1"], [b"2.0", b"1", b"x", b"", b"", b"CURVE", bytes(32)]]
)
async def test_p7_the_gatekeeper_answers_even_what_makes_no_sense(request_: list[bytes]) -> None:
    keys, _ = key_ring("eu")
    router = Router("127.0.0.1:0", keys, lambda *_: None)
    assert router._who(request_) is None
    router.close()


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN", "CURVE"])
async def test_p7_the_gatekeeper_lets_in_neither_other_mechanisms_nor_other_domains(mechanism: str) -> None:
    keys, agents = key_ring("eu")
    router = Router("127.0.0.1:0", keys, lambda *_: None)
    raw = z85_decode(agents["eu"].own.public)
    assert router._who([b"1.0", b"1", b"loadgen", b"", b"", b"CURVE", raw]) == agents["eu"].own.public
    domain = b"elsewhere" if mechanism == "CURVE" else b"loadgen"
    assert router._who([b"1.0", b"1", domain, b"", b"", mechanism.encode(), raw]) is None
    router.close()


async def test_p8_a_key_cannot_speak_for_the_agent_of_another_key() -> None:
    keys, agents = key_ring("eu", "us")
    controller = RouterEnd(keys)
    honest = DealerEnd(controller.address, agents["eu"], "eu")
    impostor = DealerEnd(controller.address, agents["us"], "eu")
    async with serving(controller, honest, impostor):
        await honest.send(b"I am eu")
        identity, _, _ = await controller.next()
        await impostor.send(b"no, I am")
        await until(lambda: controller.router.stats.impostors == 1)
        # Nor did it take over the connection: the routing id cannot be guessed from the agent's name.
        assert controller.router.send(identity, b"I hear you")
        assert await honest.next() == b"I hear you"
        assert impostor.received.empty()
        assert controller.received.empty()


async def test_p8_a_key_that_takes_over_another_agents_routing_id_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, agents = key_ring("eu", "us")
    controller = RouterEnd(keys)
    same = identity_of("eu")
    monkeypatch.setattr(sockets, "identity_of", lambda agent: same)
    honest = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(controller, honest):
        await honest.send(b"I am eu")
        await controller.next()
        impostor = DealerEnd(controller.address, agents["us"], "eu")
        async with serving(impostor):
            await impostor.send(b"I stole its id")
            await until(lambda: controller.router.stats.impostors == 1)
            assert controller.received.empty()


async def test_p8_a_connection_that_comes_back_keeps_its_identity() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(agent):
        async with serving(controller):
            await agent.send(b"one")
            before, _, _ = await controller.next()
        again = RouterEnd(keys, controller.address)
        async with serving(again):
            async with asyncio.timeout(60):
                while again.received.empty():  # what went into the dying connection is lost: P1
                    agent.dealer.send(b"two")
                    await asyncio.sleep(0.02)
            after, _, _ = await again.next()
            assert after == before


@pytest.mark.parametrize("seed", range(5))
async def test_an_agent_that_gets_a_damaged_frame_connects_anew_at_once(seed: int) -> None:
    """libzmq would keep a connection that it reads no more until its heartbeat times out, 8 s later."""
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    with chaos_proxy(controller.address, seed) as net:
        agent = DealerEnd(net.address, agents["eu"], "eu")
        async with serving(controller, agent):
            await agent.send(b"hello")
            identity, _, _ = await controller.next()
            net.flip(1, up=False)
            assert controller.router.send(identity, bytes(10_000))
            await until(lambda: net.counts["connections"] == 2)
            await agent.send(b"again")
            assert (await controller.next())[0] == identity
            await until(lambda: controller.router.send(identity, b"welcome back"))
            assert await agent.next() == b"welcome back"


async def test_an_agent_that_gets_a_frame_of_a_damaged_length_connects_anew() -> None:
    """libzmq gives such a connection up without making another, and says no more than that it is closed."""
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    with chaos_proxy(controller.address) as net:
        agent = DealerEnd(net.address, agents["eu"], "eu")
        async with serving(controller, agent):
            await agent.send(b"hello")
            identity, _, _ = await controller.next()
            net.flip(1, up=False, bit=1)  # of the flags: a length of eight bytes follows
            assert controller.router.send(identity, b"short")
            await until(lambda: net.counts["connections"] == 2, 30)
            await agent.send(b"again", 30)
            assert (await controller.next())[0] == identity


async def test_an_agent_that_gets_a_damaged_greeting_connects_anew() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    with chaos_proxy(controller.address) as net:
        net.flip(1, up=False, bit=0)
        agent = DealerEnd(net.address, agents["eu"], "eu")
        async with serving(controller, agent):
            await agent.send(b"hello", 30)
            assert (await controller.next())[2] == b"hello"
        assert net.counts["flips"] == 1


async def test_two_processes_with_one_agent_id_are_told_apart() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    one, two = (DealerEnd(controller.address, agents["eu"], "eu") for _ in range(2))
    async with serving(controller, one, two):
        await one.send(b"one")
        first = await controller.next()
        await two.send(b"two")
        second = await controller.next()
        assert first[0] != second[0]
        assert controller.router.send(first[0], b"to one")
        assert await one.next() == b"to one"


async def test_null_peers_and_random_bytes_are_not_read_and_good_peers_do_not_notice(
    request: pytest.FixtureRequest,
) -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    host, port = parse_address(controller.address)
    good = DealerEnd(controller.address, agents["eu"], "eu")
    context = zmq.Context()
    request.addfinalizer(lambda: context.destroy(linger=0))
    null = context.socket(zmq.DEALER)
    null.setsockopt(zmq.LINGER, 0)
    null.setsockopt(zmq.ROUTING_ID, identity_of("eu"))
    null.connect(f"tcp://{controller.address}")
    strangers: list[socket.socket] = []
    async with serving(controller, good):
        await good.send(b"before")
        for _ in range(30):
            with suppress(zmq.Again):  # it has no connection any more: refused
                null.send(b"plain text", zmq.NOBLOCK)
            raw = socket.create_connection((host, port))
            raw.sendall(os.urandom(500))
            strangers.append(raw)
            strangers.append(socket.create_connection((host, port)))  # says nothing at all
        await good.send(b"after")
        assert [(await controller.next())[2] for _ in range(2)] == [b"before", b"after"]
        assert controller.router.stats.received == 2
    for raw in strangers:
        raw.close()


async def test_messages_of_several_frames_and_nameless_peers_are_counted_and_dropped() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(controller, agent):
        await agent.send(b"one")
        agent.dealer._socket.send_multipart([b"two", b"frames"])
        agent.dealer._socket.send(b"three")
        assert [(await controller.next())[2] for _ in range(2)] == [b"one", b"three"]
        assert controller.router.stats.malformed == 1
    for identity in (b"eu", b"eu\0short", b"\xff\0" + bytes(8), b"a/b\0" + bytes(8), b"\0" + bytes(8)):
        assert sockets._agent_of(identity) is None


async def test_an_oversized_message_costs_its_sender_the_connection_and_nobody_else() -> None:
    keys, agents = key_ring("eu", "us")
    controller = RouterEnd(keys)
    big = DealerEnd(controller.address, agents["eu"], "eu")
    good = DealerEnd(controller.address, agents["us"], "us")
    async with serving(controller, big, good):
        await good.send(b"one")
        await big.send(bytes(3 << 20))
        await until(lambda: big.dealer.trouble)
        await good.send(b"two")
        assert Counter([(await controller.next())[2] for _ in range(2)]) == Counter([b"one", b"two"])


async def test_what_the_taker_raises_ends_serving() -> None:
    keys, agents = key_ring("eu")

    def refuse(identity: bytes, agent: str, data: bytes) -> None:
        raise ArithmeticError("no")

    router = Router("127.0.0.1:0", keys, refuse)
    agent = DealerEnd(router.address, agents["eu"], "eu")
    serve = asyncio.create_task(router.serve())
    async with serving(agent):
        await agent.send(b"hello")
        with pytest.raises(ArithmeticError):
            async with asyncio.timeout(60):
                await serve
    router.close()


async def test_a_busy_port_is_named_with_a_way_out() -> None:
    keys, _ = key_ring("eu")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(PortBusy, match=f"cannot listen at {address}") as caught:
            Router(address, keys, lambda *_: None)
        assert "port 0" in caught.value.hint


@pytest.mark.parametrize("text", ["", "host", "host:", ":5557", "host:port", "host:70000", "host:-1", "host:²"])
async def test_what_is_no_address_is_refused(text: str) -> None:
    keys, agents = key_ring("eu")
    with pytest.raises(UsageError, match=r"invalid|has no port"):
        Router(text, keys, lambda *_: None)
    with pytest.raises(UsageError):
        Dealer(text, agents["eu"], "eu", lambda data: None)


async def test_an_address_that_is_not_this_machines_is_refused() -> None:
    keys, _ = key_ring("eu")
    with pytest.raises(UsageError, match="cannot listen"):
        Router("192.0.2.1:0", keys, lambda *_: None)
