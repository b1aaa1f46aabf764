"""Checks that a public host agrees to be loaded: its owner shows it by a file on the host itself.

An allow-list is a file on the controller, and its author may not have asked the owner of a host.
So the allow-list's entry for a public host has a word (`proof = "..."`), and the host has to
show this word in `/.well-known/loadgen-proof`, one word a line. The owner withdraws consent by
removing the file. The file is read once before a run, without following redirects.
"""

from __future__ import annotations

from typing import Final

import httpx

__all__ = ["PATH", "why_unproved"]

PATH: Final = "/.well-known/loadgen-proof"
_LARGEST_BYTES: Final = 4096
_TIMEOUT_S: Final = 5.0


def why_unproved(origin: str, word: str, address: str | None = None) -> str:
    """Check that the consent file on the host of `origin` contains the line `word`. Return "" if it does, else a short
    reason. Blocks up to 5 s for each read.

    Args:
        origin: "https://shop.example", with a port if it has one.
        address: connect to this address instead of the name's; the certificate still has to be valid for the name.
    """
    url = httpx.URL(origin).copy_with(path=PATH, query=None)
    headers, extensions = {}, {}
    if address is not None:
        headers, extensions = {"host": url.netloc.decode()}, {"sni_hostname": url.host}
        url = url.copy_with(host=address)
    try:
        with (
            httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client,
            client.stream("GET", url, headers=headers, extensions=extensions) as reply,
        ):
            if reply.status_code != 200:
                return f"{origin}{PATH} answered {reply.status_code}"
            body = b""
            for part in reply.iter_bytes():
                body += part
                if len(body) > _LARGEST_BYTES:
                    return f"{origin}{PATH} is larger than {_LARGEST_BYTES} bytes"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{origin}{PATH} cannot be read: {error or type(error).__name__}"
    shown = {line.strip() for line in body.decode("utf-8", "replace").splitlines()}
    return "" if word in shown else f"{origin}{PATH} does not contain the word"
