"""Reads the JSON of a request: the wanted answer, or the error that the server sends.

`read_ask` accepts the bodies of chat completions, completions, responses and Anthropic's messages, and returns one type
for all of them. The errors have the texts of vLLM, because clients search them for words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from loadgen.target.llm.config import LlmConfig

__all__ = ["APIS", "ApiError", "Ask", "check_model", "json_body", "read_ask", "texts_of", "token_count"]

APIS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "anthropic",
}
_EFFORTS: Final = {"none": 0, "minimal": 4, "low": 16, "medium": 64, "high": 256}
"""Reasoning tokens by the requested effort; at most half of the answer."""


class ApiError(Exception):
    """A request that gets an error. body: the JSON of the response."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.param = status, message, kind, param

    def body(self, api: str = "") -> bytes:
        """Return the JSON body: Anthropic's shape for its API, else that of vLLM."""
        if api == "anthropic":
            names = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
            error = {"type": names.get(self.status, "api_error"), "message": self.message}
            return msgspec.json.encode({"type": "error", "error": error})
        fields = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return msgspec.json.encode({"error": fields})


@dataclass(slots=True)
class Ask:
    """A request for an answer. Token counts are those of this server."""

    api: str
    model: str
    prompt: Sequence[str]
    """The words of the prompt, in order."""
    prompt_tokens: int
    max_tokens: int
    min_tokens: int = 0
    ignores_eos: bool = False
    streams: bool = False
    usage: str = "none"
    """none, end or continuous: the usage events of a stream."""
    choices: int = 1
    reasoning_tokens: int = 0
    tool: dict[str, Any] | None = None
    """The function to call: its name and the JSON schema of its parameters."""
    schema: dict[str, Any] | None = None
    """JSON schema of the answer."""
    cached_tokens: int = 0
    """Prompt tokens that the prefix cache holds; the server sets it."""


def json_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a request. Raises ApiError if it is something else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object")
    return value


def token_count(words: int, config: LlmConfig) -> int:
    """Return the number of tokens of that many words; at least 1 for one word or more."""
    return math.ceil(words * config.tokens_per_word - 1e-9)


def read_ask(api: str, body: dict[str, Any], config: LlmConfig) -> Ask:
    """Return what the body of a request asks for.

    Raises:
        ApiError: a field is invalid, the model is unknown, or prompt and answer do not fit into the context.
    """
    model = check_model(body, config)
    ignores_eos = _flag(body, "ignore_eos")
    min_tokens = _count(body, "min_tokens", 0, 0)
    if not config.allows_ignore_eos:
        for name in ("ignore_eos", "min_tokens"):
            if body.get(name):
                raise ApiError(400, f"Unrecognized request argument supplied: {name}", "invalid_request_error", name)
    words = [word for text in _prompt_texts(api, body) for word in text.split()]
    prompt_tokens = token_count(len(words), config)
    names = {"chat": ("max_completion_tokens", "max_tokens"), "responses": ("max_output_tokens",)}
    limit = next((n for n in names.get(api, ("max_tokens",)) if body.get(n) is not None), None)
    if limit is None and api == "anthropic":
        raise ApiError(400, "max_tokens: Field required", "invalid_request_error", "max_tokens")
    max_tokens = _count(body, limit, 1, 1) if limit else 0
    _check_context(prompt_tokens, max_tokens, config)
    if not max_tokens:
        max_tokens = config.context - prompt_tokens
        if ignores_eos:
            max_tokens = min(max_tokens, max(config.output_tokens, min_tokens))
    if min_tokens > max_tokens:
        raise ApiError(
            400,
            f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}.",
            param="min_tokens",
        )
    return Ask(
        api=api,
        model=model,
        prompt=words,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        ignores_eos=ignores_eos,
        streams=_flag(body, "stream"),
        usage=_usage(api, body),
        choices=_count(body, "n", 1, 1) if api in ("chat", "completions") else 1,
        reasoning_tokens=_reasoning_tokens(api, body, max_tokens),
        tool=_tool(api, body),
        schema=_schema(body),
    )


def check_model(body: dict[str, Any], config: LlmConfig) -> str:
    """Return the model of a request. Raises ApiError if the server does not have it."""
    model = body.get("model", config.models[0])
    if not isinstance(model, str) or (model not in config.models and not model.startswith("script:")):
        raise ApiError(404, f"The model `{model}` does not exist.", "NotFoundError", "model")
    return model


def _check_context(prompt_tokens: int, max_tokens: int, config: LlmConfig) -> None:
    context = config.context
    if prompt_tokens >= context:
        raise ApiError(
            400,
            f"This model's maximum context length is {context} tokens. However, your request has {prompt_tokens} input"
            " tokens. Please reduce the length of the input messages.",
            param="input_tokens",
        )
    if prompt_tokens + max_tokens > context:
        raise ApiError(
            400,
            f"'max_tokens' or 'max_completion_tokens' is too large: {max_tokens}. This model's maximum context length"
            f" is {context} tokens and your request has {prompt_tokens} input tokens ({max_tokens} > {context} -"
            f" {prompt_tokens}).",
            param="max_tokens",
        )


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if value is not None and not isinstance(value, bool):
        raise ApiError(400, f"{name} must be true or false", param=name)
    return bool(value)


