"""`python -m loadgen.target.llm`: as `loadgen target llm`, but without the packages of the command line.

Its first line of output is its URL, printed once the port is open, for programs that start it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from loadgen.errors import LoadgenError
from loadgen.outside_text import block
from loadgen.target.llm.config import OPTIONS, LlmConfig
from loadgen.target.llm.program import run
from loadgen.target.llm.server import LlmServer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server with these arguments, and return its exit code."""
    parser = argparse.ArgumentParser("python -m loadgen.target.llm", description="A scripted AI inference server.")
    types = {"port": int, "seed": int, "slots": int, "warmup_requests": int, "tokens_per_event": int, "output": int}
    types |= {"context": int, "core": int}
    for name, text in OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        help_text = text.replace("%", "%%")
        if name in ("no_ignore_eos", "no_prefix_cache", "synchronous"):
            parser.add_argument(flag, action="store_true", help=help_text)
        elif name == "model":
            parser.add_argument(flag, action="append", default=[], help=help_text)
        elif name == "log":
            parser.add_argument(flag, type=Path, help=help_text)
        elif name == "tokens_per_word":
            parser.add_argument(flag, type=float, help=help_text)
        else:
            parser.add_argument(flag, type=types.get(name, str), help=help_text)
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input ends")
    values = vars(parser.parse_args(argv))
    exit_with_stdin = values.pop("exit_with_stdin")
    try:
        config = LlmConfig.of_options(**{name: value for name, value in values.items() if value is not None})
        run(config, _print_url, exit_with_stdin=exit_with_stdin)
    except LoadgenError as error:
        lines = block(error.message + (f"\n{error.hint}" if error.hint else ""))
        sys.stderr.write("\n  ".join(lines) + "\n")
        return int(error.exit_code)
    return 0


def _print_url(server: LlmServer) -> None:
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
