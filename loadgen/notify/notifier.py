"""A thread for each channel, so that neither a run nor another channel waits for a receiver.

`Notifier.offer` only puts an event into the outbox of each channel. The threads are daemons: a receiver that hangs
cannot keep the program from ending.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from loadgen.notify.event import Event, EventKind
from loadgen.notify.outbox import TRIES, Outbox
from loadgen.notify.settings import Channel
from loadgen.notify.transports import NotDelivered, Transport, transport_of
from loadgen.units import quantity

__all__ = ["PATIENCE_S", "Notifier", "new_id"]

log = logging.getLogger(__name__)

PATIENCE_S: Final = 15.0
"""How long the end of a program waits for messages that are still on their way."""


def new_id() -> str:
    """Return a fresh id of a message."""
    return f"msg_{secrets.token_hex(12)}"


class Notifier:
    """Sends events to channels. Without channels, all methods do nothing.

    Args:
        values: the values of the channels' secrets, by name.
        on_trouble: called from a channel's thread, once for each channel, with a text about its first failure.
    """

    def __init__(
        self,
        channels: Iterable[Channel] = (),
        values: Mapping[str, str] | None = None,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self._threads = [
            _ChannelThread(channel, lambda channel=channel: transport_of(channel, values or {}), on_trouble)  # type: ignore[misc]
            for channel in channels
        ]

    def __bool__(self) -> bool:
        return bool(self._threads)

    def __repr__(self) -> str:
        return f"<Notifier: {', '.join(thread.channel.name for thread in self._threads) or 'none'}>"

    def offer(self, event: Event) -> None:
        """Send an event to the channels that want its kind. Returns at once and never raises."""
        for thread in self._threads:
            if event.kind in thread.channel.events:
                thread.offer(event)

    def close(self, patience_s: float = PATIENCE_S) -> list[str]:
        """Wait until all messages are delivered or given up, `patience_s` at the longest.

        Returns a line for each channel that did not get all of its messages. Later events are ignored.
        """
        until_s = time.monotonic() + patience_s
        for thread in self._threads:
            thread.hurry()
        return [text for thread in self._threads if (text := thread.close(until_s))]


class _ChannelThread:
    """The outbox of one channel, and the thread that empties it. The thread starts with the first event."""

    def __init__(
        self, channel: Channel, opened: Callable[[], Transport], on_trouble: Callable[[str], None] | None
    ) -> None:
        self.channel = channel
        self._opened, self._on_trouble = opened, on_trouble
        self._outbox = Outbox(new_id)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closing = self._is_closed = False
        self._last_why = ""
        """Why the last try failed."""

    def offer(self, event: Event) -> None:
        with self._changed:
            if self._is_closing:
                return
            self._outbox.offer(event, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=f"notify {self.channel.name}", daemon=True)
                self._thread.start()
            self._changed.notify()

    def hurry(self) -> None:
        with self._changed:
            self._is_closing = True
            self._outbox.hurry(time.monotonic())
            self._changed.notify()

    def close(self, until_s: float) -> str:
        if self._thread is not None:
            self._thread.join(max(0.0, until_s - time.monotonic()))
        with self._changed:
            self._is_closed = True
            self._outbox.give_up(self._last_why or "no answer in time")
            failures = self._outbox.undelivered
        if not failures:
            return ""
        what = ", ".join(sorted({one.message.events[0].kind.value for one in failures}))
        count = quantity(len(failures), "notification")
        last = failures[-1]
        return f"{count} to {self.channel.name} ({what}) not delivered: {last.why} (tries: {last.message.tries})"

    def _serve(self) -> None:
        try:
            self._send_all()
        except Exception as error:  # a bug here must show, but must not end the program
            log.exception("the notifications of %s failed", self.channel.name)
            self._last_why = f"bug in loadgen, please report it: {type(error).__name__}: {error}"

    def _send_all(self) -> None:
        transport: Transport | None = None
        while True:
            with self._changed:
                now_s = time.monotonic()
                message = self._outbox.due(now_s)
                if message is None:
                    if self._is_closed or (self._is_closing and self._outbox.is_empty):
                        return
                    wake_s = self._outbox.wake_s
                    self._changed.wait(None if wake_s is None else max(0.0, wake_s - now_s))
                    continue
            why, is_final = "", False
            try:
                transport = transport or self._opened()
                transport.send(message)
            except NotDelivered as error:
                why, is_final = str(error), error.is_final
            with self._changed:
                if self._is_closed:
                    return
                if why:
                    self._outbox.failed(message, why, time.monotonic(), is_final=is_final)
                    self._report(why, message.tries)
                else:
                    self._outbox.delivered(message)

    def _report(self, why: str, tries: int) -> None:
        is_first, self._last_why = not self._last_why, why
        if is_first and self._on_trouble is not None:
            text = f"a notification to {self.channel.name} was not delivered: {why} (try {tries} of {TRIES})"
            self._on_trouble(text)


TEST: Final = EventKind.TEST
