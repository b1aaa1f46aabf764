"""`stop_when` and objectives with `abort=True` while a run goes on."""

from __future__ import annotations

from math import inf

from loadgen.probes.journal import Record
from loadgen.probes.limits.limit_text import parse_bound
from loadgen.probes.limits.objective import ProbeObjective
from loadgen.probes.limits.watch import Danger, ProbeWatch
from loadgen.probes.recorded import Recorded
from loadgen.probes.spec import ProbeSpec
from tests.probes.limits.samples import COUNTER, GAUGE, HISTOGRAM, SHARE_OF_LIMIT, S, histogram_records, records


def spec(stop_when: str = "") -> ProbeSpec:
    return ProbeSpec(name="db", kind="of a test", stop_when=stop_when)


def watched(watch: ProbeWatch, of: list[Record]) -> tuple[Danger | None, int]:
    """The first danger, and after how many records it was found."""
    recorded = Recorded(keeps=watch.keeps)
    for n, record in enumerate(of):
        recorded.add(record)
        if (danger := watch.look(recorded)) is not None:
            return danger, n
    return None, len(of)


def seconds(first: int, last: int, value: float | None) -> dict[float, float | None]:
    return {float(at): value for at in range(first, last)}


def stop_text(row: object, values: dict[float, float | None], stop_when: str, end_s: int | None = None) -> str:
    watch = ProbeWatch([spec(stop_when)], end_ns=None if end_s is None else end_s * S)
    danger, _ = watched(watch, list(records(row, values)))  # type: ignore[arg-type]
    return "" if danger is None else danger.text


def test_a_condition_that_holds_for_its_time_is_a_danger_with_its_value_and_time() -> None:
    values = seconds(-5, 10, 0.5) | seconds(10, 60, 0.97)
    text = stop_text(SHARE_OF_LIMIT, values, "connections > 95% for 30s")
    assert text == "target in danger: db connections above 95 % for 30 s (97 % at 0:40)"


def test_a_sample_within_the_limit_sets_the_time_back() -> None:
    values = seconds(0, 25, 0.97) | {25.0: 0.95} | seconds(26, 50, 0.97)
    assert stop_text(SHARE_OF_LIMIT, values, "connections > 95% for 30s") == ""


def test_time_before_the_load_and_after_it_does_not_count() -> None:
    assert stop_text(GAUGE, seconds(-60, 3, 9.0), "waiting > 5 for 5s") == ""
    assert stop_text(GAUGE, seconds(0, 60, 9.0), "waiting > 5 for 5s", end_s=4) == ""


def test_in_a_gap_the_time_stands_still_and_this_is_said() -> None:
    watch = ProbeWatch([spec("waiting > 5 for 10s")])
    values = seconds(0, 7, 9.0) | seconds(7, 30, None) | seconds(30, 60, 9.0)
    danger, _ = watched(watch, list(records(GAUGE, values)))
    assert danger is not None
    assert danger.text.endswith("(9 at 0:34)")  # 6 s before the gap, and 4 s after it
    assert watch.take_notes() == [
        "stop_when of probe db: samples were missing while its condition held, for 6.00 s so far; the time stood still"
    ]
    assert watch.take_notes() == []


def test_a_fall_after_a_gap_sets_the_time_back() -> None:
    values = seconds(0, 7, 9.0) | seconds(7, 30, None) | {30.0: 1.0} | seconds(31, 40, 9.0)
    assert stop_text(GAUGE, values, "waiting > 5 for 10s") == ""


def test_without_a_time_one_sample_decides() -> None:
    assert stop_text(GAUGE, seconds(0, 3, 1.0) | {3.0: 0.0}, "waiting < 1") == (
        "target in danger: db waiting below 1 (0 at 0:03)"
    )


def test_a_rate_holds_for_its_interval_and_a_restart_is_unknown() -> None:
    values = (
        {float(at): at * 50.0 for at in range(5)} | {5.0: 0.0} | {float(at): (at - 5) * 50.0 for at in range(6, 20)}
    )
    text = stop_text(COUNTER, dict(values), "rate > 40/s for 6s")
    assert (
        text == "target in danger: db rate above 40/s for 6 s (50/s at 0:07)"
    )  # the second of the restart is left out


def test_of_a_histogram_only_a_bucket_wholly_beyond_the_limit_counts() -> None:
    def text(condition: str) -> str:
        pages = ({0.5: 10.0 * n, 1.0: 100.0 * n, inf: 100.0 * n} for n in range(11))
        danger, _ = watched(ProbeWatch([spec(condition)]), list(histogram_records(pages)))
        return "" if danger is None else danger.text

    assert text("ttft p95 > 500ms for 5s").startswith("target in danger: db ttft p95 above 500 ms for 5 s")
    assert text("ttft p95 > 700ms for 5s") == ""
    assert text("ttft p95 > 1s for 5s") == ""
    assert HISTOGRAM.key == "ttft"


def test_a_condition_that_could_not_be_checked_has_a_note_at_the_end() -> None:
    never = ProbeWatch([spec("wating > 5")])
    watched(never, list(records(GAUGE, seconds(0, 10, 9.0))))
    assert never.last_notes(10 * S) == ["stop_when of probe db was never checked: there were no samples of its row"]
    partly = ProbeWatch([spec("waiting > 50")], end_ns=60 * S)
    watched(partly, list(records(GAUGE, seconds(0, 10, 9.0) | seconds(10, 20, None) | seconds(20, 40, 9.0))))
    assert partly.last_notes(70 * S) == ["stop_when of probe db could not be checked for 31.0 s: samples were missing"]
    whole = ProbeWatch([spec("waiting > 50")], end_ns=10 * S)
    watched(whole, list(records(GAUGE, seconds(0, 11, 9.0))))
    assert whole.last_notes(10 * S) == []


def abort(limit: object, window_s: int = 0) -> ProbeObjective:
    return ProbeObjective(
        text="probe(...) < 20", name="db.waiting", probe="db", row="waiting", operator="<", bound=parse_bound(limit),
        statistic="mean" if window_s else "every", window_ns=window_s * S, abort=True,
    )  # fmt: skip


def test_the_first_sample_beyond_the_limit_of_an_objective_with_abort_ends_the_run() -> None:
    watch = ProbeWatch([spec()], [abort(20)], from_ns=2 * S)
    values = {0.0: 99.0} | seconds(1, 30, 3.0) | {30.0: 21.0} | seconds(31, 40, 3.0)
    danger, at = watched(watch, list(records(GAUGE, dict(values))))
    assert danger is not None
    assert danger.is_objective
    assert "SLO probe(...) < 20 is broken: observed maximum 21 of" in danger.text
    assert at == 4 + 30  # at this sample, and not later


def test_the_first_window_beyond_the_limit_ends_the_run_and_a_short_peak_does_not() -> None:
    watch = ProbeWatch([spec()], [abort(20, window_s=5)])
    values = seconds(0, 20, 3.0) | {20.0: 60.0} | seconds(21, 40, 3.0) | seconds(40, 60, 30.0)
    danger, at = watched(watch, list(records(GAUGE, values)))
    assert danger is not None
    assert "worst window 0:" in danger.text
    assert 4 + 42 <= at <= 4 + 45


def test_an_objective_without_abort_ends_nothing() -> None:
    import msgspec

    calm = msgspec.structs.replace(abort(20), abort=False)
    assert watched(ProbeWatch([spec()], [calm]), list(records(GAUGE, seconds(0, 9, 99.0))))[0] is None
