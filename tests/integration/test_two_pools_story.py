"""The story of the two pools on the real demo shop: each pool is harmless alone, and both together hold up batches.

A sweep finds the interaction, and nothing without the shared lock. Traces, lock chains and the series of the database
say the same about a run, and a rerun without one pool shows that the slowness goes away.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from loadgen.ladder import Rung, words_of
from tests.support.two_pools import TwoPools, two_pools

pytestmark = [pytest.mark.quiet, pytest.mark.slow]
BOTH = "settle × payout"
REPEATED = 3
LEDGER = ["shop: POST /ach", "shop: UPDATE ledger"]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoPools]:
    with two_pools(tmp_path_factory.mktemp("two-pools")) as running:
        yield running


def _wrong_interaction(result: Mapping[str, Any], response: str) -> str:
    """Return what is wrong with a sweep with the lock: the interaction is first, and explains both main effects."""
    found = result["facts"]["responses"][response]
    first, *others = found["terms"]
    if first["term"] != BOTH or not first["is_found"]:
        return f"{first['term']} is first (found: {first['is_found']}, p {first['p_holm']:.2g}): {found['result']}"
    if own := [one["term"] for one in others if one["is_found"] and one["explained_by"] != [BOTH]]:
        return f"effects of their own: {own}"
    together = [one["change"] for one in found["simple_effects"] if set(one["at"].values()) == {"8"}]
    if len(together) != 2 or min(together) < 100:
        return f"both together add {together} ms"
    alone = [one for one in found["simple_effects"] if set(one["at"].values()) == {"0"}]
    # A pool alone costs the machine some time, too: what matters is that it is little.
    changed = [one for one in alone if not one["low"] <= 0 <= one["high"] and abs(one["change"]) > min(together) / 10]
    return f"one pool alone changes {response}: {changed}" if changed else ""


def _wrong_finds(result: Mapping[str, Any]) -> str:
    """Return what a sweep found although there is nothing to find."""
    responses = result["facts"]["responses"]
    found = [f"{name}: {one['term']}" for name, of in responses.items() for one in of["findings"]]
    return f"found {found}" if found else ""


def test_a_sweep_of_both_pools_finds_that_they_matter_only_together(story: TwoPools) -> None:
    # p90 instead of p99, because a stop of the machine for 50 ms is more than 1 % of such a short run.
    found = story.sweep("short", "--of", "p90", "--repeat", "2", seconds=3)

    assert _wrong_interaction(found, "p90") == ""
    assert found["facts"]["runs"]["made"] == 8


@pytest.mark.timeout(3600)
def test_three_sweeps_of_three_find_the_interaction_and_none_without_the_shared_lock(story: TwoPools) -> None:
    wrongs: dict[str, str] = {}
    for number in range(1, REPEATED + 1):
        _tell(wrongs, f"with the lock {number}", _wrong_interaction(story.sweep(f"lock-{number}"), "p99"))
    _tell(wrongs, "one at a time", _wrong_finds(story.sweep("one", "--design", "one")))
    story.change(shared_lock=False)
    try:
        for number in range(1, REPEATED + 1):
            _tell(wrongs, f"without the lock {number}", _wrong_finds(story.sweep(f"free-{number}")))
    finally:
        story.change(shared_lock=True)

    assert {name: wrong for name, wrong in wrongs.items() if wrong} == {}


@pytest.mark.timeout(3600)
def test_traces_locks_and_series_say_the_same_and_it_goes_away_without_payout(story: TwoPools) -> None:
    bad = story.run("ach.py:shifts", "bad", settle=8, payout=8, seconds=200)
    told = story.trace(bad.folder)
    print(told.out)
    causes = json.loads((bad.folder / "cause.json").read_text())
    first = causes["ranked"][0]
    # It lies in the statement: as many calls, each slower, while the load payout was active.
    assert (first["path"], first["kind"]) == (LEDGER, "slower calls")
    assert first["share"] > 0.8
    payout = next(one for one in first["attributes"] if one["key"] == "load payout active")
    assert (payout["value"], payout["slow"] > 0.9, payout["fast"] < 0.7) == (True, True, True)
    # It is held up by settle, which is idle in transaction: payout waits for settle, and batches wait for payout.
    chains = [one for one in causes["locks"] if one["path"] == LEDGER and one["root"] == "shop-settle"]
    assert {one["waiter"] for one in chains} == {"shop-payout", "shop-web"}
    assert {one["root_state"] for one in chains} == {"idle in transaction"}
    assert all(50 < one["median_wait_ms"] < 450 for one in chains)
    assert all("UPDATE loadgen_shop.ledger" in one["statement"] for one in chains)
    # It coincides with lock waits, without a lag.
    named = json.loads((bad.folder / "goes_with.json").read_text())["named"]
    (waits,) = [one for one in named if "sessions waiting for a lock" in (one["title"], *one["together"])]
    assert waits["sign"] == 1
    assert abs(waits["lag_s"]) <= waits["lag_error_s"]
    _, _, sentence = " ".join(told.out.split()).partition("in one sentence: ")
    assert {rung for rung in Rung if words_of(rung) in sentence} == {Rung.LIES_IN, Rung.HELD_UP, Rung.COINCIDES}
    # It goes away in a run with one thing changed.
    good = story.rerun(bad, "good", "-P", "payout=0")
    gone = " ".join(story.trace(good.folder, "--against", str(bad.folder)).out.split())
    print(gone)
    assert {one["verdict"] for one in good.summary["slos"]} == {"passed"}
    assert f"{words_of(Rung.GOES_AWAY)} payout is 0 instead of 8" in gone


@pytest.mark.timeout(600)
def test_next_command_of_a_sweep_explains_its_worst_cell(story: TwoPools) -> None:
    story.sweep("next", "--repeat", "2")
    folder = story.folder / "next"
    worst = max((json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()), key=_p99)
    told = story.trace(folder / worst["folder"])

    assert "shop: POST /ach > UPDATE ledger" in told.out
    assert words_of(Rung.HELD_UP) in told.out


def _p99(record: Mapping[str, Any]) -> float:
    return record["values"]["p99"] or 0.0


def _tell(wrongs: dict[str, str], name: str, wrong: str) -> None:
    wrongs[name] = wrong
    print(f"{time.strftime('%H:%M:%S')} {name}: {wrong or 'right'}", flush=True)
