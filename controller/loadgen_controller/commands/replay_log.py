"""`loadgen replay-log`: writes a scenario that sends the sessions of access logs again."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from loadgen.traffic.filters.exclusions import KINDS
from loadgen.traffic.names.path_table import MOST_PATHS
from loadgen.traffic.replays.id_files import read_ids
from loadgen.traffic.replays.played_sessions import MOST_SCALE
from loadgen.traffic.replays.session_lines import Timing
from loadgen.traffic.replays.write_replay import SESSIONS, Replay, ReplayOptions, write_replay
from loadgen.traffic.scenario.scenario_files import check_new
from loadgen_controller.collect_option_errors import CollectedErrors
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
from loadgen_controller.console_output import echo, echo_warning
from loadgen_controller.screen.replay_table import replay_table
from loadgen_controller.screen.terminal_report import Output, print_table

NAME = "replay-log"
EXAMPLES = """[bold]Examples[/bold]

loadgen replay-log access.log -o replay/replay.py --target https://staging.shop.example

loadgen replay-log logs/2026-11-20/ -o replay/replay.py --timing clock --speed 2

loadgen replay-log access.log -o replay/replay.py --scale 0.5 --queries

loadgen replay-log access.log -o replay/replay.py --name '/products/{sku}' --map sku=catalogue.csv"""


def main(
    logs: LogsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.py", help="The scenario to write, in a new folder.")
    ],
    timing: Annotated[
        str,
        typer.Option(
            metavar="WHEN",
            help="think: each request waits for the answers before it, and then for the pause of the log. "
            "clock: each request starts at its offset, whatever the target does.",
        ),
    ] = "think",
    scale: Annotated[
        float,
        typer.Option(
            metavar="FACTOR", help="2 plays each session twice, within the same minute; 0.5 leaves out half of them."
        ),
    ] = 1.0,
    speed: Annotated[
        float, typer.Option(metavar="FACTOR", help="2 makes starts and pauses twice as fast as in the log.")
    ] = 1.0,
    writes: Annotated[
        bool,
        typer.Option("--writes", help="Send requests that change data, too, without a body. Default: only reads."),
    ] = False,
    queries: Annotated[
        bool, typer.Option("--queries", help="Keep queries. Values that few users sent are replaced by ranks.")
    ] = False,
    id_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="PARAMETER=FILE.csv",
            help="Replace the n-th most requested value of a parameter by row n of a CSV file. Repeatable.",
        ),
    ] = None,
    target: TargetOption = "http://127.0.0.1:8080",
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
    least_users: LeastUsersOption = 5,
    exclude: ExcludeOption = None,
    max_rejects: MaxRejectsOption = "1%",
    jobs: JobsOption = 0,
) -> None:
    """Write a scenario that sends the sessions of access logs again: same requests, same order, same times.

    Each row of its file is a session, and arrival n sends row n, on any number of agents. Only GET, HEAD and OPTIONS
    are sent, unless --writes is given. Queries are left out, unless --queries is given. Paths and values that fewer
    than --least-users users sent, or that look like secrets or e-mail addresses, are replaced by ranks.

    A log of an outage replays the outage. Exit code 2: a log cannot be read, or no request is left.
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
        keep=tuple(KINDS),
        by_user=by_user,
        session_timeout=session_timeout,
        templates=name or (),
        least_users=least_users,
        max_rejects=max_rejects,
    )
    errors.catch(lambda: check_new(output, (SESSIONS, f"{SESSIONS}.gz")))
    if timing not in ("think", "clock"):
        errors.add(f'--timing: invalid value "{timing}"', "write think or clock")
    for option, factor, most in (("--scale", scale, MOST_SCALE), ("--speed", speed, 1e6)):
        if not (isfinite(factor) and 0 < factor <= most):
            errors.add(f"{option}: {factor:g} must be above 0, and at most {most:,.0f}", f"write {option} 2")
    check_target(errors, target)
    ids = _ids(errors, id_map or [])
    errors.check()
    when: Timing = "clock" if timing == "clock" else "think"
    chosen = ReplayOptions(timing=when, scale=scale, speed=speed, writes=writes, queries=queries, ids=ids)
    replay = write_replay(logs, options, chosen, output=output, target=target, command=command_text(NAME, logs, output))
    print_table(Output(), replay_table(replay, chosen))
    _warn(replay, chosen)
    echo(f"wrote {output} and {replay.file}. Next: loadgen check {output}")


def _ids(errors: CollectedErrors, pairs: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        parameter, mark, file = pair.partition("=")
        if not (parameter and mark and file):
            errors.add(f'--map: invalid value "{pair}"', "write a parameter and a file: --map sku=catalogue.csv")
        elif parameter in found:
            errors.add(f"--map: {parameter} is given twice", "leave one of them out")
        else:
            ids = errors.catch(lambda parameter=parameter, file=file: read_ids(parameter, Path(file)))  # type: ignore[misc]
            found[parameter] = ids or ()
    return found


def _warn(replay: Replay, chosen: ReplayOptions) -> None:
    for text in replay.traffic.limits:
        echo_warning(text)
    if not replay.are_paths_complete:
        echo_warning(
            f"the log has more than {MOST_PATHS:,} different paths and queries, so values of some of them are lost",
            "use a shorter log, or leave out --queries",
        )
    if replay.writes:
        echo_warning(
            f"the replay sends {', '.join(replay.writes)} to the target: they change its data",
            "use a target whose data you can restore",
        )
    if replay.replaced.requests > replay.requests / chosen.scale / 2:
        echo_warning(
            "more than half of the requests have ranks in place of values, so most of them will get the status 404",
            "use --map for ids of the target, or --least-users 1 for traffic without personal data",
        )
