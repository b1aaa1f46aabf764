"""Targets of a plan that are not HTTP: which they are, and how a user reaches them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from loadgen.clients.net.connect_timing import Opening
from loadgen.errors import UsageError
from loadgen.target_url import TargetUrl, is_http

__all__ = ["NO_HTTP_URL", "NoHttpNetwork", "http_targets", "target_named"]

NO_HTTP_URL: Final = "http://no-http-target.invalid"
"""The base URL of `user.http` in a plan without an HTTP target. No request reaches the network."""


class NoHttpNetwork:
    """The network of `user.http` in a plan without an HTTP target: each request is an error of the scenario."""

    async def connect(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        factory: Callable[[], Any],
        opening: Opening,
    ) -> tuple[asyncio.BaseTransport, Any]:
        raise UsageError(
            "user.http: the plan has no HTTP target", hint='add one: targets={"api": "https://api.example", ...}'
        )


def http_targets(targets: Mapping[str, str]) -> dict[str, str]:
    """Return those targets that are HTTP, by name."""
    return {name: url for name, url in targets.items() if is_http(url)}


def target_named(targets: Mapping[str, str], name: str, otherwise: str) -> TargetUrl:
    """Return the URL of the target of this name; of "" the URL `otherwise`, unless a target is named so.

    Raises:
        UsageError: the plan has no target of that name.
    """
    url = targets.get(name)
    if url is None and not name:
        url = otherwise
    if url is None:
        names = [f'"{one}"' for one in targets if one]
        near = get_close_matches(name, targets, n=1)
        there = f"use one of {', '.join(names)}" if names else 'add it to the plan: targets={"api": ..., "login": ...}'
        raise UsageError(
            f'the plan has no target "{name}"', hint=f'did you mean "{near[0]}"?' if near and near[0] else there
        )
    return TargetUrl(url)
