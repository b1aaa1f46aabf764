"""Reads one probe again and again, and turns what it reads into records of the journal.

A failed read becomes a gap with its reason. The operator gets a notice of each new reason. A probe whose reads take
more than 2 % of its period gets twice the period, so that it never becomes a load of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Final, Protocol

from loadgen.errors import LoadgenError
from loadgen.probes.journal import (
    Gap,
    NewRows,
    NewSeries,
    Period,
    Record,
    Sample,
    ServerClock,
    TimedRecord,
    note_record,
    plain_value,
)
from loadgen.probes.kinds import open_reader, secrets_of
from loadgen.probes.reader import Note, NotRead, Reader, Reading, ReadsLate, Tools
from loadgen.probes.rows import Row, Series
from loadgen.probes.running.http_fetch import time_limit_s
from loadgen.probes.spec import ProbeSpec
from loadgen.secret_variable import variable_of
from loadgen.units import NS_PER_S, format_duration

__all__ = ["LAST_S", "Books", "OneProbe"]

_NOTICES_MOST: Final = 5
"""The most notices about gaps of a probe, and the most remarks; the journal has the reason of each gap."""
_COST_SHARE: Final = 0.02
_COST_READS: Final = 10
"""The reads whose median decides about the period. A single slow read decides nothing."""
_EVERY_MOST_NS: Final = 60 * NS_PER_S
"""A period is never doubled beyond this."""
_NOTES_MOST: Final = 100_000
_NOTE_BYTES_MOST: Final = 64 << 20
"""The most notes of a probe and of their bytes; later ones are counted."""
_KEYS_MOST: Final = 20_000
_SPARE_S: Final = 0.5
"""A reader ends by its limit; this is the patience with one that does not."""
LAST_S: Final = 5.0
"""The time for the last values and notes, after the load. The end of the run waits for them."""


class Books(Protocol):
    """Where a probe writes: the journal and figures of a run."""

    def record(self, *records: Record) -> None:
        """Write records."""

    def notice(self, text: str) -> None:
        """Show a notice to the operator."""


class OneProbe:
    """One probe of a run, in the event loop of the probes.

    number: its place in the journal's `Begin`. since_ns: the time from which a server with old values is read.
    """

    def __init__(self, number: int, spec: ProbeSpec, tools: Tools, books: Books, since_ns: int = 0) -> None:
        self.number, self.spec, self._tools, self._books = number, spec, tools, books
        self._since_ns = since_ns or tools.clock()
        self._every_ns = spec.every_ns
        self._rows: dict[str, Row] = {}
        self._series: dict[Series, int] = {}
        self._trouble = ""
        """The reason of the last gap; empty after a sample."""
        self._gap_notices = 0
        self._remarks: set[str] = set()
        self._took_ns: list[int] = []
        self._notes = self._note_bytes = 0
        self._keys: set[str] = set()
        """The keys of marks that are recorded already."""

    async def serve(self, is_ending: Callable[[], bool], begun: Callable[[asyncio.Task[None]], None]) -> None:
        """Read until the task that `begun` gets is cancelled, then read the last values and notes.

        is_ending: whether the run has ended already.
        """
        for name in secrets_of(self.spec):
            if self._tools.secret_of(name) is None:
                self._lacks_secret(name)
                return
        try:
            reader = open_reader(self.spec, self._tools)
        except LoadgenError as error:
            self._books.notice(f"probe {self.spec.name} does not run: {error.message}; {error.hint}")
            self._gap_now(error.message)
            return
        reading = asyncio.ensure_future(self._read_on(reader))
        try:
            if is_ending():
                reading.cancel()
            begun(reading)
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.result()
            await self._read_last(reader)
        finally:
            reading.cancel()
            await reader.close()

    # -- while the run goes on --------------------------------------------------------------------

    async def _read_on(self, reader: Reader) -> None:
        due_s = time.monotonic()
        while True:
            await self._read(reader)
            # Missed times are skipped: after a pause, a burst of requests would load the server.
            every_s = self._every_ns / NS_PER_S
            due_s += every_s * max(1, -(-(time.monotonic() - due_s) // every_s))
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _read(self, reader: Reader) -> None:
        """Read once, and record a sample or a gap."""
        sent_ns, limit_s = self._tools.clock(), time_limit_s(self._every_ns)
        try:
            async with asyncio.timeout(limit_s + _SPARE_S):
                reading = await reader.read(limit_s)
        except NotRead as error:
            self._gap(sent_ns, str(error))
            return
        except TimeoutError:
            self._gap(sent_ns, f"no complete answer within {limit_s:g} s")
            return
        if self._trouble:
            self._books.notice(f"probe {self.spec.name} works again")
            self._trouble = ""
        self._books.record(*self._records(reading))
        for text in reading.remarks:
            self._note(text)
        self._spend(reading)

    def _records(self, reading: Reading) -> Iterable[Record]:
        if rows := tuple(row for row in reading.rows if self._rows.get(row.key) != row):
            self._rows.update({row.key: row for row in rows})
            yield NewRows(self.number, rows)
        wanted = dict.fromkeys((*reading.values, *(one.series for one in reading.timed)))
        if new := tuple(series for series in wanted if series not in self._series):
            first = len(self._series)
            self._series.update({series: first + n for n, series in enumerate(new)})
            yield NewSeries(self.number, first, new)
        if (server := reading.server) is not None:
            yield ServerClock(self.number, server.sent_ns, server.received_ns, server.at_ns, server.resolution_ns)
        for one in reading.timed:
            values = tuple(map(plain_value, one.values))
            yield TimedRecord(self.number, self._series[one.series], one.at_ms, values, one.group)
        yield from self._note_records(reading.notes)
        ids = tuple(self._series[series] for series in reading.values)
        values = tuple(map(plain_value, reading.values.values()))
        yield Sample(self.number, reading.sent_ns, reading.received_ns, ids, values, reading.cost_ns)

    def _note_records(self, notes: Iterable[Note]) -> Iterable[Record]:
        for note in notes:
            key = str(note.body.get("key", ""))
            if key in self._keys:
                continue
            if key and len(self._keys) < _KEYS_MOST:
                self._keys.add(key)
            record = note_record(self.number, note)
            self._notes += 1
            self._note_bytes += len(str(record.body))
            if self._notes > _NOTES_MOST or self._note_bytes > _NOTE_BYTES_MOST:
                self._note(f"later notes are not recorded: a probe records at most {_NOTES_MOST:,}, or 64 MiB")
                return
            yield record

    def _spend(self, reading: Reading) -> None:
        """Double the period if the reads take more than 2 % of it."""
        took_ns = reading.cost_ns if reading.cost_ns is not None else reading.received_ns - reading.sent_ns
        self._took_ns.append(took_ns)
        if len(self._took_ns) < _COST_READS:
            return
        typical_ns = round(median(self._took_ns))
        self._took_ns.clear()
        if typical_ns > _COST_SHARE * self._every_ns and self._every_ns * 2 <= _EVERY_MOST_NS:
            before = format_duration(self._every_ns)
            self._every_ns *= 2
            why = f"a read takes {format_duration(typical_ns)}, more than 2 % of {before}"
            self._books.record(Period(self.number, self._every_ns, why))
            every = format_duration(self._every_ns)
            self._books.notice(f"probe {self.spec.name} is read every {every} from now on: {why}")

    # -- after the load ---------------------------------------------------------------------------

    async def _read_last(self, reader: Reader) -> None:
        """Read late values, and the notes that are read only once. A server that did not answer is not asked again."""
        if self._trouble:
            return
        try:
            async with asyncio.timeout(LAST_S):
                if isinstance(reader, ReadsLate):
                    reading = await reader.late(self._since_ns, LAST_S)
                    self._books.record(*self._records(reading))
                    for text in reading.remarks:
                        self._note(text)
                self._books.record(*self._note_records(await reader.last()))
        except TimeoutError:
            self._books.notice(f"probe {self.spec.name}: its last figures are missing: no answer within {LAST_S:g} s")
        except NotRead as error:
            self._books.record(*self._note_records(error.notes))
            self._books.notice(f"probe {self.spec.name}: its last figures are missing: {error}")

    # -- trouble ----------------------------------------------------------------------------------

    def _lacks_secret(self, name: str) -> None:
        self._books.notice(
            f'probe {self.spec.name} does not run: secret "{name}" is not set at the controller;'
            f" set {variable_of(name)} there before the next run"
        )
        self._gap_now("its secret is not set")

    def _gap_now(self, why: str) -> None:
        now_ns = self._tools.clock()
        self._books.record(Gap(self.number, now_ns, now_ns, why))

    def _gap(self, sent_ns: int, why: str) -> None:
        self._books.record(Gap(self.number, sent_ns, self._tools.clock(), why))
        is_new, self._trouble = why != self._trouble, why
        if is_new and self._gap_notices < _NOTICES_MOST:
            self._gap_notices += 1
            self._books.notice(f"probe {self.spec.name} has a gap: {why}; the run goes on without its figures")

    def _note(self, text: str) -> None:
        if text not in self._remarks and len(self._remarks) < _NOTICES_MOST:
            self._remarks.add(text)
            self._books.notice(f"probe {self.spec.name}: {text}")
