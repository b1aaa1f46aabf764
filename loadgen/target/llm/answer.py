"""The content of an answer: a sequence of tokens, each with a kind and a text.

The number of tokens is fixed before an answer begins. Its plain words depend only on the stream's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from loadgen.target.llm.ask import Ask
from loadgen.target.llm.schema_json import json_for, pieces_of

__all__ = ["Answer", "Piece"]

_WORDS: Final = (
    *("the", "lamp", "oak", "light", "room", "table", "small", "wood", "glass", "paper", "house", "river", "stone"),
    *("green", "water", "morning", "evening", "winter", "summer", "garden", "window", "bridge", "market", "street"),
    *("train", "letter", "music", "number", "second", "future", "answer", "question", "reason", "little", "great"),
    *("long", "short", "open", "close", "early", "late", "north", "south", "east", "west", "blue", "white", "black"),
)

Piece = tuple[str, str, int]
"""Kind (reasoning, content, tool_name, tool_call), text, and number of tokens."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The tokens of one choice. reason: why it ends, in the words of chat completions."""

    number: int
    """Selects the words."""
    reasoning: int
    """Tokens of reasoning, before the content."""
    total: int
    reason: str
    fixed: tuple[str, ...] | None = None
    """The pieces of JSON, one token each; None for plain words."""
    tool_name: str = ""

    @classmethod
    def of(cls, ask: Ask, number: int, natural_tokens: int) -> Answer:
        """Return the answer to `ask`. natural_tokens: the tokens of a plain answer without limits."""
        fixed: tuple[str, ...] | None = None
        reason = "stop"
        if ask.tool is not None:
            fixed, reason = tuple(pieces_of(json_for(ask.tool["parameters"]))), "tool_calls"
        elif ask.schema is not None:
            fixed = tuple(pieces_of(json_for(ask.schema)))
        # The name of a tool is a token of its own.
        natural = natural_tokens if fixed is None else len(fixed) + ask.reasoning_tokens + (ask.tool is not None)
        total = max(natural, ask.min_tokens)
        if ask.ignores_eos or total > ask.max_tokens:
            total, reason = ask.max_tokens, "length"
        name = ask.tool["name"] if ask.tool is not None else ""
        return cls(number, min(ask.reasoning_tokens, total), total, reason, fixed, name)

    def pieces(self, tokens_each: int) -> Iterator[Piece]:
        """Yield the answer in pieces of `tokens_each` tokens. A piece has one kind, so some are shorter."""
        for first in range(0, self.reasoning, tokens_each):
            count = min(tokens_each, self.reasoning - first)
            yield "reasoning", self._words(first, count), count
        first, kind = self.reasoning, "content"
        if self.tool_name and first < self.total:
            yield "tool_name", self.tool_name, 1
            first, kind = first + 1, "tool_call"
        begin = first
        while first < self.total:
            count = min(tokens_each, self.total - first)
            text = self._words(first, count) if self.fixed is None else self._fixed(first - begin, count)
            yield kind, text, count
            first += count

    def steps(self, tokens_each: int) -> int:
        """Return the number of pieces that `pieces` yields."""
        rest = self.total - self.reasoning
        named = 1 if self.tool_name and rest else 0
        return -(-self.reasoning // tokens_each) + named - (-(rest - named) // tokens_each)

    def _words(self, first: int, count: int) -> str:
        start = self.number * 7 + first * 5
        many = len(_WORDS)
        if count == 1:
            return " " + _WORDS[start % many]
        return "".join([" " + _WORDS[(start + at * 5) % many] for at in range(count)])

    def _fixed(self, first: int, count: int) -> str:
        assert self.fixed is not None
        # With ignore_eos the answer goes on after its JSON: with spaces, so that it stays valid.
        return "".join(self.fixed[first : first + count]) or " " * count
