"""The budget of tokens: which tokens count, and when the run stops."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadgen.clients.llm.settings import Llm, parse_tokens
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.merging.merge import Merge
from loadgen.measure.streams import StreamTimes
from loadgen_controller.judging.token_budget import TokenBudget, used_tokens


def a_merge() -> Merge:
    """Return the merge of three requests: an ok one, a failed one, and one of the warm-up; 100 tokens each."""
    recorder = Recorder()
    for name, outcome, warmup in (("chat", "ok", False), ("chat", "stream error", False), ("chat", "ok", True)):
        series = recorder.request_series("ask", None, name, warmup)
        times = StreamTimes(ttft_ns=1, prompt_tokens=90, output_tokens=10)
        recorder.streams_of(series).ended(times, 0, 5, outcome)
    merge = Merge()
    merge.accept("local", replace(recorder.flip(0, 1_000_000_000), agent="eu"))
    return merge


def test_all_ended_requests_count_with_prompt_and_output() -> None:
    assert used_tokens(a_merge()) == 300


@pytest.mark.parametrize(("tokens", "stops"), [(None, False), (301, False), (300, True), (1, True)])
def test_a_run_stops_when_its_budget_is_used(tokens: int | None, stops: bool) -> None:
    why = TokenBudget(tokens).check(a_merge(), 2_500_000_000)
    assert bool(why) is stops
    assert not stops or f"have used 300 tokens of a budget of {tokens}" in why


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("2M tokens", 2_000_000), ("500k", 500_000), ("1.5k tokens", 1_500), (7, 7), ("10_000", 10_000)],
)
def test_a_budget_is_a_number_of_tokens(text: str | int, tokens: int) -> None:
    assert parse_tokens(text) == tokens
    assert Llm(budget=text).budget_tokens == tokens


@pytest.mark.parametrize("text", ["", "0", 0, -1, True, "2 tons", "2G", "1e6", "0.1"])
def test_other_budgets_are_errors(text: object) -> None:
    assert [message for message, _ in Llm(budget=text).wrongs()] == [  # type: ignore[arg-type]
        f"Llm: budget={text!r} must be a number of tokens above 0"
    ]
