"""The client of AI models of one user: `await user.llm.chat(prompt(tokens=1024))`.

Each request is recorded in a row, as requests of `user.http` are. The row also has the metrics of the answer's stream.
Requests use the user's connections, headers and cookies.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any, Final, Protocol, TypedDict, Unpack

import msgspec

from loadgen.clients.http import HttpClient
from loadgen.clients.llm.call import LlmCall
from loadgen.clients.llm.conversation import Conversation
from loadgen.clients.llm.embeddings import EMBEDDINGS_PATH, Embeddings, NotEmbeddings, read_embeddings
from loadgen.clients.llm.own_limits import NOT_USED, read_own_limits
from loadgen.clients.llm.reply import LlmReply
from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm.tools import ToolFunction, as_tools
from loadgen.clients.llm.worker import LlmWorker
from loadgen.clients.llm_apis.anthropic import VERSION_HEADER
from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.openai_wire import UNREADABLE
from loadgen.clients.llm_apis.types import Api, InferenceRequest, JsonFormat, Message, Tool
from loadgen.clients.protocol.decoding import DecodingError
from loadgen.clients.protocol.request_body_encoding import encode_json
from loadgen.clients.response.reply_class_for_plan import reply_class
from loadgen.clients.response.streams import ReplyStream
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.recording.tagging import GivenTags
from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.objectives.terms import GoodputLimit

_EXPECT_VECTORS: Final = "expect vectors"

__all__ = ["Asking", "Content", "Drawn", "LlmClient", "LlmStream", "Place"]


class Drawn(Protocol):
    """A prompt without its text, which is drawn when the prompt is sent (`loadgen.prompt`)."""

    @property
    def mean_tokens(self) -> float: ...


class Place(Protocol):
    """The user that a client belongs to, as far as the client needs it."""

    def prompt_text(self, prompt: Any) -> str:
        """Return the text of a prompt for this request."""


Content = str | Drawn | Message | Sequence["str | Drawn | Message"]
"""The input of a model: a text or a prompt, which is sent as a message of the user, or a list of these and of messages.
"""


class Asking(TypedDict, total=False):
    """Options that each request to a model can have."""

    system: str | Drawn
    """The system prompt, which is sent before the messages."""
    name: str
    """The name of the row. Default: the name of the API, such as "chat"."""
    max_tokens: int | None
    """The most output tokens. Default: `max_tokens` of `Llm`."""
    exactly: bool
    """True: ask for exactly `max_tokens` tokens (`ignore_eos` and `min_tokens`, which vLLM and SGLang accept)."""
    tools: Sequence[Tool | ToolFunction]
    """Tools that the model may call."""
    temperature: float | None
    """The temperature. Default: `temperature` of `Llm`."""
    stop: str | Sequence[str]
    """A text, or several, at which the model stops."""
    reasoning: str
    """The effort of reasoning, such as "low"."""
    slo: Mapping[GoodputLimit, str] | None
    """Limits of this request, such as {"ttft": "1s"}. They replace those of `goodput(...)` objectives for it."""
    accept: Container[int]
    """Statuses of 400 or more that do not count as errors."""
    tags: GivenTags | None
    """Tags of the row, with their values."""
    extra: Mapping[str, Any]
    """Further keys of the request's body. They replace the same keys of `Llm(extra=...)`."""


