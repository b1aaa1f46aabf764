"""`loadgen slo report`: the weekly page as HTML, Markdown, JSON, CSV, PDF, or text on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

import typer

from loadgen.atomic_files import atomic_write
from loadgen.errors import ExitCode, ScenarioError, StorageError, UsageError
from loadgen.history.store.write_once_storage import Place, place_of
from loadgen.outside_text import one_line
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.programme_toml import FILE_NAME, read_programme_toml
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.publishing.publish_file import PublishSettings
from loadgen.similar_names import did_you_mean
from loadgen.units import quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import AsOfOption, EnvOption, StoreOption
from loadgen_controller.commands.slo_parts.files import FilesArgument, read_slos
from loadgen_controller.commands.slo_parts.load_tests import load_tests_said
from loadgen_controller.commands.slo_parts.publish_options import PublishOption, publish_settings, show_published
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.commands.time_options import parse_as_of
from loadgen_controller.console_output import Text, echo, echo_json, echo_stage, echo_warning
from loadgen_controller.screen.terminal_report import Output, print_report, print_table, split_to_width

if TYPE_CHECKING:
    from loadgen.history.store.store import Store
    from loadgen.programme.recommending.programme_file import Programme
    from loadgen.programme.weekly.gather import Gathered
    from loadgen.programme.weekly.page_values import WeeklyPage
    from loadgen.programme.weekly.programme_table import PageSettings
    from loadgen.programme.weekly.rows import FromOthers
    from loadgen.programme.weekly.week_of import Period

__all__ = ["REPORT", "report"]

REPORT = """[bold]Examples[/bold]

loadgen slo report

loadgen slo report --week 2026-W30 -o week.html -o week.json --pdf week.pdf

loadgen slo report --week 2026-W30 --pdf week.pdf --publish

loadgen slo report --quarter 2026-Q3 --team payments --format markdown

loadgen slo report --week 2026-W30 --as-of 2026-07-27T06:00Z --no-record --format json

[bold]Exit codes[/bold]

0 the page was made, whatever it says; 3 there is nothing to report, or --publish is not finished; 2 usage error"""
_SUFFIXES: Final = (".html", ".md", ".json", ".csv")
_KEPT: Final = 1
"""The column of a promise's state. On the terminal, a line below the tables explains the figure in brackets."""
_LEAST_KEPT: Final = 40
"""As many columns of the terminal have room for all its texts: "undecided, 99.93 % (estimate) (99.91 %)"."""


