"""Reads logs in two passes: lines into rows, then rows into names and sessions.

Pass 1 reads each line once. Its memory is bounded: texts are in caches and in the `PathTree`, and rows go to temporary
files from 128 MB on. Pass 2 reads the rows by user. The order of files and lines makes no difference.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.traffic.accounting import Accounting
from loadgen.traffic.formats.detect import SAMPLE_LINES, format_of
from loadgen.traffic.formats.json_lines import JsonLines
from loadgen.traffic.formats.log_format import FormatOptions
from loadgen.traffic.intake import Intake
from loadgen.traffic.log_files import Block, blocks, log_files
from loadgen.traffic.naming import NameRules, Names, infer_parameters, names_within_budget
from loadgen.traffic.partitions import MEMORY_BYTES, Partitions
from loadgen.traffic.path_tree import PathTree
from loadgen.traffic.rows import METHODS, Rows
from loadgen.traffic.sessions import first_of_sessions, latest_ends, shared_users
from loadgen.traffic.timestamps import Timestamps
from loadgen.units import format_count, quantity

__all__ = ["LogOptions", "SessionFigures", "Traffic", "read_logs"]

_OTHER_TIMEOUTS_S: Final = (600, 1_800, 3_600)
_SHARED_REQUESTS, _SHARED_WINDOW_S = 600, 600
"""A user that sends more than 1 request/s for 10 minutes is a gateway or a program."""
_LEAST_USERS: Final = 50
_LEAST_MINUTES: Final = 5


@dataclass(frozen=True)
class LogOptions:
    """How logs are read. The defaults suit most logs."""

    format: str = ""
    """Name of the format of all files. Empty: each file's first 1,000 lines decide."""
    formats: FormatOptions = field(default_factory=FormatOptions)
    by_user: bool = False
    """Whether the log's own user field, if it has a value, is the user, instead of address and agent."""
    timeout_s: float = 1_800.0
    """A silence that is longer ends a session."""
    names: NameRules = field(default_factory=NameRules)
    most_rejected: float = 0.01
    """The largest share of rejected lines that is accepted."""
    memory_bytes: int = MEMORY_BYTES
    """Rows that are kept in memory before they go to temporary files."""


@dataclass(frozen=True)
class SessionFigures:
    """Figures of all sessions. Arrays have one entry a session, sorted by start, then length, then duration."""

    timeout_s: float
    users: int
    starts: NDArray[np.int64]
    """µs since 1970."""
    lengths: NDArray[np.int64]
    """Requests of each session."""
    durations: NDArray[np.int64]
    """From the first start to the last end, in µs."""
    cut: int
    """Sessions that begin or end within the time-out of the log's ends, so that parts of them may be missing."""
    counts_by_timeout: dict[int, int]
    """Sessions for other time-outs in s, which shows how much the time-out matters."""
    first_names: tuple[int, ...]
    """Sessions by the name of their first request: one entry for each kept name, and one for other."""
    shared_users: int
    """Users with more than 1 request/s for 10 minutes."""
    shared_requests: int

    @property
    def count(self) -> int:
        """Number of sessions."""
        return len(self.starts)


@dataclass(frozen=True)
class Traffic:
    """What the logs contain."""

    files: tuple[str, ...]
    mappings: dict[str, dict[str, str]]
    """Of JSON files: which member has which field, by file."""
    accounting: Accounting
    first_us: int
    last_us: int
    """Earliest and latest start of a request, µs since 1970."""
    statuses: dict[int, int]
    minutes_of_hour: int
    """Different minutes of the hour among the starts. Few of them mean that the stamps were edited."""
    names: Names
    are_names_approximate: bool
    sessions: SessionFigures
    spooled_bytes: int

    @property
    def limits(self) -> list[str]:
        """What these logs cannot show, as sentences for the operator."""
        found = []
        if self.sessions.users < _LEAST_USERS:
            found.append(
                f"The log has {quantity(self.sessions.users, 'user')}, and {_LEAST_USERS} are needed for sessions: "
                "a proxy may hide the clients. Use a log that has their addresses."
            )
        if self.minutes_of_hour < _LEAST_MINUTES:
            found.append(
                f"All starts are in {self.minutes_of_hour} of the 60 minutes of the hour, so times between requests "
                f"have no meaning. {_LEAST_MINUTES} different minutes are needed for a model of arrivals: "
                "use a log of at least an hour with the server's own stamps."
            )
        if self.are_names_approximate:
            found.append(
                "The paths are too different to be told apart. Give templates of the most important ones with --name."
            )
        return found


