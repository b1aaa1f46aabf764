"""Reads logs and writes the scenario that replays their sessions, with its file of sessions: both, or none.

Why rows are sessions: docs/decisions/102-replay-rows-are-sessions.md.
"""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np

from loadgen.bundle import MAX_BYTES
from loadgen.dsl.executors.recorded_traffic_csv import MAX_TIMES
from loadgen.errors import StorageError, UsageError
from loadgen.profiles.stage import MAX_DURATION_NS
from loadgen.traffic.read_logs import Traffic, read_logs
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.replays.played_sessions import played
from loadgen.traffic.replays.replay_scenario import ReplayText, replay_text
from loadgen.traffic.replays.session_lines import SessionLines, Timing, seconds_text
from loadgen.traffic.replays.session_spool import SessionSpool
from loadgen.traffic.replays.target_counts import TargetCounts
from loadgen.traffic.replays.target_urls import HIDDEN, Replaced, TargetUrls
from loadgen.traffic.rows.rows import HAS_QUERY, METHODS, Rows
from loadgen.traffic.scenario.scenario_files import write_files
from loadgen.traffic.sessions.named_rows import NamedRows
from loadgen.units import NS_PER_S, format_count, quantity

__all__ = ["SESSIONS", "Replay", "ReplayOptions", "write_replay"]

SESSIONS: Final = "data/sessions.jsonl"
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NEVER: Final = frozenset({METHODS[0], "CONNECT", "TRACE"})
"""Methods that are not sent: unknown ones, and those that servers refuse."""
_LEAST_DRAIN_S: Final = 30
_MINUTE_US: Final = 60_000_000
_DAY_NS: Final = 86_400 * NS_PER_S
_MOST_SPAN_NS: Final = MAX_DURATION_NS - 60 * NS_PER_S


