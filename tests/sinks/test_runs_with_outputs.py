"""Whole runs with outputs: what is wrong is said before they start, and no output can harm one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from loadgen.sinks.live_outputs import Outputs
from loadgen.sinks.options import open_outputs, read_outputs
from loadgen.sinks.prometheus import ScrapeSink
from loadgen_controller.control.run_service import Service
from tests.cli.test_commands import loadgen as command
from tests.controller.conftest import Play, order_of
from tests.controller.test_station import House, live
from tests.support.ports import free_port, free_ports
from tests.support.run import DATA, loadgen
from tests.support.sinks import eventually, http_receiver
from tests.support.target import running_target
from tests.support.wire import until


def opened(*texts: str) -> Outputs:
    wrong: list[str] = []
    outputs = open_outputs(read_outputs(texts, lambda text, _: wrong.append(text)), lambda text, _: wrong.append(text))
    assert not wrong
    return outputs


def counts(text: str, run_id: str) -> dict[tuple[str, str], float]:
    """Of the requests of a run: by region and outcome."""
    found: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        if line.startswith("loadgen_request_duration_seconds_count") and run_id in line:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            found[labels["region"], labels["outcome"]] = float(line.rpartition(" ")[2])
    return found


def rows(summary: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {
        (row["region"], row["outcome"]): row["count"]
        for row in summary["series"]
        if row["kind"] == "request" and "*" not in (row["region"], row["outcome"])
    }


# -- agents by script -----------------------------------------------------------------------------


@pytest.fixture
async def play(tmp_path: Path) -> Any:
    made: list[Play] = []

    def make(outputs: Outputs) -> Play:
        made.append(Play(tmp_path / "runs", outputs=outputs))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def test_data_that_come_late_are_in_the_last_scrape_as_in_the_summary(play: Any) -> None:
    outputs = opened("prometheus=127.0.0.1:0")
    sink = outputs.feeds[0].sink
    assert isinstance(sink, ScrapeSink)
    on_stage = play(outputs)
    a, b = await on_stage.started()
    run_id = on_stage.conductor.run_id
    for agent in (a, b):
        for _ in range(3):
            agent.recording.interval(outcome="http 503" if agent is b else "ok")
    on_stage.clock.jump(4)
    await a.deliver()  # of b nothing, until long after its intervals were shown without it
    await until(lambda: counts(sink.answer("")[0].decode(), run_id) == {("eu", "ok"): 30})
    await b.deliver()
    await a.finish()
    await b.finish()
    result = await on_stage.result()
    last = counts(sink.answer("")[0].decode(), run_id)
    assert last == rows(result.summary) == {("eu", "ok"): 30, ("us", "http 503"): 30}
    (row,) = result.summary["outputs"]
    assert (row["kind"], row["dropped"], row["trouble"]) == ("prometheus", 0, None)
    outputs.close()


async def test_an_output_that_hangs_holds_the_end_of_a_run_for_five_seconds_and_is_told(play: Any) -> None:
    with http_receiver(hangs=threading.Event()) as receiver:
        outputs = opened(f"otlp={receiver.url}")
        on_stage = play(outputs)
        a, b = await on_stage.started()
        for agent in (a, b):
            for _ in range(3):
                agent.recording.interval()
        on_stage.clock.jump(4)
        for agent in (a, b):
            await agent.deliver()
            await agent.finish()
        result = await on_stage.result()
        assert result.summary["requests"]["finished"] == 60
        (row,) = result.summary["outputs"]
        assert (row["sent"], row["dropped"] >= 1) == (0, True)
        assert "no answer within 5 s" in row["trouble"] or "not delivered within 5 s" in row["trouble"]
        assert any("output otlp" in note for note in result.summary["notes"])
        outputs.close()


async def test_runs_of_one_controller_are_told_side_by_side_at_one_address(tmp_path: Path) -> None:
    outputs = opened("prometheus=127.0.0.1:0")
    sink = outputs.feeds[0].sink
    assert isinstance(sink, ScrapeSink)
    house = House(tmp_path)
    service = Service(house.hub, tmp_path, outputs=outputs)
    try:
        agents = await house.joined(a="eu", b="us", c="eu", d="us")
        first = await service.start(order_of(), "alice")
        second = await service.start(order_of(), "bob")
        await asyncio.gather(*(live(agent) for agent in agents))
        await service.until_over()
        text = sink.answer("")[0].decode()
        for run in (first, second):
            assert counts(text, run.run_id) == {("eu", "ok"): 30, ("us", "ok"): 30}
    finally:
        await service.close()
        await house.close()
        outputs.close()


# -- as a person uses it --------------------------------------------------------------------------


def test_all_that_is_wrong_with_outputs_is_said_with_all_else_and_nothing_starts(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        run = loadgen(
            *("run", f"{DATA}/one_get.py", "--rate", "fast", "--out", "kafka=x", "--out", "otlp=http://me:t0ps3cret@h"),
            *("--out", f"prometheus=127.0.0.1:{port}", "--out", f"ndjson={tmp_path}/none/f"),
            runs_dir=tmp_path / "runs",
        )
    assert run.exit_code == 2
    for text in (
        'unknown kind of output "kafka"',
        "user or password",
        "Address already in use",
        "does not exist",
        "--rate",
    ):
        assert text in run.err
    assert "t0ps3cret" not in run.err + run.out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--controller", "127.0.0.1:1"), "--out cannot be used with --controller"),
        (("--json", "-"), "--out ndjson=- and --json - both write to stdout"),
    ],
)
def test_outputs_that_make_no_sense_beside_other_options_are_refused(options: tuple[str, ...], message: str) -> None:
    result = command("run", f"{DATA}/one_get.py", "--out", "ndjson=-", *options)
    assert result.exit_code == 2
    assert message in result.output


def test_a_controller_checks_its_outputs_before_it_starts(tmp_path: Path) -> None:
    result = command(
        "controller", "--keys", tmp_path, "--out", "ndjson=-", "--out", "otlp=http://h,header=A:NOT_SET_HERE"
    )
    assert result.exit_code == 2
    assert "stdout is for the controller's log" in result.output
    assert "NOT_SET_HERE" in result.output


@pytest.mark.quiet
def test_a_run_whose_outputs_hang_refuse_and_fail_measures_as_one_without(tmp_path: Path) -> None:
    secret = "t0ps3cret-value"
    with (
        running_target() as target,
        http_receiver(hangs=threading.Event()) as hanging,
        http_receiver(status=500, echoes="Authorization") as failing,
    ):
        began_s = time.monotonic()
        run = loadgen(
            *("run", f"{DATA}/one_get.py", "--target", target.url, "--duration", "5s"),
            *("--out", f"influx={hanging.url}/write?db=x", "--out", f"remote-write=http://127.0.0.1:{free_port()}/w"),
            *("--out", f"otlp={failing.url},header=Authorization:SINK_AUTH", "--out", "statsd=nowhere.invalid:8125"),
            *("--out", f"ndjson={tmp_path}/good.ndjson"),
            runs_dir=tmp_path / "runs",
            env={"SINK_AUTH": f"Bearer {secret}"},
        )
        took_s = time.monotonic() - began_s
        assert target.stats()["requests"] == run.summary["requests"]["finished"] == 1000
    assert took_s < 120
    outputs = {row["kind"]: row for row in run.summary["outputs"]}
    for kind, why in (
        ("influx", "delivered within 5 s"),
        ("remote-write", "Connection refused"),
        ("otlp", "the server answers http 500: ***"),
        ("statsd", ""),
    ):
        assert outputs[kind]["sent"] == 0
        assert outputs[kind]["dropped"] >= 1
        assert why in outputs[kind]["trouble"]
        assert f"output {kind} " in run.out
    assert outputs["ndjson"] == outputs["ndjson"] | {"dropped": 0, "trouble": None}
    assert outputs["influx"]["where"].endswith("/write")
    written = [path.read_bytes() for path in run.folder.rglob("*") if path.is_file()]
    assert not [one for one in [*written, run.out.encode(), run.err.encode()] if secret.encode() in one]


def test_figures_on_stdout_are_lines_of_json_and_nothing_else(tmp_path: Path) -> None:
    with running_target() as target:
        run = loadgen(
            *("run", f"{DATA}/one_get.py", "--target", target.url, "--duration", "2s", "--out", "ndjson=-"),
            runs_dir=tmp_path,
        )
    lines = [json.loads(line) for line in run.out.splitlines()]
    finished = sum(line["count"] for line in lines if line["final"] and line["kind"] == "request")
    assert finished == run.summary["requests"]["finished"]
    assert "Run folder" in run.err


def test_the_program_stays_for_the_last_scrape_of_who_scraped_before(tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    with running_target() as target:
        options = ("--duration", "5s", "--out", f"prometheus={place}", "--quiet", "--runs-dir", str(tmp_path))
        line = [
            sys.executable,
            "-m",
            "loadgen_controller.cli",
            "run",
            f"{DATA}/one_get.py:short",
            "--target",
            target.url,
        ]
        with subprocess.Popen([*line, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            texts: list[str] = []

            def seen() -> bool:
                try:
                    with urllib.request.urlopen(f"http://{place}/metrics", timeout=2) as reply:
                        texts.append(reply.read().decode())
                except OSError:
                    return process.poll() is not None
                time.sleep(1)
                return process.poll() is not None

            eventually(seen)
    (folder,) = tmp_path.iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert counts(texts[-1], summary["run_id"]) == rows(summary)
    assert summary["outputs"][0]["sent"] >= 2


def test_a_controller_that_is_started_again_tells_where_it_told_before(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert command("keys", "init", keys).exit_code == 0
    assert command("keys", "agent", keys, "a").exit_code == 0
    place, listen, api = (f"127.0.0.1:{port}" for port in free_ports(3))
    runs = ("--runs-dir", str(tmp_path / "runs"))
    environment = {**os.environ, "SINK_AUTH": "Bearer t0ps3cret"}

    def answers(*words: str) -> None:
        line = [sys.executable, "-m", "loadgen_controller.cli", "controller", *words, *runs]
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
            try:
                eventually(lambda: _is_served(place))
                eventually((tmp_path / "runs/controller.json").exists)
            finally:
                process.send_signal(signal.SIGKILL)

    otlp = f"otlp=http://127.0.0.1:{free_port()},header=Authorization:SINK_AUTH"
    answers("--keys", str(keys), "--listen", listen, "--api", api, "--out", f"prometheus={place}", "--out", otlp)
    remembered = (tmp_path / "runs/controller.json").read_text()
    assert "SINK_AUTH" in remembered
    assert "t0ps3cret" not in remembered
    answers("resume")


def _is_served(place: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{place}/metrics", timeout=2).close()
    except OSError:
        return False
    return True
