"""Measure the cost of a run's timeline: for each second during the run, and when it is read from the run folder."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from bench.deltas import drawn_seconds
from bench.report import Section, held, spread
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report.charts.timeline_data import History
from loadgen.report.from_run_folder import document_of
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.run_json_document import Facts, changes, document, encode
from loadgen.report.run_page_table import Table
from loadgen.units import NS_PER_S
from loadgen.wire import codec

HOW = """\
3 agents in three regions, log-normal times around 9 ms, response and service time of each name, 50 requests of each \
name, agent and second; a second is one of {drawn} that were drawn. *live*: {names} names for {seconds} s, each \
second what `loadgen run --ui` does for a page that is open: look, work on the table, changes as JSON; CPU time of \
this process. *longer*: the dearest second, in which slots have become longer and all are drawn anew. *held*: the \
sums of all slots and rows at the end. *folder*: the document of a run of {told_names} names and {seconds} s from its \
log, and its size under zlib 9."""
_AGENTS = ("eu-west-1", "us-east-1", "ap-south-1")
_DRAWN = 60


def measure(*, seconds: int = 3_600, names: int = 200, told_names: int = 20) -> Section:
    cpu_ms, held_bytes, first_bytes = _live(seconds, names)
    took_s, raw_bytes, packed_bytes = _folder(seconds, told_names)
    least, median = spread(cpu_ms, 1)
    mean = sum(cpu_ms) / len(cpu_ms)
    rows = [
        [
            "live, ms of a core a second: least / median / mean / longer",
            f"{least} / {median} / {mean:.1f} / {max(cpu_ms):.0f}",
        ],
        ["held, MiB", f"{held_bytes / 2**20:.1f}"],
        ["document at the end, kB", f"{first_bytes / 1e3:.0f}"],
        ["folder, s", f"{took_s:.1f}"],
        ["its document, kB: raw / zlib 9", f"{raw_bytes / 1e3:.0f} / {packed_bytes / 1e3:.0f}"],
    ]
    return Section(
        "A run over time",
        HOW.format(drawn=_DRAWN, names=names, told_names=told_names, seconds=seconds),
        ["what", "figure"],
        rows,
        f"Budgets: 5 % of a core while a page is open: {mean / 10:.1f} %, {held(mean <= 50)}. 64 MiB:"
        f" {held(held_bytes <= 64 << 20)}. Folder within 10 s: {held(took_s <= 10)}; below 700 kB:"
        f" {held(packed_bytes < 700_000)}.",
    )


def _seconds(seconds: int, names: int) -> Iterator[list[Delta]]:
    """Return the deltas of all agents, by second."""
    drawn = [
        drawn_seconds(names=names, requests=50, agents=len(_AGENTS), count=_DRAWN, seed=n)
        for n, _ in enumerate(_AGENTS)
    ]
    for k in range(seconds):
        at = k if k < _DRAWN else 1 + (k - 1) % (_DRAWN - 1)  # the first one declares the series
        yield [
            replace(
                some[at], agent=agent, epoch=1, seq=k, start_ns=k * NS_PER_S, end_ns=(k + 1) * NS_PER_S, exemplars=()
            )
            for agent, some in zip(_AGENTS, drawn, strict=True)
        ]


def _live(seconds: int, names: int) -> tuple[list[float], int, int]:
    """Return (ms for each second, bytes in memory, bytes of the last document)."""
    merge, history = Merge(), History()
    table, facts = Table(history), Facts(run={}, done=dict.fromkeys(_AGENTS, False))
    costs = []
    for deltas in _seconds(seconds, names):
        for delta in deltas:
            merge.accept(delta.agent, delta)
        began, seq = process_time(), history.seq
        history.look(merge)
        table.look(merge)
        for event, data in changes(history, table, facts, seq):
            encode(data if event != "again" else document(history, table, facts))
        costs.append((process_time() - began) * 1e3)
    return costs, history.size_bytes, len(encode(document(history, table, facts)))


def _folder(seconds: int, names: int) -> tuple[float, int, int]:
    """Return (seconds, bytes, compressed bytes)."""
    with TemporaryDirectory() as path:
        folder = RunDir.create(Path(path), "20261125-000000-shop-0000")
        agents = [{"id": agent, "region": agent} for agent in _AGENTS]
        folder.write_manifest({"format": 1, "run_id": folder.run_id, "interval_ns": NS_PER_S, "agents": agents})
        for deltas in _seconds(seconds, names):
            for delta in deltas:
                folder.append(codec.encode(delta))
            folder.sync()
        folder.close()
        began = perf_counter()
        data = encode(document_of(open_run(folder.path)))
        took_s = perf_counter() - began
    return took_s, len(data), len(zlib.compress(data, 9))
