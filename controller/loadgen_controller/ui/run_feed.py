"""One run that goes on, told to pages: looked at once a second on the loop that conducts it.

Nothing waits for a page and nothing is queued for one: a page says up to which
look it knows the run, and is given what has changed since. So a page that is slow
gets less often more, and one that was away misses nothing.
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
from loadgen.report.charts.planned_rate import planned_by
from loadgen.report.charts.timeline import History
from loadgen.report.document import Facts, changes, document, encode
from loadgen.report.from_run_folder import history_of, verdict_of
from loadgen.report.live_rows import AT_ONCE, Table
from loadgen.report.notebook import open_run
from loadgen.report.slos import slo_row
from loadgen.report.story import targets_in
from loadgen.report.summary_reader import Summary, read
from loadgen.units import NS_PER_MS, NS_PER_S, format_count
from loadgen_controller.core.adjustments import Adjustment, as_rows
from loadgen_controller.run.view import ViewState

__all__ = ["LOOK_S", "Conducted", "Event", "Telling"]

LOOK_S: Final = 1.0
_MARKS: Final = 1_000

Event = tuple[str, bytes]


class Conducted(Protocol):
    """A conductor, as far as it is told of."""

    @property
    def run_id(self) -> str: ...

    @property
    def started_at(self) -> datetime: ...

    @property
    def adjustments(self) -> tuple[Adjustment, ...]: ...

    def view(self) -> ViewState: ...


class Telling:
    """Make it within the running loop; `serve` looks until it is cancelled, `end` tells the last of it."""

    def __init__(self, conductor: Conducted) -> None:
        self.run_id = conductor.run_id
        self.is_over = False
        self.news = asyncio.Event()
        """Set, and another one put in its place, when there is something new."""
        self._conductor = conductor
        self._view = conductor.view()
        self._merge = self._view.merge
        self._history = History(self._view.spec.interval_ns, seq=_first_seq())
        self._table = self._new_table()
        self._summary: Summary | None = None
        self._facts: Facts | None = None
        self._encoded: dict[int, list[Event]] = {}
        """By the seq that is known; of the look that was last."""
        self._states: dict[str, str] = {}
        self._marks: list[Mapping[str, object]] = []

    @property
    def seq(self) -> int:
        return self._history.seq

    async def serve(self) -> None:
        while True:
            if self._conductor.view().merge is not self._merge:
                await self.recall()
            self.look()
            await asyncio.sleep(LOOK_S)

    async def recall(self) -> None:
        """The run was taken up from its folder by this controller: so is its history, up to the windows that are kept.

        A log that cannot be read costs the page what was before.
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

    def look(self) -> None:
        """Cost: `python -m bench history`; what pages are told of it is made when one asks."""
        view = self._view = self._conductor.view()
        live = {agent.id for agent in view.agents if agent.state not in ("lost", "finished")}
        window = view.merge.latest_window(live or None, view.clock_ns)
        upto = None if self.is_over else -1 if window is None else window.k
        self._history.look(view.merge, upto=upto, planned=planned_by(view.spec), is_over=self.is_over)
        is_warmup = 0 < view.clock_ns < view.spec.warmup_ns
        self._table.look(view.merge, warmup=is_warmup, at_once=None if self.is_over else AT_ONCE)
        self._mark(view)
        self._facts = None
        self._encoded.clear()
        news, self.news = self.news, asyncio.Event()
        news.set()

    def end(self, summary: Mapping[str, object] | None) -> None:
        """The run is over; of a summary its verdict is told."""
        self.is_over = True
        self._summary = None if summary is None else read(summary)
        self.look()
        if self._summary is not None:
            self._table.take(self._summary)

    def line(self) -> dict[str, object]:
        """For the list of runs."""
        view = self._view
        return {
            "scenario": view.spec.scenario,
            "phase": view.phase.value,
            "result": None,
            "started_at": utc_text(self._conductor.started_at),
        }

    def document(self) -> bytes:
        return encode(document(self._history, self._table, self._told()))

    def changes(self, after_seq: int) -> list[Event]:
        """What makes the document of `after_seq` the present one. Made once for all pages that know as much."""
        found = self._encoded.get(after_seq)
        if found is None:
            made = changes(self._history, self._table, self._told(), after_seq)
            found = self._encoded[after_seq] = [(event, encode(data)) for event, data in made]
        return found

    # -- within -----------------------------------------------------------------------------------

    def _told(self) -> Facts:
        if self._facts is None:
            self._facts = self._facts_of(self._view)
        return self._facts

    def _facts_of(self, view: ViewState) -> Facts:
        spec, summary = view.spec, self._summary
        adjusted = [
            {name: row[name] for name in ("at_s", "kind", "text")} for row in as_rows(self._conductor.adjustments)
        ]
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
                "phase": "done" if self.is_over else "paused" if view.is_paused else view.phase.value,
                "clock_s": round(view.clock_ns / NS_PER_S, 3) if summary is None else summary.duration_s,
                "duration_s": spec.duration_ns / NS_PER_S if spec.duration_ns else None,
                "interval_s": spec.interval_ns / NS_PER_S,
                "agents": max(len(view.agents), view.agents_wanted),
            },
            verdict=None if summary is None else verdict_of(summary, targets_in(spec.target, spec.targets)),
            slos=list(_slos(view) if summary is None else map(slo_row, summary.slos)),
            warmup_s=cut_s or spec.warmup_ns / NS_PER_S,
            trace_url=(spec.trace.link or None) if spec.trace is not None else None,
            marks=sorted([*adjusted, *self._marks], key=lambda mark: float(str(mark["at_s"]))),
            agents=list(_agents(view)),
            done={agent.id: self.is_over or agent.state == "finished" for agent in view.agents},
            notes=[*(view.notices if summary is None else summary.notes), *self._late()],
        )

    def _late(self) -> Iterator[str]:
        if self.is_over and not self._history.is_exact:
            late = format_count(self._history.late.requests_finished)
            yield f"{late} requests came too late to be in a slot of this page; loadgen report has them in theirs"

    def _mark(self, view: ViewState) -> None:
        """Agents that were lost, or came back, since the last look."""
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
    """Greater than any of a controller before this one: else a page would take its history for the same."""
    return time.time_ns() // NS_PER_MS


def _slos(view: ViewState) -> Iterator[dict[str, object]]:
    spec: PlanSpec = view.spec
    end_ns = max(0, view.clock_ns) if spec.duration_ns is None else min(max(0, view.clock_ns), spec.duration_ns)
    names = [journey.name for journey in spec.journeys]
    for result in evaluate_all(
        spec.slos, view.merge, journeys=names, from_ns=spec.warmup_ns, end_ns=end_ns, is_over=False
    ):
        yield slo_row(result)


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
