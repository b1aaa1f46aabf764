"""Statistics of each path over many timed traces, weighted by the number of requests that each trace stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum

import msgspec

from loadgen.traces.cohorts import weighted_quantile
from loadgen.traces.model import Path
from loadgen.traces.timed import Parted
from loadgen.units import NS_PER_US

__all__ = ["PathRow", "folded_text", "path_table"]


class PathRow(msgspec.Struct, frozen=True):
    """One path. Times are own times on the critical path in ns; a trace without the path counts with 0.

    mean_ns: the means of all rows add up to the mean response time. share: of the mean response time, 0 to 1. calls:
    spans with this path a trace, on average. traces: how many traces have the path.
    """

    path: Path
    mean_ns: float
    share: float
    p50_ns: int
    p99_ns: int
    calls: float
    traces: int


def path_table(timed: Sequence[Parted]) -> list[PathRow]:
    """Return a row for each path, the largest mean first. Without traces the table is empty.

    The p99 of a path is the smallest own time that covers at least 99 % of the weight of all traces. A trace without
    the path counts with an own time of 0.
    """
    total = fsum(trace.observed.weight for trace in timed)
    response = fsum(trace.observed.weight * trace.observed.response_ns for trace in timed)
    found: dict[Path, list[tuple[int, int, float]]] = {}
    for trace in timed:
        weight = trace.observed.weight
        for path, time in trace.paths.items():
            found.setdefault(path, []).append((time.own_ns, time.calls, weight))
    rows = []
    for path, times in found.items():
        own = fsum(own_ns * weight for own_ns, _, weight in times)
        values = [own_ns for own_ns, _, _ in times]
        weights = [weight for _, _, weight in times]
        absent = total - fsum(weights)
        if len(times) < len(timed) and absent > 0:
            values.append(0)
            weights.append(absent)
        rows.append(
            PathRow(
                path=path,
                mean_ns=own / total,
                share=own / response if response else 0.0,
                p50_ns=int(weighted_quantile(values, weights, 0.5)),
                p99_ns=int(weighted_quantile(values, weights, 0.99)),
                calls=fsum(calls * weight for _, calls, weight in times) / total,
                traces=len(times),
            )
        )
    return sorted(rows, key=lambda row: (-row.mean_ns, row.path))


def folded_text(rows: Iterable[PathRow]) -> str:
    """Return the mean own times as folded stacks, the input of flame graphs: `shop: GET /;stock: reserve 1234`, in µs.

    Semicolons and control characters in names become `_`. Rows below 0.5 µs are left out.
    """
    lines = []
    for row in rows:
        if micros := round(row.mean_ns / NS_PER_US):
            lines.append(f"{';'.join(_harmless(name) for name in row.path)} {micros}\n")
    return "".join(sorted(lines))


def _harmless(name: str) -> str:
    return "".join("_" if letter == ";" or not letter.isprintable() else letter for letter in name)
