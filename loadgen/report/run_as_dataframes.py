"""Open a run folder in a notebook, as values and pandas frames.

    run = loadgen.open_run("runs/20261124-170312-checkout-a1b2")
    run.summary.result, run.failures[0].failure.received
    run.series.query("kind == 'journey'").plot(x="at_s", y="p99_ms")

Each attribute reads `deltas.log` when it is first used. So a run that was ended by
force opens too, up to its last complete record; only its `summary` is None. The log is
read as a stream: the result stays in memory, the deltas do not.

The percentiles of a window come from the merged histograms of the whole fleet. Do not
average percentiles over windows or regions: the result has no meaning. Use a longer
`window_s`, or leave out `regions`. A percentile that falls on censored values
(time-outs, missed, cut off) is `inf`, because only a lower bound is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib import import_module
from itertools import groupby, pairwise
from math import ceil, inf, nan
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from loadgen.errors import StorageError, UsageError
from loadgen.extras import how_to_install
from loadgen.measure.deltas.delta import Delta, Health
from loadgen.measure.deltas.exemplar import Exemplar, Failure, KeptExemplar, KeptFailure
from loadgen.measure.deltas.series_key import STREAM_METRICS, TOKEN_NS, SeriesKey
from loadgen.measure.histograms.histogram import SLOTS, Histogram, Value, percentiles
from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.rundir import RunDir, find_run
from loadgen.probes.journal import read_journal
from loadgen.probes.recorded import Recorded
from loadgen.report.summary_reader import Agent, Summary, read
from loadgen.report.why_slow.decided import DecidedTable
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec

__all__ = ["Run", "StreamRow", "WindowRow", "open_run"]

_PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)


def open_run(path: str | Path, runs_dir: str | Path = "runs") -> Run:
    """Open a run for reading.

    `path` is a run folder; or, within `runs_dir`, a run's id, the beginning of an id, or "last".

    Raises:
        UsageError: no run or several runs match.
        StorageError: a file in the run folder cannot be read.
    """
    folder = Path(path)
    if not (folder / "manifest.json").is_file():
        folder = find_run(str(path), Path(runs_dir))
    return Run(folder)


@dataclass(frozen=True, slots=True)
class WindowRow:
    """The figures of one series in one window. The window's times are in s from T0, all other times in ms.

    metric: response, service, duration, user_wait, generator_lag, value, a phase (`blocked` ... `receive`), or a metric
        of requests to AI models (`ttft` ...); 0.001 ms of one that is a number of tokens is one token.
    tags: for example "load=spike,x-cache=hit".
    count: the number of values, with censored ones. Percentiles and `max_ms` that fall on censored values are inf.
    mean_ms: the mean of the observed times; with censored values it is a lower bound.
    """

    at_s: float
    length_s: float
    kind: str
    journey: str
    step: str
    request: str
    tags: str
    metric: str
    outcome: str
    region: str
    warmup: bool
    count: int
    censored: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class StreamRow:
    """Requests to AI models of one row and outcome in one window, by our convention (docs/llm-conventions.md).

    The window's times are in s from T0, the others in ms. A request belongs to the window in which it ended, with all
    its tokens. Partial times of requests that failed are in the rows of their outcomes. A figure without values is NaN;
    a percentile that falls on values with only a lower bound is inf.
    """

    at_s: float
    length_s: float
    journey: str
    step: str
    request: str
    outcome: str
    region: str
    warmup: bool
    count: int
    ttft_p50_ms: float
    ttft_p95_ms: float
    ttft_p99_ms: float
    ttft_due_p95_ms: float
    itl_p50_ms: float
    itl_p99_ms: float
    tpot_p50_ms: float
    stall_p99_ms: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    output_tokens_per_s: float


@dataclass(frozen=True, slots=True)
class HealthRow:
    """The health of one agent's generator in one interval, which starts `at_s` seconds after T0."""

    at_s: float
    agent: str
    region: str
    health: Health


