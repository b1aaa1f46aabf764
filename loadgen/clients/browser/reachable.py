"""Looks up and checks the servers that the browsers of a worker may reach, when its Chromium starts."""

from __future__ import annotations

from collections.abc import Iterable

from loadgen.clients.browser.chromium import Chromium, check_installed
from loadgen.clients.browser.host_rules import Place, resolver_rules
from loadgen.clients.browser.ignored_settings import ignored_settings
from loadgen.clients.net.network import Network, TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.errors import RequestFailed, UsageError

__all__ = ["check_plan", "launch_for"]


def check_plan(http: Http, has_ca: bool, network: Network) -> None:
    """Check that a worker can have browsers: before its run, not when the first page is opened.

    Raises:
        UsageError: Playwright or Chromium is missing, or Chromium would ignore a setting of the plan or the allow-list.
    """
    check_installed()
    if names := list(ignored_settings(http, has_ca=has_ca)):
        raise UsageError(
            f"Plan(browsers=...): Chromium ignores these settings of the plan: {', '.join(names)}",
            hint="write a plan for the browsers alone, without these settings",
        )
    lists = network.guard.lists if isinstance(network, TcpNetwork) else ()
    if any(entry.max_requests_per_s is not None for allow in lists for entry in allow.allow):
        raise UsageError(
            "Plan(browsers=...): the allow-list limits requests/s, and loadgen cannot limit the requests of pages",
            hint="ask the owner of the target for an entry without max_requests_per_s, or leave browsers= out",
        )


async def launch_for(network: Network, places: Iterable[Place]) -> Chromium:
    """Start a Chromium that reaches these servers, and no others, at addresses that the target guard has admitted.

    Raises:
        UsageError: Chromium did not start.
        RequestFailed: none of the servers may be reached.
    """
    assert isinstance(network, TcpNetwork)  # `check_plan`: there is no proxy
    found: list[tuple[Place, str]] = []
    failure: RequestFailed | None = None
    for place in places:
        try:
            found.append((place, await _address(network, place)))
        except RequestFailed as error:
            failure = failure or error
    if failure is not None and not found:
        raise failure
    return await Chromium.launch(check_installed(), resolver_rules(found))


async def _address(network: TcpNetwork, place: Place) -> str:
    """Return the first address of a server that the guard admits.

    Raises:
        RequestFailed: the guard admits no address, or the name has no address.
    """
    failure: RequestFailed | None = None
    asked = "" if network.resolver.is_overridden(*place) else place.host
    for address in await network.resolver.addresses(*place):
        try:
            await network.guard.check(asked, address, place.port)
        except RequestFailed as error:
            failure = failure or error
        else:
            return address
    raise failure or RequestFailed("dns", f"{place}: no address")
