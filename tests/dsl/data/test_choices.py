"""`choices` and `quantiles`: laws of the draws, files that travel, and errors with file and line."""

from __future__ import annotations

from pathlib import Path
from random import Random
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.dsl.data import quantile_file, rowfile
from loadgen.dsl.data.choices import Choices, choices
from loadgen.dsl.data.quantile_file import QUANTILES, quantile_columns, quantiles
from loadgen.dsl.executors.recorded_traffic_load import replay
from loadgen.dsl.loading.loader import load
from loadgen.errors import ScenarioError, UsageError
from loadgen.profiles.profile import ArrivalProfile
from tests.support.examples import examples
from tests.support.scenarios import told, write

SCENARIO = """
from loadgen import Plan, User, arrivals, choices, edge, graph, journey, leave, quantiles

SKUS = choices("data/skus.csv", value="sku", weight="hits")


@journey
async def home(user: User) -> None:
    await user.http.get(f"/{user.draw(SKUS)}", name="GET /{sku}")


shop = graph({home: {home: edge(1, think=quantiles("data/think.csv", row="home")), leave: 1}}, counts=True, start=home)
plan = Plan(target="http://127.0.0.1:1", load=arrivals("1/s").hold("1s"), mix=shop)
"""
SKUS = "sku,hits\na,70\nb,20\nc,10\n"
THINK = ",".join(quantile_columns()) + "\nhome," + ",".join(str(n) for n in range(QUANTILES)) + "\n"


def file(folder: Path, text: str, name: str = "skus.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def draws(of: Choices, count: int, seed: int = 1) -> list[str]:
    random = Random(seed)
    return [of.draw(random) for _ in range(count)]


def wrongs(of: Choices) -> list[str]:
    return [f"{Path(f.file).name}:{f.line} {f.message}" for f in of.faults]


def test_a_text_is_drawn_as_often_as_its_weight_says(tmp_path: Path) -> None:
    found = draws(choices(file(tmp_path, SKUS), value="sku", weight="hits"), 20_000)

    for text, share in (("a", 0.7), ("b", 0.2), ("c", 0.1)):
        assert found.count(text) / 20_000 == pytest.approx(share, abs=4 * (share * (1 - share) / 20_000) ** 0.5)


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=60).filter(any))
@settings(max_examples=examples(60))
def test_the_tables_have_exactly_the_weights_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, weights: list[int]
) -> None:
    text = "v,w\n" + "".join(f"t{n},{weight}\n" for n, weight in enumerate(weights))
    made = choices(file(tmp_path_factory.mktemp("c"), text), value="v", weight="w")
    _, keep, other = made._table

    shares = np.zeros(len(weights))
    for n, (kept, rest) in enumerate(zip(keep, other, strict=True)):
        shares[n] += kept / len(weights)
        shares[rest] += (1 - kept) / len(weights)

    assert shares == pytest.approx(np.array(weights) / sum(weights), abs=1e-12)
    assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if not weight)


def test_without_weights_all_texts_are_equally_likely_and_a_draw_takes_one_number(tmp_path: Path) -> None:
    made = choices(file(tmp_path, "sku\n" + "".join(f"s{n}\n" for n in range(10))), value="sku")
    one, other = Random(5), Random(5)

    made.draw(one)
    other.random()

    assert len(made) == 10
    assert one.random() == other.random()
    assert set(draws(made, 500)) == {f"s{n}" for n in range(10)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sku,hits\na,-1\nb,nan\n", ["skus.csv:2 hits is -1", "skus.csv:3 hits is nan"]),
        ("sku,hits\na,0\nb,0\n", ["skus.csv:0 all weights in the column hits are 0"]),
        ("sku,hits\na,many\n", ["skus.csv:2"]),
        ("name,hits\na,1\n", ["skus.csv:1"]),
        ("", ["skus.csv:0 the file is empty"]),
    ],
)
def test_a_wrong_file_is_an_error_with_its_line(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = wrongs(choices(file(tmp_path, text), value="sku", weight="hits"))

    assert len(found) == len(expected)
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True)), found


