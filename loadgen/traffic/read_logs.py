"""Reads logs in two passes: lines into rows, then rows into names and sessions.

Pass 1 reads each line once. Its memory is bounded: texts are in caches and in the `PathTree`, and above 128 MiB rows go
to temporary files. Pass 2 reads the rows by user. The order of files and lines makes no difference, unless the paths
exceed the limit of the `PathTree`.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable
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
from loadgen.traffic.model_counts import ModelCounts, ModelRules, count_model
from loadgen.traffic.naming import NameRules, Names, infer_parameters, names_within_budget
from loadgen.traffic.partitions import MEMORY_BYTES, Partitions
from loadgen.traffic.path_table import MOST_PATHS, PathTable
from loadgen.traffic.path_tree import PathTree
from loadgen.traffic.second_pass import NamesAndSessions, SessionFigures, SessionRule, visits_of
from loadgen.traffic.session_arrivals import MOST_MINUTES
from loadgen.traffic.session_sample import SessionSampler
from loadgen.traffic.timestamps import Timestamps
from loadgen.units import format_count, quantity

__all__ = ["LogOptions", "ReadRows", "SessionFigures", "Traffic", "read_logs"]

_LEAST_USERS: Final = 50
_LEAST_MINUTES: Final = 5


@dataclass(frozen=True)
class LogOptions:
    """Options for reading logs. The defaults suit most logs."""

    format: str = ""
    """Name of the format of all files. Empty: each file's first 1,000 lines decide."""
    formats: FormatOptions = field(default_factory=FormatOptions)
    by_user: bool = False
    """Whether the user field of the log, if it has a value, identifies the user, instead of address and user agent."""
    timeout_s: float = 1_800.0
    """A longer silence of a user ends a session."""
    names: NameRules = field(default_factory=NameRules)
    most_rejected: float = 0.01
    """The largest share of rejected lines that is accepted."""
    model: ModelRules | None = None
    """With rules, a third pass over the rows counts the parts of a scenario."""
    memory_bytes: int = MEMORY_BYTES
    """The most bytes of rows that are kept in memory; above it, rows go to temporary files."""
    queries: bool = False
    """Whether the table of paths keeps their queries, for a replay."""


@dataclass(frozen=True)
class Traffic:
    """The contents of logs: counts, names and sessions."""

    files: tuple[str, ...]
    mappings: dict[str, dict[str, str]]
    """For JSON files: by file, the member from which each field was read."""
    accounting: Accounting
    first_us: int
    last_us: int
    """Earliest and latest start of a request, µs since 1970."""
    statuses: dict[int, int]
    minutes_of_hour: int
    """The number of different minutes of the hour in which requests start. If they are few, the log is
    very short, or its times were edited."""
    has_fractions: bool
    """Whether the stamps have fractions of a second."""
    names: Names
    are_names_approximate: bool
    sessions: SessionFigures
    model: ModelCounts | None
    """The counts for a scenario; None without `LogOptions.model`."""
    spooled_bytes: int

    @property
    def no_arrivals(self) -> str:
        """Why the log cannot show when sessions start, as the beginning of a sentence; empty if it can."""
        if self.minutes_of_hour < _LEAST_MINUTES:
            return "the log has rounded or missing times"
        if self.last_us - self.first_us > MOST_MINUTES * 60_000_000:
            return f"the log spans more than {MOST_MINUTES // 1_440} days"
        return ""

    @property
    def has_edited_times(self) -> bool:
        """Whether the times were rounded or edited: requests start in few minutes of the hour, but over a longer time.

        Times between requests, and their order within a minute, then have no meaning.
        """
        return self.minutes_of_hour < _LEAST_MINUTES and self.last_us - self.first_us > _LEAST_MINUTES * 60_000_000

    @property
    def limits(self) -> list[str]:
        """Sentences for the operator about figures that these logs cannot give."""
        found = []
        if self.sessions.users < _LEAST_USERS:
            found.append(
                f"The log has {quantity(self.sessions.users, 'user')}; sessions need at least {_LEAST_USERS}. A proxy "
                "may hide the clients. Use a log with their addresses."
            )
        if self.minutes_of_hour < _LEAST_MINUTES:
            found.append(
                f"Requests start only in {self.minutes_of_hour} of the 60 minutes of an hour: the log is very short, "
                "or its times are rounded or edited. So times between requests are not reliable. A model of arrivals "
                f"needs at least {_LEAST_MINUTES} different minutes: use a log of at least an hour with the "
                "server's own times."
            )
        if self.are_names_approximate:
            found.append(
                "The log has more different paths than loadgen keeps, so it merged paths that may be different "
                "requests. Give templates of the most important paths with --name."
            )
        if self.model is not None and not self.model.are_paths_complete:
            found.append(
                f"The log has more than {MOST_PATHS:,} different paths, so the files of values lack some of them: "
                "which ones depends on the order of the lines. Use a shorter log if rare values matter."
            )
        return found


@dataclass(frozen=True)
class ReadRows:
    """The rows of logs, with their names: the input of a further pass. It is valid only during that pass."""

    partitions: Partitions
    paths: PathTable
    templates: list[str]
    """Sorted."""
    template_of: NDArray[np.int64]
    """Index of the template by number of the path."""
    rule: SessionRule
    traffic: Traffic


