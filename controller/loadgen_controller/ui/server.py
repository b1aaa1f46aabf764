"""The web server of the page: uvicorn on the controller's event loop, without uvicorn's signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn

from loadgen.errors import PortBusy, UsageError
from loadgen.wire.sockets import parse_address
from loadgen_controller.ui.access import Access, Authorizer, check_place
from loadgen_controller.ui.app import PAGE, page_app
from loadgen_controller.ui.run_catalog import PageRuns

__all__ = ["UiServer"]

_CONNECTIONS: Final = 100
_BYE_S: Final = 2


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave all signals alone inside the `with` block: the conductor handles them."""
        yield


class UiServer:
    """The web server of the page. Create it in the running loop, then call `start`, and `close` at the end.

    Args:
        runs: the runs that the page shows.
        bind: HOST:PORT; port 0 takes any free port.
        access: tokens and certificate. Without tokens, the page is open to anybody with the secret in `page_of`.
        page: folder with the page's files.

    Raises:
        UsageError: it would be open to everybody (see `check_place`), or its certificate cannot be used.
        PortBusy: the port cannot be opened.
    """

    def __init__(
        self,
        runs: PageRuns,
        bind: str,
        access: Access | None = None,
        page: Path = PAGE,
    ) -> None:
        access = access or Access()
        check_place(bind, access)
        self._runs, self._authorizer = runs, Authorizer(bind, access.tokens)
        config = uvicorn.Config(
            page_app(runs, self._authorizer, self._drop, page),
            http="h11",
            ws="none",
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_BYE_S,
            ssl_certfile=access.certificate,
            ssl_keyfile=access.key,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            hint = "check that certificate and key are PEM files that belong together"
            raise UsageError(f"the page's certificate cannot be used: {error}", hint=hint) from error
        host, port = parse_address(bind)
        self._socket = _listening(host.strip("[]"), port, bind)
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None
        port = self._socket.getsockname()[1]
        self.address = f"{host}:{port}"
        """The address at which it listens, with the real port."""
        self.url = f"{'http' if access.certificate is None else 'https'}://{self.address}"

    def page_of(self, run_id: str = "") -> str:
        """Return the URL of a run's page; without an id, that of the list of runs.

        If there are no tokens, the URL contains the secret.
        """
        path = f"/runs/{run_id}" if run_id else "/"
        return f"{self.url}{path}" + (f"#token={self._authorizer.secret}" if self._authorizer.secret else "")

    def start(self) -> None:
        """Accept requests from now on."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="page server")

    async def close(self) -> None:
        """Send the last events to open pages, and stop after at most 4 s."""
        self._runs.close()
        self._server.should_exit = True
        if self._serving is None:
            self._socket.close()
            return
        try:
            async with asyncio.timeout(2 * _BYE_S):
                await asyncio.shield(self._serving)
        except TimeoutError:
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)

    def _drop(self, client: object) -> None:
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client:
                connection.transport.abort()


def _listening(host: str, port: int, bind: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        why = "another program uses the port" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise PortBusy(f"cannot listen for the page at {bind}: {why}", hint="port 0 takes any free port") from error
