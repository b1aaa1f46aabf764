"""An HTTP client that posts figures to one URL; within the package `sinks` the only importer of httpx."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from loadgen.outside_text import one_line
from loadgen.sinks.output_queue import Undelivered

__all__ = ["Poster", "Undelivered"]

CONNECT_S: Final = 2.0
ANSWER_S: Final = 5.0
"""The time limit for sending each part of a request, and for receiving each part of a response."""
WHOLE_S: Final = 10.0
"""The time limit for a whole response, because a server could send it byte by byte."""
_MOST_BYTES: Final = 64 * 1024
"""The most bytes of a response that are read."""


class Poster:
    """Posts to one URL.

    Args:
        headers: names and values; the values are never shown.
        ca: trust this certificate instead of the system's.
    """

    def __init__(self, url: str, headers: Mapping[str, str], ca: Path | None = None) -> None:
        self._url = url
        # The last word too: of "Bearer TOKEN", an error text of the server may repeat only the token.
        self._secrets = [part for value in headers.values() if value.strip() for part in (value, value.split()[-1])]
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        self._client = httpx.Client(
            # "identity", because `_body` reads the response as it is sent, without decompression.
            headers={"User-Agent": "loadgen", "Accept-Encoding": "identity", **headers},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            verify=context,
        )

    def post(self, content: bytes, headers: Mapping[str, str]) -> bytes:
        """Send a POST request to the receiver and return the body of its response. Redirects are not followed.

        Raises:
            Undelivered: there was no response in time, or its status was not 2xx.
        """
        try:
            with self._client.stream("POST", self._url, content=content, headers=dict(headers)) as reply:
                body = _body(reply)
                if not reply.is_success:
                    text = f"the server answers http {reply.status_code}{self._text_of(body)}"
                    raise Undelivered(text, reply.status_code)
                return body
        except httpx.ConnectTimeout:
            raise Undelivered(f"no connection within {CONNECT_S:g} s") from None
        except httpx.TimeoutException:
            raise Undelivered(f"no answer within {ANSWER_S:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:  # RuntimeError: closed meanwhile
            text = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
            raise Undelivered(self._plain(text) or type(error).__name__) from None

    def close(self) -> None:
        """Close the connection to the receiver."""
        self._client.close()

    def _text_of(self, body: bytes) -> str:
        text = self._plain(body.decode("utf-8", "replace"))
        return f": {text}" if text else ""

    def _plain(self, text: str) -> str:
        """Return a text of the receiver as one short line, in which the secrets of the request are masked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return one_line(" ".join(text.split()), 160)


def _body(reply: httpx.Response) -> bytes:
    body, until_s = b"", time.monotonic() + WHOLE_S
    for part in reply.iter_raw():
        body += part
        if len(body) >= _MOST_BYTES:
            break
        if time.monotonic() > until_s:
            raise Undelivered(f"the response was incomplete after {WHOLE_S:g} s")
    return body[:_MOST_BYTES]
