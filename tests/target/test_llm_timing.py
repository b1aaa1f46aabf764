"""The times of the inference server: its model without a clock, and its log beside a plain reader."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.target.llm.answer import Answer
from loadgen.target.llm.ask import Ask
from loadgen.target.llm.config import LlmConfig
from loadgen.target.llm.prefix_cache import PrefixCache
from loadgen.target.llm.timing import Slots, token_times
from loadgen.units import NS_PER_MS
from tests.support.llm_target import Wire, answer_of, chat_body, llm_in_thread, running_llm, sends_of


def times_ms(number: int = 0, uncached: int = 0, events: int = 4, **options: Any) -> list[float]:
    config = LlmConfig.of_options(**options)
    return [ns / NS_PER_MS for ns in token_times(config, number, uncached, events)]


# -- the model, without a clock ------------------------------------------------------------------------


def test_tokens_come_at_ttft_and_then_each_itl() -> None:
    assert times_ms(ttft="100ms", itl="20ms") == [100, 120, 140, 160]


def test_uncached_prompt_tokens_delay_the_first_token_only() -> None:
    assert times_ms(ttft="100ms", itl="20ms", per_token="1ms", uncached=50) == [150, 170, 190, 210]


def test_the_first_requests_are_slower_by_the_penalty() -> None:
    options: dict[str, Any] = {"ttft": "100ms", "warmup_requests": 2, "warmup_penalty": "500ms", "events": 1}

    assert [times_ms(number=n, **options) for n in range(4)] == [[600], [600], [100], [100]]


def test_the_last_token_comes_at_the_end_of_the_service_time() -> None:
    assert times_ms(service="500ms", events=4) == [200, 300, 400, 500]
    assert times_ms(service="500ms", events=1) == [500]
    assert times_ms(service="100ms", events=2) == [50, 100]
    assert times_ms(service="500ms", ttft="500ms", events=2) == [500, 500]


def test_jitter_is_within_its_share_and_depends_on_seed_and_number_only() -> None:
    options: dict[str, Any] = {"ttft": "100ms", "itl": "20ms", "jitter": "10%", "events": 2000}
    drawn = times_ms(**options)
    gaps = [after - before for before, after in pairwise(drawn)]

    assert drawn == times_ms(**options)
    assert drawn != times_ms(number=1, **options)
    assert drawn != times_ms(seed=2, **options)
    assert 18 <= min(gaps) < 18.1
    assert 21.9 < max(gaps) <= 22
    assert sum(gaps) / len(gaps) == pytest.approx(20, rel=0.01)


@given(st.integers(1, 5), st.lists(st.integers(0, 100), min_size=1, max_size=40), st.integers(1, 50))
def test_the_queue_serves_in_order_and_never_more_than_its_slots(count: int, gaps: list[int], service: int) -> None:
    slots, now = Slots(count), 0
    started: list[int] = []
    ends: list[int] = []
    for gap in gaps:
        now += gap
        while ends and min(ends) <= now:
            end = min(ends)
            ends.remove(end)
            slots.free(end)

        def begin(start: int) -> bool:
            started.append(start)
            ends.append(start + service)
            return True

        slots.ask(now, begin)
        assert slots.running <= count
    while ends:
        end = min(ends)
        ends.remove(end)
        slots.free(end)

    expected, free, at = [], [0] * count, 0
    for gap in gaps:
        at += gap
        start = max(at, min(free))
        free[free.index(min(free))] = start + service
        expected.append(start)
    assert started == expected
    assert (slots.running, slots.waiting) == (0, 0)


def test_a_waiting_request_whose_client_left_needs_no_slot() -> None:
    slots = Slots(1)
    started: list[tuple[str, int]] = []

    def begin(name: str, at_ns: int) -> bool:
        started.append((name, at_ns))
        return True

    slots.ask(0, partial(begin, "a"))
    slots.ask(1, lambda at: False)
    slots.ask(2, partial(begin, "c"))
    slots.left += 1
    assert slots.waiting == 1

    slots.free(10)

    assert started == [("a", 0), ("c", 10)]
    assert (slots.running, slots.waiting) == (1, 0)


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 9), st.booleans())
def test_an_answer_has_exactly_its_tokens_in_as_many_pieces_as_steps(
    total: int, reasoning: int, each: int, has_tool: bool
) -> None:
    tool = {"name": "stock", "parameters": {"properties": {"sku": {"type": "string"}}}} if has_tool else None
    ask = Ask("chat", "m", [], 0, max_tokens=total, ignores_eos=True, reasoning_tokens=reasoning, tool=tool)
    answer = Answer.of(ask, 3, 64)
    pieces = list(answer.pieces(each))

    assert sum(tokens for _, _, tokens in pieces) == total
    assert len(pieces) == answer.steps(each)
    assert all(1 <= tokens <= each and text for _, text, tokens in pieces)


def test_the_cache_drops_its_oldest_blocks_when_it_is_full() -> None:
    cache = PrefixCache(1.0, capacity_blocks=2)
    first, second = ([f"{name}{n}" for n in range(33)] for name in "ab")

    assert cache.lookup("m", first, 33) == 0
    assert cache.lookup("m", first, 33) == 32
    assert cache.lookup("m", second, 33) == 0
    assert cache.lookup("m", first, 33) == 0
    assert cache.used_ratio == 1.0
    assert (cache.queried_tokens, cache.hit_tokens) == (132, 32)


# -- the server as a process -----------------------------------------------------------------------------


@pytest.mark.process
def test_the_log_agrees_with_a_plain_reader(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with running_llm("--ttft", "50ms", "--itl", "10ms", "--log", str(log)) as url:
        wire = Wire(url)
        sent_ns = wire.send("/v1/chat/completions", chat_body(max_tokens=5), {"x-request-id": "oak"})
        reply = wire.read(sent_ns)
        live = sends_of(answer_of(url, "/log").body)
        wire.close()
    rows = [json.loads(line) for line in log.read_bytes().splitlines()]
    sends = sends_of(log)

    assert rows[0]["type"] == "request"
    assert rows[0]["request_id"] == reply.headers["x-request-id"] == "oak"
    assert sent_ns < rows[0]["t_request_ns"]
    assert live == sends
    assert [(send["event"], send["kinds"], send["tokens"]) for send in sends] == [
        (0, ["head"], [0]),
        (1, ["role"], [0]),
        *[(event, ["content"], [1]) for event in range(2, 7)],
        (7, ["finish", "done"], [0, 0]),
    ]
    # Each byte is read after its send began, and the bytes of the log are all bytes that came.
    assert sum(send["bytes"] for send in sends) == len(reply.wire)
    end = 0
    for send in sends:
        end += send["bytes"]
        read_ns = next(ns for ns, size in reply.reads if size >= end)
        assert send["due_ns"] <= send["t_before_ns"] < send["t_after_ns"]
        assert send["t_before_ns"] < read_ns
        offset_ns = send["real_before_ns"] - send["t_before_ns"]
        assert abs(send["real_after_ns"] - send["t_after_ns"] - offset_ns) < 50 * NS_PER_MS
    due_ms = [(send["due_ns"] - rows[0]["t_request_ns"]) / NS_PER_MS for send in sends]
    assert due_ms == [0, 50, 50, 60, 70, 80, 90, 90]


@pytest.mark.process
def test_synchronous_streams_send_at_common_steps(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with running_llm("--ttft", "5ms", "--itl", "20ms", "--synchronous", "--log", str(log)) as url:
        wires = [Wire(url) for _ in range(5)]
        for wire in wires:
            wire.send("/v1/chat/completions", chat_body(max_tokens=5))
            sleep(0.007)
        for wire in wires:
            wire.read()
            wire.close()
    tokens = [send for send in sends_of(log) if send["kinds"] == ["content"]]

    dues = {send["due_ns"] for send in tokens}
    assert len({due % (20 * NS_PER_MS) for due in dues}) == 1
    assert len(dues) < len(tokens) == 25
    assert all(send["t_before_ns"] >= send["due_ns"] for send in tokens)


@pytest.mark.process
def test_requests_beyond_the_slots_wait_so_the_rate_has_a_knee() -> None:
    with running_llm("--slots", "2", "--service", "100ms", "--output", "3") as url:
        wires = [Wire(url) for _ in range(8)]
        first_ns = min([wire.send("/v1/chat/completions", {**chat_body(), "stream": False}) for wire in wires])
        while answer_of(url, "/stats").json["running"] < 2:
            pass
        page = answer_of(url, "/metrics").body.decode()
        ends_ms = sorted((wire.read().reads[-1][0] - first_ns) / NS_PER_MS for wire in wires)
        for wire in wires:
            wire.close()

    assert 'vllm:num_requests_running{engine="0",model_name="loadgen-llm"} 2.0' in page
    assert "vllm:num_requests_waiting" in page
    # 8 requests of 100 ms on 2 slots need 400 ms: 20 a second. They may be later, and never earlier.
    assert [end >= 100 * (1 + at // 2) for at, end in enumerate(ends_ms)] == [True] * 8


def test_a_client_that_leaves_frees_its_slot_and_its_place_in_the_queue() -> None:
    with llm_in_thread(slots=1, ttft="10s", itl="10s") as server:
        served, waiting, other = Wire(server.url), Wire(server.url), Wire(server.url)
        for wire in (served, waiting, other):
            wire.send("/v1/chat/completions", chat_body())
        while answer_of(server.url, "/stats").json["waiting"] < 2:
            pass
        waiting.close()
        while answer_of(server.url, "/stats").json["waiting"] > 1:
            pass
        served.close()
        while (stats := answer_of(server.url, "/stats").json)["waiting"]:
            pass
        other.close()

    assert stats["running"] == 1
    assert stats["aborted"] == {"/v1/chat/completions": 2}


def test_the_log_can_be_emptied(tmp_path: Path) -> None:
    with llm_in_thread(log=tmp_path / "log.jsonl") as server:
        answer_of(server.url, "/v1/chat/completions", chat_body(max_tokens=2))
        answer_of(server.url, "/log/clear", {})
        answer_of(server.url, "/v1/completions", {"prompt": "a", "max_tokens": 2})
        log = answer_of(server.url, "/log").body

    assert [(send["stream"], send["kinds"], send["tokens"]) for send in sends_of(log)] == [(1, ["body"], [2])]
