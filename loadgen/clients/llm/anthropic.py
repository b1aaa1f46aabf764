"""The API "Anthropic messages": request body and decoder."""

from __future__ import annotations

from typing import Final

from loadgen.clients.llm.types import Api, InferenceRequest, Part

__all__ = ["API", "body", "decode", "decode_reply"]


def body(request: InferenceRequest) -> dict[str, object]:
    """Return the JSON value of a request's body."""
    raise NotImplementedError


def decode(event: str, data: bytes) -> list[Part]:
    """Return the parts of one SSE event; of unknown or invalid data, one part of kind `other`."""
    raise NotImplementedError


def decode_reply(data: bytes) -> list[Part]:
    """Return the parts of an answer that was not streamed."""
    raise NotImplementedError


API: Final = Api("anthropic", "/v1/messages", body, decode, decode_reply)
