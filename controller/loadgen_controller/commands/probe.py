"""`loadgen probe`: tries a page of metrics before a run reads it."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.dsl.secret import missing_secrets, secret_value
from loadgen.errors import FleetError, IncompleteError, UsageError
from loadgen.probes.running.look import Look, look_at
from loadgen.probes.metrics_page.presets import PRESETS
from loadgen.probes.metrics_page.settings import rows_of
from loadgen.probes.rows import Row
from loadgen.probes.settings import probe_of
from loadgen.probes.spec import ProbeSpec
from loadgen.report.report_parts import Table
from loadgen.units import format_count, format_duration, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import AllowHostOption
from loadgen_controller.console_output import echo
from loadgen_controller.planning.probe_permission import check_probe
from loadgen_controller.screen.terminal_report import Output, print_table

EXAMPLES = """[bold]Examples[/bold]

loadgen probe check http://127.0.0.1:8000/metrics --preset vllm

loadgen probe check http://127.0.0.1:9100/metrics --metric node_load1 --metric node_cpu_seconds_total

loadgen probe check http://127.0.0.1:9100/metrics"""
_OPTIONS = {
    "url": "URL",
    "preset": "--preset",
    "metrics": "--metric",
    "auth_secret": "--auth-secret",
    "auth_header": "--auth-header",
}
_SHOWN = 40

app = typer.Typer(
    help="Try a page of metrics of the target's side before a run reads it.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Do nothing. Without this function, typer would make `check` the command itself, not its subcommand."""


@app.command("check", epilog=EXAMPLES)
def check(
    url: Annotated[str, typer.Argument(metavar="URL", help="The page, in the text format of Prometheus.")],
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
    """Read a page of metrics once, and show which metrics a probe finds on it and which are missing.

    Without --preset and --metric, it lists the metrics that the page has, at most 40. Exit code 3: a metric is missing.
    Exit code 5: the page cannot be read.
    """
    errors = CollectedErrors()
    # A probe needs a metric, but the list of all metrics uses none: any valid name will do.
    given = {"metrics": metric or ([] if preset else ["up"]), "auth_secret": auth_secret, "auth_header": auth_header}
    spec, wrong = probe_of(None, {"url": url, "preset": preset, **given})
    for key, message, hint in wrong:
        errors.add(f"{_OPTIONS.get(key, key)}: {message.removeprefix(f'{key}: ')}", _as_option(hint))
    if auth_header is not None and auth_secret is None:
        errors.add("--auth-header needs --auth-secret", "name the secret that is sent in this header")
    if spec is not None:
        errors.catch(lambda: check_probe(spec, i_may_load or ()))
    errors.check()
    assert spec is not None
    if spec.auth_secret and secret_value(spec.auth_secret) is None:
        (missing,) = missing_secrets([spec.auth_secret])
        raise UsageError(missing.message, hint=missing.hint)
    (look,) = look_at([spec], secret_value)
    if look.page is None or look.found is None:
        raise FleetError(f"{spec.url} cannot be read: {look.why}", hint=_hint(look))
    size, took = format_count(look.size), format_duration(look.round_trip_ns)
    names, lines = format_count(len(look.page.names)), format_count(len(look.page.samples))
    echo(f"{spec.url}: {size} bytes in {took}, {names} names, {lines} series")
    if not preset and not metric:
        _list_page(look)
        return
    _print_rows(spec, look)
    if look.found.missing:
        raise IncompleteError(
            f"the page does not have {len(look.found.missing)} of {quantity(len(rows_of(spec)), 'metric')}",
            hint=_missing_hint(spec, look),
        )


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
    if "http 401" in look.why or "http 403" in look.why:
        return "the page needs a login: name a secret with --auth-secret"
    if "http 404" in look.why or "HTML" in look.why or "JSON" in look.why:
        return "check the path of the URL; most servers have the page at /metrics"
    needs = "; SGLang needs --enable-metrics" if look.spec.preset == "sglang" else ""
    return f"check the URL, and that this machine reaches the server{needs}"
