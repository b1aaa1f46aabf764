"""Debian's Prometheus on a free port of loopback: it scrapes what it is told, takes remote writes, and answers.

And Debian's node exporter.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port

__all__ = ["RunningPrometheus", "running_node_exporter", "running_prometheus"]


@dataclass(frozen=True, slots=True)
class RunningPrometheus:
    url: str

    @property
    def write_url(self) -> str:
        return f"{self.url}/api/v1/write"

    def ask(self, query: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """An instant vector: of each series its labels (`metric`) and `value`, as of now or of `at_s`, Unix time."""
        asked = {"query": query} | ({} if at_s is None else {"time": str(at_s)})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{urllib.parse.urlencode(asked)}", timeout=60) as reply:
            answer = json.loads(reply.read())
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def value(self, query: str) -> float:
        """Of the one series of the answer."""
        (one,) = self.ask(query)
        return float(one["value"][1])


@contextlib.contextmanager
def running_prometheus(
    folder: Path, *scrape: str, more: Mapping[str, Any] | None = None
) -> Iterator[RunningPrometheus]:
    """Skips the test where it is not installed.

    Args:
        scrape: each HOST:PORT to scrape each second.
        more: further keys of its configuration, such as rules.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    jobs = [{"job_name": "loadgen", "static_configs": [{"targets": list(filter(None, scrape))}]}]
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs, **(more or {})}
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--web.enable-remote-write-receiver",
        "--log.level=warn",
    ]
    with (
        (folder / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ}) as process,
    ):
        try:
            until_s = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"{url}/-/ready", timeout=2).close()
                    break
                except OSError:
                    said = (folder / "prometheus.log").read_text()
                    assert process.poll() is None, f"prometheus did not start: {said}"
                    assert time.monotonic() < until_s, f"prometheus is not ready: {said}"
                    time.sleep(0.05)
            yield RunningPrometheus(url)
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def running_node_exporter(folder: Path) -> Iterator[str]:
    """The node exporter of this machine: its HOST:PORT. Skips the test where it is not installed."""
    program = shutil.which("prometheus-node-exporter")
    if program is None:
        pytest.skip("prometheus-node-exporter is not installed (Debian: prometheus-node-exporter)")
    place = f"127.0.0.1:{free_port()}"
    with (
        (folder / "node_exporter.log").open("wb") as log,
        subprocess.Popen(
            [program, f"--web.listen-address={place}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process,
    ):
        try:
            until_s = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"http://{place}/", timeout=2).close()
                    break
                except OSError:
                    said = (folder / "node_exporter.log").read_text()
                    assert process.poll() is None, f"the node exporter did not start: {said}"
                    assert time.monotonic() < until_s, f"the node exporter is not ready: {said}"
                    time.sleep(0.05)
            yield place
        finally:
            process.terminate()
            process.wait(60)
