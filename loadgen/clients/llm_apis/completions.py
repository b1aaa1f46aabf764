"""The API "OpenAI completions": a prompt without messages. This oldest API is still common in benchmarks."""

from __future__ import annotations

from typing import Final

from loadgen.clients.llm_apis.openai_wire import common_body, decode_chunk, decode_whole
from loadgen.clients.llm_apis.types import Api, InferenceRequest, exact_length, refuse

__all__ = ["API", "body", "decode", "decode_reply"]


def body(request: InferenceRequest) -> dict[str, object]:
    """Return the JSON value of a request's body. The prompt is the messages' text, with a line feed between them.

    Raises:
        UsageError: the request has tools or a reasoning effort, which this API has not.
    """
    refuse("completions", {"tools": request.tools, "reasoning": request.reasoning})
    made = common_body(request)
    made["prompt"] = "\n".join(message.content for message in request.messages)
    return {**made, **exact_length(request), **request.extra}


decode: Final = decode_chunk
decode_reply: Final = decode_whole
API: Final = Api("completions", "/v1/completions", body, decode, decode_reply)