@dataclass(frozen=True)
class ReplayOptions:
    """The choices of the user: timing, amount, methods, queries, ids."""

    timing: Timing = "think"
    scale: float = 1.0
    """Mean number of times that each session is played."""
    speed: float = 1.0
    """By how much starts, pauses and offsets are faster than in the log."""
    writes: bool = False
    """Whether requests that change data are sent."""
    queries: bool = False
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of the target, by the parameter whose values they replace."""


@dataclass(frozen=True)
class Replay:
    """The figures of a replay: sent, left out and replaced."""

    traffic: Traffic
    sessions: int
    """Sessions of the log with at least one request that is sent."""
    continued: int
    """Rows that continue a session with very many requests."""
    rows: int
    """Rows of the file, after scaling."""
    requests: int
    """Requests of all rows."""
    left_out: Mapping[str, int]
    """Requests that are not sent, by method."""
    writes: Mapping[str, int]
    """Requests of the log that change data and are sent without a body, by method."""
    with_query: int
    """Requests of the log with a query, among those that are sent."""
    replaced: Replaced
    has_durations: bool
    are_paths_complete: bool
    """Whether the values of all paths and queries were kept; if not, ranks stand for those that were lost."""
    drain_s: int
    file: str


class _Pass:
    """The further pass over the rows: first it counts targets, then it writes sessions to the spool."""

    def __init__(self, spool: SessionSpool, options: ReplayOptions, least_users: int) -> None:
        self._spool, self._options, self._least_users = spool, options, least_users
        self._is_sent = np.array([self._sends(method) for method in METHODS])
        self.left_out: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.with_query = 0
        self.has_durations = False
        self.are_paths_complete = True
        self.sessions = self.continued = 0
        self.replaced: Replaced | None = None

    def _sends(self, method: str) -> bool:
        return method in _READS or (self._options.writes and method not in _NEVER)

    def __call__(self, read: NamedRows) -> None:
        self.are_paths_complete = read.paths.is_complete
        counts = TargetCounts(read)
        for rows in read.partitions:
            self._count(rows)
            counts.add(rows[self._is_sent[rows["method"]]])
        urls = TargetUrls(read, counts, self._least_users, self._options.ids)
        lines = SessionLines(read, urls, self._options.timing)
        for rows in read.partitions:
            sent = rows[self._is_sent[rows["method"]]]
            if len(sent):
                self._spool.add(lines.of(sent))
        self.sessions, self.continued, self.replaced = lines.sessions, lines.continued, urls.replaced()

    def _count(self, rows: Rows) -> None:
        for method, count in enumerate(np.bincount(rows["method"], minlength=len(METHODS)).tolist()):
            name = METHODS[method]
            if count and not self._is_sent[method]:
                self.left_out[name] += count
            elif count and name not in _READS:
                self.writes[name] += count
        sent = rows[self._is_sent[rows["method"]]]
        self.with_query += int(np.count_nonzero(sent["flags"] & HAS_QUERY))
        self.has_durations = self.has_durations or not bool(np.isnan(sent["took"]).all())


def write_replay(
    logs: Iterable[str | Path],
    log_options: LogOptions,
    options: ReplayOptions,
    *,
    output: Path,
    target: str,
    command: str,
) -> Replay:
    """Read logs and write the scenario `output` with its sessions. Nothing is written if anything fails.

    Raises:
        UsageError: the logs cannot be read, no request is left, or the sessions are too many or too large.
        StorageError: a file cannot be written.
    """
    with SessionSpool() as spool:
        further = _Pass(spool, options, log_options.names.least_users)
        try:
            traffic = read_logs(logs, replace(log_options, queries=options.queries), further_pass=further)
            if not further.sessions:
                raise UsageError(
                    f"no request is left: {_by_method(further.left_out)} are not sent",
                    hint="only GET, HEAD and OPTIONS are sent; --writes sends requests that change data, too",
                )
            found = _written(spool, traffic, further, options)
        except OSError as error:
            raise StorageError(
                f"cannot write temporary files: {error.strerror or error}",
                hint="set TMPDIR to a folder with more space",
            ) from error
        text = replay_text(_text(found, options, command=command, target=target))
        write_files({output.parent / found.file: spool.file(Path(found.file).name), output: text})
    return found


def _written(spool: SessionSpool, traffic: Traffic, further: _Pass, options: ReplayOptions) -> Replay:
    """Write the file of sessions into the spool, and return the figures of the replay."""
    begin_us = traffic.first_us // _MINUTE_US * _MINUTE_US
    rows = requests = last_us = end_us = 0
    path = spool.file(Path(SESSIONS).name)
    with path.open("wb") as file:
        for row in played(spool, options.scale, whole_seconds=not traffic.has_fractions):
            file.write(b'{"start":%b,%b}\n' % (seconds_text(row.start_us - begin_us).encode(), row.steps))
            rows += 1
            requests += row.calls
            last_us, end_us = row.start_us, max(end_us, row.start_us + row.lasts_us)
    if not rows:
        raise UsageError(
            f"--scale {options.scale:g} leaves none of the {quantity(further.sessions, 'session')}",
            hint="write a larger scale",
        )
    if rows > MAX_TIMES:
        raise UsageError(
            f"too many sessions: {format_count(rows)}; a scenario replays at most {format_count(MAX_TIMES)}",
            hint="use a shorter log, or a smaller --scale",
        )
    span_ns = (last_us - traffic.first_us) * 1_000 / min(options.speed, 1)
    if span_ns > _MOST_SPAN_NS:
        raise UsageError(
            f"the sessions start within {span_ns / _DAY_NS:,.0f} days, but a load lasts at most 366 days",
            hint="use a shorter log, or a larger --speed if it is below 1",
        )
    assert further.replaced is not None
    return Replay(
        traffic=traffic,
        sessions=further.sessions,
        continued=further.continued,
        rows=rows,
        requests=requests,
        left_out=dict(sorted(further.left_out.items())),
        writes=dict(sorted(further.writes.items())),
        with_query=further.with_query,
        replaced=further.replaced,
        has_durations=further.has_durations,
        are_paths_complete=further.are_paths_complete,
        drain_s=ceil((end_us - last_us) / 1e6 / options.speed) + _LEAST_DRAIN_S,
        file=_small(path),
    )


def _small(path: Path) -> str:
    """Return the name of the file of sessions. A file that is too large for a bundle is packed."""
    if path.stat().st_size <= MAX_BYTES // 2:
        return SESSIONS
    packed = path.with_name(f"{path.name}.gz")
    with path.open("rb") as source, packed.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        shutil.copyfileobj(source, file)
    if packed.stat().st_size > MAX_BYTES // 2:
        size, limit = (n >> 20 for n in (packed.stat().st_size, MAX_BYTES // 2))
        raise UsageError(
            f"the packed file of sessions has {size} MiB; the limit is {limit} MiB",
            hint="use a shorter log, or a smaller --scale",
        )
    return f"{SESSIONS}.gz"


def _text(found: Replay, options: ReplayOptions, *, command: str, target: str) -> ReplayText:
    traffic = found.traffic
    begin, end = (
        datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
        for us in (traffic.first_us, traffic.last_us)
    )
    return ReplayText(
        title=f"Replays access logs, {begin} to {end} UTC: {quantity(found.sessions, 'session')}.",
        notes=tuple(_notes(found, options)),
        command=command,
        target=target,
        file=found.file,
        rows=found.rows,
        timing=options.timing,
        speed=options.speed,
        drain_s=found.drain_s,
    )


def _notes(found: Replay, options: ReplayOptions) -> Iterable[str]:
    counts = f"{quantity(found.rows, 'row')}, {quantity(found.requests, 'request')}"
    yield f"Arrival n sends row n of {found.file} ({counts}), so any number of agents sends the same."
    if options.timing == "think":
        yield "Each request waits for the answers of the requests before it, and then for the pause of the log." + (
            "" if found.has_durations else " The log has no durations, so the pauses include the responses."
        )
    else:
        yield (
            "Each request starts at its offset from the start of its session, also if earlier requests have no answer "
            "yet. So the response time of a session includes its pauses; use those of the requests."
        )
    if options.speed != 1:
        yield f"Starts and pauses are {options.speed:g} times as fast as in the log (SPEED), so the load is higher."
    if options.scale != 1:
        yield f"Scale {options.scale:g}: whole sessions are left out or repeated, further copies within their minute."
    if not found.traffic.has_fractions:
        yield "The log has stamps of whole seconds, so each session starts at random within its second."
    if found.left_out:
        yield f"Left out: {_by_method(found.left_out)}."
    if found.writes:
        yield f"TODO(body): the log has no bodies, so these are sent without: {_by_method(found.writes)}."
    if found.with_query and not options.queries:
        yield f"TODO(query): {quantity(found.with_query, 'request')} had a query, which is left out."
    replaced = found.replaced
    if replaced.requests:
        yield (
            f"TODO(values): in {quantity(replaced.requests, 'request')}, ranks stand for values that few users sent "
            f"or that look private: 17 or name-17 is the 17th most requested value, /{HIDDEN}/17 such a path."
        )
    if replaced.mapped_requests:
        yield f"Ids from the files of --map are in {quantity(replaced.mapped_requests, 'request')}."


def _by_method(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{format_count(count)} {method}" for method, count in sorted(counts.items()))
