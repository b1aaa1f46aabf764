"""Canned replies for the pages of a trial: a real browser, whose requests never leave it.

Playwright gives each request of a page to `CannedPages`, which fulfils it with the reply that `user.http` would get for
the same method and path. So a page, its scripts, style sheets and calls are answered from one table of replies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from loadgen.clients.browser.chromium import Chromium, check_installed
from loadgen.clients.browser.host_rules import is_allowed, place_of_url, resolver_rules
from loadgen.clients.net.canned_replies import CannedNetwork, CannedRequest
from loadgen.errors import LoadgenError

if TYPE_CHECKING:
    from loadgen.clients.browser.chromium import BrowserContext, Route

__all__ = ["CannedPages", "launch_without_network"]


async def launch_without_network() -> Chromium:
    """Start a Chromium that finds no server.

    Raises:
        UsageError: Playwright or Chromium is missing, or Chromium did not start.
    """
    return await Chromium.launch(check_installed(), resolver_rules(()))


class CannedPages:
    """Answers the requests of pages. target: the URL of the target; requests to other servers fail."""

    def __init__(self, network: CannedNetwork, target: str) -> None:
        place = place_of_url(target)
        self._network, self.places = network, frozenset() if place is None else frozenset({place})

    async def attach(self, context: BrowserContext, failed: Callable[[Exception], None]) -> None:
        """Answer all requests of a browser context. failed: is called with the error of a request without a reply."""

        async def answer(route: Route) -> None:
            try:
                await self._answer(route)
            except LoadgenError as error:
                failed(error)
                await route.abort("failed")

        await context.route("**/*", answer)

    async def _answer(self, route: Route) -> None:
        request = route.request
        if not is_allowed(request.url, self.places):
            await route.abort("namenotresolved")  # as in a run, where no other server has an address
            return
        parts = urlsplit(request.url)
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = self._network.answer(CannedRequest(request.method, target, headers, request.post_data_buffer or b""))
        head, end, body = reply.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = first.split(" ")[1] if first.startswith("HTTP/") and " " in first else ""
        if not end or not status.isdigit():
            await route.abort("connectionreset")  # no whole response
            return
        await route.fulfill(status=int(status), headers=_joined(lines), body=body)


def _joined(lines: list[str]) -> dict[str, str]:
    """Return header lines as Playwright takes them: each name once, and the values of cookies in lines."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        between = "\n" if name == "set-cookie" else ", "
        found[name] = f"{found[name]}{between}{value.strip()}" if name in found else value.strip()
    return found
