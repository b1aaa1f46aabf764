"""Slices from raw counters: edges, restarts, gaps and series that come and go."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right

from hypothesis import given
from hypothesis import strategies as st

from loadgen.programme.ledger.slices import Slice, sum_of
from loadgen.programme.sources.asked import Asked
from loadgen.programme.sources.counter_slices import Instance, counted, needs_samples

START = 1_784_505_600
ASKED = Asked("checkout-fast", "all", "good", "", START, START + 180, 60)

Samples = dict[float, float]
"""Values by seconds after `START`."""


def instance(**series: Samples) -> Instance:
    found = Instance()
    for name, values in series.items():
        role = name.split("_")[0]
        found.add((role, name), [round((START + at) * 1_000) for at in values], values.values())
    return found


def made(*instances: Instance, asked: Asked = ASKED) -> list[Slice]:
    slices, notes = counted({f"shop-{n}": one for n, one in enumerate(instances)}, asked, 10, "made")
    assert not notes
    return slices


def steady(each: float, until: float = 190, step: float = 10, first: float = -5) -> Samples:
    """A counter that grows by `each` between two samples."""
    times = [first + n * step for n in range(int((until - first) // step) + 1)]
    return {at: 100 + each * n for n, at in enumerate(times)}


def figures(slices: list[Slice]) -> list[tuple[int, int, int]]:
    return [(one.good, one.total, one.missing_s) for one in slices]


def test_a_slice_has_the_difference_between_the_last_samples_at_or_before_its_edges() -> None:
    found = made(instance(total=steady(7), good=steady(6)))

    assert figures(found) == [(36, 42, 0)] * 3
    assert [one.start for one in found] == [START, START + 60, START + 120]


def test_a_counter_that_stays_is_no_traffic_and_nothing_is_missing() -> None:
    assert figures(made(instance(total=steady(0), good=steady(0)))) == [(0, 0, 0)] * 3


def test_after_a_restart_the_new_value_counts_and_the_time_since_the_last_scrape_is_missing() -> None:
    total = {-5.0: 100.0, 25.0: 130.0, 35.0: 4.0, 55.0: 10.0, 65.0: 11.0, 115.0: 20.0, 175.0: 30.0}

    found = made(instance(total=total, good=total))

    assert figures(found)[0] == (30 + 10, 30 + 10, 10)
    assert found[0].evidence == "made; restart of shop-0"
    assert figures(found)[1] == (10, 10, 0)


def test_a_restart_is_found_even_if_the_counter_is_above_its_old_value_at_the_edge() -> None:
    edges = instance(
        total={-5: 10.0, 55: 500.0, 115: 600.0, 175: 700.0}, good={-5: 10.0, 55: 500.0, 115: 600.0, 175: 700.0}
    )
    edges.resets.add(START + 60)

    assert needs_samples({"shop": edges}, ASKED, 10) == [START]


def test_slices_beside_an_edge_without_a_near_scrape_are_partial() -> None:
    total = {at: value for at, value in steady(7).items() if at not in (45, 55)}

    found = made(instance(total=total, good=total))

    assert [one.missing_s for one in found] == [25, 5, 0]
    assert [one.total for one in found] == [28, 35, 42]
    assert "no scrape of shop-0 near the end" in found[0].evidence
    assert "near the beginning" in found[1].evidence


def test_a_gap_within_a_slice_without_a_restart_loses_nothing() -> None:
    total = {at: value for at, value in steady(7).items() if not 10 < at < 40}

    assert figures(made(instance(total=total, good=total))) == [(42, 42, 0)] * 3


def test_a_slice_within_a_gap_of_an_instance_is_missing_and_has_no_zero() -> None:
    total = {at: value for at, value in steady(7).items() if not 40 < at < 130}

    found = made(instance(total=total, good=total))

    assert [one.missing_s for one in found] == [25, 60, 15]
    assert found[1].total == 0


def test_slices_without_any_sample_are_absent() -> None:
    total = {at: value for at, value in steady(7).items() if at < 50}

    found = made(instance(total=total, good=total))

    assert [(one.start, one.missing_s) for one in found] == [(START, 15)]


def test_an_instance_that_prometheus_no_longer_knew_misses_one_interval_and_one_that_failed_all_of_it() -> None:
    total = {at: value for at, value in steady(7).items() if at < 20}
    gone, failing = (instance(total=total, good=total) for _ in range(2))
    gone.up = {round((START + at) * 1_000) for at in total}
    failing.up = {round((START + at) * 1_000) for at in steady(7)}

    found = [made(instance(total=steady(7), good=steady(7)), one)[0] for one in (gone, failing)]

    assert [one.missing_s for one in found] == [13, 45]
    assert [one.evidence for one in found] == ["made; shop-1 is gone", "made; no scrape of shop-1 near the end"]


def test_an_instance_that_prometheus_did_not_know_before_misses_one_interval() -> None:
    late = {at: value for at, value in steady(7).items() if at > 30}
    new = instance(total=late, good=late)
    new.up = {round((START + at) * 1_000) for at in late}

    found = made(instance(total=steady(7), good=steady(7)), new)

    assert (found[0].missing_s, found[0].evidence) == (13, "made; shop-1 is new")


def test_a_series_that_begins_while_its_instance_is_scraped_counts_from_zero() -> None:
    good = {at: value - 100 for at, value in steady(5, first=15).items()}

    found = made(instance(total=steady(7), good=good, good_other={25: 2.0, 55: 3.0, 115: 3.0, 175: 3.0}))

    assert figures(found)[0] == (20 + 3, 42, 0)
    assert figures(found)[1] == (30, 42, 0)


def test_the_first_sample_of_a_new_instance_is_its_beginning_and_the_time_before_it_is_missing() -> None:
    late = {at: value for at, value in steady(7).items() if at > 30}

    found = made(instance(total=steady(7), good=steady(7)), instance(total=late, good=late))

    assert figures(found)[0] == (42 + 14, 42 + 14, 35)
    assert figures(found)[1] == (84, 84, 0)


def test_counts_with_fractions_are_estimated() -> None:
    found = made(instance(total=steady(7.25), good=steady(7.25)))

    assert [(one.total, one.estimated) for one in found] == [(44, True)] * 3


def test_more_good_requests_than_requests_is_a_missing_slice_with_a_note() -> None:
    slices, notes = counted({"shop": instance(total=steady(6), good=steady(7))}, ASKED, 10, "made")

    assert slices == []
    assert notes[0] == f"the slice at {START} is missing: 42 good requests of 36 are not possible"


def test_bad_requests_are_subtracted() -> None:
    asked = Asked("a", "all", "", "bad", START, START + 180, 60)

    assert figures(made(instance(total=steady(7), bad=steady(1)), asked=asked)) == [(36, 42, 0)] * 3


def test_only_slices_that_need_raw_samples_ask_for_them() -> None:
    edges = {-5.0: 10.0, 55.0: 20.0, 115.0: 30.0, 175.0: 40.0}
    whole = instance(total=edges, good=edges)
    fallen = instance(total=edges | {115.0: 5.0}, good=edges)
    far = instance(total={at: edges[at] for at in (-5.0, 55.0, 115.0)}, good=edges)
    gone = instance(total={-5.0: 1.0}, good={-5.0: 1.0})
    unseen = instance(total={}, good={})
    unseen.seen.add(START + 120)

    needed = [needs_samples({"shop": one}, ASKED, 10) for one in (whole, fallen, far, gone, unseen)]

    assert needed == [[], [START + 60], [START + 120], [START], [START + 60]]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(0, 5)), min_size=40, max_size=60),
    st.integers(10, 30),
    st.integers(0, 2**31),
)
def test_no_request_between_scrapes_is_lost_or_counted_twice_however_the_time_is_cut(
    steps: list[tuple[int, int, int]], width: int, seed: int
) -> None:
    """Scrapes at random distances; the sum of whole neighbours is the difference of the counter at their edges."""
    at, total, good = 0, 0, 0
    times, totals, goods = [0], [0.0], [0.0]
    for seconds, more_good, more_bad in steps:
        at, good, total = at + seconds, good + more_good, total + more_good + more_bad
        times, totals, goods = [*times, at], [*totals, float(total)], [*goods, float(good)]
    one = Instance()
    one.add(("total", ""), [(START + t) * 1_000 for t in times], totals)
    one.add(("good", ""), [(START + t) * 1_000 for t in times], goods)
    draw = random.Random(seed)
    first = START + draw.randrange(0, 20)
    asked = Asked("a", "all", "good", "", first, START + at, width)

    slices, notes = counted({"shop": one}, asked, 10, "made")

    assert not notes
    if not slices:
        return
    assert all(one.is_whole for one in slices)
    a, b = (bisect_right(times, edge - START) - 1 for edge in (slices[0].start, slices[-1].end))
    assert bisect_left(times, times[a]) == a
    found = sum_of(slices)
    assert (found.good, found.total) == (goods[b] - goods[a], totals[b] - totals[a])
