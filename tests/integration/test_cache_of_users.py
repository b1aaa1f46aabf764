"""`Http(cache="user")` in a run on two agents: nginx's log and the counters of the run agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.nginx import running_nginx
from tests.support.run import loadgen
from tests.support.scenarios import write

pytestmark = pytest.mark.process

FILES = """
        location /fixed/ { root .; expires 1h; }
        location /asked/ { root .; }
"""
SCENARIO = """
from loadgen import Http, Load, Plan, User, arrivals, journey, users


@journey
async def customer(user: User) -> None:
    for _ in range(3):
        await user.http.get("/fixed/kept.css", expect=200)
        reply = await user.http.get("/asked/kept.css", expect=200)
        reply.expect(text="body { margin: 0 }")
    await user.think("100ms")


@journey
async def visitor(user: User) -> None:
    for _ in range(3):
        await user.http.get("/fixed/once.css", expect=200)
        await user.http.get("/asked/once.css", expect=200)


plan = Plan(target="TARGET", http=Http(cache="user"), loads=[
    Load(customer, users(4).hold("2s"), name="customers"),
    Load(visitor, arrivals("20/s").hold("2s"), name="visitors"),
])
"""


def test_caches_live_as_long_as_cookies_and_every_answer_is_counted(tmp_path: Path) -> None:
    with running_nginx(locations=FILES) as nginx:
        for place in ("fixed/kept.css", "asked/kept.css", "fixed/once.css", "asked/once.css"):
            file = nginx.access_log.parent / place
            file.parent.mkdir(exist_ok=True)
            file.write_text("body { margin: 0 }")
        path = write(tmp_path, SCENARIO.replace("TARGET", nginx.url), "cached.py")

        checked = loadgen("check", str(path), runs_dir=tmp_path / "none")
        assert checked.exit_code == 0, checked.err
        assert "answered 2 more requests, which were not sent" in " ".join(checked.out.split())
        assert "304" in checked.out
        before = nginx.counts()
        done = loadgen("run", str(path), "--regions", "a=1,b=1", "--workers", "1", runs_dir=tmp_path / "runs")
        assert done.exit_code in (0, 4), done.err  # 4: a busy machine starts requests late
        sent = nginx.counts()
        sent.subtract(before)

    # A user of a closed load keeps its cache; each arrival of an open load is a new user.
    kept, visits = 4, sent["GET /fixed/once.css 200"]
    assert sent["GET /fixed/kept.css 200"] == kept
    assert sent["GET /asked/kept.css 200"] == kept
    assert visits == pytest.approx(40, abs=1)
    assert sent["GET /asked/once.css 200"] == visits
    assert sent["GET /asked/once.css 304"] == 2 * visits
    assert not any("/fixed/" in line and line.endswith("304") for line in +sent)

    counted = {row["name"]: row["total"] for row in done.summary["custom"] if row["region"] == "*"}
    asked = sent["GET /asked/kept.css 200"] + sent["GET /asked/kept.css 304"]
    assert counted["cache: not modified (304)"] == sent["GET /asked/kept.css 304"] + 2 * visits
    assert counted["cache: answered without a request"] == asked - kept + 2 * visits
    rows = [row for row in done.summary["series"] if row["kind"] == "request" and row["region"] == "*"]
    assert sum(row["count"] for row in rows if row["outcome"] == "*") == (+sent).total()
