"""OpenAI's completions, as vLLM streams them."""

from __future__ import annotations

from typing import Any

from loadgen.target.llm.answer import Piece
from loadgen.target.llm.ask import Ask
from loadgen.target.llm.formats.stream_format import Event, encode, usage_of

__all__ = ["CompletionsFormat"]


class CompletionsFormat:
    """The chunks of one completion. It has no role, and all tokens are content."""

    def __init__(self, ask: Ask, name: str, created_s: int) -> None:
        """name: id of the request, without its prefix."""
        self._ask = ask
        self._output = 0
        self._base = {"id": f"cmpl-{name}", "object": "text_completion", "created": created_s, "model": ask.model}

    def begin(self, choice: int) -> list[Event]:
        return []

    def piece(self, choice: int, piece: Piece) -> list[Event]:
        kind, text, tokens = piece
        self._output += tokens
        return [("content" if kind != "refusal" else kind, tokens, self._chunk(choice, text, None))]

    def finish(self, choice: int, reason: str) -> list[Event]:
        return [("finish", 0, self._chunk(choice, "", reason))]

    def usage(self, tokens: int | None = None) -> list[Event]:
        if tokens is not None:
            self._output = tokens
        return [("usage", 0, b"data: " + encode({**self._base, "choices": [], "usage": self._usage()}) + b"\n\n")]

    def done(self) -> list[Event]:
        return [("done", 0, b"data: [DONE]\n\n")]

    def error(self, message: str, code: int) -> list[Event]:
        error = {"message": message, "type": "InternalServerError", "param": None, "code": code}
        return [("error", 0, b"data: " + encode({"error": error}) + b"\n\n")]

    def whole(self, choices: list[tuple[list[Piece], str]]) -> bytes:
        made = []
        for index, (pieces, reason) in enumerate(choices):
            text = "".join(text for _, text, _ in pieces)
            made.append({"index": index, "text": text, "logprobs": None, "finish_reason": reason, "stop_reason": None})
            self._output += sum(tokens for _, _, tokens in pieces)
        return encode({**self._base, "choices": made, "usage": self._usage()})

    def _usage(self, *, is_short: bool = False) -> dict[str, Any]:
        return usage_of(self._ask, self._output, 0, is_short=is_short)

    def _chunk(self, choice: int, text: str, reason: str | None) -> bytes:
        one = {"index": choice, "text": text, "logprobs": None, "finish_reason": reason, "stop_reason": None}
        chunk: dict[str, Any] = {**self._base, "choices": [one]}
        if self._ask.usage == "continuous":
            chunk["usage"] = self._usage(is_short=True)
        return b"data: " + encode(chunk) + b"\n\n"
