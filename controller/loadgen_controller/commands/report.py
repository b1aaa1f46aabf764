"""`loadgen report`: writes a run as a file, for people (HTML, Markdown) or programs (JSON, CSV, Parquet, JUnit,
result files of AIPerf and vLLM)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec
import typer

from loadgen.errors import StorageError, UsageError
from loadgen.measure.conventions import Convention
from loadgen.measure.run_folder.kept_stream_log import read_streams
from loadgen.measure.run_folder.rundir import find_run
from loadgen.outside_text import in_json
from loadgen.report.exports.aiperf import aiperf_csv, aiperf_json
from loadgen.report.exports.csv_writer import write_csv
from loadgen.report.exports.junit import junit
from loadgen.report.exports.markdown import markdown
from loadgen.report.exports.parquet import write_parquet
from loadgen.report.exports.rows import SeriesRow, series_rows
from loadgen.report.exports.vllm_bench import vllm_bench
from loadgen.report.from_run_folder import document_of, measured_of
from loadgen.report.front_page import NO_COVER, Cover
from loadgen.report.goes_with.file import read_goes_with
from loadgen.report.goes_with.lines import lines_of
from loadgen.report.html import html
from loadgen.report.kept_stream_tables import (
    convention_document,
    convention_figures_of,
    convention_tables,
    kept_note,
)
from loadgen.report.run_as_dataframes import Run, WindowRow, open_run
from loadgen.report.run_json_document import encode
from loadgen.report.summary_reader import Summary, read
from loadgen.report.target_side.database_tables import database_tables
from loadgen.report.target_side.metrics_file import read_databases
from loadgen.report.why_slow.cause_file import CauseFile, read_causes
from loadgen.report.why_slow.in_one_sentence import in_one_sentence, sentence_line
from loadgen.report.why_slow.lines import all_lines
from loadgen.report.why_slow.section import section
from loadgen.units import NS_PER_S, parse_duration
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.history_baselines import StoreOption
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.output_format import output_format
from loadgen_controller.commands.shared_options import EnvOption
from loadgen_controller.commands.store_option import STORE, store_of
from loadgen_controller.console_output import Output, echo
from loadgen_controller.past_runs.listing import is_running
from loadgen_controller.planning.option_parsing import report_settings_of
from loadgen_controller.screen.output_file import opened
from loadgen_controller.screen.result_explanation import called, story_in
from loadgen_controller.screen.terminal_report import print_table

if TYPE_CHECKING:
    from loadgen.history.store.store import Store
    from loadgen_controller.commands.trending.run_vs_history import InHistory

NAME = "report"
EXAMPLES = """[bold]Examples[/bold]

loadgen report last

loadgen report 20261124-170312 20261123-170500 -o compared.html

loadgen report last --title "Shop 1.4, Monday's load" --owner "Shop team"

loadgen report last --store s3://perf/history

loadgen report last --format markdown

loadgen report 20261124-170312 --format junit -o loadgen.xml

loadgen report last --format csv --table windows --window 10s --split regions -o windows.csv

loadgen report last -o run.parquet

loadgen report last --format aiperf -o profile_export_aiperf.json

loadgen report last --format vllm-bench

