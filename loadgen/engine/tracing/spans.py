"""The traces of the requests of one sampled iteration."""

from __future__ import annotations

from loadgen.measure.deltas.exemplar import MAX_REQUESTS

__all__ = ["IterationSpans"]


class IterationSpans:
    """The traces of the first `MAX_REQUESTS` requests of a sampled iteration, in the order in which they ended.

    trace: the trace of the whole iteration, if its requests are one trace; else "".
    """

    __slots__ = ("_spans", "trace")

    def __init__(self, trace: str = "") -> None:
        self.trace = trace
        self._spans: list[tuple[int, str]] = []

    def add(self, asked_ns: int, trace: str, span: str) -> None:
        """Add a request that has ended, and that the journey asked for at `asked_ns` (`perf_counter_ns`)."""
        if len(self._spans) < MAX_REQUESTS:
            self._spans.append((asked_ns, f"{trace}-{span}"))

    def since(self, begun_ns: int) -> tuple[str, ...]:
        """Return "TRACE-SPAN" of each request that began at this time or later, in the order in which they began."""
        return tuple(text for asked_ns, text in sorted(self._spans) if asked_ns >= begun_ns)
