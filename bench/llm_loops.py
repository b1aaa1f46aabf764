"""Read many streams with aiohttp, as the benchmark clients of vLLM and SGLang do, and print what it cost, as JSON.

    python llm_loops.py http://127.0.0.1:8080 vllm --streams 100 --events 250
    python llm_loops.py memory vllm --streams 100 --events 250

With `memory` there is no server and no socket: each step hands one event to each stream. The figure is then the cost of
aiohttp and of the loop alone.

Both loops are rewritten from `vllm bench serve` (serve.py 009e6d4) and `sglang.bench_serving` (0.5.23): the same
calls for each chunk, without their progress bars, tokenizers and reports. They run on uvloop, which makes them faster.
This file needs aiohttp and uvloop and nothing of loadgen, because it runs in the peers' own environment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from typing import Any

import aiohttp
import uvloop


class Output:
    def __init__(self) -> None:
        self.text = ""
        self.ttft = 0.0
        self.itl: list[float] = []
        self.output_tokens = 0


def payload(events: int) -> dict[str, Any]:
    return {
        "model": "loadgen-llm",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": events,
        "ignore_eos": True,
        "min_tokens": events,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


class Messages:
    """Cuts the text of a stream into messages, as vLLM's handler of streamed responses does."""

    def __init__(self) -> None:
        self.buffer = ""

    def add_chunk(self, data: bytes) -> list[str]:
        self.buffer += data.decode("utf-8")
        found = []
        while "\n\n" in self.buffer:
            message, self.buffer = self.buffer.split("\n\n", 1)
            if message := message.strip():
                found.append(message)
        if self.buffer.startswith("data: "):
            content = self.buffer.removeprefix("data: ").strip()
            if content == "[DONE]":
                found.append(self.buffer.strip())
                self.buffer = ""
            elif content:
                try:
                    json.loads(content)
                    found.append(self.buffer.strip())
                    self.buffer = ""
                except json.JSONDecodeError:
                    pass  # the rest of the message comes with the next chunk
        return found


async def vllm(session: aiohttp.ClientSession, url: str, events: int) -> Output:
    output = Output()
    began = latest = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=payload(events)) as response:
        response.raise_for_status()
        messages = Messages()
        async for chunk in response.content.iter_any():
            chunk = chunk.strip()
            if not chunk:
                continue
            for message in messages.add_chunk(chunk):
                if message.startswith(":"):
                    continue
                text = message.removeprefix("data: ")
                if text != "[DONE]":
                    now = time.perf_counter()
                    data = json.loads(text)
                    if choices := data.get("choices"):
                        content = choices[0]["delta"].get("content")
                        if output.ttft == 0.0:
                            output.ttft = now - began
                        else:
                            output.itl.append(now - latest)
                        output.text += content or ""
                    elif usage := data.get("usage"):
                        output.output_tokens = usage.get("completion_tokens")
                    latest = now
    return output


async def sglang(session: aiohttp.ClientSession, url: str, events: int) -> Output:
    output = Output()
    began = latest = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=payload(events)) as response:
        response.raise_for_status()
        async for line in response.content:
            line = line.strip()
            if not line:
                continue
            text = line.decode("utf-8").removeprefix("data: ")
            if text == "[DONE]":
                continue
            data = json.loads(text)
            delta = data["choices"][0]["delta"] if data["choices"] else {}
            if delta.get("content") or delta.get("reasoning_content"):
                now = time.perf_counter()
                if output.ttft == 0.0:
                    output.ttft = now - began
                else:
                    output.itl.append(now - latest)
                latest = now
                output.text += delta.get("content") or ""
            output.output_tokens = (data.get("usage") or {}).get("completion_tokens", output.output_tokens)
    return output


class _Nowhere(asyncio.Transport):
    """A connection that sends nothing."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self._protocol = protocol

    def write(self, data: Any) -> None:
        pass

    def writelines(self, pieces: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            asyncio.get_running_loop().call_soon(protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class _Memory(aiohttp.TCPConnector):
    """Opens connections whose answers `feed` brings."""

    def __init__(self) -> None:
        super().__init__(limit=0)
        self.opened: list[Any] = []

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        connection = self._factory()
        connection.connection_made(_Nowhere(connection))
        self.opened.append(connection)
        return connection

    def feed(self, data: bytes) -> None:
        for one in self.opened:
            one.data_received(data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"chatcmpl-00000000","object":"chat.completion.chunk","created":1764358496,"model":"loadgen-llm",'
    b'"choices":[{"index":0,"delta":{"content":" the"},"logprobs":null,"finish_reason":null}]}\n\n'
)


def chunked(event: bytes) -> bytes:
    """Return an event as one chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(event), event)


async def in_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Feed one event to each stream, let the tasks run, and so on; return the CPU time of an event."""
    loop = {"vllm": vllm, "sglang": sglang}[options.loop]
    connector = _Memory()
    async with aiohttp.ClientSession(connector=connector) as session:
        tasks = [
            asyncio.create_task(loop(session, "http://nowhere:80", options.events)) for _ in range(options.streams)
        ]
        while len(connector.opened) < options.streams:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        connector.feed(HEAD)
        await asyncio.sleep(0.1)
        event = chunked(EVENT)
        began = time.process_time()
        for _ in range(options.events):
            connector.feed(event)
            for _ in range(3):
                await asyncio.sleep(0)
        used_s = time.process_time() - began
        connector.feed(chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        outputs = await asyncio.gather(*tasks)
    assert all(len(output.itl) == options.events - 1 for output in outputs), [len(output.itl) for output in outputs]
    return {"event_us": used_s / options.events / options.streams * 1e6, "version": aiohttp.__version__}


async def drive(options: argparse.Namespace) -> dict[str, Any]:
    loop = {"vllm": vllm, "sglang": sglang}[options.loop]
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=6 * 60 * 60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=10 * 1024**2) as session:

        async def ask(at_s: float) -> Output:
            await asyncio.sleep(at_s)
            return await loop(session, options.url, options.events)

        spread_s = options.spread / options.streams
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        outputs = await asyncio.gather(*(ask(n * spread_s) for n in range(options.streams)))
        took_s = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "took_s": took_s,
        "streams": len(outputs),
        "events": sum(output.output_tokens for output in outputs),
        "open_kib": after.ru_maxrss - before.ru_maxrss,
        "version": aiohttp.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("loop", choices=["vllm", "sglang"])
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--events", type=int, default=250)
    parser.add_argument("--spread", type=float, default=1.0)
    options = parser.parse_args()
    figures = uvloop.run(in_memory(options) if options.url == "memory" else drive(options))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
