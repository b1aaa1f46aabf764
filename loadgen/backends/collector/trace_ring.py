"""The newest traces, bounded by bytes and by their number. Pure: no clock, no I/O.

The trace whose first span came first leaves first. Its later spans are dropped too, because a few late spans would look
like a whole trace. Everything that is dropped is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from loadgen.backends.collector.otlp_parts import Part

__all__ = ["Counts", "TraceRing"]

_OVERHEAD_BYTES: Final = 460
"""Memory of a part beside its bytes, of the first one of a trace with its id and places in dictionaries (456, measured
with tracemalloc on CPython 3.11 for 7,680 traces)."""
_OF_ONE: Final = 4
"""A trace may have this part of all bytes, at most: 1/4."""


@dataclass(slots=True)
class Counts:
    """What came and what was dropped, since the start."""

    requests: int = 0
    spans: int = 0
    """Spans that were stored, those that left since included."""
    rejected_spans: int = 0
    """Spans without a valid trace id or span id."""
    evicted_traces: int = 0
    """Traces that left because of the limits."""
    evicted_spans: int = 0
    late_spans: int = 0
    """Spans that came after their trace had left."""
    cut_spans: int = 0
    """Spans that were too many for one trace."""
    refused_requests: int = 0
    """Requests that were malformed or too large, or came while too many others were being received."""

    @property
    def dropped_spans(self) -> int:
        """All spans that came and are not stored any more, or never were."""
        return self.rejected_spans + self.evicted_spans + self.late_spans + self.cut_spans


@dataclass(slots=True)
class _Entry:
    parts: list[Part] = field(default_factory=list)
    size: int = 0
    spans: int = 0
    is_cut: bool = False


class TraceRing:
    """Traces by id.

    Args:
        most_bytes: of memory for spans. most_traces: of traces at a time.
    """

    def __init__(self, most_bytes: int, most_traces: int) -> None:
        self.most_bytes, self.most_traces = most_bytes, most_traces
        self.counts = Counts()
        self.size = 0
        """Bytes of memory in use."""
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        """Ids of traces that left, the newest ones, as many as traces are permitted."""

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, parts: Iterable[Part]) -> int:
        """Store parts, and return the number of their spans that were dropped at once."""
        dropped = 0
        for part in parts:
            if part.trace in self._gone:
                self.counts.late_spans += part.spans
                dropped += part.spans
                continue
            entry = self._entries.get(part.trace)
            if entry is None:
                entry = self._entries[part.trace] = _Entry()
            size = len(part.data) + _OVERHEAD_BYTES
            if entry.size + size > self.most_bytes // _OF_ONE:
                entry.is_cut = True
                self.counts.cut_spans += part.spans
                dropped += part.spans
            else:
                entry.parts.append(part)
                entry.size += size
                entry.spans += part.spans
                self.size += size
                self.counts.spans += part.spans
            self._evict()
        return dropped

    def get(self, trace_id: str) -> tuple[list[Part], bool] | None:
        """Return the parts of a trace and whether spans are missing in it; None if it is not stored."""
        entry = self._entries.get(trace_id)
        return (entry.parts, entry.is_cut) if entry is not None and entry.parts else None

    def _evict(self) -> None:
        while self._entries and (self.size > self.most_bytes or len(self._entries) > self.most_traces):
            trace_id, entry = self._entries.popitem(last=False)
            self.size -= entry.size
            self.counts.evicted_traces += 1
            self.counts.evicted_spans += entry.spans
            self._gone[trace_id] = None
            if len(self._gone) > self.most_traces:
                self._gone.popitem(last=False)
