"""Small made-up runs: lists of events, recorded by real recorders, and judged a second time by plain Python.

`recorded` sends the events through meter, recorder, watches and merge. `expected` judges the lists themselves, without
any code of `loadgen.measure.objectives`, so that both can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor
from random import Random
from types import SimpleNamespace
from typing import Any

from loadgen.dsl.metric import Counter, Gauge, Rate, Trend, counter, gauge, rate, trend
from loadgen.engine.recording.first_byte_meter import FirstByteMeter
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.engine.recording.tagging import Tagging, TagSpec
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Gap, Objective

__all__ = ["AGENTS", "L", "Request", "Run", "Value", "deltas_of", "expected", "made_up", "recorded"]

L = 1_000_000
"""Length of an interval, ns. Values are whole µs below 2,048, which histograms keep exactly."""
T0 = 77_000_000
AGENTS = (("a", "eu"), ("b", "us"))
NAMES = ("GET /", "POST /pay")
TAGS = (TagSpec(name="tenant", values=("gold", "silver")), TagSpec(name="x-cache", header="x-cache", most=20))
OUTCOMES = ("ok",) * 12 + ("http 503", "http 500", "reset", "timeout")


@dataclass(frozen=True)
class Request:
    """One request. sent_us, first_us, took_us: from its call; 0 for sent_us and first_us: never."""

    agent: int
    name: str
    load: str
    due_ns: int
    sent_us: int
    first_us: int
    took_us: int
    outcome: str
    tenant: str = ""
    """The value of a tag that it has from its call on; "": none."""
    cache: str = ""
    """The value of a tag that its response has; "": none."""

    @property
    def end_ns(self) -> int:
        return self.due_ns + self.took_us * 1_000


@dataclass(frozen=True)
class Value:
    """One value of a custom metric, recorded in interval `k`."""

    agent: int
    metric: str
    k: int
    value: float


@dataclass(frozen=True)
class Run:
    """The events of a run. lost_from: the interval from which on agent b reports nothing; None: it reports all."""

    agents: int
    requests: tuple[Request, ...]
    values: tuple[Value, ...]
    intervals: int
    warmup_ns: int
    lost_from: int | None = None
    share: Fraction = field(default=Fraction(0))

    @property
    def known(self) -> Run:
        """The part of the run that was reported."""
        if self.lost_from is None:
            return self
        return replace(
            self,
            requests=tuple(one for one in self.requests if self._is_told(one.agent, one.end_ns // L)),
            values=tuple(one for one in self.values if self._is_told(one.agent, one.k)),
        )

    def _is_told(self, agent: int, k: int) -> bool:
        return agent == 0 or self.lost_from is None or k < self.lost_from


def made_up(seed: int) -> Run:
    """A run that follows from the seed: some are empty, some have a warm-up, a lost agent, or only failures."""
    draw, draw_tags = Random(seed), Random(seed + 1_000_000)
    agents, intervals = draw.choice((1, 2)), draw.randint(3, 10)
    rate_of = draw.choice((0, 1, 4, 12))
    outcomes = draw.choice((("ok",), OUTCOMES, OUTCOMES, ("http 503", "timeout"), ("ok", "http 503")))
    requests, values = [], []
    for agent in range(agents):
        for k in range(intervals):
            for _ in range(draw.randint(0, 2 * rate_of)):
                outcome = draw.choice(outcomes)
                took = draw.randint(3, draw.choice((40, 900, 2_000)))
                sent = draw.choice((1, 2)) if draw.random() < 0.9 or outcome == "ok" else 0
                first = draw.randint(sent, took) if sent and outcome not in ("reset", "timeout") else 0
                at = k * L + draw.randrange(L)
                name, load = draw.choice(NAMES), draw.choice(("day", "spike"))
                tenant = draw_tags.choice(("gold", "gold", "silver", ""))
                cache = draw_tags.choice(("hit", "miss", "")) if first else ""
                requests.append(Request(agent, name, load, at, sent, first, took, outcome, tenant, cache))
            for metric in ("hits", "basket", "orders", "stock"):
                for _ in range(draw.randint(0, rate_of)):
                    value = {
                        "hits": float(draw.random() < 0.8),
                        "basket": draw.randint(0, 2_000) / 100,
                        "orders": float(draw.randint(0, 3)),
                        "stock": float(draw.randint(-5, 50)),
                    }[metric]
                    values.append(Value(agent, metric, k, value))
    warmup_ns = draw.choice((0, 0, L, 2 * L, L + L // 2))
    run = Run(agents, tuple(requests), tuple(values), intervals, min(warmup_ns, (intervals - 1) * L))
    if agents == 2 and draw.random() < 0.4:
        lost_from = draw.randrange(intervals)
        run = replace(run, lost_from=lost_from, share=Fraction((intervals - lost_from) / (2 * intervals)))
    return run


# -- through the recorder --------------------------------------------------------------------------


class _Agent:
    """One agent with its own recorder and its own custom metrics."""

    def __init__(self, index: int, run: Run, objectives: Sequence[Objective]) -> None:
        self.index, self.run = index, run
        self.name, self.region = AGENTS[index]
        watches = Watches(objectives, ["shop"], L, self.region, None, lambda: 0, loads=["day", "spike"], tags=TAGS)
        watches.t0_ns = T0
        self.recorder = Recorder(watches=watches, tagging=Tagging(TAGS))
        self.recorder.t0_ns, self.recorder.warmup_ns = T0, run.warmup_ns
        self.meters = {load: FirstByteMeter(self.recorder, (("load", load),)) for load in ("day", "spike")}
        self.metrics: dict[str, Any] = {
            "hits": rate("hits"),
            "basket": trend("basket", resolution=0.01),
            "orders": counter("orders"),
            "stock": gauge("stock"),
        }
        for metric in self.metrics.values():
            metric.bind(self.recorder)
        self.begun: dict[Request, Any] = {}
        self.mine = [one for one in run.requests if one.agent == index]

    def interval(self, k: int) -> Any:
        for one in self.mine:
            if one.due_ns // L == k:
                meter = self.meters[one.load]
                meter.begin("shop", warmup=one.due_ns < self.run.warmup_ns, pool_limited=False)
                series = meter.ask(one.name)
                if one.tenant:
                    series = series.marked({"tenant": one.tenant})
                self.begun[one] = series
                if series.watch is not None:
                    series.watch.begun(T0 + one.due_ns)
        for one in self.mine:
            if one.end_ns // L == k:
                self._end(one)
        for value in self.run.values:
            if value.agent == self.index and value.k == k:
                self._record(self.metrics[value.metric], value.value)
        delta = self.recorder.flip(k * L, (k + 1) * L)
        return replace(delta, agent=self.name, epoch=1)

    def _end(self, one: Request) -> None:
        at_ns = T0 + one.due_ns
        series = self.begun.pop(one)
        if one.cache:
            series = series.split((("x-cache", one.cache),), at_ns)
        sample: Any = SimpleNamespace(
            series=series,
            asked_ns=at_ns,
            sent_ns=at_ns + one.sent_us * 1_000 if one.sent_us else 0,
            first_byte_ns=at_ns + one.first_us * 1_000 if one.first_us else 0,
            done_ns=at_ns + one.took_us * 1_000,
            outcome=one.outcome,
            size_bytes=0,
        )
        self.meters[one.load].hold(sample)
        self.meters[one.load].settle()

    def _record(self, metric: Counter | Gauge | Rate | Trend, value: float) -> None:
        if isinstance(metric, Counter):
            metric.add(int(value))
        elif isinstance(metric, Gauge):
            metric.set(value)
        elif isinstance(metric, Rate):
            metric.add(bool(value))
        else:
            metric.add(value)


def deltas_of(run: Run, objectives: Sequence[Objective]) -> Iterator[tuple[str, Delta]]:
    """(region, delta) of each agent and interval that was reported."""
    agents = [_Agent(index, run, objectives) for index in range(run.agents)]
    last = max([run.intervals, *(one.end_ns // L + 1 for one in run.requests)])
    for k in range(last):
        for agent in agents:
            delta = agent.interval(k)
            if agent.index == 0 or run.lost_from is None or k < run.lost_from:
                yield agent.region, delta


def recorded(run: Run, objectives: Sequence[Objective]) -> tuple[Merge, dict[str, Any]]:
    """The merge of a run, and the arguments of `evaluate` that belong to it."""
    merge = Merge(L)
    for region, delta in deltas_of(run, objectives):
        merge.accept(region, delta)
    gaps: tuple[Gap, ...] = ()
    if run.lost_from is not None:
        gaps = (Gap(run.lost_from * L, run.intervals * L, "us", 0.5, 1.0),)
    return merge, {
        "complete": run.lost_from is None,
        "missing_share": float(run.share),
        "from_ns": run.warmup_ns,
        "end_ns": run.intervals * L,
        "gaps": gaps,
    }


# -- by plain Python -------------------------------------------------------------------------------

_METRICS: dict[str, Callable[[Request], int | None]] = {
    "response": lambda one: one.took_us,
    "service": lambda one: one.took_us - one.sent_us if one.sent_us else None,
    "ttfb": lambda one: one.first_us or (one.took_us if one.outcome == "timeout" else None),
}
ABOVE = ("response", "ttfb")
_TAGS: dict[str, Callable[[Request], str]] = {
    "load": lambda one: one.load,
    "tenant": lambda one: one.tenant,
    "x-cache": lambda one: one.cache,
}


def _compare(operator: str, value: Any, limit: Any) -> bool:
    return bool({"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}[operator])


def expected(objective: Objective, run: Run) -> tuple[str, int]:
    """(verdict, number of events) of an objective over the whole run, or (verdict, broken windows) over windows."""
    run = run.known
    if objective.window_ns:
        return _windows(objective, run)
    if objective.of_kind is not None:
        values = [one.value for one in run.values if one.metric == objective.of and one.k * L >= run.warmup_ns]
        if objective.region is not None:
            values = [
                one.value
                for one in run.values
                if one.metric == objective.of
                and one.k * L >= run.warmup_ns
                and AGENTS[one.agent][1] == objective.region
            ]
        return _of_values(objective, values, run)
    events = [one for one in run.requests if _is_covered(objective, one, run)]
    if objective.kind in ("total", "throughput"):
        seconds = Fraction(run.intervals * L - run.warmup_ns, 10**9) if objective.kind == "throughput" else Fraction(1)
        return _amount(objective, Fraction(len(events)) / seconds, len(events), run), len(events)
    if objective.kind == "error_ratio":
        wrong = [one for one in events if one.outcome == (objective.outcome or one.outcome) and one.outcome != "ok"]
        return _share(objective, len(wrong), len(events), run), len(events)
    measured = [(_METRICS[objective.metric](one), one.outcome) for one in events]
    timed = [(value, outcome) for value, outcome in measured if value is not None]
    if objective.kind == "percentile":
        return _percentile(objective, measured, run)
    if not timed:
        return "inconclusive", 0
    return _moment(objective, timed, run), len(timed)


def _is_covered(objective: Objective, one: Request, run: Run, *, warmup: bool = False) -> bool:
    return (
        (warmup or one.due_ns >= run.warmup_ns)
        and objective.request in (None, one.name)
        and objective.load in (None, one.load)
        and objective.region in (None, AGENTS[one.agent][1])
        and all(((_TAGS[tag.name](one) or "(none)") in tag.values) != tag.is_excluded for tag in objective.tags)
    )


def _more(n: Any, run: Run) -> Fraction:
    return Fraction(n) * run.share / (1 - run.share)


def _limit(objective: Objective) -> Fraction:
    return Fraction(str(objective.limit))


def _share(objective: Objective, part: int, n: int, run: Run) -> str:
    """The verdict on a ratio: the missing events decide if they could."""
    if not n:
        return "inconclusive"
    lost = _more(n, run)
    lowest, highest = Fraction(part) / (n + lost), (part + lost) / (n + lost)
    if objective.operator == "<":
        best, worst = lowest, highest
        # Nothing wrong at all is never too much.
        met = [share < _limit(objective) or share == 0 for share in (best, worst)]
    else:
        met = [share > _limit(objective) or share == 1 for share in (highest, lowest)]
    return "failed" if not met[0] else "passed" if met[1] else "inconclusive"


def _percentile(objective: Objective, values: list[tuple[int | None, str]], run: Run) -> tuple[str, int]:
    if objective.metric in ABOVE:
        judged = [value if outcome == "ok" else None for value, outcome in values]
        judged = [one for one, (value, outcome) in zip(judged, values, strict=True) if value or outcome != "ok"]
    else:
        judged = [None if outcome == "timeout" else value for value, outcome in values if value is not None]
    return _ranked(objective, judged, _limit(objective) / 1_000, run), len(judged)


def _ranked(objective: Objective, judged: list[Any], limit: Fraction, run: Run) -> str:
    """The verdict on a percentile of values; None is above every value."""
    n = len(judged)
    if not n:
        return "inconclusive"
    lost = _more(n, run)
    within = sum(one is not None and one <= limit for one in judged)
    q = Fraction(str(objective.q)) / 100
    if objective.operator == "<":
        met = [within + lost >= q * (n + lost) or within == n, within >= q * (n + lost)]
    else:  # the value of that rank is above the limit
        met = [within < q * (n + lost) or within == 0, within + lost < q * (n + lost) or within + lost == 0]
    return "failed" if not met[0] else "passed" if met[1] else "inconclusive"


def _moment(objective: Objective, timed: list[tuple[int, str]], run: Run) -> str:
    numbers = [Fraction(value) for value, _ in timed]
    known = [Fraction(value) for value, outcome in timed if outcome != "timeout"]
    has_bounds, limit = len(known) < len(numbers), _limit(objective) / 1_000
    return _between(objective, numbers, known, limit, run, has_bounds=has_bounds)


def _between(
    objective: Objective, numbers: list[Fraction], known: list[Fraction], limit: Fraction, run: Run, *, has_bounds: bool
) -> str:
    low: Fraction
    high: Fraction | None
    is_short = run.lost_from is not None
    if objective.kind == "mean":
        low = sum(numbers, Fraction(0)) / len(numbers)
        high = None if has_bounds or is_short else low
        if is_short:
            low = sum(numbers, Fraction(0)) / (len(numbers) + _more(len(numbers), run))
    elif objective.kind == "maximum":
        low, high = max(numbers), None if has_bounds or is_short else max(numbers)
    else:
        low, high = Fraction(0) if is_short else min(numbers), min(known, default=None)
    if objective.operator == "<":
        if low >= limit:
            return "failed"
        return "passed" if high is not None and high < limit else "inconclusive"
    if low > limit:
        return "passed"
    return "failed" if high is not None and high <= limit else "inconclusive"


def _amount(objective: Objective, value: Fraction, n: int, run: Run) -> str:
    if not n:
        return "inconclusive"
    least = _compare(objective.operator, value, _limit(objective))
    most = _compare(objective.operator, value + _more(value, run), _limit(objective))
    if least and most:
        return "passed"
    if run.lost_from is None or (not least and not most):
        return "failed"
    # Only the missing part decides: it saves a lower limit, and may break an upper one.
    if objective.operator.startswith(">"):
        return "passed" if least else "inconclusive"
    return "failed" if not least else "inconclusive"


def _of_values(objective: Objective, values: list[float], run: Run) -> tuple[str, int]:
    n = len(values)
    if not n:
        return "inconclusive", 0
    numbers = [Fraction(str(value)) for value in values]
    is_short, limit = run.lost_from is not None, _limit(objective)
    if objective.kind == "ratio":
        return _share(objective, sum(value > 0 for value in values), n, run), n
    if objective.kind == "total":
        added = int(sum(values))
        return _amount(objective, Fraction(added), n, run), max(added, n)
    if objective.kind == "percentile":
        return _ranked(objective, numbers, limit, run), n
    if objective.of_kind == "trend":
        return _between(objective, numbers, numbers, limit, run, has_bounds=False), n
    found = {"minimum": min, "maximum": max}[objective.kind](numbers)
    is_met = _compare(objective.operator, found, limit)
    is_final = is_met == ((objective.kind == "maximum") == (objective.operator == ">"))
    if is_short and not is_final:
        return "inconclusive", n
    return "passed" if is_met else "failed", n


# -- windows ---------------------------------------------------------------------------------------


def _windows(objective: Objective, run: Run) -> tuple[str, int]:
    width, first = objective.window_ns // L, ceil(Fraction(run.warmup_ns, L))
    found = []
    for start in range(first, run.intervals - width + 1):
        inside = range(start, start + width)
        if objective.of_kind is not None:
            events: list[Any] = [one for one in run.values if one.metric == objective.of and one.k in inside]
        else:
            events = [one for one in run.requests if one.due_ns // L in inside and _is_covered(objective, one, run)]
        found.append(_window(objective, events, width))
    judged_values: list[Any] = (
        [one for one in run.values if one.metric == objective.of and one.k >= first]
        if objective.of_kind is not None
        else [one for one in run.requests if one.due_ns // L >= first and _is_covered(objective, one, run)]
    )
    judged_values = [one for one in judged_values if not isinstance(one, Request) or one.due_ns // L < run.intervals]
    is_empty = not any(_has_value(objective, one) for one in judged_values)
    broken = found.count("broken")
    if not found or is_empty:
        return "inconclusive", 0
    if broken:
        return "failed", broken
    if all(one == "small" for one in found) or "unknown" in found:
        return "inconclusive", 0
    return "passed", 0


def _has_value(objective: Objective, one: Any) -> bool:
    if isinstance(one, Value):
        return objective.kind != "total" or one.value > 0
    if objective.kind in ("throughput", "total", "error_ratio"):
        return True
    value = _METRICS[objective.metric](one)
    return value is not None or (objective.kind == "percentile" and one.outcome != "ok")


def _window(objective: Objective, events: list[Any], width: int) -> str:
    limit = _limit(objective)
    if objective.kind in ("throughput", "total"):
        n = sum(int(one.value) for one in events) if objective.of_kind else len(events)
        value = Fraction(n) / (Fraction(width * L, 10**9) if objective.kind == "throughput" else 1)
        return "met" if _compare(objective.operator, value, limit) else "broken"
    pairs: list[tuple[Any, str]] = (
        [(Fraction(str(one.value)), "ok") for one in events]
        if objective.of_kind
        else [(_METRICS[objective.metric](one), one.outcome) for one in events]
    )
    scaled = limit if objective.of_kind else limit / 1_000
    if objective.kind in ("ratio", "error_ratio"):
        if objective.kind == "ratio":
            part = sum(value > 0 for value, _ in pairs)
        else:
            part = sum(outcome != "ok" and outcome == (objective.outcome or outcome) for _, outcome in pairs)
        bad, allowed = (part, limit) if objective.operator == "<" else (len(pairs) - part, 1 - limit)
        return _budget(bad, len(pairs), allowed, is_strict=True)
    if objective.kind == "percentile":
        above = objective.of_kind is None and objective.metric in ABOVE
        if above:
            values = [None if outcome != "ok" else value for value, outcome in pairs if value or outcome != "ok"]
        else:
            values = [None if outcome == "timeout" else value for value, outcome in pairs if value is not None]
        within = sum(one is not None and one <= scaled for one in values)
        q = Fraction(str(objective.q)) / 100
        if objective.operator == "<":
            return _budget(len(values) - within, len(values), 1 - q, is_strict=False)
        return _budget(within, len(values), q, is_strict=True)
    timed = [(Fraction(value), outcome == "timeout") for value, outcome in pairs if value is not None]
    if not timed:
        return "small"
    if objective.kind == "mean":
        mean = sum((value for value, _ in timed), Fraction(0)) / len(timed)
        if any(is_bound for _, is_bound in timed):
            is_decided = mean >= scaled if objective.operator == "<" else mean > scaled
            return ("broken" if objective.operator == "<" else "met") if is_decided else "unknown"
        return "met" if _compare(objective.operator, mean, scaled) else "broken"
    if objective.kind == "maximum":
        if any(value >= scaled for value, _ in timed):
            return "broken"
        return "unknown" if any(is_bound for _, is_bound in timed) else "met"
    if any(value <= scaled and not is_bound for value, is_bound in timed):
        return "broken"
    return "unknown" if any(value <= scaled for value, _ in timed) else "met"


def _budget(bad: int, n: int, allowed: Fraction, *, is_strict: bool) -> str:
    least = ceil(1 / allowed) if allowed else 1
    room = floor(1 / allowed) + 1 if allowed and is_strict else least
    count = n if n >= least else room
    is_broken = bad > 0 and (bad >= count * allowed if is_strict else bad > count * allowed)
    return "broken" if is_broken else "met" if n >= least else "small"
