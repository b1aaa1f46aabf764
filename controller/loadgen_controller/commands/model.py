"""`loadgen model`: reads access logs, and shows the requests and sessions from which a scenario can be made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import ExitCode
from loadgen.traffic.fidelity.of_model import fidelity_of
from loadgen.traffic.filters.exclusions import KINDS
from loadgen.traffic.formats.log_format import FormatOptions
from loadgen.traffic.model_page.facts import PageFacts
from loadgen.traffic.model_page.page import model_page
from loadgen.traffic.read_logs import Traffic, read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.scenario.draft_of_logs import arrivals_of, draft_of
from loadgen.traffic.scenario.scenario_files import PAGE, check_new, files_of, write_files
from loadgen.traffic.scenario.traffic_json import traffic_json
from loadgen.units import format_count, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands import model_check, model_update
from loadgen_controller.commands.default_command import GroupWithDefault
from loadgen_controller.commands.log_options import (
    ByUserOption,
    DayOption,
    ExcludeOption,
    FieldOption,
    FormatOption,
    FromOption,
    JobsOption,
    LeastUsersOption,
    LogsArgument,
    MaxRejectsOption,
    NameOption,
    SessionTimeoutOption,
    StampOption,
    TargetOption,
    TimeAfterOption,
    ToOption,
    check_target,
    command_text,
    log_options,
)
from loadgen_controller.console_output import echo, echo_warning, echo_wrapped
from loadgen_controller.screen.fidelity_table import print_verdict
from loadgen_controller.screen.model_steps import step_lines
from loadgen_controller.screen.terminal_report import Output, print_table
from loadgen_controller.screen.traffic_tables import class_table, content_table, name_table

NAME = "model"
_TOP, _TOP_BESIDE = 20, 8
"""Names in the table; fewer if report.html has more of them."""
_HEADER = re.compile(r"[A-Za-z0-9-]+")
EXAMPLES = """[bold]Examples[/bold]

loadgen model access.log access.log.1.gz

loadgen model logs/2026-11-20/ --format alb

loadgen model access.log -o shop/shop.py --target https://staging.shop.example

