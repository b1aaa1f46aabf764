"""The HTTP routes of the page: its files, the list of runs, their timelines, live changes, and control requests.

`_Answers.routes` is the only place that assigns roles to routes. Errors are JSON with the keys `error` and `hint`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

import loadgen.report
from loadgen.errors import LoadgenError, UsageError
from loadgen_controller.api.tokens import Role, Token
from loadgen_controller.control.control_request import ControlAction, ControlOptions, ControlRequest
from loadgen_controller.ui.access import HEADERS, Authorizer
from loadgen_controller.ui.run_catalog import NoRun, PageRuns
from loadgen_controller.ui.run_feed import RunFeed

__all__ = ["Dropped", "page_app"]

log = logging.getLogger(__name__)

PAGE: Final = Path(loadgen.report.__file__).parent / "page"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
_BODY_BYTES: Final = 4_096
_ALIVE_S: Final = 4.0
"""Interval of keep-alive comments. The page regards a connection as lost after 10 s without data."""
_PATIENCE_S: Final = 15.0
"""Longest time that a page may take to receive an event."""
_PAGES: Final = 32
"""Most pages that get live changes at once."""
_ACTIONS: Final[tuple[ControlAction, ...]] = ("stop", "kill", "pause", "resume", "scale")

_Handler = Callable[[Request, Token], Awaitable[Response]]


class Dropped(Exception):
    """A page did not receive an event in time."""


def page_app(runs: PageRuns, authorizer: Authorizer, drop: Callable[[object], None], page: Path = PAGE) -> Starlette:
    """Build the ASGI application of the page.

    Args:
        runs: the runs that it shows.
        authorizer: authorizes requests.
        drop: aborts the connection of a client, given its address as in the ASGI scope.
        page: folder with the page's files.
    """
    return Starlette(
        routes=_Answers(runs, authorizer, drop, page).routes(),
        exception_handlers={404: _nothing, 405: _nothing, Exception: _bug},
    )


class _Answers:
    def __init__(self, runs: PageRuns, authorizer: Authorizer, drop: Callable[[object], None], page: Path) -> None:
        self._page_runs, self._authorizer, self._drop = runs, authorizer, drop
        self._files = {path.relative_to(page).as_posix(): path for path in page.rglob("*") if path.suffix in _TYPES}
        self._pages = 0

    def routes(self) -> list[Route]:
        view, run = Role.VIEW, Role.RUN
        return [
            Route("/", self._open, methods=["GET"]),
            Route("/runs/{run}", self._open, methods=["GET"]),
            Route("/page/{file:path}", self._file, methods=["GET"]),
            Route("/api/me", self._for(view, self._me), methods=["GET"]),
            Route("/api/runs", self._for(view, self._runs), methods=["GET"]),
            Route("/api/runs/{run}/history", self._for(view, self._history), methods=["GET"]),
            Route("/api/runs/{run}/events", self._for(view, self._events), methods=["GET"]),
            *(
                Route(f"/api/runs/{{run}}/{action}", self._for(run, self._control(action)), methods=["POST"])
                for action in _ACTIONS
            ),
        ]

    # -- authorization ----------------------------------------------------------------------------

    def _for(self, role: Role, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if not self._authorizer.is_ours(request.headers):
                return _wrong_host()
            try:
                token = self._authorizer.who(request.headers)
                if token is None:
                    return _refused(401, "a token is needed, or it is not this server's")
                if token.role < role:
                    why = f"this needs the role {role}, but the token {token.name} has the role {token.role}"
                    return _refused(403, why, "use another token")
                return await handler(request, token)
            except NoRun as error:
                return _refused(404, error.message, error.hint)
            except LoadgenError as error:
                return _refused(409, error.message, error.hint)

        return answer

    # -- files ------------------------------------------------------------------------------------

    async def _open(self, request: Request) -> Response:
        return self._sent("index.html") if self._authorizer.is_ours(request.headers) else _wrong_host()

    async def _file(self, request: Request) -> Response:
        if not self._authorizer.is_ours(request.headers):
            return _wrong_host()
        return self._sent(request.path_params["file"])

    def _sent(self, name: str) -> Response:
        path = self._files.get(name)
        if path is None:
            return _refused(404, "there is no such file")
        return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=HEADERS)

    # -- queries ----------------------------------------------------------------------------------

    async def _me(self, _: Request, token: Token) -> Response:
        return _json({"role": str(token.role), "name": token.name})

    async def _runs(self, _: Request, __: Token) -> Response:
        return _json(await self._page_runs.listed())

    async def _history(self, request: Request, _: Token) -> Response:
        data = await self._page_runs.history(request.path_params["run"])
        headers = {**HEADERS, "Content-Encoding": "gzip"}
        return Response(data, media_type="application/json", headers=headers)

    async def _events(self, request: Request, token: Token) -> Response:
        run_id = request.path_params["run"]
        feed = self._page_runs.feed(run_id)
        if feed is None:
            self._page_runs.folder(run_id)
        elif self._pages >= _PAGES:
            return _refused(503, f"{_PAGES} pages get live changes already", "close some, or reload this page later")
        known = request.headers.get("last-event-id", "")
        # The page may have received the changes of that number only in part, so they are sent again.
        after = int(known) - 1 if re.fullmatch(r"\d{1,15}", known) else -1
        headers = dict(request.headers)

        def is_good() -> bool:
            try:
                now = self._authorizer.who(headers)
            except UsageError:
                return False
            return now is not None and now.role >= token.role

        return _Events(self, feed, after, is_good)

    # -- control requests -------------------------------------------------------------------------

    def _control(self, action: ControlAction) -> _Handler:
        async def do(request: Request, token: Token) -> Response:
            run_id = request.path_params["run"]
            if self._page_runs.feed(run_id) is None:
                name = self._page_runs.folder(run_id).name
                raise UsageError(f"run {name} is not running here", hint="reload the page to see its result")
            if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return _refused(415, "the request must be JSON", "set Content-Type: application/json")
            try:
                options = msgspec.json.decode(await _body(request) or b"{}", type=ControlOptions)
                ask = ControlRequest(run_id=run_id, do=action, **msgspec.structs.asdict(options))
                ask.check()  # here already, for a status of its own: `answer` checks again, for all three controls
            except (msgspec.DecodeError, ValueError) as error:
                return _refused(400, f"invalid request: {error}", "send a JSON object with the options of the action")
            except UsageError as error:
                return _refused(400, error.message, error.hint)
            except ClientDisconnect:
                return _refused(400, "the request ended too early", "send it again")
            reply = self._page_runs.answer(ask, f"{token.name}, by the page")
            log.info("%s: %s %s", token.name, action, run_id)
            return _json({"lines": reply.lines})

        return do


class _Events(Response):
    """A stream of server-sent events with the changes of a run, until the run ends or the page disconnects."""

    def __init__(self, answers: _Answers, feed: RunFeed | None, after: int, is_good: Callable[[], bool]) -> None:
        super().__init__(status_code=200, media_type="text/event-stream", headers=HEADERS)
        del self.headers["content-length"]
        self._answers, self._feed, self._after, self._is_good = answers, feed, after, is_good

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_until_gone(receive))
        self._answers._pages += 1
        try:
            await self._stream(send, gone)
        except Dropped:
            self._answers._drop(scope["client"])
        finally:
            self._answers._pages -= 1
            gone.cancel()

    async def _stream(self, send: Send, gone: asyncio.Task[None]) -> None:
        await self._sent(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        runs, feed, after = self._answers._page_runs, self._feed, self._after
        if feed is None:  # the run has ended: the page must load the final document
            await self._sent(send, _part(_event("again", b"{}", 0)))
        while feed is not None and not gone.done() and not runs.is_closing and self._is_good():
            # All four belong to one moment: the feed may get news while this page is being sent to.
            news, is_over, seq, changes = feed.news, feed.is_over, feed.seq, feed.changes(after)
            for n, (kind, data) in enumerate(changes, 1):
                # Only the last event has an id: a page that received a part must get all of it again.
                await self._sent(send, _part(_event(kind, data, seq if n == len(changes) else None)))
            after = seq
            if is_over:
                break
            while not news.is_set() and not gone.done() and not runs.is_closing:
                waiting = asyncio.ensure_future(news.wait())
                await asyncio.wait({waiting, gone}, timeout=_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if not news.is_set():
                    await self._sent(send, _part(b": alive\n\n"))
        if not gone.done():
            await self._sent(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _sent(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await send(message)
        except TimeoutError:
            raise Dropped from None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


def _event(kind: str, data: bytes, seq: int | None) -> bytes:
    """Format a server-sent event. data: JSON without line breaks."""
    number = b"" if seq is None else b"id: %d\n" % seq
    return b"event: %s\n%sdata: %s\n\n" % (kind.encode(), number, data)


async def _body(request: Request) -> bytes:
    """Read the body of a request. Raises ValueError if it is too long."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > _BODY_BYTES:
            raise ValueError(f"the body is longer than {_BODY_BYTES:,} bytes")
    return data


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, HEADERS, "application/json")


async def _nothing(_: Request, error: Exception) -> Response:
    """Return the response to a request with an unknown path or method."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _refused(status, "unknown path or method", "open the printed address")


async def _bug(request: Request, error: Exception) -> Response:
    """Return the response to a request that failed because of a bug of loadgen. Such a bug must not harm the run."""
    log.error("the page's %s failed", request.url.path, exc_info=error)
    why = f"this is a bug of loadgen: {type(error).__name__}"
    return _refused(500, why, "please report it with the controller's log")


def _wrong_host() -> Response:
    return _refused(421, "the Host or Origin header is not this server's", "open the printed address")


def _refused(status: int, error: str, hint: str = "") -> Response:
    body: Mapping[str, str] = {"error": error, "hint": hint}
    return _json(body, status)
