"""`loadgen target`: the demo shop, to try scenarios on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.target import Target, TargetConfig, run
from loadgen_controller.terminal import echo

NAME = "target"
EXAMPLES = """[bold]Examples[/bold]

loadgen target --port 8080

loadgen target --port 8080 --stall 500ms --every 5s --path /cart

loadgen target --error-ratio 1% --slow-start 10s

loadgen target --slots 4 --latency 50ms    # a limit of 80 requests a second

loadgen target --latency 40ms --slower /cart=10%    # as a release may make it, for the gate to find"""


def main(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8080,
    seed: Annotated[int, typer.Option(help="Of latencies and errors: the same seed, the same shop.")] = 1,
    no_latency: Annotated[bool, typer.Option("--no-latency", help="Answer at once.")] = False,
    stall: Annotated[str | None, typer.Option(metavar="500ms", help="Freeze for that long ...")] = None,
    every: Annotated[str | None, typer.Option(metavar="5s", help="... in each of these periods ...")] = None,
    path: Annotated[str | None, typer.Option(metavar="/cart", help="... on this path (all, if not given).")] = None,
    error_ratio: Annotated[str, typer.Option(metavar="1%", help="Share of answers that are 503.")] = "0%",
    slow_start: Annotated[
        str, typer.Option(metavar="10s", help="Ten times slower at first, linearly better within this time.")
    ] = "0s",
    slots: Annotated[
        int, typer.Option(min=0, help="Requests served at a time; the others wait in line. 0: as many as come.")
    ] = 0,
    latency: Annotated[str | None, typer.Option(metavar="50ms", help="Of each request, always the same.")] = None,
    slower: Annotated[
        list[str] | None,
        typer.Option(metavar="/cart=10%", help="This path takes so much longer than it would; repeat it."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Serve TLS with this certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its key.")] = None,
) -> None:
    """Run a demo shop whose latencies follow known, seeded distributions.

    It has a login with a token, product list and pages with a csrf field, a cart, a checkout and a search. /stats has
    the exact count by path and the histogram of what was served. Ctrl-C ends it.
    """
    config = TargetConfig.of_options(
        host=host,
        port=port,
        seed=seed,
        latency=not no_latency,
        stall=stall,
        every=every,
        path=path,
        error_ratio=error_ratio,
        slow_start=slow_start,
        slots=slots,
        always=latency,
        slower=slower or (),
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    run(config, _say)


def _say(target: Target) -> None:
    echo(f"the demo shop is open at {target.url} (Ctrl-C closes it)")
