"""Starts the processes that parse logs, sends them inputs, and receives their results.

The workers have a process group of their own, so Ctrl-C in the terminal reaches only this process, which ends them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import Final, Self

from loadgen.errors import BugError, FleetError, LoadgenError, UsageError
from loadgen.traffic.inputs.log_input import LogInput
from loadgen.traffic.parallel.messages import (
    Begin,
    Done,
    Failed,
    FromWorker,
    Parse,
    ToWorker,
    frame,
    message_of,
    read_frame,
)
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.reading.parse_input import ParsedInput
from loadgen.traffic.reading.row_batches import RowBatch

__all__ = ["WorkerPool"]

_AHEAD: Final = 2
"""Tasks that a worker has at a time, so that it need not wait for the next one."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    number: int
    tasks: set[int] = field(default_factory=set)

    @property
    def output(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def send(self, message: ToWorker) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the worker has ended; the end of its output shows how
            self.process.stdin.write(frame(message))

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


class WorkerPool:
    """Processes that parse logs. Use it in a `with` block, which ends them."""

    def __init__(self, size: int, options: LogOptions, salt: bytes) -> None:
        self._workers: list[_Worker] = []
        self._begin = Begin(options, salt)
        self._size = size

    def __enter__(self) -> Self:
        # A library that numpy loads would otherwise start a thread for each core, in each worker.
        variables = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        errors = None if "LOADGEN_DEBUG" in os.environ else subprocess.DEVNULL
        try:
            for number in range(1, self._size + 1):
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "loadgen.traffic.parallel.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    bufsize=0,
                    env=variables,
                    process_group=0,
                )
                self._workers.append(_Worker(process, number))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            with worker.process:  # closes the pipes and waits
                pass

    def run(
        self,
        tasks: Iterable[tuple[int, LogInput]],
        take_batch: Callable[[RowBatch, int], None],
        take_result: Callable[[int, ParsedInput], None],
    ) -> None:
        """Parse the inputs, and pass on batches with the number of their process, from 1, and results in any order.

        Raises:
            UsageError: an input cannot be parsed. Of several such inputs, the first one counts.
            BugError: a worker ended or failed.
        """
        waiting = iter(tasks)
        failures: dict[int, LoadgenError] = {}
        with DefaultSelector() as selector:
            for worker in self._workers:
                worker.send(self._begin)
                self._give(worker, waiting)
                selector.register(worker.output, EVENT_READ, worker)
            while selector.get_map():
                for key, _ in selector.select():
                    worker = key.data
                    message = self._message(worker)
                    match message:
                        case RowBatch():
                            take_batch(message, worker.number)
                        case Done(task, parsed):
                            worker.tasks.discard(task)
                            take_result(task, parsed)
                            self._give(worker, () if failures else waiting)
                        case Failed(task):
                            worker.tasks.discard(task)
                            failures[task] = _error_of(message)
                            self._give(worker, ())
                        case None:
                            selector.unregister(worker.output)
                            self._check_end(worker)
        if failures:
            # Tasks are given out in order, so no task before the first failure is missing here.
            raise failures[min(failures)]

    def _give(self, worker: _Worker, waiting: Iterable[tuple[int, LogInput]]) -> None:
        """Send tasks to a worker until it has enough. Without tasks, the end of its input makes it end."""
        for number, source in waiting:
            worker.tasks.add(number)
            worker.send(Parse(number, source))
            if len(worker.tasks) == _AHEAD:
                return
        if not worker.tasks:
            worker.end_input()

    def _message(self, worker: _Worker) -> FromWorker | None:
        data = read_frame(lambda size: os.read(worker.output, size))
        return None if data is None else message_of(data)

    def _check_end(self, worker: _Worker) -> None:
        code = worker.process.wait()
        if code == 0 and not worker.tasks:
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise FleetError(
            f"a process that parses logs ended with {how}",
            hint="the system may have killed it because memory was short: try a smaller --jobs, such as --jobs 1",
        )


def _error_of(failed: Failed) -> LoadgenError:
    if failed.is_usage:
        return UsageError(failed.message, hint=failed.hint)
    return BugError(failed.message, hint="report it with the format of the log; LOADGEN_DEBUG=1 shows the traceback")
