"""Over HTTP/2 the counts are as exact: the run's are the target's own, and its connections are the users'.

h2load, a client of other authors, is counted by the same access log.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.nginx import running_nginx
from tests.support.run import ends_with, loadgen

SCENARIO = """
from loadgen import Http, Plan, User, iterations, journey


@journey
async def shop(user: User) -> None:
    reply = await user.http.get("/1k", expect=200)
    assert reply.http_version == "HTTP/2"
    await user.gather(*(user.http.get(f"/json?n={n}", expect=200) for n in range(6)))
    await user.http.post("/json", json={"sku": "a"}, expect=200)


plan = Plan(target="TARGET", ca="ca.pem", load=iterations(100, users=10), mix=shop, http=Http(http2=True))
"""


def test_each_request_is_in_the_access_log_and_each_user_has_one_connection(tmp_path: Path) -> None:
    with running_nginx(tls=True) as nginx:
        scenario = tmp_path / "shop.py"
        scenario.write_text(SCENARIO.replace("TARGET", nginx.http2_url))
        assert nginx.ca is not None
        shutil.copy(nginx.ca, tmp_path / "ca.pem")

        run = loadgen("run", str(scenario), "--quiet", runs_dir=tmp_path / "runs")

        assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
        assert nginx.settled_count(800) == 800
        assert nginx.counts() == {"GET /1k 200": 100, "GET /json 200": 600, "POST /json 200": 100}
        assert run.summary["requests"] == run.summary["requests"] | {"started": 800, "finished": 800, "errors": 0}
        assert run.row("request", request="GET /json")["count"] == 600
        assert len({line.split()[3] for line in nginx.access_log.read_text().splitlines()}) == 10


def test_h2load_and_a_run_are_counted_by_the_same_log(tmp_path: Path) -> None:
    program = shutil.which("h2load")
    if program is None:
        pytest.skip("h2load is not installed (Debian: nghttp2-client)")
    with running_nginx(tls=True) as nginx:
        command = [program, "-n", "800", "-c", "10", "-m", "7", f"{nginx.http2_url}/1k"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
        found = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout", said)
        assert found is not None, said
        assert nginx.settled_count(800) == int(found[1]) == 800
        scenario = tmp_path / "shop.py"
        scenario.write_text(SCENARIO.replace("TARGET", nginx.http2_url))
        assert nginx.ca is not None
        shutil.copy(nginx.ca, tmp_path / "ca.pem")

        run = loadgen("run", str(scenario), "--quiet", runs_dir=tmp_path / "runs")

        assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
        assert nginx.settled_count(1600) == 1600
        assert nginx.counts() == {"GET /1k 200": 900, "GET /json 200": 600, "POST /json 200": 100}
