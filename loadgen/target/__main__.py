"""`python -m loadgen.target`: as `loadgen target`, but without the `controller` extra.

`python -m loadgen.target llm` runs the AI inference server of `loadgen.target.llm`.

Its first line of output is its URL, printed once the port is open, for programs that start it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loadgen.errors import LoadgenError
from loadgen.outside_text import block
from loadgen.target.config import TargetConfig
from loadgen.target.database.settings import DatabaseConfig
from loadgen.target.program import run
from loadgen.target.server import Target


def main() -> int:
    if sys.argv[1:2] == ["llm"]:
        from loadgen.target.llm.__main__ import main as llm

        return llm(sys.argv[2:])
    parser = argparse.ArgumentParser("python -m loadgen.target", description="A demo shop with known latencies.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="port to listen on; 0 for any free port")
    add("--seed", type=int, default=1, help="seed for latencies and errors")
    add("--no-latency", action="store_true", help="answer without delay")
    add("--stall", metavar="500ms", help="freeze for this long in each period of --every")
    add("--every", metavar="5s", help="period of --stall")
    add("--path", metavar="/cart", help="path that --stall freezes; default: all paths")
    add("--error-ratio", default="0%", metavar="1%", help="share of requests that are answered with 503")
    add("--slow-start", default="0s", metavar="10s", help="start ten times slower, and improve linearly over this time")
    add("--slots", type=int, default=0, help="requests served at a time, while others wait; 0: no limit")
    add("--latency", metavar="50ms", help="use this fixed latency for each request")
    add(
        "--slower",
        action="append",
        default=[],
        metavar="/cart=10%",
        help="slow this path down by that share; repeatable",
    )
    add("--tls-cert", type=Path, metavar="PEM")
    add("--tls-key", type=Path, metavar="PEM")
    add("--access-log", type=Path, metavar="FILE")
    add("--database", metavar="URL", help="PostgreSQL for /items and /ach, as a URL without password")
    add("--database-secret", metavar="NAME", help="secret with the password of the database")
    add("--pool-size", type=int, help="connections of the shop's requests to the database; default: 10")
    add("--pools", metavar="settle=2,payout=2", help="background workers that lock rows of the ledger")
    add("--no-shared-lock", action="store_true", help="payout does not change the rows that settle locks")
    add("--missing-index", action="store_true", help="drop the index of items on (tenant, price_cents)")
    add("--no-prepared-statements", action="store_true", help="prepare no statement, for an old PgBouncer")
    add("--spans", metavar="http://127.0.0.1:4318", help="send spans of sampled requests to this OTLP/HTTP receiver")
    add("--exit-with-stdin", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    try:
        database = DatabaseConfig.of_options(
            url=options.database,
            secret=options.database_secret,
            pool_size=options.pool_size,
            pools=options.pools,
            missing_index=options.missing_index,
            prepares=not options.no_prepared_statements,
            shared_lock=not options.no_shared_lock,
            spans_url=options.spans,
        )
        config = TargetConfig.of_options(
            host=options.host,
            port=options.port,
            seed=options.seed,
            latency=not options.no_latency,
            stall=options.stall,
            every=options.every,
            path=options.path,
            error_ratio=options.error_ratio,
            slow_start=options.slow_start,
            slots=options.slots,
            always=options.latency,
            slower=options.slower,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            access_log=options.access_log,
            database=database,
        )
        run(config, _print_url, exit_with_stdin=options.exit_with_stdin)
    except LoadgenError as error:
        lines = block(error.message + (f"\n{error.hint}" if error.hint else ""))
        sys.stderr.write("\n  ".join(lines) + "\n")
        return int(error.exit_code)
    return 0


def _print_url(target: Target) -> None:
    sys.stdout.write(f"{target.url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
