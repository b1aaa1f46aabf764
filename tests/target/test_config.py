from __future__ import annotations

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.target.config import LATENCIES, LogNormal, Stall, TargetConfig
from loadgen.target.draws import Draws, failures, latencies_ns
from loadgen.units import NS_PER_MS, NS_PER_S

stalls = st.integers(2, 10 * NS_PER_S).flatmap(
    lambda every: st.builds(
        Stall, st.integers(1, every - 1), st.just(every), first_ns=st.none() | st.integers(0, every)
    )
)


@given(stalls, st.integers(0, 100 * NS_PER_S))
def test_a_request_waits_exactly_to_the_end_of_the_window_it_arrives_in(stall: Stall, arrived_ns: int) -> None:
    around = range(max(0, (arrived_ns - stall.offset_ns) // stall.every_ns - 1), arrived_ns // stall.every_ns + 2)
    ends = [
        start + stall.length_ns
        for start in (stall.offset_ns + k * stall.every_ns for k in around)
        if start <= arrived_ns < start + stall.length_ns
    ]

    assert stall.wait_ns(arrived_ns) == (ends[0] - arrived_ns if ends else 0)


@given(stalls, st.integers(1, 20))
def test_whole_periods_hold_as_many_whole_windows_by_default(stall: Stall, periods: int) -> None:
    centred = Stall(stall.length_ns, stall.every_ns)
    windows = list(centred.windows_ns(periods * stall.every_ns))

    assert len(windows) == periods
    assert all(start >= 0 and end <= periods * stall.every_ns for start, end in windows)
    assert {end - start for start, end in windows} == {stall.length_ns}


def test_a_tenth_of_evenly_spaced_arrivals_meets_half_a_second_in_five() -> None:
    stall = Stall(500 * NS_PER_MS, 5 * NS_PER_S)
    waits = sorted(stall.wait_ns(n * 5 * NS_PER_MS) for n in range(200 * 20))

    assert sum(wait > 0 for wait in waits) == 400
    assert waits[int(0.95 * len(waits))] == pytest.approx(250 * NS_PER_MS, rel=0.03)


@pytest.mark.parametrize("path", LATENCIES)
def test_the_numbers_drawn_one_by_one_are_those_known_beforehand(path: str) -> None:
    draws = Draws(7, path, LATENCIES[path], 0.1)

    assert [draws.latency_ns() for _ in range(3000)] == latencies_ns(7, path, LATENCIES[path], 3000).tolist()
    assert [draws.fails() for _ in range(3000)] == failures(7, path, 0.1, 3000).tolist()


def test_paths_and_seeds_draw_different_numbers() -> None:
    law = LogNormal(10 * NS_PER_MS, 0.5)
    drawn = {tuple(latencies_ns(seed, path, law, 5)) for seed in (1, 2) for path in LATENCIES}

    assert len(drawn) == 2 * len(LATENCIES)


def test_drawn_latencies_follow_their_law() -> None:
    law = LogNormal(20 * NS_PER_MS, 0.7)
    drawn = latencies_ns(3, "/search", law, 100_000)

    assert np.median(drawn) == pytest.approx(law.median_ns, rel=0.01)
    assert np.quantile(drawn, 0.99) == pytest.approx(law.quantile_ns(0.99), rel=0.03)
    assert law.quantile_ns(0.5) == law.median_ns
    assert drawn.mean() == pytest.approx(law.median_ns * exp(0.7**2 / 2), rel=0.02)


def test_options_are_read_as_people_write_them() -> None:
    config = TargetConfig.of_options(stall="500ms", every="5s", path="/cart", error_ratio="1%", slow_start="10s")

    assert config.stall == Stall(500 * NS_PER_MS, 5 * NS_PER_S, "/cart")
    assert (config.error_ratio, config.slow_start_ns) == (0.01, 10 * NS_PER_S)


def test_a_path_can_be_slower_by_a_share_and_the_others_stay() -> None:
    config = TargetConfig.of_options(always="40ms", slower=["/cart=10%", "/login=0.05"])

    assert config.latencies["/cart"] == LogNormal(44 * NS_PER_MS, 0.0)
    assert config.latencies["/login"].median_ns == 42 * NS_PER_MS
    assert config.latencies["/search"].median_ns == 40 * NS_PER_MS
    assert TargetConfig.of_options(slower=["/cart=10%"]).latencies["/cart"].sigma == LATENCIES["/cart"].sigma


def test_what_is_wrong_with_slower_paths_is_said_at_once() -> None:
    with pytest.raises(UsageError, match=r"no path /nowhere.*invalid ratio.*no path 10%"):
        TargetConfig.of_options(slower=["/nowhere=10%", "/cart=much", "10%"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stall": "6s", "every": "5s"}, "shorter than --every"),
        ({"stall": "soon"}, "invalid duration"),
        ({"every": "5s"}, "--every and --path"),
        ({"stall": "1s", "path": "/nowhere"}, "no path /nowhere"),
        ({"error_ratio": "101%"}, "must be from 0 to 100 %"),
        ({"error_ratio": "some"}, "invalid ratio"),
        ({"slow_start": "-1s"}, "invalid duration"),
    ],
)
def test_an_option_that_makes_no_sense_is_said(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TargetConfig.of_options(**options)  # type: ignore[arg-type]


def test_all_options_that_do_not_parse_are_said_at_once_by_name() -> None:
    with pytest.raises(UsageError) as told:
        TargetConfig.of_options(stall="5x", every="-1s", error_ratio="200%", slow_start="soon", always="-1ms")

    for option in ("--stall", "--every", "--error-ratio", "--slow-start", "--latency"):
        assert f"{option}: " in told.value.message


def test_an_impossible_port_is_said() -> None:
    with pytest.raises(UsageError, match="70000"):
        TargetConfig(port=70000)
