"""OpenAI's chat completions, as vLLM streams them."""

from __future__ import annotations

from typing import Any

from loadgen.target.llm.answer import Piece
from loadgen.target.llm.ask import Ask
from loadgen.target.llm.formats.chunks import ChunkFormat
from loadgen.target.llm.formats.stream_format import Event, encode

__all__ = ["ChatFormat"]


class ChatFormat(ChunkFormat):
    """The chunks of one chat completion."""

    def __init__(self, ask: Ask, name: str, created_s: int) -> None:
        """name: id of the request, without its prefix."""
        base: dict[str, Any] = {
            "id": f"chatcmpl-{name}",
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": ask.model,
        }
        super().__init__(ask, base)
        # Most events differ only in their text, so the bytes around it are made once.
        self._prefix = b"data: " + encode(base)[:-1].replace(b"%", b"%%") + b',"choices":[{"index":%d,"delta":{"%b":'

    def begin(self, choice: int) -> list[Event]:
        return [("role", 0, self._choice(choice, {"role": "assistant", "content": ""}, None))]

    def piece(self, choice: int, piece: Piece) -> list[Event]:
        kind, text, tokens = piece
        self._output += tokens
        if kind == "reasoning":
            self._reasoning += tokens
        if kind in ("tool_name", "tool_call"):
            return [("tool_call", tokens, self._choice(choice, {"tool_calls": [self._tool(choice, kind, text)]}, None))]
        field = {"reasoning": b"reasoning_content", "refusal": b"refusal"}.get(kind, b"content")
        tail = b'},"logprobs":null,"finish_reason":null}]'
        if self._is_continuous:
            tail += b',"usage":' + encode(self._usage(is_short=True))
        return [(kind, tokens, self._prefix % (choice, field) + encode(text) + tail + b"}\n\n")]

    def finish(self, choice: int, reason: str) -> list[Event]:
        return [("finish", 0, self._choice(choice, {}, reason))]

    def whole(self, choices: list[tuple[list[Piece], str]]) -> bytes:
        made = []
        for index, (pieces, reason) in enumerate(choices):
            message: dict[str, Any] = {"role": "assistant", "content": _joined(pieces, "content") or None}
            reasoning, arguments = _joined(pieces, "reasoning"), _joined(pieces, "tool_call")
            if reasoning:
                message["reasoning_content"] = reasoning
            if name := _joined(pieces, "tool_name"):
                call = {"id": self._call_id(index), "type": "function"}
                message["tool_calls"] = [{**call, "function": {"name": name, "arguments": arguments}}]
            made.append({"index": index, "message": message, "logprobs": None, "finish_reason": reason})
            self._output += sum(tokens for _, _, tokens in pieces)
            self._reasoning += sum(tokens for kind, _, tokens in pieces if kind == "reasoning")
        base = {**self._base, "object": "chat.completion"}
        return encode({**base, "choices": made, "usage": self._usage()})

    def _choice(self, choice: int, delta: dict[str, Any], reason: str | None) -> bytes:
        return self._chunk({"index": choice, "delta": delta, "logprobs": None, "finish_reason": reason})

    def _call_id(self, choice: int) -> str:
        return f"chatcmpl-tool-{self._base['id'][-8:]}{choice}"

    def _tool(self, choice: int, kind: str, text: str) -> dict[str, Any]:
        if kind == "tool_call":
            return {"index": 0, "function": {"arguments": text}}
        function = {"name": text, "arguments": ""}
        return {"index": 0, "id": self._call_id(choice), "type": "function", "function": function}


def _joined(pieces: list[Piece], kind: str) -> str:
    return "".join(text for one, text, _ in pieces if one == kind)
