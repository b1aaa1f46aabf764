"""Embeddings: `await user.llm.embed([prompt(tokens=200)] * 16, name="embed 16")`.

A request is recorded as one of `user.http`. Its answer is not a stream, so `prompt_tokens` is its only stream metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from loadgen.clients.llm_apis.openai_wire import UNREADABLE

__all__ = ["EMBEDDINGS_PATH", "Embeddings", "NotEmbeddings", "read_embeddings"]

EMBEDDINGS_PATH = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of the inputs, in their order. prompt_tokens: tokens of all inputs; -1 if the server sent none."""

    vectors: list[list[float]]
    prompt_tokens: int

    @property
    def size(self) -> int:
        """Return the number of dimensions of each vector."""
        return len(self.vectors[0]) if self.vectors else 0


class NotEmbeddings(Exception):
    """The answer does not have one vector for each input, all of the same size."""


class _Row(msgspec.Struct):
    embedding: list[float]
    index: int = -1


class _Usage(msgspec.Struct):
    prompt_tokens: int = -1


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: _Usage = msgspec.field(default_factory=_Usage)


_decode = msgspec.json.Decoder(_Answer).decode


def read_embeddings(body: bytes, inputs: int, dimensions: int | None = None) -> Embeddings:
    """Return the embeddings of an answer, in the order of the inputs.

    inputs: the number of vectors that the answer must have. dimensions: their size; None: any size, but the same for
    all.

    Raises:
        NotEmbeddings: the body is not JSON of embeddings, or the number of vectors or a size is wrong.
    """
    try:
        answer = _decode(body)
    except UNREADABLE as error:
        raise NotEmbeddings(f"no embeddings: {error}") from error
    rows = sorted(answer.data, key=lambda row: row.index) if all(row.index >= 0 for row in answer.data) else answer.data
    vectors = [row.embedding for row in rows]
    if len(vectors) != inputs:
        raise NotEmbeddings(f"{len(vectors)} vectors for {inputs} inputs")
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1 or (dimensions is not None and sizes != {dimensions}) or 0 in sizes:
        wanted = "one size for all" if dimensions is None else f"{dimensions}"
        raise NotEmbeddings(f"vectors with {', '.join(map(str, sorted(sizes)))} dimensions, expected {wanted}")
    return Embeddings(vectors, answer.usage.prompt_tokens)
