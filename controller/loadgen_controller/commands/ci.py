"""`loadgen ci`: what a pipeline shows of a run or a gate, at GitHub and GitLab."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen_controller.console_output import echo

EXAMPLES = """[bold]Examples[/bold]

loadgen ci comment gate.md

loadgen ci comment gate.md --name nightly --pull-request 12

loadgen ci annotate scenarios/checkout.py last"""

app = typer.Typer(
    help="Show a result at a pull request of GitHub or GitLab: one comment, and errors at their lines.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
)


RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Folder of the run folders.")]
RUNS = Path("runs")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen gate checkout.py --markdown gate.md; loadgen ci comment gate.md")
def comment(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Markdown of a gate or of `loadgen report`.")],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the comment; each name has one comment on a pull request.")
    ] = "gate",
    pull_request: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The pull request or merge request. Default: that of the job."),
    ] = None,
) -> None:
    """Write one comment on the pull request of this job, or update the one of an earlier push. At most 8 kB.

    At GitHub the step needs GITHUB_TOKEN and the permission `pull-requests: write`; at GitLab LOADGEN_GITLAB_TOKEN.
    Without them, or without a pull request, a line says why nothing was written, and the exit code is 0.
    """
    from loadgen_controller.ci.comment import body_of, place_in, publish  # imports an HTTP client

    try:
        body = body_of(file.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}", hint="name a file that --markdown wrote") from error
    place = place_in(os.environ, pull_request)
    if isinstance(place, str):
        echo(f"no comment: {place}", err=True)
        return
    try:
        echo(f"comment {publish(place, body)}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:  # also an answer of another shape
        echo(f"warning: no comment: {error}; check the token and its permission to write comments", err=True)


@app.command(epilog="[bold]Example[/bold]\n\nloadgen ci annotate scenarios/checkout.py last")
def annotate(
    scenario: Annotated[str, typer.Argument(metavar="FILE[:PLAN]", help="The scenario of the run.")],
    run: Annotated[
        str, typer.Argument(metavar="ID", help="The run's id, the beginning of it, its folder, or `last`.")
    ] = "last",
    runs_dir: RunsDir = RUNS,
) -> None:
    """Print an error of GitHub Actions for each broken objective of a run, at its line in the scenario.

    An invalid run judges no objective, so there is one error for the whole file, with the reason.
    """
    from loadgen.dsl.loading.loader import split_plan
    from loadgen.measure.run_folder.rundir import find_run
    from loadgen.outside_text import one_line
    from loadgen.report.summary_reader import read
    from loadgen.report.verdict_words import headline, objective_verdict, shown_result
    from loadgen_controller.ci.annotations import annotation, lines_of_objectives

    file, _ = split_plan(scenario)
    summary = read(find_run(run, runs_dir) / "summary.json")
    broken = [one for one in summary.slos if objective_verdict(one, summary) == "failed"]
    try:
        lines = lines_of_objectives(file.read_text(encoding="utf-8"), [one.objective for one in broken])
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}", hint="name the scenario of the run") from error
    workspace = Path(os.environ.get("GITHUB_WORKSPACE", "."))
    if summary.result == "invalid":
        sys.stdout.write(annotation(str(file), 0, headline(summary), workspace) + "\n")
    but = ", but the run is suspect" if shown_result(summary) == "suspect" else ""
    for one in broken:
        of = " of " + one_line(one.journey) if one.journey else ""
        text = f"{one_line(one.objective)}{of} failed{but}; loadgen failures {summary.run_id} shows more"
        sys.stdout.write(annotation(str(file), lines.get(one.objective, 0), text, workspace) + "\n")
