"""Reads traces from Zipkin: `/api/v2/traceMany?traceIds=a,b` returns a list of traces, each a list of spans.

One id alone goes to `/api/v2/trace/{id}`, because `traceMany` is for several distinct ids. Times are whole µs. Client
and server may share a span id, which the repair of traces splits.
Source: Zipkin's API, `zipkin-api.yaml`, and its "Rationale".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec

from loadgen.backends.backend import Answer, Missing, picked
from loadgen.backends.by_id import Broken, ByIdBackend
from loadgen.backends.fetch import Ask, Fetched
from loadgen.backends.read_spans import traces_in

__all__ = ["ZipkinBackend"]


class ZipkinBackend(ByIdBackend):
    """Zipkin's HTTP API, version 2."""

    title: ClassVar[str] = "Zipkin"
    needs: ClassVar[str] = "Zipkin 2 with its query API"
    permission: ClassVar[str] = (
        "Zipkin itself has no login: a proxy in front of it rejected the request; name its secret with auth"
    )
    group_size: ClassVar[int] = 20
    """An answer has all of them, and a URL of 20 ids has less than 800 characters."""
    at_once: ClassVar[int] = 2

    def ask(self, group: Sequence[str]) -> Ask:
        if len(group) == 1:
            return Ask(f"/api/v2/trace/{group[0]}")
        return Ask(f"/api/v2/traceMany?traceIds={','.join(group)}")

    def answers(self, group: Sequence[str], got: Fetched) -> Iterator[tuple[str, Answer]]:
        if got.body.lstrip()[:1] != b"[":
            raise Broken(_error_of(got))
        traces = traces_in("zipkin", got.body, self.keep)
        asked = {one: one for one in group} | {one[16:].zfill(32): one for one in group}
        strangers = [one for one in traces if one.id not in asked]
        for one in group:
            mine = [trace for trace in traces if asked.get(trace.id) == one]
            # Strange spans in the answer for one id were sent instead of it; in one for several, they are left out.
            yield one, picked(mine or (strangers if len(group) == 1 else []), one) if mine or strangers else Missing()


def _error_of(got: Fetched) -> str:
    try:
        found = msgspec.json.decode(got.body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"the answer is not valid JSON ({len(got.body):,} bytes)"
    for key in ("message", "error"):
        if key in found:
            return f"Zipkin answered with an error: {bytes(found[key]).decode('utf-8', 'replace')[:200]}"
    return "the answer is not a list of traces"
