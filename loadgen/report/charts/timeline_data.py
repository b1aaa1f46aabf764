"""Store one run over time for charts: merged histograms and counts by time slot, in bounded memory.

During a run, `look` reads the intervals that changed since its last call from the
windows of the merge. After a run, `from_run_folder.py` feeds the log. Both give the
same sums. There are at most 720 slots; with more, slots double in length
(`time_slots.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Health
from loadgen.measure.deltas.series_key import OTHER
from loadgen.measure.histograms.counts_of_all_series import Stats
from loadgen.measure.histograms.histogram import SLOTS, Counts
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import Row, Window
from loadgen.measure.results.figures import PERCENTILES, Figure
from loadgen.report.charts.bulk_percentiles import COARSE, Line, lines_of
from loadgen.report.charts.heat import EDGES_MS, heat_of
from loadgen.report.charts.interval_counters import Intervals
from loadgen.report.charts.series_to_chart_lines import ERRORS, Chart, Lines
from loadgen.report.charts.time_slots import NOTHING, Ring, Sums
from loadgen.units import NS_PER_S

__all__ = ["SLOTS_MOST", "SPARKS_MOST", "History", "Planned"]

SLOTS_MOST: Final = 720
SPARKS_MOST: Final = 60
STREAM_HEAT: Final = ("ttft", "itl")
"""The metrics of requests to AI models that have a heatmap."""
_BYTES: Final = 32 << 20
"""The memory limit of the slots' histograms, and again of the rows'. Beyond it, slots become longer."""
_US_PER_MS: Final = 1_000

Planned = Callable[[int, int], tuple[float | None, float | None]]
"""A function (start_ns, end_ns) -> (planned iterations/s, users at the end); None if the load has no such plan."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The values that charts show of one slot. `lines` is by line number."""

    lines: list[Line | None]
    heat: list[int]
    stream_heat: dict[str, list[int]]
    """By metric of requests to AI models; empty if the run has none."""


@dataclass(frozen=True, slots=True)
class _Sparks:
    """The values of one spark slot, by row number."""

    p95: list[Figure]
    counts: list[int]


