"""`loadgen probe check`: reads the server of a probe once, and shows what a run would get of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from loadgen.dsl.find_settings import FILE_NAME, find_settings
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.dsl.secret import missing_secrets, secret_value
from loadgen.errors import FleetError, IncompleteError, LoadgenError, UsageError
from loadgen.probes.kinds import place_text, secrets_of
from loadgen.probes.metrics_page.presets import PRESETS
from loadgen.probes.metrics_page.settings import rows_of
from loadgen.probes.rows import Row
from loadgen.probes.running.look import Look, look_at
from loadgen.probes.settings import probe_of
from loadgen.probes.spec import ProbeSpec
from loadgen.report.report_parts import Table
from loadgen.similar_names import did_you_mean
from loadgen.units import format_count, format_duration, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import AllowHostOption
from loadgen_controller.console_output import echo, echo_error, echo_warning
from loadgen_controller.planning.probe_permission import check_probe
from loadgen_controller.screen.terminal_report import Output, print_table

__all__ = ["CHECK", "check", "probes_of_file"]

CHECK = """[bold]Examples[/bold]

loadgen probe check http://127.0.0.1:8000/metrics --preset vllm

loadgen probe check http://127.0.0.1:9100/metrics --metric node_load1 --metric node_cpu_seconds_total

loadgen probe check http://127.0.0.1:9100/metrics

loadgen probe check shopdb

