"""Nodes are split where what follows depends on what was before, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadgen.dsl.loading.loader import load
from loadgen.traffic.model.second_order import Split, split_walks, splits_of
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.scenario.draft_of_logs import arrivals_of, draft_of
from loadgen.traffic.scenario.scenario_files import files_of, write_files
from loadgen.traffic.scenario.traffic_json import traffic_json
from loadgen.traffic.sessions.session_steps import steps_of_table
from tests.support.made_logs import BEGIN_S, Line, written_log
from tests.support.made_sessions import MarkovKinds, sessions_of, walks_of
from tests.traffic.test_scenario_update import model

HOME, SEARCH, PRODUCT, CART = range(4)
OUTSIDE = 5


def ways(count: int, seed: int) -> list[list[int]]:
    """Sessions in which a product after a search is put into the cart in 60 %, and one after home in 5 %."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        searches = rng.random() < 0.5
        one = [HOME, SEARCH, PRODUCT] if searches else [HOME, PRODUCT]
        if rng.random() < (0.6 if searches else 0.05):
            one.append(CART)
        found.append(one)
    return found


def triples_of(found: list[list[int]]) -> np.ndarray[tuple[int, int, int], np.dtype[np.int64]]:
    sessions = [[(state, 10**7 * n + 3_000_000 * k) for k, state in enumerate(one)] for n, one in enumerate(found)]
    return walks_of(steps_of_table(sessions_of(sessions, states=OUTSIDE))).triples


def test_a_state_is_split_by_what_was_before() -> None:
    triples = triples_of(ways(2_000, 1))

    (split,) = splits_of(triples, most=1)
    walks = split_walks(triples, [split])

    assert split.state == PRODUCT
    assert split.before in (HOME, SEARCH)
    new, expected = OUTSIDE, {HOME: 0.05, SEARCH: 0.6}
    for state, share in ((new, expected[split.before]), (PRODUCT, expected[HOME + SEARCH - split.before])):
        row = walks.moves[state]
        assert row[CART] / (row.sum() + walks.leaves[state]) == pytest.approx(share, abs=0.04)
    assert walks.base[new] == PRODUCT


def test_counts_are_the_same_with_and_without_splits() -> None:
    triples = triples_of(ways(500, 2))
    without = split_walks(triples, [])

    walks = split_walks(triples, [Split(PRODUCT, SEARCH), Split(HOME, OUTSIDE)])

    assert np.array_equal(walks.starts + walks.moves.sum(0), walks.moves.sum(1) + walks.leaves), "the flow is exact"
    folded = np.zeros_like(without.moves)
    np.add.at(folded, np.ix_(walks.base, walks.base), walks.moves)
    assert np.array_equal(folded, without.moves)
    assert walks.starts[OUTSIDE + 1] == 500, "each session begins at home"
    assert walks.starts[HOME] == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_state_of_a_chain_of_first_order_is_split(seed: int) -> None:
    table, _ = MarkovKinds((1.0,), seed=seed).sessions(3_000, seed)

    assert splits_of(walks_of(steps_of_table(table)).triples) == ()


def test_the_scenario_of_a_log_of_second_order_walks_like_the_log(tmp_path: Path) -> None:
    names = {HOME: "/", SEARCH: "/search", PRODUCT: "/product", CART: "/cart"}
    lines = [
        Line(BEGIN_S + 15 * n + 3 * k, n, "GET", names[state], 0.02)
        for n, one in enumerate(ways(1_500, 3))
        for k, state in enumerate(one)
    ]
    shop = tmp_path / "shop/shop.py"
    log = written_log(sorted(lines), tmp_path / "a.log", "alb")
    options = LogOptions(model=ModelRules(classes=1))
    traffic = read_logs([log], options)
    arrivals = arrivals_of(traffic)
    draft = draft_of(traffic, arrivals, target="http://127.0.0.1:1", command="")
    write_files(files_of(draft, shop, traffic_json(traffic, arrivals, draft, options)))

    (journey,) = load(shop).journeys
    sessions = [journey.path(n, seed=4) for n in range(2_000)]  # type: ignore[attr-defined]
    for searches, expected in ((True, 0.6), (False, 0.05)):
        mine = [one for one in sessions if ("search" in one) == searches]
        assert sum("cart" in one for one in mine) / len(mine) == pytest.approx(expected, abs=0.05)
    assert "product_after" in shop.read_text()
    assert model("update", shop, log)[0] == 0
    assert model(log, "-o", tmp_path / "flat/shop.py", "--classes", "1")[0] == 0
    assert "product_after" not in (tmp_path / "flat/shop.py").read_text()
