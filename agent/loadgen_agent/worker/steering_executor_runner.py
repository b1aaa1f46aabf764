"""Runs the executors of steered loads: answers the controller's requests for the next rate.

An executor is scenario code, so it runs in its own thread. An executor that blocks gives no answer, but delays
neither the load's event loop nor the end of the process. While it runs, only the newest request waits; older ones are
not answered.

A worker keeps the observations of each load and answers with their number, so that the controller sends the missing
ones to a new process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from loadgen.dsl.executors.steering_executor import Decision, SteeringExecutor, decision_wrong
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.users.exception_to_outcome import fault_text
from loadgen.measure.objectives.steering_observation import Look
from loadgen.wire.messages import Message, Steer, Steered

__all__ = ["WorkerSteering"]


@dataclass(slots=True)
class _Load:
    executor: SteeringExecutor
    upto_per_s: float
    looks: list[Look] = field(default_factory=list)
    is_thinking: bool = False
    asked: int = 0
    """Number of observations in the newest request."""


class WorkerSteering:
    """The steering executors of one worker. Create it within the running loop.

    Args:
        say: sends an answer; called on the loop.
        redact: removes secrets from texts.
    """

    def __init__(self, plan: Plan, say: Callable[[Message], None], redact: Callable[[str], str]) -> None:
        self._say, self._redact = say, redact
        self._loop = asyncio.get_running_loop()
        self._loads = {
            load: _Load(executor, lane.steering.upto_per_s)
            for load, (executor, lane) in enumerate(zip(plan.executors, plan.lanes, strict=True))
            if isinstance(executor, SteeringExecutor) and lane.steering is not None
        }

    def ask(self, steer: Steer) -> None:
        """Pass the controller's request to the load's executor, whose rate decision is sent to the controller later.

        If observations are missing, the answer is sent at once.
        """
        load = self._loads.get(steer.load)
        if load is None:
            self._say(Steered(steer.run_id, steer.load, 0, error="the load is not steered"))
            return
        known = len(load.looks)
        if steer.first <= known:
            load.looks += steer.looks[known - steer.first :]
        if len(load.looks) < steer.count or not load.looks:
            self._say(Steered(steer.run_id, steer.load, len(load.looks)))
            return
        load.asked = len(load.looks)
        if not load.is_thinking:
            self._think(steer.run_id, steer.load, load)

    def _think(self, run_id: str, number: int, load: _Load) -> None:
        load.is_thinking = True
        looks = tuple(load.looks)

        def think() -> None:
            answer = self._answer(run_id, number, load, looks)
            try:
                self._loop.call_soon_threadsafe(self._answered, run_id, number, load, answer)
            except RuntimeError:  # the process is ending
                return

        # A daemon thread, so that the process can end while the executor runs.
        threading.Thread(target=think, name=f"steering load {number}", daemon=True).start()

    def _answer(self, run_id: str, number: int, load: _Load, looks: tuple[Look, ...]) -> Steered:
        """Call the load's executor with the observations, and return its rate decision or its error as a message.

        It runs in the executor's thread.
        """
        try:
            decision: object = load.executor.steer(looks)
        except Exception as error:  # noqa: BLE001  # scenario code: sent to the controller, which keeps the rate
            return Steered(run_id, number, len(looks), error=self._redact(f"it raised: {fault_text(error)}"))
        if why := decision_wrong(decision, load.upto_per_s):
            return Steered(run_id, number, len(looks), error=self._redact(why))
        assert isinstance(decision, Decision)
        rate = decision.rate_per_s
        return Steered(
            run_id,
            number,
            len(looks),
            rate_per_s=None if rate is None else float(rate),
            ends=rate is None,
            why=self._redact(str(decision.why)),
            finding_json=b"" if decision.finding is None else msgspec.json.encode(decision.finding),
        )

    def _answered(self, run_id: str, number: int, load: _Load, answer: Steered) -> None:
        load.is_thinking = False
        self._say(answer)
        if load.asked > answer.known:
            self._think(run_id, number, load)
