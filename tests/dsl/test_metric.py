"""Custom metrics: what they keep, where it goes, and what is wrong with how they are declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.metric import counter, gauge, metrics_declared, rate, trend
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import UsageError
from loadgen.measure.deltas.custom import MAX_CUSTOM, CustomStats
from tests.support.scenarios import browse_with, told, write


def test_what_is_counted_is_taken_once() -> None:
    orders, stock, hits = counter("orders"), gauge("stock", unit="items"), rate("hits")
    orders.add()
    orders.add(4)
    for value in (3, 9.5, 2):
        stock.set(value)
    for hit in (True, False, True):
        hits.add(hit)
    assert orders.take() == CustomStats("orders", "counter", 2, 5)
    assert stock.take() == CustomStats("stock", "gauge", 3, 0, 2, 9.5, 2)
    assert hits.take() == CustomStats("hits", "rate", 3, 2)
    assert (orders.take(), stock.take(), hits.take()) == (None, None, None)


def test_a_gauge_of_negative_values_keeps_its_highest() -> None:
    depth = gauge("depth")
    depth.set(-4)
    depth.set(-9)
    assert depth.values == (-9, -4, -9)


def test_bound_metrics_come_with_the_delta() -> None:
    recorder = Recorder()
    orders, basket = counter("orders"), trend("basket", unit="EUR", resolution=0.01)
    orders.add(9)  # before the run
    for metric in (orders, basket):
        metric.bind(recorder)
        metric.bind(recorder)
    orders.add(2)
    basket.add(41.9)
    basket.add(0)
    delta = recorder.flip(0, 1)
    assert delta.custom == (CustomStats("orders", "counter", 1, 2),)
    (key,) = delta.new_series
    assert (key.kind, key.request, key.metric) == ("trend", "basket", "value")
    assert (delta.stats[0].n, delta.stats[0].max_ns) == (2, 4_190_000)  # 41.90 are 4,190 cents, 1 µs each


def test_a_metric_that_is_not_bound_is_there_to_be_looked_at() -> None:
    basket, orders, hits = trend("basket"), counter("orders"), rate("hits")
    basket.add(3)
    orders.add(2)
    hits.add(True)
    assert (basket.values, orders.values, hits.values, gauge("x").values) == ((3,), (2,), (1, 1), ())


@pytest.mark.parametrize(
    "use",
    [
        lambda: counter("a").add(-1),
        lambda: counter("a").add(1.5),  # type: ignore[arg-type]
        lambda: gauge("a").set(float("nan")),
        lambda: gauge("a").set("3"),  # type: ignore[arg-type]
        lambda: trend("a").add(-1),
        lambda: trend("a").add(float("inf")),
        lambda: trend("a").add(True),
    ],
)
def test_a_value_that_makes_no_sense_raises_where_it_is_used(use: Any) -> None:
    with pytest.raises(UsageError, match='"a" cannot'):
        use()


METRICS = """
from loadgen.dsl.metric import counter, gauge, rate, trend
orders = counter("orders")
basket = trend("basket", unit="EUR", resolution=0.01)
"""


def with_metrics(folder: Path, more: str = "") -> Path:
    path = browse_with(folder)
    path.write_text(path.read_text() + METRICS + more)
    return path


def test_the_loader_finds_metrics_also_of_files_beside_the_scenario(tmp_path: Path) -> None:
    write(tmp_path, 'from loadgen.dsl.metric import counter\norders = counter("orders")\n', "shop.py")
    scenario = load(with_metrics(tmp_path, "import shop\nassert shop.orders is orders\n"))
    assert [metric.name for metric in scenario.metrics] == ["orders", "basket"]
    assert [(m.name, m.kind, m.unit, m.resolution) for m in scenario.plan.spec().metrics] == [
        ("orders", "counter", "", 0.001),
        ("basket", "trend", "EUR", 0.01),
    ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('gauge("orders")', 'metric "orders" is a gauge here and a counter at '),
        (
            'trend("basket", unit="USD", resolution=0.01)',
            'metric "basket" is a trend in USD with a resolution of 0.01 here',
        ),
        (
            'trend("basket", unit="EUR")',
            'metric "basket" is a trend in EUR with a resolution of 0.001 here and a trend in',
        ),
        ("counter(3)", "3 is not a valid name of a counter | write counter"),
        ('rate("")', "'' is not a valid name of a rate"),
        ('counter("a", unit=3)', 'counter "a": 3 is not a unit'),
        ('trend("a", resolution=0)', 'trend "a": 0 is not a valid resolution'),
        ('trend("a", resolution="0.1")', "trend \"a\": '0.1' is not a valid resolution"),
    ],
)
def test_a_metric_that_is_declared_wrongly_is_a_fault_at_its_line(tmp_path: Path, more: str, expected: str) -> None:
    (line,) = told(with_metrics(tmp_path, more + "\n"))
    assert line.startswith(f"scenario.py:18 {expected}")
    assert " | " in line


def test_a_name_for_each_value_is_one_fault(tmp_path: Path) -> None:
    (line,) = told(with_metrics(tmp_path, "for i in range(10_000): counter(f'order {i}')\n"))
    assert line.startswith(f'scenario.py:18 metric "order 198": more than {MAX_CUSTOM} custom metrics')


def test_outside_of_a_scenario_names_are_free() -> None:
    assert counter("orders") is not counter("orders")
    with metrics_declared() as declared:
        assert counter("orders") is counter("orders")
    assert list(declared.metrics) == ["orders"]
