"""Read many streams with epoll and recvmsg and do nothing with the bytes; print what a read cost, as JSON.

    python -m bench.llm_bare http://127.0.0.1:8080 --streams 500

It is the least that a client in Python can pay for a read with the kernel's time: no HTTP, no events, no clock, no
coroutines. Each client's further time is a cost of that client.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import sys
import time
from urllib.parse import urlsplit

from loadgen.clients.net.kernel_clock import STAMP_BYTES, KernelClock

__all__: list[str] = []

EVENTS = 300
_READ_BYTES = 64 * 1024


def _request(host: str) -> bytes:
    asked = {"model": "loadgen-llm", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    body = json.dumps(asked | {"max_tokens": EVENTS, "min_tokens": EVENTS, "ignore_eos": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


def drive(url: str, streams: int) -> dict[str, float]:
    """Open the streams over a second, and return the CPU time of a read in each of the three seconds after."""
    place = urlsplit(url)
    epoll = select.epoll()
    socks: dict[int, socket.socket] = {}

    def read_until(until_s: float) -> int:
        reads = 0
        while (left_s := until_s - time.perf_counter()) > 0:
            for number, _ in epoll.poll(left_s, 1024):
                socks[number].recvmsg(_READ_BYTES, STAMP_BYTES)
                reads += 1
        return reads

    began_s = time.perf_counter()
    for n in range(1, streams + 1):
        sock = socket.create_connection((place.hostname, place.port))
        KernelClock.wants_stamps(sock)
        sock.send(_request(place.netloc))
        sock.setblocking(False)
        socks[sock.fileno()] = sock
        epoll.register(sock.fileno(), select.EPOLLIN)
        read_until(began_s + n / streams)
    read_until(time.perf_counter() + 0.5)
    costs = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF)
        reads = read_until(time.perf_counter() + 1)
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        costs.append(cpu_s / reads * 1e6)
    return {"event_us": min(costs), "reads": reads}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--streams", type=int, default=100)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(drive(options.url, options.streams)) + "\n")


if __name__ == "__main__":
    main()
