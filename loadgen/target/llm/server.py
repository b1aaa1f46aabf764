"""Answers the requests of the server: finds what each one asks for, and starts its stream."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

import msgspec

from loadgen.target.llm.answer import Answer
from loadgen.target.llm.ask import APIS, ApiError, Ask, json_body, read_ask
from loadgen.target.llm.config import LlmConfig
from loadgen.target.llm.embeddings import embeddings, tokenized
from loadgen.target.llm.formats.anthropic import AnthropicFormat
from loadgen.target.llm.formats.chat import ChatFormat
from loadgen.target.llm.formats.completions import CompletionsFormat
from loadgen.target.llm.formats.responses import ResponsesFormat
from loadgen.target.llm.formats.stream_format import StreamFormat
from loadgen.target.llm.http1 import LAST_CHUNK, HttpRequest, chunk, head, whole
from loadgen.target.llm.metrics import Metrics
from loadgen.target.llm.prefix_cache import PrefixCache
from loadgen.target.llm.scripts import playback
from loadgen.target.llm.scripts.ready_made import ready_made
from loadgen.target.llm.scripts.script import Script
from loadgen.target.llm.send_log import SendLog
from loadgen.target.llm.send_loop import Connection, End, SendLoop, Stream, Write
from loadgen.target.llm.timing import Slots, token_times

__all__ = ["LlmServer"]

_FORMATS: Final[dict[str, Any]] = {
    "chat": ChatFormat,
    "completions": CompletionsFormat,
    "responses": ResponsesFormat,
    "anthropic": AnthropicFormat,
}
_JSON: Final = {"content-type": "application/json"}
_SSE: Final = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}


class LlmServer:
    """The server of one process. `open` it, then `run`."""

    def __init__(self, config: LlmConfig) -> None:
        """Open the port. Raises PortBusy if that is impossible."""
        self.config = config
        self.log = SendLog(is_on=config.log is not None)
        self.loop = SendLoop(config.host, config.port, self.log)
        self.metrics = Metrics(config)
        self._cache = PrefixCache(config.tokens_per_word)
        self._slots = Slots(config.slots)
        self._scripts = cycle(config.scripts) if config.scripts else None
        self._count = 0

    @property
    def url(self) -> str:
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self.loop.port}"

    def run(self) -> None:
        """Serve until the loop stops, then write the log."""
        self.loop.run(self)
        if self.config.log is not None:
            self.log.write(self.config.log)

    def stats(self) -> dict[str, Any]:
        """Return what the server has counted, for `GET /stats`."""
        return {
            "format": 1,
            **self.metrics.counts(),
            "running": self._slots.running,
            "waiting": self._slots.waiting,
            "connections": {"opened": self.loop.connections_opened, "open": self.loop.connections_open},
        }

    # -- one request -------------------------------------------------------------------------------

    def answer(self, connection: Connection, request: HttpRequest, now_ns: int) -> None:
        """Answer a request, or start its stream."""
        path = request.path
        # A client that follows the redirect of the script `redirect` comes here.
        moved, path = path.startswith("/moved/"), path.removeprefix("/moved")
        api = APIS.get(path, "")
        try:
            if path.startswith("/v1") or path == "/tokenize":
                self._check_key(request)
            if api:
                if request.method != "POST":
                    raise ApiError(405, "Method Not Allowed", "MethodNotAllowed")
                self._generate(api, connection, request, now_ns, is_scripted=not moved)
            elif path == "/v1/embeddings" and request.method == "POST":
                self._embed(connection, request, now_ns)
            else:
                self._plain(connection, request, path)
        except ApiError as error:
            self._refuse(connection, path, error, api)

    def refuse(self, connection: Connection, status: int, message: str) -> None:
        """Answer bytes that are not a request."""
        self._refuse(connection, "(bad request)", ApiError(status, message), "")

    def _refuse(self, connection: Connection, path: str, error: ApiError, api: str) -> None:
        body = msgspec.json.encode({"error": "Unauthorized"}) if error.status == 401 else error.body(api)
        self.metrics.answered(path, error.status)
        self.loop.reply(connection, whole(error.status, _JSON, body))

    def _check_key(self, request: HttpRequest) -> None:
        if key := self.config.api_key:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            given = request.headers.get("x-api-key", given)
            if not hmac.compare_digest(given.encode(), key.encode()):
                raise ApiError(401, "Unauthorized")

    def _plain(self, connection: Connection, request: HttpRequest, path: str) -> None:
        config = self.config
        match request.method, path:
            case "GET", "/health" | "/health_generate":
                body = b""
            case "GET", "/v1/models":
                created_s = int(time.time())
                models = [
                    {
                        "id": name,
                        "object": "model",
                        "created": created_s,
                        "owned_by": config.engine,
                        "root": name,
                        "parent": None,
                        "max_model_len": config.context,
                    }
                    for name in config.models
                ]
                body = msgspec.json.encode({"object": "list", "data": models})
            case "GET", "/metrics":
                text = self.metrics.as_text(self._slots.running, self._slots.waiting, self._cache)
                kind = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
                self.loop.reply(connection, whole(200, kind, text.encode()))
                return
            case "POST", "/tokenize":
                body = msgspec.json.encode(tokenized(json_body(request.body), config))
            case "GET", "/stats":
                body = msgspec.json.encode(self.stats())
            case "GET", "/log" if self.log.is_on:
                self.loop.reply(connection, whole(200, {"content-type": "application/jsonl"}, self.log.as_jsonl()))
                return
            case "POST", "/log/clear":
                self.log.clear()
                body = b"{}"
            case _:
                raise ApiError(404, "Not Found", "NotFoundError")
        self.metrics.answered(path, 200)
        self.loop.reply(connection, whole(200, _JSON, body))

    def _embed(self, connection: Connection, request: HttpRequest, now_ns: int) -> None:
        body, prompt_tokens = embeddings(json_body(request.body), self.config)
        stream = self._new_stream(connection, request, now_ns, {"api": "embeddings", "prompt_tokens": prompt_tokens})
        self.metrics.prompt_tokens += prompt_tokens
        times = token_times(self.config, stream.number, prompt_tokens, 1)
        data = whole(200, {**_JSON, "x-request-id": _request_id(request, stream)}, body)
        self._queue(stream, request.path, now_ns, iter([Write(next(times), data, (("body", 0),), End.DONE)]))

    def _generate(
        self, api: str, connection: Connection, request: HttpRequest, now_ns: int, *, is_scripted: bool
    ) -> None:
        ask = read_ask(api, json_body(request.body), self.config)
        script = self._script(ask) if is_scripted else None
        if script is None and self.config.caches_prefixes:
            ask.cached_tokens = self._cache.lookup(ask.model, ask.prompt, ask.prompt_tokens)
        stream = self._new_stream(
            connection,
            request,
            now_ns,
            {
                "api": api,
                "model": ask.model,
                "prompt_tokens": ask.prompt_tokens,
                "cached_tokens": ask.cached_tokens,
                "max_tokens": ask.max_tokens,
                "script": script.name if script is not None else None,
            },
        )
        name = f"{stream.number:08d}"
        self.metrics.prompt_tokens += ask.prompt_tokens
        if script is not None:
            if script.prompt_tokens is not None:
                ask.prompt_tokens = script.prompt_tokens
            ask.usage = "continuous" if script.is_continuous else "end"
            form = _FORMATS[api](ask, name, int(time.time()))
            stream.step_ns = script.step_ns
            stream.on_tokens = self.metrics.sent_tokens
            self._slots.running += 1
            stream.on_end = self._on_end(stream, request.path, now_ns)
            self.loop.send(stream, now_ns, playback.head_of(script, _request_id(request, stream)), (("head", 0),))
            self.loop.start(stream, now_ns, playback.writes_of(script, form))
            return
        form = _FORMATS[api](ask, name, int(time.time()))
        if self.config.is_synchronous:
            stream.step_ns = self.config.itl_ns
        stream.on_tokens = self.metrics.sent_tokens
        answers = [
            Answer.of(ask, stream.number * ask.choices + index, self.config.output_tokens)
            for index in range(ask.choices)
        ]
        if ask.streams:
            headers = {**_SSE, "x-request-id": _request_id(request, stream)}
            if not self.loop.send(stream, now_ns, head(200, headers), (("head", 0),)):
                self.metrics.aborted(request.path)
                return
            writes = self._streamed(ask, form, answers, stream.number)
        else:
            writes = self._whole(ask, form, answers, stream.number, _request_id(request, stream))
        self._queue(stream, request.path, now_ns, writes)

    def _script(self, ask: Ask) -> Script | None:
        if ask.model.startswith("script:"):
            found = ready_made(ask.model.removeprefix("script:"))
            if found is None:
                raise ApiError(404, f"The model `{ask.model}` does not exist.", "NotFoundError", "model")
            return found
        return next(self._scripts) if self._scripts is not None else None

    # -- streams -----------------------------------------------------------------------------------

    def _new_stream(self, connection: Connection, request: HttpRequest, now_ns: int, row: dict[str, Any]) -> Stream:
        stream = Stream(self._count, connection, now_ns)
        connection.stream = stream
        self._count += 1
        self.log.begin(
            {
                "type": "request",
                "stream": stream.number,
                "request_id": _request_id(request, stream),
                "path": request.path,
                "t_request_ns": now_ns,
                "real_request_ns": time.time_ns() - (time.perf_counter_ns() - now_ns),
                **row,
            }
        )
        return stream

    def _queue(self, stream: Stream, path: str, now_ns: int, writes: Iterator[Write]) -> None:
        """Start the stream when it has a slot."""
        state = {"is_waiting": True, "has_left": False}

        def begin(start_ns: int) -> bool:
            if state["has_left"]:
                return False
            state["is_waiting"] = False
            self.metrics.began(start_ns - now_ns)
            stream.on_end = self._on_end(stream, path, now_ns)
            self.loop.start(stream, start_ns, writes)
            return True

        def leave(_: Stream, at_ns: int, __: bool) -> None:
            if state["is_waiting"]:
                state["has_left"] = True
                self._slots.left += 1
                self.metrics.aborted(path)

        stream.on_end = leave
        self._slots.ask(now_ns, begin)

    def _on_end(self, stream: Stream, path: str, now_ns: int) -> Any:
        def ended(_: Stream, due_ns: int, is_complete: bool) -> None:
            stream.on_end = stream.on_tokens = None
            if is_complete:
                self.metrics.answered(path, 200)
                self.metrics.ended(stream, due_ns - now_ns)
            else:
                self.metrics.aborted(path)
            self._slots.free(due_ns)

        return ended

    def _streamed(self, ask: Ask, form: StreamFormat, answers: list[Answer], number: int) -> Iterator[Write]:
        """Yield the writes of a streamed answer. The first token has the role before it, in a write of its own."""
        each = self.config.tokens_per_event
        choices = [(index, answer.pieces(each)) for index, answer in enumerate(answers)]
        at_ns = 0
        for step, at_ns in enumerate(self._times(ask, answers, number)):
            if not step:
                for index, _ in choices:
                    for kind, tokens, data in form.begin(index):
                        yield Write(at_ns, chunk(data), ((kind, tokens),))
            for index, pieces in choices:
                piece = next(pieces, None)
                if piece is not None:
                    for kind, tokens, data in form.piece(index, piece):
                        yield Write(at_ns, chunk(data), ((kind, tokens),))
        last = [event for index, answer in enumerate(answers) for event in form.finish(index, answer.reason)]
        if ask.usage != "none":
            last += form.usage()
        last += form.done()
        data = b"".join(chunk(event) for _, _, event in last) + LAST_CHUNK
        yield Write(at_ns, data, tuple((kind, tokens) for kind, tokens, _ in last), End.DONE)

    def _whole(
        self, ask: Ask, form: StreamFormat, answers: list[Answer], number: int, request_id: str
    ) -> Iterator[Write]:
        """Yield the single write of an answer that is not streamed."""
        at_ns = max(self._times(ask, answers, number))
        body = form.whole([(list(answer.pieces(self.config.tokens_per_event)), answer.reason) for answer in answers])
        tokens = sum(answer.total for answer in answers)
        data = whole(200, {**_JSON, "x-request-id": request_id}, body)
        yield Write(at_ns, data, (("body", tokens),), End.DONE)

    def _times(self, ask: Ask, answers: list[Answer], number: int) -> Iterator[int]:
        each = self.config.tokens_per_event
        steps = max(answer.steps(each) for answer in answers)
        return token_times(self.config, number, ask.prompt_tokens - ask.cached_tokens, steps)


def _request_id(request: HttpRequest, stream: Stream) -> str:
    return request.headers.get("x-request-id") or f"llm-{stream.number:08d}"
