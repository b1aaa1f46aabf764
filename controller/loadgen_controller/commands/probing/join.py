"""`loadgen probe add`: joins a journal of `loadgen probe run` with a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.rundir import RunDir, find_run, replace_file, utc_text
from loadgen.probes.journal import ADDED, FORMAT, Begin, Journal, Record, Zero, damaged_bytes, read_journal
from loadgen.probes.recorded import Recorded
from loadgen.probes.running.joining import ClockOffset, damage_of, moved, offset_between, span_of
from loadgen.probes.shown.metrics_file import NAME as METRICS
from loadgen.probes.shown.metrics_file import foreign_parts, metrics_document
from loadgen.secret_files import make_subfolder
from loadgen.units import NS_PER_S, format_duration, parse_duration, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.bucket import RUNS, RunArgument, RunsDir
from loadgen_controller.commands.cloudwatch_metrics import span_of as span_of_run
from loadgen_controller.console_output import echo, echo_warning
from loadgen_controller.past_runs.listing import is_running

__all__ = ["ADD", "add"]

ADD = """[bold]Examples[/bold]

loadgen probe add last db.probes

loadgen probe add last db.probes --clock-error 5ms"""
_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_HINT = "give a file that loadgen probe run wrote"
_BYTES_MOST = 512 << 20
"""A day of a PostgreSQL server with hundreds of statements takes some 200 MiB."""


def add(
    run: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A journal that `loadgen probe run` wrote.")],
    clock_error: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The most by which the wall clocks of both machines differ. Default: what their kernels knew,"
            " else 1s for each.",
        ),
    ] = None,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Join the journal of `loadgen probe run` with a run: its series, notes and marks then belong to the run.

    Both programs on one machine have the same clock. Otherwise the wall clocks of both machines give the offset, with a
    bound of its error, which every point then has. A second call with a file of the same name replaces the first one.
    """
    errors = CollectedErrors()
    path = errors.catch(lambda: find_run(run, runs_dir))
    error_ns = errors.parse("--clock-error", clock_error, parse_duration)
    if path is not None and is_running(path):
        errors.add(f"run {path.name} is still going on", "wait until it ends")
    if not file.is_file():
        errors.add(f"{file}: no such file", _HINT)
    elif file.stat().st_size > _BYTES_MOST:
        errors.add(
            f"{file} has more than {_BYTES_MOST >> 20} MiB", "read for a shorter time: loadgen probe run ... --for 15m"
        )
    errors.check()
    assert path is not None
    records = list(read_journal(file.parent, file.name))
    begin = records[0] if records else None
    if not isinstance(begin, Begin):
        raise UsageError(f"{file} has no records", hint=_HINT)
    if why := damage_of(records):
        raise UsageError(f"{file} is damaged: {why}", hint=_HINT)
    own = list(read_journal(path, "probes.log"))
    run_begin, t0_ns = _of_run(path, own)
    _check_names(begin, own)
    offset = offset_between(run_begin, begin, error_ns)
    _check_overlap(path, file, records, offset, t0_ns)
    joined = list(moved(records, offset, t0_ns))
    try:
        Recorded(joined)
    except (LookupError, ValueError, TypeError):
        raise UsageError(f"{file} is damaged: its records do not fit together", hint=_HINT) from None
    _write(path, file, joined)
    _update(path)
    samples = sum(type(one).__name__ == "Sample" for one in records)
    echo(f"added {quantity(samples, 'sample')} of {', '.join(one.name for one in begin.probes)} to {path.name}")
    echo(_told(offset))
    if damaged := damaged_bytes(file):
        echo_warning(
            f"the last {quantity(damaged, 'byte')} of {file} are damaged and were left out: copy the file again after"
            " loadgen probe run has ended"
        )


def _of_run(path: Path, own: list[Record]) -> tuple[Begin, int]:
    """Return the first record and T0 of a run. A run without probes gets Unix time as its clock."""
    begin = next((one for one in own if isinstance(one, Begin)), None)
    t0_ns = next((one.t0_ns for one in own if isinstance(one, Zero)), None)
    if begin is not None and t0_ns is not None:
        return begin, t0_ns
    started, _ = span_of_run(path)
    unix_ns = round(started.timestamp() * 1_000) * 1_000_000
    return Begin(FORMAT, utc_text(started), unix_ns, ()), unix_ns


def _check_names(begin: Begin, own: list[Record]) -> None:
    read = {one.name for record in own if isinstance(record, Begin) for one in record.probes if one.at != "apart"}
    if twice := sorted(read & {one.name for one in begin.probes}):
        raise UsageError(
            f"the run has read the probe {', '.join(twice)} itself",
            hint='give the probe beside the server another name, or write at = "apart" before the next run',
        )


def _check_overlap(path: Path, file: Path, records: list[Record], offset: ClockOffset, t0_ns: int) -> None:
    span = span_of(records)
    if span is None:
        raise UsageError(f"{file} has no samples", hint="try the probe with: loadgen probe check")
    _, end = span_of_run(path)
    started, _ = span_of_run(path)
    first_s, last_s = ((at + offset.offset_ns - t0_ns) / NS_PER_S for at in span)
    length_s = (end - started).total_seconds()
    spare_s = offset.error_ns / NS_PER_S
    if last_s < -spare_s or first_s > length_s + spare_s:
        raise UsageError(
            f"{file} has samples from {first_s:,.0f} to {last_s:,.0f} s after the start of the load, but the run lasted"
            f" {length_s:,.0f} s",
            hint="choose the run that was made at the same time, or set the clocks of both machines right",
        )


def _write(path: Path, file: Path, records: list[Record]) -> None:
    folder = path / ADDED
    make_subfolder(folder)
    name = f"{_NAME.sub('_', file.stem).lstrip('._-')[:90] or 'added'}.log"
    temporary = f".{name}.new"
    (folder / temporary).unlink(missing_ok=True)
    journal = Journal(folder, temporary)
    try:
        journal.append(*records)
        journal.sync()
    finally:
        journal.close()
    try:
        (folder / temporary).replace(folder / name)
    except OSError as error:
        raise StorageError(f"cannot write {folder / name}: {error.strerror}", hint="check the permissions") from error


def _update(path: Path) -> None:
    """Write the lanes and the figures of all probes of the run again. Those of other sources stay."""
    recorded = Recorded(read_journal(path))
    kept: list[Any] = []
    marks: list[Any] = []
    source = ""
    metrics = path / METRICS
    if metrics.is_file():
        try:
            kept, marks, source = foreign_parts(msgspec.json.decode(metrics.read_bytes()))
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise StorageError(f"cannot read {metrics}: {error}", hint="remove the file") from None
    started, end = span_of_run(path)
    end_s = (end - started).total_seconds()
    document = metrics_document(recorded, metrics=kept, marks=marks, other=source, end_s=end_s)
    replace_file(metrics, msgspec.json.encode(document) + b"\n")
    summary = RunDir(path).read_summary()
    summary["probes"] = recorded.figures()
    replace_file(path / "summary.json", msgspec.json.format(msgspec.json.encode(summary)) + b"\n")


def _told(offset: ClockOffset) -> str:
    if offset.how == "same clock":
        return "both ran on one machine since its last boot, so their times are of the same clock"
    assumed = ", as assumed for clocks that no time service keeps" if "assumed" in offset.how else ""
    grows = f", and {offset.drift * 3_600 * 1_000:.0f} ms an hour more" if offset.drift else ""
    return f"times of the file are right within {format_duration(offset.error_ns)}{assumed}{grows}"
