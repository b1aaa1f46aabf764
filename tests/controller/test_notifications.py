"""The conductor sends an event when the load starts, when an agent is lost, and when the run ends or is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from loadgen.errors import ExitCode
from loadgen.notify.event import Event, EventKind
from loadgen.notify.notifier import Notifier
from loadgen_controller.core.events import AgentLost, Reason
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.notifying.run_events import ended
from tests.controller.conftest import Play
from tests.controller.test_conductor import finish
from tests.support.wire import until

Stage = Callable[..., Play]


SUMMARY: dict[str, object] = {
    "format": 1,
    "run_id": "r1",
    "scenario": "shop.py",
    "plan": "",
    "placement": "fleet",
    "started_at": "",
    "duration_s": 0.0,
    "result": "failed",
    "exit_code": 1,
}


class Keeping(Notifier):
    """Keeps the events instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def __bool__(self) -> bool:
        return True

    def offer(self, event: Event) -> None:
        self.events.append(event)


async def test_a_run_sends_its_start_and_its_verdict_with_three_figures(stage: Stage) -> None:
    notifier = Keeping()
    play = stage(notifier=notifier)
    a, b = await play.started()
    await finish(a, b)
    result = await play.result()
    assert result.exit_code == ExitCode.PASSED
    assert [event.kind for event in notifier.events] == [EventKind.START, EventKind.END]
    start, end = notifier.events
    assert start.headline == "the run starts on 2 agents"
    assert {start.run, end.run} == {play.conductor.run_id}
    assert (end.title, end.headline, end.exit_code) == ("shop", "PASSED (exit code 0)", 0)
    assert [(figure.count, figure.of) for figure in end.figures] == [
        (60, "iterations"),
        (60, "requests"),
        (60, "due iterations"),
    ]


async def test_a_lost_agent_and_a_stop_are_events(stage: Stage) -> None:
    notifier = Keeping()
    play = stage(notifier=notifier)
    a, _b = await play.started()
    await until(lambda: play.conductor.run.phase is Phase.RUNNING)
    play.conductor.apply(AgentLost("b", "it went away"))
    play.conductor.request_stop("stopped by loadgen stop")
    await finish(a, seconds=1)
    await play.result()
    assert [event.kind for event in notifier.events] == [EventKind.START, EventKind.AGENT_LOST, EventKind.ABORT]
    assert notifier.events[1].headline == "agent b is lost: it went away"
    assert "stopped by loadgen stop" in notifier.events[2].reasons
    await asyncio.sleep(0)


async def test_a_notifier_with_a_bug_harms_no_run(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Keeping):
        def offer(self, event: Event) -> None:
            raise ValueError("a bug")

    play = stage(notifier=Broken())
    a, b = await play.started()
    await finish(a, b)
    assert (await play.result()).exit_code == ExitCode.PASSED
    assert "the run is not affected" in caplog.text


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_an_end_is_an_end_or_an_abort(reason: Reason) -> None:
    event = ended("shop", SUMMARY, "", [(reason, "why")])
    assert event.headline == "FAILED (exit code 1)"
    planned = (Reason.FINISHED, Reason.SATURATED, Reason.OVERDUE, Reason.TEAR_DOWN_FAILED)
    assert event.kind is (EventKind.END if reason in planned else EventKind.ABORT)
    assert event.figures == ()


def test_objectives_of_an_invalid_run_are_no_reasons_and_the_generator_is_the_first() -> None:
    busy, figures = "this machine is busy: it woke up to 21.0 ms late", "agent us was unfit in 12 of 23 intervals"
    summary = SUMMARY | {
        "result": "invalid",
        "reasons": [
            "stopped by `loadgen stop`",
            busy,
            figures,
            "SLO p(95) < 300ms of checkout failed: observed 351 ms",
        ],
        "validity": {"verdict": "invalid", "reasons": [busy, figures]},
    }
    ends = [(Reason.STOPPED, "stopped by `loadgen stop`")]
    assert ended("shop", summary, "", []).reasons == (busy, "stopped by `loadgen stop`", figures)
    assert ended("shop", summary, "", ends).reasons == ("stopped by `loadgen stop`", busy, figures)


@pytest.mark.parametrize(
    ("p95", "text"), [(0.5, "0.50 ms"), (61.34, "61.3 ms"), (1234.5, "1,234 ms"), ("> 300.0", "> 300 ms")]
)
def test_the_p95_of_a_message_is_written_as_in_the_report(p95: float | str, text: str) -> None:
    row = {
        "kind": "journey",
        "journey": "checkout",
        "step": None,
        "request": None,
        "outcome": "*",
        "region": "*",
        "count": 9,
    }
    summary = SUMMARY | {"series": [row | {"response_ms": {"p95": p95}}]}
    assert [str(one) for one in ended("shop", summary, "", []).figures] == [f"p95 of checkout: {text} (9 iterations)"]


@pytest.mark.parametrize(
    ("result", "validity", "headline"),
    [
        ("invalid", "invalid", "INVALID (exit code 1), so times cannot be judged"),
        ("failed", "invalid", "INVALID (exit code 1), so times cannot be judged"),
        ("passed", "suspect", "PASSED but SUSPECT (exit code 1)"),
    ],
)
def test_a_generator_that_was_not_fit_stands_in_the_headline(result: str, validity: str, headline: str) -> None:
    summary = {**SUMMARY, "result": result, "validity": {"verdict": validity}}
    assert ended("shop", summary, "", [(Reason.FINISHED, "")]).headline == headline
