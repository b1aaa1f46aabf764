"""The tags that `user.llm` gives to its rows, so that unlike requests do not mix in one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loadgen.clients.llm.worker import COLD

__all__ = ["COLD_TAG", "LLM_TAGS", "TOKENS_TAG", "TURN_TAG", "turn_value"]

COLD_TAG: Final = "cold"
"""Why a request is cold (`worker.py`). Warm ones do not have it."""
TOKENS_TAG: Final = "tokens"
"""Where token counts come from, if not from the server: "tokenizer", or "events", one token for each event."""
TURN_TAG: Final = "turn"
"""The turn of a conversation: its prompt grows, and the server's cache has its beginning."""
_TURNS: Final = ("1", "2-3", "4-7", "8+")
LLM_TAGS: Final[Mapping[str, tuple[str, ...]]] = {
    TURN_TAG: _TURNS,
    TOKENS_TAG: ("tokenizer", "events"),
    COLD_TAG: COLD,
}
"""The values of each tag."""


def turn_value(turn: int) -> str:
    """Return the value of `TURN_TAG` for a turn, counted from 1."""
    return _TURNS[min(3, turn.bit_length() - 1)]