def read_logs(paths: Iterable[Path], options: LogOptions | None = None, salt: bytes | None = None) -> Traffic:
    """Read logs and return their traffic.

    paths: files and folders; gzip is unpacked. salt: for the hashes of users; by default random bytes, which are
    thrown away.

    Raises:
        UsageError: a file cannot be read, its format is unknown, no line was taken, or too many were rejected.
    """
    options = options or LogOptions()
    files = log_files(paths)
    if not files:
        raise UsageError("no logs were given", hint="name files or folders with logs")
    tree = PathTree(options.names.pins)
    with Partitions(options.memory_bytes) as partitions:
        intake = Intake(tree, partitions, salt or secrets.token_bytes(32), options.by_user)
        mappings = {}
        for file in files:
            mapping = _read_file(file, intake, options)
            if mapping:
                mappings[str(file)] = mapping
        intake.flush()
        accounting = intake.accounting
        assert accounting.adds_up
        _check(accounting, options)
        return _traffic(tuple(map(str, files)), mappings, accounting, tree, partitions, options)


def _read_file(path: Path, intake: Intake, options: LogOptions) -> dict[str, str]:
    """Pass the lines of a file to the intake, and return the mapping of a JSON file."""
    source = blocks(path)
    ahead: list[Block] = []
    sample: list[bytes] = []
    while len(sample) < SAMPLE_LINES and (block := next(source, None)) is not None:
        ahead.append(block)
        sample.extend(block.lines[: SAMPLE_LINES - len(sample)])
    if not any(line.strip() for line in sample):
        for block in ahead:
            intake.accounting.read += len(block.lines)
            intake.accounting.directives += len(block.lines)
        return {}
    reader = format_of(str(path), sample, options.formats, Timestamps(), options.format)
    line = 1
    for block in chain(ahead, source):
        intake.take(block, reader, str(path), line)
        line += len(block.lines)
    if isinstance(reader, JsonLines):
        return {name: str(member) for name, member in sorted(reader.mapping.items())}
    return {}


def _check(accounting: Accounting, options: LogOptions) -> None:
    if accounting.rejected_share > options.most_rejected:
        reason, count = max(accounting.rejected.items(), key=lambda item: (item[1], item[0]))
        place = accounting.examples()[reason][0]
        raise UsageError(
            f"{format_count(accounting.rejected.total())} of {format_count(accounting.read)} lines were rejected, more "
            f"than {100 * options.most_rejected:g} %. The most frequent reason ({quantity(count, 'line')}): {reason}. "
            f"First: {place.file}:{place.line}: {place.outline}",
            hint="fix the logs, name the format with --format, or accept a larger share with --max-rejects",
        )
    if not accounting.taken:
        raise UsageError(
            f"the logs have no request: {quantity(accounting.read, 'line')}, "
            f"{format_count(accounting.excluded.total())} excluded, "
            f"{format_count(accounting.rejected.total())} rejected, "
            f"{format_count(accounting.directives)} blank lines and comments",
            hint="name files that contain requests",
        )