class LlmClient:
    """The client of one user for one model. `user.llm` is the client for the plan's `Llm`.

    Args:
        http: the user's client of the model's target.
        place: the user, which draws the texts of prompts.
        worker: decides which requests are cold; None: a new one.
        reads: counts the reads of the worker's streams; None: nothing counts them.
    """

    __slots__ = ("_api", "_headers", "_kind", "_limits", "_path", "_place", "_reads", "_worker", "http", "settings")

    def __init__(
        self,
        http: HttpClient,
        settings: Llm,
        place: Place,
        worker: LlmWorker | None = None,
        reads: StreamReads | None = None,
    ) -> None:
        self.http, self.settings, self._place, self._reads = http, settings, place, reads
        self._worker = worker or LlmWorker()
        self._api: Final = settings.api if isinstance(settings.api, Api) else APIS[settings.api]
        self._path: Final = settings.path or self._api.path
        self._headers = b"".join(f"{name}: {value}\r\n".encode("ascii") for name, value in self.header_fields().items())
        pool = http.pool
        self._kind: Final[type[LlmReply]] = reply_class(LlmReply, pool.limit_bytes, has_phases=pool.has_phases)
        # Read once: to parse three durations took 12 µs a request.
        self._limits: Final = settings.first_token_ns, settings.idle_ns, settings.timeout_ns

    async def chat(
        self,
        content: Content,
        *,
        expect: str | None = None,
        format: type[Any] | JsonFormat | None = None,  # the APIs' word
        stream: bool | None = None,
        **asking: Unpack[Asking],
    ) -> LlmReply:
        """Send a request to the model, and return its reply when the whole answer has arrived.

        Args:
            content: a text or prompt, or a list of texts, prompts and messages.
            expect: the expected finish reason, "stop" or "length". Any other finish reason has the outcome
                `expect finish`.
            format: a dataclass or Struct. Its JSON schema is sent, and an answer that does not fit has the outcome
                `parse NAME`. A `JsonFormat` is sent as it is, and the answer is not parsed.
            stream: False: ask for a whole answer instead of a stream. None: `stream` of `Llm`.
            asking: the options of each request (`Asking`).

        Raises:
            RequestFailed: no usable answer: `http 429`, `timeout`, `stream truncated`, `no tokens` ...
            ExpectFailed: the finish reason or the text is not as expected.
        """
        reply = await self._ask(content, asking, format, self.settings.stream if stream is None else stream)
        await reply.over()
        if expect is not None:
            reply.expect_finish(expect)
        if format is not None and not isinstance(format, JsonFormat):
            reply.parsed(format)
        return reply

    def conversation(self, *, system: str | Drawn = "", tools: Sequence[Tool | ToolFunction] = ()) -> Conversation:
        """Return a new conversation: each turn sends all messages before it (`conversation.py`).

        tools: async functions that the model may call. Their schemas are made from their signatures.

        Raises:
            UsageError: a tool is not async, or one of its parameters has no type or no schema.
        """
        return Conversation(self, system, tools)

    def stream(self, content: Content, **asking: Unpack[Asking]) -> LlmStream:
        """Return a context manager that sends a request, and whose reply can be read part by part.

        `async with user.llm.stream(prompt(tokens=64)) as answer:`, then `async for part in answer.parts():`. A journey
        that leaves the block before the end of the answer closes the connection. The outcome is then `left`.
        """
        return LlmStream(self._ask(content, asking, None, True, reads_parts=True), None)

    def header_fields(self) -> dict[str, str]:
        """Return the headers that each request has in addition to the user's: the API's version, and the key.

        Raises:
            UsageError: the key has characters that a header cannot have.
        """
        settings, is_anthropic = self.settings, self._api.name == "anthropic"
        found = dict([VERSION_HEADER]) if is_anthropic else {}
        if settings.api_key is not None:
            key = settings.api_key.reveal().strip()
            if not key.isascii() or not key.isprintable():
                raise UsageError(
                    f"the secret {settings.api_key.name!r} is not an API key: it has characters that a header cannot"
                    " have",
                    hint="store the key alone, without quotes or line breaks",
                )
            if is_anthropic:
                found["x-api-key"] = key
            else:
                found["Authorization"] = f"Bearer {key}"
        return found

    async def embed(
        self,
        inputs: str | Drawn | Sequence[str | Drawn],
        *,
        name: str = "embed",
        model: str = "",
        path: str = EMBEDDINGS_PATH,
        dimensions: int | None = None,
        tags: GivenTags | None = None,
    ) -> Embeddings:
        """Send one or several texts, and return their vectors. The number of vectors and their sizes are checked.

        Args:
            inputs: a text or prompt, or several of them for one request.
            name: the name of the row.
            model: the name of the model. Default: `model` of `Llm`.
            path: the path of the request.
            dimensions: the size that each vector must have; it is not sent. None: any size, but the same for all.

        Raises:
            RequestFailed: no answer, or an error such as `http 429`.
            ExpectFailed: `expect vectors`: the number of vectors is not that of the inputs, or a size is wrong.
        """
        given = inputs if isinstance(inputs, Sequence) and not isinstance(inputs, str) else (inputs,)
        texts = [self._text(one) for one in given]
        body = encode_json({"model": model or self.settings.model, "input": texts})
        headers = {**self.header_fields(), "content-type": "application/json"}
        http = self.http
        reply = await http.request("POST", path, content=body, headers=headers, name=name, tags=tags)
        if reply.status_code >= 400:
            raise RequestFailed(reply.outcome, f"POST {reply.route.url}: {_error_text(reply.content)}")
        try:
            found = read_embeddings(reply.content, len(texts), dimensions)
        except NotEmbeddings as wrong:
            http.meter.settle_as(reply, _EXPECT_VECTORS)
            raise ExpectFailed(_EXPECT_VECTORS, f"POST {reply.route.url}: {wrong}") from wrong
        http.meter.settle()
        http.meter.recorder.streams_of(reply.series).read(found.prompt_tokens)
        return found

    # -- the way of one request -------------------------------------------------------------

    async def _ask(
        self,
        content: Content,
        asking: Asking,
        format: type[Any] | JsonFormat | None,
        wants_stream: bool,
        *,
        reads_parts: bool = False,
    ) -> LlmReply:
        """Send a request, and return its reply when the head of the answer has arrived."""
        settings, http = self.settings, self.http
        own = read_own_limits(asking.get("slo"))
        if own is not None and not http.meter.recorder.goodputs:
            self._worker.note_once(http.meter.recorder, NOT_USED)
        given = asking.get("tools")
        tools, functions = as_tools(given) if given else ((), {})
        body = encode_json(self._api.body(self._request(content, asking, tools, format, wants_stream)))
        meter = http.meter
        now_ns = perf_counter_ns()
        call = LlmCall(
            self._api,
            wants_stream,
            meter.first_wait_ns(now_ns),
            *self._limits,
            reads_parts,
            self._worker,
            self._reads,
            conventions=tuple(settings.conventions),
            own=own,
            exact_tokens=self._exact_tokens(asking) if "exactly" in asking else 0,
        )
        call.begin(now_ns)
        try:
            reply = await http.post_streamed(
                self._path,
                body,
                self._headers,
                partial(self._kind, call),
                name=asking.get("name") or self._api.name,
                tags=asking.get("tags"),
                # A whole answer has no first token to wait for.
                limit_ns=min(call.total_ns, (call.first_token_ns if wants_stream else None) or call.total_ns),
                accept=asking.get("accept"),
            )
        except RequestFailed:
            call.end()
            raise
        except BaseException:  # cancelled, or refused: the end of the request is not recorded
            call.end()
            call.gone()
            raise
        assert isinstance(reply, LlmReply)
        reply.functions = functions
        if reply.outcome is not OK:  # an error status that is not accepted
            await reply.over()
            raise RequestFailed(reply.outcome, f"{reply.route.method} {reply.route.url}: {_refusal_text(reply)}")
        return reply

    def _exact_tokens(self, asking: Asking) -> int:
        """Return the number of tokens that the answer must have; 0: any number."""
        return (asking.get("max_tokens") or self.settings.max_tokens or 0) if asking["exactly"] else 0

    def _request(
        self,
        content: Content,
        asking: Asking,
        tools: tuple[Tool, ...],
        format: type[Any] | JsonFormat | None,
        wants_stream: bool,
    ) -> InferenceRequest:
        settings = self.settings
        max_tokens, temperature = asking.get("max_tokens"), asking.get("temperature")
        stop = asking.get("stop", ())
        return InferenceRequest(
            model=settings.model,
            messages=self.messages(content, asking.get("system", "")),
            max_tokens=settings.max_tokens if max_tokens is None else max_tokens,
            stream=wants_stream,
            usage=settings.usage,
            temperature=settings.temperature if temperature is None else temperature,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            tools=tools,
            format=format if format is None or isinstance(format, JsonFormat) else _schema(format),
            reasoning=asking.get("reasoning", ""),
            exactly=asking.get("exactly", False),
            extra={**settings.extra, **more} if (more := asking.get("extra")) else settings.extra,
        )

    def messages(self, content: Content, system: str | Drawn) -> tuple[Message, ...]:
        """Return the messages to send: the system prompt, then the content. Texts of prompts are drawn here."""
        # Most content is a text, and asking whether it is a `Sequence` takes longer.
        given = content if not isinstance(content, str) and isinstance(content, Sequence) else (content,)
        found = [Message("system", self._text(system))] if system != "" else []
        found += [one if isinstance(one, Message) else Message("user", self._text(one)) for one in given]
        return tuple(found)

    def _text(self, given: str | Drawn) -> str:
        return given if isinstance(given, str) else self._place.prompt_text(given)


