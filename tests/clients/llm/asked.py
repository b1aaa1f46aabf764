"""Users of AI models over real sockets, and what is recorded of their requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any

from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm_apis.row_tags import LLM_TAGS
from loadgen.clients.net.network import TcpNetwork
from loadgen.dsl.users.user import User
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.dsl.users.user_runner import BoundJourney, JourneyLife
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.kept_streams import StreamKeeper
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_series import Goodput
from loadgen.engine.recording.tagging import Tagging, TagSpec
from loadgen.measure.convention_metrics import RecordedConvention
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.deltas.series_key import SeriesKey

__all__ = ["Asked", "asked"]


@dataclass
class Asked:
    """What one user's iterations recorded. values: ns by (metric, outcome, whether they are lower bounds). kept: the
    event lists of all streams."""

    life: JourneyLife
    keys: list[tuple[SeriesKey, list[int]]]
    kept: list[KeptStream]
    notes: tuple[str, ...] = ()
    """The remarks for the operator."""

    @property
    def outcome(self) -> str:
        return self.life.outcome

    def values(self, metric: str, outcome: str | None = "ok", *, bound: bool | None = None) -> list[int]:
        """Return the values of a metric of requests, whatever their tags. outcome None: of all."""
        return [
            value
            for key, values in self.keys
            if key.kind == "request"
            and key.metric == metric
            and outcome in (None, key.outcome)
            and bound in (None, key.censored)
            for value in values
        ]

    def tags(self, request: str) -> set[tuple[tuple[str, str], ...]]:
        """Return the combinations of tags with which requests of this name were recorded."""
        return {key.tags for key, _ in self.keys if key.request == request and key.metric == "response"}

    def outcomes(self) -> dict[str, int]:
        """Return the number of requests by outcome."""
        found: dict[str, int] = {}
        for key, values in self.keys:
            if key.kind == "request" and key.metric == "response":
                found[key.outcome] = found.get(key.outcome, 0) + len(values)
        return found


async def asked(
    url: str,
    journey: Callable[[User], Awaitable[Any]],
    *,
    times: int = 1,
    due_ago_ns: int | None = None,
    goodputs: tuple[Goodput, ...] = (),
    exported: Mapping[RecordedConvention, Mapping[str, int]] | None = None,
    **llm: Any,
) -> Asked:
    """Run iterations of a journey by one user, one after the other.

    due_ago_ns: how long ago each iteration was due; None: it has no due time. goodputs: limits of the plan. exported:
    limits by which requests are good for other tools. llm: settings of the plan's `Llm`.
    """
    settings = replace(Llm(model="sim"), **llm)
    recorder = Recorder(tagging=Tagging([TagSpec(name=name, values=values) for name, values in LLM_TAGS.items()]))
    recorder.goodputs, recorder.exported_limits = goodputs, exported or {}
    recorder.keeper = StreamKeeper(1.0, seed=7)
    factory = UserFactory(Ways({"": url}, llm=settings), TcpNetwork(), None, seed=7)
    said: list[str] = []
    life = factory.life(recorder, [BoundJourney("j", journey)], fresh=True, report=said.append)
    try:
        for n in range(times):
            due_ns = None if due_ago_ns is None else perf_counter_ns() - due_ago_ns
            await life.iterate(Arrival(due_ns, n, 0, False), pool_limited=False)
    finally:
        await life.close()
        factory.close()
    kept = [one for part in recorder.keeper.take(0) for one in part]
    notes = recorder.take_notes()
    return Asked(life, [pair for series in recorder._series.values() for pair in series.swap()], kept, notes)
