"""The probes of a run: gaps with one notice, a page that hangs, T0, restarts, and a loop that never waits."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.allowlist import AllowList
from loadgen.errors import StorageError
from loadgen.probes.journal import Begin, Gap, Journal, Sample, Zero, read_journal
from loadgen.probes.recorded import Recorded
from loadgen.probes.running.run_probes import METRICS, RunProbes
from loadgen.probes.settings import ProbeSpec
from tests.support.metrics_server import metrics_server, vllm_page


def spec_of(url: str, name: str = "vllm", **more: Any) -> ProbeSpec:
    return ProbeSpec(name=name, url=url, preset="vllm", every_ns=200_000_000, **more)


class Run:
    """Probes in a folder, with the notices that they showed."""

    def __init__(self, folder: Path, *specs: ProbeSpec, secrets: dict[str, str] | None = None, **more: Any) -> None:
        self.folder, self.notices = folder, list[str]()
        given = dict(secrets or {})
        self.probes = RunProbes(
            specs, folder, clock=time.perf_counter_ns, notice=self.notices.append, secret_of=given.get, **more
        )

    def records(self, kind: type) -> list[Any]:
        return [record for record in read_journal(self.folder) if isinstance(record, kind)]

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not is_so():
                await asyncio.sleep(0.02)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a read take longer than on an idle machine: with a period of 200 ms its limit would be 160 ms."""
    monkeypatch.setattr("loadgen.probes.running.one_probe.time_limit_s", lambda _every_ns: 10.0)


@pytest.mark.usefixtures("patient")
async def test_samples_are_stored_and_figures_are_those_of_the_load(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with metrics_server(lambda: vllm_page(int((time.monotonic() - began_s) * 100))) as server:
        run = Run(tmp_path, spec_of(server.url))
        run.probes.begin()
        await run.until(lambda: len(run.records(Sample)) >= 2)
        run.probes.start_at(t0_ns := time.perf_counter_ns())
        await run.until(lambda: len(run.records(Sample)) >= 6)
        (figures,) = await run.probes.end()
    run.probes.cancel()

    rows = {row["key"]: row for row in figures["rows"]}
    assert rows["prefix_hits"]["mean"] == 40
    assert rows["running"]["most"] == 3
    assert rows["ttft"]["between"]["p95"] == [0.25, 0.5]
    assert run.records(Zero) == [Zero(t0_ns)]
    assert figures["gaps"] == 0
    assert Recorded(read_journal(tmp_path)).figures() == [figures]
    lanes = {lane["name"]: lane for lane in json.loads((tmp_path / METRICS).read_text())["metrics"]}
    assert lanes["KV cache use"]["values"][0] == 25
    assert lanes["requests running"]["at_s"][0] < 0 < lanes["requests running"]["at_s"][-1]
    assert (tmp_path / METRICS).stat().st_mode & 0o777 == 0o600
    assert [text for text in run.notices if "its page never had" in text] == run.notices


@pytest.mark.usefixtures("patient")
async def test_gaps_have_their_reason_and_are_told_once(tmp_path: Path) -> None:
    with metrics_server() as server:
        run = Run(tmp_path, spec_of(server.url))
        run.probes.begin(time.perf_counter_ns())
        await run.until(lambda: bool(run.records(Sample)))
        server.say(lambda: "<html>busy</html>")
        await run.until(lambda: len(run.records(Gap)) >= 3)
        server.say(lambda: "up 1")
        await run.until(
            lambda: {one.why for one in run.records(Gap)} >= {"the page is not used: its last line is not complete"}
        )
        server.say(lambda: "other 1\n")
        await run.until(lambda: run.records(Gap)[-1].why == "none of the probe's metrics is on the page")
        server.say(lambda: vllm_page(10))
        before = len(run.records(Sample))
        await run.until(lambda: len(run.records(Sample)) > before)
        (figures,) = await run.probes.end()

    gaps = [text for text in run.notices if "has a gap" in text]
    why = "the page is not used: it is HTML or XML, not metrics"
    assert gaps[0] == f"probe vllm has a gap: {why}; the run goes on without its figures"
    assert len(gaps) == len(set(gaps)) == 3
    assert run.notices.count("probe vllm works again") == 1
    assert figures["gaps"] == len(run.records(Gap))


async def test_a_host_that_hangs_delays_neither_the_loop_nor_other_probes_nor_the_end(tmp_path: Path) -> None:
    with metrics_server() as good, metrics_server() as bad:
        bad.hang()
        run = Run(tmp_path, spec_of(bad.url, "bad"), spec_of(good.url, "good"))
        run.probes.begin(time.perf_counter_ns())
        longest_s = 0.0
        while len(run.records(Sample)) < 5:
            at_s = time.perf_counter()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.perf_counter() - at_s)
            await asyncio.sleep(0.02)
        await run.until(lambda: len(run.records(Gap)) >= 2)
        began_s = time.perf_counter()
        await run.probes.end()
        took_s = time.perf_counter() - began_s

    assert {one.why for one in run.records(Gap)} == {"no complete answer within 0.16 s"}
    assert {one.probe for one in run.records(Sample)} == {1}
    assert longest_s < 2  # a tick of the run is 50 ms; the machine of a test may be busy
    assert took_s < 10


