"""`loadgen target`: runs a demo shop to try scenarios on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.target.config import TargetConfig
from loadgen.target.program import run
from loadgen.target.server import Target
from loadgen_controller.console_output import echo

NAME = "target"
EXAMPLES = """[bold]Examples[/bold]

loadgen target --port 8080

loadgen target --port 8080 --stall 500ms --every 5s --path /cart

loadgen target --error-ratio 1% --slow-start 10s

loadgen target --slots 4 --latency 50ms    # at most 80 requests a second

loadgen target --latency 40ms --slower /cart=10%    # a slower release, for the gate to find"""


def main(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free port.")] = 8080,
    seed: Annotated[int, typer.Option(help="Seed of latencies and errors: the same seed gives the same shop.")] = 1,
    no_latency: Annotated[bool, typer.Option("--no-latency", help="Answer at once.")] = False,
    stall: Annotated[str | None, typer.Option(metavar="500ms", help="Freeze for this long ...")] = None,
    every: Annotated[str | None, typer.Option(metavar="5s", help="... once in each period of this length ...")] = None,
    path: Annotated[str | None, typer.Option(metavar="/cart", help="... on this path. Default: all paths.")] = None,
    error_ratio: Annotated[str, typer.Option(metavar="1%", help="Share of responses with status 503.")] = "0%",
    slow_start: Annotated[
        str, typer.Option(metavar="10s", help="Start ten times slower, and reach full speed linearly within this time.")
    ] = "0s",
    slots: Annotated[
        int, typer.Option(min=0, help="Requests served at the same time; others wait in a queue. 0: no limit.")
    ] = 0,
    latency: Annotated[str | None, typer.Option(metavar="50ms", help="Fixed latency of each request.")] = None,
    slower: Annotated[
        list[str] | None,
        typer.Option(metavar="/cart=10%", help="Make this path slower by this share. Repeatable."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Serve TLS with this certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Key of --tls-cert.")] = None,
) -> None:
    """Run a demo shop whose latencies follow known, seeded distributions.

    The shop has a login with a token, a product list, product pages with a CSRF field, a cart, a checkout and a search.
    /stats returns the exact number of requests by path and the histogram of their service times. Ctrl-C ends it.
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
    run(config, _announce)


def _announce(target: Target) -> None:
    echo(f"the demo shop is open at {target.url} (Ctrl-C closes it)")
