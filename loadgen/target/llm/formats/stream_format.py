"""The interface of the stream formats of all APIs."""

from __future__ import annotations

from typing import Protocol

import msgspec

from loadgen.target.llm.answer import Piece

__all__ = ["Event", "StreamFormat", "encode"]

Event = tuple[str, int, bytes]
"""Kind, number of tokens, and the bytes with the blank line that ends the event."""

encode = msgspec.json.encode


class StreamFormat(Protocol):
    """The events of one response. choice: index of the choice, from 0."""

    def begin(self, choice: int) -> list[Event]:
        """Return the events before the first token, such as the role."""
        ...

    def piece(self, choice: int, piece: Piece) -> list[Event]:
        """Return the events of some tokens."""
        ...

    def finish(self, choice: int, reason: str) -> list[Event]:
        """Return the events that end a choice. reason: in the words of chat completions."""
        ...

    def usage(self, tokens: int | None = None) -> list[Event]:
        """Return the usage event, if the API has one. tokens: of the answer; None for those sent so far."""
        ...

    def done(self) -> list[Event]:
        """Return the last event, such as `[DONE]`."""
        ...

    def error(self, message: str, code: int) -> list[Event]:
        """Return an error within the stream."""
        ...

    def whole(self, choices: list[tuple[list[Piece], str]]) -> bytes:
        """Return the body of an answer that is not streamed: for each choice its pieces and finish reason."""
        ...
