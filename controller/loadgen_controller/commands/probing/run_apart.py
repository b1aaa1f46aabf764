"""`loadgen probe run`: reads probes without a run, beside their server, into a journal that is added to a run later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from loadgen.dsl.secret import missing_secrets, secret_value
from loadgen.errors import FleetError, IncompleteError, StorageError
from loadgen.probes.kinds import secrets_of
from loadgen.probes.running.http_fetch import new_loop
from loadgen.probes.running.run_probes import RunProbes
from loadgen.probes.spec import ProbeSpec
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.units import NS_PER_S, format_count, parse_duration
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.probing.check_servers import probes_of_file
from loadgen_controller.commands.shared_options import AllowHostOption
from loadgen_controller.console_output import echo
from loadgen_controller.launch.signals import Stopping
from loadgen_controller.planning.probe_permission import check_probe
from loadgen_controller.screen.terminal_report import Output, print_table

__all__ = ["RUN", "run"]

RUN = """[bold]Examples[/bold]

loadgen probe run loadgen.toml --for 15m -o db.probes

loadgen probe run loadgen.toml --probe shopdb -o db.probes

loadgen probe add last db.probes    # on the machine with the run"""
_LINE_S = 10.0


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=r"A loadgen.toml with tables \[probes.NAME].")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The journal to write; it must not exist.")
    ],
    length: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End after this time, such as 15m. Default: at Ctrl-C.")
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help='Read this probe. Repeatable. Default: those with at = "apart"; all, if the file has none of these.',
        ),
    ] = None,
    i_may_load: AllowHostOption = None,
) -> None:
    """Read probes without a run, for example on the machine of a database that the controller cannot reach.

    Begin before the run and end after it: the time before the load is the baseline. Times are those of this
    machine's clock; `loadgen probe add` joins the journal with the run. Ctrl-C ends it and keeps what was read.

    Exit code 3: a probe has no samples. Exit code 5: no probe has samples.
    """
    errors = CollectedErrors()
    length_ns = errors.parse("--for", length, parse_duration)
    specs = errors.catch(lambda: probes_of_file(file, probe or ())) or ()
    if not probe:
        specs = tuple(one for one in specs if one.at == "apart") or specs
    for one in specs:
        errors.catch(lambda one=one: check_probe(one, i_may_load or ()))  # type: ignore[misc]
    for fault in missing_secrets(dict.fromkeys(name for one in specs for name in secrets_of(one))):
        errors.add(fault.message, fault.hint)
    errors.check_file("--output", output)
    if output.exists():
        errors.add(f"--output: {output} exists", "name a new file, or remove it first")
    if length_ns is not None and length_ns < NS_PER_S:
        errors.add("--for must be at least 1s", "write --for 15m")
    errors.check()
    here = [msgspec.structs.replace(one, at="apart") for one in specs]
    with asyncio.Runner(loop_factory=new_loop) as runner:
        figures = runner.run(_read(here, output, length_ns))
    _report(figures, output)


async def _read(specs: Sequence[ProbeSpec], output: Path, length_ns: int | None) -> list[dict[str, Any]]:
    """Read until the time is over or the user stops it, and return the figures of each probe."""
    is_over = asyncio.Event()
    trouble: list[str] = []

    def notice(text: str) -> None:
        if text.startswith("probes do not run"):
            trouble.append(text)
        else:
            echo(f"note: {text.replace('; the run goes on without its figures', '')}", err=True)

    probes = RunProbes(
        specs,
        output.parent,
        clock=time.perf_counter_ns,
        notice=notice,
        secret_of=secret_value,
        where="apart",
        journal=output.name,
    )
    probes.begin()
    if trouble:
        raise StorageError(trouble[0], hint="name a file in a folder that you can write to")
    names = ", ".join(one.name for one in specs)
    until = "until Ctrl-C" if length_ns is None else f"for {length_ns / NS_PER_S:g} s, or until Ctrl-C"
    echo(f"reading {names} {until}, into {output}", err=True)
    end_s = None if length_ns is None else time.monotonic() + length_ns / NS_PER_S
    began_s = time.monotonic()
    with Stopping(lambda _reason, _now: is_over.set()).on_signals(asyncio.get_running_loop()):
        while not is_over.is_set():
            now_s = time.monotonic()
            left_s = _LINE_S if end_s is None else min(_LINE_S, end_s - now_s)
            if left_s <= 0:
                break
            try:
                async with asyncio.timeout(left_s):
                    await is_over.wait()
            except TimeoutError:
                if end_s is None or time.monotonic() < end_s:
                    counts = ", ".join(f"{name} {_counted(*of)}" for name, of in probes.counts().items())
                    echo(f"{time.monotonic() - began_s:.0f} s: {counts}", err=True)
        figures = await probes.end()
    probes.cancel()
    return figures


def _counted(samples: int, gaps: int) -> str:
    text = f"{format_count(samples)} {'sample' if samples == 1 else 'samples'}"
    return f"{text}, {format_count(gaps)} {'gap' if gaps == 1 else 'gaps'}" if gaps else text


def _report(figures: Sequence[dict[str, Any]], output: Path) -> None:
    cells = tuple(
        (
            one["name"],
            format_count(one["samples"]),
            format_count(one["gaps"]),
            format_count(one["notes"]),
            PLACEHOLDER if one["mean_read_ms"] is None else f"{one['mean_read_ms']:.3g} ms",
        )
        for one in figures
    )
    print_table(Output(), Table("", ("probe", "samples", "gaps", "notes", "mean read"), cells, words=1))
    echo(f"written to {output}; on the machine with the run: loadgen probe add RUN {output.name}")
    empty = [one for one in figures if not one["samples"]]
    if empty:
        why = "; ".join(f"{one['name']}: {one['last_gap'] or 'nothing was read'}" for one in empty)
        raise (FleetError if len(empty) == len(figures) else IncompleteError)(
            f"no samples of {why}", hint="try it with: loadgen probe check"
        )
