"""Limits and conditions of `stop_when`: what is read, what is wrong, and that both survive a round trip."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.probes.limits.limit_text import Bound, StopRule, limit_wrong, parse_bound, parse_stop
from loadgen.units import NS_PER_S


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        (
            "connections > 95% for 30s",
            StopRule("connections", ">", Bound(95, "%"), 30 * NS_PER_S),
            "above 95 % for 30 s",
        ),
        ("ttft p99>2s for 1m", StopRule("ttft", ">", Bound(2, "s"), 60 * NS_PER_S, 99.0), "p99 above 2 s for 1m"),
        ("pods ready < 3", StopRule("pods ready", "<", Bound(3)), "below 3"),
        ("waiting > 1_000 for 1m30s", StopRule("waiting", ">", Bound(1000), 90 * NS_PER_S), "above 1000 for 1m30s"),
        ("read < .5e3 MiB/s", StopRule("read", "<", Bound(500, "MiB/s")), "below 500 MiB/s"),
        ("cpu[instance=a:1] > 90%", StopRule("cpu[instance=a:1]", ">", Bound(90, "%")), "above 90 %"),
    ],
)
def test_a_condition_is_a_row_a_comparison_a_limit_and_a_time(text: str, rule: StopRule, words: str) -> None:
    assert parse_stop(text) == (rule, [])
    assert rule.text.endswith(words)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["the condition is empty"]),
        (3, ["3 is not a condition"]),
        ("connections", ["'connections' has no < or >"]),
        (">", ["a row is missing before >", "a limit is missing after >"]),
        ("x p42 >= y for", ["unknown percentile p42", "unknown operator >=", "a time is missing after for", "'y' is"]),
        ("x > 3 for 0s", ["for 0s: must be above 0 and at most 24 h"]),
        ("x > 3 for 2d", ["for 2d: must be above 0 and at most 24 h"]),
        ("x > 1e999", ["the limit must be a finite number"]),
        ("x\n > 3", ["the condition must be one line"]),
    ],
)
def test_all_errors_of_a_condition_are_found_at_once(text: object, messages: list[str]) -> None:
    rule, wrong = parse_stop(text)
    assert rule is None
    assert len(wrong) == len(messages)
    assert all(found.startswith(said) and hint for (found, hint), said in zip(wrong, messages, strict=True)), wrong


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**9), 10**9).map(float)
units = st.sampled_from(["", "%", "s", "ms", "MiB", "B/s", "/s", "tokens/s"])
rows = st.sampled_from(["connections", "KV cache use", "cpu[instance=10.0.0.7:9100]", "vllm:num_requests_waiting"])
rules = st.builds(
    StopRule,
    rows,
    st.sampled_from(["<", ">"]),
    st.builds(Bound, numbers, units),
    st.integers(0, 24 * 3_600_000).map(lambda ms: ms * 1_000_000),
    st.sampled_from([None, 50.0, 95.0, 99.0]),
)


@settings(max_examples=60)
@given(rules)
def test_a_condition_that_is_written_and_read_again_is_the_same(rule: StopRule) -> None:
    assert parse_stop(str(rule)) == (rule, [])


@settings(max_examples=60)
@given(st.text(max_size=60) | st.text("abp95<>=%. for0123s", max_size=40))
def test_any_text_is_a_condition_or_has_errors_and_never_raises(text: str) -> None:
    rule, wrong = parse_stop(text)
    assert (rule is None) == bool(wrong)
    if rule is not None:
        assert rule.row
        assert parse_stop(str(rule))[0] == rule


def test_a_limit_is_a_number_in_the_unit_of_the_row_or_has_a_unit_of_its_own() -> None:
    assert parse_bound("500ms").in_unit("s") == 0.5
    assert parse_bound("1m30s").in_unit("s") == 90
    assert parse_bound("2 GiB").in_unit("MiB") == 2048
    assert parse_bound("5/s").in_unit("1/s") == 5
    assert parse_bound("12 tokens/s").in_unit("tokens/s") == 12
    assert parse_bound(20).in_unit("pods") == 20
    assert parse_bound(0.8).in_unit("%") is None  # it could be 80 %, or 0.8 %
    assert parse_bound("80%").in_unit("") is None


@pytest.mark.parametrize(
    ("limit", "unit", "message", "hint"),
    [
        (80, "%", "is in %, and the limit has no unit", 'write "80%"'),
        (0.8, "%", "is in %, and the limit has no unit", 'write "80%"'),
        (300, "s", "is a time, and the limit has no unit", 'write "300s"'),
        ("80%", "", "is not in %: the probe does not know its limit", "write a number"),
        ("5 MiB", "s", 'is in "s", and the limit is in "MiB"', 'write "5s"'),
    ],
)
def test_a_limit_in_a_wrong_unit_is_an_error_with_what_to_write(
    limit: object, unit: str, message: str, hint: str
) -> None:
    wrong = limit_wrong(parse_bound(limit), unit, "row")
    assert wrong is not None
    assert message in wrong[0]
    assert wrong[1].startswith(hint)
