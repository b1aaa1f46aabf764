"""`loadgen report`: a run as a file, for people (HTML, Markdown) and for programs (JSON, CSV, Parquet, JUnit)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.outside_text import in_json
from loadgen.report.document import encode
from loadgen.report.exports.comma import write_csv
from loadgen.report.exports.junit import junit
from loadgen.report.exports.markdown import markdown
from loadgen.report.exports.parquet import write_parquet
from loadgen.report.exports.rows import SeriesRow, series_rows
from loadgen.report.from_run_folder import document_of
from loadgen.report.html import html
from loadgen.report.notebook import Run, WindowRow, open_run
from loadgen.report.summary_reader import Summary, read
from loadgen.units import NS_PER_S, parse_duration
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands.history_store import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.shared_options import EnvOption
from loadgen_controller.past_runs.is_running import goes_on
from loadgen_controller.planning.options import STORE, store_of
from loadgen_controller.screen.output_file import opened
from loadgen_controller.screen.story_output import called, story_in
from loadgen_controller.terminal import echo

if TYPE_CHECKING:
    from loadgen.history.store.store import Store
    from loadgen_controller.commands.trending.run_vs_history import InHistory

NAME = "report"
EXAMPLES = """[bold]Examples[/bold]

loadgen report last

loadgen report 20261124-170312 20261123-170500 -o compared.html

loadgen report last --store s3://perf/history

loadgen report last --format markdown

loadgen report 20261124-170312 --format junit -o loadgen.xml

loadgen report last --format csv --table windows --window 10s --split regions -o windows.csv

