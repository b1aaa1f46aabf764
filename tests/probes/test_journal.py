"""probes.log: what was written is read back, also after a crash, a restart, and by an older loadgen."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path

import pytest

from loadgen.errors import StorageError
from loadgen.probes.journal import (
    FORMAT,
    NAME,
    Begin,
    Gap,
    Journal,
    NewRows,
    NewSeries,
    ProbeOfRun,
    Record,
    Sample,
    Zero,
    plain_value,
    read_journal,
)
from loadgen.probes.metrics_page.presets import PRESETS
from loadgen.probes.recorded import Recorded
from loadgen.probes.rows import Row, Series

S = 1_000_000_000
ROW = Row(key="tokens", title="tokens", kind="counter", names=("tokens",), unit="1/s")
SERIES = Series("tokens", "value", "tokens_total", (("engine", "0"),))


def begin(now_ns: int = 0) -> Begin:
    return Begin(1, "2026-11-28T10:00:00.000Z", now_ns, (ProbeOfRun("a", "http://h/m", S, "vllm", {"tokens": "t"}),))


def samples(*values: float, start: int = 0) -> list[Record]:
    rows: list[Record] = [NewRows(0, (ROW,)), NewSeries(0, 0, (SERIES,))]
    return rows + [Sample(0, (start + n) * S, (start + n) * S, (0,), (value,)) for n, value in enumerate(values)]


def written(folder: Path, *records: Record) -> Path:
    journal = Journal(folder)
    for record in records:
        journal.append(record)
    journal.sync()
    journal.close()
    return folder / NAME


def test_records_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    bounds = Series("ttft", "bucket", "ttft", (), 0.25)
    records: list[Record] = [
        begin(),
        Zero(5),
        NewRows(0, PRESETS["vllm"]),
        NewSeries(0, 0, (SERIES, bounds)),
        Sample(0, 1, 3, (0, 1), (1.5, None)),
        Gap(0, 4, 9, "the server returned http 503"),
    ]

    path = written(tmp_path, *records)

    assert list(read_journal(tmp_path)) == records
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_run_without_probes_has_no_records(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path)) == []


@pytest.mark.parametrize("cut", [1, 5, 9, 30])
def test_a_torn_end_is_left_out_and_a_restarted_controller_goes_on_after_it(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path, begin(), *samples(1.0, 2.0))
    path.write_bytes(path.read_bytes()[:-cut])
    before = list(read_journal(tmp_path))

    written(tmp_path, begin(5 * S), Zero(0), *samples(9.0, start=6))

    assert list(read_journal(tmp_path)) == [*before, begin(5 * S), Zero(0), *samples(9.0, start=6)]
    assert len(before) == 4


def test_a_damaged_record_ends_the_journal(tmp_path: Path) -> None:
    path = written(tmp_path, begin(), *samples(1.0, 2.0))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)

    assert len(list(read_journal(tmp_path))) == 4


def test_another_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"something else")

    with pytest.raises(StorageError) as caught:
        list(read_journal(tmp_path))
    assert caught.value.hint
    with pytest.raises(StorageError):
        Journal(tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"something else"


def test_a_journal_of_a_newer_loadgen_is_an_error(tmp_path: Path) -> None:
    written(tmp_path, Begin(FORMAT + 1, "", 0, ()))

    with pytest.raises(StorageError, match=f"unknown format {FORMAT + 1}"):
        list(read_journal(tmp_path))


def test_values_that_json_does_not_have_are_kept_as_missing() -> None:
    assert [plain_value(value) for value in (1.0, nan, inf, -inf)] == [1.0, None, None, None]


def test_a_gap_is_empty_in_the_lane_and_its_amount_is_in_the_table() -> None:
    gap = Gap(0, 1 * S, 1 * S + 2, "no answer")
    first, second = samples(0.0)[-1], Sample(0, 2 * S, 2 * S, (0,), (100.0,))
    recorded = Recorded([begin(), Zero(0), *samples()[:2], first, gap, second, Sample(0, 3 * S, 3 * S, (0,), (130.0,))])

    (lane,) = recorded.lanes()

    assert (lane["at_s"], lane["values"]) == ([0.0, 1.0, 2.0], [None, None, 30.0])
    rows = list(recorded.table())
    assert [(row["at_s"], row["length_s"], row["value"], row["count"]) for row in rows if not row["gap"]] == [
        (0.0, 2.0, 50.0, 100.0),
        (2.0, 1.0, 30.0, 30.0),
    ]
    assert [row["gap"] for row in rows if row["gap"]] == ["no answer"]


def test_a_restarted_controller_counts_the_time_that_it_was_away() -> None:
    again = [begin(4 * S), Zero(0), *samples(50.0, 60.0, start=5)]
    recorded = Recorded([begin(), Zero(0), *samples(0.0, 10.0), *again])

    (figures,) = recorded.figures()

    assert figures["samples"] == 4
    (row,) = figures["rows"]
    assert row["count"] == 60
    assert recorded.lanes()[0]["values"] == [10.0, None, 10.0]


def test_the_clock_of_another_boot_joins_no_samples() -> None:
    recorded = Recorded(
        [begin(90 * S), Zero(90 * S), *samples(0.0, 10.0, start=91), begin(0), *samples(500.0, start=1)]
    )

    (figures,) = recorded.figures()

    assert figures["rows"][0]["count"] == 10


def test_expected_metrics_that_never_came_are_missing() -> None:
    assert Recorded([begin()]).figures()[0]["missing"] == ["t"]
    assert Recorded([begin(), *samples(1.0)]).figures()[0]["missing"] == []


def test_before_the_load_starts_there_are_no_lanes() -> None:
    assert Recorded([begin(), *samples(1.0, 2.0)]).lanes() == []


def test_the_mean_of_a_gauge_between_two_times_is_that_of_its_samples() -> None:
    waiting, tokens = PRESETS["vllm"][1], ROW
    of_probe = ProbeOfRun("b", "http://h/m", S, "vllm")
    series = Series("waiting", "value", "vllm:num_requests_waiting")
    records: list[Record] = [
        Begin(1, "", 0, (of_probe,)),
        NewRows(0, (waiting, tokens)),
        NewSeries(0, 0, (series, SERIES)),
        Zero(10 * S),
        *(Sample(0, (10 + n) * S, (10 + n) * S, (0, 1), (value, 7.0)) for n, value in enumerate([9.0, 1.0, None, 3.0])),
    ]
    recorded = Recorded(records)
    assert recorded.mean_between("waiting", 1 * S, 4 * S) == (2.0, 2)
    assert recorded.mean_between("waiting", 0, 1 * S) == (9.0, 1)
    assert recorded.mean_between("waiting", 4 * S, 9 * S) == (0, 0)
    assert recorded.mean_between("tokens", 0, 9 * S) == recorded.mean_between("other", 0, 9 * S) == (0, 0)
    assert Recorded(records[:3]).mean_between("waiting", 0, 9 * S) == (0, 0)


def test_the_queues_of_several_servers_are_added_up() -> None:
    probes = tuple(ProbeOfRun(name, f"http://{name}/m", S, "vllm") for name in ("a", "b"))
    series = Series("waiting", "value", "vllm:num_requests_waiting")
    records: list[Record] = [Begin(1, "", 0, probes), Zero(0)]
    for n, value in ((0, 2.0), (1, 5.0)):
        records += [NewRows(n, (PRESETS["vllm"][1],)), NewSeries(n, 0, (series,)), Sample(n, S, S, (0,), (value,))]
    assert Recorded(records).mean_between("waiting", 0, 9 * S) == (7.0, 1)