class History:
    """The timeline of one run. Not thread-safe; reads no clock.

    `seq` grows with each `look`; `slots_after` returns the slots that changed after a `seq`.
    """

    def __init__(
        self, interval_ns: int = NS_PER_S, slots: int = SLOTS_MOST, sparks: int = SPARKS_MOST, seq: int = 0
    ) -> None:
        """
        Args:
            slots, sparks: the largest number of slots of the charts, and of each row of the table.
            seq: the first sequence number. It must be greater than that of any earlier timeline of the run, so that
                a page does not mix up two of them.
        """
        self.interval_ns = interval_ns
        self.lines = Lines()
        self.intervals = Intervals()
        self.seq = self.longer_seq = seq
        """The `seq` at which slots last became longer. A page with an older `seq` must fetch the whole document."""
        self._slots, self._sparks = Ring(slots, _BYTES), Ring(sparks, _BYTES)
        self._revisions: dict[int, int] = {}
        """The revision of each kept window at the last `look`."""
        self._changed: dict[int, int] = {}
        """By slot, the `seq` of its last change."""
        self._drawn: dict[int, _Drawn] = {}
        self._drawn_sparks: dict[int, _Sparks] = {}
        self._agent_counters = Counters()
        self._is_over = False

    def __repr__(self) -> str:
        return f"<History of {self.intervals.count} intervals in {self.count} slots of {self.length_s:g} s>"

    # -- taking in --------------------------------------------------------------------------------

    def look(
        self, merge: Merge, *, upto: int | None = None, planned: Planned | None = None, is_over: bool = False
    ) -> None:
        """Read all changed windows of the merge. Cost: 10 ms for a changed window with 200 rows in 3 regions.

        Args:
            upto: the newest interval to read, because newer ones are not complete yet; None reads all.
            is_over: the run has ended, so the last slot is shown even if the run does not fill it.
        """
        self.seq += 1
        self._is_over = is_over
        self._agent_counters = merge.counters()
        had_streams = self.has_streams
        self.lines.learn(merge.names)
        if self.has_streams and not had_streams:  # earlier slots get columns that they did not have
            self._changed = dict.fromkeys(range(self._slots.count), self.seq)
        kept = merge.windows()
        for window in kept:
            if self._revisions.get(window.k) != window.revision and (upto is None or window.k <= upto):
                self._revisions[window.k] = window.revision
                self._take(window)
        oldest = kept[0].k if kept else 0
        for k in [k for k in self._revisions if k < oldest]:
            del self._revisions[k]
            self._longer(self._slots.settle(k))
            if self._sparks.settle(k):
                self._drawn_sparks.clear()
        if planned is not None:
            self.plan(planned)

    def _take(self, window: Window) -> None:
        split = self.lines.split(*window.sparse())
        self.intervals.put(window.k, window.counters(), split.errors, window.health, split.tokens)
        self._longer(self._slots.put(window.k, split.sums))
        if self._sparks.put(window.k, split.rows):
            self._drawn_sparks.clear()
        self._touch(window.k)

    def add(self, k: int, counters: Sequence[int], parts: tuple[Counts, Counts, Stats] | None = None) -> None:
        """Add values to interval `k` that `look` does not see, for example late ones.

        `counters` are in the order of COUNTER_NAMES. `parts` are the arguments of `Store.add`; `lines.learn` must
        know their series.
        """
        split = None if parts is None else self.lines.split(*parts)
        if split is None:
            self.intervals.add(k, counters)
        else:
            self.intervals.add(k, counters, split.errors, split.tokens)
            self._longer(self._slots.add(k, split.sums))
            if self._sparks.add(k, split.rows):
                self._drawn_sparks.clear()
        self._touch(k)

    def report(self, k: int, health: Mapping[str, Health]) -> None:
        """Add the health of agents for an interval that `look` does not read. Call it once per agent and interval."""
        self.intervals.report(k, health)
        self._touch(k)

    def end(self, counters: Counters) -> None:
        """Mark the run as ended. `counters` are the totals of all agents."""
        self.seq += 1
        self._agent_counters, self._is_over = counters, True

    def plan(self, planned: Planned) -> None:
        """Set the plan of each interval that has none yet."""
        for k in range(self.intervals.planned_to, self.intervals.count):
            rate, users = planned(k * self.interval_ns, (k + 1) * self.interval_ns)
            self.intervals.plan(k, None if rate is None else rate * self.interval_ns / NS_PER_S, users)

    def _touch(self, k: int) -> None:
        slot = k // self._slots.span
        self._changed[slot] = self.seq
        self._drawn.pop(slot, None)
        self._drawn_sparks.pop(k // self._sparks.span, None)

    def _longer(self, is_longer: bool) -> None:
        if is_longer:
            self.longer_seq = self.seq
            self._drawn.clear()
            self._changed = dict.fromkeys(range(self._slots.count), self.seq)

    # -- state ----------------------------------------------------------------------------

    @property
    def has_streams(self) -> bool:
        """Whether the run has requests to AI models."""
        return ("streams", "ttft") in self.lines.lines

    @property
    def span(self) -> int:
        """Intervals in a slot."""
        return self._slots.span

    @property
    def length_s(self) -> float:
        return self._slots.span * self.interval_ns / NS_PER_S

    @property
    def spark_length_s(self) -> float:
        return self._sparks.span * self.interval_ns / NS_PER_S

    @property
    def count(self) -> int:
        """The number of complete slots; after the run, of all slots."""
        return (self.intervals.count + (self.span - 1 if self._is_over else 0)) // self.span

    @property
    def late(self) -> Counters:
        """The counts that arrived too late for any slot. The run folder's log has them."""
        return self._agent_counters - self.intervals.totals()

    @property
    def is_exact(self) -> bool:
        """Whether every count is in a slot."""
        late = self.late
        return not any(getattr(late, name) for name in COUNTER_NAMES)

    @property
    def size_bytes(self) -> int:
        """The size of the histograms."""
        return self._slots.size_bytes + self._sparks.size_bytes

    def slots_after(self, seq: int) -> Iterator[tuple[int, int]]:
        """Yield [from, to) of slots that changed after `seq`, ascending. Changes at most 3 slots apart are one span."""
        found: list[int] | None = None
        for slot in sorted(slot for slot, changed in self._changed.items() if changed > seq and slot < self.count):
            if found is not None and slot <= found[1] + 3:
                found[1] = slot + 1
                continue
            if found is not None:
                yield found[0], found[1]
            found = [slot, slot + 1]
        if found is not None:
            yield found[0], found[1]

    # -- columns ----------------------------------------------------------------------------------

    def columns(self, agents: Mapping[str, bool], first: int = 0, end: int | None = None) -> dict[str, object]:
        """Return `slots` of the document for slots [first, end). `agents` is as in `Intervals.reported`."""
        where = self._where(first, end)
        of, length_s = self.intervals, self.length_s
        reported, expected = of.reported(*where, agents)
        return {
            "reported": reported,
            "agents": expected,
            "offered_per_s": [None if n is None else round(n / length_s, 3) for n in of.offered(*where)],
            "planned_users": of.planned_users(*where),
            **{
                name: of.counts(counter, *where)
                for name, counter in (
                    ("due", "iterations_due"),
                    ("started", "iterations_started"),
                    ("finished", "iterations_finished"),
                    ("missed", "iterations_missed"),
                    ("cut_off", "iterations_cut_off"),
                    ("errors", "iterations_errors"),
                    ("requests", "requests_finished"),
                    ("request_errors", "requests_errors"),
                )
            },
            **{name: of.at_end(name, *where) for name in ("users", "in_flight", "waiting")},
            **{name: of.at_end(name, *where) for name in ("http_connections", "websockets", "tcp_connections")},
            "generator": {
                "lag_p99_ms": [us / _US_PER_MS for us in of.worst("generator_lag_us", *where)],
                "loop_lag_p99_ms": [us / _US_PER_MS for us in of.worst("loop_lag_us", *where)],
                "read_lag_p99_ms": [us / _US_PER_MS for us in of.worst("read_lag_us", *where)],
                "cpu_share": [round(share, 3) for share in of.worst("cpu_share", *where)],
                "agents_unfit": [int(n) for n in of.worst("unfit", *where)],
            },
            "unfit": {str(slot): text for slot, text in of.unfit(*where).items()},
            **(self._stream_columns(*where) if self.has_streams else {}),
        }

    def _stream_columns(self, *where: int) -> dict[str, object]:
        prompt, output, wasted = self.intervals.tokens(*where)
        return {
            "tokens": {"prompt": prompt, "output": output, "wasted": wasted},
            # Not the number in flight: late data would change it for all later slots.
            "requests_started": self.intervals.counts("requests_started", *where),
        }

    def response(self, first: int = 0, end: int | None = None) -> dict[str, object]:
        """Return `response` of the document for slots [first, end)."""
        drawn = self._draw(first, end)

        def by_name(chart: Chart) -> dict[str, object]:
            return {name: _columns(drawn, n) for (of, name), n in self.lines.lines.items() if of == chart}

        def one(chart: Chart) -> object:
            return _columns(drawn, self.lines.lines.get((chart, ""), -1))

        return {
            "iterations": by_name("iterations"),
            "requests": one("requests"),
            "regions": by_name("regions"),
            "service": one("service"),
            "phases": by_name("phases"),
            **({"streams": by_name("streams")} if self.has_streams else {}),
        }

    def errors(self, first: int = 0, end: int | None = None) -> dict[str, list[int]]:
        """Return `errors` of the document for slots [first, end)."""
        where = self._where(first, end)
        found = {kind: self.intervals.errors(n, *where) for n, kind in enumerate(self.lines.errors)}
        if self.intervals.error_totals()[ERRORS]:
            found[OTHER] = self.intervals.errors(ERRORS, *where)
        return found

    def heat(self, first: int = 0, end: int | None = None) -> list[list[int]]:
        return [drawn.heat for drawn in self._draw(first, end)]

    def stream_heat(self, first: int = 0, end: int | None = None) -> dict[str, list[list[int]]]:
        """Return `heat` by metric for requests to AI models; empty if the run has none."""
        if not self.has_streams:
            return {}
        drawn = self._draw(first, end)
        return {metric: [one.stream_heat.get(metric, []) for one in drawn] for metric in STREAM_HEAT}

    def heat_edges_ms(self) -> tuple[float, ...]:
        return EDGES_MS

    def sparks(self) -> dict[Row, dict[str, object]]:
        """Return `spark` of each row: p95 and count over time."""
        drawn = self._draw_sparks()
        if not drawn:
            return {row: {"p95": (), "count": ()} for row in self.lines.rows}
        more = [len(self.lines.rows) - len(one.counts) for one in drawn]  # rows that appeared later
        p95 = zip(*(one.p95 + [None] * n for one, n in zip(drawn, more, strict=True)), strict=True)
        counts = zip(*(one.counts + [0] * n for one, n in zip(drawn, more, strict=True)), strict=True)
        columns = zip(self.lines.rows, p95, counts, strict=True)
        return {row: {"p95": of_row, "count": counts_of_row} for row, of_row, counts_of_row in columns}

    def requests_of(self, slot: int) -> Sums:
        """Return only the response times of requests in the slot, as line 0."""
        return self._only(self._slots.of(slot), ("requests", ""))

    # -- within -----------------------------------------------------------------------------------

    def _where(self, first: int, end: int | None) -> tuple[int, int, int]:
        return first, self.count if end is None else end, self.span

    def _draw(self, first: int, end: int | None) -> list[_Drawn]:
        first, end, _ = self._where(first, end)
        for slot in range(first, end):
            if slot not in self._drawn:
                sums = self._slots.of(slot)
                streams = STREAM_HEAT if self.has_streams else ()
                self._drawn[slot] = _Drawn(
                    lines_of(sums, len(self.lines.lines)),
                    self._heat(sums, ("requests", "")),
                    {metric: self._heat(sums, ("streams", metric)) for metric in streams},
                )
        return [self._drawn[slot] for slot in range(first, end)]

    def _heat(self, sums: Sums, line: tuple[Chart, str]) -> list[int]:
        of = self._only(sums, line)
        return heat_of(of.index.astype(np.int64) % SLOTS, of.counts)

    def _only(self, sums: Sums, line: tuple[Chart, str]) -> Sums:
        """Return the values of one line alone, as line 0."""
        number = self.lines.lines.get(line)
        if number is None:
            return NOTHING
        keys = 2 * number, 2 * number + 2
        begin, stop = np.searchsorted(sums.index, np.array(keys) * SLOTS)
        index = sums.index[begin:stop].astype(np.int64) - keys[0] * SLOTS
        return Sums(index, sums.counts[begin:stop], sums.least_ns[slice(*keys)], sums.most_ns[slice(*keys)])

    def _draw_sparks(self) -> list[_Sparks]:
        count = -(-self.intervals.count // self._sparks.span)
        for slot in range(count):
            if slot not in self._drawn_sparks:
                lines = lines_of(self._sparks.of(slot), len(self.lines.rows), COARSE, (95.0,))
                self._drawn_sparks[slot] = _Sparks(
                    [None if line is None else line.at[0] for line in lines],
                    [0 if line is None else line.count for line in lines],
                )
        return [self._drawn_sparks[slot] for slot in range(count)]


def _at(lines: Sequence[Line | None], number: int) -> Line | None:
    """Return line `number`; None if it has no values or appeared later."""
    return lines[number] if 0 <= number < len(lines) else None


def _columns(drawn: Sequence[_Drawn], number: int) -> dict[str, object]:
    lines = [_at(one.lines, number) for one in drawn]
    return {
        "count": [0 if line is None else line.count for line in lines],
        "censored": [0 if line is None else line.censored for line in lines],
        **{name: [None if line is None else line.at[n] for line in lines] for n, name in enumerate(PERCENTILES)},
    }
