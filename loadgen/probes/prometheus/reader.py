"""Reads a Prometheus server: raw samples of selectors with their times, and values of expressions.

A selector is read with `query=X[600s]`, which returns the samples as they were stored. `query_range` would return a
value for each step. Where samples are missing, it carries the last value on for up to 5 minutes, unless the server knew
that the target was away, so a gap can look like a constant. For expressions there is no other way: `step` must be at
least the scrape interval.

Each read fetches what came since the last one, with an overlap, so that a server that was away for a while loses
nothing. After the load, everything is fetched once more, because remote-written samples may come late.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlencode

from loadgen.errors import UsageError
from loadgen.probes.metrics_page.selection import START_TIME
from loadgen.probes.prometheus.answers import Answer, SeriesValues, parse_answer, parse_time, parse_types
from loadgen.probes.prometheus.series_rows import Placed, Query, group_of, place, queries_of, renamed
from loadgen.probes.prometheus.settings import PrometheusTable
from loadgen.probes.reader import Note, NotRead, Reading, ServerTime, TimedValues, Tools
from loadgen.probes.rows import GAUGE_SERIES_MOST, SERIES_MOST, Labels, Row, Series
from loadgen.probes.running.http_fetch import HttpFetcher
from loadgen.probes.spec import ProbeSpec
from loadgen.units import NS_PER_MS, NS_PER_S, parse_duration

__all__ = ["POINTS_MOST", "PrometheusReader", "open_reader"]

BEFORE_NS: Final = 60 * NS_PER_S
"""The time before the probe's first read that is read, too: the server has it, so a baseline takes no time."""
OVERLAP_NS: Final = 30 * NS_PER_S
"""The overlap of a read with the one before it, for samples that came a little late."""
POINTS_MOST: Final = 11_000
"""The most points of a series in one answer of `query_range`, a limit of the server."""
_CHUNK_S: Final = 600
"""The longest range of raw samples in one query."""
_ANSWER_BYTES: Final = 32 << 20
_FASTEST: Final = "topk(3, count_over_time(up[300s]))"
"""The targets that are scraped most often."""
_TYPES_MOST: Final = 200
_INSTANCES_MOST: Final = 30
_AHEAD_NS: Final = 60 * NS_PER_S
"""Samples that are this far ahead of the server's clock are left out: they would stretch the lanes of the page."""

SeriesKey = tuple[str, Labels]
"""The name and the labels of a series."""