loadgen probe check loadgen.toml"""
_OPTIONS = {
    "url": "URL",
    "preset": "--preset",
    "metrics": "--metric",
    "auth_secret": "--auth-secret",
    "auth_header": "--auth-header",
}
_SHOWN = 40


def check(
    what: Annotated[
        str,
        typer.Argument(
            metavar="URL|NAME|FILE",
            help="A page of metrics; or the name of a probe of loadgen.toml; or such a file, for all of its probes.",
        ),
    ],
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Look for the metrics of this server: vllm or sglang.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Look for this metric: its name without labels. Repeatable."),
    ] = None,
    auth_secret: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the secret to send: metrics-login is read from LOADGEN_SECRET_METRICS_LOGIN.",
        ),
    ] = None,
    auth_header: Annotated[
        str | None, typer.Option(metavar="NAME", help="Header that contains the secret. Default: Authorization.")
    ] = None,
    i_may_load: AllowHostOption = None,
) -> None:
    """Read the server of a probe once, and show its figures and all that is missing.

    For a page without --preset and --metric, it lists the metrics that the page has, at most 40. Exit code 3: something
    is missing. Exit code 5: the server cannot be read.
    """
    if not _is_url(what):
        _refuse_options(preset, metric, auth_secret, auth_header)
        _check_all(_chosen(what), i_may_load or ())
        return
    errors = CollectedErrors()
    # A probe needs a metric, but the list of all metrics uses none: any valid name will do.
    given = {"metrics": metric or ([] if preset else ["up"]), "auth_secret": auth_secret, "auth_header": auth_header}
    spec, wrong = probe_of(None, {"url": what, "preset": preset, **given})
    for key, message, hint in wrong:
        errors.add(f"{_OPTIONS.get(key, key)}: {message.removeprefix(f'{key}: ')}", _as_option(hint))
    if auth_header is not None and auth_secret is None:
        errors.add("--auth-header needs --auth-secret", "name the secret that is sent in this header")
    if spec is not None:
        errors.catch(lambda: check_probe(spec, i_may_load or ()))
    errors.check()
    assert spec is not None
    _need_secrets([spec])
    (look,) = look_at([spec], secret_value)
    _show(look, is_chosen=bool(preset or metric))


def probes_of_file(path: Path, names: Collection[str] = ()) -> tuple[ProbeSpec, ...]:
    """Return the probes of a `loadgen.toml`; with names, only these.

    Raises:
        UsageError: the file has no probe, or none of a name. ScenarioError: the file has errors.
    """
    probes = read_settings(path).probes
    if not probes:
        raise UsageError(f"{path} has no probe", hint="write a table such as [probes.shopdb], see docs/probes.md")
    known = {one.name: one for one in probes}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"the file has {', '.join(known)}"
            raise UsageError(f'{path} has no probe "{name}"', hint=hint)
    return tuple(known[name] for name in names) if names else probes


# -- within ---------------------------------------------------------------------------------------


def _is_url(text: str) -> bool:
    return "://" in text


def _chosen(what: str) -> tuple[ProbeSpec, ...]:
    path = Path(what)
    if path.is_file():
        return probes_of_file(path)
    found = find_settings(Path("scenario.py"))
    if path.suffix == ".toml" or "/" in what:
        raise UsageError(f"{what}: no such file", hint="give a loadgen.toml, the name of a probe in it, or a URL")
    if found is None:
        raise UsageError(
            f'no {FILE_NAME} in this folder or above, which could have the probe "{what}"',
            hint="give a URL with http://, or the path of a loadgen.toml",
        )
    return probes_of_file(found, [what])


def _refuse_options(*given: object) -> None:
    if any(given):
        raise UsageError(
            "--preset, --metric, --auth-secret and --auth-header need a URL", hint="a probe of a file has its own"
        )


def _need_secrets(specs: Collection[ProbeSpec]) -> None:
    errors = CollectedErrors()
    for fault in missing_secrets(dict.fromkeys(name for spec in specs for name in secrets_of(spec))):
        errors.add(fault.message, fault.hint)
    errors.check()


def _check_all(specs: Collection[ProbeSpec], named: Collection[str]) -> None:
    errors = CollectedErrors()
    for spec in specs:
        errors.catch(lambda spec=spec: check_probe(spec, named))  # type: ignore[misc]
    errors.catch(lambda: _need_secrets(specs))
    errors.check()
    failed: list[LoadgenError] = []
    for look in look_at(tuple(specs), secret_value):
        if len(specs) > 1:
            echo(f"probe {look.spec.name}")
        try:
            _show(look, is_chosen=True)
        except LoadgenError as error:
            failed.append(error)
            if len(specs) > 1:
                echo_error(error.message, error.hint)
    if failed and len(specs) > 1:
        raise type(failed[0])(
            f"{len(failed)} of {quantity(len(specs), 'probe')} cannot be read, or miss something",
            hint="see the errors above",
        )
    if failed:
        raise failed[0]


def _show(look: Look, *, is_chosen: bool) -> None:
    spec = look.spec
    if look.why:
        raise FleetError(f"{place_text(spec)} cannot be read: {look.why}", hint=_hint(look))
    if look.reading is not None:
        _show_reading(look)
        return
    assert look.page is not None
    assert look.found is not None
    size, took = format_count(look.size), format_duration(look.round_trip_ns)
    names, lines = format_count(len(look.page.names)), format_count(len(look.page.samples))
    echo(f"{spec.url}: {size} bytes in {took}, {names} names, {lines} series")
    if not is_chosen:
        _list_page(look)
        return
    _print_rows(spec, look)
    if look.found.missing:
        raise IncompleteError(
            f"the page does not have {len(look.found.missing)} of {quantity(len(rows_of(spec)), 'metric')}",
            hint=_missing_hint(spec, look),
        )


def _show_reading(look: Look) -> None:
    """Show a reading of a server without a page."""
    reading = look.reading
    assert reading is not None
    took = format_duration(look.round_trip_ns)
    echo(f"{place_text(look.spec)}: {quantity(len(reading.rows), 'row')} in {took}")
    now = {row.key: 0.0 for row in reading.rows}
    parts: Counter[str] = Counter()
    for series, value in reading.values.items():
        if series.part == "value" and series.row in now:
            now[series.row] += value
            parts[series.row] += 1
    for one in reading.timed:
        if one.series.part == "value" and one.series.row in now:
            now[one.series.row] += one.values[-1]
            parts[one.series.row] += 1
    of = {row.key: 0.0 for row in reading.rows}
    for series, value in reading.values.items():
        if series.part == "of" and series.row in of:
            of[series.row] += value
    for one in reading.timed:
        if one.series.part == "of" and one.series.row in of:
            of[one.series.row] += one.values[-1]
    cells = [
        (row.title, row.kind, _now(row, now[row.key], of[row.key]) if parts[row.key] else "-") for row in reading.rows
    ]
    print_table(Output(), Table("", ("", "kind", "now"), tuple(cells[:_SHOWN]), words=2))
    if len(cells) > _SHOWN:
        echo(f"and {len(cells) - _SHOWN} more")
    if notes := Counter(note.kind for note in reading.notes):
        echo("notes: " + ", ".join(f"{count} of the kind {kind}" for kind, count in sorted(notes.items())))
    for text in reading.remarks:
        echo_warning(text)
    if reading.remarks:
        raise IncompleteError(
            f"{place_text(look.spec)} does not give all that the probe reads", hint="see the warnings above"
        )


def _now(row: Row, value: float, of: float) -> str:
    """Return the value of a row as text. A share is two counters since the start of the server."""
    if row.kind == "share":
        return f"{value:.6g} of {of:.6g}"
    return f"{value * (row.scale if row.kind == 'gauge' else 1.0):.6g}"


def _print_rows(spec: ProbeSpec, look: Look) -> None:
    assert look.found is not None
    cells = []
    for row in look.found.rows:
        values = {series: value for series, value in look.found.values.items() if series.row == row.key}
        name = next(series.name for series in values)
        shown = quantity(len(values), "bucket") if row.kind == "histogram" else f"{sum(values.values()):.6g}"
        if row.kind == "share":
            parts = [sum(v for s, v in values.items() if s.part == part) for part in ("value", "of")]
            shown = f"{parts[0]:.6g} of {parts[1]:.6g}"
        cells.append((row.title, name, shown))
    missing = [(row.title, row.names[0], "missing") for row in look.found.missing]
    optional = [(row.title, row.names[0], "optional") for row in _absent(spec, look) if row.is_optional]
    columns = ("", "metric", "now")
    print_table(Output(), Table("", columns, (*cells, *missing, *optional), words=2))


def _absent(spec: ProbeSpec, look: Look) -> list[Row]:
    assert look.found is not None
    there = {row.key.partition("[")[0] for row in look.found.rows}
    return [row for row in rows_of(spec) if row.key not in there]


def _list_page(look: Look) -> None:
    assert look.page is not None
    types = sorted(look.page.types.items()) or [(name, "untyped") for name in sorted(look.page.names)]
    print_table(Output(), Table("", ("metric", "type"), tuple(types[:_SHOWN]), words=2))
    if len(types) > _SHOWN:
        echo(f"and {len(types) - _SHOWN} more")


def _as_option(hint: str) -> str:
    return hint.replace("write auth_secret instead", "name a secret with --auth-secret instead")


def _missing_hint(spec: ProbeSpec, look: Look) -> str:
    assert look.page is not None
    names = look.page.names
    for other, rows in PRESETS.items():
        if other != spec.preset and look.found is not None and not look.found.rows and rows[0].names[0] in names:
            return f"the page has the metrics of {other}: write --preset {other}"
    return "a run shows the others; check the version and the options of the server"


def _hint(look: Look) -> str:
    if look.spec.kind != "metrics":
        return "check the settings of the probe, and that this machine reaches the server"
    if "http 401" in look.why or "http 403" in look.why:
        return "the page needs a login: name a secret with --auth-secret"
    if "http 404" in look.why or "HTML" in look.why or "JSON" in look.why:
        return "check the path of the URL; most servers have the page at /metrics"
    needs = "; SGLang needs --enable-metrics" if look.spec.preset == "sglang" else ""
    return f"check the URL, and that this machine reaches the server{needs}"
