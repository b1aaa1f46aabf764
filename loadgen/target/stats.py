"""Exact counts of the requests that the shop received and served, with which the report of a run can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from loadgen.measure.histograms.histogram import Histogram

__all__ = ["Stats", "histogram_json"]

_FOLD_AT = 65_536
"""The number of waits kept as ints before they are added to a histogram: half a megabyte a route."""


class Stats:
    """Counts since the start or the last reset, without `/stats` and `/stats/reset`.

    requests == answered + aborted + requests whose answer is not due yet.
    """

    __slots__ = (
        "_folded",
        "_values",
        "aborted",
        "answers",
        "bad_requests",
        "connections_open",
        "connections_opened",
        "requests",
    )

    def __init__(self, connections_open: int = 0) -> None:
        self.requests: dict[str, int] = {}
        """Complete requests by `METHOD /path/{pattern}`, counted on arrival."""
        self.answers: dict[str, dict[int, int]] = {}
        """Answers written, by route and status."""
        self.aborted: dict[str, int] = {}
        """Requests whose connection was closed before the answer was due, by route."""
        self.bad_requests: dict[int, int] = {}
        """Invalid or too large requests, by the status of the answer. They are in no other count."""
        self.connections_opened = 0
        self.connections_open = connections_open
        self._values: dict[str, list[int]] = {}
        self._folded: dict[str, Histogram] = {}

    def arrived(self, route: str) -> None:
        self.requests[route] = self.requests.get(route, 0) + 1

    def answered(self, route: str, status: int, waited_ns: int) -> None:
        """Count one answer of a route. waited_ns: how long the answer was held back on purpose, by stall and
        latency.
        """
        by_status = self.answers.get(route)
        if by_status is None:
            by_status = self.answers[route] = {}
            self._values[route] = []
        by_status[status] = by_status.get(status, 0) + 1
        values = self._values[route]
        values.append(waited_ns)
        if len(values) >= _FOLD_AT:
            self._fold(route)

    def abort(self, route: str) -> None:
        self.aborted[route] = self.aborted.get(route, 0) + 1

    def bad(self, status: int) -> None:
        self.bad_requests[status] = self.bad_requests.get(status, 0) + 1

    def served(self, route: str) -> Histogram:
        """Return a histogram of how long the answers of a route were held back on purpose."""
        self._fold(route)
        return self._folded.get(route, Histogram())

    def as_json(self) -> dict[str, Any]:
        by_status: dict[int, int] = {}
        for statuses in self.answers.values():
            for status, count in statuses.items():
                by_status[status] = by_status.get(status, 0) + count
        return {
            "requests": sum(self.requests.values()),
            "answered": sum(by_status.values()),
            "aborted": sum(self.aborted.values()),
            "by_route": self.requests,
            "by_status": {str(status): count for status, count in sorted(by_status.items())},
            "answers": {r: {str(s): n for s, n in sorted(of.items())} for r, of in self.answers.items()},
            "aborted_by_route": self.aborted,
            "bad_requests": {str(status): count for status, count in sorted(self.bad_requests.items())},
            "connections": {"opened": self.connections_opened, "open": self.connections_open},
            "served": {route: histogram_json(self.served(route)) for route in self.answers},
        }

    def _fold(self, route: str) -> None:
        values = self._values.get(route)
        if values:
            self._folded.setdefault(route, Histogram()).add_histogram(Histogram.of_ns(np.array(values, dtype=np.int64)))
            values.clear()


def histogram_json(histogram: Histogram) -> dict[str, Any]:
    """Return a histogram as a JSON object with the ascending indices of its non-empty `slots`, in the layout of
    `loadgen.measure.histograms.histogram`, and their `counts`.
    """
    slots, counts = histogram.sparse()
    return {
        "count": histogram.total,
        "sum_ns": histogram.sum_ns,
        "min_ns": histogram.min_ns,
        "max_ns": histogram.max_ns,
        "slots": slots.tolist(),
        "counts": counts.tolist(),
    }