def _count(body: dict[str, Any], name: str, otherwise: int, least: int) -> int:
    value = body.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ApiError(400, f"{name} must be at least {least}, got {value}.", param=name)
    return value


def _usage(api: str, body: dict[str, Any]) -> str:
    if api in ("responses", "anthropic"):
        return "end"
    options = body.get("stream_options")
    if options is None:
        return "none"
    if not isinstance(options, dict):
        raise ApiError(400, "stream_options must be an object", param="stream_options")
    if not body.get("stream"):
        raise ApiError(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
    if not options.get("include_usage"):
        return "none"
    return "continuous" if options.get("continuous_usage_stats") else "end"


def _reasoning_tokens(api: str, body: dict[str, Any], max_tokens: int) -> int:
    if api == "anthropic":
        thinking = body.get("thinking")
        enabled = isinstance(thinking, dict) and thinking.get("type") == "enabled"
        wanted = _EFFORTS["medium"] if enabled else 0
    else:
        reasoning = body.get("reasoning")
        effort = reasoning.get("effort") if isinstance(reasoning, dict) else body.get("reasoning_effort")
        if effort is None:
            return 0
        if effort not in _EFFORTS:
            raise ApiError(400, f"reasoning_effort must be one of {', '.join(_EFFORTS)}", param="reasoning_effort")
        wanted = _EFFORTS[effort]
    return min(wanted, max_tokens // 2)


# -- the prompt ------------------------------------------------------------------------------------


def _prompt_texts(api: str, body: dict[str, Any]) -> Iterator[str]:
    if api == "completions":
        yield from texts_of(body.get("prompt", ""), "prompt")
        return
    if api == "anthropic":
        yield from texts_of(body.get("system", ""), "system")
    if api == "responses":
        yield from texts_of(body.get("instructions") or "", "instructions")
        if isinstance(body.get("input", ""), str):
            yield body.get("input", "")
            return
    name = "input" if api == "responses" else "messages"
    messages = body.get(name)
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, f"{name} must be a list of at least one message", param=name)
    for message in messages:
        if not isinstance(message, dict):
            raise ApiError(400, f"each of {name} must be an object", param=name)
        for key in ("content", "output", "arguments"):
            yield from texts_of(message.get(key) or "", name)


def texts_of(value: Any, param: str) -> Iterator[str]:
    """Yield the texts of a prompt: a text, a list of texts, or a list of parts. A list of token ids counts as one word
    for each.

    Raises:
        ApiError: it has an image or another part that is not text.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, list):
        for part in value:
            yield from texts_of(part, param)
    elif isinstance(value, dict):
        kind = value.get("type", "text")
        if kind in ("image_url", "input_image", "image", "input_audio", "video_url", "audio_url"):
            raise ApiError(400, "At most 0 image(s) may be provided in one prompt. This model accepts only text.")
        for key in ("text", "thinking", "content"):
            yield from texts_of(value.get(key) or "", param)
    else:
        raise ApiError(400, f"{param} must be a text or a list of texts", param=param)


# -- tools and schemas -----------------------------------------------------------------------------


def _tool(api: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the function that the answer calls: the first one, if the last message is of the user."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not tools or choice == "none":
        return None
    messages = body.get("input" if api == "responses" else "messages")
    last = messages[-1] if isinstance(messages, list) and messages else {"role": "user"}
    if not isinstance(last, dict) or last.get("role") != "user" or _has_tool_result(last):
        return None
    functions = [_function(tool) for tool in tools if isinstance(tool, dict)]
    if isinstance(choice, dict):
        name = (choice.get("function") or choice).get("name")
        functions = [f for f in functions if f["name"] == name] or functions
    if not functions:
        raise ApiError(400, "each of tools must be an object", param="tools")
    return functions[0]


def _has_tool_result(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(isinstance(p, dict) and p.get("type") == "tool_result" for p in content)


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ApiError(400, "each of tools must be a function with a name", param="tools")
    schema = function.get("parameters") or function.get("input_schema") or {"type": "object"}
    return {"name": function["name"], "parameters": schema}


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the JSON schema that the answer must fit, or None for plain text."""
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type", "text") == "text":
        return None
    if wanted["type"] == "json_object":
        return {"type": "object"}
    if wanted["type"] != "json_schema":
        raise ApiError(400, f"unknown response_format {wanted['type']}", param="response_format")
    found = wanted.get("json_schema", wanted)
    schema = found.get("schema") if isinstance(found, dict) else None
    if not isinstance(schema, dict):
        raise ApiError(400, "response_format needs a schema", param="response_format")
    return schema
