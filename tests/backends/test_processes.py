"""Ctrl-C in real processes: in a look-up, which keeps what was read, and in the collector, which prints its counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from loadgen.backends.kept_traces import kept_ids
from tests.backends.test_bad_backends import IDS, for_id
from tests.backends.test_otlp_parts import TRACES, as_json, request_of
from tests.support.trace_backend import Asked, Said, stand_in

READ = """
import signal
import sys
from pathlib import Path
from loadgen.backends.backend import read_until_still
from loadgen.backends.fetch import Fetcher
from loadgen.backends.jaeger import JaegerBackend
from loadgen.backends.kept_traces import KeptTraces

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
url, run, *ids = sys.argv[1:]
backend = JaegerBackend(Fetcher(url))
with KeptTraces(Path(run), "staging") as kept:
    for _, answer in read_until_still(backend, ids, 0.0):
        kept.add(answer)
"""
COLLECT = """
import typer
from loadgen_controller.commands.trace_collect import collect

app = typer.Typer()
app.command()(collect)
app(["--listen", "127.0.0.1:0", "--memory", "1MiB"])
"""


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_in_a_fetch_keeps_what_was_read(tmp_path: Path) -> None:
    processes: list[subprocess.Popen[str]] = []

    def answer(asked: Asked) -> Said:
        if len(server.asked) <= 8:
            return Said(200, for_id(asked.path))
        processes[0].send_signal(signal.SIGINT)
        return Said(silent=True)

    with stand_in(answer) as server:
        processes.append(started(READ, server.url, str(tmp_path), *IDS))
        _, errors = processes[0].communicate(timeout=60)

    assert processes[0].returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert "never retrieved" not in errors
    assert kept_ids(tmp_path) == set(IDS[:8])


def test_the_collector_is_open_until_ctrl_c_and_then_prints_its_counts() -> None:
    with started(COLLECT) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.removeprefix("the collector is open at ").split()[0]
        body = json.dumps(as_json(request_of([(0, 0, 0), (0, 0, 1)]))).encode()
        send = urllib.request.Request(f"{url}/v1/traces", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(send).close()
        with urllib.request.urlopen(f"{url}/api/v3/traces/{TRACES[1].hex()}") as found:
            assert json.load(found)["result"]["resourceSpans"]
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")
    assert output == "1 request with 2 spans\n"
