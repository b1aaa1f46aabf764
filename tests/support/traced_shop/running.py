"""Starts the processes of the traced shop, stops one of them for a moment again and again, and ends them by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tests.support.ports import free_ports
from tests.support.traced_shop.faults import ENVIRONMENT, Faults

__all__ = ["INSTANCES", "RunningShop", "stopped_now_and_then", "traced_shop"]

_ROOT: Final = Path(__file__).parents[3]
INSTANCES: Final = {
    "catalog-1": ("catalog", "1"),
    "stock-1": ("stock", "1"),
    "stock-2": ("stock", "2"),
    "shop-1": ("shop", "1"),
}
"""Service and version of each process."""


@dataclass(frozen=True, slots=True)
class RunningShop:
    """The shop while it runs. pids: by instance."""

    url: str
    pids: Mapping[str, int]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextlib.contextmanager
def traced_shop(collector: str, faults: Faults | None = None, seed: int = 1) -> Iterator[RunningShop]:
    """Run all instances until the block is left. collector: URL of an OTLP/HTTP collector, without `/v1/traces`.

    They start side by side. Each of them also ends when this process dies, however that happens.
    """
    ports = dict(zip(INSTANCES, free_ports(len(INSTANCES)), strict=True))
    urls = {instance: f"http://127.0.0.1:{port}" for instance, port in ports.items()}
    environment = {**os.environ, ENVIRONMENT: msgspec.json.encode(faults or Faults()).decode()}
    with contextlib.ExitStack() as stack:
        processes: dict[str, subprocess.Popen[str]] = {}
        stack.callback(_end, processes)
        for instance, (service, version) in INSTANCES.items():
            options = ["--version", version, "--instance", instance, "--collector", collector, "--seed", str(seed)]
            options += ["--port", str(ports[instance])]
            options += ["--catalog", urls["catalog-1"], "--stock", urls["stock-1"], urls["stock-2"]]
            # Stock writes the new names of attributes and the others the old ones: real systems have both.
            new = {"OTEL_SEMCONV_STABILITY_OPT_IN": "http"} if service == "stock" else {}
            processes[instance] = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", f"{__package__}.service", service, *options],
                    cwd=_ROOT,
                    env={**environment, **new},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for instance, process in processes.items():
            assert process.stdout is not None
            assert process.stdout.readline().strip() == urls[instance], f"{instance} did not start"
        yield RunningShop(urls["shop-1"], {instance: process.pid for instance, process in processes.items()})


def _end(processes: Mapping[str, subprocess.Popen[str]]) -> None:
    """Ask all to end, then wait for each; a stopped one goes on first."""
    for process in processes.values():
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
    for process in processes.values():
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def stopped_now_and_then(pid: int, stop_s: float = 0.2, every_s: float = 5.0) -> Iterator[None]:
    """Stop a process with SIGSTOP for stop_s in each every_s, until the block is left. It goes on in any case."""
    is_over = threading.Event()

    def stop() -> None:
        while not is_over.wait(every_s - stop_s):
            os.kill(pid, signal.SIGSTOP)
            is_over.wait(stop_s)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop, name="stops a process")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
