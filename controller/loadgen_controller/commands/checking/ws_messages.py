"""The table of the messages of one WebSocket, for `loadgen check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loadgen.clients.ws_client.exchanged import Said
from loadgen.report.report_parts import Table
from loadgen.units import NS_PER_MS

__all__ = ["ws_messages"]

_CHARACTERS: Final = 100


def ws_messages(title: str, messages: Sequence[Said], asked_ns: int) -> Table:
    """Return a table with the beginning, direction and time of each message.

    asked_ns: the call of the connect, from which all times count.
    """
    rows = tuple(
        (text if len(text) <= _CHARACTERS else f"{text[:97]}...", direction, f"{(t_ns - asked_ns) / NS_PER_MS:,.3f}")
        for t_ns, direction, text in messages
    )
    return Table(f"{title}: messages", ("message", "", "ms"), rows)
