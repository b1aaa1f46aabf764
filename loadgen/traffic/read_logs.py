"""Reads logs in two passes: lines into rows, then rows into names and sessions.

Pass 1 reads each line once. Its memory is bounded: texts are in caches and in the `PathTree`, and above 128 MiB packed
rows go to a temporary file. Pass 2 reads the rows by user. The order of files and lines and the number of processes
make no difference, unless the paths exceed the limit of the `PathTree`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.traffic.filters.agents import HEALTH
from loadgen.traffic.filters.exclusions import ERRORS, KINDS, REASONS, ExclusionRules
from loadgen.traffic.filters.health_checks import WithoutUsers, periodic_users
from loadgen.traffic.formats.detect import FORMATS
from loadgen.traffic.inputs.find_inputs import find_inputs
from loadgen.traffic.model.model_counts import ModelCounts, count_model
from loadgen.traffic.names.naming import Names, infer_parameters, names_within_budget
from loadgen.traffic.names.path_table import MOST_PATHS, PathTable
from loadgen.traffic.names.path_tree import PathTree
from loadgen.traffic.parallel.first_pass import FirstPass
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.reading.partitions import Partitions
from loadgen.traffic.rows.accounting import Accounting
from loadgen.traffic.rows.row_figures import RowFigures, row_figures
from loadgen.traffic.rows.rows import FORMAT_SHIFT, Rows
from loadgen.traffic.sessions.named_rows import NamedRows
from loadgen.traffic.sessions.second_pass import NamesAndSessions, SessionFigures, SessionRule, visits_of
from loadgen.traffic.sessions.session_arrivals import MOST_MINUTES
from loadgen.traffic.sessions.session_sample import SessionSampler
from loadgen.traffic.sessions.stray_times import StrayTimes, stray_times
from loadgen.units import format_count, quantity

__all__ = ["Traffic", "read_logs"]

_LEAST_USERS: Final = 50
_LEAST_MINUTES: Final = 5
_NO_LIMIT: Final = 1 << 40


@dataclass(frozen=True)
class Traffic:
    """The contents of logs: counts, names and sessions."""

    files: tuple[str, ...]
    mappings: dict[str, dict[str, str]]
    """For JSON files: by file, the member from which each field was read."""
    accounting: Accounting
    exclusions: ExclusionRules
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
    stray: StrayTimes | None = None
    """Requests far away in time from all others."""
    with_duration: int = 0
    """Requests whose duration is known."""
    copies: tuple[tuple[str, ...], ...] = ()
    """Names of inputs that begin with the same lines, so that requests count twice."""

    @property
    def no_arrivals(self) -> str:
        """Why the log cannot show when sessions start, as the beginning of a sentence; empty if it can."""
        if self.has_edited_times:
            return "the log has rounded or missing times"
        if self.minutes_of_hour < _LEAST_MINUTES:
            return f"the log is shorter than {_LEAST_MINUTES} minutes"
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
        found = [
            f"{quantity(len(same), 'input')} begin with the same lines, so they are copies of one log, and its "
            f"requests count {len(same)} times: {', '.join(Path(name).name for name in same)}. Name one of them."
            for same in self.copies
        ]
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
        if self.stray is not None:
            begin, end = self.stray.begin, self.stray.end
            found.append(
                f"{quantity(self.stray.requests, 'request')} {'is' if self.stray.requests == 1 else 'are'} days away "
                f"from all others, the nearest on {self.stray.nearest}: a clock was wrong, or a log of another time is "
                f"among them. Leave such requests out with --from {begin} --to {end}."
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


def read_logs(
    logs: Iterable[str | Path],
    options: LogOptions | None = None,
    salt: bytes | None = None,
    further_pass: Callable[[NamedRows], None] | None = None,
) -> Traffic:
    """Read logs and return their traffic.

    logs: files, folders, patterns, `-` for standard input, and addresses in S3: see `find_inputs`.
    salt: the key of the hashes of users. By default it is random and not kept.
    further_pass: called with the rows before they are deleted, such as `replays.write_sessions`.

    Raises:
        UsageError: an input cannot be read, its format is unknown, too many lines were rejected, no line was taken, or
            all users are shared.
        StorageError: the temporary file cannot be written.
    """
    options = options or LogOptions()
    inputs = find_inputs(map(str, logs), options.period)
    if not inputs:
        raise UsageError("no logs were given", hint="name files or folders with logs")
    paths = PathTable(PathTree(options.names.pins, options.names.found), keeps_queries=options.queries)
    with Partitions(options.memory_bytes) as partitions:
        first = FirstPass(paths, partitions)
        first.read(inputs, options, salt or secrets.token_bytes(32))
        rows = _without_health_checks(partitions, first.accounting, options.exclusions)
        assert first.accounting.adds_up
        _check(first.accounting, options)
        figures = row_figures(rows, paths.size)
        _check_statuses(figures, options)
        named, sessions, sampler = _second_pass(rows, paths, figures, options)
        model = None
        if options.model is not None:
            model = count_model(named, sessions, sampler.sample(), options.model, options.names.least_users)
        if further_pass is not None:
            further_pass(named)
        return Traffic(
            files=tuple(source.name for source in inputs),
            mappings=first.mappings,
            accounting=first.accounting,
            exclusions=options.exclusions,
            first_us=figures.first_us,
            last_us=figures.last_us,
            statuses=figures.by_status,
            minutes_of_hour=figures.minutes_of_hour,
            has_fractions=figures.has_fractions,
            names=named.names,
            are_names_approximate=paths.tree.is_approximate,
            sessions=sessions,
            model=model,
            spooled_bytes=partitions.spooled_bytes,
            stray=stray_times(figures.by_day),
            with_duration=figures.with_duration,
            copies=tuple(tuple(same) for same in first.beginnings.values() if len(same) > 1),
        )


def _without_health_checks(partitions: Partitions, accounting: Accounting, rules: ExclusionRules) -> WithoutUsers:
    """Return the rows without users that send only health checks, and move their lines from taken to excluded."""
    found = [np.zeros(0, np.uint64)]
    if rules.excludes("health"):
        names = list(FORMATS)
        for rows in partitions:
            users = periodic_users(rows)
            if len(users):
                found.append(users)
                formats = rows["flags"][np.isin(rows["user"], users)] >> FORMAT_SHIFT
                accounting.exclude_taken(HEALTH, {name: int(np.sum(formats == n)) for n, name in enumerate(names)})
    return WithoutUsers(partitions, np.sort(np.concatenate(found)))


def _check(accounting: Accounting, options: LogOptions) -> None:
    if accounting.gaps and not accounting.read:
        raise UsageError(
            f"no line could be read. {quantity(len(accounting.gaps), 'object')} could not be read; the first one: "
            f"{min(accounting.gaps).reason}",
            hint="check your permissions: reading needs s3:GetObject, and kms:Decrypt for encrypted logs",
        )
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
        by_rule = accounting.excluded.keys() & set(REASONS)
        by_reason = ", ".join(f"{reason}: {format_count(n)}" for reason, n in sorted(accounting.excluded.items()))
        raise UsageError(
            f"the logs have no request{' of a user' if by_rule else ''}: {quantity(accounting.read, 'line')}; "
            f"excluded: {format_count(accounting.excluded.total())}{f' ({by_reason})' if by_reason else ''}, "
            f"rejected: {format_count(accounting.rejected.total())}, "
            f"blank lines and comments: {format_count(accounting.directives)}",
            hint=_how_to_keep(max(by_rule, key=lambda reason: (accounting.excluded[reason], reason)))
            if by_rule
            else "name files that contain requests",
        )


def _how_to_keep(reason: str) -> str:
    kind = next((kind for kind, one in KINDS.items() if one == reason), "")
    return f"if these requests are the traffic that you want, add --keep {kind}" if kind else "change --exclude"


def _check_statuses(figures: RowFigures, options: LogOptions) -> None:
    if options.model is not None and options.exclusions.excludes(ERRORS) and min(figures.by_status) >= 500:
        raise UsageError(
            f"all requests ({format_count(sum(figures.by_status.values()))}) failed with a 5xx status: users of a "
            "failing service do not behave like users of a working one",
            hint=f"name logs of a time in which the service worked; for a model of this time, add --keep {ERRORS}",
        )


def _second_pass(
    partitions: Iterable[Rows], paths: PathTable, figures: RowFigures, options: LogOptions
) -> tuple[NamedRows, SessionFigures, SessionSampler]:
    """Return the rows with their names, figures of their sessions, and for a model a sample of sessions."""
    place_counts = np.zeros(paths.tree.size, np.int64)
    np.add.at(place_counts, paths.places(), figures.by_path)
    infer_parameters(paths.tree, place_counts, options.names)
    templates, template_of = _templates(paths)
    rule = _session_rule(figures, options)
    second, sampler = NamesAndSessions(len(templates), rule), SessionSampler()
    for rows in partitions:
        visits = visits_of(rows, template_of, rule)
        second.add(visits)
        if options.model is not None:
            sampler.add(visits)
    names = names_within_budget(templates, second.counts, second.users_of_names, options.names)
    return NamedRows(partitions, paths, templates, template_of, names, rule), second.figures(names), sampler


def _session_rule(figures: RowFigures, options: LogOptions) -> SessionRule:
    rules = options.exclusions
    return SessionRule(
        round(options.timeout_s * 1e6),
        figures.first_us,
        figures.last_us,
        keeps_shared=not rules.excludes("shared"),
        # With its static files, a page can need more requests at once than any gateway.
        most_at_once=SessionRule.most_at_once if rules.excludes("statics") else _NO_LIMIT,
    )


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
