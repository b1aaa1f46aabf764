"""A run whose own spans and the target's spans form one tree in a collector."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from loadgen import open_run
from tests.support.run import loadgen
from tests.support.traced_shop.own_collector import own_collector
from tests.support.traced_shop.running import traced_shop

pytestmark = pytest.mark.quiet

SCENARIO: Final = """
from loadgen import Plan, Trace, User, arrivals, journey


@journey
async def buy(user: User) -> None:
    async with user.step("look around"):
        await user.http.get("/browse", name="browse")
    await user.http.post("/checkout?token=17", name="checkout")


plan = Plan(
    target="{target}",
    load=arrivals("10/s").hold("2s"),
    mix=buy,
    drain="5s",
    trace=Trace(sample="20/s", per="trace", boost="100%", export="otlp:{collector}"),
)
"""


def spans_of(collector: str, trace: str) -> list[dict[str, Any]]:
    """Return the spans of a trace, each with its service and its attributes as texts."""
    answer = httpx.get(f"{collector}/api/v3/traces/{trace}", trust_env=False)
    answer.raise_for_status()
    found = []
    for part in answer.json()["result"]["resourceSpans"]:
        resource = {one["key"]: one["value"].get("stringValue", "") for one in part["resource"]["attributes"]}
        for scope in part["scopeSpans"]:
            for span in scope["spans"]:
                attributes = {one["key"]: next(iter(one["value"].values())) for one in span.get("attributes", [])}
                found.append({**span, "resource": resource, "attributes": attributes})
    return found


def test_the_spans_of_loadgen_and_of_the_target_are_one_tree(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    with own_collector() as collector:
        with traced_shop(collector) as shop:
            path.write_text(SCENARIO.format(target=shop.url, collector=collector))
            done = loadgen("run", str(path), "--quiet", runs_dir=tmp_path / "runs")
            assert done.exit_code == 0, done.out + done.err
        (run,) = (tmp_path / "runs").iterdir()
        table = open_run(run).exemplar_frame()
        whole = [one for one in table.itertuples() if not one.request and not one.step]
        assert whole
        for one in whole[:5]:
            spans = spans_of(collector, one.trace)
            ids = {str(span["spanId"]): span for span in spans}
            assert [span["name"] for span in spans if not span.get("parentSpanId")] == ["buy"]
            assert all(span["parentSpanId"] in ids for span in spans if span.get("parentSpanId"))
            ours = {str(span["name"]): span for span in spans if span["resource"]["service.name"] == "loadgen"}
            assert set(ours) == {"buy", "look around", "browse", "checkout"}
            assert ours["browse"]["parentSpanId"] == ours["look around"]["spanId"]
            assert ours["checkout"]["parentSpanId"] == ours["buy"]["spanId"]
            checkout = ours["checkout"]["attributes"]
            assert checkout == {
                "http.request.method": "POST",
                "url.full": f"{shop.url}/checkout",
                "server.address": "127.0.0.1",
                "server.port": str(shop.port),
                "http.response.status_code": "201",
            }
    # 20/s is more than the load, so all are sampled: each stands for as many as there were of its class.
    assert sum(one.stands_for for one in whole) == 20
