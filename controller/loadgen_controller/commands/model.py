"""`loadgen model`: reads access logs, and shows the requests and sessions from which a scenario can be made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import ExitCode
from loadgen.traffic.draft_of_logs import draft_of
from loadgen.traffic.formats.detect import FORMATS, check_format
from loadgen.traffic.formats.json_lines import FIELDS, wrong_mapping
from loadgen.traffic.formats.log_format import UNITS, FormatOptions, Stamp
from loadgen.traffic.log_options import LogOptions
from loadgen.traffic.naming import NameRules
from loadgen.traffic.parallel.first_pass import cores
from loadgen.traffic.period import ALL_TIMES, Period
from loadgen.traffic.read_logs import Traffic, read_logs
from loadgen.traffic.scenario_files import check_new, files_of, write_files
from loadgen.traffic.session_arrivals import session_arrivals
from loadgen.traffic.traffic_json import traffic_json
from loadgen.units import NS_PER_S, parse_duration, parse_ratio, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo, echo_warning
from loadgen_controller.screen.terminal_report import Output, print_table
from loadgen_controller.screen.traffic_tables import content_table, name_table

NAME = "model"
_NAMED_LOGS = 3
EXAMPLES = """[bold]Examples[/bold]

loadgen model access.log access.log.1.gz

loadgen model logs/2026-11-20/ --format alb

loadgen model access.log -o shop/shop.py --target https://staging.shop.example