def read_logs(
    paths: Iterable[Path],
    options: LogOptions | None = None,
    salt: bytes | None = None,
    further_pass: Callable[[ReadRows], None] | None = None,
) -> Traffic:
    """Read logs and return their traffic.

    paths: files and folders; gzip is unpacked.
    salt: the key of the hashes of users. By default it is random and not kept.
    further_pass: called with the rows before they are deleted, such as `replays.write_sessions`.

    Raises:
        UsageError: a file cannot be read, its format is unknown, no line was taken, or too many lines were rejected.
    """
    options = options or LogOptions()
    files = log_files(paths)
    if not files:
        raise UsageError("no logs were given", hint="name files or folders with logs")
    paths_seen = PathTable(PathTree(options.names.pins), keeps_queries=options.queries)
    with Partitions(options.memory_bytes) as partitions:
        intake = Intake(paths_seen, partitions, salt or secrets.token_bytes(32), options.by_user)
        mappings = {}
        for file in files:
            mapping = _read_file(file, intake, options)
            if mapping:
                mappings[str(file)] = mapping
        intake.flush()
        accounting = intake.accounting
        assert accounting.adds_up
        _check(accounting, options)
        found = _traffic(tuple(map(str, files)), mappings, accounting, paths_seen, partitions, options)
        if further_pass is not None:
            further_pass(found)
        return found.traffic


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
        place, rejected = accounting.examples()[reason][0], accounting.rejected.total()
        raise UsageError(
            f"{format_count(rejected)} of {quantity(accounting.read, 'line')} {'was' if rejected == 1 else 'were'} "
            f"rejected, more than {100 * options.most_rejected:g} %. The most frequent reason "
            f"({quantity(count, 'line')}): {reason}. The first such line is {place.file}:{place.line}: {place.outline}",
            hint="fix the logs, name the format with --format, or accept a larger share with --max-rejects",
        )
    if not accounting.taken:
        raise UsageError(
            f"the logs have no request: {quantity(accounting.read, 'line')}; "
            f"excluded: {format_count(accounting.excluded.total())}, "
            f"rejected: {format_count(accounting.rejected.total())}, "
            f"blank lines and comments: {format_count(accounting.directives)}",
            hint="name files that contain requests",
        )


def _traffic(
    files: tuple[str, ...],
    mappings: dict[str, dict[str, str]],
    accounting: Accounting,
    paths: PathTable,
    partitions: Partitions,
    options: LogOptions,
) -> ReadRows:
    """Make the second pass over the rows, and for a model the third."""
    path_counts = np.zeros(paths.size, np.int64)
    status_counts: Counter[int] = Counter()
    minutes = np.zeros(60, np.int64)
    has_fractions = False
    first_us, last_us = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for rows in partitions:
        path_counts += np.bincount(rows["path"], minlength=paths.size)
        values, counts = np.unique(rows["status"], return_counts=True)
        status_counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        minutes += np.bincount((rows["start"] // 60_000_000) % 60, minlength=60)
        has_fractions = has_fractions or bool((rows["start"] % 1_000_000).any())
        first_us, last_us = min(first_us, int(rows["start"].min())), max(last_us, int(rows["start"].max()))
    place_counts = np.zeros(paths.tree.size, np.int64)
    np.add.at(place_counts, paths.places(), path_counts)
    infer_parameters(paths.tree, place_counts, options.names)
    templates, template_of = _templates(paths)
    rule = SessionRule(round(options.timeout_s * 1e6), first_us, last_us)
    second, sampler = NamesAndSessions(len(templates), rule), SessionSampler()
    for rows in partitions:
        visits = visits_of(rows, template_of, rule)
        second.add(visits)
        if options.model is not None:
            sampler.add(visits)
    names = names_within_budget(templates, second.counts, second.users_of_names, options.names)
    sessions = second.figures(names)
    traffic = Traffic(
        files=files,
        mappings=mappings,
        accounting=accounting,
        first_us=first_us,
        last_us=last_us,
        statuses=dict(sorted(status_counts.items())),
        minutes_of_hour=int(np.count_nonzero(minutes)),
        has_fractions=has_fractions,
        names=names,
        are_names_approximate=paths.tree.is_approximate,
        sessions=sessions,
        model=None
        if options.model is None
        else count_model(
            partitions,
            paths,
            templates,
            template_of,
            names,
            sessions,
            sampler.sample(),
            rule,
            options.names,
            options.model,
        ),
        spooled_bytes=partitions.spooled_bytes,
    )
    return ReadRows(partitions, paths, templates, template_of, rule, traffic)


def _templates(paths: PathTable) -> tuple[list[str], NDArray[np.int64]]:
    """Return all templates, sorted, and for each number of a path the index of its template."""
    tree = paths.tree
    found = list(tree.templates())
    templates = sorted({template for template, _ in found})
    at = {template: index for index, template in enumerate(templates)}
    by_number = np.zeros(tree.size, np.int64)
    for template, number in found:
        by_number[number] = at[template]
    return templates, by_number[paths.places()]
