"""Sends requests to a source over HTTP, one after another, repeats those that may succeed later, and obeys waits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from loadgen.outside_text import one_line
from loadgen.programme.sources.asked import NoCounts, Reply

if TYPE_CHECKING:
    from loadgen.backends.fetch import Fetcher

__all__ = ["WAIT_MOST_S", "HttpCalls"]

T = TypeVar("T")

WAIT_MOST_S: Final = 60.0
"""A source that asks for a longer wait is not waited for: its counts are missing, and the next pull reads them."""
_TRIES: Final = 3
_BACKOFF_S: Final = 1.0


@dataclass(slots=True)
class HttpCalls:
    """The requests to one server. They follow one another, so it is never asked twice at the same time.

    url: its base URL. headers: with credentials. secrets: values that no message may contain.
    sleep, draw: for tests. sent: the number of requests. answered: the number of answers that are no errors.

    Raises:
        UsageError: the certificate cannot be used; with the first request.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    ca: Path | None = None
    limit_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    sent: int = 0
    answered: int = 0
    _fetcher: Fetcher | None = None

    @property
    def shown(self) -> str:
        """Return the URL without a user and a password."""
        parts = urlsplit(self.url)
        return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 120)

    def parsed(self, path: str, parse: Callable[[Reply], T | NoCounts]) -> T | NoCounts:
        """Send a request and parse its answer; repeat it if that may help, and wait as long as the server asks.

        path: below the URL, with its query.
        """
        for n in range(_TRIES):
            reply = self.reply(path)
            found: T | NoCounts = reply if isinstance(reply, NoCounts) else parse(reply)
            if not isinstance(found, NoCounts):
                return found
            if not found.may_pass or n == _TRIES - 1:
                return self._masked(found)
            if found.wait_s > WAIT_MOST_S:
                return self._masked(NoCounts(f"{found}, which is longer than {WAIT_MOST_S:g} s"))
            self.sleep(max(found.wait_s, _BACKOFF_S * 2**n * (0.5 + self.draw())))
        raise AssertionError

    def reply(self, path: str) -> Reply | NoCounts:
        """Send a request once."""
        # Here, because httpx takes a tenth of a second to import, and most commands only read the ledger.
        from loadgen.backends.fetch import Ask, Fetcher, NotFetched

        if self._fetcher is None:
            self._fetcher = Fetcher(self.url, self.headers, self.secrets, self.ca, self.limit_s)
        self.sent += 1
        (found,) = self._fetcher.get([Ask(path)])
        if isinstance(found, NotFetched):
            return NoCounts(str(found), may_pass=True)
        self.answered += found.status == 200
        return Reply(found.status, found.body, found.headers)

    def close(self) -> None:
        """Close the connections."""
        if self._fetcher is not None:
            self._fetcher.close()

    def _masked(self, fault: NoCounts) -> NoCounts:
        """Return a fault without the secrets, which an answer may repeat."""
        text = fault.text
        words = {word for secret in self.secrets for word in (secret, *secret.split()[-1:]) if word}
        for word in sorted(words, key=len, reverse=True):
            text = text.replace(word, "***")
        return NoCounts(text, fault.wait_s, fault.may_pass)
