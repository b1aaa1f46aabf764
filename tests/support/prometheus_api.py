"""The HTTP API of a Prometheus server with made-up series: raw samples, expressions, errors and warnings.

It answers as the documentation of Prometheus says. For what a real server does, see tests/support/prometheus.py.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.metrics_server import MetricsServer, metrics_server, page_reply

__all__ = ["PrometheusApi", "prometheus_api"]

Samples = dict[float, float | str]


@dataclass
class PrometheusApi:
    """A running API. `series` has the samples by selector, and in it by the labels of each series."""

    server: MetricsServer
    now_s: float = 1_700_000_000.0
    series: dict[str, list[tuple[dict[str, str], Samples]]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    reply: Callable[[str, dict[str, str]], bytes | None] = lambda _path, _given: None
    """A whole response for a call, or None."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def queries(self, path: str = "query") -> list[str]:
        """The queries that came in on this path, in their order."""
        return [given["query"] for where, given in self.asked if where == f"/api/v1/{path}"]

    def answer(self, connection: socket.socket) -> None:
        target = self.server.requests[-1].split(b" ", 2)[1].decode()
        parts = urlsplit(target)
        given = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.asked.append((parts.path, given))
        whole = self.reply(parts.path, given)
        connection.sendall(page_reply(json.dumps(self._body(parts.path, given))) if whole is None else whole)

    def _body(self, path: str, given: dict[str, str]) -> dict[str, Any]:
        if path == "/api/v1/metadata":
            name = given["metric"]
            found = {name: [{"type": self.types[name], "help": "", "unit": ""}]} if name in self.types else {}
            return {"status": "success", "data": found}
        query = given["query"]
        if query == "time()":
            return _success("scalar", [self.now_s, f"{self.now_s:.3f}"])
        if path == "/api/v1/query_range":
            start, end, step = (float(given[key]) for key in ("start", "end", "step"))
            steps = [start + n * step for n in range(int((end - start) // step) + 1)]
            rows = [
                {"metric": labels, "values": [[at, str(values[at])] for at in steps if at in values]}
                for labels, values in self.series.get(query, ())
            ]
            return self._matrix(rows)
        ranged = re.fullmatch(r"(.*)\[(\d+)s\]", query)
        if ranged is None:
            return self._matrix([])
        end, length = float(given.get("time", self.now_s)), float(ranged[2])
        rows = [
            {
                "metric": labels,
                "values": [[at, str(v)] for at, v in sorted(values.items()) if end - length <= at <= end],
            }
            for labels, values in self.series.get(ranged[1], ())
        ]
        return self._matrix(rows)

    def _matrix(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        found = _success("matrix", [row for row in rows if row["values"]])
        return {**found, "warnings": self.warnings} if self.warnings else found


def _success(kind: str, result: object) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}}


@contextmanager
def prometheus_api() -> Iterator[PrometheusApi]:
    """An API without series."""
    with metrics_server() as server:
        api = PrometheusApi(server)
        server.answer = api.answer
        yield api
