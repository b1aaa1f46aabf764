"""The two ends of the network between controller and agents; the only importer of zmq.

Both ends are encrypted and know each other's keys (CURVE); there is no other
way in. What is delivered here is bytes from a peer that may speak for the agent
it names; what they mean is the codec's business. Nothing here promises
delivery: messages that matter are kept and sent again by whoever sends them.

How a socket is read. A cancelled `await recv()` loses messages, and a
non-blocking send of `zmq.asyncio` hides its failure in a future (RELIABILITY P3,
P4). So the sockets are plain ones, read by one task that waits for the socket's
file descriptor and then takes all there is without blocking, and sends answer
at once with yes or no. That descriptor is edge-triggered: a *send* may swallow
the edge of a message that came in, hence another look after each.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from loadgen.errors import FleetError, PortBusy, UsageError
from loadgen.hostport import split_host_port
from loadgen.wire.codec import MAX_MESSAGE_BYTES
from loadgen.wire.keys import (
    AgentKeys,
    ControllerKeys,
    check_agent_id,
    fingerprint,
    is_agent_id,
    may_speak_for,
    z85,
)

__all__ = ["Dealer", "Router", "RouterStats", "parse_address"]

ZAP_DOMAIN: Final = b"loadgen"
_AT_ONCE = 200
"""Messages read before the loop's other work has its turn."""
_NONCE_BYTES = 8
_MOST_HEARD = 20_000
"""Identities that are remembered: each process has another."""
_UNBINDING_S = 0.005
_UNBINDING_TRIES = 200
_AGAIN_WAITS_S = (1.0, 3.0)
"""An agent whose connection libzmq has given up makes another after a time between these: not all of them at once."""

# Numbers: to join two names of an enum takes longer than to send.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.SNDMORE | zmq.NOBLOCK)

_HEARTBEAT: Final = {
    zmq.HEARTBEAT_IVL: 1500,
    zmq.HEARTBEAT_TIMEOUT: 4000,
    zmq.HEARTBEAT_TTL: 5500,
    zmq.TCP_MAXRT: 3000,
}
"""ms. They show that a connection is dead, not that the program at its end is alive (P5).

A dead one has to be gone while there is time to make another within the lease of 8 s: within 5.5 s, and within 3 s
where something was sent and nothing of TCP comes back. Both ends see it alike, so that the router has given an old
connection up when its agent comes anew: one that is taken over with messages still to come on the old one can abort
libzmq 4.3.5 (its issue 4841; seen after 5 s of partition, when only the agent gave up early).
"""
_FRAME_BYTES: Final = MAX_MESSAGE_BYTES + 1024
"""A message and what CURVE wraps around it."""
_ROUTER: Final = _HEARTBEAT | {
    zmq.LINGER: 1000,
    zmq.ROUTER_MANDATORY: 1,
    zmq.ROUTER_HANDOVER: 1,
    zmq.BACKLOG: 4096,
    zmq.HANDSHAKE_IVL: 5000,
    zmq.MAXMSGSIZE: _FRAME_BYTES,
    zmq.RCVHWM: 1000,
    zmq.SNDHWM: 200,
    zmq.IPV6: 1,
    zmq.CURVE_SERVER: 1,
    zmq.ZAP_ENFORCE_DOMAIN: 1,
}
_DEALER: Final = _HEARTBEAT | {
    zmq.LINGER: 0,
    zmq.RECONNECT_IVL_MAX: 1000,  # not 5000: after 5 s without a network the next try was 3 s later, and the lease over
    zmq.IMMEDIATE: 1,
    zmq.MAXMSGSIZE: _FRAME_BYTES,
    zmq.SNDHWM: 64,
    zmq.IPV6: 1,
    zmq.TCP_KEEPALIVE: 1,
}


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "10.0.0.7:5557" or "[::1]:5557"; an IPv6 address keeps its brackets.

    Raises:
        UsageError: another form.
    """
    try:
        found = split_host_port(text)
    except ValueError as error:
        raise UsageError(str(error), hint="write HOST:PORT, e.g. 10.0.0.7:5557") from None
    if found.port is None:
        raise UsageError(f"{text!r} has no port", hint="write HOST:PORT, e.g. 10.0.0.7:5557")
    return found.bracketed, found.port


@dataclass(slots=True)
class RouterStats:
    """What came in and went wrong, so that it can be shown."""

    received: int = 0
    keys_refused: int = 0
    """Handshakes with a key that we do not know."""
    gate_failures: int = 0
    """Handshakes that were refused since looking at their key failed: a bug of ours."""
    revoked: int = 0
    """Messages on a connection that was made before its key was revoked."""
    malformed: int = 0
    """Messages of other than one frame, or from a peer without an agent's name."""
    impostors: int = 0
    """Messages of a peer whose key may not speak for the agent that it names."""
    unsent: int = 0
    """The peer was gone, or did not take what was sent to it."""


