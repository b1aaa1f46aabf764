"""Functions that return the outcome and the tool calls of one answer from its parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from loadgen.clients.llm_apis.types import Part, ToolCall
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.streams import DONE, ERROR, FINISH, TOKEN_KINDS

__all__ = ["NO_TOKENS", "STREAM_ERROR", "STREAM_TRUNCATED", "stream_outcome", "tool_calls"]

STREAM_ERROR: Final = "stream error"
"""The server sent an error after a status of 200."""
STREAM_TRUNCATED: Final = "stream truncated"
"""The stream ended without a finish reason and without the last event of its API."""
NO_TOKENS: Final = "no tokens"
"""The stream ended as it should, and had no token."""


def stream_outcome(kinds: Sequence[int]) -> str:
    """Return the outcome of a stream whose connection ended without a failure, from the kinds of its events.

    An error counts even after tokens or before the end, because the rest of the answer is missing. A failure of the
    connection, a time-out or an answer that is not a stream has its own outcome, which the client sets.
    """
    if ERROR in kinds:
        return STREAM_ERROR
    if FINISH not in kinds and DONE not in kinds:
        return STREAM_TRUNCATED
    return NO_TOKENS if TOKEN_KINDS.isdisjoint(kinds) else OK


def tool_calls(parts: Iterable[Part]) -> tuple[ToolCall, ...]:
    """Return the complete tool calls of an answer, in the order of their indexes; of the first choice only.

    A piece with another id at the same index starts a new call, because some servers send index 0 for all calls.
    """
    found: list[tuple[int, list[str]]] = []
    open_calls: dict[int, list[str]] = {}
    for part in parts:
        if (piece := part.tool) is None or part.choice:
            continue
        call = open_calls.get(piece.index)
        if call is None or (piece.id and call[0] and piece.id != call[0]):
            call = open_calls[piece.index] = ["", "", ""]
            found.append((piece.index, call))
        call[0] = call[0] or piece.id
        call[1] += piece.name
        call[2] += piece.arguments
    return tuple(ToolCall(*call) for _, call in sorted(found, key=lambda item: item[0]))
