"""`tags=["cache"]` in a run through Varnish and nginx: misses are what the server behind them counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.nginx import running_nginx
from tests.support.run import Finished, loadgen
from tests.support.scenarios import write
from tests.support.target import RunningTarget, running_target
from tests.support.varnish_server import running_varnish

pytestmark = pytest.mark.process

NGINX = """
        location / {
            proxy_pass SHOP;
            proxy_cache shop;
            proxy_cache_valid 200 1m;
            proxy_cache_bypass $arg_fresh;
            add_header X-Cache-Status $upstream_cache_status always;
        }
"""
NGINX_CACHE = "proxy_cache_path {folder}/cache keys_zone=shop:1m;"
VCL = """
sub vcl_recv { if (req.url ~ "^/cart") { return (pass); } }
"""
SCENARIO = """
from loadgen import Plan, User, iterations, journey, p


@journey
async def look(user: User) -> None:
    varnish, nginx = user.to("varnish"), user.to("nginx")
    for n in range(1, 6):
        await varnish.get(f"/products/sku-{n:04}", name="by varnish", expect=200)
        await nginx.get(f"/products/sku-{n:04}", name="by nginx", expect=200)
    await nginx.get("/products/sku-0001?fresh=1", name="fresh", expect=200)
    await user.to("shop").get("/products/sku-0001", name="no cache", expect=200)


plan = Plan(
    targets={"varnish": "VARNISH", "nginx": "NGINX", "shop": "SHOP"},
    target="shop",
    load=iterations(10, users=1),
    mix=look,
    tags=["cache"],
    slos=[p(95, request="by varnish", tags={"cache": "hit"}) < "5s"],
)
"""


def _results(done: Finished) -> dict[str, dict[str, int]]:
    """Requests by name and result of the caches."""
    found: dict[str, dict[str, int]] = {}
    row: dict[str, Any]
    for row in done.summary["tagged"]:
        if row["kind"] == "request" and row["region"] == "*" and row["outcome"] == "*":
            found.setdefault(row["request"], {})[row["tags"]["cache"]] = row["count"]
    return found


def _requests(shop: RunningTarget) -> int:
    return int(shop.stats()["by_route"]["GET /products/{sku}"])


def test_each_answer_is_counted_as_the_caches_gave_it(tmp_path: Path) -> None:
    with running_target("--no-latency") as shop:
        port = int(shop.url.rpartition(":")[2])
        with (
            running_varnish(port, vcl=VCL) as varnish,
            running_nginx(locations=NGINX.replace("SHOP", shop.url), http_settings=NGINX_CACHE) as nginx,
        ):
            text = SCENARIO.replace("VARNISH", varnish.url).replace("NGINX", nginx.url).replace("SHOP", shop.url)
            shop.reset()
            done = loadgen("run", str(write(tmp_path, text, "cached.py")), "--quiet", runs_dir=tmp_path / "runs")
            behind = _requests(shop)

    assert done.exit_code in (0, 4), done.out + done.err  # 4: a busy machine starts requests late
    results = _results(done)
    assert results == {
        "by varnish": {"hit": 45, "miss": 5},
        "by nginx": {"hit": 45, "miss": 5},
        "fresh": {"bypass": 10},
        "no cache": {"none": 10},
    }
    assert behind == 5 + 5 + 10 + 10
