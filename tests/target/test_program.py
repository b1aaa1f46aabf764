from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.support.nginx import JSON_BODY, running_nginx
from tests.support.target import running_target

PROGRAM = [sys.executable, "-m", "loadgen.target"]


def test_the_shop_runs_as_a_process_and_counts() -> None:
    with running_target("--no-latency", "--seed", "3") as target:
        for _ in range(3):
            urllib.request.urlopen(f"{target.url}/products").close()
        stats = target.stats()
        target.reset()

        assert stats["by_route"] == {"GET /products": 3}
        assert stats["seed"] == 3
        assert target.stats()["requests"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(number: signal.Signals) -> None:
    with subprocess.Popen(PROGRAM, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, "", "")


def test_it_goes_when_whoever_started_it_goes() -> None:
    command = [*PROGRAM, "--exit-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.close()

        assert process.wait(60) == 0


def test_a_wrong_option_is_said_in_one_line() -> None:
    done = subprocess.run([*PROGRAM, "--stall", "9s", "--every", "5s"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "shorter than --every" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_port_ends_it_with_the_fleets_exit_code() -> None:
    with running_target() as target:
        port = target.url.rpartition(":")[2]
        done = subprocess.run([*PROGRAM, "--port", port], capture_output=True, text=True, timeout=60)

    assert done.returncode == 5
    assert port in done.stderr


def test_nginx_serves_what_the_benchmark_asks_and_logs_each_request() -> None:
    with running_nginx() as nginx:
        with urllib.request.urlopen(f"{nginx.url}/json") as reply:
            assert reply.read().decode() == JSON_BODY
        with urllib.request.urlopen(f"{nginx.url}/json", data=b'{"a":1}') as reply:
            assert reply.status == 200
        with urllib.request.urlopen(f"{nginx.url}/1k") as reply:
            assert len(reply.read()) == 1024
        with urllib.request.urlopen(nginx.url) as reply:
            assert b"<h1>" in reply.read()

        assert nginx.settled_count(4) == 4
        assert nginx.counts() == {"GET /json 200": 1, "POST /json 200": 1, "GET /1k 200": 1, "GET / 200": 1}
