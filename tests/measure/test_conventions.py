"""The special cases of each tool's convention, worked out by hand from the code of the tools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.conventions import CONVENTIONS, Convention, Event, Figures, figures
from loadgen.measure.streams import KINDS, EventKind

BASIC = ("ttft_ms", "itl_ms", "tpot_ms", "e2e_ms")


def at(*events: tuple[float, EventKind, int]) -> list[Event]:
    return [(round(t_ms * 1e6), kind, tokens) for t_ms, kind, tokens in events]


def basic(found: Figures) -> list[object]:
    return [found[key] for key in BASIC]


FAILED: list[object] = [None, [], None, None]


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("ours", FAILED),
        ("vllm", FAILED),
        ("sglang", FAILED),
        ("aiperf", FAILED),
        ("guidellm", FAILED),
        ("inference-perf", FAILED),
        ("mlperf", [None, None, None, None]),
    ],
)
def test_a_stream_without_events_has_no_figures(convention: Convention, expected: list[object]) -> None:
    assert basic(figures([], convention)) == expected


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("ours", [None, [], None, None]),
        ("vllm", [10, [], 0, 10]),  # the role chunk is the first token; all counts are 0, and so is TPOT
        ("sglang", [0, [], None, 20]),  # TTFT keeps its first value
        ("aiperf", FAILED),
        ("guidellm", FAILED),
        ("inference-perf", [None, [], None, 20]),
        ("mlperf", [None, None, None, 20]),
    ],
)
def test_a_stream_with_only_the_role(convention: Convention, expected: list[object]) -> None:
    assert basic(figures(at((10, "role", -1), (20, "done", -1)), convention)) == expected


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("ours", [30, [], None, 30]),
        ("vllm", [10, [20, 5], 0, 35]),
        ("sglang", [30, [], None, 37]),
        ("aiperf", [30, [], None, 30]),
        ("guidellm", [30, [], 30, 37]),
        ("inference-perf", [None, [], None, 37]),  # below 2 tokens, the request counts as not streamed
        ("mlperf", [30, None, None, 37]),
    ],
)
def test_a_stream_of_one_token(convention: Convention, expected: list[object]) -> None:
    events = at((10, "role", -1), (30, "content", 1), (35, "finish", -1), (36, "usage", 1), (37, "done", -1))

    assert basic(figures(events, convention)) == expected


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("ours", [30, [10, 10, 10], 10, 60]),  # 4 tokens, 1 of them in the first read
        ("vllm", [30, [30], 10, 60]),  # 30 / (4 - 1)
        ("sglang", [30, [30], 10, 60]),
        ("aiperf", [30, [10], None, 60]),
        ("guidellm", [30, [30], 30, 60]),  # 2 iterations stand for 2 tokens
        ("inference-perf", [30, [30, 0, 0], 10, 60]),
        ("mlperf", [30, None, 10, 60]),
    ],
)
def test_known_tokens_stand_for_a_usage_that_is_missing(convention: Convention, expected: list[object]) -> None:
    assert basic(figures(at((30, "content", 1), (60, "content", 3)), convention)) == expected


@pytest.mark.parametrize("convention", [c for c in CONVENTIONS if c != "guidellm"])
def test_a_chunk_of_unknown_tokens_without_usage_is_one_token(convention: Convention) -> None:
    known = figures(at((30, "content", 1), (60, "content", 1), (90, "content", 1)), convention)
    unknown = figures(at((30, "content", -1), (60, "content", -1), (90, "content", -1)), convention)

    assert basic(known) == basic(unknown)


@pytest.mark.parametrize(
    ("convention", "failed"), [(convention, convention == "guidellm") for convention in CONVENTIONS]
)
def test_only_guidellm_counts_an_error_in_band_as_a_failure(convention: Convention, failed: bool) -> None:
    events = at((10, "content", 2), (40, "content", 3), (50, "error", -1))

    assert (figures(events, convention)["ttft_ms"] is None) == failed


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("vllm", [10, [0, 0], 0, 10]),
        ("sglang", [10, [0, 0], 2.5, 20]),
        ("aiperf", [10, [0], None, 10]),
        ("guidellm", [10, [0], 2, 20]),
        ("inference-perf", [10, [0, 0], 0, 20]),
        ("mlperf", [10, None, 2.5, 20]),
        ("ours", [10, [], None, 10]),
    ],
)
def test_all_tokens_in_one_read(convention: Convention, expected: list[object]) -> None:
    events = at((10, "content", -1), (10, "content", -1), (10, "content", -1), (20, "usage", 5))

    assert basic(figures(events, convention)) == expected


def test_aiperf_with_usage_in_each_chunk_leaves_out_the_tokens_of_the_first_chunk() -> None:
    events = at((10, "content", -1), (10, "usage", 4), (40, "content", -1), (40, "usage", 10))

    assert figures(events, "aiperf")["itl_per_chunk_ms"] == [5]
    assert figures(events, "aiperf")["itl_ms"] == pytest.approx([30 / 9])


def test_aiperf_falls_back_where_the_first_chunk_had_all_tokens() -> None:
    events = at((10, "content", -1), (10, "usage", 10), (40, "content", -1), (40, "usage", 10))

    assert figures(events, "aiperf")["itl_per_chunk_ms"] == pytest.approx([30 / 9])


@pytest.mark.parametrize("convention", ["vllm", "sglang", "aiperf", "guidellm", "mlperf"])
def test_the_last_usage_is_that_of_the_peers_also_if_it_is_smaller(convention: Convention) -> None:
    events = at((10, "content", -1), (10, "usage", 9), (40, "content", -1), (40, "usage", 4), (50, "done", -1))
    without = at((10, "content", -1), (40, "content", -1), (40, "usage", 4), (50, "done", -1))

    assert basic(figures(events, convention)) == basic(figures(without, convention))


def test_vllm_counts_the_content_itself_where_usage_is_0() -> None:
    events = at((10, "role", -1), (20, "reasoning", 5), (40, "content", 3), (50, "usage", 0))

    assert figures(events, "vllm")["tpot_ms"] == 15  # (40 - 10) / (3 - 1)


def test_sglang_splits_the_gap_of_a_chunk_among_its_tokens_under_speculation() -> None:
    events = at((10, "content", 2), (40, "content", 3), (45, "content", -1))

    assert figures(events, "sglang")["itl_speculative_ms"] == [10, 10, 10, 5]


def test_guidellm_reads_nothing_after_done() -> None:
    events = at((10, "content", -1), (20, "content", -1), (21, "done", -1), (90, "content", -1), (95, "usage", 9))

    assert figures(events, "guidellm") == {
        "ttft_ms": 10,
        "ttfot_ms": 10,
        "itl_ms": [10],
        "tpot_ms": 10,
        "e2e_ms": 21,
    }


def test_guidellm_without_a_token_but_with_usage_divides_the_whole_time() -> None:
    found = figures(at((10, "refusal", -1), (40, "usage", 4)), "guidellm")

    assert basic(found) == [None, [], 10, 40]


def test_mlperf_divides_whole_nanoseconds() -> None:
    events: list[Event] = [(1_000_000, "content", 1), (1_000_010, "content", 3), (1_000_011, "done", -1)]

    assert figures(events, "mlperf")["tpot_ms"] == pytest.approx(3e-6)  # 11 ns / 3, rounded down


def test_a_chunk_with_content_and_finish_reason_is_one_chunk_for_vllm() -> None:
    events = at((10, "content", -1), (20, "content", -1), (20, "finish", -1))

    assert figures(events, "vllm")["itl_ms"] == [10, 0]
    assert figures(events, "vllm", chunks=[1, 2, 2])["itl_ms"] == [10]


def test_tool_calls_are_tokens_for_some_tools_only() -> None:
    events = at((10, "tool_call", 2), (30, "tool_call", 3), (35, "usage", 5))

    assert {convention: figures(events, convention)["ttft_ms"] for convention in CONVENTIONS} == {
        "ours": 10,
        "vllm": 10,
        "sglang": 0,
        "aiperf": 10,
        "guidellm": 10,
        "inference-perf": None,
        "mlperf": 10,
    }


@given(
    gaps=st.lists(st.integers(0, 10**9), max_size=12),
    kinds=st.lists(st.sampled_from(KINDS), min_size=12, max_size=12),
    tokens=st.lists(st.integers(-1, 30), min_size=12, max_size=12),
    convention=st.sampled_from(CONVENTIONS),
)
def test_each_convention_has_its_keys_and_no_negative_figure_for_any_stream(
    gaps: list[int], kinds: list[EventKind], tokens: list[int], convention: Convention
) -> None:
    times = [sum(gaps[: i + 1]) for i in range(len(gaps))]

    found = figures(list(zip(times, kinds, tokens, strict=False)), convention)

    assert set(BASIC) <= set(found)
    assert found.keys() == figures([], convention).keys()
    for value in found.values():
        assert all(x >= 0 for x in (value if isinstance(value, list) else [value or 0]))


def test_wrong_input_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match=r'unknown convention "genai-perf"\. Use one of ours, vllm'):
        figures([], "genai-perf")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='unknown kind of event "text"'):
        figures([(0, "text", 1)], "ours")  # type: ignore[list-item]
    with pytest.raises(ValueError, match="invalid number of tokens -2"):
        figures([(0, "content", -2)], "ours")
    with pytest.raises(ValueError, match="must not decrease"):
        figures([(2, "content", 1), (1, "content", 1)], "ours")
