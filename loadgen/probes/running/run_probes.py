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
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from loadgen.allowlist import Address, AllowList
from loadgen.engine.health.machine_clock import boot_id, wall_error_ns
from loadgen.errors import StorageError
from loadgen.measure.objectives.terms import SloResult
from loadgen.measure.run_folder.rundir import replace_file, utc_text
from loadgen.probes.journal import (
    FORMAT,
    NAME,
    Begin,
    Journal,
    ProbeOfRun,
    Record,
    Zero,
    read_journal,
)
from loadgen.probes.kinds import expected_of, place_text
from loadgen.probes.limits.judge import judge_all
from loadgen.probes.limits.watch import Danger, ProbeWatch
from loadgen.probes.reader import Tools
from loadgen.probes.recorded import Recorded
from loadgen.probes.running.http_fetch import new_loop
from loadgen.probes.running.one_probe import LAST_S, OneProbe
from loadgen.probes.shown.database_facts import DatabaseFacts, databases_of
from loadgen.probes.shown.metrics_file import NAME as METRICS
from loadgen.probes.shown.metrics_file import metrics_document
from loadgen.probes.spec import ProbeSpec, Where

__all__ = ["METRICS", "RunProbes"]

log = logging.getLogger(__name__)

_WRITE_S: Final = 2.0
_WRITE_SHARE: Final = 50
"""The time between two writes of metrics.json, as a multiple of the duration of a write, is at least this."""
_FACTS_SHARE: Final = 100
"""The same for the facts about databases, which take longer: at most 1 % of the time."""
_SYNC_S: Final = 5.0
_PATIENCE_S: Final = 2.0 + LAST_S
"""The longest time that the end of a run waits for the thread. A read is cancelled at once; only the last values and
notes of a probe that has them take time."""