loadgen model access.log --stamp end --time-after s --session-timeout 20m --name '/products/{sku}'"""


class _LogsByDefault(GroupWithDefault):
    default = "logs"


app = typer.Typer(cls=_LogsByDefault, rich_markup_mode="rich", epilog=EXAMPLES)


@app.callback()
def _group() -> None:
    """Read access logs, show their contents, and write and update scenarios of their traffic."""


@app.command("logs", epilog=EXAMPLES)
def main(
    logs: LogsArgument,
    log_format: FormatOption = "",
    stamp: StampOption = "start",
    time_after: TimeAfterOption = "",
    field: FieldOption = None,
    day: DayOption = "",
    begin: FromOption = "",
    end: ToOption = "",
    by_user: ByUserOption = False,
    session_timeout: SessionTimeoutOption = "30m",
    name: NameOption = None,
    max_names: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help='Keep at most this many names of requests; all others get the name "other".'
        ),
    ] = 200,
    least_users: LeastUsersOption = 5,
    exclude: ExcludeOption = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help=f"Do not exclude this kind of requests: {', '.join(KINDS)}. Repeatable."),
    ] = None,
    max_rejects: MaxRejectsOption = "1%",
    jobs: JobsOption = 0,
    top: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"Show at most this many names. Default: {_TOP}; with -o {_TOP_BESIDE}."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.py", help="Write a scenario of this traffic, in a new folder."),
    ] = None,
    target: TargetOption = "http://127.0.0.1:8080",
    session_header: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Request header with a value for each session, so that the target's log shows the sessions.",
        ),
    ] = "User-Agent",
    classes: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=6,
            help="Look for at most this many kinds of sessions; each gets a graph. 1: one simple graph.",
        ),
    ] = 6,
    flat: Annotated[
        bool,
        typer.Option("--flat", help="Make each request a step of its own, even one that follows a page by itself."),
    ] = False,
    first_order: Annotated[
        bool,
        typer.Option(
            "--first-order",
            help="Split no node: each step depends only on the step before it. --classes 1 implies this.",
        ),
    ] = False,
) -> ExitCode:
    """Read access logs and show their contents: lines, time span, statuses, sessions, names of requests.

    With --output it writes a scenario that sends such requests: in the same proportions and order, with the same
    pauses and starts of sessions. Beside it are its data files, traffic.json, and report.html for people.
    `loadgen model update FILE.py LOG...` puts the figures of newer logs into a scenario, and keeps what you changed.

    Requests of crawlers, health checks, static files and CORS preflights are excluded, and counted.

    Formats: combined and CLF, AWS load balancers (alb), cloudfront, s3, json. Each line is counted. Queries and client
    addresses are never shown. Exit code 2: a log cannot be read, or too many lines were rejected. Exit code 3: S3
    did not send all logs; the lines that it sent were used.
    """
    errors = CollectedErrors()
    options = log_options(
        errors,
        log_format=log_format,
        stamp=stamp,
        time_after=time_after,
        fields=field or (),
        period=(day, begin, end),
        jobs=jobs,
        exclude=exclude or (),
        keep=keep or (),
        by_user=by_user,
        session_timeout=session_timeout,
        templates=name or (),
        least_users=least_users,
        max_rejects=max_rejects,
    )
    if output is not None:
        errors.catch(lambda: check_new(output))
    check_target(errors, target)
    if not _HEADER.fullmatch(session_header):
        errors.add(f'--session-header: invalid name "{session_header}"', "write a name such as X-Session")
    errors.check()
    options = replace(
        options,
        names=replace(options.names, most_names=max_names),
        model=None
        if output is None
        else ModelRules(classes, has_actions=not flat, has_splits=not first_order and classes > 1),
    )
    traffic = read_logs(logs, options)
    _print(traffic, options, top or (_TOP if output is None else _TOP_BESIDE))
    _warn_of_unused(options.formats, traffic.accounting.taken_by_format)
    _warn_of_durations(options.formats, traffic)
    if output is not None:
        _write(traffic, options, output, target, session_header, logs)
    return ExitCode.INCOMPLETE if traffic.accounting.gaps else ExitCode.PASSED


def _write(
    traffic: Traffic, options: LogOptions, output: Path, target: str, session_header: str, logs: list[str]
) -> None:
    from importlib.metadata import version  # slow to import

    arrivals = arrivals_of(traffic)
    draft = draft_of(traffic, arrivals, target=target, command=command_text("model", logs, output))
    draft = replace(draft, session_header=session_header)
    assert traffic.model is not None
    echo("")
    for line in step_lines(traffic, draft, arrivals):
        echo_wrapped(line, indent=10)
    echo("")
    print_table(Output(), class_table(traffic.model, draft), cut=1)
    fidelity = fidelity_of(traffic, draft, options)
    echo("")
    print_verdict(fidelity.verdict, brief=True)
    facts = fidelity.added_to(traffic_json(traffic, arrivals, draft, options))
    page = model_page(
        PageFacts(traffic, arrivals, draft, options, facts, version("loadgen"), output.name, fidelity.verdict)
    )
    rejects = traffic.accounting.rejects_jsonl()
    write_files(files_of(draft, output, facts, page, rejects))
    others = ["traffic.json", *(["rejects.jsonl"] if rejects else []), PAGE]
    beside = f"{quantity(len(draft.data_files), 'data file')}, {', '.join(others[:-1])} and {others[-1]}"
    echo(f"wrote {output}, {beside}. Next: loadgen check {output}")


def _warn_of_unused(given: FormatOptions, taken: Mapping[str, int]) -> None:
    """Warn of options for a format that no log has, because they changed nothing."""
    options = (
        ("--field", "json", bool(given.mapping)),
        ("--time-after", "combined", bool(given.time_after)),
        ("--stamp end", "combined", given.stamp == "end"),
    )
    for option, name, is_given in options:
        if is_given and not taken.get(name):
            echo_warning(f"{option} was ignored: no log has the format {name}", "leave it out")


def _warn_of_durations(given: FormatOptions, traffic: Traffic) -> None:
    """Warn if lines have no duration where the user says that they have one."""
    taken = traffic.accounting.taken
    missing = taken - traffic.with_duration
    if given.time_after and traffic.accounting.taken_by_format["combined"] == taken and missing:
        echo_warning(
            f"--time-after: {format_count(missing)} of {quantity(taken, 'request')} have no duration after the user "
            "agent, so pauses after these requests include the response",
            "let the server write the duration as the first number after the user agent",
        )


def _print(traffic: Traffic, options: LogOptions, top: int) -> None:
    print_table(Output(), content_table(traffic, by_user=options.by_user), cut=1)
    echo("")
    print_table(Output(), name_table(traffic, top), cut=0)
    _warn_of_limits(traffic, options)


def _warn_of_limits(traffic: Traffic, options: LogOptions) -> None:
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


app.command("check", epilog=model_check.EXAMPLES)(model_check.main)
app.command("update", epilog=model_update.EXAMPLES)(model_update.main)
