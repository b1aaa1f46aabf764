"""Debian's Prometheus on a free port of loopback: it scrapes what it is told, takes remote writes, and answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port

__all__ = ["RunningPrometheus", "running_prometheus"]


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
def running_prometheus(folder: Path, scrape: str = "") -> Iterator[RunningPrometheus]:
    """Skips the test where it is not installed.

    Args:
        scrape: HOST:PORT to scrape each second.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    jobs = [{"job_name": "loadgen", "static_configs": [{"targets": [scrape]}]}] if scrape else []
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
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
