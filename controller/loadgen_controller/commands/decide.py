"""`loadgen decide`: recommends GO or NO-GO for a release from measured evidence, or lists the missing evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.errors import ExitCode, UsageError
from loadgen.history.store.store import Store
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.programme_toml import FILE_NAME, end_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.history_baselines import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import AsOfOption, EnvOption
from loadgen_controller.commands.slo_parts.publish_options import publish_settings, show_published
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.commands.time_options import parse_as_of
from loadgen_controller.console_output import echo, echo_json, echo_warning
from loadgen_controller.past_runs.read_run_for_history import who
from loadgen_controller.screen.terminal_report import Output, print_report

if TYPE_CHECKING:
    from loadgen_controller.commands.deciding.question import Decided

NAME = "decide"
EXAMPLES = """[bold]Examples[/bold]

loadgen decide checkout --release v412

loadgen decide checkout refund --release v412 --store s3://perf/history --format json

loadgen decide checkout --release v412 --programme payments/programme.toml --format markdown

loadgen decide checkout --release v412 --explain --page launch.html --template review.md

loadgen decide checkout --release v412 --as-of 2026-07-27T06:00Z --format json

loadgen decide checkout --release v412 --publish

loadgen decide --check rollback --release v412 --by maria

loadgen decide --override D-207 --because "the shop closes before the peak" --by maria --until 2026-08-15

loadgen decide --sign D-207 --by maria --role "head of payments"

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
    slos: Annotated[
        list[Path] | None,
        typer.Option("--slos", metavar="FILE|DIR", help="Files of promises. Repeatable. Default: slos, if it exists."),
    ] = None,
    store: StoreOption = None,
    env: EnvOption = None,
    as_of: AsOfOption = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Also write the launch page as HTML.")
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", metavar="FILE", help="Also write a template of the review, filled, as Markdown."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the rule, the figures and the arithmetic of each row.")
    ] = False,
    record: Annotated[
        bool,
        typer.Option(
            "--record/--no-record",
            help="Record the recommendation in the history, as D-207. With --as-of, it is not recorded.",
        ),
    ] = True,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish",
            help="Write the launch page to the place in the table publish of programme.toml, and send the "
            "recommendation to its channels. A step that fails never changes the exit code.",
        ),
    ] = False,
    override: Annotated[
        str | None,
        typer.Option("--override", metavar="D-N", help="Record that you launch in spite of this recommendation."),
    ] = None,
    sign: Annotated[
        str | None, typer.Option("--sign", metavar="D-N", help="Sign this recommendation with its evidence.")
    ] = None,
    check: Annotated[
        str | None, typer.Option("--check", metavar="ITEM", help="Confirm an item of the checklist of a release.")
    ] = None,
    refuse: Annotated[
        str | None, typer.Option("--refuse", metavar="ITEM", help="Refuse an item of the checklist: NO-GO.")
    ] = None,
    because: Annotated[
        str, typer.Option(metavar="TEXT", help="The reason for --override, --check or --refuse; it is recorded.")
    ] = "",
    by: Annotated[
        str, typer.Option("--by", metavar="NAME", help="Who answers. Default: the user of this machine.")
    ] = "",
    role: Annotated[str, typer.Option("--role", metavar="TEXT", help="The role of the person with --sign.")] = "",
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="The last day of --override, such as 2026-08-15.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TEXT,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> int:
    """Recommend GO, NO-GO or INCONCLUSIVE for a release, with evidence, and commands for missing evidence.

    It measures nothing. It reads the history, the ledger, the run folders, files of promises, and programme.toml.
    Absence is never a pass: GO needs every piece of evidence, fresh and of this release.
    """
    with needing_analysis("loadgen decide"):
        from loadgen.programme.launching.settings import Settings, read_settings
        from loadgen_controller.commands.deciding.answers import answer_of, record_answer
        from loadgen_controller.commands.deciding.question import Asked, ask
        from loadgen_controller.commands.slo_parts.files import read_slos

    errors = CollectedErrors()
    release, names = release.strip(), tuple(dict.fromkeys(one.strip() for one in journeys or ()))
    last_day = errors.parse("--until", until, _last_moment)
    actions = {"--override": override, "--sign": sign, "--check": check, "--refuse": refuse}
    others = {"--because": because, "--until": until or "", "--role": role}
    answer = answer_of(errors, actions, names, release, others, last_day)
    if answer is None:
        _check_question(errors, release, names, others)
        errors.check_file("--page", page)
        _check_new(errors, template)
        _check_publish(errors, publish, is_recorded=record and as_of is None)
    elif page is not None or template is not None or explain or publish or slos or as_of is not None:
        options = "--page, --template, --explain, --publish, --slos and --as-of"
        errors.add(
            f"{options}: only for a recommendation", "remove them, or remove --override, --sign, --check and --refuse"
        )
    now = datetime.now(UTC) if as_of is None else errors.parse("--as-of", as_of, parse_as_of)
    where = store_of(errors, store, env)
    opened = errors.catch(lambda: Store.open(where, now if as_of is not None else None))
    path = programme if programme is not None else Path(FILE_NAME)
    has_file = programme is not None or path.exists()
    read = errors.catch(lambda: read_settings(path)) if has_file else Settings()
    chosen = publish_settings(errors, programme) if publish else None
    promises = errors.catch(lambda: read_slos(slos).check()) if slos or _has_promises() else None
    errors.check()
    assert opened is not None
    assert read is not None
    assert now is not None
    if answer is not None:
        record_answer(opened, answer, read, who(by), now)
        return ExitCode.PASSED
    objectives = () if promises is None else promises.objectives
    asked = Asked(release, names, read, objectives, runs_dir, now, as_of is not None)
    place = place_of(where)
    found = ask(opened, place, asked, is_recorded=record and as_of is None)
    if page is not None:
        found.write_page(page)
    if template is not None:
        found.write_template(template)
    _show(found, format_, [file for file in (page, template) if file is not None], explain=explain)
    if not has_file and format_ is Format.TEXT:
        echo_warning(f"there is no {FILE_NAME}: without a forecast, nothing is GO (docs/decide.md)")
    if chosen is not None:
        show_published(found.publish(*chosen, place))
    return ExitCode(found.found.exit_code)


