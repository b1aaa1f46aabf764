"""Runs each journey once for real, and keeps every request it made: what `loadgen check` shows.

It goes the way of a run (same client, same steps, same outcomes) with one user
and the first row of each feed. Thinking is cut short: it is no test of patience.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from loadgen.clients import ConnectionPool, HttpClient, TcpNetwork, Timeouts, tls_context
from loadgen.dsl.feed import open_feed
from loadgen.dsl.journey import Journey
from loadgen.dsl.life import BoundJourney, JourneyLife
from loadgen.dsl.loader import Scenario
from loadgen.dsl.outcome import fault_text
from loadgen.dsl.plan import Plan
from loadgen.dsl.user import User
from loadgen.engine.meter import Meter
from loadgen.engine.recorder import Recorder
from loadgen.engine.users import Arrival
from loadgen.measure.series import OK

__all__ = ["LONGEST_THINK_S", "Rehearsed", "Seen", "rehearse"]

LONGEST_THINK_S = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """One request on the wire. Times in ns."""

    step: str | None
    name: str
    status: int | None
    """None: no answer came."""
    outcome: str
    response_ns: int
    """From the journey's call to the last byte."""
    service_ns: int
    """From the first byte written."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How one journey went; also the plan's set-up and tear-down, under names in brackets."""

    journey: str
    outcome: str
    detail: str
    """What a fault of the scenario said, with file and line."""
    requests: tuple[Seen, ...]
    response_ns: int
    """Without think time."""

    @property
    def has_passed(self) -> bool:
        return self.outcome == OK


class _SeeingMeter(Meter):
    """A meter that also keeps what it settles."""

    __slots__ = ("seen",)

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self.seen: list[Seen] = []

    def settle(self) -> None:
        held: Any = self._held
        super().settle()
        if held is not None:
            key = held.series.key
            self.seen.append(
                Seen(
                    key.step,
                    key.request or "",
                    getattr(held, "status_code", None),
                    held.outcome,
                    held.done_ns - held.asked_ns,
                    held.done_ns - held.sent_ns if held.sent_ns else 0,
                    held.size_bytes,
                )
            )


async def rehearse(scenario: Scenario) -> AsyncIterator[Rehearsed]:
    """The plan's set-up, each of its journeys once, its tear-down. Only a set-up that fails ends the rest."""
    plan = scenario.plan
    bench = _Bench(plan)
    shared: Any = None
    if plan.set_up is not None:
        done, shared = await bench.once(plan.set_up, "(set-up)", None)
        yield done
        if not done.has_passed:
            return
    for one in plan.journeys:
        yield await bench.journey(one, shared)
    if plan.tear_down is not None:
        done, _ = await bench.once(plan.tear_down, "(tear-down)", shared)
        yield done


class _Bench:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ssl = tls_context(plan.ca)
        self._network = TcpNetwork()
        self._timeouts = Timeouts(connect_ns=plan.connect_timeout_ns, total_ns=plan.timeout_ns)

    def _user(self, shared: Any) -> tuple[User, _SeeingMeter]:
        meter = _SeeingMeter(Recorder())
        http = HttpClient(meter, ConnectionPool(self._network, self._ssl), self._plan.target, self._timeouts)
        return User(http, meter, seed=self._plan.seed or 0, shared=shared, sleep=_short_sleep), meter

    async def journey(self, one: Journey[Any], shared: Any) -> Rehearsed:
        user, meter = self._user(shared)
        said: list[str] = []
        row = open_feed(one.feed).row if one.feed is not None else None
        bound = BoundJourney(one.name, one.fn, row, one.set_up_fn, one.tear_down_fn)
        life = JourneyLife(user, [bound], fresh=False, report=said.append)
        began_ns = perf_counter_ns()
        await life.iterate(Arrival(None, 0, 0, False), pool_limited=False)
        outcome, took_ns = life.outcome, life.ended_ns - (life.begun_ns or began_ns)
        await life.close()
        if outcome == OK and said:
            outcome = "tear-down failed"
        return Rehearsed(one.name, outcome, "; ".join(said), tuple(meter.seen), took_ns - user.idle_ns)

    async def once(self, fn: Any, name: str, shared: Any) -> tuple[Rehearsed, Any]:
        user, meter = self._user(shared)
        meter.begin(name, warmup=False, pool_limited=False)
        began_ns = perf_counter_ns()
        value, outcome, detail = None, OK, ""
        try:
            value = await fn(user)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the scenario's code may raise anything
            outcome, detail = "failed", fault_text(error)
        finally:
            meter.settle()
            await user.http.close()
        took_ns = perf_counter_ns() - began_ns - user.idle_ns
        return Rehearsed(name, outcome, detail, tuple(meter.seen), took_ns), value


async def _short_sleep(wait_s: float) -> None:
    await asyncio.sleep(min(wait_s, LONGEST_THINK_S))
