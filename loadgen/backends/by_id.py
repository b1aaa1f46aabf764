"""The loop that all HTTP backends share: it sends look-ups, keeps the backend's limits, and sorts its answers.

answer                                   | consequence
2xx                                      | the backend's own parser
404                                      | the traces are missing; as a web page: the reading ends, the call is unknown
401, 403                                 | the reading ends: the message names the permission
3xx, HTML                                | the reading ends: the URL leads to a login or to a page for people
429, 503 with a time to wait             | a pause as `Retry-After` or `RateLimit` demand, then the same call again
5xx, no answer, a broken answer          | one more try later, then the traces are refused
several of these in a row                | the reading ends
another status, an error within a 200    | the traces are refused, with the backend's text

A reading that ends raises `BackendRefused`; the answers before it were yielded already.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar, Final
from urllib.parse import urlsplit

import msgspec

from loadgen.backends.backend import (
    Answer,
    BackendRefused,
    CallPlan,
    Missing,
    OnProgress,
    Progress,
    Refused,
    no_progress,
)
from loadgen.backends.fetch import Ask, Fetched, Fetcher, NotFetched
from loadgen.errors import UsageError

__all__ = ["Broken", "ByIdBackend", "decoded"]

PATIENCE_S: Final = 300.0
"""Reading ends if the pauses after 429 and 503 add up to more than this without a usable response, s."""
_TRIES: Final = 2
_FAILURES_MOST: Final = 6
"""Reading ends after this number of failed calls in a row."""
_AGAIN_S: Final = 1.0
"""The pause before failed calls are repeated, if no other calls are left, s."""
_LONGEST_S: Final = 60.0
"""The longest pause after a 429 that does not contain a time to wait, s."""
_NO_ROUTE: Final = b"404 page not found"
"""The body that a server written in Go returns for an unknown path."""
_RATE_LIMIT: Final = re.compile(r"(?:^|[;,\s])(?:t|reset)=(\d{1,6})")


class Broken(Exception):
    """A response with status 200 cannot be used. The message is one line and may quote the backend."""


class _Wait(Exception):
    """The backend returned 429, or 503 with a time to wait. seconds: None if a 429 contains no such time."""

    def __init__(self, seconds: float | None, status: int) -> None:
        super().__init__(f"http {status}")
        self.seconds, self.status = seconds, status


class _Unreadable(Exception):
    """A response with status 200 cannot be used. The message contains no secret and no control characters."""


class ByIdBackend(ABC):
    """A backend with one call for one trace, or for a group of them.

    Args:
        keep: names of attributes that are kept besides the usual ones.
        pause, clock: for tests. clock: s, from any origin.
    """

    title: ClassVar[str]
    """The name of the product, for messages."""
    permission: ClassVar[str]
    """The hint after a 401 or 403."""
    needs: ClassVar[str]
    """The product or address that has this API, for the hint after a 404."""
    group_size: ClassVar[int] = 1
    at_once: ClassVar[int] = 4
    """Calls at the same time."""
    per_minute: int | None = None

    def __init__(
        self,
        fetcher: Fetcher,
        keep: Sequence[str] = (),
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fetcher, self.keep = fetcher, tuple(keep)
        self._pause, self._clock = pause, clock
        self._next_s = clock()
        self._has_answered = False

    @abstractmethod
    def ask(self, group: Sequence[str]) -> Ask:
        """Return the request for these traces."""

    @abstractmethod
    def answers(self, group: Sequence[str], got: Fetched) -> Iterator[tuple[str, Answer]]:
        """Yield the answer for each trace of a group, from a response with a status of success.

        Raises:
            Broken, UsageError: the response cannot be used.
        """

    def plan(self, number: int) -> CallPlan:
        return CallPlan(number, -(-number // self.group_size), self.per_minute)

    def close(self) -> None:
        self.fetcher.close()

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        size, done, failures, waited_s = self.group_size, 0, 0, 0.0
        queue = deque((tuple(ids[at : at + size]), 1) for at in range(0, len(ids), size))
        while queue:
            at_once = 1 if self.per_minute else self.at_once
            batch = [queue.popleft() for _ in range(min(len(queue), at_once))]
            if all(tries > 1 for _, tries in batch):
                self._pause(_AGAIN_S)
            self._keep_rate(done, len(ids), on_progress)
            wait: _Wait | None = None
            for (group, tries), got in zip(batch, self.fetcher.get([self.ask(one) for one, _ in batch]), strict=True):
                try:
                    found = self._sorted(group, got)
                except _Wait as error:
                    queue.appendleft((group, tries))
                    wait = error if wait is None or (error.seconds or 0) > (wait.seconds or 0) else wait
                    continue
                except NotFetched as error:
                    failures += 1
                    if failures >= _FAILURES_MOST or (tries == _TRIES and not self._has_answered):
                        raise self._gone(error) from None
                    if tries < _TRIES:
                        queue.append((group, tries + 1))
                        continue
                    found = [(one, Refused(str(error))) for one in group]
                except _Unreadable as error:
                    self._has_answered = True
                    if len(group) > 1:  # one bad trace must not cost the others of its group
                        queue.extend(((one,), 1) for one in group)
                        continue
                    found = [(one, Refused(str(error))) for one in group]
                else:
                    self._has_answered = True
                    failures, waited_s = 0, 0.0
                done += len(group)
                on_progress(Progress(done, len(ids)))
                yield from found
            if wait is not None:
                pause_s = min(_LONGEST_S, max(1.0, waited_s)) if wait.seconds is None else wait.seconds
                waited_s += self._wait(wait, pause_s, waited_s, Progress(done, len(ids)), on_progress)

    def _sorted(self, group: Sequence[str], got: Fetched | NotFetched) -> list[tuple[str, Answer]]:
        """Return the answers for a group.

        Raises:
            NotFetched: there was no usable response; another try may succeed.
            _Wait, _Unreadable: see there.
            BackendRefused: no other call can succeed either.
        """
        if isinstance(got, NotFetched):
            raise got
        status = got.status
        if status in (401, 403):
            raise BackendRefused(f"{self.title} at {self.fetcher.url} answered http {status}", hint=self.permission)
        if 300 <= status < 400:
            raise self._redirected(got)
        seconds = _seconds_to_wait(got.headers)
        if status == 429 or (status == 503 and seconds is not None):
            raise _Wait(seconds, status)
        if status >= 500:
            raise NotFetched(f"{self.title} answered http {status}{self._text_of(got)}")
        if self.is_missing(got):
            return [(one, Missing()) for one in group]
        if got.is_html:
            raise BackendRefused(
                f"{self.title} at {self.fetcher.url} answered with a web page instead of a trace",
                hint="set url to the address of the API; if a proxy in front of the API needs a login, set auth",
            )
        if status >= 300:
            return [(one, Refused(f"http {status}{self._text_of(got)}")) for one in group]
        try:
            return list(self.answers(group, got))
        except Broken as error:
            raise _Unreadable(self.fetcher.plain(str(error))) from None
        except UsageError as error:
            raise _Unreadable(self.fetcher.plain(error.message)) from None

    def is_missing(self, got: Fetched) -> bool:
        """Return whether the response means that the backend does not have these traces.

        Raises:
            BackendRefused: the server does not have the call.
        """
        if got.status != 404:
            return False
        if got.is_html or got.body.strip() == _NO_ROUTE:
            path = urlsplit(self.ask(["0" * 32]).path).path.rpartition("/")[0]
            raise BackendRefused(
                f"{self.title} at {self.fetcher.url} has no {path}",
                hint=f"correct the prefix or the port in url; it must lead to {self.needs}",
            )
        return True

    def _keep_rate(self, done: int, of: int, on_progress: OnProgress) -> None:
        if self.per_minute is None:
            return
        now_s = self._clock()
        if (early_s := self._next_s - now_s) > 0:
            if early_s > 2:
                on_progress(Progress(done, of, f"{self.title} permits {self.per_minute} calls a minute"))
            self._pause(early_s)
        self._next_s = max(self._next_s, now_s) + 60.0 / self.per_minute

    def _wait(self, wait: _Wait, pause_s: float, waited_s: float, at: Progress, on_progress: OnProgress) -> float:
        if waited_s + pause_s > PATIENCE_S:
            raise BackendRefused(
                f"{self.title} answered http {wait.status} for {waited_s:.0f} s; next pause: {pause_s:.0f} s",
                hint="repeat the command later, or read fewer traces with --most; traces that were read are stored",
            )
        on_progress(Progress(at.done, at.of, f"waiting {pause_s:.0f} s: {self.title} answered http {wait.status}"))
        self._pause(pause_s)
        return max(pause_s, 0.1)

    def _redirected(self, got: Fetched) -> BackendRefused:
        host = urlsplit(got.headers.get("location", "")).netloc.rpartition("@")[2]
        to = f" to {self.fetcher.plain(host)}" if host else ""
        return BackendRefused(
            f"{self.title} at {self.fetcher.url} answered http {got.status}: a redirect{to}",
            hint="correct the url; if the redirect leads to a login, set auth. loadgen follows no redirects",
        )

    def _gone(self, error: NotFetched) -> BackendRefused:
        return BackendRefused(
            f"{self.title} at {self.fetcher.url} cannot be read: {error}",
            hint="check the url and the network path to the server; traces that were read are stored",
        )

    def _text_of(self, got: Fetched) -> str:
        text = "" if got.is_html else self.fetcher.plain(got.body[:2000].decode("utf-8", "replace"))
        return f": {text}" if text else ""


def decoded(got: Fetched, of: type[msgspec.Struct]) -> msgspec.Struct:
    """Return the body of a response as a struct.

    Raises:
        Broken: the body is not JSON, or does not match the struct.
    """
    try:
        return msgspec.json.decode(got.body, type=of)
    except msgspec.ValidationError as error:
        raise Broken(f"the response does not have the expected format: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Broken(f"the response is not valid JSON ({len(got.body):,} bytes)") from None


def _seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return the time to wait in s by the headers of a response, at least 0; None if they do not say."""
    for name in ("retry-after", "x-ratelimit-reset", "ratelimit-reset"):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
            return float(text)
        if name == "retry-after" and text:
            try:
                at = parsedate_to_datetime(text)
            except ValueError:
                continue
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            return max(0.0, (at - datetime.now(UTC)).total_seconds())
    found = _RATE_LIMIT.search(headers.get("ratelimit", ""))
    return float(found[1]) if found else None