loadgen report last --convention vllm --convention aiperf"""

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Covers:
    """Title and owner from the command line, and those of `loadgen.toml` for a plan without them."""

    given: Cover = NO_COVER
    default: Cover = NO_COVER


class Format(StrEnum):
    """Output formats of `loadgen report`."""

    HTML = "html"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    JUNIT = "junit"
    MARKDOWN = "markdown"
    AIPERF = "aiperf"
    VLLM_BENCH = "vllm-bench"


class Kind(StrEnum):
    """Tables that CSV and Parquet files can contain."""

    SERIES = "series"
    WINDOWS = "windows"


class Split(StrEnum):
    """Properties for which the table of windows can have separate rows."""

    REGIONS = "regions"
    OUTCOMES = "outcomes"
    TAGS = "tags"


class Definitions(StrEnum):
    """Tools by whose definitions the times of kept streams can be computed."""

    OURS = "ours"
    VLLM = "vllm"
    SGLANG = "sglang"
    AIPERF = "aiperf"
    GUIDELLM = "guidellm"
    INFERENCE_PERF = "inference-perf"
    MLPERF = "mlperf"


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
WITH_COVER = (Format.HTML, Format.JSON)
Write = Callable[[BinaryIO], object]


def main(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run's id, the beginning of it, `last`, or its folder.")
    ],
    baseline: Annotated[
        str | None, typer.Argument(metavar="[BASELINE]", help="Another run to draw behind it. Only for html.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to this file; - is stdout. Default: the run folder for html, stdout for the other formats.",
        ),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"Output format: {', '.join(Format)}. Default: by the ending of FILE, or html.",
        ),
    ] = None,
    table: Annotated[
        Kind | None,
        typer.Option(
            "--table", help="For csv and parquet: one row per series of the whole run, or per window of time."
        ),
    ] = None,
    window: Annotated[
        str | None, typer.Option("--window", metavar="TIME", help="Length of the windows: 10s. Default: one interval.")
    ] = None,
    split: Annotated[
        list[Split] | None,
        typer.Option(
            "--split",
            metavar="PART",
            help=f"Separate rows of windows for each of these: {', '.join(Split)}. Repeatable.",
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option(
            "--title",
            metavar="TEXT",
            help="Title of the report. Default: the plan's label `title`, or title of \\[report] in loadgen.toml, or"
            " the first line of the scenario's docstring.",
        ),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(
            "--owner",
            metavar="TEXT",
            help="Owner that the report names. Default: the plan's owner, or that of \\[report] in loadgen.toml.",
        ),
    ] = None,
    convention: Annotated[
        list[Definitions] | None,
        typer.Option(
            "--convention",
            help="Print the times of the run's kept streams by the definitions of this tool, or write them as JSON."
            " Repeatable.",
        ),
    ] = None,
    store: StoreOption = None,
    env: EnvOption = None,
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> None:
    """Write a run as a file: one self-contained HTML page, or a format for other programs.

    If the history has accepted runs of the same plan, target and placement, the html, json and markdown reports compare
    the run with them.

    A run that is still going on, or was killed, has no summary: html, json and windows contain everything it measured
    so far, and the other formats need the summary. The file is written completely or not at all.
    """
    errors = CollectedErrors()
    chosen = output_format(errors, format_, output, BY_ENDING, without=Format.HTML)
    if convention:
        if chosen not in (None, Format.JSON) and (format_ is not None or output is not None):
            errors.add(f"--convention cannot be used with {chosen}", "add --format json, or leave out --format and -o")
        others = {"a second run": baseline, "--table": table, "--window": window, "--split": split}
        for name, given in (others | {"--title": title, "--owner": owner}).items():
            if given:
                errors.add(f"--convention cannot be used with {name}", f"leave out {name} or --convention")
        errors.check_file("-o", output)
        ended = errors.catch(lambda: find_run(run, runs_dir))
        errors.check()
        assert ended is not None
        _write_conventions(ended, [one.value for one in convention], output, is_json=chosen is Format.JSON)
        return
    window_s = None if window is None else errors.parse("--window", window, _length)
    if (table or window or split) and chosen is not None and chosen not in TABLES:
        errors.add(
            f"--table, --window and --split cannot be used with {chosen}", "add --format csv or --format parquet"
        )
    if (window or split) and table is not Kind.WINDOWS:
        errors.add("--window and --split need --table windows", "add --table windows")
    errors.check_file("-o", output)
    if chosen is Format.PARQUET and (output is None or str(output) == "-") and sys.stdout.isatty():
        errors.add("Parquet is binary and cannot be printed on a terminal", "name a file with -o")
    if baseline is not None and chosen not in (None, Format.HTML):
        errors.add(f"a second run cannot be shown in {chosen}, only in html", "leave the second run out")
    if (title or owner) and chosen is not None and chosen not in WITH_COVER:
        errors.add(f"--title and --owner cannot be used with {chosen}", "add --format html or --format json")
    history = _open_history(errors, store, env) if chosen in WITH_HISTORY else None
    default = report_settings_of(errors) if chosen in WITH_COVER else None
    path = errors.catch(lambda: find_run(run, runs_dir))
    behind = None if baseline is None else errors.catch(lambda: find_run(baseline, runs_dir))
    errors.check()
    assert path is not None
    assert chosen is not None
    if output is None and chosen is Format.HTML:
        output = path / "report.html"
    length_s = None if window_s is None else window_s / NS_PER_S
    held = None if history is None else _compare_with_history(path, history)
    cover = Covers(Cover(title or "", owner or ""), Cover(default.title, default.owner) if default else NO_COVER)
    is_csv = output is not None and output.suffix.lower() == ".csv"
    write = _writer(path, behind, chosen, table or Kind.SERIES, length_s, split or (), held, cover, is_csv=is_csv)
    with opened(output) as file:
        write(file)
    if output is not None and str(output) != "-":
        echo(f"wrote {output}", err=True)


def _length(text: str) -> int:
    if not (length_ns := parse_duration(text)):
        raise ValueError("a window must be longer than 0; write 10s")
    return length_ns


def _open_history(errors: CollectedErrors, given: str | None, env: str | None) -> Store | None:
    """Open the store of accepted runs; return None if none was named and the default folder does not exist."""
    where = store_of(errors, given, env)
    if where == STORE and given is None and not Path(where).is_dir():
        return None
    with needing_analysis("comparing a run with its history"):
        from loadgen.history.store.store import Store
    return errors.catch(lambda: Store.open(where))


def _compare_with_history(path: Path, store: Store) -> InHistory | None:
    """Compare the run with its history, and return the result.

    If that is impossible, print a note and return None; the report is written anyway.
    """
    run = open_run(path)
    if run.summary is None:
        return None

    def note(why: str) -> None:
        echo(f"note: not compared with its history: {why}", err=True)

    try:
        with needing_analysis("comparing a run with its history"):
            from loadgen_controller.commands.trending.run_vs_history import compare_with_history
        at = "" if str(store) == STORE else f" --store {quote(str(store))}"
        return compare_with_history(run, store, f"loadgen gate {called(path)}{at}", note)
    except (StorageError, UsageError) as exc:
        note(exc.message)
        return None


def _writer(
    path: Path,
    behind: Path | None,
    chosen: Format,
    table: Kind,
    window_s: float | None,
    split: Sequence[Split],
    held: InHistory | None,
    cover: Covers,
    *,
    is_csv: bool = False,
) -> Write:
    """Return a function that writes the report of the run to an open file.

    is_csv: write a result file of another tool in its form as CSV.

    The run is read here already, so that most errors are found before a file is created.
    """
    if chosen in (Format.JUNIT, Format.MARKDOWN):
        summary = summary_of(path)
        story = story_in(path, summary)
        said = () if held is None else held.sentences
        causes = _causes(path)
        why = () if causes is None else tuple(all_lines(causes, _together(path, causes)))
        data = (
            junit(summary, story, why)
            if chosen is Format.JUNIT
            else markdown(summary, story, said, why, database_tables(read_databases(path))).encode("utf-8", "replace")
        )
        return lambda file: file.write(data)
    in_history: Document = {} if held is None else {"in_history": held.document()}
    if chosen is Format.HTML:
        page = html(
            document_in(path, cover) | in_history,
            baseline=None if behind is None else document_in(behind),
            standing="" if held is None else held.section(),
            why_slow="" if (causes := _causes(path)) is None else section(causes, _together(path, causes)),
        )
        return lambda file: file.write(page)
    if chosen is Format.JSON:
        causes = _causes(path)
        why_slow: Document = {} if causes is None else {"why_slow": msgspec.to_builtins(causes)}
        encoded = in_json(encode(document_in(path, cover) | in_history | why_slow).decode()).encode() + b"\n"
        return lambda file: file.write(encoded)
    if chosen in (Format.AIPERF, Format.VLLM_BENCH):
        result = _result_file(path, chosen, is_csv=is_csv)
        return lambda file: file.write(result)
    write = write_csv if chosen is Format.CSV else write_parquet
    if table is Kind.SERIES:
        return partial(write, SeriesRow, series_rows(summary_of(path)))
    rows = _open(path).windows(
        window_s, regions=Split.REGIONS in split, outcomes=Split.OUTCOMES in split, tags=Split.TAGS in split
    )
    return partial(write, WindowRow, rows)


def _causes(path: Path) -> CauseFile | None:
    """Return what `loadgen trace` found, if it was called for the run. For a damaged file, print a note."""
    try:
        return read_causes(path)
    except StorageError as exc:
        echo(f"note: the report lacks why requests were slow: {exc.message}", err=True)
        return None


def _together(path: Path, causes: CauseFile) -> tuple[str, ...]:
    """Return lines about series of the target that go with slow requests, and what all evidence says together.

    For a damaged file of series, print a note.
    """
    found = None
    try:
        found = read_goes_with(path)
    except StorageError as exc:
        echo(f"note: the report lacks what goes with slow requests: {exc.message}", err=True)
    said = sentence_line(in_one_sentence(causes, found))
    return (*(() if found is None else lines_of(found)), *said)


def _write_conventions(path: Path, conventions: Sequence[Convention], output: Path | None, *, is_json: bool) -> None:
    """Print or write the figures of the run's kept streams by the definitions of these tools.

    Raises:
        UsageError: the run has no summary, or kept no streams. StorageError: a file cannot be read or written.
    """
    found = convention_figures_of(path, summary_of(path), conventions)
    if is_json:
        data = in_json(encode(convention_document(found, path.name)).decode()).encode() + b"\n"
        with opened(output) as file:
            file.write(data)
        if output is not None and str(output) != "-":
            echo(f"wrote {output}", err=True)
        return
    console = Output()
    for n, shown in enumerate(convention_tables(found)):
        if n:
            console.print()
        print_table(console, shown)
    for line in dict.fromkeys(map(kept_note, found)):
        console.print(line)


def _result_file(path: Path, chosen: Format, *, is_csv: bool) -> bytes:
    """Return the run as a result file of another tool.

    Raises:
        UsageError: the run has no summary, or had no requests to AI models.
    """
    summary = summary_of(path)
    measured = measured_of(open_run(path), summary)
    if chosen is Format.VLLM_BENCH:
        document = vllm_bench(summary, measured, read_streams(path))
    elif is_csv:
        return aiperf_csv(summary, measured).encode()
    else:
        document = aiperf_json(summary, measured)
    return msgspec.json.format(encode(document), indent=2) + b"\n"


def summary_of(path: Path) -> Summary:
    """Read the summary of a finished run.

    Raises:
        UsageError: the run is still going on, or was killed.
        StorageError: the summary cannot be read, or was written by a newer loadgen.
    """
    file = path / "summary.json"
    if file.exists():
        return read(file)
    why = (
        "the run is still going on"
        if is_running(path)
        else "the process of the run was killed, or the file was deleted"
    )
    raise UsageError(
        f"{path} has no summary: {why}",
        hint="these formats show what was measured: --format json, --format csv --table windows",
    )


def document_in(path: Path, cover: Covers | None = None) -> Document:
    """Return the timeline and story of a run as a JSON document; of a running run, what it has measured so far."""
    cover = cover or Covers()
    return document_of(_open(path), called(path), cover.given, cover.default)


def _open(path: Path) -> Run:
    """Open the run, and print a note if it has no summary because it is going on or was killed."""
    run = open_run(path)
    if run.summary is None:
        is_on = is_running(path)
        said = "is still going on: the report has what it measured so far" if is_on else "was killed before its end"
        echo(f"note: {run.id} {said}", err=True)
    return run
