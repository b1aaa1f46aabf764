"""A worker by script, as a process of its own: `Prepare.plan` says how it behaves.

steady   a delta each 20 ms until Stop, then Fin
six      six deltas, then Fin
refuses  Refused instead of Ready
dies     exits with code 3 after three deltas
dies at first  as dies, but the process that takes its place is steady
blocks   three deltas, then its loop hangs and hears nothing
forks    as steady; a process that it has forked holds its stream for 5 s
garbles  sends what is no message after two deltas
tells    as steady; its set-up's value is its environment
waits    as steady; 5 of its users wait at "sale opens", as 10 do; once they are let go it says in how many s instead
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from dataclasses import replace

from loadgen.errors import Fault
from loadgen.measure.deltas.delta import Counters, Delta, Health, SeriesStats
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.wire.messages import (
    Adjust,
    Bye,
    Fin,
    Heartbeat,
    Prepare,
    Ready,
    Reassign,
    Refused,
    ReleaseAt,
    SetUp,
    SetUpDone,
    StartAt,
    Stop,
    TearDown,
    TornDown,
    Waiting,
    WaitingAt,
)
from loadgen.wire.worker_pipe import FrameStream

PERIOD_S = 0.02
KEY = SeriesKey("request", "j", None, "GET /", "ok", "response")


class Worker:
    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self.prepare: Prepare | None = None
        self.stopped = asyncio.Event()
        self.totals = Counters()
        self.recorded = 0
        self.seq = 0
        self.from_ns = 0
        self.heard: list[int] = []
        """Numbers of the changes of the load that it was told."""

    @property
    def life(self) -> int:
        return self.prepare.life if self.prepare is not None else 0

    def waits(self, users: int, gone: int) -> None:
        self.stream.write(Waiting("r1", points=(WaitingAt(0, "sale opens", users, 5, gone),)))

    def measure(self) -> None:
        counters = Counters(requests_started=self.seq + 1, requests_finished=self.seq + 1)
        new = () if self.seq else (KEY,)
        health = Health(notes=(f"life {self.life} heard {self.heard}",) if self.heard else ())
        n, at = self.seq + 1, self.from_ns + self.seq
        index, count = bytes(4), n.to_bytes(4, "little")  # all in slot 0
        self.stream.write(
            Delta("", 0, self.seq, at, at + 1, new, index, count, (SeriesStats(0, n, n, 1, 1),), counters, health)
        )
        self.totals += counters
        self.recorded += self.seq + 1
        self.seq += 1

    async def run(self, start: StartAt) -> None:
        assert self.prepare is not None
        late_ns = time.perf_counter_ns() - start.t0_ns
        self.from_ns = start.from_ns
        plan = self.prepare.plan
        if plan == "forks" and os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        if plan == "waits":
            self.waits(10, 0)
        if plan == "dies at first":
            plan = "steady" if self.prepare.life else "dies"
        while not self.stopped.is_set() and not (plan == "six" and self.seq == 6):
            self.measure()
            await asyncio.sleep(PERIOD_S)
            if plan == "dies" and self.seq == 3:
                await self.stream.drain()
                os._exit(3)
            if plan == "blocks" and self.seq == 3:
                time.sleep(60)
            if plan == "garbles" and self.seq == 2:
                self.stream._writer.write(b"\3\0\0\0abc")
        self.stream.write(Fin(start.run_id, 0, self.seq - 1, self.totals, self.recorded, late_ns))

    async def serve(self) -> None:
        beating = asyncio.create_task(self.beat())
        running = None
        while (message := await self.stream.read()) is not None:
            match message:
                case Prepare():
                    self.prepare = replace(message)
                    if message.plan == "refuses":
                        fault = Fault("s.py", 3, "no such column")
                        self.stream.write(Refused(message.run_id, "the scenario has faults", (fault,)))
                    else:
                        self.stream.write(Ready(message.run_id, message.generation, message.bundle_sha256))
                case SetUp(run_id):
                    self.stream.write(SetUpDone(run_id, json.dumps(dict(os.environ)).encode()))
                case StartAt():
                    running = asyncio.create_task(self.run(message))
                case ReleaseAt(at_ns=at_ns):
                    self.waits(round((at_ns - time.perf_counter_ns()) / 1e9), message.upto)
                case Adjust(number=number) | Reassign(number=number):
                    self.heard.append(number)
                case Stop():
                    self.stopped.set()
                case TearDown(run_id):
                    self.stream.write(TornDown(run_id))
                case Bye():
                    break
        beating.cancel()
        del running

    async def beat(self) -> None:
        while True:
            is_deaf = self.prepare is not None and self.prepare.plan == "deaf"
            self.stream.write(Heartbeat("", "running", adjusted=0 if is_deaf else max(self.heard, default=0)))
            await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--worker")
    parser.add_argument("--marks")
    parser.add_argument("--lease")
    args = parser.parse_args()

    async def serve() -> None:
        await Worker(await FrameStream.inherit(args.fd)).serve()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
