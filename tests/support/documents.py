"""History documents as the page is given them, made up without a run: the same ones each time.

Figures are of the right size and shape, not of one run: what a test draws from them is known from them alone.
`changes` cuts a document into what a live page would have been told.
"""

from __future__ import annotations

import copy
import math
import random
from typing import Any

__all__ = ["HOSTILE", "Document", "changes", "document", "empty", "hour", "quarter"]

Document = dict[str, Any]

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"quotes\" and 'single' & ampersand",
    "two\nlines\tand a tab",
    "emoji 🚀 käse 購入",
    "{trace_id} ${x} `tick` \\u003c",
    "a" * 300,
    "]]> --> <!-- \u2028 \u202e right to left",
)

LINES = ("p50", "p90", "p95", "p99", "p99.9", "max")
PHASES = {"blocked": 0.02, "dns": 0.03, "connect": 0.08, "tls": 0.15, "send": 0.01, "wait": 0.9, "receive": 0.1}
FACTORS = {"p50": 1.0, "p90": 1.7, "p95": 2.2, "p99": 4.1, "p99.9": 9.0, "max": 14.0}


def document(
    *,
    slots: int = 600,
    length_s: float = 1.0,
    names: int = 4,
    regions: int = 2,
    base_ms: float = 40.0,
    rate: float = 200.0,
    seed: int = 7,
    hostile: bool = False,
    unfit: tuple[int, ...] = (),
    censored: tuple[int, ...] = (),
    silent: tuple[int, ...] = (),
    running: bool = False,
    metrics: int = 0,
) -> Document:
    """A run of `names` requests with a stall in its middle. `censored`, `unfit`, `silent`: numbers of slots.

    `metrics`: how many lanes.
    """
    draw = random.Random(seed)
    region_names = [f"region-{i}" for i in range(regions)]
    journeys = ["checkout", "browse"][: max(1, min(2, names))]
    if hostile:
        journeys[0] = HOSTILE[0]
    agents = regions * 2
    shape = [_shape(i / max(slots, 1), draw) for i in range(slots)]
    ramp = [min(1.0, (i + 1) / max(1, slots // 10)) for i in range(slots)]
    offered = [round(rate * r, 3) for r in ramp]
    due = [round(value * length_s) for value in offered]
    missed = [round(n * 0.05) if shape[i] > 4 else 0 for i, n in enumerate(due)]
    started = [n - m for n, m in zip(due, missed, strict=True)]
    requests = [3 * n for n in started]
    kinds = {"http 503": 0.01, "timeout": 0.004, "expect status": 0.002, "reset": 0.001, "(other)": 0.0005}
    if hostile:
        kinds = {HOSTILE[1]: 0.01, **kinds}
    errors = {
        kind: [round(n * share * (8 if shape[i] > 4 else 1)) for i, n in enumerate(requests)]
        for kind, share in kinds.items()
    }
    request_errors = [sum(column[i] for column in errors.values()) for i in range(slots)]
    rows = _rows(names, journeys, base_ms, sum(requests), length_s * slots, draw, hostile)
    return {
        "format": 1,
        "run": {
            "id": f"20261125-101500-{seed:04x}",
            "scenario": "checkout.py",
            "plan": "plan",
            "placement": "fleet",
            "started_at": "2026-11-25T10:15:00Z",
            "load": f"ramp to {rate:g}/s over {slots * length_s / 10:g} s, hold {slots * length_s * 0.9:g} s",
            "open": True,
            "phase": "running" if running else "done",
            "clock_s": slots * length_s,
            "duration_s": slots * length_s * (1.5 if running else 1),
            "interval_s": 1.0,
            "agents": agents,
            "title": "Checkout under the load of a Monday",
            "owner": "Shop team",
            "labels": {"release": "1.4"},
        },
        "verdict": None if running else _verdict(bool(unfit)),
        "slos": _slos(journeys, sum(requests)),
        "slots": {
            "length_s": length_s,
            "count": slots,
            "reported": [agents - 1 if i in silent else agents for i in range(slots)],
            "agents": [agents] * slots,
            "offered_per_s": offered,
            "planned_users": [None] * slots,
            "due": due,
            "started": started,
            "finished": started,
            "missed": missed,
            "cut_off": [0] * slots,
            "errors": request_errors,
            "requests": requests,
            "request_errors": request_errors,
            "users": [round(12 * r * s) for r, s in zip(ramp, shape, strict=True)],
            "in_flight": [round(9 * r * s) for r, s in zip(ramp, shape, strict=True)],
            "waiting": [round(40 * (s - 4)) if s > 4 else 0 for s in shape],
            "generator": {
                "lag_p99_ms": [round(0.3 + 0.2 * draw.random() + (14 if i in unfit else 0), 3) for i in range(slots)],
                "loop_lag_p99_ms": [
                    round(0.5 + 0.3 * draw.random() + (18 if i in unfit else 0), 3) for i in range(slots)
                ],
                "cpu_share": [
                    round(min(1.0, 0.1 + 0.4 * r + 0.05 * draw.random() + (0.45 if i in unfit else 0)), 3)
                    for i, r in enumerate(ramp)
                ],
                "agents_unfit": [1 if i in unfit else 0 for i in range(slots)],
            },
            "unfit": {str(i): "agent region-0.0: loop lag p99 18 ms" for i in unfit if i < slots},
        },
        "warmup_s": [0, length_s * slots / 10],
        "response": {
            "iterations": {name: _lines(shape, started, base_ms * 3, draw, censored) for name in journeys},
            "requests": _lines(shape, requests, base_ms, draw, censored),
            "regions": {
                name: _lines(shape, requests, base_ms * (1 + 0.4 * i), draw, ()) for i, name in enumerate(region_names)
            },
            "service": _lines(shape, requests, base_ms * 0.95, draw, ()),
            "phases": {name: _lines(shape, requests, base_ms * share, draw, ()) for name, share in PHASES.items()},
        },
        "errors": errors,
        "heatmap": _heatmap(shape, requests, base_ms, draw),
        "spectrum": {
            "iterations": {name: _spectrum(base_ms * 3, sum(started)) for name in journeys},
            "requests": _spectrum(base_ms, sum(requests)),
        },
        "rows": rows,
        "spark_length_s": length_s * slots / 60,
        "curve": [
            {
                "rate_per_s": round(rate * k / 10, 3),
                "count": 1000 * k,
                "p50": round(base_ms * (1 + 0.01 * k**2), 3),
                "p95": round(base_ms * (2 + 0.05 * k**2), 3),
                "p99": round(base_ms * (4 + 0.1 * k**2), 3),
                "errors": 5 * k,
            }
            for k in range(1, 11)
        ],
        "exemplars": _exemplars(journeys, region_names, base_ms, draw, hostile),
        "trace_url": "https://tracing.example/trace/{trace_id}",
        "marks": [
            {"at_s": slots * length_s * 0.3, "kind": "scale", "text": f"scaled by 1.0, at {rate:g}/s"},
            {
                "at_s": slots * length_s * 0.7,
                "kind": "lost",
                "text": HOSTILE[1] if hostile else "region-1.1 lost",
            },
        ],
        "agents": [
            {
                "id": f"{region}.{k}",
                "region": region,
                "state": "complete",
                "requests": sum(requests) // agents,
                "missing": None,
                "unfit_s": len(unfit) if (i, k) == (0, 0) else 0,
                "note": "",
            }
            for i, region in enumerate(region_names)
            for k in range(2)
        ],
        "notes": ["rates are iterations per second; requests follow from them"],
        "metrics": _metrics(metrics, slots * length_s, hostile) if metrics else None,
        "seq": 1,
    }


def hour(names: int = 20, seed: int = 3) -> Document:
    """An hour of 20 names: 720 slots of 5 s."""
    return document(slots=720, length_s=5.0, names=names, regions=3, rate=400.0, seed=seed)


def quarter(**more: Any) -> Document:
    """Fifteen minutes at 200 series, one second a slot where there is room: what a first paint is measured with."""
    return document(slots=720, length_s=5.0, names=200, regions=8, rate=2000.0, **more)


def empty() -> Document:
    """A run of which nothing has been reported yet."""
    made = document(slots=0, names=1, regions=1, running=True)
    made["rows"], made["curve"], made["slos"], made["marks"], made["notes"] = [], [], [], [], []
    made["exemplars"] = {"slowest": [], "failing": []}
    made["spectrum"] = {"iterations": {}, "requests": []}
    made["errors"], made["warmup_s"], made["trace_url"] = {}, None, None
    made["response"]["iterations"] = {}
    made["response"]["regions"] = {}
    made["run"]["phase"], made["run"]["started_at"], made["run"]["clock_s"] = "preparing", None, 0.0
    return made


def changes(whole: Document, start: int, step: int) -> tuple[Document, list[tuple[str, Document]]]:
    """The document as it was after `start` slots, and what then brings it to `whole`, `step` slots at a time.

    Each step comes again, overlapping the one before by two slots, as late data make it.
    """
    count = whole["slots"]["count"]
    early = copy.deepcopy(whole)
    early["slots"] = {**_cut(whole["slots"], 0, start), "count": start, "length_s": whole["slots"]["length_s"]}
    early["response"] = _cut(whole["response"], 0, start)
    early["errors"] = _cut(whole["errors"], 0, start)
    early["heatmap"]["slots"] = whole["heatmap"]["slots"][:start]
    early["marks"], early["notes"], early["rows"] = [], [], whole["rows"][:1]
    made: list[tuple[str, Document]] = []
    seq = int(whole["seq"])
    for at in range(start, count, step):
        first, last = max(0, at - 2), min(count, at + step)
        seq += 1
        made.append(
            (
                "slots",
                {
                    "seq": seq,
                    "from": first,
                    "to": last,
                    "slots": _cut(whole["slots"], first, last),
                    "response": _cut(whole["response"], first, last),
                    "errors": _cut(whole["errors"], first, last),
                    "heatmap": {"slots": whole["heatmap"]["slots"][first:last]},
                },
            )
        )
    by_slot = ("slots", "response", "errors", "heatmap", "format", "seq")
    made.append(("now", {"seq": seq + 1, **{key: value for key, value in whole.items() if key not in by_slot}}))
    return early, made


def _cut(columns: Any, first: int, last: int) -> Any:
    """The same, with each column cut; `unfit` is sparse and keyed by the slot's number."""
    if isinstance(columns, list):
        return columns[first:last]
    made = {}
    for key, value in columns.items():
        if key in ("length_s", "count") and not isinstance(value, list):
            continue
        if key == "unfit":
            made[key] = {slot: text for slot, text in value.items() if first <= int(slot) < last}
        else:
            made[key] = _cut(value, first, last)
    return made


def _shape(at: float, draw: random.Random) -> float:
    """How much slower than usual: noise, and a stall between 45 and 50 % of the run."""
    return round((1 + 0.15 * math.sin(at * 40)) * (0.9 + 0.2 * draw.random()) * (6 if 0.45 <= at < 0.5 else 1), 4)


def _lines(
    shape: list[float], counts: list[int], base_ms: float, draw: random.Random, censored: tuple[int, ...]
) -> Document:
    made: Document = {"count": counts, "censored": [5 if i in censored else 0 for i in range(len(shape))]}
    for name in LINES:
        column: list[Any] = []
        for i, (factor, count) in enumerate(zip(shape, counts, strict=True)):
            value = round(base_ms * factor * FACTORS[name] * (0.95 + 0.1 * draw.random()), 3)
            bounded = i in censored and name in ("p99", "p99.9", "max")
            column.append(None if not count else f"> {value}" if bounded else value)
        made[name] = column
    return made


def _heatmap(shape: list[float], counts: list[int], base_ms: float, draw: random.Random) -> Document:
    buckets = 60
    edges = [round(0.1 * 10 ** (i * 5 / buckets), 4) for i in range(buckets + 1)]
    slots = []
    for factor, count in zip(shape, counts, strict=True):
        mean = math.log10(base_ms * factor / 0.1) / 5 * buckets
        cells = []
        for bucket in range(buckets):
            away = (bucket - mean) / (3.2 if bucket < mean else 5.5)
            n = round(count * 0.11 * math.exp(-away * away / 2) * (0.8 + 0.4 * draw.random()))
            if n:
                cells += [bucket, n]
        slots.append(cells)
    return {"edges_ms": edges, "slots": slots}


def _spectrum(base_ms: float, count: int) -> list[list[float]]:
    if not count:
        return []
    places = [0.0, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 96, 97, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99]
    points = [
        [place, round(base_ms * (0.5 + 0.5 * (1 - math.log10(1 - place / 100)) ** 2.2), 3), int(count * place / 100)]
        for place in places
        if count * (1 - place / 100) >= 1
    ]
    return [*points, [100.0, round(points[-1][1] * 1.3, 3), count]]


def _rows(
    names: int, journeys: list[str], base_ms: float, total: int, run_s: float, draw: random.Random, hostile: bool
) -> list[Document]:
    made = [_row("journey", name, None, None, base_ms * 3, total // 3, draw) for name in journeys]
    made += [_row("step", journeys[0], step, None, base_ms * 2, total // 3, draw) for step in ("login", "browse")]
    for i in range(names):
        name = HOSTILE[i % len(HOSTILE)] if hostile and i < len(HOSTILE) else f"GET /products/{{sku}}/{i:03}"
        step = HOSTILE[(i + 3) % len(HOSTILE)] if hostile and i < len(HOSTILE) else ["login", "browse"][i % 2]
        share = total // max(1, names)
        made.append(_row("request", journeys[i % len(journeys)], step, name, base_ms * (0.5 + i % 9 / 4), share, draw))
    return made


def _row(
    kind: str, journey: str, step: str | None, request: str | None, base_ms: float, count: int, draw: random.Random
) -> Document:
    figures = {name: round(base_ms * factor, 3) for name, factor in FACTORS.items()}
    is_request = kind == "request"
    return {
        "kind": kind,
        "journey": journey,
        "step": step,
        "request": request,
        "count": count,
        "errors": count // 150,
        "censored": 0,
        "response_ms": {"mean": round(base_ms * 1.2, 3), **figures},
        "service_ms": {"mean": round(base_ms * 1.1, 3), **{k: round(v * 0.95, 3) for k, v in figures.items()}}
        if is_request
        else None,
        "ci_ms": {"p95": [round(figures["p95"] * 0.97, 3), round(figures["p95"] * 1.03, 3)], "p99.9": "too short"},
        "phases_ms": {"wait": {"p50": round(base_ms * 0.8, 3), "p95": round(base_ms * 1.9, 3)}} if is_request else None,
        "spark": {
            "p95": [round(figures["p95"] * (0.8 + 0.4 * draw.random()), 3) for _ in range(60)],
            "count": [round(count / 60 * (0.9 + 0.2 * draw.random())) for _ in range(60)],
        },
    }


def _slos(journeys: list[str], count: int) -> list[Document]:
    return [
        {
            "objective": "p95 < 300 ms",
            "journey": journeys[0],
            "verdict": "pass",
            "observed": "264 ms",
            "count": count // 3,
            "low": "251 ms",
            "high": "279 ms",
            "margin": "12 % below",
            "budget": "",
            "window": "",
            "reason": "",
            "limit_ms": 300.0,
            "percentile": 95.0,
            "step": None,
            "request": None,
        },
        {
            "objective": "p99 < 800 ms",
            "journey": journeys[0],
            "verdict": "inconclusive",
            "observed": "771 ms",
            "count": count // 3,
            "low": "702 ms",
            "high": "846 ms",
            "margin": "3.6 % below",
            "budget": "",
            "window": "",
            "reason": "the interval holds the limit: run longer",
            "limit_ms": 800.0,
            "percentile": 99.0,
            "step": None,
            "request": None,
        },
        {
            "objective": "error_ratio < 0.1 %",
            "journey": "*",
            "verdict": "fail",
            "observed": "1.9 %",
            "count": count,
            "low": None,
            "high": None,
            "margin": "19 times the limit",
            "budget": "used 19 times",
            "window": "1 m, 7 of 10 failed",
            "reason": "",
            "limit_ms": None,
            "percentile": None,
            "step": None,
            "request": None,
        },
    ]


def _verdict(suspect: bool) -> Document:
    return {
        "result": "failed",
        "exit_code": 1,
        "headline": "Failed: 1 of 3 objectives is missed, 1 cannot be decided",
        "plain": "The target made too many errors: 1.9 % of the iterations failed, and 0.1 % may.",
        "means": ["Between 4:30 and 5:00 the target answered 6 times slower than usual."],
        "sentences": [
            "Of 100 requests 2 failed; 1 in 1,000 was allowed.",
            "95 of 100 checkouts took less than 264 ms, counted from when they were due; 300 ms were allowed.",
            "Between 4:30 and 5:00 the target answered 6 times slower than usual.",
        ],
        "excludes": ["Rates above 200 iterations per second.", "Runs longer than 10 minutes: leaks do not show here."],
        "next": ["Look at the slowest traces of 4:30 to 5:00.", "Repeat with loadgen run checkout.py --duration 30m."],
        "reasons": ["error_ratio < 0.1 %: 1.9 %"],
        "validity": {
            "verdict": "suspect" if suspect else "valid",
            "reasons": ["agent region-0.0: loop lag p99 18 ms in 3 of 600 s"] if suspect else [],
            "advice": ["give region-0 another agent"] if suspect else [],
        },
    }


def _metrics(count: int, run_s: float, hostile: bool) -> Document:
    """Lanes of every 5 s, from before the start of the run, each with a gap."""
    at_s = [-3.0 + 5 * k for k in range(int(run_s) // 5 + 1)]
    names = HOSTILE if hostile else ("CPU of the database", "connections", "memory")
    units, bases = ("%", "", "bytes"), (55.0, 130.0, 2.4e9)

    def value(i: int, k: int) -> float | None:
        is_gap = 10 + i <= k < 14 + i
        return None if is_gap else round(bases[i % 3] * (1 + 0.3 * math.sin(k / 7 + i)), 3)

    return {
        "source": "cloudwatch",
        "lanes": [
            {
                "name": f"{names[i % len(names)]}{'' if i < len(names) else f' {i}'}",
                "statistic": "Average",
                "unit": units[i % 3],
                "period_s": 5.0,
                "stretch_s": 5.0,
                "at_s": at_s,
                "values": [value(i, k) for k in range(len(at_s))],
            }
            for i in range(count)
        ],
        "rest": [],
        "empty": [],
        "fault": "",
    }


def _exemplars(journeys: list[str], regions: list[str], base_ms: float, draw: random.Random, hostile: bool) -> Document:
    def one(i: int, outcome: str) -> Document:
        return {
            "at_s": round(270 + i * 3.7, 3),
            "journey": journeys[i % len(journeys)],
            "step": HOSTILE[4] if hostile else "browse",
            "request": HOSTILE[0] if hostile and i == 0 else f"GET /products/{{sku}}/{i:03}",
            "ms": round(base_ms * (90 - i), 3),
            "outcome": outcome,
            "trace_id": f"{draw.getrandbits(128):032x}",
            "agent": f"{regions[i % len(regions)]}.0",
            "region": regions[i % len(regions)],
        }

    return {
        "slowest": [one(i, "ok") for i in range(8)],
        "failing": [one(i, ["http 503", "timeout"][i % 2]) for i in range(8)],
    }
