"""What other tools say they have sent, and that our own part of the benchmarks still runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.attackers import HERE, requests_of_h2load, requests_of_hey, requests_of_wrk
from loadgen.dsl.loading.loader import load
from tests.support.nginx import running_nginx

WRK = """\
Running 1s test @ http://127.0.0.1:8080
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   336.08us  131.73us   5.65ms   94.47%
    Req/Sec   187.39k    12.90k  203.88k    80.00%
  186511 requests in 1.00s, 79.85MB read
Requests/sec: 186440.41
Transfer/sec:     79.82MB
"""
HEY = """\
Summary:
  Total:	1.0023 secs
  Requests/sec:	27584.2061

Status code distribution:
  [200]	27649 responses
"""
H2LOAD = """\
finished in 1.01s, 39409.00 req/s, 44.12MB/s
requests: 39409 total, 39473 started, 39409 done, 39409 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 39409 2xx, 0 3xx, 0 4xx, 0 5xx
"""


def test_requests_are_counted_as_the_tools_count_them() -> None:
    assert (requests_of_wrk(WRK), requests_of_hey(HEY), requests_of_h2load(H2LOAD)) == (186_511, 27_649, 39_409)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (requests_of_wrk, WRK + "  Non-2xx or 3xx responses: 12\n"),
        (requests_of_wrk, WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n"),
        (requests_of_wrk, "unable to connect to 127.0.0.1:1 Connection refused\n"),
        (requests_of_hey, HEY + "  [503]	12 responses\n"),
        (requests_of_hey, HEY + "\nError distribution:\n  [3]	dial tcp: refused\n"),
        (requests_of_h2load, H2LOAD.replace("0 failed", "2 failed")),
        (requests_of_h2load, H2LOAD.replace("39409 2xx, 0 3xx, 0 4xx", "39400 2xx, 0 3xx, 9 4xx")),
    ],
)
def test_a_turn_with_errors_is_no_figure(count: Any, said: str) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        count(said)


def _figures(module: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("bench.worker", [str(HERE / "four_requests.py"), "--target", "URL", "--users", "4", "--duration", "1"]),
        (
            "bench.worker",
            [str(HERE / "four_requests_httpx.py"), "--target", "URL", "--users", "2", "--duration", "1"],
        ),
        ("bench.client", ["URL", "0.3"]),
        ("bench.httpx_stock", ["each", "URL", "0.3"]),
    ],
)
def test_what_is_divided_by_is_what_the_target_has_logged(module: str, arguments: list[str]) -> None:
    with running_nginx() as nginx:
        figures = _figures(module, *(nginx.url if word == "URL" else word for word in arguments))

        assert figures["requests"] == nginx.settled_count(figures["requests"]) > 0
    assert figures["requests_errors"] == 0
    assert figures["cpu_s"] > 0


def test_idle_users_are_all_connected_when_their_memory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_OVER", "200ms")
    with running_nginx() as nginx:
        figures = _figures("bench.idle", nginx.url, "--users", "20")

        assert nginx.settled_count(20) == 20
    assert figures["after"] > figures["before"] > 0


@pytest.mark.parametrize(
    "scenario", ["four_requests", "four_requests_httpx", "one_get", "one_then_idle", "names", "nothing"]
)
def test_each_scenario_of_the_benchmarks_has_a_plan_without_faults(scenario: str) -> None:
    assert load(Path(HERE, f"{scenario}.py")).plan.journeys
