"""`loadgen target`: runs a demo shop to try scenarios on; `loadgen target llm` runs an AI inference server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.target.config import TargetConfig
from loadgen.target.database.settings import MAX_POOL_SIZE, DatabaseConfig
from loadgen.target.llm import program as llm_program
from loadgen.target.llm.config import OPTIONS, LlmConfig
from loadgen.target.llm.server import LlmServer
from loadgen.target.program import run
from loadgen.target.server import Target
from loadgen_controller.console_output import echo

NAME = "target"
EXAMPLES = """[bold]Examples[/bold]

loadgen target --port 8080

loadgen target --port 8080 --stall 500ms --every 5s --path /cart

loadgen target --error-ratio 1% --slow-start 10s

loadgen target --slots 4 --latency 50ms    # at most 80 requests a second

loadgen target --latency 40ms --slower /cart=10%    # a slower release, for the gate to find

loadgen target --database postgresql://shop@127.0.0.1/shop --missing-index    # a slow statement behind /items

loadgen target --database postgresql://shop@127.0.0.1/shop --no-shared-lock    # pools that never wait

loadgen target llm --port 8000    # an AI inference server instead of the shop"""

LLM_EXAMPLES = """[bold]Examples[/bold]

loadgen target llm --port 8000 --ttft 200ms --itl 20ms

loadgen target llm --slots 4 --service 500ms    # at most 8 requests a second

loadgen target llm --script golden --log sends.jsonl

loadgen target llm --synchronous --tokens-per-event 4 --core 1"""

HELP = """Run a demo shop whose latencies follow known, seeded distributions.

The shop has a login with a token, a product list, product pages with a CSRF field, a cart, a checkout and a search.
/stats returns the exact number of requests by path and the histogram of their service times; /metrics is a page for
Prometheus. With --database, the shop also has /items, /items/{id} and /ach. Ctrl-C ends it."""

app = typer.Typer(help=HELP, epilog=EXAMPLES, rich_markup_mode="rich")


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
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
    access_log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append a JSON line for each answer, as loadgen model reads it.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="postgresql://...",
            help="PostgreSQL for /items and /ach, as a URL without password. The shop creates a schema loadgen_shop.",
        ),
    ] = None,
    database_secret: Annotated[
        str | None, typer.Option(metavar="NAME", help="Secret with the password, as LOADGEN_SECRET_NAME.")
    ] = None,
    pool_size: Annotated[
        int | None, typer.Option(min=1, max=MAX_POOL_SIZE, help="Connections of its requests. Default: 10.")
    ] = None,
    pools: Annotated[
        str | None,
        typer.Option(metavar="settle=2,payout=2", help="Background workers that lock the same rows of the ledger."),
    ] = None,
    no_shared_lock: Annotated[
        bool,
        typer.Option("--no-shared-lock", help="With --pools: payout updates no rows that settle updates."),
    ] = False,
    missing_index: Annotated[
        bool, typer.Option("--missing-index", help="Drop the index of items on (tenant, price_cents).")
    ] = False,
    no_prepared_statements: Annotated[
        bool, typer.Option("--no-prepared-statements", help="Prepare no statement, for a PgBouncer that cannot.")
    ] = False,
    spans: Annotated[
        str | None,
        typer.Option(
            metavar="http://127.0.0.1:4318",
            help="OTLP/HTTP receiver of the spans of sampled requests, such as loadgen trace collect.",
        ),
    ] = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
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
        access_log=access_log,
        database=DatabaseConfig.of_options(
            url=database,
            secret=database_secret,
            pool_size=pool_size,
            pools=pools,
            missing_index=missing_index,
            prepares=not no_prepared_statements,
            shared_lock=not no_shared_lock,
            spans_url=spans,
        ),
    )
    run(config, _announce)


def _announce(target: Target) -> None:
    for line in target.notes():
        echo(line)
    echo(f"the demo shop is open at {target.url} (Ctrl-C closes it)")


def _option(name: str, metavar: str | None = None) -> typer.models.OptionInfo:
    """Return an option of the inference server, with the help that `python -m loadgen.target.llm` shows, too."""
    option: typer.models.OptionInfo = typer.Option(f"--{name.replace('_', '-')}", metavar=metavar, help=OPTIONS[name])
    return option


@app.command("llm", epilog=LLM_EXAMPLES)
def llm(
    host: Annotated[str, _option("host")] = "127.0.0.1",
    port: Annotated[int, _option("port")] = 8000,
    seed: Annotated[int, _option("seed")] = 1,
    model: Annotated[list[str] | None, _option("model", "NAME")] = None,
    engine: Annotated[str, _option("engine", "vllm|sglang")] = "vllm",
    ttft: Annotated[str | None, _option("ttft", "200ms")] = None,
    itl: Annotated[str | None, _option("itl", "20ms")] = None,
    per_token: Annotated[str | None, _option("per_token", "50us")] = None,
    slots: Annotated[int, _option("slots")] = 0,
    service: Annotated[str | None, _option("service", "2s")] = None,
    warmup_requests: Annotated[int, _option("warmup_requests")] = 0,
    warmup_penalty: Annotated[str, _option("warmup_penalty", "500ms")] = "500ms",
    jitter: Annotated[str, _option("jitter", "10%")] = "0%",
    tokens_per_event: Annotated[int, _option("tokens_per_event")] = 1,
    output: Annotated[int, _option("output")] = 64,
    context: Annotated[int, _option("context")] = 32_768,
    tokens_per_word: Annotated[float, _option("tokens_per_word")] = 1.0,
    api_key: Annotated[str | None, _option("api_key", "KEY")] = None,
    no_ignore_eos: Annotated[bool, _option("no_ignore_eos")] = False,
    no_prefix_cache: Annotated[bool, _option("no_prefix_cache")] = False,
    synchronous: Annotated[bool, _option("synchronous")] = False,
    script: Annotated[str | None, _option("script", "FILE|NAME")] = None,
    log: Annotated[Path | None, _option("log", "FILE")] = None,
    core: Annotated[int | None, _option("core")] = None,
) -> None:
    """Run an AI inference server without a model, which sends tokens at known times.

    Its APIs are OpenAI's chat completions, completions, responses and embeddings, and Anthropic's messages. The words
    of answers are fixed. Its page /metrics has the metrics of vLLM or SGLang. Ctrl-C ends the server and prints counts.
    """
    config = LlmConfig.of_options(
        host=host,
        port=port,
        seed=seed,
        model=model or (),
        engine=engine,
        ttft=ttft,
        itl=itl,
        per_token=per_token,
        slots=slots,
        service=service,
        warmup_requests=warmup_requests,
        warmup_penalty=warmup_penalty,
        jitter=jitter,
        tokens_per_event=tokens_per_event,
        output=output,
        context=context,
        tokens_per_word=tokens_per_word,
        api_key=api_key,
        no_ignore_eos=no_ignore_eos,
        no_prefix_cache=no_prefix_cache,
        synchronous=synchronous,
        script=script,
        log=log,
        core=core,
    )
    echo(llm_program.run(config, _announce_llm).metrics.summary())


def _announce_llm(server: LlmServer) -> None:
    echo(f"the inference server is open at {server.url} (Ctrl-C closes it)")
