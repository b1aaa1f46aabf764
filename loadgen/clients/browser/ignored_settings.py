"""Settings of a plan that Chromium ignores, so that a plan with browsers cannot have them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from loadgen.clients.net.settings import Http

__all__ = ["ignored_settings"]


def ignored_settings(http: Http, *, has_ca: bool) -> Iterator[str]:
    """Yield the settings as a scenario writes them: `ca=`, `Http(proxy=)`. has_ca: the plan has a certificate file."""
    if has_ca:
        yield "ca="
    for name in ("proxy", "cert", "sni", "uds", "source", "http3", "tls_min", "tls_max", "ciphers"):
        if getattr(http, name):
            yield f"Http({name}=)"
