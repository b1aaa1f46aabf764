"""The first pass over the logs: all lines are parsed, and their rows go to the partitions.

With several jobs, other processes parse the inputs, and send packed batches of rows. This process numbers the paths of
all batches in the one table of all paths. The number of processes makes no difference to the result, unless the paths
exceed the limit of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loadgen.traffic.inputs.log_input import LogInput
from loadgen.traffic.names.path_table import PathTable
from loadgen.traffic.parallel.tasks import tasks_of, worth_of
from loadgen.traffic.parallel.worker_pool import WorkerPool
from loadgen.traffic.reading.intake import Intake
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.reading.parse_input import InputParser, ParsedInput
from loadgen.traffic.reading.partitions import Partitions, PathNumbers
from loadgen.traffic.reading.row_batches import RowBatch
from loadgen.traffic.rows.accounting import Accounting

__all__ = ["FirstPass"]

_LEAST_BYTES: Final = 24 << 20
"""The start of a process takes about as long as the parsing of this many bytes of lines."""


class FirstPass:
    """Parses inputs.

    accounting: of all inputs. mappings: of JSON files, by name. beginnings: the inputs by the hash of their first
    lines.
    """

    def __init__(self, paths: PathTable, partitions: Partitions) -> None:
        self._paths, self._partitions = paths, partitions
        self.accounting = Accounting()
        self.mappings: dict[str, dict[str, str]] = {}
        self.beginnings: dict[str, list[str]] = {}
        self._numbers: dict[int, PathNumbers] = {}
        self._lines: dict[str, int] = {}
        self._ahead: dict[int, ParsedInput] = {}

    def read(self, inputs: Iterable[LogInput], options: LogOptions, salt: bytes) -> None:
        """Parse all inputs.

        Raises:
            UsageError: an input cannot be read, or its format is unknown.
            StorageError: the temporary file cannot be written.
            BugError: a process of the parsing ended.
        """
        sources = list(inputs)
        jobs = min(options.jobs, sum(map(worth_of, sources)) // _LEAST_BYTES)
        tasks = tasks_of(sources) if jobs > 1 else sources
        # Only this process can read its own standard input and pipes.
        here = [number for number, task in enumerate(tasks) if jobs < 2 or task.kind == "stream"]
        elsewhere = sorted(set(range(len(tasks))) - set(here))
        self._next = 0
        self._tasks = tasks
        if here:
            intake = Intake(self._take_batch, salt, options)
            parser = InputParser(intake, options)
            for number in here:
                self._take_result(number, parser.parse(tasks[number]))
            intake.end_batch()
        if elsewhere:
            with WorkerPool(min(jobs, len(elsewhere)), options, salt) as pool:
                pool.run([(number, tasks[number]) for number in elsewhere], self._take_batch, self._take_result)
        assert not self._ahead

    def _take_batch(self, batch: RowBatch, sender: int = 0) -> None:
        """Add a batch of a process. sender: 0 is this process."""
        if batch.restarts:
            self._numbers[sender] = PathNumbers()
        self._numbers[sender].extend(self._paths.add(batch.paths))
        self._partitions.add(batch, self._numbers[sender])

    def _take_result(self, number: int, parsed: ParsedInput) -> None:
        """Add the counts of a task, after those of all tasks before it: the lines before a range must be known."""
        self._ahead[number] = parsed
        while (found := self._ahead.pop(self._next, None)) is not None:
            name = self._tasks[self._next].name
            before = self._lines.get(name, 0)
            self.accounting.add(found.accounting, before)
            self._lines[name] = before + found.accounting.read
            if found.beginning:
                self.beginnings.setdefault(found.beginning, []).append(name)
            if found.mapping:
                self.mappings[name] = found.mapping
            self._next += 1
