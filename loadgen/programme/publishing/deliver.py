"""Sends one message to one channel, at once or by later tries, while the command waits."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Final

from loadgen.notify.event import Event
from loadgen.notify.outbox import TRIES, WAITS_S, Message
from loadgen.notify.settings import Channel
from loadgen.notify.transports import NotDelivered, transport_of

__all__ = ["deliver", "message_of"]

_ID_DIGITS: Final = 24


def message_of(event: Event, key: str) -> Message:
    """Return a message whose id follows from a key, so a receiver recognises a message that is sent twice."""
    return Message(f"msg_{hashlib.sha256(key.encode()).hexdigest()[:_ID_DIGITS]}", (event,))


def deliver(
    channel: Channel, values: Mapping[str, str], message: Message, pause: Callable[[float], None] = time.sleep
) -> str:
    """Send a message, with five tries within some four minutes. Return "", or why it was not delivered.

    values: of the channel's secrets. pause: waits for a number of seconds.
    """
    why, tries = "", 0
    for wait_s in (*WAITS_S, None):
        tries += 1
        try:
            transport_of(channel, values).send(message)
        except NotDelivered as error:
            why = str(error)
            if error.is_final or wait_s is None:
                break
            pause(wait_s)
        else:
            return ""
    assert tries <= TRIES
    return f"{why} (tries: {tries})"