class RunProbes:
    """The probes of one run. Without probes, all methods do nothing.

    Args:
        folder: the run folder.
        clock: the run's clock, ns; the thread calls it, too.
        notice: shows a notice to the operator; called on the run's loop.
        secret_of: returns the value of a secret; None if it is missing on this machine.
        allow: the allow-list, if the run has one.
        where: `at` of the probes that are read here; the others are named in the journal, and added later.
        journal: the name of the journal in the folder.
        since_ns: the time from which servers that keep old values are read; None: the start of the thread.
        watch: looks for a condition of `stop_when`, or a broken objective; None: nothing is watched.
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
        where: Where = "controller",
        journal: str = NAME,
        since_ns: int | None = None,
        watch: ProbeWatch | None = None,
    ) -> None:
        self._specs, self._folder, self._clock = tuple(specs), folder, clock
        self._notice, self._allow = notice, allow
        permit = None if allow is None else self._permit
        self._tools = Tools(clock, secret_of, permit, lambda: self._t0_ns)
        self._where, self._journal_name, self._since_ns = where, journal, since_ns
        self._watch = ProbeWatch(()) if watch is None else watch
        self._recorded = Recorded(keeps=self._watch.keeps)
        self.danger: Danger | None = None
        """Why the run has to end; the run's loop reads it at each tick. None: it may go on."""
        self.judged: tuple[SloResult, ...] = ()
        """The objectives on probes so far, some seconds old at most."""
        self._journal: Journal | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._caller: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._reading: list[asyncio.Task[None]] = []
        """The tasks that end with the load; `_tasks` then read the last values."""
        self._is_ending = False
        self._lock = threading.Lock()
        """A thread holds it while it writes records or makes figures."""
        self._is_over = False
        self._t0_ns: int | None = None
        self._synced_s = self._written_s = 0.0
        self._write_after_s = _WRITE_S
        self._facts: list[DatabaseFacts] = []
        self._facts_due_s = 0.0

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

    def until(self, end_ns: int | None) -> None:
        """Set the planned end of the load after a load change, ns from T0; None: it is not known."""
        self._watch.end_ns = end_ns

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
        if self._t0_ns is not None and self.danger is None:
            for text in self._watch.last_notes(self._clock() - self._t0_ns):
                self._notice(text)
        return self._recorded.figures()

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return the samples and the gaps of each probe so far, by name."""
        with self._lock:
            found = self._recorded.probes.items()
            return {name: (state.reads, len(state.read.gaps)) for name, state in found}

    def cancel(self) -> None:
        """Stop reading at once, without writing a last state. A call after `end` does no harm."""
        self._is_over = True
        self._stop(self._cancel_all)
        # Without a wait, because the thread may hold the lock while a disk is slow; it is a daemon and ends then.
        if self._lock.acquire(blocking=False):
            if self._journal is not None:
                self._journal.close()
            self._lock.release()

    # -- on the run's loop, or in the helper thread of `end` --------------------------------------

    def _open(self) -> None:
        # Of a controller that was restarted within this run.
        for record in read_journal(self._folder, self._journal_name):
            self._recorded.add(record)
        self._journal = Journal(self._folder, self._journal_name)
        probes = tuple(
            ProbeOfRun(
                one.name, place_text(one), one.every_ns, one.preset, expected_of(one), one.kind, self._place(one)
            )
            for one in self._specs
        )
        now = utc_text(datetime.now(UTC))
        self._write(Begin(FORMAT, now, self._clock(), probes, boot_id(), wall_error_ns()))

    def _place(self, spec: ProbeSpec) -> Where:
        return "controller" if spec.at == self._where else "apart"

    def _stop(self, how: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(how)

    def _cancel_reading(self) -> None:
        for task in self._reading:
            task.cancel()

    def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _finish(self) -> None:
        self._is_ending = True
        self._stop(self._cancel_reading)
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
        with self._lock:
            self._is_over = True  # a thread that still hangs writes nothing any more
            self._refresh_facts()
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
            self.notice(f"probes ended: bug in loadgen, please report it: {type(error).__name__}: {error}")
        finally:
            loop.close()

    async def _serve_all(self) -> None:
        self._tasks = [
            asyncio.ensure_future(
                OneProbe(n, spec, self._tools, self, self._since_ns or 0).serve(
                    lambda: self._is_ending, self._reading.append
                )
            )
            for n, spec in enumerate(self._specs)
            if spec.at == self._where
        ]
        if self._is_over:
            self._cancel_all()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in done:
            if isinstance(error, Exception):
                raise error

    def _permit(self, host: str, address: Address, port: int) -> str:
        assert self._allow is not None
        now = datetime.now(UTC)
        if self._allow.entry(host, address, port, now) is not None:
            return ""
        return self._allow.why_not(host, address, port, now)

    # -- for the probes, in the thread -------------------------------------------------------------

    def record(self, *records: Record) -> None:
        """Write records into the journal, and add them to the figures."""
        self._write(*records)
        self._look()
        self._maintain()

    def notice(self, text: str) -> None:
        """Show a notice; any thread may call this."""
        caller = self._caller
        if caller is not None:
            with contextlib.suppress(RuntimeError):  # the run's loop is closed
                caller.call_soon_threadsafe(self._notice, text)

    # -- within -----------------------------------------------------------------------------------

    def _write(self, *records: Record) -> None:
        with self._lock:
            if self._is_over or self._journal is None:
                return
            if self._t0_ns is not None and self._recorded.t0_ns != self._t0_ns:
                records = (Zero(self._t0_ns), *records)
            try:
                self._journal.append(*records)
            except StorageError as error:
                self.notice(f"samples of probes are lost: {error.message}; {error.hint}")
            for record in records:
                self._recorded.add(record)

    def _look(self) -> None:
        """Look whether the target is in danger, or an objective is broken for certain."""
        if not self._watch or self.danger is not None:
            return
        with self._lock:
            self.danger = self._watch.look(self._recorded)
        for note in self._watch.take_notes():
            self.notice(note)

    def _judge(self) -> None:
        """Judge the objectives on probes so far, for the live page."""
        if self._watch.objectives and self._t0_ns is not None:
            now_ns, end_ns = self._clock() - self._t0_ns, self._watch.end_ns
            upto_ns = now_ns if end_ns is None else min(now_ns, end_ns)
            if upto_ns > self._watch.from_ns:
                self.judged = judge_all(
                    self._watch.objectives, self._recorded, self._watch.from_ns, upto_ns, is_over=False
                )

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
                self._refresh_facts()
                began_s = time.monotonic()
                self._write_metrics()
                self._judge()
                self._written_s = time.monotonic()
                self._write_after_s = max(_WRITE_S, _WRITE_SHARE * (self._written_s - began_s))

    def _refresh_facts(self) -> None:
        """Make the facts about databases again, if enough time has passed, and at the end.

        After an hour with many lock chains, that takes 0.8 s, because all notes are read again.
        """
        began_s = time.monotonic()
        if self._is_over or began_s >= self._facts_due_s:
            self._facts = databases_of(self._recorded)
            self._facts_due_s = began_s + max(_WRITE_S, _FACTS_SHARE * (time.monotonic() - began_s))

    def _write_metrics(self) -> None:
        document = metrics_document(self._recorded, databases=self._facts)
        if not document["metrics"] and "marks" not in document:
            return
        try:
            replace_file(self._folder / METRICS, msgspec.json.encode(document) + b"\n", is_durable=False)
        except StorageError as error:
            self.notice(
                f"the live page and the report do not show the newest figures of probes: {error.message}; {error.hint}"
            )
