"""Options of commands that read access logs, and the values that they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from loadgen.dsl.plans.argument_validation import url_wrong
from loadgen.traffic.filters.exclusions import ExclusionRules, wrong_kind, wrong_pattern
from loadgen.traffic.formats.detect import FORMATS, check_format
from loadgen.traffic.formats.json_lines import FIELDS, wrong_mapping
from loadgen.traffic.formats.log_format import UNITS, FormatOptions, Stamp
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.rows.period import ALL_TIMES, Period
from loadgen.units import NS_PER_S, parse_duration, parse_ratio
from loadgen.usable_cpus import usable_cpus
from loadgen_controller.collect_option_errors import CollectedErrors

__all__ = [
    "ByUserOption",
    "DayOption",
    "ExcludeOption",
    "FieldOption",
    "FormatOption",
    "FromOption",
    "JobsOption",
    "LeastUsersOption",
    "LogsArgument",
    "MaxRejectsOption",
    "NameOption",
    "SessionTimeoutOption",
    "StampOption",
    "TargetOption",
    "TimeAfterOption",
    "ToOption",
    "check_target",
    "command_text",
    "log_options",
]

_NAMED_LOGS = 3

LogsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="LOG...",
        help="Access logs, plain or packed with gzip or zstd: files, folders, patterns such as 'logs/**/*.gz', "
        "s3://bucket/prefix, or - for standard input.",
    ),
]
DayOption = Annotated[
    str, typer.Option(metavar="DATE", help="Read only requests that start on this day (UTC), such as 2026-11-20.")
]
FromOption = Annotated[
    str,
    typer.Option(
        "--from", metavar="TIME", help="Read only requests that start then or later (UTC), such as 2026-11-20T08:30."
    ),
]
ToOption = Annotated[
    str,
    typer.Option(
        "--to", metavar="TIME", help="Read only requests that start before this time, or until the end of this day."
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN", help="Exclude requests whose path without query matches, such as /internal/*. Repeatable."
    ),
]
JobsOption = Annotated[
    int, typer.Option(metavar="N", min=0, help="Parse with at most this many processes. Default: one for each core.")
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="NAME",
        help=f"Format of all files: {', '.join(sorted(FORMATS))}. Default: the first lines of each file decide.",
    ),
]
StampOption = Annotated[
    str,
    typer.Option(
        metavar="WHEN",
        help="Format combined: the time in a line is the start (Apache) or the end (nginx) of its request. "
        "Write start or end.",
    ),
]
TimeAfterOption = Annotated[
    str,
    typer.Option(
        metavar="UNIT",
        help="Format combined: each line has a duration after the user agent, in this unit: s, ms, us or ns.",
    ),
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="FIELD=MEMBER",
        help="Format json: read a field from this member, such as took=duration_ms:ms. Repeatable. "
        f"Fields: {', '.join(FIELDS)}.",
    ),
]
ByUserOption = Annotated[
    bool,
    typer.Option(
        "--by-user",
        help="Identify a user by the user field of the log, if it has a value, not by address and user agent.",
    ),
]
SessionTimeoutOption = Annotated[
    str, typer.Option(metavar="TIME", help="A session ends when its user sends nothing for longer than this.")
]
NameOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEMPLATE", help="Name requests with this template of a path, such as /products/{sku}. Repeatable."
    ),
]
LeastUsersOption = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Do not show paths and values that fewer users sent: they may contain personal data.",
    ),
]
TargetOption = Annotated[str, typer.Option(metavar="URL", help="Target of the scenario.")]
MaxRejectsOption = Annotated[
    str, typer.Option(metavar="SHARE", help="Fail if a larger share of the lines is rejected.")
]


def log_options(
    errors: CollectedErrors,
    *,
    log_format: str,
    stamp: str,
    time_after: str,
    fields: Sequence[str],
    period: tuple[str, str, str],
    jobs: int,
    exclude: Sequence[str],
    keep: Sequence[str],
    by_user: bool,
    session_timeout: str,
    templates: Sequence[str],
    least_users: int,
    max_rejects: str,
) -> LogOptions:
    """Return the options for reading logs. Invalid values are added to `errors`; callers must then ignore the result.

    period: `--day`, `--from` and `--to`. jobs: 0 for one process for each core.
    """
    errors.catch(lambda: check_format(log_format))
    pairs = [(field, member) for field, _, member in (text.partition("=") for text in fields)]
    for field, member in pairs:
        if wrong := wrong_mapping(field, member):
            errors.add(f"--field: {wrong[0]}", wrong[1])
    if stamp not in ("start", "end"):
        errors.add(f'--stamp: invalid value "{stamp}"', "write start or end")
    if time_after and time_after not in UNITS:
        errors.add(f'--time-after: invalid unit "{time_after}"', f"write one of: {', '.join(UNITS)}")
    for template in templates:
        if not template.startswith("/"):
            errors.add(f'--name: invalid template "{template}"', "write a path such as /products/{sku}")
    for pattern in exclude:
        if wrong := wrong_pattern(pattern):
            errors.add(f"--exclude: {wrong[0]}", wrong[1])
    for kind in keep:
        if wrong := wrong_kind(kind):
            errors.add(f"--keep: {wrong[0]}", wrong[1])
    timeout_ns = errors.parse("--session-timeout", session_timeout, parse_duration)
    share = errors.parse("--max-rejects", max_rejects, _share)
    when: Stamp = "end" if stamp == "end" else "start"
    return LogOptions(
        format=log_format,
        formats=FormatOptions(stamp=when, time_after=time_after, mapping=tuple(pairs)),
        by_user=by_user,
        timeout_s=(timeout_ns or 0) / NS_PER_S,
        names=NameRules(pins=tuple(templates), least_users=least_users),
        exclusions=ExclusionRules(frozenset(keep), tuple(exclude)),
        most_rejected=share or 0.0,
        period=_period(*period, errors),
        jobs=jobs or usable_cpus(),
    )


def _period(day: str, begin: str, end: str, errors: CollectedErrors) -> Period:
    if day and (begin or end):
        errors.add("--day cannot be combined with --from and --to", "leave out --day")
    option = "--day" if day else "--to" if end and not begin else "--from" if begin and not end else "--from and --to"
    found = errors.parse(option, "", lambda _: Period.of(day or begin, day or end))
    return found or ALL_TIMES


def check_target(errors: CollectedErrors, target: str) -> None:
    """Add an error if a scenario cannot have this URL as its target."""
    wrong, hint = url_wrong(target)
    if wrong:
        errors.add(f"--target: invalid URL: {wrong.removeprefix('target: ')}", hint)


def command_text(name: str, logs: Sequence[str], output: Path) -> str:
    """Return the command for the docstring of a scenario, without folders, and with the first logs only."""
    files = " ".join(Path(log).name for log in logs[:_NAMED_LOGS]) + (" ..." if len(logs) > _NAMED_LOGS else "")
    return f"loadgen {name} {files} -o {output.name}"


def _share(text: str) -> float:
    try:
        return parse_ratio(text)
    except ValueError as wrong:
        raise ValueError(f"{str(wrong).partition(';')[0]}; write 5%") from None
