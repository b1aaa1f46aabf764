"""The tags that `user.llm` gives to its rows, so that unlike requests do not mix in one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loadgen.measure.deltas.series_key import COLD_TAG
from loadgen.measure.streams import StreamTimes

__all__ = ["LLM_TAGS", "TURN_TAG", "tags_of", "turn_value"]

TOKENS_TAG: Final = "tokens"
"""Where token counts come from, if not from the server: "tokenizer", or "events", one token for each event."""
ANSWER_TAG: Final = "answer"
"""Is "whole" if the answer was not a stream: its first token came with its last."""
TURN_TAG: Final = "turn"
"""The turn of a conversation: its prompt grows, and the server's cache has its beginning."""
_TURNS: Final = ("1", "2-3", "4-7", "8+")
LLM_TAGS: Final[Mapping[str, tuple[str, ...]]] = {
    TURN_TAG: _TURNS,
    TOKENS_TAG: ("tokenizer", "events"),
    COLD_TAG: ("first", "idle", "connection"),
    ANSWER_TAG: ("whole",),
}
"""The values of each tag."""


def tags_of(times: StreamTimes, cold: str = "", *, is_whole: bool = False) -> dict[str, str]:
    """Return the tags of an ended request; most have none.

    cold: why it was cold. is_whole: its answer was not a stream.
    """
    tags = {COLD_TAG: cold} if cold else {}
    if times.ttft_ns >= 0 and times.token_source != "server":  # noqa: S105
        tags[TOKENS_TAG] = times.token_source
    if is_whole:
        tags[ANSWER_TAG] = "whole"
    return tags


def turn_value(turn: int) -> str:
    """Return the value of `TURN_TAG` for a turn, counted from 1."""
    return _TURNS[min(3, turn.bit_length() - 1)]
