"""Which metrics of a page a probe shows: presets with old and new names, metrics by name, and what is missing."""

from __future__ import annotations

import pytest

from loadgen.probes.metrics_page.exposition import parse
from loadgen.probes.metrics_page.presets import PRESETS, row_of_metric
from loadgen.probes.metrics_page.selection import Found, names_wanted, select
from loadgen.probes.rows import SERIES_MOST
from loadgen.probes.settings import probe_of
from tests.support.metrics_server import vllm_page

SGLANG = """
sglang:num_running_reqs{model_name="m"} 3.0
sglang:num_queue_reqs{model_name="m"} 1.0
sglang:token_usage{model_name="m"} 0.28
sglang:cache_hit_rate{model_name="m"} 0.5
sglang:gen_throughput{model_name="m"} 86.5
sglang:prompt_tokens_total{model_name="m"} 8.0
sglang:time_to_first_token_seconds_bucket{le="0.1",model_name="m"} 1.0
sglang:time_to_first_token_seconds_bucket{le="+Inf",model_name="m"} 2.0
sglang:time_per_output_token_seconds_bucket{le="+Inf",model_name="m"} 2.0
"""


def found_in(text: str, *names: str, preset: str = "") -> Found:
    rows = (*PRESETS.get(preset, ()), *map(row_of_metric, names))
    return select(rows, parse(text.encode(), names_wanted(rows).__contains__))


def keys(found: Found) -> dict[str, str]:
    return {row.key: row.kind for row in found.rows}


@pytest.mark.parametrize("is_old", [False, True])
def test_vllm_is_read_by_its_present_and_its_older_names(is_old: bool) -> None:
    found = found_in(vllm_page(4, old=is_old), preset="vllm")

    assert set(keys(found)) == {
        *("running", "waiting", "kv_cache", "prefix_hits", "preemptions"),
        *("prompt_tokens", "generation_tokens", "ttft", "itl", "queue"),
    }
    assert [row.key for row in found.missing] == ["prefill", "decode"]


def test_the_present_name_is_used_if_a_page_has_both() -> None:
    both = vllm_page(4) + 'vllm:gpu_cache_usage_perc{engine="0"} 0.9\n'

    found = found_in(both, preset="vllm")

    assert [value for series, value in found.values.items() if series.row == "kv_cache"] == [0.25]


def test_sglang_is_read_and_optional_metrics_are_not_missed() -> None:
    found = found_in(SGLANG, preset="sglang")

    assert not found.missing
    assert keys(found)["prefix_hits"] == "gauge"
    assert keys(found)["itl"] == "histogram"


def test_a_named_metric_is_read_by_its_type_on_the_page() -> None:
    text = (
        "# TYPE hits counter\nhits 1\n# TYPE size gauge\nsize 2\n# TYPE wait histogram\n"
        'wait_bucket{le="1"} 1\nwait_bucket{le="+Inf"} 1\nplain 3\nplain_total 4\n'
    )

    found = found_in(text, "hits", "size", "wait", "plain", "gone")

    assert keys(found) == {"hits": "counter", "size": "gauge", "wait": "histogram", "plain": "gauge"}
    assert [row.key for row in found.missing] == ["gone"]


def test_a_counter_is_found_with_the_types_of_both_formats() -> None:
    assert keys(found_in("# TYPE a_total counter\na_total 1\n", "a")) == {"a": "counter"}
    assert keys(found_in("# TYPE a counter\na_total 1\n# EOF\n", "a")) == {"a": "counter"}


@pytest.mark.parametrize(
    ("given", "text", "kind"),
    [
        ("cpu_count", "# TYPE cpu_count gauge\ncpu_count 4\n", "gauge"),
        ("cpu_count", "cpu_count 4\n", "gauge"),
        ("memory_total", "# TYPE memory_total gauge\nmemory_total 4\n", "gauge"),
        ("bytes_sum", "# TYPE bytes_sum counter\nbytes_sum_total 4\n", "counter"),
        ("gc_count", '# TYPE gc summary\ngc{quantile="0.5"} 1\ngc_count 4\ngc_sum 9\n', "counter"),
        ("wait_count", '# TYPE wait histogram\nwait_bucket{le="+Inf"} 4\nwait_count 4\nwait_sum 9\n', "histogram"),
        ("wait_bucket", '# TYPE wait histogram\nwait_bucket{le="+Inf"} 4\nwait_count 4\nwait_sum 9\n', "histogram"),
    ],
)
def test_a_named_metric_is_found_whatever_its_name_ends_with(given: str, text: str, kind: str) -> None:
    spec, wrong = probe_of("x", {"url": "http://h/metrics", "metrics": [given]})

    assert spec is not None, wrong
    found = found_in(text, *spec.metrics)
    assert [row.kind for row in found.rows] == [kind]
    assert list(found.values.values()) == [4]


def test_a_named_gauge_of_several_series_has_a_row_for_each_and_they_are_not_added() -> None:
    text = "".join(f'temperature{{gpu="{n}"}} {50 + n}\n' for n in range(10))

    found = found_in(text, "temperature")

    assert [row.key for row in found.rows] == [f"temperature[gpu={n}]" for n in range(8)]
    assert found.left_out == 2


def test_more_series_than_the_limit_are_left_out_and_counted() -> None:
    text = "# TYPE a counter\n" + "".join(f'a_total{{n="{n}"}} 1\n' for n in range(SERIES_MOST + 7))

    assert found_in(text, "a").left_out == 7
