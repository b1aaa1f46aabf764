"""`python -m loadgen.target`: the same as `loadgen target`, without the extra `controller` installed.

Its first line of output is the URL, once the port is open: for programs that start it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loadgen.errors import LoadgenError
from loadgen.outside_text import block
from loadgen.target import Target, TargetConfig, run


def main() -> int:
    parser = argparse.ArgumentParser("python -m loadgen.target", description="A demo shop with known latencies.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0: any free one")
    add("--seed", type=int, default=1, help="of latencies and errors")
    add("--no-latency", action="store_true", help="answer at once")
    add("--stall", metavar="500ms", help="freeze for that long ...")
    add("--every", metavar="5s", help="... in each of these periods ...")
    add("--path", metavar="/cart", help="... on this path (all, if not given)")
    add("--error-ratio", default="0%", metavar="1%", help="share of 503s")
    add("--slow-start", default="0s", metavar="10s", help="ten times slower at first, linearly better within this time")
    add("--slots", type=int, default=0, help="requests served at a time; the others wait. 0: as many as come")
    add("--latency", metavar="50ms", help="of each request, always the same")
    add("--slower", action="append", default=[], metavar="/cart=10%", help="this path takes so much longer; repeat it")
    add("--tls-cert", type=Path, metavar="PEM")
    add("--tls-key", type=Path, metavar="PEM")
    add("--exit-with-stdin", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    try:
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
        )
        run(config, _say, exit_with_stdin=options.exit_with_stdin)
    except LoadgenError as error:
        lines = block(error.message + (f"\n{error.hint}" if error.hint else ""))
        sys.stderr.write("\n  ".join(lines) + "\n")
        return int(error.exit_code)
    return 0


def _say(target: Target) -> None:
    sys.stdout.write(f"{target.url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