loadgen model access.log --stamp end --time-after s --session-timeout 20m --name '/products/{sku}'"""


def main(
    logs: Annotated[
        list[str],
        typer.Argument(
            metavar="LOG...",
            help="Access logs, plain or packed with gzip or zstd: files, folders, patterns such as 'logs/**/*.gz', "
            "s3://bucket/prefix, or - for standard input.",
        ),
    ],
    log_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help=f"Format of all files: {', '.join(sorted(FORMATS))}. Default: the first lines of each file decide.",
        ),
    ] = "",
    stamp: Annotated[
        str,
        typer.Option(
            metavar="WHEN",
            help="Format combined: write end if a line has the time of a request's end (nginx), not start (Apache).",
        ),
    ] = "start",
    time_after: Annotated[
        str,
        typer.Option(
            metavar="UNIT",
            help="Format combined: each line has a duration after the user agent, in this unit: s, ms, us or ns.",
        ),
    ] = "",
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=MEMBER",
            help="Format json: read a field from this member, such as took=duration_ms:ms. Repeatable. "
            f"Fields: {', '.join(FIELDS)}.",
        ),
    ] = None,
    day: Annotated[
        str, typer.Option(metavar="DATE", help="Read only requests that start on this day (UTC), such as 2026-11-20.")
    ] = "",
    begin: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Read only requests that start then or later (UTC), such as 2026-11-20T08:30.",
        ),
    ] = "",
    end: Annotated[
        str,
        typer.Option(
            "--to", metavar="TIME", help="Read only requests that start before this time, or until the end of this day."
        ),
    ] = "",
    by_user: Annotated[
        bool,
        typer.Option(
            "--by-user",
            help="Identify a user by the user field of the log, if it has a value, not by address and user agent.",
        ),
    ] = False,
    session_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="A session ends when its user sends nothing for longer than this.")
    ] = "30m",
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEMPLATE", help="Name requests with this template of a path, such as /products/{sku}. Repeatable."
        ),
    ] = None,
    max_names: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help='Keep at most this many names of requests; all others get the name "other".'
        ),
    ] = 200,
    least_users: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Do not show names that fewer users sent: they may contain personal data."
        ),
    ] = 5,
    max_rejects: Annotated[
        str, typer.Option(metavar="SHARE", help="Fail if a larger share of the lines is rejected.")
    ] = "1%",
    jobs: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Parse with at most this many processes. Default: one for each core."),
    ] = 0,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Show at most this many names.")] = 20,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.py", help="Write a scenario of this traffic, in a new folder."),
    ] = None,
    target: Annotated[str, typer.Option(metavar="URL", help="Target of the scenario.")] = "http://127.0.0.1:8080",
) -> ExitCode:
    """Read access logs and show their contents: lines, time span, statuses, sessions, names of requests.

    With --output it writes a scenario that sends such requests: in the same proportions and order, with the same pauses
    and starts of sessions. Beside it are its data files and traffic.json.

    Formats: combined and CLF, AWS load balancers (alb), cloudfront, s3, json. Each line is counted. Queries and client
    addresses are never shown. Exit code 2: a log cannot be read, or too many lines were rejected. Exit code 3: S3
    did not send all logs; the lines that it sent were used.
    """
    errors = CollectedErrors()
    errors.catch(lambda: check_format(log_format))
    pairs = [(field, member) for field, _, member in (text.partition("=") for text in mapping or ())]
    for field, member in pairs:
        if wrong := wrong_mapping(field, member):
            errors.add(f"--map: {wrong[0]}", wrong[1])
    if stamp not in ("start", "end"):
        errors.add(f'--stamp: invalid value "{stamp}"', "write start or end")
    if time_after and time_after not in UNITS:
        errors.add(f'--time-after: invalid unit "{time_after}"', f"write one of: {', '.join(UNITS)}")
    for template in name or ():
        if not template.startswith("/"):
            errors.add(f'--name: invalid template "{template}"', "write a path such as /products/{sku}")
    timeout_ns = errors.parse("--session-timeout", session_timeout, parse_duration)
    share = errors.parse("--max-rejects", max_rejects, _share)
    period = _period(day, begin, end, errors)
    if output is not None:
        errors.catch(lambda: check_new(output))
    if not target.startswith(("http://", "https://")):
        errors.add(f'--target: invalid URL "{target}"', "write a URL such as https://staging.shop.example")
    errors.check()
    assert timeout_ns is not None
    assert share is not None
    when: Stamp = "end" if stamp == "end" else "start"
    options = LogOptions(
        format=log_format,
        formats=FormatOptions(stamp=when, time_after=time_after, mapping=tuple(pairs)),
        by_user=by_user,
        timeout_s=timeout_ns / NS_PER_S,
        names=NameRules(pins=tuple(name or ()), most_names=max_names, least_users=least_users),
        most_rejected=share,
        model=output is not None,
        period=period,
        jobs=jobs or cores(),
    )
    traffic = read_logs(logs, options)
    _print(traffic, options, top)
    _warn_of_unused(options.formats, traffic.accounting.taken_by_format)
    if output is not None:
        _write(traffic, output, target, logs)
    return ExitCode.INCOMPLETE if traffic.accounting.gaps else ExitCode.PASSED


def _period(day: str, begin: str, end: str, errors: CollectedErrors) -> Period:
    if day and (begin or end):
        errors.add("--day cannot be combined with --from and --to", "leave out --day")
    option = "--day" if day else "--to" if end and not begin else "--from" if begin and not end else "--from and --to"
    found = errors.parse(option, "", lambda _: Period.of(day or begin, day or end))
    return found or ALL_TIMES


def _write(traffic: Traffic, output: Path, target: str, logs: list[str]) -> None:
    arrivals = None if traffic.no_arrivals else session_arrivals(traffic.sessions.starts)
    names = " ".join(Path(log).name for log in logs[:_NAMED_LOGS]) + (" ..." if len(logs) > _NAMED_LOGS else "")
    draft = draft_of(traffic, arrivals, target=target, command=f"loadgen model {names} -o {output.name}")
    rejects = traffic.accounting.rejects_jsonl()
    files = files_of(draft, output, traffic_json(traffic, arrivals, draft), rejects)
    write_files(files)
    others = "traffic.json and rejects.jsonl" if rejects else "traffic.json"
    echo(f"wrote {output}, {quantity(len(draft.data_files), 'data file')}, {others}. Next: loadgen check {output}")


def _share(text: str) -> float:
    try:
        return parse_ratio(text)
    except ValueError as wrong:
        raise ValueError(f"{str(wrong).partition(';')[0]}; write 5%") from None


def _warn_of_unused(given: FormatOptions, taken: Mapping[str, int]) -> None:
    """Warn of options for a format that no log has, because they changed nothing."""
    options = (
        ("--map", "json", bool(given.mapping)),
        ("--time-after", "combined", bool(given.time_after)),
        ("--stamp end", "combined", given.stamp == "end"),
    )
    for option, name, is_given in options:
        if is_given and not taken.get(name):
            echo_warning(f"{option} was ignored: no log has the format {name}", "leave it out")


def _print(traffic: Traffic, options: LogOptions, top: int) -> None:
    print_table(Output(), content_table(traffic, by_user=options.by_user))
    echo("")
    print_table(Output(), name_table(traffic, top))
    for text in traffic.limits:
        echo_warning(text)
    if gaps := sorted(traffic.accounting.gaps):
        echo_warning(
            f"the traffic is incomplete: {quantity(len(gaps), 'object')} could not be read to the end. The first one: "
            f"{gaps[0].reason}",
            "read the logs again when S3 sends all of them; traffic.json lists the objects",
        )
    if traffic.names.rare_names and not traffic.names.kept:
        echo_warning(
            f"no name is shown, because fewer than {options.names.least_users} users sent each of them",
            "show all names with --least-users 1",
        )
