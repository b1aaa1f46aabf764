"""The common part of the streams of chat completions and completions: chunks of JSON, as vLLM sends them."""

from __future__ import annotations

from typing import Any

from loadgen.target.llm.ask import Ask
from loadgen.target.llm.formats.stream_format import Event, encode

__all__ = ["ChunkFormat"]


class ChunkFormat:
    """The chunks of one answer. Subclasses count its tokens in `_output` and `_reasoning`."""

    def __init__(self, ask: Ask, base: dict[str, Any]) -> None:
        """base: the fields that each chunk begins with."""
        self._ask, self._base = ask, base
        self._output = self._reasoning = 0
        self._is_continuous = ask.usage == "continuous"

    def usage(self, tokens: int | None = None) -> list[Event]:
        if tokens is not None:
            self._output = tokens
        chunk = {**self._base, "choices": [], "usage": self._usage()}
        return [("usage", 0, b"data: " + encode(chunk) + b"\n\n")]

    def done(self) -> list[Event]:
        return [("done", 0, b"data: [DONE]\n\n")]

    def error(self, message: str, code: int) -> list[Event]:
        error = {"message": message, "type": "InternalServerError", "param": None, "code": code}
        return [("error", 0, b"data: " + encode({"error": error}) + b"\n\n")]

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        chunk: dict[str, Any] = {**self._base, "choices": [choice]}
        if self._is_continuous:
            chunk["usage"] = self._usage(is_short=True)
        return b"data: " + encode(chunk) + b"\n\n"

    def _usage(self, *, is_short: bool = False) -> dict[str, Any]:
        """Return the usage object. is_short: without the details."""
        ask = self._ask
        usage: dict[str, Any] = {
            "prompt_tokens": ask.prompt_tokens,
            "total_tokens": ask.prompt_tokens + self._output,
            "completion_tokens": self._output,
        }
        if not is_short:
            usage["prompt_tokens_details"] = {"cached_tokens": ask.cached_tokens}
            if self._reasoning:
                usage["completion_tokens_details"] = {"reasoning_tokens": self._reasoning}
        return usage
