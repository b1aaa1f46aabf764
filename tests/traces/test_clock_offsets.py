"""Offsets of clocks: the bounds hold the true offset, whatever the delays, and a wrong clock changes no partition."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loadgen.traces.clock_offsets import ClockOffset, clock_offsets, offset_sentence, shift_of
from loadgen.traces.clocks.exchanges import Bounds, Exchange, exchanges_of, instance_of
from loadgen.traces.model import RULES, Span, Trace, Tree
from loadgen.traces.path_times import timed
from loadgen.traces.repair import repaired
from loadgen.traces.timed import PathTime
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.made_spans import observed, span, trace

T0 = 1_700_000_000 * NS_PER_S


def call(
    at_ns: int, offset_ns: int, *, out: int = 200_000, served: int = 5_000_000, back: int = 200_000, late: int = 0,
    client: str = "shop-1", server: str = "stock-2",
) -> Exchange:  # fmt: skip
    """Return a call whose server's clock is ahead by an offset, and whose span ends late after the answer left."""
    begin = at_ns + out
    done = begin + served + back
    return Exchange(client, server, at_ns, done, begin + offset_ns, begin + served + late + offset_ns)


def the_only(calls: list[Exchange]) -> ClockOffset:
    (offset,) = clock_offsets(calls).told()
    return offset


def test_the_instance_is_the_first_known_resource_attribute_else_the_service() -> None:
    assert instance_of(span("A", 0, 1, service="shop", instance="shop-1")) == "shop-1"
    assert instance_of(replace(span("A", 0, 1), resource={"host.name": "h", "k8s.pod.name": "p"})) == "p"
    assert instance_of(span("A", 0, 1, service="shop")) == "shop"


def test_one_call_bounds_the_offset_by_what_must_come_after_what() -> None:
    # Sent 0, begin 30, end 80, done 100 by one clock: the server began after 0 and before 100. One unit of resolution
    # comes on top. Its end says nothing.
    assert Exchange("a", "b", 0, 100, 30, 80).bounds() == (-71, 31)
    assert Exchange("a", "b", 0, 100, 30, 5_000).bounds() == (-71, 31)


def test_a_server_that_records_when_it_answers_bounds_the_offset_more_closely() -> None:
    assert Exchange("a", "b", 0, 100, 30, 80, answering_ns=75).bounds() == (-26, 31)


def test_a_client_that_gave_up_gives_no_lower_bound() -> None:
    # The server can begin after the client gave up, if it was busy.
    least, most = Exchange("a", "b", 0, 10, 30, 80, is_answered=False).bounds()
    assert least < -(10**18)
    assert most == 31


def test_likely_bounds_of_one_call_allow_1_ms_for_servers_that_end_late() -> None:
    ms = NS_PER_MS
    assert Exchange("a", "b", 0, 100 * ms, 30 * ms, 80 * ms).likely_bounds() == (-21 * ms - 1, 30 * ms + 1)
    # The server outlives its client, which took only the headers of a stream.
    streamed = Exchange("a", "b", 0, 10 * ms, ms, 500 * ms)
    assert streamed.likely_bounds() == streamed.bounds()


def test_calls_are_servers_below_clients_on_another_instance() -> None:
    made = trace(
        span("A", 0, 100, instance="shop-1", kind="server"),
        span("B", 10, 90, "A", instance="shop-1", kind="client"),
        span("C", 20, 80, "B", instance="stock-2", kind="server", resolution=1_000),
        span("D", 20, 80, "B", instance="shop-1", kind="server"),
        span("E", 20, None, "B", instance="stock-2", kind="server"),
        span("F", 30, 40, "C", instance="db", kind="server"),
    )
    assert exchanges_of(made) == [Exchange("shop-1", "stock-2", 10, 90, 20, 80, 1_000)]


def test_calls_under_one_shared_id_count_too() -> None:
    made = trace(span("B", 10, 90, "A", service="a", kind="client"), span("B", 20, 80, "A", service="b", kind="server"))
    assert [(one.client, one.server) for one in exchanges_of(made)] == [("a", "b")]


