"""Loads whose rate follows what is seen: ours, one of its own, and some that go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadgen import Decision, Finding, Load, Look, Plan, SteeringExecutor, User, hold, journey, p, search


@journey
async def look(user: User) -> None:
    await user.http.get("/")


class Stairs(SteeringExecutor):
    """Twice the rate whenever two seconds in a row were good."""

    objectives = (p(99) < "300ms",)
    start, upto, duration = "10/s", "40/s", "60s"

    def steer(self, looks: Sequence[Look]) -> Decision:
        last = looks[-1]
        here = [one for one in looks if one.rate_per_s == last.rate_per_s and one.is_steady and one.good]
        if len(here) < 2 or any(one.bad for one in here):
            return Decision(last.rate_per_s, f"{len(here)} seconds at {last.rate_per_s:g}/s")
        if last.rate_per_s < 40:
            return Decision(last.rate_per_s * 2, "up a stair")
        return Decision(None, "up all stairs", Finding("found", "three stairs, and none broke", 40.0))


@dataclass(frozen=True)
class Faulty(SteeringExecutor):
    answer: Callable[[], float]
    start: str = "10/s"
    upto: str = "40/s"
    duration: str = "6s"

    def steer(self, looks: Sequence[Look]) -> Decision:
        return Decision(self.answer())


def _blocks() -> float:
    time.sleep(600)
    return 20.0


def plan(load: SteeringExecutor) -> Plan:
    return Plan(target="http://127.0.0.1:9", load=load, mix=look, regions=("a", "b"))


stairs = plan(Stairs())
faulty = Plan(
    target="http://127.0.0.1:9",
    loads=[
        Load(look, Faulty(lambda: 1 / 0), name="raises"),
        Load(look, Faulty(lambda: float("nan")), name="no number"),
        Load(look, Faulty(lambda: -5.0), name="negative"),
        Load(look, Faulty(_blocks), name="blocks"),
    ],
    regions=("a", "b"),
)
held = plan(hold(p(99) < "300ms", start="20/s", upto="320/s", duration="100s"))
searched = plan(search(p(99) < "300ms", start="20/s", upto="320/s", duration="12m"))
