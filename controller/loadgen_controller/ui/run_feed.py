"""Feeds pages with the changes of a running run, once a second, on the loop that conducts the run.

Nothing waits for a page and nothing is queued for it. A page sends the sequence number that it has, and gets everything
that has changed since. So a slow page gets larger changes less often, and a page that reconnects misses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, Protocol

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import LoadgenError
from loadgen.measure.objectives.objective import evaluate_all
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.probes.limits.objective import rows_of
from loadgen.report.charts.planned_rate import planned_by
from loadgen.report.charts.timeline_data import History
from loadgen.report.executive_summary import targets_in
from loadgen.report.from_run_folder import history_of, verdict_of
from loadgen.report.front_page import cover_of
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.run_json_document import Facts, changes, document, encode
from loadgen.report.run_page_table import AT_ONCE, Table
from loadgen.report.slos import slo_row
from loadgen.report.summary_reader import Summary, read
from loadgen.report.target_side.database_tables import page_databases
from loadgen.report.target_side.marks import page_marks
from loadgen.report.target_side.metrics_file import NAME as METRICS
from loadgen.report.target_side.metrics_file import TargetSide, read_target_side
from loadgen.report.why_slow.readable_so_far import readable_text
from loadgen.units import NS_PER_MS, NS_PER_S, format_count
from loadgen_controller.core.load_change_messages import Adjustment, as_rows
from loadgen_controller.run.view import ViewState

__all__ = ["LOOK_S", "Conducted", "Event", "RunFeed"]

LOOK_S: Final = 1.0
WATCHED_S: Final = 10.0
"""A feed counts as watched for this time after a page has read it. An open page reads it each second."""
_MARKS: Final = 1_000

Event = tuple[str, bytes]


class Conducted(Protocol):
    """The part of a conductor that a feed needs."""

    @property
    def run_id(self) -> str: ...

    @property
    def started_at(self) -> datetime: ...

    @property
    def adjustments(self) -> tuple[Adjustment, ...]: ...

    def view(self) -> ViewState: ...


class RunFeed:
    """The feed of one run. Create it in the running loop; run `serve` as a task, cancel it, and then call `end`."""

    def __init__(self, conductor: Conducted) -> None:
        self.run_id = conductor.run_id
        self.is_over = False
        self.news = asyncio.Event()
        """Is set when there are new changes; then a new event replaces it."""
        self._conductor = conductor
        self._view = conductor.view()
        self._merge = self._view.merge
        self._history = History(self._view.spec.interval_ns, seq=_first_seq())
        self._table = self._new_table()
        self._summary: Summary | None = None
        self._facts: Facts | None = None
        self._encoded: dict[int, list[Event]] = {}
        """The present changes by the sequence number that a page has."""
        self._states: dict[str, str] = {}
        self._marks: list[Mapping[str, object]] = []
        self._side = TargetSide()
        self._read_s = -WATCHED_S
        """When a page last read the feed, on the monotonic clock."""
        self._is_table_old = False
        """Whether the table of percentiles was left out in the last update, because no page was open."""
        self._metrics_ns = 0
        """The modification time of the metrics file that was read last."""

    @property
    def seq(self) -> int:
        """Return the sequence number of the feed's present state."""
        return self._history.seq

    async def serve(self) -> None:
        """Update the data that pages receive about this run once a second, until cancelled."""
        while True:
            if self._conductor.view().merge is not self._merge:
                await self.recall()
            self.look(with_table=time.monotonic() - self._read_s < WATCHED_S)
            await asyncio.sleep(LOOK_S)

    async def recall(self) -> None:
        """Read the timeline of a recovered run from its folder, up to the intervals that are in memory anyway.

        If the log cannot be read, the page begins with the intervals in memory.
        """
        view = self._conductor.view()
        self._merge, kept = view.merge, view.merge.windows()
        before = kept[0].k if kept else 0
        if before and view.run_dir is not None:
            with contextlib.suppress(LoadgenError):
                run = open_run(view.run_dir)
                self._history, _ = await asyncio.to_thread(history_of, run, before, _first_seq())
                self._table = self._new_table()

    def _new_table(self) -> Table:
        return Table(self._history, self._view.spec.warmup_ns / NS_PER_S)

    def look(self, *, with_table: bool = True) -> None:
        """Update the feed from the present state of the run, and wake the pages that wait for news.

        Changes for pages are computed only when a page asks for them.

        with_table: whether to update the table of percentiles. If not, the next page that reads the feed updates it.

        Cost: `python -m bench history`.
        """
        view = self._view = self._conductor.view()
        window = view.merge.latest_window(view.live or None, view.clock_ns)
        upto = None if self.is_over else -1 if window is None else window.k
        self._history.look(view.merge, upto=upto, planned=planned_by(view.spec), is_over=self.is_over)
        self._is_table_old = not with_table
        if with_table:
            self._update_table(None if self.is_over else AT_ONCE)
        self._mark(view)
        self._read_metrics(view)
        self._facts = None
        self._encoded.clear()
        # Replaced, not cleared: each waiter of the old event wakes, and one that waits again at once waits for the next
        # change.
        news, self.news = self.news, asyncio.Event()
        news.set()

    def _update_table(self, at_once: int | None) -> None:
        """Compute the percentiles of the next `at_once` rows of the table; None: of all."""
        view = self._view
        is_warmup = 0 < view.clock_ns < view.spec.warmup_ns
        self._table.look(view.merge, warmup=is_warmup, at_once=at_once)

    def _is_read(self) -> None:
        """Note that a page reads the feed now, and update the table if it was left out."""
        self._read_s = time.monotonic()
        if self._is_table_old:
            self._is_table_old = False
            self._update_table(None)

    def end(self, summary: Mapping[str, object] | None) -> None:
        """Update the data for pages for the last time, with the verdict. summary: None if the run failed with a bug."""
        self.is_over = True
        self._summary = None if summary is None else read(summary)
        self.look()
        if self._summary is not None:
            self._table.take(self._summary)

    def line(self) -> dict[str, object]:
        """Return the run's entry for the list of runs, without its id."""
        view = self._view
        return {
            "scenario": view.spec.scenario,
            "phase": view.phase.value,
            "result": None,
            "started_at": utc_text(self._conductor.started_at),
        }

    def document(self) -> bytes:
        """Return everything that the page shows of the run, as one JSON document."""
        self._is_read()
        return encode(document(self._history, self._table, self._present_facts()))

    def changes(self, after_seq: int) -> list[Event]:
        """Return the events that turn the document with number `after_seq` into the present one.

        They are computed once for all pages.
        """
        self._is_read()
        found = self._encoded.get(after_seq)
        if found is None:
            made = changes(self._history, self._table, self._present_facts(), after_seq)
            found = self._encoded[after_seq] = [(event, encode(data)) for event, data in made]
        return found

    # -- within -----------------------------------------------------------------------------------

    def _present_facts(self) -> Facts:
        if self._facts is None:
            self._facts = self._facts_of(self._view)
        return self._facts

    def _read_metrics(self, view: ViewState) -> None:
        """Read the target's metrics from the run folder, if something has written them since the last update."""
        if view.run_dir is None:
            return
        try:
            changed_ns = (view.run_dir / METRICS).stat().st_mtime_ns
        except OSError:
            return
        if changed_ns != self._metrics_ns:
            named = rows_of(view.spec.probe_slos)
            self._side, self._metrics_ns = read_target_side(view.run_dir, named), changed_ns

    def _facts_of(self, view: ViewState) -> Facts:
        spec, summary = view.spec, self._summary
        adjusted = [
            {name: row[name] for name in ("at_s", "kind", "text")} for row in as_rows(self._conductor.adjustments)
        ]
        cover = cover_of(scenario=spec.scenario, plan=spec.name, doc=spec.doc, owner=spec.owner, labels=spec.labels)
        cut_s = summary.warmup.cut_s if summary is not None and summary.warmup is not None else 0.0
        return Facts(
            run={
                "id": view.run_id,
                "scenario": spec.scenario,
                "plan": spec.name,
                "placement": "embedded" if view.is_embedded else "fleet",
                "started_at": utc_text(self._conductor.started_at),
                "load": spec.load,
                "open": spec.is_open,
                "clock": spec.http.get("clock", "loop") if summary is None else summary.clock.in_force,
                "phase": "done" if self.is_over else "paused" if view.is_paused else view.phase.value,
                "clock_s": round(view.clock_ns / NS_PER_S, 3) if summary is None else summary.duration_s,
                "duration_s": spec.duration_ns / NS_PER_S if spec.duration_ns else None,
                "interval_s": spec.interval_ns / NS_PER_S,
                "agents": max(len(view.agents), view.agents_wanted),
                "title": cover.title,
                "owner": cover.owner,
                "labels": spec.labels,
            },
            verdict=None if summary is None else verdict_of(summary, targets_in(spec.target, spec.targets)),
            slos=list(_slos(view) if summary is None else map(slo_row, summary.slos)),
            warmup_s=cut_s or spec.warmup_ns / NS_PER_S,
            trace_url=(spec.trace.link or None) if spec.trace is not None else None,
            marks=page_marks([*adjusted, *self._marks], self._side.marks),
            agents=list(_agents(view)),
            done={agent.id: self.is_over or agent.state == "finished" for agent in view.agents},
            notes=[*(view.notices if summary is None else summary.notes), *self._late()],
            metrics=self._side.lanes,
            databases=page_databases(self._side.databases),
        )

    def _late(self) -> Iterator[str]:
        if self.is_over and not self._history.is_exact:
            late = format_count(self._history.late.requests_finished)
            yield f"{late} requests were reported too late for the charts of this page; loadgen report includes them"

    def _mark(self, view: ViewState) -> None:
        """Mark in the timeline which agents were lost or came back since the last update."""
        for agent in view.agents:
            before = self._states.get(agent.id)
            self._states[agent.id] = agent.state
            if before is None or "lost" not in (before, agent.state) or before == agent.state:
                continue
            if len(self._marks) < _MARKS and view.clock_ns > 0:
                is_lost = agent.state == "lost"
                text = f"agent {agent.id} " + (f"is lost: {agent.note}" if is_lost else "is back")
                kind = "agent lost" if is_lost else "agent back"
                self._marks.append({"at_s": round(view.clock_ns / NS_PER_S, 3), "kind": kind, "text": text})


