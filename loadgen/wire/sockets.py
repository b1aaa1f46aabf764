"""The sockets between controller and agents: `Router` and `Dealer`. No other module imports zmq.

Connections are encrypted, and both ends check each other's key (CURVE). This module delivers bytes from a peer whose
key is valid for the agent that it names; the codec decodes them. Delivery is not guaranteed: senders keep important
messages and send them again.

How a socket is read: with `zmq.asyncio`, a cancelled `await recv()` loses messages, and a non-blocking send hides its
failure in a future. So the sockets here are plain ones. One task waits for the socket's file descriptor and then reads
all messages without blocking, and a send returns at once whether it succeeded. The descriptor is edge-triggered, and a
*send* may consume the edge of an incoming message. Therefore the task checks for messages again after each send.
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
from loadgen.wire.curve_keys import (
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
"""Most messages that are read before the event loop does other work."""
_NONCE_BYTES = 8
_MOST_HEARD = 20_000
"""Most identities that are remembered; each agent process has its own."""
_UNBINDING_S = 0.005
_UNBINDING_TRIES = 200
_AGAIN_WAITS_S = (1.0, 3.0)
"""Range of the random delay before an agent reconnects, so that a fleet does not reconnect at the same moment."""

# Plain numbers, because combining two members of an enum takes longer than a send.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.SNDMORE | zmq.NOBLOCK)

_UNANSWERED_MS: Final = 3000
"""A connection is dead if TCP gets no answer to sent data, or to keepalive probes, for so long."""
_FRAME_BYTES: Final = MAX_MESSAGE_BYTES + 1024
"""Longest frame: a message with the overhead of CURVE."""
_ROUTER: Final = {
    # The kernel probes a connection that is silent for 2 s. Heartbeats of libzmq would cost a third of its thread's CPU
    # time with 1,000 agents (docs/decisions/162-a-controllers-time-and-what-was-not-taken.md).
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 2,
    zmq.TCP_KEEPALIVE_INTVL: 1,
    zmq.TCP_KEEPALIVE_CNT: 2,
    zmq.TCP_MAXRT: _UNANSWERED_MS,
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
"""The router must have closed a dead connection before its agent reconnects, which happens after 3 s at the earliest.

Otherwise a handover with unread messages on the old connection can abort libzmq 4.3.5 (its issue 4841; seen after 5 s
of partition, when only the agent closed early).
"""
_DEALER: Final = {
    # Heartbeats also find a connection whose data were damaged, so that the controller reads no further.
    zmq.HEARTBEAT_IVL: 1500,
    zmq.HEARTBEAT_TIMEOUT: 4000,
    zmq.TCP_MAXRT: _UNANSWERED_MS,
    zmq.LINGER: 0,
    zmq.RECONNECT_IVL_MAX: 1000,  # with 5000, the try after 5 s without a network came 3 s later, after the lease
    zmq.IMMEDIATE: 1,
    zmq.MAXMSGSIZE: _FRAME_BYTES,
    zmq.SNDHWM: 64,
    zmq.IPV6: 1,
    zmq.TCP_KEEPALIVE: 1,
}
"""A dead connection must be found early enough to reconnect within the lease of 8 s. That takes at most 5.5 s, and at
most 3 s if something was sent and TCP gets no answer. It does not show that the program behind it is alive.
"""


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of a text like "10.0.0.7:5557" or "[::1]:5557". An IPv6 address keeps its brackets.

    Raises:
        UsageError: the text does not have the form HOST:PORT.
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
    """Counters of received, refused and unsent messages of a router."""

    received: int = 0
    keys_refused: int = 0
    """Handshakes with an unknown key."""
    gate_failures: int = 0
    """Handshakes that were refused because the check of their key raised: a bug in loadgen."""
    revoked: int = 0
    """Messages on a connection that was made before its key was revoked."""
    malformed: int = 0
    """Messages that do not have exactly one frame, or whose peer has no valid agent name."""
    impostors: int = 0
    """Messages of a peer whose key is not valid for the agent that it names."""
    unsent: int = 0
    """Messages that could not be sent, because the peer was gone or its queue was full."""


class _Reader:
    """One task that reads several sockets and passes each message to a function. An exception in it ends the task."""

    def __init__(self) -> None:
        self._takers: list[tuple[zmq.Socket[bytes], Callable[[Sequence[zmq.Frame]], None]]] = []
        self._ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that runs `serve`; None outside of `serve`."""

    def add(self, socket: zmq.Socket[bytes], take: Callable[[Sequence[zmq.Frame]], None]) -> None:
        self._takers.append((socket, take))

    def exchange(self, socket: zmq.Socket[bytes], other: zmq.Socket[bytes]) -> None:
        """Read the socket `other` instead of `socket` from now on. Call this before `socket` is closed."""
        for place, (read, take) in enumerate(self._takers):
            if read is socket:
                self._takers[place] = other, take
        if self._loop is not None:
            self._loop.remove_reader(int(socket.get(zmq.FD)))
            self._loop.add_reader(int(other.get(zmq.FD)), self._ready.set)
        self._ready.set()

    def look_again(self) -> None:
        """Let the reading task check all sockets again. A send may have consumed the signal of an incoming message."""
        self._ready.set()

    async def serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        for socket, _ in self._takers:
            loop.add_reader(int(socket.get(zmq.FD)), self._ready.set)
        try:
            while True:
                self._ready.clear()
                # A list and not a generator, so that every socket is read even if the first has more messages.
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
        """Pass the socket's waiting messages to `take`, up to `_AT_ONCE`. Return True if there may be more."""
        for _ in range(_AT_ONCE):
            try:
                frames = [socket.recv(_NOBLOCK, copy=False)]
                while frames[-1].more:  # recv_multipart takes twice as long, because it asks the socket by name
                    frames.append(socket.recv(_NOBLOCK, copy=False))
            except zmq.Again:
                return False
            take(frames)
        return True


