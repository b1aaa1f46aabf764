"""Counts from a real Prometheus, which scrapes a shop with a restart and a missing scrape, against the shop's log."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loadgen.programme.ledger.slices import Slice
from loadgen.programme.sources.asked import Asked, Pulled
from loadgen.programme.sources.prometheus import PrometheusSource
from tests.support.counted_shop import CountedShop, counted_shop
from tests.support.prometheus import RunningPrometheus, running_prometheus

GOOD, TOTAL = 'shop_seconds_bucket{le="0.3"}', "shop_seconds_count"


@pytest.mark.parametrize(
    ("width", "count"), [(5, 24), pytest.param(30, 20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_good_and_total_equal_the_shops_log_in_every_whole_slice(tmp_path: Path, width: int, count: int) -> None:
    """Two minutes, and ten. It waits, and takes 3 s of CPU; tests/conftest.py lets it begin before the others."""
    with counted_shop() as shop, running_prometheus(tmp_path, f"127.0.0.1:{shop.port}") as prometheus:
        first = _first_edge(prometheus, width)
        restarted, missed = first + 2 * width, first + 5 * width
        _until(restarted + width / 2)
        shop.stop()
        time.sleep(1.2)
        shop.start()
        # The scrape before this edge fails; of a scrape .25 s before it, the one before it too.
        shop.fail_between = (missed - 1.3, missed)
        end = first + count * width
        _until(end + 1.5)

        asked = Asked("checkout-fast", TOTAL, GOOD, "", first, end, width)
        source = PrometheusSource(prometheus.url)
        pulled = source.pull(asked)
        again = source.pull(asked)
        bad = source.pull(Asked("x", TOTAL, 'shop_seconds_bucket{le="0.30"}', "", first, end, width))
        source.close()

        _check(pulled, shop, prometheus, asked, {restarted, missed - width, missed})
        assert again == pulled
        assert [str(one) for one in bad.faults] == [
            'no series is shop_seconds_bucket{le="0.30"}: the bucket must exist exactly; there are le = 0.1, 0.3, +Inf'
        ]


def _check(pulled: Pulled, shop: CountedShop, prometheus: RunningPrometheus, asked: Asked, partial: set[int]) -> None:
    assert not pulled.faults
    assert [one.start for one in pulled.slices] == list(asked.edges[:-1])
    lacking = {one.start for one in pulled.slices if not one.is_whole}
    assert partial <= lacking
    # On a busy machine, Prometheus itself may be late.
    late = {edge for edge in asked.edges if _is_late(prometheus, edge)}
    assert all({start, start + asked.width} & late for start in lacking - partial)
    whole = [one for one in pulled.slices if one.is_whole]
    assert len(whole) > len(asked.edges) // 2
    assert [(one.good, one.total) for one in whole] == [_logged(shop, prometheus, one) for one in whole]
    assert all(1 <= one.missing_s <= 4 for one in pulled.slices if one.start in partial)
    assert not any(one.estimated for one in pulled.slices)
    assert pulled.calls <= 8
    increases = [prometheus.value(f"increase({TOTAL}[{asked.width}s] @ {one.end})") for one in whole]
    assert increases != [one.total for one in whole]
    # Partial slices have at most what the shop served.
    for one in pulled.slices:
        assert one.total <= sum(one.start - 1.3 <= at < one.end and what != "scrape" for at, what in shop.log)


def _logged(shop: CountedShop, prometheus: RunningPrometheus, one: Slice) -> tuple[int, int]:
    """The requests of the log between the scrapes that are last at or before the edges of the slice."""
    first, last = (prometheus.value(f"timestamp({TOTAL} @ {edge})") for edge in (one.start, one.end))
    assert one.start - 1.1 <= first <= one.start
    return shop.between(first, last)


def _is_late(prometheus: RunningPrometheus, edge: int) -> bool:
    """Whether the last scrape before an edge is more than its interval before it."""
    found = prometheus.ask(f"timestamp({TOTAL} @ {edge})")
    return not found or edge - float(found[0]["value"][1]) > 1.2


def _first_edge(prometheus: RunningPrometheus, width: int) -> int:
    """An edge with at least two scrapes before it."""
    until = time.monotonic() + 30
    while not prometheus.ask(f"count_over_time({TOTAL}[10s]) >= 2"):
        assert time.monotonic() < until
        time.sleep(0.1)
    return int(-(-(time.time() + 0.5) // width) * width)


def _until(at: float) -> None:
    time.sleep(max(0.0, at - time.time()))
