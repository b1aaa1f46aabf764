"""What a recorder flips, the merge takes in, whatever was recorded."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.histograms.histogram import MAX_NS, Histogram, percentile
from loadgen.measure.merging.merge import Accepted, Merge, check_invariant
from tests.support.examples import examples

NS = st.integers(0, 3_000_000_000) | st.just(MAX_NS) | st.integers(MAX_NS + 1, 2 * MAX_NS)
OUTCOMES = st.sampled_from(["ok", "http 503", "timeout", "expect status", "".join(["o", "k"])])
REQUEST = st.tuples(st.just("request"), st.sampled_from(["GET /", "GET /cart"]), OUTCOMES, st.booleans(), NS)
ENDING = st.tuples(
    st.sampled_from(["iteration", "cut off", "missed", "step"]), st.just(""), OUTCOMES, st.booleans(), NS
)


def record(recorder: Recorder, kind: str, name: str, outcome: str, flag: bool, ns: int) -> None:
    journey = recorder.journey_series("checkout", warmup=flag)
    match kind:
        case "request":
            series = recorder.request_series("checkout", "browse" if flag else None, name)
            recorder.request(series, 0, ns // 3 if flag else 0, ns, outcome, 10)
        case "iteration":
            recorder.iteration(journey, ns, ns, 0, ns // 1_000_000, outcome, flag)
        case "cut off":
            recorder.cut_off(journey, ns, ns, 0, 0)
        case "missed":
            recorder.missed(journey, ns)
        case "step":
            recorder.step(recorder.step_series("checkout", "browse"), ns, ns, outcome, flag)


@settings(max_examples=examples(100))
@given(st.lists(st.lists(REQUEST | ENDING, max_size=12), min_size=1, max_size=4))
def test_everything_recorded_is_merged_and_adds_up(intervals: list[list[tuple[str, str, str, bool, int]]]) -> None:
    recorder, merge = Recorder(), Merge()
    for k, events in enumerate(intervals):
        for event in events:
            record(recorder, *event)
        delta = replace(recorder.flip(k * 10**9, (k + 1) * 10**9), agent="a", epoch=1)
        assert merge.accept("us", delta) is Accepted.MERGED
    assert check_invariant(merge) == []
    assert merge.counters() == recorder.counters
    requests = [event for events in intervals for event in events if event[0] == "request"]
    short = [e[4] for e in requests if e[4] <= MAX_NS and e[2] != "timeout"]
    bounds = [min(e[4], MAX_NS) for e in requests if e[4] > MAX_NS or e[2] == "timeout"]
    for q in (50.0, 99.0, 100.0):
        expected = percentile(Histogram.of_ns(short), Histogram.of_ns(bounds), q)
        assert percentile(*merge.select("request"), q) == expected


def test_longer_than_an_hour_joins_what_was_cut_off() -> None:
    recorder, merge = Recorder(), Merge()
    journey = recorder.journey_series("checkout")
    recorder.cut_off(journey, 5_000_000, 5_000_000, 0, 0)
    recorder.cut_off(journey, 2 * MAX_NS, 2 * MAX_NS, 0, 0)
    merge.accept("us", replace(recorder.flip(0, 10**9), agent="a", epoch=1))
    observed, censored = merge.select("journey")
    assert (observed.total, censored.total, censored.max_ns) == (0, 2, MAX_NS)