def _traffic(
    files: tuple[str, ...],
    mappings: dict[str, dict[str, str]],
    accounting: Accounting,
    tree: PathTree,
    partitions: Partitions,
    options: LogOptions,
) -> Traffic:
    """Make the second pass over the rows."""
    path_counts = np.zeros(tree.size, np.int64)
    status_counts: Counter[int] = Counter()
    minutes = np.zeros(60, np.int64)
    first_us, last_us = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for rows in partitions:
        path_counts += np.bincount(rows["path"], minlength=tree.size)
        values, counts = np.unique(rows["status"], return_counts=True)
        status_counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        minutes += np.bincount((rows["start"] // 60_000_000) % 60, minlength=60)
        first_us, last_us = min(first_us, int(rows["start"].min())), max(last_us, int(rows["start"].max()))
    infer_parameters(tree, path_counts, options.names)
    templates, template_of = _templates(tree)
    second = _SecondPass(template_of, len(templates), options, (first_us, last_us))
    for rows in partitions:
        second.add(rows)
    names = names_within_budget(templates, second.counts, second.users_of_names, options.names)
    return Traffic(
        files=files,
        mappings=mappings,
        accounting=accounting,
        first_us=first_us,
        last_us=last_us,
        statuses=dict(sorted(status_counts.items())),
        minutes_of_hour=int(np.count_nonzero(minutes)),
        names=names,
        are_names_approximate=tree.is_approximate,
        sessions=second.figures(names),
        spooled_bytes=partitions.spooled_bytes,
    )


def _templates(tree: PathTree) -> tuple[list[str], NDArray[np.int64]]:
    """Return all templates, sorted, and for each number of the tree the index of its template."""
    found = list(tree.templates())
    templates = sorted({template for template, _ in found})
    at = {template: index for index, template in enumerate(templates)}
    by_number = np.zeros(tree.size, np.int64)
    for template, number in found:
        by_number[number] = at[template]
    return templates, by_number[tree.numbers()]


class _SecondPass:
    """Collects names and sessions from the partitions."""

    def __init__(
        self, template_of: NDArray[np.int64], templates: int, options: LogOptions, span_us: tuple[int, int]
    ) -> None:
        self._template_of, self._span_us = template_of, span_us
        self._timeout_us = round(options.timeout_s * 1e6)
        self._timeout_s = options.timeout_s
        size = templates * len(METHODS)
        self.counts = np.zeros(size, np.int64)
        self.users_of_names = np.zeros(size, np.int64)
        self._first_counts = np.zeros(size, np.int64)
        self._users = self._cut = self._shared_users = self._shared_requests = 0
        self._by_timeout = dict.fromkeys(_OTHER_TIMEOUTS_S, 0)
        self._starts: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._durations: list[NDArray[np.int64]] = []

    def add(self, rows: Rows) -> None:
        """Add the rows of a partition."""
        name = self._template_of[rows["path"]] * len(METHODS) + rows["method"]
        order = np.lexsort((_tie_breaker(rows, name), rows["start"], rows["user"]))
        rows, name = rows[order], name[order]
        size = len(self.counts)
        self.counts += np.bincount(name, minlength=size)
        user, start = rows["user"].copy(), rows["start"].copy()
        is_new = np.append(True, user[1:] != user[:-1])
        self._users += int(np.count_nonzero(is_new))
        pairs = np.unique((np.cumsum(is_new) - 1) * size + name)
        self.users_of_names += np.bincount(pairs % size, minlength=size)
        self._add_sessions(user, start, rows, name)
        shared = shared_users(user, start, _SHARED_REQUESTS, _SHARED_WINDOW_S * 1_000_000)
        self._shared_users += len(shared)
        self._shared_requests += int(np.count_nonzero(np.isin(user, shared)))

    def _add_sessions(
        self, user: NDArray[np.uint64], start: NDArray[np.int64], rows: Rows, name: NDArray[np.int64]
    ) -> None:
        end = start + np.rint(np.nan_to_num(rows["took"].astype(np.float64)) * 1e6).astype(np.int64)
        latest = latest_ends(user, end)
        for timeout_s in self._by_timeout:
            self._by_timeout[timeout_s] += len(first_of_sessions(user, start, latest, timeout_s * 1_000_000).first)
        cut = first_of_sessions(user, start, latest, self._timeout_us)
        starts = start[cut.first]
        first_us, last_us = self._span_us
        is_cut: NDArray[np.bool_] = (starts - first_us <= self._timeout_us) | (
            last_us - cut.last_end <= self._timeout_us
        )
        self._cut += int(np.count_nonzero(is_cut))
        self._first_counts += np.bincount(name[cut.first], minlength=len(self.counts))
        self._starts.append(starts)
        self._lengths.append(cut.length)
        self._durations.append(cut.last_end - starts)

    def figures(self, names: Names) -> SessionFigures:
        """Return the figures of all partitions."""
        starts, lengths, durations = map(np.concatenate, (self._starts, self._lengths, self._durations))
        order = np.lexsort((durations, lengths, starts))
        first = np.bincount(names.index, weights=self._first_counts, minlength=len(names.kept) + 1)
        return SessionFigures(
            timeout_s=self._timeout_s,
            users=self._users,
            starts=starts[order],
            lengths=lengths[order],
            durations=durations[order],
            cut=self._cut,
            counts_by_timeout=self._by_timeout,
            first_names=tuple(int(count) for count in first),
            shared_users=self._shared_users,
            shared_requests=self._shared_requests,
        )


def _tie_breaker(rows: Rows, name: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a number that orders requests of one user with the same start, the same for any order of lines."""
    high = np.left_shift(name.astype(np.uint64), np.uint64(43))
    middle = np.left_shift(rows["status"].astype(np.uint64), np.uint64(32))
    return np.bitwise_or(np.bitwise_or(high, middle), rows["size"].astype(np.uint64))
