"""The settings of a Prometheus server: selectors, expressions, and all errors at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import ScenarioError, UsageError
from loadgen.probes.kinds import open_reader, places_of, secrets_of
from loadgen.probes.prometheus.selectors import BadSelector, Matcher, Selector, parse_matchers, parse_selector
from loadgen.probes.prometheus.series_rows import queries_of
from loadgen.probes.reader import Tools
from loadgen.probes.settings import probe_of, wrongs_of

GOOD = """
[probes.machines]
kind = "prometheus"
url = "https://prometheus.example/path/"
preset = "node"
match = 'instance=~"shop-.*"'
selectors = ['http_requests_total{job="shop"}']
expressions = { hits = 'sum(rate(cache_hits_total[1m]))' }
tenant = "shop"
auth_secret = "login"
ca = "ca.pem"
"""


def test_a_server_is_read_from_the_settings(tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text(GOOD)

    (probe,) = read_settings(tmp_path / "loadgen.toml").probes

    assert probe.every_ns == 10_000_000_000
    assert (places_of(probe), secrets_of(probe)) == ((("prometheus.example", 443),), ("login",))
    assert probe.own["ca"] == str(tmp_path / "ca.pem")
    texts = [query.text for query in queries_of(probe)]
    assert 'node_cpu_seconds_total{mode="steal",instance=~"shop-.*"}' in texts
    assert texts[-2:] == ['http_requests_total{job="shop"}', "sum(rate(cache_hits_total[1m]))"]
    assert not list(wrongs_of(probe))
    with pytest.raises(UsageError, match="the certificate"):
        open_reader(probe, Tools(lambda: 0, lambda _: None))


def test_all_errors_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "loadgen.toml"
    path.write_text(
        '[probes.a]\nkind = "prometheus"\nurl = "http://h"\npreset = "nod"\n'
        'selectors = ["rate(x[1m])", "{a!=\\"b\\"}"]\n'
        'step = "10ms"\ntenant = "a b"\nmatch = "job=shop"\nexpressions = 3\n'
        '[probes.b]\nkind = "prometheus"\nurl = "http://me:canary@h"\nmatch = \'a="b"\'\n'
    )

    with pytest.raises(ScenarioError) as caught:
        read_settings(path)

    told = [(fault.line, fault.message) for fault in caught.value.faults]
    assert all(fault.hint for fault in caught.value.faults)
    assert (4, "probes.a: preset: unknown preset 'nod'") in told
    assert len([line for line, _ in told if line == 5]) == 2
    assert (6, "probes.a: step: 10ms is out of range: must be from 1 s to 1 h") in told
    assert (7, "probes.a: tenant: 'a b' is not the name of a tenant") in told
    assert any(line == 8 and message.startswith("probes.a: match: ") for line, message in told)
    assert any(line == 9 and message.startswith("expressions: ") for line, message in told)
    assert (10, "probes.b: the probe has no preset, no selectors and no expressions") in told
    assert any("url: the URL contains credentials" in message for _, message in told)
    assert (13, "probes.b: match belongs to a preset, and the probe has none") in told
    assert "canary" not in str(told)


@pytest.mark.parametrize(
    "text",
    [
        "up",
        "job:hits:rate5m",
        'hits_total{job="shop"}',
        'hits_total {job = "shop" , path=~"/a|/b",}',
        '{__name__=~"node_.*",job="n"}',
        'a{b="},{",c=\'x"y\'}',
        r'a{b="\"}"}',
        "up{}",
    ],
)
def test_plain_selectors_are_accepted(text: str) -> None:
    assert parse_selector(parse_selector(text).text) == parse_selector(text)


@pytest.mark.parametrize(
    "text",
    ["", "up[5m]", "up offset 5m", "sum(up)", "rate(x[1m])", "a + b", "{}", '{job=~".*"}', '{job!="a"}', 'a{b="c"',
     "a{b=c}", 'a{"b"="c"}', "up @ 5", 'a{b="c"} or d', "9a", 'a{b="c" d="e"}', "1", 'a{b="\n"}'],
)  # fmt: skip
def test_expressions_and_broken_selectors_are_rejected(text: str) -> None:
    with pytest.raises(BadSelector):
        parse_selector(text)


@pytest.mark.parametrize(
    ("literal", "is_one"),
    [
        ('"this is a string"', True),
        (r"'these are unescaped: \n \\ \t'", True),
        ("`these are not unescaped: \\n ' \" \\t`", True),
        ("`a line\nand another`", True),  # unlike in Go, a line break is kept
        (r"`GET /(a|b)\.html\`", True),  # a backslash does not escape the backtick
        ("``", True),
        (r'"it\"s"', True),
        ("`a", False),
        ("`a``b`", False),
        (r"`a\`b`", False),
        ('"a`', False),
    ],
)
def test_values_are_the_string_literals_of_promql(literal: str, is_one: bool) -> None:
    """The first three are the examples of Prometheus' documentation, "Querying basics", string literals."""
    text = f"a{{x={literal},y='z'}}"
    if is_one:
        assert parse_selector(text).matchers == (Matcher("x", "=", literal), Matcher("y", "=", "'z'"))
        assert parse_selector(text).text == text
    else:
        with pytest.raises(BadSelector):
            parse_selector(text)


def test_a_value_in_backticks_that_every_series_meets_is_no_condition() -> None:
    for broad in ("{job=~`.*`}", "{job=``}"):
        with pytest.raises(BadSelector, match="that not every series meets"):
            parse_selector(broad)


_value = st.text(st.characters(blacklist_categories=["Cs", "Cc"])).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
_matcher = st.builds(
    Matcher, st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), st.sampled_from(["=", "!~"]), _value
)


@given(st.from_regex(r"[a-z_:][a-z0-9_:]{0,8}", fullmatch=True), st.lists(_matcher, max_size=4))
def test_a_selector_is_read_back_as_it_was_written(name: str, matchers: list[Matcher]) -> None:
    selector = Selector(name, tuple(matchers))

    assert parse_selector(selector.text) == selector
    assert parse_matchers(",".join(one.text for one in matchers)) == tuple(matchers)


def test_settings_of_another_process_are_checked_again() -> None:
    good, _ = probe_of("x", {"kind": "prometheus", "url": "http://h", "selectors": ["up"]})
    assert good is not None
    assert not list(wrongs_of(good))
    for own in (
        {},
        {"selectors": "up"},
        {"selectors": ["up"], "step": True},
        {"selectors": [7]},
        {"expressions": {"a": 1}},
    ):
        bad = type(good)(name="x", kind="prometheus", url="http://h", own=own)
        assert list(wrongs_of(bad))