def _show(found: Decided, format_: Format, written: Sequence[Path], *, explain: bool) -> None:
    """Print a recommendation; as text, with the files that were written."""
    if format_ is Format.JSON:
        echo_json(found.json(explain=explain))
    elif format_ is Format.MARKDOWN:
        for line in found.markdown(explain=explain):
            echo(line)
    else:
        print_report(Output(), found.report(explain=explain))
        for file in written:
            echo(f"Written: {file}")


def _has_promises() -> bool:
    folder = Path("slos")
    return folder.is_dir() and any(one.suffix in (".yaml", ".yml") for one in folder.iterdir())


def _check_new(errors: CollectedErrors, path: Path | None) -> None:
    errors.check_file("--template", path)
    if path is not None and path.exists() and not path.is_dir():
        errors.catch(lambda: _refuse(path))


def _check_publish(errors: CollectedErrors, publish: bool, *, is_recorded: bool) -> None:
    if publish and not is_recorded:
        errors.add("--publish: only a recorded recommendation can be published", "leave out --no-record and --as-of")


def _refuse(path: Path) -> None:
    raise UsageError(f"--template: {path} exists, and people may have edited it", hint="name another file")


def _last_moment(text: str) -> datetime:
    try:
        return end_of(date.fromisoformat(text))
    except ValueError:
        raise ValueError(f'invalid date "{text}"; write 2026-08-15') from None


def _check_question(errors: CollectedErrors, release: str, journeys: Sequence[str], others: Mapping[str, str]) -> None:
    if not release:
        errors.add("the name of the release is missing", "write --release v412, as in --label release=v412")
    if not journeys or not all(journeys):
        errors.add("the name of a journey is missing", "name it as in the scenario: loadgen decide checkout")
    if given := [option for option, text in others.items() if text]:
        errors.add(f"{', '.join(given)}: only with --override, --sign, --check or --refuse", "leave them out")
