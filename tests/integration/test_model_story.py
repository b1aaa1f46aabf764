"""From a server's own log to a scenario that sends the same: nginx logs, `loadgen model` reads, `loadgen run` sends."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support.nginx import RunningNginx, running_nginx
from tests.support.run import loadgen
from tests.support.scenarios import write

pytestmark = pytest.mark.process

LOG = (
    (
        '{{"time":"$msec","client":"$http_x_session","request":"$request","status":$status,"size":$body_bytes_sent,'
        '"took":$request_time,"agent":"$http_user_agent"}}'
    )
    .replace("{{", "{")
    .replace("}}", "}")
)
SHOP = """
        location = /search { default_type text/plain; return 200 'found'; }
        location = /cart { default_type text/plain; return 201 'added'; }
        location ~ ^/products/[0-9]+$ { default_type text/plain; return 200 'product'; }
"""
HIDDEN = """
from loadgen import Load, Plan, User, arrivals, graph, leave, lognormal, node
from dataclasses import dataclass


@dataclass
class Visit:
    session: str = ""


async def get(user: User, visit: Visit, path: str, name: str) -> Visit:
    visit.session = visit.session or f"{user.load.name}-{user.number}"
    await user.http.get(path, name=name, headers={"X-Session": visit.session})
    return visit


@node
async def home(user: User, visit: Visit) -> Visit:
    return await get(user, visit, "/", "home")


@node
async def search(user: User, visit: Visit) -> Visit:
    return await get(user, visit, "/search?q=lamp", "search")


@node
async def product(user: User, visit: Visit) -> Visit:
    hot = 10 if user.random.random() < 0.6 else user.random.randrange(11, 40)
    return await get(user, visit, f"/products/{hot}", "product")


@node
async def cart(user: User, visit: Visit) -> Visit:
    await user.http.post("/cart", headers={"X-Session": visit.session}, expect=201)
    return visit


PAUSE = lognormal(-2.5, 0.5)
look = graph({home: {search: 3, leave: 2}, search: {search: 2, product: 3, leave: 5}, product: {leave: 1}},
             start=home, counts=True, state=Visit, think=PAUSE, name="look")
buy = graph({home: {product: 1}, product: {cart: 7, product: 2, leave: 1}, cart: {leave: 1}},
            start=home, counts=True, state=Visit, think=PAUSE, name="buy")
bounce = graph({home: {leave: 1}}, start=home, counts=True, state=Visit, name="bounce")
plan = Plan(target="TARGET", loads=[
    Load(look, arrivals("80/s").poisson().hold("8s"), name="look"),
    Load(buy, arrivals("30/s").poisson().hold("8s"), name="buy"),
    Load(bounce, arrivals("40/s").poisson().hold("8s"), name="bounce"),
])
"""


def requests_of(nginx: RunningNginx, skip: int = 0) -> tuple[Counter[str], Counter[str], int]:
    """Requests by method and kind of path, requests by product, and the lines of the log."""
    lines = [json.loads(line) for line in nginx.access_log.read_text().splitlines()]
    kinds: Counter[str] = Counter()
    products: Counter[str] = Counter()
    for line in lines[skip:]:
        method, path, _ = line["request"].split(" ")
        path = path.partition("?")[0]
        if path.startswith("/products/"):
            products[path] += 1
            path = "/products/{id}"
        kinds[f"{method} {path}"] += 1
    return kinds, products, len(lines)


def divergence(one: Counter[str], other: Counter[str]) -> float:
    """Jensen and Shannon's, in bits."""
    names = sorted({*one, *other})
    p, q = (np.array([counts[name] for name in names]) / counts.total() for counts in (one, other))
    middle = (p + q) / 2
    return sum(float(np.sum(side * np.log2(np.where(side > 0, side / middle, 1.0)))) / 2 for side in (p, q))


def test_a_scenario_from_the_log_of_a_server_sends_the_same_to_it(tmp_path: Path) -> None:
    with running_nginx(log_format=LOG, locations=SHOP) as nginx:
        hidden = write(tmp_path, HIDDEN.replace("TARGET", nginx.url), "hidden.py")
        first = loadgen("run", str(hidden), runs_dir=tmp_path / "runs1")
        assert first.exit_code in (0, 4), first.err  # 4: a busy machine starts requests late
        kinds, products, lines = requests_of(nginx)
        log = tmp_path / "access.json"
        log.write_text(nginx.access_log.read_text())

        made = tmp_path / "shop/shop.py"
        options = (
            "--session-timeout",
            "3s",
            "--least-users",
            "1",
            "--target",
            nginx.url,
            "--field",
            "took=took:s",
            "--field",
            "client=client",
        )
        done = loadgen("model", str(log), "-o", str(made), *options, runs_dir=tmp_path)
        assert done.exit_code == 0, done.err
        second = loadgen("run", str(made), "--duration", "8s", runs_dir=tmp_path / "runs2")
        assert second.exit_code in (0, 4), second.err
        again, products_again, _ = requests_of(nginx, skip=lines)
        log.write_text("".join(nginx.access_log.read_text().splitlines(keepends=True)[lines:]))
        checked = loadgen("model", "check", str(made), "--log", str(log), "--format", "json", runs_dir=tmp_path)
        simple = tmp_path / "simple/shop.py"
        first_log = tmp_path / "first.json"
        first_log.write_text("".join(nginx.access_log.read_text().splitlines(keepends=True)[:lines]))
        done = loadgen("model", str(first_log), "-o", str(simple), *options, "--classes", "1", runs_dir=tmp_path)
        assert done.exit_code == 0, done.err

    assert divergence(kinds, again) < 0.01
    rows = {row["property"]: row["passed"] for row in json.loads(checked.out)["rows"]}
    of_sessions = ("request mix", "transitions", "edges", "sequences", "combinations", "session length", "status")
    assert all(rows[name] for name in of_sessions), checked.out
    fidelity = json.loads((tmp_path / "simple/traffic.json").read_text())["fidelity"]
    assert fidelity["verdict"] == "not faithful"
    assert {"sequences", "combinations"} & {row["property"] for row in fidelity["rows"] if not row["passed"]}
    hot, hot_again = (found["/products/10"] / found.total() for found in (products, products_again))
    assert hot_again == pytest.approx(hot, abs=0.12)
    assert set(products_again) <= set(products)
    assert again.total() == pytest.approx(kinds.total(), rel=0.15)
    facts = json.loads((tmp_path / "shop/traffic.json").read_text())
    assert facts["accounting"]["taken"] == lines
    assert facts["sessions"]["count"] == pytest.approx(1_200, rel=0.2)
