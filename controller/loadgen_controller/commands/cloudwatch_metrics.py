"""`loadgen runs metrics`: fetches CloudWatch metrics of the target over a run, and stores them in its folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import RunDir, find_run, replace_file
from loadgen.probes.journal import read_journal
from loadgen.probes.recorded import Recorded
from loadgen.probes.shown.metrics_file import NAME, metrics_document
from loadgen.report.report_parts import Table
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.bucket import RUNS, RunArgument, RunsDir
from loadgen_controller.console_output import echo
from loadgen_controller.past_runs.listing import is_running
from loadgen_controller.screen.terminal_report import Output, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadgen.aws.target.scaling_activities import Mark

__all__ = ["METRICS", "NAME", "metrics_of_run", "span_of"]

METRICS = "[bold]Example[/bold]\n\nloadgen runs metrics last cloudwatch.toml"


def metrics_of_run(
    run: RunArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=r"TOML file with a [\[metric]] table for each metric, and [\[scaling]] for each scaled group.",
        ),
    ],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Fetch metrics of the target from CloudWatch for the time of a run, and store them in its folder (metrics.json).

    For groups of EC2 Auto Scaling, and for ECS services, it also fetches what automatic scaling did, from five minutes
    before the load to five minutes after it. Times count from the start of the run. Credentials are those that boto3
    finds. Points that CloudWatch does not have stay empty. Points can be up to three minutes late: repeat the command
    to fetch everything again.
    """
    from loadgen.aws.account.boto_clients import Clients  # slow to import (boto3), so only here
    from loadgen.aws.target.cloudwatch import LATE_S, fetch
    from loadgen.aws.target.metrics_file import read_metrics_file
    from loadgen.aws.target.scaling_activities import fetch_marks

    errors = CollectedErrors()
    path = errors.catch(lambda: find_run(run, runs_dir))
    wanted = errors.catch(lambda: read_metrics_file(file))
    if path is not None and is_running(path):
        errors.add(f"run {path.name} is still going on", "wait until it ends")
    errors.check()
    assert path is not None
    assert wanted is not None
    t0, end = span_of(path)
    clients = Clients()
    measured = fetch(clients, wanted.metrics, t0, end)
    marks = fetch_marks(clients, wanted.scaling, t0, end)
    now = datetime.now(UTC)
    # The file is written again, and the lanes, marks and databases of the run's probes are made from their journals.
    document = metrics_document(
        Recorded(read_journal(path)),
        metrics=[{**msgspec.structs.asdict(one.wanted), "at_s": one.at_s, "values": one.values} for one in measured],
        marks=marks,
        other="cloudwatch",
        end_s=(end - t0).total_seconds(),
        about={"fetched_at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z")},
    )
    replace_file(path / NAME, msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    if measured:
        rows = [_row(one.wanted.name, one.wanted.statistic, one.wanted.unit, one.values) for one in measured]
        columns = ("metric", "statistic", "points", "least", "median", "most")
        print_table(Output(), Table("", columns, tuple(rows), words=2))
    if wanted.scaling:
        print_table(Output(), _table_of_marks(marks))
    echo(f"written to {path / NAME}")
    if any(one.missing for one in measured):
        may_come = (now - end).total_seconds() < LATE_S + max(one.period_s for one in wanted.metrics)
        echo(
            "some points may still arrive: repeat the command in 3 minutes"
            if may_come
            else "CloudWatch never received the missing points"
        )


def span_of(path: Path) -> tuple[datetime, datetime]:
    """Return the start of the run's load (T0) and the end of the run.

    Raises:
        UsageError: the load never started.
    """
    summary: dict[str, Any] = RunDir(path).read_summary()
    try:
        t0 = datetime.fromisoformat(summary["started_at"])
        return t0, t0 + timedelta(seconds=float(summary["duration_s"]))
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"run {path.name} has no start time, because its load never started", hint="choose another run"
        ) from None


def _table_of_marks(marks: Sequence[Mark]) -> Table:
    rows = [(_at(mark), mark.name, mark.title, mark.status, mark.cause) for mark in marks]
    title = f"scaling: {len(marks)} {'activity' if len(marks) == 1 else 'activities'}"
    return Table(title, ("from the start", "group", "what", "status", "why"), tuple(rows), words=5)


def _at(mark: Mark) -> str:
    length = "goes on" if mark.length_s is None else f"{mark.length_s:g} s long"
    return f"{mark.at_s:+.0f} s, {length}"


def _row(name: str, statistic: str, unit: str, values: tuple[float | None, ...]) -> tuple[str, ...]:
    from statistics import median  # slow to import

    there = [value for value in values if value is not None]
    figures = [f"{value:.6g}" for value in (min(there), median(there), max(there))] if there else ["-"] * 3
    return f"{name} ({unit})" if unit else name, statistic, f"{len(there)} of {len(values)}", *figures
