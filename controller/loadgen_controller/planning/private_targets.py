"""Restricts requests to loopback and private addresses, for `loadgen check --watch`.

The watch sends requests whenever a file is saved, without another word of the user. So it must not reach a
stranger's host, even if an edit, a redirect or a changed DNS answer leads there.
"""

from __future__ import annotations

from loadgen.allowlist import is_own
from loadgen.clients.net.target_guard import TargetGuard, place_of
from loadgen.dsl.plans.plan import Plan
from loadgen.errors import UsageError
from loadgen_controller.planning.target_permission import Resolve, check_target, check_ways, resolve

__all__ = ["PRIVATE_ONLY", "check_private"]


class _PrivateOnly(TargetGuard):
    """Refuses each connection to an address that is neither loopback nor private."""

    async def check(self, host: str, address: str, port: int) -> None:
        await super().check(host, address, port)
        where, _ = place_of(address, port)
        if not is_own(where):
            await self._refuse("public", f"{host or address} is public, and --watch sends only to private addresses")

    async def check_behind(self, host: str, port: int) -> None:
        await self._refuse("proxy", f"the address of {host} behind a proxy is unknown, and --watch uses no proxies")


PRIVATE_ONLY = _PrivateOnly()


def check_private(plan: Plan, *, resolve: Resolve = resolve) -> None:
    """Check that all targets of a plan have loopback or private addresses.

    Raises:
        UsageError: one of them is public or cannot be resolved, or the plan uses a proxy.
    """
    if plan.http.proxy is not None:
        raise UsageError(
            "--watch cannot check where a proxy sends requests, and the plan has one",
            hint="remove proxy= from Http(...) for the watch, or leave --watch out",
        )
    try:
        check_ways(plan.http, resolve=resolve)
        for url in dict.fromkeys((plan.target, *plan.targets.values())):
            check_target(url, http=plan.http, resolve=resolve)
    except UsageError as error:
        hint = "name a loopback or private host with --target, or leave --watch out"
        raise UsageError(f"--watch sends only to loopback and private hosts: {error.message}", hint=hint) from error
