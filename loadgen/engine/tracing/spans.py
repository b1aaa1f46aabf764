"""The traces of the requests of one sampled iteration."""

from __future__ import annotations

from loadgen.engine.tracing.client_spans import IterationTree
from loadgen.measure.deltas.exemplar import MAX_REQUESTS
from loadgen.measure.deltas.series_key import SeriesKey

__all__ = ["IterationSpans"]


class IterationSpans:
    """The traces of the first `MAX_REQUESTS` requests of a sampled iteration, in the order in which they ended.

    trace: the trace of the whole iteration, if its requests are one trace; else "". probability: with which it was
    sampled; 0: the plan's. tree: collects our own spans of it; None: they are not exported.
    """

    __slots__ = ("_spans", "probability", "trace", "tree")

    def __init__(self, trace: str = "", probability: float = 0.0, tree: IterationTree | None = None) -> None:
        self.trace, self.probability, self.tree = trace, probability, tree
        self._spans: list[tuple[int, str]] = []

    def add(self, asked_ns: int, trace: str, span: str) -> None:
        """Add a request that has ended, and that the journey asked for at `asked_ns` (`perf_counter_ns`)."""
        if len(self._spans) < MAX_REQUESTS:
            self._spans.append((asked_ns, f"{trace}-{span}"))

    def since(self, begun_ns: int) -> tuple[str, ...]:
        """Return "TRACE-SPAN" of each request that began at this time or later, in the order in which they began."""
        return tuple(text for asked_ns, text in sorted(self._spans) if asked_ns >= begun_ns)

    def end(self, key: SeriesKey, begun_ns: int, ended_ns: int, outcome: str) -> None:
        """End the iteration: its spans are passed on, if they are exported."""
        if self.tree is not None:
            self.tree.end(key, begun_ns, ended_ns, outcome)
