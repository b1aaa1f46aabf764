"""Pages of metrics: the examples of the documentation, what prometheus_client writes, limits, and what is no page."""

from __future__ import annotations

from contextlib import suppress
from math import inf, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from loadgen.probes.metrics_page import exposition
from loadgen.probes.metrics_page.exposition import BadPage, Sample, parse

OF_THE_DOCUMENTATION = rb"""# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# A histogram, which has a pretty complex representation in the text format:
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="0.1"} 33444
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320

# Finally a summary, which has a complex representation, too:
# HELP rpc_duration_seconds A summary of the RPC duration in seconds.
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
"""


def test_the_example_of_the_documentation_is_parsed_as_it_says() -> None:
    page = parse(OF_THE_DOCUMENTATION)

    found = {(one.name, one.labels): one.value for one in page.samples}
    assert found["http_requests_total", (("code", "200"), ("method", "post"))] == 1027
    assert found["http_requests_total", (("code", "400"), ("method", "post"))] == 3
    escaped = (("error", 'Cannot find file:\n"FILE.TXT"'), ("path", "C:\\DIR\\FILE.TXT"))
    assert found["msdos_file_access_time_seconds", escaped] == 1.458255915e9
    assert found["metric_without_timestamp_and_labels", ()] == 12.47
    assert found["something_weird", (("problem", "division by zero"),)] == inf
    assert found["http_request_duration_seconds_bucket", (("le", "+Inf"),)] == 144320
    assert found["rpc_duration_seconds_sum", ()] == 1.7560473e7
    assert page.types["http_request_duration_seconds"] == "histogram"
    assert len(page.samples) == 13


def test_openmetrics_with_an_exemplar_is_parsed() -> None:
    text = (
        b"# TYPE foo histogram\n"
        b'foo_bucket{le="0.1"} 8 # {} 0.054\n'
        b'foo_bucket{le="+Inf"} 17 # {trace_id="oHg5SJYRHA0"} 9.8 1520879607.789\n'
        b"foo_created 1520430000.123\n# EOF\n"
    )

    assert [one.value for one in parse(text).samples] == [8, 17, 1520430000.123]


def test_a_value_that_is_not_a_number_stays_one() -> None:
    (sample,) = parse(b"kv_use NaN\n").samples

    assert isnan(sample.value)


def test_only_wanted_samples_are_parsed_and_all_names_are_known() -> None:
    page = parse(b'a{x="1"} 1\nb{this is broken} 2\n', {"a"}.__contains__)

    assert [one.name for one in page.samples] == ["a"]
    assert page.names == {"a", "b"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (b"<!doctype html>\n<p>log in</p>\n", "it is HTML or XML, not metrics"),
        (b'\n  {"error": "no"}\n', "it is JSON, not metrics"),
        (b"up 1\nrequests_total 12", "its last line is not complete"),
        (b"up 1\nrequests_total{a=\n", "line 2 has invalid labels"),
        (b"up 1\nup\n", "line 2 has no valid value"),
        (b"up 1_000\n", "line 1 has no valid value"),
        (b"up infinite\n", "line 1 has no valid value"),
        (b'up{a="1",a="2"} 1\n', "line 1 repeats a label"),
        (b"up 1\nup 2\n", "line 2 repeats up"),
        (b"up 1\n# EOF\nup 2\n", "line 3 comes after # EOF"),
        (b"up \xff\n", "it is not UTF-8"),
        (b"up\x00 1\n", "no valid value"),
        (b"# only words\n", "it has no metrics"),
        (b"404 page not found\n", "line 1 has no name of a metric"),
    ],
)
def test_what_is_no_page_of_metrics_is_rejected_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadPage, match=why):
        parse(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a 1\n" * 300_000, "more than 250,000 lines"),
        (b"#" + b" " * exposition.BYTES_MOST + b"\n", "more than 8 MiB"),
        (b'a{x="' + b"y" * 17_000 + b'"} 1\n', "more than 16 KiB"),
        (b'a{x="' + b"y" * 1_025 + b'"} 1\n', "too long"),
        (b"a{" + b",".join(b'l%d="1"' % n for n in range(65)) + b"} 1\n", "too many"),
        (b"".join(b'a{x="%d"} 1\n' % n for n in range(exposition.WANTED_MOST + 1)), "more than 20,000 series"),
        (b"".join(b"a%d 1\n" % n for n in range(20_001)), "more than 20,000 names"),
    ],
    ids=["lines", "bytes", "line", "label", "labels", "series", "names"],
)
def test_a_page_beyond_a_limit_is_rejected(data: bytes, why: str) -> None:
    with pytest.raises(BadPage, match=why):
        parse(data)


LABEL = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from('"\\\n'), max_size=12)


@given(
    st.lists(st.tuples(LABEL, st.floats(0, 1e18)), max_size=5, unique_by=lambda pair: pair[0]),
    st.floats(allow_nan=False),
    st.lists(st.floats(0, 20), max_size=8),
)
def test_pages_of_the_official_client_are_parsed_as_its_own_parser_does(
    counts: list[tuple[str, float]], level: float, times: list[float]
) -> None:
    registry = CollectorRegistry()
    counter = Counter("tokens", "Tokens.", ["model"], registry=registry)
    Gauge("level", "Level.", registry=registry).set(level)
    histogram = Histogram("ttft_seconds", "TTFT.", registry=registry)
    for label, count in counts:
        counter.labels(label).inc(count)
    for time_s in times:
        histogram.observe(time_s)

    text = generate_latest(registry)
    page = parse(text)

    expected = [
        Sample(one.name, tuple(sorted(one.labels.items())), float(one.value))
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    ]
    assert sorted(map(str, page.samples)) == sorted(map(str, expected))
    of_openmetrics = parse(openmetrics.generate_latest(registry))  # type: ignore[no-untyped-call]
    assert {one.name for one in of_openmetrics.samples} >= {"tokens_total"} & page.names


@given(st.binary(max_size=300) | st.text('abc{}="\\,# \n1.eE+NaInf', max_size=80).map(str.encode))
def test_any_bytes_are_a_page_or_a_reason(data: bytes) -> None:
    with suppress(BadPage):
        assert all(isinstance(one.value, float) for one in parse(data + b"\n").samples)


@given(st.integers(1, 400))
def test_a_page_that_is_cut_anywhere_but_after_a_line_is_rejected(at: int) -> None:
    cut = OF_THE_DOCUMENTATION[:at]
    if cut.endswith(b"\n"):
        return
    with pytest.raises(BadPage, match="its last line is not complete"):
        parse(cut)
