"""Simulate many Locust workers in one process for their master, and print figures as JSON.

    .tools/peers/bin/python bench/locust_workers.py 127.0.0.1 5557 --workers 100 --seconds 30

It runs in Locust's virtual environment and imports no loadgen module. It sends Locust's own messages: `Message`, and
`RequestStats` filled by `log_request`. Each worker reports every `WORKER_REPORT_INTERVAL` (3 s), at its own offset,
and sends a heartbeat each second, which the master answers. No worker sends a request.

A line "running" on stdout means that the master has started all workers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import sys
import time
from typing import Any

import zmq
from locust import __version__
from locust.rpc.protocol import Message
from locust.runners import HEARTBEAT_INTERVAL, WORKER_REPORT_INTERVAL
from locust.stats import RequestStats

DRAWN = 8


def drawn(names: int, requests: int, seed: int) -> dict[str, Any]:
    """Return one worker's report of one interval, in the form of Locust's own `report_to_master` listener."""
    chance, stats = random.Random(seed), RequestStats()
    for n in range(names):
        for _ in range(round(requests * WORKER_REPORT_INTERVAL)):
            stats.log_request("GET", f"/{n}", chance.lognormvariate(16, 0.7) / 1e6, 100)
    return {"stats": stats.serialize_stats(), "stats_total": stats.total.get_stripped_report(), "errors": {}}


class Worker:
    """One simulated worker."""

    def __init__(self, workers: Workers, n: int) -> None:
        self._workers, self.id, self._n = workers, f"worker_{n}", n
        self.is_running, self.state = False, "ready"
        self._beat_s = self._report_s = 0.0
        self._socket = workers.context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, self.id.encode())
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(workers.address)
        asyncio.get_running_loop().add_reader(int(self._socket.get(zmq.FD)), self.read)
        self.say("client_ready", __version__)

    def say(self, kind: str, data: Any) -> None:
        self._socket.send(Message(kind, data, self.id).serialize())
        if int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            asyncio.get_running_loop().call_soon(self.read)

    def read(self) -> None:
        while True:
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            message = Message.unserialize(data)
            if message.type == "spawn":
                self._spawn(message.data["user_classes_count"])
            elif message.type == "heartbeat" and self._workers.counts:
                self._workers.answers_ms.append((time.monotonic() - self._beat_s) * 1e3)

    def _spawn(self, users: dict[str, int]) -> None:
        self.say("spawning", None)
        self.say("spawning_complete", {"user_classes_count": users, "user_count": sum(users.values())})
        self.state = "running"
        if not self.is_running:
            self.is_running = True
            self._report_s = time.monotonic() + random.random() * WORKER_REPORT_INTERVAL

    def tick(self, now_s: float) -> None:
        if now_s - self._beat_s >= HEARTBEAT_INTERVAL:
            self._beat_s = now_s if self._beat_s else now_s - random.random()
            self.say("heartbeat", {"state": self.state, "current_cpu_usage": 10, "current_memory_usage": 10_000_000})
        if self.is_running and now_s - self._report_s >= WORKER_REPORT_INTERVAL:
            self._report_s = now_s
            report = self._workers.reports[self._n % DRAWN]
            self.say("stats", {**report, "user_classes_count": {"Shop": 1}, "user_count": 1})
            self._workers.sent += self._workers.counts


class Workers:
    """All simulated workers."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.address = f"tcp://{options.host}:{options.port}"
        self.context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 20_000)
        self.answers_ms: list[float] = []
        self.sent, self.counts = 0, False
        self.reports: list[dict[str, Any]] = []
        self._drawn_at = 0

    async def work(self) -> dict[str, Any]:
        options = self._options
        self.all = [Worker(self, n) for n in range(options.workers)]
        while not all(worker.is_running for worker in self.all):
            await self._tick()
        sys.stdout.write("running\n")
        sys.stdout.flush()
        await self._tick_for(options.skip)
        self.counts, used_s = True, time.process_time()
        await self._tick_for(options.seconds - options.skip)
        self.counts = False
        answers = sorted(self.answers_ms) or [float("nan")]
        return {
            "reports": self.sent,
            "report_bytes": len(Message("stats", self.reports[0], "worker_1").serialize()),
            "answer_ms_p99": answers[int(len(answers) * 0.99)],
            "answer_ms_max": answers[-1],
            "workers_cpu": (time.process_time() - used_s) / (options.seconds - options.skip),
        }

    async def _tick_for(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            await self._tick()

    async def _tick(self) -> None:
        second = int(time.time())
        if not self.reports or (second % round(WORKER_REPORT_INTERVAL) == 0 and second != self._drawn_at):
            self._drawn_at = second  # with the current seconds in them
            self.reports = [drawn(self._options.names, self._options.requests, seed) for seed in range(DRAWN)]
        for n, worker in enumerate(self.all):
            worker.tick(time.monotonic())
            if n % 10 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--names", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50, help="requests of each name per second and worker")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--skip", type=float, default=10)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.stdout.write(json.dumps(asyncio.run(Workers(parser.parse_args()).work())) + "\n")
