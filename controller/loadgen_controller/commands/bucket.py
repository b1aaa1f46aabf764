"""`loadgen runs push`, `pull`, `share`: a run into an S3 bucket, back, and its report for whoever has the address."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.aws.storage.run_sync import Moved, find_in, pull, push
from loadgen.aws.storage.s3 import LONGEST_LINK_S, Bucket
from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.report.html import html
from loadgen.units import NS_PER_S, format_count, format_duration, parse_duration
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands.report import document_in
from loadgen_controller.past_runs.is_running import goes_on
from loadgen_controller.terminal import echo

__all__ = ["PULL", "PUSH", "SHARE", "pull_run", "push_run", "share_run"]

PUSH = "[bold]Examples[/bold]\n\nloadgen runs push last s3://my-bucket/loadgen"
PULL = "[bold]Examples[/bold]\n\nloadgen runs pull 20261124-170312 s3://my-bucket/loadgen"
SHARE = "[bold]Examples[/bold]\n\nloadgen runs share last s3://my-bucket/loadgen --expires 2d"

RunArgument = Annotated[str, typer.Argument(metavar="ID", help="The run, how its name begins, or `last`.")]
UrlArgument = Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="Where in which bucket.")]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Where the run folders are.")]
RUNS = Path("runs")


def push_run(run: RunArgument, url: UrlArgument, runs_dir: RunsDir = RUNS) -> None:
    """Send a run to a bucket. What is there already, the same, is not sent again: begun anew, it goes on.

    Credentials are those that boto3 finds; AWS_ENDPOINT_URL names another endpoint than that of AWS.
    """
    path, bucket = _both(CollectedErrors(), run, url, runs_dir)
    _say(push(path, bucket), "sent to", f"{bucket}{path.name}")


def pull_run(run: RunArgument, url: UrlArgument, runs_dir: RunsDir = RUNS) -> None:
    """Bring a run from a bucket. Each file is held against what was sent, and the folder appears when it is whole."""
    bucket = Bucket(url)
    run_id = find_in(run, bucket)
    _say(pull(run_id, bucket, runs_dir), "brought to", str(runs_dir / run_id))


def share_run(
    run: RunArgument,
    url: UrlArgument,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long the address holds: at most 7d.")] = "7d",
    runs_dir: RunsDir = RUNS,
) -> None:
    """Send a run's report to a bucket and print an address at which everybody who has it can read it, for a time."""
    wrongs = CollectedErrors()
    expires_ns = wrongs.parse("--expires", expires, parse_duration)
    if expires_ns is not None and not NS_PER_S <= expires_ns <= LONGEST_LINK_S * NS_PER_S:
        wrongs.add(f"--expires: S3 has addresses for 1s to 7d, and not for {expires}")
    path, bucket = _both(wrongs, run, url, runs_dir)
    assert expires_ns is not None
    name = f"{path.name}/report.html"
    bucket.put_bytes(name, html(document_in(path)))
    echo(bucket.link(name, expires_ns // NS_PER_S))
    echo(f"whoever has this address can read the report for {format_duration(expires_ns)}", err=True)
    if bucket.has_passing_credentials:
        echo("note: it is signed by credentials that pass, and ends with them", err=True)


def _both(wrongs: CollectedErrors, run: str, url: str, runs_dir: Path) -> tuple[Path, Bucket]:
    """Of a run that is over; raises what else was wrong, too."""
    bucket = wrongs.catch(lambda: Bucket(url))
    path = wrongs.catch(lambda: find_run(run, runs_dir))
    wrongs.check()
    assert path is not None
    assert bucket is not None
    if goes_on(path):
        raise UsageError(f"{path.name} is still going on", hint="wait for its end, or loadgen stop")
    return path, bucket


def _say(moved: Moved, done: str, where: str) -> None:
    size = f"{moved.bytes / 1e6:,.1f} MB"
    there = f", {format_count(moved.files_there)} were there" if moved.files_there else ""
    echo(f"{moved.path.name}: {format_count(moved.files)} files, {size}, {done} {where}{there}")
