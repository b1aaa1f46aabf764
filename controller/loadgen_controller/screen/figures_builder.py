"""Computes the figures of a running run from the merged measurements. It draws nothing.

Percentiles are computed from the sum of all agents' histograms, so they are those of the whole fleet. The view asks for
figures four times a second; unchanged ones are not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.measure.deltas.custom import CHECK, CustomStats, CustomTable
from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.deltas.limits import SHOWN_ROWS
from loadgen.measure.deltas.series_key import OK, TOKEN_NS, StreamMetric
from loadgen.measure.histograms.histogram import percentiles
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.queries import ALL, Measured, Window
from loadgen.measure.merging.queries import Row as Named
from loadgen.measure.objectives.objective import SloResult, evaluate_all
from loadgen.report.report_tables import indent, region_label
from loadgen.report.slos import slo_words
from loadgen.report.why_slow.readable_so_far import readable_text
from loadgen.units import NS_PER_S, format_count, format_rate, format_ratio
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.run.view import ViewState, title
from loadgen_controller.screen.live_figures import (
    QUANTILES,
    AgentRow,
    Cells,
    Figures,
    Row,
    SloRow,
    Streams,
)

__all__ = ["Watch"]

_NO_HEALTH = Health()
_PARTS = 10
"""Samples in an interval for the mean of its planned rate: exact within a ramp, within 5 % where the rate jumps."""


class Watch:
    """Computes figures from the conductor's views. Call it each time the screen is drawn.

    Args:
        view: returns the present state of the run.
        notices: returns further notices of the command line, such as that the run drains.
        is_for_lines: whether the figures are only for lines of text (`live.line`). Then the rows of regions, steps,
            requests, errors and agents are left out: with 1,000 agents they are two thirds of the cost.
    """

    def __init__(
        self,
        view: Callable[[], ViewState],
        notices: Callable[[], tuple[str, ...]] = tuple,
        *,
        is_for_lines: bool = False,
    ) -> None:
        self._view, self._notices, self._is_for_lines = view, notices, is_for_lines
        self._seen: object = None
        self._tables: _Tables | None = None

    def __call__(self) -> Figures:
        state = self._view()
        merge, clock_ns = state.merge, state.clock_ns
        window = merge.latest_window(state.live or None, clock_ns)
        total = merge.counters()
        is_warmup = 0 < clock_ns < state.spec.warmup_ns
        # While a large fleet reports, totals change all the time, so tables are computed once an interval only.
        is_going = window is not None and state.phase is Phase.RUNNING
        seen = (window and (window.k, len(window.agents)), is_warmup, is_going or total)
        if self._tables is None or seen != self._seen:
            self._seen, self._tables = seen, _Tables(state, window, is_warmup, self._is_for_lines)
        t = self._tables
        return Figures(
            run_id=state.run_id,
            plan=title(state.spec),
            phase="paused" if state.is_paused else state.phase.value,
            clock_s=clock_ns / NS_PER_S,
            duration_s=state.spec.duration_ns / NS_PER_S if state.spec.duration_ns else None,
            is_warmup=is_warmup,
            offered_per_s=_offered(state.spec, window, clock_ns),
            level=None if state.spec.is_open else state.spec.level_at(clock_ns),
            last_s=(window.end_ns - window.start_ns) / NS_PER_S if window else 0.0,
            last_n=window.k if window else -1,
            last=window.counters() if window else Counters(),
            total=total,
            users=window.users if window else 0,
            in_flight=window.in_flight if window else 0,
            waiting=window.waiting if window else 0,
            journeys=t.journeys,
            regions=t.regions,
            parts=t.parts,
            errors=t.errors,
            slos=t.slos,
            agents=() if self._is_for_lines else tuple(_agents(state, window)),
            registered=sum(a.state not in ("expected", "lost") for a in state.agents),
            reported=len(window.agents) if window else 0,
            agents_wanted=state.agents_wanted,
            notices=(*state.notices, *self._notices()),
            unfit=() if window is None else tuple(_unfit(window)),
            counted=t.counted,
            meeting=(*_steering(state), *_meeting(state)),
            streams=t.streams,
        )


def _offered(spec: PlanSpec, window: Window | None, clock_ns: int) -> float | None:
    """Return the planned iterations/s of all loads over the last interval, for comparison with the started ones.

    None if a load has no planned rate.
    """
    if not spec.is_open:
        return None
    if window is None:
        return spec.rate_at(clock_ns)
    length = (window.end_ns - window.start_ns) // _PARTS
    return sum(spec.rate_at(window.start_ns + length * k + length // 2) for k in range(_PARTS)) / _PARTS


class _Tables:
    """The expensive part of the figures: percentiles of every row over the last interval and the whole run."""

    def __init__(self, state: ViewState, window: Window | None, is_warmup: bool, is_for_lines: bool) -> None:
        merge = state.merge
        unfit = set() if window is None else {agent for agent, health in window.health.items() if health.unfit}
        unfit_regions = {agent.region for agent in state.agents if agent.id in unfit}

        def row(name: str, of: Named, region: str = ALL) -> Row:
            last = _cells(window, of, region, is_warmup) if window else Cells()
            is_unfit = bool(unfit) if region == ALL else region in unfit_regions
            return Row(name, last, _cells(merge, of, region, is_warmup), is_unfit)

        rows = merge.rows(warmup=is_warmup)
        journeys = [r for r in rows if r.kind == "journey"][:SHOWN_ROWS]
        self.journeys = tuple(row(r.journey, r) for r in journeys)
        self.regions: tuple[Row, ...] = ()
        self.parts: tuple[Row, ...] = ()
        self.errors: tuple[tuple[str, int], ...] = ()
        if not is_for_lines:
            self.regions = tuple(
                row(
                    region_label(region, state.is_embedded) + (f"  {r.journey}" if len(journeys) > 1 else ""), r, region
                )
                for region in merge.regions()
                for r in journeys[: max(1, SHOWN_ROWS // max(1, len(merge.regions())))]
            )
            parts = list(_parts(rows, len(journeys) > 1))
            self.parts = tuple(row(name, r) for name, r in parts[:SHOWN_ROWS])
            if len(parts) > SHOWN_ROWS:
                self.parts += (Row(f"{len(parts) - SHOWN_ROWS:,} more are in the report", Cells(), Cells(), False),)
            self.errors = tuple(_errors(merge, is_warmup))
        names = [j.name for j in state.spec.journeys]
        results = () if is_warmup else _results(state, window, names)
        several = len({r.journey for r in results}) > 1
        self.slos = tuple(_slo(r, several, state) for r in results)
        self.counted = tuple(_counted(state.spec, merge.custom))
        self.streams = _streams(merge, window, self.slos, is_warmup) if window else None


def _results(state: ViewState, window: Window | None, journeys: list[str]) -> tuple[SloResult, ...]:
    spec = state.spec
    end_ns = window.end_ns if window else 0
    if spec.duration_ns is not None:
        end_ns = min(end_ns, spec.duration_ns)  # there are no due arrivals in the drain
    found = evaluate_all(
        spec.slos, state.merge, journeys=journeys, from_ns=spec.warmup_ns, end_ns=end_ns, is_over=False
    )
    return (*found, *state.of_probes)


def _streams(merge: Merge, window: Window, slos: tuple[SloRow, ...], is_warmup: bool) -> Streams | None:
    """Return the figures of requests to AI models in the last interval; None before the first one has ended."""
    if not merge.matching("streams", lambda _, key: key.metric == "ttft"):
        return None

    def cells(metric: StreamMetric) -> Cells:
        observed, censored = window.select("request", metric=metric, warmup=is_warmup)
        return Cells(observed.total + censored.total, tuple(percentiles(observed, censored, QUANTILES)))

    tokens, _ = window.select("request", outcome=OK, metric="output_tokens", warmup=is_warmup)
    total = merge.counters()
    return Streams(
        ttft=cells("ttft"),
        itl=cells("itl"),
        output_tokens_per_s=tokens.sum_ns / TOKEN_NS / ((window.end_ns - window.start_ns) / NS_PER_S),
        in_flight=max(0, total.requests_started - total.requests_finished),
        goodput=next((slo.observed for slo in slos if slo.objective.startswith("goodput") and slo.count), ""),
    )


def _cells(of: Measured, row: Named, region: str, is_warmup: bool) -> Cells:
    observed, censored = of.select_row(row, region=region, warmup=is_warmup)
    return Cells(observed.total + censored.total, tuple(percentiles(observed, censored, QUANTILES)))


def _parts(rows: list[Named], with_journey: bool) -> Iterator[tuple[str, Named]]:
    """Yield (indented name, series) for each step, followed by the requests in it.

    with_journey: there are several journeys, so steps and requests outside of steps get the journey's name.
    """
    by_journey: dict[str, dict[str | None, list[Named]]] = {}
    for r in rows:
        if r.kind in ("step", "request"):
            by_journey.setdefault(r.journey, {}).setdefault(r.step, []).append(r)
    for journey, by_step in by_journey.items():
        for step, own in by_step.items():
            for r in sorted(own, key=lambda r: r.kind != "step"):
                prefix = f"{journey}: " if with_journey and (r.kind == "step" or step is None) else ""
                name = (r.request if r.kind == "request" else r.step) or ""
                yield indent(r.kind, r.step, prefix + name), r


def _errors(merge: Merge, is_warmup: bool) -> Iterator[tuple[str, int]]:
    iterations = merge.outcomes("journey", warmup=is_warmup)
    requests = merge.outcomes("request", warmup=is_warmup)
    iterations.pop(OK, None)
    yield from iterations.items()
    for outcome, count in requests.items():
        if outcome != OK and outcome not in iterations:
            yield f"{outcome} (requests)", count


def _slo(result: SloResult, several: bool, state: ViewState) -> SloRow:
    name = result.objective + (f" [{result.journey}]" if several and result.journey else "")
    words = slo_words(result)
    spec = state.spec
    traces = "" if spec.trace is None else readable_text(result, spec.slos, state.merge.exemplars)
    return SloRow(name, result.verdict, words.observed, result.count, words.margin, words.budget, words.window, traces)


def _counted(spec: PlanSpec, custom: CustomTable) -> Iterator[str]:
    """Yield a text for each of the scenario's own metrics; the first is about all checks, with the one that failed most
    often.
    """
    found = [stats for name in custom.names() if (stats := custom.of(name)) is not None and stats.n]
    checks = [stats for stats in found if _is_check(stats)]
    if checks:
        passing = sum(stats.total == stats.n for stats in checks)
        text = f"checks {passing} of {len(checks)} ok"
        if passing < len(checks):
            worst = min(checks, key=lambda stats: stats.total / stats.n)
            failed = f"{format_count(worst.n - worst.total)} of {format_count(worst.n)}"
            text += f" ({worst.name.removeprefix(CHECK)}: {failed} failed)"
        yield text
    units = {metric.name: metric.unit for metric in spec.metrics}
    for stats in found:
        if _is_check(stats):
            continue
        if stats.kind == "rate":
            yield f"{stats.name} {format_ratio(stats.total / stats.n)} of {format_count(stats.n)}"
        else:
            value = format_count(stats.total) if stats.kind == "counter" else f"{stats.last:,.6g}"
            yield f"{stats.name} {value} {units.get(stats.name, '')}".rstrip()


def _is_check(stats: CustomStats) -> bool:
    return stats.kind == "rate" and stats.name.startswith(CHECK)


def _steering(state: ViewState) -> Iterator[str]:
    """Yield a text for each steered load: its last rate decision, with the reason."""
    for one in state.steering:
        whose = f"{one.load}: " if one.load else ""
        rate = "ended" if one.is_over else f"steered to {format_rate(one.rate_per_s)}"
        why = f"{one.trouble}; {one.why}" if one.trouble and one.why else one.trouble or one.why
        yield f"{whose}{rate}: {why}" if why else f"{whose}{rate} ({one.executor})"


def _meeting(state: ViewState) -> Iterator[str]:
    """Yield a text for each rendez-vous where users wait now, beginning with the one that needs the fewest more."""
    for point in sorted(state.points, key=lambda point: point.waiting - point.users, reverse=True):
        if point.waiting:
            where = f"{point.name} ({point.load})" if point.load else point.name
            yield f"{format_count(point.waiting)} of {format_count(point.users)} wait at {where}"


def _unfit(window: Window) -> Iterator[str]:
    """Yield a text for each agent or worker that was not fit to measure in this interval, with the reasons."""
    for agent in sorted(agent for agent, health in window.health.items() if health.unfit or agent in window.workers):
        workers = window.workers.get(agent, ())
        for one in workers:
            if one.health.unfit:
                yield f"worker {one.worker} of {agent}: {'; '.join(one.health.unfit)}"
        if not workers:
            yield f"{agent}: {'; '.join(window.health[agent].unfit)}"


def _agents(state: ViewState, window: Window | None) -> Iterator[AgentRow]:
    for agent in state.agents:
        health = window.health.get(agent.id) if window else None
        fitness = state.merge.fitness.get(agent.id)
        yield AgentRow(
            agent.id,
            region_label(agent.region, state.is_embedded),
            agent.state,
            health is not None,
            agent.silent_s,
            health or _NO_HEALTH,
            agent.note,
            fitness.unfit if fitness else 0,
            fitness.intervals if fitness else 0,
        )
