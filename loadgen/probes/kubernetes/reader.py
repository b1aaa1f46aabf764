"""Reads a Kubernetes API server: events as marks, autoscalers and pods as rows. It sends only GET requests.

Events live for an hour on most clusters, so they are read during the run. Their times are those of the cluster. The
server sends its own time only as the whole second of the `Date` header, which bounds the offset to about a second; the
marks have this error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlencode

from loadgen.errors import UsageError
from loadgen.outside_text import one_line
from loadgen.probes.kubernetes.answers import (
    Event,
    Pod,
    autoscalers_of,
    events_of,
    pods_of,
    time_ns,
    why_refused,
)
from loadgen.probes.kubernetes.rows import POD_ROWS, pod_values, row_of, scaler_values
from loadgen.probes.kubernetes.settings import KubernetesTable
from loadgen.probes.reader import Note, NotRead, Reading, ServerTime, Tools
from loadgen.probes.running.http_fetch import Fetched, HttpFetcher
from loadgen.probes.server_clock import ServerClockOffset
from loadgen.probes.spec import ProbeSpec
from loadgen.units import NS_PER_S

__all__ = ["KubernetesReader", "open_reader"]

T = TypeVar("T")

_PAGE: Final = 500
_PAGES_MOST: Final = 10
"""The most answers of one list: 5,000 objects. More are left out, and said."""
_BYTES_MOST: Final = 32 << 20
_SCALERS_MOST: Final = 50
_BEFORE_NS: Final = 120 * NS_PER_S
"""Older events are not marks of the run."""
_AHEAD_NS: Final = 60 * NS_PER_S
"""Later events have an invalid time. The clocks of a cluster may be some seconds ahead of each other."""
_MESSAGE: Final = 200


class KubernetesReader:
    """Reads one namespace of one cluster."""

    def __init__(self, spec: ProbeSpec, tools: Tools) -> None:
        self._table = table = spec.table(KubernetesTable)
        self._clock = tools.clock
        self._base = spec.url.rstrip("/")
        token = tools.secret(table.token.secret) if table.token is not None else ""
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._http = HttpFetcher(
            spec.url, tools.clock, headers, secrets=(token,), permit=tools.permit, most=_BYTES_MOST, ca=table.ca
        )
        self._offset = ServerClockOffset()
        self._since_ns: int | None = None
        self._restarts: dict[tuple[str, str], int] = {}
        """The restarts of each container at the last read, by pod and container."""
        self._server: ServerTime | None = None
        self._next = ""
        """The token of the next page of the list that is being read; "" at its end."""
        self._remarks: dict[str, None] = {}

    async def read(self, limit_s: float) -> Reading:
        """Read pods, autoscalers and events. A missing right is named in a remark, and the rest is read.

        Raises:
            NotRead: nothing could be read.
        """
        begin_ns = self._clock()
        self._since_ns = begin_ns - _BEFORE_NS if self._since_ns is None else self._since_ns
        end_ns = begin_ns + round(limit_s * NS_PER_S)
        space = f"/namespaces/{self._table.namespace}"
        chosen = {"labelSelector": self._table.pods} if self._table.pods else {}
        self._server = None
        refused: list[str] = []
        pods = await self._listed(f"/api/v1{space}/pods", chosen, pods_of, end_ns, refused)
        path = f"/apis/autoscaling/v2{space}/horizontalpodautoscalers"
        scalers = await self._listed(path, {}, autoscalers_of, end_ns, refused)
        events = await self._listed(f"/api/v1{space}/events", {}, events_of, end_ns, refused)
        if len(refused) == 3:
            raise NotRead(refused[0])
        for text in refused:
            self._note(text)
        values = {**pod_values(pods or ()), **scaler_values((scalers or ())[:_SCALERS_MOST])}
        if pods is None:
            values = {series: value for series, value in values.items() if series.row not in POD_ROWS}
        rows = tuple(dict.fromkeys(row_of(series) for series in values))
        notes = (*self._event_marks(events or ()), *self._restart_marks(pods or ()))
        return Reading(begin_ns, self._clock(), rows, values, notes, server=self._server, remarks=tuple(self._remarks))

    async def last(self) -> tuple[Note, ...]:
        """Return nothing: the last read had all events."""
        return ()

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    def _note(self, text: str) -> None:
        """Add a remark to all further readings; each is shown once."""
        self._remarks[text] = None

    # -- within -----------------------------------------------------------------------------------

    async def _listed(
        self,
        path: str,
        given: dict[str, str],
        parse: Callable[[bytes], tuple[tuple[T, ...], str]],
        end_ns: int,
        refused: list[str],
    ) -> tuple[T, ...] | None:
        """Return all objects of a list; None if the account may not read it, with the reason in `refused`."""
        found: list[T] = []
        what = path.rpartition("/")[2]
        async for fetched in self._pages(path, given, end_ns):
            if fetched.status != 200:
                why = self._http.masked(why_refused(fetched.body), 200)
                refused.append(
                    f"the cluster returned http {fetched.status} for {what}{f': {why}' if why else ''};"
                    f" the account needs the verb list for {what} of namespace {self._table.namespace}"
                )
                return None
            objects, self._next = parse(fetched.body)
            found += objects
        if self._next:  # of the last page that may be read
            self._note(f"only the first {_PAGE * _PAGES_MOST:,} {what} are read")
        return tuple(found)

    async def _pages(self, path: str, given: dict[str, str], end_ns: int) -> AsyncIterator[Fetched]:
        self._next = ""
        for _ in range(_PAGES_MOST):
            left_s = (end_ns - self._clock()) / NS_PER_S
            if left_s <= 0:
                raise NotRead("no complete answer in time")
            query = urlencode({**given, "limit": str(_PAGE), **({"continue": self._next} if self._next else {})})
            fetched = await self._http.fetch(f"{self._base}{path}?{query}", left_s, fine=(200, 401, 403, 404))
            self._see_date(fetched)
            yield fetched
            if not self._next:
                return

    def _see_date(self, fetched: Fetched) -> None:
        try:
            at = parsedate_to_datetime(fetched.date)
        except (TypeError, ValueError, OverflowError):
            return
        self._server = ServerTime(fetched.sent_ns, fetched.received_ns, round(at.timestamp()) * NS_PER_S, NS_PER_S)
        self._offset.add(self._server)

    def _mark(self, at: str, text: str, about: str, key: str) -> Note | None:
        """Return a mark at a time of the cluster; None if it is too old, in the future, or unknown."""
        read = time_ns(at)
        if read is None:
            return None
        unix_ns, resolution_ns = read
        placed = self._offset.probe_time(unix_ns + resolution_ns // 2)
        if placed is None:
            return None
        at_ns, error_ns = placed
        if self._since_ns is not None and not self._since_ns <= at_ns <= self._clock() + _AHEAD_NS:
            return None
        body = {"text": text, "about": about, "key": key, "error_ns": error_ns + resolution_ns // 2}
        return Note(at_ns, "mark", body)

    def _event_marks(self, events: Iterable[Event]) -> list[Note]:
        marks = []
        for event in events:
            about = f"{event.involvedObject.kind} {event.involvedObject.name}"
            times = f" ({event.times} times)" if event.times > 1 else ""
            text = one_line(f"{about}: {event.reason}: {' '.join(event.message.split())}", _MESSAGE) + times
            key = f"{event.metadata.uid} {event.times}"
            if (mark := self._mark(event.at, text, about, key)) is not None:
                marks.append(mark)
        return marks

    def _restart_marks(self, pods: Iterable[Pod]) -> list[Note]:
        """Return a mark for each container that has restarted since the last read."""
        marks = []
        for pod in pods:
            for one in pod.containers:
                key = pod.metadata.uid or pod.metadata.name, one.name
                before = self._restarts.get(key)
                self._restarts[key] = one.restartCount
                if before is None or one.restartCount <= before:
                    continue
                ended = one.lastState.terminated
                why = f": {ended.reason}, exit code {ended.exitCode}" if ended is not None else ""
                about = f"Pod {pod.metadata.name}"
                text = one_line(f"{about}: container {one.name} restarted{why}", _MESSAGE)
                at = ended.finishedAt if ended is not None and ended.finishedAt else ""
                mark = self._mark(at, text, about, f"{key[0]} {one.name} {one.restartCount}")
                if mark is None:  # without a time, the time of this read
                    mark = Note(self._clock(), "mark", {"text": text, "about": about})
                marks.append(mark)
        return marks


def open_reader(spec: ProbeSpec, tools: Tools) -> KubernetesReader:
    """Return the reader of a cluster.

    Raises:
        UsageError: the certificate of the cluster cannot be read.
    """
    ca = spec.table(KubernetesTable).ca
    if ca and not Path(ca).is_file():
        raise UsageError(f"the certificate {ca} cannot be read", hint="give a PEM file as ca")
    return KubernetesReader(spec, tools)
