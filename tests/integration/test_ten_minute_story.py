"""Ten minutes of three kinds of visitors before nginx and the demo shop, a model of their log, and the log of its run.

python -m pytest -m slow --timeout=3600 tests/integration/test_ten_minute_story.py    # 33 minutes, little CPU
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest

from tests.integration.test_model_story import LOG
from tests.support.nginx import running_nginx
from tests.support.ports import free_ports
from tests.support.run import loadgen, started
from tests.support.scenarios import write

pytestmark = pytest.mark.process

VISITORS = """
from dataclasses import dataclass

from loadgen import Load, Plan, User, arrivals, graph, leave, lognormal, node


@dataclass
class Visit:
    seen: int = 0


async def begin(user: User) -> None:
    user.http.headers["X-Session"] = f"{user.load.name}-{user.number}"


async def look_at(user: User, visit: Visit, shape: float) -> Visit:
    number = min(int(user.random.paretovariate(shape)), 90)
    await user.http.get(f"/products/sku-{number:04}", name="product", expect={200, 404})
    visit.seen += 1
    return visit


@node
async def find(user: User, visit: Visit) -> Visit:
    await user.http.get("/search?q=lamp", name="/search", expect={200, 404})
    return visit


@node
async def product(user: User, visit: Visit) -> Visit:
    return await look_at(user, visit, 0.9)


@node
async def products(user: User, visit: Visit) -> Visit:
    await user.http.get("/products", expect={200, 404})
    return visit


@node
async def deal(user: User, visit: Visit) -> Visit:
    return await look_at(user, visit, 0.9)


PAUSE, SHORT = lognormal(0.9, 0.5), lognormal(-0.2, 0.4)
look = graph({find: {find: 3, product: 5, leave: 2}, product: {find: 3, product: 3, leave: 4}},
             start=find, counts=True, state=Visit, think=PAUSE, name="look")
browse = graph({products: {product: 9, leave: 1}, product: {products: 6, leave: 4}},
               start=products, counts=True, state=Visit, think=PAUSE, name="browse")
hunt = graph({deal: {deal: 8, leave: 2}}, start=deal, counts=True, state=Visit, think=SHORT, name="hunt")
for one in (look, browse, hunt):
    one.set_up(begin)
plan = Plan(target="TARGET", loads=[
    Load(look, arrivals("6/s").poisson().hold("10m"), name="look"),
    Load(browse, arrivals("3/s").poisson().hold("10m"), name="browse"),
    Load(hunt, arrivals("2/s").poisson().hold("10m"), name="hunt"),
])
"""


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    pytest.fail("the demo shop did not start")


OPTIONS = ("--session-timeout", "60s", "--stamp", "end", "--field", "took=took:s", "--field", "client=client")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_model_of_ten_minutes_is_faithful_in_the_servers_own_log_and_one_graph_is_not(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    shop = f"""
        location /search {{ proxy_pass http://127.0.0.1:{port}; }}
        location /products {{ proxy_pass http://127.0.0.1:{port}; }}
"""
    with (
        started("target", "--port", str(port), runs_dir=tmp_path),
        running_nginx(log_format=LOG, locations=shop) as nginx,
    ):
        _wait_for(port)
        visitors = write(tmp_path, VISITORS.replace("TARGET", nginx.url), "visitors.py")
        first = loadgen("run", str(visitors), runs_dir=tmp_path / "runs1", timeout_s=900)
        assert first.exit_code == 0, "this machine was too busy: sessions that start late are bursts in the log"
        lines = nginx.access_log.read_text().splitlines(keepends=True)
        production, test = tmp_path / "production.json", tmp_path / "test.json"
        production.write_text("".join(lines))

        made = {}
        for kinds in ("auto", "1"):
            path = tmp_path / f"{kinds}/shop.py"
            more = () if kinds == "auto" else ("--classes", kinds)
            done = loadgen(
                "model", str(production), "-o", str(path), "--target", nginx.url, *OPTIONS, *more, runs_dir=tmp_path
            )
            assert done.exit_code == 0, done.err
            made[kinds] = json.loads((path.parent / "traffic.json").read_text())
        checked = {}
        for kinds, runs in (("auto", "runs2"), ("1", "runs3")):
            path, begin = tmp_path / f"{kinds}/shop.py", len(nginx.access_log.read_text().splitlines())
            again = loadgen("run", str(path), runs_dir=tmp_path / runs, timeout_s=900)
            assert again.exit_code == 0, again.err
            test.write_text("".join(nginx.access_log.read_text().splitlines(keepends=True)[begin:]))
            done = loadgen("model", "check", str(path), "--log", str(test), "--format", "json", runs_dir=tmp_path)
            checked[kinds] = json.loads(done.out)
            print(done.out)

    assert len(made["auto"]["classes"]) == 3
    assert made["auto"]["fidelity"]["verdict"] == "faithful"
    assert made["1"]["fidelity"]["verdict"] == "not faithful"
    assert checked["auto"]["verdict"] == "faithful", checked["auto"]
    assert checked["1"]["verdict"] == "not faithful", checked["1"]
