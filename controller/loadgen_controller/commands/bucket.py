"""`loadgen runs push`, `pull` and `share`: copies runs to and from an S3 bucket, and shares reports by a link."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.units import NS_PER_S, format_count, format_duration, parse_duration
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo
from loadgen_controller.past_runs.listing import is_running

# What S3 needs is imported by the functions that use it: this module is part of all `loadgen runs` commands.
if TYPE_CHECKING:
    from loadgen.aws.storage.run_sync import Moved
    from loadgen.aws.storage.s3 import Bucket

__all__ = ["PULL", "PUSH", "SHARE", "pull_run", "push_run", "share_run"]

PUSH = "[bold]Examples[/bold]\n\nloadgen runs push last s3://my-bucket/loadgen"
PULL = "[bold]Examples[/bold]\n\nloadgen runs pull 20261124-170312 s3://my-bucket/loadgen"
SHARE = "[bold]Examples[/bold]\n\nloadgen runs share last s3://my-bucket/loadgen --expires 2d"

RunArgument = Annotated[str, typer.Argument(metavar="ID", help="The run's id, the beginning of it, or `last`.")]
UrlArgument = Annotated[
    str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="The bucket, and a prefix for the keys in it.")
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Folder of the run folders.")]
RUNS = Path("runs")


def push_run(run: RunArgument, url: UrlArgument, runs_dir: RunsDir = RUNS) -> None:
    """Upload a run to a bucket. Files that are already there unchanged are skipped, so an interrupted push resumes.

    Credentials are those that boto3 finds; AWS_ENDPOINT_URL chooses another endpoint than that of AWS.
    """
    from loadgen.aws.storage.run_sync import push

    path, bucket = _both(CollectedErrors(), run, url, runs_dir)
    _report(push(path, bucket), "uploaded to", f"{bucket}{path.name}")


def pull_run(run: RunArgument, url: UrlArgument, runs_dir: RunsDir = RUNS) -> None:
    """Download a run from a bucket. Each file is verified, and the run folder appears only when it is complete."""
    from loadgen.aws.storage.run_sync import find_in, pull
    from loadgen.aws.storage.s3 import Bucket

    bucket = Bucket(url)
    run_id = find_in(run, bucket)
    _report(pull(run_id, bucket, runs_dir), "downloaded to", str(runs_dir / run_id))


def share_run(
    run: RunArgument,
    url: UrlArgument,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long the link is valid: at most 7d.")] = "7d",
    runs_dir: RunsDir = RUNS,
) -> None:
    """Upload the report of a run and print a link. Everybody with the link can read the report until it expires."""
    from loadgen.aws.storage.s3 import LONGEST_LINK_S
    from loadgen.report.html import html
    from loadgen_controller.commands.report import document_in

    errors = CollectedErrors()
    expires_ns = errors.parse("--expires", expires, parse_duration)
    if expires_ns is not None and not NS_PER_S <= expires_ns <= LONGEST_LINK_S * NS_PER_S:
        errors.add(f"invalid --expires {expires}: S3 links are valid for 1s to 7d", "for example --expires 2d")
    path, bucket = _both(errors, run, url, runs_dir)
    assert expires_ns is not None
    name = f"{path.name}/report.html"
    # Statements show how a database is built, so they stay here, as attributes of spans do.
    shared = {key: value for key, value in document_in(path).items() if key != "databases"}
    bucket.put_bytes(name, html(shared))
    echo(bucket.link(name, expires_ns // NS_PER_S))
    echo(f"everybody with this link can read the report for {format_duration(expires_ns)}", err=True)
    if bucket.has_temporary_credentials:
        echo("note: the link was signed with temporary credentials, and stops working when they expire", err=True)


def _both(errors: CollectedErrors, run: str, url: str, runs_dir: Path) -> tuple[Path, Bucket]:
    """Return the folder of the finished run `run`, and the bucket at `url`.

    Raises:
        UsageError, ExceptionGroup: all errors found so far, or the run is still going on.
    """
    from loadgen.aws.storage.s3 import Bucket

    bucket = errors.catch(lambda: Bucket(url))
    path = errors.catch(lambda: find_run(run, runs_dir))
    errors.check()
    assert path is not None
    assert bucket is not None
    if is_running(path):
        raise UsageError(
            f"{path.name} is still going on", hint=f"wait until it ends, or end it: loadgen stop {path.name}"
        )
    return path, bucket


def _report(moved: Moved, done: str, where: str) -> None:
    size = f"{moved.bytes / 1e6:,.1f} MB"
    there = f", {format_count(moved.files_there)} were already there" if moved.files_there else ""
    echo(f"{moved.path.name}: {format_count(moved.files)} files, {size}, {done} {where}{there}")
