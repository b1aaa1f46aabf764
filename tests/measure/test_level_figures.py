"""The figures of levels in summary.json, from made-up runs whose figures are known."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest

from loadgen.measure.deltas.series_key import GOODPUT_TAG, SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.stored_interval import cell_of
from loadgen.measure.results.level_figures import LevelFacts, level_figures
from loadgen.measure.results.level_intervals import EndedByInterval
from loadgen.measure.results.summary import build
from loadgen.measure.statistics.level_knee import LevelRate, find_level_knee, rate_of_parts
from loadgen.profiles.levels import LevelSpan
from loadgen.report.level_tables import knee_line, level_tables, saturated_line
from loadgen.report.report_tables import final_report
from loadgen.report.summary_reader import Knee, Level, read
from tests.measure.test_summary import FACTS
from tests.support.deltas import FakeAgent

S, MS, TOKEN = 1_000_000_000, 1_000_000, 1_000
SECONDS, SETTLE = 12, 2


def key(
    kind: str, metric: str, level: str, outcome: str = "ok", *more: tuple[str, str], censored: bool = False
) -> SeriesKey:
    request = None if kind == "journey" else "chat"
    tags = (("level", level), *more)
    return SeriesKey(kind, "ask", None, request, outcome, metric, censored, False, tags)  # type: ignore[arg-type]


def run_of(levels: dict[str, int], *, agents: int = 2, has_tokens: bool = True) -> tuple[Merge, LevelFacts]:
    """A run in which each agent ends so many requests in each second of each level: 10 ms, or 30 ms of the others.

    In each second one request fails and one iteration is missed.
    """
    merge, ended, spans = Merge(), EndedByInterval(), []
    fakes = [FakeAgent(f"a{k}") for k in range(agents)]
    k = 0
    for number, (level, n) in enumerate(levels.items()):
        spans.append(LevelSpan(level, float(2**number), k * S, (k + SETTLE) * S, (k + SECONDS) * S))
        for second in range(SECONDS):
            tag = "settling" if second < SETTLE else level
            took = 10 * MS if second % 2 else 30 * MS
            values = {
                key("journey", "response", tag): [took] * n,
                key("journey", "response", tag, "http 503"): [MS],
                key("journey", "response", tag, "missed", censored=True): [MS],
                key("request", "response", tag): [took] * n,
                key("request", "response", tag, "http 503"): [MS],
            }
            if has_tokens:
                values |= {
                    key("request", "ttft", tag): [5 * MS] * n,
                    key("request", "tpot", tag): [4 * MS] * n,
                    key("request", "itl", tag): [4 * MS] * n * 3,
                    key("request", "output_tokens", tag): [7 * TOKEN] * n,
                    key("goodput", "value", tag, "ok", (GOODPUT_TAG, "ttft<=500ms")): [7 * TOKEN] * (n - 1),
                    key("goodput", "value", tag, "slow", (GOODPUT_TAG, "ttft<=500ms")): [7 * TOKEN],
                }
            for fake in fakes:
                delta = fake.delta(values, k=k)
                merge.accept("eu", delta)
                ended.add(delta)
            k += 1
    return merge, LevelFacts(tuple(levels), "users", tuple(spans), ended)


def lines_of(merge: Merge, facts: LevelFacts) -> tuple[list[Level], Knee]:
    found = level_figures(merge, facts)
    return msgspec.convert(found["levels"], list[Level]), msgspec.convert(found["knee"], Knee)


@pytest.mark.parametrize("agents", [1, 2, 3])
def test_a_level_has_the_figures_of_what_was_due_in_it_after_it_had_settled(agents: int) -> None:
    (one, two), _ = lines_of(*run_of({"1": 4, "2": 8}, agents=agents))
    measured = SECONDS - SETTLE
    assert (one.level, one.unit, one.measured_s) == ("1", "users", measured)
    assert (one.iterations.due, one.iterations.started) == (6 * measured * agents, 5 * measured * agents)
    assert (one.requests.ok, one.requests.failed) == (4 * measured * agents, measured * agents)
    assert (one.achieved_per_s, two.achieved_per_s) == (4.0 * agents, 8.0 * agents)
    assert (one.output_tokens_per_s, two.output_tokens_per_s) == (28.0 * agents, 56.0 * agents)
    assert one.response_ms is not None
    assert one.stream_ms is not None
    assert one.response_ms.p50 == pytest.approx(10, rel=0.02)
    assert one.response_ms.max == pytest.approx(30, rel=0.02)
    assert one.stream_ms["ttft"].p95 == pytest.approx(5, rel=0.02)
    assert one.tokens_per_s_a_user == pytest.approx(250, rel=0.02)
    assert one.goodput is not None
    # Offered: the requests that ended with a value, and the missed iterations.
    assert (one.goodput.good, one.goodput.of) == (3 * measured * agents, 5 * measured * agents)
    assert one.goodput.share == 0.6


def test_other_requests_have_no_stream_figures() -> None:
    (one, _), knee = lines_of(*run_of({"1": 4, "2": 8}, has_tokens=False))
    assert (one.stream_ms, one.output_tokens_per_s, one.tokens_per_s_a_user, one.goodput) == (None, None, None, None)
    assert knee.of == "requests"


def test_a_run_without_levels_has_none() -> None:
    assert level_figures(Merge(), LevelFacts()) == {"levels": [], "knee": None}


def test_the_knee_of_a_run_is_where_its_throughput_stops_to_grow() -> None:
    (*_, last), knee = lines_of(*run_of({"1": 5, "2": 10, "4": 20, "8": 30, "16": 30}))
    assert (knee.verdict, knee.of, knee.unit) == ("found", "output tokens", "users")
    assert knee.level == pytest.approx(6, rel=0.1)
    assert knee.low is not None
    assert knee.high is not None
    assert 4 < knee.low < 6 < knee.high < 8
    assert last.output_tokens_per_s == 420
    assert knee.per_s == pytest.approx(420, rel=0.02)
    assert knee.text.startswith("throughput grows up to about")


def test_a_changed_load_has_figures_of_levels_and_no_rates() -> None:
    merge, facts = run_of({"1": 5, "2": 10, "4": 20})
    (one, *_), knee = lines_of(merge, replace(facts, spans=()))
    assert (one.requests.ok, one.achieved_per_s, knee.verdict) == (100, None, "not decided")
    assert "changed during the run" in knee.text


def test_a_stopped_run_has_rates_and_a_knee_of_the_levels_that_it_held() -> None:
    levels = {"1": 5, "2": 10, "4": 20, "8": 30, "16": 30}
    merge, facts = run_of(levels | {"32": 0, "64": 0})
    lines, knee = lines_of(merge, replace(facts, spans=facts.spans[:5]))
    assert [line.achieved_per_s is None for line in lines] == [False] * 5 + [True] * 2
    _, whole = lines_of(*run_of(levels))
    assert (knee.verdict, knee.level, knee.low, knee.high) == ("found", whole.level, whole.low, whole.high)
    assert knee.text == whole.text + "; left out: 2 levels not held to the end"


def test_cells_give_the_same_rates_as_deltas() -> None:
    merge, ended = Merge(), EndedByInterval()
    merge.kept = []
    fake = FakeAgent("a")
    for k in range(4):
        merge.accept("eu", fake.delta({key("request", "response", "1"): [MS] * (k + 1)}, k=k))
    merge.close()
    names = merge.names
    for at, made in enumerate(merge.kept):
        ended.add_cell(replace(cell_of(made), names=names if at == 0 else ()))
    assert ended.requests == {0: 1, 1: 2, 2: 3, 3: 4}


# -- the knee --------------------------------------------------------------------------------------


def rates(per_s: list[float], error: float | None = 0.02) -> list[LevelRate]:
    return [LevelRate(float(2**k), one, error) for k, one in enumerate(per_s)]


@pytest.mark.parametrize(
    ("per_s", "verdict"),
    [
        ([1, 2, 4, 8, 16], "still growing"),
        ([1, 1.7, 3, 5, 8.5], "still growing"),
        ([1, 2, 4, 4.02, 3.98], "found"),
        ([1, 2, 4, 3.6, 3.2], "found"),  # it falls behind the knee
        ([5, 5.02, 4.98, 5, 5.01], "never grew"),
        ([1, 2], "not decided"),
        ([0, 0, 0, 0], "not decided"),
    ],
)
def test_each_shape_of_throughput_has_its_verdict(per_s: list[float], verdict: str) -> None:
    assert find_level_knee(rates(per_s)).verdict == verdict


def test_large_errors_decide_nothing() -> None:
    assert find_level_knee(rates([1, 2, 4, 4, 4], error=2.0)).verdict == "not decided"
    assert find_level_knee(rates([1, 2, 4, 4, 4], error=None)).verdict == "not decided"


def test_the_interval_of_the_knee_holds_the_true_one_as_often_as_it_claims() -> None:
    draw, held, found = Random(7), 0, 0
    for _ in range(40):
        levels = [1, 2, 4, 8, 16, 32]
        made = [rate_of_parts(level, [min(level, 6) * draw.gauss(1, 0.4) for _ in range(50)], 1.0) for level in levels]
        knee = find_level_knee([one for one in made if one is not None])
        if knee.verdict == "found":
            found += 1
            held += (knee.low or 0) <= 6 <= (knee.high or 0)
    assert found >= 36
    assert held / found >= 0.85


# -- saturation ------------------------------------------------------------------------------------


def queue_run(arrivals: dict[str, int], serves: int = 10, seconds: int = 40) -> tuple[Merge, LevelFacts]:
    """A run with rates of which the service ends ten requests a second: others wait, and their ttft with them."""
    merge, ended, spans = Merge(), EndedByInterval(), []
    fake, waiting, k = FakeAgent("a"), 2.0, 0
    for level, per_s in arrivals.items():
        spans.append(LevelSpan(level, float(per_s), k * S, (k + SETTLE) * S, (k + seconds) * S))
        for second in range(seconds):
            tag = "settling" if second < SETTLE else level
            n = min(per_s, serves)
            values = {
                key("journey", "response", tag): [900 * MS] * n,
                key("request", "response", tag): [900 * MS] * n,
                key("request", "ttft", tag): [round((100 + 100 * waiting + 10 * (k % 3)) * MS)] * n,
                key("request", "output_tokens", tag): [7 * TOKEN] * n,
            }
            delta = fake.delta(values, k=k)
            delta.counters.requests_started = per_s
            waiting += per_s - n
            merge.accept("eu", delta)
            ended.add(delta)
            k += 1
    return merge, LevelFacts(tuple(arrivals), "/s", tuple(spans), ended)


def test_a_level_has_its_mean_requests_in_flight_weighted_by_time() -> None:
    merge, ended, fake = Merge(), EndedByInterval(), FakeAgent("a")
    # In flight at the ends of the seconds: 1, 2, 4, 4, 4, 8, 8, 8, 8, 9; the level counts from 2 s to 8 s.
    for k, at_end in enumerate(steps := [1, 2, 4, 4, 4, 8, 8, 8, 8, 9]):
        delta = fake.delta({key("request", "response", "1"): [MS]}, k=k)
        delta.counters.requests_started += at_end - ([0, *steps])[k]
        merge.accept("eu", delta)
        ended.add(delta)
    span = LevelSpan("1", 1.0, 0, 2 * S, 8 * S)
    assert ended.in_flight(span) == ((3 + 4 + 4 + 6 + 8 + 8) / 6, 6)
    lines, _ = lines_of(merge, LevelFacts(("1",), "users", (span,), ended, {"1": (3.25, 6)}))
    assert lines[0].in_flight is not None
    assert (lines[0].in_flight.mean, lines[0].in_flight.count) == (5.5, 6)
    assert lines[0].queued is not None
    assert (lines[0].queued.mean, lines[0].queued.count) == (3.25, 6)


def test_windows_give_the_same_slopes_as_deltas() -> None:
    merge, facts = queue_run({"12/s": 12}, seconds=20)
    assert facts.ended is not None
    taken = EndedByInterval()
    for window in merge.windows():
        taken.take_window(window)
        taken.take_window(window)  # again: it replaces what is known
    assert taken.more_in_flight == facts.ended.more_in_flight
    assert (taken.ttft_us, taken.ttft_count) == (facts.ended.ttft_us, facts.ended.ttft_count)


def test_a_level_has_the_tokens_of_all_its_requests() -> None:
    merge, ended, fake = Merge(), EndedByInterval(), FakeAgent("a")
    values = {
        key("request", "response", "1"): [MS] * 3,
        key("request", "output_tokens", "1"): [7 * TOKEN] * 2,
        key("request", "output_tokens", "1", "stream error"): [5 * TOKEN],
        key("request", "prompt_tokens", "1"): [100 * TOKEN] * 2,
        key("request", "prompt_tokens", "settling"): [100 * TOKEN],
    }
    merge.accept("eu", fake.delta(values, k=0))
    (line,), _ = lines_of(merge, LevelFacts(("1",), "users", (), ended))
    assert (line.tokens, line.in_flight, line.queued) == ({"prompt": 200, "output": 19}, None, None)


def test_the_third_table_has_what_is_known_and_levels_that_were_not_reached_have_no_row() -> None:
    merge, facts = queue_run({"4/s": 4, "12/s": 12})
    facts = replace(facts, texts=(*facts.texts, "24/s", "48/s"), queued={"12/s": (31.4, 38)})
    first, second, third = level_tables(read(build(replace(FACTS, levels=facts), merge)))
    assert [[row[0] for row in table.rows] for table in (first, second, third)] == [["4/s", "12/s"]] * 3
    assert first.note.endswith("Not reached: 24/s, 48/s.")
    assert third.columns == ("rate", "in flight", "queued", "tokens in", "tokens out", "in all")
    # The streams of this run have no usage, so their prompts are unknown.
    assert third.rows[0][2:] == ("-", "-", "1,064", "-")
    assert third.rows[1][2:] == ("31.4", "-", "2,660", "-")
    merge, facts = run_of({"1": 4, "2": 8}, has_tokens=False)
    _, third = level_tables(read(build(replace(FACTS, levels=facts), merge)))
    assert (third.title, third.columns) == ("Levels: requests in flight", ("users", "in flight"))


def test_a_level_is_saturated_if_requests_in_flight_and_ttft_grow() -> None:
    merge, facts = queue_run({"4/s": 4, "8/s": 8, "12/s": 12})
    found, _ = lines_of(merge, facts)
    assert [one.saturated for one in found] == [False, False, True]
    built = level_figures(merge, facts)["levels"]
    assert isinstance(built, list)
    slopes = built[-1]["slopes"]
    assert slopes["in_flight_per_s"]["slope"] == pytest.approx(2)
    assert slopes["ttft_ms_per_s"]["slope"] == pytest.approx(200, rel=0.02)
    assert slopes["ttft_ms_per_s"]["low"] > 0


def test_a_level_is_not_saturated_if_only_one_of_both_grows() -> None:
    merge, facts = queue_run({"12/s": 12})
    assert facts.ended is not None
    facts.ended.more_in_flight.clear()
    ((one,), _) = lines_of(merge, facts)
    assert one.saturated is False


def test_a_short_level_and_other_requests_are_not_judged() -> None:
    assert [one.saturated for one in lines_of(*queue_run({"12/s": 12}, seconds=25))[0]] == [None]
    assert {one.saturated for one in lines_of(*run_of({"1": 4}, has_tokens=False))[0]} == {None}


def test_a_saturated_level_is_marked_in_the_table_and_named_in_a_sentence() -> None:
    merge, facts = queue_run({"3/s": 3, "6/s": 6, "12/s": 12})
    summary = read(build(replace(FACTS, levels=facts), merge))
    _, second, _ = level_tables(summary)
    assert (second.columns[-1], [row[-1] for row in second.rows]) == ("state", ["", "", "saturated"])
    assert all(len("  ".join(row)) < 80 for row in second.rows)
    assert "Saturated: 12/s. Requests in flight" in "\n".join(final_report(summary).lines)
    assert saturated_line(msgspec.structs.replace(summary, result="invalid")) == ""


def test_higher_levels_are_not_advised_above_a_saturated_one() -> None:
    merge, facts = queue_run({"3/s": 3, "6/s": 6, "12/s": 12}, serves=12)
    assert facts.ended is not None
    assert lines_of(merge, facts)[1].text.endswith("12/s: add higher levels")
    for k in range(80, 120):
        facts.ended.more_in_flight[k], facts.ended.ttft_us[k] = 2, k * 1_000_000
    assert lines_of(merge, facts)[1].text.endswith(
        "still grows at the highest level, 12/s, but this level is saturated:"
        " add levels between the highest level that is not saturated and 12/s"
    )


def test_cells_give_the_same_slopes_as_deltas() -> None:
    merge, ended, fake = Merge(), EndedByInterval(), FakeAgent("a")
    merge.kept = []
    for k in range(4):
        delta = fake.delta({key("request", "ttft", "1"): [5 * MS] * 3, key("request", "response", "1"): [MS]}, k=k)
        delta.counters.requests_started += k
        merge.accept("eu", delta)
    merge.close()
    for at, made in enumerate(merge.kept):
        ended.add_cell(replace(cell_of(made), names=merge.names if at == 0 else ()))
    assert ended.more_in_flight == {0: 0, 1: 1, 2: 2, 3: 3}
    assert (ended.ttft_us, ended.ttft_count) == (dict.fromkeys(range(4), 15_000), dict.fromkeys(range(4), 3))


# -- what is shown ---------------------------------------------------------------------------------


def test_the_report_shows_four_tables_and_the_knee() -> None:
    merge, facts = run_of({"1": 5, "2": 10, "4": 20, "8": 30, "16": 30})
    summary = read(build(replace(FACTS, levels=facts), merge))
    first, second, goodput, third = level_tables(summary)
    assert first.columns == ("users", "started", "ok", "failed", "ok/s", "p50", "p95", "p99")
    assert first.rows[0][:5] == ("1", "120 of 140", "100", "20", "10")
    assert second.rows[-1] == ("16", "5.00", "5.00", "5.00", "4.00", "4.00", "420", "250")
    assert goodput.rows[-1] == ("16", "580", "620", "93.5 %", "91.3 % to 95.4 %")
    report = final_report(summary)
    tables = (first, second, goodput, third)
    assert [table.title for table in report.tables if "evel" in table.title] == [one.title for one in tables]
    assert knee_line(summary) in report.lines
    assert knee_line(summary).startswith("Knee: throughput grows up to about")
    assert "); there it is " in knee_line(summary)
    assert (
        knee_line(msgspec.structs.replace(summary, result="invalid")) == "Knee: not judged, because the run is invalid."
    )
    assert all(len("  ".join(row)) < 80 for table in tables for row in table.rows)


def test_a_summary_of_an_older_version_has_no_levels(tmp_path: Any) -> None:
    built = build(FACTS, Merge())
    del built["levels"], built["knee"]
    assert (list(level_tables(read(built))), knee_line(read(built))) == ([], "")
