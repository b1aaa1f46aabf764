"""OpenAI's completions, as vLLM streams them."""

from __future__ import annotations

from loadgen.target.llm.answer import Piece
from loadgen.target.llm.ask import Ask
from loadgen.target.llm.formats.chunks import ChunkFormat
from loadgen.target.llm.formats.stream_format import Event, encode

__all__ = ["CompletionsFormat"]


class CompletionsFormat(ChunkFormat):
    """The chunks of one completion. This API has no role, and all tokens are content."""

    def __init__(self, ask: Ask, name: str, created_s: int) -> None:
        """name: id of the request, without its prefix."""
        base = {"id": f"cmpl-{name}", "object": "text_completion", "created": created_s, "model": ask.model}
        super().__init__(ask, base)

    def begin(self, choice: int) -> list[Event]:
        return []

    def piece(self, choice: int, piece: Piece) -> list[Event]:
        kind, text, tokens = piece
        self._output += tokens
        return [("content" if kind != "refusal" else kind, tokens, self._choice(choice, text, None))]

    def finish(self, choice: int, reason: str) -> list[Event]:
        return [("finish", 0, self._choice(choice, "", reason))]

    def whole(self, choices: list[tuple[list[Piece], str]]) -> bytes:
        made = []
        for index, (pieces, reason) in enumerate(choices):
            text = "".join(text for _, text, _ in pieces)
            made.append({"index": index, "text": text, "logprobs": None, "finish_reason": reason, "stop_reason": None})
            self._output += sum(tokens for _, _, tokens in pieces)
        return encode({**self._base, "choices": made, "usage": self._usage()})

    def _choice(self, choice: int, text: str, reason: str | None) -> bytes:
        one = {"index": choice, "text": text, "logprobs": None, "finish_reason": reason, "stop_reason": None}
        return self._chunk(one)