class Router:
    """The controller's socket: receives messages from all agents, and sends by identity.

    `serve` calls `on_message(identity, agent, data)`, one message at a time. `identity` belongs to the agent's process:
    it survives reconnections, and two processes with the same agent name have different ones. The peer's key is valid
    for `agent`. The caller must check that a message inside names the same agent.

    `on_refused(kind, text)` is called for each message or handshake that was refused.

    Use it within a running event loop, and await `serve()`, which raises every failure.
    """

    def __init__(
        self,
        bind: str,
        keys: ControllerKeys,
        on_message: Callable[[bytes, str, bytes], None],
        on_refused: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        """Start to listen for agents at the address `bind`.

        Args:
            bind: "HOST:PORT"; port 0 takes a free port.

        Raises:
            PortBusy: another program listens at `bind`.
            UsageError: the address is invalid or does not belong to this machine.
        """
        self._host, port = parse_address(bind)
        self.stats = RouterStats()
        self._agents, self._on_message, self._on_refused = keys.agents, on_message, on_refused
        self._heard: dict[tuple[bytes, str], str] = {}
        """Cache of accepted peers: the agent by identity and key."""
        self._context = zmq.Context()
        # The ZAP handler must be bound before the socket listens: without a handler libzmq accepts every key.
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
        """Close the connections to all agents, and listen again at the same address.

        This frees memory of incomplete messages. A peer can hold memory with the first frames of a message that it
        never completes; libzmq has no limit for that. Agents reconnect by themselves, and send everything
        unacknowledged again.

        Raises:
            FleetError: the address is no longer free.
        """
        _, port = parse_address(self.address)
        before = self._socket
        before.unbind(str(before.getsockopt_string(zmq.LAST_ENDPOINT)))
        self._socket = self._listen_again(port)
        self._reader.exchange(before, self._socket)
        before.close(0)

    def _listen_again(self, port: int) -> zmq.Socket[bytes]:
        for _ in range(_UNBINDING_TRIES):  # libzmq frees an address a moment after `unbind` returns
            try:
                return self._listen(port)
            except zmq.ZMQError:
                time.sleep(_UNBINDING_S)
        raise FleetError(
            f"the controller cannot listen at port {port} again, because another program took the port."
            " End that program, then start the controller again"
        )

    @property
    def address(self) -> str:
        """Address at which the controller listens, HOST:PORT, with the real port if it asked for a free one."""
        # Only the port is read from the endpoint, because libzmq writes 127.0.0.1 as [::ffff:127.0.0.1].
        endpoint = bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()
        return f"{self._host}:{endpoint.rpartition(':')[2]}"

    def admit(self, agents: Mapping[bytes, str]) -> None:
        """Replace the set of accepted agent keys. Messages of other keys are refused, also on existing connections.

        Args:
            agents: names by public key.
        """
        self._agents = agents
        self._heard.clear()

    async def serve(self) -> None:
        """Receive messages of agents until cancelled. It raises what `on_message` raises."""
        await self._reader.serve()

    def send(self, identity: bytes, data: bytes) -> bool:
        """Queue an encoded message for one agent; return False if it is not connected or its queue is full.

        Never blocks. True does not mean that the message arrives.
        """
        try:
            self._socket.send(identity, _MORE)  # send_multipart takes twice as long for two frames
            self._socket.send(data, _NOBLOCK)
        except zmq.ZMQError as exc:
            if exc.errno not in (errno.EAGAIN, errno.EHOSTUNREACH):
                raise FleetError(f"cannot send: {exc}", hint="use the same version of loadgen on both sides") from exc
            self.stats.unsent += 1
            return False
        finally:
            self._reader.look_again()
        return True

    def close(self) -> None:
        """Close the socket after `serve` has ended. Takes up to 1 s, to deliver the last messages."""
        self._gate.close()
        self._socket.close()
        self._context.term()

    def _on_frames(self, frames: Sequence[zmq.Frame]) -> None:
        self.stats.received += 1
        if len(frames) != 2:
            self.stats.malformed += 1
            self._on_refused("malformed", f"a message has {len(frames) - 1} frames: it must have exactly one")
            return
        # The peer chose the identity, but proved its key. The key is read each time: identities can be taken over.
        identity, key = frames[0].bytes, str(frames[1].get("User-Id"))
        agent = self._heard.get((identity, key)) or self._speaker(identity, key)
        if agent is not None:
            self._on_message(identity, agent, frames[1].bytes)

    def _speaker(self, identity: bytes, key: str) -> str | None:
        """Return the name of the agent with this identity; None if `key` is not valid for it, which is counted."""
        agent = _agent_of(identity)
        if agent is None:
            self.stats.malformed += 1
            self._on_refused("malformed", "a message came from a connection without an agent's name")
            return None
        name = self._agents.get(key.encode())
        if name is None:
            self.stats.revoked += 1
            self._on_refused("revoked key", f"a message came from {agent}, whose key was revoked")
            return None
        if not may_speak_for(name, agent):
            self.stats.impostors += 1
            self._on_refused("impostor", f"a message named agent {agent}, but came with the key of {name}")
            return None
        if len(self._heard) >= _MOST_HEARD:
            self._heard.clear()
        self._heard[identity, key] = agent
        return agent

    def _on_knock(self, frames: Sequence[zmq.Frame]) -> None:
        """Answer one request of libzmq whether a connecting peer's key is accepted (ZAP, RFC 27).

        Each request must get an answer: without one, libzmq stops accepting any peer.
        """
        parts = [frame.bytes for frame in frames]
        version, request, *_ = [*parts, b"", b""]
        answer = (b"400", b"unknown key", b"")
        try:
            if (key := self._who(parts)) is not None:
                answer = (b"200", b"OK", key)
            else:
                self.stats.keys_refused += 1
                self._on_refused("unknown key", _stranger(parts))
        except Exception as exc:  # noqa: BLE001  refuse this peer, and still answer all others
            self.stats.gate_failures += 1
            answer = (b"500", b"the key cannot be looked up", b"")
            self._on_refused("gate failed", f"a peer was refused, because the check of its key failed: {exc!r}")
        with contextlib.suppress(zmq.Again):
            self._gate.send_multipart([version, request, *answer, b""], zmq.NOBLOCK)
        self._reader.look_again()

    def _who(self, request: list[bytes]) -> bytes | None:
        """Return the public key (Z85) in a handshake's request; None if the key is unknown and must be refused."""
        match request:
            case [b"1.0", _, domain, _, _, b"CURVE", raw] if domain == ZAP_DOMAIN and len(raw) == 32:
                key = z85(raw)
                return key if self._agents.get(key) is not None else None
        return None


class Dealer:
    """An agent's socket: connects to the controller, and reconnects for ever.

    `serve` calls `on_message(data)`, one message at a time. Use it within a running event loop, and await `serve()`.
    """

    def __init__(
        self,
        controller: str,
        keys: AgentKeys,
        agent: str,
        on_message: Callable[[bytes], None],
        on_connect: Callable[[], None] = lambda: None,
    ) -> None:
        """Start to connect to the controller.

        Args:
            controller: address of the controller, "HOST:PORT".
            on_connect: called for each new connection.

        Raises:
            UsageError: the address or the agent's name is invalid.
        """
        host, port = parse_address(controller)
        self.trouble = f"no answer from {controller} yet"
        """Why there is no connection; empty while there is one."""
        self._controller = controller
        self._on_message, self._on_connect = on_message, on_connect
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in _DEALER.items():
            self._socket.setsockopt(option, value)
        # Random, so that after a controller's restart the agents of a fleet do not reconnect at the same moment.
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
            raise UsageError(
                f"cannot connect to {controller}: {exc}",
                hint="write HOST:PORT, the address at which the controller listens for agents",
            ) from exc

    @property
    def is_connected(self) -> bool:
        """Whether there is a working connection to the controller."""
        return not self.trouble

    async def serve(self) -> None:
        """Receive messages of the controller until cancelled. It raises what `on_message` raises."""
        await self._reader.serve()

    def send(self, data: bytes) -> bool:
        """Queue an encoded message for the controller; return False if there is no connection or its queue is full.

        Never blocks. True does not mean that the message arrives.
        """
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._reader.look_again()
        return True

    def reconnect(self) -> None:
        """Close the connection to the controller and open a new one. Messages that were not sent yet are lost."""
        self._leave_it()
        with contextlib.suppress(zmq.ZMQError):  # nothing is left to disconnect
            self._socket.disconnect(self._endpoint)
        self._socket.connect(self._endpoint)

    def close(self, linger_ms: int = 0) -> None:
        """Close the connection for good, after `serve` has ended.

        Args:
            linger_ms: longest time to deliver the last messages.
        """
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
                self.trouble = f"the controller at {self._controller} does not know our key; add it with `loadgen keys`"
                self._try_again()
            case zmq.EVENT_DISCONNECTED if not self.trouble:
                self.trouble = f"the connection to {self._controller} was lost"
                self._try_again()
            case zmq.EVENT_CLOSED:
                self.trouble = f"nobody listens at {self._controller}"
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL if not self.trouble:
                # In spite of its name this event comes long after the handshake: a frame was damaged. libzmq reads no
                # further, but keeps the connection until its heartbeat times out (measured: 8 s).
                self.trouble = f"a message from {self._controller} was damaged on the way"
                self.reconnect()
            case _:
                if "our key" not in self.trouble:  # the peer ended the handshake without an error
                    self.trouble = (
                        f"the program at {self._controller} is not the controller whose key we have;"
                        " check the address and controller.pub"
                    )
                self._try_again()

    def _try_again(self) -> None:
        """Reconnect after a random delay, unless libzmq has reconnected before.

        libzmq silently gives up after a refused key and after a malformed greeting or length. Yet the key may be added
        later, the controller may come back, and the network may have damaged the data.
        """
        if self._again is None:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(random.uniform(*_AGAIN_WAITS_S), self.reconnect)  # noqa: S311

    def _leave_it(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None


def identity_of(agent: str) -> bytes:
    """Return the routing id by which the router addresses this agent: its name and a random part.

    So no other peer can guess the id and take it over.
    """
    return check_agent_id(agent).encode() + b"\0" + os.urandom(_NONCE_BYTES)


def _agent_of(identity: bytes) -> str | None:
    name, zero, nonce = identity.partition(b"\0")
    if not zero or len(nonce) != _NONCE_BYTES:
        return None
    agent = name.decode("ascii", "replace")
    return agent if is_agent_id(agent) else None


def _stranger(request: list[bytes]) -> str:
    """Return a line for the log about a peer that was refused. The peer has proved none of its values."""
    match request:
        case [_, _, _, address, _, b"CURVE", raw] if len(raw) == 32:
            where = address.decode("ascii", "replace")[:60]
            return f"a peer at {where} was refused: its key {fingerprint(z85(raw))} is not among the agents' keys"
    return "a peer was refused: it sent no key"


def _cannot_listen(bind: str, exc: zmq.ZMQError) -> FleetError | UsageError:
    if exc.errno == errno.EADDRINUSE:
        return PortBusy(
            f"cannot listen at {bind}: another program uses the port",
            hint="choose another port, or port 0 for any free one",
        )
    return UsageError(f"cannot listen at {bind}: {exc}", hint="write an address of this machine and a port")
