"""Kept streams: the golden stream has the figures of all conventions after the wire and the file."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadgen import secret_files
from loadgen.errors import LimitExceeded, StorageError, WireError
from loadgen.measure.conventions import CONVENTIONS, Convention, figures
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.deltas.kept_stream import KeptStream, check_streams, fits_in_delta
from loadgen.measure.deltas.limits import EVENTS_OF_KEPT_STREAM, KEPT_EVENTS_IN_DELTA, KEPT_STREAMS_IN_DELTA
from loadgen.measure.deltas.validate import check_delta
from loadgen.measure.results.kept_stream_figures import kept_figures, kept_values
from loadgen.measure.run_folder.kept_stream_log import NAME, StreamLog, read_streams
from loadgen.wire.codec import decode, encode
from tests.support.kept_streams import kept, kept_of
from tests.support.llm_streams import golden

DELTA = Delta("a", 1, 0, 0, 1_000_000_000, run_id="run")


def over_the_wire(*streams: KeptStream, **more: Any) -> Delta:
    found = decode(encode(replace(DELTA, streams=streams, **more)), from_agent=True)
    assert isinstance(found, Delta)
    check_delta(found, 0)
    return found


def test_the_golden_stream_has_the_figures_of_every_tool_after_the_wire_and_the_file(tmp_path: Path) -> None:
    events, _ = golden()
    stream = kept_of(events, output_tokens=9)
    log = StreamLog(tmp_path, 1.0, pytest.fail)
    log.write("a", "eu", over_the_wire(stream))
    log.close()

    found = read_streams(tmp_path)

    assert found is not None
    (one,) = found.streams
    assert (one.agent, one.region, found.share) == ("a", "eu", 1.0)
    for convention in CONVENTIONS:
        assert one.stream.figures(convention) == figures(events, convention)


def test_the_table_of_the_specification_comes_from_a_kept_stream() -> None:
    stream = over_the_wire(kept_of(golden()[0])).streams[0]

    found = {name: kept_values([stream], name) for name in CONVENTIONS}

    def row(convention: Convention, *names: str) -> list[float]:
        return [found[convention][name][0] for name in names]

    assert row("vllm", "ttft", "tpot", "e2e") == [100, 40.625, 425]
    assert found["vllm"]["itl"] == [100, 100, 40, 0, 80, 5]
    assert row("sglang", "ttft", "tpot", "e2e") == [200, 28.875, 431]
    assert row("aiperf", "ttft", "ttfo", "itl", "e2e") == [200, 300, 27.5, 420]
    assert row("guidellm", "ttft", "ttfot", "itl", "tpot", "e2e") == pytest.approx(
        [200, 300, 27.5, 46.667, 431], abs=1e-3
    )
    assert row("inference-perf", "ttft", "tpot", "tpot_server", "e2e") == [300, 20, 15, 431]
    assert row("mlperf", "ttft", "tpot", "e2e") == [200, 28.875, 431]
    assert row("ours", "ttfb", "ttft", "ttfo", "e2e", "closed") == [100, 200, 300, 420, 431]
    assert sum(found["ours"]["itl"]) == 220
    assert row("ours", "tpot") == pytest.approx([31.43], abs=1e-2)


def test_figures_say_how_many_streams_they_come_from_and_leave_failed_ones_out() -> None:
    streams = [kept(n, 100 + n) for n in range(10)] + [kept(10, 900, outcome="stream truncated")]

    found = kept_figures(streams, "ours", of=1_000, share=0.01, left_out=3)

    ttft = next(one for one in found.figures if one.name == "ttft")
    assert (found.streams, found.of, found.left_out) == (10, 1_000, 3)
    assert (ttft.count, ttft.mean, ttft.p50, ttft.max) == (10, 104.5, 104.5, 109)
    assert ttft.p90 == pytest.approx(108.1)


def test_an_answer_of_one_token_is_left_out_of_the_tpot_of_vllm() -> None:
    assert "tpot" not in kept_values([kept(tokens=1)], "vllm")


def test_parts_of_one_event_stay_together_on_the_way() -> None:
    events = [(100, "role", -1), (200, "content", -1), (240, "content", -1), (240, "finish", -1), (250, "usage", 2)]
    ms = [(t * 1_000_000, kind, tokens) for t, kind, tokens in events]
    stream = kept_of(ms, joined=(2, 2))  # type: ignore[arg-type]

    (found,) = over_the_wire(stream).streams

    assert found.figures("vllm")["itl_ms"] == [100, 40]
    assert kept_of(ms).figures("vllm")["itl_ms"] == [100, 40, 0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"why": "wish"},
        {"clock": "sundial"},
        {"kinds": "22"},
        {"kinds": "2x2"},
        {"kinds": "2²2"},
        {"gaps_ns": (1, 2)},
        {"gaps_ns": (1, -2, 3)},
        {"gaps_ns": (1 << 62, 1 << 62, 1)},
        {"tokens": (1, 1)},
        {"tokens": (1, -2, 1)},
        {"tokens": (1, 1, 1 << 41)},
        {"joined": (0,)},
        {"joined": (0, 1)},
        {"joined": (2, 2)},
        {"joined": (0, 2, 1, 2)},
        {"joined": (0, 3, 0, 3)},
        {"at_ns": 1 << 63},
        {"end_ns": -1},
        {"wait_ns": -2},
        {"send_ns": 1 << 63},
        {"prompt_tokens": -2},
        {"output_tokens": 1 << 50},
        {"hidden_tokens": -1},
        {"trace": "a" * 65},
    ],
)
def test_an_impossible_event_list_is_refused(wrong: dict[str, Any]) -> None:
    stream = msgspec.structs.replace(kept(), **wrong)

    with pytest.raises(WireError, match="impossible event list, of request 'chat', arrival 0"):
        check_streams("delta 0 of a", (stream,), 0)


def test_the_number_of_streams_and_of_their_events_in_a_delta_is_limited() -> None:
    many = (kept(tokens=1),) * (KEPT_STREAMS_IN_DELTA + 1)
    long = kept(tokens=KEPT_EVENTS_IN_DELTA // 10 + 1)

    assert fits_in_delta(many) == KEPT_STREAMS_IN_DELTA
    assert fits_in_delta((long,) * 12) == 9
    check_streams("delta", (long,) * 9, 0)
    with pytest.raises(WireError, match="501 kept streams with 501 events"):
        check_streams("delta", many, 0)
    with pytest.raises(WireError, match="10 kept streams with 80,010 events"):
        check_streams("delta", (long,) * 10, 0)
    with pytest.raises(WireError):
        check_streams("delta", (), -1)
    with pytest.raises(WireError, match="impossible event list"):
        check_streams("delta", (kept(tokens=EVENTS_OF_KEPT_STREAM + 1),), 0)
    with pytest.raises(LimitExceeded, match=r"Delta\.streams is 501 entries long"):
        decode(encode(replace(DELTA, streams=many)), from_agent=True)


def test_joined_deltas_carry_as_many_streams_as_fit_and_count_the_others() -> None:
    second = replace(DELTA, seq=1, start_ns=DELTA.end_ns, end_ns=2 * DELTA.end_ns)
    many = (kept(),) * 300

    joined = join(replace(DELTA, streams=many, streams_left_out=2), replace(second, streams=many, streams_left_out=3))

    assert joined is not None
    assert (len(joined.streams), joined.streams_left_out) == (KEPT_STREAMS_IN_DELTA, 105)
    check_streams("delta", joined.streams, joined.streams_left_out)


def test_an_agent_of_an_older_version_sends_no_streams() -> None:
    assert over_the_wire().streams == ()


# -- the file ------------------------------------------------------------------------------------


def written(folder: Path, *deltas: Delta, share: float = 0.1) -> list[str]:
    said: list[str] = []
    log = StreamLog(folder, share, said.append)
    for delta in deltas:
        log.write(delta.agent, "eu", delta)
    log.settled()
    log.close()
    return said


def test_streams_are_read_in_the_order_of_their_calls_without_those_of_the_warm_up(tmp_path: Path) -> None:
    slow = kept(4, why="slowest")
    written(
        tmp_path,
        replace(DELTA, streams=(kept(3), slow), streams_left_out=2),
        replace(DELTA, agent="b", streams=(kept(2, wait_ns=1_500_000_000), kept(1, warmup=True))),
    )

    found = read_streams(tmp_path)

    assert found is not None
    assert [one.stream.n for one in found.streams] == [1, 2, 3, 4]
    assert ([one.n for one in found.sample()], found.left_out) == ([2, 3], 2)
    assert [one.n for one in found.sample(1_000_000_000)] == [3], "the other one was due before the end of the warm-up"
    assert [one.stream.n for one in found.after()] == [2, 3, 4]


def test_a_delta_that_a_restarted_controller_writes_again_counts_once(tmp_path: Path) -> None:
    delta = replace(DELTA, streams=(kept(1),), streams_left_out=1)
    written(tmp_path, delta)
    written(tmp_path, delta, replace(delta, seq=1, streams=(kept(2),)))

    found = read_streams(tmp_path)

    assert found is not None
    assert ([one.stream.n for one in found.streams], found.left_out) == ([1, 2], 2)


def test_a_torn_record_ends_the_file_and_is_cut_before_more_is_written(tmp_path: Path) -> None:
    written(tmp_path, replace(DELTA, streams=(kept(1),)), replace(DELTA, seq=1, streams=(kept(2),)))
    path = tmp_path / NAME
    os.truncate(path, path.stat().st_size - 5)

    written(tmp_path, replace(DELTA, seq=2, streams=(kept(3),)))

    found = read_streams(tmp_path)
    assert found is not None
    assert [one.stream.n for one in found.streams] == [1, 3]
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_without_kept_streams_there_is_no_file(tmp_path: Path) -> None:
    written(tmp_path, replace(DELTA, streams=(kept(1),)), share=0.0)

    assert not (tmp_path / NAME).exists()
    assert read_streams(tmp_path) is None


def test_one_agent_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.measure.run_folder.kept_stream_log.KEPT_STREAMS_OF_AGENT", 3)
    streams = tuple(kept(n) for n in range(4))

    said = written(
        tmp_path,
        replace(DELTA, streams=streams),
        replace(DELTA, seq=1, streams=streams),
        replace(DELTA, agent="b", streams=streams[:2]),
    )

    found = read_streams(tmp_path)
    assert found is not None
    assert ([one.agent for one in found.streams].count("a"), len(found.streams), found.left_out) == (3, 5, 5)
    assert len(said) == 1
    assert "some later ones are only counted" in said[0]


def test_a_full_disk_ends_the_file_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log = StreamLog(tmp_path, 0.1, said.append)
    log.write("a", "eu", replace(DELTA, streams=(kept(1),)))
    log.settled()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    log.write("a", "eu", replace(DELTA, seq=1, streams=(kept(2),)))
    log.settled()
    monkeypatch.undo()
    log.write("a", "eu", replace(DELTA, seq=2, streams=(kept(3),)))
    log.close()

    found = read_streams(tmp_path)
    assert found is not None
    assert [one.stream.n for one in found.streams] == [1]
    assert len(said) == 1
    assert said[0].startswith("no more event lists of streams are written: ")


def test_another_file_of_this_name_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_bytes(b"somebody's notes")
    opens = secret_files.open_private

    def slowly(*given: Any) -> int:
        time.sleep(0.05)  # so that both deltas wait for the thread
        return opens(*given)

    monkeypatch.setattr("loadgen.measure.run_folder.crc_record_log.open_private", slowly)
    said = written(tmp_path, replace(DELTA, streams=(kept(1),)), replace(DELTA, seq=1, streams=(kept(2),)))

    assert (tmp_path / NAME).read_bytes() == b"somebody's notes"
    assert len(said) == 1
    assert "does not begin with lgstrms1" in said[0]


def test_a_file_that_somebody_changed_is_an_error_and_no_crash(tmp_path: Path) -> None:
    from loadgen.measure.run_folder.crc_record_file import framed

    begin = framed(b'{"type":"begin","format":1,"share":0.1}')
    stream = json.loads(msgspec.json.encode(kept())) | {"kinds": "2z2"}
    record = {"type": "streams", "agent": "a", "region": "", "epoch": 1, "seq": 0, "streams": [stream]}
    for bad in (framed(json.dumps(record).encode()), framed(b"{"), framed(b'{"type":"begin","format":2,"share":0.1}')):
        (tmp_path / NAME).write_bytes(b"lgstrms1" + begin + bad)
        with pytest.raises(StorageError, match=r"cannot read .*streams\.log"):
            read_streams(tmp_path)
    (tmp_path / NAME).write_bytes(b"otherfil" + begin)
    with pytest.raises(StorageError, match="does not begin with"):
        read_streams(tmp_path)
