"""Handles Ctrl-C and SIGTERM in a program that conducts runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

__all__ = ["DRAINING", "Stopping"]

DRAINING = "draining; Ctrl-C again stops at once"


class Stopping:
    """Drains the runs at the first Ctrl-C or SIGTERM, and stops them at once at a second Ctrl-C.

    `request_stop` receives the reason, and whether to stop at once. `notices` are lines for the live view.
    """

    def __init__(self, request_stop: Callable[[str, bool], None]) -> None:
        self._request_stop = request_stop
        self._asked = False
        self.notices: tuple[str, ...] = ()

    def interrupt(self) -> None:
        """Handle a Ctrl-C: the first one drains the run, a later one stops it at once."""
        if self._asked:
            self._request_stop("stopped at once by a second Ctrl-C", True)
            self.notices = ("stopping at once",)
        else:
            self._drain("interrupted by Ctrl-C")

    def terminate(self) -> None:
        """Handle a SIGTERM like a first Ctrl-C; later ones are ignored."""
        if not self._asked:
            self._drain("terminated (SIGTERM)")

    def _drain(self, reason: str) -> None:
        self._asked = True
        self._request_stop(reason, False)
        self.notices = (DRAINING,)

    @contextlib.contextmanager
    def on_signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Handle SIGINT and SIGTERM by these methods inside the `with` block; remove the handlers afterwards."""
        handlers = {signal.SIGINT: self.interrupt, signal.SIGTERM: self.terminate}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
