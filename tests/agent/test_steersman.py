"""Whoever steers is asked in a thread: what it answers, and what comes of one that raises, blocks or errs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from loadgen.dsl.executors.steering_executor import Decision, Finding, SteeringExecutor
from loadgen.dsl.plans.objectives.slo import p
from loadgen.dsl.plans.plan import Plan
from loadgen.measure.objectives.steering_observation import Look
from loadgen.wire.messages import Message, Steer, Steered
from loadgen_agent.worker.steering_executor_runner import WorkerSteering

LOOKS = tuple(Look(float(k), k + 1.0, 10.0 + k) for k in range(5))


class Asked(SteeringExecutor):
    objectives = (p(99) < "300ms",)
    start, upto, duration = "5/s", "200/s", "10m"

    def __init__(self, answer: Callable[[Sequence[Look]], Any]) -> None:
        self._answer = answer

    def steer(self, looks: Sequence[Look]) -> Decision:
        return cast("Decision", self._answer(looks))


def plan_of(executor: SteeringExecutor) -> Plan:
    lane = SimpleNamespace(steering=executor.lower(1).steering)
    return cast("Plan", SimpleNamespace(executors=(executor,), lanes=(lane,)))


def steer(first: int = 0, count: int = 5, looks: Sequence[Look] = LOOKS) -> Steer:
    return Steer("r1", 0, first, count, tuple(looks))


async def answer_to(*questions: Steer, by: Callable[[Sequence[Look]], Any]) -> list[Steered]:
    """As many answers as questions."""
    said: asyncio.Queue[Message] = asyncio.Queue()
    man = WorkerSteering(plan_of(Asked(by)), said.put_nowait, lambda text: text.replace("secret", "***"))
    answers = []
    for question in questions:
        man.ask(question)
        answers.append(cast("Steered", await asyncio.wait_for(said.get(), 60)))
    return answers


async def test_it_answers_what_the_executor_decides_after_all_looks() -> None:
    found = Finding("found", "the knee is here", 40.0, 38.0, 42.0)
    (answer,) = await answer_to(steer(), by=lambda looks: Decision(len(looks) * 10.0, "because", found))

    assert (answer.known, answer.rate_per_s, answer.ends, answer.why, answer.error) == (5, 50.0, False, "because", "")
    assert msgspec.json.decode(answer.finding_json, type=Finding) == found


async def test_no_rate_ends_the_load() -> None:
    (answer,) = await answer_to(steer(), by=lambda looks: Decision(None, "done"))

    assert (answer.ends, answer.rate_per_s, answer.why) == (True, None, "done")


async def test_who_lacks_looks_says_how_many_it_has() -> None:
    first, second = await answer_to(
        steer(first=3, looks=LOOKS[3:]), steer(), by=lambda looks: Decision(looks[-1].rate_per_s)
    )

    assert (first.known, first.rate_per_s, first.ends, first.error) == (0, None, False, "")
    assert (second.known, second.rate_per_s) == (5, 14.0)


async def test_looks_that_it_has_are_not_taken_twice() -> None:
    answers = await answer_to(
        steer(count=3, looks=LOOKS[:3]), steer(first=1, looks=LOOKS[1:]), by=lambda looks: Decision(float(len(looks)))
    )

    assert [answer.rate_per_s for answer in answers] == [3.0, 5.0]


@pytest.mark.parametrize(
    ("by", "error"),
    [
        (lambda looks: Decision(float("nan")), "it returned the rate nan, which is not a finite number of at least 0"),
        (lambda looks: Decision(-3.0), "it returned the rate -3.0, which is not a finite number of at least 0"),
        (lambda looks: Decision(999.0), "it returned 999/s, which is above upto, 200/s"),
        (lambda looks: None, "it returned None, which is not a Decision(rate, why)"),
    ],
)
async def test_an_answer_that_is_none_is_told(by: Callable[[Sequence[Look]], Any], error: str) -> None:
    (answer,) = await answer_to(steer(), by=by)

    assert (answer.error, answer.rate_per_s, answer.ends) == (error, None, False)


async def test_one_that_raises_is_told_without_its_secrets_and_asked_again() -> None:
    def raising(looks: Sequence[Look]) -> Decision:
        if len(looks) == 4:
            raise ValueError("secret look")
        return Decision(7.0)

    first, second = await answer_to(steer(count=4, looks=LOOKS[:4]), steer(first=4, looks=LOOKS[4:]), by=raising)

    assert "ValueError: *** look" in first.error
    assert Path(__file__).name in first.error
    assert second.rate_per_s == 7.0


async def test_one_that_blocks_holds_up_nobody_and_is_asked_about_the_newest_when_it_is_done() -> None:
    said: asyncio.Queue[Message] = asyncio.Queue()
    go = threading.Event()

    def blocking(looks: Sequence[Look]) -> Decision:
        go.wait(60)
        return Decision(float(len(looks)))

    man = WorkerSteering(plan_of(Asked(blocking)), said.put_nowait, str)
    for count in range(1, 6):
        man.ask(steer(first=count - 1, count=count, looks=LOOKS[count - 1 : count]))
    await asyncio.sleep(0)
    assert said.empty()
    go.set()

    answers = [cast("Steered", await asyncio.wait_for(said.get(), 60)) for _ in range(2)]
    assert [answer.known for answer in answers] == [1, 5]


async def test_a_load_that_is_not_steered_has_nobody_to_ask() -> None:
    said: list[Message] = []
    WorkerSteering(plan_of(Asked(lambda looks: None)), said.append, str).ask(Steer("r1", 7, 0, 0, ()))

    assert said == [Steered("r1", 7, 0, error="the load is not steered")]
