"""A log is replayed by a fleet: nginx logs each request of three agents, and the log is held against the first one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.support.made_logs import Line, written_log
from tests.support.nginx import running_nginx
from tests.support.run import loadgen

pytestmark = pytest.mark.process

BEGIN_S = 1_763_632_800
LOG = '{"time":$msec,"took":$request_time,"request":"$request","status":$status}'
PAGES = "location /s/ { default_type text/plain; return 200 'page'; }"


def visits(sessions: int) -> list[Line]:
    """Sessions within 4 s whose paths show session and number: /s/SESSION/NUMBER."""
    rng = random.Random(7)
    found = []
    for user in range(sessions):
        at = BEGIN_S + rng.uniform(0, 4)
        for number in range(rng.randint(1, 5)):
            found.append(Line(round(at, 3), user, "GET", f"/s/{user}/{number}", 0.02))
            at += rng.uniform(0.1, 0.6)
    return sorted(found)


@pytest.mark.parametrize("timing", ["clock", "think"])
def test_a_fleet_sends_each_request_of_a_log_once_in_order_and_at_its_offset(tmp_path: Path, timing: str) -> None:
    lines = visits(120)
    log = written_log(lines, tmp_path / "access.log", "alb")
    with running_nginx(log_format=LOG, locations=PAGES) as nginx:
        scenario = tmp_path / "replay/replay.py"
        options = ("--timing", timing, "--least-users", "1", "--target", nginx.url)
        done = loadgen("replay-log", str(log), "-o", str(scenario), *options, runs_dir=tmp_path)
        assert done.exit_code == 0, done.err
        run = loadgen("run", str(scenario), "--regions", "a=1,b=1,c=1", runs_dir=tmp_path / "runs")
        assert run.exit_code in (0, 4), run.err  # 4: a busy machine starts requests late
        sent = [json.loads(line) for line in nginx.access_log.read_text().splitlines()]

    requests = [one for one in sent if "/s/" in one["request"]]
    wanted = {line.path: line.start_s for line in lines}
    assert len(requests) == len(lines)
    at = {one["request"].split(" ")[1]: one["time"] - one["took"] for one in requests}
    assert set(at) == set(wanted), "each request once"
    assert {one["status"] for one in requests} == {200}
    late_s = max(0.25, run.row("journey")["generator_lag_ms"]["max"] / 1_000 + 0.05)
    for session in {path.rpartition("/")[0] for path in wanted}:
        times = [at[f"{session}/{number}"] for number in range(6) if f"{session}/{number}" in at]
        assert times == sorted(times), "in the order of the log"
        for number, sent_s in enumerate(times):
            offset_s = wanted[f"{session}/{number}"] - wanted[f"{session}/0"]
            # nginx rounds its times to 1 ms. A machine that is busy sends later, but never earlier. A first request
            # that is late makes the offsets of the others smaller, by as much as it was late.
            assert sent_s - times[0] >= offset_s - late_s - 0.02 * number * (timing == "think")
            if run.exit_code == 0:
                assert sent_s - times[0] == pytest.approx(offset_s, abs=0.5)
    assert len({agent["id"] for agent in run.summary["agents"]}) == 3
