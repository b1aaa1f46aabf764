"""NDJSON: one line a series and interval, whole lines only, also on a disk that was full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.sinks.ndjson import NdjsonSink
from loadgen.sinks.snapshot import SnapshotMaker
from loadgen.units import NS_PER_MS
from tests.support.deltas import request_key
from tests.support.sinks import RUN, Fleet, final_of, interval_of, snapshot


def lines(path: Path, **wanted: object) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in found if all(line[name] == value for name, value in wanted.items())]


def test_interval_counts_add_up_and_the_last_lines_have_every_series(tmp_path: Path) -> None:
    path, fleet, maker = tmp_path / "f.ndjson", Fleet(a="eu"), SnapshotMaker(RUN)
    sink = NdjsonSink(path)
    for k in range(3):
        fleet.report("a", k, {request_key("GET /0"): [2 * NS_PER_MS] * 5} if k != 1 else {request_key("GET /1"): [1]})
        sink.deliver(interval_of(fleet, k, maker))
    sink.deliver(final_of(fleet.merge, maker))
    sink.close()
    told = lines(path, kind="request")
    assert [(one["interval"], one["request"], one["count"], one["interval_count"]) for one in told] == [
        (0, "GET /0", 5, 5),
        (1, "GET /1", 1, 1),
        (2, "GET /0", 10, 5),
        (None, "GET /0", 10, 0),
        (None, "GET /1", 1, 0),
    ]
    assert told[0]["interval_ms"]["p50"] == 2.0
    assert told[0]["time"] == "2025-11-25T12:00:01.000Z"
    assert [one["requests_finished"] for one in lines(path, kind="region")] == [5, 6, 11, 11]


def test_a_time_that_is_only_a_bound_is_written_as_one(tmp_path: Path) -> None:
    key = request_key(outcome="timeout", censored=True)
    NdjsonSink(tmp_path / "f").deliver(snapshot(1234.5, key=key))
    (one,) = lines(tmp_path / "f", kind="request")
    assert one["interval_ms"]["p99"] == "> 1234.5"
    assert one["censored"] == 1


def test_a_file_that_is_there_is_added_to(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('{"kind":"mine"}\n')
    NdjsonSink(tmp_path / "f").deliver(snapshot(1.0))
    assert [one["kind"] for one in lines(tmp_path / "f")] == ["mine", "request", "region"]


def test_a_line_that_a_full_disk_broke_is_made_whole_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    write, room = os.write, [300]

    def narrow(file: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        n = write(file, data[: room[0]])
        room[0] -= n
        return n

    monkeypatch.setattr("loadgen.sinks.ndjson.os.write", narrow)
    sink = NdjsonSink(tmp_path / "f")
    one = snapshot(1.0)
    with pytest.raises(OSError, match="No space"):
        sink.deliver(one)
    with pytest.raises(OSError, match="No space"):
        sink.deliver(one)
    room[0] = 10**9
    sink.deliver(one)
    assert [line["kind"] for line in lines(tmp_path / "f")] == ["request", "request", "region"]
