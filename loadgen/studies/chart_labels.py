"""Places labels inside a chart so that they do not cover each other. Pure arithmetic on pixels."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["rows_of", "spread"]


def spread(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Return positions near the wanted ones that are at least `distance` apart, and within [low, high] if all fit.

    The order of the positions is that of the wanted ones; equal ones keep the order of the list. Labels that would
    overlap become a group, which is centred on the mean of its wanted positions. Cost: n log n.
    Source: pool adjacent violators, on the wanted positions minus rank times distance.
    """
    order = sorted(range(len(wanted)), key=lambda n: (wanted[n], n))
    groups: list[tuple[float, int]] = []  # (mean of the shifted positions, count)
    for rank, n in enumerate(order):
        mean, count = wanted[n] - rank * distance, 1
        while groups and groups[-1][0] > mean:
            before, many = groups.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        groups.append((mean, count))
    most = high - (len(order) - 1) * distance
    shifted = [max(low, min(most, mean)) for mean, count in groups for _ in range(count)]
    found = [0.0] * len(order)
    for rank, n in enumerate(order):
        found[n] = shifted[rank] + rank * distance
    return found


def rows_of(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return a row for each span (left, right), from 0, so that spans of a row do not overlap. Cost: n times rows."""
    ends: list[float] = []
    found = [0] * len(spans)
    for n in sorted(range(len(spans)), key=lambda n: spans[n]):
        left, right = spans[n]
        row = next((row for row, end in enumerate(ends) if end < left), len(ends))
        ends[row : row + 1] = [right]
        found[n] = row
    return found
