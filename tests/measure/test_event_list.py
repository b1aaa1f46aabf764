"""The list of a stream's events: what goes in comes out, in few bytes."""

from __future__ import annotations

import sys
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.event_list import MOST_TOKENS, EventList
from loadgen.measure.streams import CONTENT, KINDS, USAGE

GAPS = st.one_of(st.integers(0, 10**6), st.sampled_from([2**32 - 1, 2**32, 2**32 + 1, 10**14]))


@given(
    st.lists(st.tuples(GAPS, st.integers(0, len(KINDS) - 1), st.one_of(st.just(-1), st.integers(-1, MOST_TOKENS)))),
    st.integers(0, 2**60),
)
def test_each_event_comes_out_as_it_went_in(events: list[tuple[int, int, int]], start_ns: int) -> None:
    t_ns = list(accumulate((gap for gap, _, _ in events), initial=start_ns))[1:]
    kinds, tokens = [kind for _, kind, _ in events], [n for _, _, n in events]

    found = EventList.of(t_ns, kinds, tokens)

    assert (list(found.t_ns), list(found.kinds), list(found.tokens)) == (t_ns, kinds, tokens)
    assert list(found.gaps_ns) == [gap for gap, _, _ in events[1:]]
    assert len(found) == len(events)
    if events:
        assert (found.first_ns, found.last_ns) == (t_ns[0], t_ns[-1])


def test_a_time_before_the_last_one_is_kept_as_the_last_one() -> None:
    found = EventList.of([100, 90, 120], [CONTENT] * 3, [-1] * 3)
    assert found.t_ns == [100, 100, 120]


def test_more_tokens_than_fit_are_kept_as_the_most() -> None:
    assert list(EventList.of([1, 2], [CONTENT, USAGE], [-1, 10**30]).tokens) == [-1, MOST_TOKENS]


def test_an_event_takes_six_bytes_where_only_the_end_has_a_count() -> None:
    found = EventList()
    for n in range(10_000):
        found.add(n * 20_000_000, CONTENT, -1)
    kept = sum(sys.getsizeof(getattr(found, name)) for name in ("kinds", "_gaps", "_tokens"))
    assert kept < 10_000 * 6
