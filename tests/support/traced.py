"""A sample of a traced request, for tests of exemplars."""

from __future__ import annotations

from loadgen.clients.request.tracing import Tracer
from loadgen.engine.recording.user_meter import Meter
from loadgen.measure.deltas.series_key import OK


class Sampled:
    """A client's sample with the trace that the plan's tracer gave it."""

    def __init__(
        self, meter: Meter, tracer: Tracer, name: str, response_ns: int, outcome: str = OK, asked_ns: int = 1
    ) -> None:
        self.series = meter.ask(name)
        _, self.trace, self.span, self.is_sampled = tracer.lines(meter)
        self.asked_ns, self.sent_ns, self.done_ns = asked_ns, asked_ns, asked_ns + response_ns
        self.first_byte_ns, self.outcome, self.size_bytes = self.done_ns, outcome, 10
        self.status_code = 503 if outcome != OK else 200
