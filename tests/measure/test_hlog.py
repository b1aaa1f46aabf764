"""Any HdrHistogram tool opens a run, and we open what others wrote."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import StorageError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.hlog import HlogLine, key_of, read_hlog, tag_of, write_hlog
from tests.support.deltas import FakeAgent, journey_key, request_key

DATA = Path(__file__).parents[1] / "data" / "hdr"
START = datetime(2026, 11, 24, 17, 3, 12, tzinfo=UTC)


def added(lines: list[HlogLine]) -> Histogram:
    total = Histogram()
    for line in lines:
        total.add_histogram(line.histogram)
    return total


def test_jhiccup_log_has_its_known_answers() -> None:
    lines = list(read_hlog(DATA / "jHiccup-2.0.7S.logV2.hlog"))
    total = added(lines)
    assert (len(lines), total.total) == (62, 48_761)
    assert (total.percentile_us(99.9), total.percentile_us(100)) == (1_745_879_039, 1_796_210_687)


def test_part_of_the_jhiccup_log_has_its_known_answers() -> None:
    lines = list(read_hlog(DATA / "jHiccup-2.0.7S.logV2.hlog"))
    part = [line for line in lines if 5 <= line.start_s <= 20]
    total = added(part)
    assert (len(part), total.total) == (15, 11_664)
    assert (total.percentile_us(99.9), total.percentile_us(100)) == (1_536_163_839, 1_544_552_447)


def test_tagged_log_has_its_known_answers() -> None:
    lines = list(read_hlog(DATA / "tagged-Log.logV2.hlog"))
    untagged = added([line for line in lines if line.tag is None])
    tagged = added([line for line in lines if line.tag == "A"])
    assert untagged.total + tagged.total == 32_290
    assert untagged == tagged


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(
    st.builds(
        SeriesKey,
        kind=st.sampled_from(["journey", "step", "request", "trend"]),
        journey=st.just("") | TEXT,
        step=st.none() | TEXT,
        request=st.none() | TEXT,
        outcome=TEXT,
        metric=st.sampled_from(["response", "service", "value"]),
        censored=st.booleans(),
        warmup=st.booleans(),
        tags=st.dictionaries(TEXT, TEXT, max_size=2).map(lambda d: tuple(d.items())),
    ),
    TEXT,
)
def test_any_series_survives_as_a_tag_without_what_breaks_readers(key: SeriesKey, region: str) -> None:
    tag = tag_of(region, key)
    assert key_of(tag) == (region, key)
    assert tag.isascii()
    assert not set(tag) & set(', "\r\n\t#')


@pytest.mark.parametrize("tag", ["A", "", "region=x", "kind=request&journey=a&outcome=ok&metric=response"])
def test_tag_that_is_not_ours_is_said_to_be_so(tag: str) -> None:
    with pytest.raises(ValueError):
        key_of(tag)


def test_package_reads_back_every_count_of_the_run(tmp_path: Path) -> None:
    deltas, merge = [], Merge()
    for name, region in (("a", "us-east-1"), ("b", "eu-west-1"), ("c", "eu-west-1")):
        agent = FakeAgent(name)
        for k in range(25):
            values = {
                request_key("GET /a, b"): [1_000_000 * (k + 1), 7_000_000],
                request_key("GET /a, b", "http 503"): [300_000] * (k % 3),
                request_key("GET /slow", "timeout", censored=True): [60_000_000_000] * (k % 2),
                journey_key(): [70_000_000 + k],
                journey_key(warmup=True): [80_000_000],
            }
            deltas.append((region, agent.delta(values)))
    for region, delta in deltas:
        merge.accept(region, delta)

    lines = write_hlog(tmp_path / "histograms.hlog", deltas, START)

    reader = HistogramLogReader(str(tmp_path / "histograms.hlog"), HdrHistogram(1, 3_600_000_000, 3))
    totals: dict[tuple[str, SeriesKey], HdrHistogram] = {}
    starts, read = [], 0
    while (interval := reader.get_next_interval_histogram()) is not None:
        read += 1
        starts.append(interval.get_start_time_stamp())
        totals.setdefault(key_of(interval.get_tag()), HdrHistogram(1, 3_600_000_000, 3)).add(interval)
    assert read == lines
    assert starts == sorted(starts)
    assert starts[0] == pytest.approx(START.timestamp() * 1_000)
    assert {(region, key) for region in merge.regions() for key in merge.keys(region)} == set(totals)
    for (region, key), total in totals.items():
        ours = merge.histogram(key, region)
        assert ours is not None
        assert Histogram.decode(total.encode().decode()) == ours


def test_one_line_stands_for_a_series_and_ten_seconds(tmp_path: Path) -> None:
    a, b = FakeAgent("a"), FakeAgent("b")
    deltas = [("eu", agent.delta({request_key(): [5_000_000]})) for _ in range(20) for agent in (a, b)]
    assert write_hlog(tmp_path / "h.hlog", deltas, START) == 2
    assert [(line.start_s, line.length_s, line.histogram.total) for line in read_hlog(tmp_path / "h.hlog")] == [
        (0.0, 10.0, 20),
        (10.0, 10.0, 20),
    ]


def test_trend_and_tagged_series_have_lines_of_their_own(tmp_path: Path) -> None:
    trend = SeriesKey("trend", "", None, "basket, EUR", "ok", "value")
    hit = replace(request_key(), tags=(("x-cache", "hit, stale"), ("load", "spike")))
    write_hlog(tmp_path / "h.hlog", [("eu", FakeAgent("a").delta({trend: [1_999_000], hit: [5_000_000]}))], START)
    lines = {key_of(line.tag or "")[1]: line.histogram for line in read_hlog(tmp_path / "h.hlog")}
    assert lines.keys() == {trend, hit}
    assert lines[trend].percentile_us(50) == 1_999  # of 0.01 EUR: 19.99 EUR


def test_what_comes_very_late_is_not_lost(tmp_path: Path) -> None:
    prompt, late = FakeAgent("prompt"), FakeAgent("late")
    deltas = [("eu", prompt.delta({request_key(): [5_000_000]})) for _ in range(200)]
    deltas += [("eu", late.delta({request_key(): [5_000_000]})) for _ in range(200)]
    write_hlog(tmp_path / "h.hlog", deltas, START)
    assert sum(line.histogram.total for line in read_hlog(tmp_path / "h.hlog")) == 400


def test_log_of_a_run_without_values_is_readable(tmp_path: Path) -> None:
    assert write_hlog(tmp_path / "h.hlog", [], START) == 0
    assert list(read_hlog(tmp_path / "h.hlog")) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text + "nonsense\n", "not an interval"),
        (lambda text: text.replace("HISTF", "HISTX"), "line 6"),
    ],
)
def test_damaged_line_is_named(tmp_path: Path, damage: Callable[[str], str], said: str) -> None:
    path = tmp_path / "h.hlog"
    write_hlog(path, [("eu", FakeAgent("a").delta({request_key(): [5_000_000]}))], START)
    path.write_text(damage(path.read_text()))
    with pytest.raises(StorageError, match=said):
        list(read_hlog(path))


def test_log_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    def deltas() -> Iterator[tuple[str, Delta]]:
        yield "eu", FakeAgent("a").delta({request_key(): [5_000_000]})
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left") as caught:
        write_hlog(tmp_path / "h.hlog", deltas(), START)
    assert "make space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