async def test_a_restarted_server_is_a_reset_and_no_negative_rate(tmp_path: Path) -> None:
    with metrics_server(lambda: vllm_page(1_000)) as server:
        run = Run(tmp_path, spec_of(server.url))
        run.probes.begin(time.perf_counter_ns())
        await run.until(lambda: len(run.records(Sample)) >= 2)
        server.say(lambda: vllm_page(3))
        before = len(run.records(Sample))
        await run.until(lambda: len(run.records(Sample)) >= before + 3)
        (figures,) = await run.probes.end()

    assert figures["resets"] == 1
    lanes = json.loads((tmp_path / METRICS).read_text())["metrics"]
    assert all(value is None or value >= 0 for lane in lanes for value in lane["values"])


async def test_a_missing_secret_is_told_and_no_request_is_sent(tmp_path: Path) -> None:
    with metrics_server() as server:
        run = Run(tmp_path, spec_of(server.url, auth_secret="login"))
        run.probes.begin()
        await run.until(lambda: bool(run.notices))
        await run.probes.end()

    assert run.notices == [
        'probe vllm does not run: secret "login" is not set at the controller; set LOADGEN_SECRET_LOGIN there before'
        " the next run"
    ]
    assert not server.requests


async def test_the_value_of_a_secret_is_in_no_file(tmp_path: Path) -> None:
    with metrics_server() as server:
        server.answer = lambda connection: connection.sendall(b"HTTP/1.1 999 Bearer canary\r\n\r\n")
        run = Run(tmp_path, spec_of(server.url, auth_secret="login"), secrets={"login": "Bearer canary"})
        run.probes.begin(time.perf_counter_ns())
        await run.until(lambda: bool(run.records(Gap)))
        server.say(lambda: vllm_page(3))
        await run.until(lambda: bool(run.records(Sample)))
        await run.probes.end()

    assert b"canary" in server.requests[0]
    assert all(b"canary" not in path.read_bytes() for path in tmp_path.iterdir())
    assert "canary" not in str(run.notices)


async def test_a_run_with_an_allow_list_reads_only_listed_hosts(tmp_path: Path) -> None:
    with metrics_server() as server:
        run = Run(tmp_path, spec_of(server.url), allow=AllowList())
        run.probes.begin()
        await run.until(lambda: bool(run.records(Gap)))
        await run.probes.end()

    assert "no entry of the allow-list names it" in run.records(Gap)[0].why
    assert not server.connections


async def test_a_restarted_controller_continues_the_journal(tmp_path: Path) -> None:
    t0_ns = time.perf_counter_ns()
    with metrics_server() as server:
        for _ in range(2):
            run = Run(tmp_path, spec_of(server.url))
            run.probes.begin(t0_ns)
            count = len(run.records(Sample))
            await run.until(lambda: len(run.records(Sample)) >= count + 2)  # noqa: B023
            (figures,) = await run.probes.end()

    assert len(run.records(Begin)) == 2
    assert figures["samples"] == len(run.records(Sample)) >= 4


async def test_a_journal_that_cannot_be_written_is_told_and_the_run_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with metrics_server() as server:
        run = Run(tmp_path, spec_of(server.url))
        run.probes.begin(time.perf_counter_ns())
        await run.until(lambda: bool(run.records(Sample)))
        monkeypatch.setattr(os, "pwrite", full)
        await run.until(lambda: any("samples of probes are lost" in text for text in run.notices))
        (figures,) = await run.probes.end()

    assert figures["samples"]
    assert list(read_journal(tmp_path))  # up to the last complete record


async def test_a_folder_with_a_foreign_file_keeps_the_run_from_no_start(tmp_path: Path) -> None:
    (tmp_path / "probes.log").write_bytes(b"not a journal")
    run = Run(tmp_path, spec_of("http://127.0.0.1:1/metrics"))

    run.probes.begin()

    assert await run.probes.end() == []
    assert run.notices[0].startswith("probes do not run: cannot read")


async def test_without_probes_nothing_is_started_or_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.probes.begin()
    run.probes.start_at(1)

    assert await run.probes.end() == []
    run.probes.cancel()
    assert not list(tmp_path.iterdir())


async def test_cancelled_probes_end_without_a_wait(tmp_path: Path) -> None:
    with metrics_server() as server:
        server.hang()
        run = Run(tmp_path, spec_of(server.url))
        run.probes.begin()
        await run.until(lambda: bool(server.requests))
        run.probes.cancel()
        began_s = time.perf_counter()
        run.probes.cancel()

        assert time.perf_counter() - began_s < 2


def test_each_record_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    journal = Journal(tmp_path)
    journal.append(Zero(1))
    whole = journal.path.stat().st_size
    real = os.pwrite
    calls: list[int] = []

    def torn(fd: int, data: memoryview, at: int) -> int:
        calls.append(at)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return int(real(fd, data[:5], at))

    monkeypatch.setattr(os, "pwrite", torn)
    with pytest.raises(StorageError, match="No space left"):
        journal.append(Zero(2))
    monkeypatch.undo()

    assert journal.path.stat().st_size == whole
    journal.append(Zero(3))
    assert list(read_journal(tmp_path)) == [Zero(1), Zero(3)]
