"""The page /metrics of the plain shop: its own counts, in a text that a parser of Prometheus reads."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from loadgen.target.config import TargetConfig
from loadgen.target.metrics_page import metrics_text
from loadgen.target.server import serve


async def test_the_page_has_the_counts_of_stats_and_is_not_counted_itself() -> None:
    async with (
        serve(TargetConfig(latency=False)) as target,
        httpx.AsyncClient(base_url=target.url, trust_env=False, timeout=60) as http,
    ):
        for path in ("/", "/", "/search?q=red", "/search?q=red", "/gone"):
            await http.get(path)
        page = await http.get("/metrics")
        again = await http.get("/metrics")
        refused = await http.post("/metrics")
        stats = target.stats()

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert again.text == page.text
    assert refused.status_code == 405
    assert samples["shop_requests_total", "GET /"] == 2
    assert samples["shop_answers_total", "GET (other)", "404"] == 1
    assert samples["shop_cache_hits_total", "search"] == samples["shop_cache_misses_total", "search"] == 1
    assert samples["shop_requests_in_flight",] == 0
    assert stats["requests"] == 5


def test_a_hostile_label_cannot_break_the_page() -> None:
    hostile = 'a"} 1\nevil 2\\'

    (family,) = text_string_to_metric_families(metrics_text([("x", "gauge", {"route": hostile}, 3.0)]).decode())

    assert [(sample.labels["route"], sample.value) for sample in family.samples] == [(hostile, 3.0)]
