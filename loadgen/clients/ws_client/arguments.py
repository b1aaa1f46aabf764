"""Checks the arguments of `user.ws` and of a WebSocket's methods, for two callers: the methods, and the loader.

The loader passes arguments that a scenario writes literally, so a wrong one is found before a run. Each function raises
UsageError with a message for the scenario's author.
"""

from __future__ import annotations

from typing import Any

from loadgen.clients.ws_client.answers import NEXT, ById, key_of
from loadgen.clients.ws_client.connection import NORMAL
from loadgen.clients.ws_client.message import encoded, sent_message
from loadgen.clients.ws_client.reading import UNITS_NS
from loadgen.errors import UsageError
from loadgen.units import parse_duration

__all__ = ["check_close", "check_id", "check_unit", "check_upto", "limit_ns"]


def limit_ns(word: str, argument: str, value: object) -> int:
    """Return a time limit in ns. word, argument: the call and its argument, for the message.

    Raises:
        UsageError: not a duration above 0.
    """
    hint = f'write {argument}="2s", "500ms", or seconds'
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{word}: {argument}={value!r} is not a duration", hint=hint)
    try:
        found_ns = parse_duration(value)
    except ValueError as error:
        raise UsageError(f"{word}: {argument}={value!r} is not a duration", hint=hint) from error
    if found_ns <= 0:
        raise UsageError(f"{word}: {argument}={value!r} must be above 0", hint=f'write {argument}="2s"')
    return found_ns


def check_upto(upto: object) -> None:
    """Raise UsageError unless `upto` of `ws.messages` is None or a whole number of at least 1."""
    if upto is not None and (isinstance(upto, bool) or not isinstance(upto, int) or upto < 1):
        raise UsageError(f"ws.messages: upto={upto!r} must be a whole number of at least 1", hint="write upto=50")


def check_unit(unit: object) -> None:
    """Raise UsageError unless `unit` of `ws.messages` is the name of a unit of stamps."""
    if unit not in UNITS_NS:
        raise UsageError(f"ws.messages: unit={unit!r} is unknown", hint=f"write one of {', '.join(UNITS_NS)}")


def check_close(code: object, reason: object = "") -> None:
    """Raise UsageError for a code that a client must not send, and for a reason that is not a text."""
    is_code = isinstance(code, int) and not isinstance(code, bool)
    if not is_code or (code != NORMAL and not 3000 <= code <= 4999):  # type: ignore[operator]  # a number
        raise UsageError(f"ws.close: code {code!r} is invalid", hint="write 1000, or a code from 3000 to 4999")
    if not isinstance(reason, str):
        raise UsageError(f"ws.close: the reason {reason!r} must be a text", hint='write close(4000, "bye")')


def check_id(message: Any, reply_to: Any) -> None:
    """Raise UsageError if `reply_to` of an ask is not a path, or the message has no id there."""
    if reply_to == NEXT or callable(reply_to):
        return
    by_id = ById(key_of(reply_to), reply_to)
    _, payload = encoded(message)
    by_id.id_of(sent_message(message, payload))
