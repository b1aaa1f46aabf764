"""A run over HTTP/3: the counts are the target's own, also when it ends connections, and metrics are in the summary."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.nginx import running_nginx
from tests.support.run import ends_with, loadgen

SCENARIO = """
from loadgen import Http, Plan, User, iterations, journey


@journey
async def shop(user: User) -> None:
    reply = await user.http.get("/1k", expect=200)
    assert reply.http_version == "HTTP/3"
    await user.gather(*(user.http.get(f"/json?n={n}", expect=200) for n in range(6)))
    await user.http.post("/json", json={"sku": "a"}, expect=200)


plan = Plan(
    target="TARGET", ca="ca.pem", load=iterations(100, users=10), mix=shop, http=Http(http3="only", phases=True)
)
"""


def test_each_request_is_in_the_access_log_though_nginx_ends_connections(tmp_path: Path) -> None:
    with running_nginx(http3=True, locations="keepalive_requests 30;") as nginx:
        scenario = tmp_path / "shop.py"
        scenario.write_text(SCENARIO.replace("TARGET", nginx.http3_url))
        assert nginx.ca is not None
        shutil.copy(nginx.ca, tmp_path / "ca.pem")

        run = loadgen("run", str(scenario), "--quiet", runs_dir=tmp_path / "runs")

        assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
        assert nginx.settled_count(800) == 800
        assert nginx.counts() == {"GET /1k 200": 100, "GET /json 200": 600, "POST /json 200": 100}
        assert run.summary["requests"] == run.summary["requests"] | {"started": 800, "finished": 800, "errors": 0}
        assert run.row("request", request="GET /json")["count"] == 600
        assert any("requests used HTTP/3" in note for note in run.summary["notes"])
