"""Reads the probes of one run in a thread of the controller's process.

The thread begins with the start of the run's agents, and ends with the run. Its event loop is its own, so
neither DNS nor a server that hangs ever delays the run. A failed read is recorded as a gap with its reason, and the
operator gets one notice. Samples go into `probes.log` at once. For the live page and the report, `metrics.json` is
written again every 2 s, or less often, so that writing takes at most 2 % of the time.

The run's own loop calls the public methods. They block for microseconds; `end` takes longer and is awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.allowlist import Address, AllowList
from loadgen.errors import StorageError
from loadgen.measure.run_folder.rundir import replace_file, utc_text
from loadgen.probes.exposition import BadPage, parse
from loadgen.probes.journal import (
    FORMAT,
    Begin,
    Gap,
    Journal,
    NewRows,
    NewSeries,
    ProbeOfRun,
    Record,
    Sample,
    Zero,
    plain_value,
    read_journal,
)
from loadgen.probes.presets import Row
from loadgen.probes.recorded import Recorded
from loadgen.probes.scrape import NotFetched, Scraper, new_loop, time_limit_s
from loadgen.probes.selection import GAUGE_SERIES_MOST, SERIES_MOST, Series, names_wanted, select
from loadgen.probes.settings import ProbeSpec
from loadgen.secret_variable import variable_of
from loadgen.units import NS_PER_S

__all__ = ["METRICS", "RunProbes", "document_of"]

log = logging.getLogger(__name__)

METRICS: Final = "metrics.json"
_WRITE_S: Final = 2.0
_WRITE_SHARE: Final = 50
"""The time between two writes of metrics.json, as a multiple of the duration of a write, is at least this."""
_SYNC_S: Final = 5.0
_NOTICES_MOST: Final = 5
"""The most notices about gaps of a probe; the journal has the reason of each."""
_PATIENCE_S: Final = 2.0
"""The longest time that the end of a run waits for the thread. A fetch is cancelled at once."""


@dataclass(slots=True)
class _Probe:
    """The state of one probe within the thread."""

    number: int
    spec: ProbeSpec
    scraper: Scraper
    rows: tuple[Row, ...]
    wanted: frozenset[str]
    found_rows: dict[str, Row]
    series: dict[Series, int]
    trouble: str = ""
    """The reason of the last gap; empty after a sample."""
    gap_notices: int = 0
    """The number of notices about gaps that were shown."""
    has_shown_limits: bool = False
    """Whether the notice about dropped series was shown."""


class RunProbes:
    """The probes of one run. Without probes, all methods do nothing.

    Args:
        folder: the run folder.
        clock: the run's clock, ns; the thread calls it, too.
        notice: shows a notice to the operator; called on the run's loop.
        secret_of: returns the value of a secret; None if it is missing on this machine.
        allow: the allow-list, if the run has one.
    """

    def __init__(
        self,
        specs: Sequence[ProbeSpec],
        folder: Path,
        *,
        clock: Callable[[], int],
        notice: Callable[[str], None],
        secret_of: Callable[[str], str | None],
        allow: AllowList | None = None,
    ) -> None:
        self._specs, self._folder, self._clock = tuple(specs), folder, clock
        self._notice, self._secret_of, self._allow = notice, secret_of, allow
        self._recorded = Recorded()
        self._journal: Journal | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._caller: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._lock = threading.Lock()
        """A thread holds it while it writes records or makes figures."""
        self._is_over = False
        self._t0_ns: int | None = None
        self._synced_s = self._written_s = 0.0
        self._write_after_s = _WRITE_S

    def begin(self, t0_ns: int | None = None) -> None:
        """Start the thread; call it on the run's loop. t0_ns: T0 of a run that is continued."""
        if not self._specs:
            return
        self._caller = asyncio.get_running_loop()
        try:
            self._open()
        except StorageError as error:
            self._notice(f"probes do not run: {error.message}; {error.hint}")
            return
        if t0_ns is not None:
            self.start_at(t0_ns)
        self._thread = threading.Thread(target=self._serve, name="probes", daemon=True)
        self._thread.start()

    def start_at(self, t0_ns: int) -> None:
        """Set T0, the start of the load, in ns of the run's clock. The thread writes it with the next record."""
        self._t0_ns = t0_ns

    async def end(self) -> list[dict[str, Any]]:
        """Stop reading, write the last state, and return the probes' rows of the summary."""
        if self._journal is None:
            return []
        await asyncio.to_thread(self._finish)
        for state in self._recorded.probes.values():
            if state.points.samples and (missing := state.missing):
                self._notice(
                    f"probe {state.probe.name}: its page never had {', '.join(missing)}; run loadgen probe check, and"
                    " compare the server's version and options"
                )
        return self._recorded.figures()

    def cancel(self) -> None:
        """Stop reading at once, without writing a last state. A call after `end` does no harm."""
        self._is_over = True
        self._stop()
        # Without a wait, because the thread may hold the lock while a disk is slow; it is a daemon and ends then.
        if self._lock.acquire(blocking=False):
            if self._journal is not None:
                self._journal.close()
            self._lock.release()

    # -- on the run's loop, or in the helper thread of `end` --------------------------------------

    def _open(self) -> None:
        for record in read_journal(self._folder):  # of a controller that was restarted within this run
            self._recorded.add(record)
        self._journal = Journal(self._folder)
        probes = tuple(
            ProbeOfRun(
                one.name,
                one.url,
                one.every_ns,
                one.preset,
                {row.key: row.names[0] for row in one.rows if not row.is_optional},
            )
            for one in self._specs
        )
        self._record(Begin(FORMAT, utc_text(datetime.now(UTC)), self._clock(), probes))

    def _stop(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(self._cancel_tasks)

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _finish(self) -> None:
        self._stop()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
        with self._lock:
            self._is_over = True  # a thread that still hangs writes nothing any more
            self._write_metrics()
            if self._journal is not None:
                self._journal.sync()
                self._journal.close()

    # -- the thread -------------------------------------------------------------------------------

    def _serve(self) -> None:
        self._loop = loop = new_loop()
        try:
            loop.run_until_complete(self._serve_all())
        except Exception as error:  # caught here, because a bug in a probe must not end the run
            log.exception("the probes failed")
            self._say(f"probes ended: bug in loadgen, please report it: {type(error).__name__}: {error}")
        finally:
            loop.close()

    async def _serve_all(self) -> None:
        self._tasks = [asyncio.ensure_future(self._serve_one(n, spec)) for n, spec in enumerate(self._specs)]
        if self._is_over:
            self._cancel_tasks()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in done:
            if isinstance(error, Exception):
                raise error

    async def _serve_one(self, number: int, spec: ProbeSpec) -> None:
        secret = self._secret_of(spec.auth_secret) if spec.auth_secret else ""
        if secret is None:
            variable = variable_of(spec.auth_secret)
            self._say(
                f'probe {spec.name} does not run: secret "{spec.auth_secret}" is not set at the controller;'
                f" set {variable} there before the next run"
            )
            now_ns = self._clock()
            self._record(Gap(number, now_ns, now_ns, "its secret is not set"))
            return
        scraper = Scraper(spec, self._clock, secret, None if self._allow is None else self._permit)
        probe = _Probe(number, spec, scraper, spec.rows, names_wanted(spec.rows), {}, {})
        every_s = spec.every_ns / NS_PER_S
        due_s = time.monotonic()
        try:
            while True:
                await self._sample(probe)
                # Missed times are skipped: after a pause, a burst of requests would load the server.
                due_s += every_s * max(1, -(-(time.monotonic() - due_s) // every_s))
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        finally:
            await scraper.close()

    async def _sample(self, probe: _Probe) -> None:
        """Fetch the page once, and record a sample or a gap."""
        sent_ns = self._clock()
        try:
            page = await probe.scraper.fetch(time_limit_s(probe.spec.every_ns))
            found = select(probe.rows, parse(page.body, probe.wanted.__contains__))
        except NotFetched as error:
            self._gap(probe, sent_ns, str(error))
            return
        except BadPage as error:
            self._gap(probe, sent_ns, f"the page is not used: {error}")
            return
        if not found.rows:
            self._gap(probe, sent_ns, "none of the probe's metrics is on the page")
            return
        if probe.trouble:
            self._say(f"probe {probe.spec.name} works again")
            probe.trouble = ""
        if found.left_out and not probe.has_shown_limits:
            probe.has_shown_limits = True
            self._say(
                f"probe {probe.spec.name}: {found.left_out} series {'is' if found.left_out == 1 else 'are'} not"
                f" recorded: a probe records at most {SERIES_MOST:,} series, and {GAUGE_SERIES_MOST} of a named gauge"
            )
        records: list[Record] = []
        if rows := tuple(row for row in found.rows if probe.found_rows.get(row.key) != row):
            probe.found_rows.update({row.key: row for row in rows})
            records.append(NewRows(probe.number, rows))
        if new := tuple(series for series in found.values if series not in probe.series):
            first = len(probe.series)
            probe.series.update({series: first + n for n, series in enumerate(new)})
            records.append(NewSeries(probe.number, first, new))
        ids = tuple(probe.series[series] for series in found.values)
        values = tuple(map(plain_value, found.values.values()))
        self._record(*records, Sample(probe.number, page.sent_ns, page.received_ns, ids, values))
        self._maintain()

    def _gap(self, probe: _Probe, sent_ns: int, why: str) -> None:
        self._record(Gap(probe.number, sent_ns, self._clock(), why))
        is_new, probe.trouble = why != probe.trouble, why
        if is_new and probe.gap_notices < _NOTICES_MOST:
            probe.gap_notices += 1
            self._say(f"probe {probe.spec.name} has a gap: {why}; the run goes on without its figures")
        self._maintain()

    def _permit(self, host: str, address: Address, port: int) -> str:
        assert self._allow is not None
        now = datetime.now(UTC)
        if self._allow.entry(host, address, port, now) is not None:
            return ""
        return self._allow.why_not(host, address, port, now)

    def _record(self, *records: Record) -> None:
        """Write records into the journal, and add them to the figures."""
        with self._lock:
            if self._is_over or self._journal is None:
                return
            if self._t0_ns is not None and self._recorded.t0_ns != self._t0_ns:
                records = (Zero(self._t0_ns), *records)
            try:
                self._journal.append(*records)
            except StorageError as error:
                self._say(f"samples of probes are lost: {error.message}; {error.hint}")
            for record in records:
                self._recorded.add(record)

    def _maintain(self) -> None:
        """Make the journal durable and write metrics.json, each if enough time has passed since the last time."""
        now_s = time.monotonic()
        with self._lock:
            if self._is_over or self._journal is None:
                return
            if now_s - self._synced_s >= _SYNC_S:
                self._journal.sync()
                self._synced_s = now_s
            if now_s - self._written_s >= self._write_after_s:
                self._write_metrics()
                self._written_s = time.monotonic()
                self._write_after_s = max(_WRITE_S, _WRITE_SHARE * (self._written_s - now_s))

    def _write_metrics(self) -> None:
        lanes = self._recorded.lanes()
        if not lanes:
            return
        try:
            replace_file(self._folder / METRICS, document_of(lanes), is_durable=False)
        except StorageError as error:
            self._say(
                f"the live page and the report do not show the newest figures of probes: {error.message}; {error.hint}"
            )

    def _say(self, text: str) -> None:
        """Show a notice; any thread may call this."""
        caller = self._caller
        if caller is not None:
            with contextlib.suppress(RuntimeError):  # the run's loop is closed
                caller.call_soon_threadsafe(self._notice, text)


def document_of(lanes: Iterable[dict[str, object]], source: str = "probes") -> bytes:
    """Return the bytes of `metrics.json` with these lanes."""
    return msgspec.json.encode({"format": 1, "source": source, "metrics": list(lanes)}) + b"\n"
