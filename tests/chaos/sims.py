"""A run whose agents are simulated: the real controller, and a bad network between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from loadgen.wire.curve_keys import AgentKeys, load_agent
from tests.chaos.fleet import Conducted, conducted
from tests.support.chaos_proxy import ChaosProxy, chaos_proxy
from tests.support.plan_book import arrivals_of
from tests.support.sim_agents import Swarm, swarm
from tests.support.wire import until

__all__ = ["SimRun", "names", "sim_run"]

_SCENARIO = """
from loadgen import Plan, User, arrivals, journey


@journey
async def never(user: User) -> None:
    await user.http.get("/")


plan = Plan(target="http://127.0.0.1:1", load=arrivals("{rate}/s").hold("{seconds}s"), mix=never, regions={regions})
"""
REGIONS = ("a", "b")
RATE_PER_S = 6.5
"""Of each agent."""


def names(count: int) -> dict[str, str]:
    """Region by agent id; all may speak with the key "sim"."""
    return {f"sim.{n}": REGIONS[n % len(REGIONS)] for n in range(count)}


@dataclass(frozen=True, slots=True)
class SimRun:
    conducted: Conducted
    net: ChaosProxy
    """Between the controller and all agents that have no other way to it."""
    sims: Swarm
    keys: AgentKeys
    """Of all agents."""

    async def end(self, within_s: float = 120) -> int:
        """The run's exit code, once it is over; the agents live on until then."""
        run = self.conducted
        await until(lambda: run.is_over, within_s)
        return run.end(1)

    def lost(self) -> list[str]:
        """Whom the controller has given up."""
        return [event["agent"] for event in self.conducted.named("AgentLost")]

    def wrongs(self) -> list[str]:
        """Everything is here, and everybody is said to be complete."""
        summary = self.conducted.summary()
        wrong = self.sims.wrongs(self.conducted.run)
        wrong += [f"{a['id']}: {a['missing']}" for a in summary["agents"] if not a["complete"]]
        return wrong


@asynccontextmanager
async def sim_run(
    folder: Path, count: int, seconds: int | None, seed: int, *, more: int = 0, options: Sequence[str] = ()
) -> AsyncIterator[SimRun]:
    """`count` simulated agents, all the way to the controller that waits for them.

    Args:
        seconds: of load; None: until somebody stops it.
        more: how many others it waits for, that the test lets join.
    """
    rate, length = RATE_PER_S * (count + more), seconds or 3600
    text = _SCENARIO.format(rate=rate, seconds=length, regions=dict.fromkeys(REGIONS, 1))
    with conducted(folder, text, ["sim"], count + more, options) as run, chaos_proxy(run.address, seed) as net:
        keys = load_agent(run.keys_of("sim"))
        async with swarm(net.address, keys, names(count), arrivals_of(rate, length), seed=seed) as sims:
            yield SimRun(run, net, sims, keys)
