"""The place of a URL. Apart from `http_fetch.py`, because it is needed where httpx is not."""

from __future__ import annotations

from urllib.parse import urlsplit

from loadgen.hostport import of_url

__all__ = ["place_of"]


def place_of(url: str) -> tuple[str, int]:
    """Return host and port of a checked URL."""
    parts = urlsplit(url)
    host, port = of_url(parts)
    return host, port or (443 if parts.scheme == "https" else 80)
