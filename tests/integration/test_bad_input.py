"""What can be wrong with a target, a scenario or a place: a clear end, a clear exit code, nothing lost."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.badserver import Badness, bad_server, refusing_url
from tests.support.in_thread import in_thread
from tests.support.ports import free_port
from tests.support.run import DATA, Finished, ends_with, loadgen
from tests.support.target import running_target

FAULTY = DATA.parent / "faulty"
ONE = ("run", f"{DATA}/one_get.py:short", "--quiet", "--target")
IMPATIENT = ("run", f"{DATA}/one_get.py:impatient", "--quiet", "--target")


def outcomes_of(run: Finished) -> set[str]:
    return {
        row["outcome"]
        for row in run.summary["series"]
        if row["kind"] == "request" and row["region"] == "*" and row["outcome"] != "*"
    }


def failed_as(run: Finished, outcome: str) -> None:
    """It failed, with or without objectives; each iteration is counted, with that outcome."""
    summary = run.summary
    assert ends_with(run.exit_code, summary, 1), run.out + run.err
    assert "none of 20 requests succeeded" in summary["reasons"]
    assert outcomes_of(run) == {outcome}
    assert summary["requests"]["errors"] == summary["requests"]["finished"] == summary["iterations"]["due"] == 20


def test_a_target_that_refuses_is_a_failed_run(tmp_path: Path) -> None:
    with refusing_url() as url:
        failed_as(loadgen(*ONE, url, runs_dir=tmp_path), "refused")


@pytest.mark.parametrize(
    ("badness", "outcome"),
    [
        ("hang", "timeout"),
        ("garbage", "protocol"),
        # tests/clients/test_faults.py has these outcomes of a request; a whole run adds little.
        pytest.param("reset", "reset", marks=pytest.mark.slow),
        pytest.param("bad chunk", "protocol", marks=pytest.mark.slow),
        pytest.param("endless header", "head too large", marks=pytest.mark.slow),
    ],
)
def test_a_target_that_misbehaves_is_a_failed_run_and_says_how(badness: Badness, outcome: str, tmp_path: Path) -> None:
    with in_thread(bad_server(badness)) as url:
        run = loadgen(*(IMPATIENT if outcome == "timeout" else ONE), url, runs_dir=tmp_path)
    failed_as(run, outcome)
    if outcome == "timeout":
        row = run.row("request", request="GET /")
        assert row["censored"] == 20
        assert row["response_ms"]["p50"] == "> 1000.0"


def test_an_endless_body_ends_at_its_cap_or_its_time_and_not_in_memory(tmp_path: Path) -> None:
    with in_thread(bad_server("endless body")) as url:
        run = loadgen(*IMPATIENT, url, runs_dir=tmp_path)
    assert ends_with(run.exit_code, run.summary, 1)
    assert outcomes_of(run) <= {"body too large", "timeout"}


@contextmanager
def tls_target(certificate: trustme.LeafCert) -> Iterator[str]:
    """Answers nothing: the handshake is all that is asked of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                    connection.settimeout(60)
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def test_a_certificate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    with tls_target(trustme.CA().issue_cert("127.0.0.1")) as url:
        failed_as(loadgen(*ONE, url, runs_dir=tmp_path), "tls")


def test_a_scenario_that_blocks_the_loop_is_named_with_file_and_line(tmp_path: Path) -> None:
    with running_target("--no-latency") as target:
        run = loadgen("run", str(FAULTY / "blocks_the_loop.py"), "--target", target.url, runs_dir=tmp_path)
    assert run.exit_code == 4, run.out
    assert "blocks_the_loop.py:11 (browse) blocked the event loop" in run.out
    assert any("blocks_the_loop.py:11" in note for note in run.summary["notes"])


def test_a_run_set_up_that_raises_ends_the_run_with_file_and_line(tmp_path: Path) -> None:
    with running_target("--no-latency") as target:
        run = loadgen("run", str(FAULTY / "set_up_raises.py"), "--target", target.url, runs_dir=tmp_path)
        assert target.stats()["requests"] == 0
    assert run.exit_code == 2, run.out
    assert "set_up_raises.py:12" in run.out + run.err
    assert "KeyError" in run.out + run.err


def test_a_journey_that_always_raises_is_a_fault_of_the_scenario_and_not_of_the_target(tmp_path: Path) -> None:
    with running_target("--no-latency") as target:
        run = loadgen("run", f"{DATA}/raises.py", "--target", target.url, runs_dir=tmp_path)
    assert run.exit_code == 2, run.out
    assert "raises.py:9" in run.out
    assert "KeyError: 'sku'" in run.out
    assert run.summary["iterations"]["due"] < 1000  # stopped early


def test_a_scenario_that_exits_when_imported_starts_nothing(tmp_path: Path) -> None:
    run = loadgen("run", f"{DATA}/exits.py", runs_dir=tmp_path)
    assert run.exit_code == 2
    assert "exits.py:5" in run.err
    assert "sys.exit" in run.err
    assert not any(tmp_path.iterdir())


def test_a_run_folder_that_cannot_be_made_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with running_target("--no-latency") as target:
        run = loadgen(*ONE, target.url, runs_dir=tmp_path / "file")
        assert target.stats()["requests"] == 0
    assert run.exit_code == 2
    assert "file" in run.err
    assert "Traceback" not in run.err


def test_a_busy_port_is_said_with_a_way_out(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    for made in (("init", str(keys)), ("agent", str(keys), "one")):
        assert loadgen("keys", *made, runs_dir=tmp_path).exit_code == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = ("--listen", f"127.0.0.1:{port}", "--keys", str(keys), "--wait", "1")
        run = loadgen(*ONE, "http://127.0.0.1:1", *listen, runs_dir=tmp_path / "runs")
    assert run.exit_code == 5
    assert str(port) in run.err
    assert "Traceback" not in run.err


def test_a_fleet_of_agents_that_were_started_elsewhere_drives_the_run(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    names = ["us", "eu", "ap"]
    for made in (("init", str(keys)), ("agent", str(keys), *names)):
        assert loadgen("keys", *made, runs_dir=tmp_path).exit_code == 0
    port = free_port()
    regions = ["us-east-1", "eu-west-1", "ap-south-1"]
    agent = [sys.executable, "-m", "loadgen_agent.cli", "--controller", f"127.0.0.1:{port}"]
    agents = [
        subprocess.Popen(
            [*agent, "--keys", str(keys / "copy-to" / name), "--region", region, "--id", name],
            stderr=subprocess.DEVNULL,
        )
        for region, name in zip(regions, names, strict=True)
    ]
    try:
        with running_target("--no-latency") as target:
            listen = ("--listen", f"127.0.0.1:{port}", "--keys", str(keys), "--wait", "3")
            run = loadgen(
                "run", f"{DATA}/one_get.py", "--quiet", "--target", target.url, *listen, runs_dir=tmp_path / "runs"
            )
            served = target.stats()["requests"]
        assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
        assert run.summary["placement"] == "fleet"
        assert served == run.summary["requests"]["finished"] == 1000
        assert {a["id"]: a["requests"] for a in run.summary["agents"]} == {"us": 500, "eu": 300, "ap": 200}
    finally:
        for process in agents:
            process.terminate()
        for process in agents:
            process.wait(60)
