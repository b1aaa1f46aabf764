"""A process that parses logs: it reads inputs from standard input, and writes batches of rows to standard output.

It ends when its standard input ends, also if the process of the command was killed.
"""

from __future__ import annotations

import os
import sys
import traceback

from loadgen.errors import UsageError
from loadgen.outside_text import one_line
from loadgen.traffic.parallel.messages import (
    Begin,
    Done,
    Failed,
    FromWorker,
    begin_of,
    frame,
    parse_of,
    read_frame,
)
from loadgen.traffic.reading.intake import Intake
from loadgen.traffic.reading.parse_input import InputParser

__all__ = ["main"]


def main() -> None:
    """Parse inputs until there are no more."""
    source = sys.stdin.buffer
    first = read_frame(source.read)
    if first is None:
        return
    try:
        _work(begin_of(first))
    except BrokenPipeError:
        # The command has ended: nobody needs the result. The dup2 keeps Python from failing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _work(begin: Begin) -> None:
    options = begin.options
    intake = Intake(_send, begin.salt, options)
    parser = InputParser(intake, options)
    while (message := read_frame(sys.stdin.buffer.read)) is not None:
        order = parse_of(message)
        try:
            _send(Done(order.task, parser.parse(order.source)))
        except UsageError as error:
            _send(Failed(order.task, True, error.message, error.hint))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001  # the command shows it: a worker has no terminal
            if "LOADGEN_DEBUG" in os.environ:
                for line in traceback.format_exc().splitlines():
                    os.write(sys.stderr.fileno(), f"{one_line(line)}\n".encode())
            _send(Failed(order.task, False, f"{type(error).__name__}: {error}", ""))
    intake.end_batch()
    sys.stdout.buffer.flush()


def _send(message: FromWorker) -> None:
    sys.stdout.buffer.write(frame(message))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
