"""Anthropic's messages: named events, and content blocks that begin and end."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from loadgen.target.llm.answer import Piece
from loadgen.target.llm.ask import Ask
from loadgen.target.llm.formats.stream_format import Event, encode

__all__ = ["AnthropicFormat"]

_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_BLOCKS: Final = {"reasoning": "thinking", "tool_name": "tool_use", "tool_call": "tool_use"}


class AnthropicFormat:
    """The events of one message. This API has one choice."""

    def __init__(self, ask: Ask, name: str, created_s: int) -> None:
        """name: id of the request, without its prefix."""
        self._ask, self._name = ask, name
        self._output = 0
        self._block = ""
        self._index = -1

    def begin(self, choice: int) -> list[Event]:
        message: dict[str, Any] = {
            "id": f"msg_{self._name}",
            "type": "message",
            "role": "assistant",
            "model": self._ask.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(),
        }
        return [
            ("role", 0, _event("message_start", {"message": message})),
            ("other", 0, _event("ping", {})),
        ]

    def piece(self, choice: int, piece: Piece) -> list[Event]:
        kind, text, tokens = piece
        self._output += tokens
        block = _BLOCKS.get(kind, "text")
        events: list[Event] = []
        if block != self._block:
            events = self._close()
            self._block = block
            self._index += 1
            kinds: dict[str, dict[str, Any]] = {
                "thinking": {"thinking": "", "signature": ""},
                "text": {"text": ""},
                "tool_use": {"id": f"toolu_{self._name}", "name": text, "input": {}},
            }
            start = {"index": self._index, "content_block": {"type": block, **kinds[block]}}
            # The start of a tool's block has the tool's name, which is a token.
            is_name = kind == "tool_name"
            events.append(("tool_call" if is_name else "other", tokens * is_name, _event("content_block_start", start)))
            if is_name:
                return events
        deltas = {"thinking": ("thinking_delta", "thinking"), "tool_use": ("input_json_delta", "partial_json")}
        name, field = deltas.get(block, ("text_delta", "text"))
        delta = {"index": self._index, "delta": {"type": name, field: text}}
        events.append((kind, tokens, _event("content_block_delta", delta)))
        return events

    def finish(self, choice: int, reason: str) -> list[Event]:
        delta = {"stop_reason": _REASONS.get(reason, reason), "stop_sequence": None}
        return [
            *self._close(),
            ("finish", 0, _event("message_delta", {"delta": delta, "usage": self._usage()})),
        ]

    def usage(self, tokens: int | None = None) -> list[Event]:
        return []  # `message_delta` has it.

    def done(self) -> list[Event]:
        return [("done", 0, _event("message_stop", {}))]

    def error(self, message: str, code: int) -> list[Event]:
        return [("error", 0, _event("error", {"error": {"type": "overloaded_error", "message": message}}))]

    def whole(self, choices: list[tuple[list[Piece], str]]) -> bytes:
        pieces, reason = choices[0]
        texts: dict[str, str] = {}
        for kind, text, tokens in pieces:
            texts[kind] = texts.get(kind, "") + text
            self._output += tokens
        content: list[dict[str, Any]] = []
        if "reasoning" in texts:
            content.append({"type": "thinking", "thinking": texts["reasoning"], "signature": ""})
        if "content" in texts:
            content.append({"type": "text", "text": texts["content"]})
        if "tool_name" in texts:
            arguments = _input(texts.get("tool_call", ""))
            call = {"type": "tool_use", "id": f"toolu_{self._name}", "name": texts["tool_name"], "input": arguments}
            content.append(call)
        return encode(
            {
                "id": f"msg_{self._name}",
                "type": "message",
                "role": "assistant",
                "model": self._ask.model,
                "content": content,
                "stop_reason": _REASONS.get(reason, reason),
                "stop_sequence": None,
                "usage": self._usage(),
            }
        )

    def _close(self) -> list[Event]:
        if not self._block:
            return []
        self._block = ""
        return [("other", 0, _event("content_block_stop", {"index": self._index}))]

    def _usage(self) -> dict[str, Any]:
        ask = self._ask
        return {
            "input_tokens": ask.prompt_tokens - ask.cached_tokens,
            "cache_read_input_tokens": ask.cached_tokens,
            "output_tokens": self._output,
        }


def _input(text: str) -> Any:
    """Return the arguments of a tool as an object; an empty one if max_tokens has cut them off."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode({"type": name, **fields}))