def test_wrong_arguments_are_errors_and_drawing_raises_them() -> None:
    made = choices("", value="", weight="hits")

    assert len(made.faults) == 2
    with pytest.raises(ScenarioError):
        made.draw(Random(1))


def test_the_loader_reports_errors_of_these_files_and_agents_get_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, SCENARIO)

    assert any("skus.csv" in one for one in told(path))
    file(tmp_path, SKUS, "data/skus.csv")
    file(tmp_path, THINK.replace("home", "elsewhere"), "data/think.csv")
    assert any("think.csv has no row 'home'" in one for one in told(path))
    file(tmp_path, THINK, "data/think.csv")
    assert {one.name for one in load(path).files} == {"scenario.py", "skus.csv", "think.csv"}


def test_quantiles_are_straight_between_the_values_of_the_file(tmp_path: Path) -> None:
    made = quantiles(file(tmp_path, THINK, "think.csv"), row="home")

    assert made.mean == pytest.approx(20)
    assert [made.quantile(u) for u in (0.025, 0.5, 0.5125)] == pytest.approx([1, 20, 20.5])
    random = Random(3)
    found = np.array([made.draw(random) for _ in range(4_000)])
    assert abs(found.mean() - 20) < 4 * 11.6 / 4_000**0.5
    assert 0 <= found.min() <= found.max() <= 40


def test_a_file_of_quantiles_is_read_once_for_all_its_rows_and_again_if_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Mock(wraps=rowfile.read_table)
    monkeypatch.setattr(quantile_file, "read_table", read)
    path = file(tmp_path, THINK + THINK.splitlines()[1].replace("home", "cart") + "\n", "think.csv")

    home = quantiles(path, row="home")
    cart = quantiles(path, row="cart")

    assert (home.faults, cart.faults, read.call_count) == ((), (), 1)
    file(tmp_path, THINK, "think.csv")
    assert ["has no row 'cart'" in fault.message for fault in quantiles(path, row="cart").faults] == [True]
    assert read.call_count == 2


def test_quantiles_that_decrease_are_an_error_with_their_line(tmp_path: Path) -> None:
    wrong = THINK + "back," + ",".join(str(-n) for n in range(QUANTILES)) + "\nhome," + ",".join(["1"] * QUANTILES)
    made = quantiles(file(tmp_path, wrong, "think.csv"), row="home")

    assert [(f.line, f.message) for f in made.faults] == [
        (3, "the values do not increase"),
        (4, "the name 'home' is there twice"),
    ]
    with pytest.raises((ScenarioError, UsageError)):
        made.draw(Random(1))


def test_recorded_counts_can_arrive_at_random_with_the_counts_as_means(tmp_path: Path) -> None:
    path = file(tmp_path, "time,n\n" + "".join(f"{10 * n},{50 if n % 2 else 400}\n" for n in range(40)), "a.csv")
    even = replay(path, counts=True).lower(7).profile
    assert isinstance(even, ArrivalProfile)
    assert even.total() == 20 * 450

    for load_, ratio in ((replay(path, counts=True).poisson(), 1), (replay(path, counts=True).gamma(cv=2), 4)):
        profiles = [load_.lower(seed).profile for seed in range(20)]
        totals = np.array([one.total() for one in profiles if isinstance(one, ArrivalProfile)])
        assert abs(totals.mean() - 9_000) < 4 * (9_000 * ratio / 20) ** 0.5
        assert totals.var() / 9_000 == pytest.approx(ratio, rel=1.2)
        due_s = profiles[3].due_ns(np.arange(totals[3])) / 1e9  # type: ignore[union-attr]
        busy = np.count_nonzero((due_s // 10) % 2 == 0) / len(due_s)
        assert busy == pytest.approx(400 / 450, abs=0.02)
    assert load_.lower(1).profile != load_.lower(2).profile


def test_spacings_of_a_replay_are_set_once(tmp_path: Path) -> None:
    path = file(tmp_path, "time,n\n0,5\n10,5\n", "a.csv")

    assert not replay(path, counts=True).poisson(seed=3).faults
    assert len(replay(path, counts=True).poisson().gamma(cv=2).faults) == 1
    assert len(replay(path, counts=True).gamma().faults) == 1