class Run:
    """A stored run, from `open_run`. It keeps the values that it has read; open a running run again for newer ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = RunDir.open(path)

    def __repr__(self) -> str:
        result = "not ended" if self.summary is None else self.summary.result
        return f"<Run {self.id}: {result}>"

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.manifest.get("run_id") or self.path.name)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The run's manifest: its plan, options, agents and operator."""
        return dict(self._folder.read_manifest())

    @cached_property
    def summary(self) -> Summary | None:
        """The figures and the verdict; None if the run has not ended or was ended by force."""
        return read(self._folder.summary_path) if self._folder.summary_path.exists() else None

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """All decisions of the controller, oldest first."""
        return [dict(event) for event in self._folder.read_events()]

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The agents of the summary; without a summary those of the manifest, all with `complete` False."""
        if self.summary is not None:
            return self.summary.agents
        return tuple(Agent(id=agent, region=region, complete=False) for agent, region in self._regions.items())

    @property
    def interval_s(self) -> float:
        """The length of an interval, in s."""
        return self._interval_ns / NS_PER_S

    # -- single requests ----------------------------------------------------------------------

    @cached_property
    def failures(self) -> tuple[KeptFailure, ...]:
        """The first failures of each kind, in full, in the order of their arrival."""
        kept = tuple(self._failure_files())
        if kept or self._folder.failures_path.is_dir():
            return kept
        found = ((region, delta.agent, failure) for region, delta in self.deltas() for failure in delta.failures)
        return tuple(KeptFailure(number, *one) for number, one in enumerate(found, 1))

    @cached_property
    def exemplars(self) -> tuple[KeptExemplar, ...]:
        """All exemplars: for each series and interval the slowest requests, some failed ones, and a random sample."""
        return self._of_deltas[0]

    @property
    def decided(self) -> DecidedTable:
        """The sums of sampled and of other requests; empty for runs without tracing, or before wire version 1.8."""
        return self._of_deltas[1]

    @cached_property
    def _of_deltas(self) -> tuple[tuple[KeptExemplar, ...], DecidedTable]:
        """Both in one pass, because it takes 0.3 ms a delta."""
        exemplars: list[KeptExemplar] = []
        table = DecidedTable()
        for region, delta in self.deltas():
            exemplars += [KeptExemplar(region, delta.agent, one) for one in delta.exemplars]
            table.add(region, delta)
        return tuple(exemplars), table

    def _failure_files(self) -> Iterator[KeptFailure]:
        names = {field.name for field in fields(Failure)}
        for path in sorted(self._folder.failures_path.glob("*.json")):
            try:
                value = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
                failure = msgspec.convert({name: value[name] for name in names & value.keys()}, Failure)
                yield KeptFailure(int(value["number"]), str(value["region"]), str(value["agent"]), failure)
            except (OSError, KeyError, ValueError, msgspec.MsgspecError) as exc:
                raise StorageError(
                    f"cannot read {path}: {exc}", hint="the file is damaged; copy the run folder again"
                ) from exc

    # -- all requests -------------------------------------------------------------------------

    def deltas(self) -> Iterator[tuple[str, Delta]]:
        """Yield (region, delta), each once, in the order in which they were merged. Each call reads the log again.

        Raises:
            StorageError: a newer loadgen wrote a record.
        """
        regions = self._regions
        for record in self._folder.records():
            message = codec.decode(record)
            if isinstance(message, Delta):
                yield regions.get(message.agent, ""), message

    @cached_property
    def merge(self) -> Merge:
        """All deltas of the run merged, as in the controller; use it as in `merge.select("request", outcome="ok")`."""
        merge = Merge(self._interval_ns)
        merge.read(self.deltas())
        return merge

    @cached_property
    def histograms(self) -> dict[str, Histogram]:
        """Histograms over all regions in µs, by name: "request checkout/add to cart POST /cart, ok, response"."""
        merge = self.merge
        found = ((key, merge.histogram(key)) for key in merge.keys())  # noqa: SIM118  # a Merge is not a mapping
        return {_name(key): histogram for key, histogram in found if histogram is not None}

    def windows(
        self,
        window_s: float | None = None,
        *,
        regions: bool = False,
        outcomes: bool = False,
        tags: bool = False,
        metric: str | None = "response",
    ) -> Iterator[WindowRow]:
        """Yield the series of each window, oldest first. A delta belongs to the window in which it starts.

        Args:
            window_s: length of a window, rounded up to whole intervals; default: one interval.
            regions, outcomes, tags: give each of them its own rows, instead of all together ("*").
            metric: yield only this metric; None yields all.
        Raises:
            UsageError: `window_s` is not above 0.
        """
        length_ns = self._length_ns(window_s)
        interned: dict[tuple[str, int], list[SeriesKey]] = {}
        held: dict[int, _Window] = {}
        last = self._last_deltas(length_ns)
        for number, (region, delta) in enumerate(self.deltas()):
            known = interned.setdefault((delta.agent, delta.epoch), [])
            known.extend(delta.new_series)
            k = delta.start_ns // length_ns
            window = held.setdefault(k, {})
            for series, histogram in _parts(delta):
                key = known[series]
                if metric not in (None, key.metric):
                    continue
                group = replace(
                    key, outcome=key.outcome if outcomes else "*", censored=False, tags=key.tags if tags else ()
                )
                both = window.setdefault((region if regions else "*", group), (Histogram(), Histogram()))
                both[key.censored].add_histogram(histogram)
            for done in [k for k in sorted(held) if last[k] <= number]:
                yield from _rows(held.pop(done), done * length_ns, length_ns)

    def streams(self, window_s: float | None = None, *, regions: bool = False) -> Iterator[StreamRow]:
        """Yield the requests to AI models of each window, oldest first; nothing if the run had none.

        Args:
            window_s: length of a window, rounded up to whole intervals; default: one interval.
            regions: give each region its own rows.
        Raises:
            UsageError: `window_s` is not above 0.
        """
        wanted = frozenset(STREAM_METRICS)
        rows = (
            row
            for row in self.windows(window_s, regions=regions, outcomes=True, metric=None)
            if row.kind == "request" and row.metric in wanted
        )
        for _, of_window in groupby(rows, lambda row: row.at_s):
            found: dict[tuple[str, str, str, str, str, bool], dict[str, WindowRow]] = {}
            for row in of_window:
                name = (row.journey, row.step, row.request, row.outcome, row.region, row.warmup)
                found.setdefault(name, {})[row.metric] = row
            yield from map(_stream_row, found.values())

    def health(self) -> Iterator[HealthRow]:
        """Yield the health of each agent in each interval."""
        for region, delta in self.deltas():
            yield HealthRow(delta.start_ns / NS_PER_S, delta.agent, region, delta.health)

    # -- frames -------------------------------------------------------------------------------

    @property
    def series(self) -> Any:
        """The response times of all series by interval, as a pandas DataFrame; the same as `frame()`."""
        return self.frame()

    def frame(
        self,
        window_s: float | None = None,
        *,
        regions: bool = False,
        outcomes: bool = False,
        tags: bool = False,
        metric: str | None = "response",
    ) -> Any:
        """Return `windows` as a pandas DataFrame, with a column for each attribute of `WindowRow`.

        Raises:
            UsageError: pandas is not installed.
        """
        pandas = _pandas()
        names = [field.name for field in fields(WindowRow)]
        rows = self.windows(window_s, regions=regions, outcomes=outcomes, tags=tags, metric=metric)
        return pandas.DataFrame.from_records([[getattr(row, name) for name in names] for row in rows], columns=names)

    def stream_frame(self, window_s: float | None = None, *, regions: bool = False) -> Any:
        """Return `streams` as a pandas DataFrame, with a column for each attribute of `StreamRow`.

        Raises:
            UsageError: pandas is not installed.
        """
        names = [field.name for field in fields(StreamRow)]
        rows = [[getattr(row, name) for name in names] for row in self.streams(window_s, regions=regions)]
        return _pandas().DataFrame.from_records(rows, columns=names)

    def exemplar_frame(self) -> Any:
        """Return `exemplars` as a pandas DataFrame, with `at_s` in s from T0 and other times in ms."""
        names = [name for name in Exemplar.__struct_fields__ if not name.endswith("_ns")]
        rows = [
            {
                **{name: getattr(kept.exemplar, name) for name in names},
                "region": kept.region,
                "agent": kept.agent,
                "at_s": kept.exemplar.at_ns / NS_PER_S,
                "response_ms": kept.exemplar.response_ns / NS_PER_MS,
                "service_ms": kept.exemplar.service_ns / NS_PER_MS,
                "first_byte_ms": kept.exemplar.first_byte_ns / NS_PER_MS,
            }
            for kept in self.exemplars
        ]
        times = ("at_s", "response_ms", "service_ms", "first_byte_ms")
        return _pandas().DataFrame(rows, columns=[*names, "region", "agent", *times])

    def probes(self) -> Any:
        """Return all points of the probes as a pandas DataFrame, with a row for each value, percentile and gap.

        Columns: `probe`, `metric`, `statistic` (value, rate, share, p50, p95, p99 or gap), `unit`, `at_s` from T0,
        `length_s` of the interval (0 for gauges), `error_s` (the most by which `at_s` may be off), `value`, `low` and
        `high` (the bounds of a percentile's bucket), `count` (the increase in the interval), `gap` (the reason).

        Raises:
            StorageError: the journal of the probes cannot be read.
            UsageError: pandas is not installed.
        """
        pandas = _pandas()
        names = ["probe", "metric", "statistic", "unit", "at_s", "length_s", "error_s"]
        columns = [*names, "value", "low", "high", "count", "gap"]
        rows = Recorded(read_journal(self.path)).table()
        frame = pandas.DataFrame.from_records([[row[name] for name in columns] for row in rows], columns=columns)
        return frame.astype(dict.fromkeys(("value", "low", "high", "count"), "float64"))

    def probe_notes(self) -> Any:
        """Return the notes of the probes as a pandas DataFrame, a row for each: lock chains, plans, marks, ...

        Columns: `probe`, `kind` (locks, statements, plan, sessions, settings or mark), `at_s` from T0, `error_s` (the
        most by which `at_s` may be off), `text` (of marks), `body` (a dict with all of the note).

        Raises:
            StorageError: the journal of the probes cannot be read.
            UsageError: pandas is not installed.
        """
        columns = ["probe", "kind", "at_s", "error_s", "text", "body"]
        rows = Recorded(read_journal(self.path)).note_table()
        return _pandas().DataFrame.from_records([[row[name] for name in columns] for row in rows], columns=columns)

    def causes(self) -> Any:
        """Return why requests were slow, as `loadgen trace` found it: a pandas DataFrame, a row for each ranked path.

        Columns: `rank`, `path`, `kind`, `added_ms` (mean own time, slow minus fast), `share` of the whole difference,
        `above_without` (the share above the limit without the path's excess, at most), `p99_without_ms`, `stays_first`
        (resamples, of `resamples`), `n_slow`, `n_fast`, `more_calls_ms`, `slower_calls_ms`, `since_s` from T0,
        `attributes`, `statement` (of the database, "" if unknown), `statement_share` (of the added database time),
        `held_up_by` (roots of lock chains). There are no rows if nothing was ranked, or if `loadgen trace` was never
        called.

        Raises:
            StorageError: cause.json cannot be read.
            UsageError: pandas is not installed.
        """
        from loadgen.report.why_slow.frames import CAUSE_COLUMNS, cause_rows

        return _pandas().DataFrame.from_records(list(cause_rows(self.path)), columns=list(CAUSE_COLUMNS))

    def spans(self) -> Any:
        """Return the spans of all traces in the run folder as a pandas DataFrame, as they were read, without repair.

        Columns: `trace`, `span`, `parent`, `service`, `operation`, `kind`, `status`, `started_at` (UTC, by the clock
        of the span's machine), `duration_ms` (missing without an end), `attributes` (a dict, with those of the
        resource).

        Raises:
            StorageError: a file of the folder `traces` cannot be read.
            UsageError: pandas is not installed.
        """
        from loadgen.report.why_slow.frames import SPAN_COLUMNS, span_rows

        pandas = _pandas()
        frame = pandas.DataFrame.from_records(list(span_rows(self.path)), columns=list(SPAN_COLUMNS))
        return frame.assign(
            started_at=pandas.to_datetime(frame["started_at"].astype("int64"), unit="ns", utc=True),
            duration_ms=frame["duration_ms"].astype("float64"),
        )

    # -- within -------------------------------------------------------------------------------

    @property
    def _interval_ns(self) -> int:
        return int(self.manifest.get("interval_ns") or NS_PER_S)

    @cached_property
    def _regions(self) -> dict[str, str]:
        """The region of each agent, from the assignment of shares, or else from the registration."""
        found = {str(a["id"]): str(a["region"]) for a in self.manifest.get("agents") or ()}
        assignment = self.manifest.get("assignment") or {}
        return found | dict(zip(assignment.get("agents", ()), assignment.get("regions", ()), strict=True))

    def _length_ns(self, window_s: float | None) -> int:
        if window_s is None:
            return self._interval_ns
        if not window_s > 0:
            raise UsageError(
                f"window_s={window_s}: must be above 0", hint="pass whole seconds, or leave it out for one interval"
            )
        return ceil(round(window_s * NS_PER_S) / self._interval_ns) * self._interval_ns

    def _last_deltas(self, length_ns: int) -> dict[int, int]:
        """Return the position in the log of each window's last delta, because a disconnected agent reports late."""
        return {delta.start_ns // length_ns: number for number, (_, delta) in enumerate(self.deltas())}


_Window = dict[tuple[str, SeriesKey], tuple[Histogram, Histogram]]
"""Observed and censored values by region and series."""


def _parts(delta: Delta) -> Iterator[tuple[int, Histogram]]:
    """Yield the series id and the histogram, with sum, minimum and maximum, of each series in a delta."""
    index = np.frombuffer(delta.index, dtype="<u4").astype(np.int64)
    counts = np.frombuffer(delta.count, dtype="<u4").astype(np.int64)
    if not len(index):
        return
    series, slots = np.divmod(index, SLOTS)
    stats = {one.series: one for one in delta.stats}
    edges = [0, *(np.flatnonzero(np.diff(series)) + 1).tolist(), len(index)]
    for first, end in pairwise(edges):
        number = int(series[first])
        histogram = Histogram()
        histogram.add(slots[first:end], counts[first:end])
        if (of := stats.get(number)) is not None:
            histogram.note(of.sum_ns, of.min_ns, of.max_ns)
        yield number, histogram


def _rows(window: _Window, start_ns: int, length_ns: int) -> Iterator[WindowRow]:
    for (region, key), (observed, censored) in window.items():
        count = observed.total + censored.total
        p50, p90, p95, p99, p99_9 = map(_ms, percentiles(observed, censored, _PERCENTILES))
        yield WindowRow(
            at_s=start_ns / NS_PER_S,
            length_s=length_ns / NS_PER_S,
            kind=key.kind,
            journey=key.journey,
            step=key.step or "",
            request=key.request or "",
            tags=",".join(f"{name}={value}" for name, value in key.tags),
            metric=key.metric,
            outcome=key.outcome,
            region=region,
            warmup=key.warmup,
            count=count,
            censored=censored.total,
            mean_ms=(observed.sum_ns + censored.sum_ns) / count / NS_PER_MS,
            p50_ms=p50,
            p90_ms=p90,
            p95_ms=p95,
            p99_ms=p99,
            p99_9_ms=p99_9,
            max_ms=inf if censored.total else (observed.max_ns or 0) / NS_PER_MS,
        )


def _stream_row(found: dict[str, WindowRow]) -> StreamRow:
    """Return one row of the metrics of a window. In rows of tokens, 0.001 ms is one token."""

    def at(metric: str, figure: str) -> float:
        row = found.get(metric)
        return nan if row is None else float(getattr(row, figure))

    def tokens(metric: str) -> int:
        row = found.get(metric)
        return 0 if row is None else round(row.mean_ms * row.count * NS_PER_MS / TOKEN_NS)

    any_row = next(iter(found.values()))
    return StreamRow(
        at_s=any_row.at_s,
        length_s=any_row.length_s,
        journey=any_row.journey,
        step=any_row.step,
        request=any_row.request,
        outcome=any_row.outcome,
        region=any_row.region,
        warmup=any_row.warmup,
        count=found["ttft"].count if "ttft" in found else 0,
        ttft_p50_ms=at("ttft", "p50_ms"),
        ttft_p95_ms=at("ttft", "p95_ms"),
        ttft_p99_ms=at("ttft", "p99_ms"),
        ttft_due_p95_ms=at("ttft_due", "p95_ms"),
        itl_p50_ms=at("itl", "p50_ms"),
        itl_p99_ms=at("itl", "p99_ms"),
        tpot_p50_ms=at("tpot", "p50_ms"),
        stall_p99_ms=at("stall", "p99_ms"),
        prompt_tokens=tokens("prompt_tokens"),
        cached_tokens=tokens("cached_tokens"),
        output_tokens=tokens("output_tokens"),
        reasoning_tokens=tokens("reasoning_tokens"),
        output_tokens_per_s=tokens("output_tokens") / any_row.length_s,
    )


def _ms(value: Value | None) -> float:
    return nan if value is None else inf if value.is_bound else value.ms


def _name(key: SeriesKey) -> str:
    place = "/".join(filter(None, (key.journey, key.step)))
    words = " ".join(filter(None, (key.kind, place, key.request)))
    tags = tuple(f"{name}={value}" for name, value in key.tags)
    marks = ("censored",) * key.censored + ("warm-up",) * key.warmup
    return ", ".join((words, key.outcome, key.metric, *marks, *tags))


def _pandas() -> Any:
    try:
        return import_module("pandas")
    except ImportError:
        raise UsageError(
            "frames need pandas, which is not installed",
            hint=f"use run.windows(), which returns the same rows; or {how_to_install('analysis')}",
        ) from None
