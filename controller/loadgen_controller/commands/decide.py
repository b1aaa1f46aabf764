"""`loadgen decide`: recommends GO or NO-GO for a release from measured evidence, or says what is missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import ExitCode
from loadgen.history.store.store import Store
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.history_baselines import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import EnvOption
from loadgen_controller.console_output import echo, echo_json, echo_warning
from loadgen_controller.past_runs.read_run_for_history import who
from loadgen_controller.planning.option_parsing import store_of
from loadgen_controller.screen.terminal_report import Output, print_report

NAME = "decide"
EXAMPLES = """[bold]Examples[/bold]

loadgen decide checkout --release v412

loadgen decide checkout refund --release v412 --store s3://perf/history --format json

loadgen decide checkout --release v412 --programme payments/programme.toml --format markdown

[bold]Exit codes[/bold]

0 GO, 1 NO-GO, 3 INCONCLUSIVE, 4 nothing valid to judge; 2 usage error"""


class Format(StrEnum):
    """Output formats of `loadgen decide`."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def main(
    journeys: Annotated[list[str], typer.Argument(metavar="JOURNEY...", help="The journeys that the release changes.")],
    release: Annotated[
        str,
        typer.Option("--release", metavar="NAME", help="The release: its runs have the label release=NAME."),
    ],
    programme: Annotated[
        Path | None,
        typer.Option(
            "--programme",
            metavar="FILE",
            help="The file with facts about journeys, and thresholds. Default: programme.toml, if there is one.",
        ),
    ] = None,
    store: StoreOption = None,
    env: EnvOption = None,
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Record the recommendation in the history, as D-207.")
    ] = True,
    format_: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TEXT,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> int:
    """Recommend GO, NO-GO or INCONCLUSIVE for a release, with the evidence for each piece, and what is missing.

    It measures nothing. It reads the history, the run folders, and programme.toml. Absence is never a pass: GO needs
    every piece of evidence, fresh and of this release.
    """
    errors = CollectedErrors()
    release = release.strip()
    if not release:
        errors.add("--release: the name of the release is empty", "write --release v412, as in --label release=v412")
    if not all(one.strip() for one in journeys):
        errors.add("the name of a journey is empty", "name it as in the scenario: loadgen decide checkout")
    with needing_analysis("loadgen decide"):
        from loadgen.programme.recommending.assess import assess
        from loadgen.programme.recommending.gather import gather
        from loadgen.programme.recommending.programme_file import FILE_NAME, Programme, read_programme
        from loadgen.programme.recommending.record import record_recommendation
        from loadgen.programme.recommending.shown import as_document, as_report
        from loadgen_controller.past_runs.release_runs import release_runs
    where = store_of(errors, store, env)
    opened = errors.catch(lambda: Store.open(where))
    path = programme if programme is not None else Path(FILE_NAME)
    has_file = programme is not None or path.exists()
    read = errors.catch(lambda: read_programme(path)) if has_file else Programme()
    errors.check()
    assert opened is not None
    assert read is not None
    names = tuple(dict.fromkeys(one.strip() for one in journeys))
    runs, troubles = release_runs(runs_dir, release)
    now = datetime.now(UTC)
    known = gather(opened, release, names, runs, read, troubles)
    found = assess(known, read.rules, now)
    id_ = record_recommendation(opened, found, release, names, who(), now) if record else ""
    if format_ is Format.JSON:
        echo_json(json.dumps(as_document(found, release, names, id_, now.isoformat()), indent=2, ensure_ascii=False))
    elif format_ is Format.MARKDOWN:
        from loadgen.report.exports.markdown import report_lines

        for line in report_lines(as_report(found, release, names, id_, has_table=True)):
            echo(line)
    else:
        print_report(Output(), as_report(found, release, names, id_))
    if not has_file and format_ is Format.TEXT:
        echo_warning(f"there is no {FILE_NAME}: without a forecast, nothing is GO (docs/decide.md)")
    return ExitCode(found.exit_code)
