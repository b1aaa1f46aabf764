"""`loadgen decide`: recommends GO or NO-GO for a release from measured evidence, or says what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
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

loadgen decide --override D-207 --because "the shop closes before the peak" --by maria --until 2026-08-15

loadgen decide --sign D-207 --by maria

[bold]Exit codes[/bold]

0 GO, 1 NO-GO, 3 INCONCLUSIVE, 4 nothing valid to judge; 2 usage error"""


class Format(StrEnum):
    """Output formats of `loadgen decide`."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def main(
    journeys: Annotated[
        list[str] | None, typer.Argument(metavar="JOURNEY...", help="The journeys that the release changes.")
    ] = None,
    release: Annotated[
        str,
        typer.Option("--release", metavar="NAME", help="The release: its runs have the label release=NAME."),
    ] = "",
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
    override: Annotated[
        str | None,
        typer.Option("--override", metavar="D-N", help="Record that you launch in spite of this recommendation."),
    ] = None,
    sign: Annotated[
        str | None, typer.Option("--sign", metavar="D-N", help="Sign this recommendation with its evidence.")
    ] = None,
    because: Annotated[str, typer.Option(metavar="TEXT", help="The reason for --override; it is recorded.")] = "",
    by: Annotated[
        str, typer.Option("--by", metavar="NAME", help="Who overrides or signs. Default: the user of this machine.")
    ] = "",
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="The last day of --override, such as 2026-08-15.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TEXT,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> int:
    """Recommend GO, NO-GO or INCONCLUSIVE for a release, with the evidence for each piece, and what is missing.

    It measures nothing. It reads the history, the run folders, and programme.toml. Absence is never a pass: GO needs
    every piece of evidence, fresh and of this release.
    """
    errors = CollectedErrors()
    release, names = release.strip(), tuple(dict.fromkeys(one.strip() for one in journeys or ()))
    answered = override or sign
    last_day = errors.parse("--until", until, _last_moment)
    if answered is None:
        _check_question(errors, release, names, {"--because": because, "--by": by, "--until": until})
    else:
        _check_answer(errors, override, sign, names, release, {"--because": because, "--until": until})
    with needing_analysis("loadgen decide"):
        from loadgen.programme.recommending import overrides
        from loadgen.programme.recommending.assess import assess
        from loadgen.programme.recommending.gather import gather
        from loadgen.programme.recommending.programme_file import FILE_NAME, Programme, read_programme
        from loadgen.programme.recommending.record import RECOMMENDED, record_recommendation
        from loadgen.programme.recommending.shown import as_document, as_report
        from loadgen_controller.past_runs.release_runs import release_runs
    where = store_of(errors, store, env)
    opened = errors.catch(lambda: Store.open(where))
    if answered is not None:
        errors.check()
        assert opened is not None
        if override is not None:
            assert last_day is not None
            event = overrides.override(opened, override, because, who(by), last_day, datetime.now(UTC))
            echo(f"{override} is overridden by {event.by} until {until}; it stays as it was, and both are shown")
        else:
            event = overrides.sign(opened, answered, who(by), datetime.now(UTC))
            echo(f"{answered} is signed by {event.by} on evidence {event.details['evidence']}")
        return ExitCode.PASSED
    path = programme if programme is not None else Path(FILE_NAME)
    has_file = programme is not None or path.exists()
    read = errors.catch(lambda: read_programme(path)) if has_file else Programme()
    errors.check()
    assert opened is not None
    assert read is not None
    runs, troubles = release_runs(runs_dir, release)
    now = datetime.now(UTC)
    known = gather(opened, release, names, runs, read, troubles)
    found = assess(known, read.rules, now)
    events = opened.events(RECOMMENDED, overrides.OVERRIDDEN, overrides.SIGNED)
    notes = tuple(overrides.notes_about(events, found, release, names, now))
    found = replace(found, evidence=(*found.evidence, *notes))
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


def _last_moment(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(23, 59, 59), UTC)
    except ValueError:
        raise ValueError(f'invalid date "{text}"; write 2026-08-15') from None


def _check_question(
    errors: CollectedErrors, release: str, journeys: Sequence[str], others: Mapping[str, str | None]
) -> None:
    if not release:
        errors.add("the name of the release is missing", "write --release v412, as in --label release=v412")
    if not journeys or not all(journeys):
        errors.add("the name of a journey is missing", "name it as in the scenario: loadgen decide checkout")
    if given := [option for option, text in others.items() if text]:
        errors.add(f"{', '.join(given)}: only with --override or --sign", "leave them out")


def _check_answer(
    errors: CollectedErrors,
    override: str | None,
    sign: str | None,
    journeys: Sequence[str],
    release: str,
    others: Mapping[str, str | None],
) -> None:
    if override is not None and sign is not None:
        errors.add("--override and --sign exclude each other", "give them one after the other")
    if journeys or release:
        errors.add(
            "--override and --sign take no journey and no --release", "the recommendation has them: give only its id"
        )
    if override is not None:
        errors_of = {"--because": 'add --because "..."; it is recorded', "--until": "add --until 2026-08-15"}
        for option, hint in errors_of.items():
            if not (others[option] or "").strip():
                errors.add(f"--override needs {option}", hint)
    elif any(others.values()):
        errors.add("--because and --until: only with --override", "leave them out")
