"""Answers of `/v1/embeddings` and `/tokenize`, which have no stream."""

from __future__ import annotations

import base64
import struct
from typing import Any, Final

import msgspec

from loadgen.splitmix import mixed
from loadgen.target.llm.ask import ApiError, check_model, texts_of, token_count
from loadgen.target.llm.config import LlmConfig

__all__ = ["embeddings", "tokenized"]

_SIZE: Final = 64
_MOST_SIZE: Final = 4096


def embeddings(body: dict[str, Any], config: LlmConfig) -> tuple[bytes, int]:
    """Return (the response, the number of prompt tokens) for a request of embeddings.

    A vector depends on the text and its length only, so the same text has the same vector.

    Raises:
        ApiError: a field is invalid.
    """
    model = check_model(body, config)
    given = body.get("input")
    if given is None or given == []:
        raise ApiError(400, "input: Field required", param="input")
    is_ids = isinstance(given, list) and isinstance(given[0], int)
    inputs = given if isinstance(given, list) and not is_ids else [given]
    size = body.get("dimensions", _SIZE)
    if not isinstance(size, int) or not 1 <= size <= _MOST_SIZE:
        raise ApiError(400, f"dimensions must be from 1 to {_MOST_SIZE}", param="dimensions")
    data, tokens = [], 0
    for index, one in enumerate(inputs):
        words = [word for text in texts_of(one, "input") for word in text.split()]
        tokens += token_count(len(words), config)
        vector = _vector(words, size)
        packed: Any = vector
        if body.get("encoding_format") == "base64":
            packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": packed})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage}), tokens


def _vector(words: list[str], size: int) -> list[float]:
    """Return a vector of length 1."""
    state = 0
    for byte in " ".join(words).encode():
        state = (state * 131 + byte) & (1 << 64) - 1
    values = [mixed(state + at) / (1 << 63) - 1.0 for at in range(size)]
    length = sum(value * value for value in values) ** 0.5
    return [value / length for value in values]


def tokenized(body: dict[str, Any], config: LlmConfig) -> dict[str, Any]:
    """Return vLLM's answer of `/tokenize` for a prompt or for messages."""
    check_model(body, config)
    if "messages" in body:
        messages = body["messages"]
        if not isinstance(messages, list):
            raise ApiError(400, "messages must be a list", param="messages")
        texts = [t for message in messages for t in texts_of(dict(message).get("content") or "", "messages")]
    else:
        texts = list(texts_of(body.get("prompt", ""), "prompt"))
    count = token_count(sum(len(text.split()) for text in texts), config)
    return {"count": count, "max_model_len": config.context, "tokens": list(range(count)), "token_strs": None}