def test_a_call_whose_client_failed_without_a_response_is_not_answered() -> None:
    client = replace(span("B", 10, 90, instance="shop-1", kind="client"), status="error")
    answered = replace(client, attributes={"http.response.status_code": 500})
    server = span("C", 20, 80, "B", instance="stock-2", kind="server")
    assert [exchanges_of(trace(one, server))[0].is_answered for one in (client, answered)] == [False, True]


def test_spans_of_asgi_tell_when_the_server_began_to_answer() -> None:
    made = trace(
        span("B", 10, 90, instance="shop-1", kind="client"),
        span("C", 20, 99, "B", instance="stock-2", kind="server"),
        span("E", 85, 98, "C", instance="stock-2", name="GET /levels http send"),
        span("D", 80, 81, "C", instance="stock-2", name="GET /levels http send"),
        span("F", 70, 71, "C", instance="stock-2", name="GET /levels http receive"),
    )
    assert [one.answering_ns for one in exchanges_of(made)] == [80]


def test_many_calls_bound_the_offset_closely_and_it_reads_like_a_sentence() -> None:
    chance = random.Random(1)
    calls = []
    for at in range(812):
        out, back = chance.randrange(200_000, 9_000_000), chance.randrange(200_000, 9_000_000)
        calls.append(call(T0 + at * NS_PER_S // 10, 12_400_000, out=out, back=back))
    offset = the_only(calls)
    assert (offset.reference, offset.instance, offset.exchanges) == ("shop-1", "stock-2", 812)
    assert offset.bounds is not None
    least, most = offset.bounds
    assert least <= 12_400_000 <= most
    # The sure bounds are as far apart as the shortest call lasts; the likely ones as the shorter quarter of ways back.
    assert most - least <= 6.5 * NS_PER_MS
    assert offset.likely is not None
    assert least <= offset.likely[0] <= 12_400_000 <= offset.likely[1] <= most
    assert offset.likely[1] - offset.likely[0] <= 4.5 * NS_PER_MS
    told = replace(offset, bounds=(12_100_000, 12_700_000), likely=(12_200_000, 12_700_000))
    assert offset_sentence(told, T0) == "stock-2 is 12.4 ± 0.3 ms ahead (812 exchanges)"
    assert offset_sentence(replace(told, bounds=(7_100_000, 12_700_000)), T0) == (
        "stock-2 is 9.9 ± 2.8 ms ahead, likely 12.4 ± 0.2 ms ahead (812 exchanges)"
    )
    assert offset_sentence(ClockOffset("a", "b", (-3_000_000, -1_000_000), 1), T0) == (
        "a is 2.0 ± 1.0 ms behind (1 exchange)"
    )


@given(
    st.integers(-10 * NS_PER_S, 10 * NS_PER_S),
    st.floats(-90e-6, 90e-6),
    st.lists(
        st.tuples(
            st.integers(0, 600 * NS_PER_S),
            st.integers(0, 50 * NS_PER_MS),
            st.integers(0, 50 * NS_PER_MS),
            st.one_of(st.integers(0, NS_PER_MS), st.integers(0, NS_PER_S)),
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 600 * NS_PER_S),
)
def test_bounds_hold_the_true_offset_of_a_clock_that_drifts_however_late_servers_end(
    offset: int, drift: float, calls: list[tuple[int, int, int, int]], at: int
) -> None:
    def true(time: int) -> int:
        return offset + round(drift * time)

    made = [call(T0 + time, true(time), out=out, back=back, served=0, late=late) for time, out, back, late in calls]
    offsets = clock_offsets(made)
    (told,) = offsets.told()
    assert (told.contradicting, told.jumped_at_ns) == (0, ())
    bounds = offsets.surely_at(T0 + at)
    least, most = bounds[told.instance]
    # surely_at() answers for the second of a time; the clock drifts by at most 90 µs in it.
    slack = 100_000
    truth = true(at) if told.instance == "stock-2" else -true(at)
    assert least - slack <= truth <= most + slack
    likely = offsets.at(T0 + at)[told.instance]
    assert least <= likely[0] <= likely[1] <= most


def test_servers_that_end_1_to_4_ms_late_in_one_of_ten_calls_do_not_change_what_is_known() -> None:
    # In 96 real calls on loopback 4 ended more than 1 ms late.
    for seed in range(20):
        chance = random.Random(seed)
        calls = []
        for at in range(96):
            out, back = chance.randrange(400_000, 900_000), chance.randrange(400_000, 900_000)
            late = back + chance.choice([-200_000] * 9 + [chance.randrange(1_100_000, 4_200_000)])
            calls.append(call(T0 + at * NS_PER_S // 4, 0, out=out, back=back, late=late))
        told = the_only(calls)
        assert (told.contradicting, told.jumped_at_ns) == (0, ())
        for bounds in (told.bounds, told.likely):
            assert bounds is not None
            assert bounds[0] <= 0 <= bounds[1]
            assert not told.is_off


def test_likely_bounds_that_most_calls_refute_give_way_to_the_sure_ones() -> None:
    # All servers stream: their spans end 3 ms after their clients', whose calls are short.
    told = the_only([call(T0 + at * NS_PER_S, 0, out=2_500_000, served=100_000, late=3_200_000) for at in range(40)])
    assert told.bounds is not None
    assert told.bounds[0] <= 0 <= told.bounds[1]
    assert told.likely is not None
    assert told.likely[0] >= told.bounds[0]


def test_a_clock_that_jumps_is_said_so_with_the_time_and_both_offsets() -> None:
    calls = [call(T0 + at * NS_PER_S, 0 if at < 312 else 2 * NS_PER_S) for at in range(600)]
    offsets = clock_offsets(calls)
    (told,) = offsets.told()
    assert told.jumped_at_ns == (T0 + 312 * NS_PER_S,)
    assert offset_sentence(told, T0).endswith("; its clock jumped at 312 s")
    for at, truth in ((100, 0), (500, 2 * NS_PER_S)):
        least, most = offsets.surely_at(T0 + at * NS_PER_S)["stock-2"]
        assert least <= truth <= most


@pytest.mark.parametrize("jump", [-5 * NS_PER_MS, 5 * NS_PER_MS])
def test_a_jump_that_is_shorter_than_every_call_is_found_by_the_likely_bounds(jump: int) -> None:
    calls = []
    for at in range(600):
        late = 4_000_000 if at % 20 == 7 else 0
        calls.append(call(T0 + at * NS_PER_S, 0 if at < 312 else jump, served=20_000_000, late=late))
    offsets = clock_offsets(calls)
    (told,) = offsets.told()
    assert told.jumped_at_ns == (T0 + 312 * NS_PER_S,)
    for at, truth in ((100, 0), (300, 0), (330, jump), (500, jump)):
        for bounds in (offsets.surely_at(T0 + at * NS_PER_S), offsets.at(T0 + at * NS_PER_S)):
            least, most = bounds["stock-2"]
            assert least <= truth <= most


def test_a_slow_call_whose_server_ends_late_is_no_jump() -> None:
    calls = [call(T0 + at * NS_PER_S, 0, served=20_000_000) for at in range(100)]
    calls[50] = call(T0 + 50 * NS_PER_S, 0, out=9_000_000, served=20_000_000, late=9_500_000)
    assert the_only(calls).jumped_at_ns == ()


def test_the_instance_that_jumped_is_named_even_if_it_calls_others() -> None:
    calls = []
    for at in range(100):
        moved = 0 if at < 50 else NS_PER_S
        calls.append(call(T0 + at * NS_PER_S, moved, client="shop", server="stock"))
        calls.append(call(T0 + at * NS_PER_S + moved, -moved, client="stock", server="db"))
        calls.append(call(T0 + at * NS_PER_S, 0, client="shop", server="db"))
    assert {one.instance: len(one.jumped_at_ns) for one in clock_offsets(calls).told()} == {"shop": 0, "stock": 1}


@pytest.mark.parametrize("place", [0, 50, 99])
def test_a_single_call_that_contradicts_all_others_is_counted_and_left_out(place: int) -> None:
    calls = [call(T0 + at * NS_PER_S, 0) for at in range(100)]
    calls[place] = call(T0 + place * NS_PER_S, NS_PER_S)
    told = the_only(calls)
    assert (told.contradicting, told.jumped_at_ns) == (1, ())
    assert told.bounds is not None
    assert told.bounds[0] <= 0 <= told.bounds[1]


@pytest.mark.parametrize("in_a_row", [1, 4])
def test_several_machines_under_one_name_get_no_offset(in_a_row: int) -> None:
    calls = [call(T0 + at * NS_PER_S, 5 * NS_PER_S * (at // in_a_row % 2)) for at in range(100)]
    told = the_only(calls)
    assert told.bounds is None
    assert offset_sentence(told, T0) == (
        "stock-2: its clock cannot be compared, because its 100 exchanges contradict each other"
    )
    assert "stock-2" not in clock_offsets(calls).at(T0)


def test_bounds_along_a_chain_add_up_and_a_shorter_way_wins() -> None:
    calls = [call(T0, 3_000, client="a", server="b"), call(T0, 4_000, client="b", server="c")]
    chain = clock_offsets(calls)
    (reference,) = (name for name, bounds in chain.at(T0).items() if bounds == (0, 0))
    assert reference == "b"
    with_short = clock_offsets([*calls, *[call(T0, 7_000, out=0, back=0, client="a", server="c")] * 3])
    wide = chain.at(T0)["c"][1] - chain.at(T0)["a"][0]
    narrow = with_short.at(T0)
    assert narrow["c"][1] - narrow["a"][0] < wide


def test_no_calls_give_no_offsets() -> None:
    assert clock_offsets([]).told() == []
    assert clock_offsets([]).at(T0) == {}


def test_instances_that_never_call_each_other_are_apart() -> None:
    offsets = clock_offsets([call(T0, 0), call(T0, 5, client="x", server="y")])
    assert sorted(one.reference for one in offsets.told()) == ["shop-1", "x"]


SERVER = span("B", 1_000, 2_000, "A", instance="stock-2", kind="server")
AWAY = span("A", 5_000, 6_200, instance="shop", kind="client")


@pytest.mark.parametrize(
    ("client", "bounds", "expected"),
    [
        pytest.param(span("A", 900, 2_100, instance="stock-2", kind="client"), None, 0, id="one clock"),
        pytest.param(span("A", 900, 2_100, instance="shop", kind="client"), None, 0, id="it encloses"),
        pytest.param(AWAY, None, -4_100, id="centred"),
        pytest.param(span("A", 5_000, 5_200, instance="shop", kind="client"), None, 0, id="it gave up"),
        pytest.param(replace(AWAY, kind="internal"), None, 0, id="not a call"),
        pytest.param(AWAY, (-4_150, -3_950), -4_050, id="known"),
        pytest.param(replace(AWAY, kind="internal"), (-4_150, -3_950), -4_050, id="known, not a call"),
        pytest.param(span("A", 900, 2_100, instance="shop", kind="client"), (-500, 500), 0, id="0 is possible"),
        pytest.param(AWAY, (-8_000, -2_000), -4_200 + 200, id="known, but this call is narrower"),
        pytest.param(AWAY, (100_000_000, 200_000_000), 150_000_000, id="known, and this call contradicts"),
    ],
)
def test_a_child_is_shifted_by_what_offsets_and_its_call_allow(
    client: Span, bounds: Bounds | None, expected: int
) -> None:
    offsets = {"shop": (0, 0), "stock-2": bounds} if bounds else {}
    if expected == -4_000:  # the middle is -5,000; this call allows -4,200 to -4,000
        expected = -4_200
    assert shift_of(client, SERVER, 0, "shop", offsets) == expected


def test_a_server_that_ends_a_little_late_is_not_shifted_but_one_that_begins_early_is() -> None:
    client = span("A", 0, 5 * NS_PER_MS, instance="shop", kind="client")
    late = span("B", NS_PER_MS, 5 * NS_PER_MS + 100, "A", instance="stock", kind="server")
    early = span("B", -10, 4 * NS_PER_MS, "A", instance="stock", kind="server")
    assert shift_of(client, late) == 0
    assert shift_of(client, early) < -10


def shop_trace(number: int, offset: dict[str, int]) -> Trace:
    """Return a trace of three instances, each with its own clock."""
    chance = random.Random(number)
    at = T0 + number * NS_PER_S // 10
    spans: list[Span] = []

    def add(id_: str, parent: str, instance: str, begin: int, end: int, kind: str = "internal") -> None:
        moved = offset.get(instance, 0)
        made = span(id_, begin + moved, end + moved, parent, service=instance, instance=instance, kind=kind)  # type: ignore[arg-type]
        spans.append(made)

    def delay() -> int:
        return chance.randrange(100_000, 300_000)

    root_end = at + 40_000_000 + chance.randrange(5_000_000)
    add("A", "ours", "shop", at, root_end, "server")
    begin = at + 1_000_000
    for number in range(2):
        middle = begin + delay()
        inner = middle + delay() + 2_000_000
        done = inner + delay() + 9_000_000
        add(f"B{number}", "A", "shop", begin, done + 3_000_000 + delay(), "client")
        add(f"C{number}", f"B{number}", "stock", middle, done + 3_000_000, "server")
        add(f"D{number}", f"C{number}", "stock", middle + 500_000, done + 500_000, "client")
        add(f"E{number}", f"D{number}", "price", inner, done, "server")
        begin = done + 4_000_000
    return Trace(f"{number:032x}", tuple(spans))


OFF = {"stock": 5 * NS_PER_S}


def partition(made: Trace, offsets: dict[str, Bounds] | None = None) -> dict[tuple[str, ...], PathTime]:
    tree = repaired(made, ("ours",), offsets)
    assert isinstance(tree, Tree)
    return dict(timed(observed(60_000_000), tree).paths)


def test_a_clock_that_is_5_s_off_gives_the_same_partition_and_its_offset() -> None:
    good, bad = ([shop_trace(number, off) for number in range(50)] for off in ({}, OFF))
    offsets = clock_offsets(one for made in bad for one in exchanges_of(made))
    told = offsets.told()
    assert {one.instance for one in told} == {"shop", "price"}
    for offset in told:
        assert offset.bounds is not None
        assert offset.likely is not None
        assert offset.bounds[0] <= offset.likely[0] <= -5 * NS_PER_S <= offset.likely[1] <= offset.bounds[1]
        assert offset.likely[1] - offset.likely[0] <= 4 * NS_PER_MS
    for one, other in zip(good, bad, strict=True):
        tree = repaired(other, ("ours",), offsets.at(other.spans[0].start_ns))
        assert isinstance(tree, Tree)
        assert tree.repaired == {"clock moved": 4}
        expected = {path: (time.own_ns, time.calls) for path, time in partition(one).items()}
        found = timed(observed(60_000_000), tree).paths
        assert {path: (time.own_ns, time.calls) for path, time in found.items()} == expected


def test_a_server_that_ends_late_is_not_moved_if_its_clock_can_be_right() -> None:
    client = span("A", 0, 60 * NS_PER_MS, instance="shop", kind="client")
    late = span("B", 20 * NS_PER_MS, 64 * NS_PER_MS, "A", instance="stock", kind="server")
    known = {"shop": (0, 0), "stock": (-NS_PER_MS, 19 * NS_PER_MS)}
    assert shift_of(client, late, 0, "shop", known) == 0


def test_without_known_offsets_servers_are_centred_and_counted_apart() -> None:
    good, bad = shop_trace(1, {}), shop_trace(1, OFF)
    tree = repaired(bad, ("ours",))
    assert isinstance(tree, Tree)
    assert tree.repaired == {"clock guessed": 4}
    own = {path: time.own_ns for path, time in timed(observed(60_000_000), tree).paths.items()}
    assert own == {path: time.own_ns for path, time in partition(good).items()}


def test_without_either_rule_a_wrong_clock_hides_what_the_server_did() -> None:
    tree = repaired(
        shop_trace(1, OFF), ("ours",), rules=[rule for rule in RULES if rule not in ("clock moved", "clock guessed")]
    )
    assert isinstance(tree, Tree)
    assert {one.service for one in tree.spans.values()} == {"shop"}