class LlmStream(ReplyStream):
    """The result of `user.llm.stream(...)`: an async context manager around one `LlmReply`."""

    __slots__ = ()

    async def __aenter__(self) -> LlmReply:
        reply = await super().__aenter__()
        assert isinstance(reply, LlmReply)
        return reply


_SCHEMAS: Final[dict[type[Any], JsonFormat]] = {}
"""A cache of the schemas of types that were used as `format=`, because a schema takes 100 µs to make."""
_MOST_SCHEMAS: Final = 256


def _schema(kind: type[Any]) -> JsonFormat:
    """Return the JSON schema of a dataclass or Struct.

    Raises:
        UsageError: the type has no schema.
    """
    found = _SCHEMAS.get(kind)
    if found is not None:
        return found
    try:
        (schema,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise UsageError(f"format={kind!r} has no JSON schema: {error}", hint="use a dataclass or a Struct") from error
    own = parts.pop(kind.__name__, schema) if "$ref" in schema else schema
    made = JsonFormat(kind.__name__, {**own, **({"$defs": parts} if parts else {})})
    if len(_SCHEMAS) < _MOST_SCHEMAS:
        _SCHEMAS[kind] = made
    return made


def _refusal_text(reply: LlmReply) -> str:
    """Return the message of an error status, or its body as it came if that does not match its Content-Encoding."""
    try:
        return _error_text(reply.unpacked())
    except DecodingError:
        return _error_text(reply.body)


def _error_text(body: bytes) -> str:
    """Return the message of an error's body, cut to 500 characters."""
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE:
        return body.decode("utf-8", errors="replace")[:500]
    error = found.get("error", found) if isinstance(found, dict) else found
    return str(error.get("message", error) if isinstance(error, dict) else error)[:500]