def _first_seq() -> int:
    """Return a sequence number above all those of an earlier controller.

    Otherwise a page would not notice that the timeline was reloaded.
    """
    return time.time_ns() // NS_PER_MS


def _slos(view: ViewState) -> Iterator[dict[str, object]]:
    spec: PlanSpec = view.spec
    end_ns = max(0, view.clock_ns) if spec.duration_ns is None else min(max(0, view.clock_ns), spec.duration_ns)
    names = [journey.name for journey in spec.journeys]
    for result in evaluate_all(
        spec.slos, view.merge, journeys=names, from_ns=spec.warmup_ns, end_ns=end_ns, is_over=False
    ):
        traces = "" if spec.trace is None else readable_text(result, spec.slos, view.merge.exemplars)
        yield slo_row(result) | {"traces": traces}
    for result in view.of_probes:
        yield slo_row(result) | {"traces": ""}


def _agents(view: ViewState) -> Iterator[dict[str, object]]:
    for agent in view.agents:
        fitness = view.merge.fitness.get(agent.id)
        yield {
            "id": agent.id,
            "region": agent.region,
            "state": agent.state,
            "requests": view.merge.counters(agent=agent.id).requests_finished,
            "missing": None,
            "unfit_s": fitness.unfit_spans if fitness else [],
            "note": agent.note,
        }
