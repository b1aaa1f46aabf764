"""What workers print reaches the agent's output up to a limit, and what is dropped is counted to the byte."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys

import pytest

from loadgen_agent.masked_output import Unblocked
from loadgen_agent.supervisor.output import Output
from tests.support.wire import until

FLOOD = """
import os, subprocess, sys
print("printed")
sys.stdout.flush()
os.write(1, b"written\\n")
os.write(2, b"to standard error\\n")
subprocess.run(["sh", "-c", "echo from a child"])
for _ in range(1_000):
    os.write(1, (b"x" * 99 + b"\\n") * 1_000)
"""
FIRST = b"printed\nwritten\nto standard error\nfrom a child\n"


def started(output: Output, code: str) -> subprocess.Popen[bytes]:
    pipe = output.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=pipe.write_fd, stderr=pipe.write_fd)
    pipe.read()
    return process


async def test_of_100_mb_the_first_mib_is_passed_on_and_the_rest_counted(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[bytes] = []
    output = Output(kept.append, limit_bytes=2**20)
    process = started(output, FLOOD)
    await until(lambda: process.poll() is not None)
    with caplog.at_level(logging.WARNING):
        output.close()
    text = b"".join(kept)
    assert text.startswith(FIRST)
    assert 2**20 - 100 < len(text) <= 2**20  # it ends with a whole line
    assert text.endswith(b"x\n")
    dropped = len(FIRST) + 100_000_000 - len(text)
    assert [record.getMessage() for record in caplog.records] == [
        "output limit of 1 MiB reached; the rest is dropped and counted",
        f"output limit of 1 MiB reached; {dropped} bytes dropped",
    ]


async def test_output_within_the_limit_is_passed_on_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[bytes] = []
    output = Output(kept.append, limit_bytes=len(FIRST))
    process = started(output, FLOOD.partition("for ")[0])
    await until(lambda: process.poll() is not None)
    output.close()
    assert b"".join(kept) == FIRST
    assert output.dropped == 0
    assert not caplog.records


async def test_lines_of_several_workers_do_not_mix_and_the_last_line_is_ended() -> None:
    kept: list[bytes] = []
    output = Output(kept.append)
    pipes = [output.pipe() for _ in range(2)]
    for n in range(2):
        for pipe, name in zip(pipes, "ab", strict=True):
            os.write(pipe.write_fd, f"{name}{n}".encode() if n == 0 else f" end\n{name} again".encode())
            pipe.drain()
    output.close()
    assert b"".join(kept) == b"a0 end\nb0 end\na again\nb again\n"


async def test_bytes_that_a_worker_has_dropped_itself_are_counted_beyond_the_limit_too() -> None:
    kept: list[bytes] = []
    output = Output(kept.append, limit_bytes=2_000)
    pipe = output.pipe()
    os.set_blocking(pipe.write_fd, False)
    hushed = Unblocked(pipe.write_fd)
    for n in range(3_000):
        hushed.write("x" * 999 + "\n")
        if n == 2_500:
            assert hushed.dropped > 0
            pipe.drain()
    hushed.flush()
    pipe.drain()
    hushed.flush()
    assert hushed.dropped == 0
    output.close()
    assert b"".join(kept) == (b"x" * 999 + b"\n") * 2
    assert output.dropped == 3_000_000 - 2_000


async def test_a_line_that_never_ends_is_passed_on_in_pieces() -> None:
    kept: list[bytes] = []
    output = Output(kept.append)
    pipe = output.pipe()
    os.write(pipe.write_fd, b"x" * 70_000)
    pipe.drain()
    assert kept == [b"x" * 70_000]
    output.close()
    assert kept == [b"x" * 70_000]


async def test_a_process_that_cannot_be_ended_and_writes_on_does_not_keep_the_agent() -> None:
    output = Output(lambda data: None)
    process = started(output, "import os\nwhile True: os.write(1, b'x' * 100_000)")
    await asyncio.sleep(0)
    output.close()
    await until(lambda: process.poll() is not None)  # its pipe is closed
    assert process.returncode != 0


def test_a_print_into_a_full_pipe_returns_and_the_dropped_bytes_are_counted() -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    out = Unblocked(write_fd)
    for _ in range(200):
        out.write("x" * 999 + "\n")
    assert out.dropped > 0
    text = os.read(read_fd, 2**20)
    out.write("again\n")
    text += os.read(read_fd, 2**20)
    assert text.endswith(b" in time\nagain\n")
    assert out.dropped == 0
    noted = sum(map(int, re.findall(rb"\n(\d+) bytes of output dropped: the agent did not read", text)))
    assert text.count(b"x") + text.count(b"x\n") + noted == 200_000
    os.close(read_fd)
    os.close(write_fd)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux opens a pipe a second time")
def test_a_hushed_process_does_not_wait_for_its_reader_and_its_children_do() -> None:
    code = (
        "import os, sys; from loadgen_agent.masked_output import mask_output; mask_output(lambda text: text)\n"
        "for _ in range(1_000): print('x' * 1_000)\n"  # more than a pipe holds, and nobody reads
        "os.write(2, b'done'); assert os.get_blocking(1)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.read(4) == b"done"
        process.communicate()
    assert process.returncode == 0
