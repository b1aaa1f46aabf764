"""`user.ws`: one WebSocket connection of a user, whose messages are sent, asked, read and timed.

    async with user.ws("/feed", subprotocols=["chat.v2"]) as ws:
        await ws.ask({"id": 7, "op": "join"}, reply_to="$.id", name="join", timeout="2s")
        async for message in ws.messages(upto=50, within="30s", stamp="$.sent_ms"):
            user.check("has text", message.pick("$.text"))
        await ws.ping()

Rows: `WS /feed (connect)` from the call to the answer of the handshake; `WS /feed (ask)`, or the name of the ask, from
the call to the answer; `WS /feed (ping)`; and `WS /feed (close)`, from our close frame to the target's. The times of
other messages are metrics of the connect row: `first_message`, `message_gap`, `message_age`.

A connection that ends otherwise than by the code 1000 is a failure: of the asks under way, of the close row, and
of the journey's next call.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from random import getrandbits
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from loadgen.clients.framing.ws_frames import BINARY, PING
from loadgen.clients.http import HttpClient
from loadgen.clients.net.connect_timing import Opening
from loadgen.clients.protocol.outcomes import TIMEOUT, count_own_fault
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.protocol.timeouts import wheel_of
from loadgen.clients.ws_client.answers import NEXT, ById, InOrder, Key, Matched, key_of
from loadgen.clients.ws_client.arguments import check_close, check_unit, check_upto, limit_ns
from loadgen.clients.ws_client.connection import NORMAL, WsConnection
from loadgen.clients.ws_client.counts import WsCounts
from loadgen.clients.ws_client.exchanged import Connecting, Exchanged, Said, shown
from loadgen.clients.ws_client.handshake import agreed, check_headers, http_url, request_headers
from loadgen.clients.ws_client.message import Message, encoded, sent_message
from loadgen.clients.ws_client.reading import Inbox, MessageStream, Unit
from loadgen.engine.recording.tagging import GivenTags
from loadgen.errors import RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK
from loadgen.units import NS_PER_S

__all__ = ["WebSocket", "open_websocket"]

_GOING_AWAY: Final = 1001
_MOST_SAID: Final = 50
"""The number of messages that `loadgen check` shows of a connection."""
_CLOSE_NS: Final = 5 * NS_PER_S
"""How long the target has to answer our close frame."""


class WebSocket:
    """One connection. Made by `user.ws`; open within its `async with` block.

    subprotocol: the one that the target chose; "" for none. status_code, headers: of the target's answer.
    """

    def __init__(
        self,
        http: HttpClient,
        url: str,
        *,
        name: str | None,
        subprotocols: tuple[str, ...],
        headers: Mapping[str, str] | None,
        tags: GivenTags | None,
        timeout: float | str | None,
    ) -> None:
        self._http, self._meter = http, http.meter
        self._url, self._name, self._tags = url, name or "", tags
        self._ask_name = ""
        self._subprotocols, self._headers = subprotocols, headers
        self._timeouts = http.timeouts
        self._total_ns = self._timeouts.total_ns
        self._connect_limit_ns = None if timeout is None else limit_ns("user.ws", "timeout", timeout)
        self._counts = WsCounts.of(http.meter.recorder)
        self._in_order = InOrder()
        self._by_id: dict[Any, ById] = {}
        self._asking = 0
        """The number of asks and pings under way."""
        self._last_ns = self._messages = self._pings = 0
        self._has_raised = False
        self._said: list[Said] | None = None
        """The first messages, if they are to be shown."""
        self._fault: Exception | None = None
        """Raised by the scenario's own function (`reply_to=`), for the next call."""
        self.connection: WsConnection
        self.inbox: Inbox
        self.is_leaving = False
        self.subprotocol = ""
        self.head: Head

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Raise UsageError for what a connection has only within its block."""
            if name in ("connection", "inbox", "head"):
                hint = 'write async with user.ws("/feed") as ws:'
                raise UsageError("ws: the connection is not open", hint=hint)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    @property
    def close_code(self) -> int:
        """Return the code with which the target closed the connection; 1006 without one, and 0 while it is open."""
        return self.connection.close_code

    @property
    def status_code(self) -> int:
        return self.head.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers of the target's answer, with names in lower case."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.head.raw}

    # -- connect ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect, and return when the target has switched to WebSocket.

        Raises:
            RequestFailed: `ws refused 403`, `ws bad handshake`, `ws extension`, `refused`, `timeout`, `tls` ...
        """
        http, meter = self._http, self._meter
        key = b64encode(getrandbits(128).to_bytes(16, "big")).decode()
        headers = request_headers(key, self._subprotocols, self._headers)
        route, data = http.prepare_upgrade(self._url, headers)
        self._name = self._name or f"WS{route.name.removeprefix('GET')}"
        self._ask_name = f"{self._name} (ask)"
        series = meter.ask(f"{self._name} (connect)")
        if self._tags is not None:
            series = series.marked(self._tags)
        asked_ns = perf_counter_ns()
        data, trace, span, is_sampled = http.traced(series, route, data)
        sample = Connecting(series, asked_ns, data, asyncio.get_running_loop().create_future(), route)
        sample.trace, sample.span, sample.is_sampled = trace, span, is_sampled
        if series.watch is not None:
            series.watch.begun(asked_ns)
        deadline_ns = asked_ns + (self._connect_limit_ns or self._total_ns)
        connection: WsConnection | None = None
        try:
            connection = await self._open(route, sample, deadline_ns)
            sample.sent_ns = perf_counter_ns()
            self.head, sample.received = await connection.shake(data, deadline_ns)
            sample.first_byte_ns = sample.done_ns = perf_counter_ns()
            sample.head, sample.status_code = self.head, self.head.status
            http.learn_cookies(route, self.head)
            self.subprotocol = agreed(self.head, key, self._subprotocols)
        except RequestFailed as failure:
            if connection is not None:
                connection.abort()
            at_ns = getattr(failure, "at_ns", 0) or (deadline_ns if failure.outcome == TIMEOUT else perf_counter_ns())
            raise self._failed(sample, failure, at_ns) from failure
        except BaseException:
            if connection is not None:
                connection.abort()
            if series.watch is not None:
                series.watch.gone(asked_ns)
            raise
        sample.size_bytes = connection.size_bytes
        meter.hold(sample)
        meter.settle()
        self.connection, self._series, self._last_ns = connection, series, asked_ns
        if meter.keeps_messages:
            self._said = sample.first_messages
        self.inbox = Inbox(connection)
        self._counts.open.add(1)
        connection.begin(self)
        return self

    async def _open(self, route: Any, sample: Connecting, deadline_ns: int) -> WsConnection:
        http, opening = self._http, Opening()
        loop = asyncio.get_running_loop()
        wheel = wheel_of(loop)

        def made(lost: Callable[[Any], None]) -> WsConnection:
            return WsConnection(loop, wheel, route.origin.where, http.pool.limit_bytes, lost)

        try:
            connection = await http.pool.open_other(route.origin, made, self._timeouts.connect_ns, deadline_ns, opening)
        except RequestFailed as failure:
            sample.opened(opening.times, opening.failed_in(), failure.outcome)
            raise
        sample.opened(opening.times, None, OK)
        if sample.is_sampled:
            sample.remote = connection.remote
        return connection

    # -- send, ask, ping --------------------------------------------------------------------------

    async def send(self, message: Any) -> None:
        """Send a message: text, bytes (a binary message), or any other value as JSON. No row is recorded.

        The call returns as soon as the bytes are in the write buffer. While the buffer is full, because the target
        reads slowly, the call waits.

        Raises:
            RequestFailed: the connection has ended, for example `ws 1006`; or `timeout`: the target does not read.
            UsageError: the value has no form in JSON.
        """
        kind, payload = encoded(message)
        self._check()
        if self.connection.is_full:
            await self.connection.drained(perf_counter_ns() + self._total_ns)
            self._check()
        self.connection.send(kind, payload)
        self._counts.sent.add()
        if self._said is not None:
            self._say("sent", payload if kind == BINARY else payload.decode())

    async def ask(
        self,
        message: Any,
        *,
        reply_to: str | Key = NEXT,
        name: str | None = None,
        timeout: float | str | None = None,
        tags: GivenTags | None = None,
    ) -> Message:
        """HOT. Send a message, and return the one that answers it. The time between them is a row.

        Args:
            message: as for `send`.
            reply_to: how the answer is recognised. "$.id": both messages have the same value there. A function: it
                returns the part that both messages have in common. "next": answers come in the order of the asks.
            name: the name of the row, by default `WS /path (ask)`.
            timeout: seconds, or "500ms"; by default the plan's.

        Raises:
            RequestFailed: `timeout`, or the outcome of the connection: `ws 1006`.
            UsageError: the message has no id, or one that is under way.
        """
        kind, payload = encoded(message)
        by_id = key = None
        if reply_to != NEXT:
            by_id = self._by_id.get(reply_to)
            if by_id is None:
                by_id = self._by_id[reply_to] = ById(key_of(reply_to), reply_to)
            key = by_id.id_of(sent_message(message, payload))
        allowed_ns = self._total_ns if timeout is None else limit_ns("ws.ask", "timeout", timeout)
        if self._fault is not None:
            self._raise_fault()
        meter, connection = self._meter, self.connection
        series = meter.ask(name or self._ask_name)
        if tags is not None:
            series = series.marked(tags)
        asked_ns = perf_counter_ns()
        sent = payload if kind == BINARY else message if type(message) is str else payload.decode()
        sample = Exchanged(series, asked_ns, sent, connection.loop.create_future(), asked_ns + allowed_ns, key)
        if series.watch is not None:
            series.watch.begun(asked_ns)
        self._asking += 1
        if self.inbox.is_paused:
            self.inbox.unblock()
        is_waiting = False
        try:
            if connection.is_full:
                await connection.drained(sample.deadline_ns)
            if connection.outcome or self.is_leaving:
                raise self.lost()
            is_waiting = True
            connection.add(sample)
            if by_id is None:
                self._in_order.ask(sample)
            else:
                by_id.ask(sample)
            sample.sent_ns = perf_counter_ns()
            connection.send(kind, payload)
            self._counts.sent.add()
            if self._said is not None:
                self._say("sent", sample.sent)
            answer: Message = await sample.future
        except RequestFailed as failure:
            raise self._unanswered(sample, failure) from failure
        except BaseException:
            if series.watch is not None:
                series.watch.gone(asked_ns)
            raise
        finally:
            self._asking -= 1
            if is_waiting:
                connection.waits.pop(sample, None)
                if by_id is not None:
                    by_id.left(sample)
        del sample.future  # its result, the answer, refers to the sample: only the garbage collector would free them
        sample.done_ns = sample.first_byte_ns = answer.t_ns
        sample.received = answer.data
        sample.size_bytes = len(answer.data)
        meter.hold(sample)
        answer._meter, answer._sample = meter, sample
        return answer

    async def ping(self, *, timeout: float | str | None = None) -> float:
        """Send a ping, and return the seconds until the target's pong. The row is `WS /path (ping)`.

        Raises:
            RequestFailed: `timeout`, or the outcome of the connection.
        """
        allowed_ns = self._total_ns if timeout is None else limit_ns("ws.ping", "timeout", timeout)
        meter, connection = self._meter, self.connection
        series = meter.ask(f"{self._name} (ping)")
        asked_ns = perf_counter_ns()
        self._pings += 1
        payload = self._pings.to_bytes(4, "big")
        sample = Exchanged(series, asked_ns, payload, connection.loop.create_future(), asked_ns + allowed_ns)
        if series.watch is not None:
            series.watch.begun(asked_ns)
        self._asking += 1
        self.inbox.unblock()
        try:
            if connection.outcome or self.is_leaving:
                raise self.lost()
            connection.pongs[payload] = sample
            connection.add(sample)
            sample.sent_ns = perf_counter_ns()
            connection.send(PING, payload)
            at_ns: int = await sample.future
        except RequestFailed as failure:
            raise self._unanswered(sample, failure) from failure
        except BaseException:
            if series.watch is not None:
                series.watch.gone(asked_ns)
            raise
        finally:
            self._asking -= 1
            connection.pongs.pop(payload, None)
            connection.leave(sample)
        sample.done_ns = sample.first_byte_ns = at_ns
        meter.hold(sample)
        meter.settle()
        return (at_ns - asked_ns) / NS_PER_S

    def messages(
        self,
        *,
        upto: int | None = None,
        within: float | str | None = None,
        stamp: str | Key | None = None,
        unit: Unit = "ms",
    ) -> MessageStream:
        """Return an iterator over the messages that answer no ask: `async for message in ws.messages(upto=50):`.

        It ends after `upto` messages, when `within` has passed, and when the target closes with the code 1000.

        Args:
            upto: the most messages. within: "30s": the longest time. None: no limit.
            stamp: where a message has the time of day at which the target sent it: "$.sent_ms", or a function. The time
                from there to the arrival is the metric `message_age`. It contains the difference of the two clocks.
            unit: of the stamp, since 1970: "s", "ms", "us" or "ns".

        Raises:
            UsageError: an argument is invalid.
        """
        check_upto(upto)
        check_unit(unit)
        within_ns = None if within is None else limit_ns("ws.messages", "within", within)
        find_stamp = None if stamp is None else key_of(stamp, "ws.messages: stamp")
        return MessageStream(self, upto, within_ns, find_stamp, unit)

    # -- close ------------------------------------------------------------------------------------

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close the connection: send a close frame, and wait up to 5 s for that of the target.

        The row `WS /path (close)` has the time between them. The end of the `async with` block does the same.

        Raises:
            UsageError: a code that a client must not send, or a reason that is not a text.
        """
        check_close(code, reason)
        connection, meter = self.connection, self._meter
        if self.is_leaving:
            return
        self.is_leaving = True
        if connection.outcome:
            self._record_end()
            return
        try:
            series = meter.ask(f"{self._name} (close)")
        except BaseException:  # above the cap of an allow-list: the connection must be closed all the same
            connection.go(code)
            raise
        asked_ns = perf_counter_ns()
        text, deadline_ns = f"close {code} {reason}".rstrip(), asked_ns + _CLOSE_NS
        sample = Exchanged(series, asked_ns, text, connection.loop.create_future(), deadline_ns)
        if series.watch is not None:
            series.watch.begun(asked_ns)
        self.inbox.unblock()
        connection.add(sample)
        sample.sent_ns = perf_counter_ns()
        connection.close(code, reason)
        try:
            await sample.future  # it always fails: with the end of the connection, or by time
        except RequestFailed as failure:
            is_ok = failure.outcome == f"ws {code}" or connection.close_code == NORMAL
            sample.outcome = OK if is_ok else failure.outcome
            sample.done_ns = sample.deadline_ns if failure.outcome == TIMEOUT else connection.ended_ns
            sample.received = f"{failure.outcome} {connection.close_reason}".rstrip()
        except BaseException:
            connection.go(code)
            if series.watch is not None:
                series.watch.gone(asked_ns)
            raise
        finally:
            connection.leave(sample)
        if not connection.outcome:  # it did not answer
            connection.go(code)
        sample.done_ns = max(sample.done_ns, sample.sent_ns)
        meter.hold(sample)
        meter.settle()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection: with 1000, or with 1001 if the iteration was stopped, without waiting.

        Raises:
            RequestFailed: the connection ended otherwise than by 1000, and no call of the journey raised that.
        """
        if error is not None and not isinstance(error, Exception):
            self.is_leaving = True
            self.connection.go(_GOING_AWAY)
            return
        if not self.is_leaving:
            has_ended = bool(self.connection.outcome)
            await self.close()
            if error is None and has_ended and self._is_bad and not self._has_raised:
                raise self.lost()
        if error is None:
            self._raise_fault()

    def _record_end(self) -> None:
        """Record how the target or the network ended the connection, if that is a failure."""
        connection, meter = self.connection, self._meter
        if not self._is_bad:
            return
        series = meter.ask_unsent(f"{self._name} (close)")
        now_ns = perf_counter_ns()
        sample = Exchanged(series, now_ns, "", connection.loop.create_future())
        sample.received = f"{connection.outcome} {connection.close_reason}".rstrip()
        sample.sent_ns = sample.done_ns = now_ns
        sample.outcome = connection.outcome
        if series.watch is not None:
            series.watch.begun(now_ns)
        meter.hold(sample)
        meter.settle()

    # -- what the connection calls ----------------------------------------------------------------

    def took(self, data: str | bytes, now_ns: int) -> None:
        """HOT. Pass a message on: to the ask that it answers, or to the inbox."""
        self._counts.received.add()
        if self._said is not None:
            self._say("received", data)
        message = Message(data, now_ns)
        matched: Matched = "none"
        if self._by_id:
            try:
                for by_id in self._by_id.values():
                    matched = by_id.match(message)
                    if matched not in ("none", "unmatched"):
                        break
            except Exception as error:  # noqa: BLE001  # of the scenario's own function: its next call raises it
                self._fault = self._fault or error
        if matched == "none" or matched == "unmatched":
            in_order = self._in_order.match()
            if in_order != "none":
                matched = in_order
        if not isinstance(matched, str):
            matched.future.set_result(message)
        elif matched == "late":
            self._counts.late.add()
        elif matched == "doubled":
            self._counts.doubled.add()
        else:
            self._put(message, matched)

    def _put(self, message: Message, matched: Matched) -> None:
        """Keep a message that answers nothing, and record when it came."""
        if matched == "unmatched":
            self._counts.unmatched.add()
        self._messages += 1
        now_ns = message.t_ns
        self._series.phase("message_gap" if self._messages > 1 else "first_message", now_ns - self._last_ns)
        self._last_ns = now_ns
        before = self.inbox.dropped
        self.inbox.put(message, is_asking=self._asking > 0)
        if dropped := self.inbox.dropped - before:
            self._counts.dropped.add(dropped, dropped)

    def ended(self) -> None:
        """Count the end of the connection."""
        self._counts.open.add(-1)

    # -- the rest ---------------------------------------------------------------------------------

    def aged(self, age_ns: int) -> None:
        """Record the age of a message. One below 0, by the clocks' difference, counts as 0, and is counted."""
        if not self._counts.has_clock_note:
            self._counts.note_clock()
        if age_ns < 0:
            self._counts.early_stamps.add()
        self._series.phase("message_age", max(0, age_ns))

    def _say(self, way: str, message: str | bytes) -> None:
        if self._said is not None and len(self._said) < _MOST_SAID:
            self._said.append((perf_counter_ns(), way, shown(message)))

    @property
    def _is_bad(self) -> bool:
        return self.connection.outcome not in ("", f"ws {NORMAL}")

    def lost(self) -> RequestFailed:
        """Return the exception for a call on a connection that has ended."""
        connection = self.connection
        self._has_raised = True
        if self.is_leaving and not self._is_bad:
            return RequestFailed("ws closed", f"{self._name}: this connection was closed by the journey")
        return RequestFailed(connection.outcome or "ws closed", f"{self._name}: {connection.detail}")

    def _check(self) -> None:
        self._raise_fault()
        if self.connection.outcome or self.is_leaving:
            raise self.lost()

    def _raise_fault(self) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def _unanswered(self, sample: Exchanged, failure: RequestFailed) -> RequestFailed:
        """Do as `_failed` for a row that ended at its deadline, or with the connection."""
        is_late = failure.outcome == TIMEOUT
        return self._failed(sample, failure, sample.deadline_ns if is_late else self.connection.ended_ns)

    def _failed(self, sample: Exchanged, failure: RequestFailed, at_ns: int) -> RequestFailed:
        """Record a failed row, and return the exception for the caller to raise."""
        self._has_raised = True
        sample.outcome, sample.done_ns = failure.outcome, max(at_ns, sample.sent_ns, sample.asked_ns)
        count_own_fault(failure.outcome)
        self._meter.hold(sample)
        self._meter.settle()
        detail = failure.detail if failure.detail.startswith(self._name) else f"{self._name}: {failure.detail}"
        return RequestFailed(failure.outcome, detail)


class CappedWebSocket(WebSocket):
    """A connection in a run with a cap: each `send` counts against it. Other runs do no work for it."""

    async def send(self, message: Any) -> None:
        self._check()
        assert self._meter.message_cap is not None
        self._meter.message_cap.spend()
        await super().send(message)


def open_websocket(
    http: HttpClient,
    url: str,
    *,
    name: str | None,
    subprotocols: Iterable[str],
    headers: Mapping[str, str] | None,
    tags: GivenTags | None,
    timeout: float | str | None,
) -> WebSocket:
    """Check the arguments of `user.ws`, and return its context manager. It connects when its block begins.

    Raises:
        UsageError: an argument is invalid.
    """
    names = check_headers(headers, subprotocols)
    kind = WebSocket if http.meter.message_cap is None else CappedWebSocket
    return kind(http, http_url(url), name=name, subprotocols=names, headers=headers, tags=tags, timeout=timeout)
