"""F15, F16: whoever has no good key is not read, and keeps nobody who has one from being served.

P5 and P10 to P12 are pitfalls of RELIABILITY section 2; P1 to P4 and P6 to P8 are in test_sockets.py.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import zmq

from loadgen.wire import sockets
from loadgen.wire.curve_keys import ControllerKeys, KeyPair
from loadgen.wire.messages import PROTOCOL_MAJOR, PROTOCOL_MINOR, Hello
from loadgen.wire.sockets import identity_of, parse_address
from loadgen_controller.core.registry import LOST_AFTER_NS, Fleet, Presence
from tests.support.raw_zmtp import RawPeer, greeting
from tests.support.wire import DealerEnd, RouterEnd, key_ring, serving, until

SECRET = b"not one of these bytes may be read"


# -- F15: what is no good key -----------------------------------------------------------------------


def null(socket_: zmq.Socket[bytes], keys: ControllerKeys) -> None:
    """No mechanism at all."""


def plain(socket_: zmq.Socket[bytes], keys: ControllerKeys) -> None:
    socket_.setsockopt(zmq.PLAIN_USERNAME, b"eu")
    socket_.setsockopt(zmq.PLAIN_PASSWORD, b"eu")


def curve(pair: KeyPair, controller: bytes) -> Callable[[zmq.Socket[bytes], ControllerKeys], None]:
    def set_up(socket_: zmq.Socket[bytes], keys: ControllerKeys) -> None:
        socket_.setsockopt(zmq.CURVE_SERVERKEY, controller or keys.own.public)
        socket_.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        socket_.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)

    return set_up


REVOKED = KeyPair.new()
STRANGERS = {
    "null": null,
    "plain": plain,
    "unknown key": curve(KeyPair.new(), b""),
    "revoked key": curve(REVOKED, b""),
    "another controller's key": curve(REVOKED, KeyPair.new().public),
}


@pytest.mark.fault("F15", "by libzmq")
@pytest.mark.parametrize("who", STRANGERS)
async def test_f15_of_a_stranger_not_one_application_byte_is_read(who: str, request: pytest.FixtureRequest) -> None:
    keys, agents = key_ring("us")
    controller = RouterEnd(ControllerKeys(keys.own, {**keys.agents, REVOKED.public: "eu"}))
    controller.router.admit(keys.agents)
    good = DealerEnd(controller.address, agents["us"], "us")
    context = zmq.Context()
    request.addfinalizer(lambda: context.destroy(linger=0))
    stranger = context.socket(zmq.DEALER)
    stranger.setsockopt(zmq.LINGER, 0)
    stranger.setsockopt(zmq.ROUTING_ID, identity_of("eu"))
    STRANGERS[who](stranger, keys)
    events = stranger.get_monitor_socket()
    async with serving(controller, good):
        stranger.connect(f"tcp://{controller.address}")
        for _ in range(50):
            with suppress(zmq.Again):
                stranger.send(SECRET, zmq.NOBLOCK)
        await asyncio.to_thread(refused, events)
        await good.send(b"I am heard")
        assert (await controller.next())[1:] == ("us", b"I am heard")
        assert controller.router.stats.received == 1
        assert controller.received.empty()
    stranger.disable_monitor()
    stranger.close(0)


def refused(events: zmq.Socket[bytes]) -> None:
    """Returns when the handshake has failed, or the connection has."""
    failures = (
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_DISCONNECTED,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if events.poll(1000):
            number = int.from_bytes(events.recv_multipart()[0][:2], "little")
            assert number != zmq.EVENT_HANDSHAKE_SUCCEEDED
            if number in failures:
                return
    raise AssertionError("neither let in nor refused")


FRAME = bytes([0, len(SECRET)]) + SECRET


@pytest.mark.fault("F15", "frames without a handshake")
@pytest.mark.parametrize(
    "bytes_",
    [
        pytest.param(greeting(b"CURVE") + FRAME * 20, id="no handshake"),
        pytest.param(greeting(b"CURVE") + b"\x04\x26\x05READY" + bytes(32) + FRAME * 20, id="READY out of turn"),
        pytest.param(greeting(b"NULL") + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x06DEALER"[:27] + FRAME, id="null"),
        pytest.param(b"\xff" * 64 + FRAME * 20, id="no greeting"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: controller\r\n\r\n" + FRAME, id="http"),
    ],
)
async def test_f15_who_sends_frames_without_a_handshake_is_hung_up_on(
    bytes_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_handshakes(monkeypatch)
    keys, _ = key_ring("eu")
    controller = RouterEnd(keys)
    async with serving(controller):
        with socket.create_connection(parse_address(controller.address)) as raw:
            raw.sendall(bytes_)
            assert await asyncio.to_thread(is_hung_up, raw)
        assert controller.router.stats.received == 0


def quick_handshakes(monkeypatch: pytest.MonkeyPatch, ms: int = 500) -> None:
    monkeypatch.setitem(sockets._ROUTER, zmq.HANDSHAKE_IVL, ms)


def is_hung_up(raw: socket.socket) -> bool:
    raw.settimeout(60)
    with suppress(ConnectionError):
        while raw.recv(4096):
            pass
    return True


# -- F16: strangers without end ---------------------------------------------------------------------


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 6000:
        pytest.skip(f"needs 6,000 open files, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def served_all_the_while(controller: RouterEnd, good: DealerEnd) -> AsyncIterator[list[float]]:
    """A good agent is answered again and again; in the end how long each answer took, s."""
    took: list[float] = []

    async def ask_for_ever() -> None:
        while True:
            began = time.perf_counter()
            await good.send(b"ping")
            identity, _, _ = await controller.next()
            controller.router.send(identity, b"pong")
            await good.next()
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.005)

    async with serving(controller, good):
        asking = asyncio.create_task(ask_for_ever())
        await until(lambda: took or asking.done())
        yield took
        assert not asking.done(), "the good agent was not answered"
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.fault("F16", "1,500 idle connections")
async def test_p10_f16_1500_connections_that_say_nothing_hinder_nobody_and_are_hung_up_on(
    many_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_handshakes(monkeypatch)
    keys, agents = key_ring("eu", "us")
    controller = RouterEnd(keys)
    good = DealerEnd(controller.address, agents["eu"], "eu")
    async with served_all_the_while(controller, good) as took:
        before = open_files()
        idle = [socket.create_connection(parse_address(controller.address)) for _ in range(1_500)]
        late = DealerEnd(controller.address, agents["us"], "us")  # also who comes now is let in
        async with serving(late):
            await until(lambda: late.dealer.is_connected)
        answered = len(took)
        await until(lambda: open_files() < before + 1_500 + 200)  # of 3,000: only our ends are left
        await until(lambda: len(took) > answered)
        for raw in idle:
            raw.close()


@pytest.mark.fault("F16", "greetings byte by byte")
async def test_f16_a_greeting_that_comes_byte_by_byte_hinders_nobody_and_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick_handshakes(monkeypatch)
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    good = DealerEnd(controller.address, agents["eu"], "eu")
    async with served_all_the_while(controller, good):
        slow = [socket.create_connection(parse_address(controller.address)) for _ in range(100)]
        with trickling(slow):
            for raw in slow:
                assert await asyncio.to_thread(is_hung_up, raw)
        for raw in slow:
            raw.close()


@contextmanager
def trickling(connections: list[socket.socket]) -> Iterator[None]:
    is_over = False

    def trickle() -> None:
        for byte in greeting(b"CURVE") * 10:
            for raw in connections:
                with suppress(OSError):
                    raw.send(bytes([byte]))
            time.sleep(0.05)
            if is_over:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        is_over = True
        thread.join()


@pytest.mark.fault("F16", "200 connections of garbage")
async def test_f16_200_connections_of_garbage_hinder_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_handshakes(monkeypatch)
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    good = DealerEnd(controller.address, agents["eu"], "eu")
    async with served_all_the_while(controller, good) as took:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(parse_address(controller.address)) as raw:
                raw.sendall(os.urandom(2_000))
            await asyncio.sleep(0)
        answered = len(took)
        await until(lambda: len(took) > answered + 20)
        assert controller.router.stats.received >= len(took)
        assert controller.router.stats.malformed == 0, "none of it came through"


async def test_f15_the_peer_by_hand_is_one_that_libzmq_takes_in() -> None:
    """So what the tests with it show is no mistake of its handshake."""
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    async with serving(controller):
        peer = await asyncio.to_thread(RawPeer, controller.address, agents["eu"], "eu.1")
        peer.send_part(b"hello", more=False)
        assert (await controller.next())[1:] == ("eu.1", b"hello")
        peer.send_part(b"two", more=True)
        peer.send_part(b"frames", more=False)
        await until(lambda: controller.router.stats.malformed == 1)
        peer.close()


# -- pitfalls ---------------------------------------------------------------------------------------


async def test_p5_an_agent_whose_program_hangs_is_lost_though_its_connection_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ZMTP heartbeats are answered by libzmq's thread; what counts is what the agent says."""
    monkeypatch.setitem(sockets._DEALER, zmq.HEARTBEAT_IVL, 200)
    monkeypatch.setitem(sockets._DEALER, zmq.HEARTBEAT_TIMEOUT, 1_000)
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    fleet = Fleet()
    async with serving(controller):
        await until(lambda: agent.dealer.send(b"hello"))
        identity, _, _ = await controller.next()
        fleet.hello(Hello("eu", "eu", PROTOCOL_MAJOR, PROTOCOL_MINOR, 1, "here", 2), identity, 0)
        await asyncio.sleep(3.5)  # the agent's loop does nothing, for more than three heartbeat timeouts
        assert controller.router.send(identity, b"are you there?"), "the connection lives"
        for at_ns in range(0, LOST_AFTER_NS + 10**9, 5 * 10**8):
            fleet.tick(at_ns)
        member = fleet.get("eu")
        assert member is not None
        assert member.presence is Presence.LOST
    agent.dealer.close()


def test_p11_nothing_depends_on_what_libzmq_has_only_as_a_draft() -> None:
    drafts = ("ROUTER_NOTIFY", "HELLO_MSG", "DISCONNECT_MSG", "HICCUP_MSG", "disconnect_peer")
    source = Path(sockets.__file__).read_text()
    assert not [name for name in drafts if name in source]
    options = {option for table in (sockets._ROUTER, sockets._DEALER) for option in table}
    context = zmq.Context()
    made = [context.socket(kind) for kind in (zmq.ROUTER, zmq.DEALER)]
    for one, table in zip(made, (sockets._ROUTER, sockets._DEALER), strict=True):
        for option in options & set(table):
            one.setsockopt(option, table[option])  # would raise where it is not built in
    context.destroy(linger=0)


async def test_p11_a_lost_connection_is_known_without_drafts() -> None:
    keys, agents = key_ring("eu")
    controller = RouterEnd(keys)
    agent = DealerEnd(controller.address, agents["eu"], "eu")
    async with serving(agent):
        async with serving(controller):
            await agent.send(b"hello")
            await controller.next()
        await until(lambda: agent.dealer.trouble)
        assert not agent.dealer.send(b"into nothing")