loadgen report last -o run.parquet"""

Document = dict[str, object]


class Format(StrEnum):
    HTML = "html"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    JUNIT = "junit"
    MARKDOWN = "markdown"


class Kind(StrEnum):
    SERIES = "series"
    WINDOWS = "windows"


class Split(StrEnum):
    REGIONS = "regions"
    OUTCOMES = "outcomes"
    TAGS = "tags"


BY_ENDING = {
    ".html": Format.HTML,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
    ".xml": Format.JUNIT,
    ".md": Format.MARKDOWN,
}
TABLES = (Format.CSV, Format.PARQUET)
WITH_HISTORY = (Format.HTML, Format.JSON, Format.MARKDOWN)
Write = Callable[[BinaryIO], object]


def main(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, how it begins, `last`, or its folder.")],
    baseline: Annotated[
        str | None, typer.Argument(metavar="[BASELINE]", help="Another run, drawn behind it. Only for html.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where it is written; - is stdout. If not given, html goes into the run's folder, the rest to stdout.",
        ),
    ] = None,
    format_: Annotated[
        Format | None, typer.Option("--format", help="As what; if not given, what FILE ends in, or html.")
    ] = None,
    table: Annotated[
        Kind | None, typer.Option("--table", help="Of CSV and Parquet: series over the run, or by window.")
    ] = None,
    window: Annotated[
        str | None, typer.Option("--window", metavar="TIME", help="How long the windows are: 10s. Else one interval.")
    ] = None,
    split: Annotated[
        list[Split] | None, typer.Option("--split", help="Windows apart for each of these; repeat it.")
    ] = None,
    store: StoreOption = None,
    env: EnvOption = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the run folders are.")] = Path("runs"),
) -> None:
    """Write a run as a file: one page of HTML that opens anywhere, or what other programs read.

    Where accepted runs of the same plan, target and placement are kept, html, json and markdown say how it stands among
    those before it.

    Of a run that is still going on, or was ended by force, html, json and windows have what it measured, up to the last
    whole record; the other formats need its summary. The file is there whole or not at all.
    """
    wrongs = CollectedErrors()
    chosen = _format(wrongs, format_, output)
    window_s = None if window is None else wrongs.parse("--window", window, _length)
    if (table or window or split) and chosen is not None and chosen not in TABLES:
        wrongs.add(f"--table, --window and --split are for csv and parquet, not for {chosen}")
    if (window or split) and table is not Kind.WINDOWS:
        wrongs.add("--window and --split are for windows", "add --table windows")
    wrongs.check_file("-o", output)
    if chosen is Format.PARQUET and (output is None or str(output) == "-") and sys.stdout.isatty():
        wrongs.add("Parquet is no text for a terminal", "name a file with -o")
    if baseline is not None and chosen not in (None, Format.HTML):
        wrongs.add(f"two runs are drawn in html, not in {chosen}", "leave the second one out")
    history = _store(wrongs, store, env) if chosen in WITH_HISTORY else None
    path = wrongs.catch(lambda: find_run(run, runs_dir))
    behind = None if baseline is None else wrongs.catch(lambda: find_run(baseline, runs_dir))
    wrongs.check()
    assert path is not None
    assert chosen is not None
    if output is None and chosen is Format.HTML:
        output = path / "report.html"
    length_s = None if window_s is None else window_s / NS_PER_S
    held = None if history is None else _stands(path, history)
    write = _writer(path, behind, chosen, table or Kind.SERIES, length_s, split or (), held)
    with opened(output) as file:
        write(file)
    if output is not None and str(output) != "-":
        echo(f"wrote {output}", err=True)


def _length(text: str) -> int:
    if not (length_ns := parse_duration(text)):
        raise ValueError("a window takes some time; write 10s")
    return length_ns


def _format(wrongs: CollectedErrors, given: Format | None, output: Path | None) -> Format | None:
    if given is not None:
        return given
    if output is None:
        return Format.HTML
    ending = output.suffix.lower()
    if ending in BY_ENDING:
        return BY_ENDING[ending]
    known = ", ".join(f"{end} ({one})" for end, one in BY_ENDING.items())
    wrongs.add("as what? say --format", f"or name a file with -o that ends in {known}")
    return None


def _store(wrongs: CollectedErrors, given: str | None, env: str | None) -> Store | None:
    """None where nobody has said where it is, and it is not where it is else."""
    where = store_of(wrongs, given, env)
    if where == STORE and given is None and not Path(where).is_dir():
        return None
    with needing_analysis("how a run stands in its history"):
        from loadgen.history.store.store import Store
    return wrongs.catch(lambda: Store.open(where))


def _stands(path: Path, store: Store) -> InHistory | None:
    """How it stands there. That a history cannot be read costs no report."""
    run = open_run(path)
    if run.summary is None:
        return None

    def tell(why: str) -> None:
        echo(f"note: not in its history: {why}", err=True)

    try:
        with needing_analysis("how a run stands in its history"):
            from loadgen_controller.commands.trending.run_vs_history import stands
        at = "" if str(store) == STORE else f" --store {quote(str(store))}"
        return stands(run, store, f"loadgen gate {called(path)}{at}", tell)
    except (StorageError, UsageError) as exc:
        tell(exc.message)
        return None


def _writer(
    path: Path,
    behind: Path | None,
    chosen: Format,
    table: Kind,
    window_s: float | None,
    split: Sequence[Split],
    held: InHistory | None,
) -> Write:
    """What writes it. Whatever is wrong with the run is found here, before a file is begun, as far as that can be."""
    if chosen in (Format.JUNIT, Format.MARKDOWN):
        summary = summary_of(path)
        story = story_in(path, summary)
        said = () if held is None else held.sentences
        data = (
            junit(summary, story)
            if chosen is Format.JUNIT
            else markdown(summary, story, said).encode("utf-8", "replace")
        )
        return lambda file: file.write(data)
    in_history: Document = {} if held is None else {"in_history": held.document()}
    if chosen is Format.HTML:
        page = html(
            document_in(path) | in_history,
            baseline=None if behind is None else document_in(behind),
            standing="" if held is None else held.section(),
        )
        return lambda file: file.write(page)
    if chosen is Format.JSON:
        encoded = in_json(encode(document_in(path) | in_history).decode()).encode() + b"\n"
        return lambda file: file.write(encoded)
    write = write_csv if chosen is Format.CSV else write_parquet
    if table is Kind.SERIES:
        return partial(write, SeriesRow, series_rows(summary_of(path)))
    rows = _told(path).windows(
        window_s, regions=Split.REGIONS in split, outcomes=Split.OUTCOMES in split, tags=Split.TAGS in split
    )
    return partial(write, WindowRow, rows)


def summary_of(path: Path) -> Summary:
    """Of a run that is over.

    Raises:
        UsageError: it goes on, or was ended by force.
        StorageError: it cannot be read, or is of a newer loadgen.
    """
    file = path / "summary.json"
    if file.exists():
        return read(file)
    why = "the run is still going on" if goes_on(path) else "the run was ended by force, or the file was deleted"
    raise UsageError(
        f"{path} has no summary: {why}",
        hint="what was measured is in --format json and --format csv --table windows",
    )


def document_in(path: Path) -> Document:
    """The run over time with its story, as far as it has got."""
    return document_of(_told(path), called(path))


def _told(path: Path) -> Run:
    run = open_run(path)
    if run.summary is None:
        is_on = goes_on(path)
        said = "is still going on: this is what it has measured by now" if is_on else "was ended by force"
        echo(f"note: {run.id} {said}", err=True)
    return run
