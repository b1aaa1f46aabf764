"""The event loop of the server: it reads requests, and sends prepared writes at absolute times.

It does not use asyncio, because the times of its sends must be exact. asyncio rounds timers to ms on Linux,
and its transports do other work between two sends. This loop sleeps until shortly before a write is due, and then waits
busily. The bytes of a stream's next write are made right after its last send, when no other write is due.

Times are ns of `perf_counter_ns`, which is CLOCK_MONOTONIC on Linux.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import selectors
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from enum import IntEnum
from heapq import heappop, heappush
from time import perf_counter_ns, time_ns
from typing import Final, NamedTuple, Protocol

from loadgen.errors import PortBusy
from loadgen.target.llm.http1 import BadHttp, HttpRequest, RequestReader
from loadgen.target.llm.send_log import Events, SendLog

__all__ = ["Connection", "End", "SendLoop", "Server", "Stream", "Write"]

_BUSY_NS: Final = 300_000
"""The loop waits busily for this long before a write. `select` wakes up to 0.1 ms late on a quiet machine."""
_BUSY_STREAMS: Final = 250
"""With more streams, the loop does not wait busily. A write is then due nearly always, and Linux takes the core from a
program that never sleeps: 50 ms in each second, if it runs before all others and other programs wait."""
_QUIET_NS: Final = 80_000
"""The loop reads no request in the last part of that wait, because a request takes about this long."""
_LONGEST_DEAF_NS: Final = 2_000_000
"""The loop reads requests at least this often, even if writes are always due."""
_READ_BYTES: Final = 262_144
_COLLECT_AFTER: Final = 500
"""Requests between two runs of the garbage collector. It runs only when no stream is active."""


class End(IntEnum):
    """The action after a write."""

    MORE = 0
    DONE = 1
    """The response is complete."""
    CLOSE = 2
    """The connection is closed."""
    RESET = 3
    """The connection is reset: the client gets an RST."""
    STALL = 4
    """Nothing more is sent, and the connection stays open."""


class Write(NamedTuple):
    """One send of a stream. at_ns: its time after the start of the stream. data: the bytes as they are sent."""

    at_ns: int
    data: bytes
    events: Events
    end: End = End.MORE


class Stream:
    """A response in progress, with the source of its writes and the next one."""

    __slots__ = (
        "arrived_ns",
        "base_ns",
        "connection",
        "first_token_ns",
        "last_token_ns",
        "next",
        "number",
        "on_end",
        "on_tokens",
        "sent",
        "step_ns",
        "writes",
    )

    def __init__(self, number: int, connection: Connection, arrived_ns: int) -> None:
        self.number, self.connection, self.arrived_ns = number, connection, arrived_ns
        self.base_ns = 0
        """The time from which `Write.at_ns` counts."""
        self.step_ns = 0
        """Sends happen only at multiples of this after the start of the server; 0: at any time."""
        self.sent = 0
        self.writes: Iterator[Write] = iter(())
        self.next: Write | None = None
        self.first_token_ns = self.last_token_ns = 0
        """When tokens were first and last sent; 0: not yet."""
        self.on_tokens: Callable[[Stream, int, int], None] | None = None
        """Is called after a send with tokens, with the stream, the number of tokens and the time."""
        self.on_end: Callable[[Stream, int, bool], None] | None = None
        """Is called once when the stream has ended, with the planned time, and whether it was sent to its end."""


class Server(Protocol):
    """The functions that the loop calls."""

    def answer(self, connection: Connection, request: HttpRequest, now_ns: int) -> None: ...

    def refuse(self, connection: Connection, status: int, message: str) -> None: ...


class Connection:
    """One client. It gets one response at a time; further requests wait in the reader."""

    __slots__ = ("backlog", "closes", "reader", "sock", "stream")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = RequestReader()
        self.stream: Stream | None = None
        self.backlog = bytearray()
        """Bytes that the kernel did not take, because the client reads too slowly."""
        self.closes = False
        """The connection is closed after the present response."""

    @property
    def is_open(self) -> bool:
        return self.sock.fileno() >= 0


class SendLoop:
    """Runs the server until `stop`. log: gets a row for each send."""

    def __init__(self, host: str, port: int, log: SendLog) -> None:
        """Open the port. Raises PortBusy if that is impossible."""
        self.log = log
        self.server: Server
        self.started_ns = perf_counter_ns()
        self.connections_opened = 0
        self._connections: set[Connection] = set()
        self._heap: list[tuple[int, int, Stream]] = []
        self._pushed = 0
        self._unprepared: deque[Stream] = deque()
        self._selector = selectors.DefaultSelector()
        self._is_stopping = False
        self._answered_since_collection = 0
        self._polled_ns = 0
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family, backlog=4096)
        except OSError as error:
            raise PortBusy(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="choose another --port, or 0 for any free one",
            ) from error
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._waker, self._wakened = socket.socketpair()
        self._selector.register(self._wakened, selectors.EVENT_READ, self._wakened)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def active(self) -> int:
        """Return the number of streams that have a write to send."""
        return len(self._heap) + len(self._unprepared)

    @property
    def connections_open(self) -> int:
        return len(self._connections)

    def stop(self) -> None:
        """End `run` soon. Signal handlers and other threads may call it."""
        self._is_stopping = True
        with contextlib.suppress(OSError):  # `run` has ended already
            self._waker.send(b".")

    def stop_with_stdin(self) -> None:
        """End `run` when standard input ends."""
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, "stdin")

    def handle_signals(self) -> None:
        """End `run` when the process receives SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())

    def run(self, server: Server) -> None:
        """Serve until `stop` is called."""
        self.server = server
        try:
            while not self._is_stopping:
                self._turn()
        finally:
            for connection in list(self._connections):
                self.close(connection)
            self._listener.close()
            self._selector.close()
            self._waker.close()
            self._wakened.close()

    # -- streams ---------------------------------------------------------------------------------

    def start(self, stream: Stream, base_ns: int, writes: Iterator[Write]) -> None:
        """Begin to send `writes`, whose times count from `base_ns`."""
        stream.base_ns, stream.writes = base_ns, writes
        self._prepare(stream)

    def _prepare(self, stream: Stream) -> None:
        write = stream.next = next(stream.writes, None)
        if write is None:
            return  # The client has left.
        due_ns = stream.base_ns + write.at_ns
        step_ns = stream.step_ns
        if step_ns:
            due_ns += (self.started_ns - due_ns) % step_ns
        self._pushed += 1
        heappush(self._heap, (due_ns, self._pushed, stream))

    def send(self, stream: Stream, due_ns: int, data: bytes, events: Events) -> int:
        """HOT, once a send: about 8 µs, of which the kernel takes 6. Send `data` and log it. Return the time after the
        send, or 0 if the client has left.
        """
        connection = stream.connection
        real_before_ns = time_ns()
        before_ns = perf_counter_ns()
        try:
            sent = 0 if connection.backlog else connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close(connection)
            return 0
        after_ns = perf_counter_ns()
        real_after_ns = time_ns()
        if sent < len(data):
            self._keep(connection, data[sent:])
        if self.log.is_on:
            self.log.add(
                stream.number,
                stream.sent,
                due_ns,
                before_ns,
                after_ns,
                real_before_ns,
                real_after_ns,
                len(data),
                events,
            )
        stream.sent += 1
        return after_ns

    def _send_next(self, due_ns: int, stream: Stream) -> None:
        write = stream.next
        assert write is not None
        sent_ns = self.send(stream, due_ns, write.data, write.events)
        if not sent_ns:
            return
        if write.events and stream.on_tokens is not None:
            tokens = 0
            for _, number in write.events:
                tokens += number
            if tokens:
                stream.on_tokens(stream, tokens, sent_ns)
        if write.end is End.MORE:
            self._unprepared.append(stream)
        elif write.end is not End.STALL:
            self._end(stream, write.end, due_ns)

    def _end(self, stream: Stream, end: End, due_ns: int) -> None:
        connection = stream.connection
        connection.stream = None
        self._answered_since_collection += 1
        if stream.on_end is not None:
            stream.on_end(stream, due_ns, True)
        if end is End.RESET:
            # A linger time of 0 makes the kernel send an RST instead of a FIN.
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end is not End.DONE:
            self.close(connection)
        elif connection.closes:
            self._close_when_sent(connection)
        else:
            self._next_request(connection)

    # -- connections -----------------------------------------------------------------------------

    def reply(self, connection: Connection, data: bytes) -> None:
        """Send a response that is neither timed nor logged, such as that of `/metrics`."""
        try:
            sent = 0 if connection.backlog else connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close(connection)
            return
        self._keep(connection, data[sent:])

    def _keep(self, connection: Connection, rest: bytes) -> None:
        if rest and not connection.backlog:
            self._selector.modify(connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        connection.backlog += rest

    def close(self, connection: Connection) -> None:
        """Close a connection, and drop the rest of its response."""
        if not connection.is_open:
            return
        self._connections.discard(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()
        stream, connection.stream = connection.stream, None
        if stream is not None:
            stream.writes, stream.next = iter(()), None
            if stream.on_end is not None:
                stream.on_end(stream, perf_counter_ns(), False)

    def _close_when_sent(self, connection: Connection) -> None:
        connection.closes = True
        if not connection.backlog:
            self.close(connection)

    def _accept(self) -> None:
        for _ in range(16):
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            self.connections_opened += 1
            self._connections.add(connection)
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(connection)
            return
        connection.reader.feed(data)
        self._next_request(connection)

    def _next_request(self, connection: Connection) -> None:
        while connection.is_open and connection.stream is None and not connection.closes:
            now_ns = perf_counter_ns()
            try:
                request = connection.reader.next()
            except BadHttp as bad:
                self.server.refuse(connection, bad.status, bad.message)
                self._close_when_sent(connection)
                return
            if request is None:
                if connection.reader.wants_continue:
                    connection.reader.wants_continue = False
                    connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            connection.closes = not request.keeps_alive
            self.server.answer(connection, request, now_ns)
            if connection.closes and connection.stream is None:
                self._close_when_sent(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            sent = connection.sock.send(connection.backlog)
        except BlockingIOError:
            return
        except OSError:
            self.close(connection)
            return
        del connection.backlog[:sent]
        if not connection.backlog:
            self._selector.modify(connection.sock, selectors.EVENT_READ, connection)
            if connection.closes and connection.stream is None:
                self.close(connection)

    # -- one turn of the loop ----------------------------------------------------------------------

    def _turn(self) -> None:
        """Send all due writes, prepare the next ones, then read requests or wait."""
        heap, unprepared = self._heap, self._unprepared
        while True:
            now_ns = perf_counter_ns()
            if heap and heap[0][0] <= now_ns:
                due_ns, _, stream = heappop(heap)
                if stream.next is not None:
                    self._send_next(due_ns, stream)
            elif unprepared:
                self._prepare(unprepared.popleft())
            else:
                break
            if now_ns - self._polled_ns > _LONGEST_DEAF_NS:
                self._poll(now_ns)
        if not heap:
            if self._answered_since_collection >= _COLLECT_AFTER and not gc.isenabled():
                self._answered_since_collection = 0
                gc.collect()
            self._handle(None)
            return
        slack_ns = heap[0][0] - now_ns
        busy_ns = _BUSY_NS if len(heap) <= _BUSY_STREAMS else 0
        if slack_ns > busy_ns:
            # `select` on the selector's own file has µs; epoll's time-out has ms.
            select.select([self._selector], [], [], (slack_ns - busy_ns) / 1e9)
            self._poll(perf_counter_ns())
        elif slack_ns > _QUIET_NS or now_ns - self._polled_ns > _LONGEST_DEAF_NS:
            self._poll(now_ns)

    def _poll(self, now_ns: int) -> None:
        self._polled_ns = now_ns
        self._handle(0)

    def _handle(self, timeout_s: float | None) -> None:
        heap = self._heap
        for key, mask in self._selector.select(timeout_s):
            found = key.data
            if isinstance(found, Connection):
                if mask & selectors.EVENT_WRITE and found.is_open:
                    self._flush(found)
                if mask & selectors.EVENT_READ and found.is_open:
                    self._read(found)
            elif found is None:
                self._accept()
            elif found == "stdin" and not os.read(sys.stdin.fileno(), 4096):
                self._is_stopping = True
            # The byte of `stop` stays unread: a turn that read it would then wait for something else.
            if heap and heap[0][0] <= perf_counter_ns():
                return  # What else can be read stays readable.
