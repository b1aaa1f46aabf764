"""Runs of a history without a run: what each name's p95 was, and the rest follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan

import numpy as np

from loadgen.history.store.stored_run import STATISTICS, Accepted, Errors, Figure, Key

KEY = Key(
    plan="scenario: shop.py\nplan: plan\nloads: checkout arrivals at 200/s for 60 s",
    target="shop.example:443",
    placement="embedded",
    regions="local=1",
    instances="x86_64, 2 cpus",
    rate="200/s",
)
OF_P95 = {"p50": 0.5, "p95": 1.0, "p99": 1.5, "mean": 0.6}
METHODS = ("GET ", "POST ", "PUT ", "PATCH ", "DELETE ", "HEAD ", "OPTIONS ")


def kind_of(name: str) -> str:
    """A name's last part tells."""
    last = name.rsplit(" > ", 1)[-1]
    return "request" if last.startswith(METHODS) else "step" if " > " in name else "journey"


def accepted(
    p95: Mapping[str, float],
    *,
    run_id: str = "20261101-120000-shop-0001",
    key: Key = KEY,
    started_at: str = "2026-11-01T12:00:00Z",
    others: Mapping[str, Mapping[str, float]] | None = None,
    regions: Mapping[str, Mapping[str, float]] | None = None,
    agents: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
    error: float = 0.01,
    why: str = "",
    count: int = 12_000,
    failed: Mapping[str, int] | None = None,
    failed_error: float = 0.0005,
    commit: str = "",
    planned_rate: float = 200.0,
    achieved_rate: float = 200.0,
    **more: object,
) -> Accepted:
    """One run.

    Args:
        p95: name -> ms over all regions. p50, p99 and mean are 0.5, 1.5 and 0.6 of it, unless `others` says otherwise:
            {"p99": {"checkout": 300.0}}.
        regions, agents: the same of single regions, and of single (region, agent).
        error: of each figure; nan for none, with `why`.
        failed: name -> how many of `count` ended in an error; names that are not there have none.
        more: other fields of `Accepted`.
    """
    rows = [(("*", "*"), p95)]
    rows += [((region, "*"), values) for region, values in (regions or {}).items()]
    rows += list((agents or {}).items())
    figures = [
        Figure(
            name=name,
            kind=kind_of(name),
            percentile=statistic,
            value_ms=(others or {}).get(statistic, {}).get(name, value * OF_P95[statistic])
            if where == ("*", "*")
            else value * OF_P95[statistic],
            error=error,
            why=why,
            count=count - (failed or {}).get(name, 0),
            region=where[0],
            agent=where[1],
        )
        for where, values in rows
        for name, value in values.items()
        for statistic in STATISTICS
    ]
    errors = [
        Errors(name, kind_of(name), count, n := (failed or {}).get(name, 0), failed_error if n else nan) for name in p95
    ]
    made = Accepted(
        run_id=run_id,
        key=key,
        started_at=started_at,
        duration_s=60.0,
        commit=commit,
        planned_rate=planned_rate,
        achieved_rate=achieved_rate,
        figures=tuple(figures),
        errors=tuple(errors),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def history(
    runs: int,
    p95: Mapping[str, float | Sequence[float]],
    *,
    sd: float = 0.02,
    seed: int = 1,
    first: int = 0,
    **more: object,
) -> list[Accepted]:
    """So many runs, an hour after each other, oldest first; each name's values differ by `sd` (of the logarithm).

    first: number of the first of them, for ids and times that follow those of another call.
    p95: name -> level in ms, or one level for each run. more: as for `accepted`.
    """
    random = np.random.default_rng(seed)
    levels = {name: np.broadcast_to(np.asarray(value, dtype=float), (runs,)) for name, value in p95.items()}
    noise = {name: np.exp(random.normal(0, sd, runs)) for name in p95}
    made = []
    for n in range(runs):
        day, hour = divmod(first + n, 24)
        at = np.datetime64("2026-11-01T00:00:00") + np.timedelta64(24 * day + hour, "h")
        values = {name: float(levels[name][n] * noise[name][n]) for name in p95}
        text = str(at)
        run_id = f"{text[:10].replace('-', '')}-{text[11:13]}0000-shop-{first + n:04x}"
        made.append(accepted(values, run_id=run_id, started_at=f"{text}Z", **more))  # type: ignore[arg-type]
    return made