class Format(StrEnum):
    """Output formats of `loadgen slo report` on the terminal."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def report(
    files: FilesArgument = None,
    week: Annotated[
        str | None, typer.Option(metavar="WEEK", help="The ISO week, such as 2026-W30. Default: the last complete one.")
    ] = None,
    quarter: Annotated[
        str | None, typer.Option(metavar="QUARTER", help="A quarter instead of a week, such as 2026-Q3.")
    ] = None,
    as_of: AsOfOption = None,
    team: Annotated[
        str | None, typer.Option(metavar="TEAM", help="Only promises whose label team has this value.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            "--out",
            metavar="FILE",
            help="Write the page: .html, .md, .json or .csv. May be repeated.",
        ),
    ] = None,
    pdf: Annotated[
        Path | None,
        typer.Option(
            "--pdf", metavar="FILE", help="Print the page to a PDF with Chromium; --publish then also publishes it."
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Only promises and attainment: no owner, money, commit or run.")
    ] = False,
    publish: PublishOption = False,
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Record the page in the history, for loadgen evidence.")
    ] = True,
    store: StoreOption = None,
    env: EnvOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print also how each number was computed, with the id of its evidence.")
    ] = False,
    output_format: Annotated[Format, typer.Option("--format", help="Output on the terminal.")] = Format.TEXT,
) -> int:
    """Write the weekly page: which promises were kept, what changed and by which commit, what is open, what it costs.

    It measures nothing. It reads the ledger, the history, and programme.toml. Each number has the id of its evidence.
    The same inputs and the same --as-of give the same bytes.
    """
    errors = CollectedErrors()
    now = datetime.now(UTC) if as_of is None else errors.parse("--as-of", as_of, parse_as_of)
    if week is not None and quarter is not None:
        errors.add("--week and --quarter exclude each other", "give one of them")
    outputs = list(dict.fromkeys(out or ()))
    _check_outputs(errors, outputs, pdf)
    with needing_analysis("loadgen slo report"):
        from loadgen.programme.weekly.build_page import build_page
        from loadgen.programme.weekly.gather import gather
        from loadgen.programme.weekly.week_of import last_complete_week, quarter_of, week_of
    where = store_of(errors, store, env)
    place = errors.catch(lambda: place_of(where))
    read = errors.catch(_programme)
    zone = ZoneInfo("UTC") if read is None else read[0].tz
    period = errors.parse("--week", week, lambda text: week_of(text.strip(), zone))
    period = errors.parse("--quarter", quarter, lambda text: quarter_of(text.strip(), zone)) or period
    if now is not None and week is None and quarter is None:
        period = last_complete_week(int(now.timestamp()), zone)
    if now is not None and period is not None:
        _check_begun(errors, period, now)
    chosen = publish_settings(errors) if publish else None
    reading = errors.catch(lambda: read_slos(files))
    slos = None if reading is None else errors.catch(reading.check)
    objectives = () if slos is None else _of_team(errors, slos.objectives, team)
    errors.check()
    assert now is not None
    assert place is not None
    assert period is not None
    assert read is not None
    if not objectives:
        raise UsageError("the files have no promise", hint="write one with: loadgen slo new checkout")
    settings, programme = read
    if team:
        settings = replace(settings, title=f"{team} · {settings.title}")
    from loadgen.history.store.store import Store  # not with the module, which `slo status` imports as well

    history = Store(place)
    echo_stage("reading the ledger and the history")
    left_out = load_tests_said(objectives, slos.sources if slos else ())
    gathered = gather(
        place,
        objectives,
        period,
        now,
        settings,
        programme,
        is_part=team is not None,
        store=history,
        load_tests=left_out,
        composites=slos.composites if slos else (),
    )
    if as_of is None:
        gathered = replace(gathered, troubles=(*_clock_troubles(place, gathered, now), *gathered.troubles))
    if not any(one.state.judgement is not None for one in gathered.promises) and not gathered.runs:
        why = next((one.state.why for one in gathered.promises if one.state.why), "no counts")
        echo_warning(f"there is nothing to report for {period.name}: no promise has counts then, and no run is stored")
        echo(f"the first promise: {one_line(why, 300)}", err=True)
        return ExitCode.INCOMPLETE
    others = None
    if not public:
        echo_stage("searching for unusual hours")
        every = slos.objectives if slos else ()
        others = _others(place, gathered, every, now, "" if as_of is None else now.isoformat(), team or "", history)
    page = build_page(gathered, others, is_public=public, team=team or "")
    if pdf is not None:
        echo_stage("printing the PDF")
    written = _write(page, outputs, pdf)
    if record:
        _record(place, page)
    _print(page, output_format, written)
    if explain and output_format is Format.TEXT:
        for line in _explained(page):
            echo(line)
    return _publish(page, place, chosen, pdf if pdf in written else None) if chosen is not None else ExitCode.PASSED


# -- options --------------------------------------------------------------------------------------


def _check_outputs(errors: CollectedErrors, outputs: Sequence[Path], pdf: Path | None) -> None:
    for path in outputs:
        if path.suffix not in _SUFFIXES:
            name = one_line(str(path), 200)
            errors.add(f"-o {name}: unknown kind of file", f"end the name in one of {', '.join(_SUFFIXES)}")
        errors.check_file("-o", path)
    errors.check_file("--pdf", pdf)


def _check_begun(errors: CollectedErrors, period: Period, now: datetime) -> None:
    if period.start >= now.timestamp():
        begin = datetime.fromtimestamp(period.start, UTC)
        errors.add(
            f"{period.name} has not begun at {now:%Y-%m-%d %H:%M} UTC: it begins on {begin:%Y-%m-%d %H:%M} UTC",
            "name a week that has begun; without --week, the last complete one is reported",
        )


def _of_team(errors: CollectedErrors, objectives: Sequence[Objective], team: str | None) -> tuple[Objective, ...]:
    if team is None:
        return tuple(objectives)
    teams = sorted({value for one in objectives for name, value in one.labels if name == "team"})
    if team not in teams:
        known = ", ".join(one_line(name, 60) for name in teams[:10]) or "none: no promise has a label team"
        errors.add(
            f'--team: no promise has the label team: "{one_line(team, 60)}"',
            did_you_mean(team, teams) or f"the teams are {known}",
        )
        return ()
    return tuple(one for one in objectives if ("team", team) in one.labels)


def _programme() -> tuple[PageSettings, Programme]:
    """Return the settings of the page, and the facts about journeys, from programme.toml if there is one.

    Raises:
        ScenarioError: the file has errors.
    """
    from loadgen.programme.recommending.programme_file import Programme, read_programme
    from loadgen.programme.weekly.programme_table import PageSettings, read_page_settings

    path = Path(FILE_NAME)
    if not path.exists():
        return PageSettings(), Programme()
    document, faults = read_programme_toml(path)
    settings, more = read_page_settings(document)
    programme = Programme()
    try:
        programme = read_programme(path)
    except ScenarioError as error:
        faults = [*faults, *error.faults]
    if found := list(dict.fromkeys((*faults, *more))):
        raise ScenarioError(found)
    return settings, programme


def _clock_troubles(place: Place, gathered: Gathered, now: datetime) -> Iterator[str]:
    """Yield what shows that the clock of this machine, or of one that wrote to the ledger, is wrong.

    Raises:
        StorageError, CloudError: the ledger cannot be listed.
    """
    if ahead := Ledger(place).ahead(int(now.timestamp())):
        yield ahead
    if gathered.later:
        count = quantity(len(gathered.later), "revision")
        yield f"{count} of the ledger left out, dated in the future, such as {gathered.later[0]}: set the clocks"


def _others(
    place: Place, gathered: Gathered, every: Sequence[Objective], now: datetime, until: str, team: str, history: Store
) -> FromOthers:
    """Return what other parts of the programme add to the page. every: the promises of all teams, for the coverage.

    Raises:
        ScenarioError: programme.toml has errors.
        StorageError, CloudError: the history or the ledger cannot be read.
    """
    with needing_analysis("loadgen slo report"):
        from loadgen.programme.board.for_week import coverage_for_week
        from loadgen.programme.money_file import read_money
        from loadgen.programme.weekly.from_others import from_others
    # The state at the end of the period, from what is known now.
    then = min(now, datetime.fromtimestamp(gathered.period.end, UTC))
    path = Path(FILE_NAME) if Path(FILE_NAME).exists() else None
    said, entry = coverage_for_week(place, every, path, then, until=until, team=team, store=history)
    found = from_others(place, gathered, read_money(path) if path is not None else {})
    return replace(found, coverage=(said,), evidence=(*found.evidence, entry))


# -- outputs --------------------------------------------------------------------------------------


def _write(page: WeeklyPage, outputs: Sequence[Path], pdf: Path | None) -> list[Path]:
    """Write the files, and return those that were written: a PDF needs a Chromium."""
    makers, written = _makers(), list(outputs)
    for path in outputs:
        try:
            atomic_write(path, makers[path.suffix](page), 0o644)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}", hint="name another file") from None
    if pdf is not None:
        from loadgen.programme.pages.pdf import print_pdf

        if why := print_pdf(makers[".html"](page), pdf):
            echo_warning(why)
        else:
            written.append(pdf)
    return written


def _makers() -> Mapping[str, Callable[[WeeklyPage], bytes]]:
    from loadgen.programme.pages.weekly_html import weekly_html
    from loadgen.programme.weekly.as_csv import as_csv
    from loadgen.programme.weekly.as_json import as_json
    from loadgen.programme.weekly.as_markdown import as_markdown

    return {".html": weekly_html, ".md": as_markdown, ".json": as_json, ".csv": as_csv}


def _record(place: Place, page: WeeklyPage) -> None:
    from loadgen.programme.evidence.weeks import record_week
    from loadgen.programme.weekly.as_json import as_document

    record_week(place, as_document(page))


def _publish(
    page: WeeklyPage, place: Place, chosen: tuple[PublishSettings, dict[str, str]], pdf: Path | None
) -> ExitCode:
    """Publish the page. pdf: the PDF that was written, which is published as well; None: there is none."""
    names = {".html": "index.html", ".json": "report.json", ".csv": "report.csv", ".md": "report.md"}
    files = {names[suffix]: make(page) for suffix, make in _makers().items()}
    if pdf is not None:
        try:
            files["report.pdf"] = pdf.read_bytes()
        except OSError as error:
            raise StorageError(f"{pdf} cannot be read: {error.strerror}", hint="name another file") from None
    settings, values = chosen
    # Here, because it imports httpx, which takes a tenth of a second, and `slo status` imports this module, too.
    from loadgen.programme.publishing.publish import publish_report

    return show_published(publish_report(page, files, settings, place, datetime.now(UTC), values))


def _print(page: WeeklyPage, output_format: Format, written: Sequence[Path]) -> None:
    if output_format is Format.JSON:
        from loadgen.programme.weekly.as_json import as_json

        echo_json(as_json(page).decode().rstrip("\n"))
    elif output_format is Format.MARKDOWN:
        from loadgen.programme.weekly.as_markdown import as_markdown

        for line in as_markdown(page).decode().rstrip("\n").split("\n"):
            echo(line)
    elif written:
        echo(f"page {page.id}: {page.sentences[0].text}")
        echo(f"wrote {', '.join(one_line(str(path), 200) for path in written)}")
    else:
        _print_text(page)


def _print_text(page: WeeklyPage) -> None:
    from loadgen.programme.weekly.as_markdown import heading
    from loadgen.programme.weekly.cells.promise_cells import WITH_EXCLUDED
    from loadgen.report.report_parts import Report, Table

    # A narrow terminal shows the last columns in further tables, so those that people act upon are first.
    names = ("kept", "budget_left", "burn", "gate", "gone", "week_on_week", "headroom", "at_stake")
    titles = ("journey", "kept", "budget left", "burn 7 d", "gate", "gone", "p95 week on week", "headroom", "at stake")
    if any(row.trend is not None for row in page.rows):
        names, titles = ("kept", "trend", *names[1:]), ("journey", "kept", "13 weeks", *titles[2:])  # type: ignore[assignment]
    if page.is_public:
        names, titles = ("kept",), ("journey", "kept")  # type: ignore[assignment]
    rows = []
    for row in page.rows:
        cells = {name: cell.text for name, cell in row.cells()}
        cells["kept"] = cells["kept"].replace(f"{WITH_EXCLUDED})", ")")
        rows.append((row.journey, *(cells[name] for name in names)))
    shown = {"bad": "failed", "open": "incomplete", "good": "passed"}
    result = shown.get(page.sentences[0].tone if page.sentences else "plain", "")
    lines = tuple(_with_owner(one.text, one.owner, page) for one in page.sentences)
    console = Output()
    print_report(console, Report(f"{page.title}: {heading(page)}", result, lines, (), ()))
    for table in split_to_width(
        Table("", titles, tuple(rows), len(titles)), console.width, cut=_KEPT, least=_LEAST_KEPT
    ):
        print_table(console, table, cut=_KEPT)
        console.print()
    if any(WITH_EXCLUDED in row.kept.text for row in page.rows):
        console.print(Text(f"kept, in brackets:{WITH_EXCLUDED}"))
    for text in _below(page):
        console.print(Text(text))


def _below(page: WeeklyPage) -> Iterator[str]:
    for section in page.sections:
        yield f"{section.title}:"
        if not section.items:
            yield f"  {section.none}"
        for one in section.items:
            ids = f" [{' '.join(one.evidence[:3])}{' ...' if len(one.evidence) > 3 else ''}]" if one.evidence else ""
            yield f"  {_with_owner(one.text, one.owner, page)}{ids}"
    for note in page.notes:
        yield f"note: {note}"
    yield f"{quantity(len(page.evidence), 'entry').replace('entrys', 'entries')} of evidence: loadgen evidence ID"


def _explained(page: WeeklyPage) -> Iterator[str]:
    """Yield how each number of the page was computed."""
    yield "How the numbers were computed:"
    for one in page.evidence:
        yield f"  {one.id}  {one_line(one.says, 400)}"
        yield f"      {one_line(one.formula, 600)}"


def _with_owner(text: str, owner: str, page: WeeklyPage) -> str:
    return f"{text} Owner: {owner}." if owner and not page.is_public else text