class PrometheusReader:
    """Reads one server. It sends only GET requests, one after another."""

    def __init__(self, spec: ProbeSpec, tools: Tools) -> None:
        self._spec, self._clock = spec, tools.clock
        table = spec.table(PrometheusTable)
        secret = tools.secret(spec.auth_secret)
        headers = {"Accept": "application/json"} | ({spec.auth_header: secret} if secret else {})
        if table.tenant:
            headers["X-Scope-OrgID"] = table.tenant
        self._base = spec.url.rstrip("/") + "/api/v1/"
        self._http = HttpFetcher(
            spec.url, tools.clock, headers, secrets=(secret,), permit=tools.permit, most=_ANSWER_BYTES, ca=table.ca
        )
        self._queries = queries_of(spec)
        self._step_s = max(1, round(parse_duration(table.step) / NS_PER_S))
        self._read_ns: int | None = None
        """The time of the last complete read."""
        self._types: dict[str, str] = {}
        self._asked_types: set[str] = set()
        self._placed: dict[tuple[int, SeriesKey], Placed | None] = {}
        self._groups: dict[str, str] = {}
        """The group of each row, by its key."""
        self._counts: dict[int, int] = {}
        """The rows of each query that has a row for each series."""
        self._known: dict[Series, array[int]] = {}
        """The times of the recorded samples of raw series, sorted."""
        self._stepped: dict[Series, dict[int, float]] = {}
        """The last values of expressions by time."""
        self._seen: set[int] = set()
        """The queries that had series."""
        self._is_checked = False
        self._remarks: dict[str, None] = {}

    async def read(self, limit_s: float) -> Reading:
        """Read what came since the last read; at first, also the minute before.

        Raises:
            NotRead: a query has no complete answer. The next read returns its samples.
        """
        now_ns = self._clock()
        since_ns = now_ns - BEFORE_NS if self._read_ns is None else self._read_ns - OVERLAP_NS
        return await self._read(since_ns, limit_s)

    async def late(self, since_ns: int, limit_s: float) -> Reading:
        """Read everything since a minute before `since_ns` again, and return what is new.

        Raises:
            NotRead: a query has no complete answer.
        """
        return await self._read(since_ns - BEFORE_NS, limit_s, is_last=True)

    async def last(self) -> tuple[Note, ...]:
        """Return nothing: the server has only numbers."""
        return ()

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    def _note(self, text: str) -> None:
        """Add a remark to all further readings; each is shown once."""
        self._remarks[text] = None

    # -- within -----------------------------------------------------------------------------------

    async def _read(self, since_ns: int, limit_s: float, *, is_last: bool = False) -> Reading:
        begin_ns = self._clock()
        left = _Limit(self._clock, limit_s)
        server = await self._server_time(left)
        if not self._is_checked:
            await self._check_step(left)
        ahead_ns = server.at_ns - server.sent_ns
        rows: dict[str, Row] = {}
        timed: list[TimedValues] = []
        notes: list[Note] = []
        cached: dict[str, list[Answer]] = {}
        for number, query in enumerate(self._queries):
            if query.text not in cached:
                found = self._answers(query, since_ns + ahead_ns, server.at_ns, left, is_last)
                cached[query.text] = [answer async for answer in found]
            for answer in cached[query.text]:
                for text in answer.warnings:
                    self._note(f"the server gave a partial answer: {text}")
                    body = {"about": "partial answer", "text": text, "key": f"warning {text}"}
                    notes.append(Note(self._clock(), "settings", body))
                if answer.has_histograms:
                    self._note("native histograms are not read")
                await self._learn_types(query, answer, left)
                for one in (_until(each, server.at_ns + _AHEAD_NS) for each in answer.series):
                    placed = self._place(number, query, one)
                    if placed is None:
                        continue
                    rows[placed.row.key] = placed.row
                    if (fresh := self._new(query, placed, one)) is not None:
                        timed.append(fresh)
        timed += await self._starts(since_ns + ahead_ns, server.at_ns, left)
        self._seen.update(number for number, _ in self._placed)
        if not self._placed:
            raise NotRead("the server has no samples of the probe's selectors and expressions")
        if is_last:
            self._name_missing()
        # Only now, because the next read must return what an incomplete one has found.
        self._remember(timed)
        self._read_ns = begin_ns
        return Reading(
            begin_ns, self._clock(), tuple(rows.values()), {}, tuple(notes), tuple(timed), server, tuple(self._remarks)
        )

    async def _server_time(self, left: _Limit) -> ServerTime:
        fetched = await self._http.fetch(self._url("query", {"query": "time()"}), left.seconds())
        at_ns = round(parse_time(fetched.body) * 1_000) * NS_PER_MS
        return ServerTime(fetched.sent_ns, fetched.received_ns, at_ns, NS_PER_MS)

    async def _answers(
        self, query: Query, since_ns: int, until_ns: int, left: _Limit, is_last: bool
    ) -> AsyncIterator[Answer]:
        """Yield the answers of a query for a time of the server's clock, in chunks within the server's limits."""
        if query.is_expression:
            step = self._step_s
            # Of the newest step, samples may still come; after the load there is no later chance.
            end = until_ns // NS_PER_S // step * step - (0 if is_last else step)
            start = since_ns // NS_PER_S // step * step
            while start <= end:
                stop = min(end, start + step * (POINTS_MOST - 1))
                given = {"query": query.text, "start": str(start), "end": str(stop), "step": str(step)}
                yield await self._ask("query_range", given, left)
                start = stop + step
            return
        at_ns = until_ns
        while at_ns > since_ns:
            seconds = min(_CHUNK_S, -(-(at_ns - since_ns) // NS_PER_S))
            given = {"query": f"{query.text}[{seconds}s]", "time": f"{at_ns / NS_PER_S:.3f}"}
            yield await self._ask("query", given, left)
            at_ns -= seconds * NS_PER_S

    async def _ask(self, path: str, given: dict[str, str], left: _Limit) -> Answer:
        seconds = left.seconds()
        url = self._url(path, {**given, "timeout": f"{max(1, int(seconds * 1_000))}ms"})
        # 400 and 422 have a JSON body with the reason.
        fetched = await self._http.fetch(url, seconds, fine=(200, 400, 422, 503))
        try:
            return parse_answer(fetched.body)
        except NotRead as error:
            if fetched.status == 503:
                raise NotRead("the server returned http 503") from None
            raise NotRead(self._http.masked(str(error), 240)) from None

    def _url(self, path: str, given: dict[str, str]) -> str:
        return f"{self._base}{path}?{urlencode(given)}"

    async def _check_step(self, left: _Limit) -> None:
        """Raise the step to the smallest scrape interval, because a smaller step repeats values."""
        if any(query.is_expression for query in self._queries):
            fastest = await self._ask("query", {"query": _FASTEST}, left)
            instances = [dict(one.labels).get("instance", "") for one in fastest.series]
            raw = await self._ask("query", {"query": f"up{_any_of(instances)}[300s]"}, left)
            found = [median(b - a for a, b in pairwise(one.at_ms)) for one in raw.series if len(one.at_ms) > 2]
            interval_s = round(min(found, default=0) / 1_000)
            if interval_s > self._step_s:
                self._note(
                    f"step is {self._step_s} s, but targets are scraped every {interval_s} s: expressions are read with"
                    f" a step of {interval_s} s"
                )
                self._step_s = interval_s
        self._is_checked = True

    async def _learn_types(self, query: Query, answer: Answer, left: _Limit) -> None:
        """Ask for the types of metrics that a selector of the user found. A server without this call is fine."""
        if query.row is not None:
            return
        for name in dict.fromkeys(one.name for one in answer.series):
            if name in self._asked_types or len(self._asked_types) >= _TYPES_MOST:
                continue
            self._asked_types.add(name)
            for metric in dict.fromkeys((name, name.removesuffix("_total"))):
                url = self._url("metadata", {"metric": metric, "limit_per_metric": "1"})
                fetched = await self._http.fetch(url, left.seconds(), fine=(200, 400, 404, 405, 422, 501))
                self._types |= {} if fetched.status != 200 else parse_types(fetched.body)

    def _place(self, number: int, query: Query, one: SeriesValues) -> Placed | None:
        """Return the place of a series, or None beyond the limits."""
        key = number, (one.name, one.labels)
        if key in self._placed:
            return self._placed[key]
        placed = place(query, one, self._types)
        if placed is not None and self._groups.setdefault(placed.row.key, placed.group) != placed.group:
            placed = renamed(placed)
        is_each = query.is_expression or (placed is not None and placed.row.kind == "gauge" and query.row is None)
        if is_each:
            self._counts[number] = self._counts.get(number, 0) + 1
        if len(self._placed) >= SERIES_MOST or self._counts.get(number, 0) > GAUGE_SERIES_MOST:
            self._note(
                f"some series are not recorded: a probe records at most {SERIES_MOST:,} series, and"
                f" {GAUGE_SERIES_MOST} of a named gauge or an expression"
            )
            placed = None
        if len(self._placed) < 10 * SERIES_MOST:
            self._placed[key] = placed
        return placed

    def _new(self, query: Query, placed: Placed, one: SeriesValues) -> TimedValues | None:
        """Return the values that are not recorded yet; of an expression, also those that have changed."""
        if not query.is_expression:
            return self._fresh(placed.series, one, placed.group)
        known = self._stepped.setdefault(placed.series, {})
        fresh = {at: value for at, value in zip(one.at_ms, one.values, strict=True) if known.get(at) != value}
        known |= fresh
        return TimedValues(placed.series, tuple(fresh), tuple(fresh.values()), placed.group) if fresh else None

    def _fresh(self, series: Series, one: SeriesValues, group: str) -> TimedValues | None:
        known = self._known.get(series, ())
        fresh = [n for n, at in enumerate(one.at_ms) if not _has(known, at)]
        times, values = tuple(one.at_ms[n] for n in fresh), tuple(one.values[n] for n in fresh)
        return TimedValues(series, times, values, group) if fresh else None

    def _remember(self, timed: Iterable[TimedValues]) -> None:
        for one in timed:
            known = self._known.setdefault(one.series, array("q"))
            for at in one.at_ms:
                if not known or at > known[-1]:
                    known.append(at)
                elif not _has(known, at):
                    insort(known, at)

    async def _starts(self, since_ns: int, until_ns: int, left: _Limit) -> list[TimedValues]:
        """Return the start times of the processes whose counters a selector of the user found.

        They show a restart after which a counter has risen above its old value.
        """
        instances = {
            dict(placed.series.labels).get("instance", "")
            for (number, _), placed in self._placed.items()
            if placed is not None and self._queries[number].row is None and placed.row.kind in ("counter", "histogram")
        }
        chosen = sorted(instances - {""})[:_INSTANCES_MOST]
        if not chosen:
            return []
        query = Query(f"{START_TIME}{_any_of(chosen)}")
        return [
            found
            async for answer in self._answers(query, since_ns, until_ns, left, is_last=False)
            for one in answer.series
            if (found := self._fresh(Series("", "start", one.name, one.labels), one, group_of(one.labels)))
        ]

    def _name_missing(self) -> None:
        for number, query in enumerate(self._queries):
            if number not in self._seen and (query.row is None or query.is_expression):
                self._note(f"the server never had samples of {query.text[:120]}")


class _Limit:
    """The time that is left for all requests of one read."""

    def __init__(self, clock: Callable[[], int], limit_s: float) -> None:
        self._clock, self._limit_s = clock, limit_s
        self._end_ns = clock() + round(limit_s * NS_PER_S)

    def seconds(self) -> float:
        """Return the seconds that are left.

        Raises:
            NotRead: no time is left.
        """
        left = (self._end_ns - self._clock()) / NS_PER_S
        if left <= 0:
            raise NotRead(f"no complete answer within {self._limit_s:g} s")
        return left


def _until(one: SeriesValues, end_ns: int) -> SeriesValues:
    """Return the series without the samples after a time of the server's clock."""
    count = bisect_right(one.at_ms, end_ns // NS_PER_MS)
    return one if count == len(one.at_ms) else replace(one, at_ms=one.at_ms[:count], values=one.values[:count])


def _any_of(instances: Iterable[str]) -> str:
    """Return the condition of a selector for these instances."""
    return f"{{instance=~{json.dumps('|'.join(map(re.escape, instances)))}}}"


def _has(times: Sequence[int], at: int) -> bool:
    place = bisect_left(times, at)
    return place < len(times) and times[place] == at


def open_reader(spec: ProbeSpec, tools: Tools) -> PrometheusReader:
    """Return the reader of a Prometheus server.

    Raises:
        UsageError: the certificate to trust cannot be read.
    """
    ca = spec.table(PrometheusTable).ca
    if ca and not Path(ca).is_file():
        raise UsageError(f"the certificate {ca} cannot be read", hint="give a PEM file as ca")
    return PrometheusReader(spec, tools)