class _Reader:
    """One task that reads several sockets; what a socket's taker raises ends it."""

    def __init__(self) -> None:
        self._takers: list[tuple[zmq.Socket[bytes], Callable[[Sequence[zmq.Frame]], None]]] = []
        self._ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        """While it is serving."""

    def add(self, socket: zmq.Socket[bytes], take: Callable[[Sequence[zmq.Frame]], None]) -> None:
        self._takers.append((socket, take))

    def exchange(self, socket: zmq.Socket[bytes], other: zmq.Socket[bytes]) -> None:
        """From now on `other` is read instead. Call it before `socket` is closed."""
        for place, (read, take) in enumerate(self._takers):
            if read is socket:
                self._takers[place] = other, take
        if self._loop is not None:
            self._loop.remove_reader(int(socket.get(zmq.FD)))
            self._loop.add_reader(int(other.get(zmq.FD)), self._ready.set)
        self._ready.set()

    def look_again(self) -> None:
        """After a send: it may have swallowed the sign that something came in. Once for all sends of a turn."""
        self._ready.set()

    async def serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        for socket, _ in self._takers:
            loop.add_reader(int(socket.get(zmq.FD)), self._ready.set)
        try:
            while True:
                self._ready.clear()
                # A list: every socket is read, also when the first has more.
                if any([self._drain(socket, take) for socket, take in self._takers]) or self._ready.is_set():
                    await asyncio.sleep(0)
                else:
                    await self._ready.wait()
        finally:
            self._loop = None
            for socket, _ in self._takers:
                loop.remove_reader(int(socket.get(zmq.FD)))

    @staticmethod
    def _drain(socket: zmq.Socket[bytes], take: Callable[[Sequence[zmq.Frame]], None]) -> bool:
        """Takes what is there; whether there may be more."""
        for _ in range(_AT_ONCE):
            try:
                frames = [socket.recv(_NOBLOCK, copy=False)]
                while frames[-1].more:  # recv_multipart takes twice as long: it asks the socket, and by name
                    frames.append(socket.recv(_NOBLOCK, copy=False))
            except zmq.Again:
                return False
            take(frames)
        return True


