"""One journey, once, on canned replies: what authors test their scenarios with in pytest.

    trial = await checkout.trial(
        Shopper("a@shop.example", "secret", "sku-1"),
        replies={
            "POST /login": reply(200, json={"token": "t"}),
            "GET /products/{sku}": reply(200, html='<input name="csrf" value="c">'),
            "POST /cart": reply(201),
        },
    )
    assert trial.outcome == "ok"
    assert trial.sent[-1].json() == {"sku": "sku-1", "csrf": "c"}

It goes the way of a real run: the same client down to the bytes, the same steps,
the same recording. There is no network and thinking takes no time. A target's
failure is an outcome; a fault of the journey's own code is raised as it is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from loadgen.clients import CannedNetwork, ConnectionPool, HttpClient
from loadgen.dsl.life import BoundJourney, JourneyLife
from loadgen.dsl.user import User
from loadgen.engine.meter import Meter
from loadgen.engine.recorder import Recorder, RequestSeries, StepSeries
from loadgen.engine.users import Arrival
from loadgen.errors import IterationEnded, ScenarioError, UsageError

if TYPE_CHECKING:
    from loadgen.clients.canned import CannedRequest
    from loadgen.dsl.journey import Journey

__all__ = ["Trial", "TrialRequest", "TrialStep", "try_journey"]

_TARGET = "http://trial.example"


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """A request as it would be recorded."""

    name: str
    """As in reports: "GET /products/{sku}"."""
    step: str | None
    outcome: str
    response_ns: int


@dataclass(frozen=True, slots=True)
class TrialStep:
    """A step that was left; nested ones come before the one around them."""

    name: str
    outcome: str
    response_ns: int
    """Without think time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How it went.

    outcome: "ok", or how the iteration ended: "expect status", "http 503" ...; `detail` says more.
    requests, steps: as recorded, in the order in which they ended. sent: what went out, down to headers and body.
    thought_s: think time that a real user would have taken.
    """

    outcome: str
    detail: str
    requests: tuple[TrialRequest, ...]
    steps: tuple[TrialStep, ...]
    sent: tuple[CannedRequest, ...]
    thought_s: float
    response_ns: int


async def try_journey(
    one: Journey[Any], row: Any, replies: Mapping[str, Any], *, seed: int = 0, shared: Any = None
) -> Trial:
    """See `Journey.trial`.

    Raises:
        ScenarioError: the journey has faults.
        UsageError: a row where none is taken or none where one is; a request that no reply is canned for.
        Exception: whatever the journey's own code raises.
    """
    if one.faults:
        raise ScenarioError(one.faults)
    if (row is None) != (one.feed is None):
        raise UsageError(f"{one.name} takes {'no data' if one.feed is None else 'a row'}", hint=_call_hint(one))
    recorder = _Notes()
    network = CannedNetwork(replies)
    slept = _JumpingSleep()
    meter = Meter(recorder)
    pool = ConnectionPool(network, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    user = User(HttpClient(meter, pool, _TARGET), meter, seed=seed, shared=shared, sleep=slept)
    raised: list[BaseException] = []
    bound = BoundJourney(
        one.name,
        _watched(one.fn, raised),
        (lambda n: row) if one.feed is not None else None,
        _watched(one.set_up_fn, raised) if one.set_up_fn is not None else None,
        _watched(one.tear_down_fn, raised) if one.tear_down_fn is not None else None,
    )
    life = JourneyLife(user, [bound], fresh=True, report=lambda text: None)
    try:
        await life.iterate(Arrival(perf_counter_ns(), 0, 0, False), pool_limited=False)
    finally:
        await life.close()
    for error in raised:
        if not isinstance(error, IterationEnded):
            raise error
    return Trial(
        life.outcome,
        raised[0].detail if raised and isinstance(raised[0], IterationEnded) else "",
        tuple(recorder.requests),
        tuple(recorder.steps),
        tuple(network.requests),
        slept.slept_s,
        life.ended_ns - life.begun_ns - life.idle_ns if life.begun_ns else 0,
    )


class _JumpingSleep:
    """Sleeps in no time and adds up how long it would have been."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    async def __call__(self, wait_s: float) -> None:
        self.slept_s += wait_s
        await asyncio.sleep(0)


class _Notes(Recorder):
    """A recorder that also keeps what it is told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[TrialRequest] = []
        self.steps: list[TrialStep] = []

    def request(
        self,
        series: RequestSeries,
        asked_ns: int,
        sent_ns: int,
        first_byte_ns: int,
        done_ns: int,
        outcome: str,
        size_bytes: int,
        trace: str | None = None,
    ) -> None:
        key = series.key
        self.requests.append(TrialRequest(key.request or "", key.step, outcome, done_ns - asked_ns))
        super().request(series, asked_ns, sent_ns, first_byte_ns, done_ns, outcome, size_bytes, trace)

    def step(
        self,
        series: StepSeries,
        response_ns: int,
        duration_ns: int,
        outcome: str,
        censored: bool,
        entered_ns: int = 0,
    ) -> None:
        self.steps.append(TrialStep(series.key.step or "", outcome, response_ns))
        super().step(series, response_ns, duration_ns, outcome, censored, entered_ns)


def _watched(fn: Callable[..., Any], raised: list[BaseException]) -> Callable[..., Any]:
    """The function, and a note of what it raised: a life turns all of it into outcomes."""

    async def watched(*args: Any) -> None:
        try:
            await fn(*args)
        except BaseException as error:
            raised.append(error)
            raise

    return watched


def _call_hint(one: Journey[Any]) -> str:
    return f"await {one.name}.trial({'' if one.feed is None else 'row, '}replies={{...}})"
