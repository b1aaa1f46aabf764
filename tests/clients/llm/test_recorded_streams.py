"""Recorded streams, from bytes to the figures of each convention. The expected figures were worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen.clients.llm_apis.types import Usage
from loadgen.measure.conventions import CONVENTIONS, Convention, figures
from tests.support.llm_streams import STREAMS, golden, load


def same(found: object, expected: object) -> bool:
    if isinstance(expected, list):
        return isinstance(found, list) and found == pytest.approx(expected, abs=1e-5)
    return found is None if expected is None else found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_has_the_figures_worked_out_by_hand(name: str, convention: Convention) -> None:
    recording = load(name)

    found = figures(recording.events, convention, chunks=recording.chunks)

    expected: dict[str, Any] = recording.file["expected_ms"][convention]
    wrong = {key: (found.get(key), value) for key, value in expected.items() if not same(found.get(key), value)}
    assert not wrong


@pytest.mark.parametrize("name", STREAMS)
def test_the_usage_of_a_recorded_stream_is_found(name: str) -> None:
    recording = load(name)

    usage: Usage | None = None
    for part in recording.parts:
        if part.usage is not None:
            usage = part.usage if usage is None else usage.then(part.usage)

    expected = recording.file["usage"]
    assert usage == (None if expected is None else Usage(**expected))


TEXTS = {
    "openai_chat": "Two oak lamps.",
    "openai_responses": "Hello there!",
    "anthropic": "Oak lamps are here.",
    "vllm_continuous_usage": "ABCDEFG",
    "reasoning": "Yes.",
    "tool_calls": "",
    "truncated": "One two three",
    "error_in_band": "Oh",
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_text_of_a_recorded_stream_is_complete(name: str) -> None:
    assert load(name).text == TEXTS[name]


def test_the_golden_stream_has_the_figures_of_its_file() -> None:
    events, expected = golden()

    found = {convention: figures(events, convention) for convention in CONVENTIONS}

    assert found["vllm"] == {
        "ttft_ms": expected["vllm_bench_serve"]["ttft"],
        "itl_ms": expected["vllm_bench_serve"]["itl"],
        "tpot_ms": expected["vllm_bench_serve"]["tpot"],
        "e2e_ms": expected["vllm_bench_serve"]["e2el"],
    }
    sglang = expected["sglang_bench_serving_oai_chat"]
    assert found["sglang"]["ttft_ms"] == sglang["ttft"]
    assert found["sglang"]["itl_ms"] == sglang["itl"]
    assert found["sglang"]["tpot_ms"] == sglang["tpot"]
    assert found["sglang"]["e2e_ms"] == sglang["e2el"]
    aiperf = expected["aiperf"]
    assert found["aiperf"]["ttft_ms"] == aiperf["ttft"]
    assert found["aiperf"]["ttfo_ms"] == aiperf["ttfo"]
    assert found["aiperf"]["icl_ms"] == aiperf["icl"]
    assert found["aiperf"]["itl_ms"] == [aiperf["itl"]]
    assert found["aiperf"]["e2e_ms"] == aiperf["request_latency"]
    assert found["aiperf"]["itl_per_chunk_ms"] == pytest.approx([31.43], abs=0.005)
    guidellm = expected["guidellm"]
    assert found["guidellm"]["ttft_ms"] == guidellm["ttft"]
    assert found["guidellm"]["ttfot_ms"] == guidellm["ttfot"]
    assert found["guidellm"]["itl_ms"] == [guidellm["itl_mean"]]
    assert found["guidellm"]["tpot_ms"] == pytest.approx(guidellm["tpot_incl_ttft"], abs=0.001)
    assert found["guidellm"]["e2e_ms"] == guidellm["request_latency"]
    perf = expected["inference_perf"]
    assert found["inference-perf"]["ttft_ms"] == perf["ttft"]
    assert found["inference-perf"]["itl_ms"] == perf["itl_deltas"]
    assert found["inference-perf"]["tpot_ms"] == perf["tpot_client_7_tokens"]
    assert found["inference-perf"]["tpot_server_ms"] == perf["tpot_server_9_tokens"]
    assert found["inference-perf"]["e2e_ms"] == perf["e2e"]
    assert found["mlperf"] == {"ttft_ms": 200, "itl_ms": None, "tpot_ms": 28.875, "e2e_ms": 431}


def test_the_golden_stream_has_our_figures() -> None:
    events, _ = golden()

    found = figures(events, "ours")

    assert found["tpot_ms"] == pytest.approx(220 / 7)
    assert found == {
        "ttfb_ms": 100,
        "ttft_ms": 200,
        "ttfo_ms": 300,
        "itl_ms": [100, 10, 10, 10, 10, 40, 40],
        "icl_ms": [100, 40, 80],
        "stall_ms": 100,
        "tpot_ms": found["tpot_ms"],
        "e2e_ms": 420,
        "closed_ms": 431,
        "output_tokens": 9,
        "itl_is_exact": True,
    }
