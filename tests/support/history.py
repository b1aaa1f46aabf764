"""The history checker: what a run left behind, held against what its agents and its target wrote down themselves.

    history = read_history(run.folder)
    assert history.wrongs(recorded=raw_buckets(raw), plan=plan_book(run.folder, arrivals_of(60, 20))) == []

Four books are kept of one run, independently of each other: the workers' own raw values (`LOADGEN_DEBUG_RAW`; simulated
agents keep sums), the controller's log and what it merged from it, the target's access log, and the plan
(`plan_book.py`). Nothing may be missing in one, nothing may be there twice, and the target may never have seen more
load than planned.

Each check returns what is wrong, in words; an empty list is a proof. None of them asks how long anything took.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadgen.drive.raw_value_debug_file import read_raw
from loadgen.measure.deltas.delta import COUNTER_NAMES, Counters, Delta
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, slots_of_ns
from loadgen.measure.results.hlog import key_of, read_hlog
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire.codec import decode
from tests.support.plan_book import PlanBook, accounts_of

__all__ = ["Buckets", "History", "ahead_of_plan", "buckets_of", "overload", "raw_buckets", "read_history", "twice"]

Buckets = Counter[tuple[str, SeriesKey, int]]
"""(region, series, slot) -> count: everything that a histogram knows."""
Acked = Mapping[tuple[str, int], int]
"""(agent, epoch) -> the highest seq that the agent was told is durable."""

_SHOWN: Final = 5
"""Of many differences."""


@dataclass(frozen=True, slots=True)
class History:
    """One run, as its folder tells it. deltas: (region, delta), in the order of the log."""

    deltas: Sequence[tuple[str, Delta]]
    merged: Buckets
    """What histograms.hlog says."""
    summary: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]

    @property
    def logged(self) -> Buckets:
        return buckets_of(self.deltas)

    @property
    def counters(self) -> Counters:
        return sum((delta.counters for _, delta in self.deltas), Counters())

    @property
    def late_s(self) -> float:
        """The longest time from when an arrival was due to the end of its journey, thinking aside: no request of it can
        have reached the target later than that after it was due. What was frozen, or had no core, is in it."""
        rows = [row for row in _rows(self.summary) if row["kind"] == "journey" and row["response_ms"]]
        return max((_ms(row["response_ms"]["max"]) for row in rows), default=0.0) / 1e3

    def wrongs(
        self,
        *,
        recorded: Buckets | None = None,
        acked: Acked | None = None,
        died: Collection[str] = (),
        plan: PlanBook | None = None,
        served: Sequence[int] | None = None,
        names_doubles: bool = False,
    ) -> list[str]:
        """All checks of the folder.

        Args:
            recorded: what the agents wrote down themselves.
            acked: what they were told is durable.
            died: regions with an agent that was killed with something that it had not told: there the
                log may have less than was recorded, and never more.
            plan: whose each arrival is: it is started, missed, or named as missing.
            served: the number of each arrival that the target saw, within the plan.
            names_doubles: see `PlanBook.wrongs`.
        """
        wrong = [*self.out_of_order(), *self.not_adding_up(), *self.unproved()]
        wrong += _unequal("merged", self.merged, "in the log", self.logged)
        if recorded is not None:
            wrong += _unequal("in the log", self.logged, "recorded", recorded, may_lack=died)
        if acked is not None:
            wrong += self.lost_though_acked(acked)
        if plan is not None:
            deltas = [delta for _, delta in self.deltas]
            late = plan.late(deltas) if names_doubles else None
            wrong += plan.wrongs(accounts_of(deltas), self.summary, served, names_doubles=names_doubles, late=late)
        return wrong

    def out_of_order(self) -> list[str]:
        """G1: of each agent and epoch seqs 0, 1, 2 ..., each once, and no epoch after a newer one."""
        wrong: list[str] = []
        following: dict[tuple[str, int], int] = defaultdict(int)
        newest: dict[str, int] = {}
        for _, delta in self.deltas:
            where, expected = f"{delta.agent}, epoch {delta.epoch}", following[delta.agent, delta.epoch]
            if delta.epoch < newest.get(delta.agent, delta.epoch):
                wrong.append(f"{where}: merged after epoch {newest[delta.agent]}")
            newest[delta.agent] = max(delta.epoch, newest.get(delta.agent, delta.epoch))
            if delta.seq != expected:
                wrong.append(f"{where}: seq {delta.seq} where {expected} comes: {_why(delta.seq, expected)}")
            following[delta.agent, delta.epoch] = max(expected, delta.seq + 1)
        return wrong

    def not_adding_up(self) -> list[str]:
        """G5: buckets == counters == summary == sum over agents == sum over regions."""
        summary, counters = self.summary, self.counters
        rows = [row for row in _rows(summary) if row["kind"] == "request" and row["outcome"] != "*"]
        in_rows: Counter[str] = Counter()
        for row in rows:
            in_rows[row["region"]] += row["count"]
        everywhere = in_rows.pop("*", 0)
        finished = {
            "in buckets": _finished_in(self.logged),
            "counted by the agents": counters.requests_finished,
            "in the summary": summary["requests"]["finished"],
            "over its agents": sum(agent["requests"] for agent in summary["agents"]),
            "over its rows": everywhere,
            "over its regions": sum(in_rows.values()),
        }
        wrong = _differing("finished requests", finished)
        iterations = summary["iterations"]
        for name in ("due", "started", "finished", "missed", "cut_off"):
            here, there = getattr(counters, f"iterations_{name}"), iterations[name]
            wrong += _differing(f"iterations {name}", {"counted by the agents": here, "in the summary": there})
        by_region: dict[str, Counters] = defaultdict(Counters)
        for region, delta in self.deltas:
            by_region[region] += delta.counters
        for region, count in in_rows.items():
            found = {"over the rows": count, "counted by the agents": by_region[region].requests_finished}
            wrong += _differing(f"finished requests in {region}", found)
        return wrong

    def unproved(self) -> list[str]:
        """G4: who is called complete has a Fin that its deltas add up to; a run is complete only if all are."""
        wrong: list[str] = []
        fins = {event["agent"]: event["fin"] for event in self.events if event["kind"] == "fin"}
        for agent in self.summary["agents"]:
            if agent["complete"]:
                wrong += self._unproved(agent["id"], fins.get(agent["id"]))
        lacking = [agent["id"] for agent in self.summary["agents"] if not agent["complete"]]
        if lacking and self.summary["result"] == "passed":
            wrong.append(f"the run has passed, and of {', '.join(lacking)} something is missing")
        if not lacking and self.summary["result"] == "incomplete":
            wrong.append("the run is incomplete, and of no agent is anything missing")
        return wrong

    def _unproved(self, agent: str, fin: Mapping[str, Any] | None) -> list[str]:
        if fin is None:
            return [f"{agent} is complete, and no Fin of it was written down"]
        own = [delta for _, delta in self.deltas if delta.agent == agent and delta.epoch == fin["epoch"]]
        totals = sum((delta.counters for delta in own), Counters())
        values = sum(stats.n for delta in own for stats in delta.stats)
        wrong = _differing(f"{agent}: last seq", {"said": fin["last_seq"], "in the log": len(own) - 1})
        wrong += _differing(f"{agent}: values", {"said": fin["recorded"], "in the log": values})
        for name in COUNTER_NAMES:
            wrong += _differing(f"{agent}: {name}", {"said": fin["totals"][name], "in the log": getattr(totals, name)})
        return wrong

    def lost_though_acked(self, acked: Acked) -> list[str]:
        """G3: what was acknowledged is in the log, whatever happened since."""
        last: dict[tuple[str, int], int] = {}
        for _, delta in self.deltas:
            last[delta.agent, delta.epoch] = delta.seq
        return [
            f"{agent}, epoch {epoch}: acknowledged up to {seq}, in the log up to {last.get((agent, epoch), -1)}"
            for (agent, epoch), seq in sorted(acked.items())
            if last.get((agent, epoch), -1) < seq
        ]


def read_history(folder: Path) -> History:
    """A run that has ended, from its folder."""
    run = RunDir.open(folder)
    summary = run.read_summary()
    regions = {agent["id"]: agent["region"] for agent in summary["agents"]}  # type: ignore[attr-defined]
    deltas = [message for record in run.records() if isinstance(message := decode(record), Delta)]
    merged: Buckets = Counter()
    if run.hlog_path.exists():
        for line in read_hlog(run.hlog_path):
            region, key = key_of(line.tag or "")
            slots, counts = line.histogram.sparse()
            for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
                merged[region, key, slot] += count
    located = [(regions.get(delta.agent, "?"), delta) for delta in deltas]
    return History(located, merged, summary, list(run.read_events()))


def buckets_of(deltas: Iterable[tuple[str, Delta]]) -> Buckets:
    """Added up the slow way, bucket by bucket; series are interned by agent and epoch."""
    keys: dict[tuple[str, int], list[SeriesKey]] = defaultdict(list)
    total: Buckets = Counter()
    for region, delta in deltas:
        known = keys[delta.agent, delta.epoch]
        known.extend(delta.new_series)
        index, count = np.frombuffer(delta.index, "<u4"), np.frombuffer(delta.count, "<u4")
        for at, n in zip(index.tolist(), count.tolist(), strict=True):
            number, slot = divmod(at, SLOTS)
            # One that nobody brought is what a history with a lost delta looks like.
            key = known[number] if number < len(known) else SeriesKey("request", "?", None, str(number), "?", "value")
            total[region, key, slot] += n
    return total


def raw_buckets(folder: Path) -> Buckets:
    """What the workers kept in `folder` of every single value (`LOADGEN_DEBUG_RAW`)."""
    total: Buckets = Counter()
    for region, key, values_ns in read_raw(folder):
        key["tags"] = tuple((name, value) for name, value in key["tags"])
        slots, counts = np.unique(slots_of_ns(np.array(values_ns, dtype=np.int64)), return_counts=True)
        for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
            total[region, SeriesKey(**key), slot] += count
    return total


# -- seen from the target -------------------------------------------------------------------------


def twice(arrivals: Iterable[int]) -> list[str]:
    """G7: no arrival was begun twice. arrivals: its number within the plan, of each request that the target saw."""
    again = {number: count for number, count in Counter(arrivals).items() if count > 1}
    return [f"arrival {number} was begun {count} times" for number, count in _first(again)]


CLOCK_S = 0.005


def ahead_of_plan(at_s: Sequence[float], rate_per_s: float, began_s: float) -> list[str]:
    """G7: at no instant had more been begun than was due. at_s: of each request, on the clock of `began_s` (T0).

    An agent knows T0 by its own clock, whose difference to the controller's it has measured over a bad network: 5 ms
    are granted (a start may be 20 ms off).
    """
    ordered = np.sort(np.asarray(at_s)) - began_s
    due = np.floor((ordered + CLOCK_S) * rate_per_s * 1.02) + 1
    early = np.flatnonzero(np.arange(1, len(ordered) + 1) > due)
    if not len(early):
        return []
    n = int(early[0])
    return [f"{n + 1} were begun {ordered[n]:.3f} s after T0, when {int(due[n])} were due; {len(early)} were early"]


def overload(at_s: Sequence[float], rate_per_s: float, *, late_s: float = 0.0) -> list[str]:
    """G7: in no window of 1 to 10 s more than 102 % of the plan.

    late_s: how late arrivals may have been begun, since the generator stood still: they come on top of what was due.
    """
    ordered, wrong = np.sort(np.asarray(at_s)), []
    for window_s in (1, 2, 5, 10):
        most = most_within(ordered, window_s)
        allowed = rate_per_s * (window_s + late_s) * 1.02 + 1
        if most > allowed:
            wrong.append(f"{most} within {window_s} s, {rate_per_s * window_s:.0f} planned, {allowed:.0f} allowed")
    return wrong


def most_within(ordered_s: Sequence[float] | np.ndarray[Any, Any], window_s: float) -> int:
    """The most of them in any window of that length."""
    ordered = np.asarray(ordered_s)
    if not len(ordered):
        return 0
    return int((np.searchsorted(ordered, ordered + window_s, "left") - np.arange(len(ordered))).max())


# -- words ----------------------------------------------------------------------------------------


def _unequal(here: str, mine: Buckets, there: str, others: Buckets, *, may_lack: Collection[str] = ()) -> Iterator[str]:
    """Where two books differ. may_lack: regions in which `mine` may have less."""
    differs = {
        key: (mine[key], others[key])
        for key in mine.keys() | others.keys()
        if mine[key] != others[key] and not (mine[key] < others[key] and key[0] in may_lack)
    }
    for (region, key, slot), (a, b) in _first(differs):
        yield f"{_name(key)} in {region}, slot {slot}: {a:,} {here} and {b:,} {there}"
    if len(differs) > _SHOWN:
        yield f"and {len(differs) - _SHOWN:,} buckets more: {sum(mine.values()):,} values {here}, " + (
            f"{sum(others.values()):,} {there}"
        )


def _differing(what: str, counts: Mapping[str, int]) -> list[str]:
    if len(set(counts.values())) <= 1:
        return []
    return [f"{what}: " + ", ".join(f"{count:,} {where}" for where, count in counts.items())]


def _rows(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of the run and of its warm-up: counters know no warm-up."""
    return [*summary["series"], *((summary.get("warmup") or {}).get("series") or ())]


def _ms(value: float | str | None) -> float:
    """Of one that was cut off it is known that it took longer: "> 1234.5"."""
    return float(value.removeprefix("> ")) if isinstance(value, str) else value or 0.0


def _finished_in(buckets: Buckets) -> int:
    return sum(n for (_, key, _), n in buckets.items() if (key.kind, key.metric) == ("request", "response"))


def _first(found: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return sorted(found.items(), key=lambda item: str(item[0]))[:_SHOWN]


def _why(seq: int, expected: int) -> str:
    return "merged twice" if seq < expected else f"{expected}" + (f" to {seq - 1}" * (seq - 1 > expected)) + " is lost"


def _name(key: SeriesKey) -> str:
    named = [str(getattr(key, f.name)) for f in fields(key) if getattr(key, f.name) not in (None, False, ())]
    return "/".join(named)