class Router:
    """The controller's end: takes messages from every agent, and answers by identity.

    `on_message(identity, agent, data)` is called by `serve`, one message at a
    time. `identity` is the connection's: it stays the same while an agent's
    process lives, also over reconnects, and differs between two processes that
    use one agent id. The peer's key may speak for `agent`; that a message
    inside names the same agent is the caller's to check.

    `on_refused(kind, text)` is called for whatever was not handed on, each time.

    Use it within a running event loop; `serve()` is to be awaited by somebody,
    since whatever goes wrong ends it.
    """

    def __init__(
        self,
        bind: str,
        keys: ControllerKeys,
        on_message: Callable[[bytes, str, bytes], None],
        on_refused: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        """Listens at once.

        Raises:
            PortBusy, UsageError: we cannot listen at `bind` ("HOST:PORT"; port 0 takes a free one).
        """
        self._host, port = parse_address(bind)
        self.stats = RouterStats()
        self._agents, self._on_message, self._on_refused = keys.agents, on_message, on_refused
        self._heard: dict[tuple[bytes, str], str] = {}
        """Agents by identity and key, of those that may speak as things stand."""
        self._context = zmq.Context()
        # The gatekeeper must stand before anyone can knock: without one every key would be let in (P6).
        self._gate = self._context.socket(zmq.REP)
        self._gate.setsockopt(zmq.LINGER, 0)
        self._gate.bind("inproc://zeromq.zap.01")
        self._own = keys.own
        try:
            self._socket = self._listen(port)
        except zmq.ZMQError as exc:
            self._context.destroy(linger=0)
            raise _cannot_listen(bind, exc) from exc
        self._reader = _Reader()
        self._reader.add(self._gate, self._on_knock)
        self._reader.add(self._socket, self._on_frames)

    def _listen(self, port: int) -> zmq.Socket[bytes]:
        listening = self._context.socket(zmq.ROUTER)
        for option, value in _ROUTER.items():
            listening.setsockopt(option, value)
        listening.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        listening.setsockopt(zmq.CURVE_SECRETKEY, self._own.secret)
        listening.setsockopt(zmq.CURVE_PUBLICKEY, self._own.public)
        try:
            listening.bind(f"tcp://{self._host}:{port or '*'}")
        except zmq.ZMQError:
            listening.close(0)
            raise
        return listening

    def drop_all(self) -> None:
        """Hang up on everybody and listen anew at the same address. It frees what half messages hold of memory (P9).

        Agents connect again by themselves, and send again what was not acknowledged.

        Raises:
            FleetError: the address cannot be had any more.
        """
        _, port = parse_address(self.address)
        before = self._socket
        before.unbind(str(before.getsockopt_string(zmq.LAST_ENDPOINT)))
        self._socket = self._listen_again(port)
        self._reader.exchange(before, self._socket)
        before.close(0)

    def _listen_again(self, port: int) -> zmq.Socket[bytes]:
        for _ in range(_UNBINDING_TRIES):  # libzmq gives an address up a moment after it says so
            try:
                return self._listen(port)
            except zmq.ZMQError:
                time.sleep(_UNBINDING_S)
        raise FleetError(f"port {port} cannot be listened at again")

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        # Of the endpoint only the port: libzmq writes 127.0.0.1 as [::ffff:127.0.0.1].
        endpoint = bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()
        return f"{self._host}:{endpoint.rpartition(':')[2]}"

    def admit(self, agents: Mapping[bytes, str]) -> None:
        """From now on these keys (name by public key) come in and are heard, and no others, however they came in."""
        self._agents = agents
        self._heard.clear()

    async def serve(self) -> None:
        """Hands on what comes in, until cancelled. Ends with what `on_message` raises."""
        await self._reader.serve()

    def send(self, identity: bytes, data: bytes) -> bool:
        """Whether the message is on its way. Never blocks; no promise that it arrives.

        False: the peer is gone, or its queue is full.
        """
        try:
            self._socket.send(identity, _MORE)  # send_multipart takes twice as long for two
            self._socket.send(data, _NOBLOCK)
        except zmq.ZMQError as exc:
            if exc.errno not in (errno.EAGAIN, errno.EHOSTUNREACH):
                raise FleetError(f"cannot send: {exc}") from exc
            self.stats.unsent += 1
            return False
        finally:
            self._reader.look_again()
        return True

    def close(self) -> None:
        """Once `serve` is over. Takes up to a second to hand over what was sent last."""
        self._gate.close()
        self._socket.close()
        self._context.term()

    def _on_frames(self, frames: Sequence[zmq.Frame]) -> None:
        self.stats.received += 1
        if len(frames) != 2:
            self.stats.malformed += 1
            self._on_refused("malformed", f"a message of {len(frames) - 1} frames, and not of one")
            return
        # The identity is the peer's own claim; the key was proved (P8). Read each time: ids can be handed over.
        identity, key = frames[0].bytes, str(frames[1].get("User-Id"))
        agent = self._heard.get((identity, key)) or self._speaker(identity, key)
        if agent is not None:
            self._on_message(identity, agent, frames[1].bytes)

    def _speaker(self, identity: bytes, key: str) -> str | None:
        """The agent of this identity, where the key may speak for it."""
        agent = _agent_of(identity)
        if agent is None:
            self.stats.malformed += 1
            self._on_refused("malformed", "a message of a connection without an agent's name")
            return None
        name = self._agents.get(key.encode())
        if name is None:
            self.stats.revoked += 1
            self._on_refused("revoked key", f"a message of {agent}, whose key was revoked")
            return None
        if not may_speak_for(name, agent):
            self.stats.impostors += 1
            self._on_refused("impostor", f"a message for {agent} with the key of {name}")
            return None
        if len(self._heard) >= _MOST_HEARD:
            self._heard.clear()
        self._heard[identity, key] = agent
        return agent

    def _on_knock(self, frames: Sequence[zmq.Frame]) -> None:
        """One ZAP request (RFC 27). Answers all of them: an unanswered one would lock everybody out (P7)."""
        parts = [frame.bytes for frame in frames]
        version, request, *_ = [*parts, b"", b""]
        answer = (b"400", b"unknown key", b"")
        try:
            if (key := self._who(parts)) is not None:
                answer = (b"200", b"OK", key)
            else:
                self.stats.keys_refused += 1
                self._on_refused("unknown key", _stranger(parts))
        except Exception as exc:  # noqa: BLE001  this one stays outside; all others must still be answered
            self.stats.gate_failures += 1
            answer = (b"500", b"the key cannot be looked up", b"")
            self._on_refused("gate failed", f"a peer was refused, since its key could not be looked up: {exc!r}")
        with contextlib.suppress(zmq.Again):
            self._gate.send_multipart([version, request, *answer, b""], zmq.NOBLOCK)
        self._reader.look_again()

    def _who(self, request: list[bytes]) -> bytes | None:
        """The key that knocks; None for one that is not to come in."""
        match request:
            case [b"1.0", _, domain, _, _, b"CURVE", raw] if domain == ZAP_DOMAIN and len(raw) == 32:
                key = z85(raw)
                return key if self._agents.get(key) is not None else None
        return None


class Dealer:
    """An agent's end: connects, and connects again for ever. Same rules as the Router's.

    `on_message(data)` is called by `serve`, one message at a time.
    """

    def __init__(
        self,
        controller: str,
        keys: AgentKeys,
        agent: str,
        on_message: Callable[[bytes], None],
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts to connect to `controller` ("HOST:PORT"); `on_connect` is called for each connection that is made.

        Raises:
            UsageError: no such address, or no name for an agent.
        """
        host, port = parse_address(controller)
        self.trouble = f"no answer from {controller} yet"
        """Why there is no connection, in words; empty while there is one."""
        self._controller = controller
        self._on_message, self._on_connect = on_message, on_connect
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in _DEALER.items():
            self._socket.setsockopt(option, value)
        # Not all agents of a fleet at once after a controller's restart.
        self._socket.setsockopt(zmq.RECONNECT_IVL, random.randint(100, 300))  # noqa: S311
        self._socket.setsockopt(zmq.ROUTING_ID, identity_of(agent))
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, keys.controller)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_CONNECTED
            | zmq.EVENT_HANDSHAKE_SUCCEEDED
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | zmq.EVENT_CLOSED
            | zmq.EVENT_DISCONNECTED
        )
        self._reader = _Reader()
        self._reader.add(self._socket, self._on_frames)
        self._reader.add(self._monitor, self._on_event)
        self._endpoint = f"tcp://{host}:{port}"
        self._again: asyncio.TimerHandle | None = None
        try:
            self._socket.connect(self._endpoint)
        except zmq.ZMQError as exc:
            self.close()
            raise UsageError(f"cannot connect to {controller}: {exc}", hint="write HOST:PORT") from exc

    @property
    def is_connected(self) -> bool:
        return not self.trouble

    async def serve(self) -> None:
        """Hands on what comes in, until cancelled. Ends with what `on_message` raises."""
        await self._reader.serve()

    def send(self, data: bytes) -> bool:
        """Whether the message is on its way. Never blocks; no promise that it arrives.

        False: there is no connection, or its queue is full.
        """
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._reader.look_again()
        return True

    def reconnect(self) -> None:
        """Give the connection up and make another. What has not left yet is lost, as with any that breaks."""
        self._leave_it()
        with contextlib.suppress(zmq.ZMQError):  # nothing is left to disconnect
            self._socket.disconnect(self._endpoint)
        self._socket.connect(self._endpoint)

    def close(self, linger_ms: int = 0) -> None:
        """Once `serve` is over. `linger_ms`: how long at most it takes to hand over what was sent last."""
        self._leave_it()
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(linger_ms)
        self._context.term()

    def _on_frames(self, frames: Sequence[zmq.Frame]) -> None:
        if len(frames) == 1:
            self._on_message(frames[0].bytes)

    def _on_event(self, frames: Sequence[zmq.Frame]) -> None:
        event = parse_monitor_message([frame.bytes for frame in frames])["event"]
        match event:
            case zmq.EVENT_CONNECTED:
                self._leave_it()
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.trouble = ""
                self._on_connect()
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.trouble = f"the controller at {self._controller} does not know our key"
                self._try_again()
            case zmq.EVENT_DISCONNECTED if not self.trouble:
                self.trouble = f"the connection to {self._controller} was lost"
                self._try_again()
            case zmq.EVENT_CLOSED:
                self.trouble = f"nobody listens at {self._controller}"
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL if not self.trouble:
                # Long after the handshake, in spite of the name: a frame was damaged. libzmq reads no further and
                # keeps the connection until its heartbeat times out (measured: 8 s).
                self.trouble = f"what came from {self._controller} was damaged"
                self.reconnect()
            case _:
                if "our key" not in self.trouble:  # it gave up the handshake without a word
                    self.trouble = f"what listens at {self._controller} is not the controller whose key we have"
                self._try_again()

    def _try_again(self) -> None:
        """Where libzmq has not by then, without a word.

        Not to who refused us, though a key may be made known and a controller come back; nor to who sends a length or a
        greeting that makes no sense, though the network may have done it.
        """
        if self._again is None:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(random.uniform(*_AGAIN_WAITS_S), self.reconnect)  # noqa: S311

    def _leave_it(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None


def identity_of(agent: str) -> bytes:
    """A routing id for `agent` that no other peer can guess, and so not take over (P8)."""
    return check_agent_id(agent).encode() + b"\0" + os.urandom(_NONCE_BYTES)


def _agent_of(identity: bytes) -> str | None:
    name, zero, nonce = identity.partition(b"\0")
    if not zero or len(nonce) != _NONCE_BYTES:
        return None
    agent = name.decode("ascii", "replace")
    return agent if is_agent_id(agent) else None


def _stranger(request: list[bytes]) -> str:
    """Who was refused, for a person. Nothing of it is proved."""
    match request:
        case [_, _, _, address, _, b"CURVE", raw] if len(raw) == 32:
            where = address.decode("ascii", "replace")[:60]
            return f"a peer at {where} was refused: its key {fingerprint(z85(raw))} is not among the agents'"
    return "a peer was refused: it brought no key"


def _cannot_listen(bind: str, exc: zmq.ZMQError) -> FleetError | UsageError:
    if exc.errno == errno.EADDRINUSE:
        return PortBusy(
            f"cannot listen at {bind}: another program does", hint="choose another port, or port 0 for any free one"
        )
    return UsageError(f"cannot listen at {bind}: {exc}", hint="write an address of this machine and a port")
